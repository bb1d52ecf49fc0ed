"""The document resolved: channels and samples with what they inherit, and the checks that a schema cannot do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neyman.events import EventSource
from neyman.exceptions import InvalidDocument
from neyman.inputs.channels import Channel, Contents, Kind, Sample, kind_of
from neyman.inputs.node import Node
from neyman.support.messages import did_you_mean

__all__ = ["Resolver", "measurement_of", "resolve"]


def __dir__() -> list[str]:
    return __all__


LUMI_SETTINGS = ("auxdata", "sigmas", "inits", "bounds")
OBSERVED_KEYS = ("tree", "selection")  # what data inherit from their channel: they have files and a weight of their own


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
    root = Node(document)
    channels = _by_name(root["channels"])
    observations = _by_name(root.get("observations", []))
    _by_name(root["measurements"])
    for name, entry in observations.items():
        if name not in channels:
            raise entry["name"].error(f"no channel {name!r}; {did_you_mean(name, channels)}")
    return {
        name: Resolver(entry, kind_of(entry), folder).channel(observations.get(name))
        for name, entry in channels.items()
    }


def measurement_of(document: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Return a measurement of a document, whose parameters exist and have the settings that pyhf needs.

    Args:
        document: a document that keeps the schema.
        name: its name; ``None`` is the first one.

    Raises:
        InvalidDocument: if there is no such measurement, no modifier has one of its parameters, or a ``lumi`` lacks
            settings.
    """
    measurements = {entry["name"].value: entry for entry in Node(document)["measurements"]}
    name = next(iter(measurements)) if name is None else name
    if name not in measurements:
        raise InvalidDocument(f"measurements: no measurement {name!r}; {did_you_mean(name, measurements)}")
    config = measurements[name]["config"]
    samples = [sample for channel in document["channels"] for sample in channel["samples"]]
    kinds = {modifier["name"]: modifier["type"] for sample in samples for modifier in sample.get("modifiers", [])}
    settings = _by_name(config["parameters"])
    poi = config["poi"]
    used = [entry["name"] for name, entry in settings.items() if name != "lumi"]  # which pyhf sets without need
    for parameter in [poi, *used] if poi.value else used:
        if parameter.value not in kinds:
            hint = did_you_mean(parameter.value, sorted(kinds))
            raise parameter.error(f"no modifier defines {parameter.value!r}; {hint}")
    for lumi in (name for name, kind in kinds.items() if kind == "lumi"):
        given = settings[lumi].value if lumi in settings else {}
        if missing := [key for key in LUMI_SETTINGS if key not in given]:
            raise settings.get(lumi, config["parameters"]).error(
                f"{lumi} needs {', '.join(missing)}, for which there is no default; write for example "
                f"{{name: {lumi}, auxdata: [1.0], sigmas: [0.02], inits: [1.0], bounds: [[0.5, 1.5]]}}"
            )
    measurement: dict[str, Any] = measurements[name].value
    return measurement


class Resolver:
    """Resolves the entries of one channel.

    Args:
        entry: the channel in the document.
        kind: its kind.
        folder: where relative paths start.
    """

    def __init__(self, entry: Node, kind: Kind, folder: Path) -> None:
        self.entry, self.kind, self.folder = entry, kind, folder
        self.events: Mapping[str, Any] = entry.get("events", {}).value

    def channel(self, observation: Node | None) -> Channel:
        """Return the channel, with the observation that the document has for it."""
        _by_name(self.entry["samples"])
        observed = {key: self.events[key] for key in OBSERVED_KEYS if key in self.events}
        return Channel(
            self.entry["name"].value,
            self.kind,
            tuple(self.sample(entry) for entry in self.entry["samples"]),
            None if observation is None else self.contents(observation, observed),
        )

    def sample(self, entry: Node) -> Sample:
        """Return a sample, with the sources of its variations."""
        contents = self.contents(entry, self.events)
        variations: dict[str, tuple[EventSource | None, EventSource | None]] = {}
        seen: set[tuple[str, str]] = set()
        modifiers = entry.get("modifiers", [])
        for modifier in modifiers:
            name, kind = modifier["name"].value, modifier["type"].value
            if (name, kind) in seen:
                raise modifier.error(f"the sample has the {kind} {name!r} twice; rename or merge them")
            seen.add((name, kind))
            self.kind.check_modifier(modifier, contents)
            if kind == "histosys" and self.kind.has_sources(modifier["data"]):
                variations[name] = self.variation(modifier, entry, contents)
        return Sample(entry["name"].value, str(entry), contents, modifiers.value, variations)

    def contents(self, entry: Node, inherited: Mapping[str, Any]) -> Contents:
        """Return the events or the bin contents of a sample or an observation."""
        self.kind.check_contents(entry)
        if "events" in entry:
            return self.source(entry["events"], inherited)
        return [float(value) for value in entry["data"].value]

    def variation(
        self, modifier: Node, sample: Node, nominal: Contents
    ) -> tuple[EventSource | None, EventSource | None]:
        """Return the sources of the two sides of a histosys; ``None`` is the nominal sample."""
        data, inherited = modifier["data"], (self.events, sample.get("events", {}).value)
        hi, lo = (self.source(data[side], *inherited) if data[side].value else nominal for side in ("hi", "lo"))
        sides = [side if isinstance(side, EventSource) and side != nominal else None for side in (hi, lo)]
        if sides == [None, None]:
            name = modifier["name"].value
            raise data.error(f"hi and lo are both the nominal sample, so that {name!r} has no effect")
        return sides[0], sides[1]

    def source(self, entry: Node, *inherited: Mapping[str, Any]) -> EventSource:
        """Return an event source, with what it does not name taken from what it inherits, the nearest last."""
        keys: dict[str, Any] = {}
        for level in (*inherited, entry.value):
            keys |= level
        for key in ("files", "tree"):
            if key not in keys:
                raise entry.error(f"the key {key!r} is missing, and there is none to inherit")
        files = [keys["files"]] if isinstance(keys["files"], str) else keys["files"]
        weight = keys.get("weight")
        return EventSource(
            files=tuple(file if "://" in file else str(self.folder / os.path.expanduser(file)) for file in files),
            tree=keys["tree"],
            weight=weight if weight is None else str(weight),
            selection=keys.get("selection"),
        )


def _by_name(entries: Node) -> dict[str, Node]:
    """Return the entries of a list by their names, which are unique."""
    found: dict[str, Node] = {}
    for entry in entries:
        name = entry["name"]
        if name.value in found:
            raise name.error(f"{name.value!r} is there twice; names are unique")
        found[name.value] = entry
    return found
