"""Where fits begin if a likelihood may have several maxima, for a rate is not linear in a parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from neyman.inference.twice_nll import TwiceNLL
from neyman.model.model import Model

__all__ = ["starts", "starts_of_batch"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_FEW, _MANY = 12, 32  # values of a parameter that are looked at in each of many toys, and in one dataset
_BEYOND = 30.0  # in -2 log L: a minimum seen so much higher than another is none to be followed


def starts(nll: TwiceNLL, pars: Array, bounds: Sequence[tuple[float, float]]) -> list[Array]:
    """Return where to begin the minimisation of -2 log L of one dataset: the given point, or lower ones.

    Args:
        nll: -2 log L.
        pars: the free parameters, shape ``(F,)``.
        bounds: their bounds.

    Returns:
        The given point alone where every rate is linear in each parameter. Else, if there are lower points along one of
        the others, the lowest two that lie in different valleys.
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

    return _valleys(values, start, low, high, curved, _FEW)


def _valleys(
    values: Callable[[Array], Array],
    start: Array,
    low: Array,
    high: Array,
    curved: Sequence[int] | NDArray[np.intp],
    number: int,
) -> list[tuple[NDArray[np.intp], Array]]:
    """Return the lowest points along the axes, and of the datasets that have one, the lowest in another valley.

    Args:
        values: returns -2 log L at points of shape ``(k, n, F)``, shape ``(k, n)``.
        start: where the axes meet, shape ``(n, F)``.
        low: the lower bounds, shape ``(F,)``.
        high: the upper bounds.
        curved: the axes.
        number: of points on each.
    """
    everyone = np.arange(len(start))
    points, heights = [], []
    for axis in curved:
        on_axis = np.repeat(start[None], number, axis=0)
        on_axis[1:, :, axis] = _spread(start[:, axis], low[axis], high[axis], number - 1)
        order = np.argsort(on_axis[:, :, axis], axis=0, kind="stable")
        on_axis = np.take_along_axis(on_axis, order[:, :, None], axis=0)
        height = values(on_axis)
        padded = np.concatenate([np.full((1, len(start)), np.inf), height, np.full((1, len(start)), np.inf)])
        lowest = (padded[1:-1] < padded[:-2]) & (padded[1:-1] <= padded[2:])
        points.append(on_axis)
        heights.append(np.where(lowest, height, np.inf))
    joined, height = np.concatenate(points), np.concatenate(heights)
    order = np.argsort(height, axis=0, kind="stable")
    first, second = order[0], order[1]
    best = np.where(np.isfinite(height[first, everyone])[:, None], joined[first, everyone], start)
    with np.errstate(invalid="ignore"):
        also = np.flatnonzero(height[second, everyone] - height[first, everyone] < _BEYOND)
    return [(everyone, best), (also, joined[second[also], also])]


def _spread(start: Array, low: float, high: float, number: int) -> Array:
    """Return values between the bounds, denser towards the lower one, where roots are steep, shape ``(k, n)``."""
    reach = 10.0 * np.maximum(1.0, np.abs(start))
    below = np.where(np.isfinite(low), low, start - reach)
    above = np.where(np.isfinite(high), high, start + reach)
    even = np.linspace(0.0, 1.0, number // 2 + 1)
    shares = np.union1d(even, np.linspace(0.0, 1.0, number - number // 2 + 1) ** 2)
    shares = np.concatenate([shares, np.full(max(number - shares.size, 0), 0.5)])[:number]
    return np.asarray(below + shares[:, None] * (above - below))
