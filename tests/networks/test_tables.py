"""Tables of features and parameters: smooth splines, looked up, with knots where events are."""

from __future__ import annotations

import pytest
import torch

from neyman.exceptions import InvalidDocument
from neyman.networks.deepset import DeepSet
from neyman.networks.encoder import Encoder
from neyman.networks.heads import EventHead, LinearHead, ParameterFeatures, head_of
from neyman.networks.kinds import load_encoder, set_options
from neyman.networks.layers import initialised
from neyman.networks.scaling import FeatureScaler, robust_scaler
from neyman.networks.tables import FeatureTables, SplineTables
from neyman.networks.transformer import SetTransformer

BOUNDS = torch.tensor([0.0, -3.0]), torch.tensor([1.0, 5.0])


def events(n: int = 400) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 50.0])


def encoders() -> list[Encoder]:
    with initialised(0):
        scaler = robust_scaler(events())
        found = [DeepSet(scaler, (8,), 6, knots=12), SetTransformer(scaler, 8, points=2, blocks=1, knots=12)]
    for encoder in found:
        encoder.adapt(events())
    return [encoder.eval() for encoder in found]


def summary(encoder: Encoder, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return encoder(x, weights.double(), torch.zeros(len(x), dtype=torch.int64), 1)


def test_splines_sum_up_to_a_constant_and_are_constant_beyond_the_range():
    tables = SplineTables(2, knots=10, width=3)
    values = tables(torch.tensor([[-5.0, 0.3], [0.0, 0.3], [1.0, 0.3], [7.0, 0.3]]))
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[2], values[3])
    tables.table.data.fill_(1.0)
    assert torch.allclose(tables(torch.rand(50, 2)), torch.ones(50, 2, 3), atol=1e-6)


def test_splines_are_looked_up_to_the_same_values_with_and_without_derivatives():
    tables, u = SplineTables(3, knots=20, width=5), torch.rand(4, 6, 3)
    assert torch.allclose(tables(u), tables.of_constants(u), atol=1e-6)


def test_splines_have_exact_first_and_second_derivatives():
    tables = SplineTables(2, knots=9, width=4).double()
    u = torch.rand(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(tables, u)
    assert torch.autograd.gradgradcheck(tables, u)


def test_splines_start_as_waves():
    u = torch.linspace(0.05, 0.95, 200)
    values = SplineTables(1, knots=100, width=5)(u[:, None])[:, 0]
    expected = [1.0 + 0 * u, (torch.pi * u).sin(), (torch.pi * u).cos(), (2 * torch.pi * u).sin()]
    for k, wave in enumerate(expected):  # but for what a spline smooths
        assert torch.allclose(values[:, k], 2**0.5 * wave, atol=0.01)


def test_knots_are_where_events_are():
    x = torch.cat([torch.linspace(2.0, 3.0, 1000), torch.tensor([80.0])])[:, None]
    tables = FeatureTables(1, 1, 10, (4,), 3)
    tables.adapt(x)
    assert tables.low.item() == pytest.approx(2.0, abs=0.01)
    assert tables.high.item() == pytest.approx(3.0, abs=0.01)
    tables.adapt(torch.full((5, 1), 7.0))
    assert tables.low < 7.0 < tables.high


@pytest.mark.parametrize("encoder", encoders(), ids=["deepset", "transformer"])
def test_encoders_with_tables_do_not_see_the_splitting_of_events(encoder):
    x, weights = events(50), torch.ones(50)
    split = summary(encoder, torch.cat([x, x]), torch.cat([0.3 * weights, 0.7 * weights]))
    assert torch.allclose(summary(encoder, x, weights), split, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("kind", "k"), [("deepset", 0), ("transformer", 1)])
def test_encoders_with_tables_come_back_from_their_shape_and_weights(kind, k):
    encoder = encoders()[k]
    again = load_encoder(kind, encoder.shape, encoder.state_dict())
    assert torch.equal(summary(encoder, events(), torch.ones(400)), summary(again, events(), torch.ones(400)))


def test_encoders_of_older_files_have_no_tables():
    encoder = DeepSet(FeatureScaler(torch.zeros(1), torch.ones(1)), (8,), 4)
    shape = {key: value for key, value in encoder.shape.items() if key != "knots"}
    assert load_encoder("deepset", shape, encoder.state_dict()).shape == encoder.shape


@pytest.mark.parametrize(
    "make", [lambda p: LinearHead(p, 7, knots=12), lambda p: EventHead(p, 7, counts=True, knots=12)]
)
def test_heads_with_tables_come_back_from_their_shape_and_weights(make):
    with initialised(0):
        head = make(ParameterFeatures(*BOUNDS))
    again = head_of(head.shape, *BOUNDS, size=7)
    again.load_state_dict(head.state_dict())
    sums, theta = torch.rand(5, 7), torch.rand(5, 3, 2)
    assert torch.equal(head.score(sums, theta), again.score(sums, theta))


@pytest.mark.parametrize("knots", [3, -1, 2.5, True])
def test_tables_of_too_few_knots_are_refused(knots):
    with pytest.raises(InvalidDocument, match=r"knots: .* makes no sense"):
        set_options("deepset", {"knots": knots})


def test_no_knots_are_no_tables():
    assert set_options("transformer", {"knots": 0}).shape["knots"] == 0
