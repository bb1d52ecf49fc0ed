"""Learning critical values anywhere in parameter space from one set of toys."""

from __future__ import annotations

import dataclasses
import math
import warnings
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pyhf
import scipy.special
import scipy.stats
from numpy.typing import NDArray
from scipy.special import expit

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.critical.regression import deviance, fit_fractions
from neyman.inference.critical.surface import Surface
from neyman.inference.critical.values import CriticalValues, complaint, fewest
from neyman.inference.crossing import crossing
from neyman.inference.observed import Observed, poi_profile, without_signal
from neyman.inference.parameters import Bounds, Fixed, Start
from neyman.inference.profile import Profile
from neyman.inference.statistics import TIE, Statistic, chosen_statistic
from neyman.inference.throws import Settings, Throw, grouped, seed_of, throw_all
from neyman.model.constraints import constraints
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.summary import Data
from neyman.support.checks import checked_level, checked_number, checked_range, checked_source
from neyman.support.store import Store

__all__ = ["critical_values"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_GROUP = 25  # toys thrown at one point: each is compared with the others
_GROUPS = 20  # of a task
_BOUNDARY = 0.05  # of the points are at the lowest value of the parameter of interest
_WIDTHS = 3.0  # of a nuisance parameter on either side of its centre
_REACH = 2.5  # standard deviations beyond the longest interval, if data are given
_TABLE = 41  # values of the parameter of interest at which its significance is computed
_RIDGE = 1e-3
_PENALTIES = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
_FOLDS = 5
_USED = (0.02, 0.6)  # p-values at which the misfit is measured: about those that decide
_CLEAR = 2.0  # standard deviations that a misfit is from none
_LEVELS = (0.68, 0.9, 0.95)


def critical_values(
    model: Model | pyhf.Model,
    test_stat: str = "tmu_tilde",
    *,
    data: Data | None = None,
    poi_range: tuple[float, float] | None = None,
    n_toys: int = 20_000,
    seed: int = 0,
    executor: Executor | None = None,
    source: str = "simulation",
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    level: float = 0.95,
    tolerance: float = 0.01,
    checkpoint: str | Path | None = None,
    progress: bool = False,
    statistic: Statistic | None = None,
) -> CriticalValues:
    r"""Learn the critical values of a test statistic for all parameters at once.

    The calibration of likelihood-free frequentist inference (Dalmasso et al., arXiv:2107.03920), amortised: toys are
    thrown all over the parameter space, their statistics computed at their own parameters, and the probability of a
    statistic at least as large is fitted by a regression. Any dataset, any confidence level then takes milliseconds.

    The toys are thrown in groups of 25 at one point, and what is regressed is, for each toy, the fraction of the others
    of its group that are not below it. Equal counts so count as they must: at the statistics that occur, not between
    them. The learned p-value is smooth in the parameters: where the true one jumps, with few counts, the jumps are
    smeared. For a counting experiment with a background of 3 and a signal up to 20 (20,000 toys, eight seeds) intervals
    at 90 % cover 91.2 to 91.6 % on average, as they should, but 86.4 to 88.1 % in the worst place; their ends for 0 to
    10 events (six seeds, 96 ends) are up to 0.24 off on average. The errors know it, from how held-out toys scatter:
    the pulls are 0.94. ``calibration="toys"`` has no such bias.

    No data are needed: the model comes first.

    Args:
        model: the model.
        test_stat: the test statistic, as for :func:`neyman.interval`.
        data: if given, the toys are thrown where these data need them: the parameter of interest within their
            interval at ``level`` and 2.5 standard deviations beyond, the nuisance parameters within three standard
            deviations of their best fits there. Default is for any data: the whole range, and three standard
            deviations about where the model suggests, of the constraint or of a fit to expected data.
        poi_range: between which values of the parameter of interest toys are thrown.
        n_toys: how many in all.
        seed: fixes them; the executor does not change them.
        executor: any :class:`concurrent.futures.Executor`; default is this process.
        source: ``"simulation"`` for toys of simulated events, ``"model"`` for toys of the learned density.
        init: where the model suggests instead of its own, as for :func:`neyman.fit`.
        bounds: bounds of the fits, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        level: the highest confidence level that is wanted.
        tolerance: how far below the level the coverage of held-out toys may be.
        checkpoint: a file for the finished toys: the same call after an interruption goes on from it.
        progress: whether to show a progress bar.
        statistic: with ``"waldo"``, the posterior, as for :func:`neyman.interval`.

    Returns:
        The critical values. A warning says where held-out toys are covered too rarely.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
        FailedFit: if a minimisation does not converge, or no toy has a valid fit.

    Example:
        >>> import neyman
        >>> samples = [{"name": "signal", "data": [10.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}, {"name": "background", "data": [100.0],
        ...     "modifiers": []}]
        >>> model = neyman.Model({"channels": [{"name": "SR", "samples": samples}]}, {}, poi_name="mu")
        >>> learned = neyman.critical_values(model, poi_range=(0.0, 6.0), n_toys=5000)
        >>> values, errors = learned.critical(0.95, [[0.0], [5.0]])
        >>> abs(values - [2.71, 3.84]) < 3 * errors  # at the boundary, where half of the best fits are, and far from it
        array([ True,  True])
    """
    level = checked_level(level)
    n_toys = checked_number(n_toys, "the number of toys")
    least = max(fewest(level), _GROUP * _FOLDS)
    if n_toys < least:
        raise InvalidParameter(
            f"{n_toys} toys are too few to learn critical values at a level of {level:g}: take {least} at least"
        )
    model = as_model(model)
    test = chosen_statistic(test_stat, statistic, model, "quantile")
    test_stat, digest = test.name, "" if test.learned is None else test.learned.digest()
    free = poi_profile([], model, init, bounds, fixed, bounded=test.bounded)
    poi = int(model.config.poi_index)
    settings = Settings(poi, test, checked_source(source), tuple(free.bounds), free.held, model.config.poi_name)
    box, without = _box(model, free, settings, data, poi_range, level)
    significance = _significance(model, free, settings, box, without)
    rough = Surface(test_stat, poi, box, significance, 1.0)
    points = _points(rough, free.start, math.ceil(n_toys / _GROUP), seed)
    label = [
        "critical values",
        settings.bounds,
        free.held,
        points,
        seed,
        source,
        test_stat,
        _GROUP,
        *([digest] if digest else []),
    ]
    values = _group_statistics(model, points, settings, seed, Store(checkpoint, model, label), executor, progress)
    largest = float(np.quantile(np.sqrt(np.maximum(values[np.isfinite(values)], 0.0)), 0.9995))
    shape = dataclasses.replace(rough, largest=max(largest, 1.0))
    coefficients, covariance, held_out, misfit, penalty = _regressed(shape, points, values)
    result = CriticalValues(
        names=tuple(free.names),
        poi=poi,
        test_stat=test_stat,
        source=source,
        bounds=np.array(settings.bounds),
        fixed=free.held,
        model=model.fingerprint,
        box=box,
        significance=significance,
        misfit=misfit,
        largest=shape.largest,
        coefficients=coefficients,
        covariance=covariance,
        points=points,
        held_out=held_out,
        penalty=penalty,
        seed=seed,
        tolerance=tolerance,
        statistic=digest,
    )
    for checked_at in sorted({level, *(x for x in _LEVELS if x < level)}):
        if message := complaint(result.check(checked_at)):
            warnings.warn(message, stacklevel=2)
    return result


def _box(
    model: Model,
    free: Profile,
    settings: Settings,
    data: Data | None,
    poi_range: tuple[float, float] | None,
    level: float,
) -> tuple[Array, Array]:
    """Return where toys are to be thrown, shape ``(P, 2)``, and the parameters without signal, shape ``(P,)``."""
    poi, (low, high) = settings.poi, free.bounds[settings.poi]
    if settings.statistic.learned is not None:
        low, high = max(low, settings.statistic.learned.values[0]), min(high, settings.statistic.learned.values[1])
    if poi_range is not None:
        low, high = checked_range(poi_range, "poi_range", low, high, settings.name)
    without = free.start.copy()
    without[poi] = np.clip(0.0, *free.bounds[poi])
    if data is None:
        asimov = Profile(model.expected_data(free.start), model, free.start.tolist(), free.bounds, settings.fixed)
        widths = np.sqrt(np.maximum(np.diag(asimov.covariance), 0.0))
        for name, (_, width) in constraints(model).items():
            index = free.names.index(name)
            widths[index] = max(widths[index], width)
        centres = free.start[None]
    else:
        observed = Observed(data, model, settings.statistic, free.start.tolist(), free.bounds, settings.fixed)
        best = observed.best
        widths = np.sqrt(np.maximum(np.diag(observed.profile.covariance), 0.0))
        if poi_range is None:
            target = math.sqrt(scipy.stats.chi2.ppf(level, 1)) + _REACH
            sigma = observed.profile.scale(poi)
            ends = [
                crossing(lambda x: observed.ratio(x) ** 0.5, target, best, best + side * target * sigma, bound)
                if best != bound
                else best
                for side, bound in ((-1.0, low), (1.0, high))
            ]
            low, high = float(ends[0]), float(ends[1])
        centres = np.array([observed.at(value) for value in np.linspace(low, high, 7)])
        without = observed.at(float(without[poi]))
    widths[free.fixed] = 0.0
    lows, highs = np.array(free.bounds).T
    box = np.stack([centres.min(axis=0) - _WIDTHS * widths, centres.max(axis=0) + _WIDTHS * widths], axis=1)
    box = np.where(free.fixed[:, None], free.start[:, None], np.clip(box, lows[:, None], highs[:, None]))
    box[poi] = low, high
    return box, without


def _significance(model: Model, free: Profile, settings: Settings, box: Array, without: Array) -> Array:
    """Return values of the parameter of interest and their signed distance from no signal, shape ``(2, n)``."""
    poi = settings.poi
    asimov = without_signal(model, without, settings.bounds_of_best(), free, settings.fixed)
    values = np.linspace(box[poi, 0], box[poi, 1], _TABLE)
    order = np.argsort(np.abs(values - without[poi]))
    distance = np.empty(_TABLE)
    for i in order:  # outwards, each fit beginning at the one before
        distance[i] = math.copysign(math.sqrt(asimov.ratio({poi: float(values[i])})), values[i] - without[poi])
    distance = np.maximum.accumulate(distance) + 1e-9 * np.arange(_TABLE)
    return np.stack([values, distance])


def _points(shape: Surface, start: Array, number: int, seed: int) -> Array:
    """Return where the groups are thrown, shape ``(number, P)``.

    Evenly in the coordinate of the parameter of interest, which is its value in standard deviations near no signal and
    the logarithm of that far from it; the nuisance parameters are normal with half the width of the box, within it.
    """
    columns = shape.nuisances
    sequence = scipy.stats.qmc.Sobol(1 + len(columns), seed=np.random.default_rng([seed, 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # which says that powers of two are balanced better
        unit = sequence.random(number)
    points = np.tile(start, (number, 1))
    ends, _ = shape.place(shape.box[shape.poi])
    grid = np.linspace(shape.box[shape.poi, 0], shape.box[shape.poi, 1], 2001)
    share = np.clip((unit[:, 0] - _BOUNDARY) / (1.0 - _BOUNDARY), 0.0, 1.0)
    points[:, shape.poi] = np.interp(ends[0] + share * (ends[1] - ends[0]), shape.place(grid)[0], grid)
    points[unit[:, 0] < _BOUNDARY, shape.poi] = shape.box[shape.poi, 0]
    for column, one in zip(columns, unit[:, 1:].T, strict=True):
        low, high = shape.box[column]
        scaled = scipy.stats.truncnorm.ppf(one, -2.0, 2.0) / 2.0
        points[:, column] = 0.5 * (low + high) + 0.5 * (high - low) * scaled
    return points


def _group_statistics(
    model: Model, points: Array, settings: Settings, seed: int, store: Store, executor: Executor | None, progress: bool
) -> Array:
    """Return the statistics of all toys, shape ``(G, n)``, nan without a valid fit."""
    throws = [
        Throw(point, float(point[settings.poi]), _GROUP, seed_of(seed, i), settings) for i, point in enumerate(points)
    ]
    tasks = {begin: throws[begin : begin + _GROUPS] for begin in range(0, len(throws), _GROUPS)}
    values = np.concatenate(list(throw_all(grouped, model, tasks, store, executor, progress=progress).values()))
    failed = int(np.isnan(values).sum())
    if failed == values.size:
        raise FailedFit(f"none of {failed} toys has a valid fit: is the likelihood defined within the bounds?")
    if failed > 0.01 * values.size:
        warnings.warn(f"{failed} of {values.size} toys have no valid fit and are left out", stacklevel=3)
    return values


def _regressed(shape: Surface, points: Array, values: Array) -> tuple[Array, Array, Array, float, float]:
    """Return coefficients, their covariance, the p-value of every toy from the other folds, misfit, and penalty."""
    valid = np.isfinite(values)
    others = np.maximum(valid.sum(axis=1) - 1, 1)
    not_below = (valid[:, None, :] & (values[:, None, :] >= values[:, :, None] - TIE)).sum(axis=2) - 1
    # at a statistic of zero the p-value is one, whatever the parameters
    used = valid & (values > TIE) & (valid.sum(axis=1) > 1)[:, None]
    group, place = np.nonzero(used)
    response = not_below[group, place] / others[group]
    features, offset = shape.features(points[group], np.sqrt(values[group, place]))
    fold = np.arange(len(points)) % _FOLDS
    unit, ridge = shape.penalty(), _RIDGE * np.eye(features.shape[1])
    train = fold[group] != 0
    best, penalty, start = math.inf, _PENALTIES[0], None
    for strength in _PENALTIES:
        start = fit_fractions(
            features[train], offset[train], response[train], strength * unit + ridge, start
        ).coefficients
        loss = deviance(response[~train], expit(offset[~train] + features[~train] @ start))
        if loss < best:
            best, penalty, chosen = loss, strength, start
    held_out = np.where(valid, 1.0, np.nan)
    for k in range(_FOLDS):
        train = fold[group] != k
        beta = fit_fractions(
            features[train], offset[train], response[train], penalty * unit + ridge, chosen
        ).coefficients
        held_out[group[~train], place[~train]] = expit(offset[~train] + features[~train] @ beta)
    final = fit_fractions(features, offset, response, penalty * unit + ridge, chosen, group)
    misfit = _misfit(response, held_out[group, place], others[group], group)
    return final.coefficients, final.covariance, held_out, misfit, penalty


def _misfit(response: Array, p: Array, others: Array, group: NDArray[np.intp]) -> float:
    """Return how far the true logits are from those regressed, beyond what chance makes of the fractions.

    Args:
        response: fractions, shape ``(n,)``.
        p: what a regression that has not seen them expects, shape ``(n,)``.
        others: how many toys each fraction is of, shape ``(n,)``.
        group: which toys belong together, shape ``(n,)``.
    """
    used = (p > _USED[0]) & (p < _USED[1])
    if not used.any():
        return 0.0
    spread = p[used] * (1.0 - p[used])
    sums = np.bincount(group[used], weights=(response[used] - p[used]) ** 2 - spread / others[used])
    excess, chance = float(sums.sum()), math.sqrt(float((sums**2).sum()))
    return math.sqrt(excess / float((spread**2).sum())) if excess > _CLEAR * chance else 0.0
