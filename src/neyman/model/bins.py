"""Bins of one quantity for a figure: on the bulk of its events, with what is far off in an open bin at either end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter

__all__ = ["Bins", "checked_edges", "equal_bins", "readable_bins", "weighted_quantile"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_LOOKED_AT = 200_000  # events that the bins are chosen by
_SPIKE = 0.01  # of the events on one value make it a spike, which does not say where the bulk is
_LEVELS = (0.002, 0.01, 0.16, 0.5, 0.84, 0.99, 0.998)  # the first and last of the events would stretch the axis
_FAR = 6.0  # standard deviations, as the middle of the events has them
_NEAR = 0.5  # of the bulk's width: what is no further off is shown, too
_FEW = 40  # whole numbers have a bin each up to this many
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of one quantity; a bin has its lower edge.

    Args:
        edges: rising, the first perhaps minus infinity and the last infinity, shape ``(B + 1,)``.
        ends: what to call the first and the last bin where they are open, else empty.
    """

    edges: Array
    ends: tuple[str, str]

    @classmethod
    def around(cls, edges: Array, values: Sequence[ArrayLike]) -> Bins:
        """Add open bins at the ends of some edges where there are values beyond.

        Args:
            edges: finite and rising.
            values: those of the simulation, of the data, ...

        Example:
            >>> Bins.around(np.array([0.0, 1.0, 2.0]), [np.array([0.5, 1.5, -999.0, -999.0]), np.array([2.0])])
            Bins(edges=array([-inf,   0.,   1.,   2.,  inf]), ends=('-999', '≥ 2'))
        """
        arrays = [np.asarray(some) for some in values]
        below = [some[some < edges[0]] for some in arrays]
        above = [some[some >= edges[-1]] for some in arrays]
        ends, whole = ["", ""], edges
        if any(map(len, below)):
            whole, ends[0] = np.append(-np.inf, whole), _only(below) or f"< {edges[0]:.4g}"
        if any(map(len, above)):
            whole, ends[1] = np.append(whole, np.inf), _only(above) or f"≥ {edges[-1]:.4g}"
        return cls(whole, (ends[0], ends[1]))

    def __len__(self) -> int:
        return len(self.edges) - 1

    def index(self, values: ArrayLike) -> NDArray[np.uint16]:
        """Return the bin of each value, all of which are within the edges."""
        return np.searchsorted(self.edges[1:-1], np.asarray(values), side="right").astype(np.uint16)


def readable_bins(values: ArrayLike, weights: Array, number: int) -> Array:
    """Return edges, all finite, that show the bulk of the events in about so many bins of one width.

    Whole numbers have bins about them. Values that hold many of the events (zeros, or -999 where there is nothing) do
    not say where the bulk is, and are shown within the edges only if they are near.

    Args:
        values: shape ``(N,)``.
        weights: not negative, shape ``(N,)``.
        number: how many bins there are, about.

    Example:
        >>> import numpy as np
        >>> x = np.concatenate([np.full(600, -999.0), np.random.default_rng(0).uniform(20.0, 70.0, 400)])
        >>> readable_bins(x, np.ones(1000), 10)
        array([20., 25., 30., 35., 40., 45., 50., 55., 60., 65., 70.])
        >>> readable_bins([0.0, 1.0, 1.0, 3.0, -999.0], np.ones(5), 10)
        array([-0.5,  0.5,  1.5,  2.5,  3.5])
    """
    x, w = _some(np.asarray(values, dtype=np.float64), weights)
    if not len(x):
        return np.array([0.0, 1.0])
    unique, place = np.unique(x, return_inverse=True)
    total = np.bincount(place, w).astype(np.float64)
    share = total / (total.sum() or 1.0)
    if np.all(unique == np.round(unique)):
        return _whole(unique, share, number)
    spike = share > _SPIKE
    low, high = _bulk(unique[~spike], share[~spike]) if not spike.all() else _bulk(*_without_far(unique, share))
    for value in unique[spike]:
        if low - _NEAR * (high - low) <= value <= high + _NEAR * (high - low):
            low, high = min(low, value), max(high, value)
    if not low < high:
        low, high = low - 0.5, low + 0.5
    step = _step((high - low) / number)
    # where the events end the bins do, so that none is half empty: at an angle of pi, but at a mass of 160, not 159.998
    fine, last = step / 10, float(unique[unique <= high].max())
    low, high = fine * math.floor(low / fine + 1e-6), fine * math.ceil(high / fine - 1e-6)
    high += fine * (last >= high)  # a bin does not have its upper edge
    edges = np.linspace(low, high, max(round((high - low) / step), 1) + 1)
    return np.asarray(np.round(edges, 10 - math.floor(math.log10(np.abs(edges).max()))))


def equal_bins(values: ArrayLike, weights: Array, number: int) -> Array:
    """Return edges, all finite, between which there is the same weight, as far as spikes allow.

    Args:
        values: shape ``(N,)``; those that are not finite are left out.
        weights: shape ``(N,)``; negative ones count as none.
        number: of bins.

    Example:
        >>> equal_bins(np.arange(8.0), np.ones(8), 4)
        array([0., 2., 4., 6., 8.])
    """
    x, w = _some(np.asarray(values, dtype=np.float64), np.maximum(weights, 0.0))
    if not w.sum() > 0:
        return np.array([0.0, 1.0])
    inner = weighted_quantile(x, w, np.arange(1, number) / number)
    last = x.max() + max(np.ptp(x) / max(len(x) - 1, 1), abs(x.max()) * 1e-6, 1e-12)
    return np.unique(np.concatenate([[x.min()], inner, [last]]))


def weighted_quantile(values: Array, weights: Array, levels: ArrayLike) -> Array:
    """Return the smallest values below which there is at least each of the levels of the weight.

    Example:
        >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), [0.25, 0.5])
        array([2., 2.])
    """
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    # half of the last digits: levels that are met exactly must not go either way
    place = np.searchsorted(cumulative, np.asarray(levels) * cumulative[-1] * (1 + 1e-12), side="right")
    return np.asarray(values[order][np.minimum(place, len(values) - 1)])


def checked_edges(edges: ArrayLike, what: str) -> Array:
    """Return edges of bins that a user gave.

    Raises:
        InvalidParameter: if they do not rise.
    """
    try:
        checked = np.asarray(edges, dtype=np.float64)
    except (TypeError, ValueError):
        checked = np.empty(0)
    if checked.ndim != 1 or len(checked) < 2 or not np.isfinite(checked).all() or not np.all(np.diff(checked) > 0):
        raise InvalidParameter(f"the bins of {what} are {edges!r}: give their number, or at least two edges that rise")
    return checked


def _some(values: Array, weights: Array) -> tuple[Array, Array]:
    """Return finite values with their weights, evenly chosen of many."""
    step = -(-len(values) // _LOOKED_AT) or 1
    values, weights = values[::step], weights[::step]
    finite = np.isfinite(values)
    return values[finite], weights[finite]


def _bulk(unique: Array, share: Array) -> tuple[float, float]:
    """Return where the bulk of the values begins and ends."""
    low, most_low, down, middle, up, most_high, high = weighted_quantile(unique, share, _LEVELS)
    # heavy tails are cut where they are far off, and have no more than one event in a hundred
    low = min(max(low, down - _FAR * (middle - down)), most_low)
    high = max(min(high, up + _FAR * (up - middle)), most_high)
    near = _NEAR * (high - low)
    lowest, highest = float(unique[0]), float(unique[-1])
    return (lowest if lowest >= low - near else float(low)), (highest if highest <= high + near else float(high))


def _without_far(unique: Array, share: Array) -> tuple[Array, Array]:
    """Leave out the first or the last values as long as they are further off than all others are apart."""
    kept, least = slice(0, len(unique)), _FEW * float(np.diff(unique).min(initial=np.inf))
    while kept.stop - kept.start > 2 and unique[kept.stop - 1] - unique[kept.start] >= least:
        first, second, before, last = unique[[kept.start, kept.start + 1, kept.stop - 2, kept.stop - 1]]
        if second - first > last - second:
            kept = slice(kept.start + 1, kept.stop)
        elif last - before > before - first:
            kept = slice(kept.start, kept.stop - 1)
        else:
            break
    return unique[kept], share[kept]


def _whole(unique: Array, share: Array, number: int) -> Array:
    low, high = float(unique[0]), float(unique[-1])
    if high - low >= _FEW:
        unique, share = _without_far(unique, share)
        low, high = float(unique[0]), float(unique[-1])
        if high - low >= _FEW:
            low, high = _bulk(unique, share)
    step = 1.0 if high - low < _FEW else max(1.0, math.floor(_step((high - low + 1) / number)))
    return np.asarray(low + step * np.arange(math.floor((high - low) / step) + 2) - 0.5)


def _step(width: float) -> float:
    """Return a round number near a width."""
    power = 10.0 ** math.floor(math.log10(width))
    return power * min(_STEPS, key=lambda step: abs(math.log(step * power / width)))


def _only(beyond: Sequence[Array]) -> str:
    """Return the value that all of them have, as a text; nothing if there are several."""
    values = np.concatenate(beyond)
    value = float(values[0])
    return f"{value:.6g}" if len(values) > 1 and np.isfinite(value) and np.all(values == value) else ""
