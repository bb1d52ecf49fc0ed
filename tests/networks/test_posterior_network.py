"""The network of a posterior: a normal distribution and a flow that starts as nothing."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

from neyman.exceptions import InvalidDocument
from neyman.networks.deepset import DeepSet
from neyman.networks.kinds import posterior_options, set_options
from neyman.networks.layers import initialised
from neyman.networks.posterior import GRID, PosteriorNetwork, Straight
from neyman.networks.scaling import FeatureScaler


def made(parameters: int) -> PosteriorNetwork:
    with initialised(1):
        encoder = DeepSet(FeatureScaler(torch.zeros(2), torch.ones(2)), (8,), 4)
        network = PosteriorNetwork(encoder, parameters, torch.zeros(7), torch.ones(7), head=(8,), flow=(8,))
        for parameter in network.head.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return network.eval()


@pytest.fixture(params=[1, 3])
def network(request: pytest.FixtureRequest) -> PosteriorNetwork:
    return made(request.param)


def summaries(network: PosteriorNetwork, n: int) -> torch.Tensor:
    x = torch.randn(5 * n, 2, generator=torch.Generator().manual_seed(1))
    return network.encoder(x, torch.ones(5 * n), torch.arange(n).repeat_interleave(5), n)


def test_before_training_the_flow_is_the_identity(network: PosteriorNetwork) -> None:
    sums = summaries(network, 3)
    u = torch.randn(3, 50, network.head.parameters_)
    assert torch.allclose(network.log_prob(sums, u), network.log_prob(sums, u, flow=False), atol=1e-4)


def test_the_density_is_that_of_the_draws(network: PosteriorNetwork) -> None:
    p = network.head.parameters_
    with initialised(2):
        for parameter in network.flow.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    sums, base = summaries(network, 2), torch.randn(2, 4, p, dtype=torch.float64)
    network = network.double()  # for the digits of a determinant
    network.features = lambda sums, own=network.features: own(sums).double()  # type: ignore[method-assign]
    jacobians = torch.autograd.functional.jacobian(lambda z: network.draw(sums, z).sum((0, 1)), base)  # (p, 2, 4, p)
    expansion = jacobians.permute(1, 2, 0, 3).det().abs().log()
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(base).sum(2)
    found = network.log_prob(sums, network.draw(sums, base)).double()
    assert torch.allclose(found, normal - expansion, atol=1e-3)


def test_the_line_it_starts_from_is_the_posterior_of_a_normal_mean_at_any_number_of_events() -> None:
    rng = torch.Generator().manual_seed(3)
    numbers = torch.exp(torch.rand(20_000, generator=rng) * 5.0).long()
    u = torch.randn(len(numbers), 1, generator=rng)  # of the prior; the events are N(u, 1)
    means = u + torch.randn(len(u), 1, generator=rng) / numbers.sqrt()[:, None]
    encoder = DeepSet(FeatureScaler(torch.zeros(1), torch.ones(1)), (8,), 1)
    sums = torch.stack([means[:, 0] * numbers, torch.zeros(len(u)), numbers], dim=1)
    network = PosteriorNetwork(encoder, 1, torch.tensor([0.0, 0.0, 2.5]), torch.ones(3))
    network.fit_line(sums, u, trained=False)
    mean, root = network.head(network.features(sums))
    width, exact = (1.0 + numbers[:, None]) ** -0.5, means / (1.0 + 1.0 / numbers[:, None])
    for low, high in ((1, 1), (2, 4), (5, 20), (21, 60), (61, 148)):
        rows = (numbers >= low) & (numbers <= high)
        # what a line in log n and 1/n cannot be; the noise of 20,000 datasets is smaller
        assert torch.allclose(1.0 / root[rows, :, 0], width[rows], rtol=0.2)
        assert ((mean - exact)[rows] / width[rows]).square().mean().sqrt() < 0.2


def test_its_options_are_those_of_the_kind_and_of_the_training() -> None:
    options = posterior_options("deepset", {"kind": "deepset", "width": 8, "flow_steps": 10})
    assert (options.shape["width"], options.flow_steps) == (8, 10)
    assert set_options("deepset", {}).shape["width"] == posterior_options("deepset", {}).shape["width"]
    with pytest.raises(InvalidDocument, match="flow_steps"):
        posterior_options("deepset", {"flow_step": 10})


def test_a_line_of_parameters_is_exact_where_a_uniform_prior_ends() -> None:
    unit = torch.special.ndtr(GRID)[None]  # the prior is uniform from 0 to 1
    straight = Straight(unit, torch.tensor([[0.0, 1.0]]))
    centre = torch.tensor([[0.5], [0.93], [1.02], [-0.02], [0.5]])
    width = torch.tensor([[0.01], [0.05], [0.05], [0.05], [100.0]])
    mean, log_root = straight(centre, -width.log())
    cut = scipy.stats.truncnorm((0 - centre) / width, (1 - centre) / width, centre, width)
    low, high = (scipy.stats.norm.ppf(cut.ppf(scipy.stats.norm.cdf(k))) for k in (-1.0, 1.0))
    assert mean.numpy() == pytest.approx((low + high) / 2, abs=1e-3)
    assert torch.exp(-log_root).numpy() == pytest.approx((high - low) / 2, rel=1e-2)
    assert straight.back(mean[:1]).item() == pytest.approx(0.5, abs=1e-4)
