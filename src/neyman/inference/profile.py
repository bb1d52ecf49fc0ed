"""Profile likelihoods: the minimisation that fits, scans and limits share, warm-started from what is known already."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.crossing import crossing
from neyman.inference.curvature import inverse
from neyman.inference.edges import minimum_within
from neyman.inference.minimise import minimise
from neyman.inference.optimum import Optimum, examined
from neyman.inference.parameters import Bounds, Fixed, Start, checked_parameters, parameter_index
from neyman.inference.starts import starts
from neyman.inference.support import NoSupport, supported
from neyman.inference.twice_nll import TwiceNLL
from neyman.model.model import Model
from neyman.model.summary import Data, Summary

__all__ = ["Profile"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_ESCAPES = 3  # from places that are a maximum along some directions only
_SEEN = 1e-7  # in -2 log L: 0.0003 standard deviations,
_SAME = 1e-6  # no better than that,
_NEAR = 1e-3  # and so near to the maximum, the Hessian is the same
_IMPROVED = 1e-3  # in -2 log L: a point deeper below the minimum than this has found a better one


class Profile:
    """The likelihood of one dataset: its maximum, and its maxima with some parameters held at given values.

    The arguments are those of :func:`neyman.inference.fit.fit`.

    Args:
        data: the flat data vector, shape ``(N,)``, or the summary of a dataset.
        model: the model.
        init: starting values, all of them or by name.
        bounds: bounds, all of them or by name.
        fixed: parameters held at a value, by name, beside those that the model itself holds fixed.

    Attributes:
        names: the parameters, in the model's order.
        bounds: their bounds.
        fixed: which of them are fixed, shape ``(P,)``.
        held: the values of those that are fixed by request, by name.
        start: where the first fit begins, shape ``(P,)``.

    Raises:
        InvalidParameter: for a parameter or value that the model does not have or allow, or data that are not finite.
    """

    def __init__(
        self,
        data: Data,
        model: Model,
        init: Start | None = None,
        bounds: Bounds | None = None,
        fixed: Fixed | None = None,
    ) -> None:
        given = checked_parameters(model, init, bounds, fixed)
        self.names, self.bounds, self.fixed, self.held = given.names, given.bounds, given.fixed, given.held
        self.start, self.model, self.data = given.start, model, _checked_data(data)
        self._best: tuple[Array, float] | None = None
        self._optimum: Optimum | None = None
        self._covariance: Array | None = None
        self._everything: TwiceNLL | None = None  # of all free parameters, to be evaluated once at the maximum
        self._found: dict[int, float] = {}
        self._known: dict[tuple[int, ...], dict[tuple[float, ...], tuple[Array, float]]] = {}

    @property
    def best(self) -> tuple[Array, float]:
        """All parameters at the maximum, shape ``(P,)``, and -2 log L there; fitted when first asked for."""
        if self._best is None:
            self._best = self._fit(self.start, ~self.fixed)
            if not self.fixed.all():
                self._settle()
        return self._best

    @property
    def optimum(self) -> Optimum:
        """What the maximum is like, in terms of the free parameters; there must be one."""
        pars, free = self.best[0], ~self.fixed
        if self._optimum is None:
            bounds = [self.bounds[i] for i in np.flatnonzero(free)]
            self._optimum = examined(self._nll(pars, free), pars[free], bounds)
        return self._optimum

    @property
    def at_bound(self) -> NDArray[np.bool_]:
        """Which free parameters are at a bound, shape ``(P,)``."""
        at_bound = np.zeros(self.fixed.size, dtype=bool)
        if not self.fixed.all():
            at_bound[~self.fixed] = self.optimum.at_bound
        return at_bound

    @property
    def edges(self) -> NDArray[np.intp]:
        """Positions of the bins that end the likelihood's domain where the maximum is."""
        return np.empty(0, dtype=np.intp) if self.fixed.all() else self.optimum.edges

    @property
    def covariance(self) -> Array:
        """The inverse of half the Hessian, shape ``(P, P)``; zeros where it says nothing or a parameter is fixed."""
        if self._covariance is None:
            covariance = np.zeros((self.fixed.size, self.fixed.size))
            if not self.fixed.all():
                free = np.flatnonzero(~self.fixed)
                covariance[np.ix_(free, free)] = self.optimum.covariance
            self._covariance = covariance
        return self._covariance

    def scale(self, index: int) -> float:
        """Return the uncertainty of a parameter, or a guess at how far it may move if the Hessian says nothing."""
        sigma = math.sqrt(max(float(self.covariance[index, index]), 0.0))
        if sigma > 0.0:
            return sigma
        one = np.arange(self.fixed.size) == index
        pars = self.best[0]
        return float(self._nll(pars, one).widths(pars[one], [self.bounds[index]])[0])

    def at(self, values: Mapping[int, float]) -> tuple[Array, float]:
        """Return all parameters, shape ``(P,)``, and -2 log L, at the maximum with those parameters held there.

        Where the likelihood is zero whatever the others are, that is infinite, and these are anywhere.

        Args:
            values: the values, by the parameters' positions.

        Raises:
            FailedFit: if the minimisation does not converge.
        """
        held = tuple(sorted(values))
        target = tuple(float(values[index]) for index in held)
        known = self._known.setdefault(held, {})
        if target not in known:
            known[target] = self._at(list(held), np.array(target), known)
        return known[target]

    def minos(self, name: str) -> tuple[float, float]:
        """Return how far down, as a negative number, and up -2 log of the profile likelihood ratio stays below one.

        What MINOS reports. A side on which the parameter's bound, or the end of the likelihood's domain, comes first
        reaches there.

        Raises:
            InvalidParameter: for a parameter that the model does not have or that is fixed.
            FailedFit: if a minimisation does not converge.
        """
        index = parameter_index(self.model, name)
        if self.fixed[index]:
            raise InvalidParameter(f"MINOS was asked for {name}, which is fixed: free it, or leave it out of minos")
        while True:
            best, minimum = float(self.best[0][index]), self.best[1]
            low, high = self.bounds[index]
            sigma = self.scale(index)

            def distance(x: float, minimum: float = minimum) -> float:
                ratio = self.ratio({index: x})
                if self.best[1] != minimum:
                    raise _BetterMaximum
                return math.sqrt(ratio)

            with contextlib.suppress(_BetterMaximum):  # then once more, about that one
                down, up = (
                    crossing(distance, 1.0, best, best + reach, bound) - best
                    for reach, bound in ((-sigma, low), (sigma, high))
                )
                return down, up

    def ratio(self, values: Mapping[int, float]) -> float:
        """Return -2 log of the profile likelihood ratio with those parameters held there.

        If that turns out better than the maximum, the maximum is fitted again from there.
        """
        pars, value = self.at(values)
        if value < self.best[1] - _IMPROVED:
            candidate = self._fit(pars, ~self.fixed)
            if candidate[1] < self.best[1]:
                self._set(candidate)
        return max(value - self.best[1], 0.0)

    def _at(
        self, held: list[int], target: Array, known: Mapping[tuple[float, ...], tuple[Array, float]]
    ) -> tuple[Array, float]:
        free = ~self.fixed
        free[held] = False
        # start from the nearest point known, moved along the ridge of the likelihood as seen from the maximum
        points = [self.best[0], *(pars for pars, value in known.values() if math.isfinite(value))]
        unit = np.array([self.scale(index) for index in held])
        distance = np.abs((np.array(points)[:, held] - target) / unit).sum(axis=1)
        centre = points[int(np.argmin(distance))]
        start = centre.copy()
        covariance = self.covariance
        block = covariance[np.ix_(held, held)]
        if np.all(np.diag(block) > 0.0):
            start += covariance[:, held] @ inverse(block)[0] @ (target - centre[held])
            start[self.fixed] = centre[self.fixed]
            lows, highs = np.array(self.bounds).T
            start[free] = np.clip(start, lows, highs)[free]
        start[held] = target
        position = np.cumsum(~self.fixed) - 1
        inside = position[np.flatnonzero(free)]
        hessian = self.optimum.hessian[np.ix_(inside, inside)] if inside.size else None
        try:
            return self._fit(start, free, hessian)
        except NoSupport:
            return start, math.inf

    def _settle(self) -> None:
        """Take the last step to the maximum, and leave a place that is a maximum along some directions only."""
        pars, value = self.best
        free = ~self.fixed
        low, high = np.array([self.bounds[i] for i in np.flatnonzero(free)]).T
        for _ in range(_ESCAPES):
            downhill = self.optimum.downhill
            if downhill is None:
                break
            sides = []
            for way in (downhill, -downhill):
                start = pars.copy()
                start[free] = np.clip(pars[free] + way, low, high)
                with contextlib.suppress(FailedFit):
                    sides.append(self._fit(start, free))
            lower = min(sides, key=lambda side: side[1], default=(pars, value))
            if not lower[1] < value - _SAME:
                break
            pars, value = lower
            self._set(lower)
        optimum = self.optimum
        if not (optimum.distance > _SEEN or optimum.unsure):
            return
        nll = self._nll(pars, free)
        moved = pars[free] + optimum.step
        if optimum.distance < _NEAR and np.all((moved >= low) & (moved <= high)) and nll(moved) <= value:
            self._set((nll.full(moved), nll(moved)))
            self._optimum = None if optimum.unsure else optimum  # else the Hessian is as good there
        elif optimum.distance > _NEAR:  # which Minuit has not seen
            found = minimum_within(nll, pars[free], list(zip(low.tolist(), high.tolist(), strict=True)))
            if found is not None and found[1] < value:
                self._set((nll.full(found[0]), found[1]))

    def _nll(self, pars: Array, free: NDArray[np.bool_]) -> TwiceNLL:
        if (free == ~self.fixed).all():
            if self._everything is None:
                self._everything = TwiceNLL(self.model, self.data, pars, free, self._found)
            return self._everything
        return TwiceNLL(self.model, self.data, pars, free, self._found)

    def _set(self, best: tuple[Array, float]) -> None:
        self._best, self._optimum, self._covariance = best, None, None

    def _fit(self, pars: Array, free: NDArray[np.bool_], hessian: Array | None = None) -> tuple[Array, float]:
        """Return all parameters, shape ``(P,)``, and -2 log L, at the maximum by the free ones.

        Raises:
            NoSupport: if the likelihood is zero wherever they may be.
            FailedFit: if the minimisation does not converge.
        """
        nll = self._nll(pars, free)
        places = np.flatnonzero(free)
        bounds, names = [self.bounds[i] for i in places], [self.names[i] for i in places]
        if not places.size:
            return nll.full(supported(nll, pars[free], bounds)), nll(pars[free])
        first, *others = starts(nll, pars[free], bounds)
        values, value = minimise(nll, first, bounds, names, hessian)
        for start in others:
            with contextlib.suppress(FailedFit):
                values, value = min((values, value), minimise(nll, start, bounds, names), key=lambda found: found[1])
        return nll.full(values), value


class _BetterMaximum(Exception):
    """The search for an interval's end has found a better maximum than it began with."""


def _checked_data(data: Data) -> Array | Summary:
    if isinstance(data, Summary):
        return data
    try:
        vector = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidParameter(
            f"the data are not a flat vector of numbers ({error}): use model.data(ensemble)"
        ) from error
    if vector.ndim != 1:
        raise InvalidParameter(f"the data have shape {vector.shape}: they must be flat, as from model.data(ensemble)")
    wrong = np.flatnonzero(~np.isfinite(vector))
    if wrong.size:
        raise InvalidParameter(f"{wrong.size} of {vector.size} data values are not finite, the first at {wrong[0]}")
    return vector
