"""CLs upper limits on the parameter of interest, and CLs at one value of it, by the asymptotic formulas or on toys."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray

from neyman.exceptions import FailedFit
from neyman.inference.calibrations import Thrower, check_nuisance, chosen_calibration
from neyman.inference.cls import AsymptoticCls, ToyCls, without_upper_bound
from neyman.inference.crossing import straight
from neyman.inference.learned_statistic import LearnedStatistic
from neyman.inference.observed import Observed
from neyman.inference.outside import warn_of_outside
from neyman.inference.parameters import Bounds, Fixed, Start
from neyman.inference.roots import asymptotic_limits, last_crossings
from neyman.inference.statistics import TestStatistic, statistic_named, upper_limit_statistic
from neyman.inference.throws import BATCH
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.summary import Data
from neyman.results import ClsResult, LimitResult
from neyman.support.checks import checked_finite, checked_level, checked_number, checked_values
from neyman.support.store import Store

__all__ = ["cls", "limit"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_POINTS = 21  # of the scan that comes with asymptotic limits
_TOY_POINTS = 9  # of the first scan on toys
_ROUNDS = 3  # of tested values added at the crossings found so far, on toys
_CLOSE = 0.03  # a crossing is not tested again this near, relative to its value, to a tested one
_WIDENINGS = 6  # of a scan on toys that ends before CLs is small enough


def limit(
    data: Data,
    model: Model | pyhf.Model,
    level: float = 0.95,
    calibration: str = "asymptotics",
    test_stat: str = "qmu_tilde",
    values: Any = None,
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    *,
    n_toys: int = 2000,
    seed: int = 0,
    executor: Executor | None = None,
    source: str = "simulation",
    checkpoint: str | Path | None = None,
    progress: bool = False,
    statistic: LearnedStatistic | None = None,
    nuisance: str = "profile",
    calctype: str | None = None,
) -> LimitResult:
    r"""Set a CLs upper limit on the parameter of interest.

    The limits are the values at which CLs last falls below one minus the level, found as roots; where it does not stay
    below, there is no limit and an error says why. The asymptotic formulas are those of arXiv:1007.1727, the Asimov
    dataset is the model's expected data at POI = 0 with the nuisance parameters fitted to the data, as in pyhf; where
    the data are impossible without signal, these are at the limit of their best fits as the POI goes to zero. The POI's
    upper bound does not limit the search.

    Args:
        data: the flat data vector, as from ``model.data(ensemble)``, shape ``(N,)``.
        model: the model.
        level: the confidence level.
        calibration: where p-values come from: ``"asymptotics"`` or ``"toys"``: then every tested value takes ``n_toys``
            toys with signal and as many without, and the limits lie where CLs, straight in its logarithm between
            tested values, crosses one minus the level. The limit at -2 sigma rests on one toy in a thousand: 20,000
            toys give CLs there to a fifth.
        test_stat: ``"qmu_tilde"``, for which the best-fit POI is not below zero, ``"qmu"``, or ``"learned"`` for
            ``statistic``; pyhf's ``"qtilde"`` and ``"q"`` are the same as the first two.
        values: the values of the POI at which the result gives CLs, shape ``(n,)``; default is a grid from zero to
            beyond the highest limit.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        n_toys: toys of each hypothesis, as all that follows with ``"toys"`` alone.
        seed: fixes the toys; the executor does not change them.
        executor: any :class:`concurrent.futures.Executor`; default is this process.
        source: ``"simulation"`` for toys of simulated events, ``"model"`` for toys of the learned density.
        checkpoint: a file for the finished toys: the same call after an interruption goes on from it.
        progress: whether to show a progress bar.
        statistic: with ``"learned"``, a statistic of ``neyman.train_statistic(..., side="upper")``, for which toys take
            no fits.
        nuisance: where toys with signal are thrown: ``"profile"`` for the nuisance parameters' conditional best fit in
            the data, or ``"worst"`` for the points of their confidence region at which the p-value is largest (Berger
            and Boos, :func:`neyman.inference.worst.across`), which excludes the truth no more often than one minus the
            level where toys at the best fit do. It takes toys with signal at nine points instead of one with one
            nuisance parameter, 13 with two, and four for each and one with more.
        calctype: ``calibration`` as pyhf calls it; ``"toybased"`` is ``"toys"``.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
        Unsupported: for other test statistics.
        FailedFit: if a minimisation does not converge, or CLs never falls below one minus the level for good.

    Example:
        >>> import neyman, pyhf
        >>> spec = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec
        >>> model = neyman.Model(spec, {}, poi_name="mu")  # or neyman.Model.load("analysis.neyman")
        >>> data = [51.0, 48.0, *model.config.auxdata]
        >>> result = neyman.limit(data, model)
        >>> round(result.observed, 2), result.expected.round(2)
        (1.01, array([0.56, 0.76, 1.06, 1.5 , 2.05]))
    """
    model, level = as_model(model), checked_level(level)
    calibration = chosen_calibration(calibration, calctype, "asymptotics", "toys")
    check_nuisance(calibration, nuisance)
    test = upper_limit_statistic(test_stat, statistic, model, calibration)
    of_formulas = test if test.learned is None else statistic_named("qmu_tilde")
    warnings = warn_of_outside(data, model)
    asymptotics = AsymptoticCls(data, model, of_formulas, init, bounds, fixed)
    scan = None if values is None else np.unique(checked_values(values, "the tested values"))
    limits = asymptotic_limits(asymptotics, 1.0 - level)
    if calibration == "toys":
        on_toys = _on_toys(
            data, model, test, init, bounds, fixed, source, n_toys, seed, executor, checkpoint, progress, nuisance
        )
        return dataclasses.replace(_toy_limits(on_toys, level, limits, scan), warnings=warnings)
    if scan is None:
        end = 1.15 * max(limits[0], limits[5])
        scan = np.linspace(0.0, end if asymptotics.end is None else min(end, asymptotics.end), _POINTS)
        scan = np.unique(np.concatenate([scan, limits]))
    curves = asymptotics.curves(scan.tolist())
    limits = last_crossings(asymptotics, 1.0 - level, limits, scan, curves)
    return dataclasses.replace(_result(asymptotics, level, limits, scan, curves), warnings=warnings)


def cls(
    value: float,
    data: Data,
    model: Model | pyhf.Model,
    test_stat: str = "qmu_tilde",
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    *,
    calibration: str = "asymptotics",
    n_toys: int = 2000,
    seed: int = 0,
    executor: Executor | None = None,
    source: str = "simulation",
    checkpoint: str | Path | None = None,
    progress: bool = False,
    statistic: LearnedStatistic | None = None,
    nuisance: str = "profile",
    calctype: str | None = None,
) -> ClsResult:
    """Return the CLs of one value of the parameter of interest, with the expected band.

    What :func:`pyhf.infer.hypotest` gives for it, by warm-started fits with exact gradients, or by toys that are
    fitted in batches.

    Args:
        value: the tested value.
        data: the flat data vector, shape ``(N,)``.
        model: the model.
        test_stat: ``"qmu_tilde"``, ``"qmu"`` or ``"learned"``, as for :func:`limit`.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        calibration: ``"asymptotics"`` or ``"toys"``.
        n_toys: toys of each hypothesis, as all that follows with ``"toys"`` alone.
        seed: fixes the toys; the executor does not change them.
        executor: any :class:`concurrent.futures.Executor`; default is this process.
        source: ``"simulation"`` or ``"model"``, as for :func:`limit`.
        checkpoint: a file for the finished toys: the same call after an interruption goes on from it.
        progress: whether to show a progress bar.
        statistic: with ``"learned"``, a statistic of ``neyman.train_statistic(..., side="upper")``, for which toys take
            no fits.
        nuisance: ``"profile"`` or ``"worst"``, as for :func:`limit`.
        calctype: ``calibration`` as pyhf calls it; ``"toybased"`` is ``"toys"``.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
        Unsupported: for other test statistics.
        FailedFit: if a minimisation does not converge.

    Example:
        >>> import neyman, pyhf
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> data = [51.0, 48.0, *model.config.auxdata]
        >>> round(neyman.cls(1.0, data, model).observed, 3)
        0.053
    """
    model, tested = as_model(model), checked_finite(value, "the tested value")
    calibration = chosen_calibration(calibration, calctype, "asymptotics", "toys")
    check_nuisance(calibration, nuisance)
    test = upper_limit_statistic(test_stat, statistic, model, calibration)
    warnings = warn_of_outside(data, model)
    found: AsymptoticCls | ToyCls
    if calibration == "toys":
        found = _on_toys(
            data, model, test, init, bounds, fixed, source, n_toys, seed, executor, checkpoint, progress, nuisance
        )
    else:
        found = AsymptoticCls(data, model, test, init, bounds, fixed)
    [[observed, *expected]] = found.curves([tested])
    return ClsResult(found.data.name, tested, float(observed), np.array(expected), warnings=warnings)


def _on_toys(
    data: Data,
    model: Model,
    test: TestStatistic,
    init: Start | None,
    bounds: Bounds | None,
    fixed: Fixed | None,
    source: str,
    n_toys: int,
    seed: int,
    executor: Executor | None,
    checkpoint: str | Path | None,
    progress: bool,
    nuisance: str,
) -> ToyCls:
    n_toys = checked_number(n_toys, "the number of toys")
    observed = Observed(data, model, test, init, without_upper_bound(model, bounds), fixed)
    settings = observed.settings(source)
    worst = nuisance == "worst"
    label = ["worst", n_toys] if worst else []  # the number of toys decides how large the region is
    store = Store(checkpoint, observed.model, ["CLs", observed.label(), seed, source, BATCH, *label])
    return ToyCls(observed, Thrower(observed.model, settings, store, executor, progress), n_toys, seed, worst)


def _result(curve: AsymptoticCls | ToyCls, level: float, limits: Array, scan: Array, curves: Array) -> LimitResult:
    return LimitResult(
        name=curve.data.name,
        level=level,
        observed=float(limits[0]),
        expected=limits[1:],
        scan=scan,
        cls_observed=curves[:, 0].copy(),
        cls_expected=curves[:, 1:].copy(),
    )


def _toy_limits(curve: ToyCls, level: float, guesses: Array, values: Array | None) -> LimitResult:
    """Return the limits on toys: a scan, refined where the six curves cross the threshold.

    Args:
        curve: CLs on toys.
        level: the confidence level.
        guesses: about where the observed and the five expected limits should be, shape ``(6,)``.
        values: the values to begin with; default is a grid beyond the highest guess.
    """
    high, threshold, learned = curve.data.bounds[1], 1.0 - level, curve.data.test.learned
    if learned is not None:
        high = min(high, learned.values[1])
    scan = np.linspace(0.0, 1.3 * float(guesses.max()), _TOY_POINTS) if values is None else values
    scan = np.unique(np.minimum(scan, high))
    curves = curve.curves(scan.tolist())

    def test(new: list[float]) -> None:
        nonlocal scan, curves
        scan, curves = np.append(scan, new), np.concatenate([curves, curve.curves(new)])
        order = np.argsort(scan)
        scan, curves = scan[order], curves[order]

    for _ in range(_WIDENINGS):
        if curves[-1].max() <= threshold or scan[-1] >= high:
            break
        test([min(1.5 * float(scan[-1]), high)])
    for _ in range(_ROUNDS):
        found = [_last_crossing(scan, one, threshold) for one in curves.T]
        near = [x for x in found if np.min(np.abs(scan - x)) > _CLOSE * x]
        new = [x for i, x in enumerate(near) if all(abs(x - y) > _CLOSE * x for y in near[:i])]
        if not new:
            break
        test(new)
    limits = np.array([_last_crossing(scan, one, threshold) for one in curves.T])
    if not np.all(np.isfinite(limits)):
        which = ["observed", *(f"expected ({n:+d} sigma)" for n in range(-2, 3))][int(np.argmin(np.isfinite(limits)))]
        advice = "give other values or more toys"
        if scan[-1] >= high:
            advice = f"train for values of {curve.data.name} beyond {high:g}"
        raise FailedFit(
            f"the {which} CLs on toys does not cross {threshold:g} from {curve.data.name} = {scan[0]:g} to "
            f"{scan[-1]:g}: {advice}"
        )
    return _result(curve, level, limits, scan, curves)


def _last_crossing(scan: Array, curve: Array, threshold: float) -> float:
    """Return where a curve last falls below a threshold, straight in its logarithm between tested values, else nan."""
    above = np.flatnonzero(curve > threshold)
    if not above.size or above[-1] == scan.size - 1:
        return math.nan
    i = above[-1]
    first, second = np.log(np.maximum(curve[i : i + 2] / threshold, 1e-4)).tolist()
    return straight((float(scan[i]), first), (float(scan[i + 1]), second))
