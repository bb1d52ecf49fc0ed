"""Entries of an event's vectors, by positions or by a condition; what is not there is missing."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from neyman.exceptions import InvalidEvents
from neyman.inputs.operators import condition, kind_of

__all__ = ["element", "sliced", "subset", "taken"]


def __dir__() -> list[str]:
    return __all__


def element(x: ak.Array, position: int, axis: int = 1) -> ak.Array:
    """Return the entry at a position, counted from the end where it is negative; missing where there are too few.

    Example:
        >>> import awkward as ak
        >>> element(ak.Array([[30.0, 20.0], [25.0], []]), 1).to_list()
        [20.0, None, None]
    """
    return ak.firsts(sliced(x, slice(position, position + 1 or None), axis), axis=axis)


def sliced(x: ak.Array, part: slice, axis: int = 1) -> ak.Array:
    """Return a part of the vectors."""
    return x[(*(slice(None),) * axis, part)]


def taken(x: ak.Array, positions: Any) -> ak.Array:
    """Return the entries at the positions of each event, one or a list; missing where there is none, as for -1.

    Example:
        >>> import awkward as ak
        >>> pt = ak.Array([[30.0, 20.0], [25.0], []])
        >>> taken(pt, ak.Array([1, 1, None])).to_list()
        [20.0, None, None]
        >>> taken(pt, ak.Array([[1, -1, 0], [], [0]])).to_list()
        [[20.0, None, 30.0], [], [None]]
    """
    if not isinstance(positions, ak.Array):
        return element(x, int(positions))
    if positions.ndim == 1:
        return ak.firsts(taken(x, ak.singletons(positions)), axis=1)
    if positions.ndim > x.ndim:
        raise InvalidEvents("the positions are vectors of more levels than what they are positions in")
    full = ak.fill_none(x, [], axis=0)
    there = (positions >= 0) & (positions < ak.num(full, axis=positions.ndim - 1))
    return full[ak.mask(positions, ak.fill_none(there, False, axis=-1))]


def subset(x: ak.Array, index: Any, *, positions: bool, texts: tuple[str, str]) -> ak.Array:
    """Return ``x[index]``, where the index is a condition or positions.

    Args:
        x: vectors.
        index: what stands in the brackets.
        positions: whether integers can only be meant as positions.
        texts: what the two are, for messages.

    Raises:
        InvalidEvents: if the index would choose events, or can be meant as either.
    """
    text, chosen = texts
    if kind_of(index) == "i" and positions:
        return taken(x, index)
    if kind_of(index) not in "bi":
        raise InvalidEvents(f"{chosen} is no condition; compare it with a number, as in {text}[{chosen} > 0]")
    if not isinstance(index, ak.Array) or index.ndim < 2:
        where = f"{text}[:, 0]" if kind_of(index) == "b" else f"{text}[:, {chosen}]"
        raise InvalidEvents(
            f"the first index runs over the events; write {where}, or {text}[condition] with one per entry"
        )
    same = ak.all(ak.num(x, axis=1) == ak.num(index, axis=1), axis=None)
    if kind_of(index) == "i" and same:
        raise InvalidEvents(
            f"{chosen} can be flags or positions; write {text}[{chosen} != 0] or {text}[{chosen} == 1] for a "
            f"condition, {text}[:, {chosen}] for positions"
        )
    if kind_of(index) == "i":
        return taken(x, index)
    if not same:
        unequal = int(np.count_nonzero(ak.to_numpy(ak.num(x, axis=1) != ak.num(index, axis=1))))
        raise InvalidEvents(
            f"{chosen} and {text} have not the same number of entries in {unequal} events; a condition has one each"
        )
    return x[condition(index, chosen)]
