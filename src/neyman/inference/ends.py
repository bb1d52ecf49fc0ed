"""From tested values to an interval: where to test next, and where the ends lie and how well they are known."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from neyman.inference.calibrations import Point
from neyman.inference.crossing import straight

__all__ = ["extended", "intervals_of", "refined", "settled", "without_chance"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_EXTENSIONS = 30  # where the first grid turns out too short
_EXTENSION = 0.25  # of the length of the grid, each time
_BISECTIONS = 40
_SHARES = (0.2, 0.8)  # of a bracket, between which it is cut: a noisy p-value must not cut off next to nothing
_SETTLING = 6  # more tested values at most, for each end

# The two constants of chance. Measured on p-values of 4000 toys with a jump, a slope, and a flat part that stays within
# one error of the threshold (60 seeds each): the root mean square of the pulls of the end is 0.91, 0.50 and 0.78.
# The power of the probability that a p-value is on its side: those that stay near the threshold for long are more
# likely on the wrong side than their errors alone tell. With 1 the pulls of the flat part are 1.44, with 0.25 0.53.
_POWER = 0.5
# Standard deviations that one p-value at least of a gap or an island must be from the threshold. With 2 some islands of
# the flat part stay, and its pulls are 3.3; with 4 nothing changes.
_CHANCE = 3.0


Calibrated = Callable[[Sequence[float]], list[Point]]


def extended(calibrated: Calibrated, points: list[Point], limits: tuple[float, float]) -> list[Point]:
    """Go on beyond the ends of the grid as long as these are accepted.

    Args:
        calibrated: tests values.
        points: what is tested so far, in ascending order.
        limits: how far to go.
    """
    for _ in range(_EXTENSIONS):
        length = points[-1].value - points[0].value
        new = []
        if points[0].accepted and points[0].value > limits[0]:
            new.append(max(limits[0], points[0].value - _EXTENSION * length))
        if points[-1].accepted and points[-1].value < limits[1]:
            new.append(min(limits[1], points[-1].value + _EXTENSION * length))
        if not new:
            break
        points = _merged(points, calibrated(new))
    return points


def refined(calibrated: Calibrated, points: list[Point], precision: float) -> list[Point]:
    """Halve the distance between neighbours of which one is accepted and one is not, until it is small enough.

    Args:
        calibrated: tests values.
        points: what is tested so far, in ascending order.
        precision: the distance at last, relative to the length of what is accepted.
    """
    for _ in range(_BISECTIONS):
        inside = [point.value for point in points if point.accepted]
        if not inside:
            break
        brackets = [(a, b) for a, b in itertools.pairwise(points) if a.accepted != b.accepted]
        length = max(max(inside) - min(inside), min((b.value - a.value for a, b in brackets), default=0.0))
        wide = [(a, b) for a, b in brackets if b.value - a.value > precision * length]
        if not wide:
            break
        points = _merged(points, calibrated([_between(a, b) for a, b in wide]))
    return points


def without_chance(points: list[Point]) -> list[Point]:
    """Join gaps and drop islands which the toys cannot tell from chance: p-values next to the threshold throughout.

    What lies between two certain runs becomes as they are, or has one end where they differ: the most probable one.

    Args:
        points: the tested values, in ascending order.
    """
    runs = _runs(points)
    certain = [
        i
        for i, run in enumerate(runs)
        if i in (0, len(runs) - 1) or any(abs(point.distance) >= _CHANCE * point.p_error for point in run)
    ]
    joined = list(runs[0]) if runs else []
    for left, right in itertools.pairwise(certain):
        between = [point for run in runs[left + 1 : right] for point in run]
        joined += [*_like_neighbours(runs[left], between, runs[right]), *runs[right]]
    inside = [point.value for point in points if point.accepted]
    if inside and not any(point.accepted for point in joined):  # chance may explain all of it: keep it, in one piece
        return [dataclasses.replace(point, accepted=inside[0] <= point.value <= inside[-1]) for point in points]
    return joined


def _like_neighbours(before: list[Point], between: list[Point], after: list[Point]) -> list[Point]:
    """Return points that chance may explain as those before them up to the most probable end, then as those after."""
    first, last = before[0].accepted, after[0].accepted
    place = 0
    if first != last:
        ordered = [*before, *between, *after]
        weights, _, _ = _places(ordered if first else ordered[::-1])
        best = int(np.argmax(weights if first else weights[::-1]))
        place = best + 1 - len(before)
    return [dataclasses.replace(point, accepted=first if i < place else last) for i, point in enumerate(between)]


def settled(calibrated: Calibrated, points: list[Point], precision: float) -> list[Point]:
    """Test more values where an end may lie, until it is known well enough or enough was tried.

    Args:
        calibrated: tests values, each by toys of its own.
        points: what is tested so far, in ascending order.
        precision: how well the ends are to be known, relative to the length of what is accepted.
    """
    for _ in range(_SETTLING):
        joined = without_chance(points)
        inside = [point.value for point in joined if point.accepted]
        new = []
        for before, after in itertools.pairwise(_runs(joined)):
            run = (before, after) if before[0].accepted else (after[::-1], before[::-1])
            weights, middles, widths = _places([*run[0], *run[1]])
            spread = weights * ((middles - weights @ middles) ** 2 + widths**2 / 12.0)
            if math.sqrt(spread.sum()) > precision * (max(inside) - min(inside)):
                new.append(float(middles[np.argmax(spread)]))
        new = sorted(set(new) - {point.value for point in points})
        if not new:
            break
        points = _merged(points, calibrated(new))
    return points


def intervals_of(
    points: list[Point], common: bool = False
) -> tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]:
    """Return the accepted values as intervals, and how well their ends are known, zero at an end of what was tested.

    Args:
        points: the tested values, in ascending order.
        common: whether the p-values err together, as learned ones do, instead of each by toys of its own.
    """
    intervals, errors = [], []
    end = _end_by_slope if common else _end_by_chance
    runs = _runs(points)
    for i, run in enumerate(runs):
        if not run[0].accepted:
            continue
        low = end(run[::-1], runs[i - 1][::-1]) if i > 0 else (run[0].value, 0.0)
        high = end(run, runs[i + 1]) if i < len(runs) - 1 else (run[-1].value, 0.0)
        intervals.append((low[0], high[0]))
        errors.append((low[1], high[1]))
    return tuple(intervals), tuple(errors)


def _end_by_chance(inside: list[Point], outside: list[Point]) -> tuple[float, float]:
    """Return where the p-value falls below the threshold, and how well that is known.

    The end lies between two neighbouring tested values. With it there, every p-value on the accepted side has to be
    above the threshold and every other one below it; each is so with the probability that its Monte Carlo error gives,
    independently, of which the root is taken to be on the safe side. The end is the mean of this distribution, flat
    between neighbours, and its error the standard deviation. Where the p-value jumps, as for counts, that is the middle
    of the last bracket; where it hardly changes, all tested values about the threshold have their say.

    Args:
        inside: accepted values, going outwards.
        outside: values beyond that are not, going outwards.
    """
    if not any(point.p_error for point in (*inside, *outside)):
        return _end_by_slope(inside, outside)
    weights, middles, widths = _places([*inside, *outside])
    mean = float(weights @ middles)
    return mean, math.sqrt(float(weights @ ((middles - mean) ** 2 + widths**2 / 12.0)))


def _places(points: list[Point]) -> tuple[Array, Array, Array]:
    """Return how probable it is that the end lies between each two neighbours, their middles and their distances."""
    values, distances, sigmas = (
        np.array([getattr(point, name) for point in points]) for name in ("value", "distance", "p_error")
    )
    above = distances / np.maximum(sigmas, 1e-12)
    log_inside, log_outside = (_POWER * scipy.stats.norm.logcdf(z) for z in (above, -above))
    logs = np.cumsum(log_inside)[:-1] + np.cumsum(log_outside[::-1])[::-1][1:]
    widths = np.abs(np.diff(values))
    weights = widths * np.exp(logs - logs.max())
    return weights / weights.sum(), 0.5 * (values[1:] + values[:-1]), widths


def _end_by_slope(inside: list[Point], outside: list[Point]) -> tuple[float, float]:
    """Return where the p-value, straight between neighbours, crosses the threshold, and how far its error moves that.

    Args:
        inside: accepted values, going outwards.
        outside: values beyond that are not, going outwards.
    """
    points = [*inside, *outside]
    ends = [_shifted_end(points, len(inside) - 1, shift) for shift in (-1.0, 0.0, 1.0)]
    width = abs(outside[0].value - inside[-1].value)
    return ends[1], math.hypot(0.5 * (ends[2] - ends[0]), width / math.sqrt(12.0))


def _shifted_end(points: list[Point], last: int, shift: float) -> float:
    """Return where the p-values, shifted by so many errors, cross the threshold next to a place in the list."""
    above = [point.distance + shift * point.p_error for point in points]
    if shift == 0.0:
        i = last
    elif shift > 0.0:
        i = next((i for i in range(last, len(points) - 1) if above[i + 1] <= 0.0), len(points) - 1)
    else:
        i = next((i for i in range(last, -1, -1) if above[i] > 0.0), -1)
    if i == -1 or i == len(points) - 1:
        return points[max(i, 0)].value
    a, b = points[i], points[i + 1]
    if above[i] > 0.0 >= above[i + 1]:
        return straight((a.value, above[i]), (b.value, above[i + 1]))
    return 0.5 * (a.value + b.value)  # where a chance island was dropped


def _between(a: Point, b: Point) -> float:
    """Return a value between two, nearer to where the p-value should cross, if it is straight."""
    share = float(np.clip(a.distance / (a.distance - b.distance), *_SHARES)) if a.distance != b.distance else 0.5
    return a.value + share * (b.value - a.value)


def _runs(points: list[Point]) -> list[list[Point]]:
    return [list(run) for _, run in itertools.groupby(points, key=lambda point: point.accepted)]


def _merged(points: list[Point], new: list[Point]) -> list[Point]:
    return sorted([*points, *new], key=lambda point: point.value)
