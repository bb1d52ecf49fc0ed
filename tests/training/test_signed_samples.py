"""Samples of either sign: an interference by itself, learned as the difference of its two halves."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from scipy.stats import norm

import neyman
from neyman.exceptions import InvalidDocument, InvalidEvents
from neyman.inference.batch import fit_batch
from neyman.model.toys import draw

BACKGROUND, N = 400.0, 12_000


def interference(x: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Return the density of the interference: negative below zero, positive above, and negative in all."""
    return 60.0 * (norm.pdf(x, 1.0 + shift) - 1.5 * norm.pdf(x, -1.0 + shift))


def write(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    x = rng.uniform(-4.0, 4.0, N)
    with uproot.recreate(folder / "events.root") as file:
        density = interference(x) * 8.0 / N
        file["interference"] = {"x": x, "w": density, "up": density * (1 + 0.1 * np.tanh(x)), "flat": 0 * x + 1}
        file["background"] = {"x": rng.normal(0.0, 2.0, N), "w": np.full(N, BACKGROUND / N)}
        signal = rng.normal(1.0, 0.8, N)
        file["signal"] = {"x": signal, "w": np.full(N, 50.0 / N)}
    events = {"files": "events.root", "weight": "w"}
    samples = [
        {"name": "signal", "events": {"tree": "signal"}, "modifiers": [{"name": "mu", "type": "normfactor"}]},
        {"name": "interference", "events": {"tree": "interference"}, "modifiers": [
            {"name": "kappa", "type": "normfactor"},
            {"name": "shape", "type": "histosys", "data": {"hi": {"weight": "up"}, "lo": "symmetrize"}},
            {"name": "scale", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
        ]},
        {"name": "background", "events": {"tree": "background"}, "modifiers": []},
    ]  # fmt: skip
    for sample in samples:
        for modifier in sample["modifiers"]:
            modifier.setdefault("data", None)
    network = {"hidden": [32, 32], "folds": 2, "epochs": 6, "minimum_steps": 1200}
    parameters = [{"name": "kappa", "inits": [1.0], "bounds": [[-3.0, 3.0]]}]
    return {
        "version": "1.0.0",
        "channels": [{"name": "SR", "features": ["x"], "events": events, "network": network, "samples": samples}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    return write(folder)


@pytest.fixture(scope="module")
def trained(document: dict[str, Any], folder: Path) -> neyman.Model:
    return neyman.train(neyman.Workspace(document, folder), seed=1)


def at(model: neyman.Model, **values: float) -> np.ndarray:
    pars = np.array(model.config.suggested_init())
    for name, value in values.items():
        pars[model.config.par_names.index(name)] = value
    return pars


def test_a_sample_of_negative_yield_is_two_in_the_model_with_the_same_modifiers(
    document: dict[str, Any], folder: Path
) -> None:
    workspace = neyman.Workspace(document, folder)
    samples = {sample["name"]: sample for sample in workspace.spec()["channels"][0]["samples"]}
    assert list(samples) == ["signal", "interference (+)", "interference (-)", "background"]
    above, below = (samples[f"interference ({sign})"] for sign in "+-")
    total = float(uproot.open(folder / "events.root")["interference"]["w"].array().to_numpy().sum())
    assert total < 0
    assert above["data"][0] > 0 > below["data"][0]
    assert above["data"][0] + below["data"][0] == pytest.approx(total)
    for half in (above, below):
        assert [(m["name"], m["type"]) for m in half["modifiers"]] == [
            ("kappa", "normfactor"), ("shape", "normsys"), ("scale", "normsys"),
        ]  # fmt: skip
    assert above["modifiers"][1]["data"]["hi"] > 1 > below["modifiers"][1]["data"]["hi"]
    binned = workspace.binned({"SR": ("x", [-4, 0, 4])})
    negative = [sample for sample in binned["channels"][0]["samples"] if sample["name"] == "interference"]
    assert negative[0]["data"][0] < 0 < negative[0]["data"][1]


def test_its_density_is_learned_with_its_sign_and_its_systematic(trained: neyman.Model) -> None:
    x = np.linspace(-3.0, 3.0, 61)[:, None]
    term = trained.terms[0]
    channel = trained.learned["SR"]
    summary = channel.encode(neyman.Events(x))
    reference = channel.densities(summary, np.zeros(len(term.parameters)))[channel.samples.index("background")]
    for alpha in (0.0, 1.0):
        pars = at(trained, mu=0.0, shape=alpha)
        rates = trained.rates(pars)[0][term.samples, term.bin]
        density = rates @ channel.densities(summary, pars[term.parameters]) / reference * norm.pdf(x[:, 0], 0, 2)
        exact = BACKGROUND * norm.pdf(x[:, 0], 0, 2) + interference(x[:, 0]) * (1 + 0.1 * alpha * np.tanh(x[:, 0]))
        # in units of the background: some 3 % with 12,000 events and a network of seconds
        assert np.abs(density / exact - 1).mean() < 0.04


def test_toys_asimov_data_and_fits_have_the_interference(trained: neyman.Model) -> None:
    pars = at(trained, mu=0.5, kappa=1.5)
    toys = draw(pars, trained, 300, seed=1)
    total = float(trained.rates(pars)[0].sum())
    assert toys.main.mean() == pytest.approx(total, abs=5 * np.sqrt(total / 300))
    fits = fit_batch(trained, toys, init=pars, bounds=list(trained.config.suggested_bounds()), fixed={})
    kappa = fits.pars[fits.valid, trained.config.par_names.index("kappa")]
    assert fits.valid.mean() > 0.98
    assert kappa.mean() == pytest.approx(1.5, abs=5 * kappa.std() / np.sqrt(300) + 0.15 * kappa.std())
    found = neyman.fit(trained.expected_data(pars), trained)
    assert found["kappa"] == pytest.approx(1.5, abs=1e-3)


def test_a_prediction_has_the_sample_once_with_both_signs(trained: neyman.Model) -> None:
    prediction = trained.prediction(blind=True, bins={"x": [-50.0, 0.0, 50.0]})["SR", "x"]
    assert list(prediction.yields) == ["signal", "interference", "background"]
    negative, positive = prediction.yields["interference"]
    assert negative < 0 < positive
    assert negative + positive == pytest.approx(float(trained.rates(at(trained))[0][1:3].sum()), rel=0.02)


def test_a_model_file_gives_the_same_likelihood(trained: neyman.Model, tmp_path: Path) -> None:
    trained.save(tmp_path / "model.neyman")
    loaded = neyman.Model.load(tmp_path / "model.neyman")
    data = trained.expected_data(at(trained, kappa=0.7))
    pars = at(trained, kappa=1.2, shape=0.5)
    assert loaded.logpdf(pars, data) == pytest.approx(trained.logpdf(pars, data), abs=1e-9)


def test_a_sample_says_itself_that_it_is_signed(document: dict[str, Any], folder: Path) -> None:
    document = copy.deepcopy(document)
    sample = document["channels"][0]["samples"][1]
    sample["events"] |= {"weight": "-w"}  # of positive yield now
    sample["modifiers"] = sample["modifiers"][:1]
    names = neyman.Workspace(document, folder).simulation("SR").samples
    assert list(names) == ["signal", "interference", "background"]
    sample["signed"] = True
    names = neyman.Workspace(document, folder).simulation("SR").samples
    assert list(names) == ["signal", "interference (+)", "interference (-)", "background"]
    assert all(events.weights.min() * events.weights.max() > 0 for events in names.values())


def test_validation_warns_of_a_negative_sum_unless_the_document_says_so(document: dict[str, Any], folder: Path) -> None:
    warned = neyman.Workspace(document, folder).cutflow().warnings
    assert [line.split(" that")[0] for line in warned] == [
        f"channel SR: interference{variation} has weights"
        for variation in ("", ", shape hi,", ", shape lo (mirrored),")
    ]
    document = copy.deepcopy(document)
    document["channels"][0]["samples"][1]["signed"] = True
    assert neyman.Workspace(document, folder).cutflow().warnings == []


def with_staterror(document: dict[str, Any], *samples: int) -> dict[str, Any]:
    """Return the document with one staterror on some samples, trained in a second."""
    document = copy.deepcopy(document)
    channel = document["channels"][0]
    channel["network"] = {"hidden": [8], "folds": 2, "epochs": 1, "minimum_steps": 100, "weight_steps": 100}
    for sample in samples:
        channel["samples"][sample]["modifiers"].append({"name": "mc", "type": "staterror", "data": None})
    return document


def test_the_simulation_error_of_a_negative_yield_alone_is_refused_before_the_training(
    document: dict[str, Any], folder: Path
) -> None:
    alone = with_staterror(document, 1)
    with pytest.raises(
        InvalidDocument, match=r"of interference \(\+\) and interference \(-\), .* add up to -.* same one$"
    ):
        neyman.train(neyman.Workspace(alone, folder))


def test_both_halves_of_a_sample_share_a_simulation_error_with_another(document: dict[str, Any], folder: Path) -> None:
    shared = with_staterror(document, 1, 2)
    model = neyman.train(neyman.Workspace(shared, folder), seed=1)
    weights = [
        uproot.open(folder / "events.root")[tree]["w"].array().to_numpy() for tree in ("interference", "background")
    ]
    relative = np.sqrt(sum((w**2).sum() for w in weights)) / sum(w.sum() for w in weights)
    found = neyman.fit(model.expected_data(model.config.suggested_init()), model)
    assert found.constraints["mc[0]"] == pytest.approx((1.0, relative), rel=1e-6)
    assert found["kappa"] == pytest.approx(1.0, abs=1e-3)
    assert found.valid


@pytest.mark.parametrize("kind", ["deepset", "event"])
def test_a_network_of_whole_datasets_refuses_them_before_the_training(
    document: dict[str, Any], folder: Path, kind: str
) -> None:
    other = copy.deepcopy(document)
    other["channels"][0]["network"] = {"kind": kind}
    with pytest.raises(InvalidDocument, match=r"channel SR: sample interference has a negative .* \{kind: mixture\}$"):
        neyman.train(neyman.Workspace(other, folder))


def test_what_makes_no_sense_is_refused(document: dict[str, Any], folder: Path) -> None:
    alone = copy.deepcopy(document)
    del alone["channels"][0]["samples"][2]
    alone["channels"][0]["samples"][0]["events"]["weight"] = "0.1 * w"
    with pytest.raises(InvalidEvents, match=r"'interference'.* sum to -.*, but a yield is positive"):
        neyman.Workspace(alone, folder).spec()
    refused = copy.deepcopy(document)
    refused["channels"][0]["samples"][1]["signed"] = False
    with pytest.raises(InvalidEvents, match=r"'interference'.* sum to -.*, but a yield is positive"):
        neyman.Workspace(refused, folder).spec()
    listed = copy.deepcopy(document)
    listed["channels"][0]["samples"][1]["modifiers"].append({"name": "u", "type": "shapesys", "data": [3.0]})
    with pytest.raises(InvalidDocument, match=r"samples\[1\]: a shapesys with lists cannot be shared"):
        neyman.Workspace(listed, folder).spec()


def test_bins_have_no_use_for_it(document: dict[str, Any], folder: Path) -> None:
    binned = copy.deepcopy(document)
    channel = binned["channels"][0]
    del channel["features"], channel["network"]
    channel["binning"] = {"variable": "x", "edges": [-4, 0, 4]}
    negative = neyman.Workspace(binned, folder).spec()["channels"][0]["samples"][1]["data"]
    assert negative[0] < 0 < negative[1]
    channel["samples"][1]["signed"] = True
    with pytest.raises(InvalidDocument, match=r"samples\[1\]\.signed: is for samples of events in a learned channel"):
        neyman.Workspace(binned, folder)


def test_a_sample_whose_sign_changes_unseen_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-4.0, 4.0, (4000, 1))
    background = neyman.Events(2 * rng.normal(size=(4000, 1)))
    samples = {"interference": neyman.Events(x, -interference(x[:, 0])), "background": background}
    simulation = neyman.events.ChannelSimulation("SR", ("x",), samples, {})
    options = neyman.networks.options.TrainingOptions(hidden=(8,), folds=2, epochs=2, minimum_steps=100)
    with caplog.at_level(logging.WARNING):
        neyman.training.mixture.train_mixture(simulation, options)
    assert "sample interference has a negative density in a region" in caplog.text
    assert "signed: true" in caplog.text
