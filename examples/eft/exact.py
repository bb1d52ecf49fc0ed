r"""Two couplings with linear and quadratic terms: the density at any couplings, exact datasets, the exact likelihood.

An event has an energy ``x``, in units of its mean in the Standard Model, and the cosine of an angle ``phi``. The
amplitude of the Standard Model is joined by two operators, whose own grows with the energy and depends on the angle,

.. math:: \nu(x, \phi | c_1, c_2) = N \frac{e^{-x}}{2\pi} \left[1 + 2 \rho a x (c_1 + c_2 \cos\phi)
    + a^2 x^2 (c_1^2 + c_2^2 + 2 c_1 c_2 \cos\phi)\right]

where :math:`\rho` is how far operators and Standard Model interfere. Every density of this kind is a polynomial of six
simulated ones. Run it to print the expected events of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["BASIS", "ExactLikelihood", "density", "draw", "expected", "toy"]

Array = NDArray[np.float64]

N, STRENGTH, COHERENCE = 300.0, 0.3, 0.4
REACH = 1.5
BASIS = {
    "sm": (0.0, 0.0),
    "plus_1": (REACH, 0.0),
    "minus_1": (-REACH, 0.0),
    "plus_2": (0.0, REACH),
    "minus_2": (0.0, -REACH),
    "both": (REACH, REACH),
}
"""The couplings at which events are simulated."""


def density(events: ArrayLike, c1: float, c2: float) -> tuple[Array, Array]:
    """Return the expected events per energy and angle, shape ``(N,)``, and their derivatives, shape ``(2, N)``."""
    x, cosine = np.asarray(events, dtype=np.float64).T
    size = STRENGTH * x
    sm = N * np.exp(-x) / (2 * np.pi)
    linear = 2 * COHERENCE * size * np.stack([np.ones_like(x), cosine])
    quadratic = size**2 * (c1**2 + c2**2 + 2 * c1 * c2 * cosine)
    slopes = linear + 2 * size**2 * np.stack([c1 + c2 * cosine, c2 + c1 * cosine])
    return sm * (1 + c1 * linear[0] + c2 * linear[1] + quadratic), sm * slopes


def expected(c1: float, c2: float) -> tuple[float, Array]:
    """Return the expected events and the derivatives by the couplings: the integrals of ``x^k exp(-x)`` are ``k!``."""
    linear, quadratic = 2 * COHERENCE * STRENGTH, 2 * STRENGTH**2
    total = N * (1 + linear * c1 + quadratic * (c1**2 + c2**2))
    return total, N * np.array([linear + 2 * quadratic * c1, 2 * quadratic * c2])


def draw(c1: float, c2: float, n: int, rng: np.random.Generator) -> Array:
    """Draw events at some couplings, shape ``(n, 2)``, from gamma distributions of the energy that cover them."""
    parts = [np.empty((0, 2))]
    size = np.hypot(c1, c2) + abs(c1) + abs(c2)
    weights = np.array([1.0, 2 * COHERENCE * STRENGTH * size, 2 * (STRENGTH * size) ** 2])
    while sum(map(len, parts)) < n:
        power = rng.choice(3, p=weights / weights.sum(), size=4 * n + 100)
        events = np.stack([rng.gamma(power + 1.0), np.cos(rng.uniform(-np.pi, np.pi, len(power)))], axis=1)
        x = events[:, 0]
        # no density is larger than this one
        most = 1 + 2 * COHERENCE * STRENGTH * size * x + (STRENGTH * size * x) ** 2
        ratio = density(events, c1, c2)[0] * 2 * np.pi / (N * np.exp(-x)) / most
        parts.append(events[rng.random(len(x)) < ratio])
    return np.concatenate(parts)[:n]


def toy(c1: float, c2: float, rng: np.random.Generator) -> Array:
    """Draw the events of one dataset, shape ``(N, 2)``, with N itself random."""
    return draw(c1, c2, int(rng.poisson(expected(c1, c2)[0])), rng)


class ExactLikelihood:
    """The exact likelihood of the couplings, with what ``neyman.fit`` needs of a model.

    Args:
        model: a model with the parameters ``c1`` and, if it has both, ``c2``.
    """

    def __init__(self, model: Any) -> None:
        self.config = model.config
        self._places = [model.config.par_names.index(name) for name in ("c1", "c2")[: model.config.npars]]

    def evaluate(self, pars: ArrayLike, data: ArrayLike) -> tuple[float, Array]:
        """Return log L and its gradient; ``data`` is the model's own data vector."""
        pars, data = np.asarray(pars, dtype=np.float64), np.asarray(data, dtype=np.float64)
        both = [*pars[self._places], 0.0][:2]
        values, slopes = density(data[1:].reshape(-1, 4)[:, 1:3], *both)
        total, by_total = expected(*both)
        gradient = np.zeros(pars.size)
        gradient[self._places] = ((slopes / values).sum(axis=1) - by_total)[: pars.size]
        return float(np.log(values).sum() - total), gradient


if __name__ == "__main__":
    for sample, couplings in BASIS.items():
        print(f"{sample:8s}{expected(*couplings)[0]:8.2f}")
