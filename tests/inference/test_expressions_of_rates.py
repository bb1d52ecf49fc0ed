"""Fits, scans, limits and intervals where rates are expressions of the parameter of interest: against a fine grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import gammaln

import neyman
from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.batch import fit_batch
from neyman.model.toys import draw

SIGNAL, BACKGROUND = np.array([12.0, 25.0, 8.0]), np.array([90.0, 60.0, 30.0])
INTERFERENCE = np.array([-30.0, -22.0, 6.0])  # so that small and large signals look alike: two maxima
ROOTS = np.linspace(0.0, np.sqrt(10.0), 20001)  # of mu, in which the likelihood is smooth
RATES = np.outer(ROOTS**2, SIGNAL) + np.outer(ROOTS, INTERFERENCE) + BACKGROUND


def off_shell(low: float = 0.0, expressions: str = "(mu - sqrt(mu), sqrt(mu), 1 - sqrt(mu))") -> neyman.Model:
    def sample(name: str, rates: Any) -> dict[str, Any]:
        return {"name": name, "data": list(rates), "modifiers": [{"name": f"c_{name}", "type": "purefunc"}]}

    samples = [sample("S", SIGNAL), sample("SBI", SIGNAL + INTERFERENCE + BACKGROUND), sample("B", BACKGROUND)]
    bindings = [{"names": ["c_S", "c_SBI", "c_B"], "expression": expressions, "language": "sympy"}]
    parameters = [{"name": "mu", "bounds": [[low, 10.0]]}]
    spec = {"channels": [{"name": "SR", "samples": samples}], "bindings": bindings, "parameters": parameters}
    return neyman.Model(spec, {}, poi_name="mu")


def on_grid(counts: Any) -> np.ndarray:
    """Return -2 log L at all values of the root of mu."""
    return np.asarray(2.0 * (RATES - counts * np.log(RATES) + gammaln(np.asarray(counts) + 1.0)).sum(axis=1))


@pytest.mark.parametrize("truth", [0.0, 0.3, 2.0])
def test_fits_of_toys_find_the_higher_of_two_maxima(truth):
    model = off_shell()
    toys = draw([truth], model, 150, seed=5)
    lowest = np.array([on_grid(counts).min() for counts in toys.main])
    batch = fit_batch(model, toys)
    assert batch.valid.all()
    assert np.mean(np.abs(batch.twice_nll - lowest) < 1e-3) > 0.98  # a dozen values a toy may miss a narrow valley
    for counts, known in zip(toys.main[:8], lowest[:8], strict=True):
        assert neyman.fit(counts, model).twice_nll == pytest.approx(known, abs=1e-4)


@pytest.mark.parametrize("low", [0.0, -3.0])
def test_a_fit_may_start_and_end_where_the_slope_is_infinite(low):
    model = off_shell(low)
    fit = neyman.fit(BACKGROUND + 5.0, model, init={"mu": 0.0})
    assert fit.valid
    assert fit["mu"] == 0.0
    assert fit.at_bound == {"mu": "lower"}
    away = neyman.fit(RATES[10000], model, init={"mu": 0.0})
    assert away.valid
    assert away["mu"] == pytest.approx(ROOTS[10000] ** 2, rel=1e-3)


def test_scans_are_those_of_the_grid_and_infinite_outside_of_the_domain():
    model, counts = off_shell(-1.0), np.array([70.0, 55.0, 30.0])
    twice_nll = on_grid(counts)
    values = ROOTS[::500] ** 2
    scan = neyman.scan(counts, model, "mu", values)
    np.testing.assert_allclose(scan.delta_twice_nll, twice_nll[::500] - twice_nll.min(), atol=1e-3)
    assert neyman.scan(counts, model, "mu", [-0.5, 1.0]).delta_twice_nll[0] == np.inf


@pytest.mark.parametrize("counts", [(62, 52, 33), (70, 60, 40), (92, 58, 30), (75, 75, 50)])
def test_asymptotic_intervals_are_where_the_ratio_on_the_grid_is_below_one(counts):
    ratio = on_grid(np.array(counts)) - on_grid(np.array(counts)).min()
    inside = ratio < 1.0
    ends = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    expected = [(ROOTS[a] ** 2, ROOTS[b - 1] ** 2) for a, b in ends.reshape(-1, 2)]
    data = np.array(counts, dtype=float)
    result = neyman.interval(data, off_shell(), level=0.6827, test_stat="tmu", calibration="asymptotics")
    assert len(result.intervals) == len(expected)
    np.testing.assert_allclose(result.intervals, expected, atol=2e-3)


def test_limits_are_those_of_the_same_likelihood_in_the_root():
    # the same model with the root as its parameter of interest, squared: no slope is infinite there
    model, root = off_shell(), off_shell(0.0, "(mu**2 - mu, mu, 1 - mu)")
    for counts in (BACKGROUND, np.array([75.0, 62.0, 40.0])):
        ours, theirs = neyman.limit(counts, model), neyman.limit(counts, root)
        assert ours.observed == pytest.approx(theirs.observed**2, rel=2e-3)
        np.testing.assert_allclose(ours.expected, np.square(theirs.expected), rtol=5e-3)


def test_coverage_of_toys_in_the_presence_of_two_maxima():
    model = off_shell()
    result = neyman.coverage(model, [{"mu": 0.5}], level=0.68, calibration="toys", n_toys=300, n_calibration=500)
    assert abs(result.coverage[0] - 0.68) < 3.0 * result.error[0] + 0.02


def test_a_dataset_without_domain_says_why():
    model = off_shell(-3.0)
    with pytest.raises(FailedFit, match=r"c_B is 1 - sqrt\(mu\), which has no value at mu = -1 within the bounds"):
        neyman.fit(BACKGROUND, model, fixed={"mu": -1.0})
    with pytest.raises(InvalidParameter, match=r"has no value at mu = -1: no toys exist there"):
        neyman.toys([-1.0], model, 10)


def test_a_negative_rate_names_the_sample_the_parameters_and_the_events():
    def sample(name: str, rate: float, *modifiers: str) -> dict[str, Any]:
        return {"name": name, "data": [rate], "modifiers": [{"name": m, "type": "purefunc"} for m in modifiers]}

    bindings = [{"names": ["linear"], "expressions": "coupling", "language": "sympy"}]
    samples = [sample("interference", -30.0, "linear"), sample("background", 50.0)]
    spec = {"channels": [{"name": "SR", "samples": samples}], "bindings": bindings}
    model = neyman.Model(spec, {}, poi_name="coupling")
    message = (
        "channel SR, bin 1 has 12 observed events but an expected rate of -40 at coupling = 3; its sample interference "
        "has a rate of -90"
    )
    with pytest.raises(FailedFit, match=message):
        neyman.fit([12.0], model, fixed={"coupling": 3.0})
    with pytest.raises(InvalidParameter, match="is -40 at coupling = 3: no toys exist there; its sample interference"):
        neyman.toys([3.0], model, 10)
    assert neyman.fit([12.0], model)["coupling"] == pytest.approx(38.0 / 30.0, rel=1e-4)
