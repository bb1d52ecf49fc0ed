"""Fresh datasets for the diagnostics of a dataset-wide network, and how well one determines the parameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neyman.inputs.simulation import Datasets
from neyman.model.setwise import SetChannel
from neyman.training.proposals import reflected

__all__ = ["STREAM", "FreshDatasets", "Scale"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

STREAM = 0xD1A6
"""Keeps the seeds of diagnostics apart from those of the training."""


class FreshDatasets:
    """Fresh datasets of a channel at any of the network's parameters.

    Args:
        channel: the channel.
        rng: the source of randomness.
        workers: processes that a simulator runs in.
    """

    def __init__(self, channel: SetChannel, rng: np.random.Generator, workers: int | None) -> None:
        self.channel, self.rng, self.workers = channel, rng, workers
        self.origin = channel.simulation()

    def draw(self, points: Array, numbers: NDArray[np.int64] | None = None) -> tuple[Array, Datasets]:
        """Return the sums of a dataset for each point, and the datasets.

        Args:
            points: shape ``(T, P)``.
            numbers: of events, where they are not the network's own; drawn as in its training by default.
        """
        if numbers is None and not self.channel.owns_number:
            low, high = np.log(self.channel.numbers[0]), np.log(self.channel.numbers[1] + 1)
            numbers = np.exp(self.rng.uniform(low, high, len(points))).astype(np.int64)
        datasets = self.origin.datasets(points, numbers, self.rng, self.workers)
        return self.channel.encode_many(datasets.features, datasets.offsets), datasets


class Scale:
    """How well a dataset determines the parameters, anywhere, as the network itself says: from a few pilots.

    With the second derivatives of the score and the variance of a uniform distribution over the range, in units of
    which everything is. It only decides how far apart things are; nothing has to be right about it.

    Args:
        channel: the channel.
        source: of the pilots.
        pilots: how many there are.
    """

    def __init__(self, channel: SetChannel, source: FreshDatasets, pilots: int) -> None:
        self._low, self._span = channel.low, channel.high - channel.low
        self._centres = source.rng.random((pilots, len(channel.low)))
        points = self.point(self._centres)
        sums, datasets = source.draw(points)
        self.events = float(datasets.numbers.mean())
        information = channel.information(sums, points) * self._span[:, None] * self._span
        variance = np.linalg.inv(information + 12.0 * np.eye(len(self._low)))
        self._roots = np.linalg.cholesky(variance)

    def point(self, unit: Array) -> Array:
        """Return parameters from fractions of their ranges, reflected at the bounds."""
        return np.asarray(self._low + self._span * reflected(unit))

    def root(self, unit: Array) -> Array:
        """Return a root of the covariance near each place, as the nearest pilot has it, shape ``(n, P, P)``."""
        distance = ((unit[:, None] - self._centres) ** 2).sum(axis=2)
        return np.asarray(self._roots[np.argmin(distance, axis=1)])
