r"""Two interfering amplitudes of known form: the densities of all samples, exact datasets and the exact likelihood.

An event has a mass ``m`` in TeV, from 0.22 to 1, and the cosine ``c`` of a decay angle. With the amplitudes of signal
and background, :math:`A_S` and :math:`A_B`, the expected events are

.. math:: \nu(x|\mu) = |\sqrt\mu A_S(x) + A_B(x)|^2 + Q(x) = \mu S(x) + \sqrt\mu I(x) + B(x) + Q(x)

with another background Q that does not interfere. The relative phase of the amplitudes turns with the mass, so that the
interference I is positive at low masses and negative at high ones. Run it to print the expected events at mu = 1.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.model.constraints import Constraints

__all__ = ["ExactLikelihood", "densities", "draw", "expected", "toy", "yields"]

Array = NDArray[np.float64]

LOW, HIGH = np.array([0.22, -1.0]), np.array([1.0, 1.0])
EXPECTED = (60.0, 150.0, 300.0)  # of signal, background and the other background
COHERENT = 0.95  # of the interference that there would be without other quantum numbers, which are not seen
_NODES = 400  # of the quadrature in each feature


def grid() -> tuple[Array, float]:
    """Return midpoints of a grid in the features, shape ``(G, 2)``, and the volume of a cell."""
    steps = (np.arange(_NODES) + 0.5) / _NODES
    x = LOW + (HIGH - LOW) * np.stack([axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij")], axis=1)
    return x, float(np.prod((HIGH - LOW) / _NODES))


def _shapes(x: Array) -> tuple[Array, Array, Array]:
    """Return the squares of both amplitudes and the other background, none of them normalised."""
    m, c = x.T
    signal = np.exp(-m / 0.25) * (1 + 8 * (m - LOW[0]))
    background = np.exp(-(m - LOW[0]) / 0.25) * (1 + c**2) + 0.02
    return signal, background, np.exp(-(m - LOW[0]) / 0.13) * (1 + 2 * c**2)


@functools.cache
def _scales() -> tuple[float, ...]:
    x, volume = grid()
    return tuple(float(n / (shape.sum() * volume)) for n, shape in zip(EXPECTED, _shapes(x), strict=True))


def densities(x: ArrayLike) -> dict[str, Array]:
    """Return the expected events per volume of every sample at mu = 1, each of shape ``(N,)``, of events ``(N, 2)``.

    ``SBI`` is signal, background and their interference, ``I`` the interference by itself, of either sign, and
    ``envelope`` twice the product of the sizes of both amplitudes.
    """
    x = np.asarray(x, dtype=np.float64)
    s, b, q = (scale * shape for scale, shape in zip(_scales(), _shapes(x), strict=True))
    m, c = x.T
    phase = np.pi * (0.30 + 0.68 / (1 + np.exp(-(m - 0.27) / 0.025))) + 0.4 * c
    envelope = 2 * np.sqrt(s * b)
    i = COHERENT * envelope * np.cos(phase)
    return {"S": s, "I": i, "B": b, "SBI": s + i + b, "Q": q, "envelope": envelope}


@functools.cache
def yields() -> dict[str, float]:
    """Return the expected events of every sample at mu = 1."""
    x, volume = grid()
    return {name: float(values.sum() * volume) for name, values in densities(x).items()}


def expected(mu: float) -> float:
    """Return the expected events of everything."""
    of = yields()
    return mu * of["S"] + np.sqrt(mu) * of["I"] + of["B"] + of["Q"]


def draw(sample: str, n: int, rng: np.random.Generator, mu: float = 1.0) -> Array:
    """Draw events of a sample, or with ``"all"`` of everything at a signal strength, shape ``(n, 2)``."""

    def density(x: Array) -> Array:
        p = densities(x)
        return mu * p["S"] + np.sqrt(mu) * p["I"] + p["B"] + p["Q"] if sample == "all" else p[sample]

    most = 1.05 * density(grid()[0]).max()
    parts = [np.empty((0, 2))]
    while sum(map(len, parts)) < n:
        x = rng.uniform(LOW, HIGH, size=(4 * n + 100, 2))
        parts.append(x[rng.random(len(x)) * most < density(x)])
    return np.concatenate(parts)[:n]


def toy(mu: float, rng: np.random.Generator) -> Array:
    """Draw the events of one dataset, shape ``(N, 2)``, with N itself random."""
    return draw("all", int(rng.poisson(expected(mu))), rng, mu)


class ExactLikelihood:
    """The exact likelihood with the rates and parameters of a model, and what ``neyman.fit`` needs of it.

    Args:
        model: a model with the samples S, SBI, B and Q.
    """

    def __init__(self, model: Any) -> None:
        self.config, self._rates, self._constraints = model.config, model.rates, Constraints(model)
        self._samples = model.config.samples
        self._yields = np.array([yields()[sample] for sample in self._samples])

    def evaluate(self, pars: ArrayLike, data: ArrayLike) -> tuple[float, Array]:
        """Return log L and its gradient; ``data`` is the model's own data vector."""
        pars, data = np.asarray(pars, dtype=np.float64), np.asarray(data, dtype=np.float64)
        end = data.size - self.config.nauxdata
        p = densities(data[1:end].reshape(-1, 4)[:, 1:3])
        shapes = np.stack([p[sample] for sample in self._samples]) / self._yields[:, None]
        rates, jacobian = (values[:, 0] for values in self._rates(pars))
        f = rates @ shapes
        if not np.all(f > 0):
            return -np.inf, np.zeros(pars.size)
        constraint, slope = self._constraints(pars, data[end:])
        gradient = (shapes / f).sum(axis=1) @ jacobian - jacobian.sum(axis=0)
        return float(np.log(f).sum() - rates.sum() + constraint), gradient + slope


if __name__ == "__main__":
    for sample in ("S", "I", "B", "SBI", "Q"):
        print(f"{sample:4s}{yields()[sample]:8.2f}")
