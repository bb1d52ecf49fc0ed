"""Whole datasets as vectors of a fixed length: what a learned test statistic sees of a dataset of any model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.model.channel import ChannelSummary
from neyman.model.toys import Toys

if TYPE_CHECKING:
    from neyman.model.likelihood import LearnedTerm
    from neyman.model.model import Model

__all__ = ["dataset_features", "toy_features"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


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
        parts.append(term.channel.vectors(toys.events[term.channel.name], *_at(model, term, references)))
    return np.concatenate(parts, axis=1)


def dataset_features(
    model: Model,
    main: Array,
    auxdata: Array,
    summaries: Mapping[str, ChannelSummary],
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
        parts.append(term.channel.vector(summaries[term.channel.name], *_at(model, term, references)))
    return np.concatenate(parts)


def _common(model: Model, main: Array, auxdata: Array) -> Array:
    """Return counts, their roots, and auxiliary data; the sums of a network have its number of events in them."""
    counted = [term.bin for term in model.terms if term.channel.vectors_have_number]
    counts = np.delete(main, counted, axis=1)
    return np.concatenate([counts, np.sqrt(np.maximum(counts, 0.0)), auxdata], axis=1)


def _at(model: Model, term: LearnedTerm, references: Array) -> tuple[Array, Array]:
    """Return the rates and parameters of a channel at the references, shapes ``(R, C)`` and ``(R, M)``."""
    return model.rates(references)[0][:, term.samples, term.bin], references[:, term.parameters]
