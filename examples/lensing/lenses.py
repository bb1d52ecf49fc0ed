r"""A simulator of strong gravitational lenses with subhalos: images of which no likelihood can be written down.

A galaxy bends the light of another one behind it into arcs, and the small halos of dark matter in it bend these arcs a
little more. Their abundance and the slope of their masses are the same in all lenses, and are what we want to know:

.. math::

    \frac{d^2 N}{dm\,dA} = \frac{\Sigma_{sub}}{m_0} \left(\frac{m}{m_0}\right)^{\beta},
    \qquad m_0 = 10^8 M_\odot, \quad 3 \cdot 10^8 M_\odot < m < 10^{10} M_\odot

with :math:`\Sigma_{sub}` in units of 0.01 per square kiloparsec. Each lens has its own position, Einstein radius and
axis ratio, the local parameters; its longer axis lies along x. The lens is a singular isothermal ellipsoid
(Kormann et al. 1994), a subhalo a pseudo-Jaffe sphere, truncated where the lens's tides do it (Dalal and Kochanek,
astro-ph/0111456), the source an exponential disc at the origin. An image is the mean of four rays a pixel, smeared by
the point-spread function, with noise of its own in every pixel.

Angles are in arc seconds.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.integrate
import scipy.ndimage
import scipy.stats
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "EVENT_SHAPE", "FEATURES", "LENSES", "LOCALS", "PARAMETERS", "POI", "PRIOR", "deflection_of_lens",
    "deflection_of_subhalos", "image", "images", "sample", "sample_n", "subhalos",
]  # fmt: skip

Array = NDArray[np.float64]

PIXELS = 32
SIDE = 6.4  # of an image
RAYS = 2  # of a pixel, in each direction
SMEARING = 0.08  # standard deviation of the point-spread function
NOISE = 0.02  # of a pixel, in units of the source's brightness at its centre
SOURCE = 0.25  # scale length of the disc
LENSES = (1, 25)  # of a dataset

EVENT_SHAPE = (PIXELS, PIXELS)
FEATURES = ["image"]
LOCALS = ["x", "y", "einstein_radius", "axis_ratio"]
PARAMETERS = [
    {"name": "beta", "inits": [-2.2], "bounds": [[-2.5, -1.9]]},
    {"name": "sigma_sub", "inits": [10.0], "bounds": [[0.0, 20.0]]},
]
POI = "sigma_sub"
PRIOR = {"beta": scipy.stats.uniform(-2.5, 0.6), "sigma_sub": scipy.stats.uniform(0.0, 20.0)}

LIGHTEST, HEAVIEST, PIVOT = 3e8, 1e10, 1e8  # solar masses
_Z_LENS, _Z_SOURCE = 0.5, 1.5
_HUBBLE, _MATTER = 67.4, 0.315  # km/s/Mpc; flat
_LIGHT = 299_792.458  # km/s
_GRAVITY = 4.30091e-9  # Mpc (km/s)^2 / solar mass
_ARCSECOND = math.pi / 180 / 3600


def _comoving(z: float) -> float:
    """Return the comoving distance in Mpc."""
    return float(
        _LIGHT
        / _HUBBLE
        * scipy.integrate.quad(lambda x: 1 / math.sqrt(_MATTER * (1 + x) ** 3 + 1 - _MATTER), 0.0, z)[0]
    )


_TO_LENS = _comoving(_Z_LENS) / (1 + _Z_LENS)
_TO_SOURCE = _comoving(_Z_SOURCE) / (1 + _Z_SOURCE)
_BETWEEN = (_comoving(_Z_SOURCE) - _comoving(_Z_LENS)) / (1 + _Z_SOURCE)
KILOPARSEC = 1e3 * _TO_LENS * _ARCSECOND
"""How many an arc second is, at the lens."""
CRITICAL = _LIGHT**2 / (4 * math.pi * _GRAVITY) * _TO_SOURCE / (_TO_LENS * _BETWEEN) * (_TO_LENS * _ARCSECOND) ** 2
"""The critical surface density, in solar masses per square arc second."""


def sample(pars: ArrayLike, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the images of 1 to 25 lenses, shape ``(N, 32, 32)``, and their local parameters, shape ``(N, 4)``."""
    low, high = np.log(LENSES[0]), np.log(LENSES[1] + 1)
    return sample_n(pars, int(np.exp(rng.uniform(low, high))), rng)


def sample_n(pars: ArrayLike, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the images of n lenses, and their local parameters."""
    local = np.column_stack(
        [rng.normal(0.0, 0.2, n), rng.normal(0.0, 0.2, n), rng.uniform(1.5, 2.5, n), rng.uniform(0.5, 0.99, n)]
    )
    return images(pars, local, rng), local


def images(pars: ArrayLike, local: ArrayLike, rng: np.random.Generator) -> Array:
    """Return images of lenses, each with subhalos and noise of its own, shape ``(N, 32, 32)``.

    Args:
        pars: slope and abundance of the subhalos.
        local: position, Einstein radius and axis ratio of each lens, shape ``(N, 4)``.
        rng: the source of randomness.
    """
    made = []
    for one in np.asarray(local, dtype=np.float64):
        masses, places = subhalos(pars, rng)
        clean = image(one, masses, places)
        made.append(clean + rng.normal(0.0, NOISE, clean.shape))
    return np.reshape(made, (-1, PIXELS, PIXELS))


def subhalos(pars: ArrayLike, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the masses of the subhalos of a lens, shape ``(n,)``, and their places, shape ``(n, 2)``."""
    beta, sigma_sub = np.asarray(pars, dtype=np.float64)
    power = beta + 1.0  # the number between two masses is proportional to the difference of this power of them
    low, high = (LIGHTEST / PIVOT) ** power, (HEAVIEST / PIVOT) ** power
    expected = 0.01 * sigma_sub * (SIDE * KILOPARSEC) ** 2 * (high - low) / power
    n = rng.poisson(max(expected, 0.0))
    masses = PIVOT * (low + rng.random(n) * (high - low)) ** (1.0 / power)
    return masses, rng.uniform(-SIDE / 2, SIDE / 2, (n, 2))


def image(local: ArrayLike, masses: Array, places: Array) -> Array:
    """Return the image of a lens without noise, shape ``(32, 32)``.

    Args:
        local: its position, Einstein radius and axis ratio, shape ``(4,)``.
        masses: of the subhalos, shape ``(n,)``.
        places: of these, shape ``(n, 2)``.
    """
    x, y, radius, ratio = np.asarray(local, dtype=np.float64)
    rays = _GRID - deflection_of_lens(_GRID - np.array([x, y]), radius, ratio)
    rays -= deflection_of_subhalos(_GRID, masses, places, radius)
    brightness = np.exp(-np.hypot(rays[..., 0], rays[..., 1]) / SOURCE)
    pixels = brightness.reshape(PIXELS, RAYS, PIXELS, RAYS).mean(axis=(1, 3))
    return np.asarray(scipy.ndimage.gaussian_filter(pixels, SMEARING / (SIDE / PIXELS), mode="nearest"))


def deflection_of_lens(rays: Array, radius: float, ratio: float) -> Array:
    """Return the deflection of a singular isothermal ellipsoid, shape ``(..., 2)``.

    Args:
        rays: where, seen from its centre, shape ``(..., 2)``.
        radius: the Einstein radius.
        ratio: of the axes, below one.
    """
    x, y = rays[..., 0], rays[..., 1]
    flattening = math.sqrt(1.0 - ratio**2)
    psi = np.sqrt((ratio * x) ** 2 + y**2) + 1e-12
    strength = radius * math.sqrt(ratio) / flattening
    a, b = strength * np.arctan(flattening * x / psi), strength * np.arctanh(flattening * y / psi)
    return np.stack([a, b], axis=-1)


def deflection_of_subhalos(rays: Array, masses: Array, places: Array, radius: float) -> Array:
    r"""Return the deflection of pseudo-Jaffe spheres, :math:`b (r + a - \sqrt{r^2 + a^2}) / r`, shape ``(..., 2)``.

    The strength b and the tidal radius :math:`a = \sqrt{b\,\theta_E}` follow from the mass, :math:`\pi a b \Sigma_c`.

    Args:
        rays: where, shape ``(..., 2)``.
        masses: in solar masses, shape ``(n,)``.
        places: shape ``(n, 2)``.
        radius: the Einstein radius of the lens.
    """
    strengths = (masses / (math.pi * CRITICAL * math.sqrt(radius))) ** (2.0 / 3.0)
    tidal = np.sqrt(strengths * radius)
    strengths, tidal = strengths.astype(np.float32), tidal.astype(np.float32)  # twice as fast, and good to 1e-6
    flat, centres = rays.reshape(-1, 2).astype(np.float32), places.astype(np.float32)
    x, y = flat[:, :1] - centres[:, 0], flat[:, 1:] - centres[:, 1]
    r2 = x * x + y * y + np.float32(1e-10)
    over_r = strengths * (np.sqrt(r2) + tidal - np.sqrt(r2 + tidal * tidal)) / r2
    total = np.stack([np.einsum("ij,ij->i", over_r, x), np.einsum("ij,ij->i", over_r, y)], axis=-1)
    return total.reshape(rays.shape).astype(np.float64)


def _rays() -> Array:
    n = PIXELS * RAYS
    centres = SIDE * ((np.arange(n) + 0.5) / n - 0.5)
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.stack([x, y], axis=-1)


_GRID = _rays()
