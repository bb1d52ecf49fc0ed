"""A mixture's log-likelihood expanded about reference points: sums over the events, which make a dataset a vector."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.model.channel import ToyEvents
from neyman.model.pool import MixtureSummary

if TYPE_CHECKING:
    from neyman.model.mixture import MixtureChannel

__all__ = ["event_terms", "pool_terms", "summed"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_TINY = 1e-30  # of a density that must be positive
_BLOCK = 2_000_000  # events whose values are held at a time

# of each channel the terms of its pool, which every call needs, at the last references
_known: weakref.WeakKeyDictionary[MixtureChannel, tuple[bytes, Array]] = weakref.WeakKeyDictionary()


def event_terms(channel: MixtureChannel, summary: MixtureSummary, rates: Array, alphas: Array) -> Array:
    r"""Return what every event adds to the vector of its dataset, shape ``(N, K)``.

    At each reference point these are :math:`\log \sum_c \nu_c g_c m_c`, its derivatives (the scores) and their squares:
    with the number of events, the log-likelihood there and its expansion to second order.

    Args:
        channel: the channel.
        summary: of the events.
        rates: the samples' rates at the reference points, shape ``(R, C)``.
        alphas: the nuisance parameters there, shape ``(R, M)``.
    """
    columns = []
    for nu, alpha in zip(rates, alphas, strict=True):
        density = np.maximum(nu @ channel.densities(summary, alpha), _TINY)
        scores = np.concatenate(channel.scores(summary, nu, alpha))
        columns += [np.log(density)[None], scores, scores**2]
    table: Array = np.concatenate(columns).T
    return table


def pool_terms(channel: MixtureChannel, rates: Array, alphas: Array) -> Array:
    """Return the terms of the channel's pool; the arguments are those of :func:`event_terms`."""
    key = rates.tobytes() + alphas.tobytes()
    known = _known.get(channel)
    if known is None or known[0] != key:
        known = key, np.ascontiguousarray(event_terms(channel, channel.pool.summary, rates, alphas))
        _known[channel] = known
    return known[1]


def summed(terms: Array, toys: ToyEvents) -> Array:
    """Return the sums of the terms over the events of each toy, shape ``(n, K)``."""
    sums, offsets = np.zeros((len(toys), terms.shape[1])), toys.offsets
    first = 0
    while first < len(toys):
        last = max(int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1, first + 1)
        begin, end = offsets[first], offsets[last]
        some = first + np.flatnonzero(np.diff(offsets[first : last + 1]))
        if len(some):
            sums[some] = np.add.reduceat(terms[toys.index[begin:end]], offsets[some] - begin, axis=0)
        first = last
    return sums
