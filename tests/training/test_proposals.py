"""Where datasets are simulated and what they are held against: the true parameters are not to be told without data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neyman.training.proposals import GROUP, candidates_near, log_density, propose

LOW, HIGH = np.array([0.0, -1.0]), np.array([4.0, 1.0])


@pytest.fixture(scope="module")
def unit() -> np.ndarray:
    return (propose(LOW, HIGH, 320_000, seed=1) - LOW) / (HIGH - LOW)


@pytest.mark.parametrize("axis", [0, 1])
def test_parameters_are_as_dense_as_the_density_says(unit, axis):
    inside = (unit >= 0.0) & (unit <= 1.0)
    assert inside.all()
    weights = np.exp(-log_density(torch.from_numpy(unit)).numpy())
    edges = np.array([0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0])
    # 32 that are close to each other count once: at most 10,000 groups
    found = np.histogram(unit[:, axis], edges, weights=weights)[0] / weights.sum()
    groups = np.histogram(unit[:, axis], edges)[0] / GROUP
    np.testing.assert_allclose(found, np.diff(edges), rtol=5 / np.sqrt(groups.min()))


def test_some_groups_are_close_to_a_bound(unit):
    groups = unit.reshape(-1, GROUP, 2)
    close = (np.median(np.minimum(groups, 1 - groups), axis=1) < 0.1).any(axis=1)
    assert close.mean() > 0.1
    assert (unit[:, 0] < 0.01).mean() > 1.5 * 0.01


@pytest.mark.parametrize("width", [0.003, 0.1])
def test_candidates_are_the_true_parameters_as_often_as_the_density_says(unit, width):
    theta = torch.from_numpy(LOW + (HIGH - LOW) * unit[::4])
    widths = torch.full_like(theta, width)
    low, high = torch.from_numpy(LOW), torch.from_numpy(HIGH)
    found = candidates_near(theta, widths, low, high, torch.Generator().manual_seed(2))
    place = (found - low) / (high - low)
    probability = torch.softmax(log_density(place), dim=1)
    for least, most in ((0.0, 0.003), (0.003, 0.03), (0.03, 0.3), (0.3, 0.7)):
        there = ((place[..., 0] >= least) & (place[..., 0] < most)).double()
        predicted, true = (probability * there).sum(1), there[:, 0]
        # 2500 groups, in each of which all may be alike
        difference = (predicted - true).view(-1, GROUP // 4).mean(1)
        assert abs(float(difference.mean())) < 4 * float(difference.std()) / np.sqrt(len(difference))
