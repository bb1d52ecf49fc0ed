"""Profile likelihoods: the minimisation that fits, scans and limits share, warm-started from what is known already."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from neyman.exceptions import FailedFit, InvalidParameter, Unsupported
from neyman.inference.minimise import TwiceNLL, inverse, minuit
from neyman.model.summary import Summary
from neyman.support.messages import did_you_mean

__all__ = ["Bounds", "Profile", "Start", "crossing", "parameter_index"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]
Start = Mapping[str, float] | Sequence[float]
Bounds = Mapping[str, tuple[float, float]] | Sequence[tuple[float, float]]

_TOLERANCE = 0.01  # Minuit's: the minimum is good to 2e-5 in -2 log L
_ATTEMPTS = 5
_IMPROVED = 1e-3  # in -2 log L: a point deeper below the minimum than this has found a better one
_STEPS = 60  # doublings in search of a crossing
_PRECISION = 1e-5  # of a crossing, relative to its distance


class Profile:
    """The likelihood of one dataset: its maximum, and its maxima with some parameters held at given values.

    The arguments are those of :func:`neyman.inference.fit.fit`.

    Args:
        data: the flat data vector, shape ``(N,)``.
        model: a model with ``evaluate`` and pyhf's ``config``.
        init: starting values, all of them or by name.
        bounds: bounds, all of them or by name.
        fixed: parameters held at a value, by name, beside those that the model itself holds fixed.

    Raises:
        InvalidParameter: for a parameter or value that the model does not have or allow, or data that are not finite.
        Unsupported: if the model has no ``evaluate``.
    """

    def __init__(
        self,
        data: Any,
        model: Any,
        init: Start | None = None,
        bounds: Bounds | None = None,
        fixed: Mapping[str, float] | None = None,
    ) -> None:
        if not hasattr(model, "evaluate"):
            raise Unsupported(
                f"{type(model).__module__}.{type(model).__name__} has no exact gradient: "
                "make it a neyman.Model, or use pyhf.infer"
            )
        self.model = model
        self.data = _checked_data(data)
        self.names: list[str] = list(model.config.par_names)
        self.bounds = self._bounds(bounds)
        self.fixed = np.array(model.config.suggested_fixed(), dtype=bool)
        self.start = self._start(init)
        for name, value in (fixed or {}).items():
            index = parameter_index(model, name)
            self.fixed[index] = True
            self.start[index] = _finite(value, f"the value that {name} is fixed at")
        self._hessian: Array | None = None
        self._best: tuple[Array, float] | None = None
        self._covariance: Array | None = None
        self._known: dict[tuple[int, ...], dict[tuple[float, ...], tuple[Array, float]]] = {}

    @property
    def best(self) -> tuple[Array, float]:
        """All parameters at the maximum, shape ``(P,)``, and -2 log L there; fitted when first asked for."""
        if self._best is None:
            nll = self._nll(self.start, ~self.fixed)
            self._best = self._minimise(nll, self.start, ~self.fixed, None)
        return self._best

    @property
    def hessian(self) -> Array:
        """The Hessian of -2 log L by the free parameters at the maximum, shape ``(F, F)``."""
        if self._hessian is None:
            pars, free = self.best[0], ~self.fixed
            self._hessian = self._nll(pars, free).hessian(pars[free], self._selected(free))
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

    def improve(self, pars: Array) -> None:
        """Fit again from a point that turned out better than the maximum, in case it is near a better one."""
        candidate = self._minimise(self._nll(pars, ~self.fixed), pars, ~self.fixed, None)
        if candidate[1] < self.best[1]:
            self._best, self._hessian, self._covariance = candidate, None, None

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
            sigma = math.sqrt(max(self.covariance[index, index], 0.0)) or 0.1 * (high - low)

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
            self.improve(pars)
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
        return self._minimise(self._nll(start, free), start, free, hessian)

    def _minimise(
        self, nll: TwiceNLL, start: Array, free: NDArray[np.bool_], hessian: Array | None
    ) -> tuple[Array, float]:
        if not free.any():
            value = nll(start[free])
            if not math.isfinite(value):
                raise FailedFit("the likelihood is not defined at the values that all parameters are fixed at")
            return np.array(start, dtype=np.float64), value
        random = np.random.default_rng(0)  # only to shake a start that has failed
        bounds, names = self._selected(free), self._free_names(free)
        values, width = np.asarray(start[free]), np.array([high - low for low, high in bounds])
        for attempt in range(_ATTEMPTS):
            given = hessian if attempt == 0 else None
            minimiser = minuit(nll, values, bounds, names, given, use_hessian=attempt != 2)
            minimiser.tol = _TOLERANCE
            minimiser.strategy = min(attempt, 1)
            if attempt == 2:
                minimiser.simplex()
            minimiser.migrad()
            if minimiser.valid and math.isfinite(minimiser.fval):
                return nll.full(np.array(minimiser.values)), float(minimiser.fval)
            shift = 0.02 * np.minimum(width, np.maximum(1.0, np.abs(start[free])))
            values = np.clip(start[free] + attempt * shift * random.normal(size=values.size), *np.array(bounds).T)
        reason = (
            "call limit reached" if minimiser.fmin and minimiser.fmin.has_reached_call_limit else "no minimum found"
        )
        worst = names[int(np.argmax(np.abs(np.nan_to_num(nll.gradient(np.array(minimiser.values)), nan=np.inf))))]
        raise FailedFit(
            f"the fit did not converge in {_ATTEMPTS} attempts ({reason}, steepest in {worst}): "
            "give other starting values (init) or narrower bounds"
        )

    def _nll(self, pars: Array, free: NDArray[np.bool_]) -> TwiceNLL:
        return TwiceNLL(self.model, self.data, pars, free)

    def _selected(self, free: NDArray[np.bool_]) -> list[tuple[float, float]]:
        return [self.bounds[i] for i in np.flatnonzero(free)]

    def _free_names(self, free: NDArray[np.bool_]) -> list[str]:
        return [self.names[i] for i in np.flatnonzero(free)]

    def _bounds(self, bounds: Bounds | None) -> list[tuple[float, float]]:
        result = [(float(low), float(high)) for low, high in self.model.config.suggested_bounds()]
        if bounds is None:
            return result
        if not isinstance(bounds, Mapping):
            bounds = _by_name(bounds, self.names, "bounds")
        for name, pair in bounds.items():
            index = parameter_index(self.model, name)
            if np.shape(pair) != (2,):
                raise InvalidParameter(f"the bounds of {name} are {pair}: they must be a pair of numbers")
            low, high = (_finite(value, f"a bound of {name}") for value in pair)
            if not low < high:
                raise InvalidParameter(f"the bounds of {name} are ({low:g}, {high:g}): the lower one must come first")
            result[index] = (low, high)
        return result

    def _start(self, init: Start | None) -> Array:
        lows, highs = np.array(self.bounds).T
        suggested = np.array(self.model.config.suggested_init(), dtype=np.float64)
        start: Array = np.where(self.fixed, suggested, np.clip(suggested, lows, highs))
        if init is None:
            return start
        if not isinstance(init, Mapping):
            init = _by_name(init, self.names, "init")
        for name, given in init.items():
            index = parameter_index(self.model, name)
            value = _finite(given, f"the starting value of {name}")
            if not self.fixed[index] and not lows[index] <= value <= highs[index]:
                raise InvalidParameter(
                    f"{name} starts at {value:g}, outside its bounds ({lows[index]:g}, {highs[index]:g}): change either"
                )
            start[index] = value
        return start


class _BetterMaximum(Exception):
    """The search for an interval's end has found a better maximum than it began with."""


def parameter_index(model: Any, name: str) -> int:
    """Return a parameter's position in the model's ``config.par_names``.

    Raises:
        InvalidParameter: if there is none of that name.
    """
    names: list[str] = list(model.config.par_names)
    if name in names:
        return names.index(name)
    raise InvalidParameter(f"the model has no parameter {name}: {did_you_mean(name, names)}")


def crossing(
    function: Callable[[float], float], target: float, start: float, guess: float, bound: float | None = None
) -> float:
    """Return where a function that is below the target at the start crosses it, or the bound if it does not before.

    Args:
        function: the function; the fewer calls, the straighter it is.
        target: the target.
        start: a point at which the function is below it.
        guess: about where the crossing should be, on either side of the start.
        bound: where the search ends, on the guess's side; default is nowhere.

    Example:
        >>> from neyman.inference.profile import crossing
        >>> round(crossing(lambda x: x**2, 4.0, start=0.0, guess=1.0), 3)
        2.0
    """
    direction = math.copysign(1.0, guess - start)
    end = direction * math.inf if bound is None else bound
    below, above = start, guess
    for _ in range(_STEPS):
        above = min(above, end) if direction > 0.0 else max(above, end)
        if function(above) >= target:
            break
        if above == end:
            return end
        below, above = above, start + 2.0 * (above - start)
    else:
        return direction * math.inf
    reach = abs(above - start)
    root = scipy.optimize.brentq(lambda x: function(x) - target, below, above, xtol=_PRECISION * reach)
    return float(root)


def _by_name(values: Sequence[Any], names: list[str], what: str) -> dict[str, Any]:
    if len(values) != len(names):
        raise InvalidParameter(f"{what} has {len(values)} entries for {len(names)} parameters: {', '.join(names[:20])}")
    return dict(zip(names, values, strict=True))


def _finite(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParameter(f"{what} is {value}: it must be a finite number")
    return number


def _checked_data(data: Any) -> Any:
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
