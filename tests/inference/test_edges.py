"""Units and edges of likelihoods: nothing depends on the unit of a parameter; maxima where a domain ends are found."""

from __future__ import annotations

import json

import iminuit
import numpy as np
import pyhf
import pytest

import neyman
from neyman.exceptions import FailedFit
from neyman.inference.batch import fit_batch
from neyman.model.toys import draw

MU = {"name": "mu", "type": "normfactor", "data": None}
FACTOR = {"name": "factor", "type": "normfactor", "data": None}
SIZE = {"name": "size", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
SHAPE = {"name": "shape", "type": "histosys", "data": {"hi_data": [9.0, 2.0, -1.0], "lo_data": [1.0, 2.0, 3.0]}}
GAMMA = {"name": "gamma", "type": "shapesys", "data": [1.0, 0.5, 0.3]}
INFINITE = (-np.inf, np.inf)


def counting(signal, background, modifiers=(), bounds=(0.0, 10.0), init=1.0):
    samples = [
        {"name": "signal", "data": signal, "modifiers": [MU]},
        {"name": "background", "data": background, "modifiers": list(modifiers)},
    ]
    parameters = [{"name": "mu", "bounds": [list(bounds)], "inits": [init]}]
    return neyman.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}, {}, poi_name="mu")


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4, 1e8])
@pytest.mark.parametrize("high", [1e2, 1e6, np.inf])
def test_nothing_depends_on_the_unit_of_the_parameter(unit, high):
    # exactly: mu = (32 - 20) / s +- sqrt(32) / s
    model = counting([unit], [20.0], bounds=(0.0, high / unit), init=min(1.0, 0.5 * high / unit))
    result, scan = neyman.fit([32.0], model, minos="mu"), neyman.scan([32.0], model, "mu", points=7)
    assert result["mu"] * unit == pytest.approx(12.0, rel=1e-3)
    assert result.error("mu") * unit == pytest.approx(np.sqrt(32.0), rel=1e-3)
    # 2 (x - 32 log x) rises by one from 32 to 26.6658 and 37.9949
    assert np.array(result.minos["mu"]) * unit == pytest.approx([-5.3342, 5.9949], rel=2e-3)
    assert (scan.values[-1] - scan.values[0]) * unit == pytest.approx(3.0 * np.sqrt(32.0) + 12.0, rel=1e-2)


@pytest.mark.parametrize("unit", [1e-4, 1e8])
def test_pyhf_gets_uncertainties_in_any_unit_from_our_optimizer(unit):
    model = counting([unit], [20.0], bounds=(0.0, 1000.0 / unit), init=10.0 / unit)
    pyhf.set_backend("numpy", neyman.optimizer())
    try:
        ((value, error),) = pyhf.infer.mle.fit([32.0], model, return_uncertainties=True)
    finally:
        pyhf.set_backend("numpy")
    assert value * unit == pytest.approx(12.0, rel=5e-3)
    assert error * unit == pytest.approx(np.sqrt(32.0), rel=5e-3)


def _random_model(rng):
    bins = int(rng.integers(1, 11))
    rate = 10.0 ** rng.uniform(-1.0, 5.0)
    unit = 10.0 ** rng.uniform(-4.0, 8.0)
    background = rate * rng.uniform(0.5, 2.0, bins)
    signal = unit * rng.uniform(0.2, 2.0, bins)
    sides = {"hi_data": (1.1 * background).tolist(), "lo_data": (background * np.linspace(0.9, 1.0, bins)).tolist()}
    tilt = {"name": "tilt", "type": "histosys", "data": sides}
    gamma = {"name": "gamma", "type": "shapesys", "data": (0.1 * background).tolist()}
    named = [SIZE, tilt, gamma][: int(rng.integers(0, 4))]
    high = 10.0 * (rate + np.sqrt(rate)) / unit
    model = counting(signal.tolist(), background.tolist(), named, (-high, high), 0.1 * high)
    truth = np.array(model.config.suggested_init())
    truth[model.config.poi_index] = rng.uniform(-0.1, 1.0) * rate / unit
    return model, np.concatenate([rng.poisson(model.expected_data(truth)[:bins]), model.config.auxdata])


def _minuit(model, data, unit):
    """Plain iminuit with numerical gradients, in units in which it does not fail."""
    minuit = iminuit.Minuit(
        lambda x: min(-2.0 * model.logpdf(x * unit, data)[0], 1e9), np.array(model.config.suggested_init()) / unit
    )
    minuit.errordef, minuit.strategy, minuit.tol = 1.0, 2, 1e-3
    minuit.limits = [(low / u, high / u) for (low, high), u in zip(model.config.suggested_bounds(), unit, strict=True)]
    minuit.simplex().migrad().hesse()
    return minuit


@pytest.mark.parametrize("seed", range(30))
def test_random_counting_models_have_the_fits_of_iminuit(seed):
    model, data = _random_model(np.random.default_rng(seed))
    result = neyman.fit(data, model)
    minuit = _minuit(model, data, np.maximum(result.uncertainty, 1e-12))
    assert result.valid
    assert result.twice_nll <= minuit.fval + 1e-4
    if not result.at_bound and "edge" not in result.message:
        # the inverse Hessian by differences of differences is no better than a tenth where it is nearly singular
        errors = np.array(minuit.errors)
        np.testing.assert_allclose(
            errors, 1.0, rtol=0.03 if np.abs(np.triu(result.correlations, 1)).max() < 0.7 else 0.15
        )
        index = result.names.index("mu")
        np.testing.assert_allclose(minuit.values[index], result["mu"] / result.error("mu"), atol=2e-2)


@pytest.mark.parametrize("seed", range(8))
def test_random_counting_models_have_the_fits_of_pyhf(seed):
    model, data = _random_model(np.random.default_rng(1000 + seed))
    result = neyman.fit(data, model)
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(maxiter=10000))
    try:
        value = pyhf.infer.mle.fit(data, model, init_pars=result.bestfit.tolist(), return_fitted_val=True)[1]
    finally:
        pyhf.set_backend("numpy")
    assert result.twice_nll == pytest.approx(float(value), abs=1e-3)


@pytest.mark.parametrize("bounds", [(-10.0, 10.0), INFINITE])
def test_the_maximum_at_the_edge_of_the_domain_is_found_from_anywhere(bounds):
    model = counting([10.0] * 3, [5.0, 2.0, 1.0], bounds=bounds)
    for init in (-5.0, 1.0, 1000.0 if bounds == INFINITE else 10.0):
        result = neyman.fit([3.0, 1.0, 0.0], model, init={"mu": init}, minos="mu")
        assert result["mu"] == pytest.approx(-0.1, abs=1e-6)
        assert result.valid
        assert "nothing is expected in channel SR, bin 3" in result.message
        down, up = result.minos["mu"]
        assert down == pytest.approx(0.0, abs=1e-6)
        rise = neyman.fit([3.0, 1.0, 0.0], model, fixed={"mu": -0.1 + up}).twice_nll - result.twice_nll
        assert rise == pytest.approx(1.0, abs=1e-3)


def test_an_edge_that_is_a_curve_is_followed():
    # -2 log L is 2 (10 mu + b_3 gamma_3) with 10 mu + b_3 gamma_3 = 0 at the edge: by SLSQP with that constraint
    model = counting([10.0] * 3, [5.0, 2.0, 1.0], [GAMMA], bounds=(-10.0, 10.0))
    data = [3.0, 1.0, 0.0, *model.config.auxdata]
    result = neyman.fit(data, model)
    assert result.valid
    assert 10.0 * result["mu"] + result["gamma[2]"] == pytest.approx(0.0, abs=1e-6)
    # along the edge the others are at their maximum: no small step that keeps to it is better
    for index in (1, 2, 3):
        for step in (-1e-3, 1e-3):
            pars = result.bestfit.copy()
            pars[index] += step
            pars[0] = max(pars[0], -0.1 * pars[3] + 1e-9)
            assert -2.0 * model.logpdf(pars, np.array(data))[0] > result.twice_nll - 1e-7


def test_variations_that_make_a_rate_negative_end_the_domain():
    model = counting([10.0, 0.0, 0.0], [5.0, 2.0, 1.0], [SHAPE])
    result = neyman.fit([30.0, 2.0, 0.0, 0.0], model, minos="shape")
    assert result["shape"] == pytest.approx(0.5, abs=1e-4)  # where 1 - 2 shape = 0
    assert result.minos["shape"][1] == pytest.approx(0.0, abs=1e-4)
    scan = neyman.scan([30.0, 2.0, 0.0, 0.0], model, "shape", [0.0, 0.4, 0.6, 2.0])
    assert np.isfinite(scan.delta_twice_nll).tolist() == [True, True, False, False]


def test_scans_without_support_are_infinite_in_two_dimensions_and_can_be_drawn():
    model = counting([10.0] * 3, [5.0, 2.0, 1.0], [SIZE], bounds=(-10.0, 10.0))
    scan = neyman.scan([3.0, 1.0, 0.0, 0.0], model, ["mu", "size"], [[-0.3, -0.05, 0.1], [-1.0, 0.0, 1.0]])
    assert np.isinf(scan.delta_twice_nll[0]).all()
    assert np.isfinite(scan.delta_twice_nll[1:]).all()
    assert scan.plot() is not None
    assert neyman.scan([3.0, 1.0, 0.0, 0.0], model, "mu", [-0.3, -0.05, 0.1]).plot() is not None


def test_by_default_a_scan_ends_where_the_domain_does():
    model = counting([10.0] * 3, [5.0, 2.0, 1.0], bounds=(-10.0, 10.0))
    scan = neyman.scan([3.0, 3.0, 3.0], model, "mu", points=5)
    assert np.isfinite(scan.delta_twice_nll).all()
    assert scan.values[0] > -0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": {"mu": (-10.0, -1.0)}}, "channel SR, bin 1 has 3 observed events but an expected rate of -5"),
        ({"fixed": {"mu": -0.15}}, "channel SR, bin 3 has an expected rate of -0.5"),
    ],
)
def test_without_any_support_the_bin_is_named(options, message):
    model = counting([10.0] * 3, [5.0, 2.0, 1.0], bounds=(-10.0, 10.0))
    with pytest.raises(FailedFit, match=message) as error:
        neyman.fit([3.0, 1.0, 0.0], model, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("modifiers", [(), (SIZE,), (GAMMA,), (SHAPE,), (FACTOR,)])
@pytest.mark.parametrize("unit", [10.0, 1e8])
def test_toys_are_fitted_at_the_edges_as_single_datasets_are(modifiers, unit):
    model = counting([unit] * 3, [5.0, 2.0, 1.0], modifiers, INFINITE, 0.0)
    toys = draw(np.array(model.config.suggested_init()), model, 12, seed=1)
    fits = fit_batch(model, toys)
    single = [neyman.fit(toys.summary(toy), model).twice_nll for toy in range(len(toys))]
    np.testing.assert_allclose(fits.twice_nll, single, atol=1e-4)
    assert fits.valid.all()


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e8])
def test_without_events_minos_is_the_uncertainty(unit):
    model = counting([5.0 * unit], [30.0], [SIZE], (0.0, 10.0 / unit), 1.0 / unit)
    result = neyman.fit([0.0, 0.0], model)  # 2 * 5 mu = 1
    assert result["mu"] == 0.0
    assert result.valid
    assert np.array(result.minos["mu"]) * unit == pytest.approx([0.0, 0.1], rel=1e-3)
    assert result.error("mu") * unit == pytest.approx(0.1, rel=1e-3)
    assert result.at_bound == {"mu": "lower"}
    assert "mu is at its lower bound 0" in result.message
    for text in (repr(result), result._repr_html_()):
        assert "at its lower bound" in text


def test_a_fit_at_a_bound_is_valid_and_says_so():
    result = neyman.fit([20.0, 0.0], counting([10.0], [50.0], [SIZE]))
    assert result["mu"] == 0.0
    assert result.valid
    assert result.at_bound == {"mu": "lower"}


def test_two_factors_of_one_sample_are_not_determined():
    samples = [
        {"name": "signal", "data": [10.0], "modifiers": [MU, FACTOR]},
        {"name": "background", "data": [5.0], "modifiers": []},
    ]
    model = neyman.Model({"channels": [{"name": "SR", "samples": samples}]}, {}, poi_name="mu")
    result = neyman.fit([30.0], model)
    assert not result.valid
    assert "do not determine factor, mu" in result.message
    assert np.isnan(result.uncertainty).all()
    assert repr(result).count("(not determined)") == 2
    assert json.loads(result.to_json())["uncertainty"] == [None, None]


def test_a_saddle_is_left():
    # up and down raise the background alike: between the two maxima the gradient is zero
    raised = {"name": "a", "type": "histosys", "data": {"hi_data": [70.0], "lo_data": [70.0]}}
    sample = {"name": "background", "data": [50.0], "modifiers": [raised]}
    model = neyman.Model({"channels": [{"name": "SR", "samples": [sample]}]}, {})
    result = neyman.fit([80.0, 0.0], model, init={"a": 0.0})
    assert result.valid
    assert abs(result["a"]) == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize("bounds", [INFINITE, (-np.inf, 5.0), (1e-3, np.inf)])
def test_constrained_parameters_may_have_infinite_bounds(bounds):
    model = counting([10.0] * 3, [50.0, 20.0, 10.0], [GAMMA, SIZE])
    data = [60.0, 30.0, 12.0, *model.config.auxdata]
    expected = neyman.fit(data, model, minos=["mu", "gamma[0]"])
    given = dict.fromkeys(("gamma[0]", "gamma[1]", "gamma[2]"), bounds) | {"size": INFINITE, "mu": INFINITE}
    result = neyman.fit(data, model, bounds=given, minos=["mu", "gamma[0]"])
    np.testing.assert_allclose(result.bestfit, expected.bestfit, atol=1e-3)
    np.testing.assert_allclose(result.uncertainty, expected.uncertainty, rtol=1e-2)
    assert result.minos["gamma[0]"] == pytest.approx(expected.minos["gamma[0]"], rel=1e-2)
