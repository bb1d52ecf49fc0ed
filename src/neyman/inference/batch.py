"""Fits of many toys at once: a Newton method on all of them together; what does not converge is left to iminuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from neyman.exceptions import FailedFit
from neyman.inference.parameters import Bounds, Fixed, Start, checked_parameters
from neyman.inference.profile import Profile
from neyman.model.toys import Toys

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["ITERATIONS", "BatchFit", "BatchNLL", "fit_batch"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_TOLERANCE = 1e-5  # in -2 log L: what another step is expected to gain
ITERATIONS = 40
_LARGEST = 2048  # toys evaluated at once,
_ENTRIES = 4_000_000  # numbers in the Jacobian of their rates
_SWEEPS = 10  # over all parameters, to find those that a step takes to their bounds


@dataclass(frozen=True, eq=False)
class BatchFit:
    """The fits of a batch of toys.

    Args:
        pars: the best fits, shape ``(n, P)``.
        twice_nll: -2 log L there, shape ``(n,)``.
        valid: whether a minimum was found, shape ``(n,)``.
        by_iminuit: which toys had to be left to iminuit, shape ``(n,)``.
    """

    pars: Array
    twice_nll: Array
    valid: NDArray[np.bool_]
    by_iminuit: NDArray[np.bool_]

    @property
    def fallbacks(self) -> int:
        """How many toys had to be left to iminuit."""
        return int(self.by_iminuit.sum())

    def __len__(self) -> int:
        return len(self.pars)


def fit_batch(
    model: Model,
    toys: Toys,
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
) -> BatchFit:
    """Fit all toys of a batch by maximum likelihood.

    Args:
        model: the model.
        toys: the toys.
        init: starting values: shape ``(P,)``, ``(n, P)``, or by name a number or one for each toy. They are moved
            into the bounds.
        bounds: bounds, all of them or by name.
        fixed: parameters held at a value, by name: a number, or one for each toy, shape ``(n,)``; or names alone, to be
            held where they start.

    Returns:
        The fits, in the order of the toys.

    Raises:
        InvalidParameter: for a parameter or value that the model does not have or allow.

    Example:
        >>> import neyman
        >>> from neyman.inference.batch import fit_batch
        >>> from neyman.model.toys import draw
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> fits = fit_batch(model, draw([2.0], model, 1000))
        >>> fits.pars.mean(axis=0).round(1), fits.fallbacks
        (array([2.]), 0)
    """
    given = checked_parameters(model, init, bounds, fixed, n=len(toys))
    lows, highs = np.array(given.bounds, dtype=np.float64).T
    toys, start, copies = _distinct(toys, given.start)
    nll = BatchNLL(model, toys)
    pars, values, converged = _minimise(nll, start, lows, highs, given.fixed)
    failed = np.flatnonzero(~converged)
    valid = np.ones(len(toys), dtype=bool)
    for toy in failed:
        pars[toy], values[toy], valid[toy] = _iminuit(model, toys, int(toy), pars[toy], given.bounds, given.fixed)
    return BatchFit(pars[copies], values[copies], valid[copies], ~converged[copies])


class BatchNLL:
    """-2 log L of all toys of a batch, each at its own point.

    Args:
        model: the model.
        toys: the toys.
    """

    def __init__(self, model: Model, toys: Toys) -> None:
        self._model, self._toys = model, toys
        self._counted = model.counted
        self._constant = gammaln(toys.main[:, self._counted] + 1.0).sum(axis=1)
        self._learned = [(term, term.channel.batch(toys.events[term.channel.name])) for term in model.terms]

    def __call__(self, pars: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Return values, gradients and approximate Hessians, which are positive semidefinite.

        The Hessian of a Poisson term is that of Fisher's scoring, of the events it is the sum of squared scores.

        Args:
            pars: the points, shape ``(r, P)``.
            rows: the toys they belong to, in ascending order, shape ``(r,)``.

        Returns:
            -2 log L, infinite where it is not defined, shape ``(r,)``; shape ``(r, P)``; shape ``(r, P, P)``.
        """
        n, n_parameters = pars.shape
        value, gradient = np.empty(n), np.empty((n, n_parameters))
        hessian = np.empty((n, n_parameters, n_parameters))
        entries = len(self._model.config.samples) * self._model.config.nmaindata * n_parameters
        size = int(np.clip(_ENTRIES // max(entries, 1), 1, _LARGEST))
        for begin in range(0, n, size):
            part = slice(begin, begin + size)
            value[part], gradient[part], hessian[part] = self._evaluate(pars[part], rows[part])
        return -2.0 * value, -2.0 * gradient, 2.0 * hessian

    def _evaluate(self, pars: Array, rows: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Return log L, its gradient, and what stands for minus its second derivatives.

        What ``Model.evaluate`` does for one dataset without the last: in 0.31 ms, where this takes 0.68 (1000 events).
        """
        rates, jacobian = self._model.rates(pars)
        main = self._toys.main[np.ix_(rows, self._counted)]
        expected, slope = rates.sum(axis=1)[:, self._counted], jacobian.sum(axis=1)[:, self._counted]
        undefined = ((expected < 0) | ((expected == 0) & (main != 0))).any(axis=1)
        known = expected > 0
        inverse = np.divide(1.0, expected, out=np.zeros_like(expected), where=known)
        value, gradient, diagonal = self._model.constraints.batch(pars, self._toys.auxdata[rows])
        value += (xlogy(main, np.where(known, expected, 1.0)) - expected).sum(axis=1) - self._constant[rows]
        gradient += ((main * inverse - 1.0)[:, None, :] @ slope)[:, 0]
        # without an event the term is linear, and where the rate is too: no curvature
        weighted = slope * np.where(main > 0, inverse, 0.0)[:, :, None]
        hessian = weighted.transpose(0, 2, 1) @ slope
        index = np.arange(pars.shape[1])
        hessian[:, index, index] += diagonal
        for term, log_ratio in self._learned:
            alphas = pars[:, term.parameters]
            by_alpha = np.zeros((len(alphas), alphas.shape[1], pars.shape[1]))
            by_alpha[:, np.arange(alphas.shape[1]), term.parameters] = 1.0
            by_local = np.concatenate([jacobian[:, term.samples, term.bin], by_alpha], axis=1)
            ratio, local, information = log_ratio(rows, rates[:, term.samples, term.bin], alphas)
            value += ratio
            gradient += (local[:, None, :] @ by_local)[:, 0]
            hessian += by_local.transpose(0, 2, 1) @ information @ by_local
        value[undefined] = -np.inf
        return value, gradient, hessian


def _minimise(
    nll: BatchNLL, start: Array, lows: Array, highs: Array, held: NDArray[np.bool_]
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return the minima, the values there, and whether they are ones."""
    rows = np.arange(len(start))
    best, values = start.copy(), np.empty(len(start))
    converged = np.zeros(len(start), dtype=bool)
    pars = start
    value, gradient, hessian = nll(pars, rows)
    values[:] = value
    damping = np.zeros(len(start))
    for _ in range(ITERATIONS):
        step, gain = _step(pars, gradient, hessian, damping, lows, highs, held)
        done = (gain < _TOLERANCE) & (damping <= 0.1) & np.isfinite(value)
        keep = np.isfinite(value) & ~done
        converged[rows[done]] = True
        best[rows], values[rows] = pars, value
        if not keep.any():
            break
        if not keep.all():
            rows, pars, value, gradient, hessian, damping, step, gain = (
                array[keep] for array in (rows, pars, value, gradient, hessian, damping, step, gain)
            )
        trial = pars + step
        free = ~held
        trial[:, free] = np.clip(trial, lows, highs)[:, free]
        new_value, new_gradient, new_hessian = nll(trial, rows)
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
    span = np.where(np.isfinite(highs - lows), highs - lows, 1.0)
    scale = np.sqrt(hessian[:, index, index] + 1e-9 / span**2)
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
    hessian[rows] += (
        change[rows, :, None] * change[rows, None, :] / found[rows, None, None]
        - predicted[rows, :, None] * predicted[rows, None, :] / expected[rows, None, None]
    )
    return hessian


def _distinct(toys: Toys, start: Array) -> tuple[Toys, Array, NDArray[np.intp]]:
    """Return each different toy once where there are no events and few different ones, and which one each was."""
    everyone = np.arange(len(toys))
    if toys.events or len(toys) < 2:
        return toys, start, everyone
    content = np.concatenate([toys.main, toys.auxdata, start], axis=1)
    _, first, copies = np.unique(content, axis=0, return_index=True, return_inverse=True)
    if 2 * len(first) > len(toys):
        return toys, start, everyone
    return toys[first], start[first], copies.reshape(-1)


def _iminuit(
    model: Model, toys: Toys, toy: int, start: Array, bounds: list[tuple[float, float]], held: NDArray[np.bool_]
) -> tuple[Array, float, bool]:
    names, data = list(model.config.par_names), toys.summary(toy)
    fixed = {names[i]: float(start[i]) for i in np.flatnonzero(held)}
    free = {names[i]: float(start[i]) for i in np.flatnonzero(~held)}
    for init in (free, None):  # where the Newton method got to, then where the model suggests
        try:
            pars, value = Profile(data, model, init, bounds, fixed).best
        except FailedFit:
            continue
        return pars, value, True
    return start, np.nan, False
