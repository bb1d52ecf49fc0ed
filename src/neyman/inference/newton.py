"""A Newton method within bounds, on many functions at once: of batches of toys, and of one dataset at an edge."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Objective", "newton"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_SWEEPS = 10  # over all parameters, to find those that a step takes to their bounds


class Objective(Protocol):
    """Functions to be minimised, with their first derivatives and what stands for the second ones."""

    def __call__(self, pars: Array, rows: NDArray[np.intp], /) -> tuple[Array, Array, Array]:
        """Return values, shape ``(r,)``, gradients ``(r, P)`` and positive semidefinite Hessians ``(r, P, P)``.

        Args:
            pars: the points, shape ``(r, P)``.
            rows: the functions they belong to, in ascending order, shape ``(r,)``.
        """


def newton(
    function: Objective,
    start: Array,
    lows: Array,
    highs: Array,
    held: NDArray[np.bool_],
    iterations: int,
    tolerance: float = 1e-5,
    *,
    last: bool = False,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return the minima of functions within bounds, shape ``(n, P)``, the values there, and whether they are ones.

    A step that does not lower the value is not taken, and damped (Levenberg): so a place where a function is infinite
    is never entered.

    Args:
        function: the functions.
        start: where each begins, shape ``(n, P)``.
        lows: the lower bounds, shape ``(P,)``.
        highs: the upper bounds.
        held: which parameters stay as they are, shape ``(P,)``.
        iterations: how many there may be.
        tolerance: what another step may still be expected to gain.
        last: whether that step is taken nevertheless, unseen.

    Example:
        >>> import numpy as np
        >>> from neyman.inference.newton import newton
        >>> def parabola(x, rows):
        ...     return (x**2).sum(axis=1), 2.0 * x, np.tile(2.0 * np.eye(1), (len(x), 1, 1))
        >>> newton(parabola, np.array([[5.0]]), np.array([1.0]), np.array([9.0]), np.array([False]), 10)[0]
        array([[1.]])
    """
    rows = np.arange(len(start))
    best, values = start.copy(), np.empty(len(start))
    converged = np.zeros(len(start), dtype=bool)
    pars = start
    value, gradient, hessian = function(pars, rows)
    values[:] = value
    damping = np.zeros(len(start))
    for _ in range(iterations):
        step, gain = _step(pars, gradient, hessian, damping, lows, highs, held)
        done = (gain < tolerance) & (damping <= 0.1) & np.isfinite(value)
        keep = np.isfinite(value) & ~done
        converged[rows[done]] = True
        best[rows], values[rows] = pars, value
        if last and done.any():
            best[rows[done]] += np.where(held, 0.0, step[done])
        if not keep.any():
            break
        if not keep.all():
            rows, pars, value, gradient, hessian, damping, step, gain = (
                array[keep] for array in (rows, pars, value, gradient, hessian, damping, step, gain)
            )
        trial = pars + step
        free = ~held
        trial[:, free] = np.clip(trial, lows, highs)[:, free]
        new_value, new_gradient, new_hessian = function(trial, rows)
        ratio = np.divide(value - new_value, gain, out=np.full(len(gain), -1.0), where=np.isfinite(new_value))
        better = ratio > 1e-4
        new_hessian = _secant(new_hessian, trial - pars, new_gradient - gradient)
        pars = np.where(better[:, None], trial, pars)
        value = np.where(better, new_value, value)
        gradient = np.where(better[:, None], new_gradient, gradient)
        hessian = np.where(better[:, None, None], new_hessian, hessian)
        damping = np.where(better, np.where(damping > 1e-3, 0.2 * damping, 0.0), np.maximum(8.0 * damping, 0.1))
    return best, values, converged


def _step(
    pars: Array,
    gradient: Array,
    hessian: Array,
    damping: Array,
    lows: Array,
    highs: Array,
    held: NDArray[np.bool_],
) -> tuple[Array, Array]:
    """Minimise the quadratic model within the bounds; return the steps and the gain that each is expected to bring."""
    index = np.arange(pars.shape[1])
    below, above = np.where(held, 0.0, lows - pars), np.where(held, 0.0, highs - pars)
    span = highs - lows
    bounded = np.isfinite(span)
    # a straight line is followed to the bound or, without one, until it has fallen by a million
    flat = np.where(bounded, 1e-9 / np.where(bounded, span, 1.0) ** 2, 1e-6 * gradient**2)
    scale = np.sqrt(hessian[:, index, index] + np.maximum(flat, 1e-300))
    scaled = hessian / (scale[:, :, None] * scale[:, None, :])
    scaled[:, index, index] += damping[:, None] + 1e-10
    slope, below, above = gradient / scale, below * scale, above * scale
    free = ~held & ~((below >= 0.0) & (gradient > 0.0)) & ~((above <= 0.0) & (gradient < 0.0))
    step = _solve(scaled, slope, np.zeros_like(pars), free)
    outside = ((step < below) | (step > above)).any(axis=1)
    if outside.any():
        some = (scaled[outside], slope[outside], below[outside], above[outside])
        step[outside] = _within(*some)
    step /= scale
    gain = -((gradient * step).sum(axis=1) + 0.5 * (step[:, None, :] @ hessian @ step[:, :, None])[:, 0, 0])
    return step, gain


def _within(hessian: Array, slope: Array, below: Array, above: Array) -> Array:
    """Minimise quadratic functions within bounds: parameter by parameter, then what came out free together."""
    step = np.zeros_like(slope)
    residual = slope.copy()
    for _ in range(_SWEEPS):
        for i in range(slope.shape[1]):
            moved = np.minimum(np.maximum(step[:, i] - residual[:, i] / hessian[:, i, i], below[:, i]), above[:, i])
            residual += hessian[:, i] * (moved - step[:, i])[:, None]
            step[:, i] = moved
    free: NDArray[np.bool_] = (step > below) & (step < above)
    together = _solve(hessian, slope, np.where(free, 0.0, step), free)
    inside = np.all((together >= below) & (together <= above), axis=1, keepdims=True)
    return np.where(inside, together, step)


def _solve(hessian: Array, slope: Array, step: Array, free: NDArray[np.bool_]) -> Array:
    """Minimise quadratic functions by the free parameters, the others taking the steps given."""
    index = np.arange(slope.shape[1])
    right = np.where(free, -slope - (hessian @ step[:, :, None])[:, :, 0], step)
    matrix = np.where(free[:, :, None] & free[:, None, :], hessian, 0.0)
    matrix[:, index, index] = np.where(free, hessian[:, index, index], 1.0)
    solution: Array = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    return solution


def _secant(hessian: Array, step: Array, change: Array) -> Array:
    """Correct Hessians so that they reproduce the last change of the gradient (the formula of BFGS)."""
    predicted = (hessian @ step[:, :, None])[:, :, 0]
    expected = (step * predicted).sum(axis=1)
    found = (step * change).sum(axis=1)
    good = (found > 0.05 * expected) & (found < 20.0 * expected) & (expected > 1e-9)
    rows = np.flatnonzero(good)
    pair = np.stack([change[rows], predicted[rows]], axis=2)
    hessian[rows] += (pair / np.stack([found[rows], -expected[rows]], axis=1)[:, None]) @ pair.transpose(0, 2, 1)
    return hessian
