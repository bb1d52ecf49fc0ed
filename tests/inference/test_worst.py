"""The worst nuisance parameters of a confidence region: coverage where the best fit of them undercovers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import neyman
from neyman.exceptions import InvalidParameter, NeymanError
from neyman.inference.profile import Profile
from neyman.inference.worst import region

OFF = 0.1  # expected in the off region for each background event in the on region
MU, B = 1.0, 8.0


@pytest.fixture(scope="module")
def onoff() -> neyman.Model:
    """Counts in an on and a small off region, from which the background is known to more than its size."""

    def sample(name: str, expected: float) -> dict[str, object]:
        return {"name": name, "data": [expected], "modifiers": [{"name": name, "type": "normfactor", "data": None}]}

    channels = [
        {"name": "on", "samples": [sample("mu", 1.0), sample("b", 1.0)]},
        {"name": "off", "samples": [sample("b", OFF)]},
    ]
    parameters = [
        {"name": "mu", "bounds": [[0.0, 60.0]], "inits": [MU]},
        {"name": "b", "bounds": [[0.0, 90.0]], "inits": [B]},
    ]
    return neyman.Model({"channels": channels, "parameters": parameters}, {}, poi_name="mu")


def test_the_region_ends_where_the_likelihood_has_fallen(onoff: neyman.Model) -> None:
    data = [2.0, 9.0]  # off, on
    profile = Profile(data, onoff)
    points = np.array(region(profile, int(onoff.config.poi_index), MU, 0.95))
    b = points[:, list(onoff.config.par_names).index("b")]

    def twice_nll(b: np.ndarray) -> np.ndarray:
        return -2 * scipy.stats.poisson.logpmf(data, np.stack([OFF * b, MU + b], axis=-1)).sum(axis=-1)

    drop = twice_nll(b) - twice_nll(b[:1])
    grid = np.linspace(0.01, 90.0, 100_000)
    inside = grid[twice_nll(grid) - twice_nll(b[:1]) <= scipy.stats.chi2.ppf(0.95, 1)]
    assert len(points) == 9
    assert drop.min() >= 0.0
    assert [b.min(), b.max()] == pytest.approx([inside[0], inside[-1]], rel=1e-3)
    assert np.all(points[:, list(onoff.config.par_names).index("mu")] == MU)


@pytest.mark.slow
def test_the_worst_nuisance_parameters_cover_where_the_best_fit_undercovers(onoff: neyman.Model) -> None:
    """By adding up all counts: 59.7 % with the p-value at the best fit, 75.5 % with the largest of the region."""
    options = {"truths": [{"mu": MU, "b": B}], "n_toys": 500, "n_calibration": 400, "seed": 1}
    profile, worst = (neyman.coverage(onoff, nuisance=nuisance, **options) for nuisance in ("profile", "worst"))
    assert profile.verdicts == ("undercovers",)
    assert worst.passed
    # three standard deviations of 500 toys, each of which errs by its own toys, too
    assert profile.coverage[0] == pytest.approx(0.597, abs=0.066)
    assert worst.coverage[0] == pytest.approx(0.755, abs=0.058)


def test_the_worst_interval_holds_the_profiled_one(onoff: neyman.Model) -> None:
    data = [1.0, 9.0]
    profiled, worst = (
        neyman.interval(data, onoff, 0.9, nuisance=nuisance, n_toys=200, poi_values=np.linspace(0.0, 20.0, 4))
        for nuisance in ("profile", "worst")
    )
    common = np.isin(worst.scan, profiled.scan)
    known = np.isin(profiled.scan, worst.scan)
    assert np.all(worst.p_values[common] >= profiled.p_values[known])
    assert worst.toys[0] == 9 * 200
    (low, high), (worst_low, worst_high) = profiled.intervals[0], worst.intervals[0]
    assert worst_low <= low
    assert worst_high > high


def test_without_nuisance_parameters_there_is_nothing_to_be_worse(onoff: neyman.Model) -> None:
    options = {"n_toys": 200, "fixed": {"b": B}, "poi_values": [0.0, 9.0, 20.0]}
    one, other = (neyman.interval([1.0, 9.0], onoff, 0.9, nuisance=kind, **options) for kind in ("profile", "worst"))
    assert one.intervals == other.intervals


def exact_p_values(statistic: float, mu: float, truth: float, b: np.ndarray) -> np.ndarray:
    """Return the probability of a test statistic of mu at least as large at a true mu and b, by adding up all counts.

    The statistic is q0 at zero, else qmu_tilde.
    """
    off, on = np.meshgrid(np.arange(40), np.arange(90), indexing="ij")

    def best(mu: float) -> np.ndarray:
        """Minimise over b: the root of a quadratic equation."""
        s, n = 1.0 + OFF, off + on - (1.0 + OFF) * mu
        return np.maximum((n + np.sqrt(n**2 + 4.0 * s * off * mu)) / (2.0 * s), 1e-12)

    def twice_nll(mu: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
        rates = np.maximum(OFF * b, 1e-12), np.maximum(mu + b, 1e-12)
        return -2.0 * sum(scipy.stats.poisson.logpmf(n, rate) for n, rate in zip((off, on), rates, strict=True))

    mu_hat = np.maximum(on - off / OFF, 0.0)
    free = np.where(mu_hat > 0.0, twice_nll(mu_hat, off / OFF), twice_nll(0.0, best(0.0)))
    q = twice_nll(mu, best(mu)) - free
    q = np.where((mu == 0.0) | (mu_hat <= mu), q, 0.0)
    above = q >= statistic - 1e-6
    return np.array([np.exp(-0.5 * twice_nll(truth, one))[above].sum() for one in b])


def test_the_significance_is_that_of_the_worst_background_in_the_region(onoff: neyman.Model) -> None:
    data, n_toys = [1.0, 20.0], 4000  # off, on
    profiled, worst = (
        neyman.significance(data, onoff, "toys", n_toys=n_toys, nuisance=kind, seed=1) for kind in ("profile", "worst")
    )
    profile = Profile(data, onoff, bounds={"mu": (0.0, 60.0)})
    points = np.array(region(profile, int(onoff.config.poi_index), 0.0, 1.0 - 0.02 / n_toys))
    exact = exact_p_values(worst.statistic, 0.0, 0.0, points[:, list(onoff.config.par_names).index("b")])
    assert exact.max() > 1.2 * exact[0]  # it matters here
    assert worst.toys == 9 * n_toys
    assert worst.significance < profiled.significance
    # four standard deviations of the toys; the largest of nine is a little high
    assert abs(profiled.p_value - exact[0]) < 4.0 * profiled.p_error
    assert abs(worst.p_value - exact.max()) < 4.0 * worst.p_error


def test_cls_is_that_of_the_worst_background_with_signal(onoff: neyman.Model) -> None:
    data, mu, n_toys = [2.0, 9.0], 8.0, 4000
    options = {"calibration": "toys", "n_toys": n_toys, "seed": 2}
    profiled, worst = (neyman.cls(mu, data, onoff, nuisance=kind, **options) for kind in ("profile", "worst"))
    profile = Profile(data, onoff, bounds={"mu": (0.0, 60.0)})
    poi, b = int(onoff.config.poi_index), list(onoff.config.par_names).index("b")
    statistic = profile.ratio({poi: mu})
    points = np.array(region(profile, poi, mu, 1.0 - 0.02 / n_toys))
    with_signal = exact_p_values(statistic, mu, mu, points[:, b])
    [without] = exact_p_values(statistic, mu, 0.0, np.array([profile.at({poi: 0.0})[0][b]]))
    # four standard deviations of the toys, of which the p-value with signal has the larger part
    for found, p in ((profiled, with_signal[0]), (worst, with_signal.max())):
        error = p / without * np.sqrt((1.0 - p) / (p * n_toys) + (1.0 - without) / (without * n_toys))
        assert abs(found.observed - p / without) < 4.0 * error
    assert worst.observed > 1.3 * profiled.observed


def test_the_worst_limit_is_above_the_profiled_one(onoff: neyman.Model) -> None:
    options = {"calibration": "toys", "n_toys": 200, "values": np.linspace(0.0, 50.0, 6)}
    profiled, worst = (neyman.limit([2.0, 9.0], onoff, nuisance=kind, **options) for kind in ("profile", "worst"))
    common, known = np.isin(worst.scan, profiled.scan), np.isin(profiled.scan, worst.scan)
    assert np.all(worst.cls_observed[common] >= profiled.cls_observed[known])
    assert worst.observed > profiled.observed
    assert np.all(worst.expected >= profiled.expected)


def test_a_checkpoint_is_of_toys_at_the_same_points(onoff: neyman.Model, tmp_path: Path) -> None:
    options = {"calibration": "toys", "nuisance": "worst", "checkpoint": tmp_path / "toys.npz"}
    first = neyman.significance([1.0, 20.0], onoff, n_toys=600, **options)
    assert neyman.significance([1.0, 20.0], onoff, n_toys=600, **options).to_json() == first.to_json()
    with pytest.raises(NeymanError, match="a checkpoint of other toys"):
        neyman.significance([1.0, 20.0], onoff, n_toys=700, **options)


@pytest.mark.parametrize("test", [neyman.limit, neyman.significance, partial(neyman.cls, 1.0)])
def test_the_asymptotic_formulas_have_no_worst_point(onoff: neyman.Model, test: Callable[..., object]) -> None:
    with pytest.raises(InvalidParameter, match="throws none: give calibration='toys'"):
        test([2.0, 9.0], onoff, nuisance="worst")
    with pytest.raises(InvalidParameter, match="nuisance is 'best'"):
        test([2.0, 9.0], onoff, calibration="toys", nuisance="best")
