"""Every function of cabinetry.fit, given a learned model."""

from __future__ import annotations

import cabinetry
import numpy as np
import pytest

import neyman
from neyman.exceptions import Unsupported


@pytest.mark.parametrize("custom_fit", [False, True])
def test_fit(model, data, custom_fit):
    theirs = cabinetry.fit.fit(model, data, minos=["mu"], custom_fit=custom_fit)
    ours = neyman.fit(data, model, minos=["mu"])
    assert theirs.labels == list(ours.names)
    np.testing.assert_allclose((theirs.bestfit - ours.bestfit) / ours.uncertainty, 0.0, atol=0.02)
    np.testing.assert_allclose(theirs.uncertainty, ours.uncertainty, rtol=0.03)
    np.testing.assert_allclose(theirs.minos_uncertainty["mu"], ours.minos["mu"], rtol=0.03)


def test_goodness_of_fit_is_refused(model, data):
    with pytest.raises(Unsupported, match="goodness of fit"):
        cabinetry.fit.fit(model, data, goodness_of_fit=True)


def test_ranking(model, data):
    ranking = cabinetry.fit.ranking(model, data)
    assert set(ranking.labels) == set(model.config.par_names) - {"mu"}
    assert np.all(np.isfinite(ranking.postfit_up))


def test_scan(model, data):
    theirs = cabinetry.fit.scan(model, data, "mu", par_range=(0.2, 1.4), n_steps=4)
    ours = neyman.scan(data, model, "mu", values=theirs.parameter_values)
    np.testing.assert_allclose(theirs.delta_nlls, ours.delta_twice_nll, atol=0.01)


def test_limit(model, data):
    theirs = cabinetry.fit.limit(model, data)
    ours = neyman.limit(data, model)
    assert theirs.observed_limit == pytest.approx(ours.observed, rel=0.01)
    np.testing.assert_allclose(theirs.expected_limit, ours.expected, rtol=0.01)


def test_significance(model, data):
    result = cabinetry.fit.significance(model, data)
    assert result.observed_significance > 1
    assert result.expected_significance > 1


def test_prediction(model, data):
    prediction = cabinetry.model_utils.prediction(model)
    assert len(prediction.model_yields) == len(model.config.channels)


def test_asimov_data(model):
    pars = cabinetry.model_utils.asimov_parameters(model)
    result = cabinetry.fit.fit(model, list(cabinetry.model_utils.asimov_data(model)))
    np.testing.assert_allclose(result.bestfit, pars, atol=1e-2)
