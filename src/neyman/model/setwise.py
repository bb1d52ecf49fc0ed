"""Dataset-wide learned channels: one network looks at all events of a dataset."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neyman.events import Events
from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inputs.simulator import Simulator
from neyman.model.asimov import SetAsimov
from neyman.model.batches import Batch
from neyman.model.channel import Asimov, Packed, Source, ToyEvents
from neyman.model.mixture import MixtureChannel
from neyman.model.ranges import FeatureRanges
from neyman.model.setwise_ratio import SetRatio, SetSummaries, SetSummary
from neyman.model.sources import LabelledEvents, SimulatorSource
from neyman.networks import kinds
from neyman.networks.averages import AverageEncoder, AverageHead
from neyman.networks.heads import head_of, summary_values
from neyman.networks.layers import initialised
from neyman.support.text import listed

__all__ = ["CHUNK", "SetChannel"]


def __dir__() -> list[str]:
    return __all__


CHUNK = 65_536  # events in memory at a time, of a deep set


class SetChannel(SetRatio):
    """A channel whose likelihood ratio one network learns for whole datasets; see :class:`SetRatio`.

    The encoder makes sums of the events. Of a simulator, the number of events is the network's own.

    Args:
        name: the channel.
        kind: the kind of network, ``"event"``, ``"deepset"``, ``"transformer"`` or one of a user's own.
        features: the names of its features.
        low: lower bounds of the network's parameters, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        encoder: from events to sums.
        head: from sums and parameters to the score.
        numbers: fewest and most events of the datasets in training.
        source: where its datasets come from: a simulator, or the labelled simulation of a workspace with its shape
            effects; ``None`` if it is a simulator that is not at hand.
        parameters: names of the parameters of a simulator that is not at hand.
        ranges: the values of the features in the datasets of a simulator.
    """

    bounded = True
    vectors_have_number = True

    def __init__(
        self,
        name: str,
        kind: str,
        features: Sequence[str],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        encoder: AverageEncoder,
        head: AverageHead,
        numbers: tuple[float, float],
        source: Source | None,
        parameters: Sequence[str] = (),
        ranges: FeatureRanges | None = None,
    ) -> None:
        self.kind, self.features = kind, tuple(features)
        self.encoder, self.numbers, self.source = encoder, numbers, source
        self._ranges = ranges
        samples, parameters = (source.samples, source.parameters) if source else ((), parameters)
        super().__init__(name, low, high, head, samples, parameters)

    @property
    def ranges(self) -> FeatureRanges | None:
        """The values that the features have in the simulation; ``None`` where an older model file has not kept them."""
        return self.source.mixture.ranges if isinstance(self.source, LabelledEvents) else self._ranges

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of an event that is no list of features."""
        return self.encoder.event_shape

    @property
    def owns_number(self) -> bool:
        """Whether the number of events is the network's own, so that the model has no Poisson term for it."""
        return not self.samples

    def __repr__(self) -> str:
        return f"SetChannel({self.name}: {self.kind} of {', '.join(self.names)} in {listed(self.features)})"

    def simulation(self) -> Source:
        """Return where datasets come from.

        Raises:
            Unsupported: if that is a simulator and not at hand: a model file has none.
        """
        if self.source is None:
            raise Unsupported(
                f"channel {self.name}: this takes simulated datasets, and a model file holds no simulator: "
                "give it, as in Model.load(path, simulator=simulator) or --simulator file.py:name"
            )
        return self.source

    def with_simulator(self, simulator: Simulator) -> SetChannel:
        """Return the channel with its simulator at hand.

        Raises:
            InvalidParameter: if it was not learned from one, or from one with other parameters or features.
        """
        if not self.owns_number:
            raise InvalidParameter(f"channel {self.name}: it was learned from labelled events, not from a simulator")
        for what, mine, theirs in (
            ("parameters", self.parameters, simulator.names),
            ("features", self.features, simulator.columns),
        ):
            if tuple(mine) != tuple(theirs):
                raise InvalidParameter(
                    f"the simulator has the {what} {listed(theirs)}, but that of the training {listed(mine)}"
                )
        return SetChannel(
            self.name, self.kind, self.features, self.low, self.high, self.encoder, self.head, self.numbers,
            SimulatorSource(simulator), ranges=self._ranges,
        )  # fmt: skip

    def digest(self) -> bytes:
        """Return a hash of the networks' weights, and of the pool that the channel's events are drawn from."""
        digest = hashlib.sha256(self.source.digest() if self.source else b"")
        for module in (self.encoder, self.head):
            for value in module.state_dict().values():
                digest.update(value.numpy().tobytes())
        return digest.digest()

    # -- encoding

    @property
    def part(self) -> int | None:
        """How many events are encoded at a time, if their sums add up."""
        return CHUNK if self.encoder.additive else None

    def encode(self, events: Events) -> SetSummary:
        """Return the summary of an ensemble: the only place where its events meet the network.

        Warns if there are fewer or more events than in any dataset of the training.
        """
        self.warn_of_number(float(events.weights.sum()))
        return self.encode_part(events)

    def encode_part(self, events: Events) -> SetSummary:
        """Return the summary of some of the events."""
        offsets = np.array([0, len(events)])
        return SetSummary(self.encode_many(events.features, offsets, events.weights)[0], self.encoder.additive)

    def warn_of_number(self, total: float) -> None:
        """Warn of a number of events that no dataset of the training had."""
        low, high = self.numbers
        if not low - 0.5 <= total <= high + 0.5:
            warnings.warn(
                f"channel {self.name}: a dataset of {total:g} events, but the network was trained with {low:g} to "
                f"{high:g}: do not trust its answer",
                stacklevel=3,
            )

    def without_simulation(self) -> SetChannel:
        """Return what encodes events, to travel to them: the channel without its simulation."""
        twin = copy.copy(self)
        twin.source = None
        return twin

    def encode_many(
        self, features: NDArray[np.float32], offsets: NDArray[np.int64], weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the sums of many datasets, shape ``(n, K)``.

        Args:
            features: the events of all datasets end to end, shape ``(E, d)``.
            offsets: where each begins and the last ends, shape ``(n + 1,)``.
            weights: of the events, shape ``(E,)``; ones by default.
        """
        n = len(offsets) - 1
        out = np.zeros((n, self.encoder.size))
        with torch.inference_mode():
            for first, last, begin, end in self._chunks(offsets):
                x = torch.from_numpy(np.ascontiguousarray(features[begin:end], dtype=np.float32))
                w = torch.ones(end - begin, dtype=torch.float64)
                if weights is not None:
                    w = torch.from_numpy(np.ascontiguousarray(weights[begin:end]))
                inside = np.clip(offsets[first : last + 1], begin, end)
                dataset = torch.from_numpy(np.repeat(np.arange(last - first), np.diff(inside)))
                out[first:last] += self.encoder(x, w, dataset, last - first).numpy()
        return out

    def _chunks(self, offsets: NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
        """Return datasets and events of each chunk; only an additive encoder sees a dataset in parts."""
        chunks = []
        first, n = 0, len(offsets) - 1
        while first < n:
            last = max(int(np.searchsorted(offsets, offsets[first] + CHUNK, side="right")) - 1, first + 1)
            begin, end = int(offsets[first]), int(offsets[last])
            step = CHUNK if self.encoder.additive else max(end - begin, 1)
            chunks += [(first, last, b, min(b + step, end)) for b in range(begin, end, step)]
            first = last
        return chunks

    def select(self, features: NDArray[np.float32], index: NDArray[Any]) -> SetSummary:
        """Return the summary of a toy whose events, of weight one each, are those of a table at these positions."""
        sums = self.encode_many(features[index], np.array([0, len(index)]))[0]
        return SetSummary(sums, self.encoder.additive)

    def batch(self, toys: ToyEvents) -> Batch[SetSummaries]:
        """Return the summaries of many toys, all in one block."""
        summaries = SetSummaries(self.encode_many(toys.features, toys.offsets))
        return Batch(len(toys), [(np.arange(len(toys)), summaries)], self.log_ratio_batch)

    def draw(
        self, rates: NDArray[np.float64], pars: NDArray[np.float64], rng: np.random.Generator, source: str
    ) -> ToyEvents:
        """Draw the events of toys; see :meth:`Channel.draw`."""
        if source == "model":
            raise Unsupported(
                f"channel {self.name}: a {self.kind} learns the ratio of datasets, not the density of their events: "
                "use source='simulation'"
            )
        return self.simulation().draw(rates, pars, rng)

    def asimov(self) -> Asimov:
        """Return what weights simulated events until the network's scores are zero."""
        return SetAsimov(self)

    def tilts(
        self, events: Events, rates: NDArray[np.float64], pars: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the scores, shape ``(P,)``, and how the weight of each event changes them, shape ``(P, N)``."""
        point = self.point(rates, pars)
        theta = torch.from_numpy(point).requires_grad_()
        weights = torch.from_numpy(events.weights.copy()).requires_grad_()
        with torch.enable_grad():
            dataset = torch.zeros(len(events), dtype=torch.int64)
            sums = self.encoder(torch.from_numpy(events.features), weights, dataset, 1)
            value = self._head.score(sums, theta[None, None])[0, 0]
            (score,) = torch.autograd.grad(value, theta, create_graph=True)
            rows = [torch.autograd.grad(one, weights, retain_graph=True)[0].numpy() for one in score]
        return score.detach().numpy(), np.stack(rows)

    # -- vectors of a fixed length

    def vector(self, summary: SetSummary, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums, their means and the logarithm of the number of events, whatever the reference points."""
        vector: NDArray[np.float64] = _vectors(summary.sums[None])[0]
        return vector

    def vectors(self, toys: ToyEvents, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the same of many toys."""
        return _vectors(self.encode_many(toys.features, toys.offsets))

    # -- files

    def pack(self) -> Packed:
        """Return what a model file stores, with the labelled events of a workspace but without any simulator."""
        source = self.source.pack() if self.source else None
        stored = source or Packed({})
        weights = {
            f"{name}/{key}": value.clone().contiguous()
            for name, module in (("encoder", self.encoder), ("head", self.head))
            for key, value in module.state_dict().items()
        }
        entry = {
            "name": self.name,
            "kind": self.kind,
            "features": self.features,
            "parameters": self.parameters,
            "numbers": self.numbers,
            "networks": [
                {"encoder": encoder.shape, "head": head.shape}
                for encoder, head in zip(self.encoder.members, self.head.members, strict=True)
            ],
            "source": source and source.entry,
        }
        ranges = self._ranges.pack() if self._ranges else {}
        arrays = {**stored.arrays, "low": self.low, "high": self.high, **ranges}
        return Packed(entry, {**stored.weights, **weights}, arrays)

    @classmethod
    def unpack(cls, packed: Packed, network: Any = None) -> SetChannel:
        """Make the channel of what a model file has stored.

        Args:
            packed: what is stored.
            network: a network of the user's own, as :func:`neyman.networks.register` takes it.
        """
        entry = packed.entry
        low, high = (packed.arrays[key].astype(np.float64) for key in ("low", "high"))

        def state(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): value for k, value in packed.weights.items() if k.startswith(prefix)}

        encoders, heads = [], []
        for k, shape in enumerate(entry["networks"]):
            weights = state(f"encoder/members.{k}.")
            encoders.append(kinds.load_encoder(entry["kind"], shape["encoder"], weights, network))
            with initialised(0):
                bounds = torch.from_numpy(low), torch.from_numpy(high)
                heads.append(head_of(shape["head"], *bounds, encoders[-1].size))
            heads[-1].load_state_dict(state(f"head/members.{k}."))
        encoder = AverageEncoder(encoders)
        head = AverageHead(heads, encoder.sizes)
        for module in (encoder, head):
            module.eval().requires_grad_(False)
        source = None
        if entry["source"] is not None:
            source = MixtureChannel.unpack(dataclasses.replace(packed, entry=entry["source"])).source
        fewest, most = map(float, entry["numbers"])
        channel = cls(
            entry["name"], entry["kind"], entry["features"], low, high, encoder, head, (fewest, most), source,
            entry["parameters"], FeatureRanges.unpack(packed.arrays),
        )  # fmt: skip
        if len(channel.names) != len(low) or any(len(channel.features) != one.scaler.features for one in encoders):
            raise ValueError(f"channel {channel.name} has other parameters or features than its network")
        return channel


def _vectors(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = summary_values(torch.from_numpy(sums)).numpy()
    return values
