r"""The exact profile likelihood of a narrow resonance of unknown mass: a likelihood with many maxima.

100 events from ``p(x | s, m) = s N(x; m, 0.1) + (1 - s) N(x; 0, 1)``. The signal fraction s, in [0, 1], is of interest;
the signal's mean m, in [-3, 5], is a nuisance parameter with the auxiliary measurement ``a ~ N(m, 2)``, nominally 1.

.. math::

    \log L(s, m) = \sum_i \log p(x_i | s, m) - \frac{(a - m)^2}{2 \cdot 2^2} - \log(2 \sqrt{2\pi})

Every chance cluster of events makes a maximum in m, so that a minimiser finds the one that it starts near. Here the
likelihood is computed on a grid of m, a fifth of the signal's width apart, its highest maxima there are polished by
Newton's method in brackets, and the highest is taken. In s at fixed m the likelihood is concave.

The number of events is always 100 and says nothing about the parameters. Everything takes many datasets at once, with
their auxiliary data. Run it to print the widths of the intervals and what they cover.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import scipy.optimize
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "EVENTS",
    "FEATURES",
    "PARAMETERS",
    "POI",
    "POINTS",
    "auxdata",
    "best_fit",
    "evaluate",
    "interval",
    "log_likelihood",
    "profile",
    "ratio",
    "sample",
    "sample_n",
]

Array = NDArray[np.float64]

EVENTS = 100
WIDTH = 0.1  # of the signal
CENTRE, SIGMA = 1.0, 2.0  # of the constraint term
LOW, HIGH = -3.0, 5.0  # the bounds of m

PARAMETERS = [
    {"name": "s", "inits": [0.2], "bounds": [[0.0, 1.0]]},
    {"name": "m", "inits": [CENTRE], "bounds": [[LOW, HIGH]], "auxdata": [CENTRE], "sigmas": [SIGMA]},
]
POI = "s"
FEATURES = ["x"]

# (s, m): where everything is measured
POINTS = ((0.1, 1.0), (0.2, -1.0), (0.3, 1.0), (0.5, 0.0), (0.3, 2.5))

_STEP = WIDTH / 5
_MASSES = np.linspace(LOW, HIGH, round((HIGH - LOW) / _STEP) + 1)
_FRACTIONS = np.linspace(0.0, 1.0, 41)  # where an interval's ends are looked for before they are found exactly
_FACTORS = 20  # densities multiplied before a logarithm is taken: of at most 3e6 relative to background
_KEPT = 3  # maxima in m that are polished with s held, where the grid has their order almost right
_KEPT_FREE = 6  # and with s free, where the grid in s blurs it


def sample(pars: ArrayLike, rng: np.random.Generator) -> Array:
    """Draw one dataset of 100 events, shape ``(100, 1)``, at the parameters (s, m)."""
    return sample_n(pars, EVENTS, rng)


def sample_n(pars: ArrayLike, n: int, rng: np.random.Generator) -> Array:
    """Draw one dataset of n events, shape ``(n, 1)``."""
    s, m = np.asarray(pars, dtype=np.float64)
    x = rng.standard_normal(n)
    return np.where(rng.random(n) < s, m + WIDTH * x, x)[:, None]


def auxdata(pars: ArrayLike, rng: np.random.Generator) -> Array:
    """Draw the auxiliary measurement of m, shape ``(1,)``."""
    return rng.normal(np.asarray(pars, dtype=np.float64)[1], SIGMA, size=1)


def evaluate(pars: ArrayLike, x: ArrayLike) -> tuple[float, Array]:
    """Return the log-likelihood of the events of one dataset, and its gradient by (s, m), without the constraint."""
    s, m = np.asarray(pars, dtype=np.float64)
    events = np.ravel(np.asarray(x, dtype=np.float64))
    ratios = _ratios(events, m)
    density = 1.0 + s * (ratios - 1.0)
    if np.any(density <= 0.0):
        return -np.inf, np.zeros(2)
    gradient = np.array([((ratios - 1.0) / density).sum(), (s * ratios / density * (events - m)).sum() / WIDTH**2])
    return float(np.log(density).sum() + _log_background(events)), gradient


def log_likelihood(pars: ArrayLike, datasets: Sequence[ArrayLike], aux: ArrayLike | None = None) -> Array:
    """Return the log-likelihood of every dataset, with the constraint term.

    Args:
        pars: the parameters (s, m), shape ``(2,)``, or one point for each dataset, shape ``(B, 2)``.
        datasets: ``B`` datasets, each of shape ``(N, 1)``.
        aux: the auxiliary datum of each, shape ``(B,)``; default is the nominal one.

    Returns:
        Shape ``(B,)``.
    """
    a = _centres(datasets, aux)
    points = np.broadcast_to(np.asarray(pars, dtype=np.float64), (len(datasets), 2))
    events = np.array([evaluate(point, x)[0] for point, x in zip(points, datasets, strict=True)])
    return events - 0.5 * ((a - points[:, 1]) / SIGMA) ** 2 - np.log(SIGMA * np.sqrt(2 * np.pi))


def best_fit(datasets: Sequence[ArrayLike], aux: ArrayLike | None = None) -> Array:
    """Return the best fits (s, m) within the bounds, shape ``(B, 2)``."""
    return np.array([_Likelihood(x, a).best[0] for x, a in zip(datasets, _centres(datasets, aux), strict=True)])


def ratio(datasets: Sequence[ArrayLike], s: ArrayLike, aux: ArrayLike | None = None) -> Array:
    """Return -2 log of the profile likelihood ratio at s, one value or one for each dataset, shape ``(B,)``."""
    values = np.broadcast_to(np.asarray(s, dtype=np.float64), (len(datasets),))
    return np.array([_Likelihood(x, a).t(v) for x, a, v in zip(datasets, _centres(datasets, aux), values, strict=True)])


def profile(x: ArrayLike, s: ArrayLike, aux: float = CENTRE) -> tuple[Array, Array]:
    """Return -2 log of the profile likelihood ratio of one dataset at many s, and the m there, each ``(S,)``."""
    likelihood = _Likelihood(x, aux)
    m, value = likelihood.profiled(np.asarray(s, dtype=np.float64))
    return np.maximum(2.0 * (likelihood.best[1] - value), 0.0), m


def interval(datasets: Sequence[ArrayLike], threshold: float = 1.0, aux: ArrayLike | None = None) -> Array:
    """Return the ends of the set of s with a -2 log of the ratio up to the threshold, shape ``(B, 2)``.

    Of a set in pieces it is the piece with the best fit in it, as MINOS has it.
    """
    centres = _centres(datasets, aux)
    return np.array([_Likelihood(x, a).interval(threshold) for x, a in zip(datasets, centres, strict=True)])


class _Likelihood:
    """The log-likelihood ratio of one dataset to background alone, on the grid of m and off it."""

    def __init__(self, x: ArrayLike, centre: float) -> None:
        self.x = np.ravel(np.asarray(x, dtype=np.float64))
        self.centre = centre
        self.excess = _ratios(self.x[:, None], _MASSES) - 1.0  # (N, M)
        self.constraint = -0.5 * ((centre - _MASSES) / SIGMA) ** 2

    def on_grid(self, s: Array) -> Array:
        """Return the values at s and every m of the grid, shape ``(S, M)``."""
        starts = np.arange(0, len(self.x), _FACTORS)
        values = np.empty((len(s), len(_MASSES)))
        for row, fraction in enumerate(s):
            density = self.excess * fraction
            density += 1.0
            products = np.multiply.reduceat(density, starts)
            values[row] = np.log(np.maximum(products, 1e-300)).sum(axis=0)  # zero at s = 1 where all is background
        return values + self.constraint

    def at(self, s: Array, m: Array) -> tuple[Array, Array, Array]:
        """Return values, gradients and Hessians by (s, m): the shape of s and m, and ``(2,)`` or ``(2, 2)`` more."""
        ratios = _ratios(self.x, m[..., None])
        density = np.maximum(1.0 + s[..., None] * (ratios - 1.0), 1e-100)
        pull = (self.x - m[..., None]) / WIDTH**2
        by_s, share = (ratios - 1.0) / density, s[..., None] * ratios / density
        value = np.log(density).sum(axis=-1) - 0.5 * ((self.centre - m) / SIGMA) ** 2
        gradient = np.stack([by_s.sum(axis=-1), (share * pull).sum(axis=-1) + (self.centre - m) / SIGMA**2], axis=-1)
        ss = -(by_s**2).sum(axis=-1)
        sm = (ratios / density**2 * pull).sum(axis=-1)
        mm = (share * ((1.0 - share) * pull**2 - WIDTH**-2)).sum(axis=-1) - SIGMA**-2
        return value, gradient, np.stack([np.stack([ss, sm], axis=-1), np.stack([sm, mm], axis=-1)], axis=-1)

    def profiled(self, s: Array) -> tuple[Array, Array]:
        """Return the best m at every s, and the value there, each of shape ``(S,)``."""
        starts = _highest(self.on_grid(s), _KEPT)
        fractions = np.broadcast_to(s[:, None], starts.shape)

        def slope(m: Array) -> tuple[Array, Array]:
            _, gradient, hessian = self.at(fractions, m)
            return gradient[..., 1], hessian[..., 1, 1]

        m = _top(slope, *_bracket(starts))
        value = self.at(fractions, m)[0]
        highest = np.argmax(value, axis=1)[:, None]
        return np.take_along_axis(m, highest, 1)[:, 0], np.take_along_axis(value, highest, 1)[:, 0]

    @functools.cached_property
    def best(self) -> tuple[Array, float]:
        """The best fit (s, m), shape ``(2,)``, and the value there."""
        values = self.on_grid(_FRACTIONS)
        starts = _highest(values.max(axis=0)[None], _KEPT_FREE)[0]
        nearby = _FRACTIONS[values.argmax(axis=0)[np.searchsorted(_MASSES, starts)]]

        def fraction(m: Array) -> Array:
            excess = _ratios(self.x, m[..., None]) - 1.0

            def slope(s: Array) -> tuple[Array, Array]:
                pull = excess / np.maximum(1.0 + s[..., None] * excess, 1e-100)
                return pull.sum(axis=-1), -(pull**2).sum(axis=-1)

            return _top(slope, np.zeros_like(m), np.ones_like(m), nearby)

        def slope(m: Array) -> tuple[Array, Array]:
            s = fraction(m)
            _, gradient, hessian = self.at(s, m)
            inside = (s > 0.0) & (s < 1.0) & (hessian[..., 0, 0] < 0.0)
            moved = np.divide(hessian[..., 0, 1] ** 2, hessian[..., 0, 0], out=np.zeros_like(m), where=inside)
            return gradient[..., 1], hessian[..., 1, 1] - moved

        m = _top(slope, *_bracket(starts))
        s = fraction(m)
        value = self.at(s, m)[0]
        highest = int(np.argmax(value))
        return np.array([s[highest], m[highest]]), float(value[highest])

    def t(self, s: float) -> float:
        """Return -2 log of the profile likelihood ratio at one s."""
        return max(2.0 * (self.best[1] - float(self.profiled(np.array([s]))[1][0])), 0.0)

    def interval(self, threshold: float) -> tuple[float, ...]:
        """Return the ends about the best fit between which t is up to the threshold."""
        s_hat = float(self.best[0][0])
        above = 2.0 * (self.best[1] - _peaks(self.on_grid(_FRACTIONS))) > threshold
        lower, upper = (np.flatnonzero(side) for side in (s_hat > _FRACTIONS, s_hat < _FRACTIONS))
        paths = (lower[::-1], upper)  # away from the best fit
        return tuple(self._end(_FRACTIONS[path], above[path], threshold) for path in paths)

    def _end(self, path: Array, above: NDArray[np.bool_], threshold: float) -> float:
        """Return where t first crosses the threshold on a path away from the best fit, or else the path's end."""
        s_hat = float(self.best[0][0])
        first = int(np.argmax(above)) if above.any() else len(path)
        # the grid's values are not polished: see that the crossing is where they say
        while first < len(path) and self.t(path[first]) <= threshold:
            first += 1
        while first > 0 and self.t(path[first - 1]) > threshold:
            first -= 1
        inside = float(path[first - 1]) if first else s_hat
        if first == len(path):
            return inside
        root = scipy.optimize.brentq(lambda s: self.t(s) ** 0.5 - threshold**0.5, inside, path[first], xtol=1e-5)
        return float(root)


def _ratios(x: Array, m: ArrayLike) -> Array:
    """Return the ratio of the signal's density to the background's, of the shape of x and m together."""
    return np.exp(0.5 * x**2 - 0.5 * ((x - m) / WIDTH) ** 2) / WIDTH


def _log_background(x: Array) -> float:
    return float(-0.5 * np.sum(x**2) - 0.5 * x.size * np.log(2 * np.pi))


def _centres(datasets: Sequence[ArrayLike], aux: ArrayLike | None) -> Array:
    return np.broadcast_to(np.asarray(CENTRE if aux is None else np.ravel(aux), dtype=np.float64), (len(datasets),))


def _highest(values: Array, kept: int) -> Array:
    """Return the m of the highest maxima on the grid, shape ``(S, kept)``, of values of shape ``(S, M)``."""
    padded = np.pad(values, ((0, 0), (1, 1)), constant_values=-np.inf)
    is_maximum = (values >= padded[:, :-2]) & (values >= padded[:, 2:])
    return _MASSES[np.argsort(np.where(is_maximum, values, -np.inf), axis=1)[:, -kept:]]


def _bracket(m: Array) -> tuple[Array, Array]:
    return np.maximum(m - _STEP, LOW), np.minimum(m + _STEP, HIGH)


def _peaks(values: Array) -> Array:
    """Return the highest value at each s, shape ``(S,)``, of parabolas through three neighbours on the grid."""
    left, centre, right = values[:, :-2], values[:, 1:-1], values[:, 2:]
    is_maximum = (centre >= left) & (centre >= right) & (2.0 * centre > left + right)
    curvature = np.where(is_maximum, 2.0 * centre - left - right, np.inf)
    peaks = centre + np.where(is_maximum, right - left, 0.0) ** 2 / (8.0 * curvature)
    return np.maximum(peaks.max(axis=1), values.max(axis=1))


def _top(slope: Callable[[Array], tuple[Array, Array]], low: Array, high: Array, start: Array | None = None) -> Array:
    """Return where functions with one maximum between two ends have it: Newton's method kept in brackets.

    Args:
        slope: gives first and second derivatives, of the shape of its argument.
        low: the lower ends.
        high: the upper ends, of the same shape.
        start: where to begin; default is the middle.
    """
    falling, rising = slope(low)[0] <= 0.0, slope(high)[0] >= 0.0
    a, b = low, high
    x = 0.5 * (a + b) if start is None else start
    for _ in range(60):
        first, second = slope(x)
        a, b = np.where(first > 0.0, x, a), np.where(first > 0.0, b, x)
        step = np.divide(-first, second, out=np.full_like(x, np.inf), where=second < 0.0)
        new = np.where((x + step > a) & (x + step < b), x + step, 0.5 * (a + b))
        done = falling | rising | (np.abs(new - x) < 1e-8)
        x = new
        if done.all():
            break
    return np.where(falling, low, np.where(rising, high, x))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    for point in POINTS:
        toys = [sample(point, rng) for _ in range(500)]
        measured = np.array([auxdata(point, rng)[0] for _ in toys])
        widths = np.diff(interval(toys, aux=measured), axis=1)
        covered = np.mean(ratio(toys, point[0], measured) <= 1.0)
        print(f"s = {point[0]:g}, m = {point[1]:g}: median width {np.median(widths):.3f}, covers {covered:.2f}")
