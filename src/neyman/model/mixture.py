"""Mixture channels: the samples of a channel, their shapes learned by classifiers of single events."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.events import Events
from neyman.exceptions import InvalidParameter
from neyman.inputs.simulator import Simulator
from neyman.model import mixture_file
from neyman.model.asimov import AsimovPool
from neyman.model.batches import Batch
from neyman.model.calibration import LogitCalibration, calibrate, sample_ratios
from neyman.model.channel import Packed, ToyEvents
from neyman.model.expansion import event_terms, pool_terms, summed
from neyman.model.mixture_ratio import MixtureRatio
from neyman.model.normalisation import LogNormalisation
from neyman.model.pool import MixtureSummary, PaddedSummary, Pool
from neyman.model.ranges import FeatureRanges
from neyman.model.sources import LabelledEvents, choice
from neyman.model.thinning import why_no_density
from neyman.model.tilts import Tilts
from neyman.model.variations import Variation, slopes_and_curvatures
from neyman.networks.folds import hashed_folds
from neyman.networks.mixture import CrossFitClassifier, logits

__all__ = ["MixtureChannel"]


def __dir__() -> list[str]:
    return __all__


_BLOCK = 1_048_576  # numbers of a block of toys, rows times events, which then stay in a processor's cache
_CHUNK = 16_384  # events with all their log-ratios in memory; parts are multiples of it
_FEW_ROWS = 16  # of samples and variations: with fewer a block has no more events
_MOST = 512  # toys of a block: their normalisations take memory too


class MixtureChannel(MixtureRatio):
    """A channel whose event density is a mixture of samples with learned shapes; see :class:`MixtureRatio`.

    Args:
        name: the channel.
        features: the expressions of its features.
        samples: the names of its samples, in the order of the classes.
        yields: the nominal yield of each, shape ``(C,)``.
        variations: the shape systematics.
        sample_classifier: classifier of the samples; ``None`` if there is only one.
        variation_classifiers: by index of the sample, its classifier of nominal (class 0) against every varied source.
        calibration: what is fitted on the out-of-fold logits.
        pool: the simulation.
        encoding: ``"fold"`` gives a new event the values of the networks of one fold, by a hash of its features, as the
            pool's events have those of one, so that toys are like data; ``"mean"`` gives it the mean logits of all.
        weight_networks: by index of the sample, its network of the log-ratios of all its variations by weight, whose
            columns follow those of the classifiers.
        tilts: what the finite simulation leaves open of the samples' shapes, where that is in the likelihood.
        normalisations: of each varied sample's density, over all of its simulation; by default that of the pool.
    """

    kind = "mixture"
    part = 65_536  # events whose logits are in memory at a time
    event_shape = ()  # events are lists of features
    owns_number = False  # which is in the model's Poisson term
    bounded = False
    vectors_have_number = False

    def __init__(
        self,
        name: str,
        features: Sequence[str],
        samples: Sequence[str],
        yields: NDArray[np.float64],
        variations: Sequence[Variation],
        sample_classifier: CrossFitClassifier | None,
        variation_classifiers: dict[int, CrossFitClassifier],
        calibration: LogitCalibration,
        pool: Pool,
        encoding: str = "fold",
        weight_networks: Mapping[int, CrossFitClassifier] | None = None,
        tilts: Tilts | None = None,
        normalisations: Mapping[int, LogNormalisation] | None = None,
    ) -> None:
        self.name = name
        self.features = tuple(features)
        self.samples = tuple(samples)
        self.yields = yields
        self.sample_classifier = sample_classifier
        self.variation_classifiers = variation_classifiers
        self.weight_networks = dict(weight_networks or {})
        self.calibration = calibration
        self.encoding = encoding
        self.shapes = tuple(variations)
        self.tilts = tilts
        self.pool = pool if tilts is None else tilts.pool(pool, self.shapes)
        super().__init__([*variations, *(tilts.variations if tilts else ())], self.pool, normalisations)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The nuisance parameter of each variation: of the learned ones, ``shapes``, and of the tilts."""
        return tuple(v.parameter for v in self.variations)

    @functools.cached_property
    def ranges(self) -> FeatureRanges:
        """The values that the features have in the simulation."""
        weights = self.pool.summary.weights * np.abs(self.yields[self.pool.samples])
        everything = Events(self.pool.features, weights)
        return FeatureRanges.of_samples([everything[self.pool.samples == c] for c in range(len(self.samples))])

    @property
    def source(self) -> LabelledEvents:
        """The labelled simulated events."""
        return LabelledEvents(self)

    def simulation(self) -> LabelledEvents:
        """Return the source, which is always at hand."""
        return self.source

    def with_simulator(self, simulator: Simulator) -> MixtureChannel:
        """Refuse: see :meth:`Channel.with_simulator`."""
        raise InvalidParameter(f"channel {self.name}: it was learned from labelled events, not from a simulator")

    def __repr__(self) -> str:
        shapes = f", shapes {', '.join(sorted({v.parameter for v in self.variations}))}" if self.variations else ""
        return f"MixtureChannel({self.name}: {', '.join(self.samples)} in {', '.join(self.features)}{shapes})"

    def digest(self) -> bytes:
        """Return a hash of the pool and of what the networks make of it, which is other with other networks."""
        digest = hashlib.sha256(self.yields.tobytes())
        digest.update(b"" if self.encoding == "mean" else self.encoding.encode())  # as before there were others
        summary = self.pool.summary
        for array in (self.pool.features, self.pool.samples, summary.weights):
            digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
        for array in (summary.ratios, summary.slopes, summary.curvatures):
            digest.update(np.ascontiguousarray(array, dtype=np.float32).tobytes())  # as the model file keeps them
        return digest.digest()

    def encode(self, events: Events) -> MixtureSummary:
        """Return the summary of an ensemble: the only place where its events meet the networks.

        Args:
            events: features of shape ``(N, d)`` and their weights.
        """
        n, chunk = len(events), min(self.part, _CHUNK)
        ratios = np.empty((len(self.samples), n))
        slopes, curvatures = (np.empty((len(self.variations), n), dtype=np.float32) for _ in range(2))
        for begin in range(0, n, chunk):
            part = slice(begin, begin + chunk)
            log_ratios, sides = self.calibrated(*self.raw(events.features[part]))
            ratios[:, part], slopes[:, part], curvatures[:, part] = self.summarise(log_ratios, sides)
        return MixtureSummary(events.weights, ratios, slopes, curvatures)

    def with_encoding(self, encoding: str) -> MixtureChannel:
        """Return the channel with the same networks and another encoding of new events."""
        channel = copy.copy(self)
        channel.encoding = encoding
        return channel

    def without_simulation(self) -> MixtureChannel:
        """Return what encodes events, to travel to them: the channel without its pool."""
        twin = copy.copy(self)
        for large in ("pool", "_normalisations", "ranges"):
            vars(twin).pop(large, None)
        return twin

    def encode_part(self, events: Events) -> MixtureSummary:
        """Return the summary of some of the events."""
        return self.encode(events)

    def warn_of_number(self, total: float) -> None:
        """Accept any number of events."""

    def raw(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return the logits of the samples ``(N, C)`` and the log-ratios of all varied sources ``(N, V)``."""
        networks, by_weight = self.variation_classifiers.values(), self.weight_networks.values()
        folds = None
        if self.encoding == "fold":
            everything = (self.sample_classifier, *networks, *by_weight)
            most = next((network.folds for network in everything if network is not None), 1)
            folds = hashed_folds(features, most)
        if self.sample_classifier is None:
            log_ratios = np.zeros((len(features), 1))
        else:
            log_ratios = logits(self.sample_classifier, features, folds).astype(np.float64)
        sides = [np.empty((len(features), 0), dtype=np.float32)]
        for network in networks:
            values = logits(network, features, folds)
            sides.append(values[:, 1:] - values[:, :1])
        sides += [logits(network, features, folds) for network in by_weight]
        return log_ratios, np.concatenate(sides, axis=1)

    def calibrated(
        self, log_ratios: NDArray[np.float64], sides: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.floating[Any]]]:
        """Return calibrated logits from raw ones, of the same shapes."""
        return calibrate(log_ratios, sides, self.calibration, self.yields, self.shapes)

    def summarise(
        self, log_ratios: NDArray[np.float64], sides: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Return ratios ``(C, N)``, slopes and curvatures ``(M, N)`` from calibrated logits."""
        slopes, curvatures = slopes_and_curvatures(sides, self.shapes)
        summary = MixtureSummary(np.empty(0), sample_ratios(log_ratios).T, slopes.T, curvatures.T)
        if self.tilts is not None:
            summary = self.tilts.extended(summary, self.shapes)
        return summary.ratios, summary.slopes, summary.curvatures

    def with_pool(self, pool: Pool) -> MixtureChannel:
        """Return the channel with the same networks and another pool; it has no tilts yet."""
        return MixtureChannel(
            self.name, self.features, self.samples, self.yields, self.shapes, self.sample_classifier,
            self.variation_classifiers, self.calibration, pool, self.encoding, self.weight_networks,
            normalisations=self.normalisations,
        )  # fmt: skip

    def with_tilts(self, tilts: Tilts) -> MixtureChannel:
        """Return the channel with what the finite simulation leaves open of its samples' shapes; it has none yet."""
        return MixtureChannel(
            self.name, self.features, self.samples, self.yields, self.shapes, self.sample_classifier,
            self.variation_classifiers, self.calibration, self.pool, self.encoding, self.weight_networks, tilts,
            {c: one for c, one in self.normalisations.items() if c not in tilts.samples},
        )  # fmt: skip

    def select(self, features: NDArray[np.float32], index: NDArray[Any]) -> MixtureSummary:
        """Return the summary of a toy whose events, of weight one each, are those of the pool at these positions."""
        known = self.pool.summary
        return MixtureSummary(
            np.ones(len(index)), known.ratios[:, index], known.slopes[:, index], known.curvatures[:, index]
        )

    def batch(self, toys: ToyEvents) -> Batch[PaddedSummary]:
        """Return the summaries of many toys, those of about the same number of events side by side."""
        numbers, blocks, rows = toys.numbers, [], len(self.samples) + len(self.variations)
        order = np.argsort(numbers, kind="stable")
        order = order[numbers[order] > 0]
        while len(order):
            largest = int(numbers[order[-1]])
            size = min(max(_BLOCK // (largest * max(rows, _FEW_ROWS)), 1), _MOST)
            members = np.sort(order[-size:])
            order = order[:-size]
            places = np.minimum(toys.offsets[:-1][members, None] + np.arange(largest), len(toys.index) - 1)
            blocks.append((members, PaddedSummary.take(self.pool.summary, toys.index[places], numbers[members])))
        return Batch(len(toys), blocks, self.log_ratio_batch)

    def draw(
        self, rates: NDArray[np.float64], pars: NDArray[np.float64], rng: np.random.Generator, source: str
    ) -> ToyEvents:
        """Draw the events of toys; see :meth:`Channel.draw`."""
        if source == "simulation":
            return self.source.draw(rates, pars, rng)
        numbers = rng.poisson(rates.sum(axis=1))
        points = np.concatenate([rates, pars], axis=1)
        first = np.flatnonzero(np.append(True, (points[1:] != points[:-1]).any(axis=1)))  # of toys at the same point
        parts = [np.empty(0, dtype=np.intp)]
        for begin, end in zip(first, np.append(first[1:], len(points)), strict=True):
            weights = self.density_weights(self.pool.summary, rates[begin], pars[begin], clip=source == "model")
            parts.append(choice(weights, int(numbers[begin:end].sum()), rng))
        return ToyEvents.of(self.pool.features, np.concatenate(parts), numbers)

    def asimov(self) -> AsimovPool:
        """Return what weights a part of the pool."""
        return AsimovPool(self)

    def density_weights(
        self, summary: MixtureSummary, rates: NDArray[np.float64], alphas: NDArray[np.float64], *, clip: bool = False
    ) -> NDArray[np.float64]:
        """Return the weights of a pool's events under the density ``sum_c nu_c g_c m_c``, shape ``(N,)``.

        Raises:
            InvalidParameter: if the density is negative, by more than networks cannot tell, unless it is to be clipped.
        """
        density = rates @ self.densities(summary, alphas)
        if not clip and density.min(initial=0.0) < 0.0 and (why := why_no_density(self, summary, rates, alphas)):
            raise InvalidParameter(why)
        weights: NDArray[np.float64] = summary.weights * np.maximum(density, 0.0)
        return weights

    # -- vectors of a fixed length

    def vector(
        self, summary: MixtureSummary, rates: NDArray[np.float64], pars: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the sums over the events of :func:`neyman.model.expansion.event_terms`."""
        total: NDArray[np.float64] = summary.weights @ event_terms(self, summary, rates, pars)
        return total

    def vectors(self, toys: ToyEvents, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the same of many toys."""
        return summed(pool_terms(self, rates, pars), toys)

    # -- files

    def pack(self) -> Packed:
        """Return what a model file stores."""
        return mixture_file.pack(self)

    @classmethod
    def unpack(cls, packed: Packed) -> MixtureChannel:
        """Make the channel of what a model file has stored."""
        return mixture_file.unpack(packed, cls)
