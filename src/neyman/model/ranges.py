"""What values the features have in a channel's simulation, and data that have others: units, categories, sentinels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neyman.events import Events, effective_events

__all__ = ["FeatureRanges", "looked_at"]


def __dir__() -> list[str]:
    return __all__


_KEPT = 100_000  # values of a feature that are looked at, of the simulation and of the data
_FALSE_ALARMS = 1e-3  # of data that are like the simulation, for a channel
_LESS_LIKE = 3.0  # times as many events of the data may be at a place, for they are only nearly like the simulation
_EDGES = (0.005, 0.995)  # of each sample: what lies between is its bulk
_BULK = (0.16, 0.84)  # of the data
_ENOUGH = 5  # events that have a bulk


def looked_at(
    names: Sequence[str], features: NDArray[np.float32], event_shape: Sequence[int] | None
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return what is compared of events: their features or, where an event has a shape, a few numbers of the whole.

    Args:
        names: of the features, ``d`` of them.
        features: of the events, shape ``(N, d)``.
        event_shape: the shape of an event that is no list of features.

    Returns:
        Names and numbers, shape ``(N, d)`` or ``(N, 3)``.

    Example:
        >>> import numpy as np
        >>> names = ["image[0,0]", "image[0,1]"]
        >>> looked_at(names, np.array([[1.0, 3.0]], dtype=np.float32), (1, 2))
        (('lowest of image', 'mean of image', 'highest of image'), array([[1., 2., 3.]], dtype=float32))
    """
    if not event_shape:
        return tuple(names), features
    whole = names[0].rpartition("[")[0]
    numbers = np.stack([features.min(axis=1), features.mean(axis=1), features.max(axis=1)], axis=1)
    return tuple(f"{what} of {whole}" for what in ("lowest", "mean", "highest")), numbers.astype(np.float32)


@dataclass(frozen=True, eq=False)
class FeatureRanges:
    """The values that the features of a channel have in its simulation.

    Data drawn from the simulation's own distribution have a value beyond its lowest ``n / m`` times on average, with
    ``n`` events in the data and ``m`` simulated ones, and ``k`` of them with the probability ``(n / (n + m))^k``; and
    the same between any two neighbouring values, as order statistics have it. What is less likely is told.

    Args:
        low: the lowest value of each feature, shape ``(d,)``.
        high: the highest, shape ``(d,)``.
        bulk: what lies between is most of some sample, shape ``(2, d)``.
        values: some of the values, those of each feature in ascending order, shape ``(M, d)``.
        events: how many unweighted events distributed as the data the simulation stands for, ``m``.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> ranges = FeatureRanges.of_samples([Events(rng.exponential(2.0, size=(10_000, 1)))])
        >>> ranges.warnings("SR", ["pt"], Events(rng.exponential(2.0, size=(200, 1))))
        []
        >>> [text] = ranges.warnings("SR", ["pt"], Events(rng.exponential(2000.0, size=(200, 1))))
        >>> text.partition(",")[0]
        'channel SR: 199 of 200 events have pt outside the range of the simulation'
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    bulk: NDArray[np.float32]
    values: NDArray[np.float32]
    events: float

    @classmethod
    def of_samples(
        cls, samples: Sequence[Events], trust: float = 1.0, event_shape: Sequence[int] | None = None
    ) -> Self:
        """Return the ranges of simulated events.

        Args:
            samples: the events of each sample, with their yields for weights.
            trust: how many events of the data each simulated one stands for: fewer than one where it was simulated
                with other parameters.
            event_shape: the shape of an event that is no list of features: then a few numbers of the whole are kept.
        """
        samples = [
            Events(looked_at(["[]"], events.features, event_shape)[1], events.weights)
            for events in samples
            if len(events)
        ]
        totals = np.array([np.abs(events.weights).sum() for events in samples])
        sizes = np.array([effective_events(np.abs(events.weights)) for events in samples])
        parts = [events.features for events in samples]
        number = sum(map(len, parts))
        edges = np.array([np.quantile(part[:: max(len(part) // _KEPT, 1)], _EDGES, axis=0) for part in parts])
        return cls(
            low=np.min([part.min(axis=0) for part in parts], axis=0),
            high=np.max([part.max(axis=0) for part in parts], axis=0),
            bulk=np.stack([edges[:, 0].min(axis=0), edges[:, 1].max(axis=0)]).astype(np.float32),
            values=np.sort(np.concatenate([part[:: max(number // _KEPT, 1)] for part in parts]), axis=0),
            events=float(trust * totals.sum() / (totals / sizes).sum()),
        )

    def warnings(
        self, channel: str, features: Sequence[str], events: Events, event_shape: Sequence[int] | None = None
    ) -> list[str]:
        """Say which features of a dataset have values that the simulation has not, a line for each.

        Args:
            channel: its name.
            features: their names.
            events: the dataset.
            event_shape: the shape of an event that is no list of features.
        """
        if not len(events):
            return []
        names, x = looked_at(features, events.features, event_shape)
        return [f"channel {channel}: {text}" for text in self._found(names, x)]

    def _found(self, features: Sequence[str], values: NDArray[np.float32]) -> Iterator[str]:
        n, d = values.shape
        share = n / (n + self.events)
        for k, feature in enumerate(features):
            x, low, high = values[:, k], self.low[k], self.high[k]
            lowest, highest = x.min(), x.max()
            below = np.count_nonzero(x < low) if lowest < low else 0
            above = np.count_nonzero(x > high) if highest > high else 0
            simulated = f"the simulation, {low:.4g} to {high:.4g}"
            left, right = self._bulk_beyond(x, k)
            if left + right > below + above:
                side, edge = ("below", self.bulk[0, k]) if left else ("above", self.bulk[1, k])
                yield (
                    f"{left + right} of {n} events have {feature} {side} {edge:.4g}, at the edge of the range of"
                    f" {simulated}: is it in other units?"
                )
            elif max(below, above) and share ** max(below, above) < _FALSE_ALARMS / (2 * d):
                yield (
                    f"{below + above} of {n} events have {feature} outside the range of {simulated}"
                    f" (theirs is {lowest:.4g} to {highest:.4g}): the networks know nothing of such events"
                )
            elif gaps := self._gaps(x, k, _FALSE_ALARMS / d):
                inside = sum(int(np.count_nonzero((x > a) & (x < b))) for a, b in gaps)
                first, last = gaps[0][0], gaps[0][1]
                own = x[(x > first) & (x < last)]
                where = f"= {own[0]:.6g}" if own.min() == own.max() else f"between {first:.6g} and {last:.6g}"
                yield (
                    f"{inside} of {n} events have {feature} {where}, outside all values of the simulation, which are in"
                    f" the range {low:.4g} to {high:.4g}: the networks know nothing of such events"
                )

    def _bulk_beyond(self, x: NDArray[np.float32], k: int) -> tuple[int, int]:
        """Return how many events are below and above the bulk of every sample, if that is nearly all of them."""
        left, right = int(np.count_nonzero(x < self.bulk[0, k])), int(np.count_nonzero(x > self.bulk[1, k]))
        enough = max(_BULK[1] * len(x), _ENOUGH)
        return (left if left >= enough else 0), (right if right >= enough else 0)

    def _gaps(self, x: NDArray[np.float32], k: int, alpha: float) -> list[tuple[np.float32, np.float32]]:
        """Return the neighbouring simulated values that have too many events between them, the fullest gap first."""
        values, some = self.values[:, k], np.sort(x[:: max(len(x) // _KEPT, 1)])
        some = some[(some > values[0]) & (some < values[-1])]
        place = np.searchsorted(values, some)
        gaps, numbers = np.unique(place[values[place] != some], return_counts=True)
        size = min(self.events, len(values))
        share = _LESS_LIKE * len(some) / (_LESS_LIKE * len(some) + size) if len(some) else 0.0
        full = np.flatnonzero(len(values) * share ** numbers.astype(np.float64) < alpha)
        full = full[np.argsort(-numbers[full], kind="stable")]
        return [(values[gap - 1], values[gap]) for gap in gaps[full]]

    # -- files

    def pack(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a model file stores."""
        names = ("low", "high", "bulk", "values")
        return {f"range {name}": getattr(self, name) for name in names} | {"range events": np.array([self.events])}

    @classmethod
    def unpack(cls, arrays: Mapping[str, NDArray[Any]]) -> Self | None:
        """Return what a model file has stored; nothing, if it is an older one."""
        if "range low" not in arrays:
            return None
        names = ("low", "high", "bulk", "values")
        return cls(**{name: arrays[f"range {name}"] for name in names}, events=float(arrays["range events"][0]))
