"""The maximum at the edge of a likelihood's domain: where a bin without events would get a negative rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neyman.inference.curvature import positive
from neyman.inference.newton import newton
from neyman.inference.twice_nll import TwiceNLL
from neyman.model.model import Model
from neyman.model.summary import Summary

__all__ = ["ROUNDS", "Edges", "minimum_within", "nominal_reach"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

ROUNDS = 30  # of multipliers
_CLOSE = 1e-8  # how near to the edge, in units of the samples' rates or of one event,
_FLOOR = 3e-8  # which is drawn in by this, so that what is close is inside
_STIFFNESS = 1e3  # of the edges, in the units of the slope that a bin without events has
_ITERATIONS = 60
_ONLY = np.zeros(1, dtype=np.intp)  # the one dataset


class Edges:
    r"""What keeps the rates of bins without events from being negative: the terms of an augmented Lagrangian.

    The likelihood of such a bin is :math:`\exp(-\nu)`, and ends at :math:`\nu = 0` with a slope. So -2 log L goes on
    to negative rates, as :math:`2 \nu`, and gets the term
    :math:`(\max(0, \lambda - \rho \nu)^2 - \lambda^2) / 2 \rho`, whose multiplier :math:`\lambda` is moved until the
    minimum is on the edge (Nocedal, Wright, Numerical Optimization, eq. 17.36).

    Args:
        empty: which bins have no event, shape ``(n, B)``.
        reach: the sum of the samples' rates without their signs where the search begins, shape ``(n, B)``.
        nominal: the same where the model begins, shape ``(B,)``.
    """

    def __init__(self, empty: NDArray[np.bool_], reach: Array, nominal: Array) -> None:
        self._empty = empty
        self._unit = np.minimum(np.maximum(reach, nominal), 1.0)
        self._unit = np.where(self._unit > 0.0, self._unit, 1.0)
        reach = np.where(reach > 0.0, reach, 1.0)
        self._multiplier = np.zeros(empty.shape)
        self._stiffness = 2.0 * _STIFFNESS / reach
        self._violation = np.full(empty.shape, np.inf)

    def terms(self, rows: NDArray[np.intp], rates: Array, slopes: Array) -> tuple[Array, Array, Array]:
        """Return the terms, their gradients, and their second derivatives without those of the rates.

        Args:
            rows: the datasets, shape ``(r,)``.
            rates: their rates, shape ``(r, B)``.
            slopes: and the derivatives of these, shape ``(r, B, P)``.
        """
        multiplier, stiffness = self._multiplier[rows], self._stiffness[rows]
        force = np.where(self._empty[rows], np.maximum(0.0, multiplier - stiffness * self._above(rates, rows)), 0.0)
        value = (0.5 * (force**2 - multiplier**2) / stiffness).sum(axis=1)
        stiff = np.where(force > 0.0, stiffness, 0.0)
        hessian = (slopes * stiff[:, :, None]).transpose(0, 2, 1) @ slopes
        return value, -(force[:, None, :] @ slopes)[:, 0], hessian

    def expected(self, rows: NDArray[np.intp], rates: Array, reach: Array, slopes: Array) -> Array:
        """Return the curvature that bins without events would have on average, where nothing keeps them at the edge.

        In truth they have none, and a Newton method would not know how far to go.
        """
        multiplier, stiffness = self._multiplier[rows], self._stiffness[rows]
        idle = self._empty[rows] & (multiplier <= stiffness * self._above(rates, rows))
        weights = np.divide(2.0, reach, out=np.zeros_like(reach), where=idle & (reach > 0.0))
        return np.asarray((slopes * weights[:, :, None]).transpose(0, 2, 1) @ slopes)

    def move(self, rates: Array) -> NDArray[np.bool_]:
        """Move the multipliers after a minimisation, and return for which datasets it has come to the edge.

        Args:
            rates: at the minima, shape ``(n, B)``.
        """
        above = self._above(rates, slice(None))
        # beyond the edge, or pushed off it
        violation = np.where(self._empty, np.abs(np.minimum(above, self._multiplier / self._stiffness)), 0.0)
        wrong = violation > _CLOSE * self._unit
        self._multiplier = np.where(self._empty, np.maximum(0.0, self._multiplier - self._stiffness * above), 0.0)
        self._stiffness = np.where(wrong & (violation > 0.1 * self._violation), 10.0, 1.0) * self._stiffness
        self._violation = violation
        return np.asarray(~wrong.any(axis=1))

    def _above(self, rates: Array, rows: NDArray[np.intp] | slice) -> Array:
        """Return how far rates are above the least that they may be."""
        return np.asarray(rates - _FLOOR * self._unit[rows])


def nominal_reach(model: Model) -> Array:
    """Return the sum of the samples' rates without their signs where the model begins, of the bins that are counted.

    Args:
        model: the model.
    """
    rates = model.rates(model.config.suggested_init())[0]
    return np.asarray(np.abs(rates).sum(axis=0)[model.counted])


class _Continued(TwiceNLL):
    """-2 log L continued to negative rates of bins without events, with the terms that keep it at their edges."""

    def __init__(self, nll: TwiceNLL, start: Array) -> None:
        pars = nll.full(start)
        super().__init__(nll.model, nll.data, pars, np.isin(np.arange(pars.size), nll.free))
        self._summary = nll.data if isinstance(nll.data, Summary) else nll.model.encode(nll.model.ensemble(nll.data))
        empty = self.main[nll.model.counted] == 0.0
        self.edges = Edges(empty[None], np.abs(self.rates(start)[0]).sum(axis=0)[None], nominal_reach(nll.model))

    def forget(self) -> None:
        """Forget the last point: the multipliers have moved."""
        self._centre = self._last = None, 0.0, np.empty(0)

    def hessian(self, pars: Array, bounds: Sequence[tuple[float, float]], *, central: bool = False) -> Array:
        """Return second derivatives, with those expected of the bins without events."""
        rates, slopes = self.rates(pars)
        total, reach = rates.sum(axis=0)[None], np.abs(rates).sum(axis=0)[None]
        expected = self.edges.expected(_ONLY, total, reach, slopes.sum(axis=0)[None])
        return np.asarray(super().hessian(pars, bounds, central=central) + expected[0])

    def _evaluate(self, full: Array) -> tuple[float, Array]:
        own = self._summary
        value, gradient = self.model.evaluate_encoded(full, own.main, own.auxdata, own.channels, continued=True)
        rates, slopes = self.rates(full[self.free])
        term, slope, _ = self.edges.terms(_ONLY, rates.sum(axis=0)[None], slopes.sum(axis=0)[None])
        gradient[self.free] -= 0.5 * slope[0]
        return value - 0.5 * float(term[0]), gradient


def minimum_within(nll: TwiceNLL, start: Array, bounds: Sequence[tuple[float, float]]) -> tuple[Array, float] | None:
    """Return the minimum within the bounds and the domain, shape ``(F,)``, and -2 log L there; none if none is found.

    By a Newton method that never leaves the domain through a place where the likelihood is zero, and ends at the edge
    where it is not.

    Args:
        nll: -2 log L.
        start: where it begins, a point with support, shape ``(F,)``.
        bounds: the bounds.
    """
    lows, highs = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
    held = np.zeros(start.size, dtype=bool)
    function = _Continued(nll, start) if nll.edged else nll

    def objective(pars: Array, _: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        value = function(pars[0])
        gradient = function.gradient(pars[0])
        if not math.isfinite(value):
            return np.array([value]), gradient[None], np.eye(start.size)[None]
        return np.array([value]), gradient[None], positive(function.hessian(pars[0], bounds), floor=0.0)[None]

    pars, arrived = start[None], False
    for _ in range(ROUNDS):
        pars, _, (converged,) = newton(objective, pars, lows, highs, held, _ITERATIONS, 1e-8, last=True)
        if not isinstance(function, _Continued):
            arrived = bool(converged)
            break
        arrived = bool(function.edges.move(function.rates(pars[0])[0].sum(axis=0)[None])[0]) and bool(converged)
        function.forget()
        if arrived:
            break
    if not (arrived and math.isfinite(nll(pars[0]))):
        return None
    return pars[0], nll(pars[0])
