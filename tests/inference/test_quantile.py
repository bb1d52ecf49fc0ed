"""Learned critical values: against exact distributions, over nuisance parameters, kept in files, and refused."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import scipy.stats

import neyman
from neyman.exceptions import InvalidParameter
from neyman.inference import throws
from neyman.inference.statistics import statistic_named

BACKGROUND = 3.0


def counting() -> neyman.Model:
    """A counting experiment: signal of mu events, known background."""
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [BACKGROUND], "modifiers": []},
    ]
    parameters = [{"name": "mu", "bounds": [[0.0, 30.0]], "inits": [1.0]}]
    return neyman.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}, {}, poi_name="mu")


def gaussian() -> neyman.Model:
    """A measurement of mu with unit error: the auxiliary datum of a constraint term; the count says nothing."""
    modifiers = [{"name": "mu", "type": "normsys", "data": {"hi": 1.0, "lo": 1.0}}]
    channel = {"name": "count", "samples": [{"name": "any", "data": [1.0], "modifiers": modifiers}]}
    parameters = [{"name": "mu", "bounds": [[0.0, 12.0]], "inits": [1.0]}]
    return neyman.Model({"channels": [channel], "parameters": parameters}, {}, poi_name="mu")


def uncorrelated() -> tuple[neyman.Model, list[float]]:
    spec = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec
    model = neyman.Model(spec, {}, poi_name="mu")
    return model, [80.0, 70.0, *model.config.auxdata]


def gaussian_p_value(t: float, mu: float) -> float:
    """Return the exact probability of t_mu at or above t: x above mu + sqrt(t), or below where it is as unlikely."""
    root = np.sqrt(t)
    low = mu - root if root <= mu else (mu**2 - t) / (2.0 * mu)  # t = (x - mu)^2 for x > 0, else mu^2 - 2 mu x
    return float(scipy.stats.norm.sf(root) + scipy.stats.norm.cdf(low - mu))


@pytest.fixture(scope="module")
def of_counts() -> neyman.CriticalValues:
    return neyman.critical_values(counting(), poi_range=(0.0, 20.0), seed=1)


@pytest.fixture(scope="module")
def of_gaussian() -> neyman.CriticalValues:
    return neyman.critical_values(gaussian(), poi_range=(0.0, 8.0), seed=2)


@pytest.fixture(scope="module")
def with_nuisances() -> neyman.CriticalValues:
    return neyman.critical_values(uncorrelated()[0], poi_range=(0.0, 6.0), n_toys=6000, seed=3)


def test_p_values_are_the_exact_ones_of_a_gaussian_near_its_bound(of_gaussian: neyman.CriticalValues) -> None:
    points = [(t, mu) for mu in (0.05, 0.3, 1.0, 2.0, 4.0, 7.5) for t in (0.5, 1.0, 2.7, 3.8)]
    found, errors = of_gaussian.p_values([t for t, _ in points], [[mu] for _, mu in points])
    expected = np.array([gaussian_p_value(*point) for point in points])
    assert np.all(np.abs(found - expected) < 4 * errors)
    assert errors.max() < 0.02


@pytest.mark.parametrize("level", [0.68, 0.9, 0.95])
def test_critical_values_rise_from_the_boundary_to_those_of_two_sides(
    of_gaussian: neyman.CriticalValues, level: float
) -> None:
    values, errors = of_gaussian.critical(level, [[0.0], [7.0]])
    one, two = (statistic_named("tmu_tilde").critical(level, root) for root in (0.0, 7.0))
    assert np.all(np.abs(values - [one, two]) < 4 * errors)
    accepted, _ = of_gaussian.p_values(values * 0.99, [[0.0], [7.0]])
    rejected, _ = of_gaussian.p_values(values * 1.01, [[0.0], [7.0]])
    assert np.all((rejected < 1 - level) & (accepted > 1 - level))


def test_intervals_of_counts_cover_nearly_everywhere(of_counts: neyman.CriticalValues) -> None:
    counts, level = np.arange(100), 0.9
    best = np.maximum(counts - BACKGROUND, 0.0)
    coverage = []
    for mu in np.arange(0.0, 20.0, 0.05):
        logs = [scipy.stats.poisson.logpmf(counts, mean + BACKGROUND) for mean in (best, mu)]
        t = statistic_named("tmu_tilde").of_fits(mu, best, -2 * logs[0], -2 * logs[1])
        p, _ = of_counts.p_values(t, np.full((100, 1), mu))
        coverage.append(np.exp(logs[1])[p > 1 - level].sum())
    # exactly, the construction covers 90.0 to 97 %, 91.6 % on average; a smooth function misses some of its jumps:
    # with eight seeds, 20,000 toys each: 91.2 to 91.6 % on average, 86.4 to 88.1 % in the worst place, and below 89 %
    # in 3 to 14 % of all places
    assert np.mean(coverage) == pytest.approx(0.914, abs=0.008)
    assert np.min(coverage) > 0.84
    assert np.mean(np.array(coverage) < 0.89) < 0.2


def test_the_check_of_held_out_toys_agrees_with_an_independent_coverage(with_nuisances: neyman.CriticalValues) -> None:
    check = with_nuisances.check(0.9)
    assert check.passed
    assert check.toys[0] >= 250  # the boundary has a cell of its own
    assert check.truths[0, 0] == 0.0
    model, _ = uncorrelated()
    result = neyman.coverage(model, [{"mu": 0.0}, {"mu": 2.0}], 0.9, "quantile", 2000, critical=with_nuisances)
    # learned from 6000 toys, a p-value of 0.1 has an error of about 0.01
    assert np.all(np.abs(result.coverage - 0.9) < 3 * result.error + 0.02)


def test_one_learning_serves_any_data_without_more_toys(
    with_nuisances: neyman.CriticalValues, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = uncorrelated()
    monkeypatch.setattr(throws, "draw", lambda *args, **options: pytest.fail("a toy was thrown"))
    for counts in ([55.0, 60.0], [80.0, 70.0], [90.0, 90.0]):
        data = [*counts, *model.config.auxdata]
        learned = neyman.interval(data, model, 0.9, calibration="quantile", critical=with_nuisances)
        formulas = neyman.interval(data, model, 0.9, calibration="asymptotics")  # with as many events they are right
        assert learned.valid
        for found, expected, error in zip(learned.intervals[0], formulas.intervals[0], learned.errors[0], strict=True):
            assert abs(found - expected) <= 4 * error + 0.01


def test_learning_for_the_data_needs_no_range() -> None:
    model, data = uncorrelated()
    result = neyman.interval(data, model, 0.68, calibration="quantile", n_toys=3000)
    formulas = neyman.interval(data, model, 0.68, calibration="asymptotics")
    assert result.valid
    assert result.calibration == "quantile"
    for found, expected, error in zip(result.intervals[0], formulas.intervals[0], result.errors[0], strict=True):
        assert abs(found - expected) <= 4 * error + 0.01


def test_values_to_begin_with_say_where_to_learn() -> None:
    model, data = uncorrelated()
    result = neyman.interval(data, model, 0.9, calibration="quantile", n_toys=1000, poi_values=[2.5, 3.0, 6.0])
    assert result.scan[[0, -1]].tolist() == [2.5, 6.0]
    assert 3.0 < result.intervals[0][1] < 3.6
    assert "below 2.5" in result.message


@pytest.mark.parametrize("test_stat", ["tmu", "qmu", "qmu_tilde", "q0"])
def test_other_statistics_are_learned_too(test_stat: str) -> None:
    model, data = uncorrelated()
    options: dict[str, Any] = {"level": 0.9, "test_stat": test_stat}
    result = neyman.interval(data, model, calibration="quantile", n_toys=4000, **options)
    formulas = neyman.interval(data, model, calibration="asymptotics", **options)
    end = 0 if test_stat == "q0" else 1
    difference = abs(result.intervals[0][end] - formulas.intervals[0][end])
    assert difference <= 4 * result.errors[0][end] + 0.02


def test_the_worst_nuisance_parameters_give_the_largest_p_value(with_nuisances: neyman.CriticalValues) -> None:
    rng = np.random.default_rng(0)
    low, high = with_nuisances.box.T
    points = low + (high - low) * rng.random((200, len(low)))
    points[:, with_nuisances.poi] = 1.5
    t = np.full(200, 2.0)
    somewhere, (worst, *others) = (with_nuisances.p_values(t, points, kind)[0] for kind in ("profile", "worst"))
    np.testing.assert_allclose(others, worst)
    assert somewhere.max() <= worst + 1e-12
    assert worst - somewhere.max() < 0.02  # among 200 points some are near it
    model, data = uncorrelated()
    profiled, longest = (
        neyman.interval(data, model, 0.9, calibration="quantile", critical=with_nuisances, nuisance=kind).intervals[0]
        for kind in ("profile", "worst")
    )
    assert longest[0] < profiled[0] < profiled[1] < longest[1]


def test_critical_values_come_back_from_their_file(with_nuisances: neyman.CriticalValues, tmp_path: Path) -> None:
    path = tmp_path / "critical.npz"
    with_nuisances.save(path)
    again = neyman.CriticalValues.load(path)
    assert repr(again) == repr(with_nuisances)
    model, data = uncorrelated()
    first, second = (
        neyman.interval(data, model, 0.9, calibration="quantile", critical=critical).to_json()
        for critical in (with_nuisances, again)
    )
    assert first == second


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"{}"])
def test_another_file_is_no_critical_values(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "critical.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidParameter, match=r"critical\.npz: not a file of critical values"):
        neyman.CriticalValues.load(path)
    with pytest.raises(InvalidParameter, match=r"nowhere\.npz: no such file of critical values"):
        neyman.CriticalValues.load(tmp_path / "nowhere.npz")


def test_the_executor_the_checkpoint_and_repetition_change_nothing(tmp_path: Path) -> None:
    model, _ = uncorrelated()
    options: dict[str, Any] = {"poi_range": (0.0, 4.0), "n_toys": 1000, "seed": 4}
    first = neyman.critical_values(model, **options, checkpoint=tmp_path / "toys.npz")
    with ThreadPoolExecutor(2) as executor:
        second = neyman.critical_values(model, **options, executor=executor)
    third = neyman.critical_values(model, **options, checkpoint=tmp_path / "toys.npz")
    np.testing.assert_array_equal(first.coefficients, second.coefficients)
    np.testing.assert_array_equal(first.held_out, third.held_out)


def test_critical_values_that_fail_their_check_make_an_interval_invalid(of_gaussian: neyman.CriticalValues) -> None:
    broken = dataclasses.replace(of_gaussian, held_out=0.5 * of_gaussian.held_out)
    assert not broken.check(0.9).passed
    assert "failed" in repr(broken)
    data = [1.0, 1.5]
    result = neyman.interval(data, gaussian(), 0.9, calibration="quantile", critical=broken)
    assert not result.valid
    assert "learned critical values at 90 % cover only 7" in result.message
    assert neyman.interval(data, gaussian(), 0.9, calibration="quantile", critical=of_gaussian).valid


def test_nuisance_parameters_beyond_what_was_learned_are_told(with_nuisances: neyman.CriticalValues) -> None:
    model, _ = uncorrelated()
    data = [80.0, 70.0, *(1.5 * np.array(model.config.auxdata))]  # control measurements that pull by eight deviations
    result = neyman.interval(data, model, calibration="quantile", critical=with_nuisances)
    assert not result.valid
    assert "nuisance parameters fit outside the range" in result.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_stat": "qmu"}, "are of tmu_tilde, not of qmu"),
        ({"source": "model"}, "toys of the simulation, not of the model"),
        ({"bounds": {"mu": (0.0, 25.0)}}, r"with the bounds \(0, 30\) of mu"),
        ({"level": 0.9999}, "a level of 0.9999 takes 200000 at least"),
        ({"level": 1.0}, r"between 0\.5 and 1"),
        ({"nuisance": "best"}, "'profile' or 'worst'"),
        ({"n_toys": 0}, "at least 1"),
        ({"poi_values": [0.0, 25.0]}, r"mu = 25 is outside \(0, 20\), where critical values were learned"),
        ({"data": [27.0]}, r"the best fit is mu = 2[34].*, outside \(0, 20\)"),
        ({"model": gaussian(), "data": [1.0, 1.0]}, "learned for another model"),
        ({"calibration": "toys"}, "for calibration='quantile'"),
    ],
)
def test_critical_values_of_something_else_get_one_line(
    of_counts: neyman.CriticalValues, options: dict[str, Any], message: str
) -> None:
    call = {"data": [5.0], "model": counting(), "calibration": "quantile", "critical": of_counts, **options}
    with pytest.raises(InvalidParameter, match=message) as caught:
        neyman.interval(**call)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_toys": 0}, "at least 1"),
        ({"n_toys": 100}, "too few to learn critical values at a level of 0.95: take 400"),
        ({"level": 0.0}, r"between 0\.5 and 1"),
        ({"test_stat": "t"}, "choose from tmu, tmu_tilde"),
        ({"source": "data"}, "'simulation' or 'model'"),
        ({"poi_range": (0.0, 40.0)}, r"two values of mu within \(0, 30\)"),
        ({"poi_range": (3.0, 3.0)}, "two values of mu"),
        ({"poi_range": 3.0}, "two values"),
        ({"fixed": {"mu": 1.0}}, "mu is fixed"),
    ],
)
def test_wrong_arguments_get_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message) as caught:
        neyman.critical_values(counting(), **options)
    assert "\n" not in str(caught.value)


def test_a_truth_beyond_what_was_learned_has_no_coverage(of_counts: neyman.CriticalValues) -> None:
    with pytest.raises(InvalidParameter, match=r"mu = 22 is outside \(0, 20\)"):
        neyman.coverage(counting(), [[22.0]], 0.9, "quantile", critical=of_counts)
    with pytest.raises(InvalidParameter, match="'profile' or 'worst'"):
        neyman.coverage(counting(), [[2.0]], 0.9, "quantile", critical=of_counts, nuisance="best")
