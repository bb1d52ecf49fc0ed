"""The coordinates in which every prior is the standard normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from neyman.posteriors.coordinates import Coordinates

PRIORS = {
    "normal": (scipy.stats.norm(1, 2), (-20.0, 20.0)),
    "cut": (scipy.stats.norm(1, 2), (0.0, 3.0)),
    "uniform": (scipy.stats.uniform(0, 12), (0.0, 12.0)),
    "gamma": (scipy.stats.gamma(2.0, scale=0.5), (0.0, 50.0)),
    "log": (scipy.stats.loguniform(1e-3, 10), (1e-3, 10.0)),
}


@pytest.mark.parametrize("name", PRIORS)
def test_draws_of_the_prior_are_standard_normal_and_come_back(name: str) -> None:
    prior, bounds = PRIORS[name]
    coordinates = Coordinates({name: prior}, np.array([bounds]))
    theta = prior.rvs(20_000, random_state=np.random.default_rng(1))
    theta = theta[(theta >= bounds[0]) & (theta <= bounds[1])][:, None]
    u = coordinates.of(theta)
    assert scipy.stats.kstest(u[:, 0], "norm").pvalue > 1e-3
    assert coordinates.back(u) == pytest.approx(theta, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", PRIORS)
def test_whatever_the_coordinates_the_parameters_are_within_bounds(name: str) -> None:
    prior, bounds = PRIORS[name]
    theta = Coordinates({name: prior}, np.array([bounds])).back(np.array([[-60.0], [0.0], [60.0]]))
    assert np.all((theta >= bounds[0]) & (theta <= bounds[1]))
    assert np.all(np.diff(theta[:, 0]) > 0)
