"""From a workspace to a model: train every learned channel and put the likelihood together."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import logging
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from neyman.exceptions import InvalidDocument
from neyman.learning import train_mixture
from neyman.model import Model
from neyman.options import TrainingOptions, training_options
from neyman.training import choose_device
from neyman.workspace import ChannelSimulation, Workspace

__all__ = ["train"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_WARN_ABOVE = 0.1  # of the statistical uncertainty


def train(
    workspace: Workspace,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> Model:
    """Train the learned channels of a workspace and return the model.

    Args:
        workspace: the document with its event sources. Without any, the model is the ordinary HistFactory one.
        seed: fixes everything random: the same seed gives the same model on the same machine.
        device: ``"auto"`` takes a GPU when torch has one.
        progress: whether to show progress bars on standard error.
        checkpoint: a folder that keeps the state of the training; when it is interrupted, the same call resumes it.
            It can be deleted once the model is saved.

    Returns:
        The model, with the workspace's observations if it has any.

    Raises:
        InvalidDocument: if the document contradicts itself.
        InvalidEvents: if an event source cannot be used.
        Unsupported: if the device cannot be used.
    """
    torch_device = choose_device(device)
    options = {name: training_options(workspace.network(name)) for name in workspace.learned}
    spec = workspace.spec()
    provenance = _provenance(workspace, seed)
    folder = None if checkpoint is None else _checkpoints(Path(checkpoint), workspace, options, provenance)
    learned, reports = {}, []
    for name in workspace.learned:
        simulation = workspace.simulation(name)
        _warn_of_small_samples(simulation)
        channel, report = train_mixture(
            simulation, options[name], seed=seed, device=torch_device, progress=progress, checkpoints=folder
        )
        learned[name] = channel
        reports.append(report)
    return Model(
        spec,
        learned,
        poi_name=workspace.poi_name,
        observed=workspace.observed() if workspace.has_observations else None,
        document=workspace.document,
        provenance=provenance,
        report=reports,
    )


def _warn_of_small_samples(simulation: ChannelSimulation) -> None:
    """Say what the size of the simulation costs: a bias of about sqrt(expected / simulated) standard deviations."""
    for sample, events in simulation.samples.items():
        expected = events.weights.sum()
        effective = expected**2 / np.sum(events.weights**2)
        cost = float(np.sqrt(expected / effective))
        if cost > _WARN_ABOVE:
            log.warning(
                "channel %s: sample %s has %.0f effective simulated events for %.4g expected: expect a bias of up to"
                " about %.2f sigma from the size of the simulation",
                simulation.channel,
                sample,
                effective,
                expected,
                cost,
            )


def _provenance(workspace: Workspace, seed: int) -> dict[str, Any]:
    packages = ("neyman", "torch", "pyhf", "numpy", "uproot")
    return {
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "measurement": workspace.measurement,
        "versions": {package: version(package) for package in packages},
        "files": workspace.provenance(),
    }


def _checkpoints(
    folder: Path, workspace: Workspace, options: dict[str, TrainingOptions], provenance: dict[str, Any]
) -> Path:
    """Return the folder of checkpoints, emptied if they belong to another training."""
    content = {
        "document": workspace.document,
        "files": provenance["files"],
        "seed": provenance["seed"],
        "versions": provenance["versions"],
        "options": {name: dataclasses.asdict(o) for name, o in options.items()},
    }
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    note = folder / "training.json"
    if folder.exists() and (not note.exists() or json.loads(note.read_text())["fingerprint"] != fingerprint):
        if note.exists():
            shutil.rmtree(folder)
        elif any(folder.iterdir()):
            raise InvalidDocument(f"{folder}: this folder is not empty and holds no checkpoints; name another one")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"fingerprint": fingerprint}))
    return folder
