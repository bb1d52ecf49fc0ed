"""Learned critical values: how a test statistic is distributed anywhere in parameter space, from one set of toys."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.files import replacing
from neyman.inference.certificate import certificate
from neyman.inference.observed import Observed, poi_profile
from neyman.inference.profile import Bounds, Profile, Start, crossing
from neyman.inference.regression import deviance, fit_logistic
from neyman.inference.statistics import checked, is_bounded
from neyman.inference.surface import Surface
from neyman.inference.throws import (
    TIE,
    Settings,
    Store,
    Throw,
    checked_level,
    checked_number,
    checked_source,
    digest,
    grouped,
    seed_of,
    throw_all,
)
from neyman.rates import constraints
from neyman.results import CoverageResult

__all__ = ["CriticalValues", "complaint", "critical_values"]


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
_GRID = 97  # values of the statistic at which a p-value is computed, straight in the logit between them
_BEYOND = 1.5  # how far that goes beyond the largest statistic learned from
_CELLS = 8  # of the parameter of interest, in which the coverage is checked
_BINS = (-5.0, -4.0, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.5, 1.5, 3.0)  # of logits, in which misfits are measured
_CLEAR = 2.0  # standard deviations that a misfit is from none
_ROWS = 4096
_FEWEST = 20.0  # toys above a critical value, in all
_LEVELS = (0.68, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class CriticalValues:
    r"""The distribution of a test statistic in toys, as a function of all parameters: p-values and critical values.

    Made by :func:`critical_values`. The logit of :math:`P(T \ge t | \theta)` is the one of the asymptotic formula plus
    a smooth function of the parameter of interest and :math:`\sqrt t`, plus for each nuisance parameter a linear and a
    quadratic term whose coefficients depend on both.

    Args:
        names: the parameters, in the model's order, shape ``(P,)``.
        poi: position of the parameter of interest.
        test_stat: the test statistic.
        source: ``"simulation"`` or ``"model"`` toys.
        bounds: of the fits, shape ``(P, 2)``.
        fixed: parameters held at a value in the fits.
        model: what tells the model from others.
        box: where the toys were thrown, shape ``(P, 2)``.
        significance: values of the parameter of interest and their distance from no signal in standard deviations,
            shape ``(2, n)``.
        misfit: logits of the p-value, and the standard deviation about them of the true logit that held-out toys show,
            shape ``(2, n)``: what a smooth function cannot follow, as the jumps where there are few counts.
        largest: of the root of the statistic, in the toys.
        coefficients: of the regression, shape ``(M,)``.
        covariance: of the coefficients, shape ``(M, M)``.
        points: where the toys were thrown, shape ``(G, P)``.
        held_out: the p-value of each toy from a regression that has not seen it, nan without a valid fit, shape
            ``(G, n)``.
        penalty: the strength of smoothing.
        seed: of the toys.
        tolerance: how far below the level the coverage of held-out toys may be.
    """

    names: tuple[str, ...]
    poi: int
    test_stat: str
    source: str
    bounds: Array
    fixed: Mapping[str, float]
    model: str
    box: Array
    significance: Array
    misfit: Array
    largest: float
    coefficients: Array
    covariance: Array
    points: Array
    held_out: Array
    penalty: float
    seed: int
    tolerance: float

    def p_values(self, statistic: ArrayLike, pars: ArrayLike, nuisance: str = "profile") -> tuple[Array, Array]:
        """Return the probabilities of a statistic at least as large, and their errors, shape ``(n,)`` both.

        Nuisance parameters outside the box count as being at its edge.

        Args:
            statistic: values of the test statistic, shape ``(n,)``.
            pars: the parameters, shape ``(n, P)``.
            nuisance: ``"profile"``, or ``"worst"`` for the largest p-value anywhere in the box of the nuisance
                parameters.

        Raises:
            InvalidParameter: where the parameter of interest is outside the range that was learned.
        """
        t, points = np.atleast_1d(np.asarray(statistic, dtype=np.float64)), self._checked(pars)
        roots, logits = self._curves(points, nuisance)
        x = np.sqrt(np.maximum(t, 0.0))
        step = roots[1] - roots[0]
        below = np.clip((x / step).astype(np.intp), 0, len(roots) - 2)
        share = np.clip(x / step - below, 0.0, 1.0)
        rows = np.arange(len(x))
        logit = (1.0 - share) * logits[rows, below] + share * logits[rows, below + 1]
        p = expit(logit)
        error = p * (1.0 - p) * self._deviation(points, x, logit, nuisance)
        certain = t <= TIE
        return np.where(certain, 1.0, p), np.where(certain, 0.0, error)

    def critical(self, level: float, pars: ArrayLike, nuisance: str = "profile") -> tuple[Array, Array]:
        """Return the critical values, above which the statistic rejects the parameters, and their errors.

        Args:
            level: the confidence level.
            pars: the parameters, shape ``(n, P)``.
            nuisance: as for :meth:`p_values`.

        Raises:
            InvalidParameter: for a level that the toys are too few for, or as for :meth:`p_values`.
        """
        threshold = scipy.special.logit(1.0 - self._checked_level(level))
        points = self._checked(pars)
        roots, logits = self._curves(points, nuisance)
        above = logits > threshold
        last = np.where(above.any(axis=1), logits.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1), 0)
        last = np.minimum(last, logits.shape[1] - 2)
        rows = np.arange(len(points))
        here, there = logits[rows, last], logits[rows, last + 1]
        slope = (here - there) / (roots[1] - roots[0])
        x = roots[last] + np.clip((here - threshold) / np.maximum(slope, 1e-9), 0.0, roots[1] - roots[0])
        x = np.where(above.any(axis=1), x, 0.0)
        error = self._deviation(points, x, np.full(len(x), threshold), nuisance) / np.maximum(slope, 1e-9)
        return x**2, np.minimum(2.0 * x * error, x**2)

    def check(self, level: float) -> CoverageResult:
        """Return how often toys that the regression has not seen are accepted at their own parameters.

        In bins of the parameter of interest, its lowest value by itself, and in the lower and upper third of every
        nuisance parameter; the truths of the result are the mean parameters of these.

        Args:
            level: the confidence level.

        Raises:
            InvalidParameter: for a level that the toys are too few for.
        """
        self._checked_level(level)
        valid = ~np.isnan(self.held_out)
        cells = [cell for cell in self._cells() if valid[cell].any()]
        accepted = valid & (np.nan_to_num(self.held_out) > 1.0 - level)
        return certificate(
            [accepted[cell].sum() for cell in cells],
            [valid[cell].sum() for cell in cells],
            level,
            self.tolerance,
            names=self.names,
            truths=np.array([self.points[cell].mean(axis=0) for cell in cells]),
            poi=self.names[self.poi],
            test_stat=self.test_stat,
            calibration="quantile",
        )

    def outside(self, pars: ArrayLike) -> NDArray[np.bool_]:
        """Return which parameters have a nuisance parameter outside the box, shape ``(n,)``.

        Args:
            pars: the parameters, shape ``(n, P)``.
        """
        points = np.atleast_2d(np.asarray(pars, dtype=np.float64))
        margin = 1e-6 * (self.box[:, 1] - self.box[:, 0]) + 1e-9
        wrong = (points < self.box[:, 0] - margin) | (points > self.box[:, 1] + margin)
        wrong[:, self.poi] = False
        return np.asarray(wrong.any(axis=1))

    def belongs_to(self, model: Any, settings: Settings) -> None:
        """Make sure that these are the critical values of a model, a test statistic and its fits.

        Args:
            model: the model.
            settings: how its toys would be fitted.

        Raises:
            InvalidParameter: if they are not.
        """
        if self.test_stat != settings.test_stat:
            raise InvalidParameter(
                f"the critical values are of {self.test_stat}, not of {settings.test_stat}: learn others"
            )
        if self.names != tuple(model.config.par_names) or self.model != digest(model):
            raise InvalidParameter("the critical values were learned for another model: learn them for this one")
        if self.poi != settings.poi:
            raise InvalidParameter(f"the critical values are for {self.names[self.poi]}, not for {settings.name}")
        if self.source != settings.source:
            raise InvalidParameter(
                f"the critical values come from toys of the {self.source}, not of the {settings.source}"
            )
        if dict(self.fixed) != dict(settings.fixed):
            raise InvalidParameter(
                f"the critical values were learned with fixed = {dict(self.fixed)}, not {dict(settings.fixed)}"
            )
        moved = np.flatnonzero((self.bounds != np.array(settings.bounds)).any(axis=1))
        if moved.size:
            low, high = self.bounds[moved[0]]
            raise InvalidParameter(
                f"the critical values were learned with the bounds ({low:g}, {high:g}) of {self.names[moved[0]]}: "
                "fit with the same ones"
            )

    def save(self, path: str | Path) -> None:
        """Write the critical values to a file, which :meth:`load` reads.

        Args:
            path: the file.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        rest = {name: value for name, value in fields.items() if name not in arrays}
        buffer = io.BytesIO()
        content: dict[str, Any] = {"critical values": np.array(json.dumps(rest)), **arrays}
        np.savez_compressed(buffer, **content)
        with replacing(path) as stream:
            stream.write(buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> CriticalValues:
        """Return the critical values of a file; reading one runs no code.

        Args:
            path: the file.

        Raises:
            InvalidParameter: if there is none, or it holds something else.
        """
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            rest = json.loads(str(arrays.pop("critical values")))
            rest["names"] = tuple(rest["names"])
            return cls(**rest, **arrays)
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise InvalidParameter(f"{path}: not a file of critical values ({reason}): learn them again") from error

    def __repr__(self) -> str:
        low, high = self.box[self.poi]
        title = (
            f"critical values of {self.test_stat} for {self.names[self.poi]} from {low:g} to {high:g}, learned from "
            f"{self._toys} toys; coverage of held-out toys, the lowest of {len(self._cells())}:"
        )
        lines = [title]
        for level in _LEVELS:
            if self._toys >= _fewest(level):
                result = self.check(level)
                i = int(np.argmin(result.coverage - result.error))
                verdict = "passed" if result.passed else "failed"
                cell = ", ".join(
                    f"{name} {value:.3g}" for name, value in zip(self.names, result.truths[i], strict=True)
                )
                lines.append(
                    f"  {100 * level:.4g} %: {100 * result.coverage[i]:.1f} +/- {100 * result.error[i]:.1f} % "
                    f"about {cell}: {verdict}"
                )
        return "\n".join(lines)

    def _checked_level(self, level: float) -> float:
        level = checked_level(level)
        if self._toys < _fewest(level):
            raise InvalidParameter(
                f"the critical values were learned from {self._toys} toys: a level of {level:g} takes "
                f"{_fewest(level)} at least"
            )
        return level

    def _checked(self, pars: ArrayLike) -> Array:
        points = np.atleast_2d(np.asarray(pars, dtype=np.float64))
        low, high = self.box[self.poi]
        values, margin = points[:, self.poi], 1e-9 * (high - low)
        wrong = values[~((values >= low - margin) & (values <= high + margin))]
        if wrong.size:
            raise InvalidParameter(
                f"{self.names[self.poi]} = {wrong[0]:g} is outside ({low:g}, {high:g}), where critical values were "
                "learned: learn them there"
            )
        return np.asarray(np.clip(points, *self.box.T))

    def _cells(self) -> list[NDArray[np.intp]]:
        """Return the points in each part of the box that is checked."""
        values = self.points[:, self.poi]
        lowest = values <= self.box[self.poi, 0]
        w, _ = self._surface.place(values)
        number = np.minimum((w - w.min()) / max(np.ptp(w), 1e-12) * _CELLS, _CELLS - 1).astype(np.intp)
        cells = [np.flatnonzero(lowest)] + [np.flatnonzero(~lowest & (number == i)) for i in range(_CELLS)]
        for column in self._surface.nuisances:
            nuisance = self.points[:, column]
            thirds = np.quantile(nuisance, [1.0 / 3.0, 2.0 / 3.0])
            cells += [np.flatnonzero(nuisance <= thirds[0]), np.flatnonzero(nuisance >= thirds[1])]
        return [cell for cell in cells if cell.size]

    @property
    def _toys(self) -> int:
        return int((~np.isnan(self.held_out)).sum())

    @property
    def _surface(self) -> Surface:
        return Surface(self.test_stat, self.poi, self.box, self.significance, self.largest)

    def _curves(self, points: Array, nuisance: str) -> tuple[Array, Array]:
        """Return roots of the statistic, shape ``(G,)``, and the logits of the p-values there, not rising."""
        roots = np.linspace(0.0, _BEYOND * self._surface.largest, _GRID)
        logits = self._surface.logits(points, roots, self.coefficients, nuisance)
        return roots, np.maximum.accumulate(logits[:, ::-1], axis=1)[:, ::-1]

    def _deviation(self, points: Array, roots: Array, logits: Array, nuisance: str) -> Array:
        """Return the standard deviation of the logits of p-values, shape ``(n,)``."""
        if nuisance == "worst":
            points = self._surface.worst(points, roots, self.coefficients)
        variance = np.empty(len(points))
        for begin in range(0, len(points), _ROWS):
            part = slice(begin, begin + _ROWS)
            features, _ = self._surface.features(points[part], roots[part])
            variance[part] = np.asarray(features.multiply(features @ self.covariance).sum(axis=1)).ravel()
        return np.asarray(np.maximum(np.sqrt(np.maximum(variance, 0.0)), np.interp(logits, *self.misfit)))


def critical_values(
    model: Any,
    test_stat: str = "tmu_tilde",
    *,
    data: Any = None,
    poi_range: tuple[float, float] | None = None,
    n_toys: int = 20_000,
    seed: int = 0,
    executor: Any = None,
    source: str = "simulation",
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    level: float = 0.95,
    tolerance: float = 0.01,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> CriticalValues:
    r"""Learn the critical values of a test statistic for all parameters at once.

    The calibration of likelihood-free frequentist inference (Dalmasso et al., arXiv:2107.03920), amortised: toys are
    thrown all over the parameter space, their statistics computed at their own parameters, and the probability of a
    statistic at least as large is fitted by a regression. Any dataset, any confidence level then takes milliseconds.

    The toys are thrown in groups of 25 at one point, and what is regressed is, for each toy, the fraction of the others
    of its group that are not below it. Equal counts so count as they must: at the statistics that occur, not between
    them. The learned p-value is smooth in the parameters: where the true one jumps, with few counts, the jumps are
    smeared. For a counting experiment with a background of 3 and a signal up to 20 (20,000 toys, eight seeds) intervals
    at 90 % cover 91.2 to 91.6 % on average, as they should, but 86.4 to 88.1 % in the worst place, and their ends (0 to 10
    events, six seeds) are up to 0.24 off on average, with pulls of 1.4; ``calibration="toys"`` has neither.

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
        >>> values.round(1)  # 2.7 at the boundary, 3.8 far from it: half of the toys have their best fit there
        array([2.7, 3.8])
    """
    test_stat, level = checked(test_stat), checked_level(level)
    n_toys = checked_number(n_toys, "the number of toys")
    fewest = max(_fewest(level), _GROUP * _FOLDS)
    if n_toys < fewest:
        raise InvalidParameter(
            f"{n_toys} toys are too few to learn critical values at a level of {level:g}: take {fewest} at least"
        )
    held = {name: float(value) for name, value in (fixed or {}).items()}
    free = poi_profile([], model, init, bounds, fixed, bounded=is_bounded(test_stat))
    poi = int(model.config.poi_index)
    settings = Settings(poi, test_stat, checked_source(source), tuple(free.bounds), held, model.config.poi_name)
    box, without = _box(model, free, settings, data, poi_range, level)
    significance = _significance(model, free, settings, box, without)
    rough = Surface(test_stat, poi, box, significance, 1.0)
    points = _points(rough, free.start, math.ceil(n_toys / _GROUP), seed)
    label = ["critical values", digest(model), settings.bounds, held, points, seed, source, test_stat, _GROUP]
    values = _thrown(model, points, settings, seed, Store(checkpoint, label), executor, progress)
    largest = float(np.quantile(np.sqrt(np.maximum(values[np.isfinite(values)], 0.0)), 0.9995))
    shape = dataclasses.replace(rough, largest=max(largest, 1.0))
    coefficients, covariance, held_out, misfit, penalty = _learned(shape, points, values)
    result = CriticalValues(
        names=tuple(free.names),
        poi=poi,
        test_stat=test_stat,
        source=source,
        bounds=np.array(settings.bounds),
        fixed=held,
        model=digest(model),
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
    )
    for checked_at in sorted({level, *(x for x in _LEVELS if x < level)}):
        if message := complaint(result.check(checked_at)):
            warnings.warn(message, stacklevel=2)
    return result


def _fewest(level: float) -> int:
    """Return how many toys a level takes at least."""
    return math.ceil(_FEWEST / (1.0 - level) - 1e-6)


def complaint(check: CoverageResult) -> str:
    """Return what is to be said of critical values whose check has failed, nothing if it has not.

    Args:
        check: as from :meth:`CriticalValues.check`.
    """
    if check.passed:
        return ""
    i = int(np.argmin(check.coverage - check.error))
    where = ", ".join(f"{name} = {value:.3g}" for name, value in zip(check.names, check.truths[i], strict=True))
    return (
        f"learned critical values at {100 * check.level:.4g} % cover only {100 * check.coverage[i]:.1f} +/- "
        f"{100 * check.error[i]:.1f} % of held-out toys about {where}: learn them from more toys or in a smaller range"
    )


def _box(
    model: Any, free: Profile, settings: Settings, data: Any, poi_range: tuple[float, float] | None, level: float
) -> tuple[Array, Array]:
    """Return where toys are to be thrown, shape ``(P, 2)``, and the parameters without signal, shape ``(P,)``."""
    poi, (low, high) = settings.poi, free.bounds[settings.poi]
    if poi_range is not None:
        low, high = _checked_range(poi_range, low, high, settings.name)
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
        observed = Observed(data, model, settings.test_stat, free.start.tolist(), free.bounds, settings.fixed)
        best = observed.best
        widths = np.sqrt(np.maximum(np.diag(observed.profile.covariance), 0.0))
        if poi_range is None:
            target = math.sqrt(scipy.stats.chi2.ppf(level, 1)) + _REACH
            sigma = float(widths[poi]) or 0.1 * (high - low)
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


def _checked_range(given: Any, low: float, high: float, name: str) -> tuple[float, float]:
    try:
        first, last = (float(value) for value in given)
    except (TypeError, ValueError):
        first = last = math.nan
    if not (low <= first < last <= high):
        raise InvalidParameter(
            f"poi_range is {given}: it must be two values of {name} in ascending order within ({low:g}, {high:g})"
        )
    return first, last


def _significance(model: Any, free: Profile, settings: Settings, box: Array, without: Array) -> Array:
    """Return values of the parameter of interest and their signed distance from no signal, shape ``(2, n)``."""
    poi, bounds = settings.poi, settings.bounds_of_best()
    start = np.where(free.fixed, without, np.clip(without, *np.array(bounds).T))
    asimov = Profile(model.expected_data(without), model, start.tolist(), bounds, settings.fixed)
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


def _thrown(
    model: Any, points: Array, settings: Settings, seed: int, store: Store, executor: Any, progress: bool
) -> Array:
    """Return the statistics of all toys, shape ``(G, n)``, nan without a valid fit."""
    throws = [
        Throw(point, float(point[settings.poi]), _GROUP, seed_of(seed, i), settings) for i, point in enumerate(points)
    ]
    tasks = {str(begin): throws[begin : begin + _GROUPS] for begin in range(0, len(throws), _GROUPS)}
    throw_all(grouped, model, tasks, store, executor, progress=progress)
    values = np.concatenate([store[name] for name in tasks])
    failed = int(np.isnan(values).sum())
    if failed == values.size:
        raise FailedFit(f"none of {failed} toys has a valid fit: is the likelihood defined within the bounds?")
    if failed > 0.01 * values.size:
        warnings.warn(f"{failed} of {values.size} toys have no valid fit and are left out", stacklevel=3)
    return values


def _learned(shape: Surface, points: Array, values: Array) -> tuple[Array, Array, Array, Array, float]:
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
        start = fit_logistic(
            features[train], offset[train], response[train], strength * unit + ridge, start
        ).coefficients
        loss = deviance(response[~train], expit(offset[~train] + features[~train] @ start))
        if loss < best:
            best, penalty, chosen = loss, strength, start
    held_out = np.where(valid, 1.0, np.nan)
    for k in range(_FOLDS):
        train = fold[group] != k
        beta = fit_logistic(
            features[train], offset[train], response[train], penalty * unit + ridge, chosen
        ).coefficients
        held_out[group[~train], place[~train]] = expit(offset[~train] + features[~train] @ beta)
    final = fit_logistic(features, offset, response, penalty * unit + ridge, chosen, group)
    misfit = _misfit(response, held_out[group, place], others[group], group)
    return final.coefficients, final.covariance, held_out, misfit, penalty


def _misfit(response: Array, p: Array, others: Array, group: NDArray[np.intp]) -> Array:
    """Return logits, and how far the true ones are from those regressed, beyond what chance makes of the fractions.

    Args:
        response: fractions, shape ``(n,)``.
        p: what a regression that has not seen them expects, shape ``(n,)``.
        others: how many toys each fraction is of, shape ``(n,)``.
        group: which toys belong together, shape ``(n,)``.
    """
    logits = scipy.special.logit(np.clip(p, 1e-9, 1.0 - 1e-9))
    spread = p * (1.0 - p)
    excess = (response - p) ** 2 - spread / others
    found = []
    for low, high in itertools.pairwise(_BINS):
        inside = (logits > low) & (logits <= high)
        if not inside.any():
            found.append(0.0)
            continue
        sums = np.bincount(group[inside], weights=excess[inside])
        scale = float((spread[inside] ** 2).sum())
        chance = math.sqrt(float((sums**2).sum()))
        found.append(math.sqrt(sums.sum() / scale) if sums.sum() > _CLEAR * chance else 0.0)
    return np.array([[0.5 * (low + high) for low, high in itertools.pairwise(_BINS)], found])
