"""The coverage certificate: how often an interval holds the truth, on toys thrown at the truth.

Toys are thrown at every truth and their test statistics found at the true value; a calibration says which of them
accept it; what they cover is counted.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.inference.calibrations import (
    Asymptotics,
    Calibration,
    OnToys,
    Quantile,
    Thrower,
    check_nuisance,
    chosen_calibration,
)
from neyman.inference.critical.learning import critical_values
from neyman.inference.critical.values import CriticalValues
from neyman.inference.observed import Tested, poi_profile, without_signal
from neyman.inference.parameters import Bounds, Fixed, checked_point
from neyman.inference.profile import Profile
from neyman.inference.statistics import Statistic, chosen_statistic
from neyman.inference.throws import Settings, Throw, fitted, seed_of, throw_all, valid_ones
from neyman.inference.worst import WorstOnToys, region
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.toys import Toys
from neyman.results import CoverageResult
from neyman.results.certificate import certificate
from neyman.support.checks import checked_level, checked_number, checked_source
from neyman.support.store import Store

__all__ = ["coverage"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_BATCH = 100  # toys of a task
_SHARED_BATCH = 1000  # toys of a task, of those that calibrate all toys of a truth
_OUTSIDE = 0.01  # of the toys, for a warning
_FIRST = 100  # toys that calibrate one toy, doubled until its decision is certain
_CERTAIN = 3.0  # standard deviations
_SHARED = 10  # where the calibration of one toy serves all, it may take this many times more of its own


def coverage(
    model: Model | pyhf.Model,
    truths: Any,
    level: float = 0.68,
    calibration: str = "toys",
    n_toys: int = 1000,
    seed: int = 0,
    executor: Executor | None = None,
    *,
    test_stat: str = "tmu_tilde",
    n_calibration: int = 2000,
    critical: CriticalValues | None = None,
    nuisance: str = "profile",
    statistic: Statistic | None = None,
    source: str = "simulation",
    tolerance: float = 0.0,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
    calctype: str | None = None,
) -> CoverageResult:
    """Measure how often the interval on the parameter of interest holds the truth.

    Toys are thrown at each truth. A toy's interval holds the truth exactly if the construction accepts the true value
    in it; so one tested value is enough for each toy, with the nuisance parameters at their conditional best fit in
    that toy. Where the model has no other free parameters, one calibration serves all toys of a truth.

    There are no data: the model comes first, then where toys are thrown.

    Args:
        model: the model.
        truths: where to throw: parameters ``(T, P)`` in the model's order, or mappings by name, as
            ``[{"mu": 0.0, "norm": 1.1}]``, with the others where the model suggests.
        level: the confidence level.
        calibration: ``"toys"``, ``"asymptotics"`` (with the standard deviation from the truth's Asimov data), or
            ``"quantile"`` for learned critical values, which calibrate all toys at no cost.
        n_toys: how many toys are thrown at each truth.
        seed: fixes the toys; the executor does not change them.
        executor: any :class:`concurrent.futures.Executor`; default is this process.
        test_stat: the test statistic, as for :func:`neyman.interval`.
        n_calibration: how many toys calibrate one toy at most.
        critical: with ``"quantile"``, critical values learned before. By default they are learned for the whole range
            of the POI, by :func:`neyman.critical_values`.
        nuisance: ``"profile"`` or ``"worst"``, as for :func:`neyman.interval`; with toys, other points than the best
            fit are tried for those toys alone that the best fit does not accept.
        statistic: with ``test_stat="learned"`` the statistic and with ``"waldo"`` the posterior, as for
            :func:`neyman.interval`.
        source: ``"simulation"`` for toys of simulated events, ``"model"`` for toys of the learned density.
        tolerance: how far below the level the coverage may be.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        checkpoint: a file for the finished toys: the same call after an interruption goes on from it.
        progress: whether to show a progress bar.
        calctype: ``calibration`` as pyhf calls it; ``"toybased"`` is ``"toys"``.

    Returns:
        The coverage at each truth. It passes unless some truth is undercovered by three standard deviations, one-sided
        and shared among the truths.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
        FailedFit: if no toy of a truth has a valid fit.

    Example:
        >>> import neyman
        >>> samples = [{"name": "signal", "data": [1.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}, {"name": "background", "data": [3.0],
        ...     "modifiers": []}]
        >>> model = neyman.Model({"channels": [{"name": "SR", "samples": samples}]}, {}, poi_name="mu")
        >>> neyman.coverage(model, [{"mu": 4.0}], level=0.9, calibration="asymptotics", n_toys=200).passed
        True
    """
    model, level = as_model(model), checked_level(level)
    n_toys, n_calibration = checked_number(n_toys, "n_toys"), checked_number(n_calibration, "n_calibration")
    calibration = chosen_calibration(calibration, calctype, "toys", "quantile", "asymptotics")
    test = chosen_statistic(test_stat, statistic, model, calibration)
    check_nuisance(calibration, nuisance, critical)
    free = poi_profile([], model, None, bounds, fixed, bounded=test.bounded)  # for what the fits begin with
    poi, name = int(model.config.poi_index), str(model.config.poi_name)
    settings = Settings(poi, test, checked_source(source), tuple(free.bounds), free.held, name)
    points = _truths(truths, model, free)
    if test.learned is not None:
        for point in points:
            test.learned.checked_values(point[poi])
    if calibration == "quantile":
        if critical is None:
            critical = critical_values(
                model, test.name, seed=seed, executor=executor, source=source, bounds=bounds, fixed=fixed, level=level,
                progress=progress, statistic=statistic,
            )  # fmt: skip
        critical.belongs_to(model, settings)
        critical.p_values(np.zeros(len(points)), points, nuisance)  # which says what is wrong with the truths

    label = ["coverage", settings.bounds, free.held, points, level, calibration, n_calibration]
    label += [seed, source, test.name, None if test.learned is None else test.learned.digest(), _BATCH]
    worst = nuisance == "worst" and calibration == "toys"
    label += ["worst"] if worst else []
    store = Store(checkpoint, model, label)
    throws = {
        (truth, batch, size): Throw(point, float(point[poi]), size, seed_of(seed, truth, batch), settings)
        for truth, point in enumerate(points)
        for batch, size in enumerate(_sizes(n_toys))
    }
    fits = throw_all(_fits, model, throws, store, executor, progress=progress)
    decisions: dict[tuple[int, int, int], Array]  # one where a toy accepts the truth, zero where not, nan without a fit
    if calibration == "toys" and not _alone(free):
        trials = {
            ("own toys", *key): _Trial(throws[key], fit, level, n_calibration, worst) for key, fit in fits.items()
        }
        done = throw_all(_by_their_own_toys, model, trials, store, executor, progress=progress)
        decisions = {key: done["own toys", *key] for key in fits}
    else:
        calibrations: list[Calibration]  # one for each truth
        if critical is not None:
            _warn_of_far(critical, np.concatenate(list(fits.values())))
            calibrations = [Quantile(critical, level, nuisance)] * len(points)
        elif calibration == "asymptotics":
            calibrations = [_asymptotics(model, point, level, settings, free) for point in points]
        else:
            number = max(n_calibration, _SHARED * n_toys)
            thrower = Thrower(model, settings, store, executor, progress, first=number, batch=_SHARED_BATCH)
            calibrations = [OnToys(thrower, level, number)] * len(points)
        decisions = {
            key: _accepted(calibrations[key[0]], fit, throws[key].value, [(seed, -1, key[0])] * len(fit))
            for key, fit in fits.items()
        }

    counted = [valid_ones(ones for key, ones in decisions.items() if key[0] == truth) for truth in range(len(points))]
    return certificate(
        [int(ones.sum()) for ones in counted],
        [ones.size for ones in counted],
        level,
        tolerance,
        names=tuple(free.names),
        truths=points,
        poi=name,
        test_stat=test.name,
        calibration=calibration,
    )


def _sizes(n_toys: int) -> list[int]:
    """Return how many toys each task throws."""
    return [min(_BATCH, n_toys - begin) for begin in range(0, n_toys, _BATCH)]


def _alone(free: Profile) -> bool:
    """Whether the parameter of interest is the only free one: then every toy's conditional best fit is the truth."""
    return int((~free.fixed).sum()) == 1


def _fits(model: Model, throw: Throw) -> Array:
    """Return a row for each toy: the test statistic, nan without a valid fit, and its best fit at the tested value."""
    values, pars = fitted(model, throw.toys(model), throw.pars, throw.value, throw.settings)
    return np.column_stack([values, pars])


def _accepted(calibration: Calibration, fits: Array, value: float, seeds: Sequence[tuple[float, ...]]) -> Array:
    """Return for each toy one where a calibration accepts the truth, zero where not, nan without a valid fit."""
    valid = np.flatnonzero(~np.isnan(fits[:, 0]))
    tested = [Tested(value, fits[i, 1:], float(fits[i, 0]), seeds[i]) for i in valid]
    decisions = np.full(len(fits), np.nan)
    decisions[valid] = [point.accepted for point in calibration.points(tested)]
    return decisions


@dataclass(frozen=True, eq=False)
class _Trial:
    """A batch of toys at a truth, each to be compared with toys of its own."""

    throw: Throw
    fits: Array
    level: float
    n_calibration: int
    worst: bool


def _by_their_own_toys(model: Model, trial: _Trial) -> Array:
    """Return what :func:`_accepted` does, for toys thrown at the conditional best fit of each toy."""
    throw, fits = trial.throw, trial.fits
    thrower = Thrower(model, throw.settings, first=_FIRST, batch=None)
    seeds = [(seed_of(throw.seed, i),) for i in range(len(fits))]
    calibration: Calibration = OnToys(thrower, trial.level, trial.n_calibration, _CERTAIN)
    if trial.worst:
        points = functools.partial(_region, throw, throw.toys(model), {seed: i for i, seed in enumerate(seeds)})
        calibration = WorstOnToys(thrower, trial.level, trial.n_calibration, points, lazy=True, certain=_CERTAIN)
    certain = np.array([throw.settings.statistic.smallest(t) for t in fits[:, 0]])  # without a toy
    decisions = _accepted(calibration, np.where(certain[:, None], np.nan, fits), throw.value, seeds)
    return np.where(certain, 1.0, decisions)


def _region(
    throw: Throw, toys: Toys, places: Mapping[tuple[float, ...], int], one: Tested, confidence: float
) -> list[Array]:
    """Return the points of :func:`region` for a toy, which the seeds of its own toys tell from the others."""
    settings, summary = throw.settings, toys.summary(places[one.seeds])
    profile = Profile(summary, toys.model, one.pars.tolist(), settings.bounds_of_best(), settings.fixed)
    return region(profile, settings.poi, throw.value, confidence)


def _asymptotics(model: Model, point: Array, level: float, settings: Settings, free: Profile) -> Asymptotics:
    """Return the asymptotic formulas at a truth, with the standard deviation from its Asimov data without signal."""
    root = math.inf
    if settings.statistic.bounded:
        background = point.copy()
        background[settings.poi] = max(0.0, settings.bounds[settings.poi][0])
        asimov = without_signal(model, background, settings.bounds_of_best(), free, settings.fixed)
        root = math.sqrt(asimov.ratio({settings.poi: float(point[settings.poi])}))
    return Asymptotics(settings.statistic, level, lambda value: root)


def _warn_of_far(critical: CriticalValues, fits: Array) -> None:
    far = int(critical.outside(fits[~np.isnan(fits[:, 0]), 1:]).sum())
    if far > _OUTSIDE * len(fits):
        warnings.warn(
            f"{far} of {len(fits)} toys have nuisance parameters outside the range in which critical values were "
            "learned, and are taken at its edge",
            stacklevel=3,
        )


def _truths(truths: Any, model: Model, free: Profile) -> Array:
    """Return the true parameters, shape ``(T, P)``: each as the fits may find them."""
    names = free.names
    given = [truths] if isinstance(truths, Mapping) else truths
    if isinstance(given, Sequence) and given and all(isinstance(truth, Mapping) for truth in given):
        points = np.array([checked_point(truth, model, "a truth", free.start) for truth in given])
    else:
        try:
            points = np.atleast_2d(np.asarray(given, dtype=np.float64))
        except (TypeError, ValueError):
            points = np.empty((0, 0))
    if points.ndim != 2 or len(points) == 0 or points.shape[1] != len(names):
        raise InvalidParameter(
            f"the truths must be rows of {len(names)} parameters ({', '.join(names[:20])}) or mappings by name"
        )
    lows, highs = np.array(free.bounds).T
    wrong = ~np.isfinite(points) | (~free.fixed & ((points < lows) | (points > highs)))
    if wrong.any():
        i, k = np.argwhere(wrong)[0]
        raise InvalidParameter(
            f"a truth has {names[k]} = {points[i, k]:g}, outside its bounds ({lows[k]:g}, {highs[k]:g}): change either"
        )
    moved = free.fixed & (points != free.start)
    if moved.any():
        i, k = np.argwhere(moved)[0]
        raise InvalidParameter(
            f"a truth has {names[k]} = {points[i, k]:g}, but the fits hold it at {free.start[k]:g}: "
            "give the same value in fixed, or free it"
        )
    return points
