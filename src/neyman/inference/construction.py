"""Confidence intervals by the Neyman construction, on toys or by the asymptotic formulas."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inference.profile import Bounds, Profile, Start, crossing
from neyman.inference.statistics import asymptotic_critical, asymptotic_pvalue, checked, is_bounded, statistic
from neyman.inference.throws import (
    BATCH,
    Settings,
    Store,
    Throw,
    checked_level,
    checked_number,
    checked_source,
    counts_of,
    seed_of,
    statistics,
    throw_all,
)
from neyman.results import IntervalResult, StatisticResult

__all__ = ["Observed", "distribution", "interval"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_POINTS = 13  # of the first grid
_REACH = 1.5  # of the first grid, in units of the asymptotic interval
_EXTENSIONS = 30  # where the first grid turns out too short
_BISECTIONS = 40
_PRECISION = {"toys": 0.005, "asymptotics": 1e-5}  # of an interval's ends, relative to the length
_CHANCE = 2.0  # standard deviations that one p-value at least of a gap or an island must be from the threshold
_NEAR = 10.0  # brackets: as far as the slope of the p-value at an end is taken from
_FAR = 1.5  # standard deviations between the p-value and the threshold at the ends of an end's error
_CERTAIN = 3.5  # standard deviations between a p-value and its threshold, for no more toys to be thrown
# two fits of the same data agree to this: toys that tie with the data, as equal counts do, must count as such
_TIE = 1e-3


def interval(
    data: Any,
    model: Any,
    level: float = 0.68,
    test_stat: str = "tmu_tilde",
    calibration: str = "toys",
    *,
    seed: int = 0,
    n_toys: int = 4000,
    poi_values: Any = None,
    executor: Any = None,
    source: str = "simulation",
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> IntervalResult:
    r"""Return the confidence interval on the parameter of interest.

    A value :math:`\mu` is accepted if the observed test statistic is not above its critical value, the quantile
    ``level`` of its distribution at :math:`\mu`, with the nuisance parameters at their conditional best fit in the
    observed data (the profile construction). With ``tmu_tilde`` this is the unified interval of Feldman and Cousins,
    arXiv:physics/9711021, one- or two-sided by itself. The grid of tested values refines itself about the ends. A
    tested value takes toys until it is certain on which side it is, ``n_toys`` at most.

    Args:
        data: the flat data vector, as from ``model.data(ensemble)``, shape ``(N,)``.
        model: the model.
        level: the confidence level.
        test_stat: ``"tmu_tilde"``, ``"tmu"`` (the best fit may be negative, where the POI's bounds allow it),
            ``"qmu"`` and ``"qmu_tilde"`` for upper limits, or ``"q0"`` for lower ones.
        calibration: where the critical values come from: ``"toys"`` or ``"asymptotics"``.
        seed: fixes the toys; their number and the executor do not change them.
        n_toys: how many toys a tested value takes at most.
        poi_values: the values to begin with, shape ``(n,)``; the interval is sought between the lowest and the highest.
            Default is a grid about the asymptotic interval, which grows as needed within the POI's bounds.
        executor: any :class:`concurrent.futures.Executor`; default is this process.
        source: ``"simulation"`` for toys of simulated events, ``"model"`` for toys of the learned density.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        checkpoint: a file for the finished toys: the same call after an interruption goes on from it.
        progress: whether to show a progress bar.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
        Unsupported: for a calibration that does not exist.
        FailedFit: if a minimisation does not converge, or no toy has a valid fit.

    Example:
        >>> import neyman
        >>> samples = [{"name": "signal", "data": [1.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}, {"name": "background", "data": [3.0],
        ...     "modifiers": []}]
        >>> model = neyman.Model({"channels": [{"name": "SR", "samples": samples}]}, {}, poi_name="mu")
        >>> [[low, high]] = neyman.interval([2.0], model, level=0.9).intervals
        >>> low, round(high, 1)  # Feldman and Cousins: 0 to 3.04
        (0.0, 3.0)
        >>> neyman.interval([5.0], model, level=0.9, calibration="asymptotics")
        90 % confidence interval on mu (tmu_tilde, asymptotics): [0, 6.63], best fit 2
    """
    level, test_stat = checked_level(level), checked(test_stat)
    n_toys = checked_number(n_toys, "the number of toys")
    if calibration == "quantile":
        raise Unsupported("calibration='quantile' (learned critical values) is not there yet: use calibration='toys'")
    if calibration not in _PRECISION:
        raise InvalidParameter(f"calibration is {calibration!r}: it must be 'toys' or 'asymptotics'")
    observed = Observed(data, model, test_stat, init, bounds, fixed)
    grid, limits = _first_grid(observed, level, poi_values)
    calibrated: _Toys | _Asymptotics
    if calibration == "toys":
        settings = observed.settings(source)
        label = [observed.label(), level, test_stat, seed, source, BATCH]
        store = Store(checkpoint, label)
        calibrated = _Toys(observed, settings, level, seed, n_toys, executor, store, progress)
    else:
        calibrated = _Asymptotics(observed, level)
    points = calibrated(grid)
    if poi_values is None:
        points = _extended(calibrated, points, limits)
    points = _without_chance(_refined(calibrated, points, _PRECISION[calibration]))
    return _result(observed, points, level, calibration, limits)


def distribution(
    value: float,
    data: Any,
    model: Any,
    test_stat: str = "tmu_tilde",
    *,
    n_toys: int = 1000,
    seed: int = 0,
    executor: Any = None,
    source: str = "simulation",
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    progress: bool = False,
) -> StatisticResult:
    """Return the distribution of a test statistic at one value of the parameter of interest, beside its observed value.

    The nuisance parameters are at their conditional best fit in the observed data. The arguments are those of
    :func:`interval`.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
        FailedFit: if a minimisation does not converge, or no toy has a valid fit.
    """
    observed = Observed(data, model, checked(test_stat), init, bounds, fixed)
    n_toys = checked_number(n_toys, "the number of toys")
    value = float(_checked_grid([value], observed)[0])
    settings, store = observed.settings(source), Store()
    pars = observed.at(value)
    throws = _throws(pars, value, range(math.ceil(n_toys / BATCH)), n_toys, seed, settings)
    throw_all(statistics, model, throws, store, executor, progress=progress)
    values = counts_of(store[name] for name in throws)
    t, root = observed.statistic(value), observed.root_asimov(value)
    return StatisticResult(
        name=observed.name,
        value=value,
        test_stat=test_stat,
        pars=pars,
        statistic=values,
        observed=t,
        root_asimov=root,
        p_value=float(np.mean(values >= t - _TIE)),
        asymptotic_p_value=float(asymptotic_pvalue(test_stat, t, root)),
    )


class Observed:
    """The test statistic in the observed data, as a function of the tested value.

    Args:
        data: the flat data vector.
        model: the model.
        test_stat: the test statistic.
        init: starting values.
        bounds: bounds.
        fixed: parameters held at a value.
    """

    def __init__(
        self,
        data: Any,
        model: Any,
        test_stat: str,
        init: Start | None,
        bounds: Bounds | None,
        fixed: Mapping[str, float] | None,
    ) -> None:
        if model.config.poi_index is None:
            raise InvalidParameter("the model has no parameter of interest: name one as the measurement's poi")
        self.model, self.test_stat = model, test_stat
        self.name: str = model.config.poi_name
        self.poi = int(model.config.poi_index)
        self.fixed = {name: float(value) for name, value in (fixed or {}).items()}
        self.profile = Profile(data, model, init, bounds, fixed)
        if self.profile.fixed[self.poi]:
            raise InvalidParameter(f"{self.name} is fixed and is the parameter of interest: free it")
        self.bounds = self.profile.bounds[self.poi]
        if is_bounded(test_stat):
            low, high = max(self.bounds[0], 0.0), self.bounds[1]
            self.profile.bounds[self.poi] = self.bounds = (low, high)
            self.profile.start[self.poi] = np.clip(self.profile.start[self.poi], low, high)
        self._asimov: Profile | None = None

    @property
    def best(self) -> float:
        """The best-fit value of the parameter of interest."""
        return float(self.profile.best[0][self.poi])

    def at(self, value: float) -> Array:
        """Return all parameters at their conditional best fit, shape ``(P,)``."""
        return self.profile.at({self.poi: value})[0]

    def ratio(self, value: float) -> float:
        """Return -2 log of the profile likelihood ratio."""
        return self.profile.ratio({self.poi: value})

    def statistic(self, value: float) -> float:
        """Return the test statistic."""
        self.ratio(value)  # which may find a better maximum
        _, minimum = self.profile.best
        _, conditional = self.profile.at({self.poi: value})
        return float(statistic(self.test_stat, value, self.best, minimum, conditional))

    def root_asimov(self, value: float) -> float:
        """Return the tested value in standard deviations, from the Asimov dataset without signal."""
        if not is_bounded(self.test_stat):
            return math.inf
        if self._asimov is None:
            without = self.at(max(0.0, self.bounds[0]))
            start = np.clip(without, *np.array(self.profile.bounds).T)
            start[self.profile.fixed] = without[self.profile.fixed]
            data = self.model.expected_data(without)
            self._asimov = Profile(data, self.model, start.tolist(), self.profile.bounds, self.fixed)
        return math.sqrt(self._asimov.ratio({self.poi: value}))

    def settings(self, source: str) -> Settings:
        """Return how toys are to be thrown and fitted."""
        bounds = tuple(self.profile.bounds)
        return Settings(self.poi, self.test_stat, checked_source(source), bounds, self.fixed, self.name)

    def label(self) -> list[Any]:
        """Return what tells this model and these data from others."""
        return [self.profile.names, self.profile.bounds, self.fixed, self.profile.best]


@dataclass(frozen=True, eq=False)
class _Point:
    """A tested value: what was observed, and what is expected there."""

    value: float
    statistic: float
    critical: float
    critical_error: float
    p_value: float
    p_error: float
    toys: int
    accepted: bool
    distance: float  # of the p-value above the threshold


class _Asymptotics:
    """Tested values by the asymptotic formulas."""

    def __init__(self, observed: Observed, level: float) -> None:
        self._observed, self._level = observed, level

    def __call__(self, values: Sequence[float]) -> list[_Point]:
        points = []
        for value in values:
            t, root = self._observed.statistic(value), self._observed.root_asimov(value)
            p = float(asymptotic_pvalue(self._observed.test_stat, t, root))
            critical = asymptotic_critical(self._observed.test_stat, self._level, root)
            excess = p - (1.0 - self._level)
            points.append(_Point(value, t, critical, 0.0, p, 0.0, 0, excess > 0.0, excess))
        return points


class _Toys:
    """Tested values on toys: all that are asked for at once, in rounds of batches until each is decided."""

    def __init__(
        self,
        observed: Observed,
        settings: Settings,
        level: float,
        seed: int,
        n_toys: int,
        executor: Any,
        store: Store,
        progress: bool,
    ) -> None:
        self._observed, self._settings, self._level = observed, settings, level
        self._seed, self._n_toys, self._executor, self._progress = seed, n_toys, executor, progress
        self._store = store

    def __call__(self, values: Sequence[float]) -> list[_Point]:
        for value in values:
            self._observed.statistic(value)  # a better maximum is to be found before anything is decided
        batches, limit = dict.fromkeys(values, 1), math.ceil(self._n_toys / BATCH)
        undecided = list(values)
        while undecided:
            throws = {}
            for value in undecided:
                pars = self._observed.at(value)
                throws.update(_throws(pars, value, range(batches[value]), self._n_toys, self._seed, self._settings))
            throw_all(statistics, self._observed.model, throws, self._store, self._executor, progress=self._progress)
            undecided = [v for v in undecided if batches[v] < limit and not self._certain(self._point(v, batches[v]))]
            for value in undecided:
                batches[value] = min(2 * batches[value], limit)
        return [self._point(value, batches[value]) for value in values]

    def _certain(self, point: _Point) -> bool:
        sigma = math.sqrt(self._level * (1.0 - self._level) / point.toys)
        return point.statistic <= _TIE or abs(point.distance) > _CERTAIN * sigma

    def _point(self, value: float, batches: int) -> _Point:
        toys = np.sort(counts_of(self._store[_label(value, batch)] for batch in range(batches)))
        n, t = toys.size, self._observed.statistic(value)
        p = float(np.mean(toys >= t - _TIE))
        # order statistics: the critical value is the smallest one that the fraction `level` of toys does not exceed
        spread = math.sqrt(self._level * (1.0 - self._level) / n)
        ranks = [math.ceil((self._level + shift) * n) - 1 for shift in (-spread, 0.0, spread)]
        low, middle, high = toys[np.clip(ranks, 0, n - 1)].tolist()
        excess = p - (1.0 - self._level)
        p_error = math.sqrt(max(p * (1.0 - p), 1.0 / n) / n)
        return _Point(value, t, middle, 0.5 * (high - low), p, p_error, n, excess > 0.0, excess)


def _throws(
    pars: Array, value: float, batches: Sequence[int], n_toys: int, seed: int, settings: Settings
) -> dict[str, Throw]:
    """Return the batches of one tested value by name; the last one has what is left of the toys."""
    return {
        _label(value, batch): Throw(
            pars, value, min(BATCH, n_toys - batch * BATCH), seed_of(seed, value, batch), settings
        )
        for batch in batches
    }


def _label(value: float, batch: int) -> str:
    return f"{value!r} {batch}"


def _checked_grid(values: Any, observed: Observed) -> Array:
    """Return tested values in ascending order, which must lie within the bounds."""
    try:
        grid = np.unique(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        grid = np.array([np.nan])
    if grid.size == 0 or not np.all(np.isfinite(grid)):
        raise InvalidParameter(f"the tested values of {observed.name} must be finite numbers")
    low, high = observed.bounds
    outside = grid[(grid < low) | (grid > high)]
    if outside.size:
        raise InvalidParameter(
            f"{observed.name} is to be tested at {outside[0]:g}, outside its bounds ({low:g}, {high:g}): "
            "change either, as with bounds={...}"
        )
    return grid


def _first_grid(observed: Observed, level: float, poi_values: Any) -> tuple[list[float], tuple[float, float]]:
    """Return the values to begin with and the range that the interval may reach to."""
    if poi_values is not None:
        grid = _checked_grid(poi_values, observed)
        if grid.size < 2:
            raise InvalidParameter(f"an interval takes at least two tested values of {observed.name}")
        return grid.tolist(), (float(grid[0]), float(grid[-1]))
    low, high = observed.bounds
    best = observed.best
    target = math.sqrt(scipy.stats.chi2.ppf(level, 1))
    sigma = math.sqrt(max(float(observed.profile.covariance[observed.poi, observed.poi]), 0.0)) or 0.1 * (high - low)
    ends = []
    for direction, bound in ((-1.0, low), (1.0, high)):
        end = best
        if best != bound:
            guess = best + direction * min(target * sigma, abs(bound - best))
            end = crossing(lambda x: observed.ratio(x) ** 0.5, target, best, guess, bound)
        ends.append(float(np.clip(best + _REACH * (end - best), low, high)))
    grid = np.linspace(ends[0], ends[1], _POINTS)
    extra = [low] if observed.test_stat.startswith("qmu") else [high] if observed.test_stat == "q0" else []
    return np.unique([*grid, best, *extra]).tolist(), (low, high)


def _extended(
    calibrated: Callable[[Sequence[float]], list[_Point]], points: list[_Point], limits: tuple[float, float]
) -> list[_Point]:
    """Go on beyond the ends of the grid as long as these are accepted."""
    for _ in range(_EXTENSIONS):
        length = points[-1].value - points[0].value
        new = []
        if points[0].accepted and points[0].value > limits[0]:
            new.append(max(limits[0], points[0].value - 0.25 * length))
        if points[-1].accepted and points[-1].value < limits[1]:
            new.append(min(limits[1], points[-1].value + 0.25 * length))
        if not new:
            break
        points = sorted([*points, *calibrated(new)], key=lambda point: point.value)
    return points


def _refined(
    calibrated: Callable[[Sequence[float]], list[_Point]], points: list[_Point], precision: float
) -> list[_Point]:
    """Halve the distance between neighbours of which one is accepted and one is not, until it is small enough."""
    for _ in range(_BISECTIONS):
        inside = [point.value for point in points if point.accepted]
        if not inside:
            break
        brackets = [(a, b) for a, b in itertools.pairwise(points) if a.accepted != b.accepted]
        length = max(max(inside) - min(inside), min((b.value - a.value for a, b in brackets), default=0.0))
        wide = [(a, b) for a, b in brackets if b.value - a.value > precision * length]
        if not wide:
            break
        points = sorted([*points, *calibrated([_between(a, b) for a, b in wide])], key=lambda point: point.value)
    return points


def _without_chance(points: list[_Point]) -> list[_Point]:
    """Join gaps and drop islands which the toys cannot tell from chance: p-values next to the threshold throughout."""
    runs = [list(run) for _, run in itertools.groupby(points, key=lambda point: point.accepted)]
    for i, run in enumerate(runs):
        inner = 0 < i < len(runs) - 1
        if inner and all(abs(point.distance) < _CHANCE * point.p_error for point in run):
            runs[i] = [dataclasses.replace(point, accepted=not point.accepted) for point in run]
    return [point for run in runs for point in run]


def _between(a: _Point, b: _Point) -> float:
    """Return a value between two, nearer to where the p-value should cross, if it is straight."""
    share = float(np.clip(a.distance / (a.distance - b.distance), 0.2, 0.8)) if a.distance != b.distance else 0.5
    return a.value + share * (b.value - a.value)


def _result(
    observed: Observed, points: list[_Point], level: float, calibration: str, limits: tuple[float, float]
) -> IntervalResult:
    intervals, errors = [], []
    cut = ""
    begin: tuple[float, float] | None = None
    for before, point, after in zip([None, *points], points, [*points[1:], None], strict=False):
        if not point.accepted:
            continue
        if before is None or not before.accepted:
            begin = (point.value, 0.0) if before is None else _end(before, point, points)
        if after is None or not after.accepted:
            end = (point.value, 0.0) if after is None else _end(point, after, points)
            assert begin is not None
            intervals.append((begin[0], end[0]))
            errors.append((begin[1], end[1]))
    message = ""
    if not intervals:
        closest = max(points, key=lambda point: point.distance)
        message = (
            f"no tested value from {points[0].value:g} to {points[-1].value:g} is accepted: the largest p-value is "
            f"{closest.p_value:.3g}, at {closest.value:g}"
        )
    else:
        low, high = observed.bounds
        ends = []
        if points[0].accepted and points[0].value > low:
            ends.append(f"below {points[0].value:g}")
        if points[-1].accepted and points[-1].value < high:
            ends.append(f"above {points[-1].value:g}")
        if points[-1].accepted and points[-1].value >= high and observed.test_stat != "q0":
            ends.append(f"above its bound {high:g}")
        if ends:
            message = cut = f"the interval may go on {' and '.join(ends)}, where nothing was tested"
    return IntervalResult(
        name=observed.name,
        level=level,
        intervals=tuple(intervals),
        errors=tuple(errors),
        scan=np.array([point.value for point in points]),
        statistic=np.array([point.statistic for point in points]),
        critical=np.array([point.critical for point in points]),
        critical_errors=np.array([point.critical_error for point in points]),
        p_values=np.array([point.p_value for point in points]),
        p_errors=np.array([point.p_error for point in points]),
        toys=np.array([point.toys for point in points]),
        calibration=calibration,
        test_stat=observed.test_stat,
        bestfit=observed.best,
        valid=bool(intervals) and not cut,
        message=message,
    )


def _end(a: _Point, b: _Point, points: list[_Point]) -> tuple[float, float]:
    """Return where between two neighbours the p-value crosses the threshold, and how well that is known.

    The error has two parts: the bracket, for discrete data make the p-value jump, and the larger of two estimates of
    the noise: the Monte Carlo error over the slope of the p-value nearby, and half the distance between the places on
    either side where the p-value is one and a half Monte Carlo errors away from the threshold.
    """
    width = b.value - a.value
    straddled = (a.distance > 0.0) != (b.distance > 0.0)  # not where a chance island was dropped
    end = a.value + width * (a.distance / (a.distance - b.distance) if straddled else 0.5)
    before = [point for point in reversed(points) if point.value <= a.value]
    after = [point for point in points if point.value >= b.value]
    reach = abs(_certain_from(after, end) - _certain_from(before, end))
    left = [point for point in before if point.accepted == a.accepted and a.value - point.value <= _NEAR * width][-1]
    right = [point for point in after if point.accepted == b.accepted and point.value - b.value <= _NEAR * width][-1]
    run, rise = right.value - left.value, abs(right.distance - left.distance)
    noise = min(math.sqrt(0.5 * (a.p_error**2 + b.p_error**2)) * run / rise, run) if rise > 0.0 else run
    return end, math.hypot(max(0.5 * reach, noise), width / math.sqrt(12.0))


def _certain_from(points: list[_Point], end: float) -> float:
    """Return the first place, going away from an end, where the p-value is far enough from the threshold."""
    accepted = points[0].accepted
    place, excess = end, -_FAR * points[0].p_error
    for point in points:
        if point.accepted != accepted:
            break
        here = abs(point.distance) - _FAR * point.p_error
        if here >= 0.0:
            return place + (point.value - place) * (-excess / (here - excess) if here > excess else 0.0)
        place, excess = point.value, here
    return place
