"""The reading of a document's event sources: what is read is kept, and errors begin with the place in the document."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neyman.events import ChannelSimulation, Events, EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs import sources
from neyman.inputs.channels import Channel, Contents, Filled, Histogram, Learned, Rebinned, Sample
from neyman.inputs.document_file import line_of
from neyman.inputs.partitions import read_partitions
from neyman.inputs.signed import component, halves, wrong_yield

__all__ = ["Reading"]


def __dir__() -> list[str]:
    return __all__


class Reading:
    """What is read of the event sources of a document, each once.

    Args:
        channels: the channels of the document by name.
        progress: whether to draw bars on standard error while files are read.

    Attributes:
        path: the document's file, which messages begin with; ``None`` where it was read from none.
    """

    def __init__(self, channels: Mapping[str, Channel], *, progress: bool = False) -> None:
        self.channels = channels
        self.progress = progress
        self.path: Path | None = None
        self._events: dict[tuple[EventSource, tuple[str, ...]], Events] = {}
        self._halves: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._passing: dict[EventSource, list[int]] = {}

    def read(self, channel: Channel, source: EventSource, *, allow_empty: bool = False) -> Events:
        """Return the events of a source of a channel.

        Args:
            channel: the channel.
            source: one of its sources.
            allow_empty: whether there may be none.

        Raises:
            InvalidEvents: if the source cannot be read.
        """
        key = (source, channel.kind.expressions)
        events = self._events.get(key)
        if events is None or not (len(events) or allow_empty):
            [group] = [group for group in channel.groups if source in group]
            with self.placed(channel, source):
                found = sources.read_together(group, key[1], progress=self.progress, allow_empty=allow_empty)
            self._events |= {(one, key[1]): events for one, events in zip(group, found, strict=True)}
            events = self._events[key]
        return events

    def read_all(self, executor: Executor, *, progress: bool = False) -> None:
        """Read all event sources where the workers of an executor are; see :meth:`neyman.Workspace.read`."""
        wanted = [(channel, group) for channel in self.channels.values() for group in channel.groups]
        groups = [(group, channel.kind.expressions) for channel, group in wanted]
        groups_left = [number for number, (group, names) in enumerate(groups) if (group[0], names) not in self._events]
        try:
            chosen = [groups[number] for number in groups_left]
            for number, found in read_partitions(chosen, executor, progress=progress):
                group, names = chosen[number]
                self._events |= {(one, names): events for one, events in zip(group, found, strict=True)}
        except InvalidEvents as error:
            channel, group = wanted[groups_left[error.source]] if isinstance(error.source, int) else wanted[0]
            error.source = None
            with self.placed(channel, group[0]):
                raise

    def check(self, channels: Iterable[Channel]) -> None:
        """Evaluate every expression of some channels on the first events of every source.

        Raises:
            InvalidEvents: for the first source that cannot be read.
        """
        for channel in channels:
            for source, *others in channel.groups:
                with self.placed(channel, source):
                    sources.check(source, channel.kind.expressions, others)

    def passing(self, channel: Channel, source: EventSource, conditions: Sequence[str]) -> list[int]:
        """Return how many events a source has, and how many are left after each condition of its selection."""
        key = source.unweighted
        if key not in self._passing:
            with self.placed(channel, source):
                self._passing[key] = sources.passing(source, conditions)
        return self._passing[key]

    def counts(self, channel: Channel, observation: Contents) -> list[float]:
        """Return the observed contents of the bins of a channel."""
        if isinstance(observation, EventSource):
            return channel.kind.fill(self.read(channel, observation, allow_empty=True)).contents
        return list(observation)

    # -- samples

    def simulated(self, channel: Channel, source: EventSource, sample: Sample) -> Events:
        """Return the events of a sample, or of that half of it which it is in the model, in one of its sources.

        Args:
            channel: the channel.
            source: nominal, varied or of the separate simulation.
            sample: the sample.

        Raises:
            InvalidEvents: if the source cannot be read or, where it matters, has not the yield that it should have.
        """
        if isinstance(channel.kind, Filled) and not isinstance(channel.kind, Rebinned):
            return self.read(channel, source, allow_empty=True)  # as in pyhf, bins may be empty or negative
        assert isinstance(sample.contents, EventSource)
        nominal = self.read(channel, sample.contents)
        events = component(self.read(channel, source), nominal, sample.sign, self._halves)
        total, expected = float(events.weights.sum()), float(nominal.weights.sum())
        if expected < 0:  # which makes sense beside others
            nominals = {one.contents for one in channel.samples if isinstance(one.contents, EventSource)}
            everything = sum(float(self.read(channel, one).weights.sum()) for one in nominals)
        if wrong := wrong_yield(sample, total, expected, everything if expected < 0 else expected):
            with self.placed(channel, source):
                raise InvalidEvents(
                    f"the weights {source.weight or 1} of tree {source.tree!r} in {', '.join(source.files)} "
                    f"sum to {total:g}, but {wrong}; correct the weight or the selection"
                )
        return events

    def filled(self, channel: Channel, source: EventSource, sample: Sample) -> Histogram:
        """Return the same, filled into the bins of the channel."""
        return channel.kind.fill(self.simulated(channel, source, sample))

    def split(self, channel: Channel) -> Channel:
        """Return a channel with the samples that it has in the model: one of either sign is two there."""
        if not isinstance(channel.kind, Learned):
            return channel
        split: list[Sample] = []
        for sample in channel.samples:
            assert isinstance(sample.contents, EventSource)  # the document is checked
            split += halves(sample, self.simulated(channel, sample.contents, sample).weights)
        return dataclasses.replace(channel, samples=tuple(split))

    def separate(self, channel: Channel) -> dict[str, Events]:
        """Return the events of the separate simulation of a channel, by the samples that it has in the model."""
        separate = [(sample, sample.calibration) for sample in channel.samples if sample.calibration is not None]
        return {sample.name: self.simulated(channel, source, sample) for sample, source in separate}

    def simulation(self, channel: Channel, features: tuple[str, ...]) -> ChannelSimulation:
        """Return the simulated events of a learned channel; see :meth:`neyman.Workspace.simulation`.

        Args:
            channel: the channel.
            features: the names of its features.
        """
        chosen = self.split(channel)
        samples: dict[str, Events] = {}
        variations: dict[str, dict[str, tuple[Events | None, Events | None]]] = {}
        for sample in chosen.samples:
            assert isinstance(sample.contents, EventSource)  # the document is checked
            samples[sample.name] = self.simulated(chosen, sample.contents, sample)
            variations[sample.name] = {
                name: (
                    None if sides.hi is None else self.simulated(chosen, sides.hi, sample),
                    None if sides.lo is None else self.simulated(chosen, sides.lo, sample),
                )
                for name, sides in sample.variations.items()
            }
        mirrored = frozenset(
            (sample.name, name)
            for sample in chosen.samples
            for name, sides in sample.variations.items()
            if sides.mirrored
        )
        staterrors = {
            sample.name: modifier["name"]
            for sample in chosen.samples
            for modifier in sample.modifiers
            if modifier["type"] == "staterror" and modifier["data"] is None
        }
        calibration = self.separate(chosen)
        return ChannelSimulation(channel.name, features, samples, variations, mirrored, staterrors, calibration)

    # -- places

    @contextmanager
    def placed(self, channel: Channel, source: EventSource) -> Iterator[None]:
        """Begin the errors about an event source with its place in the document."""
        try:
            yield
        except InvalidEvents as error:
            blamed = error.source if isinstance(error.source, EventSource) else source
            what, place = channel.sources[blamed]
            raise InvalidEvents(f"{self._at(place.path)}{what}: {error}") from error

    def _at(self, key: tuple[str | int, ...]) -> str:
        """Return what errors about a key begin with: file and line, where the document was read from a file."""
        if self.path is None or not self.path.is_file():
            return ""
        line = line_of(self.path, key)
        return f"{self.path}{f', line {line}' if line else ''}: "
