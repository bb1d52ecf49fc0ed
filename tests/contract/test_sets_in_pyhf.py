"""pyhf's and cabinetry's entry points, given models whose networks look at whole datasets."""

from __future__ import annotations

import cabinetry
import numpy as np
import pyhf
import pytest
import simulators

import neyman
from neyman.inference import limits


@pytest.fixture(params=["deepset", "transformer", "workspace"])
def model(request, of_simulator, of_workspace) -> neyman.Model:
    pyhf.set_backend("numpy", neyman.optimizer())
    return of_workspace if request.param == "workspace" else of_simulator(request.param)


@pytest.fixture
def data(model) -> np.ndarray:
    if model.observed is not None:
        return model.observed
    return model.data(neyman.Ensemble({"events": simulators.onoff.draw([4.0, 1.1], seed=4)}))


@pytest.mark.parametrize("optimizer", ["scipy", "minuit", None])
def test_fits_find_the_same_minimum(model, data, optimizer):
    ours = neyman.fit(data, model)
    pyhf.set_backend("numpy", optimizer or neyman.optimizer())
    bestfit = pyhf.infer.mle.fit(data, model)
    # in units of the uncertainty; scipy's SLSQP with numerical gradients is the least precise
    np.testing.assert_allclose((bestfit - ours.bestfit) / ours.uncertainty, 0.0, atol=0.02)


def test_asymptotic_hypotest(model, data):
    cls, band = pyhf.infer.hypotest(2.0, data, model, test_stat="qtilde", return_expected_set=True)
    ours = limits.cls(2.0, data, model)
    assert float(cls) == pytest.approx(ours.observed, abs=0.01)
    np.testing.assert_allclose(np.array(band, dtype=float), ours.expected, atol=0.01)


def test_toy_based_hypotest_agrees_with_asymptotics(model, data):
    tested = neyman.limit(data, model, level=0.7).observed
    options = {"test_stat": "qtilde", "return_tail_probs": True}
    asymptotic = float(pyhf.infer.hypotest(tested, data, model, **options)[1][0])
    np.random.seed(5)
    toys = pyhf.infer.hypotest(tested, data, model, calctype="toybased", ntoys=40, track_progress=False, **options)[1]
    # four binomial standard errors of 40 toys, and 0.05 for what asymptotics leave out
    error = 4 * np.sqrt(asymptotic * (1 - asymptotic) / 40) + 0.05
    assert float(toys[0]) == pytest.approx(asymptotic, abs=error)


def test_upper_limit(model, data):
    observed, expected = pyhf.infer.intervals.upper_limits.upper_limit(data, model, rtol=1e-3)
    ours = neyman.limit(data, model)
    assert float(observed) == pytest.approx(ours.observed, rel=0.01)
    np.testing.assert_allclose(np.array(expected, dtype=float), ours.expected, rtol=0.01)


def test_cabinetry_fits_and_scans(model, data):
    theirs, ours = cabinetry.fit.fit(model, data, minos=["mu"]), neyman.fit(data, model, minos=["mu"])
    np.testing.assert_allclose((theirs.bestfit - ours.bestfit) / ours.uncertainty, 0.0, atol=0.02)
    np.testing.assert_allclose(theirs.minos_uncertainty["mu"], ours.minos["mu"], rtol=0.03)
    reach = ours.uncertainty[list(ours.names).index("mu")]
    scan = cabinetry.fit.scan(model, data, "mu", par_range=(ours["mu"] - reach, ours["mu"] + reach), n_steps=4)
    mine = neyman.scan(data, model, "mu", values=scan.parameter_values)
    np.testing.assert_allclose(scan.delta_nlls, mine.delta_twice_nll, atol=0.01)
