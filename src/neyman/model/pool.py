"""The pool: a mixture's simulated events with their networks' values, and summaries of ensembles taken from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MixtureSummary", "PaddedSummary", "Pool"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class MixtureSummary:
    """What a mixture channel keeps of an ensemble, free of the parameters; ``+`` joins two ensembles.

    Args:
        weights: shape ``(N,)``.
        ratios: ``g_c = p_c / p_ref``, shape ``(C, N)``.
        slopes: ``(log hi - log lo) / 2`` of every variation, shape ``(M, N)``; held in single precision, as these are
            the largest arrays by far. Sums over events are in double precision.
        curvatures: ``(log hi + log lo) / 2``, shape ``(M, N)``; the same.
    """

    weights: NDArray[np.float64]
    ratios: NDArray[np.float64]
    slopes: NDArray[Any]
    curvatures: NDArray[Any]

    def __add__(self, other: MixtureSummary) -> MixtureSummary:
        return self.joined([self, other])

    @classmethod
    def joined(cls, parts: Sequence[MixtureSummary]) -> MixtureSummary:
        """Return the summary of the events of all parts, one after another."""
        return cls(
            np.concatenate([part.weights for part in parts]),
            *(
                np.concatenate([getattr(part, name) for part in parts], axis=1)
                for name in ("ratios", "slopes", "curvatures")
            ),
        )


@dataclass(frozen=True, eq=False)
class PaddedSummary:
    """The summaries of many ensembles, side by side and filled up to the same number of events.

    Args:
        roots: square roots of the weights, zero where there is no event, shape ``(n, N)``.
        ratios: ``g_c``, one where there is no event, shape ``(n, C, N)``.
        slopes: shape ``(n, M, N)``.
        curvatures: shape ``(n, M, N)``.
        total_weights: shape ``(n,)``.
    """

    roots: NDArray[np.float64]
    ratios: NDArray[np.float64]
    slopes: NDArray[np.float64]
    curvatures: NDArray[np.float64]
    total_weights: NDArray[np.float64]

    @classmethod
    def take(
        cls, summary: MixtureSummary, events: NDArray[np.integer[Any]], numbers: NDArray[np.int64]
    ) -> PaddedSummary:
        """Gather ensembles of events of weight one.

        Args:
            summary: what the events are taken from.
            events: positions in the summary, shape ``(n, N)``.
            numbers: how many of each row are events, shape ``(n,)``; the rest is filled up.
        """
        none = np.arange(events.shape[1]) >= numbers[:, None]
        ratios, slopes, curvatures = (
            np.stack([row[events].astype(np.float64) for row in rows], axis=1)
            if len(rows)
            else np.empty((len(events), 0, events.shape[1]))
            for rows in (summary.ratios, summary.slopes, summary.curvatures)
        )
        np.moveaxis(ratios, 1, 0)[:, none] = 1.0
        return cls((~none).astype(np.float64), ratios, slopes, curvatures, numbers.astype(np.float64))

    def __len__(self) -> int:
        return len(self.roots)

    def __getitem__(self, rows: NDArray[np.intp]) -> PaddedSummary:
        return PaddedSummary(
            self.roots[rows], self.ratios[rows], self.slopes[rows], self.curvatures[rows], self.total_weights[rows]
        )


@dataclass(frozen=True, eq=False)
class Pool:
    """The simulated events of a channel, each with the values of the networks that have not seen it.

    Args:
        features: shape ``(N, d)``.
        samples: index of the sample each event belongs to, shape ``(N,)``.
        summary: its weights are not negative and add up to one in every sample.
        squares: the squared share that each event has in the yield of its sample, shape ``(N,)``. It is that of the
            original weights, which may be of either sign, and of all simulated events where the pool has some of them:
            in every sample the sum is one over the effective number of events. ``None`` is the square of the weights.
    """

    features: NDArray[np.float32]
    samples: NDArray[np.int64]
    summary: MixtureSummary
    squares: NDArray[np.float32] | None = None

    def of_sample(self, c: int, most: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return positions of about ``most`` events of a sample at most, and their squares, scaled to the sum of all.

        Args:
            c: index of the sample.
            most: how many there may be; they are taken evenly.
        """
        own = np.flatnonzero(self.samples == c)
        chosen = own[:: max(round(len(own) / most), 1)]
        every = self.summary.weights**2 if self.squares is None else self.squares
        squares = every[chosen].astype(np.float64)
        return chosen, squares * (every[own].sum(dtype=np.float64) / squares.sum())
