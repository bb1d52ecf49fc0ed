"""Simulated events where the rate of a sample is negative: those of the others, kept at the ratio of the densities."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.model.pool import MixtureSummary

if TYPE_CHECKING:
    from neyman.model.mixture import MixtureChannel

__all__ = ["thinned", "why_no_density", "why_none"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]
Draw = Callable[[NDArray[np.int64], Array, np.random.Generator], NDArray[np.int32]]

_TOLERATED = 1e-3  # of the expected events a density may be below zero: there networks are not better than that
_LOOKED_AT = 20_000  # simulated events tell whether a density is positive
_ROUNDS = 1000


def why_no_density(channel: MixtureChannel, summary: MixtureSummary, rates: Array, alphas: Array) -> str:
    """Return why no dataset exists at some parameters: the sample that makes the density negative, where and how much.

    Args:
        channel: the channel.
        summary: of events that stand for it, the weights of every sample adding up to the same.
        rates: expected events of each sample, shape ``(C,)``.
        alphas: the nuisance parameter of each variation, shape ``(M,)``.

    Returns:
        A sentence, or nothing where the density is positive but for what networks cannot tell.
    """
    if rates.min(initial=0.0) >= 0.0:
        return ""
    parts = rates[:, None] * channel.densities(summary, alphas)
    weighted = summary.weights * parts.sum(axis=0)
    part = _negative_part(weighted)
    if part <= _TOLERATED:
        return ""
    worst = int(np.argmin((parts * summary.weights)[:, weighted < 0].sum(axis=1)))
    return (
        f"channel {channel.name}: sample {channel.samples[worst]} has a rate of {rates[worst]:.4g}, with which the "
        f"density is negative at {np.count_nonzero(weighted < 0)} of {len(weighted)} simulated events, by "
        f"{100 * part:.2g} % of the expected ones: no dataset exists there; keep the parameters within bounds that "
        "avoid it"
    )


def why_none(channel: MixtureChannel, rates: Array, alphas: Array) -> str:
    """Return the same, with a part of the channel's own simulated events."""
    known = channel.pool.summary
    step = max(len(known.weights) // _LOOKED_AT, 1)
    part = (rows[:, ::step] for rows in (known.ratios, known.slopes, known.curvatures))
    return why_no_density(channel, MixtureSummary(known.weights[::step], *part), rates, alphas)


def thinned(
    channel: MixtureChannel, rates: Array, alphas: Array, rng: np.random.Generator, draw: Draw
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    r"""Draw simulated events at rates of which some are negative, from the samples with positive ones.

    With :math:`f = \sum_c \nu_c p_c` and :math:`f_+` its part of positive rates, an event of these is kept with the
    probability :math:`f / f_+`, at the toy's own rates and parameters. Each toy has a Poisson number of events with
    the total rate.

    Args:
        channel: the channel.
        rates: of each toy, shape ``(n, C)``.
        alphas: shape parameters of each toy, shape ``(n, M)``.
        rng: the source of randomness.
        draw: draws events of the samples, with numbers ``(k, C)`` and parameters ``(k, M)``, toy after toy.

    Returns:
        The positions of the events in the pool, toy after toy, and the number of each, shape ``(n,)``.

    Raises:
        InvalidParameter: if the density of events is negative somewhere.
    """
    points, place = np.unique(np.concatenate([rates, alphas], axis=1), axis=0, return_inverse=True)
    place = place.reshape(-1)
    at, bent = np.split(points, [rates.shape[1]], axis=1)
    for why in (why_none(channel, nu, alpha) for nu, alpha in zip(at, bent, strict=True)):
        if why:
            raise InvalidParameter(why)
    numbers = rng.poisson(rates.sum(axis=1))
    positive = np.maximum(rates, 0.0)
    fractions = positive / np.maximum(positive.sum(axis=1, keepdims=True), 1e-300)
    owner = np.repeat(np.arange(len(rates)), numbers)
    events, pending = np.empty(len(owner), dtype=np.int32), np.arange(len(owner))
    for _ in range(_ROUNDS):
        if not len(pending):
            return events, numbers
        tries = np.bincount(owner[pending], minlength=len(rates))
        candidates = draw(rng.multinomial(tries, fractions), alphas, rng)
        kept = rng.random(len(pending)) < _kept(channel, candidates, place[owner[pending]], at, bent)
        events[pending[kept]] = candidates[kept]
        pending = pending[~kept]
    raise InvalidParameter(
        f"channel {channel.name}: nearly everything of the positive samples is cancelled by negative ones, so that no "
        "events can be drawn: keep the parameters away from there"
    )


def _kept(
    channel: MixtureChannel, events: NDArray[np.int32], place: NDArray[np.intp], rates: Array, alphas: Array
) -> Array:
    """Return the probability to keep each event of the pool at the point that it was drawn for."""
    probability = np.empty(len(events))
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(len(rates) + 1))
    for nu, alpha, begin, end in zip(rates, alphas, ends[:-1], ends[1:], strict=True):
        own = order[begin:end]
        if not len(own):
            continue
        different, copies = np.unique(events[own], return_inverse=True)
        shapes = channel.densities(channel.select(channel.pool.features, different), alpha)
        ratio = (nu @ shapes) / (np.maximum(nu, 0.0) @ shapes)
        probability[own] = ratio[copies.reshape(-1)]
    return probability


def _negative_part(weighted: Array) -> float:
    """Return how much of a density times weights lies below zero, relative to what lies above."""
    above = float(weighted[weighted > 0].sum())
    below = -float(weighted[weighted < 0].sum())
    return 0.0 if below == 0.0 else below / above if above else np.inf
