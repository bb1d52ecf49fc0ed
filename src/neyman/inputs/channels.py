"""The kinds of channel: learned from events, filled with events, or given as bin contents.

A kind says which keys a channel of it has, what may stand where HistFactory has bin contents, and what events become
in HistFactory, by the methods of :class:`Kind`; another kind is another class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from neyman.events import Events, EventSource
from neyman.exceptions import InvalidDocument
from neyman.inputs.node import Node
from neyman.networks import kinds
from neyman.networks.kinds import MIXTURE, check_options

__all__ = [
    "Channel",
    "Contents",
    "Filled",
    "Given",
    "Histogram",
    "Kind",
    "Learned",
    "Rebinned",
    "Sample",
    "Sides",
    "kind_of",
]


def __dir__() -> list[str]:
    return __all__


Contents: TypeAlias = "EventSource | list[float]"
"""What HistFactory has a list for: the contents of the bins, or the events to fill them with."""

NO_EVENTS = "the channel needs 'features' (learned) or 'binning' (binned) for events"


@dataclass(frozen=True)
class Histogram:
    """What events become in the bins of a channel.

    Args:
        contents: the sum of weights in each bin.
        errors: the root of the sum of squared weights in each bin.
        total: the sum of all weights, also of events outside the bins.
    """

    contents: list[float]
    errors: list[float]
    total: float

    def mirrored(self, other: Histogram) -> Histogram:
        """Return what is as far below this as another is above."""
        below = (2 * np.asarray(self.contents) - other.contents).tolist()
        return Histogram(below, other.errors, 2 * self.total - other.total)


@dataclass(frozen=True)
class Kind(ABC):
    """What the data of a channel are; here is what the kinds have in common.

    Args:
        bins: the number of bins in the inner HistFactory model.
        expressions: what is read from event sources; none where there are none.
    """

    bins: int
    expressions: tuple[str, ...]

    has_lists: ClassVar[bool] = True  # whether bin contents may be given as lists

    def __str__(self) -> str:
        return f"{self.bins} bins"

    @property
    def description(self) -> str:
        """The size of a dataset and, where there are any, the expressions."""
        return f"{self}: {', '.join(self.expressions)}" if self.expressions else str(self)

    @classmethod
    @abstractmethod
    def of(cls, entry: Node) -> Self:
        """Return the kind of a channel with such keys."""

    @abstractmethod
    def fill(self, events: Events) -> Histogram:
        """Fill events, of which :attr:`expressions` were read, into the bins."""

    def check_contents(self, entry: Node) -> None:
        """Check what the bin contents of a sample or an observation are given by, its ``events`` or its ``data``."""
        if "events" in entry and "data" in entry:
            raise entry.error("has both 'events' and 'data'; take one of them out")
        if "events" in entry and not self.expressions:
            raise entry["events"].error(NO_EVENTS)
        if "data" in entry and self.has_lists:
            self.check_length(entry["data"])
        elif "events" not in entry:
            raise entry.error(self._missing())

    def check_modifier(self, modifier: Node, contents: Contents) -> None:
        """Check the lists of a modifier of a sample with these contents."""
        data = modifier.get("data")
        match modifier.value["type"]:
            case "histosys" if not self.has_sources(data):
                self.check_length(data["hi_data"])
                self.check_length(data["lo_data"])
            case "staterror" if data.value is None:
                if not isinstance(contents, EventSource):
                    raise data.error("null is for samples with events; write a list of errors")
            case "shapesys" | "staterror":
                self.check_length(data)

    def has_sources(self, data: Node) -> bool:
        """Tell whether a histosys has event sources, and make sure that both of its sides are there."""
        sources = [key for key in ("hi", "lo") if key in data]
        lists = [key for key in ("hi_data", "lo_data") if key in data]
        if sources and lists:
            raise data.error("has event sources and lists; write hi and lo, or hi_data and lo_data")
        if sources and not self.expressions:
            raise data[sources[0]].error(NO_EVENTS)
        if len(sources) == 1:
            other = "lo" if sources == ["hi"] else "hi"
            raise data.error(
                f"the key {other!r} is missing; write `{other}: {{}}` for a one-sided histosys, "
                f"`{other}: symmetrize` for the mirror image"
            )
        if not sources and len(lists) < 2:
            missing = next(key for key in ("hi_data", "lo_data") if key not in data)
            either = ", or hi and lo with event sources" if self.expressions and not lists else ""
            raise data.error(f"the key {missing!r} is missing; a histosys needs hi_data and lo_data{either}")
        return bool(sources)

    def check_length(self, data: Node) -> None:
        """Check that a list has a number for each bin."""
        if len(data.value) != self.bins:
            raise data.error(f"the length is {len(data.value)}, but the channel has {self.bins} bins")

    def varied(self, nominal: Histogram, hi: Histogram, lo: Histogram) -> tuple[str, Any]:
        """Return type and data of the modifier that a histosys with event sources becomes."""
        return "histosys", {"hi_data": hi.contents, "lo_data": lo.contents}

    def listed(self, kind: str, data: Any, nominal: Histogram) -> Any:
        """Return the data of a modifier of the inner model, from those written as lists."""
        return data

    def _missing(self) -> str:
        return "the key 'data' is missing" + (", or 'events'" if self.expressions else "")


@dataclass(frozen=True)
class Learned(Kind):
    """Data that are events, whose likelihood a network learns: one bin of the inner model.

    Args:
        network: options of the network, with its kind.
        names: of the features, as plots and messages show them.
    """

    network: dict[str, Any]
    names: tuple[str, ...]

    has_lists = False

    def __str__(self) -> str:
        return f"{len(self.expressions)} features"

    @property
    def description(self) -> str:
        """The number of the features, and their names."""
        return f"{self}: {', '.join(self.names)}"

    @classmethod
    def of(cls, entry: Node) -> Self:
        """Return the kind of a channel with ``features``."""
        written = entry["features"].value
        names = tuple(written)
        features = tuple(written.values()) if isinstance(written, dict) else names
        if "binning" in entry:
            raise entry["binning"].error("a channel has features or a binning, not both; take one of them out")
        if len(set(features)) < len(features):
            raise entry["features"].error("names an expression twice")
        network = entry.get("network", {})
        options = {"kind": MIXTURE, **network.value}
        kind, known = options["kind"], [MIXTURE, *kinds.names()]
        if kind not in known:
            raise network.get("kind").error(f"no network of the kind {kind!r}; the kinds are {', '.join(known)}")
        try:
            check_options(options)
        except InvalidDocument as error:
            raise network.error(str(error)) from None
        return cls(1, features, options, names)

    def check_modifier(self, modifier: Node, contents: Contents) -> None:
        """Check the lists of a modifier, and that the factors of a normsys are positive."""
        super().check_modifier(modifier, contents)
        data = modifier.get("data")
        if modifier.value["type"] == "normsys" and min(data.value["hi"], data.value["lo"]) <= 0:
            raise data.error("hi and lo are factors on the yield and must be positive")

    def check_length(self, data: Node) -> None:
        """Check that a list has one number."""
        if len(data.value) != 1:
            raise data.error(f"the length is {len(data.value)}, but a learned channel is one bin here")

    def fill(self, events: Events) -> Histogram:
        """Fill all events into the one bin."""
        w = events.weights
        total = float(w.sum())
        return Histogram([total], [float(np.sqrt(np.sum(w**2)))], total)

    def varied(self, nominal: Histogram, hi: Histogram, lo: Histogram) -> tuple[str, Any]:
        """Return the effect of a histosys on the yield, a normsys."""
        return "normsys", {"hi": hi.total / nominal.total, "lo": lo.total / nominal.total}

    def _missing(self) -> str:
        return "a learned channel needs 'events' here; write `events: {}` to take the channel's own"


@dataclass(frozen=True)
class Filled(Kind):
    """Data that are bin contents, given or filled with events.

    Args:
        edges: of the bins, which include their lower edge.
    """

    edges: tuple[float, ...]

    @classmethod
    def of(cls, entry: Node) -> Self:
        """Return the kind of a channel with a ``binning``."""
        binning = entry["binning"]
        return cls.with_edges(
            binning["variable"].value, binning["edges"].value, str(binning["edges"]), binning["edges"].path
        )

    @classmethod
    def with_edges(cls, variable: str, edges: Sequence[float], where: str, key: tuple[str | int, ...] = ()) -> Self:
        """Return bins whose edges are two or more numbers that increase in the single precision of the events.

        Raises:
            InvalidDocument: if they do not; it says where.
        """
        values = np.asarray(edges, dtype=np.float32)
        if values.ndim != 1 or len(values) < 2 or not np.all(np.isfinite(values)) or np.any(np.diff(values) <= 0):
            message = f"{where}: must be two or more numbers that increase, in single precision too"
            raise InvalidDocument(message, key)
        return cls(len(edges) - 1, (variable,), tuple(float(edge) for edge in edges))

    def fill(self, events: Events) -> Histogram:
        """Fill the events into the bins; what is below the first or not below the last is left out."""
        w = events.weights
        edges = np.asarray(self.edges, dtype=np.float32)  # an edge and a feature of the same value stay equal
        b = np.searchsorted(edges, events.features[:, 0], side="right")
        contents, squares = (np.bincount(b, v, minlength=len(edges) + 1)[1:-1] for v in (w, w**2))
        return Histogram(contents.tolist(), np.sqrt(squares).tolist(), float(w.sum()))


@dataclass(frozen=True)
class Rebinned(Filled):
    """A learned channel seen in bins, which share what the document has as one number for the channel."""

    def listed(self, kind: str, data: Any, nominal: Histogram) -> Any:
        """Share a histosys in proportion to the contents, a shapesys or staterror in quadrature."""
        if kind == "histosys":
            return {key: [value * n / nominal.total for n in nominal.contents] for key, (value,) in data.items()}
        return [data[0] * float(np.sqrt(max(n / nominal.total, 0.0))) for n in nominal.contents]


@dataclass(frozen=True)
class Given(Kind):
    """Data that are given as bin contents everywhere, as in pyhf."""

    @classmethod
    def of(cls, entry: Node) -> Self:
        """Return the kind of a channel with neither ``features`` nor a ``binning``."""
        if entry.get("events", {}).value:
            raise entry["events"].error("a channel with events needs 'features' (learned) or 'binning' (binned)")
        return cls(len(entry["samples"][0].get("data", ()).value), ())

    def fill(self, events: Events) -> Histogram:
        """Refuse events, which no key of the channel leads to."""
        raise TypeError("bin contents that are given cannot be filled with events")


def kind_of(entry: Node) -> Kind:
    """Return the kind of a channel from its keys."""
    if "features" in entry:
        return Learned.of(entry)
    if "network" in entry:
        raise entry["network"].error("only a channel with 'features' has a network; write them or take it out")
    return Filled.of(entry) if "binning" in entry else Given.of(entry)


@dataclass(frozen=True)
class Sides:
    """The two sides of a ``histosys`` with event sources.

    Args:
        hi: the events at +1; ``None`` is the nominal sample.
        lo: the events at -1; ``None`` is the nominal sample.
        mirrored: whether the side that is ``None`` is the mirror image of the other instead.
    """

    hi: EventSource | None
    lo: EventSource | None
    mirrored: bool = False

    def __iter__(self) -> Iterator[EventSource | None]:
        return iter((self.hi, self.lo))


@dataclass(frozen=True)
class Sample:
    """One sample of one channel, with everything inherited filled in.

    Args:
        name: its name.
        place: where it stands in the document.
        contents: its events, or its bin contents.
        modifiers: as written.
        variations: the sides of each ``histosys`` with event sources.
        signed: whether its density may have either sign; ``None`` where the document does not say.
        sign: that of the weights of its events, where it is half of such a sample; else zero.
        calibration: the events of a separate simulation, for toys; ``None`` where there is none.
    """

    name: str
    place: Node
    contents: Contents
    modifiers: list[dict[str, Any]]
    variations: dict[str, Sides]
    signed: bool | None = None
    sign: int = 0
    calibration: EventSource | None = None


@dataclass(frozen=True)
class Channel:
    """One channel, with everything inherited filled in.

    Args:
        name: its name.
        kind: what its data are.
        samples: in the document's order.
        observation: the observed events or bin contents; ``None`` for a blind channel.
    """

    name: str
    kind: Kind
    samples: tuple[Sample, ...]
    observation: Contents | None

    @property
    def sources(self) -> dict[EventSource, tuple[str, Node]]:
        """Every event source, each once: what it is for the first time, and where that stands in the document."""
        found: dict[EventSource, tuple[str, Node]] = {}
        for sample in self.samples:
            if isinstance(sample.contents, EventSource):
                found.setdefault(sample.contents, (f"{sample.place} ({sample.name!r})", sample.place["events"]))
            for modifier in sample.place.get("modifiers", []):
                name = modifier["name"].value
                sides = sample.variations.get(name) if modifier["type"].value == "histosys" else None
                for key, side in zip(("hi", "lo"), sides or (), strict=False):
                    if side is not None:
                        what = f"{sample.place} ({sample.name!r}, {name!r} {key})"
                        found.setdefault(side, (what, modifier["data"][key]))
            if sample.calibration is not None:
                place = sample.place["calibration" if "calibration" in sample.place else "events"]
                found.setdefault(sample.calibration, (f"{sample.place} ({sample.name!r}, calibration)", place))
        if isinstance(self.observation, EventSource):
            observations = Node(None, ("observations",))
            found.setdefault(self.observation, (f"{observations} ({self.name!r})", observations))
        return found

    @property
    def groups(self) -> list[list[EventSource]]:
        """The event sources, those together that differ in their weight alone and are read in one pass."""
        found: dict[EventSource, list[EventSource]] = {}
        for source in self.sources:
            found.setdefault(source.unweighted, []).append(source)
        return list(found.values())
