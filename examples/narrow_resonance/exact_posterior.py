r"""The exact posterior of the narrow resonance, by integration on a grid, and those from fixed summaries of the data.

The likelihood is that of ``exact.py``, 100 events from ``s N(x; m, 0.1) + (1 - s) N(x; 0, 1)``, with the priors of
arXiv:2306.12584: the fraction s uniform in [0, 1], the mean m from N(1, 2). Where m lies in the bulk of the background,
chance clusters of it look like a signal, and the posterior of s is wide.

A fixed summary is one number, the sum of a function of every event: what a classifier of single events learns if it
knows of one mass only, or of all masses at once. Run it to print the widths at all true masses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats
from exact import CENTRE, EVENTS, SIGMA, WIDTH, sample_n
from numpy.typing import ArrayLike, NDArray

__all__ = ["MASSES", "PARAMETERS", "PRIOR", "SUMMARIES", "TRUTH", "log_posterior", "moments", "neighbours", "toys"]

Array = NDArray[np.float64]

TRUTH = 0.2  # of s
MASSES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.4, 3.0)  # true m, where everything is measured
LOW, HIGH = CENTRE - 4 * SIGMA, CENTRE + 4 * SIGMA  # bounds of m: 6e-5 of its prior is beyond
PARAMETERS = [
    {"name": "s", "inits": [TRUTH], "bounds": [[0.0, 1.0]]},
    {"name": "m", "inits": [CENTRE], "bounds": [[LOW, HIGH]]},
]
PRIOR = {"s": scipy.stats.uniform(0.0, 1.0), "m": scipy.stats.norm(CENTRE, SIGMA)}

# of one event, each the logarithm of a ratio of densities but for constants: m at 1, and m averaged over its prior
SUMMARIES: dict[str, Callable[[Array], Array]] = {
    "x^2 - ((x - 1)/0.1)^2": lambda x: x**2 - ((x - CENTRE) / WIDTH) ** 2,
    "x^2 - (x - 1)^2/4.01": lambda x: x**2 - (x - CENTRE) ** 2 / (SIGMA**2 + WIDTH**2),
}

_STEP = WIDTH / 5  # in m: the posterior of m is no narrower than this
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_S, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS
_FACTORS = 20  # densities multiplied before a logarithm is taken


def toys(m: float, n: int, seed: int, s: float = TRUTH) -> Array:
    """Draw n datasets at (s, m), shape ``(n, 100, 1)``, in single precision as a network has them."""
    rng = np.random.default_rng([seed, round(1000 * (m + 10))])
    return np.array([sample_n((s, m), EVENTS, rng) for _ in range(n)], dtype=np.float32).astype(np.float64)


def log_posterior(points: ArrayLike, x: ArrayLike) -> Array:
    """Return the logarithm of prior times likelihood at points (s, m), shape ``(K, 2)``, up to a constant, ``(K,)``."""
    s, m = np.asarray(points, dtype=np.float64).T
    events = np.ravel(np.asarray(x, dtype=np.float64))
    inside = (s > 0.0) & (s < 1.0)
    ratio = np.exp(0.5 * events**2 - 0.5 * ((events - m[:, None]) / WIDTH) ** 2) / WIDTH
    density = 1.0 + np.where(inside, s, 0.5)[:, None] * (ratio - 1.0)
    return np.where(inside, np.log(density).sum(axis=1) - 0.5 * ((m - CENTRE) / SIGMA) ** 2, -np.inf)


def moments(datasets: Sequence[ArrayLike]) -> Array:
    """Return mean and standard deviation of the posterior of s, shape ``(B, 2)``: integrals on a grid."""
    masses = np.arange(LOW, HIGH + _STEP / 2, _STEP)
    prior = -0.5 * ((masses - CENTRE) / SIGMA) ** 2
    found = []
    for x in datasets:
        events = np.ravel(np.asarray(x, dtype=np.float64))
        excess = np.exp(0.5 * events[:, None] ** 2 - 0.5 * ((events[:, None] - masses) / WIDTH) ** 2) / WIDTH - 1.0
        starts = np.arange(0, len(events), _FACTORS)
        values = [np.log(np.multiply.reduceat(1.0 + s * excess, starts)).sum(axis=0) + prior for s in _S]
        peak = np.max(values)
        density = np.exp(np.array(values) - peak).sum(axis=1) * _WEIGHTS
        density /= density.sum()
        mean = density @ _S
        found.append((mean, np.sqrt(density @ (_S - mean) ** 2)))
    return np.array(found)


def neighbours(
    summary: Callable[[Array], Array], datasets: Array, simulated: int = 300_000, near: int = 2_000, seed: int = 0
) -> Array:
    """Return mean and standard deviation of the posterior of s given one number, the mean of a summary of events.

    Of many datasets at parameters drawn from the prior, those next to the observed one in that number are a sample of
    the posterior: with a single number this is as good as exact.

    Args:
        summary: a function of events.
        datasets: shape ``(B, N, 1)``.
        simulated: how many datasets there are at hand.
        near: how many of them are taken.
        seed: of their simulation.

    Returns:
        Shape ``(B, 2)``.
    """
    rng = np.random.default_rng(seed)
    s, m = rng.random(simulated), rng.normal(CENTRE, SIGMA, simulated)
    numbers = np.empty(simulated)
    for first in range(0, simulated, 10_000):
        own = slice(first, first + 10_000)
        x = rng.standard_normal((len(s[own]), EVENTS))
        is_signal = rng.random(x.shape) < s[own, None]
        numbers[own] = summary(np.where(is_signal, m[own, None] + WIDTH * x, x)).mean(axis=1)
    order = np.argsort(numbers)
    numbers, s = numbers[order], s[order]
    places = np.searchsorted(numbers, summary(datasets[:, :, 0]).mean(axis=1))
    firsts = np.clip(places - near // 2, 0, simulated - near)
    return np.array([(s[k : k + near].mean(), s[k : k + near].std()) for k in firsts])


if __name__ == "__main__":
    print(" true m   exact  " + "  ".join(SUMMARIES))
    for mass in MASSES:
        datasets = toys(mass, 200, seed=0)
        widths = [moments(datasets), *(neighbours(summary, datasets) for summary in SUMMARIES.values())]
        print(f"{mass:7.1f}   " + "  ".join(f"{np.median(one[:, 1]):.4f}" for one in widths), flush=True)
