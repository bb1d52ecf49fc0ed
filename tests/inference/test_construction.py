"""The Neyman construction: Feldman and Cousins' table, exact constructions, and what is said of bad input."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import scipy.stats

import neyman
from neyman.exceptions import InvalidParameter, NeymanError
from neyman.inference.construction import distribution
from neyman.inference.statistics import statistic_named
from neyman.results import IntervalResult, from_json

BACKGROUND, LEVEL = 3.0, 0.9
# arXiv:physics/9711021, table IV, b = 3.0. For n = 0 it has 1.08 instead of 0.95: there the paper lengthens intervals
# so that their ends never rise with the background, which is not part of the construction.
TABLE = {
    1: (0.00, 1.88), 2: (0.00, 3.04), 3: (0.00, 4.42), 4: (0.00, 5.60), 5: (0.00, 6.99),
    6: (0.15, 8.47), 7: (0.89, 9.53), 8: (1.51, 10.99), 9: (1.88, 12.30), 10: (2.63, 13.50),
}  # fmt: skip


def counting(low: float = 0.0) -> neyman.Model:
    """A counting experiment: signal of mu events, known background."""
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [BACKGROUND], "modifiers": []},
    ]
    parameters = [{"name": "mu", "bounds": [[low, 30.0]], "inits": [1.0]}]
    return neyman.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}, {}, poi_name="mu")


def exact_p_value(n: int, mu: float, test_stat: str = "tmu_tilde") -> float:
    """Return the p-value of n events, by adding up the probabilities of all counts."""
    counts = np.arange(100)
    best = np.maximum(counts - BACKGROUND, 0.0)
    logs = [scipy.stats.poisson.logpmf(counts, mean + BACKGROUND) for mean in (best, mu)]
    t = statistic_named(test_stat).of_fits(mu, best, -2 * logs[0], -2 * logs[1])
    return float(scipy.stats.poisson.pmf(counts, mu + BACKGROUND)[t >= t[n] - 1e-9].sum())


def exact_interval(n: int, test_stat: str = "tmu_tilde", level: float = LEVEL) -> tuple[float, float]:
    grid = np.arange(0.0, 20.0, 0.01)
    accepted = [mu for mu in grid if exact_p_value(n, mu, test_stat) > 1 - level]
    return float(accepted[0]), float(accepted[-1])


def uncorrelated() -> tuple[neyman.Model, list[float]]:
    spec = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec
    model = neyman.Model(spec, {}, poi_name="mu")
    return model, [80.0, 70.0, *model.config.auxdata]


def agree(found: float, expected: float, error: float) -> bool:
    return abs(found - expected) <= 4.0 * error + 0.02


@pytest.mark.parametrize("n", sorted(TABLE))
def test_the_table_of_feldman_and_cousins(n: int) -> None:
    result = neyman.interval([float(n)], counting(), level=LEVEL, n_toys=4000, seed=n)
    assert len(result.intervals) == 1
    for found, error, published, exact in zip(
        result.intervals[0], result.errors[0], TABLE[n], exact_interval(n), strict=True
    ):
        assert exact == pytest.approx(published, abs=0.02)
        assert agree(found, exact, error)
        assert error < 0.15


def test_an_end_beside_a_flat_p_value_is_not_said_to_be_certain() -> None:
    # from 1.39 to 1.51 the p-value is within one Monte Carlo error of the threshold
    for seed in range(12):
        result = neyman.interval([8.0], counting(), level=LEVEL, n_toys=4000, seed=seed)
        assert abs(result.intervals[0][0] - 1.505) < 3.0 * result.errors[0][0]


def test_no_events_at_all() -> None:
    result = neyman.interval([0.0], counting(), level=LEVEL)
    assert agree(result.intervals[0][1], exact_interval(0)[1], result.errors[0][1])


@pytest.mark.parametrize("test_stat", ["qmu", "qmu_tilde", "q0", "tmu"])
def test_other_statistics_give_their_exact_intervals(test_stat: str) -> None:
    result = neyman.interval([7.0], counting(), level=LEVEL, test_stat=test_stat, seed=1)
    low, high = exact_interval(7, test_stat)
    assert agree(result.intervals[0][0], low, result.errors[0][0])
    if test_stat == "q0":
        assert result.intervals[0][1] == 30.0  # a lower limit
    else:
        assert agree(result.intervals[-1][1], high, result.errors[-1][1])


def test_p_values_and_critical_values_carry_their_monte_carlo_errors() -> None:
    values = [0.5, 2.2, 6.1]
    result = neyman.interval([5.0], counting(), level=LEVEL, poi_values=values, n_toys=3000)
    for value in values:
        i = int(np.flatnonzero(result.scan == value)[0])
        assert abs(result.p_values[i] - exact_p_value(5, value)) < 4 * result.p_errors[i]
    assert np.all(result.critical_errors >= 0)
    assert np.any(result.critical_errors > 0)
    assert np.all((result.statistic <= result.critical + 1e-3) == (result.p_values > 1 - LEVEL))


def test_a_decision_that_is_certain_takes_fewer_toys() -> None:
    result = neyman.interval([5.0], counting(), level=LEVEL, n_toys=8000)
    assert result.toys.min() == 500
    assert result.toys.max() == 8000
    far = np.abs(result.p_values - (1 - LEVEL)) > 0.3
    assert np.all(result.toys[far] == 500)


def test_the_grid_refines_itself_about_the_ends() -> None:
    result = neyman.interval([5.0], counting(), level=LEVEL, n_toys=4000, seed=1)
    widths = np.diff(result.scan)
    for end, error in zip(result.intervals[0][1:], result.errors[0][1:], strict=True):
        near = np.abs(result.scan[:-1] - end) < 2.0 * error  # the p-value's own errors decide where exactly
        assert widths[near].min() < 0.1 * widths.max()


def gaussian_interval(x0: float, level: float) -> tuple[float, float]:
    """Return Feldman and Cousins' interval of a mean that is not negative, measured as x0 with unit error."""
    x = np.linspace(-8.0, 16.0, 24_001)
    accepted = []
    for mu in np.arange(0.0, 8.0, 0.01):
        t, observed = ((y - mu) ** 2 - np.minimum(y, 0.0) ** 2 for y in (x, np.array(x0)))
        probability = scipy.stats.norm.pdf(x, mu) * (x[1] - x[0])
        if probability[t >= observed].sum() > 1 - level:
            accepted.append(mu)
    return float(accepted[0]), float(accepted[-1])


@pytest.mark.parametrize("calibration", ["toys", "asymptotics"])
@pytest.mark.parametrize(("x0", "published"), [(-1.0, 0.81), (1.5, 3.14), (3.0, 4.64)])
def test_a_gaussian_near_its_bound_has_the_interval_of_feldman_and_cousins(
    x0: float, published: float, calibration: str
) -> None:
    expected = gaussian_interval(x0, 0.9)
    assert expected[1] == pytest.approx(published, abs=0.02)  # arXiv:physics/9711021, table X
    # a count with so much background is a Gaussian
    normfactor = {"name": "mu", "type": "normfactor", "data": None}
    signal = {"name": "signal", "data": [1e4], "modifiers": [normfactor]}
    samples = [signal, {"name": "background", "data": [1e8], "modifiers": []}]
    parameters = [{"name": "mu", "bounds": [[0.0, 20.0]], "inits": [1.0]}]
    spec = {"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}
    model = neyman.Model(spec, {}, poi_name="mu")
    result = neyman.interval([1e8 + 1e4 * x0], model, level=0.9, calibration=calibration)
    for found, end, error in zip(result.intervals[0], expected, result.errors[0], strict=True):
        assert agree(found, end, error)


def test_with_many_events_toys_and_asymptotic_formulas_agree() -> None:
    model, data = uncorrelated()
    toys, formulas = (neyman.interval(data, model, calibration=c) for c in ("toys", "asymptotics"))
    for found, expected, error in zip(toys.intervals[0], formulas.intervals[0], toys.errors[0], strict=True):
        assert abs(found - expected) < 4 * error + 0.01
    scan = neyman.scan(data, model, "mu", formulas.intervals[0])
    np.testing.assert_allclose(scan.delta_twice_nll, scipy.stats.chi2.ppf(0.68, 1), atol=1e-3)


def test_a_disconnected_interval_is_given_in_pieces() -> None:
    # two POI values far apart predict the same count: mu enters through its square
    signal = {"name": "mu", "type": "normfactor", "data": None}
    samples = [{"name": "signal", "data": [1.0], "modifiers": [signal]}]
    model = neyman.Model({"channels": [{"name": "SR", "samples": samples}]}, {}, poi_name="mu")
    grid = np.linspace(0.0, 20.0, 21)
    result = neyman.interval(
        [25.0], _Folded(model), 0.9, "tmu", "asymptotics", poi_values=grid, bounds={"mu": (0.0, 20.0)}, init={"mu": 4.0}
    )
    assert len(result.intervals) == 2
    assert [sum(pair) / 2 for pair in result.intervals] == pytest.approx([5.0, 15.0], abs=0.3)
    assert " and " in repr(result)


class _Folded:
    """A counting experiment with the mean (mu - 10)^2, which two values of mu share."""

    def __init__(self, model: neyman.Model) -> None:
        self._model, self.config = model, model.config

    def evaluate(self, pars: Any, data: Any) -> tuple[float, np.ndarray]:
        distance = float(pars[0]) - 10.0
        value, gradient = self._model.evaluate([max(distance**2, 1e-9)], data)
        return value, gradient * 2 * distance


def test_an_empty_interval_says_so() -> None:
    result = neyman.interval([3.0], counting(), level=LEVEL, poi_values=[20.0, 25.0, 30.0], n_toys=500)
    assert result.intervals == ()
    assert not result.valid
    assert "empty" in repr(result)
    assert "no tested value from 20 to 30 is accepted: the largest p-value" in result.message


def test_an_interval_that_the_grid_cuts_off_says_so() -> None:
    result = neyman.interval([5.0], counting(), level=LEVEL, poi_values=[1.0, 2.0, 3.0], n_toys=500)
    assert result.intervals == ((1.0, 3.0),)
    assert not result.valid
    assert "below 1 and above 3" in result.message


def test_the_executor_and_repetition_change_nothing() -> None:
    model, data = uncorrelated()
    first = neyman.interval(data, model, n_toys=1000, seed=5)
    with ThreadPoolExecutor(3) as executor:
        second = neyman.interval(data, model, n_toys=1000, seed=5, executor=executor)
    assert first.to_json() == second.to_json()
    assert neyman.interval(data, model, n_toys=1000, seed=6).to_json() != first.to_json()


def test_an_interrupted_construction_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neyman.inference import throws

    path, thrown, draw = tmp_path / "toys.npz", itertools.count(1), throws.draw

    def interrupted(*args: Any, **options: Any) -> Any:
        if next(thrown) == 8:
            raise KeyboardInterrupt
        return draw(*args, **options)

    reference = neyman.interval([5.0], counting(), level=LEVEL, n_toys=1000)
    monkeypatch.setattr(throws, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        neyman.interval([5.0], counting(), level=LEVEL, n_toys=1000, checkpoint=path)
    before = next(thrown)
    result = neyman.interval([5.0], counting(), level=LEVEL, n_toys=1000, checkpoint=path)
    assert result.to_json() == reference.to_json()
    batches = int(np.ceil(result.toys / 500).sum())
    assert next(thrown) - before - 1 == batches - 7  # those that were done are not thrown again


def test_a_construction_that_goes_on_with_more_toys_is_the_one_that_had_them_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "toys.npz"
    neyman.interval([5.0], counting(), level=LEVEL, n_toys=700, checkpoint=path)  # the second batch is not full
    continued = neyman.interval([5.0], counting(), level=LEVEL, n_toys=2000, checkpoint=path)
    assert continued.to_json() == neyman.interval([5.0], counting(), level=LEVEL, n_toys=2000).to_json()


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toys.npz"
    neyman.interval([5.0], counting(), level=LEVEL, n_toys=500, checkpoint=path)
    with pytest.raises(NeymanError, match="a checkpoint of other toys"):
        neyman.interval([6.0], counting(), level=LEVEL, n_toys=500, checkpoint=path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(NeymanError, match=r"toys\.npz: not a checkpoint"):
        neyman.interval([5.0], counting(), level=LEVEL, n_toys=500, checkpoint=path)


def test_an_interval_comes_back_from_json() -> None:
    result = neyman.interval([9.0], counting(), level=LEVEL, calibration="asymptotics")
    again = from_json(result.to_json())
    assert isinstance(again, IntervalResult)
    assert again.intervals == result.intervals
    assert repr(again) == repr(result)
    assert "<td>" in again._repr_html_()


def test_the_distribution_of_a_statistic_is_that_of_the_counts() -> None:
    result = distribution(2.0, [7.0], counting(), n_toys=4000)
    assert result.statistic.size == 4000
    assert result.p_value == pytest.approx(exact_p_value(7, 2.0), abs=0.03)
    assert "observed" in repr(result)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"level": 0.0}, InvalidParameter, r"between 0\.5 and 1"),
        ({"level": 68.0}, InvalidParameter, r"between 0\.5 and 1"),
        ({"n_toys": 0}, InvalidParameter, "at least 1"),
        ({"n_toys": 10.5}, InvalidParameter, "whole number"),
        ({"test_stat": "tilde"}, InvalidParameter, "did you mean 'qtilde'"),
        ({"calibration": "wilks"}, InvalidParameter, "'toys', 'quantile' or 'asymptotics'"),
        ({"nuisance": "best"}, InvalidParameter, "it must be 'profile' or 'worst'"),
        ({"nuisance": "worst", "calibration": "asymptotics"}, InvalidParameter, "throws none: give calibration='toys'"),
        ({"source": "data"}, InvalidParameter, "'simulation' or 'model'"),
        ({"poi_values": [0.0, 31.0]}, InvalidParameter, r"at 31, outside its bounds \(0, 30\)"),
        ({"poi_values": [-1.0, 3.0]}, InvalidParameter, "at -1, outside"),
        ({"poi_values": [1.0]}, InvalidParameter, "at least two"),
        ({"poi_values": [float("nan"), 1.0]}, InvalidParameter, "finite numbers"),
        ({"poi_values": "abc"}, InvalidParameter, "finite numbers"),
        ({"fixed": {"mu": 1.0}}, InvalidParameter, "mu is fixed"),
        ({"executor": 3}, InvalidParameter, "takes no tasks"),
    ],
)
def test_wrong_arguments_get_one_line(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        neyman.interval([5.0], counting(), **options)
    assert "\n" not in str(caught.value)


def test_a_model_without_poi_has_no_interval() -> None:
    model = neyman.Model(uncorrelated()[0].spec, {}, poi_name=None)
    with pytest.raises(InvalidParameter, match="no parameter of interest"):
        neyman.interval([80.0, 70.0, *model.config.auxdata], model)
