"""Dataset-wide learned channels: one network looks at all events of a dataset; summary and log-ratio of each kind."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neyman.events import Events
from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inputs.simulator import Simulator
from neyman.model.asimov import SetAsimov
from neyman.model.channel import Batch, Packed, Source, ToyEvents
from neyman.model.mixture import MixtureChannel
from neyman.model.shares import first_places, shares_of
from neyman.model.sources import SimulatorSource
from neyman.networks import kinds
from neyman.networks.averages import AverageEncoder, AverageHead
from neyman.networks.heads import head_of, summary_values
from neyman.networks.layers import initialised

__all__ = ["SetChannel", "SetSummaries", "SetSummary"]


def __dir__() -> list[str]:
    return __all__


_CHUNK = 65_536  # events in memory at a time, of a deep set
_BEYOND = 1e-6  # of a range: a numerical step may leave it by that


@dataclass(frozen=True, eq=False)
class SetSummary:
    """What a dataset-wide network keeps of an ensemble, free of the parameters; of a deep set, ``+`` joins two.

    Args:
        sums: sums over the events, the total weight last, shape ``(K,)``.
        additive: whether the sums of two datasets together are the sums of both.
    """

    sums: NDArray[np.float64]
    additive: bool = True

    def __add__(self, other: SetSummary) -> SetSummary:
        if not (self.additive and other.additive):
            raise Unsupported(
                "summaries of a transformer cannot be added, since each event has seen its whole dataset: encode the "
                "joint dataset"
            )
        return SetSummary(self.sums + other.sums)


@dataclass(frozen=True, eq=False)
class SetSummaries:
    """The summaries of many ensembles.

    Args:
        sums: shape ``(n, K)``.
    """

    sums: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.sums)

    def __getitem__(self, rows: NDArray[np.intp]) -> SetSummaries:
        return SetSummaries(self.sums[rows])


class SetChannel:
    r"""A channel whose likelihood ratio one network learns for whole datasets, cardinality and all.

    :math:`\log r = s(S, \theta)`, with :math:`S` the sums that the encoder makes of the events. In a workspace the
    network's parameters are each sample's share of the rate of itself and those after it, and the shape parameters: the
    ratio is conditional on the rates. Of a simulator, they are its parameters, and the number of events is the
    network's own.

    Args:
        name: the channel.
        kind: ``"event"``, ``"deepset"`` or ``"transformer"``.
        features: the names of its features.
        low: lower bounds of the network's parameters, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        encoder: from events to sums.
        head: from sums and parameters to the score.
        numbers: fewest and most events of the datasets in training.
        source: where its datasets come from: a simulator, or the labelled simulation of a workspace with its shape
            effects; ``None`` if it is a simulator that is not at hand.
        parameters: names of the parameters of a simulator that is not at hand.
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
    ) -> None:
        self.name, self.kind, self.features = name, kind, tuple(features)
        self.low, self.high = low, high
        self.encoder, self.head = encoder, head
        self.numbers, self.source = numbers, source
        self.samples: tuple[str, ...] = source.samples if source else ()
        self.parameters: tuple[str, ...] = source.parameters if source else tuple(parameters)
        # a parameter that varies several samples is one parameter of the network
        self._first = first_places(self.parameters)
        self._head = copy.deepcopy(head).double()

    @property
    def owns_number(self) -> bool:
        """Whether the number of events is the network's own, so that the model has no Poisson term for it."""
        return not self.samples

    @property
    def names(self) -> list[str]:
        """What the network's parameters are."""
        return [f"share of {sample}" for sample in self.samples[:-1]] + [self.parameters[k] for k in self._first]

    def __repr__(self) -> str:
        return f"SetChannel({self.name}: {self.kind} of {', '.join(self.names)} in {', '.join(self.features)})"

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
            ("features", self.features, simulator.features),
        ):
            if tuple(mine) != tuple(theirs):
                raise InvalidParameter(
                    f"the simulator has the {what} {', '.join(theirs)}, but that of the training {', '.join(mine)}"
                )
        return SetChannel(
            self.name, self.kind, self.features, self.low, self.high, self.encoder, self.head, self.numbers,
            SimulatorSource(simulator),
        )  # fmt: skip

    def digest(self) -> bytes:
        """Return a hash of the networks' weights, and of the pool that the channel's events are drawn from."""
        digest = hashlib.sha256(self.source.digest() if self.source else b"")
        for module in (self.encoder, self.head):
            for value in module.state_dict().values():
                digest.update(value.numpy().tobytes())
        return digest.digest()

    # -- encoding

    def encode(self, events: Events) -> SetSummary:
        """Return the summary of an ensemble: the only place where its events meet the network.

        Warns if there are fewer or more events than in any dataset of the training.
        """
        total = float(events.weights.sum())
        low, high = self.numbers
        if not low - 0.5 <= total <= high + 0.5:
            warnings.warn(
                f"channel {self.name}: a dataset of {total:g} events, but the network was trained with {low:g} to "
                f"{high:g}: do not trust its answer",
                stacklevel=2,
            )
        offsets = np.array([0, len(events)])
        return SetSummary(self.encode_many(events.features, offsets, events.weights)[0], self.encoder.additive)

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
            last = max(int(np.searchsorted(offsets, offsets[first] + _CHUNK, side="right")) - 1, first + 1)
            begin, end = int(offsets[first]), int(offsets[last])
            step = _CHUNK if self.encoder.additive else max(end - begin, 1)
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

    def asimov(self) -> SetAsimov:
        """Return what weights simulated events until the network's scores are zero."""
        return SetAsimov(self)

    # -- likelihood

    def log_ratio(
        self, summary: SetSummary, rates: NDArray[np.float64], pars: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return ``log r`` and its exact derivatives.

        Args:
            summary: of the ensemble.
            rates: expected events of each sample, shape ``(C,)``; none of a simulator.
            pars: the parameters, one for each name in ``parameters``.

        Returns:
            The value; its derivative by the rates, shape ``(C,)``; and by the parameters.

        Raises:
            InvalidParameter: outside the range that the network was trained for.
        """
        value, local, _ = self.log_ratio_batch(SetSummaries(summary.sums[None]), rates[None], pars[None], curved=False)
        return float(value[0]), local[0, : len(rates)], local[0, len(rates) :]

    def log_ratio_batch(
        self, summaries: SetSummaries, rates: NDArray[np.float64], pars: NDArray[np.float64], *, curved: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return ``log r`` of many ensembles, each at its own parameters.

        Args:
            summaries: their summaries.
            rates: expected events of each sample, shape ``(n, C)``.
            pars: the parameters, shape ``(n, M)``.
            curved: whether to return second derivatives.

        Returns:
            The values, shape ``(n,)``; their derivatives by rates and parameters, shape ``(n, C + M)``; and minus the
            second derivatives without their negative parts, shape ``(n, C + M, C + M)``.
        """
        n, n_samples = rates.shape
        nothing = (summaries.sums[:, -1] == 0) | (rates.sum(axis=1) <= 0) if n_samples else np.zeros(n, dtype=bool)
        points, slope = self._points(rates, pars)
        points[nothing], slope[nothing] = 0.5 * (self.low + self.high), 0.0
        self._check(points)
        value, gradient, hessian = self._scored(summaries.sums, points, curved)
        value[nothing] = 0.0
        local = (gradient[:, None, :] @ slope)[:, 0]
        return value, local, slope.transpose(0, 2, 1) @ hessian @ slope

    def _points(
        self, rates: NDArray[np.float64], pars: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the network's parameters, shape ``(n, P)``, and their derivatives, shape ``(n, P, C + M)``."""
        shares, by_rate = shares_of(rates)
        first, n_samples = shares.shape[1], rates.shape[1]
        slope = np.zeros((len(pars), first + len(self._first), n_samples + pars.shape[1]))
        slope[:, :first, :n_samples] = by_rate
        slope[:, first + np.arange(len(self._first)), n_samples + self._first] = 1.0
        return np.concatenate([shares, pars[:, self._first]], axis=1), slope

    def scores(self, sums: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scores of datasets, each with candidates of its own, shape ``(n, m)``.

        Args:
            sums: of the datasets, shape ``(n, K)``.
            points: the network's parameters, shape ``(n, m, P)``.
        """
        with torch.inference_mode():
            found: NDArray[np.float64] = self._head.score(torch.from_numpy(sums), torch.from_numpy(points)).numpy()
        return found

    def information(self, sums: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return minus the second derivatives of the scores without their negative parts, shape ``(n, P, P)``.

        Args:
            sums: of the datasets, shape ``(n, K)``.
            points: the network's parameters, shape ``(n, P)``.
        """
        return self._scored(sums, points, curved=True)[2]

    def _scored(
        self, sums: NDArray[np.float64], points: NDArray[np.float64], curved: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        n, p = points.shape
        hessian = np.zeros((n, p, p))
        if not p:  # a single sample without shape effects has nothing to learn
            return np.zeros(n), np.zeros((n, 0)), hessian
        theta = torch.from_numpy(points).requires_grad_()
        with torch.enable_grad():
            value: Tensor = self._head.score(torch.from_numpy(sums), theta[:, None])[:, 0]
            (gradient,) = torch.autograd.grad(value.sum(), theta, create_graph=curved)
            if curved:
                rows = [
                    torch.autograd.grad(gradient[:, k].sum(), theta, retain_graph=k < p - 1)[0].numpy()
                    for k in range(p)
                ]
                hessian = _positive(-np.stack(rows, axis=1), self.high - self.low)
        return value.detach().numpy().copy(), gradient.detach().numpy(), hessian

    def _check(self, points: NDArray[np.float64]) -> None:
        beyond = _BEYOND * (self.high - self.low)
        wrong = ~((points >= self.low - beyond) & (points <= self.high + beyond))
        if wrong.any():
            i, k = np.argwhere(wrong)[0]
            raise InvalidParameter(
                f"channel {self.name}: {self.names[k]} = {points[i, k]:.5g} is outside ({self.low[k]:g}, "
                f"{self.high[k]:g}), which the network was trained for: keep within, or train with wider bounds"
            )

    def point(self, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the network's own parameters, shape ``(P,)``; the arguments are those of :meth:`log_ratio`.

        Raises:
            InvalidParameter: outside the range that the network was trained for.
        """
        points, _ = self._points(rates[None], pars[None])
        self._check(points)
        point: NDArray[np.float64] = points[0]
        return point

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
        return Packed(entry, {**stored.weights, **weights}, {**stored.arrays, "low": self.low, "high": self.high})

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
            entry["parameters"],
        )  # fmt: skip
        if len(channel.names) != len(low) or any(len(channel.features) != len(one.scaler.centre) for one in encoders):
            raise ValueError(f"channel {channel.name} has other parameters or features than its network")
        return channel


def _vectors(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = summary_values(torch.from_numpy(sums)).numpy()
    return values


def _positive(matrices: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return symmetric matrices without their negative parts, which are found in units of the parameters' ranges."""
    scaled = matrices * scale[:, None] * scale
    values, vectors = np.linalg.eigh(0.5 * (scaled + scaled.transpose(0, 2, 1)))
    kept = (vectors * np.maximum(values, 0.0)[:, None, :]) @ vectors.transpose(0, 2, 1)
    positive: NDArray[np.float64] = kept / (scale[:, None] * scale)
    return positive
