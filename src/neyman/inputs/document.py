"""The document resolved: channels and samples with what they inherit, and the checks that a schema cannot do."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from neyman.events import EventSource
from neyman.exceptions import InvalidDocument
from neyman.inputs.schema import place
from neyman.networks.options import SET_KINDS, set_options, training_options
from neyman.support.messages import did_you_mean

__all__ = ["NETWORKS", "Channel", "Contents", "Sample", "check_edges", "resolve"]


def __dir__() -> list[str]:
    return __all__


Contents: TypeAlias = "EventSource | list[float]"
"""What HistFactory has a list for: the contents of the bins, or the events to fill them with."""


NETWORKS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "mixture": training_options,
    **{kind: functools.partial(set_options, kind) for kind in SET_KINDS},
}
"""The kinds of network; each value checks the options beside ``kind`` and raises InvalidDocument."""


@dataclass(frozen=True)
class Sample:
    """One sample of one channel, with everything inherited filled in.

    Args:
        name: its name.
        where: the path of its key in the document.
        contents: its events, or its bin contents.
        modifiers: as written.
        variations: for each ``histosys`` with event sources its hi and lo; ``None`` is the nominal sample.
    """

    name: str
    where: str
    contents: Contents
    modifiers: list[dict[str, Any]]
    variations: dict[str, tuple[EventSource | None, EventSource | None]]


@dataclass(frozen=True)
class Channel:
    """One channel, with everything inherited filled in.

    Args:
        name: its name.
        where: the path of its key in the document.
        features: expressions of a learned channel; none for a binned one.
        network: options of a learned channel's network, with its kind.
        binning: variable and edges of a binned channel that event sources are filled into.
        samples: in the document's order.
        observation: the observed events or bin contents; ``None`` for a blind channel.
    """

    name: str
    where: str
    features: tuple[str, ...]
    network: dict[str, Any]
    binning: tuple[str, tuple[float, ...]] | None
    samples: tuple[Sample, ...]
    observation: Contents | None

    @property
    def bins(self) -> int:
        """How many bins the channel has in the inner HistFactory model."""
        if self.features:
            return 1
        contents = self.samples[0].contents
        return len(self.binning[1]) - 1 if self.binning else len(contents) if isinstance(contents, list) else 0

    @property
    def expressions(self) -> tuple[str, ...]:
        """What to read from the channel's event sources."""
        return self.features or ((self.binning[0],) if self.binning else ())


def resolve(document: Mapping[str, Any], folder: Path) -> dict[str, Channel]:
    """Fill in what event sources inherit and check what a schema cannot.

    Args:
        document: a document that keeps the schema.
        folder: where its relative paths start.

    Returns:
        The channels by name, in the document's order.

    Raises:
        InvalidDocument: naming the key that contradicts the rest of the document.
    """
    entries, observations = document["channels"], document.get("observations", [])
    _check_unique(entries, ["channels"])
    _check_unique(observations, ["observations"])
    _check_unique(document["measurements"], ["measurements"])
    names = [entry["name"] for entry in entries]
    observed: dict[str, tuple[list[str | int], Mapping[str, Any]]] = {}
    for i, entry in enumerate(observations):
        if entry["name"] not in names:
            raise _error(
                ["observations", i, "name"], f"no channel {entry['name']!r}; {did_you_mean(entry['name'], names)}"
            )
        observed[entry["name"]] = (["observations", i], entry)
    return {
        entry["name"]: _channel(entry, ["channels", i], observed.get(entry["name"]), folder)
        for i, entry in enumerate(entries)
    }


def check_edges(edges: Sequence[float], where: str) -> tuple[float, ...]:
    """Return the edges of bins, two or more that increase in the single precision of the events.

    Raises:
        InvalidDocument: if they do not.
    """
    values = np.asarray(edges, dtype=np.float32)
    if values.ndim != 1 or len(values) < 2 or not np.all(np.isfinite(values)) or np.any(np.diff(values) <= 0):
        raise InvalidDocument(f"{where}: must be two or more numbers that increase, in single precision too")
    return tuple(float(edge) for edge in edges)


def _channel(
    entry: Mapping[str, Any],
    path: list[str | int],
    observed: tuple[list[str | int], Mapping[str, Any]] | None,
    folder: Path,
) -> Channel:
    features, binning, defaults = tuple(entry.get("features", ())), None, entry.get("events", {})
    if features and "binning" in entry:
        raise _error([*path, "binning"], "a channel has features or a binning, not both; take one of them out")
    if len(set(features)) < len(features):
        raise _error([*path, "features"], "names an expression twice")
    if "network" in entry and not features:
        raise _error([*path, "network"], "only a channel with 'features' has a network; write them or take it out")
    if "binning" in entry:
        edges = check_edges(entry["binning"]["edges"], place([*path, "binning", "edges"]))
        binning = (entry["binning"]["variable"], edges)
    if defaults and not (features or binning):
        raise _error([*path, "events"], "a channel with events needs 'features' (learned) or 'binning' (binned)")
    network = _network(entry.get("network", {}), [*path, "network"]) if features else {}

    _check_unique(entry["samples"], [*path, "samples"])
    bins = 1 if features else len(binning[1]) - 1 if binning else len(entry["samples"][0].get("data", ()))
    samples = tuple(
        _sample(sample, [*path, "samples", i], defaults, folder, bins, learned=bool(features), filled=bool(binning))
        for i, sample in enumerate(entry["samples"])
    )
    observation = None
    if observed is not None:
        inherited = {key: defaults[key] for key in ("tree", "selection") if key in defaults}
        observation = _contents(
            observed[1], observed[0], inherited, folder, bins, learned=bool(features), filled=bool(binning)
        )
    return Channel(entry["name"], place(path), features, network, binning, samples, observation)


def _network(options: Mapping[str, Any], path: list[str | int]) -> dict[str, Any]:
    options = {"kind": "mixture", **options}
    kind = options["kind"]
    if kind not in NETWORKS:
        raise _error([*path, "kind"], f"no network of the kind {kind!r}; the kinds are {', '.join(NETWORKS)}")
    try:
        NETWORKS[kind]({key: value for key, value in options.items() if key != "kind"})
    except InvalidDocument as error:
        raise _error(path, str(error)) from None
    return options


def _sample(
    entry: Mapping[str, Any],
    path: list[str | int],
    defaults: Mapping[str, Any],
    folder: Path,
    bins: int,
    *,
    learned: bool,
    filled: bool,
) -> Sample:
    contents = _contents(entry, path, defaults, folder, bins, learned=learned, filled=filled)
    levels = [defaults, entry.get("events", {})]
    variations: dict[str, tuple[EventSource | None, EventSource | None]] = {}
    seen: set[tuple[str, str]] = set()
    modifiers = entry.get("modifiers", [])
    for i, modifier in enumerate(modifiers):
        here: list[str | int] = [*path, "modifiers", i, "data"]
        name, kind, data = modifier["name"], modifier["type"], modifier["data"]
        if (name, kind) in seen:
            raise _error([*path, "modifiers", i], f"the sample has the {kind} {name!r} twice; rename or merge them")
        seen.add((name, kind))
        if kind == "histosys":
            if _has_sources(data, here, allowed=learned or filled):
                hi, lo = (_variation(data[side], [*here, side], levels, contents, folder) for side in ("hi", "lo"))
                if hi is None and lo is None:
                    raise _error(here, f"hi and lo are both the nominal sample, so that {name!r} has no effect")
                variations[name] = (hi, lo)
            else:
                _check_length(data["hi_data"], bins, [*here, "hi_data"], learned)
                _check_length(data["lo_data"], bins, [*here, "lo_data"], learned)
        elif kind == "staterror" and data is None:
            if not isinstance(contents, EventSource):
                raise _error(here, "null is for samples with events; write a list of errors")
        elif kind in {"shapesys", "staterror"}:
            _check_length(data, bins, here, learned)
        elif kind == "normsys" and learned and min(data["hi"], data["lo"]) <= 0:
            raise _error(here, "hi and lo are factors on the yield and must be positive")
    return Sample(entry["name"], place(path), contents, modifiers, variations)


def _contents(
    entry: Mapping[str, Any],
    path: list[str | int],
    defaults: Mapping[str, Any],
    folder: Path,
    bins: int,
    *,
    learned: bool,
    filled: bool,
) -> Contents:
    """Return the events or bin contents of a sample or an observation."""
    if "events" in entry and "data" in entry:
        raise _error(path, "has both 'events' and 'data'; take one of them out")
    if learned and "events" not in entry:
        raise _error(path, "a learned channel needs 'events' here; write `events: {}` to take the channel's own")
    if "events" in entry:
        if not (learned or filled):
            raise _error([*path, "events"], "the channel needs 'features' (learned) or 'binning' (binned) for events")
        return _source([*path, "events"], [defaults, entry["events"]], folder)
    if "data" not in entry:
        raise _error(path, "the key 'data' is missing" + (", or 'events'" if filled else ""))
    _check_length(entry["data"], bins, [*path, "data"], learned)
    return [float(value) for value in entry["data"]]


def _has_sources(data: Mapping[str, Any], path: list[str | int], *, allowed: bool) -> bool:
    """Tell whether a histosys has event sources, and make sure that both of its sides are there."""
    sources = [key for key in ("hi", "lo") if key in data]
    lists = [key for key in ("hi_data", "lo_data") if key in data]
    if sources and lists:
        raise _error(path, "has event sources and lists; write hi and lo, or hi_data and lo_data")
    if sources and not allowed:
        raise _error([*path, sources[0]], "the channel needs 'features' (learned) or 'binning' (binned) for events")
    if len(sources) == 1:
        other = "lo" if sources == ["hi"] else "hi"
        raise _error(path, f"the key {other!r} is missing; write `{other}: {{}}` for a one-sided histosys")
    if not sources and len(lists) < 2:
        missing = [key for key in ("hi_data", "lo_data") if key not in data]
        either = ", or hi and lo with event sources" if allowed and not lists else ""
        raise _error(path, f"the key {missing[0]!r} is missing; a histosys needs hi_data and lo_data{either}")
    return bool(sources)


def _variation(
    side: Mapping[str, Any],
    path: list[str | int],
    levels: Sequence[Mapping[str, Any]],
    nominal: Contents,
    folder: Path,
) -> EventSource | None:
    if not side:
        return None
    source = _source(path, [*levels, side], folder)
    return None if source == nominal else source


def _source(path: list[str | int], levels: Iterable[Mapping[str, Any]], folder: Path) -> EventSource:
    merged: dict[str, Any] = {}
    for level in levels:
        merged |= level
    for key in ("files", "tree"):
        if key not in merged:
            raise _error(path, f"the key {key!r} is missing, and there is none to inherit")
    files = [merged["files"]] if isinstance(merged["files"], str) else merged["files"]
    weight = merged.get("weight")
    return EventSource(
        files=tuple(file if "://" in file else str(folder / os.path.expanduser(file)) for file in files),
        tree=merged["tree"],
        weight=weight if weight is None else str(weight),
        selection=merged.get("selection"),
    )


def _check_length(values: Sequence[float], bins: int, path: list[str | int], learned: bool) -> None:
    if len(values) != bins:
        why = "a learned channel is one bin here" if learned else f"the channel has {bins} bins"
        raise _error(path, f"the length is {len(values)}, but {why}")


def _check_unique(entries: Iterable[Mapping[str, Any]], path: list[str | int]) -> None:
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        if entry["name"] in seen:
            raise _error([*path, i, "name"], f"{entry['name']!r} is there twice; names are unique")
        seen.add(entry["name"])


def _error(path: Iterable[str | int], what: str) -> InvalidDocument:
    return InvalidDocument(f"{place(path)}: {what}")
