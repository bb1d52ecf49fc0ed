"""From a workspace to a model: train every learned channel and put the likelihood together."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import logging
import operator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from neyman.diagnostics import effective_events, size_warning
from neyman.exceptions import InvalidDocument, InvalidParameter
from neyman.files import replacing
from neyman.learning import check_sizes, train_mixture
from neyman.model import Model
from neyman.options import TrainingOptions, training_options
from neyman.training import choose_device
from neyman.workspace import ChannelSimulation, Workspace

__all__ = ["train"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)


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
        seed: fixes everything random: the same seed gives the same model on the same machine. Not negative.
        device: ``"auto"`` takes a GPU when torch has one.
        progress: whether to show progress bars on standard error.
        checkpoint: a folder that keeps the state of the training; when it is interrupted, the same call resumes it.
            It can be deleted once the model is saved.

    Returns:
        The model, with the workspace's observations if it has any.

    Raises:
        InvalidDocument: if the document contradicts itself.
        InvalidEvents: if an event source cannot be used.
        InvalidParameter: if the seed is negative.
        FailedFit: if a training diverges.
        Unsupported: if the device cannot be used.
    """
    seed = operator.index(seed)
    if not 0 <= seed < 2**63:
        raise InvalidParameter(f"seed: {seed} is out of range; it is a whole number from 0 to 2^63 - 1")
    torch_device = choose_device(device)
    workspace.validate()
    options = {name: training_options(workspace.network(name)) for name in workspace.learned}
    spec = workspace.spec()
    # whatever can be wrong with the input is found before hours of training, not after
    simulations = {name: workspace.simulation(name) for name in workspace.learned}
    for name, simulation in simulations.items():
        check_sizes(simulation, options[name].folds)
        _warn_of_small_samples(simulation)
    observed = workspace.observed() if workspace.has_observations else None
    provenance = _provenance(workspace, seed)
    folder = None if checkpoint is None else _checkpoints(Path(checkpoint), workspace, options, provenance)
    learned, reports = {}, []
    for name, simulation in simulations.items():
        channel, report = train_mixture(
            simulation, options[name], seed=seed, device=torch_device, progress=progress, checkpoints=folder
        )
        learned[name] = channel
        reports.append(report)
    return Model(
        spec,
        learned,
        poi_name=workspace.poi_name,
        observed=observed,
        document=workspace.document,
        provenance=provenance,
        report=reports,
    )


def _warn_of_small_samples(simulation: ChannelSimulation) -> None:
    for sample, events in simulation.samples.items():
        if warning := size_warning(float(events.weights.sum()), effective_events(events.weights)):
            log.warning("channel %s: sample %s has %s", simulation.channel, sample, warning)


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
    if folder.exists() and not folder.is_dir():
        raise InvalidDocument(f"{folder}: a file, not a folder for checkpoints; name another one")
    if folder.exists() and not note.exists() and any(folder.iterdir()):
        raise InvalidDocument(f"{folder}: this folder is not empty and holds no checkpoints; name another one")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"fingerprint": fingerprint})
    if not note.exists() or note.read_text() != text:
        for old in folder.glob("*.pt"):  # and nothing that is not ours
            old.unlink()
        with replacing(note) as stream:
            stream.write(text.encode())
    return folder
