r"""The exact posterior of the narrow resonance, by integration on a grid, and those from fixed summaries of the data.

The likelihood is that of ``exact.py``, 100 events from ``s N(x; m, 0.1) + (1 - s) N(x; 0, 1)``, with the priors of
arXiv:2306.12584: the fraction s uniform in [0, 1], the mean m from N(1, 2). Where m lies in the bulk of the background,
chance clusters of it look like a signal, and the posterior of s is wide.

The paper's two fixed summaries of an event are what tells signal from background if m is 1, and if m is averaged over
its prior: the logarithms of the ratio of densities, up to a constant. Both are parabolas in x, so that they cannot tell
an event from its mirror image; what is lost by that is computed exactly, too. Run it to print the widths at all true m.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats
from exact import CENTRE, EVENTS, SIGMA, WIDTH, sample_n
from numpy.typing import ArrayLike, NDArray

__all__ = ["MASSES", "PARAMETERS", "PRIOR", "SUMMARIES", "TRUTH", "log_posterior", "moments", "toys"]

Array = NDArray[np.float64]

TRUTH = 0.2  # of s
MASSES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.4, 3.0)  # true m, where everything is measured
LOW, HIGH = CENTRE - 4 * SIGMA, CENTRE + 4 * SIGMA  # bounds of m: 6e-5 of its prior is beyond
PARAMETERS = [
    {"name": "s", "inits": [TRUTH], "bounds": [[0.0, 1.0]]},
    {"name": "m", "inits": [CENTRE], "bounds": [[LOW, HIGH]]},
]
PRIOR = {"s": scipy.stats.uniform(0.0, 1.0), "m": scipy.stats.norm(CENTRE, SIGMA)}

# parabolas in x, each with the place of its top or bottom
SUMMARIES = {
    "x^2 - ((x - 1)/0.1)^2": CENTRE / (1.0 - WIDTH**2),
    "x^2 - (x - 1)^2/4.01": -CENTRE / (SIGMA**2 + WIDTH**2 - 1.0),
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


def moments(datasets: Sequence[ArrayLike], centre: float | None = None) -> Array:
    """Return mean and standard deviation of the posterior of s, shape ``(B, 2)``: integrals on a grid.

    Args:
        datasets: each of shape ``(N, 1)``.
        centre: of a parabola that is all that is known of an event: then x and its mirror image are the same.
    """
    masses = np.arange(LOW, HIGH + _STEP / 2, _STEP)
    prior = -0.5 * ((masses - CENTRE) / SIGMA) ** 2
    found = []
    for x in datasets:
        events = np.ravel(np.asarray(x, dtype=np.float64))
        alike = [events] if centre is None else [events, 2.0 * centre - events]
        signal = sum(np.exp(-0.5 * ((one[:, None] - masses) / WIDTH) ** 2) for one in alike) / WIDTH
        excess = signal / sum(np.exp(-0.5 * one**2) for one in alike)[:, None] - 1.0
        starts = np.arange(0, len(events), _FACTORS)
        values = [np.log(np.multiply.reduceat(1.0 + s * excess, starts)).sum(axis=0) + prior for s in _S]
        peak = np.max(values)
        density = np.exp(np.array(values) - peak).sum(axis=1) * _WEIGHTS
        density /= density.sum()
        mean = density @ _S
        found.append((mean, np.sqrt(density @ (_S - mean) ** 2)))
    return np.array(found)


if __name__ == "__main__":
    print(" true m   exact  " + "  ".join(SUMMARIES))
    for mass in MASSES:
        datasets = toys(mass, 200, seed=1)
        widths = [moments(datasets, centre) for centre in (None, *SUMMARIES.values())]
        print(f"{mass:7.1f}   " + "  ".join(f"{np.median(one[:, 1]):.4f}" for one in widths), flush=True)
