"""The exact likelihood, toys and profile likelihood intervals of the on/off problem (arXiv:2306.12584).

One feature. Signal N(-7, 2) with 10 mu expected events over background N(0, 3) with 100 nu: mu, not below zero, is of
interest and nu is free. Everything takes many datasets at once. Run it to print how wide the exact 68 % intervals are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BACKGROUND",
    "BOUNDS",
    "POINTS",
    "SIGNAL",
    "best_fit",
    "conditional_fit",
    "draw_background",
    "draw_signal",
    "interval",
    "log_density_ratio",
    "sample",
    "test_statistic",
]

Array = NDArray[np.float64]

SIGNAL, BACKGROUND = 10.0, 100.0  # expected events at mu = nu = 1
BOUNDS = ((0.0, 12.0), (0.1, 2.5))  # of mu and nu

# (mu, nu): where everything is measured
POINTS = ((2.0, 0.5), (5.0, 1.0), (2.0, 0.6), (8.0, 1.7), (9.0, 1.6), (2.5, 0.5), (9.0, 1.7), (1.0, 0.5), (0.0, 1.0))


def draw_signal(n: int, rng: np.random.Generator) -> Array:
    """Draw signal events, shape ``(n, 1)``."""
    return rng.normal(-7.0, 2.0, size=(n, 1))


def draw_background(n: int, rng: np.random.Generator) -> Array:
    """Draw background events, shape ``(n, 1)``."""
    return rng.normal(0.0, 3.0, size=(n, 1))


def sample(pars: ArrayLike, rng: np.random.Generator) -> Array:
    """Draw one dataset, shape ``(N, 1)``, at the parameters (mu, nu), with N itself random."""
    mu, nu = np.asarray(pars, dtype=np.float64)
    x = np.concatenate([draw_signal(rng.poisson(SIGNAL * mu), rng), draw_background(rng.poisson(BACKGROUND * nu), rng)])
    return rng.permutation(x)


def log_density_ratio(x: ArrayLike) -> Array:
    """Return log p_s(x)/p_b(x), of the shape of ``x``."""
    x = np.asarray(x, dtype=np.float64)
    return np.log(3.0 / 2.0) - 0.5 * ((x + 7.0) / 2.0) ** 2 + 0.5 * (x / 3.0) ** 2


def best_fit(toys: Sequence[ArrayLike]) -> tuple[Array, Array]:
    """Return the best fits within the bounds.

    Args:
        toys: ``n`` datasets, each of shape ``(N, 1)`` with its own N.

    Returns:
        (mu, nu), shape ``(n, 2)``, and -2 log L there up to a constant of each dataset, shape ``(n,)``.
    """
    parts = [_best(likelihoods) for likelihoods, _ in _blocks(toys)]
    return np.concatenate([pars for pars, _ in parts]), np.concatenate([values for _, values in parts])


def conditional_fit(toys: Sequence[ArrayLike], mu: ArrayLike) -> tuple[Array, Array]:
    """Return the best nu within its bounds with mu held, a number or one for each dataset.

    Returns:
        Shape ``(n,)``, and -2 log L there, shape ``(n,)``, up to the same constants.
    """
    mu = np.broadcast_to(np.asarray(mu, dtype=np.float64), (len(toys),))
    nus, values = [], []
    for likelihoods, block in _blocks(toys):
        nus.append(likelihoods.profiled(mu[block]))
        values.append(likelihoods.twice_nll(mu[block], nus[-1]))
    return np.concatenate(nus), np.concatenate(values)


def test_statistic(toys: Sequence[ArrayLike], mu: ArrayLike) -> Array:
    r"""Return :math:`\tilde t_\mu` of arXiv:1007.1727, eq. 11, shape ``(n,)``: mu-hat is not below zero."""
    return np.maximum(conditional_fit(toys, mu)[1] - best_fit(toys)[1], 0.0)


test_statistic.__test__ = False  # type: ignore[attr-defined]  # not one for pytest


def interval(toys: Sequence[ArrayLike], threshold: float = 1.0) -> Array:
    r"""Return the ends of :math:`\{\mu: \tilde t_\mu \le \mathrm{threshold}\}` within the bounds, shape ``(n, 2)``."""
    return np.concatenate([_interval(likelihoods, threshold) for likelihoods, _ in _blocks(toys)])


def _interval(likelihoods: _Likelihoods, threshold: float) -> Array:
    best, minimum = _best(likelihoods)
    ends = []
    for sign, bound in ((-1.0, BOUNDS[0][0]), (1.0, BOUNDS[0][1])):

        def excess(mu: Array, sign: float = sign) -> tuple[Array, Array]:
            nu = likelihoods.profiled(mu)
            slope = likelihoods.derivatives(mu, nu)[0][:, 0]  # nu is at its best: only mu itself counts
            return sign * (likelihoods.twice_nll(mu, nu) - minimum - threshold), sign * slope

        edges = np.sort(np.stack([best[:, 0], np.full(len(best), bound)]), axis=0)
        ends.append(_zero(excess, edges[0], edges[1]))
    return np.stack(ends, axis=1)


def _blocks(toys: Sequence[ArrayLike]) -> Iterator[tuple[_Likelihoods, slice]]:
    """Yield the likelihoods of a few datasets at a time, whose arrays stay in a processor's cache."""
    for begin in range(0, len(toys), 50):
        block = slice(begin, begin + 50)
        yield _Likelihoods(toys[block]), block


class _Likelihoods:
    """-2 log L of many datasets, padded to one length, each at its own mu and nu of shape ``(n,)``."""

    def __init__(self, toys: Sequence[ArrayLike]) -> None:
        numbers = np.array([len(np.asarray(x)) for x in toys])
        self.is_event = np.arange(numbers.max(initial=1)) < numbers[:, None]
        self.ratios = np.zeros(self.is_event.shape)
        self.ratios[self.is_event] = np.exp(log_density_ratio(np.concatenate([np.ravel(x) for x in toys])))

    def densities(self, mu: Array, nu: Array) -> Array:
        return SIGNAL * mu[:, None] * self.ratios + BACKGROUND * nu[:, None]

    def twice_nll(self, mu: Array, nu: Array) -> Array:
        logs = np.log(self.densities(mu, nu))
        return 2.0 * (SIGNAL * mu + BACKGROUND * nu - np.sum(logs, axis=1, where=self.is_event))

    def derivatives(self, mu: Array, nu: Array) -> tuple[Array, Array]:
        """Return gradients, shape ``(n, 2)``, and Hessians, shape ``(n, 2, 2)``."""
        pulls = self.is_event / self.densities(mu, nu)
        scores = np.stack([SIGNAL * self.ratios * pulls, BACKGROUND * pulls], axis=1)
        return 2.0 * (np.array([SIGNAL, BACKGROUND]) - scores.sum(axis=2)), 2.0 * scores @ scores.transpose(0, 2, 1)

    def profiled(self, mu: Array) -> Array:
        """Return the best nu at each mu."""
        signal = SIGNAL * mu[:, None] * self.ratios

        def slope(nu: Array) -> tuple[Array, Array]:
            scores = BACKGROUND * self.is_event / (signal + BACKGROUND * nu[:, None])
            return 2.0 * (BACKGROUND - scores.sum(axis=1)), 2.0 * np.einsum("ne,ne->n", scores, scores)

        return _zero(slope, *(np.full(len(mu), bound) for bound in BOUNDS[1]))


def _best(likelihoods: _Likelihoods) -> tuple[Array, Array]:
    """Return the best fits and -2 log L there: the profile likelihood is convex in mu."""

    def slope(mu: Array) -> tuple[Array, Array]:
        nu = likelihoods.profiled(mu)
        gradient, hessian = likelihoods.derivatives(mu, nu)
        inside = (nu > BOUNDS[1][0]) & (nu < BOUNDS[1][1]) & (hessian[:, 1, 1] > 0.0)
        moved = np.divide(hessian[:, 0, 1] ** 2, hessian[:, 1, 1], out=np.zeros_like(mu), where=inside)
        return gradient[:, 0], hessian[:, 0, 0] - moved

    mu = _zero(slope, *(np.full(len(likelihoods.ratios), bound) for bound in BOUNDS[0]))
    nu = likelihoods.profiled(mu)
    return np.stack([mu, nu], axis=1), likelihoods.twice_nll(mu, nu)


def _zero(function: Callable[[Array], tuple[Array, Array]], low: Array, high: Array) -> Array:
    """Return where increasing functions are zero, or the end nearest to it: Newton's method kept in brackets.

    Args:
        function: gives values and slopes, of the shape ``(n,)`` of its argument.
        low: where to begin, shape ``(n,)``.
        high: where to end, shape ``(n,)``.
    """
    above, below = function(low)[0] >= 0.0, function(high)[0] <= 0.0
    ends = np.where(above, low, high)
    a, b = low.copy(), high.copy()
    x = 0.5 * (a + b)
    for _ in range(100):
        value, slope = function(x)
        a, b = np.where(value < 0.0, x, a), np.where(value < 0.0, b, x)
        step = np.divide(-value, slope, out=np.full_like(x, np.inf), where=slope > 0.0)
        new = np.where((x + step > a) & (x + step < b), x + step, 0.5 * (a + b))
        done = above | below | (np.abs(new - x) < 1e-10)
        x = new
        if done.all():
            break
    return np.where(above | below, ends, x)


if __name__ == "__main__":
    for number, point in enumerate(POINTS):
        rng = np.random.default_rng(number)
        widths = np.diff(interval([sample(point, rng) for _ in range(1000)]), axis=1)
        print(f"mu = {point[0]:g}, nu = {point[1]:g}: median width {np.median(widths):.3f}")
