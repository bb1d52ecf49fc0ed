"""From a workspace or a simulator to a model: train every learned channel and put the likelihood together."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.inputs.simulator import Simulator
from neyman.inputs.workspace import Workspace
from neyman.model.mixture import MixtureChannel
from neyman.model.model import Model
from neyman.model.setwise import SetChannel
from neyman.networks.kinds import MIXTURE, Kind, kind_of, set_options, training_options
from neyman.networks.layers import digest_of, initialised
from neyman.networks.options import SetOptions
from neyman.results import SetReport, TrainingReport
from neyman.support.checks import checked_seed
from neyman.training.checkpoints import checkpoint_folder
from neyman.training.contrastive import encoder_of
from neyman.training.crossfit import choose_device
from neyman.training.disagreement import judged
from neyman.training.examination import DATASETS, examine
from neyman.training.finite import check_staterrors, expected_cost, tilted
from neyman.training.mixture import check_sizes, train_mixture
from neyman.training.provenance import provenance_of
from neyman.training.setwise import check_signs, train_on_simulator, train_on_workspace

__all__ = ["train"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_PART = 3  # of the datasets of a training are as many as its diagnostics take, at most


def train(
    source: Workspace | Simulator,
    network: str | Mapping[str, Any] | Callable[..., Any] | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    checkpoint: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    modifier_settings: dict[str, dict[str, str]] | None = None,
) -> Model:
    """Train the learned channels of a workspace, or a network on a simulator, and return the model.

    Args:
        source: the document with its event sources, or a simulator. A document without any is the ordinary
            HistFactory model.
        network: the kind of network of a simulator: ``"event"``, ``"deepset"`` (the default), ``"transformer"``, a name
            that :func:`neyman.networks.register` knows, or a network of one's own as that takes it, for example a torch
            module that turns events ``(E, d)`` into numbers ``(E, K)``. Or a mapping with this as ``kind`` and with
            options, as a document has. A document names its own.
        seed: fixes everything random: the same seed gives the same model on the same machine. Not negative.
        device: ``"auto"`` takes a GPU when torch has one.
        progress: whether to show progress bars on standard error.
        checkpoint: a folder that keeps the state of the training; when it is interrupted, the same call resumes it.
            It can be deleted once the model is saved.
        cache: a folder that keeps the datasets of a simulator: another training takes them from there.
        workers: processes that a simulator runs in; by default as many as save time.
        executor: any :class:`concurrent.futures.Executor`; the model is the same without it, to the last digit. Of a
            document, it reads the files, a part of each at a time, where the workers are, and trains the classifiers,
            each a task: events and weights travel here and there, networks back. Of a simulator, the datasets of the
            training are simulated there, and travel here.
        modifier_settings: the interpolation of each type of modifier of a document, as for :class:`pyhf.Model`.

    Returns:
        The model, with the workspace's observations if it has any.

    Raises:
        InvalidDocument: if the document contradicts itself, or an option of the network makes no sense.
        InvalidEvents: if an event source cannot be used.
        InvalidSimulation: if the simulator fails.
        InvalidParameter: if the seed is negative, or an argument does not go with the source.
        FailedFit: if a training diverges.
        Unsupported: if the device cannot be used.
    """
    seed = checked_seed(seed)
    torch_device = choose_device(device)
    if isinstance(source, Simulator):
        if modifier_settings is not None:
            raise InvalidParameter("modifier_settings are for documents: a simulator has no modifiers")
        return _train_simulator(source, network, seed, torch_device, progress, checkpoint, cache, workers, executor)
    if network is not None or cache is not None or workers is not None:
        raise InvalidParameter("network, cache and workers are for simulators: a document has a channel's 'network'")
    return _train_workspace(source, seed, torch_device, progress, checkpoint, executor, modifier_settings)


def _train_simulator(
    simulator: Simulator,
    network: str | Mapping[str, Any] | Callable[..., Any] | None,
    seed: int,
    device: torch.device,
    progress: bool,
    checkpoint: str | Path | None,
    cache: str | Path | None,
    workers: int | None,
    executor: Executor | None,
) -> Model:
    given = dict(network) if isinstance(network, Mapping) else {} if network is None else {"kind": network}
    kind = kind_of(given.get("kind", "deepset"))
    given["kind"] = kind.name
    options = set_options(kind, given)
    provenance: dict[str, Any] = {**provenance_of(seed), "simulator": repr(simulator), "network": given}
    content = {
        "simulator": repr(simulator),
        "parameters": simulator.parameters,
        "kind": kind.name,
        "own": _own_network(kind, simulator.draw(simulator.inits, seed).features, options, simulator.event_shape),
        "options": dataclasses.asdict(options),
        "seed": seed,
        "versions": provenance["versions"],
    }
    folder = None if checkpoint is None else checkpoint_folder(checkpoint, content)
    channel, report = train_on_simulator(
        simulator, kind, options, seed=seed, device=device, progress=progress, checkpoints=folder,
        cache=None if cache is None else Path(cache), workers=workers, executor=executor,
    )  # fmt: skip
    model = Model(
        simulator.spec(), {channel.name: channel}, poi_name=simulator.poi, provenance=provenance, report=[report]
    )
    _examine(model, {channel.name: channel}, {channel.name: options}, seed, workers)
    return model


def _train_workspace(
    workspace: Workspace,
    seed: int,
    device: torch.device,
    progress: bool,
    checkpoint: str | Path | None,
    executor: Executor | None,
    modifier_settings: dict[str, dict[str, str]] | None,
) -> Model:
    workspace.validate(executor)
    networks = {name: workspace.network(name) for name in workspace.learned}
    options = {
        name: training_options(network if network["kind"] == MIXTURE else {}) for name, network in networks.items()
    }
    kinds = {name: kind_of(network["kind"]) for name, network in networks.items() if network["kind"] != MIXTURE}
    of_sets = {name: set_options(kind, networks[name]) for name, kind in kinds.items()}
    spec = workspace.spec()
    # whatever can be wrong with the input is found before hours of training, not after
    Model(spec, {}, poi_name=workspace.poi_name, modifier_settings=modifier_settings)
    simulations = {name: workspace.simulation(name) for name in workspace.learned}
    for name, simulation in simulations.items():
        check_sizes(simulation, options[name].folds)
        if name in kinds:
            check_signs(simulation, kinds[name])
    check_staterrors(spec, simulations.values())
    own = {
        name: _own_network(kind, next(iter(simulations[name].samples.values())).features, of_sets[name])
        for name, kind in kinds.items()
    }
    observed = workspace.observed() if workspace.has_observations else None
    provenance = {**provenance_of(seed), "measurement": workspace.measurement, "files": workspace.provenance()}
    content = {
        "document": workspace.document,
        "features": {name: workspace.features(name) for name in workspace.learned},  # in their order
        "files": provenance["files"],
        "seed": seed,
        "versions": provenance["versions"],
        "own": own,
        "modifier_settings": modifier_settings,
        "options": [{name: dataclasses.asdict(o) for name, o in every.items()} for every in (options, of_sets)],
    }
    folder = None if checkpoint is None else checkpoint_folder(checkpoint, content)
    mixtures: dict[str, MixtureChannel] = {}
    reports: list[TrainingReport | SetReport] = []
    for name, simulation in simulations.items():
        mixtures[name], report = train_mixture(
            simulation, options[name], seed=seed, device=device, progress=progress, checkpoints=folder,
            executor=executor,
        )  # fmt: skip
        reports.append(report)
    examined: dict[str, SetChannel] = {}
    rates = Model(spec, mixtures, poi_name=workspace.poi_name, modifier_settings=modifier_settings)
    if of_sets:
        for name, given in of_sets.items():
            examined[name], set_report = train_on_workspace(
                mixtures[name], kinds[name], given, rates, seed=seed, device=device, progress=progress,
                checkpoints=None if folder is None else folder / quote(name, safe=""),
            )  # fmt: skip
            reports.append(set_report)
    staterrors = {name: simulation.staterrors for name, simulation in simulations.items() if simulation.staterrors}
    model = Model(
        *tilted(rates, {name: names for name, names in staterrors.items() if name not in of_sets}, examined),
        poi_name=workspace.poi_name,
        observed=observed,
        document=workspace.document,
        provenance=provenance,
        report=reports,
        modifier_settings=modifier_settings,
        simulation_errors=workspace.simulation_errors(),
    )
    _examine(model, examined, of_sets, seed, None)
    for name in of_sets:
        for sample in staterrors.get(name, ()):
            log.warning("channel %s: the staterror of sample %s is that of its rate alone: no network of whole "
                        "datasets has its shape's, a mixture has", name, sample)  # fmt: skip
    model.provenance["simulation"] = expected_cost(model)
    return model


def _examine(
    model: Model, channels: Mapping[str, SetChannel], options: Mapping[str, SetOptions], seed: int, workers: int | None
) -> None:
    """Put into the model's reports what fresh datasets say of the dataset-wide channels and of the mixtures."""
    reports: list[TrainingReport | SetReport] = []
    for report in model.report:
        if isinstance(report, SetReport):
            channel = channels[report.channel]
            # never more than a fraction of the training
            datasets = min(DATASETS, options[report.channel].datasets // _PART)
            report = examine(report, channel, model, seed=seed, datasets=datasets, workers=workers)
        elif report.channel not in channels:  # a mixture that is not replaced by a dataset-wide network
            report = judged(model, report, seed)
        reports.append(report)
    model.report = tuple(reports)


def _own_network(
    kind: Kind, features: NDArray[np.float32], options: SetOptions, event_shape: tuple[int, ...] | None = None
) -> str | None:
    """Check a network of the user's own on events before hours of training; return what tells it from another one."""
    if kind.network is None:
        return None
    with initialised(0):
        return digest_of(encoder_of(kind, features, options, event_shape))
