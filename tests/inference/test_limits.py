"""Limits: pyhf's own on the same model, at a fraction of the evaluations."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest

import neyman
from neyman.exceptions import FailedFit, InvalidParameter, Unsupported

SPEC = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec
DEFICIT, EXCESS = [51.0, 48.0], [80.0, 70.0]


@pytest.fixture
def model():
    return neyman.Model(SPEC, {}, poi_name="mu")


@pytest.fixture(autouse=True)
def _precise_reference():
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    yield
    pyhf.set_backend("numpy")


def _data(model, counts):
    return np.array([*counts, *model.config.auxdata])


def _with_bounds(low, high):
    parameters = [{"name": "mu", "bounds": [[low, high]], "inits": [min(1.0, high)]}]
    return neyman.Model({**SPEC, "parameters": parameters}, {}, poi_name="mu")


def test_limits_are_those_of_pyhf(model):
    data = _data(model, DEFICIT)
    result = neyman.limit(data, model)
    observed, expected = pyhf.infer.intervals.upper_limits.upper_limit(data, pyhf.Model(SPEC, poi_name="mu"))
    assert result.observed == pytest.approx(float(observed), rel=1e-3)
    np.testing.assert_allclose(result.expected, expected, rtol=1e-3)


@pytest.mark.parametrize(("counts", "test_stat"), [(DEFICIT, "q"), (EXCESS, "q"), (EXCESS, "qtilde")])
def test_cls_of_pyhf_is_at_the_level_at_the_limits(model, counts, test_stat):
    data = _data(model, counts)
    result = neyman.limit(data, model, test_stat=test_stat)
    options = {"test_stat": test_stat, "return_expected_set": True}
    observed, _ = pyhf.infer.hypotest(result.observed, data, pyhf.Model(SPEC, poi_name="mu"), **options)
    _, expected = pyhf.infer.hypotest(result.expected[3], data, pyhf.Model(SPEC, poi_name="mu"), **options)
    assert float(observed) == pytest.approx(0.05, abs=1e-4)
    assert float(expected[3]) == pytest.approx(0.05, abs=1e-4)


def test_the_scan_is_that_of_pyhf(model):
    data, plain = _data(model, EXCESS), pyhf.Model(SPEC, poi_name="mu")
    result = neyman.limit(data, model, values=[0.5, 2.0, 3.5])
    assert result.scan.tolist() == [0.5, 2.0, 3.5]
    for value, observed, expected in zip(result.scan, result.cls_observed, result.cls_expected, strict=True):
        reference = pyhf.infer.hypotest(value, data, plain, return_expected_set=True)
        assert observed == pytest.approx(float(reference[0]), abs=1e-4)
        np.testing.assert_allclose(expected, reference[1], atol=1e-4)


def test_the_default_scan_makes_a_brazil_band(model):
    result = neyman.limit(_data(model, DEFICIT), model)
    assert result.scan.size >= 15
    assert np.all(np.diff(result.scan) > 0.0)
    assert result.scan[0] == 0.0
    assert result.scan[-1] > result.expected[4]
    assert result.cls_observed[0] == pytest.approx(1.0)
    assert np.all(np.diff(result.cls_expected[:, 2]) < 0.0)
    assert np.all(np.diff(result.cls_expected[1:], axis=1) > 0.0)  # -2 .. +2 sigma
    at_limit = np.flatnonzero(result.scan == result.observed)
    assert result.cls_observed[at_limit] == pytest.approx(0.05, abs=1e-4)


def test_limits_take_fewer_evaluations_than_pyhf(model, monkeypatch):
    evaluations = []
    evaluate = model.evaluate
    monkeypatch.setattr(model, "evaluate", lambda pars, data: evaluations.append(1) or evaluate(pars, data))
    neyman.limit(_data(model, DEFICIT), model)
    assert len(evaluations) < 400  # with the points of the scan; pyhf's root finding alone takes over ten thousand


def test_other_levels(model):
    data = _data(model, DEFICIT)
    result = neyman.limit(data, model, level=0.9)
    assert result.level == 0.9
    assert neyman.cls(result.observed, data, model).observed == pytest.approx(0.1, abs=1e-4)
    assert result.observed < neyman.limit(data, model).observed


def test_the_level_is_the_confidence_level(model):
    data = _data(model, DEFICIT)
    assert neyman.limit(data, model, level=0.95).observed == neyman.limit(data, model).observed
    assert neyman.limit(data, model).level == 0.95
    with pytest.raises(InvalidParameter, match=r"did you mean 0\.95\?"):
        neyman.limit(data, model, level=0.05)


def test_upper_bound_of_the_poi_does_not_matter(model):
    low, data = _with_bounds(0.0, 0.5), _data(model, EXCESS)
    narrow, wide = neyman.limit(data, low), neyman.limit(data, model)
    assert narrow.observed == pytest.approx(wide.observed, rel=1e-3)
    np.testing.assert_allclose(narrow.expected, wide.expected, rtol=1e-3)


def test_qtilde_keeps_the_best_fit_from_going_negative(model):
    free, data = _with_bounds(-1.0, 10.0), _data(model, [40.0, 40.0])
    assert neyman.limit(data, free).observed == pytest.approx(neyman.limit(data, model).observed, rel=1e-3)
    assert neyman.limit(data, free, test_stat="q").observed < neyman.limit(data, model).observed


def test_no_events_at_all(model):
    result = neyman.limit(_data(model, [0.0, 0.0]), model)
    assert 0.0 < result.observed < result.expected[0]


def test_nuisance_parameters_can_be_fixed(model):
    data = _data(model, DEFICIT)
    fixed = {name: 1.0 for name in model.config.par_names if name != "mu"}
    assert neyman.limit(data, model, fixed=fixed).expected[2] < neyman.limit(data, model).expected[2]


def test_cls_is_that_of_pyhf(model):
    data = _data(model, EXCESS)
    result = neyman.cls(2.5, data, model)
    observed, expected = pyhf.infer.hypotest(2.5, data, pyhf.Model(SPEC, poi_name="mu"), return_expected_set=True)
    assert result.observed == pytest.approx(float(observed), abs=1e-4)
    np.testing.assert_allclose(result.expected, expected, atol=1e-4)
    assert (result.name, result.value) == ("mu", 2.5)


def test_cls_goes_to_json_and_back(model):
    result = neyman.cls(1.0, _data(model, DEFICIT), model)
    again = neyman.results.from_json(result.to_json())
    assert again.observed == result.observed
    assert again.expected.tolist() == result.expected.tolist()


def test_a_signal_without_effect_has_no_limit():
    normfactor = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": [0.0], "modifiers": [normfactor]},
        {"name": "background", "data": [30.0], "modifiers": []},
    ]
    model = neyman.Model({"channels": [{"name": "SR", "samples": samples}]}, {}, poi_name="mu")
    with pytest.raises(FailedFit, match="never falls below the level"):
        neyman.limit([30.0], model)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"calibration": "toys", "test_stat": "q0"}, Unsupported, "use 'qmu' or 'qmu_tilde'"),
        ({"calibration": "toys", "n_toys": 0}, InvalidParameter, "at least 1"),
        ({"calibration": "toys", "source": "data"}, InvalidParameter, "'simulation' or 'model'"),
        (
            {"calibration": "quantile"},
            InvalidParameter,
            "calibration is 'quantile': it must be 'asymptotics' or 'toys'",
        ),
        ({"calctype": "toy"}, InvalidParameter, "calctype is 'toy': it must be 'asymptotics' or 'toys'"),
        ({"test_stat": "q0"}, Unsupported, "use 'qmu' or 'qmu_tilde'"),
        ({"level": 5.0}, InvalidParameter, r"between 0\.5 and 1"),
        ({"level": 0.05}, InvalidParameter, r"level is 0\.05: .* did you mean 0\.95\?"),
        ({"fixed": {"mu": 1.0}}, InvalidParameter, "leave it out of fixed"),
        ({"values": [float("nan")]}, InvalidParameter, "finite numbers"),
    ],
)
def test_wrong_arguments_get_one_line(model, options, error, message):
    with pytest.raises(error, match=message):
        neyman.limit(_data(model, DEFICIT), model, **options)


def test_a_model_without_poi_has_no_limit():
    model = neyman.Model(SPEC, {}, poi_name=None)
    with pytest.raises(InvalidParameter, match="no parameter of interest"):
        neyman.limit(_data(model, DEFICIT), model)
