"""The workspace: what a document says, as simulated and observed events and as HistFactory specifications."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pyhf

from neyman.events import ChannelSimulation, Ensemble, EventSource
from neyman.exceptions import InvalidDocument
from neyman.inputs import files
from neyman.inputs.channels import Channel, Contents, Learned, Rebinned
from neyman.inputs.cutflow import Cutflow
from neyman.inputs.cutflow_rows import cutflow
from neyman.inputs.document import resolve
from neyman.inputs.document_file import line_of, read_file
from neyman.inputs.histfactory import histfactory, ones
from neyman.inputs.places import is_url
from neyman.inputs.pyhf_options import check_start
from neyman.inputs.reading import Reading
from neyman.inputs.schema import normalise
from neyman.inputs.settings import measurement_of
from neyman.inputs.specifications import binned_workspace, check_modifiers, inner
from neyman.support.messages import did_you_mean
from neyman.support.text import html_table

__all__ = ["Workspace"]


def __dir__() -> list[str]:
    return __all__


class Workspace:
    """An analysis: its document, and the events it names.

    A document is a pyhf workspace in which event sources may stand for bin contents. Files are read when they are
    needed and once only.

    Args:
        document: the document.
        folder: where its relative paths start.
        measurement: the name of the measurement; the first one by default.
        progress: whether to draw bars on standard error while files are read.

    Raises:
        InvalidDocument: if the document breaks its schema or contradicts itself; the message names the key.

    Example:
        >>> import neyman
        >>> from neyman.inputs.workspace import Workspace
        >>> workspace = Workspace({
        ...     "version": "1.0.0",
        ...     "channels": [{"name": "CR", "samples": [{"name": "background", "data": [60.0, 50.0], "modifiers": [
        ...         {"name": "mu", "type": "normfactor", "data": None}]}]}],
        ...     "observations": [{"name": "CR", "data": [62.0, 48.0]}],
        ...     "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
        ... })
        >>> workspace.observed()
        Ensemble(CR: 2 bins of total 110)
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        folder: str | Path = ".",
        measurement: str | None = None,
        *,
        progress: bool = False,
    ) -> None:
        self.document: dict[str, Any] = normalise(document)
        self.folder = Path(folder)
        self._channels = resolve(self.document, self.folder)
        self._measurement = measurement_of(self.document, measurement, self._channels)
        self._reading = Reading(self._channels, progress=progress)

    @classmethod
    def load(cls, path: str | Path, measurement: str | None = None, *, progress: bool = False) -> Workspace:
        """Read a document from a YAML or JSON file; its paths are relative to that file.

        Args:
            path: the file; the suffix ``.json`` means JSON, any other YAML.
            measurement: the name of the measurement; the first one by default.
            progress: whether to draw bars on standard error while files are read.

        Raises:
            InvalidDocument: if the file cannot be read or the document is invalid; the message names file and key.
        """
        document = read_file(path)
        try:
            workspace = cls(document, Path(path).parent, measurement, progress=progress)
        except InvalidDocument as error:
            line = line_of(path, error.key)
            raise InvalidDocument(f"{path}{f', line {line}' if line else ''}: {error}", error.key) from None
        workspace._reading.path = Path(path)
        return workspace

    def __repr__(self) -> str:
        channels = ", ".join(f"{name}: {channel.kind}" for name, channel in self._channels.items())
        return f"Workspace({channels})"

    def _repr_html_(self) -> str:
        caption = f"workspace, measurement {self.measurement}, parameter of interest {self.poi_name or 'none'}"
        rows = (
            (
                name,
                channel.kind.description,
                ", ".join(sample.name for sample in channel.samples),
                ", ".join(dict.fromkeys(m["name"] for sample in channel.samples for m in sample.modifiers)),
                _observed(channel.observation),
            )
            for name, channel in self._channels.items()
        )
        return html_table(caption, ("channel", "data", "samples", "parameters", "observed"), rows)

    @property
    def progress(self) -> bool:
        """Whether bars are drawn on standard error while files are read."""
        return self._reading.progress

    @progress.setter
    def progress(self, progress: bool) -> None:
        self._reading.progress = progress

    @property
    def channels(self) -> list[str]:
        """The names of all channels, in the document's order."""
        return list(self._channels)

    @property
    def learned(self) -> list[str]:
        """The names of the learned channels, those with features."""
        return [name for name, channel in self._channels.items() if isinstance(channel.kind, Learned)]

    @property
    def measurement(self) -> str:
        """The name of the measurement."""
        return str(self._measurement["name"])

    @property
    def poi_name(self) -> str | None:
        """The parameter of interest; ``None`` where the measurement has an empty one."""
        return self._measurement["config"]["poi"] or None

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """The measurement's settings of parameters, as pyhf takes them."""
        return copy.deepcopy(self._measurement["config"]["parameters"])

    def features(self, channel: str) -> list[str]:
        """Return the names of the features of a learned channel: its expressions, where they have no names."""
        return list(self._learned(channel)[1].names)

    def network(self, channel: str) -> dict[str, Any]:
        """Return the network options of a learned channel as written, with the default for ``kind``."""
        return copy.deepcopy(self._learned(channel)[1].network)

    @property
    def has_observations(self) -> bool:
        """Whether every channel has an observation, so that :meth:`observed` gives a dataset."""
        return all(channel.observation is not None for channel in self._channels.values())

    def with_data(self, path: str | Path) -> Workspace:
        """Return the same analysis with all observed events taken from another file.

        Tree, selection and aliases of each channel's observation stay; a blind channel takes those of its own events.

        Args:
            path: a file of events or a glob, relative to the working directory, or a URL.

        Raises:
            InvalidDocument: if a channel is a list of bin contents, which no file can give.
        """
        document = copy.deepcopy(self.document)
        observations = {entry["name"]: entry for entry in document.get("observations", [])}
        for name, channel in self._channels.items():
            if not channel.kind.expressions or isinstance(channel.observation, list):
                raise InvalidDocument(
                    f"{path}: channel {name!r} is not observed in events; write a document with its observation instead"
                )
            entry = observations.setdefault(name, {"name": name, "events": {}})
            entry["events"]["files"] = [str(path) if is_url(str(path)) else str(Path(path).absolute())]
            entry["events"].pop("entries", None)  # which were those of other files
        document["observations"] = list(observations.values())
        return Workspace(document, self.folder, self.measurement, progress=self.progress)

    def simulation(self, channel: str) -> ChannelSimulation:
        """Return the simulated events of a learned channel.

        Args:
            channel: its name.

        Raises:
            InvalidEvents: if a source cannot be read or its weights do not sum to a positive yield.
            InvalidDocument: if there is no such learned channel.
        """
        chosen, kind = self._learned(channel)
        return self._reading.simulation(chosen, kind.names)

    def spec(self) -> dict[str, Any]:
        """Return the inner HistFactory specification, that of a ``pyhf.Model``.

        A learned channel is one bin there, the sum of weights of each sample. A ``histosys`` with event sources is
        its effect on the yield, a ``normsys``; one that leaves the yield alone keeps its parameter by a ``normsys``
        with hi = lo = 1. A sample whose density has either sign is two there, its events of positive and those of
        negative weight, with the same modifiers; see :func:`neyman.inputs.signed.halves`.

        Returns:
            The keys ``channels`` and ``parameters``, and ``bindings`` if the document has them.

        Raises:
            InvalidEvents: if a source cannot be read or its weights do not sum to a positive yield.
        """
        channels = [
            histfactory(self._reading.split(channel), self._reading.filled) for channel in self._channels.values()
        ]
        return inner(self.document, self._measurement, channels)

    def simulation_errors(self) -> dict[str, dict[str, list[float]]]:
        """Return of every binned channel that is filled with simulated events the errors of their finite number.

        Returns:
            By channel and sample, the root of the sum of squared weights in each bin.

        Raises:
            InvalidEvents: if a source cannot be read.
        """
        errors = {
            name: {
                sample.name: self._reading.filled(channel, sample.contents, sample).errors
                for sample in channel.samples
                if isinstance(sample.contents, EventSource)
            }
            for name, channel in self._channels.items()
            if name not in self.learned
        }
        return {name: samples for name, samples in errors.items() if samples}

    def observed(self) -> Ensemble:
        """Return the observed dataset: events of learned channels, counts of binned ones.

        Raises:
            InvalidDocument: if a channel has no observation.
            InvalidEvents: if a source cannot be read.
        """
        events = {
            name: self._reading.read(self._channels[name], source, allow_empty=True)
            for name, (source, _) in self.observed_sources().items()
        }
        return Ensemble(events, self.observed_counts())

    def observed_sources(self) -> dict[str, tuple[EventSource, tuple[str, ...]]]:
        """Return where the observed events of every learned channel are, and the expressions of its features.

        Raises:
            InvalidDocument: if a channel has no observation.
        """
        found = {}
        for name, channel in self._channels.items():
            if channel.observation is None:
                raise InvalidDocument(f"observations: channel {name!r} is blind; add an observation of that name")
            if isinstance(channel.kind, Learned) and isinstance(channel.observation, EventSource):
                found[name] = (channel.observation, channel.kind.expressions)
        return found

    def observed_counts(self) -> dict[str, list[float]]:
        """Return the observed contents of the binned channels, for those that have an observation.

        Raises:
            InvalidEvents: if a source cannot be read.
        """
        return {
            name: self._reading.counts(channel, channel.observation)
            for name, channel in self._channels.items()
            if channel.observation is not None and not isinstance(channel.kind, Learned)
        }

    def read(self, executor: Executor, *, progress: bool = False) -> None:
        """Read all event sources where the workers of an executor are, and keep them: what is asked for then is here.

        A file is read in partitions, each a task. Only the selected features and the weights travel, to this process.

        Args:
            executor: any :class:`concurrent.futures.Executor`, whose workers see the files under the same paths.
            progress: whether to show a progress bar on standard error.

        Raises:
            InvalidEvents: if a source cannot be read; the message names the worker, too.
        """
        self._reading.read_all(executor, progress=progress)

    def binned(
        self, binnings: Mapping[str, tuple[str, Sequence[float]]] | None = None, *, staterror: bool = False
    ) -> pyhf.Workspace:
        """Return the ordinary pyhf workspace of the same analysis, the one that would have been made without learning.

        What stands as one number on a learned channel is shared by the bins: a ``histosys`` in proportion to their
        contents, a ``shapesys`` or ``staterror`` in quadrature, so that the error of the total stays.

        Args:
            binnings: for every learned channel, the variable (the name of a feature, an alias, or any expression) and
                the edges of the bins. Bins include their lower edge; what is below the first or not below the last is
                left out.
            staterror: whether to give the samples of these channels the statistical error of the simulation, the root
                of the sum of squared weights, as a ``staterror`` named ``staterror_<channel>``, where they have none.

        Returns:
            The workspace, validated by pyhf, with the observations that there are.

        Raises:
            InvalidDocument: if a learned channel has no binning, or a name or its edges are wrong.
            InvalidEvents: if a source cannot be read or its weights do not sum to a positive yield.
        """
        chosen = {}
        for name, (variable, edges) in (binnings or {}).items():
            channel, kind = self._learned(name)
            text = dict(zip(kind.names, kind.expressions, strict=True)).get(variable, variable)
            bins = Rebinned.with_edges(text, edges, f"binned: edges of {name!r}")
            chosen[name] = dataclasses.replace(channel, kind=bins)
        for name in self.learned:
            if name not in chosen:
                raise InvalidDocument(f"binned: channel {name!r} is learned; give its variable and edges too")
        channels, observations = [], []
        for name, channel in (self._channels | chosen).items():
            channels.append(histfactory(channel, self._reading.filled, staterror=staterror and name in chosen))
            if channel.observation is not None:
                observations.append({"name": name, "data": self._reading.counts(channel, channel.observation)})
        return binned_workspace(self.document, self._measurement, channels, observations)

    def validate(self, executor: Executor | None = None) -> None:
        """Check everything that can be wrong with the input: modifiers, files, trees, expressions, and yields.

        Every expression is evaluated on the first events of every source before all of them are read; what is read is
        kept, so that nothing is read twice where a training follows.

        Args:
            executor: what reads all events, as in :meth:`read`; default is this process.

        Raises:
            InvalidEvents: for the first source that cannot be read, or has no events or yield where it needs some; the
                message names file, tree and branch.
            InvalidDocument: if the modifiers contradict each other.
        """
        channels = [histfactory(channel, ones) for channel in self._channels.values()]
        check_modifiers(inner(self.document, self._measurement, channels), self.poi_name)
        self._reading.check(self._channels.values())
        if executor is not None:
            self.read(executor, progress=self.progress)
        check_start(self.spec())
        for channel in self._channels.values():
            self._reading.separate(self._reading.split(channel))
            if isinstance(channel.observation, EventSource):
                self._reading.read(channel, channel.observation, allow_empty=True)

    def cutflow(self, observed: Workspace | None = None) -> Cutflow:
        """Return what the selection leaves of every event source, condition after condition, and the yields.

        Args:
            observed: another workspace with the same channels, whose observations stand in the place of one's own.

        Raises:
            InvalidEvents: if a source cannot be read.
            InvalidDocument: if the other workspace has other channels, or one that is blind.
        """
        return cutflow(self._reading, None if observed is None else observed._reading)

    def provenance(self) -> list[dict[str, Any]]:
        """Return name, size and hash of every input file, each once."""
        return files.provenance(source for channel in self._channels.values() for source in channel.sources)

    def _learned(self, name: str) -> tuple[Channel, Learned]:
        if name not in self._channels:
            raise InvalidDocument(f"there is no channel {name!r}; {did_you_mean(name, self._channels)}")
        channel = self._channels[name]
        if not isinstance(channel.kind, Learned):
            raise InvalidDocument(
                f"channel {name!r} has no features and is not learned; {did_you_mean(name, self.learned)}"
            )
        return channel, channel.kind


def _observed(observation: Contents | None) -> str:
    """Return in a few words what was observed in a channel."""
    if isinstance(observation, EventSource):
        return f"events of {', '.join(Path(file).name for file in observation.files)}"
    return "blind" if observation is None else f"total {sum(observation):g}"
