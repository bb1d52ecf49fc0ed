"""pyhf's own entry points, given a learned model."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest

import neyman


def test_fit_and_fixed_poi_fit(model, data):
    bestfit, twice_nll = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
    fixed, higher = pyhf.infer.mle.fixed_poi_fit(0.0, data, model, return_fitted_val=True)
    assert twice_nll < higher
    assert fixed[model.config.poi_index] == 0.0
    assert pyhf.infer.mle.twice_nll(bestfit, data, model)[0] == pytest.approx(float(twice_nll))


@pytest.mark.parametrize("optimizer", ["scipy", "minuit"])
def test_all_optimizers_find_the_same_minimum(model, data, optimizer):
    ours = neyman.fit(data, model)
    pyhf.set_backend("numpy", optimizer)
    bestfit = pyhf.infer.mle.fit(data, model)
    # in units of the uncertainty; scipy's SLSQP with numerical gradients is the least precise
    np.testing.assert_allclose((bestfit - ours.bestfit) / ours.uncertainty, 0.0, atol=0.02)


def test_our_optimizer_gives_uncertainties(model, data):
    pyhf.set_backend("numpy", neyman.optimizer())
    bestfit = pyhf.infer.mle.fit(data, model, return_uncertainties=True)
    ours = neyman.fit(data, model)
    np.testing.assert_allclose(bestfit[:, 1], ours.uncertainty, rtol=0.02)


@pytest.mark.parametrize("test_stat", ["q", "qtilde"])
def test_asymptotic_hypotest(model, data, test_stat):
    pyhf.set_backend("numpy", neyman.optimizer())
    cls, band = pyhf.infer.hypotest(1.0, data, model, test_stat=test_stat, return_expected_set=True)
    assert 0 < float(cls) < 1
    assert np.all(np.diff(np.array(band, dtype=float)) > 0)


def test_discovery_hypotest(model, data):
    pyhf.set_backend("numpy", neyman.optimizer())
    p_value = pyhf.infer.hypotest(0.0, data, model, test_stat="q0")
    assert 0 < float(p_value) < 0.5  # 30 signal events stand in the data


def test_toy_based_hypotest_agrees_with_asymptotics(model, data):
    pyhf.set_backend("numpy", neyman.optimizer())
    np.random.seed(5)
    asymptotic = float(pyhf.infer.hypotest(1.4, data, model, test_stat="qtilde", return_tail_probs=True)[1][0])
    toys = pyhf.infer.hypotest(
        1.4,
        data,
        model,
        test_stat="qtilde",
        calctype="toybased",
        ntoys=150,
        track_progress=False,
        return_tail_probs=True,
    )[1][0]
    # four binomial standard errors of 150 toys, and 0.03 for what asymptotics leave out
    assert float(toys) == pytest.approx(asymptotic, abs=4 * np.sqrt(0.25 / 150) * 2 * np.sqrt(asymptotic) + 0.03)


def test_upper_limits_by_scan_and_by_root_finding(model, data):
    pyhf.set_backend("numpy", neyman.optimizer())
    limits = pyhf.infer.intervals.upper_limits
    by_root, expected = limits.upper_limit(data, model, rtol=1e-3)
    by_scan, _ = limits.upper_limit(data, model, scan=np.linspace(0.5, 2.5, 41))
    ours = neyman.limit(data, model)
    assert float(by_root) == pytest.approx(ours.observed, rel=0.01)
    assert float(by_scan) == pytest.approx(ours.observed, rel=0.01)
    np.testing.assert_allclose(np.array(expected, dtype=float), ours.expected, rtol=0.01)


def test_an_asimov_fit_returns_its_parameters(model):
    pars = np.array(model.config.suggested_init())
    pyhf.set_backend("numpy", neyman.optimizer())
    bestfit = pyhf.infer.mle.fit(list(model.expected_data(pars)), model)
    np.testing.assert_allclose(bestfit, pars, atol=1e-3)


def test_main_and_auxiliary_data_are_joined_as_in_pyhf(model, data):
    main = data[: data.size - model.config.nauxdata]
    joined = list(main) + model.config.auxdata
    pars = np.array(model.config.suggested_init())
    assert model.logpdf(pars, joined) == model.logpdf(pars, data)
    whole = model.mainlogpdf(main, pars) + model.constraint_logpdf(np.array(model.config.auxdata), pars)
    assert whole == pytest.approx(model.logpdf(pars, data)[0])


def test_lists_of_settings_are_fresh(model):
    for setting in (model.config.suggested_init, model.config.suggested_bounds, model.config.suggested_fixed):
        setting().clear()
        assert len(setting()) == model.config.npars


def test_sampling_returns_data_vectors(model):
    pdf = model.make_pdf(model.config.suggested_init())
    toy = pdf.sample()
    assert np.isfinite(pdf.log_prob(toy))
    assert len(pdf.sample((7,))) == 7
    assert len(pdf[0].expected_data()) + len(pdf[1].expected_data()) == len(pdf.expected_data())
