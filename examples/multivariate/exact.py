r"""The multivariate normal of arXiv:2306.12584, section 3.1, and its posterior in closed form.

``theta ~ N(0, 9)`` in three dimensions. A dataset has k elements, each five draws of ``N(theta, 2 diag(1, 2, 3))`` end
to end: 15 numbers. The prior and the likelihood are normal, with the sum of all draws sufficient, and so the posterior
is normal, its components independent:

.. math::

    \sigma_i = \Bigl(\frac{1}{9} + \frac{5 k}{2 i}\Bigr)^{-1/2}, \qquad
    m_i = \frac{\sigma_i^2}{2 i} \sum_{\mathrm{draws}} x_i .

Run it to print the widths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = [
    "CARDINALITIES",
    "DRAWS",
    "ELEMENTS",
    "FEATURES",
    "NAMES",
    "PARAMETERS",
    "PRIOR",
    "VARIANCES",
    "mean",
    "sample",
    "sample_k",
    "width",
]

Array = NDArray[np.float64]

DRAWS = 5  # of an element
ELEMENTS = (1, 200)  # the fewest and the most in a dataset
PRIOR_WIDTH = 3.0
VARIANCES = 2.0 * np.array([1.0, 2.0, 3.0])

NAMES = ("theta_1", "theta_2", "theta_3")
PRIOR = {name: stats.norm(0.0, PRIOR_WIDTH) for name in NAMES}
PARAMETERS = [{"name": name, "inits": [0.0], "bounds": [[-15.0, 15.0]]} for name in NAMES]  # five widths of the prior
FEATURES = [f"x_{draw}_{i}" for draw in range(1, DRAWS + 1) for i in range(1, len(NAMES) + 1)]

CARDINALITIES = (1, 2, 5, 10, 20, 50, 100, 200)  # where everything is measured

_LOG_EDGES = np.log([ELEMENTS[0], ELEMENTS[1] + 1])


def sample(pars: ArrayLike, rng: np.random.Generator) -> Array:
    """Draw one dataset, shape ``(k, 15)``, with k log-uniform: the integer part of such a number from 1 to 201.

    A width depends on k as a power: with k uniform nine in ten datasets would have more than 20 elements.
    """
    return sample_k(pars, int(np.exp(rng.uniform(*_LOG_EDGES))), rng)


def sample_k(pars: ArrayLike, k: int, rng: np.random.Generator) -> Array:
    """Draw one dataset of k elements, shape ``(k, 15)``."""
    x = np.asarray(pars, dtype=np.float64) + rng.standard_normal((k * DRAWS, len(NAMES))) * np.sqrt(VARIANCES)
    return x.reshape(k, len(FEATURES))


def width(k: ArrayLike) -> Array:
    """Return the standard deviations of the posterior given k elements, shape ``(..., 3)``."""
    k = np.asarray(k, dtype=np.float64)[..., None]
    return np.asarray((1.0 / PRIOR_WIDTH**2 + DRAWS * k / VARIANCES) ** -0.5)


def mean(datasets: Sequence[ArrayLike]) -> Array:
    """Return the means of the posteriors of ``B`` datasets, each of shape ``(k, 15)`` with its own k: ``(B, 3)``."""
    sums = [np.reshape(x, (-1, len(NAMES))).sum(axis=0, dtype=np.float64) for x in datasets]
    return width([len(x) for x in datasets]) ** 2 / VARIANCES * np.array(sums)  # type: ignore[arg-type]


if __name__ == "__main__":
    for number in CARDINALITIES:
        print(f"k = {number}: widths {' '.join(f'{one:.4f}' for one in width(number))}")
