"""The worst nuisance parameters of a confidence region: coverage where the best fit of them undercovers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

import neyman
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
