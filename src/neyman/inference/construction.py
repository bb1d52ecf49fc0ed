"""Confidence intervals by the Neyman construction, on toys or by the asymptotic formulas."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import scipy.stats
from numpy.typing import NDArray

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.calibrations import (
    Asymptotics,
    Calibration,
    OnToys,
    Point,
    Quantile,
    Thrower,
    check_nuisance,
    chosen_calibration,
    fraction_at_least,
)
from neyman.inference.critical.learning import critical_values
from neyman.inference.critical.values import CriticalValues, complaint
from neyman.inference.crossing import crossing
from neyman.inference.ends import extended, intervals_of, refined, settled, without_chance
from neyman.inference.observed import Observed, Tested, wider_bounds
from neyman.inference.outside import warn_of_outside
from neyman.inference.parameters import Bounds, Fixed, Start
from neyman.inference.roots import why_flat
from neyman.inference.statistics import Statistic, chosen_statistic, statistic_named
from neyman.inference.throws import BATCH
from neyman.inference.worst import WorstOnToys, region
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.summary import Data
from neyman.results import IntervalResult, StatisticResult
from neyman.support.checks import checked_level, checked_number
from neyman.support.store import Store

__all__ = ["distribution", "interval"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_POINTS = 13  # of the first grid
_REACH = 1.5  # of the first grid, in units of the asymptotic interval
_TOYS = {"toys": 4000, "quantile": 20_000, "asymptotics": 1}  # by default
_PRECISION = {"toys": 0.005, "quantile": 1e-4, "asymptotics": 1e-5}  # of an interval's ends, relative to the length
_FAR = 1e6  # standard deviations: where it is asked why the likelihood does not fall
_EDGES = 41  # of the histogram of a test statistic
_SETTLED = 0.01  # how well the ends are to be known on toys, relative to the length


def interval(
    data: Data,
    model: Model | pyhf.Model,
    level: float = 0.68,
    test_stat: str = "tmu_tilde",
    calibration: str = "toys",
    *,
    seed: int = 0,
    n_toys: int | None = None,
    poi_values: Any = None,
    critical: CriticalValues | None = None,
    nuisance: str = "profile",
    statistic: Statistic | None = None,
    executor: Executor | None = None,
    source: str = "simulation",
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
    calctype: str | None = None,
) -> IntervalResult:
    r"""Return the confidence interval on the parameter of interest.

    A value :math:`\mu` is accepted if the observed test statistic is not above its critical value, the quantile
    ``level`` of its distribution at :math:`\mu`, with the nuisance parameters at their conditional best fit in the
    observed data (the profile construction). With ``tmu_tilde`` this is the unified interval of Feldman and Cousins,
    arXiv:physics/9711021, one- or two-sided by itself. The grid of tested values refines itself about the ends. A
    tested value takes toys until it is certain on which side it is, ``n_toys`` at most.

    The errors of the ends are on the safe side: against the exact ends of a counting experiment with a background of 3
    (90 %, 0 to 10 events, 4000 toys, 30 seeds; 480 ends) their pulls have a root mean square of 0.77, 1 % are beyond 2
    and none beyond 3; the worst end, near which the p-value stays within half an error of the threshold, has 1.3.

    Args:
        data: the flat data vector, as from ``model.data(ensemble)``, shape ``(N,)``.
        model: the model.
        level: the confidence level.
        test_stat: ``"tmu_tilde"``, ``"tmu"`` (the best fit may be negative, where the POI's bounds allow it),
            ``"qmu"`` and ``"qmu_tilde"`` for upper limits, ``"q0"`` for lower ones, ``"learned"`` for ``statistic``, or
            ``"waldo"`` for the distance from the mean of a posterior (:class:`neyman.inference.waldo.Waldo`).
        calibration: where the critical values come from: ``"toys"``, ``"asymptotics"``, or ``"quantile"`` for learned
            ones, :func:`neyman.critical_values`.
        seed: fixes the toys; their number and the executor do not change them.
        n_toys: how many toys a tested value takes at most, 4000 by default; with ``"quantile"`` how many critical
            values are learned from, 20,000 by default.
        poi_values: the values to begin with, shape ``(n,)``; the interval is sought between the lowest and the highest.
            Default is a grid about the asymptotic interval, which grows as needed within the POI's bounds.
        critical: with ``"quantile"``, critical values learned before, for these or any data. By default they are
            learned for these data.
        nuisance: ``"profile"``, or ``"worst"`` for the largest p-value: with ``"quantile"`` over all nuisance
            parameters that the critical values were learned for, with ``"toys"`` over their confidence region at each
            tested value (Berger and Boos, :class:`neyman.inference.worst.WorstOnToys`). Where toys at the best fit
            undercover, as they may with few counts, this covers; elsewhere it overcovers. It takes toys at nine points
            instead of one with one nuisance parameter, 13 with two, and four for each and one with more.
        statistic: with ``"learned"``, the statistic, from :func:`neyman.train_statistic`; with ``"waldo"``, the
            posterior, from :func:`neyman.train_posterior`: of a channel of the model, which may be ``posterior.model``.
            Toys then take no fits, and values outside its range are not tested.
        executor: any :class:`concurrent.futures.Executor`; default is this process.
        source: ``"simulation"`` for toys of simulated events, ``"model"`` for toys of the learned density.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        checkpoint: a file for the finished toys: the same call after an interruption goes on from it.
        progress: whether to show a progress bar.
        calctype: ``calibration`` as pyhf calls it; ``"toybased"`` is ``"toys"``.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
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
    model, level = as_model(model), checked_level(level)
    calibration = chosen_calibration(calibration, calctype, "toys", "quantile", "asymptotics")
    test = chosen_statistic(test_stat, statistic, model, calibration)
    n_toys = checked_number(_TOYS[calibration] if n_toys is None else n_toys, "the number of toys")
    check_nuisance(calibration, nuisance, critical)
    warnings = warn_of_outside(data, model)
    observed = Observed(data, model, test, init, bounds, fixed)
    settings = observed.settings(source)
    if calibration == "quantile":
        if critical is None:
            grid = observed.checked(poi_values) if poi_values is not None else None
            ends = None if grid is None else (float(grid[0]), float(grid[-1]))
            critical = critical_values(
                model, test.name, data=data, poi_range=ends, n_toys=n_toys, seed=seed, executor=executor,
                source=source, init=init, bounds=bounds, fixed=fixed, level=level, checkpoint=checkpoint,
                progress=progress, statistic=statistic,
            )  # fmt: skip
        critical.belongs_to(model, settings)
    first, limits = _first_grid(observed, level, poi_values, critical)
    decides: Calibration
    if calibration == "toys":
        store = Store(checkpoint, model, ["interval", observed.label(), level, seed, source, BATCH])
        thrower = Thrower(model, settings, store, executor, progress)
        decides = OnToys(thrower, level, n_toys)
        if nuisance == "worst" and int((~observed.profile.fixed).sum()) > 1:
            decides = WorstOnToys(thrower, level, n_toys, functools.partial(_region, observed))
    elif critical is not None:
        decides = Quantile(critical, level, nuisance)
    else:
        decides = Asymptotics(test, level, observed.root_asimov)

    def calibrated(values: Sequence[float]) -> list[Point]:
        return decides.points(observed.tested(values, seed))

    points = calibrated(first)
    if poi_values is None:
        points = extended(calibrated, points, limits)
    points = refined(calibrated, points, _PRECISION[calibration])
    if calibration == "toys":
        points = settled(calibrated, points, _SETTLED)
    points = without_chance(points)
    result = _result(observed, points, level, calibration, _doubts(observed, points, level, critical))
    return dataclasses.replace(result, warnings=warnings)


def distribution(
    value: float,
    data: Data,
    model: Model | pyhf.Model,
    test_stat: str = "tmu_tilde",
    *,
    n_toys: int = 1000,
    seed: int = 0,
    executor: Executor | None = None,
    source: str = "simulation",
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    progress: bool = False,
) -> StatisticResult:
    """Return the distribution of a test statistic at one value of the parameter of interest, beside its observed value.

    The nuisance parameters are at their conditional best fit in the observed data. The arguments are those of
    :func:`interval`.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
        FailedFit: if a minimisation does not converge, or no toy has a valid fit.
    """
    test = statistic_named(test_stat)
    observed = Observed(data, as_model(model), test, init, bounds, fixed)
    n_toys = checked_number(n_toys, "the number of toys")
    [tested] = observed.tested(observed.checked([value]).tolist(), seed)
    thrower = Thrower(observed.model, observed.settings(source), executor=executor, progress=progress)
    values = thrower.toys([tested], n_toys)[tested.key]
    t, root = tested.statistic, observed.root_asimov(tested.value)
    edges = np.linspace(0.0, max(float(np.quantile(values, 0.998)), 1.2 * t, 1.0), _EDGES)
    return StatisticResult(
        name=observed.name,
        value=tested.value,
        test_stat=test.name,
        pars=tested.pars,
        statistic=values,
        observed=t,
        root_asimov=root,
        p_value=fraction_at_least(np.sort(values), t)[0],
        asymptotic_p_value=float(test.p_value(t, root)),
        edges=edges,
        asymptotic=test.p_value(edges, root),
    )


def _region(observed: Observed, one: Tested, confidence: float) -> list[Array]:
    return region(observed.profile, observed.poi, one.value, confidence)


def _first_grid(
    observed: Observed, level: float, poi_values: Any, critical: CriticalValues | None
) -> tuple[list[float], tuple[float, float]]:
    """Return the values to begin with and the range that is to be tested: up to the bounds, if these are finite.

    On the one side of a limit every value is accepted: there only a finite bound is tested.
    """
    low, high = observed.bounds
    best = observed.best
    if poi_values is not None:
        grid = observed.checked(poi_values)
        if observed.test.learned is not None:
            observed.test.learned.checked_values(grid)
        if grid.size < 2:
            raise InvalidParameter(f"an interval takes at least two tested values of {observed.name}")
        return grid.tolist(), (float(grid[0]), float(grid[-1]))
    if critical is not None:
        low, high = critical.box[critical.poi].tolist()
        best = _checked_best(best, low, high, observed.name, "where critical values were learned: learn them there")
    if observed.test.learned is not None:
        low, high = max(low, observed.test.learned.values[0]), min(high, observed.test.learned.values[1])
        best = _checked_best(best, low, high, observed.name, "which the statistic was trained for: train it there")
    target = math.sqrt(scipy.stats.chi2.ppf(level, 1))
    sigma = observed.profile.scale(observed.poi)
    ends = []
    for direction, bound in ((-1.0, low), (1.0, high)):
        end = best
        if best != bound:
            guess = best + direction * min(target * sigma, abs(bound - best))
            end = crossing(lambda x: observed.ratio(x) ** 0.5, target, best, guess, bound)
        ends.append(float(np.clip(best + _REACH * (end - best), low, high)))
    if not all(map(math.isfinite, ends)):
        raise FailedFit(
            f"-2 log of the likelihood ratio does not rise to {target**2:.3g} on the way to {observed.name} = "
            f"{next(end for end in ends if math.isinf(end)):g}: {why_flat(observed, best + _FAR * sigma)}"
        )
    extra = {"both": [], "upper": [low], "lower": [high]}[observed.test.side]
    grid = np.unique([*np.linspace(ends[0], ends[1], _POINTS), best, *filter(math.isfinite, extra)])
    open_below, open_above = (_open(observed, side) for side in ("upper", "lower"))
    return grid.tolist(), (grid[0] if open_below else low, grid[-1] if open_above else high)


def _open(observed: Observed, side: str) -> bool:
    """Whether an interval ends nowhere on one side: below an ``"upper"`` limit, above a ``"lower"`` one."""
    return observed.test.side == side and math.isinf(observed.bounds[0 if side == "upper" else 1])


def _checked_best(best: float, low: float, high: float, name: str, what: str) -> float:
    margin = 1e-6 * (high - low)
    if not low - margin <= best <= high + margin:
        raise InvalidParameter(f"the best fit is {name} = {best:g}, outside ({low:g}, {high:g}), {what}")
    return float(np.clip(best, low, high))


def _doubts(observed: Observed, points: list[Point], level: float, critical: CriticalValues | None) -> str:
    """Return why learned critical values may be wrong here."""
    if critical is None:
        return ""
    doubts = [complaint(critical.check(level))]
    inside = [observed.at(point.value) for point in points if point.accepted]
    if inside and critical.outside(inside).any():
        doubts.append("nuisance parameters fit outside the range in which critical values were learned")
    return "; ".join(filter(None, doubts))


def _result(observed: Observed, points: list[Point], level: float, calibration: str, doubts: str) -> IntervalResult:
    intervals, errors = intervals_of(points, common=calibration == "quantile")
    low, high = observed.bounds
    first, last = points[0], points[-1]
    messages = [doubts] if doubts else []
    if not intervals:
        closest = max(points, key=lambda point: point.distance)
        messages.append(
            f"no tested value from {first.value:g} to {last.value:g} is accepted: the largest p-value is "
            f"{closest.p_value:.3g}, at {closest.value:g}"
        )
    ends = []
    if first.accepted and _open(observed, "upper"):
        intervals = ((low, intervals[0][1]), *intervals[1:])
    elif first.accepted and first.value > low:
        ends.append(f"below {first.value:g}")
    if last.accepted and _open(observed, "lower"):
        intervals = (*intervals[:-1], (intervals[-1][0], high))
    elif last.accepted and last.value < high:
        ends.append(f"above {last.value:g}")
    if last.accepted and last.value >= high and observed.test.side != "lower":
        ends.append(f"above its bound {high:g}")
    if ends:
        messages.append(f"the interval may go on {' and '.join(ends)}, where nothing was tested")
    if last.accepted and last.value >= high and observed.test.side != "lower":
        messages.append(wider_bounds(observed))
    return IntervalResult(
        name=observed.name,
        level=level,
        intervals=intervals,
        errors=errors,
        scan=np.array([point.value for point in points]),
        statistic=np.array([point.statistic for point in points]),
        critical=np.array([point.critical for point in points]),
        critical_errors=np.array([point.critical_error for point in points]),
        p_values=np.array([point.p_value for point in points]),
        p_errors=np.array([point.p_error for point in points]),
        toys=np.array([point.toys for point in points]),
        calibration=calibration,
        test_stat=observed.test.name,
        bestfit=observed.best,
        valid=not messages,
        message="; ".join(messages),
    )
