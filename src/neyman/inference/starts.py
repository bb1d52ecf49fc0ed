"""Where fits begin if a likelihood may have several maxima, for a rate is not linear in a parameter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from neyman.inference.twice_nll import TwiceNLL
from neyman.model.model import Model

__all__ = ["starts", "starts_of_batch"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_FEW, _MANY = 12, 32  # values of a parameter that are looked at in each of many toys, and in one dataset
_MOST = 4  # times as many points, at most, are looked at between the axes of several parameters, near and far
_LOWEST = 16  # minima among these are taken, but for those near a lower one:
_NEAR = 0.15  # of the range in which minima are looked for;
_FURTHER = 4  # so many beside the lowest are followed, with a single axis one
_BEYOND = 30.0  # in -2 log L: a minimum seen so much higher than another is none to be followed


def starts(nll: TwiceNLL, pars: Array, bounds: Sequence[tuple[float, float]]) -> list[Array]:
    """Return where to begin the minimisation of -2 log L of one dataset: the given point, or lower ones.

    Args:
        nll: -2 log L.
        pars: the free parameters, shape ``(F,)``.
        bounds: their bounds.

    Returns:
        The given point alone where every rate is linear in each parameter. Else the lowest point seen along the axis of
        the other and, if there is one, the lowest in another valley; with several such parameters the lowest of all
        points seen along and between their axes, and up to four in other valleys.
    """
    curved = np.flatnonzero(np.isin(nll.free, nll.model.rates.curved)) if nll.has_rates else ()
    if not len(curved):
        return [pars]

    def values(points: Array) -> Array:
        return np.array([[nll(point)] for point in points[:, 0]])

    low, high = np.array(bounds, dtype=np.float64).T
    found = _valleys(values, pars[None], low, high, curved, _MANY)
    return [points[0] for rows, points in found if rows.size]


def starts_of_batch(
    nll: Callable[[Array, NDArray[np.intp]], tuple[Array, Array, Array]],
    model: Model,
    start: Array,
    low: Array,
    high: Array,
    held: NDArray[np.bool_],
) -> list[tuple[NDArray[np.intp], Array]]:
    """Return where to begin the fits of many toys.

    Args:
        nll: -2 log L of each.
        model: the model.
        start: the given points, shape ``(n, P)``.
        low: the lower bounds, shape ``(P,)``.
        high: the upper bounds.
        held: which parameters are held, shape ``(P,)``.

    Returns:
        Sets of toys and their points; all toys with the lowest ones come first.
    """
    everyone = np.arange(len(start))
    curved = model.rates.curved
    curved = curved[~held[curved]]
    if not curved.size:
        return [(everyone, start)]

    def values(points: Array) -> Array:
        return np.array([nll(one, everyone)[0] for one in points])

    first, *others = _valleys(values, start, low, high, curved, _FEW)
    return [first, *(found for found in others if found[0].size)]


def _valleys(
    values: Callable[[Array], Array],
    start: Array,
    low: Array,
    high: Array,
    curved: Sequence[int] | NDArray[np.intp],
    number: int,
) -> list[tuple[NDArray[np.intp], Array]]:
    """Return the lowest points of all datasets, and further ones in other valleys of those that have them.

    One axis after another is searched, each through the lowest point so far; then, with several, what lies between
    them, where these say that it is not too high, and coarser everywhere: of points spread evenly those that are lower
    than all near ones (A. Törn and S. Viitanen, "Topographical global optimization", 1992).

    Args:
        values: returns -2 log L at points of shape ``(k, n, F)``, shape ``(k, n)``.
        start: where the axes meet, shape ``(n, F)``.
        low: the lower bounds, shape ``(F,)``.
        high: the upper bounds.
        curved: the axes.
        number: of points on each.
    """
    everyone = np.arange(len(start))
    points, heights, sides = [], [], []
    here = start
    for axis in curved:
        on_axis = np.repeat(here[None], number, axis=0)
        on_axis[1:, :, axis] = _spread(start[:, axis], low[axis], high[axis], number - 1)
        order = np.argsort(on_axis[:, :, axis], axis=0, kind="stable")
        on_axis = np.take_along_axis(on_axis, order[:, :, None], axis=0)
        height = values(on_axis)
        possible = np.isfinite(height.min(axis=0))[:, None]
        here = np.where(possible, on_axis[np.argmin(height, axis=0), everyone], here)
        sides.append(_side(on_axis[:, :, axis], height))
        points.append(on_axis)
        heights.append(np.where(_lower_than_neighbours(height), height, np.inf))
    if len(curved) > 1:
        inside, neighbours = _lattice(len(curved), number * min(len(curved), _MOST))
        everywhere = [_reach(start[:, axis], low[axis], high[axis]) for axis in curved]
        for box in (sides, everywhere):
            between = np.repeat(here[None], len(inside), axis=0)
            for k, (axis, (left, right)) in enumerate(zip(curved, box, strict=True)):
                between[:, :, axis] = left + inside[:, k, None] * (right - left)
            height = values(between)
            points.append(between)
            heights.append(np.where((height[:, None] <= height[neighbours]).all(axis=1), height, np.inf))
    joined, height = np.concatenate(points), np.concatenate(heights)
    order = np.argsort(height, axis=0, kind="stable")[:_LOWEST]
    height, joined = height[order, everyone], joined[order, everyone]
    best = np.where(np.isfinite(height[0])[:, None], joined[0], start)
    with np.errstate(invalid="ignore"):
        also = height[1:] - height[0] < _BEYOND
    if len(curved) > 1:  # those on one axis are in different valleys, as far as is seen
        width = np.maximum(np.stack([right - left for left, right in sides], axis=1), np.finfo(float).tiny)
        also = _apart(joined[:, :, list(curved)] / width, also)
    also &= np.cumsum(also, axis=0) <= (1 if len(curved) == 1 else _FURTHER)
    others = [(np.flatnonzero(rows), joined[k + 1, rows]) for k, rows in enumerate(also)]
    return [(everyone, best), *others]


def _apart(points: Array, also: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the candidates but the first are not near a lower one.

    Args:
        points: the candidates, from the lowest, in units of where they may be, shape ``(k, n, F)``.
        also: which of them but the first count, shape ``(k - 1, n)``.
    """
    kept = np.concatenate([np.ones_like(also[:1]), also])
    for k in range(1, len(points)):
        near = np.abs(points[:k] - points[k]).max(axis=2) < _NEAR
        kept[k] &= ~(near & kept[:k]).any(axis=0)
    return np.asarray(kept[1:])


def _lower_than_neighbours(height: Array) -> NDArray[np.bool_]:
    """Return which values are lower than those before and after them on an axis, shape ``(k, n)``."""
    end = np.full((1, height.shape[1]), np.inf)
    padded = np.concatenate([end, height, end])
    return np.asarray((padded[1:-1] < padded[:-2]) & (padded[1:-1] <= padded[2:]))


def _side(values: Array, height: Array) -> tuple[Array, Array]:
    """Return between which values of a parameter to look for minima that no axis meets, each of shape ``(n,)``.

    Where -2 log L is not too high on the axis, up to the next values, and half as far again to either side.
    """
    with np.errstate(invalid="ignore"):
        near = np.isfinite(height) & (height - height.min(axis=0) < _BEYOND)
    first, last = np.argmax(near, axis=0), len(near) - 1 - np.argmax(near[::-1], axis=0)
    everyone = np.arange(values.shape[1])
    left, right = values[np.maximum(first - 1, 0), everyone], values[np.minimum(last + 1, len(near) - 1), everyone]
    more = 0.25 * (right - left)
    return np.maximum(left - more, values[0]), np.minimum(right + more, values[-1])


@functools.cache
def _lattice(size: int, number: int) -> tuple[Array, NDArray[np.intp]]:
    """Return points spread over a cube, shape ``(k, size)``, and the nearest others of each, shape ``(k, 2 size)``."""
    exponent = int(np.ceil(np.log2(number)))
    points = qmc.Sobol(size, scramble=False).random_base2(exponent) + 0.5 ** (exponent + 1)
    distance = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    return points, np.argsort(distance, axis=1, kind="stable")[:, 1 : 2 * size + 1]


def _reach(start: Array, low: float, high: float) -> tuple[Array, Array]:
    """Return the bounds of a parameter or, where there is none, a value far away, each of shape ``(n,)``."""
    reach = 10.0 * np.maximum(1.0, np.abs(start))
    below, above = np.full_like(start, low), np.full_like(start, high)
    return np.where(np.isfinite(below), below, start - reach), np.where(np.isfinite(above), above, start + reach)


def _spread(start: Array, low: float, high: float, number: int) -> Array:
    """Return values between the bounds, denser towards the lower one, where roots are steep, shape ``(k, n)``."""
    below, above = _reach(start, low, high)
    even = np.linspace(0.0, 1.0, number // 2 + 1)
    shares = np.union1d(even, np.linspace(0.0, 1.0, number - number // 2 + 1) ** 2)
    shares = np.concatenate([shares, np.full(max(number - shares.size, 0), 0.5)])[:number]
    return np.asarray(below + shares[:, None] * (above - below))
