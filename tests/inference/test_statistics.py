"""Test statistics and their asymptotic forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from pyhf.infer.calculators import AsymptoticTestStatDistribution

from neyman.exceptions import InvalidParameter
from neyman.inference.statistics import STATISTICS, statistic_named


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
    assert statistic_named(test_stat).of_fits(1.0, [0.5, 1.5], [3.0, 3.0], [5.0, 5.0]).tolist() == expected


def test_a_statistic_is_never_negative() -> None:
    assert statistic_named("tmu").of_fits(0.0, [0.0], [3.0], [3.0 - 1e-9]).tolist() == [0.0]


def gaussian(test_stat: str, mu: float, n: int = 400_000) -> np.ndarray:
    """Return the statistic in toys of the model that the formulas describe: one Gaussian measurement of mu."""
    x = np.random.default_rng(1).normal(mu, 1.0, n)
    best = np.maximum(x, 0.0) if statistic_named(test_stat).bounded else x
    return statistic_named(test_stat).of_fits(mu, best, (x - best) ** 2, (x - mu) ** 2)


@pytest.mark.parametrize("mu", [0.0, 0.4, 1.3, 4.0])
@pytest.mark.parametrize("test_stat", sorted(STATISTICS))
def test_the_asymptotic_forms_are_exact_for_a_gaussian(test_stat: str, mu: float) -> None:
    toys = gaussian(test_stat, mu)
    points = np.array([0.05, 0.3, 1.0, 2.5, 6.0])
    found = (toys[:, None] >= points).mean(axis=0)
    np.testing.assert_allclose(statistic_named(test_stat).p_value(points, mu), found, atol=4e-3)


@pytest.mark.parametrize("root", [0.3, 1.5])
def test_p_values_of_upper_limits_are_those_of_pyhf(root: float) -> None:
    q = np.array([0.01, 0.5, 2.0, 5.0])
    shifted = np.where(q > root**2, (q - root**2) / (2 * root), np.sqrt(q) - root)
    expected = AsymptoticTestStatDistribution(-root).pvalue(shifted)
    np.testing.assert_allclose(statistic_named("qmu_tilde").p_value(q, root), expected)


@pytest.mark.parametrize("level", [0.4, 0.68, 0.95])
@pytest.mark.parametrize("root", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("test_stat", sorted(STATISTICS))
def test_critical_values_invert_p_values(test_stat: str, root: float, level: float) -> None:
    critical = statistic_named(test_stat).critical(level, root)
    if critical > 0:
        assert float(statistic_named(test_stat).p_value(critical, root)) == pytest.approx(1 - level, abs=1e-7)
    else:  # where it is zero that often
        assert float(statistic_named(test_stat).p_value(1e-9, root)) <= 1 - level


def test_the_two_sided_critical_value_is_that_of_chi_squared() -> None:
    assert statistic_named("tmu").critical(0.9, 1.0) == pytest.approx(scipy.stats.chi2.ppf(0.9, 1))


@pytest.mark.parametrize(("ours", "theirs"), [("qmu", "q"), ("qmu_tilde", "qtilde")])
def test_the_spellings_of_pyhf_name_the_same_statistics(ours: str, theirs: str) -> None:
    assert statistic_named(theirs) is statistic_named(ours)


@pytest.mark.parametrize(("name", "message"), [("tmu_tild", "did you mean 'tmu_tilde'"), ("t", "choose from tmu,")])
def test_an_unknown_statistic_is_refused_with_the_nearest_ones(name: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        statistic_named(name)
