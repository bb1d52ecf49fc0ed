"""The document resolved: channels and samples with what they inherit, and the checks that a schema cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neyman.events import EventSource
from neyman.inputs.aliases import aliases_of, names_used
from neyman.inputs.channels import Channel, Contents, Kind, Learned, Sample, Sides, kind_of
from neyman.inputs.inheritance import event_source, merged
from neyman.inputs.node import Node
from neyman.networks.kinds import MIXTURE
from neyman.support.messages import did_you_mean

__all__ = ["Resolver", "resolve"]


def __dir__() -> list[str]:
    return __all__


SYMMETRIZE = ("symmetrize", {"symmetrize": True})
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
    aliases = aliases_of(root, {})
    channels = _by_name(root["channels"])
    observations = _by_name(root.get("observations", []))
    _by_name(root["measurements"])
    for name, entry in observations.items():
        if name not in channels:
            raise entry["name"].error(f"no channel {name!r}; {did_you_mean(name, channels)}")
    return {
        name: Resolver(entry, kind_of(entry), folder, aliases).channel(observations.get(name))
        for name, entry in channels.items()
    }


class Resolver:
    """Resolves the entries of one channel.

    Args:
        entry: the channel in the document.
        kind: its kind.
        folder: where relative paths start.
        aliases: the aliases of the document.
    """

    def __init__(self, entry: Node, kind: Kind, folder: Path, aliases: Mapping[str, str]) -> None:
        self.entry, self.kind, self.folder = entry, kind, folder
        self.aliases = aliases_of(entry, aliases)
        self.events = merged({}, entry.get("events", {}), narrows=True)

    def channel(self, observation: Node | None) -> Channel:
        """Return the channel, with the observation that the document has for it."""
        _by_name(self.entry["samples"])
        observed = {key: self.events[key] for key in OBSERVED_KEYS if key in self.events}
        samples = tuple(self.sample(entry) for entry in self.entry["samples"])
        without = [sample for sample in samples if sample.calibration is None]
        if 0 < len(without) < len(samples):
            raise without[0].place.error(
                f"the sample {without[0].name!r} has no calibration events, and others have: give every sample of the "
                "channel some, or the channel"
            )
        return Channel(
            self.entry["name"].value,
            self.kind,
            samples,
            None if observation is None else self.contents(observation, observed),
        )

    def sample(self, entry: Node) -> Sample:
        """Return a sample, with the sources of its variations."""
        contents = self.contents(entry, self.events)
        variations: dict[str, Sides] = {}
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
        signed = entry.get("signed", None).value
        if signed is not None and not (isinstance(contents, EventSource) and isinstance(self.kind, Learned)):
            raise entry["signed"].error("is for samples of events in a learned channel; bins may be negative anyway")
        calibration = self.calibration(entry, contents)
        return Sample(entry["name"].value, entry, contents, modifiers.value, variations, signed, 0, calibration)

    def calibration(self, entry: Node, contents: Contents) -> EventSource | None:
        """Return the separate simulation of a sample, if it or the channel has one."""
        places = [level["calibration"] for level in (self.entry, entry) if "calibration" in level]
        if not places:
            return None
        if not (isinstance(self.kind, Learned) and self.kind.network["kind"] == MIXTURE):
            raise places[-1].error("is for channels that a mixture learns, whose toys are of simulated events")
        assert isinstance(contents, EventSource)  # as those of every sample that is learned
        keys = merged(self.events, entry["events"], narrows=True)
        for place in places:
            keys = merged(keys, place["events"], narrows=True)
        source = event_source(keys, places[-1]["events"], self.folder, aliases_of(entry, self.aliases), {})
        if source.unweighted == contents.unweighted:
            raise places[-1].error(
                f"has the events that {entry['name'].value!r} is learned from; name other files, entries or a selection"
            )
        return source

    def contents(self, entry: Node, inherited: Mapping[str, Any]) -> Contents:
        """Return the events or the bin contents of a sample or an observation."""
        self.kind.check_contents(entry)
        aliases = aliases_of(entry, self.aliases)
        if "events" in entry:
            keys = merged(inherited, entry["events"], narrows=True)
            return event_source(keys, entry["events"], self.folder, aliases, {})
        if "aliases" in entry:
            raise entry["aliases"].error("aliases are for events, and these are lists; take them out")
        return [float(value) for value in entry["data"].value]

    def variation(self, modifier: Node, sample: Node, nominal: Contents) -> Sides:
        """Return the sources of the two sides of a histosys."""
        data, name = modifier["data"], modifier["name"].value
        mirrored = [side for side in ("hi", "lo") if "symmetrize" in data[side]]
        for side in mirrored:
            if data[side].value not in SYMMETRIZE:
                raise data[side].error("symmetrize makes this side from the other; take its other keys out")
        hi, lo = (self.side(data[side], sample, nominal) for side in ("hi", "lo"))
        if len(mirrored) > 1 or (hi is None and lo is None):
            why = "are each the mirror image of the other" if len(mirrored) > 1 else "are both the nominal sample"
            raise data.error(f"hi and lo {why}, so that {name!r} has no effect")
        return Sides(hi, lo, mirrored=bool(mirrored))

    def side(self, entry: Node, sample: Node, nominal: Contents) -> EventSource | None:
        """Return the source of one side of a histosys; ``None`` where it has none of its own."""
        if not entry.value or "symmetrize" in entry:
            return None
        aliases = aliases_of(sample, self.aliases)
        inherited = merged(self.events, sample.get("events", {}), narrows=True)
        keys = merged(inherited, entry, narrows=False)
        branches = {name: str(text) for name, text in entry.get("branches", {}).value.items()}
        source = event_source(keys, entry, self.folder, aliases, branches)
        texts = [*self.kind.expressions, *(text for text in (source.weight, source.selection) if text is not None)]
        used = names_used(texts, aliases)
        for name, text in branches.items():
            if name not in used:
                raise entry["branches"][name].error(
                    f"nothing in the channel uses {name!r}, so that replacing it has no effect; "
                    f"{did_you_mean(name, sorted(n for n in used if n.replace('.', '').isidentifier()))}"
                )
            if text.strip() == name:
                raise entry["branches"][name].error("stands for itself; write another branch or an expression")
        return None if source == nominal else source


def _by_name(entries: Node) -> dict[str, Node]:
    """Return the entries of a list by their names, which are unique."""
    found: dict[str, Node] = {}
    for entry in entries:
        name = entry["name"]
        if name.value in found:
            raise name.error(f"{name.value!r} is there twice; names are unique")
        found[name.value] = entry
    return found
