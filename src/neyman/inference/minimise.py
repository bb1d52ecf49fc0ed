"""Minimisation by iminuit with the exact gradients of a model's ``evaluate``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import iminuit
import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import FailedFit
from neyman.model.model import Model
from neyman.model.summary import Data

__all__ = ["TwiceNLL", "inverse", "minimise", "minuit", "positive"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_RELATIVE_STEP = 1e-4  # for differences of the exact gradient
_NO_HESSIAN = {"hessian": False, "g2": False}
_FLAT = 1e-10  # an eigenvalue below this, in units of the diagonal, is no curvature
_TOLERANCE = 0.01  # Minuit's: the minimum is good to 2e-5 in -2 log L
_ATTEMPTS = 5


class TwiceNLL:
    """-2 log L of one dataset as a function of the free parameters, with its exact gradient.

    The last point is remembered, so that value and gradient at one point cost a single evaluation.

    Args:
        model: the model.
        data: the flat data vector, or the summary of a dataset.
        pars: all parameters, shape ``(P,)``; those that are not free stay as they are here.
        free: which of them are free, shape ``(P,)``.

    Example:
        >>> import numpy as np, pyhf
        >>> from neyman.inference.minimise import TwiceNLL
        >>> from neyman.model.plain import as_model
        >>> model = as_model(pyhf.simplemodels.uncorrelated_background([5.0], [50.0], [7.0]))
        >>> nll = TwiceNLL(model, [60.0, *model.config.auxdata], [1.0, 1.0], np.array([True, False]))
        >>> nll.gradient(np.array([1.0])).round(3), nll.full(np.array([2.0]))  # 2 (5 - 60 * 5 / 55)
        (array([-0.909]), array([2., 1.]))
    """

    def __init__(self, model: Model, data: Data, pars: ArrayLike, free: NDArray[np.bool_]) -> None:
        self.model = model
        self.data = data
        self._pars = np.array(pars, dtype=np.float64)
        self._free = np.flatnonzero(free)
        self._everything = self._free.size == self._pars.size
        self._point: bytes | None = None
        self._value = 0.0
        self._gradient: Array = np.empty(0)

    def __call__(self, pars: Array) -> float:
        """Return -2 log L at the free parameters, shape ``(F,)``."""
        self._update(pars)
        return self._value

    def gradient(self, pars: Array) -> Array:
        """Return its gradient by the free parameters, shape ``(F,)``."""
        self._update(pars)
        return self._gradient

    def hessian(self, pars: Array, bounds: Sequence[tuple[float, float]]) -> Array:
        """Return its second derivatives, shape ``(F, F)``, from differences of the exact gradient within the bounds."""
        centre = self.gradient(pars)
        hessian = np.empty((pars.size, pars.size))
        for row, (low, high) in enumerate(bounds):
            step = min(_RELATIVE_STEP * max(1.0, abs(pars[row])), 1e-3 * (high - low))
            shifted = pars.copy()
            shifted[row] += step if pars[row] + step <= high else -step
            hessian[row] = (self.gradient(shifted) - centre) / (shifted[row] - pars[row])
        return 0.5 * (hessian + hessian.T)

    def full(self, pars: Array) -> Array:
        """Return all parameters, shape ``(P,)``."""
        if self._everything:
            return np.array(pars, dtype=np.float64)
        full = self._pars.copy()
        full[self._free] = pars
        return full

    def _update(self, pars: Array) -> None:
        point = np.asarray(pars, dtype=np.float64).tobytes()
        if point != self._point:
            logpdf, gradient = self.model.evaluate(self.full(pars), self.data)
            self._value, self._gradient, self._point = -2.0 * float(logpdf), -2.0 * gradient[self._free], point


def minuit(
    nll: TwiceNLL,
    start: ArrayLike,
    bounds: Sequence[tuple[float, float]],
    names: Sequence[str] | None = None,
    hessian: Array | None = None,
    *,
    use_hessian: bool = True,
) -> iminuit.Minuit:
    """Return an :class:`iminuit.Minuit` that knows the exact gradient and a positive definite Hessian.

    A Hessian spares MIGRAD its own search for step sizes: few function calls, whatever the number of parameters.

    Args:
        nll: what to minimise.
        start: the free parameters' starting values, shape ``(F,)``; one on its bound is moved inside, where Minuit's
            transformation lets it leave.
        bounds: their bounds, which may be infinite.
        names: their names.
        hessian: a Hessian, shape ``(F, F)``, to use at every point; default is to compute it where asked.
        use_hessian: whether Minuit is to have one at all.
    """
    low, high = np.array(bounds, dtype=np.float64).T
    margin = 1e-4 * np.minimum(high - low, np.maximum(1.0, np.abs(start)))
    values = np.clip(np.asarray(start, dtype=np.float64), low + margin, high - margin)

    @_last_point
    def curvature(pars: Array) -> Array:
        # Minuit takes the Hessian over to its own coordinates without the term that the gradient contributes there,
        # and would never settle on a bound
        slope = nll.gradient(pars) * _bend(pars, low, high)
        return positive((nll.hessian(pars, bounds) if hessian is None else hessian) + np.diag(slope))

    with warnings.catch_warnings():
        # without g2 Minuit fails in the places where it falls back on it in spite of the Hessian
        warnings.filterwarnings("ignore", message="hessian overrides g2")
        second = {"hessian": curvature, "g2": lambda pars: np.diag(curvature(pars))} if use_hessian else _NO_HESSIAN
        minimiser = iminuit.Minuit(nll, values, grad=nll.gradient, name=names, **second)
    minimiser.print_level = 0  # of all Minuits of a process: another one's must not write between our results
    minimiser.limits = list(bounds)
    minimiser.errordef = iminuit.Minuit.LEAST_SQUARES  # -2 log L rises by one at one sigma
    return minimiser


def minimise(
    nll: TwiceNLL,
    start: Array,
    bounds: Sequence[tuple[float, float]],
    names: Sequence[str],
    hessian: Array | None = None,
) -> tuple[Array, float]:
    """Return the free parameters at the minimum, shape ``(F,)``, and -2 log L there.

    Args:
        nll: what to minimise.
        start: the free parameters' starting values, shape ``(F,)``, ``F`` at least one.
        bounds: their bounds.
        names: their names.
        hessian: a Hessian, shape ``(F, F)``, for the first attempt; default is to compute it.

    Raises:
        FailedFit: if no minimum is found in a number of attempts, from shaken starting values and with SIMPLEX.
    """
    random = np.random.default_rng(0)  # only to shake a start that has failed
    low, high = np.array(bounds, dtype=np.float64).T
    reach = 0.02 * np.minimum(high - low, np.maximum(1.0, np.abs(start)))
    values = start
    for attempt in range(_ATTEMPTS):
        given = hessian if attempt == 0 else None
        minimiser = minuit(nll, values, bounds, names, given, use_hessian=attempt != 2)
        minimiser.tol = _TOLERANCE
        minimiser.strategy = min(attempt, 1)
        if attempt == 2:
            minimiser.simplex()
        minimiser.migrad()
        if minimiser.valid and math.isfinite(minimiser.fval):
            return np.array(minimiser.values), float(minimiser.fval)
        values = np.clip(start + attempt * reach * random.normal(size=start.size), low, high)
    reason = "call limit reached" if minimiser.fmin and minimiser.fmin.has_reached_call_limit else "no minimum found"
    worst = names[int(np.argmax(np.abs(np.nan_to_num(nll.gradient(np.array(minimiser.values)), nan=np.inf))))]
    raise FailedFit(
        f"the fit did not converge in {_ATTEMPTS} attempts ({reason}, steepest in {worst}): "
        "give other starting values (init) or narrower bounds"
    )


def positive(hessian: Array) -> Array:
    """Return a positive definite matrix for a symmetric one: directions of negative curvature change sign.

    Args:
        hessian: a symmetric matrix, shape ``(F, F)``.

    Example:
        >>> import numpy as np
        >>> from neyman.inference.minimise import positive
        >>> positive(np.diag([4.0, -9.0]))
        array([[4., 0.],
               [0., 9.]])
    """
    scale, values, vectors = _modes(hessian)
    values = np.maximum(np.abs(values), _FLAT)
    return np.asarray((vectors * values) @ vectors.T * np.outer(scale, scale))


def inverse(hessian: Array) -> tuple[Array, bool]:
    """Return the inverse of a symmetric matrix, and whether the matrix is positive definite.

    Directions without curvature do not contribute to it, those of negative curvature count as if it were positive.

    Args:
        hessian: a symmetric matrix, shape ``(F, F)``.

    Example:
        >>> import numpy as np
        >>> from neyman.inference.minimise import inverse
        >>> inverse(np.diag([4.0, 1e-12]))
        (array([[2.5e-01, 0.0e+00],
               [0.0e+00, 1.0e+12]]), True)
    """
    scale, values, vectors = _modes(hessian)
    curved = np.abs(values) > _FLAT
    inverted = np.divide(1.0, np.abs(values), out=np.zeros_like(values), where=curved)
    result = (vectors * inverted) @ vectors.T / np.outer(scale, scale)
    return np.asarray(0.5 * (result + result.T)), bool(np.all(values > _FLAT))


def _modes(hessian: Array) -> tuple[Array, Array, Array]:
    """Return scales that take out the parameters' units, and eigenvalues and eigenvectors of the matrix in them."""
    diagonal = np.abs(np.diag(hessian))
    scale = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    return scale, values, vectors


def _bend(pars: Array, low: Array, high: Array) -> Array:
    """Return x'' / x'^2 for Minuit's own coordinate u of each parameter x(u), which keeps it within its bounds.

    That is x = low + (high - low) (1 + sin u) / 2 between two bounds, x = low - 1 + sqrt(u^2 + 1) above one, the same
    mirrored below one, and x = u without bounds; from the Minuit2 manual, section 1.2.1.
    """
    above, below = np.isfinite(low), np.isfinite(high)
    bend = np.zeros_like(pars)
    both = above & below
    x, a, b = pars[both], low[both], high[both]
    bend[both] = (0.5 * (a + b) - x) / np.maximum((x - a) * (b - x), 1e-300)
    for one, distance in ((above & ~below, pars - low), (below & ~above, pars - high)):
        side, d = np.sign(distance[one]), np.abs(distance[one])
        bend[one] = side / np.maximum((d + 1.0) * d * (d + 2.0), 1e-300)
    return bend


def _last_point(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return the function with its last value remembered."""
    last: dict[bytes, Array] = {}

    def remembered(pars: Any) -> Array:
        pars = np.array(pars, dtype=np.float64)
        key = pars.tobytes()
        if key not in last:
            value = function(pars)
            last.clear()
            last[key] = value
        return last[key]

    return remembered
