"""What a document may have beyond HistFactory: aliases, named features, varied branches, mirrored sides, lists."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import uproot

import neyman
from neyman.exceptions import InvalidDocument, InvalidEvents, NeymanError
from neyman.inputs.workspace import Workspace

MU = {"name": "mu", "type": "normfactor", "data": None}
HT, ETA, N, W = (
    np.array([50.0, 100.0, 150.0, 200.0, 300.0, 400.0]),
    np.array([-1.0, 0.5, 2.0, -0.5, 1.0, 0.0]),
    np.array([1, 2, 2, 3, 3, 4], np.int32),
    np.array([1.0, 1.0, 2.0, 2.0, 1.0, 1.0]),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    nominal = {"HT": HT, "HT_up": 2 * HT, "eta": ETA, "n": N, "w": W, "sf": 1 + 0.1 * N}
    with uproot.recreate(tmp_path / "s.root") as file:
        file["t"] = nominal
        file["up"] = {**nominal, "HT": HT + 60}
    with uproot.recreate(tmp_path / "data.root") as file:
        file["t"] = {"ht": HT, "eta": ETA, "n": N}
    return tmp_path


def learned(*modifiers: dict[str, Any], events: dict[str, Any] | None = None, **channel: Any) -> dict[str, Any]:
    """Return a document of one channel, learned unless it has a binning, and one sample."""
    kind = {} if "binning" in channel else {"features": ["HT", "eta"]}
    source = {"files": "s.root", "tree": "t"}
    sample = {"name": "s", "events": source | (events or {}), "modifiers": [MU, *modifiers]}
    return {
        "version": "1.0.0",
        "channels": [{"name": "SR", "samples": [sample], **kind, **channel}],
        "observations": [{"name": "SR", "events": {"files": "data.root", "tree": "t"}, "aliases": {"HT": "ht"}}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }


def histosys(hi: Any, lo: Any) -> dict[str, Any]:
    return {"name": "jes", "type": "histosys", "data": {"hi": hi, "lo": lo}}


def binned(*modifiers: dict[str, Any], events: dict[str, Any] | None = None, **channel: Any) -> dict[str, Any]:
    binning = {"variable": "HT", "edges": [0, 150, 1000]}
    return learned(*modifiers, events=events, **({"binning": binning} | channel))


def contents(document: dict[str, Any], folder: Path, name: str | None = None) -> Any:
    """Return the contents of the bins of the sample, or the data of one of its modifiers."""
    sample = Workspace(document, folder).spec()["channels"][0]["samples"][0]
    return sample["data"] if name is None else next(m["data"] for m in sample["modifiers"] if m["name"] == name)


def nominal(document: dict[str, Any], folder: Path) -> Any:
    return Workspace(document, folder).simulation("SR").samples["s"]


# --- Aliases and names


def test_an_alias_stands_for_its_expression_everywhere(folder: Path) -> None:
    document = learned(
        events={"weight": "twice * w", "selection": "far"},
        features=["lht", "eta"],
        aliases={"lht": "log(HT)", "far": "lht > log(cut)", "twice": 2},
    )
    document["aliases"] = {"cut": 120.0}
    found = nominal(document, folder)
    assert found.features[:, 0] == pytest.approx(np.log(HT[HT > 120]), rel=1e-6)
    assert found.weights.tolist() == (2 * W[HT > 120]).tolist()
    assert len(Workspace(document, folder).observed().events["SR"]) == 6  # which inherit no sample's selection


def test_the_nearest_alias_wins_and_null_takes_one_away(folder: Path) -> None:
    document = learned(features=["x", "eta"], aliases={"x": "2 * HT"})
    document["aliases"] = {"x": "3 * HT"}
    assert nominal(document, folder).features[0, 0] == 100
    document["channels"][0]["samples"][0]["aliases"] = {"x": "HT"}
    workspace = Workspace(document, folder)
    assert workspace.simulation("SR").samples["s"].features[0, 0] == 50
    assert workspace.observed().events["SR"].features[0, 0] == 100
    document["channels"][0]["aliases"]["x"] = None
    document["observations"][0]["aliases"]["x"] = "5 * ht"
    workspace = Workspace(document, folder)
    assert workspace.observed().events["SR"].features[0, 0] == 250


def test_features_have_names(folder: Path) -> None:
    document = learned(features={"ht": "HT / 10", "angle": "abs(eta)"})
    workspace = Workspace(document, folder)
    assert workspace.features("SR") == ["ht", "angle"]
    assert workspace.simulation("SR").features == ("ht", "angle")
    assert workspace.simulation("SR").samples["s"].features[0].tolist() == [5, 1]
    assert "2 features: ht, angle" in workspace._repr_html_()


@pytest.mark.parametrize("variable", ["ht", "tens", "HT / 10"])
def test_bins_take_the_name_of_a_feature_an_alias_or_an_expression(folder: Path, variable: str) -> None:
    document = learned(features={"ht": "HT / 10", "eta": "eta"}, aliases={"tens": "HT / 10"})
    spec = Workspace(document, folder).binned({"SR": (variable, [0, 15, 100])})
    assert spec["channels"][0]["samples"][0]["data"] == [2, 4]


# --- Varied branches


def test_a_varied_branch_changes_features_aliases_weight_and_selection(folder: Path) -> None:
    document = learned(
        histosys({"branches": {"HT": "HT_up"}}, {"branches": {"HT": "HT * 0.5"}}),
        events={"weight": "HT", "selection": "hard"},
        aliases={"hard": "HT > 120"},
    )
    simulation = Workspace(document, folder).simulation("SR")
    hi, lo = simulation.variations["s"]["jes"]
    for side, ht in ((simulation.samples["s"], HT), (hi, 2 * HT), (lo, HT / 2)):
        assert side is not None
        assert side.features[:, 0].tolist() == ht[ht > 120].tolist()
        assert side.weights.tolist() == ht[ht > 120].tolist()


def test_a_varied_alias_is_what_it_says(folder: Path) -> None:
    document = binned(
        histosys({"branches": {"x": "x + HT_up"}}, {}),
        aliases={"x": "HT"},
        binning={"variable": "x", "edges": [0, 300, 10000]},
    )
    assert contents(document, folder, "jes")["hi_data"] == np.histogram(3 * HT, [0, 300, 10000])[0].tolist()


def test_a_varied_branch_stands_beside_another_tree_and_weight(folder: Path) -> None:
    document = binned(histosys({"tree": "up", "weight": "w", "branches": {"HT": "HT + 1"}}, {}))
    assert contents(document, folder, "jes")["hi_data"] == np.histogram(HT + 61, [0, 150, 1000], weights=W)[0].tolist()


# --- Mirrored sides


@pytest.mark.parametrize("side", ["symmetrize", {"symmetrize": True}])
def test_in_bins_a_mirrored_side_is_twice_the_nominal_minus_the_other(folder: Path, side: Any) -> None:
    data = contents(binned(histosys({"branches": {"HT": "HT_up"}}, side)), folder, "jes")
    up, at = (np.histogram(x, [0, 150, 1000])[0] for x in (2 * HT, HT))
    assert data == {"hi_data": up.tolist(), "lo_data": (2 * at - up).tolist()}
    data = contents(binned(histosys(side, {"branches": {"HT": "HT_up"}})), folder, "jes")
    assert data == {"lo_data": up.tolist(), "hi_data": (2 * at - up).tolist()}


def test_the_yield_of_a_mirrored_side_of_a_learned_channel_is_mirrored(folder: Path) -> None:
    document = learned(histosys({"weight": {"times": "sf"}}, "symmetrize"), events={"weight": "w"})
    hi = float(np.sum(W * (1 + 0.1 * N)) / np.sum(W))
    assert contents(document, folder, "jes") == pytest.approx({"hi": hi, "lo": 2 - hi})
    simulation = Workspace(document, folder).simulation("SR")
    assert simulation.variations["s"]["jes"][1] is None
    assert simulation.mirrored == {("s", "jes")}


def test_a_mirrored_yield_that_is_not_positive_is_an_error(folder: Path) -> None:
    with pytest.raises(
        InvalidEvents, match=r"\('s', 'jes'\): one side has 3 times the nominal yield, and that of its m"
    ):
        Workspace(learned(histosys({"weight": "3"}, "symmetrize")), folder).validate()


# --- Lists, and what is inherited


def test_weights_of_a_list_are_multiplied_and_selections_are_anded(folder: Path) -> None:
    found = nominal(learned(events={"weight": ["w", "sf", 2], "selection": ["HT > 60", "(eta < 1) | (n > 2)"]}), folder)
    chosen = (HT > 60) & ((ETA < 1) | (N > 2))
    assert found.features[:, 0].tolist() == HT[chosen].tolist()
    assert found.weights == pytest.approx((W * (1 + 0.1 * N) * 2)[chosen])


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        ("n < 4", (HT > 120) & (N < 4)),
        ({"and": ["n < 4", "eta > 0"]}, (HT > 120) & (N < 4) & (ETA > 0)),
        ({"replace": "n < 4"}, N < 4),
        (None, N > 0),
    ],
)
def test_the_selection_of_a_sample_narrows_its_channels_or_replaces_it(folder: Path, selection: Any, kept: Any) -> None:
    document = learned(events={"selection": selection})
    document["channels"][0]["events"] = {"selection": "HT > 120"}
    assert nominal(document, folder).features[:, 0].tolist() == HT[kept].tolist()


def test_a_selection_of_data_narrows_the_channels(folder: Path) -> None:
    document = learned()
    document["channels"][0]["events"] = {"selection": "HT > 120"}
    document["observations"][0]["events"]["selection"] = {"and": "n < 4"}
    observed = Workspace(document, folder).observed().events["SR"]
    assert observed.features[:, 0].tolist() == HT[(HT > 120) & (N < 4)].tolist()


def test_the_selection_of_a_variation_replaces_its_samples_or_adds_to_it(folder: Path) -> None:
    events = {"selection": "HT > 120"}
    plain, added = (
        contents(binned(histosys({"selection": s}, {}), events=events), folder, "jes")["hi_data"]
        for s in ("n < 3", {"and": "n < 3"})
    )
    assert (plain, added) == ([2, 1], [0, 1])


@pytest.mark.parametrize(("weight", "right"), [("sf", 1 + 0.1 * N), ({"times": "sf"}, W * (1 + 0.1 * N)), (None, W**0)])
def test_a_weight_replaces_the_inherited_one_or_multiplies_it(folder: Path, weight: Any, right: Any) -> None:
    document = learned(events={"weight": weight})
    document["channels"][0]["events"] = {"weight": "w"}
    assert nominal(document, folder).weights == pytest.approx(right)


def test_a_selection_that_narrows_an_inherited_one_unasked_is_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = learned(events={"selection": "n < 4"})
    Workspace(document, folder)
    document["channels"][0]["events"] = {"selection": "n < 4"}
    Workspace(document, folder)
    assert not caplog.records
    document["channels"][0]["events"] = {"selection": "HT > 120"}
    with caplog.at_level(logging.WARNING):
        Workspace(document, folder)
    assert "channels[0].samples[0].events.selection: 'n < 4' is and-ed with the inherited 'HT > 120'" in caplog.text


@pytest.mark.parametrize(("entries", "right"), [([0, 2], HT[:2]), ([2, 4], HT[2:4]), ([4, None], HT[4:])])
def test_a_range_of_entries_is_read(folder: Path, entries: Any, right: Any) -> None:
    workspace = Workspace(learned(events={"entries": entries, "selection": "HT > 60"}), folder)
    assert workspace.simulation("SR").samples["s"].features[:, 0].tolist() == right[right > 60].tolist()
    assert len(workspace.observed().events["SR"]) == len(HT)
    assert workspace.cutflow().rows[0].events == len(right)


def test_entries_beyond_the_end_are_an_error(folder: Path) -> None:
    with pytest.raises(InvalidEvents, match=r"s\.root: tree 't' has 6 entries, none 10 to 20; change the r"):
        Workspace(binned(events={"entries": [10, 20]}), folder).validate()


def test_other_data_keep_the_aliases_but_not_the_entries_of_the_observation(folder: Path) -> None:
    document = learned()
    document["observations"][0]["events"]["entries"] = [0, 1]
    workspace = Workspace(document, folder)
    assert len(workspace.observed().events["SR"]) == 1
    assert len(workspace.with_data(folder / "data.root").observed().events["SR"]) == len(HT)


# --- Samples without events, and the cutflow


def test_bins_may_be_empty_or_negative_as_in_pyhf(folder: Path) -> None:
    document = binned(histosys({"selection": "n == 77"}, {"weight": "-1"}), events={"selection": "HT > 120"})
    workspace = Workspace(document, folder)
    workspace.validate()
    assert contents(document, folder, "jes") == {"hi_data": [0, 0], "lo_data": [0, -4]}
    assert workspace.cutflow().warnings == [
        "channel SR: s, jes hi, has no events after the selection",
        "channel SR: s, jes lo, has weights that sum to -4",
    ]
    document["channels"][0]["samples"][0]["events"]["selection"] = "n == 77"
    assert contents(document, folder) == [0, 0]


@pytest.mark.parametrize(
    ("events", "hi", "message"),
    [
        (
            {"selection": "n == 77"},
            {"tree": "up"},
            r"\('s'\): .*s\.root: tree 't': selection 'n == 77' keeps none of 6",
        ),
        (
            {"weight": -1},
            {"tree": "up"},
            r"\('s'\): the weights -1 of tree 't' in .* sum to -6, but a yield is positive",
        ),
        ({}, {"selection": "n == 77"}, r"\('s', 'jes' hi\): .* keeps none of 6"),
        ({}, {"weight": "-1"}, r"\('s', 'jes' hi\): the weights -1 .* sum to -6"),
    ],
)
def test_a_learned_sample_or_variation_without_a_yield_is_found_by_validation(
    folder: Path, events: dict[str, Any], hi: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidEvents, match=r"channels\[0\]\.samples\[0\] " + message):
        Workspace(learned(histosys(hi, {}), events=events), folder).validate()


def test_the_cutflow_has_a_number_after_each_condition(folder: Path) -> None:
    events = {"selection": ["HT > 60", "(n < 4) & (eta < 2)"], "weight": "w"}
    document = learned(histosys({"branches": {"HT": "HT_up"}}, "symmetrize"), events=events)
    cutflow = Workspace(document, folder).cutflow()
    nominal, up, down, observed = cutflow.rows
    assert nominal.conditions == ("HT > 60", "n < 4", "eta < 2")
    assert (nominal.events, nominal.passing, nominal.selected, nominal.total) == (6, (5, 4, 3), 3, 4)
    assert (up.sample, up.variation, up.passing) == ("s", "jes hi", (6, 5, 4))
    assert (down.variation, down.events, down.total) == ("jes lo (mirrored)", None, 3)
    assert (observed.sample, observed.passing, observed.total) == (None, (), 6)
    assert repr(cutflow).splitlines() == [
        "channel SR",
        "  [1] HT > 60",
        "  [2] n < 4",
        "  [3] eta < 2",
        "  sample    variation          events  [1]  [2]  [3]  selected  yield",
        "  s                                 6    5    4    3         3      4",
        "  s         jes hi                  6    6    5    4         4      5",
        "  s         jes lo (mirrored)                                       3",
        "  observed                          6                        6      6",
    ]
    assert cutflow.to_dict()["rows"][0]["passing"] == (5, 4, 3)


# --- Misuse: one line each


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    *keys, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    item: Any = document
    for key in keys:
        item = item[key]
    item[last] = value
    return document


CHANNEL, SAMPLE, EVENTS, DATA = (
    "channels.0", "channels.0.samples.0", "channels.0.samples.0.events", "channels.0.samples.0.modifiers.1.data",
)  # fmt: skip
AT = "channels[0].samples[0]"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("aliases", ["x"], 'aliases: must be a mapping, not ["x"]'),
        ("aliases", {"x": ["HT"]}, 'aliases.x: must be a string or a number or null, not ["HT"]'),
        ("aliases", {"x": ""}, "aliases.x: must not be empty"),
        ("aliases", {"2x": "HT"}, "aliases.2x: '2x' is no name; use letters, digits and _, as in 'x_2x'"),
        ("aliases", {"jet.pt": "HT"}, "aliases.jet.pt: 'jet.pt' is no name; use letters, digits and _, as in 'jet_pt'"),
        ("aliases", {"x": None}, "aliases.x: null takes an inherited alias away, but there is no 'x'"),
        ("aliases", {"x": "y + 1", "y": "2 * x"}, "aliases.x: the alias leads back to itself: x -> y -> x"),
        ("aliases", {"x": "x"}, "aliases.x: the alias leads back to itself: x -> x"),
        (f"{SAMPLE}.alias", {"x": "HT"}, f"{AT}.alias: no such key; did you mean 'aliases'?"),
        (f"{CHANNEL}.features", {}, "channels[0].features: must not be empty"),
        (f"{CHANNEL}.features", {"x": 2}, "channels[0].features.x: must be a string, not 2"),
        (f"{CHANNEL}.features", {"x": "HT", "y": "HT"}, "channels[0].features: names an expression twice"),
        (f"{EVENTS}.selection", [], f"{AT}.events.selection: must not be empty"),
        (f"{EVENTS}.selection", {"or": "n > 1"}, f"{AT}.events.selection.or: no such key; choose from and, replace"),
        (f"{EVENTS}.selection", {"and": "n", "replace": "n"}, f"{AT}.events.selection: takes one key, not and and rep"),
        (f"{EVENTS}.weight", {"and": "w"}, f"{AT}.events.weight.and: no such key; choose from times, replace"),
        (f"{EVENTS}.weight", True, f"{AT}.events.weight: must be a string or a number or a list or a mapping or null"),
        (f"{EVENTS}.weight", ["w", None], f"{AT}.events.weight[1]: must be a string or a number, not null"),
        (f"{EVENTS}.entries", [5], f"{AT}.events.entries: needs at least 2 entries, not 1"),
        (f"{EVENTS}.entries", [5, 5], f"{AT}.events.entries: the range ends at 5, not after its start 5"),
        (f"{EVENTS}.entries", [0.5, 5], f"{AT}.events.entries[0]: must be a whole number, not 0.5"),
        (f"{EVENTS}.entries", [-5, 5], f"{AT}.events.entries[0]: -5 is less than the minimum of 0"),
        (f"{EVENTS}.branches", {"HT": "HT_up"}, f"{AT}.events.branches: no such key; choose from files"),
        (f"{DATA}.hi.branches", {}, f"{AT}.modifiers[1].data.hi.branches: must not be empty"),
        (
            f"{DATA}.hi.branches",
            {"Ht": "HT_up"},
            (
                f"{AT}.modifiers[1].data.hi.branches.Ht: nothing in the channel uses 'Ht', so that replacing it has no "
                "effect; did you mean 'HT'?"
            ),
        ),
        (f"{DATA}.hi.branches", {"HT": "HT"}, f"{AT}.modifiers[1].data.hi.branches.HT: stands for itself"),
        (f"{DATA}.lo", "symetrize", f"{AT}.modifiers[1].data.lo: must be a mapping or the word 'symmetrize'"),
        (f"{DATA}.lo", {"Symmetrize": True}, f"{AT}.modifiers[1].data.lo.Symmetrize: no such key; did you mean 'symm"),
        (f"{DATA}.lo", {"symmetrize": False}, f"{AT}.modifiers[1].data.lo.symmetrize: must be True, not false"),
        (
            f"{DATA}.lo",
            {"symmetrize": True, "tree": "up"},
            f"{AT}.modifiers[1].data.lo: symmetrize makes this side from",
        ),
        (f"{DATA}.hi", "symmetrize", f"{AT}.modifiers[1].data: hi and lo are each the mirror image of the other, so "),
        (
            f"{DATA}.hi",
            {},
            f"{AT}.modifiers[1].data: hi and lo are both the nominal sample, so that 'jes' has no effect",
        ),
    ],
)
def test_misuse_is_one_line_that_names_the_key(folder: Path, path: str, value: Any, message: str) -> None:
    document = learned(histosys({"branches": {"HT": "HT_up"}}, "symmetrize"))
    Workspace(document, folder)
    with pytest.raises(InvalidDocument) as caught:
        Workspace(changed(document, path, value), folder)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aliases": {"eta": "HT"}}, "'eta'"),  # which the files have
        ({"aliases": {"x": "HTT"}, "features": ["x", "eta"]}, "no branch 'HTT'"),
    ],
)
def test_an_alias_that_files_contradict_is_found_by_validation(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(NeymanError, match=message):
        Workspace(learned(**change), folder).validate()


def test_an_error_about_a_source_names_the_line_of_a_loaded_document(folder: Path) -> None:
    path = folder / "analysis.json"
    path.write_text(json.dumps(learned(histosys({"branches": {"HT": "HT_Up"}}, {})), indent=1))
    line = path.read_text().partition('"hi"')[0].count("\n") + 1
    with pytest.raises(InvalidEvents) as caught:
        Workspace.load(path).validate()
    assert str(caught.value).startswith(f"{path}, line {line}: {AT} ('s', 'jes' hi): {folder / 's.root'}: tree 't': ")
    assert str(caught.value).endswith("no branch 'HT_Up'; did you mean 'HT_up'?")


# --- Settings of parameters


SHAPES = (
    {"name": "x", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
    {"name": "size", "type": "staterror", "data": [1.0, 2.0]},
    {"name": "bins", "type": "shapesys", "data": [1.0, 2.0]},
    {"name": "free", "type": "shapefactor", "data": None},
    {"name": "lumi", "type": "lumi", "data": None},
)
LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.0], "bounds": [[0.5, 1.5]]}


def with_settings(*settings: dict[str, Any], poi: str = "mu") -> dict[str, Any]:
    return {
        "version": "1.0.0",
        "channels": [{"name": "CR", "samples": [{"name": "s", "data": [10.0, 20.0], "modifiers": [MU, *SHAPES]}]}],
        "measurements": [{"name": "m", "config": {"poi": poi, "parameters": [LUMI, *settings]}}],
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "mu", "inits": [2.0], "bounds": [[-5.0, np.inf]], "fixed": True},
        {"name": "x", "auxdata": [0.5], "inits": [0.1], "bounds": [[-3.0, 3.0]], "fixed": False},
        {"name": "size", "inits": [1.0, 1.1], "auxdata": [1.0, 1.1], "sigmas": [0.1, 0.2]},
        {"name": "bins", "auxdata": [90.0, 100.0], "factors": [100.0, 100.0], "bounds": [[0.1, 2.0]] * 2},
        {"name": "free", "inits": [1.0, 1.0], "fixed": True},
    ],
)
def test_every_setting_that_pyhf_uses_reaches_its_model(settings: dict[str, Any]) -> None:
    workspace = Workspace(with_settings(settings))
    workspace.validate()
    config = pyhf.Model(workspace.spec(), poi_name="mu").config
    name, found = settings["name"], config.param_set(settings["name"])
    slice_ = config.par_slice(name)
    if "inits" in settings:
        assert config.suggested_init()[slice_] == settings["inits"]
    if "bounds" in settings:
        assert config.suggested_bounds()[slice_] == settings["bounds"]
    if "fixed" in settings:
        assert set(config.suggested_fixed()[slice_]) == {settings["fixed"]}
    for key in ("auxdata", "sigmas", "factors"):
        if key in settings:
            assert getattr(found, key) == settings[key]


def test_settings_give_the_likelihood_and_the_fit_that_they_give_in_pyhf() -> None:
    document = with_settings(
        {"name": "x", "auxdata": [0.5], "bounds": [[-3.0, 3.0]]},
        {"name": "size", "auxdata": [1.0, 1.1], "sigmas": [0.1, 0.2]},
        {"name": "bins", "auxdata": [90.0, 100.0], "factors": [100.0, 100.0]},
        {"name": "free", "fixed": True},
    )
    document["observations"] = [{"name": "CR", "data": [13.0, 18.0]}]
    workspace = Workspace(document)
    model, reference = neyman.train(workspace), workspace.binned().model()
    data = workspace.binned().data(reference)
    pars = 1.03 * np.array(reference.config.suggested_init())
    assert model.logpdf(pars, model.observed) == reference.logpdf(pars, data)
    _, twice_nll = pyhf.infer.mle.fit(data, reference, return_fitted_val=True)
    found = neyman.fit(model.observed, model)
    assert found.valid
    assert found.twice_nll == pytest.approx(float(twice_nll), abs=1e-3)  # where two minimisers stop


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "mu", "inits": [1.0, 2.0]}, "inits: the length is 2, but the normfactor 'mu' is one number"),
        ({"name": "mu", "sigmas": [1.0]}, "sigmas: the normfactor 'mu' has no sigmas; it is free: constrain it by"),
        ({"name": "mu", "auxdata": [1.0]}, "auxdata: the normfactor 'mu' has no auxdata; it is free"),
        ({"name": "mu", "auxdata": [1.0] * 9}, "auxdata: the normfactor 'mu' has no auxdata; it is free"),
        ({"name": "mu", "inits": [20.0]}, "inits[0]: 20 is outside the bounds 0 to 10; write others"),
        (
            {"name": "mu", "bounds": [[2.0, 5.0]]},
            "bounds[0]: the default start 1 is outside the bounds 2 to 5; write in",
        ),
        (
            {"name": "mu", "bounds": [[5.0, 0.0]]},
            "bounds[0]: the lower bound 5 is not below the upper 0; turn them round",
        ),
        ({"name": "mu", "bounds": [[0.0, 1.0, 2.0]]}, "bounds[0]: must be [lower, upper], not 3 numbers"),
        ({"name": "mu", "bounds": [[0.0, 2.0]] * 2}, "bounds: the length is 2, but the normfactor 'mu' is one number"),
        ({"name": "mu", "bounds": [0.0, 2.0]}, "bounds[0]: must be a list, not 0.0"),
        ({"name": "mu", "fixed": "yes"}, 'fixed: must be true or false, not "yes"'),
        ({"name": "mu", "init": [1.0]}, "init: no such key; did you mean 'inits'?"),
        ({"name": "x", "sigmas": [2.0]}, "sigmas: the normsys 'x' has no sigmas; its constraint has the width 1 by"),
        ({"name": "x", "factors": [2.0]}, "factors: the normsys 'x' has no factors; its constraint has the width 1"),
        ({"name": "size", "sigmas": [0.1]}, "sigmas: the length is 1, but the staterror 'size' is 2 numbers, one for"),
        ({"name": "size", "sigmas": [0.1, 0.0]}, "sigmas[1]: must be positive, not 0"),
        (
            {"name": "size", "factors": [1.0, 1.0]},
            "factors: the staterror 'size' has no factors; its constraint is nor",
        ),
        (
            {"name": "bins", "sigmas": [1.0, 1.0]},
            "sigmas: the shapesys 'bins' has no sigmas; its constraint is Poisson",
        ),
        ({"name": "bins", "auxdata": [1.0, -1.0]}, "auxdata[1]: must not be negative"),
        ({"name": "free", "auxdata": [1.0, 1.0]}, "auxdata: the shapefactor 'free' has no auxdata; it is free"),
        ({"name": "y", "inits": [1.0]}, "name: no modifier defines 'y'; choose from bins, free, lumi, mu, size, x"),
    ],
)
def test_a_setting_without_an_effect_or_a_sense_is_an_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        Workspace(with_settings(settings))
    assert str(caught.value).startswith(f"measurements[0].config.parameters[1].{message}")


def test_a_parameter_of_interest_is_one_number() -> None:
    with pytest.raises(
        InvalidDocument, match=r"config\.poi: 'size' is a staterror, a number for each bin; a parameter o"
    ):
        Workspace(with_settings(poi="size"))
