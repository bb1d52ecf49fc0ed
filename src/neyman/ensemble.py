"""Ensembles: the events and weights of each learned channel, the counts of each binned one, the auxiliary data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidEnsemble

__all__ = ["Ensemble", "Events"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class Events:
    """The events of one channel.

    Args:
        features: shape ``(N, d)``, one row per event; held as float32.
        weights: shape ``(N,)``, of either sign; held as float64. ``None`` means one each.

    Raises:
        InvalidEnsemble: if the shapes disagree.

    Example:
        >>> from neyman.ensemble import Events
        >>> events = Events([[125.0, 0.3], [91.2, 1.4]])
        >>> len(events), events.weights.sum()
        (2, np.float64(2.0))
    """

    features: NDArray[np.float32]
    weights: NDArray[np.float64]

    def __init__(self, features: ArrayLike, weights: ArrayLike | None = None) -> None:
        x = np.asarray(features, dtype=np.float32)
        if x.ndim != 2:
            raise InvalidEnsemble(f"features must have shape (events, features), not {x.shape}")
        w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
        if w.shape != (len(x),):
            raise InvalidEnsemble(f"{len(x)} events need as many weights, not an array of shape {w.shape}")
        object.__setattr__(self, "features", x)
        object.__setattr__(self, "weights", w)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: slice | NDArray[np.intp] | NDArray[np.bool_]) -> Events:
        return Events(self.features[index], self.weights[index])

    def __add__(self, other: Events) -> Events:
        return Events(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.weights, other.weights]),
        )


@dataclass(frozen=True, eq=False)
class Ensemble:
    """One dataset: observed, a toy, or Asimov.

    Args:
        events: the events of every learned channel, by channel name.
        counts: the bin contents of every binned channel, by channel name.
        auxdata: the auxiliary data in pyhf's order; ``None`` stands for the model's nominal ones.

    Example:
        >>> from neyman import Ensemble, Events
        >>> Ensemble({"SR": Events([[125.0], [91.2]])}, counts={"CR": [62.0, 48.0]})
        Ensemble(SR: 2 events of total weight 2, CR: 2 bins of total 110)
    """

    events: Mapping[str, Events] = field(default_factory=dict)
    counts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    auxdata: NDArray[np.float64] | None = None

    def __init__(
        self,
        events: Mapping[str, Events] | None = None,
        counts: Mapping[str, ArrayLike] | None = None,
        auxdata: ArrayLike | None = None,
    ) -> None:
        counts = {name: np.asarray(values, dtype=np.float64) for name, values in (counts or {}).items()}
        object.__setattr__(self, "events", dict(events or {}))
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "auxdata", None if auxdata is None else np.asarray(auxdata, dtype=np.float64))

    def __repr__(self) -> str:
        learned = [f"{name}: {len(e)} events of total weight {e.weights.sum():g}" for name, e in self.events.items()]
        binned = [f"{name}: {len(n)} bins of total {n.sum():g}" for name, n in self.counts.items()]
        return f"Ensemble({', '.join(learned + binned)})"
