"""Learned critical values: how a test statistic is distributed, as a function of all parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.special
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from neyman.exceptions import InvalidParameter
from neyman.inference.critical.surface import Surface
from neyman.inference.statistics import TIE
from neyman.inference.throws import Settings
from neyman.model.model import Model
from neyman.results import CoverageResult
from neyman.results.certificate import certificate
from neyman.support.archives import Archive, joined, split
from neyman.support.checks import checked_level

__all__ = ["CriticalValues", "complaint", "fewest"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_GRID = 97  # values of the statistic at which a p-value is computed, straight in the logit between them
_BEYOND = 1.5  # how far that goes beyond the largest statistic learned from
_CELLS = 8  # of the parameter of interest, in which the coverage is checked
_ROWS = 4096
_FEWEST = 20.0  # toys above a critical value, in all
_FILE = Archive("file of critical values", InvalidParameter, "learn them with neyman.critical_values")
_LEVELS = (0.68, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class CriticalValues:
    r"""The distribution of a test statistic in toys, as a function of all parameters: p-values and critical values.

    Made by :func:`neyman.critical_values`. The logit of :math:`P(T \ge t | \theta)` is the one of the asymptotic
    formula plus a smooth function of the parameter of interest and :math:`\sqrt t`, plus for each nuisance parameter a
    linear and a quadratic term whose coefficients depend on both.

    Args:
        names: the parameters, in the model's order, shape ``(P,)``.
        poi: position of the parameter of interest.
        test_stat: the test statistic.
        source: ``"simulation"`` or ``"model"`` toys.
        bounds: of the fits, shape ``(P, 2)``.
        fixed: parameters held at a value in the fits.
        model: the model's ``fingerprint``.
        box: where the toys were thrown, shape ``(P, 2)``.
        significance: values of the parameter of interest and their distance from no signal in standard deviations,
            shape ``(2, n)``.
        misfit: the standard deviation of the true logits about the learned ones, as held-out toys show it: what a
            smooth function cannot follow, as the jumps where there are few counts. Zero where they show none.
        largest: of the root of the statistic, in the toys.
        coefficients: of the regression, shape ``(M,)``.
        covariance: of the coefficients, shape ``(M, M)``.
        points: where the toys were thrown, shape ``(G, P)``.
        held_out: the p-value of each toy from a regression that has not seen it, nan without a valid fit, shape
            ``(G, n)``.
        penalty: the strength of smoothing.
        seed: of the toys.
        tolerance: how far below the level the coverage of held-out toys may be.
        statistic: the ``fingerprint`` of the posterior of ``"waldo"``.
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
    misfit: float
    largest: float
    coefficients: Array
    covariance: Array
    points: Array
    held_out: Array
    penalty: float
    seed: int
    tolerance: float
    statistic: str = ""

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
        error = p * (1.0 - p) * self._deviation(points, x, nuisance)
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
        error = self._deviation(points, x, nuisance) / np.maximum(slope, 1e-9)
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

    def belongs_to(self, model: Model, settings: Settings) -> None:
        """Make sure that these are the critical values of a model, a test statistic and its fits.

        Args:
            model: the model.
            settings: how its toys would be fitted.

        Raises:
            InvalidParameter: if they are not.
        """
        if self.test_stat != settings.statistic.name:
            raise InvalidParameter(
                f"the critical values are of {self.test_stat}, not of {settings.statistic.name}: learn others"
            )
        learned = settings.statistic.learned
        if learned is not None and self.statistic != learned.digest():
            raise InvalidParameter("the critical values were learned for another posterior: learn them for this one")
        if self.names != tuple(model.config.par_names) or self.model != model.fingerprint:
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
        _FILE.write(path, *split(self))

    @classmethod
    def load(cls, path: str | Path) -> CriticalValues:
        """Return the critical values of a file; reading one runs no code.

        Args:
            path: the file.

        Raises:
            InvalidParameter: if there is none, or it holds something else.
        """
        with _FILE.read(path) as (_, header, arrays, _):
            return cls(**joined(header, arrays))

    def __repr__(self) -> str:
        low, high = self.box[self.poi]
        title = (
            f"critical values of {self.test_stat} for {self.names[self.poi]} from {low:g} to {high:g}, learned from "
            f"{self._toys} toys; coverage of held-out toys, the lowest of {len(self._cells())}:"
        )
        lines = [title]
        for level in _LEVELS:
            if self._toys >= fewest(level):
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
        if self._toys < fewest(level):
            raise InvalidParameter(
                f"the critical values were learned from {self._toys} toys: a level of {level:g} takes "
                f"{fewest(level)} at least"
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

    def _deviation(self, points: Array, roots: Array, nuisance: str) -> Array:
        """Return the standard deviation of the logits of p-values, shape ``(n,)``."""
        if nuisance == "worst":
            points = self._surface.worst(points, roots, self.coefficients)
        variance = np.empty(len(points))
        for begin in range(0, len(points), _ROWS):
            part = slice(begin, begin + _ROWS)
            features, _ = self._surface.features(points[part], roots[part])
            variance[part] = np.asarray(features.multiply(features @ self.covariance).sum(axis=1)).ravel()
        return np.sqrt(np.maximum(variance, 0.0) + self.misfit**2)


def fewest(level: float) -> int:
    """Return how many toys a confidence level takes at least.

    Args:
        level: the confidence level.

    Example:
        >>> fewest(0.95)
        400
    """
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
