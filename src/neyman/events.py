"""What everything passes round: events, ensembles of them, where they come from, and the simulation of a channel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidEnsemble
from neyman.support.text import html_table

__all__ = [
    "ChannelSimulation",
    "Ensemble",
    "EventSource",
    "Events",
    "effective_events",
    "same_features",
    "size_warning",
]


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
        >>> from neyman.events import Events
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

    def __repr__(self) -> str:
        return f"Events({len(self)} events of {self.features.shape[1]} features, total weight {self.weights.sum():g})"

    def _repr_html_(self) -> str:
        header = ("feature", "lowest", "mean", "highest")
        rows = [
            (f"{number}", *(f"{value:.5g}" for value in (x.min(), x.mean(dtype=np.float64), x.max())))
            for number, x in enumerate(self.features.T)
            if len(self)
        ]
        return html_table(f"{len(self)} events of total weight {self.weights.sum():g}", header, rows)

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

    def _repr_html_(self) -> str:
        learned = [(name, f"{len(e)} events", f"{e.weights.sum():g}") for name, e in self.events.items()]
        binned = [(name, f"{len(n)} bins", f"{n.sum():g}") for name, n in self.counts.items()]
        auxdata = "nominal" if self.auxdata is None else ", ".join(f"{value:g}" for value in self.auxdata)
        return html_table(f"dataset, auxiliary data {auxdata}", ("channel", "data", "total"), learned + binned)


@dataclass(frozen=True)
class EventSource:
    """Where the events of a sample come from.

    Args:
        files: paths or globs of ROOT files.
        tree: the name of the TTree or RNTuple in each, with its folders: ``"folder/nominal"``.
        weight: an expression for the event weight; ``None`` means one each.
        selection: an expression that is true for the events to keep; ``None`` means all.
        aliases: names of expressions with the expressions, which all others may use.
        branches: names of branches or aliases with the expressions that stand in their place, as in a variation.
        entries: the first entry of each file's tree and the one after the last; ``None`` there means to the end, and
            in place of both every entry.

    Example:
        >>> EventSource(("signal_*.root",), "nominal", weight="w * pileup", selection="njet >= 2").tree
        'nominal'
    """

    files: tuple[str, ...]
    tree: str
    weight: str | None = None
    selection: str | None = None
    aliases: tuple[tuple[str, str], ...] = ()
    branches: tuple[tuple[str, str], ...] = ()
    entries: tuple[int, int | None] | None = None

    @property
    def unweighted(self) -> EventSource:
        """The same source without its weight; sources for which it is the same have the same events."""
        return dataclasses.replace(self, weight=None)


@dataclass(frozen=True)
class ChannelSimulation:
    """The simulated events of one learned channel.

    Args:
        channel: its name.
        features: the names, one per column of the events.
        samples: the nominal events of each sample, in the document's order.
        variations: by sample and parameter, the events at the parameter's values +1 (hi) and -1 (lo), with their own
            yield; ``None`` where that side is the nominal sample.
        mirrored: the pairs of a sample and a parameter whose side without events is the mirror image of the other.
        staterrors: by sample, the name of its ``staterror`` where the error is to be that of these events.
        calibration: by sample, the events of a separate simulation, for toys; empty where there is none.
    """

    channel: str
    features: tuple[str, ...]
    samples: Mapping[str, Events]
    variations: Mapping[str, Mapping[str, tuple[Events | None, Events | None]]]
    mirrored: frozenset[tuple[str, str]] = frozenset()
    staterrors: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, Events] = field(default_factory=dict)


def same_features(one: Events, other: Events) -> bool:
    """Return whether two sets are the same events in the same order, which differ at most in their weights.

    Example:
        >>> nominal = Events([[125.0], [91.2]])
        >>> same_features(nominal, Events(nominal.features, [1.1, 0.9])), same_features(nominal, Events([[125.0]]))
        (True, False)
    """
    return one.features is other.features or np.array_equal(one.features, other.features)


_TOLERATED_BIAS = 0.1  # in standard deviations


def effective_events(weights: NDArray[np.float64]) -> float:
    """Return how many events of weight one know as much: the squared sum of weights over the sum of squares.

    Example:
        >>> import numpy as np
        >>> effective_events(np.array([2.0, 2.0, 2.0]))
        3.0
    """
    return float(weights.sum() ** 2 / np.sum(weights**2))


def size_warning(expected: float, effective: float) -> str:
    """Say before a training what the size of a sample's simulation may cost, sqrt(expected / effective) sigma at most.

    A trained model knows what it does cost: see :mod:`neyman.inference.simulation`.

    Args:
        expected: events of the sample in the data.
        effective: its effective simulated events.

    Returns:
        The end of a sentence, or nothing where the cost is tolerable.

    Example:
        >>> size_warning(100.0, 2000.0)
        '2000 effective simulated events for 100 expected: expect a bias of up to about 0.22 sigma, simulate more'
        >>> size_warning(100.0, 1e6)
        ''
    """
    bias = math.sqrt(abs(expected) / effective)
    if bias <= _TOLERATED_BIAS:
        return ""
    return (
        f"{effective:.0f} effective simulated events for {expected:.4g} expected: "
        f"expect a bias of up to about {bias:.2f} sigma, simulate more"
    )
