"""Shape systematics: which sample and parameter each varies, and how its effect goes between and beyond its sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Variation", "interpolation", "slopes_and_curvatures"]


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
    sides: NDArray[np.float64], variations: Sequence[Variation]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return slopes and curvatures ``(N, M)`` from the log-ratios ``(N, V)`` of all varied sources."""

    def side(v: Variation, own: int | None, other: int | None) -> NDArray[np.float64]:
        if own is not None:
            return sides[:, own]
        return -sides[:, other] if v.mirrored and other is not None else np.zeros(len(sides))

    hi = [side(v, v.hi, v.lo) for v in variations]
    lo = [side(v, v.lo, v.hi) for v in variations]
    up = np.stack(hi, axis=1) if hi else np.empty((len(sides), 0))
    down = np.stack(lo, axis=1) if lo else np.empty((len(sides), 0))
    return (up - down) / 2, (up + down) / 2


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
