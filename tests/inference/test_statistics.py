"""Test statistics and their asymptotic forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from pyhf.infer.calculators import AsymptoticTestStatDistribution

from neyman.exceptions import InvalidParameter
from neyman.inference.statistics import (
    TEST_STATISTICS,
    asymptotic_critical,
    asymptotic_pvalue,
    checked,
    statistic,
)


@pytest.mark.parametrize(
    ("test_stat", "expected"),
    [
        ("tmu", [2.0, 2.0]),
        ("tmu_tilde", [2.0, 2.0]),
        ("qmu", [2.0, 0.0]),
        ("qmu_tilde", [2.0, 0.0]),
        ("q0", [0.0, 2.0]),
    ],
)
def test_one_sided_statistics_are_zero_on_the_other_side(test_stat: str, expected: list[float]) -> None:
    assert statistic(test_stat, 1.0, [0.5, 1.5], [3.0, 3.0], [5.0, 5.0]).tolist() == expected


def test_a_statistic_is_never_negative() -> None:
    assert statistic("tmu", 0.0, [0.0], [3.0], [3.0 - 1e-9]).tolist() == [0.0]


def gaussian(test_stat: str, mu: float, n: int = 400_000) -> np.ndarray:
    """Return the statistic in toys of the model that the formulas describe: one Gaussian measurement of mu."""
    x = np.random.default_rng(1).normal(mu, 1.0, n)
    best = np.maximum(x, 0.0) if test_stat.endswith("_tilde") else x
    return statistic(test_stat, mu, best, (x - best) ** 2, (x - mu) ** 2)


@pytest.mark.parametrize("mu", [0.0, 0.4, 1.3, 4.0])
@pytest.mark.parametrize("test_stat", TEST_STATISTICS)
def test_the_asymptotic_forms_are_exact_for_a_gaussian(test_stat: str, mu: float) -> None:
    toys = gaussian(test_stat, mu)
    points = np.array([0.05, 0.3, 1.0, 2.5, 6.0])
    found = (toys[:, None] >= points).mean(axis=0)
    np.testing.assert_allclose(asymptotic_pvalue(test_stat, points, mu), found, atol=4e-3)


@pytest.mark.parametrize("root", [0.3, 1.5])
def test_p_values_of_upper_limits_are_those_of_pyhf(root: float) -> None:
    q = np.array([0.01, 0.5, 2.0, 5.0])
    shifted = np.where(q > root**2, (q - root**2) / (2 * root), np.sqrt(q) - root)
    expected = AsymptoticTestStatDistribution(-root).pvalue(shifted)
    np.testing.assert_allclose(asymptotic_pvalue("qmu_tilde", q, root), expected)


@pytest.mark.parametrize("level", [0.4, 0.68, 0.95])
@pytest.mark.parametrize("root", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("test_stat", TEST_STATISTICS)
def test_critical_values_invert_p_values(test_stat: str, root: float, level: float) -> None:
    critical = asymptotic_critical(test_stat, level, root)
    if critical > 0:
        assert float(asymptotic_pvalue(test_stat, critical, root)) == pytest.approx(1 - level, abs=1e-7)
    else:  # where it is zero that often
        assert float(asymptotic_pvalue(test_stat, 1e-9, root)) <= 1 - level


def test_the_two_sided_critical_value_is_that_of_chi_squared() -> None:
    assert asymptotic_critical("tmu", 0.9, 1.0) == pytest.approx(scipy.stats.chi2.ppf(0.9, 1))


def test_an_unknown_statistic_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidParameter, match="one of tmu, tmu_tilde"):
        checked("qtilde")
