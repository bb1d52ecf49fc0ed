"""Where a function, or the straight line between two tested values of it, crosses a threshold."""

from __future__ import annotations

import math
from collections.abc import Callable

import scipy.optimize

__all__ = ["crossing", "straight"]


def __dir__() -> list[str]:
    return __all__


_STEPS = 60  # doublings in search of a crossing
_FAR = 10.0  # of the target, what a guess has that is of no use
_HALVINGS = 25  # in search of where a function becomes infinite
_PRECISION = 1e-5  # of a crossing, relative to its distance


def crossing(
    function: Callable[[float], float],
    target: float,
    start: float,
    guess: float,
    bound: float | None = None,
    steps: int = _STEPS,
) -> float:
    """Return where a function that is below the target at the start crosses it, or the bound if it does not before.

    Args:
        function: the function; the fewer calls, the straighter it is.
        target: the target.
        start: a point at which the function is below it; beyond some other it may be infinite.
        guess: about where the crossing should be, on either side of the start.
        bound: where the search ends, on the guess's side; default is nowhere.
        steps: how often the distance from the start is doubled at most.

    Returns:
        The crossing, or where the function becomes infinite; infinity if there is neither one nor a bound.

    Example:
        >>> from neyman.inference.crossing import crossing
        >>> round(crossing(lambda x: x**2, 4.0, start=0.0, guess=1.0), 3)
        2.0
    """
    direction = math.copysign(1.0, guess - start)
    end = direction * math.inf if bound is None else bound
    below, above = start, guess
    for _ in range(steps):
        above = min(above, end) if direction > 0.0 else max(above, end)
        if function(above) >= target:
            break
        if above == end:
            return end
        below, above = above, start + 2.0 * (above - start)
    else:
        return direction * math.inf
    if math.isinf(function(above)):
        below, above = _edge(function, target, start, below, above)
        if math.isinf(function(above)):
            return below
    for _ in range(_STEPS):
        if function(above) <= _FAR * target:
            break
        # the guess was far too long, and so would be the steps of what follows
        nearer = below + 0.1 * (above - below)
        if function(nearer) < target:
            below = nearer
            break
        above = nearer
    reach = abs(above - start)
    root = scipy.optimize.brentq(lambda x: function(x) - target, below, above, xtol=_PRECISION * reach)
    return float(root)


def _edge(
    function: Callable[[float], float], target: float, start: float, below: float, above: float
) -> tuple[float, float]:
    """Return a point below the target and one at which it is reached or, closely beyond the first, infinite."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (below + above)
        value = function(middle)
        if value < target:
            below = middle
        else:
            above = middle
        if target <= value < math.inf or abs(above - below) <= _PRECISION * abs(below - start):
            break
    return below, above


def straight(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Return where the straight line through two points, each a value and what is found there, is zero.

    Example:
        >>> from neyman.inference.crossing import straight
        >>> straight((1.0, -0.5), (2.0, 1.5))
        1.25
    """
    (a, at_a), (b, at_b) = first, second
    return a + (b - a) * (at_a / (at_a - at_b))
