"""A model for other programs: its ONNX graphs against its own values, and its likelihood without neyman."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import uproot
from click.testing import CliRunner

import neyman
from neyman.cli.main import main
from neyman.events import Events
from neyman.exceptions import Unsupported
from neyman.export import networks
from neyman.export.graph import Graph
from neyman.model.mixture import MixtureChannel
from neyman.networks.folds import hashed_folds

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx"
N = 1500

DOCUMENT = """
version: "1.0.0"
bindings:
  - {names: [c_I], expressions: "sqrt(mu)", language: sympy}
channels:
  - name: "SR / e+jets"
    features: [x, jet, energy]
    events: {files: events.root, weight: w}
    network: {hidden: [8], folds: 3, epochs: 1, minimum_steps: 30, weight_steps: 30}
    samples:
      - name: signal
        events: {tree: signal}
        modifiers:
          - {name: mu, type: normfactor, data: null}
          - {name: lumi, type: lumi, data: null}
          - {name: scale, type: histosys, data: {hi: {tree: signal_up}, lo: {tree: signal_down}}}
          - {name: pdf, type: histosys, data: {hi: {weight: w * (1 + 0.1 * tanh(x))}, lo: {weight: w}}}
      - name: interference
        events: {tree: interference}
        modifiers:
          - {name: c_I, type: purefunc, data: null}
      - name: background
        events: {tree: background}
        modifiers:
          - {name: norm, type: normsys, data: {hi: 1.2, lo: 0.7}}
          - {name: scale, type: histosys, data: {hi: {branches: {x: x + 0.2}}, lo: {branches: {x: x - 0.1}}}}
          - {name: pdf, type: histosys, data: {hi: {weight: w * (1 + 0.2 * cos(x))}, lo: symmetrize}}
          - {name: mc, type: staterror, data: null}
  - name: CR
    samples:
      - name: background
        data: [200.0, 150.0]
        modifiers:
          - {name: norm, type: normsys, data: {hi: 1.2, lo: 0.7}}
          - {name: scale, type: histosys, data: {hi_data: [212.0, 140.0], lo_data: [190.0, 155.0]}}
          - {name: background_counts, type: shapesys, data: [20.0, 10.0]}
      - name: other
        data: [20.0, 15.0]
        modifiers:
          - {name: free, type: shapefactor, data: null}
          - {name: cr_counts, type: staterror, data: [2.0, 3.0]}
measurements:
  - name: measurement
    config:
      poi: mu
      parameters: [{name: lumi, auxdata: [1.0], sigmas: [0.02], bounds: [[0.8, 1.2]], inits: [1.0]}]
"""


def tree(rng: np.random.Generator, shift: float, total: float) -> dict[str, np.ndarray]:
    """Return events with a normal feature, one with a sentinel and one over six orders of magnitude."""
    jet = np.where(rng.random(N) < 0.3, -999.0, rng.exponential(50.0 + shift, N))
    energy = 10.0 ** rng.uniform(0.0, 6.0 + 0.1 * shift, N)
    return {"x": rng.normal(shift, 1.0, N), "jet": jet, "energy": energy, "w": np.full(N, total / N)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> neyman.Model:
    """A hardly trained model with everything that a mixture may have."""
    torch.set_num_threads(1)
    folder, rng = tmp_path_factory.mktemp("export"), np.random.default_rng(0)
    with uproot.recreate(folder / "events.root") as file:
        for name, shift, total in (
            ("signal", 1.0, 40.0), ("signal_up", 1.3, 42.0), ("signal_down", 0.8, 39.0),
            ("interference", 0.5, -20.0), ("background", 0.0, 300.0),
        ):  # fmt: skip
            file[name] = tree(rng, shift, total)
    (folder / "analysis.yaml").write_text(DOCUMENT)
    return neyman.train(neyman.Workspace.load(folder / "analysis.yaml"), seed=1)


@pytest.fixture(scope="module")
def channel(model: neyman.Model) -> MixtureChannel:
    (found,) = model.learned.values()
    assert isinstance(found, MixtureChannel)
    return found


@pytest.fixture(scope="module")
def folder(model: neyman.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    neyman.export_onnx(model, folder)
    return folder


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLE)
    return importlib.import_module("evaluate")


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def values(channel: MixtureChannel, features: np.ndarray, folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return what the graph and the channel make of events."""
    (path,) = folder.glob("*.onnx")
    summary = channel.encode(Events(features))
    known = [one.T for one in (summary.ratios, summary.slopes, summary.curvatures)]
    return session(path).run(["ratios", "slopes", "curvatures"], {"features": features}), known


def test_the_model_has_all_that_is_to_be_exported(channel: MixtureChannel) -> None:
    scaler = channel.sample_classifier.scaler
    assert len(scaler.spikes)
    assert len(scaler.bent)
    assert channel.tilts is not None
    assert channel.weight_networks
    assert channel.variation_classifiers
    assert {v.one_sided for v in channel.variations} == {True, False}
    assert channel.yields.min() < 0


@pytest.mark.parametrize("encoding", ["fold", "mean"])
def test_the_graph_gives_the_ratios_slopes_and_curvatures_of_the_model(
    model: neyman.Model, channel: MixtureChannel, encoding: str, tmp_path: Path
) -> None:
    other = channel.with_encoding(encoding)
    twin = neyman.Model(model.spec, {channel.name: other}, poi_name="mu")
    neyman.export_onnx(twin, tmp_path)
    found, known = values(other, channel.pool.features, tmp_path)
    # the networks are single precision in both; a value is the same but for the order of sums
    np.testing.assert_allclose(found[0], known[0], rtol=1e-5)
    for one, other_one in zip(found[1:], known[1:], strict=True):
        np.testing.assert_allclose(one, other_one, rtol=1e-5, atol=1e-5)


def test_no_events_are_no_values(channel: MixtureChannel, folder: Path) -> None:
    found, _ = values(channel, np.empty((0, 3), dtype=np.float32), folder)
    size = len(channel.variations)
    assert [one.shape for one in found] == [(0, 3), (0, size), (0, size)]


def test_the_graph_has_the_fold_of_every_event_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    powers = np.ldexp(1.0, np.arange(-149, 128)).astype(np.float32)  # all that there are, and their neighbours
    beside = [np.nextafter(powers, np.float32(end)) for end in (0.0, np.inf)]
    special = np.concatenate([powers, *beside, -powers, np.array([0.0, -0.0], dtype=np.float32)])
    some = rng.integers(0, 2**32, size=(50_000, 2), dtype=np.uint64).astype(np.uint32).view(np.float32)
    features = np.concatenate([some, np.stack([special, special[::-1]], axis=1)])
    features = features[np.isfinite(features).all(axis=1)]
    graph = Graph("folds", {"features": (np.float32, 2)})
    fold = graph("Unsqueeze", networks.hashed_folds(graph, "features", 2, 1_000_003), np.array([1]))
    onnx.save(graph.model({"fold": (fold, np.int64, 1)}), tmp_path / "folds.onnx")
    (found,) = session(tmp_path / "folds.onnx").run(None, {"features": features})
    assert np.array_equal(found[:, 0], hashed_folds(features, 1_000_003))


def test_the_document_and_the_graph_are_the_likelihood(
    model: neyman.Model, channel: MixtureChannel, folder: Path, evaluate: ModuleType
) -> None:
    document = json.loads((folder / "likelihood.json").read_text())
    (exported,) = document["learned_channels"]
    rng = np.random.default_rng(2)
    events = Events(channel.pool.features[::30], rng.uniform(0.5, 1.5, len(channel.pool.features[::30])))
    counts, auxdata = {"CR": np.array([231.0, 170.0])}, rng.normal(model.config.auxdata, 0.1)
    auxdata[auxdata > 10.0] = auxdata[auxdata > 10.0].round()
    data = model.data(neyman.Ensemble({channel.name: events}, counts, auxdata))
    encoded = {channel.name: evaluate.encode(folder, exported, events.features)}
    start = np.array(model.config.suggested_init())
    for _ in range(5):
        point = start + rng.normal(0.0, 1.0, len(start)) * np.where(start == 0.0, 1.2, 0.03)
        pars = dict(zip(model.config.par_names, point, strict=True))
        value = evaluate.log_likelihood(document, pars, counts, encoded, {channel.name: events.weights}, auxdata)
        # 150 events, each of which is right to 1e-5
        assert value == pytest.approx(model.logpdf(point, data)[0], abs=1e-4)


def test_what_is_exported_can_be_checked_without_the_model(folder: Path, evaluate: ModuleType) -> None:
    value, wanted = evaluate.check(folder)
    assert value == pytest.approx(wanted, abs=1e-4)


def test_the_document_is_plain_json_that_pyhf_can_read(trained: neyman.Model, tmp_path: Path) -> None:
    import pyhf

    files = neyman.export_onnx(trained, tmp_path)
    document = json.loads(files["likelihood"].read_text(), parse_constant=pytest.fail)
    assert (document["format"], document["version"]) == ("neyman likelihood", 1)
    assert document["learned_channels"][0]["file"] == files["SR"].name == "SR.onnx"
    plain = pyhf.Model(
        document["histfactory"], poi_name=document["parameter_of_interest"],
        modifier_settings=document["modifier_settings"],
    )  # fmt: skip
    assert plain.config.par_names == [one["name"] for one in document["parameters"]]
    start = plain.config.suggested_init()
    np.testing.assert_allclose(plain.expected_actualdata(start), trained.rates(start)[0].sum(axis=0))


def test_a_graph_says_what_it_is_of(channel: MixtureChannel, folder: Path) -> None:
    (path,) = folder.glob("*.onnx")
    assert path.name == "SR_e_jets.onnx"
    about: dict[str, Any] = session(path).get_modelmeta().custom_metadata_map
    assert about["channel"] == "SR / e+jets"
    assert json.loads(about["samples"]) == list(channel.samples)


def test_a_network_of_whole_datasets_is_refused_in_one_line(of_simulator: Any, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"^channel .*: its network \(deepset\) gives the ratio of a whole dataset"):
        neyman.export_onnx(of_simulator("deepset"), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_the_command_writes_the_files_and_says_where_they_are(trained: neyman.Model, tmp_path: Path) -> None:
    trained.save(tmp_path / "analysis.neyman")
    folder = tmp_path / "some" / "exported"
    done = CliRunner().invoke(main, ["export", str(tmp_path / "analysis.neyman"), "--onnx", str(folder)])
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(folder / "SR.onnx"), str(folder / "likelihood.json")]
    assert sorted(file.name for file in folder.iterdir()) == ["SR.onnx", "likelihood.json"]


def test_roofit_has_the_same_likelihood_where_root_is_installed(
    trained: neyman.Model, tmp_path: Path, evaluate: ModuleType
) -> None:
    pytest.importorskip("ROOT", reason="CERN ROOT is not installed")
    roofit = importlib.import_module("roofit")
    neyman.export_onnx(trained, tmp_path)
    _, workspace, nll = roofit.likelihood(tmp_path)
    data, start = trained.observed, np.array(trained.config.suggested_init())

    def at(point: np.ndarray) -> tuple[float, float]:
        for name, value in zip(trained.config.par_names, point, strict=True):
            roofit.parameter(workspace, name).setVal(value)
        return nll.getVal(), -trained.logpdf(point, data)[0]

    first = at(start)
    for number, step in enumerate([1.5, -0.03, 0.1, 0.4]):
        there = at(start + step * np.eye(len(start))[number])
        assert there[0] - first[0] == pytest.approx(there[1] - first[1], abs=1e-4)
