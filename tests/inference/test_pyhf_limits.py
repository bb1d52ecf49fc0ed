"""Limits, CLs, significances and toys against pyhf on a grid of small models, and where pyhf has no answer.

Asymptotic CLs is compared at fixed values of mu, where both take fits of 1e-5 in -2 log L or better: to 2e-3 absolute
(the root of q_A is uncertain by up to sqrt(2e-5) where q_A is small). A limit is compared by pyhf's CLs at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyhf
import pytest
import scipy.stats

import neyman
from neyman.exceptions import FailedFit, InvalidParameter

MU = {"name": "mu", "type": "normfactor", "data": None}
NORM = {"name": "norm", "type": "normsys", "data": {"hi": 1.2, "lo": 0.85}}
FREE = {"name": "k", "type": "normfactor", "data": None}


def histosys(hi: list[float], lo: list[float]) -> dict[str, Any]:
    return {"name": "shape", "type": "histosys", "data": {"hi_data": hi, "lo_data": lo}}


def shapesys(*errors: float) -> dict[str, Any]:
    return {"name": "gamma", "type": "shapesys", "data": list(errors)}


def staterror(*errors: float) -> dict[str, Any]:
    return {"name": "stat", "type": "staterror", "data": list(errors)}


def spec(signal: tuple[Any, ...], background: tuple[Any, ...], **parameter: Any) -> dict[str, Any]:
    samples = [
        {"name": name, "data": list(data), "modifiers": list(modifiers)}
        for name, (data, *modifiers) in (("signal", (signal[0], MU, *signal[1:])), ("background", background))
    ]
    parameters = [{"name": "mu", **parameter}] if parameter else []
    return {"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}


def both(given: dict[str, Any]) -> tuple[neyman.Model, pyhf.Model]:
    return neyman.Model(given, {}, poi_name="mu"), pyhf.Model(given, poi_name="mu")


@pytest.fixture(autouse=True)
def _precise_reference() -> Iterator[None]:
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    yield
    pyhf.set_backend("numpy")


GRID = {
    "one bin": (spec(([5.0],), ([8.0], shapesys(2.0))), [9.0]),
    "no events": (spec(([5.0, 2.0],), ([8.0, 3.0], NORM)), [0.0, 0.0]),
    "no signal in a bin": (spec(([5.0, 0.0],), ([8.0, 3.0], NORM)), [7.0, 5.0]),
    "nothing expected in a bin": (spec(([5.0, 0.0],), ([8.0, 0.0], NORM)), [7.0, 0.0]),
    "no background in a bin, no events": (spec(([5.0, 1.0],), ([8.0, 0.0], NORM)), [7.0, 0.0]),
    "normsys on both": (spec(([5.0, 2.0], NORM), ([8.0, 30.0], NORM)), [12.0, 28.0]),
    "histosys": (spec(([5.0, 2.0],), ([8.0, 30.0], histosys([9.0, 27.0], [7.0, 33.0]))), [12.0, 28.0]),
    "staterror": (spec(([5.0, 2.0, 1.0],), ([8.0, 30.0, 50.0], staterror(1.0, 2.0, 5.0))), [9.0, 25.0, 49.0]),
    "shapesys in five bins": (
        spec(([1.0, 2.0, 3.0, 2.0, 1.0],), ([8.0, 7.0, 6.0, 5.0, 4.0], shapesys(1.0, 2.0, 1.0, 1.0, 0.5))),
        [7.0, 9.0, 11.0, 4.0, 4.0],
    ),
    "mu may be negative": (
        spec(([5.0, 2.0],), ([8.0, 30.0], NORM), bounds=[[-1.0, 10.0]], inits=[1.0]),
        [6.0, 25.0],
    ),
    "many events": (spec(([5e3, 2e3],), ([8e6, 3e6], NORM)), [8.001e6, 3.0e6]),
}


@pytest.mark.parametrize("test_stat", ["qtilde", "q"])
@pytest.mark.parametrize("name", GRID)
def test_cls_and_the_limit_are_those_of_pyhf(name: str, test_stat: str) -> None:
    given, counts = GRID[name]
    model, plain = both(given)
    data = [*counts, *model.config.auxdata]
    limit = neyman.limit(data, model, test_stat=test_stat)
    bounds = model.config.suggested_bounds()
    low = 0.0 if test_stat == "qtilde" else bounds[model.config.poi_index][0]  # pyhf leaves that to the user
    bounds[model.config.poi_index] = (low, 4.0 * max(10.0, limit.observed))
    for value in (0.5 * limit.observed, limit.observed, limit.expected[4]):
        observed, expected = pyhf.infer.hypotest(
            value, data, plain, test_stat=test_stat, return_expected_set=True, par_bounds=bounds
        )
        found = neyman.cls(value, data, model, test_stat=test_stat)
        assert found.observed == pytest.approx(float(observed), abs=2e-3)
        np.testing.assert_allclose(found.expected, np.ravel(expected), atol=2e-3)
    assert neyman.cls(limit.observed, data, model, test_stat=test_stat).observed == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1e4, 1e8])
def test_limits_scale_with_the_signal(scale: float) -> None:
    """The unit of mu is nothing but a unit: to the 1e-5 of the root finding."""
    counts = [12.0, 28.0]
    found = []
    for factor in (1.0, scale):
        model = both(spec(([5.0 * factor, 2.0 * factor], NORM), ([8.0, 30.0], NORM)))[0]
        result = neyman.limit([*counts, *model.config.auxdata], model)
        found.append(factor * np.array([result.observed, *result.expected]))
    np.testing.assert_allclose(found[1], found[0], rtol=5e-5)


@pytest.mark.parametrize("bounds", [(0.0, np.inf), (-np.inf, np.inf), (0.0, 1e9), (0.0, 0.3)])
def test_limits_do_not_depend_on_the_bounds_of_mu(bounds: tuple[float, float]) -> None:
    model, _ = both(spec(([5.0, 2.0],), ([8.0, 30.0], NORM)))
    data = [12.0, 28.0, *model.config.auxdata]
    reference = neyman.limit(data, model)
    found = neyman.limit(data, model, bounds={"mu": bounds})
    assert found.observed == pytest.approx(reference.observed, rel=5e-5)
    np.testing.assert_allclose(found.expected, reference.expected, rtol=5e-5)


def test_a_bound_that_cuts_a_result_off_is_named_with_what_to_write() -> None:
    model, _ = both(spec(([1.0],), ([50.0],), bounds=[[0.0, 10.0]], inits=[1.0]))
    interval = neyman.interval([90.0], model, calibration="asymptotics")
    assert not interval.valid
    assert "above its bound 10" in interval.message
    for message in (interval.message, neyman.significance([90.0], model).message):
        assert 'bounds={"mu": (0, 20)}' in message
        assert "bounds: [[0, 20]] for mu" in message
    assert neyman.limit([90.0], model).observed > 10.0  # which does not depend on the bound


# -- a bin with events and no background: L(mu = 0) is zero


def test_a_bin_without_background_has_the_limit_of_pyhf() -> None:
    model, plain = both(spec(([1.0, 3.0],), ([0.0, 8.0],)))
    result = neyman.limit([1.0, 9.0], model)
    pyhf.set_backend("numpy", "scipy")  # which, unlike Minuit, takes a model without nuisance parameters
    observed, expected = pyhf.infer.hypotest(result.observed, [1.0, 9.0], plain, return_expected_set=True)
    assert float(observed) == pytest.approx(0.05, abs=1e-4)
    assert float(expected[2]) == pytest.approx(neyman.cls(result.observed, [1.0, 9.0], model).expected[2], abs=1e-4)


def test_nuisance_parameters_without_signal_are_those_of_a_vanishing_signal() -> None:
    """No value of them makes L(mu = 0) larger than zero: the limit of the best fits for mu to 0 is the choice.

    Any background, however small, makes pyhf agree with it.
    """
    given = spec(([1.0, 3.0], NORM), ([0.0, 8.0], NORM))
    model = both(given)[0]
    data = [1.0, 9.0, *model.config.auxdata]
    found = neyman.limit(data, model)
    given["channels"][0]["samples"][1]["data"][0] = 1e-7
    nearly = neyman.limit(data, both(given)[0])
    assert found.observed == pytest.approx(nearly.observed, rel=1e-3)
    np.testing.assert_allclose(found.expected, nearly.expected, rtol=1e-3)


def test_events_that_are_impossible_without_signal_are_a_discovery() -> None:
    model, _ = both(spec(([1.0, 3.0],), ([0.0, 8.0],)))
    for calibration in ("asymptotics", "toys"):
        result = neyman.significance([3.0, 9.0], model, calibration=calibration, n_toys=100)
        assert (result.p_value, result.significance) == (0.0, np.inf)
        assert "channel SR, bin 1 has 3 events and an expected rate of 0" in result.message
    assert neyman.significance([0.0, 9.0], model).expected == np.inf


def test_the_interval_does_not_hold_a_value_at_which_the_data_are_impossible() -> None:
    model, _ = both(spec(([1.0, 3.0],), ([0.0, 8.0],)))
    result = neyman.interval([1.0, 3.0], model, level=0.95, n_toys=1000)
    assert result.p_values[0] == 0.0
    assert result.statistic[0] == np.inf
    assert result.scan[0] == 0.0
    assert result.intervals[0][0] > 0.0
    assert result.valid


def test_the_limit_without_any_background_is_exact_on_toys() -> None:
    """CLs is exp(-4 mu) without events; 8000 toys know 5 % to 5 %, and so the limit, ln 20 / 4, to 2 %."""
    model, _ = both(spec(([1.0, 3.0],), ([0.0, 0.0],)))
    result = neyman.limit([0.0, 0.0], model, calibration="toys", n_toys=8000)
    assert result.observed == pytest.approx(np.log(20.0) / 4.0, rel=0.08)
    np.testing.assert_allclose(result.expected, result.observed)  # every toy without signal is empty


def test_toys_agree_with_pyhf_where_a_bin_has_no_background() -> None:
    """Both CLs have the binomial error of their toys; four times the sum of them is allowed."""
    model, plain = both(spec(([1.0, 3.0],), ([0.0, 8.0], NORM)))
    data, n = [0.0, 9.0, *model.config.auxdata], 80
    np.random.seed(1)
    calculator = pyhf.infer.calculators.ToyCalculator(data, plain, ntoys=n, track_progress=False)
    with_signal, without, _ = (
        float(p) for p in calculator.pvalues(calculator.teststatistic(1.0), *calculator.distributions(1.0))
    )
    error = with_signal / without * np.sqrt(1 / (n * with_signal) + 1 / (n * without))
    found = neyman.cls(1.0, data, model, calibration="toys", n_toys=4000)
    assert abs(found.observed - with_signal / without) < 4.0 * error


# -- a signal that takes events away


def test_a_value_that_no_dataset_allows_is_excluded() -> None:
    """At mu = 2 the second bin has a rate of zero, beyond a negative one."""
    model, _ = both(spec(([10.0, -4.0],), ([5.0, 8.0],)))
    for value in (2.0, 3.0):
        for calibration in ("asymptotics", "toys"):
            result = neyman.cls(value, [6.0, 7.0], model, calibration=calibration, n_toys=200)
            assert result.observed == 0.0
            np.testing.assert_allclose(result.expected, 0.0, atol=1e-6)
    assert neyman.limit([6.0, 7.0], model).observed < 2.0


def test_toys_that_are_impossible_at_the_tested_value_count_as_least_compatible() -> None:
    """CLs of mu = 1 by exact sums: without signal the second bin may have events, with it none."""
    model, _ = both(spec(([4.0, -3.0],), ([2.0, 3.0],), bounds=[[0.0, 10.0]], inits=[0.5]))
    counts = np.arange(60)

    def log_pmf(mu: float) -> np.ndarray:
        rates = (2.0 + 4.0 * mu, 3.0 - 3.0 * mu)
        return np.add.outer(*(scipy.stats.poisson.logpmf(counts, rate) for rate in rates))

    grid = np.linspace(0.0, 1.0, 2001)
    best = np.full((60, 60), -np.inf)
    for mu in grid:
        best = np.maximum(best, log_pmf(mu))
    q = np.where(np.isfinite(log_pmf(1.0)), 2.0 * (best - log_pmf(1.0)), np.inf)
    above = q >= q[1, 0] - 1e-3
    p_with, p_without = (float(np.exp(log_pmf(mu))[above].sum()) for mu in (1.0, 0.0))
    n = 500
    found = neyman.cls(1.0, [1.0, 0.0], model, calibration="toys", n_toys=n)
    error = p_with / p_without * np.sqrt((1 - p_with) / (n * p_with) + (1 - p_without) / (n * p_without))
    assert abs(found.observed - p_with / p_without) < 4.0 * error


def test_where_no_dataset_exists_the_bin_and_the_parameters_are_named() -> None:
    model, _ = both(spec(([4.0, -3.0],), ([2.0, 3.0],), bounds=[[-5.0, 5.0]], inits=[0.0]))
    match = "channel SR, bin 2: the expected rate is -3 at mu = 2: no toys exist there"
    with pytest.raises(InvalidParameter, match=match):
        neyman.toys({"mu": 2.0}, model, 10)
    with pytest.raises(InvalidParameter, match=match):
        neyman.coverage(model, [{"mu": 2.0}], n_toys=10)


# -- CLs that does not fall, or not for good


@pytest.mark.parametrize("counts", [9.0, 25.0])
@pytest.mark.parametrize("calibration", ["asymptotics", "toys"])
def test_a_signal_that_another_free_factor_takes_back_has_no_limit(counts: float, calibration: str) -> None:
    model, _ = both(spec(([5.0], FREE), ([8.0],)))
    with pytest.raises(FailedFit, match=r"never falls below the level.* k, .* takes back what mu adds: fix k"):
        neyman.limit([counts], model, calibration=calibration, n_toys=100)


def test_a_factor_that_cannot_vanish_leaves_a_limit() -> None:
    given = spec(([5.0], FREE), ([8.0],))
    given["parameters"] = [{"name": "k", "bounds": [[0.01, 10.0]], "inits": [1.0]}]
    alone = neyman.limit([9.0], both(spec(([5.0],), ([8.0],)))[0])
    found = neyman.limit([9.0], both(given)[0])
    assert found.observed == pytest.approx(100.0 * alone.observed, rel=1e-3)


def test_a_systematic_that_can_take_the_whole_signal_away_leaves_no_limit() -> None:
    model, _ = both(spec(([5.0], histosys([10.0], [0.0])), ([8.0],)))
    with pytest.raises(FailedFit, match=r"shape, .* too weakly constrained"):
        neyman.limit([9.0, *model.config.auxdata], model)


def test_an_interval_without_an_end_says_why() -> None:
    model, _ = both(spec(([5.0], FREE), ([8.0],)))
    with pytest.raises(FailedFit, match=r"k, .* takes back what mu adds"):
        neyman.interval([20.0], model, calibration="asymptotics", bounds={"mu": (0.0, np.inf)})


def test_a_limit_by_interval_may_have_an_infinite_bound() -> None:
    model, _ = both(spec(([5.0, 2.0],), ([8.0, 30.0], NORM)))
    data, bounds = [12.0, 28.0, *model.config.auxdata], {"mu": (-np.inf, np.inf)}
    upper = neyman.interval(data, model, test_stat="qmu", calibration="asymptotics", bounds=bounds)
    lower = neyman.interval(data, model, test_stat="q0", calibration="asymptotics", bounds=bounds)
    assert upper.intervals[0][0] == -np.inf
    assert lower.intervals[0][1] == np.inf
    assert upper.valid
    assert lower.valid
    assert neyman.results.from_json(upper.to_json()).intervals == upper.intervals


def test_cls_is_a_number_where_both_p_values_are_too_small_for_one() -> None:
    """A strong deficit: the ratio of two tails of 60 standard deviations; pyhf divides zero by zero."""
    model, _ = both(spec(([1.0],), ([1e4],)))
    values = [neyman.cls(value, [4000.0], model).observed for value in (1e-3, 0.1, 1.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(1.0, abs=0.01)
    assert values[-1] > 0.0


def test_any_other_likelihood_has_limits_and_significances() -> None:
    """One with ``evaluate``, ``expected_data`` and pyhf's ``config``, and no more."""
    model, _ = both(spec(([5.0, 2.0],), ([8.0, 30.0], NORM)))

    class Likelihood:
        config, evaluate, expected_data = model.config, model.evaluate, model.expected_data

    data: list[float] = [12.0, 28.0, *model.config.auxdata]
    other: Any = Likelihood()
    # to the 1e-5 of the root finding: the steps of the fits are not the same
    assert neyman.limit(data, other).observed == pytest.approx(neyman.limit(data, model).observed, rel=5e-5)
    assert neyman.significance(data, other).p_value == pytest.approx(neyman.significance(data, model).p_value, rel=1e-3)
