"""The significance of a discovery: pyhf's own, exact sums over the counts, and what is said of bad input."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import scipy.stats

import neyman
from neyman.exceptions import InvalidParameter, NeymanError
from neyman.results import SignificanceResult, from_json

PLAIN = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
BACKGROUND = 3.0


def data(counts: list[float]) -> list[float]:
    return [*counts, *PLAIN.config.auxdata]


def counting() -> neyman.Model:
    """A counting experiment: signal of mu events, known background."""
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [BACKGROUND], "modifiers": []},
    ]
    parameters = [{"name": "mu", "bounds": [[0.0, 30.0]], "inits": [1.0]}]
    return neyman.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}, {}, poi_name="mu")


@pytest.mark.parametrize("counts", [[70.0, 67.0], [55.0, 50.0], [40.0, 45.0]], ids=["excess", "small", "deficit"])
def test_the_asymptotic_p_values_are_those_of_pyhf(counts: list[float]) -> None:
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    found = neyman.significance(data(counts), PLAIN)
    p_value, expected = pyhf.infer.hypotest(0.0, data(counts), PLAIN, test_stat="q0", return_expected=True)
    assert found.p_value == pytest.approx(float(p_value), rel=1e-3)  # the fits of either are good to 1e-4 in q0
    assert found.significance == pytest.approx(scipy.stats.norm.isf(float(p_value)), abs=1e-3)
    assert scipy.stats.norm.sf(found.expected) == pytest.approx(float(expected), rel=1e-3)
    assert (found.p_error, found.error, found.toys) == (0.0, 0.0, 0)


def test_with_a_deficit_there_is_no_significance() -> None:
    found = neyman.significance(data([40.0, 45.0]), PLAIN)
    assert (found.statistic, found.p_value, found.significance) == (0.0, 0.5, 0.0)


@pytest.mark.parametrize("n", [3, 6, 9])
def test_on_toys_the_p_value_is_the_exact_one_of_the_count(n: int) -> None:
    found = neyman.significance([float(n)], counting(), "toys", n_toys=10_000, seed=n)
    exact = 1.0 if n <= BACKGROUND else scipy.stats.poisson.sf(n - 1, BACKGROUND)
    assert abs(found.p_value - exact) <= 4.0 * found.p_error  # a chance of 6e-5
    assert abs(found.significance - max(scipy.stats.norm.isf(exact), 0.0)) <= 4.0 * found.error + 1e-9
    assert found.toys == 10_000


def test_with_many_events_toys_and_the_asymptotic_formula_agree() -> None:
    toys = neyman.significance(data([65.0, 62.0]), PLAIN, calctype="toybased", n_toys=4000, seed=1)
    formula = neyman.significance(data([65.0, 62.0]), PLAIN, calctype="asymptotics")
    # with a hundred events the formula is good to some 0.1 standard deviations
    assert abs(toys.significance - formula.significance) < 4.0 * toys.error + 0.1


def test_where_no_toy_is_as_extreme_the_significance_is_a_lower_limit() -> None:
    found = neyman.significance([30.0], counting(), "toys", n_toys=500)
    assert found.p_value == 0.0
    assert found.p_error == pytest.approx(1.0 / 500)
    assert found.significance == pytest.approx(scipy.stats.norm.isf(1.0 / 500))
    assert "none of 500 toys has a statistic as large" in repr(found)


def test_the_executor_and_the_checkpoint_change_nothing(tmp_path: Path) -> None:
    options: dict[str, Any] = {"calibration": "toys", "n_toys": 1200, "seed": 5}
    first = neyman.significance(data([65.0, 62.0]), PLAIN, **options, checkpoint=tmp_path / "toys.npz")
    with ThreadPoolExecutor(2) as executor:
        second = neyman.significance(data([65.0, 62.0]), PLAIN, **options, executor=executor)
    third = neyman.significance(data([65.0, 62.0]), PLAIN, **options, checkpoint=tmp_path / "toys.npz")
    assert first.to_json() == second.to_json() == third.to_json()
    with pytest.raises(NeymanError, match="a checkpoint of other toys"):
        neyman.significance(data([65.0, 63.0]), PLAIN, **options, checkpoint=tmp_path / "toys.npz")


def test_it_prints_and_comes_back_from_json() -> None:
    for calibration in ("asymptotics", "toys"):
        found = neyman.significance(data([70.0, 67.0]), PLAIN, calibration, n_toys=500)
        again = from_json(found.to_json())
        assert isinstance(again, SignificanceResult)
        assert repr(again) == repr(found)
        assert "standard deviations" in repr(found)
        assert ("expected at mu = 1" in repr(found)) == (calibration == "asymptotics")
        assert "<td>significance</td>" in found._repr_html_()
    assert np.isnan(found.expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": "quantile"}, "it must be 'asymptotics' or 'toys'"),
        ({"calctype": "toy"}, "calctype is 'toy'"),
        ({"n_toys": 0}, "at least 1"),
        ({"source": "data"}, "'simulation' or 'model'"),
        ({"fixed": ["mu"]}, "mu is fixed"),
        ({"bounds": {"mu": (0.5, 10.0)}}, r"mu is to be tested at 0, outside its bounds \(0\.5, 10\)"),
        ({"model": neyman.Model(PLAIN.spec, {}, poi_name=None)}, "no parameter of interest"),
    ],
)
def test_wrong_arguments_get_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message) as caught:
        neyman.significance(**{"data": data([70.0, 67.0]), "model": PLAIN, **options})
    assert "\n" not in str(caught.value)
