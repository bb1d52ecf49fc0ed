"""Training the posterior of local parameters: event by event, at the true parameters of their datasets."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neyman.inputs.simulation import Datasets
from neyman.networks.deepset import DeepSet
from neyman.networks.encoder import Encoder
from neyman.networks.layers import initialised
from neyman.networks.local_posterior import LocalNetwork
from neyman.networks.options import PosteriorOptions
from neyman.networks.posterior import PosteriorNetwork
from neyman.posteriors.coordinates import Coordinates
from neyman.posteriors.locals import LocalCoordinates, LocalPosterior
from neyman.training.bank import Bank
from neyman.training.loop import Stage, mean_loss, run, shuffled
from neyman.training.proposals import GROUP

__all__ = ["train_locals"]


def __dir__() -> list[str]:
    return __all__


_EVALUATIONS = 25  # of a stage
_VALIDATION = 20_000  # events for it, at most
_BATCH = 1024  # events of a step
_START = 50_000  # events that the least squares of the beginning see
_HIDDEN, _WIDTH = (64, 64), 32  # of the network of single events, where the encoder's are made beside other events


def train_locals(
    trained: PosteriorNetwork,
    names: Sequence[str],
    datasets: Datasets,
    coordinates: Coordinates,
    options: PosteriorOptions,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: bool = False,
    checkpoint: Path | None = None,
) -> tuple[LocalPosterior, list[dict[str, Any]]]:
    """Train the posterior of what is local to events, given the event, the parameters and the dataset's summary.

    Args:
        trained: the network of the parameters' posterior, whose summaries are taken as they are.
        names: of the local parameters.
        datasets: the simulation, with what is local to its events.
        coordinates: of the parameters.
        options: of the network and its training.
        seed: fixes everything random.
        device: where it trains; it comes back on the CPU.
        progress: whether to show progress bars on standard error.
        checkpoint: a folder for the state of an unfinished training.

    Returns:
        The posterior, and how its training went.

    Raises:
        InvalidSimulation: if a local parameter is the same for all events.
        FailedFit: if a training diverges.
    """
    training = _Training(trained, names, datasets, coordinates, options, seed, device or torch.device("cpu"))
    history = []
    if options.local_steps:
        history.append(training.stage("local moments", options.local_steps, False, progress, checkpoint))
    if options.flow_steps:
        training.freeze()
        history.append(training.stage("local flow", options.flow_steps, True, progress, checkpoint))
    network = training.network.cpu().eval().requires_grad_(False)
    return LocalPosterior(names, network, training.local), history


class _Training:
    """What the stages share: events with their local parameters, and of their datasets parameters and summary."""

    def __init__(
        self,
        trained: PosteriorNetwork,
        names: Sequence[str],
        datasets: Datasets,
        coordinates: Coordinates,
        options: PosteriorOptions,
        seed: int,
        device: torch.device,
    ) -> None:
        assert datasets.locals is not None
        self.options, self.seed, self.device = options, seed, device
        self.bank = Bank(datasets, options.batch_size, device)
        trained = trained.to(device)
        self.summary = trained.features(self.bank.all_encoded(trained.encoder))
        trained.cpu()
        u = coordinates.of(datasets.pars[: len(self.summary)])
        self.u = torch.from_numpy(u.astype(np.float32)).to(device)
        self.local = LocalCoordinates.of_values(names, datasets.locals)
        self.v = torch.from_numpy(self.local.of(datasets.locals).astype(np.float32)).to(device)
        self.dataset = torch.arange(len(self.summary), device=device).repeat_interleave(
            self.bank.numbers[: len(self.summary)]
        )
        held_out = self.bank.held_out * GROUP
        self.first, self.last = int(self.bank.offsets[held_out]), len(self.dataset)
        with initialised(seed):
            self.network = LocalNetwork(
                _of_single_events(trained.encoder), len(names), self.u.shape[1], self.summary.shape[1],
                head=options.head, flow=options.flow, bins=options.bins, transforms=options.transforms,
            ).to(device)  # fmt: skip
        self.numbers: Tensor | None = None
        generator = torch.Generator().manual_seed(seed)
        some = shuffled(self.first, self.last, generator)[:_START].to(device)
        self.network.adapt(self.bank.x[some])
        with torch.no_grad():
            self.network.head.fit_line(self._seen(self.network, some), self.v[some])

    def freeze(self) -> None:
        """Keep what the network makes of single events as it is: computed once, whatever the encoder costs."""
        self.network.encoder.requires_grad_(False)
        with torch.no_grad():
            parts = torch.split(self.bank.x[: self.last], _BATCH)
            self.numbers = torch.cat([self.network.numbers(part) for part in parts])

    def _seen(self, network: LocalNetwork, events: Tensor) -> Tensor:
        dataset = self.dataset[events]
        numbers = network.numbers(self.bank.x[events]) if self.numbers is None else self.numbers[events]
        return network.joined(numbers, self.u[dataset], network.summary(self.summary[dataset]))

    def _loss(self, network: LocalNetwork, events: Tensor, generator: torch.Generator, *, flow: bool) -> Tensor:
        return -network.log_prob(self._seen(network, events), self.v[events], flow=flow).mean()

    def stage(self, name: str, steps: int, flow: bool, progress: bool, checkpoint: Path | None) -> dict[str, Any]:
        """Run a stage and return its history."""
        loss = functools.partial(self._loss, flow=flow)
        held_out = torch.arange(min(self.first, _VALIDATION), device=self.device)
        stage = Stage(
            name,
            self.network,
            loss,
            functools.partial(mean_loss, loss, held_out, part=_BATCH),
            functools.partial(shuffled, self.first, self.last),
            batch=min(_BATCH, self.last - self.first),
            steps=steps,
            learning_rate=self.options.learning_rate,
            every=max(steps // _EVALUATIONS, 1),
            patience=_EVALUATIONS,
            clip=1.0,
            average=True,
        )
        history = run(
            stage,
            seed=self.seed,
            device=self.device,
            advice="are there events or local parameters with extreme values?",
            label=name if progress else None,
            checkpoint=None if checkpoint is None else checkpoint / f"{name}.pt",
        )
        return history.entry()


def _of_single_events(encoder: Encoder) -> Encoder:
    """Return an encoder that sees each event by itself: a copy of a trained one that does, or a new deep set."""
    if encoder.additive:
        return copy.deepcopy(encoder).train().requires_grad_(True)
    return DeepSet(copy.deepcopy(encoder.scaler), _HIDDEN, _WIDTH)
