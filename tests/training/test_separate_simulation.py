"""A separate simulation for toys: in the document, in files, in the pool, and never in a training."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import uproot
from conftest import BACKGROUND, SIGNAL, background, signal, write_analysis

import neyman
from neyman.exceptions import InvalidDocument, InvalidEvents
from neyman.networks.folds import hashed_folds

EVENTS = 500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The analysis with a tree of other events in both files, and a file of background that is wrong."""
    folder = write_analysis(tmp_path_factory.mktemp("separate"), events=EVENTS).parent
    rng = np.random.default_rng(7)

    def tree(x: np.ndarray, total: float) -> dict[str, np.ndarray]:
        return {"x": x[:, 0], "y": x[:, 1], "w": np.full(len(x), total / len(x))}

    for name, sampler, total in (("signal", signal, SIGNAL), ("background", background, BACKGROUND)):
        with uproot.update(folder / f"{name}.root") as file:
            file["other"] = tree(sampler(8 * EVENTS, rng), 2.0 * total)  # twice the luminosity
    with uproot.recreate(folder / "shifted.root") as file:
        file["other"] = tree(background(8 * EVENTS, rng, 3.0), BACKGROUND)
    return folder


@pytest.fixture(scope="module")
def document(folder: Path) -> dict:
    document = neyman.Workspace.load(folder / "analysis.yaml").document
    document["channels"][0]["network"] = {"hidden": [4], "folds": 3, "epochs": 1, "minimum_steps": 20}
    return document


def with_calibration(document: dict, channel: object = None, **samples: object) -> dict:
    document = copy.deepcopy(document)
    entry = document["channels"][0]
    for place, events in [(entry, channel), *((s, samples.get(s["name"])) for s in entry["samples"])]:
        if events is not None:
            place["calibration"] = {"events": events}
    return document


@pytest.fixture(scope="module")
def model(document: dict, folder: Path) -> neyman.Model:
    return neyman.train(neyman.Workspace(with_calibration(document, {"tree": "other"}), folder))


def test_the_pool_is_of_the_separate_events_with_the_values_that_data_have(model: neyman.Model, folder: Path) -> None:
    channel = model.learned["SR"]
    with uproot.open(folder / "signal.root") as file:
        x = np.stack([file["other"][key].array(library="np") for key in ("x", "y")], axis=1).astype(np.float32)
    own = channel.pool.samples == channel.samples.index("signal")
    np.testing.assert_array_equal(channel.pool.features[own], x)
    data = channel.encode(neyman.Events(channel.pool.features))
    known = channel.pool.summary
    for key in ("ratios", "slopes", "curvatures"):
        # single precision, in the pool and in the networks
        np.testing.assert_allclose(getattr(known, key), getattr(data, key), rtol=1e-4, atol=1e-5)
    totals = np.bincount(channel.pool.samples, known.weights)
    np.testing.assert_allclose(totals, 1.0)
    assert len(set(hashed_folds(x, 3))) == 3


def test_the_networks_are_those_of_a_training_without(model: neyman.Model, document: dict, folder: Path) -> None:
    plain = neyman.train(neyman.Workspace(document, folder))
    x = neyman.Events(background(50, np.random.default_rng(1)))
    one, other = (m.learned["SR"].encode(x) for m in (model, plain))
    np.testing.assert_array_equal(one.ratios, other.ratios)
    assert model.config.suggested_init() == plain.config.suggested_init()
    np.testing.assert_allclose(*(m.rates(np.array(m.config.suggested_init()))[0] for m in (model, plain)))
    # what the finite simulation costs is that of the events of the training, whatever the number of the others
    costs = [m.learned["SR"].pool.of_sample(0, 10_000)[1].sum() for m in (model, plain)]
    assert costs[0] == pytest.approx(costs[1], rel=1e-4)


def test_toys_and_asimov_sets_are_of_the_separate_events(model: neyman.Model, tmp_path: Path) -> None:
    pars = np.array(model.config.suggested_init())
    pool = {tuple(row) for row in model.learned["SR"].pool.features.tolist()}
    toys = neyman.toys(pars, model, 2, seed=1)
    assert len(toys) == 2
    asimov = model.expected_ensemble(pars).events["SR"]
    assert {tuple(row) for row in asimov.features.tolist()} <= pool
    gradient = model.evaluate(pars, model.expected_data(pars))[1]
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)
    model.save(tmp_path / "model.neyman")
    again = neyman.Model.load(tmp_path / "model.neyman")
    assert again.fingerprint == model.fingerprint


def test_files_conditions_and_yields_are_shown(document: dict, folder: Path) -> None:
    extra = with_calibration(document, signal={"tree": "other"}, background={"files": "shifted.root", "tree": "other"})
    workspace = neyman.Workspace(extra, folder)
    files = {Path(entry["file"]).name for entry in workspace.provenance()}
    assert files == {"signal.root", "background.root", "shifted.root", "data.root"}
    rows = {(row.sample, row.variation): row for row in workspace.cutflow().rows if row.channel == "SR"}
    assert rows["signal", "calibration"].events == 8 * EVENTS
    assert rows["signal", "calibration"].total == pytest.approx(2 * SIGNAL)
    assert rows["signal", None].total == pytest.approx(SIGNAL)


def test_what_is_inherited_is_narrowed(document: dict, folder: Path) -> None:
    document = copy.deepcopy(document)
    for sample in document["channels"][0]["samples"]:
        sample["events"]["entries"] = [0, 300]
    extra = with_calibration(document, {"entries": [300, None], "selection": "x > 0"})
    simulation = neyman.Workspace(extra, folder).simulation("SR")
    assert len(simulation.samples["signal"]) == 300
    assert np.all(simulation.calibration["signal"].features[:, 0] > 0)
    assert 0 < len(simulation.calibration["signal"]) <= 200


def test_events_unlike_those_of_the_training_are_warned_of(document: dict, folder: Path) -> None:
    extra = with_calibration(document, signal={"tree": "other"}, background={"files": "shifted.root", "tree": "other"})
    report = neyman.train(neyman.Workspace(extra, folder)).report[0]
    [warning] = [text for text in report.warnings if text.startswith("calibration")]
    assert warning.startswith(
        "calibration: the events of background are not like those that it is learned from: x differs"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"signal": {"tree": "other"}},
            r"channels\[0\].samples\[1\]: the sample 'background' has no calibration events, and others have",
        ),
        (
            {"channel": {"weight": {"times": 2}}},
            r"channels\[0\].calibration: has the events that 'signal' is learned from; name other files",
        ),
    ],
)
def test_a_wrong_calibration_gets_one_line(document: dict, folder: Path, options: dict, message: str) -> None:
    with pytest.raises(InvalidDocument, match=message):
        neyman.Workspace(with_calibration(document, **options), folder)


def test_a_channel_without_a_mixture_has_no_calibration(document: dict, folder: Path) -> None:
    binned, deep = copy.deepcopy(document), with_calibration(document, {"tree": "other"})
    binned["channels"][1]["calibration"] = {"events": {"tree": "other"}}
    deep["channels"][0]["network"] = {"kind": "deepset"}
    for wrong in (binned, deep):
        with pytest.raises(InvalidDocument, match="is for channels that a mixture learns"):
            neyman.Workspace(wrong, folder)


def test_a_missing_tree_is_named(document: dict, folder: Path) -> None:
    workspace = neyman.Workspace(with_calibration(document, {"tree": "others"}), folder)
    with pytest.raises(InvalidEvents, match=r"'signal', calibration\).*others"):
        workspace.validate()
