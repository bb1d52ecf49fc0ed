"""Learning a dataset-wide channel: its datasets, from a simulator or a workspace's simulation, and its training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.events import ChannelSimulation, Events
from neyman.exceptions import InvalidDocument, InvalidEvents, InvalidParameter, InvalidSimulation
from neyman.inputs.signed import sample_of
from neyman.inputs.simulation import Datasets, simulate
from neyman.inputs.simulator import Simulator
from neyman.model.mixture import MixtureChannel
from neyman.model.ranges import FeatureRanges
from neyman.model.setwise import SetChannel
from neyman.model.shares import first_places, shares_of
from neyman.model.sources import SimulatorSource
from neyman.networks.kinds import Kind
from neyman.networks.options import SetOptions
from neyman.results import SetReport
from neyman.training.contrastive import TrainedSet, train_set
from neyman.training.pilot import with_tables_where_needed
from neyman.training.proposals import propose

__all__ = ["check_signs", "extreme_values", "train_on_simulator", "train_on_workspace"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_EVENTS = 30_000_000  # of all datasets of a training: what fits into memory; there are fewer datasets for it,
_FEWEST = 20_000  # down to these, and then no larger ones
_POINTS = 500  # of the parameters, to begin the search for the largest and smallest fractions
_FRESH = 0xF8E5  # keeps the seeds of fresh datasets apart
_CONSTANT = 1e-6  # a range that is nothing but rounding
_TRUST = 0.01  # of the datasets of a simulator have parameters like those of the data
_MARGIN = 0.02  # what a network sees of a parameter that is constant
_SWEEPS = 3  # over all parameters in it
_RANGE = (0.5, 1.5)  # of the expected numbers of events, that the numbers in a training reach beyond


def train_on_simulator(
    simulator: Simulator,
    kind: Kind,
    options: SetOptions,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: bool = False,
    checkpoints: Path | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
) -> tuple[SetChannel, SetReport]:
    """Simulate datasets over the parameters' bounds and train a network on them.

    Args:
        simulator: the simulator.
        kind: the kind of network.
        options: of the network and its training.
        seed: fixes everything random.
        device: where the networks train.
        progress: whether to show progress bars on standard error.
        checkpoints: a folder for the state of an unfinished training.
        cache: a folder that keeps simulated datasets.
        workers: processes that simulate; ``None`` decides by what it saves.
        executor: what simulates instead.

    Returns:
        The channel and how its training went.

    Raises:
        InvalidSimulation: if the simulator fails, or no dataset has an event.
    """
    low, high = simulator.bounds.T
    pars = propose(low, high, options.datasets, seed)
    datasets = simulate(simulator, pars, seed, workers=workers, executor=executor, cache=cache, progress=progress)
    if not len(datasets.features):
        raise InvalidSimulation(f"the simulator made no event in {len(datasets)} datasets: there is nothing to learn")
    options = with_tables_where_needed(kind, datasets, low, high, options, seed=seed, device=device)
    label = simulator.channel if progress else None

    def fresh(k: int) -> Datasets:
        other = _seed(seed, k)
        more = propose(low, high, options.datasets, other)
        return simulate(simulator, more, other, workers=workers, executor=executor, cache=cache, progress=progress)

    trained = train_set(
        kind, datasets, low, high, options, counts=True, fresh=fresh, seed=seed, device=device, progress=label,
        checkpoint=checkpoints,
    )  # fmt: skip
    channel = SetChannel(
        simulator.channel, kind.name, simulator.columns, low.copy(), high.copy(), trained.encoder, trained.head,
        trained.numbers, SimulatorSource(simulator),
        ranges=FeatureRanges.of_samples([Events(datasets.features)], _TRUST, datasets.event_shape),
    )  # fmt: skip
    return channel, _report(channel, trained)


def check_signs(simulation: ChannelSimulation, kind: Kind) -> None:
    """Check that datasets can be drawn of every sample of a channel.

    Raises:
        InvalidDocument: if one has a negative yield.
    """
    for name, events in simulation.samples.items():
        if events.weights.sum() < 0.0:
            raise InvalidDocument(
                f"channel {simulation.channel}: sample {sample_of(name)} has a negative density, of which no dataset "
                f"can be drawn for a {kind.name} to learn: write network: {{kind: mixture}}"
            )


def train_on_workspace(
    mixture: MixtureChannel,
    kind: Kind,
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
        kind: the kind of network.
        options: of the network and its training.
        model: a model with this channel, for the rates.
        seed: fixes everything random.
        device: where the networks train.
        progress: whether to show progress bars on standard error.
        checkpoints: a folder for the state of an unfinished training.

    Returns:
        The channel and how its training went.

    Raises:
        InvalidEvents: if the rates do not let events be drawn, or nothing changes with the parameters.
        InvalidParameter: if a parameter has infinite bounds.
    """
    rng = np.random.default_rng(seed)
    [term] = [term for term in model.terms if term.channel.name == mixture.name]
    low, high, expected = _ranges(mixture, term, model, rng)
    constant = high - low <= _CONSTANT
    if np.all(constant):
        raise InvalidEvents(
            f"channel {mixture.name}: nothing of its events changes with the parameters, so that there is nothing for "
            f"a {kind.name} to learn: use kind: mixture"
        )
    low[constant] -= 0.5 * _MARGIN
    high[constant] += 0.5 * _MARGIN
    fewest, most = max(int(_RANGE[0] * expected[0]), 1), int(np.ceil(_RANGE[1] * expected[1])) + 1
    average = (most - fewest) / np.log(most / fewest) if most > fewest else float(most)
    count = min(options.datasets, max(int(_EVENTS / average), _FEWEST))
    if count * average > _EVENTS:
        most = max(int(_EVENTS / count * 3), fewest + 1)
        log.warning(
            "channel %s: up to %d events are expected in a dataset, but memory lets %d datasets have up to %d: narrow"
            " the bounds of the parameters, use fewer datasets, or kind: mixture",
            mixture.name, int(expected[1]), count, most,
        )  # fmt: skip

    def drawn(seed: int, rng: np.random.Generator) -> Datasets:
        points = propose(low, high, count, seed)
        numbers = np.exp(rng.uniform(np.log(fewest), np.log(most + 1), len(points))).astype(np.int64)
        return mixture.source.datasets(points, numbers, rng)

    def fresh(k: int) -> Datasets:
        return drawn(_seed(seed, k), np.random.default_rng(_seed(seed, k)))

    datasets = drawn(seed, rng)
    options = with_tables_where_needed(kind, datasets, low, high, options, seed=seed, device=device)
    label = mixture.name if progress else None
    trained = train_set(
        kind, datasets, low, high, options, counts=False, fresh=fresh, seed=seed, device=device, progress=label,
        checkpoint=checkpoints,
    )  # fmt: skip
    channel = SetChannel(
        mixture.name,
        kind.name,
        mixture.features,
        low,
        high,
        trained.encoder,
        trained.head,
        trained.numbers,
        mixture.source,
    )
    return channel, _report(channel, trained)


def _seed(seed: int, k: int) -> int:
    """Return the seed of the k-th fresh datasets."""
    return int(np.random.SeedSequence([seed, _FRESH, k]).generate_state(1)[0])


def _ranges(
    mixture: MixtureChannel, term: Any, model: Any, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float]]:
    """Return the bounds of the network's parameters, and the fewest and most events expected within the model's."""
    bounds = np.array(model.config.suggested_bounds(), dtype=np.float64)
    free = ~np.array(model.config.suggested_fixed(), dtype=bool)
    init = np.array(model.config.suggested_init(), dtype=np.float64)
    for k in np.flatnonzero(free & ~np.isfinite(bounds).all(axis=1)):
        raise InvalidParameter(
            f"channel {mixture.name}: {model.config.par_names[k]} has the bounds {bounds[k].tolist()}, and a network "
            "of whole datasets is trained within finite ones: give it narrower bounds in the measurement"
        )

    def shares(points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the shares of all samples but the last and the total rate, nan without a meaning, ``(n, C)``."""
        rates = model.rates(points)[0][:, term.samples, term.bin]
        total = rates.sum(axis=1, keepdims=True)
        values = np.concatenate([shares_of(np.maximum(rates, 0.0))[0], total], axis=1)
        good = (rates >= 0).all(axis=1, keepdims=True) & (total > 0)
        return np.asarray(np.where(good, values, np.nan), dtype=np.float64)

    corners = np.where(free, bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * rng.random((_POINTS, len(init))), init)
    known = shares(corners)
    if np.isnan(known).all():
        raise InvalidEvents(f"channel {mixture.name}: its rates are not positive anywhere within the bounds")
    # from the best points found, each parameter in turn goes to the bound that is better still: rates are monotonic
    lowest, highest = (extreme_values(shares, sign, corners, known, bounds, free) for sign in (-1.0, 1.0))
    alphas = bounds[term.parameters[first_places(mixture.parameters)]]
    low = np.concatenate([lowest[:-1], alphas[:, 0]])
    high = np.concatenate([highest[:-1], alphas[:, 1]])
    return low, high, (float(lowest[-1]), float(highest[-1]))


def extreme_values(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    sign: float,
    points: NDArray[np.float64],
    known: NDArray[np.float64],
    bounds: NDArray[np.float64],
    free: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the largest values of functions within bounds, or with ``sign`` -1 the smallest, shape ``(T,)``."""
    targets = np.arange(known.shape[1])
    best = points[np.nanargmax(sign * known, axis=0)].copy()
    values: NDArray[np.float64] = known[np.nanargmax(sign * known, axis=0), targets]
    for _ in range(_SWEEPS):
        for k in np.flatnonzero(free):
            for bound in bounds[k]:
                trial = best.copy()
                trial[:, k] = bound
                found = np.diagonal(function(trial))
                better = sign * found > sign * values  # never, where nan
                best[better], values[better] = trial[better], found[better]
    return np.asarray(values)


def _report(channel: SetChannel, trained: TrainedSet) -> SetReport:
    return SetReport(channel.name, channel.features, channel.kind, tuple(trained.history))
