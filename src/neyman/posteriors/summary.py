"""What a posterior keeps of a dataset: sums that add, so that an experiment that goes on encodes only what is new."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidEnsemble, Unsupported

__all__ = ["PosteriorSummary"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class PosteriorSummary:
    """A dataset as a posterior sees it, from ``posterior.encode(events)``; of a deep set, ``+`` joins two.

    Args:
        sums: sums over the events, the total weight last, shape ``(K,)``.
        posterior: the ``fingerprint`` of the posterior that made it.
        additive: whether the sums of two datasets together are the sums of both.
    """

    sums: NDArray[np.float64]
    posterior: str
    additive: bool = True

    @property
    def events(self) -> float:
        """The total weight of the events."""
        return float(self.sums[-1])

    def __add__(self, other: PosteriorSummary) -> PosteriorSummary:
        if self.posterior != other.posterior:
            raise InvalidEnsemble("summaries of different posteriors cannot be added: encode both with the same one")
        if not self.additive:
            raise Unsupported(
                "summaries of a transformer cannot be added, since each event has seen others of its dataset: "
                "encode the joint dataset"
            )
        return PosteriorSummary(self.sums + other.sums, self.posterior)

    def __repr__(self) -> str:
        return f"PosteriorSummary({self.events:g} events)"
