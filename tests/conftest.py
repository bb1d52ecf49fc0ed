"""A small analysis on disk whose exact likelihood is known, and the model trained on it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process for each core runs the tests; before torch is imported

import numpy as np
import pyhf
import pytest
import simulators
import torch
import uproot

import neyman

SIGNAL, BACKGROUND = 40.0, 300.0  # expected events


def signal(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.normal([1.0, -1.0], 1.0, size=(n, 2))


def background(n: int, rng: np.random.Generator, alpha: float = 0.0) -> np.ndarray:
    return rng.normal([0.3 * alpha, 0.0], 1.5, size=(n, 2))


DOCUMENT = """
version: "1.0.0"
channels:
  - name: SR
    features: [x, y]
    network: {hidden: [16, 16], folds: 3, epochs: 6, minimum_steps: 300}
    samples:
      - name: signal
        events: {files: signal.root, tree: nominal, weight: w}
        modifiers:
          - {name: mu, type: normfactor, data: null}
          - {name: lumi, type: lumi, data: null}
      - name: background
        events: {files: background.root, tree: nominal, weight: w}
        modifiers:
          - {name: lumi, type: lumi, data: null}
          - {name: norm, type: normfactor, data: null}
          - {name: scale, type: histosys, data: {hi: {tree: scale_up}, lo: {tree: scale_down}}}
  - name: CR
    samples:
      - name: background
        data: [200.0, 150.0]
        modifiers:
          - {name: norm, type: normfactor, data: null}
          - {name: scale, type: histosys, data: {hi_data: [210.0, 150.0], lo_data: [190.0, 150.0]}}
observations:
  - {name: SR, events: {files: data.root, tree: nominal}}
  - {name: CR, data: [205, 148]}
measurements:
  - name: measurement
    config:
      poi: mu
      parameters:
        - {name: lumi, auxdata: [1.0], sigmas: [0.02], bounds: [[0.8, 1.2]], inits: [1.0]}
"""


def write_analysis(folder: Path, events: int = 8000, seed: int = 1) -> Path:
    """Write ROOT files and ``analysis.yaml``; return the document's path."""
    rng = np.random.default_rng(seed)

    def tree(x: np.ndarray, total: float | None) -> dict[str, np.ndarray]:
        weights = {} if total is None else {"w": np.full(len(x), total / len(x))}
        return {"x": x[:, 0], "y": x[:, 1], **weights}

    with uproot.recreate(folder / "signal.root") as file:
        file["nominal"] = tree(signal(events, rng), SIGNAL)
    with uproot.recreate(folder / "background.root") as file:
        file["nominal"] = tree(background(events, rng), BACKGROUND)
        file["scale_up"] = tree(background(events, rng, 1.0), 1.05 * BACKGROUND)
        file["scale_down"] = tree(background(events, rng, -1.0), 0.95 * BACKGROUND)
    observed = np.concatenate([signal(30, rng), background(310, rng, 0.5)])
    with uproot.recreate(folder / "data.root") as file:
        file["nominal"] = tree(observed, None)
    (folder / "analysis.yaml").write_text(DOCUMENT)
    return folder / "analysis.yaml"


@pytest.fixture(scope="session")
def document_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_analysis(tmp_path_factory.mktemp("analysis"))


@pytest.fixture(scope="session")
def workspace(document_path: Path) -> neyman.Workspace:
    return neyman.Workspace.load(document_path)


@pytest.fixture(scope="session")
def trained(workspace: neyman.Workspace) -> neyman.Model:
    torch.set_num_threads(1)
    return neyman.train(workspace, seed=3)


@pytest.fixture
def model(trained: neyman.Model) -> neyman.Model:
    """The trained model, with its POI restored after a test that moves it."""
    trained.config.set_poi("mu")
    return trained


@pytest.fixture
def data(model: neyman.Model) -> np.ndarray:
    observed = model.observed
    assert observed is not None
    return observed


# seconds of training, enough for a likelihood that fits
QUICK = {"datasets": 6400, "fresh": 0, "steps": 100, "head_steps": 200, "networks": 1}


@pytest.fixture(scope="session")
def of_simulator() -> Callable[[str], neyman.Model]:
    """Return the model of a kind of dataset-wide network, trained on the on/off simulator when first asked for."""

    @functools.cache
    def trained(kind: str) -> neyman.Model:
        torch.set_num_threads(1)
        return neyman.train(simulators.onoff, {"kind": kind, **QUICK}, seed=5, workers=1)

    return trained


# the same of a posterior
QUICK_POSTERIOR = {"hidden": [16], "width": 4, "head": [16], "flow": [16], "datasets": 6400, "fresh": 1}


@pytest.fixture(scope="session")
def posterior() -> neyman.Posterior:
    """Return the posterior of the mean of normal events, which is known exactly."""
    torch.set_num_threads(1)
    options = {**QUICK_POSTERIOR, "steps": 300, "head_steps": 300, "flow_steps": 150}
    return neyman.train_posterior(simulators.normal_mean, options, seed=1, workers=1)


@pytest.fixture(scope="session")
def constrained_posterior() -> neyman.Posterior:
    """Return the posterior of the on/off problem, with two parameters of which one is constrained; hardly trained."""
    torch.set_num_threads(1)
    options = {**QUICK_POSTERIOR, "datasets": 1600, "steps": 60, "head_steps": 60, "flow_steps": 40}
    return neyman.train_posterior(simulators.onoff, options, seed=1, workers=1)


SETS = """
version: "1.0.0"
channels:
  - name: SR
    features: [x]
    network: {kind: deepset, datasets: 6400, fresh: 0, steps: 150, head_steps: 300}
    samples:
      - name: signal
        events: {files: events.root, tree: signal, weight: w}
        modifiers:
          - {name: mu, type: normfactor, data: null}
      - name: background
        events: {files: events.root, tree: background, weight: w}
        modifiers:
          - {name: norm, type: normfactor, data: null}
          - {name: scale, type: histosys, data: {hi: {tree: scale_up}, lo: {tree: scale_down}}}
  - name: CR
    samples:
      - name: background
        data: [100.0, 80.0]
        modifiers:
          - {name: norm, type: normfactor, data: null}
observations:
  - {name: SR, events: {files: events.root, tree: data}}
  - {name: CR, data: [104, 77]}
measurements:
  - name: measurement
    config:
      poi: mu
      parameters:
        - {name: mu, bounds: [[0, 4]], inits: [1.0]}
        - {name: norm, bounds: [[0.6, 1.4]], inits: [1.0]}
        - {name: scale, bounds: [[-3, 3]], inits: [0.0]}
"""


@pytest.fixture(scope="session")
def sets_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a document with a deep set beside a binned channel: signal at 2 of 20, background of 80 at 0.5 alpha."""
    folder, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(2)

    def tree(n: int, mean: float, total: float) -> dict[str, np.ndarray]:
        return {"x": rng.normal(mean, 1.0, n), "w": np.full(n, total / n)}

    with uproot.recreate(folder / "events.root") as file:
        file["signal"], file["background"] = tree(3000, 2.0, 20.0), tree(3000, 0.0, 80.0)
        file["scale_up"], file["scale_down"] = tree(3000, 0.5, 80.0), tree(3000, -0.5, 80.0)
        file["data"] = {"x": np.concatenate([rng.normal(2.0, 1.0, 22), rng.normal(0.25, 1.0, 81)])}
    (folder / "analysis.yaml").write_text(SETS)
    return folder / "analysis.yaml"


@pytest.fixture(scope="session")
def of_workspace(sets_path: Path) -> neyman.Model:
    """Return the model with a deep set beside a binned channel."""
    torch.set_num_threads(1)
    return neyman.train(neyman.Workspace.load(sets_path), seed=1)


@pytest.fixture(scope="session")
def binned_workspace() -> dict:
    """A plain pyhf workspace, the one of pyhf's own documentation."""
    model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
    return {
        "channels": model.spec["channels"],
        "observations": [{"name": "singlechannel", "data": [51.0, 48.0]}],
        "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


@pytest.fixture(autouse=True)
def _numpy_backend() -> Iterator[None]:
    pyhf.set_backend("numpy")
    yield
    pyhf.set_backend("numpy")
    torch.set_default_dtype(torch.float32)  # pyhf's pytorch backend changes it
