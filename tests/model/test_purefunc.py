"""Rates that are expressions of parameters: values, exact derivatives, and the likelihood in pyhf's models and ours."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import cabinetry
import iminuit
import numpy as np
import pyhf
import pytest
from scipy.special import gammaln

import neyman
from neyman.exceptions import InvalidDocument, InvalidParameter

SIGNAL, INTERFERED, BACKGROUND = np.array([12.0, 25.0, 8.0]), np.array([70.0, 62.0, 35.0]), np.array([90.0, 60.0, 30.0])

EXPONENTIAL = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}


def sample(name: str, rates: Any, *modifiers: dict[str, Any]) -> dict[str, Any]:
    own = {"name": f"c_{name}", "type": "purefunc", "data": None}
    return {"name": name, "data": list(rates), "modifiers": [own, *modifiers]}


def off_shell() -> dict[str, Any]:
    """A signal that interferes with its background: S and B by themselves, and both together as SBI."""
    xsec = {"name": "xsec", "type": "normsys", "data": {"hi": 1.1, "lo": 1 / 1.1}}
    samples = [sample("S", SIGNAL), sample("SBI", INTERFERED), sample("B", BACKGROUND, xsec)]
    return {
        "channels": [{"name": "SR", "samples": samples}],
        "bindings": [
            {
                "names": ["c_S", "c_SBI", "c_B"],
                "expressions": "(mu - sqrt(mu), sqrt(mu), 1 - sqrt(mu))",
                "language": "sympy",
            }
        ],
    }


def model_of(spec: dict[str, Any], poi: str | None = "mu") -> neyman.Model:
    return neyman.Model(spec, {}, poi_name=poi)


def differences(model: neyman.Model, pars: np.ndarray, step: float = 1e-6) -> np.ndarray:
    shifts = step * np.eye(pars.size)
    return np.stack([(model.rates(pars + d)[0] - model.rates(pars - d)[0]) / (2.0 * step) for d in shifts], axis=-1)


def test_rates_are_multiplied_by_the_expressions():
    model = model_of(off_shell())
    assert model.config.par_names == ["xsec", "mu"]
    rates = dict(zip(model.config.samples, model.rates([0.0, 4.0])[0], strict=True))
    np.testing.assert_allclose(rates["S"], 2.0 * SIGNAL)
    np.testing.assert_allclose(rates["SBI"], 2.0 * INTERFERED)
    np.testing.assert_allclose(rates["B"], -BACKGROUND)


def test_a_parameter_starts_at_one_between_zero_and_ten_unless_the_specification_says_otherwise():
    spec = off_shell()
    index = model_of(spec).config.par_names.index("mu")
    assert model_of(spec).config.suggested_init()[index] == 1.0
    assert model_of(spec).config.suggested_bounds()[index] == (0, 10)
    spec["parameters"] = [{"name": "mu", "inits": [0.5], "bounds": [[0.1, 4.0]]}]
    assert model_of(spec).config.suggested_init()[index] == 0.5
    assert model_of(spec).config.suggested_bounds()[index] == [0.1, 4.0]


def test_derivatives_by_several_parameters_are_exact():
    # of new parameters, of those of other modifiers, in products of expressions, in expressions that use others
    spec = off_shell()
    spec["channels"][0]["samples"][0]["modifiers"] += [
        {"name": "form", "type": "purefunc", "data": None},
        {"name": "kappa", "type": "normfactor", "data": None},
    ]
    spec["bindings"] += [
        {"names": ["form"], "expressions": "exp(-tilt**2) + damp * log(2 + xsec)", "language": "sympy"},
        {"names": ["damp"], "expressions": "kappa**3 / (1 + c_SBI)", "language": "sympy"},
    ]
    model = model_of(spec)
    assert set(model.config.par_names) == {"kappa", "xsec", "mu", "tilt"}
    rng = np.random.default_rng(1)
    points = rng.uniform(0.2, 1.8, size=(20, 4))
    rates, jacobian = model.rates(points)
    for point, at, slopes in zip(points, rates, jacobian, strict=True):
        np.testing.assert_allclose(at, model.rates(point)[0], rtol=1e-13)
        np.testing.assert_allclose(slopes, differences(model, point), rtol=1e-6, atol=1e-6)  # of the differences
        plain = pyhf.Model(spec, modifier_set=neyman.modifier_set(spec["bindings"]), validate=False, poi_name="mu")
        np.testing.assert_allclose(at.sum(axis=0), plain.expected_data(point, include_auxdata=False), rtol=1e-12)


def test_the_gradient_of_the_likelihood_is_exact():
    model = model_of(off_shell())
    data = model.data(neyman.Ensemble(counts={"SR": [85.0, 66.0, 31.0]}))
    pars, step = np.array([0.3, 1.7]), 1e-5
    expected = [(model.logpdf(pars + d, data) - model.logpdf(pars - d, data))[0] / (2 * step) for d in step * np.eye(2)]
    np.testing.assert_allclose(model.evaluate(pars, data)[1], expected, rtol=1e-6)


def exact_fit(counts: np.ndarray, start: float) -> iminuit.Minuit:
    """Fit the Poisson likelihood written out by hand, in the root of mu."""

    def twice_nll(root: float, alpha: float) -> float:
        background = BACKGROUND * 1.1**alpha
        rate = (root**2 - root) * SIGNAL + root * INTERFERED + (1.0 - root) * background
        if np.any(rate <= 0.0):
            return 1e10
        return float(2.0 * np.sum(rate - counts * np.log(rate) + gammaln(counts + 1.0)) + alpha**2 + np.log(2 * np.pi))

    minuit = iminuit.Minuit(twice_nll, root=np.sqrt(start), alpha=0.0)
    minuit.limits["root"] = (0.0, np.sqrt(10.0))
    minuit.errordef, minuit.tol = 1.0, 1e-4
    return minuit.migrad()


@pytest.mark.parametrize("counts", [(87, 60, 31), (70, 58, 37), (75, 80, 40), (100, 110, 60)])
def test_fits_are_those_of_the_likelihood_written_out(counts):
    spec = off_shell()
    model = neyman.Model(spec, {}, poi_name="mu", modifier_settings=EXPONENTIAL)
    ours = neyman.fit(model.data(neyman.Ensemble(counts={"SR": np.array(counts, dtype=float)})), model)
    theirs = exact_fit(np.array(counts), 1.0)
    assert ours.twice_nll == pytest.approx(theirs.fval, abs=1e-3)
    assert ours["mu"] == pytest.approx(theirs.values["root"] ** 2, abs=0.02)


def test_a_model_survives_file_and_pickle(tmp_path):
    model = model_of(off_shell())
    model.save(tmp_path / "model.neyman")
    data = model.expected_data([0.1, 2.0])
    for other in (neyman.Model.load(tmp_path / "model.neyman"), pickle.loads(pickle.dumps(model))):
        assert other.logpdf([0.3, 1.5], data) == model.logpdf([0.3, 1.5], data)
        assert other.fingerprint == model.fingerprint
    changed = off_shell()
    changed["bindings"][0]["expressions"] = "(mu - sqrt(mu), sqrt(mu), 1 - mu)"
    assert model_of(changed).fingerprint != model.fingerprint


def test_a_plain_pyhf_model_has_the_same_likelihood_and_is_taken_by_ours():
    spec = off_shell()
    plain = pyhf.Model(spec, modifier_set=neyman.modifier_set(spec["bindings"]), validate=False, poi_name="mu")
    model = model_of(spec)
    data = model.expected_data([0.2, 1.4])
    assert plain.logpdf([0.3, 0.7], data) == pytest.approx(model.logpdf([0.3, 0.7], data), rel=1e-12)
    assert neyman.fit(data, plain)["mu"] == pytest.approx(1.4, abs=0.01)


def test_cabinetry_fits_it():
    spec = off_shell()
    plain = pyhf.Model(spec, modifier_set=neyman.modifier_set(spec["bindings"]), validate=False, poi_name="mu")
    for model in (plain, model_of(spec)):
        data = list(model_of(spec).expected_data([0.2, 1.6]))
        result = cabinetry.fit.fit(model, data)
        assert result.labels == ["xsec", "mu"]
        assert result.bestfit[1] == pytest.approx(1.6, abs=0.02)
        ours = neyman.fit(data, model)
        assert result.uncertainty[1] == pytest.approx(ours.uncertainty[1], rel=0.03)


def test_outside_of_the_domain_the_likelihood_is_zero():
    spec = off_shell()
    spec["parameters"] = [{"name": "mu", "bounds": [[-5.0, 10.0]]}]
    model = model_of(spec)
    data = model.expected_data([0.0, 1.0])
    assert model.logpdf([0.0, -0.1], data) == [-np.inf]


BAD = [
    ({"expressions": "(mu - sqrt(mu), srqt(mu), 1)"}, "unknown function 'srqt'; did you mean 'sqrt'"),
    ({"expressions": "(mu - sqrt(mu), sqrt(mu)"}, "is no expression: '\\(' was never closed"),
    ({"expressions": "(mu, sqrt(mu))"}, r"2 expressions for 3 names \(c_S, c_SBI, c_B\)"),
    ({"expressions": "mu"}, "1 expression for 3 names"),
    ({"expressions": "(mu^2, mu, 1)"}, "a power is written \\*\\*, not \\^"),
    ({"expressions": "(mu.real, mu, 1)"}, "'mu.real' is not allowed"),
    ({"expressions": "(__import__('os').getcwd(), mu, 1)"}, "not allowed"),
    ({"expressions": "(mu if mu > 0 else 1, mu, 1)"}, "not allowed"),
    ({"expressions": "(log(mu=1), mu, 1)"}, "not allowed"),
    ({"expressions": "(9**9**9**9, mu, 1)"}, "too large or too small a number"),
    ({"expressions": "(1/0, mu, 1)"}, "no real number"),
    ({"expressions": "(sqrt(-2), mu, 1)"}, "no real number"),
    ({"expressions": "(atan2(mu), mu, 1)"}, "atan2 does not take such arguments"),
    ({"expressions": "(beta, mu, 1)"}, "'beta' has a meaning of its own in sympy"),
    ({"expressions": "(c_B, c_S + 1, c_SBI)"}, "a circle: c_S, which uses c_B, which uses c_SBI, which uses c_S"),
    ({"expressions": "(c_S, mu, 1)"}, "a circle: c_S, which uses c_S"),
    ({"expressions": "(log(mu - 1), mu, 1)"}, r"'c_S' is log\(mu - 1\), which has no value at the start, mu = 1"),
    ({"language": "ROOT"}, r"bindings\[0\].language: there is no language 'ROOT'; write sympy"),
    ({"names": ["c_S", "c_SBI", "c_b"]}, "no binding defines the purefunc 'c_B'; did you mean 'c_b'"),
    ({"names": ["c_S", "c_SBI", "c_S"]}, "'c_S' is there twice"),
    ({"names": ["c_S", "c_SBI", "c_B", "xsec"], "expressions": "(mu, mu, mu, mu)"}, "'xsec' is a parameter, too"),
    ({"names": ["c_S", "c_SBI", "c B"]}, "'c B' is no name"),
    ({"names": ["c_S", "c_SBI", "c_B", "c_X"], "expressions": "(mu, mu, mu, mu)"}, "nothing uses the binding 'c_X'"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_bad_bindings_get_one_clear_line(change, message):
    spec = off_shell()
    spec["bindings"][0] |= change
    with pytest.raises(InvalidDocument, match=message) as raised:
        model_of(copy.deepcopy(spec))
    assert "\n" not in str(raised.value)
    with pytest.raises(InvalidDocument, match=message):
        pyhf.Model(spec, modifier_set=neyman.modifier_set(spec["bindings"]), validate=False, poi_name=None)


def counting(name: str, expression: str, poi: str = "mu") -> neyman.Model:
    sample = {"name": "signal", "data": [20.0], "modifiers": [{"name": "c", "type": "purefunc"}]}
    background = {"name": "background", "data": [50.0], "modifiers": []}
    bindings = [{"names": ["c"], "expressions": expression, "language": "sympy"}]
    return model_of({"channels": [{"name": name, "samples": [sample, background]}], "bindings": bindings}, poi)


def test_joint_models_share_bindings_and_their_parameters():
    normfactor = {"name": "mu", "type": "normfactor", "data": None}
    linear = {"channels": [{"name": "CR", "samples": [{"name": "signal", "data": [30.0], "modifiers": [normfactor]}]}]}
    model = neyman.combine(counting("SR1", "mu**2"), counting("SR2", "mu**2"), model_of(linear))
    assert model.config.par_names == ["mu"]
    assert len(model.spec["bindings"]) == 1
    rates = model.rates([1.5])[0].sum(axis=0)
    np.testing.assert_allclose(rates, [45.0, 95.0, 95.0])
    np.testing.assert_allclose(model.rates([1.5])[1].sum(axis=0)[:, 0], [30.0, 60.0, 60.0])


def test_bindings_of_one_name_in_joint_models_must_be_the_same():
    with pytest.raises(
        InvalidParameter, match=r"the binding c is mu\*\*2 in model 1 \(SR1\), but mu in model 2 \(SR2\)"
    ):
        neyman.combine(counting("SR1", "mu**2"), counting("SR2", "mu"))
