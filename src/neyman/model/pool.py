"""Ensembles from a channel's simulation: weighted Asimov events and drawn ones, at any parameters."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from neyman.events import Events
from neyman.inputs.simulator import Simulator
from neyman.model.asimov import _weights
from neyman.model.mixture import MixtureChannel, interpolation
from neyman.model.setwise import SetChannel

__all__ = ["bent_events", "choice", "draw_events", "simulated_events"]


def __dir__() -> list[str]:
    return __all__


_ANCHORS = 1000  # toys near which others are bent
_ROUNDS = 200


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
