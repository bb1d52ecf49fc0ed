"""The compressed normalisation against the sum over the whole pool."""

from __future__ import annotations

import numpy as np
import pytest

from neyman.model.normalisation import LogNormalisation


@pytest.fixture(scope="module")
def cloud():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(50_000, 2))
    points = np.stack([0.3 * x[:, 0], 0.2 * x[:, 1] ** 2, 0.1 * x[:, 0] * x[:, 1], 0.05 * np.abs(x[:, 0])], axis=1)
    return points, rng.exponential(size=len(points))


@pytest.mark.parametrize("alphas", [(0.5, -0.5), (1.0, 2.0), (-3.0, 1.0)])
def test_it_agrees_with_the_whole_pool_ten_times_better_than_the_pool_knows(cloud, alphas):
    points, weights = cloud
    t = np.array([*alphas, *np.square(alphas)])
    terms = np.exp(points @ t)
    exact = np.log(np.average(terms, weights=weights))
    mean, variance = np.average(terms, weights=weights), np.average((terms - terms.mean()) ** 2, weights=weights)
    statistical_error = np.sqrt(variance * np.sum(weights**2) / np.sum(weights) ** 2) / mean
    assert abs(LogNormalisation(points, weights)(t)[0] - exact) < 0.1 * statistical_error


def test_its_gradient_is_that_of_its_value(cloud):
    normalisation = LogNormalisation(*cloud)
    t = np.array([0.7, -0.4, 0.5, 0.2])
    numeric = [(normalisation(t + 1e-6 * e)[0] - normalisation(t - 1e-6 * e)[0]) / 2e-6 for e in np.eye(4)]
    np.testing.assert_allclose(normalisation(t)[1], numeric, atol=1e-8)


def test_at_the_nominal_point_it_is_zero(cloud):
    assert LogNormalisation(*cloud)(np.zeros(4))[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("size", "errors"), [(0.5, 1.0), (1.0, 1.0), (2.0, 3.0)])
def test_twenty_systematics_at_once_stay_within_the_error_of_the_pool(size, errors):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50_000, 5))
    slopes = 0.15 * np.tanh(x @ rng.normal(size=(5, 20))) + 0.03 * (x @ rng.normal(size=(5, 20)))
    curvatures = -0.02 * (x @ rng.normal(size=(5, 20)) / 2) ** 2
    normalisation = LogNormalisation(np.concatenate([slopes, curvatures], axis=1), np.ones(len(x)))
    alphas = rng.normal(0.0, size, size=(5, 20))
    for t in np.concatenate([alphas, alphas**2], axis=1):
        terms = np.exp(slopes @ t[:20] + curvatures @ t[20:])
        statistical_error = terms.std() / terms.mean() / np.sqrt(len(x))
        assert abs(normalisation(t)[0] - np.log(terms.mean())) < errors * statistical_error


def test_many_systematics_have_an_exact_gradient_too():
    y = np.random.default_rng(4).normal(0.0, 0.2, size=(5000, 10))
    normalisation = LogNormalisation(y, np.ones(len(y)))
    t = np.linspace(-1, 1, 10)
    numeric = [(normalisation(t + 1e-6 * e)[0] - normalisation(t - 1e-6 * e)[0]) / 2e-6 for e in np.eye(10)]
    np.testing.assert_allclose(normalisation(t)[1], numeric, atol=1e-8)


@pytest.mark.parametrize("dimensions", [2, 10])
def test_many_points_at_once_are_each_of_them(dimensions):
    rng = np.random.default_rng(5)
    normalisation = LogNormalisation(rng.normal(0.0, 0.2, size=(5000, dimensions)), np.ones(5000))
    t = rng.normal(size=(7, dimensions))
    values, gradients = normalisation.batch(t)
    for point, value, gradient in zip(t, values, gradients, strict=True):
        np.testing.assert_allclose(value, normalisation(point)[0], atol=1e-12)
        np.testing.assert_allclose(gradient, normalisation(point)[1], atol=1e-12)
