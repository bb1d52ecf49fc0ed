"""Fits and scans: pyhf's and iminuit's own results on the same model, and one clear line for what cannot be."""

from __future__ import annotations

import iminuit
import numpy as np
import pyhf
import pytest

import neyman
from neyman.exceptions import InvalidParameter
from neyman.inference.crossing import crossing

SCALE = {"hi_data": [66.0, 50.0, 35.0], "lo_data": [53.0, 51.0, 44.0]}
SAMPLES = [
    {
        "name": "signal",
        "data": [4.0, 9.0, 6.0],
        "modifiers": [
            {"name": "mu", "type": "normfactor", "data": None},
            {"name": "xsec", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
        ],
    },
    {
        "name": "background",
        "data": [60.0, 50.0, 40.0],
        "modifiers": [
            {"name": "scale", "type": "histosys", "data": SCALE},
            {"name": "size", "type": "normsys", "data": {"hi": 1.08, "lo": 0.94}},
            {"name": "simulation", "type": "shapesys", "data": [4.0, 3.0, 3.0]},
        ],
    },
]
SPEC = {"channels": [{"name": "SR", "samples": SAMPLES}]}
COUNTS = [70.0, 66.0, 41.0]


@pytest.fixture
def model():
    return neyman.Model(SPEC, {}, poi_name="mu")


@pytest.fixture
def data(model):
    return np.array([*COUNTS, *model.config.auxdata])


def _counting(signal, background, bounds=(0.0, 10.0)):
    """One bin with a 10 % uncertainty on its background."""
    normsys = {"name": "size", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [
        {"name": "signal", "data": [signal], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [background], "modifiers": [normsys]},
    ]
    parameters = [{"name": "mu", "bounds": [list(bounds)], "inits": [1.0]}]
    spec = {"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}
    return neyman.Model(spec, {}, poi_name="mu")


def _minuit(model, data):
    """The same fit by iminuit with numerical gradients, as tight as it goes."""
    minuit = iminuit.Minuit(
        lambda pars: -2.0 * model.evaluate(pars, data)[0], model.config.suggested_init(), name=model.config.par_names
    )
    minuit.limits = model.config.suggested_bounds()
    minuit.errordef, minuit.tol, minuit.strategy = 1.0, 1e-3, 2
    minuit.migrad()
    minuit.hesse()
    return minuit


def test_fit_is_that_of_pyhf(model, data):
    result = neyman.fit(data, model)
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    pars, value = pyhf.infer.mle.fit(data, pyhf.Model(SPEC), return_uncertainties=True, return_fitted_val=True)
    pyhf.set_backend("numpy")
    np.testing.assert_allclose(result.bestfit, pars[:, 0], atol=5e-3)
    np.testing.assert_allclose(result.uncertainty, pars[:, 1], rtol=2e-2)  # Minuit's bend where there are bounds
    assert result.twice_nll == pytest.approx(float(value), abs=1e-4)
    assert result.valid
    assert result.names == tuple(model.config.par_names)


def test_covariance_and_minos_are_those_of_minuit(model, data):
    result = neyman.fit(data, model, minos=["mu", "scale"])
    minuit = _minuit(model, data)
    width = np.sqrt(np.diag(minuit.covariance))
    np.testing.assert_allclose(
        result.covariance, np.asarray(minuit.covariance), atol=1e-2 * np.max(np.outer(width, width))
    )
    minuit.minos("mu", "scale")
    for name in ("mu", "scale"):
        error = minuit.merrors[name]
        np.testing.assert_allclose(result.minos[name], (error.lower, error.upper), rtol=5e-3, atol=2e-3)


def test_labels_say_what_each_parameter_is(model, data):
    result = neyman.fit(data, model, fixed={"scale": 0.3})
    labels = dict(zip(result.names, result.labels, strict=True))
    assert (labels["mu"], labels["size"], labels["scale"]) == ("free", "constrained", "fixed")


def test_fixed_parameters_stay_and_have_no_uncertainty(model, data):
    result = neyman.fit(data, model, fixed={"scale": 0.3, "mu": 12.0})  # mu beyond its bounds
    for name, value in (("scale", 0.3), ("mu", 12.0)):
        index = result.names.index(name)
        assert result[name] == value
        assert result.uncertainty[index] == 0.0
        assert not result.covariance[index].any()
    assert result.twice_nll > neyman.fit(data, model).twice_nll


def test_held_parameters_may_be_given_with_values_by_name_or_as_pyhf_does(model, data):
    expected = neyman.fit(data, model, fixed={"mu": 1.0})
    assert expected["mu"] == 1.0
    for fixed in (["mu"], "mu", [name == "mu" for name in model.config.par_names]):
        assert neyman.fit(data, model, fixed=fixed).to_json() == expected.to_json()


def test_what_the_model_holds_fixed_stays_fixed(data):
    parameters = [{"name": "size", "fixed": True, "inits": [0.5]}]
    model = neyman.Model({**SPEC, "parameters": parameters}, {}, poi_name="mu")
    assert neyman.fit(data, model)["size"] == 0.5
    assert neyman.fit(data, model, fixed={"mu": 1.0})["size"] == 0.5


def test_all_parameters_fixed_is_a_valid_fit(model, data):
    result = neyman.fit(
        data, model, fixed=dict(zip(model.config.par_names, model.config.suggested_init(), strict=True))
    )
    assert result.valid
    assert not result.uncertainty.any()
    assert result.twice_nll == pytest.approx(-2.0 * float(model.logpdf(model.config.suggested_init(), data)[0]))


def test_start_does_not_matter(model, data):
    first = neyman.fit(data, model)
    second = neyman.fit(data, model, init={"mu": 8.0, "scale": -2.0})
    third = neyman.fit(data, model, init=(first.bestfit + 0.01).tolist(), bounds={"mu": (-1.0, 20.0)})
    np.testing.assert_allclose(second.bestfit, first.bestfit, atol=5e-3)
    np.testing.assert_allclose(third.bestfit, first.bestfit, atol=5e-3)


def test_fit_takes_fewer_evaluations_than_numerical_gradients(model, data, monkeypatch):
    evaluations = []
    evaluate = model.evaluate
    monkeypatch.setattr(model, "evaluate", lambda pars, data: evaluations.append(1) or evaluate(pars, data))
    neyman.fit(data, model)
    assert len(evaluations) < 50
    assert 5 * len(evaluations) < _minuit(model, data).nfcn


def test_minimum_on_a_bound():
    model = _counting(5.0, 30.0)
    data = model.data(neyman.Ensemble(counts={"SR": [0]}))  # -2 log L is a straight line in mu
    result = neyman.fit(data, model, minos="mu")
    assert result["mu"] == pytest.approx(0.0, abs=1e-4)
    down, up = result.minos["mu"]
    assert down == pytest.approx(0.0, abs=1e-4)
    assert up == pytest.approx(0.1, rel=0.05)  # 2 * 5 mu = 1


def test_minos_reaches_to_the_bound():
    model = _counting(5.0, 30.0, bounds=(0.0, 0.5))
    data = model.data(neyman.Ensemble(counts={"SR": [33]}))
    result = neyman.fit(data, model, minos=["mu"])
    assert result["mu"] + np.array(result.minos["mu"]) == pytest.approx([0.0, 0.5], abs=1e-6)


def test_undefined_likelihood_beside_the_minimum_does_no_harm():
    model = _counting(5.0, 3.0, bounds=(-10.0, 10.0))  # the rate is negative below mu = -0.6
    data = model.data(neyman.Ensemble(counts={"SR": [1]}))
    result = neyman.fit(data, model, minos=["mu"])
    assert 5.0 * result["mu"] + 3.0 == pytest.approx(1.0, abs=0.01)


def test_a_parameter_without_effect_is_reported():
    model = _counting(0.0, 30.0)
    data = model.data(neyman.Ensemble(counts={"SR": [30]}))
    result = neyman.fit(data, model)
    assert "not determine" in result.message
    assert result.uncertainty[result.names.index("size")] == pytest.approx(0.88, abs=0.05)


def test_units_do_not_matter():
    small, large = _counting(1e-3, 30.0, bounds=(0.0, 1e6)), _counting(10.0, 30.0, bounds=(0.0, 100.0))
    data = np.array([45.0, 0.0])
    one, two = neyman.fit(data, small), neyman.fit(data, large)
    assert one["mu"] * 1e-3 == pytest.approx(two["mu"] * 10.0, rel=1e-2)
    index = one.names.index("mu")
    assert one.uncertainty[index] * 1e-3 == pytest.approx(two.uncertainty[index] * 10.0, rel=1e-2)


def test_the_maximum_may_be_where_the_likelihood_ends():
    model = _counting(5.0, 3.0, bounds=(-10.0, 10.0))
    data = model.data(neyman.Ensemble(counts={"SR": [0]}))  # -2 log L = 2 (5 mu + 3 * 1.1^size) + size^2, above zero
    result = neyman.fit(data, model, minos="mu")
    assert dict(result) == pytest.approx({"mu": -0.6, "size": 0.0}, abs=1e-5)
    assert result.valid
    assert "edge of the likelihood's domain, where nothing is expected in channel SR, bin 1" in result.message
    sizes = np.linspace(-2.0, 2.0, 401)
    for side in result.minos["mu"]:
        values = [-2.0 * model.logpdf([result["mu"] + side, size], data)[0] for size in sizes]
        assert min(values) - result.twice_nll == pytest.approx(1.0, abs=0.01)  # the grid's spacing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": {"scal": 1.0}}, "no parameter scal: did you mean 'scale'"),
        ({"minos": ["nu"]}, "no parameter nu"),
        ({"minos": ["mu"], "fixed": {"mu": 1.0}}, "mu, which is fixed"),
        ({"fixed": {"mu": float("nan")}}, "the value that mu is fixed at is nan"),
        ({"init": {"mu": 11.0}}, "mu starts at 11, outside its bounds"),
        ({"init": [1.0]}, "init has 1 entries for 7 parameters"),
        ({"init": {"mu": "one"}}, "the starting value of mu is one"),
        ({"bounds": {"mu": (5.0, 1.0)}}, "bounds of mu are .* lower one must come first"),
        ({"bounds": {"mu": 3.0}}, "bounds of mu are 3.0: they must be a pair"),
        ({"bounds": [(0.0, 1.0)]}, "bounds has 1 entries for 7 parameters"),
    ],
)
def test_wrong_arguments_get_one_line(model, data, options, message):
    with pytest.raises(InvalidParameter, match=message) as error:
        neyman.fit(data, model, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1.0, float("nan"), 3.0], "1 of 3 data values are not finite, the first at 1"),
        ([[1.0]], r"shape \(1, 1\)"),
        (["a"], "not a flat vector of numbers"),
    ],
)
def test_wrong_data_get_one_line(model, data, message):
    with pytest.raises(InvalidParameter, match=message):
        neyman.fit(data, model)


def test_a_plain_pyhf_model_is_fitted_as_the_same_model_of_ours(model, data):
    plain = pyhf.Model(SPEC)
    assert neyman.fit(data, plain, minos="mu").to_json() == neyman.fit(data, model, minos="mu").to_json()
    assert neyman.scan(data, plain, "mu").to_json() == neyman.scan(data, model, "mu").to_json()


def test_what_is_no_model_is_refused(model, data):
    for function in (neyman.fit, lambda data, model: neyman.scan(data, model, "mu")):
        with pytest.raises(InvalidParameter, match="model is a list: it must be"):
            function(model, data.tolist())


def test_scan_is_the_profile_likelihood(model, data):
    values = [0.0, 0.8, 2.5]
    scan = neyman.scan(data, model, "mu", values)
    best = neyman.fit(data, model)
    expected = [neyman.fit(data, model, fixed={"mu": value}).twice_nll - best.twice_nll for value in values]
    np.testing.assert_allclose(scan.delta_twice_nll, expected, atol=1e-3)
    assert scan.values.tolist() == values
    assert scan.bestfit == pytest.approx(best["mu"])


def test_scan_covers_three_sigma_within_the_bounds(model, data):
    scan = neyman.scan(data, model, "mu", points=11)
    assert scan.values.size == 11
    assert scan.values[0] == max(0.0, scan.bestfit - 3.0 * scan.uncertainty)
    assert scan.values[-1] == pytest.approx(scan.bestfit + 3.0 * scan.uncertainty)
    assert scan.delta_twice_nll[-1] == pytest.approx(9.0, rel=0.3)


def test_scan_of_two_parameters(model, data):
    axes = [0.5, 1.5, 2.5, 3.5], [-1.0, 0.0, 1.0]
    scan = neyman.scan(data, model, ["mu", "scale"], axes)
    best = neyman.fit(data, model).twice_nll
    assert scan.delta_twice_nll.shape == (4, 3)
    corner = neyman.fit(data, model, fixed={"mu": 3.5, "scale": -1.0}).twice_nll - best
    assert scan.delta_twice_nll[3, 0] == pytest.approx(corner, abs=1e-3)
    assert scan.name == ("mu", "scale")


def test_a_scan_with_nothing_left_to_profile():
    model = _counting(5.0, 30.0)
    data = model.data(neyman.Ensemble(counts={"SR": [36]}))
    scan = neyman.scan(data, model, "mu", points=5, fixed={"size": 0.0})
    expected = 2.0 * (5.0 * scan.values + 30.0 - 36.0 - 36.0 * np.log((5.0 * scan.values + 30.0) / 36.0))
    np.testing.assert_allclose(scan.delta_twice_nll, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("muu", {}, "did you mean 'mu'"),
        (["mu", "mu"], {}, "one parameter or two different ones"),
        ("mu", {"fixed": {"mu": 1.0}}, "cannot scan mu, which is fixed"),
        ("mu", {"values": [1.0, float("inf")]}, "must be a flat list of finite numbers"),
        (["mu", "scale"], {"values": [[1.0]]}, "a pair of axes"),
        ("mu", {"points": 0}, "number of points is 0"),
    ],
)
def test_wrong_scans_get_one_line(model, data, name, options, message):
    with pytest.raises(InvalidParameter, match=message):
        neyman.scan(data, model, name, **options)


def test_a_better_maximum_found_on_the_way_is_taken():
    # up and down raise the background alike: -2 log L has a minimum on either side of zero, the auxiliary data decide
    raised = {"hi_data": [70.0], "lo_data": [70.0]}
    background = {
        "name": "background",
        "data": [50.0],
        "modifiers": [{"name": "a", "type": "histosys", "data": raised}],
    }
    model = neyman.Model({"channels": [{"name": "SR", "samples": [background]}]}, {})
    data, init = [72.0, 0.3], {"a": -0.9}
    assert neyman.fit(data, model, init)["a"] < 0.0
    best = neyman.fit(data, model)
    assert best["a"] > 0.0
    scan = neyman.scan(data, model, "a", [-1.0, 0.0, 1.0], init=init)
    assert scan.bestfit == pytest.approx(best["a"], abs=1e-3)
    assert scan.delta_twice_nll.min() >= 0.0


@pytest.mark.parametrize("low", [-np.inf, 0.0])
def test_infinite_bounds_are_like_wide_ones(model, data, low):
    wide = {"bounds": {"mu": (max(low, -50.0), 50.0), "scale": (-9.0, 9.0)}}
    infinite = {"bounds": {"mu": (low, np.inf), "scale": (-np.inf, np.inf)}}
    first, second = (neyman.fit(data, model, minos="mu", **options) for options in (wide, infinite))
    np.testing.assert_allclose(second.bestfit, first.bestfit, atol=5e-3)
    np.testing.assert_allclose(second.covariance, first.covariance, atol=1e-2)
    assert second.minos["mu"] == pytest.approx(first.minos["mu"], abs=5e-3)
    scans = [neyman.scan(data, model, "mu", [0.0, 1.0, 4.0], **options) for options in (wide, infinite)]
    np.testing.assert_allclose(scans[1].delta_twice_nll, scans[0].delta_twice_nll, atol=1e-3)


def test_a_minimum_on_the_only_bound():
    model = _counting(5.0, 30.0, bounds=(0.0, 10.0))
    result = neyman.fit([0.0, 0.0], model, bounds={"mu": (0.0, np.inf)}, minos="mu")
    assert result["mu"] == pytest.approx(0.0, abs=1e-4)
    assert result.minos["mu"] == pytest.approx((0.0, 0.1), abs=5e-3)  # 2 * 5 mu = 1


def test_an_unbounded_parameter_without_effect_is_reported():
    model = _counting(0.0, 30.0)
    result = neyman.fit([30.0, 0.0], model, bounds={"mu": (-np.inf, np.inf)})
    assert "not determine" in result.message
    assert neyman.scan([30.0, 0.0], model, "size", [0.0], bounds={"mu": (-np.inf, np.inf)}).delta_twice_nll < 1e-4


def test_a_crossing_is_precise_however_bad_the_guess():
    for guess in (1e-6, 0.5, 1e9):
        assert crossing(lambda x: x * x, 4.0, start=0.0, guess=guess) == pytest.approx(2.0, rel=1e-4)


def test_crossings_stop_at_the_bound():
    assert crossing(lambda x: abs(x), 2.0, start=0.0, guess=-0.1) == pytest.approx(-2.0)
    assert crossing(lambda x: abs(x), 2.0, start=0.0, guess=-0.1, bound=-1.5) == -1.5
    assert crossing(lambda _: 0.0, 2.0, start=0.0, guess=1.0) == np.inf
