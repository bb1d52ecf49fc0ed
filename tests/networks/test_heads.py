"""Heads: a Gaussian that starts from least squares is right where a dataset determines the parameters well."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neyman.networks.heads import GaussianHead, ParameterFeatures, SummaryFeatures, head_of
from neyman.networks.layers import initialised

LOW, HIGH = torch.tensor([-3.0, -3.0]), torch.tensor([3.0, 3.0])


def drawn(numbers: np.ndarray, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return summaries of that many events N(theta, 1) in each dimension, with three sums of noise, theta, means."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(-2.0, 2.0, (len(numbers), 2))
    means = theta + rng.normal(size=theta.shape) / np.sqrt(numbers)[:, None]
    noise = rng.normal(size=(len(numbers), 3)) / np.sqrt(numbers)[:, None]
    sums = np.concatenate([means, noise, np.ones((len(numbers), 1))], axis=1) * numbers[:, None]
    return tuple(torch.from_numpy(one.astype(np.float32)) for one in (sums, theta, means))


@pytest.fixture(scope="module")
def head() -> GaussianHead:
    numbers = np.exp(np.random.default_rng(0).uniform(np.log(20), np.log(3000), 20_000)).astype(int)
    sums, theta, _ = drawn(numbers, seed=1)
    with initialised(0):
        head = GaussianHead(ParameterFeatures(LOW, HIGH), SummaryFeatures(sums, means=True))
    head.fit_line(sums, theta)
    return head.eval().requires_grad_(False)


@pytest.mark.parametrize("n", [30, 300, 3000])
def test_least_squares_find_means_and_widths_at_any_size(head, n):
    sums, _, means = drawn(np.full(500, n), seed=n)
    sigma = 1 / np.sqrt(n)
    # a logarithm of a square of 20,000 datasets knows a width to 1 %, at the ends of the sizes to 2 %
    np.testing.assert_allclose(6 * head.widths(sums).mean(0), sigma, rtol=0.05)
    theta = means[:, None] + sigma * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, -2.0]])
    score = head.score(sums, theta)
    # at 3000 events sigma is 0.3 % of the range: and a mean is right to a tenth of it
    np.testing.assert_allclose((score[:, 1] - score[:, 0]).mean(), -0.5, atol=0.1)
    np.testing.assert_allclose((score[:, 2] - score[:, 0]).mean(), -2.0, atol=0.3)


def test_a_head_comes_back_from_its_shape(head):
    sums, theta, _ = drawn(np.full(10, 50), seed=4)
    again = head_of(head.shape, LOW, HIGH, sums.shape[1])
    again.load_state_dict(head.state_dict())
    assert torch.equal(again.score(sums, theta[:, None]), head.score(sums, theta[:, None]))


def test_a_head_of_the_first_model_files_is_built_as_it_was():
    head = head_of({"kind": "GaussianHead", "hidden": 8}, LOW, HIGH, 6)
    assert head.posterior[0].in_features == 12  # sums, means and a logarithm
