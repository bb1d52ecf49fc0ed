"""Bindings of documents: specifications, binned workspaces, what is checked, and what bad input gets."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cabinetry
import numpy as np
import pyhf
import pytest
import uproot

import neyman
from neyman.cli.inspection import of_workspace, text
from neyman.exceptions import InvalidDocument
from neyman.inputs.bindings import Bindings
from neyman.inputs.formulas import FUNCTIONS
from neyman.inputs.workspace import Workspace

BINDINGS = [
    {"names": ["c_S", "c_SBI", "c_B"], "expressions": "(mu - t, t, 1 - t)", "language": "sympy"},
    {"names": ["t"], "expressions": "sqrt(mu)", "language": "sympy"},
]
EDGES = [0.0, 1.0, 2.0, 4.0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, shape, scale in (("S", 3.0, 0.7), ("SBI", 1.4, 0.9), ("B", 1.0, 1.0), ("data", 1.3, 0.9)):
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            number = 200 if name == "data" else 4000
            file.mktree("t", {"x": "float64", "w": "float64"})
            file["t"].extend({"x": rng.gamma(shape, scale, number), "w": np.full(number, 0.05)})
    return tmp_path


@pytest.fixture
def document() -> dict[str, Any]:
    """A learned channel of signal, background and both, and a control region of the background."""

    def sample(name: str) -> dict[str, Any]:
        own = {"name": f"c_{name}", "type": "purefunc", "data": None}
        return {"name": name, "events": {"files": f"{name}.root"}, "modifiers": [own]}

    background = {"name": "B", "data": [500.0], "modifiers": [{"name": "norm", "type": "normfactor", "data": None}]}
    learned = {"name": "SR", "features": ["x"], "events": {"tree": "t", "weight": "w"}}
    document = {
        "version": "1.0.0",
        "bindings": copy.deepcopy(BINDINGS),
        "channels": [
            {**learned, "samples": [sample("S"), sample("SBI"), sample("B")]},
            {"name": "CR", "samples": [background]},
        ],
        "observations": [
            {"name": "SR", "events": {"files": "data.root", "tree": "t"}},
            {"name": "CR", "data": [520.0]},
        ],
        "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
    }
    document["channels"][0]["samples"][2]["modifiers"].append({"name": "norm", "type": "normfactor", "data": None})
    return document


def test_the_specification_has_the_bindings_and_makes_models(document, folder):
    workspace = Workspace(document, folder)
    workspace.validate()
    spec = workspace.spec()
    assert spec["bindings"] == BINDINGS
    model = neyman.Model(spec, {}, poi_name=workspace.poi_name)
    assert set(model.config.par_names) == {"mu", "norm"}
    at = dict(zip(model.config.par_names, (1.0, 1.0), strict=True)) | {"mu": 4.0, "norm": 1.5}
    rates = model.rates([at[name] for name in model.config.par_names])[0]
    np.testing.assert_allclose(rates[:, model.config.channel_slices["SR"].start], [-300.0, 400.0, 400.0], rtol=1e-6)


def test_the_measurement_sets_new_parameters(document, folder):
    document["measurements"][0]["config"]["parameters"] = [{"name": "mu", "inits": [0.5], "bounds": [[-2.0, 5.0]]}]
    spec = Workspace(document, folder).spec()
    model = pyhf.Model(spec, modifier_set=neyman.modifier_set(spec["bindings"]), validate=False, poi_name="mu")
    index = model.config.poi_index
    assert (model.config.suggested_init()[index], model.config.suggested_bounds()[index]) == (0.5, [-2.0, 5.0])


def test_the_binned_workspace_is_taken_by_pyhf_and_cabinetry(document, folder):
    workspace = Workspace(document, folder).binned({"SR": ("x", EDGES)}, staterror=True)
    assert workspace["bindings"] == BINDINGS
    model = workspace.model(modifier_set=neyman.modifier_set(workspace["bindings"]), validate=False)
    data = workspace.data(model)
    pars = model.config.suggested_init()
    pars[model.config.poi_index] = 0.0
    with_background_alone = model.expected_data(pars)[model.config.channel_slices["SR"]]
    contents = {sample["name"]: sample["data"] for sample in workspace["channels"][0]["samples"]}
    np.testing.assert_allclose(with_background_alone, contents["B"])
    theirs = cabinetry.fit.fit(model, data)
    ours = neyman.fit(data, model)
    np.testing.assert_allclose(theirs.bestfit, ours.bestfit, atol=0.02)
    np.testing.assert_allclose(pyhf.infer.mle.fit(data, model), ours.bestfit, atol=0.02)


def test_a_document_of_the_pull_request_has_no_data_and_one_expression(document, folder):
    document["bindings"] = [{"names": ["c_S"], "expression": "mu", "language": "sympy"}]
    document["channels"][0]["samples"] = document["channels"][0]["samples"][:1]
    document["channels"][0]["samples"][0]["modifiers"] = [{"name": "c_S", "type": "purefunc"}]
    workspace = Workspace(document, folder)
    assert workspace.spec()["channels"][0]["samples"][0]["modifiers"] == [{"name": "c_S", "type": "purefunc"}]
    assert json.loads(json.dumps(workspace.binned({"SR": ("x", EDGES)})))["bindings"] == document["bindings"]
    workspace.validate()


def with_parameters(**settings: Any) -> dict[str, Any]:
    config = {"poi": "mu", "parameters": [{"name": name, **values} for name, values in settings.items()]}
    return {"measurements": [{"name": "measurement", "config": config}]}


def bound_to(expressions: str, **others: Any) -> dict[str, Any]:
    return {"bindings": [{"names": ["c_S", "c_SBI", "c_B"], "expressions": expressions, "language": "sympy", **others}]}


BAD = [
    (bound_to("(mu, mu, kappa)"), r"bindings\[0\].expressions: no parameter 'kappa'; .*set in the measurement"),
    (bound_to("(mu, mu, nrm)"), "no parameter 'nrm'; did you mean 'norm'"),
    (bound_to("(mu, mu, 1)", language="root"), r"bindings\[0\].language: there is no language 'root'"),
    (bound_to("(mu, mu, 1)", names=["c_S", "c_SBI"]), r"3 expressions for 2 names"),
    (bound_to("(mu, mu, 1)", expression="mu"), "has both 'expressions' and 'expression'"),
    (bound_to("(mu, mu, 1)", names=[]), "names: must not be empty"),
    (bound_to("(mu, mu, 1)", name="c"), "name: no such key; did you mean 'names'"),
    (bound_to("(mu, mu, 1)", names=["c_S", "c_SBI", "norm"]), "no binding defines the purefunc 'c_B'"),
    ({"bindings": []}, r"channels\[0\].samples\[0\].modifiers\[0\].name: no binding defines the purefunc 'c_S'"),
    ({"bindings": [*BINDINGS, {"names": ["norm"], "expressions": "1", "language": "sympy"}]}, "'norm' is a parameter"),
    ({"bindings": [*BINDINGS, {"names": ["mu"], "expressions": "1", "language": "sympy"}]}, "poi: 'mu' is a binding"),
    ({"bindings": [*BINDINGS, {"names": ["a"], "expressions": "mu", "language": "sympy"}]}, "nothing uses the binding"),
    (with_parameters(mu={"sigmas": [1.0]}), "the purefunc 'mu' has no sigmas; it is free"),
    (with_parameters(mu={"inits": [-1.0], "bounds": [[-2.0, 2.0]]}), "has no value at the start, mu = -1"),
    (with_parameters(mu={"inits": [11.0]}), "11 is outside the bounds 0 to 10"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_documents_get_one_clear_line(document, folder, change, message):
    with pytest.raises(InvalidDocument, match=message) as raised:
        Workspace(copy.deepcopy({**document, **change}), folder).validate()
    assert "\n" not in str(raised.value)


def test_a_parameter_of_many_numbers_is_refused(document, folder):
    document["channels"][1]["samples"][0]["modifiers"].append({"name": "bins", "type": "shapefactor", "data": None})
    document["bindings"] = bound_to("(mu, mu, bins)")["bindings"]
    with pytest.raises(InvalidDocument, match="'bins' is a shapefactor, a number for each bin"):
        Workspace(document, folder)


def test_coefficients_that_make_every_density_negative_are_refused(document, folder):
    document["bindings"] = bound_to("(-mu, -mu, -2 + mu)")["bindings"]
    message = r"channel SR: the expected rate is .* at the start, norm = 1, mu = 1; its sample .* has"
    with pytest.raises(InvalidDocument, match=message):
        Workspace(document, folder).validate()


def test_names_and_lines_of_the_file_are_in_the_message(document, folder):
    document["bindings"][0] |= {"expressions": "(mu, srqt(mu), 1)"}
    path = folder / "analysis.json"
    path.write_text(json.dumps(document, indent=1))
    with pytest.raises(InvalidDocument, match=r"analysis.json.*bindings\[0\].expressions: unknown function 'srqt'"):
        Workspace.load(path)


def test_what_is_inspected_shows_the_expressions(document, folder):
    found = of_workspace(Workspace(document, folder))
    assert found["bindings"]["c_S"] == "-sqrt(mu) + mu"
    assert "-sqrt(mu) + mu" in text(found)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_has_values_and_exact_derivatives(name):
    pairs = {"Max", "Min", "max", "min", "pow", "root", "atan2"}
    call = f"{name}(x, y)" if name in pairs else f"{name}(x)"
    bindings = Bindings([{"names": ["f"], "expressions": f"{call} + 0*y + pi", "language": "sympy"}])
    coefficients = bindings.coefficients((("f",),))
    point = np.array([[1.7 if name == "acosh" else 0.6, 0.4]])[:, : len(bindings.parameters)]
    _, slopes = coefficients(point)
    for column, shift in enumerate(1e-6 * np.eye(point.size)):
        difference = (coefficients(point + shift)[0] - coefficients(point - shift)[0]) / 2e-6
        np.testing.assert_allclose(slopes[:, :, column], difference, rtol=1e-7, atol=1e-8)
