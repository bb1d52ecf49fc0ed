"""The exact densities, toys and Fisher information of INFERNO's synthetic problem (arXiv:1806.04743, section 5.1).

Background ``N((2 + r, 0), diag(5, 9)) x Exp(rate lambda)``, signal ``N((0, 0), 1) x Exp(rate 2)``; 50 signal and 1000
background events are expected, and the nominal values are r = 0 and lambda = 3. Run it to print the limits: what the
exact likelihood gives for the uncertainty of s, in each of the paper's five benchmarks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BENCHMARKS",
    "background_density",
    "draw_background",
    "draw_signal",
    "fisher_information",
    "limit",
    "signal_density",
    "toy",
]

S, B, R, LAMBDA = 50.0, 1000.0, 0.0, 3.0
SIGMA_R, SIGMA_LAMBDA, SIGMA_B = 0.4, 1.0, 100.0

# the parameters that are free beside s, and the widths of those with a constraint
BENCHMARKS: tuple[dict[str, float], ...] = (
    {},
    {"r": np.inf},
    {"r": np.inf, "lambda": np.inf},
    {"r": SIGMA_R, "lambda": SIGMA_LAMBDA},
    {"r": SIGMA_R, "lambda": SIGMA_LAMBDA, "b": SIGMA_B},
)


def signal_density(x: ArrayLike) -> NDArray[np.float64]:
    """Return p_s(x), shape ``(N,)``, of events of shape ``(N, 3)``."""
    x = np.asarray(x, dtype=np.float64)
    return np.exp(-0.5 * (x[:, 0] ** 2 + x[:, 1] ** 2) - 2 * x[:, 2]) / np.pi


def background_density(x: ArrayLike, r: float = R, rate: float = LAMBDA) -> NDArray[np.float64]:
    """Return p_b(x | r, lambda), shape ``(N,)``, of events of shape ``(N, 3)``."""
    x = np.asarray(x, dtype=np.float64)
    exponent = -0.5 * ((x[:, 0] - 2 - r) ** 2 / 5 + x[:, 1] ** 2 / 9) - rate * x[:, 2]
    return rate * np.exp(exponent) / (2 * np.pi * np.sqrt(45))


def draw_signal(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw signal events, shape ``(n, 3)``."""
    return np.column_stack([rng.normal(size=(n, 2)), rng.exponential(1 / 2, size=n)])


def draw_background(n: int, rng: np.random.Generator, r: float = R, rate: float = LAMBDA) -> NDArray[np.float64]:
    """Draw background events, shape ``(n, 3)``."""
    x = rng.normal(size=(n, 2)) * np.sqrt([5.0, 9.0]) + [2 + r, 0.0]
    return np.column_stack([x, rng.exponential(1 / rate, size=n)])


def toy(
    rng: np.random.Generator, s: float = S, b: float = B, r: float = R, rate: float = LAMBDA
) -> NDArray[np.float64]:
    """Draw the events of one dataset, shape ``(N, 3)``, with N itself random."""
    x = np.concatenate([draw_signal(rng.poisson(s), rng), draw_background(rng.poisson(b), rng, r, rate)])
    return rng.permutation(x)


def fisher_information(s: float = S, b: float = B) -> NDArray[np.float64]:
    r"""Return the expected information of one dataset on (s, r, lambda, b), shape ``(4, 4)``, at r = 0 and lambda = 3.

    .. math:: I_{jk} = \int \frac{\partial_j \nu(x) \, \partial_k \nu(x)}{\nu(x)} dx, \quad \nu = s p_s + b p_b

    The integral is a product of quadratures: trapezoids in the first two features, whose integrand is smooth and
    vanishes at both ends, and Gauss-Laguerre in the third.
    """
    x0, x1 = np.linspace(-14.0, 18.0, 161), np.linspace(-21.0, 21.0, 161)
    nodes, weights = np.polynomial.laguerre.laggauss(40)
    x2 = nodes / LAMBDA
    grid = np.stack([axis.ravel() for axis in np.meshgrid(x0, x1, x2, indexing="ij")], axis=1)
    volume = (x0[1] - x0[0]) * (x1[1] - x1[0]) * np.tile(weights * np.exp(nodes) / LAMBDA, x0.size * x1.size)

    p_s, p_b = signal_density(grid), background_density(grid)
    by_r = b * p_b * (grid[:, 0] - 2 - R) / 5
    by_rate = b * p_b * (1 / LAMBDA - grid[:, 2])
    derivatives = np.stack([p_s, by_r, by_rate, p_b])
    return (derivatives * (volume / (s * p_s + b * p_b))) @ derivatives.T


def limit(benchmark: int) -> float:
    """Return the smallest uncertainty of s that is possible, with the constraint terms where the benchmark has them."""
    information = fisher_information()
    free = BENCHMARKS[benchmark]
    index = [0] + [i for i, name in enumerate(("r", "lambda", "b"), start=1) if name in free]
    constraints = [0.0] + [1 / sigma**2 for sigma in free.values()]
    return float(np.sqrt(np.linalg.inv(information[np.ix_(index, index)] + np.diag(constraints))[0, 0]))


if __name__ == "__main__":
    for number in range(len(BENCHMARKS)):
        print(f"benchmark {number}: {limit(number):.2f}")
