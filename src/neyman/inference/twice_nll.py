"""-2 log L of one dataset, with its exact gradient and its second derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.model.model import Model
from neyman.model.second_derivatives import second_derivatives
from neyman.model.summary import Data, Summary

__all__ = ["TwiceNLL"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_STEP = 1e-3  # of differences of the exact gradient, in units of the width that the curvature itself gives,
_ROUGH = (0.02, 100.0)  # which may be off by these factors where it is a guess,
_FINE = (0.2, 10.0)  # and by these where it has been found nearby,
_TRIES = 4  # and is looked for so often

_NOWHERE: tuple[bytes | None, float, Array] = None, 0.0, np.empty(0)  # a point, the value and the gradient there


class TwiceNLL:
    """-2 log L of one dataset as a function of the free parameters, with its exact gradient.

    The last point is remembered, and the last one of a Hessian, so that value and gradient at one point cost a single
    evaluation.

    Args:
        model: the model.
        data: the flat data vector, or the summary of a dataset.
        pars: all parameters, shape ``(P,)``; those that are not free stay as they are here.
        free: which of them are free, shape ``(P,)``.
        found: the widths that have been found from the curvature, by position, to be remembered from one to the other.

    Example:
        >>> import numpy as np, pyhf
        >>> from neyman.inference.twice_nll import TwiceNLL
        >>> from neyman.model.plain import as_model
        >>> model = as_model(pyhf.simplemodels.uncorrelated_background([5.0], [50.0], [7.0]))
        >>> nll = TwiceNLL(model, [60.0, *model.config.auxdata], [1.0, 1.0], np.array([True, False]))
        >>> nll.gradient(np.array([1.0])).round(3), nll.full(np.array([2.0]))  # 2 (5 - 60 * 5 / 55)
        (array([-0.909]), array([2., 1.]))
    """

    def __init__(
        self,
        model: Model,
        data: Data,
        pars: ArrayLike,
        free: NDArray[np.bool_],
        found: dict[int, float] | None = None,
    ) -> None:
        self.model = model
        self.data = data
        self.free = np.flatnonzero(free)
        self.has_rates = hasattr(model, "rates")  # which other likelihoods than ours need not have
        self._found = {} if found is None else found
        self._rates: tuple[bytes | None, tuple[Array, Array]] = None, (np.empty(0), np.empty(0))
        self._pars = np.array(pars, dtype=np.float64)
        self._everything = self.free.size == self._pars.size
        self._last = self._centre = _NOWHERE

    def __call__(self, pars: Array) -> float:
        """Return -2 log L at the free parameters, shape ``(F,)``; infinity where it is not defined."""
        return self._at(pars)[0]

    def gradient(self, pars: Array) -> Array:
        """Return its gradient by the free parameters, shape ``(F,)``."""
        return self._at(pars)[1]

    def hessian(self, pars: Array, bounds: Sequence[tuple[float, float]], *, central: bool = False) -> Array:
        """Return its second derivatives, shape ``(F, F)``, from differences of the exact gradient within the bounds.

        The steps are a thousandth of the width that the curvature along each parameter gives, so that the result does
        not depend on the parameters' units.

        Args:
            pars: the free parameters, shape ``(F,)``.
            bounds: their bounds.
            central: whether to be precise to a millionth instead of a thousandth, for twice the evaluations.
        """
        centre = self.gradient(pars)
        self._centre = self._last
        widths = self.widths(pars, bounds)
        exact = self._exact(pars, np.array(bounds, dtype=np.float64).reshape(-1, 2), widths)
        if exact is not None:
            return exact
        hessian = np.empty((pars.size, pars.size))
        for row, (low, high) in enumerate(bounds):
            place = int(self.free[row])
            width, (least, most) = self._found.get(place, widths[row]), _FINE if place in self._found else _ROUGH
            for _ in range(_TRIES):
                hessian[row] = self._slope(pars, centre, row, _STEP * width, low, high)
                curvature = hessian[row, row]
                found = math.sqrt(2.0 / curvature) if curvature > 0.0 else math.inf
                if not math.isfinite(found):
                    break
                if least * width < found < most * width:
                    self._found[place] = found
                    break
                width = min(max(found, 1e-4 * width), 100.0 * width)
            if central:
                hessian[row] = self._precise(pars, centre, row, _STEP * width, low, high, hessian[row])
        return 0.5 * (hessian + hessian.T)

    def _exact(self, pars: Array, bounds: Array, widths: Array) -> Array | None:
        """Return the second derivatives of learned channels that know them, ``None`` elsewhere."""
        model = self.model
        if not getattr(model, "learned", None):  # which other likelihoods than ours need not have
            return None
        steps = np.zeros(self._pars.size)
        steps[self.free] = _STEP * widths
        above = pars + _STEP * widths <= bounds[:, 1]
        steps[self.free[~above]] *= -1.0
        data = model.summary(self.data)
        found = second_derivatives(model, self.full(pars), data.main, data.auxdata, data.channels, steps)
        return None if found is None else -2.0 * found[np.ix_(self.free, self.free)]

    def widths(self, pars: Array, bounds: Sequence[tuple[float, float]], *, within: bool = True) -> Array:
        """Return about how far each parameter alone moves -2 log L by one, shape ``(F,)``: its unit, so to say.

        That is what the expected counts and the constraint terms say, and of what they do not depend on, the bounds.

        Args:
            pars: the free parameters, shape ``(F,)``.
            bounds: their bounds.
            within: whether the widths are no larger than the bounds are wide.
        """
        low, high = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
        fallback = np.minimum(0.1 * (high - low), np.maximum(1.0, np.abs(pars)))
        if not self.has_rates:
            return np.asarray(fallback)
        full = self.full(pars)
        rates, jacobian = self.rates(pars)
        reach = np.abs(rates).sum(axis=0)  # unlike the rate, it is not zero where samples cancel
        slope = np.abs(jacobian).sum(axis=0)
        information = (slope**2 / np.where(reach > 0.0, reach, 1.0)[:, None]).sum(axis=0)
        information += self.model.constraints.batch(full[None], self.auxdata[None])[2][0][self.free]
        known = information > 0.0
        widths = np.divide(1.0, np.sqrt(information), out=np.array(fallback), where=known)
        return np.asarray(np.minimum(widths, high - low) if within else widths)

    def rates(self, pars: Array) -> tuple[Array, Array]:
        """Return the rates of the bins that are counted, and their derivatives by the free parameters.

        Returns:
            By sample and bin, shape ``(S, B)``, and shape ``(S, B, F)``.
        """
        point = np.asarray(pars, dtype=np.float64).tobytes()
        if point != self._rates[0]:
            rates, jacobian = self.model.rates(self.full(pars))
            counted = self.model.counted
            self._rates = point, (rates[:, counted], jacobian[:, counted][:, :, self.free])
        return self._rates[1]

    @property
    def edged(self) -> bool:
        """Whether the domain may end where the likelihood is not zero: in a bin without events."""
        return self.has_rates and bool((self.main[self.model.counted] == 0.0).any())

    def starved(self, pars: Array) -> bool:
        """Return whether a bin has a rate that gives no support, which is known without the events."""
        if not self.has_rates:
            return False
        rates, main = self.rates(pars)[0].sum(axis=0), self.main[self.model.counted]
        return bool(np.any(~(rates >= 0.0) | ((rates == 0.0) & (main != 0.0))))

    @property
    def main(self) -> Array:
        """The counts of all bins, shape ``(B,)``."""
        if isinstance(self.data, Summary):
            return self.data.main
        return np.asarray(self.data, dtype=np.float64)[: self.model.config.nmaindata]

    @property
    def auxdata(self) -> Array:
        """The auxiliary data, shape ``(A,)``."""
        if isinstance(self.data, Summary):
            return self.data.auxdata
        data = np.asarray(self.data, dtype=np.float64)
        return data[data.size - self.model.config.nauxdata :]

    def full(self, pars: Array) -> Array:
        """Return all parameters, shape ``(P,)``."""
        if self._everything:
            return np.array(pars, dtype=np.float64)
        full = self._pars.copy()
        full[self.free] = pars
        return full

    def _slope(self, pars: Array, centre: Array, row: int, step: float, low: float, high: float) -> Array:
        """Return the derivative of the gradient by a parameter, to that side on which the likelihood goes on."""
        above, below = min(step, high - pars[row]), -min(step, pars[row] - low)
        for way in (above, below) if above >= -below else (below, above):
            shifted = pars.copy()
            shifted[row] += way
            if way and shifted[row] != pars[row] and math.isfinite(self(shifted)):
                return np.asarray((self.gradient(shifted) - centre) / (shifted[row] - pars[row]))
        return np.zeros_like(pars)

    def _precise(
        self, pars: Array, centre: Array, row: int, step: float, low: float, high: float, first: Array
    ) -> Array:
        """Return the same to second order: from both sides or, where there is one, from half the step, too."""
        if pars[row] - step >= low and pars[row] + step <= high:
            values = []
            for way in (step, -step):
                shifted = pars.copy()
                shifted[row] += way
                if not math.isfinite(self(shifted)):
                    break
                values.append((shifted[row], self.gradient(shifted)))
            else:
                (above, one), (below, other) = values
                return np.asarray((one - other) / (above - below))
        return 2.0 * self._slope(pars, centre, row, 0.5 * step, low, high) - first

    def _at(self, pars: Array) -> tuple[float, Array]:
        """Return value and gradient."""
        point = np.asarray(pars, dtype=np.float64).tobytes()
        if point == self._centre[0]:
            self._last = self._centre
        elif point != self._last[0]:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                logpdf, gradient = self._evaluate(self.full(pars))
            value = -2.0 * float(logpdf)
            self._last = point, math.inf if math.isnan(value) else value, -2.0 * gradient[self.free]
        return self._last[1:]

    def _evaluate(self, full: Array) -> tuple[float, Array]:
        return self.model.evaluate(full, self.data)
