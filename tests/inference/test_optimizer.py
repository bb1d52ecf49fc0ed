"""The gradient optimizer: pyhf's entry points give pyhf's results, with far fewer evaluations."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest

import neyman
from neyman.inference.curvature import inverse, positive
from neyman.inference.minimise import minuit
from neyman.inference.twice_nll import TwiceNLL

SPEC = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec


class Counted(neyman.Model):
    """A model that counts its evaluations."""

    evaluations = 0

    def evaluate(self, pars, data):
        self.evaluations += 1
        return super().evaluate(pars, data)


@pytest.fixture
def model():
    return Counted(SPEC, {}, poi_name="mu")


@pytest.fixture
def data(model):
    return np.array([70.0, 65.0, *model.config.auxdata])


@pytest.fixture(autouse=True)
def _restore_backend():
    yield
    pyhf.set_backend("numpy")


def _fit(optimizer, data, model, **options):
    pyhf.set_backend("numpy", optimizer)
    return pyhf.infer.mle.fit(data, model, **options)


@pytest.mark.parametrize("stitch", [False, True])
@pytest.mark.parametrize("fixed", [None, [False, False, True], [True, False, False]])
def test_fit_is_that_of_pyhf(model, data, stitch, fixed):
    wanted = {"return_uncertainties": True, "return_correlations": True, "return_fitted_val": True}
    options = {**wanted, "do_stitch": stitch, "fixed_params": fixed}
    ours = _fit(neyman.optimizer(), data, model, **options)
    plain = pyhf.Model(SPEC, poi_name="mu")
    theirs = _fit(pyhf.optimize.minuit_optimizer(tolerance=1e-3), data, plain, **options)
    np.testing.assert_allclose(ours[0][:, 0], theirs[0][:, 0], atol=2e-3)
    np.testing.assert_allclose(ours[0][:, 1], theirs[0][:, 1], rtol=1e-2)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-2)
    assert ours[2] == pytest.approx(theirs[2], abs=1e-4)


def test_result_object_has_all_parameters_for_callers_that_look_into_it(model, data):
    fixed = [False, True, False]
    _, result = _fit(neyman.optimizer(), data, model, return_result_obj=True, fixed_params=fixed)
    assert list(result.minuit.fixed) == fixed
    assert list(result.minuit.parameters) == model.config.par_names
    _, theirs = _fit(
        pyhf.optimize.minuit_optimizer(tolerance=1e-3), data, model, return_result_obj=True, fixed_params=fixed
    )
    np.testing.assert_allclose(result.unc, theirs.unc, rtol=1e-2)


def test_hypotest_is_that_of_pyhf(model, data):
    pyhf.set_backend("numpy", neyman.optimizer())
    ours = pyhf.infer.hypotest(1.5, data, model, return_expected_set=True)
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    theirs = pyhf.infer.hypotest(1.5, data, pyhf.Model(SPEC, poi_name="mu"), return_expected_set=True)
    assert float(ours[0]) == pytest.approx(float(theirs[0]), abs=1e-3)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-3)


def test_gradient_saves_evaluations(model, data):
    _fit(pyhf.optimize.minuit_optimizer(), data, model)
    numerical, model.evaluations = model.evaluations, 0
    _fit(neyman.optimizer(), data, model)
    assert 3 * model.evaluations < numerical


def test_a_plain_model_is_fitted_as_pyhf_does(data):
    plain = pyhf.Model(SPEC, poi_name="mu")
    ours = _fit(neyman.optimizer(tolerance=0.1), data, plain)
    theirs = _fit(pyhf.optimize.minuit_optimizer(), data, plain)
    assert ours.tolist() == theirs.tolist()


def test_another_objective_is_minimised_as_pyhf_does(model, data):
    def shifted(pars, data, pdf):
        return pyhf.infer.mle.twice_nll(pars, data, pdf) + 5.0

    config = model.config
    arguments = (data, model, config.suggested_init(), config.suggested_bounds())
    pyhf.set_backend("numpy")
    _, value = neyman.optimizer().minimize(shifted, *arguments, return_fitted_val=True)
    _, reference = neyman.optimizer().minimize(pyhf.infer.mle.twice_nll, *arguments, return_fitted_val=True)
    assert float(value) == pytest.approx(float(reference) + 5.0, abs=1e-3)


@pytest.mark.parametrize("plain", [False, True])
def test_all_parameters_fixed_are_returned(model, data, plain):
    pdf = pyhf.Model(SPEC, poi_name="mu") if plain else model
    init = [0.5, 1.01, 0.99]
    options = {"init_pars": init, "fixed_params": [True] * 3}
    pars, value = _fit(neyman.optimizer(), data, pdf, return_fitted_val=True, **options)
    assert pars.tolist() == init
    assert float(value) == pytest.approx(-2.0 * float(pdf.logpdf(init, data)[0]))
    options |= {"return_uncertainties": True, "return_correlations": True, "return_result_obj": True}
    pars, correlations, result = _fit(neyman.optimizer(), data, pdf, **options)
    assert pars[:, 1].tolist() == [0.0, 0.0, 0.0]
    assert correlations.shape == (3, 3)
    assert result.success


def test_options_are_pyhfs(model, data):
    assert neyman.optimizer(tolerance=0.5, maxiter=7).tolerance == 0.5
    with pytest.raises(pyhf.exceptions.Unsupported, match="nonsense"):
        neyman.optimizer(nonsense=1)
    with pytest.raises(pyhf.exceptions.Unsupported, match="nonsense"):
        _fit(neyman.optimizer(), data, model, nonsense=1)
    _, result = _fit(neyman.optimizer(), data, model, return_result_obj=True, tolerance=0.5, strategy=1)
    assert (result.minuit.tol, result.minuit.strategy.strategy) == (0.5, 1)


def test_a_minimum_that_is_not_found_is_an_error_of_pyhf(model, data):
    with pytest.raises(pyhf.exceptions.FailedMinimization, match="Call limit was reached"):
        _fit(neyman.optimizer(maxiter=1, tolerance=1e-9), data, model, init_pars=[9.0, 2.0, 0.5])


@pytest.mark.parametrize("stitch", [False, True])
def test_a_parameter_may_be_fixed_outside_its_bounds(model, data, stitch):
    pyhf.set_backend("numpy", neyman.optimizer())
    config = model.config
    pars, result = neyman.optimizer().minimize(
        pyhf.infer.mle.twice_nll, data, model, config.suggested_init(), config.suggested_bounds(), [(0, 12.0)],
        return_result_obj=True, do_stitch=stitch,
    )  # fmt: skip
    assert pars[0] == 12.0
    assert result.fun == pytest.approx(neyman.fit(data, model, fixed={"mu": 12.0}).twice_nll, abs=1e-4)


def test_a_parameter_without_bounds_has_the_same_minimum(model, data):
    infinite = [(-np.inf, np.inf), (0.1, np.inf), (-np.inf, 5.0)]
    pars = _fit(neyman.optimizer(), data, model, par_bounds=infinite, return_uncertainties=True)
    expected = _fit(neyman.optimizer(), data, model, return_uncertainties=True)
    # the minimum to Minuit's tolerance of 0.01; Minuit's uncertainties bend where there are bounds
    np.testing.assert_allclose(pars[:, 0], expected[:, 0], atol=2e-3)
    np.testing.assert_allclose(pars[:, 1], expected[:, 1], rtol=1e-2)


def test_value_and_gradient_at_one_point_cost_one_evaluation(model, data):
    nll = TwiceNLL(model, data, [1.0, 1.0, 1.0], np.array([True, False, True]))
    point = np.array([0.9, 1.1])
    value, gradient = nll(point), nll.gradient(point)
    assert model.evaluations == 1
    logpdf, slope = model.evaluate(np.array([0.9, 1.0, 1.1]), data)
    assert value == -2.0 * logpdf
    np.testing.assert_array_equal(gradient, -2.0 * slope[[0, 2]])


def test_hessian_is_that_of_the_likelihood(model, data):
    nll = TwiceNLL(model, data, [1.0, 1.0, 1.0], np.ones(3, dtype=bool))
    pars, step = np.array([0.9, 1.0, 1.1]), 1e-5
    shifts = step * np.eye(3)
    expected = np.array([(nll.gradient(pars + s).copy() - nll.gradient(pars - s)) / (2 * step) for s in shifts])
    np.testing.assert_allclose(nll.hessian(pars, model.config.suggested_bounds()), expected, rtol=1e-3, atol=0.1)


def test_a_minimum_on_a_bound_is_found(model):
    data = np.array([0.0, 0.0, *model.config.auxdata])  # -2 log L falls linearly towards mu = 0
    nll = TwiceNLL(model, data, model.config.suggested_init(), np.ones(3, dtype=bool))
    minimiser = minuit(nll, model.config.suggested_init(), model.config.suggested_bounds())
    minimiser.strategy = 0
    minimiser.migrad()
    assert minimiser.valid
    assert minimiser.values[0] == pytest.approx(0.0, abs=1e-4)


def test_indefinite_matrices_are_made_positive_whatever_the_units():
    matrix = np.array([[1e-8, 1e-4], [1e-4, -1e6]])
    assert np.all(np.linalg.eigvalsh(positive(matrix)) > 0.0)
    definite = np.array([[1e-8, 1e-3], [1e-3, 1e6]])
    np.testing.assert_allclose(positive(definite), definite, rtol=1e-9)
    result, is_definite = inverse(definite)
    assert is_definite
    np.testing.assert_allclose(result @ definite, np.eye(2), atol=1e-6)


def test_a_direction_without_curvature_has_no_inverse():
    result, is_definite = inverse(np.array([[4.0, 0.0], [0.0, 0.0]]))
    assert not is_definite
    np.testing.assert_allclose(result, [[0.25, 0.0], [0.0, 0.0]])
