"""Learning a dataset-wide channel: its datasets, from a simulator or a workspace's simulation, and its training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.channels import MixtureChannel
from neyman.contrastive import TrainedSet, propose, train_set
from neyman.exceptions import InvalidEvents, InvalidSimulation
from neyman.options import SetOptions
from neyman.pool import bent_events, simulated_events
from neyman.results import SetReport
from neyman.sets import SetChannel, fractions_of, shares_of
from neyman.simulation import Datasets, simulate
from neyman.simulator import Simulator

__all__ = ["draw_datasets", "train_on_simulator", "train_on_workspace"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_EVENTS = 30_000_000  # of all datasets of a training: what fits into memory
_RANGE = (0.5, 1.5)  # of the expected numbers of events, that the numbers in a training reach beyond


def train_on_simulator(
    simulator: Simulator,
    kind: str,
    options: SetOptions,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: bool = False,
    checkpoints: Path | None = None,
    cache: Path | None = None,
    workers: int | None = None,
) -> tuple[SetChannel, SetReport]:
    """Simulate datasets over the parameters' bounds and train a network on them.

    Args:
        simulator: the simulator.
        kind: ``"event"``, ``"deepset"`` or ``"transformer"``.
        options: of the network and its training.
        seed: fixes everything random.
        device: where the networks train.
        progress: whether to show progress bars on standard error.
        checkpoints: a folder for the state of an unfinished training.
        cache: a folder that keeps simulated datasets.
        workers: processes that simulate; ``None`` decides by what it saves.

    Returns:
        The channel and how its training went.

    Raises:
        InvalidSimulation: if the simulator fails, or no dataset has an event.
    """
    low, high = simulator.bounds.T
    pars = propose(low, high, options.datasets, seed)
    datasets = simulate(simulator, pars, seed, workers=workers, cache=cache, progress=progress)
    if not len(datasets.features):
        raise InvalidSimulation(f"the simulator made no event in {len(datasets)} datasets: there is nothing to learn")
    label = simulator.channel if progress else None
    trained = train_set(
        kind, datasets, low, high, options, counts=True, seed=seed, device=device, progress=label,
        checkpoint=checkpoints,
    )  # fmt: skip
    channel = SetChannel(
        simulator.channel, kind, simulator.features, low.copy(), high.copy(), trained.encoder, trained.head,
        trained.numbers, simulator, simulator.names,
    )  # fmt: skip
    return channel, _report(channel, trained)


def train_on_workspace(
    mixture: MixtureChannel,
    kind: str,
    options: SetOptions,
    model: Any,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: bool = False,
    checkpoints: Path | None = None,
) -> tuple[SetChannel, SetReport]:
    """Train a network on datasets drawn from the simulated events of a workspace's channel.

    The datasets have the samples in the proportions that the rates have over the parameters' bounds, bent by the
    learned shape effects, and a number of events that is independent of the parameters.

    Args:
        mixture: the channel's simulation, with its learned shape effects.
        kind: ``"event"``, ``"deepset"`` or ``"transformer"``.
        options: of the network and its training.
        model: a model with this channel, for the rates.
        seed: fixes everything random.
        device: where the networks train.
        progress: whether to show progress bars on standard error.
        checkpoints: a folder for the state of an unfinished training.

    Returns:
        The channel and how its training went.

    Raises:
        InvalidEvents: if the rates do not let events be drawn.
    """
    rng = np.random.default_rng(seed)
    [term] = [term for term in model.terms if term.channel.name == mixture.name]
    low, high, expected = _ranges(mixture, term, model, rng)
    if not len(low) or np.all(high - low <= 0):
        raise InvalidEvents(
            f"channel {mixture.name}: nothing of its events changes with the parameters, so that there is nothing for "
            f"a {kind} to learn: use kind: mixture"
        )
    fewest, most = max(int(_RANGE[0] * expected[0]), 1), int(np.ceil(_RANGE[1] * expected[1])) + 1
    average = (most - fewest) / np.log(most / fewest) if most > fewest else float(most)
    if options.datasets * average > _EVENTS:
        most = max(int(_EVENTS / options.datasets * 3), fewest + 1)
        log.warning(
            "channel %s: datasets of up to %d events are expected, but memory lets %d datasets have up to %d: use fewer"
            " datasets, or kind: mixture",
            mixture.name, int(expected[1]), options.datasets, most,
        )  # fmt: skip
    points = propose(low, high, options.datasets, seed)
    numbers = np.exp(rng.uniform(np.log(fewest), np.log(most + 1), len(points))).astype(np.int64)
    datasets = draw_datasets(mixture, points, numbers, rng)
    label = mixture.name if progress else None
    trained = train_set(
        kind, datasets, low, high, options, counts=False, seed=seed, device=device, progress=label,
        checkpoint=checkpoints,
    )  # fmt: skip
    channel = SetChannel(
        mixture.name, kind, mixture.features, low, high, trained.encoder, trained.head, trained.numbers, mixture
    )
    return channel, _report(channel, trained)


def _ranges(
    mixture: MixtureChannel, term: Any, model: Any, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float]]:
    """Return the bounds of the network's parameters, and the fewest and most events expected within the model's."""
    bounds = np.array(model.config.suggested_bounds(), dtype=np.float64)
    free = ~np.array(model.config.suggested_fixed(), dtype=bool)
    init = np.array(model.config.suggested_init(), dtype=np.float64)
    corners = rng.random((4000, len(bounds))).round(1)  # many of them at the bounds
    points = np.where(free, bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * corners, init)
    rates = np.array([model.rates(point)[0][term.samples, term.bin] for point in points])
    total = rates.sum(axis=1)
    good = (rates >= 0).all(axis=1) & (total > 0)
    if not good.any():
        raise InvalidEvents(f"channel {mixture.name}: its rates are not positive anywhere within the bounds")
    shares = shares_of(rates[good])[0]
    alphas = bounds[term.parameters]
    order = list(dict.fromkeys(v.parameter for v in mixture.variations))
    first = [[v.parameter for v in mixture.variations].index(name) for name in order]
    low = np.concatenate([shares.min(axis=0), alphas[first, 0] if first else []])
    high = np.concatenate([shares.max(axis=0), alphas[first, 1] if first else []])
    return low, high, (float(total[good].min()), float(total[good].max()))


def draw_datasets(
    mixture: MixtureChannel, points: NDArray[np.float64], numbers: NDArray[np.int64], rng: np.random.Generator
) -> Datasets:
    """Draw labelled events at the samples' shares, bent by the shape effects.

    Args:
        mixture: the channel.
        points: shares and shape parameters of each dataset, shape ``(T, P)``.
        numbers: its number of events, shape ``(T,)``.
        rng: the source of randomness.
    """
    first = len(mixture.samples) - 1
    fractions = fractions_of(points[:, :first])
    order = list(dict.fromkeys(v.parameter for v in mixture.variations))
    column = [first + order.index(v.parameter) for v in mixture.variations]
    parts = rng.multinomial(numbers, fractions / fractions.sum(axis=1, keepdims=True))
    if mixture.variations:
        index = bent_events(mixture, parts, points[:, column], rng)
    else:
        index = simulated_events(mixture, parts, np.empty(0), rng)
    offsets = np.concatenate([[0], np.cumsum(numbers)])
    return Datasets(points, mixture.pool.features[index], offsets)


def _report(channel: SetChannel, trained: TrainedSet) -> SetReport:
    return SetReport(channel.name, channel.features, channel.kind, tuple(trained.history))
