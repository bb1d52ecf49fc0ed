"""Ensembles from a channel's simulation: weighted Asimov events and drawn ones, at any parameters."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from neyman.channels import MixtureChannel, MixtureSummary, interpolation
from neyman.ensemble import Events
from neyman.exceptions import InvalidParameter
from neyman.sets import SetChannel
from neyman.simulation import simulate
from neyman.simulator import Simulator

__all__ = ["AsimovPool", "SetAsimov", "asimov", "bent_events", "choice", "draw_events", "simulated_events"]


def __dir__() -> list[str]:
    return __all__


_TILTS = 300
_KEPT = 4  # Asimov ensembles
_PRECISION = 1e-8  # of scores, relative to their standard deviation
_ENOUGH = 1e-3  # of scores: as many standard deviations does a fit differ
_AT_BOUND = 1e-9  # of a range
_ANCHORS = 1000  # toys near which others are bent
_ROUNDS = 200


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


class SetAsimov:
    """What any Asimov ensemble of a dataset-wide channel is made from.

    From a workspace it is the pool weighted by the mixture's density, from a simulator many datasets of the parameters
    together, each with its share of the weight. The weights are then tilted until every score of the network is zero.

    Args:
        channel: the channel.
        events: about how many events there are.
    """

    def __init__(self, channel: SetChannel, events: int = 20_000) -> None:
        self._channel, self._events = channel, events
        source = channel.simulation()
        self._pool = AsimovPool(source, events) if isinstance(source, MixtureChannel) else None
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
        events = self._pool.weighted(rates, pars) if self._pool else self._simulated(pars)
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

    def _simulated(self, pars: NDArray[np.float64]) -> Events:
        simulator = self._channel.simulation()
        assert isinstance(simulator, Simulator)
        few = simulate(simulator, np.tile(pars, (20, 1)), seed=0, workers=1)
        number = int(np.clip(self._events / max(len(few.features) / len(few), 1.0), 20, 2000))
        datasets = simulate(simulator, np.tile(pars, (number, 1)), seed=0, workers=1)
        return Events(datasets.features, np.full(len(datasets.features), 1.0 / number))


def asimov(channel: MixtureChannel | SetChannel) -> AsimovPool | SetAsimov:
    """Return what Asimov ensembles of a channel are made from."""
    return SetAsimov(channel) if isinstance(channel, SetChannel) else AsimovPool(channel)


def draw_events(
    channel: MixtureChannel | SetChannel,
    rates: NDArray[np.float64],
    pars: NDArray[np.float64],
    rng: np.random.Generator,
) -> Events:
    """Draw the events of one toy: of the learned density or, where that is of whole datasets, of the simulation.

    Args:
        channel: the learned channel.
        rates: expected events of each sample, shape ``(C,)``.
        pars: the channel's parameters, shape ``(M,)``.
        rng: the source of randomness.

    Raises:
        InvalidParameter: if the density is negative somewhere.
    """
    if isinstance(channel, SetChannel):
        source = channel.simulation()
        if isinstance(source, Simulator):
            return source.draw(pars, int(rng.integers(2**63)))
        index = simulated_events(source, rng.poisson(rates)[None], pars, rng)
        return Events(source.pool.features[index])
    cumulative = np.cumsum(_weights(channel, channel.pool.summary, rates, pars))
    number = rng.poisson(rates.sum())
    index = np.searchsorted(cumulative, rng.random(number) * cumulative[-1], side="right") if number else []
    return Events(channel.pool.features[np.asarray(index, dtype=np.intp)])


def simulated_events(
    channel: MixtureChannel, numbers: NDArray[np.int64], alphas: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw simulated events of each sample, bent by the learned shape effects; return their positions in the pool.

    Args:
        channel: the channel.
        numbers: how many events of each sample each toy has, shape ``(n, C)``.
        alphas: the nuisance parameter of each variation, shape ``(M,)``.
        rng: the source of randomness.

    Returns:
        The events of all toys end to end.
    """
    pool = channel.pool
    unit = dataclasses.replace(pool.summary, ratios=np.ones_like(pool.summary.ratios))
    bend = channel.densities(unit, alphas)
    label = np.repeat(np.tile(np.arange(numbers.shape[1]), len(numbers)), numbers.ravel())
    events = np.empty(len(label), dtype=np.int32)
    for c in range(numbers.shape[1]):
        own = np.flatnonzero(pool.samples == c)
        weights = pool.summary.weights[own] * bend[c, own]
        events[label == c] = own[choice(weights, int(numbers[:, c].sum()), rng)]
    return events


def bent_events(
    channel: MixtureChannel, numbers: NDArray[np.int64], alphas: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw what :func:`simulated_events` does, for toys each with shape parameters of its own.

    Events are drawn as bent at the nearest of some anchors, which are toys themselves, and accepted in proportion to
    what the shape effect at the toy's own parameters is relative to that. The bound on this is exact.

    Args:
        channel: the channel.
        numbers: how many events of each sample each toy has, shape ``(n, C)``.
        alphas: the nuisance parameters of each toy, shape ``(n, M)``.
        rng: the source of randomness.

    Returns:
        The events of all toys end to end.
    """
    pool, events = channel.pool, np.empty(int(numbers.sum()), dtype=np.int32)
    label = np.repeat(np.tile(np.arange(numbers.shape[1]), len(numbers)), numbers.ravel())
    toy = np.repeat(np.arange(len(numbers)), numbers.sum(axis=1))
    curve = interpolation(alphas, np.array([v.one_sided for v in channel.variations], dtype=bool))[0]
    scaled = alphas / np.maximum(np.ptp(alphas, axis=0), 1e-9)
    anchors = rng.permutation(len(alphas))[:_ANCHORS]
    nearest = KDTree(scaled[anchors]).query(scaled)[1]
    for c in range(numbers.shape[1]):
        own, varied = np.flatnonzero(pool.samples == c), [m for m, v in enumerate(channel.variations) if v.sample == c]
        # the logarithm of the shape effect is linear in these, shapes (n, 2 m) and (2 m, N)
        at = np.concatenate([alphas[:, varied], curve[:, varied]], axis=1)
        effects = np.concatenate([rows[varied][:, own] for rows in (pool.summary.slopes, pool.summary.curvatures)])
        lowest, highest = effects.min(axis=1), effects.max(axis=1)
        mine = np.flatnonzero(label == c)
        mine = mine[np.argsort(nearest[toy[mine]], kind="stable")]
        ends = np.searchsorted(nearest[toy[mine]], np.arange(len(anchors) + 1))
        for anchor, begin, end in zip(anchors, ends[:-1], ends[1:], strict=True):
            pending = mine[begin:end]
            exponent = at[anchor] @ effects
            cumulative = np.cumsum(pool.summary.weights[own] * np.exp(exponent - exponent.max(initial=0.0)))
            for _ in range(_ROUNDS):
                uniform = rng.random(len(pending)) * np.nextafter(cumulative[-1], 0.0)
                drawn = np.searchsorted(cumulative, uniform, side="right")
                events[pending] = own[drawn]
                apart = at[toy[pending]] - at[anchor]
                most = np.maximum(apart, 0.0) @ highest + np.minimum(apart, 0.0) @ lowest
                relative = np.einsum("em,me->e", apart, effects[:, drawn])
                pending = pending[np.log(rng.random(len(pending))) > relative - most]
                if not len(pending):
                    break
    return events


def choice(weights: NDArray[np.float64], number: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw positions with a probability proportional to the weights."""
    cumulative = np.cumsum(weights)
    total = np.nextafter(cumulative[-1], 0.0)
    uniform = rng.random(number)
    # what searchsorted would find, five times faster: a table of where to begin, a power of two to be exact, and a
    # step or two from there
    table = 1 << len(weights).bit_length()
    begin = np.searchsorted(cumulative, np.arange(table) / table * total, side="right")
    chosen: NDArray[np.intp] = begin[(uniform * table).astype(np.intp)]
    uniform *= total
    behind = np.flatnonzero(cumulative[chosen] <= uniform)
    while len(behind):
        chosen[behind] += 1
        behind = behind[cumulative[chosen[behind]] <= uniform[behind]]
    return chosen


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
