"""Whole datasets as vectors of a fixed length: what a learned test statistic sees of a dataset of any model."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.model.mixture import MixtureChannel, MixtureSummary
from neyman.model.setwise import SetChannel, SetSummary
from neyman.model.toys import Toys
from neyman.networks.heads import summary_values

if TYPE_CHECKING:
    from neyman.model.model import LearnedTerm, Model

__all__ = ["dataset_features", "toy_features"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_TINY = 1e-30  # of a density that must be positive
_BLOCK = 2_000_000  # events whose values are held at a time
_TABLES: weakref.WeakKeyDictionary[MixtureChannel, tuple[bytes, Array]] = weakref.WeakKeyDictionary()


def toy_features(toys: Toys, references: Array) -> Array:
    r"""Return the features of many toys, shape ``(n, F)``.

    They are the counts and their roots; the auxiliary data; of a dataset-wide network its sums, their means and the
    logarithm of the number of events; and of a mixture the sums over the events of :math:`\log \sum_c \nu_c g_c m_c`,
    its derivatives (the scores) and their squares, at the reference parameters. With the count these are the
    log-likelihood at the references and its expansion to second order about each of them.

    Args:
        toys: the toys.
        references: parameters, shape ``(R, P)``.

    Example:
        >>> import numpy as np
        >>> import neyman
        >>> from neyman.model.toys import draw
        >>> from neyman.inference.fixed_features import toy_features
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> toy_features(draw([1.0], model, 5), np.array([[1.0]])).shape
        (5, 4)
    """
    model = toys.model
    parts = [_common(model, toys.main, toys.auxdata)]
    for term in model.terms:
        name, channel = term.channel.name, term.channel
        events, offsets = toys.events[name], toys.offsets[name]
        if isinstance(channel, SetChannel):
            parts.append(_of_sums(channel.encode_many(toys.tables[name][events], offsets)))
        else:
            parts.append(_summed(_pool_table(model, term, channel, references), events, offsets))
    return np.concatenate(parts, axis=1)


def dataset_features(
    model: Model,
    main: Array,
    auxdata: Array,
    summaries: Mapping[str, MixtureSummary | SetSummary],
    references: Array,
) -> Array:
    """Return the same of one dataset, from the summaries of its events, shape ``(F,)``.

    Args:
        model: the model.
        main: counts and sums of weights, shape ``(B,)``.
        auxdata: the auxiliary data, shape ``(A,)``.
        summaries: the summary of every learned channel.
        references: parameters, shape ``(R, P)``.
    """
    parts = [_common(model, main[None], auxdata[None])[0]]
    for term in model.terms:
        summary: Any = summaries[term.channel.name]
        if isinstance(term.channel, SetChannel):
            parts.append(_of_sums(summary.sums[None])[0])
        else:
            parts.append(summary.weights @ _table(model, term, term.channel, summary, references))
    return np.concatenate(parts)


def _common(model: Model, main: Array, auxdata: Array) -> Array:
    """Return counts, their roots, and auxiliary data; the sums of a network have its number of events in them."""
    of_sets = [term.bin for term in model.terms if isinstance(term.channel, SetChannel)]
    counts = np.delete(main, of_sets, axis=1)
    return np.concatenate([counts, np.sqrt(np.maximum(counts, 0.0)), auxdata], axis=1)


def _of_sums(sums: Array) -> Array:
    values: Array = summary_values(torch.from_numpy(sums)).numpy()
    return values


def _table(
    model: Model, term: LearnedTerm, channel: MixtureChannel, summary: MixtureSummary, references: Array
) -> Array:
    """Return what every event adds, shape ``(N, K)``."""
    columns = []
    for pars in references:
        rates, alphas = model.rates(pars)[0][term.samples, term.bin], pars[term.parameters]
        density = np.maximum(rates @ channel.densities(summary, alphas), _TINY)
        scores = np.concatenate(channel.scores(summary, rates, alphas))
        columns += [np.log(density)[None], scores, scores**2]
    table: Array = np.concatenate(columns).T
    return table


def _pool_table(model: Model, term: LearnedTerm, channel: MixtureChannel, references: Array) -> Array:
    """Return the same of the channel's pool, which every call needs."""
    key = references.tobytes()
    known = _TABLES.get(channel)
    if known is None or known[0] != key:
        known = key, np.ascontiguousarray(_table(model, term, channel, channel.pool.summary, references))
        _TABLES[channel] = known
    return known[1]


def _summed(table: Array, events: NDArray[np.int32], offsets: NDArray[np.int64]) -> Array:
    """Return the sums over the events of each toy, shape ``(n, K)``."""
    n = len(offsets) - 1
    sums = np.zeros((n, table.shape[1]))
    first = 0
    while first < n:
        last = max(int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1, first + 1)
        begin, end = offsets[first], offsets[last]
        some = first + np.flatnonzero(np.diff(offsets[first : last + 1]))
        if len(some):
            sums[some] = np.add.reduceat(table[events[begin:end]], offsets[some] - begin, axis=0)
        first = last
    return sums
