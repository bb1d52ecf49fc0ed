"""Workspaces: documents, inheritance, the inner HistFactory specification, observations, and what bad input gets."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import uproot
from readers import record
from ruamel.yaml import YAML

from neyman.exceptions import InvalidDocument, InvalidEvents
from neyman.inputs.document_file import read_file
from neyman.inputs.workspace import Workspace

EDGES = [0.0, 1.0, 2.0, 3.0]


def write_tree(path: Path, **trees: dict[str, list[float]]) -> None:
    with uproot.recreate(path) as file:
        for name, branches in trees.items():
            arrays = {branch: np.asarray(values, dtype=np.float64) for branch, values in branches.items()}
            file.mktree(name, dict.fromkeys(arrays, "float64"))
            file[name].extend(arrays)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A signal and a background whose scale moves events and weights; yields 6 and 5."""
    write_tree(
        tmp_path / "signal.root",
        nominal={"m": [0.5, 1.5, 2.5], "w": [1, 2, 3], "up": [2, 3, 4], "n": [2, 2, 1]},
        scale_up={"m": [0.6, 1.6, 2.6], "w": [1, 2, 4.5], "n": [2, 2, 2]},
        scale_down={"m": [0.4, 1.4, 2.4], "w": [1, 1, 2.5], "n": [2, 2, 2]},
        negative={"m": [0.5], "w": [-1.0], "up": [1.0], "n": [2]},
    )
    write_tree(tmp_path / "background_1.root", nominal={"m": [0.5, 1.0], "w": [1, 1], "n": [1, 2]})
    write_tree(tmp_path / "background_2.root", nominal={"m": [0.1, 2.5, 3.0], "w": [1, 1, 1], "n": [3, 3, 3]})
    write_tree(tmp_path / "data.root", nominal={"m": [0.5, 1.5, 1.7, 9.0], "n": [2, 2, 2, 1]})
    return tmp_path


@pytest.fixture
def document() -> dict[str, Any]:
    """A learned channel with a scale (two-sided) and a weight (one-sided), and a control region in bins."""
    return {
        "version": "1.0.0",
        "channels": [
            {
                "name": "SR",
                "features": ["m", "m * m"],
                "events": {"tree": "nominal", "weight": "w"},
                "samples": [
                    {
                        "name": "signal",
                        "events": {"files": "signal.root"},
                        "modifiers": [
                            {"name": "mu", "type": "normfactor", "data": None},
                            {
                                "name": "scale",
                                "type": "histosys",
                                "data": {"hi": {"tree": "scale_up"}, "lo": {"tree": "scale_down"}},
                            },
                            {"name": "pdf", "type": "histosys", "data": {"hi": {"weight": "up"}, "lo": {}}},
                        ],
                    },
                    {"name": "background", "events": {"files": ["background_*.root"]}},
                ],
            },
            {
                "name": "CR",
                "samples": [
                    {
                        "name": "background",
                        "data": [60.0, 50.0],
                        "modifiers": [{"name": "scale", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}],
                    }
                ],
            },
        ],
        "observations": [
            {"name": "SR", "events": {"files": "data.root"}},
            {"name": "CR", "data": [62, 48]},
        ],
        "measurements": [
            {"name": "measurement", "config": {"poi": "mu", "parameters": [{"name": "mu", "bounds": [[0, 20]]}]}}
        ],
    }


def signal_of(document: dict[str, Any]) -> dict[str, Any]:
    signal: dict[str, Any] = document["channels"][0]["samples"][0]
    return signal


def modifiers_of(workspace: Workspace, sample: int = 0) -> dict[tuple[str, str], Any]:
    modifiers = workspace.spec()["channels"][0]["samples"][sample]["modifiers"]
    return {(m["name"], m["type"]): m["data"] for m in modifiers}


def as_binned(document: dict[str, Any]) -> dict[str, Any]:
    """Turn the learned channel into a binned one that is filled from the same events."""
    channel = document["channels"][0]
    del channel["features"]
    channel["binning"] = {"variable": "m", "edges": EDGES}
    return document


# --- The document


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_yaml_and_json_give_the_same_document(folder: Path, document: dict[str, Any], suffix: str) -> None:
    path = folder / f"analysis{suffix}"
    with path.open("w") as file:
        json.dump(document, file) if suffix == ".json" else YAML().dump(document, file)
    workspace = Workspace.load(path)
    assert workspace.document == document
    assert workspace.channels == ["SR", "CR"]
    assert workspace.learned == ["SR"]
    assert workspace.features("SR") == ["m", "m * m"]
    assert workspace.network("SR") == {"kind": "mixture"}
    assert workspace.poi_name == "mu"
    assert workspace.parameters == [{"name": "mu", "bounds": [[0, 20]]}]
    assert workspace.observed().events["SR"].features.shape == (4, 2)  # relative to the document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-3", 0.001), ("1E3", 1000.0), (".5", 0.5), ("-2", -2), ("0x1f", 31), (".inf", np.inf)),
        *((text, text) for text in ("no", "on", "yes", "off", "y", "12:30", "2026-11-28", "1.0.0", "=")),
        *(("true", True), ("null", None), ("~", None)),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says(tmp_path: Path, text: str, value: Any) -> None:
    path = tmp_path / "analysis.yaml"
    path.write_text(f"a: {text}\n")
    (read,) = read_file(path).values()
    assert read == value
    assert type(read) is type(value)


def test_a_yaml_anchor_may_be_used_again(tmp_path: Path) -> None:
    path = tmp_path / "analysis.yaml"
    path.write_text("a: &x 1\nb: *x\nc: &x 2\nd: *x\n")
    assert read_file(path) == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_yaml_anchors_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "analysis.yaml"
    path.write_text(
        "version: 1.0.0\n"
        "channels:\n"
        "- name: CR\n"
        "  samples:\n"
        "  - &b {name: b, data: [1.0], modifiers: [{name: mu, type: normfactor, data: null}]}\n"
        "  - {<<: *b, name: c}\n"
        "measurements: [{name: m, config: {poi: mu, parameters: []}}]\n"
    )
    assert [s["name"] for s in Workspace.load(path).spec()["channels"][0]["samples"]] == ["b", "c"]


def test_the_document_is_a_copy_that_can_be_written_as_json(folder: Path, document: dict[str, Any]) -> None:
    document["channels"][1]["samples"][0]["data"] = np.array([60.0, 50.0])
    signal_of(document)["events"]["files"] = folder / "signal.root"
    workspace = Workspace(document, folder)
    document["channels"][1]["name"] = "other"
    assert json.loads(json.dumps(workspace.document))["channels"][1]["name"] == "CR"


def test_without_event_sources_it_is_the_pyhf_workspace() -> None:
    model = pyhf.simplemodels.correlated_background([5.0, 6.0], [50.0, 52.0], [55.0, 53.0], [45.0, 51.0])
    reference = pyhf.Workspace.build(model, [53.0, 60.0, *model.config.auxdata])
    workspace = Workspace(reference)
    ours = pyhf.Model(workspace.spec(), poi_name=workspace.poi_name)
    data = [*workspace.observed().counts["single_channel"], *ours.config.auxdata]
    assert pyhf.infer.hypotest(1.0, data, ours) == pytest.approx(
        pyhf.infer.hypotest(1.0, reference.data(reference.model()), reference.model()), rel=1e-9
    )
    assert dict(workspace.binned()) == dict(reference)


def test_a_measurement_is_chosen_by_name(folder: Path, document: dict[str, Any]) -> None:
    document["measurements"].append({"name": "other", "config": {"poi": "scale", "parameters": []}})
    assert Workspace(document, folder).poi_name == "mu"
    assert Workspace(document, folder, "other").poi_name == "scale"
    assert Workspace(document, folder, "other").binned({"SR": ("m", EDGES)}).model().config.poi_name == "scale"


def test_it_says_what_each_channel_has(folder: Path, document: dict[str, Any]) -> None:
    document["channels"][0]["features"] = ["m", "where(m < 1, 0, m)"]
    workspace = Workspace(document, folder)
    assert repr(workspace) == "Workspace(SR: 2 features, CR: 2 bins)"
    assert repr(Workspace(as_binned(document), folder)) == "Workspace(SR: 3 bins, CR: 2 bins)"
    html = workspace._repr_html_()
    assert "workspace, measurement measurement, parameter of interest mu" in html
    row = ("SR", "2 features: m, where(m &lt; 1, 0, m)", "signal, background", "mu, scale, pdf", "events of data.root")
    assert f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" in html
    assert "<td>total 110</td></tr></table>" in html
    del document["observations"]
    assert "<td>blind</td></tr></table>" in Workspace(document, folder)._repr_html_()


# --- Simulation and the inner specification


def test_a_sample_inherits_from_its_channel_and_a_variation_from_its_sample(
    folder: Path, document: dict[str, Any]
) -> None:
    signal_of(document)["events"]["selection"] = "n >= 2"
    simulation = Workspace(document, folder).simulation("SR")
    assert list(simulation.samples) == ["signal", "background"]
    assert simulation.samples["signal"].weights.tolist() == [1, 2]
    assert simulation.samples["background"].weights.tolist() == [1, 1, 1, 1, 1]  # the signal's selection is not its
    hi, lo = simulation.variations["signal"]["scale"]
    assert hi is not None
    assert lo is not None
    assert hi.features[:, 0].tolist() == pytest.approx([0.6, 1.6, 2.6])
    assert lo.weights.tolist() == [1, 1, 2.5]
    assert simulation.variations["signal"]["pdf"][0].weights.tolist() == [2, 3]
    assert simulation.variations["background"] == {}


def test_an_empty_side_or_the_nominal_source_is_the_nominal_sample(folder: Path, document: dict[str, Any]) -> None:
    signal_of(document)["modifiers"][1]["data"]["lo"] = {"tree": "nominal"}
    workspace = Workspace(document, folder)
    assert workspace.simulation("SR").variations["signal"]["scale"][1] is None
    assert workspace.simulation("SR").variations["signal"]["pdf"][1] is None
    assert modifiers_of(workspace)["pdf", "normsys"] == {"hi": 9 / 6, "lo": 1.0}


def test_a_learned_channel_is_one_bin_whose_histosys_is_its_yield(folder: Path, document: dict[str, Any]) -> None:
    workspace = Workspace(document, folder)
    channel = workspace.spec()["channels"][0]
    assert [sample["data"] for sample in channel["samples"]] == [[6.0], [5.0]]
    assert modifiers_of(workspace) == {
        ("mu", "normfactor"): None,
        ("scale", "normsys"): {"hi": 7.5 / 6, "lo": 4.5 / 6},
        ("pdf", "normsys"): {"hi": 1.5, "lo": 1.0},
    }
    model = pyhf.Model(workspace.spec(), poi_name=workspace.poi_name)
    assert sorted(model.config.par_order) == ["mu", "pdf", "scale"]


def test_a_pure_shape_keeps_its_parameter(folder: Path, document: dict[str, Any]) -> None:
    signal_of(document)["modifiers"][2]["data"]["hi"] = {"weight": "4 - w"}  # 3, 2, 1
    workspace = Workspace(document, folder)
    assert modifiers_of(workspace)["pdf", "normsys"] == {"hi": 1.0, "lo": 1.0}
    assert workspace.simulation("SR").variations["signal"]["pdf"][0].weights.tolist() == [3, 2, 1]


@pytest.mark.parametrize("first", [True, False])
def test_a_normsys_of_the_same_name_multiplies(folder: Path, document: dict[str, Any], first: bool) -> None:
    normsys = {"name": "pdf", "type": "normsys", "data": {"hi": 2.0, "lo": 0.5}}
    signal_of(document)["modifiers"].insert(0 if first else 3, normsys)
    workspace = Workspace(document, folder)
    assert modifiers_of(workspace)["pdf", "normsys"] == {"hi": 3.0, "lo": 0.5}
    assert len(workspace.spec()["channels"][0]["samples"][0]["modifiers"]) == 3


def test_lists_of_one_number_stay_what_they_are(folder: Path, document: dict[str, Any]) -> None:
    signal_of(document)["modifiers"] += [
        {"name": "yield", "type": "histosys", "data": {"hi_data": [7.0], "lo_data": [5.0]}},
        {"name": "free", "type": "shapesys", "data": [0.5]},
        {"name": "size", "type": "staterror", "data": None},
    ]
    modifiers = modifiers_of(Workspace(document, folder))
    assert modifiers["yield", "histosys"] == {"hi_data": [7.0], "lo_data": [5.0]}
    assert modifiers["free", "shapesys"] == [0.5]
    assert modifiers["size", "staterror"] == pytest.approx([np.sqrt(14)])


def test_a_source_is_read_once(folder: Path, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = record(monkeypatch)
    workspace = Workspace(document, folder)
    workspace.spec()
    workspace.simulation("SR")
    workspace.observed()
    workspace.spec()
    assert len(recorded) == 6  # the signal with one variation by weight, two others, two files of background, the data
    workspace.cutflow()
    assert len(recorded) == 6  # nothing is selected


def test_variations_by_weight_share_the_features(folder: Path, document: dict[str, Any]) -> None:
    simulation = Workspace(document, folder).simulation("SR")
    nominal, varied = simulation.samples["signal"], simulation.variations["signal"]
    assert varied["pdf"][0].features is nominal.features
    assert varied["scale"][0].features is not nominal.features  # another tree


def test_a_weight_that_is_not_a_number_is_told_from_those_read_with_it(folder: Path, document: dict[str, Any]) -> None:
    [pdf] = [m for m in signal_of(document)["modifiers"] if m["name"] == "pdf"]
    pdf["data"] |= {"hi": {"weight": "up / (up - 2)"}}
    with pytest.raises(InvalidEvents, match=r"'pdf' hi\): .*weight 'up / \(up - 2\)' is not finite for 1 of 3"):
        Workspace(document, folder).simulation("SR")
    pdf["data"] |= {"hi": {"weight": "upp"}}
    with pytest.raises(InvalidEvents, match=r"'pdf' hi\): .*'upp'"):
        Workspace(document, folder).validate()


# --- Observations


def test_data_have_weight_one_and_inherit_tree_and_selection(folder: Path, document: dict[str, Any]) -> None:
    document["channels"][0]["events"]["selection"] = "n >= 2"
    observed = Workspace(document, folder).observed()
    assert observed.events["SR"].weights.tolist() == [1, 1, 1]
    assert observed.counts["CR"].tolist() == [62, 48]


def test_a_blind_channel_has_a_specification_but_no_observation(folder: Path, document: dict[str, Any]) -> None:
    del document["observations"][0]
    workspace = Workspace(document, folder)
    assert not workspace.has_observations
    assert len(workspace.spec()["channels"]) == 2
    with pytest.raises(InvalidDocument, match="channel 'SR' is blind"):
        workspace.observed()
    del document["observations"]
    blind = Workspace(document, folder).binned({"SR": ("m", EDGES)})
    assert blind.model().config.channel_nbins == {"CR": 2, "SR": 3}


def test_other_data_take_the_place_of_the_observed_files(folder: Path, document: dict[str, Any]) -> None:
    write_tree(folder / "other.root", nominal={"m": [0.5, 0.6]})
    del document["channels"][1], document["observations"][1]
    workspace = Workspace(document, folder)
    assert len(workspace.with_data(folder / "other.root").observed().events["SR"]) == 2
    assert len(workspace.observed().events["SR"]) == 4


def test_other_data_cannot_take_the_place_of_a_list(folder: Path, document: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument, match="channel 'CR' is not observed in events"):
        Workspace(document, folder).with_data(folder / "data.root")


# --- Bins


def test_the_binned_workspace_has_the_histograms_of_the_same_sources(folder: Path, document: dict[str, Any]) -> None:
    binned = Workspace(document, folder).binned({"SR": ("m", EDGES)}, staterror=True)
    signal, background = binned["channels"][0]["samples"]
    modifiers = {m["name"]: m["data"] for m in signal["modifiers"]}
    assert signal["data"] == [1, 2, 3]
    assert background["data"] == [2, 1, 1]  # 1.0 is in its own bin's lower edge, 3.0 above the last
    assert modifiers["scale"] == {"hi_data": [1, 2, 4.5], "lo_data": [1, 1, 2.5]}
    assert modifiers["pdf"] == {"hi_data": [2, 3, 4], "lo_data": [1, 2, 3]}
    assert modifiers["staterror_SR"] == [1, 2, 3]
    assert background["modifiers"][0]["data"] == pytest.approx(np.sqrt([2, 1, 1]))
    assert binned.data(binned.model(), include_auxdata=False) == [62, 48, 1, 2, 0]
    assert binned["channels"][1] == document["channels"][1]


def test_one_number_on_a_learned_channel_is_shared_by_the_bins(folder: Path, document: dict[str, Any]) -> None:
    signal_of(document)["modifiers"] += [
        {"name": "yield", "type": "histosys", "data": {"hi_data": [12.0], "lo_data": [3.0]}},
        {"name": "size", "type": "staterror", "data": [0.6]},
    ]
    binned = Workspace(document, folder).binned({"SR": ("m", EDGES)}, staterror=True)
    modifiers = {m["name"]: m["data"] for m in binned["channels"][0]["samples"][0]["modifiers"]}
    assert modifiers["yield"] == {"hi_data": [2, 4, 6], "lo_data": [0.5, 1, 1.5]}
    assert np.sum(np.square(modifiers["size"])) == pytest.approx(0.36)
    assert "staterror_SR" not in modifiers


def test_a_binned_channel_may_be_filled_from_events(folder: Path, document: dict[str, Any]) -> None:
    document = as_binned(document)
    signal_of(document)["modifiers"].append({"name": "size", "type": "staterror", "data": None})
    document["channels"][0]["samples"].append({"name": "other", "data": [1.0, 1.0, 1.0]})
    workspace = Workspace(document, folder)
    assert workspace.learned == []
    modifiers = modifiers_of(workspace)
    assert modifiers["scale", "histosys"] == {"hi_data": [1, 2, 4.5], "lo_data": [1, 1, 2.5]}
    assert modifiers["pdf", "histosys"] == {"hi_data": [2, 3, 4], "lo_data": [1, 2, 3]}
    assert modifiers["size", "staterror"] == [1, 2, 3]
    assert workspace.observed().counts["SR"].tolist() == [1, 2, 0]
    pyhf.Model(workspace.spec(), poi_name=workspace.poi_name)


def test_every_learned_channel_needs_bins(folder: Path, document: dict[str, Any]) -> None:
    workspace = Workspace(document, folder)
    with pytest.raises(InvalidDocument, match="channel 'SR' is learned; give its variable and edges"):
        workspace.binned({})
    with pytest.raises(InvalidDocument, match="no channel 'SSR'; did you mean 'SR'"):
        workspace.binned({"SSR": ("m", EDGES)})
    with pytest.raises(InvalidDocument, match="edges of 'SR': must be two or more numbers that increase"):
        workspace.binned({"SR": ("m", [1.0, 0.0])})


# --- Files


def test_validate_and_provenance_look_at_every_source(folder: Path, document: dict[str, Any]) -> None:
    workspace = Workspace(document, folder)
    workspace.validate()
    files = {Path(str(record["file"])).name for record in workspace.provenance()}
    assert files == {"signal.root", "background_1.root", "background_2.root", "data.root"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": "signl.root"}, r"signl\.root: no such file.*signal\.root"),
        ({"tree": "nominl"}, r"signal\.root: no tree 'nominl'; did you mean 'nominal'"),
        ({"weight": "wgt"}, r"signal\.root: tree 'nominal': 'wgt': no branch 'wgt'"),
    ],
)
def test_validate_names_what_is_missing(
    folder: Path, document: dict[str, Any], change: dict[str, str], message: str
) -> None:
    signal_of(document)["events"] |= change
    with pytest.raises(InvalidEvents, match=message):
        Workspace(document, folder).validate()


def test_validate_finds_modifiers_that_pyhf_refuses(folder: Path, document: dict[str, Any]) -> None:
    signal_of(document)["modifiers"].append({"name": "scale", "type": "normfactor", "data": None})
    with pytest.raises(InvalidDocument, match=r"modifiers: .*scale"):
        Workspace(document, folder).validate()


@pytest.mark.parametrize("where", ["sample", "variation"])
def test_a_yield_that_is_not_positive_is_an_error(folder: Path, document: dict[str, Any], where: str) -> None:
    signal = signal_of(document)
    (signal["events"] if where == "sample" else signal["modifiers"][1]["data"]["lo"])["tree"] = "negative"
    message = "sum to 7.5, but a yield is negative, as" if where == "sample" else "sum to -1, but a yield is positive"
    with pytest.raises(InvalidEvents, match=r"samples\[0\] \('signal'.*signal\.root " + message):
        Workspace(document, folder).spec()


# --- Bad documents: one line that names the key


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with one key, ``"channels.0.name"``, set to a value or (``...``) taken out."""
    document = copy.deepcopy(document)
    *keys, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    item: Any = document
    for key in keys:
        item = item[key]
    if value is ...:
        del item[last]
    else:
        item[last] = value
    return document


SIGNAL, AT = "channels.0.samples.0", "channels[0].samples[0]"
SETTINGS = "measurements[0].config.parameters"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("chanels", [], "chanels: no such key; did you mean 'channels'?"),
        ("channels.0.featuers", ["m"], "channels[0].featuers: no such key; did you mean 'features'?"),
        (f"{SIGNAL}.events.wieght", "w", f"{AT}.events.wieght: no such key; did you mean 'weight'?"),
        ("measurements", ..., "document: the key 'measurements' is missing"),
        ("version", "2.0.0", "version: must be '1.0.0', not \"2.0.0\""),
        (f"{SIGNAL}.modifiers.1.data", "up", 'channels[0].samples[0].modifiers[1].data: must be a mapping, not "up"'),
        (
            f"{SIGNAL}.modifiers.1.type",
            "histosis",
            f"{AT}.modifiers[1].type: unknown type 'histosis'; did you mean 'histosys'?",
        ),
        (
            f"{SIGNAL}.modifiers.1.data.lo",
            ...,
            (
                f"{AT}.modifiers[1].data: the key 'lo' is missing; write `lo: {{}}` for a one-sided histosys, "
                "`lo: symmetrize` for the mirror image"
            ),
        ),
        (
            f"{SIGNAL}.modifiers.1.data",
            {"hi_data": [1.0]},
            f"{AT}.modifiers[1].data: the key 'lo_data' is missing; a histosys needs hi_data and lo_data",
        ),
        (
            f"{SIGNAL}.modifiers.1.data",
            {"hi": {}, "lo": {}},
            f"{AT}.modifiers[1].data: hi and lo are both the nominal sample, so that 'scale' has no effect",
        ),
        (
            f"{SIGNAL}.modifiers.1",
            {"name": "x", "type": "shapesys", "data": [1.0, 2.0]},
            f"{AT}.modifiers[1].data: the length is 2, but a learned channel is one bin here",
        ),
        (
            f"{SIGNAL}.modifiers.1",
            {"name": "x", "type": "normsys", "data": {"hi": 1.0, "lo": 0}},
            f"{AT}.modifiers[1].data: hi and lo are factors on the yield and must be positive",
        ),
        (
            f"{SIGNAL}.modifiers.2.name",
            "scale",
            f"{AT}.modifiers[2]: the sample has the histosys 'scale' twice; rename or merge them",
        ),
        (
            f"{SIGNAL}.events",
            ...,
            f"{AT}: a learned channel needs 'events' here; write `events: {{}}` to take the channel's own",
        ),
        (
            f"{SIGNAL}.events.files",
            ...,
            f"{AT}.events: the key 'files' is missing, and there is none to inherit",
        ),
        ("channels.0.features", ["m", "m"], "channels[0].features: names an expression twice"),
        ("channels.0.features", [], "channels[0].features: must not be empty"),
        (
            "channels.0.features",
            ...,
            "channels[0].events: a channel with events needs 'features' (learned) or 'binning' (binned)",
        ),
        (
            "channels.0.binning",
            {"variable": "m", "edges": EDGES},
            "channels[0].binning: a channel has features or a binning, not both; take one of them out",
        ),
        (
            "channels.0.network",
            {"kind": "deepsets"},
            (
                "channels[0].network.kind: no network of the kind 'deepsets'; the kinds are mixture, event, deepset, "
                "transformer"
            ),
        ),
        (
            "channels.1.network",
            {"kind": "mixture"},
            "channels[1].network: only a channel with 'features' has a network; write them or take it out",
        ),
        ("channels.1.name", "SR", "channels[1].name: 'SR' is there twice; names are unique"),
        (
            "channels.1.samples.0.data",
            [1.0, float("nan")],
            "channels[1].samples[0].data[1]: must be a finite number, not NaN",
        ),
        ("channels.1.samples.0.data", [], "channels[1].samples[0].data: must not be empty"),
        (
            "channels.1.samples.0.modifiers.0",
            {"name": "x", "type": "staterror", "data": None},
            "channels[1].samples[0].modifiers[0].data: null is for samples with events; write a list of errors",
        ),
        ("observations.0.name", "SSR", "observations[0].name: no channel 'SSR'; did you mean 'SR'?"),
        ("observations.1.data", [62], "observations[1].data: the length is 1, but the channel has 2 bins"),
        (
            "measurements.0.config.poi",
            "sclae",
            "measurements[0].config.poi: no modifier defines 'sclae'; did you mean 'scale'?",
        ),
        (
            "measurements.0.config.parameters.0.name",
            "sclae",
            f"{SETTINGS}[0].name: no modifier defines 'sclae'; did you mean 'scale'?",
        ),
        (
            "measurements.0.config.parameters",
            [{"name": "mu", "inits": [1.0]}, {"name": "mu", "fixed": True}],
            f"{SETTINGS}[1].name: 'mu' is there twice; names are unique",
        ),
    ],
)
def test_a_bad_key_is_named(folder: Path, document: dict[str, Any], path: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        Workspace(changed(document, path, value), folder)
    assert str(caught.value) == message


LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.0], "bounds": [[0.5, 1.5]]}


@pytest.mark.parametrize(
    ("settings", "place", "missing"),
    [
        ([], SETTINGS, "auxdata, sigmas, inits, bounds"),
        ([{"name": "mu"}], SETTINGS, "auxdata, sigmas, inits, bounds"),
        ([{"name": "mu"}, {"name": "lumi", "fixed": True}], f"{SETTINGS}[1]", "auxdata, sigmas, inits, bounds"),
        ([{key: value for key, value in LUMI.items() if key != "sigmas"}], f"{SETTINGS}[0]", "sigmas"),
    ],
)
def test_the_luminosity_has_no_default_settings(
    folder: Path, document: dict[str, Any], settings: list[dict[str, Any]], place: str, missing: str
) -> None:
    signal_of(document)["modifiers"].append({"name": "lumi", "type": "lumi", "data": None})
    document["measurements"][0]["config"]["parameters"] = settings
    with pytest.raises(InvalidDocument) as caught:
        Workspace(document, folder)
    assert str(caught.value) == (
        f"{place}: lumi needs {missing}, for which there is no default; write for example "
        "{name: lumi, auxdata: [1.0], sigmas: [0.02], inits: [1.0], bounds: [[0.5, 1.5]]}"
    )
    document["measurements"][0]["config"]["parameters"] = [LUMI]
    assert pyhf.Model(Workspace(document, folder).spec(), poi_name="mu").config.auxdata == [1.0, 0.0, 0.0]


def test_settings_of_a_luminosity_that_nothing_has_are_left_alone(folder: Path, document: dict[str, Any]) -> None:
    document["measurements"][0]["config"]["parameters"] = [LUMI]  # as pyhf makes of every workspace in XML
    Workspace(document, folder).validate()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.yaml", "", ": is empty"),
        ("empty.json", " ", ": is empty"),
        ("list.yaml", "- a\n", ": must hold a mapping with the key 'channels', not a list"),
        (
            "twice.yaml",
            "version: 1.0.0\nchannels: []\nversion: 1.0.0\n",
            ", line 3, column 1: the key 'version' is there twice in one mapping",
        ),
        ("twice.json", '{"a": 1, "a": 2}', ": the key 'a' is there twice"),
        ("tab.yaml", "channels:\n\t- name: SR\n", ", line 2, column 1: a tab cannot indent YAML; write spaces"),
        ("broken.yaml", "channels: [\n", ", line 2, column 1: "),
        ("broken.json", '{"a": }', ", line 1, column 7: "),
        ("cycle.yaml", "channels: &a [*a]\n", ": document: cannot be written as JSON"),
        (
            "code.yaml",
            "a: !!python/object/apply:os.getcwd []\n",
            ", line 1, column 4: could not determine a constructor",
        ),
    ],
)
def test_a_bad_file_is_named_with_the_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidDocument) as caught:
        Workspace.load(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}{message}")
    assert "\n" not in str(caught.value)


LINES = """\
version: 1.0.0
channels:
- name: CR
  samples:
  - &b {name: b, data: [1.0, 2.0], modifiers: [{name: mu, type: normfactor, data: null}]}
  - <<: *b
    name: c
observations:
- {name: CR,
   data: [1.0, 2.0]}
measurements:
- name: m
  config:
    poi: mu
    parameters: []
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("    name: c", "    nam: c", 7, "channels[0].samples[1].nam: no such key; did you mean 'name'?"),
        ("  samples:", "  sample:", 4, "channels[0].sample: no such key"),
        ("- name: CR\n", "-\n", 4, "channels[0]: the key 'name' is missing"),
        ("[1.0, 2.0]}", "[1.0]}", 10, "observations[0].data: the length is 1, but the channel has 2 bins"),
        ("poi: mu", "poi: nu", 14, "measurements[0].config.poi: no modifier defines 'nu'"),
        ("type: normfactor", "type: normfaktor", 5, "channels[0].samples[0].modifiers[0].type: unknown type"),
        ("    name: c", "    name: c\n    data: [1.0]", 8, "channels[0].samples[1].data: the length is 1"),
        ("    name: c", "    name: b", 7, "channels[0].samples[1].name: 'b' is there twice; names are unique"),
    ],
)
@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_an_error_of_a_file_names_the_line_of_the_key(
    tmp_path: Path, suffix: str, old: str, new: str, line: int, message: str
) -> None:
    path = tmp_path / f"analysis{suffix}"
    path.write_text(LINES)
    Workspace.load(path)
    path.write_text(LINES.replace(old, new))
    with pytest.raises(InvalidDocument) as caught:
        Workspace.load(path)
    assert str(caught.value).startswith(f"{path}, line {line}: {message}")


@pytest.mark.parametrize("indent", [2, "\t"])
def test_an_error_of_a_json_file_names_the_line_too(tmp_path: Path, document: dict[str, Any], indent: Any) -> None:
    path = tmp_path / "analysis.json"
    document["channels"][0]["featuers"] = document["channels"][0].pop("features")
    path.write_text(json.dumps(document, indent=indent))
    line = path.read_text().partition("featuers")[0].count("\n") + 1
    with pytest.raises(InvalidDocument, match=rf"analysis\.json, line {line}: channels\[0\]\.featuers: no such key"):
        Workspace.load(path)


def test_an_error_without_a_key_has_no_line(tmp_path: Path) -> None:
    path = tmp_path / "analysis.yaml"
    path.write_text("version: 1.0.0\nchannels: []\n")
    with pytest.raises(InvalidDocument) as caught:
        Workspace.load(path)
    assert str(caught.value) == f"{path}: document: the key 'measurements' is missing"


def test_a_missing_file_is_named_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "analysis.yaml").write_text("")
    with pytest.raises(InvalidDocument, match=r"analysys\.yaml: no such file; did you mean 'analysis.yaml'"):
        Workspace.load(tmp_path / "analysys.yaml")


def test_an_unknown_measurement_or_channel_is_named(folder: Path, document: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument, match="no measurement 'measurment'; did you mean 'measurement'"):
        Workspace(document, folder, "measurment")
    with pytest.raises(InvalidDocument, match="channel 'CR' has no features"):
        Workspace(document, folder).simulation("CR")


def test_a_document_is_a_mapping_of_plain_values(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument, match="a document is a mapping"):
        Workspace([document])  # type: ignore[arg-type]
    with pytest.raises(InvalidDocument, match="cannot be written as JSON"):
        Workspace(document | {"channels": object()})
