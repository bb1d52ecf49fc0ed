"""The coverage certificate: how often an interval holds the truth, on toys thrown at the truth."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.inference.critical.learning import critical_values
from neyman.inference.critical.values import CriticalValues
from neyman.inference.learned_statistic import LearnedStatistic, checked_statistic
from neyman.inference.observed import poi_profile
from neyman.inference.parameters import Bounds, parameter_index
from neyman.inference.profile import Profile
from neyman.inference.statistics import asymptotic_critical, is_bounded
from neyman.inference.throws import (
    TIE,
    Settings,
    Throw,
    certain_at_zero,
    counts_of,
    fitted,
    seed_of,
    statistics,
    throw_all,
)
from neyman.model.toys import draw
from neyman.results import CoverageResult
from neyman.results.certificate import certificate
from neyman.support.checks import checked_choice, checked_level, checked_number, checked_source
from neyman.support.store import Store

__all__ = ["coverage"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_BATCH = 100  # toys of a task
_OUTSIDE = 0.01  # of the toys, for a warning
_FIRST = 100  # toys that calibrate one toy, doubled until its decision is certain
_CERTAIN = 3.0  # standard deviations
_SHARED = 10  # where the calibration of one toy serves all, it may take this many times more of its own


def coverage(
    model: Any,
    truths: Any,
    level: float = 0.68,
    calibration: str = "toys",
    n_toys: int = 1000,
    seed: int = 0,
    executor: Any = None,
    *,
    test_stat: str = "tmu_tilde",
    n_calibration: int = 2000,
    critical: CriticalValues | None = None,
    nuisance: str = "profile",
    statistic: LearnedStatistic | None = None,
    source: str = "simulation",
    tolerance: float = 0.0,
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> CoverageResult:
    """Measure how often the interval on the parameter of interest holds the truth.

    Toys are thrown at each truth. A toy's interval holds the truth exactly if the construction accepts the true value
    in it; so one tested value is enough for each toy, with the nuisance parameters at their conditional best fit in
    that toy. Where the model has no other free parameters, one calibration serves all toys of a truth.

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
        nuisance: with ``"quantile"``, ``"profile"`` or ``"worst"``, as for :func:`neyman.interval`.
        statistic: with ``test_stat="learned"``, the statistic, as for :func:`neyman.interval`.
        source: ``"simulation"`` for toys of simulated events, ``"model"`` for toys of the learned density.
        tolerance: how far below the level the coverage may be.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        checkpoint: a file for the finished toys: the same call after an interruption goes on from it.
        progress: whether to show a progress bar.

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
    level = checked_level(level)
    n_toys, n_calibration = checked_number(n_toys, "n_toys"), checked_number(n_calibration, "n_calibration")
    checked_choice(calibration, "calibration", ("toys", "quantile", "asymptotics"))
    test_stat = checked_statistic(test_stat, statistic, model, calibration)
    if calibration != "quantile" and (critical is not None or nuisance != "profile"):
        raise InvalidParameter("critical and nuisance='worst' are for calibration='quantile'")
    profile = poi_profile([], model, None, bounds, fixed, bounded=False)  # for what the fits begin with
    held = {name: float(value) for name, value in (fixed or {}).items()}
    poi, name = int(model.config.poi_index), model.config.poi_name
    points = _truths(truths, model, profile, test_stat)
    settings = Settings(poi, test_stat, checked_source(source), tuple(profile.bounds), held, name, statistic)
    label = [profile.names, settings.bounds, held, points, level, calibration, n_toys, n_calibration]
    label += [seed, source, test_stat, _BATCH]
    if statistic is not None:
        label.append(statistic.digest())
        for point in points:
            statistic.checked_values(point[poi])
    store = Store(checkpoint, model, ["coverage", *label])

    if calibration == "quantile":
        if critical is None:
            critical = critical_values(
                model, test_stat, seed=seed, executor=executor, source=source, bounds=bounds, fixed=fixed, level=level,
                progress=progress,
            )  # fmt: skip
        settings = dataclasses.replace(settings, bounds=tuple(settings.bounds_of_best()))
        critical.belongs_to(model, settings)
        critical.p_values(np.zeros(len(points)), points, nuisance)  # which says what is wrong with the truths
    throws: dict[str, Any] = {}
    criticals: list[float | None] = [None] * len(points)
    alone = profile.fixed.sum() == profile.fixed.size - 1
    if calibration == "asymptotics":
        criticals = [_asymptotic(model, point, level, settings, profile) for point in points]
    elif alone:
        criticals = _shared(model, points, level, settings, n_toys, n_calibration, seed, store, executor, progress)
    learned = critical is not None
    for i, (point, value) in enumerate(zip(points, criticals, strict=True)):
        for batch in range(math.ceil(n_toys / _BATCH)):
            throw = Throw(
                point, float(point[poi]), min(_BATCH, n_toys - batch * _BATCH), seed_of(seed, i, batch), settings
            )
            throws[f"truth {i} {batch}"] = throw if learned else _Trial(throw, level, value, n_calibration)
    throw_all(_fits if learned else _trial, model, throws, store, executor, progress=progress)

    covered, numbers = np.zeros(len(points), dtype=np.int64), np.zeros(len(points), dtype=np.int64)
    for i in range(len(points)):
        batches = [store[key] for key in throws if key.split()[1] == str(i)]
        if critical is not None:
            batches = [_learned(np.concatenate(batches), critical, level, nuisance)]
        decisions = counts_of(batches)
        covered[i], numbers[i] = int(decisions.sum()), decisions.size
    return certificate(
        covered,
        numbers,
        level,
        tolerance,
        names=tuple(profile.names),
        truths=points,
        poi=name,
        test_stat=test_stat,
        calibration=calibration,
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    """A batch of toys at a truth, to be decided one by one: with a common critical value, or each with its own."""

    throw: Throw
    level: float
    critical: float | None
    n_calibration: int


def _fits(model: Any, throw: Throw) -> Array:
    """Return a row for each toy: the test statistic, and its best fit at the tested value."""
    toys = draw(throw.pars, model, throw.n, seed=throw.seed, source=throw.settings.source)
    values, pars = fitted(model, toys, throw.pars, throw.value, throw.settings)
    return np.column_stack([values, pars])


def _learned(fits: Array, critical: CriticalValues, level: float, nuisance: str) -> Array:
    """Return for each toy one where learned critical values accept the truth, zero where not, nan without a fit."""
    values, pars = fits[:, 0], fits[:, 1:]
    valid = ~np.isnan(values)
    far = int(critical.outside(pars[valid]).sum())
    if far > _OUTSIDE * len(values):
        warnings.warn(
            f"{far} of {len(values)} toys have nuisance parameters outside the range in which critical values were "
            "learned, and are taken at its edge",
            stacklevel=3,
        )
    p, _ = critical.p_values(np.where(valid, values, 0.0), np.where(valid[:, None], pars, critical.box[:, 0]), nuisance)
    return np.where(valid, (p > 1.0 - level).astype(np.float64), np.nan)


def _trial(model: Any, trial: _Trial) -> Array:
    """Return for each toy one where its interval holds the truth, zero where not, nan without a valid fit."""
    throw, settings = trial.throw, trial.throw.settings
    if trial.critical is not None:
        values = statistics(model, throw)
        return np.where(np.isnan(values), np.nan, (values <= trial.critical + TIE).astype(np.float64))
    toys = draw(throw.pars, model, throw.n, seed=throw.seed, source=settings.source)
    values, pars = fitted(model, toys, throw.pars, throw.value, settings)
    decisions = np.full(throw.n, np.nan)
    for i in np.flatnonzero(~np.isnan(values)):
        decisions[i] = _accepted(model, trial, pars[i], float(values[i]), seed_of(throw.seed, i))
    return decisions


def _accepted(model: Any, trial: _Trial, pars: Array, observed: float, seed: int) -> bool:
    """Whether a toy accepts the truth: throw toys at its own conditional best fit until that is certain."""
    if certain_at_zero(trial.throw.settings.test_stat, observed):
        return True
    above = total = 0
    size = min(_FIRST, trial.n_calibration)
    for round_ in range(64):
        throw = Throw(pars, trial.throw.value, size, seed_of(seed, round_), trial.throw.settings)
        values = counts_of([statistics(model, throw)])
        above, total = above + int((values >= observed - TIE).sum()), total + values.size
        distance = above / total - (1.0 - trial.level)
        if abs(distance) > _CERTAIN * math.sqrt(trial.level * (1.0 - trial.level) / total):
            break
        size = min(total, trial.n_calibration - total)
        if size <= 0:
            break
    return bool(distance > 0.0)


def _shared(
    model: Any,
    points: Array,
    level: float,
    settings: Settings,
    n_toys: int,
    n_calibration: int,
    seed: int,
    store: Store,
    executor: Any,
    progress: bool,
) -> list[float | None]:
    """Return the critical value of each truth from toys at the truth, which is every toy's conditional best fit."""
    number = max(n_calibration, _SHARED * n_toys)
    size = 10 * _BATCH
    throws = {
        f"critical {i} {batch}": Throw(
            point, float(point[settings.poi]), min(size, number - batch * size), seed_of(seed, -1, i, batch), settings
        )
        for i, point in enumerate(points)
        for batch in range(math.ceil(number / size))
    }
    throw_all(statistics, model, throws, store, executor, progress=progress)
    criticals: list[float | None] = []
    for i in range(len(points)):
        values = counts_of(store[key] for key in throws if key.split()[1] == str(i))
        criticals.append(float(np.quantile(values, level, method="inverted_cdf")))
    return criticals


def _asymptotic(model: Any, point: Array, level: float, settings: Settings, profile: Profile) -> float:
    """Return the asymptotic critical value at a truth."""
    value = float(point[settings.poi])
    root = math.inf
    if is_bounded(settings.test_stat):
        without = point.copy()
        without[settings.poi] = max(0.0, settings.bounds[settings.poi][0])
        bounds = settings.bounds_of_best()
        start = np.where(profile.fixed, without, np.clip(without, *np.array(bounds).T))
        asimov = Profile(model.expected_data(without), model, start.tolist(), bounds, settings.fixed)
        root = math.sqrt(asimov.ratio({settings.poi: value}))
    return asymptotic_critical(settings.test_stat, level, root)


def _truths(truths: Any, model: Any, profile: Profile, test_stat: str) -> Array:
    """Return the true parameters, shape ``(T, P)``."""
    given = [truths] if isinstance(truths, Mapping) else truths
    if isinstance(given, Sequence) and given and all(isinstance(truth, Mapping) for truth in given):
        points = np.tile(profile.start, (len(given), 1))
        for row, truth in zip(points, given, strict=True):
            for name, value in truth.items():
                row[parameter_index(model, name)] = value
    else:
        try:
            points = np.atleast_2d(np.asarray(given, dtype=np.float64))
        except (TypeError, ValueError):
            points = np.empty((0, 0))
    names = profile.names
    if points.ndim != 2 or len(points) == 0 or points.shape[1] != len(names):
        raise InvalidParameter(
            f"the truths must be rows of {len(names)} parameters ({', '.join(names[:20])}) or mappings by name"
        )
    lows, highs = np.array(profile.bounds).T
    if is_bounded(test_stat):
        poi = model.config.poi_index
        lows[poi] = max(lows[poi], 0.0)
    wrong = ~np.isfinite(points) | (~profile.fixed & ((points < lows) | (points > highs)))
    if wrong.any():
        i, k = np.argwhere(wrong)[0]
        raise InvalidParameter(
            f"a truth has {names[k]} = {points[i, k]:g}, outside its bounds ({lows[k]:g}, {highs[k]:g}): change either"
        )
    moved = profile.fixed & (points != profile.start)
    if moved.any():
        i, k = np.argwhere(moved)[0]
        raise InvalidParameter(
            f"a truth has {names[k]} = {points[i, k]:g}, but the fits hold it at {profile.start[k]:g}: "
            "give the same value in fixed, or free it"
        )
    return points
