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
from neyman.inference.curvature import positive
from neyman.inference.edges import minimum_within
from neyman.inference.newton import newton
from neyman.inference.support import supported
from neyman.inference.twice_nll import TwiceNLL

__all__ = ["minimise", "minuit"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_NO_HESSIAN = {"hessian": False, "g2": False}
_TOLERANCE = 0.01  # Minuit's: the minimum is good to 2e-5 in -2 log L
_ATTEMPTS = 5
_STEPS, _GAIN = 20, 1e-5  # by a Hessian, until so little of -2 log L is left to gain
_CALLS = 30  # for each parameter, before an edge of the likelihood is suspected
_FAR = 1e5  # widths: a bound that far away is no matter to Minuit
_AT = 1e-2  # widths: nearer to its bound than this a parameter is tried on it,
_UNSEEN = 1e-6  # and stays there if -2 log L does not rise by more


def minuit(
    nll: TwiceNLL,
    start: ArrayLike,
    bounds: Sequence[tuple[float, float]],
    names: Sequence[str] | None = None,
    hessian: Array | None = None,
    *,
    use_hessian: bool = True,
    unit: Array | None = None,
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
        unit: the widths in units of which Minuit is to see the parameters, shape ``(F,)``; ``start``, ``bounds`` and
            ``hessian`` are in the model's own, which are the default.
    """
    start = np.asarray(start, dtype=np.float64)
    widths = nll.widths(start, bounds) if unit is None else np.ones(start.size)
    unit = np.ones(start.size) if unit is None else unit
    low, high = np.array(bounds, dtype=np.float64).reshape(-1, 2).T / unit
    margin = np.minimum(1e-4 * widths, 0.25 * (high - low))
    values = np.clip(start / unit, low + margin, high - margin)

    def value(pars: Array) -> float:
        return nll(pars * unit)

    def gradient(pars: Array) -> Array:
        return nll.gradient(pars * unit) * unit

    @_last_point
    def curvature(pars: Array) -> Array:
        # Minuit takes the Hessian over to its own coordinates without the term that the gradient contributes there,
        # and would never settle on a bound
        own = nll.hessian(pars * unit, bounds) if hessian is None else hessian
        slope = gradient(pars) * _bend(pars, low, high)
        return positive(own * np.outer(unit, unit) + np.diag(slope))

    with warnings.catch_warnings():
        # without g2 Minuit fails in the places where it falls back on it in spite of the Hessian
        warnings.filterwarnings("ignore", message="hessian overrides g2")
        second = {"hessian": curvature, "g2": lambda pars: np.diag(curvature(pars))} if use_hessian else _NO_HESSIAN
        minimiser = iminuit.Minuit(
            lambda pars: nll(pars * unit),
            values,
            grad=lambda pars: nll.gradient(pars * unit) * unit,
            name=names,
            **second,
        )
    minimiser.print_level = 0  # of all Minuits of a process: another one's must not write between our results
    minimiser.limits = list(zip(low, high, strict=True))
    minimiser.errors = widths
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

    Minuit sees the parameters in units of the widths that the model gives them. Where it does not converge, as at the
    edge of the likelihood's domain, a Newton method that knows the edges follows.

    Args:
        nll: what to minimise.
        start: the free parameters' starting values, shape ``(F,)``, ``F`` at least one; the likelihood may be zero
            there.
        bounds: their bounds, which may be infinite.
        names: their names.
        hessian: a Hessian, shape ``(F, F)``, for the first attempt; default is to compute it.

    Raises:
        NoSupport: if the likelihood is zero everywhere.
        FailedFit: if no minimum is found in a number of attempts, from shaken starting values and with SIMPLEX.
    """
    random = np.random.default_rng(0)  # only to shake a start that has failed
    low, high = np.array(bounds, dtype=np.float64).T
    start = np.clip(start, low, high)
    if nll.starved(start):
        start = supported(nll, start, bounds)
    widths = nll.widths(start, bounds)
    unit = 2.0 ** np.round(np.log2(widths))  # without rounding of what is divided by it
    values, hessian = _descended(nll, start, bounds, hessian)
    for attempt in range(_ATTEMPTS):
        given = hessian if attempt == 0 else None
        # Minuit's transformations lose the digits of a value far inside its bounds
        near = _near(values, bounds, widths) if attempt == 0 else list(bounds)
        minimiser = minuit(nll, values, near, names, given, use_hessian=attempt != 2, unit=unit)
        minimiser.tol = _TOLERANCE
        minimiser.strategy = min(attempt, 1)
        if attempt == 2:
            minimiser.simplex()
        patience = (_CALLS * (start.size + 5), 1) if attempt == 0 and nll.edged else (None, 5)
        minimiser.migrad(*patience)
        found = np.array(minimiser.values) * unit
        inside = bool(np.all((found >= low) & (found <= high)))
        if minimiser.valid and inside and math.isfinite(minimiser.fval):
            return _on_bounds(nll, (found, float(minimiser.fval)), low, high, widths)
        if attempt == 0:
            start = supported(nll, start, bounds)
            within = minimum_within(nll, start, bounds)
            if within is not None:
                return _on_bounds(nll, within, low, high, widths)
        values = start + (attempt + 1) * random.normal(size=start.size) * np.minimum(widths, 0.02 * (high - low))
        values = np.clip(values, low, high)
        values = values if math.isfinite(nll(values)) else start
    reason = "call limit reached" if minimiser.fmin and minimiser.fmin.has_reached_call_limit else "no minimum found"
    slope = np.abs(np.nan_to_num(nll.gradient(np.clip(found, low, high)), nan=np.inf)) * widths
    raise FailedFit(
        f"the fit did not converge in {_ATTEMPTS} attempts ({reason}, steepest in {names[int(np.argmax(slope))]}): "
        "give other starting values (init) or narrower bounds"
    )


def _descended(
    nll: TwiceNLL, start: Array, bounds: Sequence[tuple[float, float]], hessian: Array | None
) -> tuple[Array, Array | None]:
    """Return where steps by a Hessian lead that is corrected on the way, and the Hessian as it is then.

    Minuit, which judges that place, would correct it, too, but takes three evaluations a step to look along a line.
    """
    if not math.isfinite(nll(start)):
        return start, hessian
    low, high = np.array(bounds, dtype=np.float64).T
    own = positive(nll.hessian(start, bounds) if hessian is None else hessian)[None]

    def function(pars: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        return np.array([nll(pars[0])]), nll.gradient(pars[0])[None], own  # in which the corrections stay

    none = np.zeros(start.size, dtype=bool)
    values, _, converged = newton(function, start[None], low, high, none, _STEPS, _GAIN)
    return (values[0], own[0]) if converged[0] else (start, hessian)


def _near(values: Array, bounds: Sequence[tuple[float, float]], widths: Array) -> list[tuple[float, float]]:
    """Return the bounds, without those that are very far away."""
    far = _FAR * widths
    return [
        (low if value - low < reach else -math.inf, high if high - value < reach else math.inf)
        for value, (low, high), reach in zip(values, bounds, far, strict=True)
    ]


def _on_bounds(
    nll: TwiceNLL, minimum: tuple[Array, float], low: Array, high: Array, widths: Array
) -> tuple[Array, float]:
    """Return the minimum and its value with parameters put on the bounds that they have come to."""
    pars, value = minimum
    for end in (low, high):
        for i in np.flatnonzero(np.isfinite(end) & (np.abs(pars - end) < _AT * widths)):
            moved = pars.copy()
            moved[i] = end[i]
            if (new := nll(moved)) <= value + _UNSEEN:
                pars, value = moved, new
    return pars, value


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
