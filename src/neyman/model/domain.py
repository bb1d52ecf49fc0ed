"""Where expressions of one parameter have values: the bounds of parameters, drawn in to there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawn_in"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_POINTS = 201
_FAR = 1e4  # an infinite bound is looked for an end of the domain so far away
_HALVINGS = 60


def drawn_in(
    defined: Callable[[Array], NDArray[np.bool_]], start: float, low: float, high: float
) -> tuple[float, float]:
    """Return the part of a range, around its start, where a function has values.

    Args:
        defined: says of values, shape ``(n,)``, whether the function is defined there.
        start: where the function is defined; if that is not within the range, what is nearest counts.
        low: the lower end of the range, which may be infinite.
        high: the upper end.

    Example:
        >>> import numpy as np
        >>> from neyman.model.domain import drawn_in
        >>> drawn_in(lambda x: (x >= 0.0) & (x <= 4.2), 1.0, -3.0, float("inf"))
        (0.0, 4.2)
    """
    unit = _FAR * max(1.0, abs(start))
    ends = (low if np.isfinite(low) else start - unit), (high if np.isfinite(high) else start + unit)
    points = np.unique([*np.linspace(*ends, _POINTS), np.clip(start, *ends)])
    inside = defined(points)
    if inside.all() or not inside.any():
        return low, high
    known = np.flatnonzero(inside)
    centre = int(known[np.argmin(np.abs(points[known] - start))])
    outside = np.flatnonzero(~inside)
    below, above = outside[outside < centre], outside[outside > centre]
    return (
        _end(defined, points[below[-1] + 1], points[below[-1]]) if below.size else low,
        _end(defined, points[above[0] - 1], points[above[0]]) if above.size else high,
    )


def _end(defined: Callable[[Array], NDArray[np.bool_]], inside: float, outside: float) -> float:
    """Return the last value at which a function is defined, between two, as a short number if it may be one."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (inside + outside)
        inside, outside = (middle, outside) if defined(np.array([middle]))[0] else (inside, middle)
    for digits in range(13):
        short = round(inside, digits)
        if abs(short - inside) < 1e-9 * max(1.0, abs(inside)) and defined(np.array([short]))[0]:
            return float(short)
    return float(inside)
