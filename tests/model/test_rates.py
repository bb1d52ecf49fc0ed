"""Rates and constraint terms: pyhf's values, and derivatives as careful differences of pyhf give them."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest

from neyman.exceptions import Unsupported
from neyman.model.constraints import Constraints, constraints
from neyman.model.rates import Rates

CHANNELS = [
    {
        "name": "SR",
        "samples": [
            {
                "name": "signal",
                "data": [5.0, 8.0],
                "modifiers": [
                    {"name": "mu", "type": "normfactor", "data": None},
                    {"name": "lumi", "type": "lumi", "data": None},
                    {"name": "xsec", "type": "normsys", "data": {"hi": 1.1, "lo": 0.93}},
                ],
            },
            {
                "name": "background",
                "data": [50.0, 60.0],
                "modifiers": [
                    {"name": "lumi", "type": "lumi", "data": None},
                    {"name": "xsec", "type": "normsys", "data": {"hi": 0.9, "lo": 1.2}},
                    {"name": "xsec", "type": "histosys", "data": {"hi_data": [53.0, 55.0], "lo_data": [48.0, 66.0]}},
                    {"name": "tilt", "type": "histosys", "data": {"hi_data": [57.0, 51.0], "lo_data": [42.0, 68.0]}},
                    {"name": "uncorrelated", "type": "shapesys", "data": [5.0, 6.0]},
                    {"name": "simulation_SR", "type": "staterror", "data": [2.0, 3.0]},
                ],
            },
        ],
    },
    {
        "name": "CR",
        "samples": [
            {
                "name": "background",
                "data": [70.0, 40.0, 30.0],
                "modifiers": [
                    {
                        "name": "tilt",
                        "type": "histosys",
                        "data": {"hi_data": [75.0, 39.0, 28.0], "lo_data": [66.0, 41.0, 31.0]},
                    },
                    {"name": "simulation_CR", "type": "staterror", "data": [2.0, 3.0, 1.0]},
                ],
            },
            {
                "name": "other",
                "data": [10.0, 20.0, 5.0],
                "modifiers": [
                    {"name": "free", "type": "shapefactor", "data": None},
                    {"name": "simulation_CR", "type": "staterror", "data": [1.0, 2.0, 1.0]},
                ],
            },
        ],
    },
]
LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.5, 1.5]], "inits": [1.0]}


def _model() -> pyhf.Model:
    return pyhf.Model({"channels": CHANNELS, "parameters": [LUMI]}, poi_name="mu")


def _pars(model: pyhf.Model, seed: int, width: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array(model.config.suggested_init()) + width * rng.uniform(-1.0, 1.0, model.config.npars)


def _by_sample(model: pyhf.Model, pars: np.ndarray) -> np.ndarray:
    return np.asarray(model.main_model.expected_data(pars, return_by_sample=True))


def _differences(function, pars: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Fourth-order central differences by each parameter, last axis."""
    columns = []
    for i in range(pars.size):
        shift = np.zeros(pars.size)
        shift[i] = step
        near = function(pars + shift) - function(pars - shift)
        far = function(pars + 2 * shift) - function(pars - 2 * shift)
        columns.append((8.0 * near - far) / (12.0 * step))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize(("seed", "width"), [(0, 0.0), (1, 0.3), (2, 2.5)])
def test_rates_are_those_of_pyhf(seed, width):
    model = _model()
    pars = _pars(model, seed, width)
    rates, _ = Rates(model)(pars)
    np.testing.assert_allclose(rates, _by_sample(model, pars), rtol=1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_jacobian_of_every_modifier_type_agrees_with_differences_of_pyhf(seed):
    model = _model()
    pars = _pars(model, seed, width=0.8)
    _, jacobian = Rates(model)(pars)
    expected = _differences(lambda p: _by_sample(model, p), pars)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-7, atol=1e-6)
    touched = np.abs(jacobian).sum(axis=(0, 1)) > 0
    assert touched.all()  # every parameter, so every type of modifier, is in the comparison


def test_jacobian_holds_where_a_factor_is_zero():
    model = _model()
    pars = _pars(model, 4)
    pars[model.config.poi_index] = 0.0
    rates, jacobian = Rates(model)(pars)
    np.testing.assert_allclose(jacobian, _differences(lambda p: _by_sample(model, p), pars), rtol=1e-7, atol=1e-6)
    signal = Rates(model).samples.index("signal")
    assert rates[signal].sum() == 0.0
    assert jacobian[signal, model.config.channel_slices["SR"], model.config.poi_index].min() > 1.0


def test_jacobian_holds_where_the_interpolation_changes_its_form():
    model = _model()
    pars = np.array(model.config.suggested_init())
    pars[model.config.par_slice("xsec")] = 1.0
    pars[model.config.par_slice("tilt")] = -1.0
    _, jacobian = Rates(model)(pars)
    np.testing.assert_allclose(jacobian, _differences(lambda p: _by_sample(model, p), pars), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("code", ["code1", "code4"])
def test_interpolation_settings_of_the_model_are_kept(code):
    settings = {"normsys": {"interpcode": code}, "histosys": {"interpcode": "code4p"}}
    model = pyhf.Model({"channels": CHANNELS, "parameters": [LUMI]}, modifier_settings=settings)
    pars = _pars(model, 5)
    np.testing.assert_allclose(Rates(model)(pars)[0], _by_sample(model, pars), rtol=1e-12)


def test_a_model_with_one_modifier_type_only():
    model = pyhf.simplemodels.uncorrelated_background([5.0, 6.0], [50.0, 60.0], [5.0, 6.0])
    pars = np.array([0.7, 1.1, 0.9])
    rates, jacobian = Rates(model)(pars)
    np.testing.assert_allclose(rates, _by_sample(model, pars), rtol=1e-12)
    np.testing.assert_allclose(jacobian, _differences(lambda p: _by_sample(model, p), pars), atol=1e-7)


def test_many_parameters_are_told_apart():
    rng = np.random.default_rng(6)
    samples = [
        {
            "name": f"sample{s}",
            "data": rng.uniform(10.0, 20.0, 7).tolist(),
            "modifiers": [
                {"name": f"alpha{k}", "type": "normsys", "data": {"hi": 1.0 + 0.01 * (k + s + 1), "lo": 0.97}}
                for k in range(65)
                if (k + s) % 3
            ]
            + [{"name": "mu", "type": "normfactor", "data": None}],
        }
        for s in range(3)
    ]
    model = pyhf.Model({"channels": [{"name": "SR", "samples": samples}]})
    pars = _pars(model, 7)
    _, jacobian = Rates(model)(pars)
    np.testing.assert_allclose(jacobian, _differences(lambda p: _by_sample(model, p), pars), rtol=1e-6, atol=1e-6)


def test_a_model_that_clips_is_refused():
    model = pyhf.Model({"channels": CHANNELS, "parameters": [LUMI]}, clip_bin_data=0.0)
    with pytest.raises(Unsupported, match="clip_bin_data"):
        Rates(model)


def test_constraint_terms_are_those_of_pyhf():
    model = _model()
    pars, rng = _pars(model, 8), np.random.default_rng(9)
    auxdata = np.array(model.config.auxdata) * rng.uniform(0.9, 1.1, model.config.nauxdata)
    value, _ = Constraints(model)(pars, auxdata)
    assert value == pytest.approx(float(model.constraint_logpdf(auxdata, pars)), rel=1e-12)


def test_constraint_gradient_agrees_with_differences_of_pyhf():
    model = _model()
    pars, rng = _pars(model, 10), np.random.default_rng(11)
    auxdata = np.array(model.config.auxdata) * rng.uniform(0.9, 1.1, model.config.nauxdata) + 0.1
    _, gradient = Constraints(model)(pars, auxdata)
    expected = _differences(lambda p: np.asarray(model.constraint_logpdf(auxdata, p)), pars, step=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-5)
    assert {model.config.param_set(name).pdf_type for name in model.config.auxdata_order} == {"normal", "poisson"}


def test_a_model_without_constraints_has_none():
    sample = {"name": "signal", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]}
    model = pyhf.Model({"channels": [{"name": "SR", "samples": [sample]}]})
    value, gradient = Constraints(model)([1.0], [])
    assert value == 0.0
    assert gradient.tolist() == [0.0]


def test_constraints_have_centre_and_width_whatever_their_kind():
    sample = {
        "name": "background",
        "data": [50.0, 60.0],
        "modifiers": [
            {"name": "mu", "type": "normfactor", "data": None},
            {"name": "lumi", "type": "lumi", "data": None},
            {"name": "free_shape", "type": "shapesys", "data": [5.0, 12.0]},
        ],
    }
    lumi = {"name": "lumi", "inits": [1.0], "bounds": [[0.9, 1.1]], "auxdata": [1.01], "sigmas": [0.02]}
    model = pyhf.Model({"channels": [{"name": "CR", "samples": [sample]}], "parameters": [lumi]}, poi_name="mu")
    found = constraints(model)
    assert found["lumi"] == pytest.approx((1.01, 0.02))
    assert found["free_shape[0]"] == pytest.approx((1.0, 0.1))  # a Poisson term of relative width 5 / 50
    assert found["free_shape[1]"] == pytest.approx((1.0, 0.2))
    assert "mu" not in found


def _points(model: pyhf.Model, n: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.array(model.config.suggested_init()) + rng.normal(0.0, 0.2, size=(n, model.config.npars))


@pytest.mark.parametrize("n", [1, 7, 100])
def test_rates_of_many_points_are_those_of_each(n: int) -> None:
    model = _model()
    points = _points(model, n)
    rates, jacobian = Rates(model)(points)
    for point, value, slope in zip(points, rates, jacobian, strict=True):
        expected, derivative = Rates(model)(point)
        assert value == pytest.approx(expected, rel=1e-12)
        assert slope == pytest.approx(derivative, rel=1e-7, abs=1e-7)


def test_rates_of_many_points_have_exact_derivatives_at_mu_zero() -> None:
    model = _model()
    points = np.tile(model.config.suggested_init(), (3, 1))
    points[:, model.config.par_slice("mu").start] = 0.0
    assert Rates(model)(points)[1][2] == pytest.approx(Rates(model)(points[2])[1], abs=1e-7)


def test_constraints_of_many_points_are_those_of_each() -> None:
    model = _model()
    points = _points(model, 5)
    auxdata = np.array([Constraints(model).draw(p, np.random.default_rng(i)) for i, p in enumerate(points)])
    values, gradients, _ = Constraints(model).batch(points, auxdata)
    for i in range(5):
        value, gradient = Constraints(model)(points[i], auxdata[i])
        assert values[i] == pytest.approx(value)
        assert gradients[i] == pytest.approx(gradient)


def test_auxiliary_data_of_many_toys_have_the_moments_of_the_constraint_terms() -> None:
    model = _model()
    pars = np.array(model.config.suggested_init())
    auxdata = Constraints(model).draw(pars, np.random.default_rng(0), 20_000)
    expected = model.constraint_model.make_pdf(pars).expected_data()
    assert auxdata.mean(axis=0) == pytest.approx(expected, abs=5 * auxdata.std(axis=0).max() / 20_000**0.5)
