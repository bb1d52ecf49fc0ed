"""The protocol of learned channels, whatever their network, and that of the sources of their simulated datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.events import Events
from neyman.inputs.simulation import Datasets
from neyman.inputs.simulator import Simulator
from neyman.model.batches import Batch
from neyman.model.ranges import FeatureRanges

__all__ = [
    "AnyChannel",
    "Asimov",
    "Channel",
    "ChannelSummary",
    "Packed",
    "SimulatedSample",
    "Source",
    "ToyEvents",
]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = NDArray[np.float64]


class ChannelSummary(Protocol):
    """What a channel keeps of an ensemble, free of the parameters; ``+`` joins those of two ensembles."""

    def __add__(self, other: Self, /) -> Self: ...


S = TypeVar("S", bound=ChannelSummary)


class Channel(Protocol[S]):
    r"""A learned channel: its events are encoded once, its log-likelihood ratio is evaluated at any parameters.

    ``C`` is the number of its samples, ``M`` that of its parameters. Many functions take one point, as ``rates`` of
    shape ``(C,)`` and ``pars`` of shape ``(M,)``, or one for each of ``n`` toys, of shapes ``(n, C)`` and ``(n, M)``.
    """

    name: str
    kind: str
    """Kind of network, as in a document's ``network: {kind: ...}``."""
    features: tuple[str, ...]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of an event whose numbers are no features of their own, as of an image; else empty."""

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the samples whose rates the ratio depends on; none where it is learned from a simulator."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the model's parameters that the ratio depends on beside the rates; one may come twice."""

    @property
    def owns_number(self) -> bool:
        """Whether the number of events is in the ratio, so that the model has no Poisson term for it."""

    @property
    def bounded(self) -> bool:
        """Whether the ratio exists only within the bounds of the training."""

    @property
    def ranges(self) -> FeatureRanges | None:
        """The values that the features have in the simulation; ``None`` where an older model file has not kept them."""

    @property
    def source(self) -> Source | None:
        """Where its simulated datasets come from; ``None`` if that is a simulator that is not at hand."""

    def simulation(self) -> Source:
        """Return the source.

        Raises:
            Unsupported: if it is a simulator and not at hand: a model file has none.
        """

    def with_simulator(self, simulator: Simulator) -> Self:
        """Return the channel with the simulator it was learned from at hand.

        Raises:
            InvalidParameter: if it was learned from something else.
        """

    def digest(self) -> bytes:
        """Return a hash of the networks and the simulated events."""

    def pack(self) -> Packed:
        """Return what a model file stores of the channel; the class's ``unpack(packed)`` makes it anew."""

    # -- datasets

    def encode(self, events: Events) -> S:
        """Return the summary of an ensemble: the only place where its events meet the networks."""

    @property
    def part(self) -> int | None:
        """How many events make a part: the summaries of parts add up to that of all, to the last digit.

        ``None`` where only that of all has a meaning.
        """

    def encode_part(self, events: Events) -> S:
        """Return the summary of some of the events."""

    def warn_of_number(self, total: float) -> None:
        """Warn of a number of events that the networks do not know."""

    def without_simulation(self) -> Channel[S]:
        """Return what encodes events, to travel to them."""

    def select(self, events: NDArray[np.float32], index: NDArray[Any]) -> S:
        """Return the summary of a toy.

        Args:
            events: the features of the events that toys are made of, shape ``(E, d)``; see :class:`ToyEvents`.
            index: which of them the toy has, of weight one each, shape ``(N,)``.
        """

    def batch(self, toys: ToyEvents) -> Batch[Any]:
        """Return the summaries of many toys."""

    def draw(self, rates: Array, pars: Array, rng: np.random.Generator, source: str) -> ToyEvents:
        """Draw the events of toys.

        Args:
            rates: expected events of each sample and toy, shape ``(n, C)``.
            pars: the parameters of each toy, shape ``(n, M)``.
            rng: the source of randomness.
            source: ``"simulation"`` or, of the learned density, ``"model"``; ``"density"`` is the latter where there
                is one and the former elsewhere, and refuses a density that is negative somewhere.

        Raises:
            InvalidParameter: for a negative density, see above.
            Unsupported: for events of the learned density where the ratio is of whole datasets.
        """

    def asimov(self) -> Asimov:
        """Return what makes Asimov ensembles."""

    # -- likelihood

    def log_ratio(self, summary: S, rates: Array, pars: Array) -> tuple[float, Array, Array]:
        """Return ``log r`` and its exact derivatives.

        Args:
            summary: of the ensemble.
            rates: expected events of each sample, shape ``(C,)``.
            pars: the parameters, shape ``(M,)``.

        Returns:
            The value, minus infinity where it is not defined; its derivatives by the rates, shape ``(C,)``; and by the
            parameters, shape ``(M,)``.
        """

    # -- vectors of a fixed length, for learned test statistics

    @property
    def vectors_have_number(self) -> bool:
        """Whether the number of events is in these vectors already."""

    def vector(self, summary: S, rates: Array, pars: Array) -> Array:
        """Return an ensemble as a vector of fixed length, shape ``(K,)``.

        Args:
            summary: of the ensemble.
            rates: the samples' rates at some reference points, shape ``(R, C)``.
            pars: the parameters there, shape ``(R, M)``.
        """

    def vectors(self, toys: ToyEvents, rates: Array, pars: Array) -> Array:
        """Return the same of many toys, shape ``(n, K)``."""


AnyChannel: TypeAlias = Channel[Any]


class Source(Protocol):
    """Where the simulated datasets of a channel come from: labelled simulated events, or a simulator."""

    @property
    def samples(self) -> tuple[str, ...]:
        """The samples of the labelled events; none of a simulator."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The shape parameter of each variation, or a simulator's parameters."""

    @property
    def simulated(self) -> Mapping[str, SimulatedSample]:
        """The size of each sample's simulation; of a simulator, which makes new events for every toy, nothing."""

    def draw(self, rates: Array, pars: Array, rng: np.random.Generator) -> ToyEvents:
        """Draw the events of toys, each at its own rates ``(n, C)`` and parameters ``(n, M)``.

        Raises:
            InvalidParameter: if the density of events is negative somewhere.
        """

    def why_none(self, rates: Array, pars: Array) -> str:
        """Return why there is no dataset at rates ``(C,)`` and parameters ``(M,)``, or nothing where there is."""

    def datasets(
        self,
        points: Array,
        numbers: NDArray[np.int64] | None,
        rng: np.random.Generator,
        workers: int | None = None,
    ) -> Datasets:
        """Draw datasets at parameters of a dataset-wide network, for its training and examination.

        Args:
            points: the network's parameters: shares of the samples and shape parameters, or those of a simulator,
                shape ``(T, P)``.
            numbers: of events in each, shape ``(T,)``; a simulator has its own.
            rng: the source of randomness.
            workers: processes that a simulator runs in; ``None`` decides by what it saves.
        """

    def digest(self) -> bytes:
        """Return a hash of the events; of a simulator, nothing."""

    def asimov(self, events: int) -> Asimov:
        """Return what makes ensembles of about so many weighted events that have the expectations of the datasets."""

    def pack(self) -> Packed | None:
        """Return what a model file stores of it: nothing of a simulator."""


class Asimov(Protocol):
    """What makes the Asimov ensembles of a channel."""

    def weighted(self, rates: Array, pars: Array) -> Events:
        """Return the weighted events at the samples' rates, shape ``(C,)``, and the parameters, shape ``(M,)``."""


@dataclass(frozen=True)
class SimulatedSample:
    """How large the simulation of a sample is.

    Args:
        number: of events.
        effective: how many events of weight one know as much.
        shapes: parameters that bend the sample's shape.
    """

    number: int
    effective: float
    shapes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Packed:
    """A channel as a model file stores it; the names of tensors and arrays are free of the channel's own.

    Args:
        entry: everything else, as JSON has it.
        weights: of the networks, by name.
        arrays: by name.
    """

    entry: dict[str, Any]
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ToyEvents:
    """The events of a channel in many toys: positions in a table, end to end, for a pool's event is in many toys.

    Args:
        table: the features of the events, of a mixture's pool or of simulated datasets, shape ``(E, d)``.
        index: the positions of all events, shape ``(K,)``.
        offsets: where each toy begins in ``index`` and the last ends, shape ``(n + 1,)``.

    Example:
        >>> import numpy as np
        >>> from neyman.model.channel import ToyEvents
        >>> table = np.array([[0.1], [0.2], [0.3]], dtype=np.float32)
        >>> toys = ToyEvents.of(table, np.array([2, 0, 1]), np.array([1, 2]))
        >>> len(toys), toys[1:].features.ravel()
        (2, array([0.1, 0.2], dtype=float32))
    """

    table: NDArray[np.float32]
    index: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, table: NDArray[np.float32], index: NDArray[Any], numbers: NDArray[np.int64]) -> ToyEvents:
        """Make them of the number of events of each toy, shape ``(n,)``."""
        return cls(table, index.astype(np.int32, copy=False), np.concatenate([[0], np.cumsum(numbers)]))

    @classmethod
    def joined(cls, parts: Sequence[ToyEvents]) -> ToyEvents:
        """Return toys of several batches as one."""
        tables = [part.table for part in parts]
        shared = all(table is tables[0] for table in tables)
        begin = np.zeros(len(parts), dtype=np.int64) if shared else np.cumsum([0, *map(len, tables[:-1])])
        index = np.concatenate([part.index + start for part, start in zip(parts, begin, strict=True)])
        numbers = np.concatenate([part.numbers for part in parts])
        return cls.of(tables[0] if shared else np.concatenate(tables), index, numbers)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The number of events of each toy, shape ``(n,)``."""
        return np.diff(self.offsets)

    @property
    def features(self) -> NDArray[np.float32]:
        """The features of all events end to end, shape ``(K, d)``."""
        return self.table[self.index]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, toys: slice | NDArray[Any]) -> ToyEvents:
        """Return some of the toys, by a slice, positions or a mask."""
        numbers = self.numbers[toys]
        # runs of consecutive positions end to end
        runs = np.repeat(self.offsets[:-1][toys] - (np.cumsum(numbers) - numbers), numbers)
        return ToyEvents.of(self.table, self.index[runs + np.arange(len(runs))], numbers)

    def of_toy(self, toy: int) -> NDArray[np.int32]:
        """Return the positions of one toy's events."""
        return self.index[self.offsets[toy] : self.offsets[toy + 1]]
