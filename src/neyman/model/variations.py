"""Shape systematics: which sample and parameter each varies, and how its effect goes between and beyond its sources."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Variation", "bend", "interpolation", "own_variations", "slopes_and_curvatures"]


def __dir__() -> list[str]:
    return __all__


_QUADRATIC_UP_TO = 2.0  # two-sided variations go on linearly in log beyond, like pyhf's interpolation code 2 beyond 1


@dataclass(frozen=True)
class Variation:
    """A shape systematic of one sample.

    Args:
        sample: index of the sample in its channel.
        parameter: name of the nuisance parameter.
        hi: column of its ``hi`` source among the sample's classes, ``None`` where that is the nominal one.
        lo: the same for ``lo``.
        mirrored: whether the side without a source has the inverse effect of the other.
    """

    sample: int
    parameter: str
    hi: int | None
    lo: int | None
    mirrored: bool = False

    @property
    def one_sided(self) -> bool:
        """Whether one side is the nominal sample."""
        return (self.hi is None or self.lo is None) and not self.mirrored


def slopes_and_curvatures(
    sides: NDArray[np.floating[Any]], variations: Sequence[Variation]
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Return slopes and curvatures ``(N, M)`` from the log-ratios ``(N, V)`` of all varied sources."""

    def side(columns: Sequence[int | None], others: Sequence[int | None]) -> NDArray[np.floating[Any]]:
        chosen, factors = np.zeros(len(variations), dtype=np.intp), np.zeros(len(variations), dtype=sides.dtype)
        for m, (v, own, other) in enumerate(zip(variations, columns, others, strict=True)):
            if own is not None:
                chosen[m], factors[m] = own, 1.0
            elif v.mirrored and other is not None:
                chosen[m], factors[m] = other, -1.0
        found: NDArray[np.floating[Any]] = sides.take(chosen, axis=1)
        found *= factors / 2
        return found

    hi, lo = [v.hi for v in variations], [v.lo for v in variations]
    up, down = side(hi, lo), side(lo, hi)
    return up - down, up + down


def bend(alphas: NDArray[np.float64], one_sided: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the second derivative of the function that :func:`interpolation` returns, shape ``(M,)``.

    Args:
        alphas: shape ``(M,)``.
        one_sided: shape ``(M,)``.

    Example:
        >>> import numpy as np
        >>> bend(np.array([1.0, 0.0, 3.0]), np.array([False, True, False]))
        array([2.  , 3.75, 0.  ])
    """
    size, square = np.abs(alphas), alphas * alphas
    smooth = np.where(size < 1, (30 - 120 * square + 90 * square * square) / 8, 0.0)
    return np.where(one_sided, smooth, np.where(size <= _QUADRATIC_UP_TO, 2.0, 0.0))


def own_variations(variations: Sequence[Variation], sample: int, columns: NDArray[np.intp]) -> list[Variation]:
    """Return a sample's variations by the positions of their sources among some columns.

    Example:
        >>> own_variations([Variation(0, "scale", 0, 1), Variation(1, "scale", 2, None)], 1, np.array([2]))
        [Variation(sample=1, parameter='scale', hi=0, lo=None, mirrored=False)]
    """
    place: dict[int | None, int] = {int(column): i for i, column in enumerate(columns)}
    own = (v for v in variations if v.sample == sample)
    return [dataclasses.replace(v, hi=place.get(v.hi), lo=place.get(v.lo)) for v in own]


def interpolation(
    alphas: NDArray[np.float64], one_sided: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the function ``v(alpha)`` that multiplies the curvature, and its derivative.

    Two-sided variations are quadratic in log up to two standard deviations and linear beyond. One-sided ones follow
    pyhf's code 4p: linear beyond one standard deviation, so that the side without a source stays nominal.

    Args:
        alphas: shape ``(M,)``.
        one_sided: shape ``(M,)``.

    Example:
        >>> import numpy as np
        >>> interpolation(np.array([1.0, -1.5, 3.0]), np.array([False, True, False]))[0]
        array([1. , 1.5, 8. ])
    """
    size, edge = np.abs(alphas), _QUADRATIC_UP_TO
    square = alphas * alphas
    quadratic = np.where(size <= edge, square, edge * (2 * size - edge))
    d_quadratic = 2 * np.minimum(np.maximum(alphas, -edge), edge)
    if not one_sided.any():
        return quadratic, d_quadratic
    smooth = np.where(size < 1, square * (15 - 10 * square + 3 * square * square) / 8, size)
    d_smooth = np.where(size < 1, alphas * (30 - 40 * square + 18 * square * square) / 8, np.sign(alphas))
    return np.where(one_sided, smooth, quadratic), np.where(one_sided, d_smooth, d_quadratic)
