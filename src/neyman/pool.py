"""Ensembles from a channel's pool: weighted Asimov events and model toys, at any parameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neyman.channels import MixtureChannel, MixtureSummary
from neyman.ensemble import Events
from neyman.exceptions import InvalidParameter

__all__ = ["AsimovPool", "draw_events"]


def __dir__() -> list[str]:
    return __all__


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
        # the values that the model's own logpdf will see, from the averaged networks
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
        if not rates.any():
            return Events(self._features[:0])
        weights = _weights(self._channel, self._summary, rates, alphas)
        scores = np.concatenate(self._channel.scores(self._summary, rates, alphas))
        target = np.concatenate([np.ones(len(rates)), np.zeros(len(alphas))])
        for _ in range(3):  # linear: once would do, were it not for rounding
            moments = (scores * weights) @ scores.T
            tilt = np.linalg.lstsq(moments, target - scores @ weights, rcond=1e-12)[0]
            weights = weights * (1 + tilt @ scores)
        return Events(self._features, weights)


def draw_events(
    channel: MixtureChannel, rates: NDArray[np.float64], alphas: NDArray[np.float64], rng: np.random.Generator
) -> Events:
    """Draw a toy from the learned density: a Poisson number of the pool's events.

    Args:
        channel: the learned channel.
        rates: expected events of each sample, shape ``(C,)``.
        alphas: the nuisance parameter of each variation, shape ``(M,)``.
        rng: the source of randomness.

    Raises:
        InvalidParameter: if the density is negative somewhere.
    """
    cumulative = np.cumsum(_weights(channel, channel.pool.summary, rates, alphas))
    number = rng.poisson(rates.sum())
    index = np.searchsorted(cumulative, rng.random(number) * cumulative[-1], side="right") if number else []
    return Events(channel.pool.features[np.asarray(index, dtype=np.intp)])


def _weights(
    channel: MixtureChannel, summary: MixtureSummary, rates: NDArray[np.float64], alphas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of a pool's events under the model's density."""
    weights: NDArray[np.float64] = summary.weights * (rates @ channel.densities(summary, alphas))
    if np.any(weights < 0):
        raise InvalidParameter(
            f"channel {channel.name}: there is no dataset to expect or draw where a rate is negative and the density"
            " of events with it; keep the parameters within bounds that avoid it"
        )
    return weights


def _subset(own: NDArray[np.bool_], weights: NDArray[np.float64], size: int) -> NDArray[np.intp]:
    """Return up to ``size`` events spread evenly over a sample, in an order that is random but always the same."""
    index = np.flatnonzero(own & (weights > 0))
    return np.sort(np.random.default_rng(len(index)).permutation(index)[:size])
