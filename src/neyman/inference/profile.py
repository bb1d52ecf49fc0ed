"""Profile likelihoods: the minimisation that fits, scans and limits share, warm-started from what is known already."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.crossing import crossing
from neyman.inference.minimise import TwiceNLL, inverse, minimise
from neyman.inference.parameters import Bounds, Fixed, Start, checked_parameters, parameter_index
from neyman.model.model import Model
from neyman.model.summary import Data, Summary

__all__ = ["Profile"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

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
        self._hessian: Array | None = None
        self._best: tuple[Array, float] | None = None
        self._covariance: Array | None = None
        self._known: dict[tuple[int, ...], dict[tuple[float, ...], tuple[Array, float]]] = {}

    @property
    def best(self) -> tuple[Array, float]:
        """All parameters at the maximum, shape ``(P,)``, and -2 log L there; fitted when first asked for."""
        if self._best is None:
            self._best = self._fit(self.start, ~self.fixed)
        return self._best

    @property
    def hessian(self) -> Array:
        """The Hessian of -2 log L by the free parameters at the maximum, shape ``(F, F)``."""
        if self._hessian is None:
            pars, free = self.best[0], ~self.fixed
            bounds = [self.bounds[i] for i in np.flatnonzero(free)]
            self._hessian = TwiceNLL(self.model, self.data, pars, free).hessian(pars[free], bounds)
        return self._hessian

    @property
    def covariance(self) -> Array:
        """The inverse of half the Hessian, with zeros where a parameter is fixed, shape ``(P, P)``."""
        if self._covariance is None:
            self._covariance = np.zeros((self.fixed.size, self.fixed.size))
            if not self.fixed.all():
                free = np.flatnonzero(~self.fixed)
                self._covariance[np.ix_(free, free)] = 2.0 * inverse(self.hessian)[0]
        return self._covariance

    def scale(self, index: int) -> float:
        """Return the uncertainty of a parameter, or a guess at how far it may move if the data do not determine it."""
        low, high = self.bounds[index]
        span = high - low if math.isfinite(high - low) else 10.0 * max(1.0, abs(float(self.best[0][index])))
        return math.sqrt(max(float(self.covariance[index, index]), 0.0)) or 0.1 * span

    @property
    def curved(self) -> bool:
        """Whether the Hessian at the maximum is positive definite, so that the covariance means something."""
        return bool(self.fixed.all()) or inverse(self.hessian)[1]

    def at(self, values: Mapping[int, float]) -> tuple[Array, float]:
        """Return all parameters, shape ``(P,)``, and -2 log L, at the maximum with those parameters held there.

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

        What MINOS reports. A side on which the parameter's bound comes first reaches to the bound.

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
                self._best, self._hessian, self._covariance = candidate, None, None
        return max(value - self.best[1], 0.0)

    def _at(
        self, held: list[int], target: Array, known: Mapping[tuple[float, ...], tuple[Array, float]]
    ) -> tuple[Array, float]:
        free = ~self.fixed
        free[held] = False
        # start from the nearest point known, moved along the ridge of the likelihood as seen from the maximum
        points = [self.best[0], *(pars for pars, _ in known.values())]
        distance = np.abs(np.array([self.best[0][held], *known]) - target).sum(axis=1)
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
        hessian = self.hessian[np.ix_(inside, inside)] if inside.size else None
        return self._fit(start, free, hessian)

    def _fit(self, pars: Array, free: NDArray[np.bool_], hessian: Array | None = None) -> tuple[Array, float]:
        """Return all parameters, shape ``(P,)``, and -2 log L, at the maximum by the free ones."""
        nll = TwiceNLL(self.model, self.data, pars, free)
        if not free.any():
            value = nll(pars[free])
            if not math.isfinite(value):
                raise FailedFit("the likelihood is not defined at the values that all parameters are fixed at")
            return pars.copy(), value
        places = np.flatnonzero(free)
        bounds, names = [self.bounds[i] for i in places], [self.names[i] for i in places]
        values, value = minimise(nll, pars[free], bounds, names, hessian)
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
