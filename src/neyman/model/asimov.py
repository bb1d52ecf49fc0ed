"""Asimov ensembles: simulated events weighted so that every score is zero at the parameters."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.events import Events
from neyman.model.pool import MixtureSummary

if TYPE_CHECKING:
    from neyman.model.mixture import MixtureChannel
    from neyman.model.setwise import SetChannel

__all__ = ["AsimovPool", "SetAsimov"]


def __dir__() -> list[str]:
    return __all__


_TILTS = 300
_KEPT = 4  # Asimov ensembles
_PRECISION = 1e-8  # of scores, relative to their standard deviation
_ENOUGH = 1e-3  # of scores: as many standard deviations does a fit differ
_AT_BOUND = 1e-9  # of a range


class AsimovPool:
    """A subset of a channel's pool that any Asimov ensemble of the channel is made from, by weights alone.

    Args:
        channel: the learned channel.
        events: size of the subset, shared equally by the samples.
    """

    def __init__(self, channel: MixtureChannel, events: int = 20_000) -> None:
        self._channel = channel
        pool = channel.pool
        share = max(events // len(channel.samples), 1)
        chosen = [_subset(pool.samples == c, pool.summary.weights, share) for c in range(len(channel.samples))]
        index = np.concatenate(chosen)
        reference = np.concatenate(
            [pool.summary.weights[i] / pool.summary.weights[i].sum() / len(chosen) for i in chosen]
        )
        self._features = pool.features[index]
        # the values that the model's own logpdf will see, not the pool's
        self._summary = channel.encode(Events(self._features, reference))

    def weighted(self, rates: NDArray[np.float64], alphas: NDArray[np.float64]) -> Events:
        """Return the Asimov events: expected events of the model's own density, at which every score is zero.

        The pool is weighted by the density, then tilted, ``w -> w (1 + a . s)``, until the sum of weights is the
        expected total and the gradient of the likelihood vanishes exactly, whatever the pool's fluctuations.

        Args:
            rates: expected events of each sample, shape ``(C,)``.
            alphas: the nuisance parameter of each variation, shape ``(M,)``.

        Raises:
            InvalidParameter: if the density is negative somewhere.
        """
        weights = self._channel.density_weights(self._summary, rates, alphas)
        possible = weights > 0.0
        if not possible.any():
            return Events(self._features[:0])
        # what the density of a sample is where no event is expected is missing from its score: that is not zero then
        missing = self._channel.densities(self._summary, alphas)[:, ~possible] @ self._summary.weights[~possible]
        target = np.concatenate([1.0 - missing, np.zeros(len(alphas))])
        own = self._summary
        summary = MixtureSummary(
            own.weights[possible], own.ratios[:, possible], own.slopes[:, possible], own.curvatures[:, possible]
        )
        weights = weights[possible]
        scores = np.concatenate(self._channel.scores(summary, rates, alphas))
        for _ in range(3):  # linear: once would do, were it not for rounding
            moments = (scores * weights) @ scores.T
            tilt = np.linalg.lstsq(moments, target - scores @ weights, rcond=1e-12)[0]
            weights = weights * (1 + tilt @ scores)
        return Events(self._features[possible], weights)


class SetAsimov:
    """What any Asimov ensemble of a dataset-wide channel is made from.

    From a workspace it is the pool weighted by the mixture's density, from a simulator many datasets of the parameters
    together, each with its share of the weight. The weights are then tilted until every score of the network is zero.

    Args:
        channel: the channel.
        events: about how many events there are.
    """

    def __init__(self, channel: SetChannel, events: int = 20_000) -> None:
        self._channel = channel
        self._source = channel.simulation().asimov(events)
        self._known: dict[bytes, Events] = {}

    def weighted(self, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> Events:
        """Return the Asimov events; the arguments are those of the channel's ``log_ratio``.

        The last few are remembered: pyhf asks for the same ones at every tested value.
        """
        key = np.concatenate([rates, pars]).tobytes()
        if key not in self._known:
            kept = list(self._known.items())[1 - _KEPT :]
            self._known = {**dict(kept), key: self._tilted(rates, pars)}
        return self._known[key]

    def _tilted(self, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> Events:
        events = self._source.weighted(rates, pars)
        if not len(events):
            return events
        positive = np.maximum(events.weights, 0.0)  # at a rate of zero the pool's own tilt leaves some below
        raw = Events(events.features, positive * (events.weights.sum() / positive.sum()))
        return self._scoreless(raw, rates, pars)

    def _scoreless(self, raw: Events, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> Events:
        """Tilt the weights until no score pulls the parameters away."""
        channel, events = self._channel, raw
        point, margin = channel.point(rates, pars), _AT_BOUND * (channel.high - channel.low)
        last = np.inf
        for _ in range(_TILTS):
            score, slopes = channel.tilts(events, rates, pars)
            # at its bound a parameter stays where the score pulls it beyond
            held = ((point <= channel.low + margin) & (score < 0)) | ((point >= channel.high - margin) & (score > 0))
            score, slopes = score[~held], slopes[~held]
            # the smallest relative change of the weights that takes the scores to zero and keeps the total weight
            rows = np.concatenate([slopes, np.ones((1, len(events)))])
            moments = (rows * events.weights) @ rows.T
            distance = float(np.max(np.abs(score) / np.sqrt(np.diag(moments)[:-1]), initial=0.0))
            # a transformer's scores are of single precision: no further than that gets them
            if distance <= _PRECISION or (distance <= _ENOUGH and distance > 0.5 * last):
                return events
            last = distance
            target = np.append(-score, 0.0)
            tilt = np.linalg.lstsq(moments, target, rcond=1e-12)[0] @ rows
            step = min(1.0, 0.5 / max(float(np.abs(tilt).max()), 1e-12))  # weights stay positive
            events = Events(events.features, events.weights * (1.0 + step * tilt))
        warnings.warn(
            f"channel {channel.name}: the network is far from the simulation at these parameters, so that a fit of "
            "Asimov data does not return them: train with more datasets and steps",
            stacklevel=2,
        )
        return raw


def _subset(own: NDArray[np.bool_], weights: NDArray[np.float64], size: int) -> NDArray[np.intp]:
    """Return up to ``size`` events spread evenly over a sample, in an order that is random but always the same."""
    index = np.flatnonzero(own & (weights > 0))
    return np.sort(np.random.default_rng(len(index)).permutation(index)[:size])
