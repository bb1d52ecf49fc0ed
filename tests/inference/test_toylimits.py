"""Toy-based CLs: pyhf's own toy calculator on the same model, and exact sums over the counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyhf
import pytest
import scipy.stats

import neyman
from neyman.inference.statistics import statistic_named

SPEC = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec
BACKGROUND = 8.0


@pytest.fixture
def model() -> neyman.Model:
    return neyman.Model(SPEC, {}, poi_name="mu")


def counting() -> neyman.Model:
    samples = [
        {"name": "signal", "data": [5.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [BACKGROUND], "modifiers": []},
    ]
    return neyman.Model({"channels": [{"name": "SR", "samples": samples}]}, {}, poi_name="mu")


def exact_cls(mu: float) -> tuple[np.ndarray, np.ndarray]:
    """Return CLs of every count, and the probability of the count without signal."""
    counts = np.arange(120)
    best = np.maximum(counts - BACKGROUND, 0.0) / 5.0
    logs = [scipy.stats.poisson.logpmf(counts, 5.0 * mean + BACKGROUND) for mean in (best, mu)]
    q = statistic_named("qmu_tilde").of_fits(mu, best, -2 * logs[0], -2 * logs[1])
    above = q >= q[:, None] - 1e-9
    with_signal, without = (scipy.stats.poisson.pmf(counts, 5.0 * m + BACKGROUND) for m in (mu, 0.0))
    return (above @ with_signal) / (above @ without), without


@pytest.mark.parametrize("n", [6, 8, 12])
def test_the_observed_limit_is_the_exact_one(n: int) -> None:
    grid = np.arange(0.1, 6.0, 0.01)
    exact = grid[np.flatnonzero(np.array([exact_cls(mu)[0][n] for mu in grid]) > 0.05)[-1]]
    result = neyman.limit([float(n)], counting(), calibration="toys", n_toys=8000, seed=n)
    assert result.observed == pytest.approx(exact, rel=0.06)


def test_the_expected_cls_are_quantiles_of_the_exact_ones() -> None:
    values, probability = exact_cls(1.0)
    order = np.argsort(values)
    cumulative = np.cumsum(probability[order])
    result = neyman.cls(1.0, [8.0], counting(), calibration="toys", n_toys=10_000)
    for found, quantile in zip(result.expected[1:], scipy.stats.norm.cdf([-1.0, 0.0, 1.0, 2.0]), strict=True):
        exact = values[order][min(np.searchsorted(cumulative, quantile), order.size - 1)]
        assert found == pytest.approx(exact, rel=0.12)


@pytest.mark.parametrize("test_stat", ["qtilde", "q"])
def test_cls_agrees_with_the_toy_calculator_of_pyhf(model: neyman.Model, test_stat: str) -> None:
    data = [51.0, 48.0, *model.config.auxdata]
    np.random.seed(0)
    n = 150
    calculator = pyhf.infer.calculators.ToyCalculator(
        data, pyhf.Model(SPEC), ntoys=n, test_stat=test_stat, track_progress=False
    )
    t = calculator.teststatistic(1.0)
    distributions = calculator.distributions(1.0)
    with_signal, without, _ = (float(p) for p in calculator.pvalues(t, *distributions))
    found = neyman.cls(1.0, data, model, test_stat=test_stat, calibration="toys", n_toys=5000)
    error = with_signal / without * np.sqrt(1 / (n * with_signal) + 1 / (n * without))
    assert abs(found.observed - with_signal / without) < 4 * error


def test_with_many_events_the_limits_are_near_the_asymptotic_ones(model: neyman.Model) -> None:
    data = [51.0, 48.0, *model.config.auxdata]
    toys = neyman.limit(data, model, calibration="toys", n_toys=3000)
    formulas = neyman.limit(data, model)
    assert toys.observed == pytest.approx(formulas.observed, rel=0.1)
    np.testing.assert_allclose(toys.expected[1:], formulas.expected[1:], rtol=0.12)
    assert np.all(np.diff(toys.expected) > 0)
    assert np.all(np.diff(toys.scan) > 0)


def test_the_executor_and_repetition_change_nothing(model: neyman.Model) -> None:
    data = [51.0, 48.0, *model.config.auxdata]
    first = neyman.limit(data, model, calibration="toys", n_toys=600, seed=3)
    with ThreadPoolExecutor(2) as executor:
        second = neyman.limit(data, model, calibration="toys", n_toys=600, seed=3, executor=executor)
    assert first.to_json() == second.to_json()


def test_given_values_are_tested(model: neyman.Model) -> None:
    data = [51.0, 48.0, *model.config.auxdata]
    result = neyman.limit(data, model, calibration="toys", n_toys=500, values=[0.5, 1.5, 4.0])
    assert {0.5, 1.5, 4.0} <= set(result.scan.tolist())
