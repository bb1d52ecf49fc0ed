r"""The exact densities of the demonstration's samples at any value of its shape parameters, and their generator.

A search for a narrow resonance recoiling against a jet. With the mass ``m`` (GeV), the decay angle ``c``, the log ``y``
of the leading jet's pt (GeV) and the azimuthal distance ``dphi`` of jet and resonance, every sample has the density

.. math::

    p(m, c, y, \Delta\phi | \alpha) = p(m | \alpha_\mathrm{scale}) \, p(c | \alpha_\mathrm{theory}) \,
                                      p(y | \alpha_\mathrm{scale}) \, p(\Delta\phi | y),

    p(m) = \mathcal{N}(M + \delta_M \alpha, \sigma_M) \quad\text{or}\quad
           p(m) \propto e^{-(b - \delta_b \alpha) m}, \ 100 < m < 160,

    p(c) \propto (1 + l c + q c^2) \, e^{\tau \alpha c^2}, \ |c| < 1, \qquad
    p(y) = \mathcal{N}(Y + \delta_Y \alpha, \sigma_Y), \qquad
    p(\Delta\phi) \propto e^{-k(y) (1 - \Delta\phi / \pi)}, \ 0 < \Delta\phi < \pi.

So the log of the ratio to the nominal density is a quadratic polynomial in ``alpha``, up to the normalisation, which is
what the interpolation between an ``alpha = 1`` and an ``alpha = -1`` simulation assumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import exprel

__all__ = ["FEATURES", "SAMPLES", "THEORY_TILT", "densities", "generate", "quadrature", "scores"]


def __dir__() -> list[str]:
    return __all__


FEATURES = ("mass", "costheta", "log(jet_pt[:, 0])", "dphi")
SAMPLES = ("signal", "irreducible", "fakes")
THEORY_TILT = 0.4  # tau of the irreducible background

_LOW, _HIGH = 100.0, 160.0  # the mass window
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)


@dataclass(frozen=True)
class _Shape:
    """One sample's constants, with the letters of the module's formulas.

    ``peak`` is (M, sigma_M, delta_M), or ``slope`` is (b, delta_b); ``angle`` is (l, q, tau); ``jet`` is
    (Y, sigma_Y, delta_Y); ``recoil`` gives k(y) = k_0 + k_1 (y - 4).
    """

    angle: tuple[float, float, float]
    jet: tuple[float, float, float]
    recoil: tuple[float, float]
    peak: tuple[float, float, float] | None = None
    slope: tuple[float, float] = (0.0, 0.0)


_SHAPES = {
    "signal": _Shape(peak=(125.0, 2.5, 0.5), angle=(0.0, -0.7, 0.0), jet=(4.3, 0.5, 0.05), recoil=(2.5, 1.5)),
    "irreducible": _Shape(
        slope=(1 / 35, 0.001), angle=(0.0, 0.6, THEORY_TILT), jet=(4.0, 0.6, 0.05), recoil=(1.5, 1.5)
    ),
    "fakes": _Shape(slope=(1 / 60, 0.0), angle=(0.5, 0.0, 0.0), jet=(3.8, 0.7, 0.0), recoil=(0.3, 0.0)),
}


def densities(x: ArrayLike, scale: float = 0.0, theory: float = 0.0) -> NDArray[np.float64]:
    """Return the density of every sample, normalised over the features.

    Args:
        x: events, shape ``(N, 4)``: mass, costheta, log of the leading jet's pt, dphi, all inside their ranges.
        scale: the energy scale, in standard deviations.
        theory: the theory uncertainty, in standard deviations.

    Returns:
        The densities, shape ``(N, 3)``, in the order of ``SAMPLES``.

    Example:
        >>> from neyman.demo import densities
        >>> densities([[125.0, 0.0, 4.3, 3.0]]).round(4)
        array([[0.072 , 0.0028, 0.0014]])
    """
    mass, c, y, dphi = np.asarray(x, dtype=np.float64).T
    u = 1 - dphi / np.pi
    columns = []
    for shape in _SHAPES.values():
        k = _recoil(shape, y)
        density = _mass_density(shape, mass, scale)
        density *= _polynomial(shape, c) * np.exp(shape.angle[2] * theory * c**2) / _moments(shape, theory)[0]
        density *= _normal(y, shape.jet[0] + shape.jet[2] * scale, shape.jet[1])
        density *= np.exp(-k * u) / (np.pi * exprel(-k))
        columns.append(density)
    return np.stack(columns, axis=1)


def scores(x: ArrayLike, scale: float = 0.0, theory: float = 0.0) -> NDArray[np.float64]:
    """Return the derivatives of every sample's log density by ``scale`` and ``theory``.

    Args:
        x: events, shape ``(N, 4)``.
        scale: the energy scale, in standard deviations.
        theory: the theory uncertainty, in standard deviations.

    Returns:
        Shape ``(N, 3, 2)``: samples in the order of ``SAMPLES``, then scale and theory.

    Example:
        >>> from neyman.demo import scores
        >>> scores([[125.0, 0.0, 4.3, 3.0]])[0, 1].round(4)  # irreducible
        array([ 0.0448, -0.1511])
    """
    mass, c, y, _ = np.asarray(x, dtype=np.float64).T
    columns = []
    for shape in _SHAPES.values():
        if shape.peak is None:
            by_scale = shape.slope[1] * (mass - _mean_mass(shape, scale))
        else:
            by_scale = shape.peak[2] * (mass - shape.peak[0] - shape.peak[2] * scale) / shape.peak[1] ** 2
        by_scale = by_scale + shape.jet[2] * (y - shape.jet[0] - shape.jet[2] * scale) / shape.jet[1] ** 2
        norm, moment = _moments(shape, theory)
        columns.append(np.stack([by_scale, shape.angle[2] * (c**2 - moment / norm)], axis=1))
    return np.stack(columns, axis=1)


def generate(
    sample: str, n: int, rng: np.random.Generator, scale: float = 0.0, theory: float = 0.0
) -> NDArray[np.float64]:
    """Draw events of one sample from its exact density.

    Two calls with generators in the same state and different ``scale`` give the same events, shifted.

    Args:
        sample: one of ``SAMPLES``.
        n: how many.
        rng: NumPy's random generator.
        scale: the energy scale, in standard deviations.
        theory: the theory uncertainty, in standard deviations.

    Returns:
        The events, shape ``(n, 4)``.

    Example:
        >>> import numpy as np
        >>> from neyman.demo import generate
        >>> generate("signal", 100_000, np.random.default_rng(0), scale=1.0)[:, 0].mean().round(1)
        np.float64(125.5)
    """
    shape = _SHAPES[sample]
    if shape.peak is None:
        b = shape.slope[0] - shape.slope[1] * scale
        mass = _LOW - np.log1p(rng.uniform(size=n) * np.expm1(-b * (_HIGH - _LOW))) / b
    else:
        mass = rng.normal(shape.peak[0] + shape.peak[2] * scale, shape.peak[1], size=n)
    c = _draw_angle(shape, n, rng, theory)
    y = rng.normal(shape.jet[0] + shape.jet[2] * scale, shape.jet[1], size=n)
    k = _recoil(shape, y)
    u = -np.log1p(rng.uniform(size=n) * np.expm1(-k)) / k
    return np.stack([mass, c, y, np.pi * (1 - u)], axis=1)


def quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points and weights with which a sum is the integral over the features, to about 1e-4 for these densities.

    Returns:
        The points, shape ``(n, 4)``, and their weights, shape ``(n,)``.

    Example:
        >>> from neyman.demo import densities, quadrature
        >>> x, volume = quadrature()
        >>> (volume @ densities(x, scale=0.5)).round(3)
        array([1., 1., 1.])
    """
    pieces = (  # (low, high, nodes) per feature; the mass needs more around the peak
        [(_LOW, 112.5, 4), (112.5, 137.5, 18), (137.5, _HIGH, 4)],
        [(-1.0, 1.0, 5)],
        [(0.8, 7.2, 16)],
        [(0.0, np.pi, 5)],
    )
    axes, weights = [], []
    for feature in pieces:
        rules = [(low, high, *np.polynomial.legendre.leggauss(n)) for low, high, n in feature]
        axes.append(np.concatenate([low + (high - low) * (nodes + 1) / 2 for low, high, nodes, _ in rules]))
        weights.append(np.concatenate([(high - low) * w / 2 for low, high, _, w in rules]))
    x = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    return x, np.einsum("i,j,k,l->ijkl", *weights).ravel()


def _mass_density(shape: _Shape, mass: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    if shape.peak is not None:
        return _normal(mass, shape.peak[0] + shape.peak[2] * scale, shape.peak[1])
    b = shape.slope[0] - shape.slope[1] * scale
    return np.asarray(b * np.exp(-b * (mass - _LOW)) / -np.expm1(-b * (_HIGH - _LOW)))


def _mean_mass(shape: _Shape, scale: float) -> float:
    b = shape.slope[0] - shape.slope[1] * scale
    return float(_LOW + 1 / b - (_HIGH - _LOW) / np.expm1(b * (_HIGH - _LOW)))


def _polynomial(shape: _Shape, c: NDArray[np.float64]) -> NDArray[np.float64]:
    linear, quadratic, _ = shape.angle
    return 1 + linear * c + quadratic * c**2


def _moments(shape: _Shape, theory: float) -> tuple[float, float]:
    """Return the integral of the angular density, and of c^2 times it."""
    density = _polynomial(shape, _NODES) * np.exp(shape.angle[2] * theory * _NODES**2)
    return float(_WEIGHTS @ density), float(_WEIGHTS @ (density * _NODES**2))


def _draw_angle(shape: _Shape, n: int, rng: np.random.Generator, theory: float) -> NDArray[np.float64]:
    linear, quadratic, tau = shape.angle
    ceiling = (1 + abs(linear) + max(quadratic, 0.0)) * np.exp(max(tau * theory, 0.0))
    accepted = np.empty(0)
    while accepted.size < n:
        c = rng.uniform(-1, 1, size=2 * n + 100)
        density = _polynomial(shape, c) * np.exp(tau * theory * c**2)
        accepted = np.concatenate([accepted, c[rng.uniform(size=c.size) * ceiling < density]])
    return accepted[:n]


def _recoil(shape: _Shape, y: NDArray[np.float64]) -> NDArray[np.float64]:
    return shape.recoil[0] + shape.recoil[1] * (y - 4)


def _normal(x: NDArray[np.float64], mean: float, sigma: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * ((x - mean) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma))
