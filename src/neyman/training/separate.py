"""A separate simulation as the pool of a mixture: no network has seen it, and it has the values that data have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from neyman.events import ChannelSimulation, Events, effective_events
from neyman.model.mixture import MixtureChannel
from neyman.model.pool import Pool
from neyman.networks.folds import hashed_folds
from neyman.networks.mixture import CrossFitClassifier
from neyman.training.closure import failing, reweighting
from neyman.training.pooling import pooled
from neyman.training.signs import of_yield, positive_weights

__all__ = ["separate_pool", "unlike"]


def __dir__() -> list[str]:
    return __all__


_BLOCK = 65_536  # events in memory at a time


def separate_pool(
    channel: MixtureChannel, simulation: ChannelSimulation, signs: Mapping[str, CrossFitClassifier], most: int
) -> Pool:
    """Return the pool of the separate simulation.

    Its ``squares``, which tell what the finite simulation costs, are in all those of the events that the networks were
    trained on: on these a best fit depends.

    Args:
        channel: the trained mixture.
        simulation: with the separate one.
        signs: by sample with events of either sign, the classifier of its positive and negative ones.
        most: as for :func:`pooled`.
    """
    separate = [simulation.calibration[name] for name in channel.samples]
    weights = [
        positive_weights(name, of_yield(events), signs.get(name), partial(_folds, signs.get(name)))
        for name, events in zip(channel.samples, separate, strict=True)
    ]
    pool = pooled(_AsData(channel), separate, weights, channel.calibration, channel.yields, channel.shapes, most)
    assert pool.squares is not None
    larger = np.array(
        [
            effective_events(events.weights) / effective_events(simulation.samples[name].weights)
            for name, events in zip(channel.samples, separate, strict=True)
        ]
    )
    return dataclasses.replace(pool, squares=(pool.squares * larger[pool.samples]).astype(np.float32))


@dataclasses.dataclass(frozen=True, eq=False)
class _AsData:
    """What gives simulated events the values that data have."""

    channel: MixtureChannel

    def blocks(
        self, events: Events, which: NDArray[np.intp] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float32]]]:
        """Yield the values of blocks of events, all or those at some positions."""
        features = events.features if which is None else events.features[which]
        for begin in range(0, len(features), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            yield rows, *self.channel.raw(features[rows])


def _folds(network: CrossFitClassifier | None, events: Events) -> NDArray[np.int64]:
    return hashed_folds(events.features, 1 if network is None else network.folds)


def unlike(simulation: ChannelSimulation) -> list[str]:
    """Say which samples of the separate simulation are not distributed as those that the networks were trained on.

    Args:
        simulation: with the separate one.
    """
    found = []
    for name, separate in simulation.calibration.items():
        own = simulation.samples[name]
        pairs = ((events.features, events.weights) for events in (own, separate))
        cells = reweighting(simulation.features, next(pairs), np.ones(len(own)), next(pairs), name)
        for text in failing(cells, {name: float(own.weights.sum())}, "differs").values():
            found.append(f"calibration: the events of {name} are not like those that it is learned from: {text}")
    return found
