"""Impacts against fits that hold or shift one parameter after the other, and against cabinetry's ranking."""

from __future__ import annotations

import json
import math

import cabinetry
import numpy as np
import pyhf
import pytest

import neyman
from neyman.exceptions import InvalidParameter

CLOSE = 3e-3  # of the uncertainty: where the fits end


@pytest.fixture(scope="module")
def binned() -> tuple[pyhf.Model, list[float]]:
    """Three bins with normal, Poisson and free nuisance parameters, and a fluctuation."""

    def systematic(name: str, up: float) -> dict[str, object]:
        return {"name": name, "type": "normsys", "data": {"hi": 1 + up, "lo": 1 - 0.8 * up}}

    samples = [
        {"name": "signal", "data": [8.0, 15.0, 6.0], "modifiers": [
            {"name": "mu", "type": "normfactor", "data": None}, systematic("acceptance", 0.1)]},
        {"name": "background", "data": [80.0, 60.0, 90.0], "modifiers": [
            {"name": "norm", "type": "normfactor", "data": None},
            {"name": "jes_tilt", "type": "histosys",
             "data": {"hi_data": [86.0, 60.0, 84.0], "lo_data": [74.0, 60.0, 96.0]}},
            {"name": "uncorrelated", "type": "shapesys", "data": [4.0, 6.0, 4.0]}]},
        {"name": "fakes", "data": [10.0, 20.0, 8.0], "modifiers": [systematic("jes_fakes", 0.3), {
            "name": "mc", "type": "staterror", "data": [1.0, 2.0, 0.8]}]},
    ]  # fmt: skip
    model = pyhf.Model({"channels": [{"name": "SR", "samples": samples}]}, poi_name="mu")
    return model, [101.0, 99.0, 98.0, *model.config.auxdata]


@pytest.fixture(scope="module")
def ranked(binned: tuple[pyhf.Model, list[float]]) -> neyman.ImpactsResult:
    model, data = binned
    return neyman.impacts(data, model, groups={"jets": "jes_*"})


def test_impacts_after_the_fit_are_those_of_fits_with_the_parameter_held(
    binned: tuple[pyhf.Model, list[float]], ranked: neyman.ImpactsResult
) -> None:
    model, data = binned
    fit = neyman.fit(data, model)
    for name in ranked.names:
        moved = [fit[name] + way * fit.error(name) for way in (-1, 1)]
        expected = [neyman.fit(data, model, fixed={name: value})["mu"] - fit["mu"] for value in moved]
        np.testing.assert_allclose(ranked[name], expected, atol=CLOSE * fit.error("mu"))


def test_impacts_are_cabinetrys(binned: tuple[pyhf.Model, list[float]], ranked: neyman.ImpactsResult) -> None:
    model, data = binned
    theirs = cabinetry.fit.ranking(model, data)
    for name, prefit, postfit in zip(
        theirs.labels,
        zip(theirs.prefit_down, theirs.prefit_up, strict=True),
        zip(theirs.postfit_down, theirs.postfit_up, strict=True),
        strict=True,
    ):
        place = ranked.index(name)
        # theirs has the tolerance and the rounded Hessian of Minuit with numerical derivatives
        np.testing.assert_allclose(ranked.postfit[place], postfit, atol=0.02 * ranked.total, err_msg=name)
        if name in ranked.constraints and not name.startswith(("uncorrelated", "mc")):
            np.testing.assert_allclose(ranked.prefit[place], prefit, atol=0.02 * ranked.total, err_msg=name)


def test_impacts_of_auxiliary_data_are_those_of_fits_to_shifted_ones(
    binned: tuple[pyhf.Model, list[float]], ranked: neyman.ImpactsResult
) -> None:
    model, data = binned
    fit = neyman.fit(data, model)
    place = len(data) - model.config.nauxdata + list(model.config.auxdata_order).index("jes_tilt")
    for side, way in enumerate((-1.0, 1.0)):
        shifted = list(data)
        shifted[place] += way
        change = neyman.fit(shifted, model)["mu"] - fit["mu"]
        assert ranked.auxdata[ranked.index("jes_tilt"), side] == pytest.approx(change, abs=CLOSE * ranked.total)


def test_the_parts_add_up_to_the_uncertainty_and_the_data_are_what_fixed_parameters_leave(
    binned: tuple[pyhf.Model, list[float]], ranked: neyman.ImpactsResult
) -> None:
    model, data = binned
    fit = neyman.fit(data, model)
    assert math.hypot(*ranked.parts.values()) == pytest.approx(fit.error("mu"), rel=1e-9)
    constrained = [name for name, label in zip(fit.names, fit.labels, strict=True) if label == "constrained"]
    alone = neyman.fit(data, model, fixed={name: fit[name] for name in constrained})
    # the same where the likelihood is normal; here the systematics are a few percent beyond linear
    assert ranked.parts["data"] > alone.error("mu") * 0.95
    mc = [name for name in ranked.names if name.startswith("mc")]
    parts = [np.abs(ranked.auxdata[ranked.index(name)]).mean() for name in mc]
    assert ranked.parts["simulation"] == pytest.approx(math.hypot(*parts))
    jets = [np.abs(ranked.auxdata[ranked.index(name)]).mean() for name in ("jes_tilt", "jes_fakes")]
    assert ranked.groups == {"jets": pytest.approx(math.hypot(*jets))}


def test_parts_are_exact_where_the_likelihood_is_normal() -> None:
    # n = mu s + alpha d with many events: sigma_mu^2 = (n + d^2) / s^2
    sample = {"name": "signal", "data": [1e6], "modifiers": [
        {"name": "mu", "type": "normfactor", "data": None}]}  # fmt: skip
    other = {"name": "background", "data": [1e6], "modifiers": [
        {"name": "alpha", "type": "histosys", "data": {"hi_data": [1.002e6], "lo_data": [0.998e6]}}]}  # fmt: skip
    model = pyhf.Model({"channels": [{"name": "SR", "samples": [sample, other]}]}, poi_name="mu")
    result = neyman.impacts([2e6, 0.0], model)
    assert result.parts["data"] == pytest.approx(math.sqrt(2e6) / 1e6, rel=1e-3)  # Poisson: relative 1e-3
    assert result.parts["systematics"] == pytest.approx(2e-3, rel=1e-3)


def test_the_largest_impact_comes_first(ranked: neyman.ImpactsResult) -> None:
    sizes = np.abs(ranked.postfit).max(axis=1)
    assert list(sizes) == sorted(sizes, reverse=True)
    assert "mu" not in ranked.names


def test_some_parameters_are_ranked_alone_and_the_parts_stay_the_same(
    binned: tuple[pyhf.Model, list[float]], ranked: neyman.ImpactsResult
) -> None:
    model, data = binned
    result = neyman.impacts(data, model, parameters=["jes_*", "norm"], prefit=False)
    assert set(result.names) == {"jes_tilt", "jes_fakes", "norm"}
    assert np.isnan(result.prefit).all()
    assert result.parts == pytest.approx(ranked.parts)


def test_blind_impacts_hide_the_best_fit_and_every_sign(
    binned: tuple[pyhf.Model, list[float]], ranked: neyman.ImpactsResult
) -> None:
    model, data = binned
    result = neyman.impacts(data, model, blind=True)
    written = json.loads(result.to_json())
    assert written["value"] is None
    sides = [side for key in ("prefit", "postfit", "auxdata") for row in written[key] for side in row]
    assert all(side is None or side >= 0 for side in sides)
    np.testing.assert_allclose(result.postfit, np.abs(ranked.postfit))
    assert f"{ranked.value:.2f}" not in repr(result)


def test_impacts_of_events_are_those_of_fits(model: neyman.Model) -> None:
    data = model.observed
    result, fit = neyman.impacts(data, model), neyman.fit(data, model)
    moved = fit["scale"] + fit.error("scale")
    change = neyman.fit(data, model, fixed={"scale": moved})["mu"] - fit["mu"]
    assert result["scale"][1] == pytest.approx(change, abs=CLOSE * fit.error("mu"))
    assert result.simulation == pytest.approx(fit.simulation[fit.index("mu")])
    assert result.valid


def test_a_parameter_at_its_bound_has_impacts_too(binned: tuple[pyhf.Model, list[float]]) -> None:
    model, data = binned
    result = neyman.impacts(data, model, bounds={"norm": (0.5, 0.9)})
    assert result.valid
    assert np.isfinite(result.postfit[result.index("jes_tilt")]).all()


def test_impacts_of_a_fixed_parameter_and_of_none_are_errors(binned: tuple[pyhf.Model, list[float]]) -> None:
    model, data = binned
    with pytest.raises(InvalidParameter, match="mu is fixed, so that nothing moves it"):
        neyman.impacts(data, model, fixed=["mu"])
    with pytest.raises(InvalidParameter, match="group jets: no free parameter 'jex_\\*' beside that of interest"):
        neyman.impacts(data, model, groups={"jets": ["jex_*"]})
    with pytest.raises(InvalidParameter, match="no parameter nu"):
        neyman.impacts(data, model, poi="nu")


def test_the_figure_has_a_row_for_each_parameter(ranked: neyman.ImpactsResult) -> None:
    figure = ranked.plot()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(ranked.names)
    assert len(ranked.plot(["jes_tilt"]).axes[0].get_yticklabels()) == 1
