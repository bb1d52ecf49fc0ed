"""Profile likelihoods on a grid of (s, m), of many datasets at once: learned ones, and the exact one to check the grid.

Every likelihood of a narrow resonance has many maxima in m. On a grid none is missed, and a learned score that is a
product of numbers of the dataset and numbers of the parameters costs one matrix product for all toys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comparison
import exact
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

__all__ = ["FRACTIONS", "MASSES", "Profiles", "exact_heights", "learned_heights", "profiles"]

Array = NDArray[np.float64]

FRACTIONS = np.concatenate([np.linspace(0.0, 0.1, 41), np.linspace(0.11, 1.0, 90)])
MASSES = np.linspace(exact.LOW, exact.HIGH, 401)  # a fifth of the signal's width apart
_FINE = np.linspace(0.0, 1.0, 4001)
_FAR = 50.0
_AT_ONCE = 32  # datasets

Heights = Callable[[Sequence[ArrayLike]], Array]
"""From ``n`` datasets to their log-ratios on the grid, shape ``(n, S, M)``."""


class Profiles:
    """Profile likelihoods of many datasets.

    Args:
        values: the log-likelihoods at ``FRACTIONS``, with the best m at each, shape ``(B, S)``.
        masses: these m.
    """

    def __init__(self, values: Array, masses: Array) -> None:
        # what is far below the top, as s = 1 where there is background, must not make the spline swing
        self.spline = CubicSpline(FRACTIONS, np.maximum(values, values.max(axis=1, keepdims=True) - _FAR), axis=1)
        self.fine = self.spline(_FINE)
        self.top = self.fine.max(axis=1)
        self.masses = masses

    def t(self, s: ArrayLike) -> Array:
        """Return -2 log of the profile likelihood ratio at s, shape ``(B, ...)`` with the shape of s."""
        at = self.spline(np.asarray(s, dtype=np.float64))
        return np.asarray(np.maximum(2.0 * (self.top.reshape(-1, *[1] * (at.ndim - 1)) - at), 0.0))

    def mass(self, s: float) -> Array:
        """Return the best m at s, shape ``(B,)``."""
        return np.asarray(self.masses[:, np.argmin(np.abs(FRACTIONS - s))])

    def fits(self, s: float) -> comparison.Fits:
        """Return best fits, t at the truth and intervals."""
        best = self.fine.argmax(axis=1)
        root = np.sqrt(np.maximum(2.0 * (self.top[:, None] - self.fine), 0.0))
        ends = [[_end(row, at, step) for row, at in zip(root, best, strict=True)] for step in (-1, 1)]
        return comparison.Fits(_FINE[best], self.t(s), *np.array(ends))


def _end(root: Array, best: int, step: int) -> float:
    """Return where t first becomes one on the way from the best fit, or the bound."""
    path = np.arange(best, len(root) if step > 0 else -1, step)
    beyond = np.flatnonzero(root[path] > 1.0)
    if not len(beyond):
        return float(_FINE[path[-1]])
    last, first = path[beyond[0] - 1], path[beyond[0]]
    return float(_FINE[last] + (_FINE[first] - _FINE[last]) * (1.0 - root[last]) / (root[first] - root[last]))


def profiles(heights: Heights, datasets: Sequence[ArrayLike], auxdata: ArrayLike) -> Profiles:
    """Return the profile likelihoods of datasets with their auxiliary data, shape ``(B,)``."""
    aux = np.asarray(auxdata, dtype=np.float64)
    values, masses = [], []
    for first in range(0, len(datasets), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        constraint = -0.5 * ((aux[part, None] - MASSES) / exact.SIGMA) ** 2
        value, mass = _peaks(heights(datasets[part]) + constraint[:, None])
        values.append(value)
        masses.append(mass)
    return Profiles(np.concatenate(values), np.concatenate(masses))


def _peaks(values: Array) -> tuple[Array, Array]:
    """Return the highest values and where they are, each ``(n, S)``, of parabolas through the highest on the grid."""
    at = np.clip(values.argmax(axis=2), 1, len(MASSES) - 2)[..., None]
    left, centre, right = (np.take_along_axis(values, at + k, 2)[..., 0] for k in (-1, 0, 1))
    curvature = np.minimum(left - 2.0 * centre + right, -1e-12)
    shift = np.clip(0.5 * (left - right) / curvature, -1.0, 1.0)
    top = centre + 0.5 * (right - left) * shift + 0.5 * curvature * shift**2
    return np.maximum(top, values.max(axis=2)), MASSES[at[..., 0]] + shift * (MASSES[1] - MASSES[0])


def exact_heights(datasets: Sequence[ArrayLike]) -> Array:
    """Return the exact log-ratios to background alone on the grid, shape ``(n, S, M)``."""
    found = np.empty((len(datasets), len(FRACTIONS), len(MASSES)))
    for row, dataset in enumerate(datasets):
        x = np.ravel(np.asarray(dataset, dtype=np.float64))[:, None]
        excess = np.exp(0.5 * x**2 - 0.5 * ((x - MASSES) / exact.WIDTH) ** 2) / exact.WIDTH - 1.0
        for k, s in enumerate(FRACTIONS):
            found[row, k] = np.log(np.maximum(1.0 + s * excess, 1e-100)).sum(axis=0)
    return found


def learned_heights(model: Any) -> Heights:
    """Return what gives the learned log-ratios on the grid."""
    channel = model.learned["events"]
    points = np.stack(np.meshgrid(FRACTIONS, MASSES, indexing="ij"), axis=-1).reshape(-1, 2)
    heads, sizes = channel.head.members, channel.head.sizes
    products = all(hasattr(head, "candidates") for head in heads)
    with torch.inference_mode():
        theta = torch.from_numpy(points).float()
        numbers = [head.candidates(theta).double() for head in heads] if products else []

    def heights(datasets: Sequence[ArrayLike]) -> Array:
        x = [np.asarray(one, dtype=np.float32).reshape(-1, 1) for one in datasets]
        sums = channel.encode_many(np.concatenate(x), np.cumsum([0, *map(len, x)]))
        if products:
            with torch.inference_mode():
                parts = torch.split(torch.from_numpy(sums), sizes, dim=1)
                data = [head.double().data(part) for head, part in zip(heads, parts, strict=True)]
                scores = sum(d @ a.T for d, a in zip(data, numbers, strict=True)).numpy() / len(heads)
        else:
            scores = np.concatenate([channel.scores(one[None], points[None]) for one in sums])
        return np.asarray(scores).reshape(len(sums), len(FRACTIONS), len(MASSES))

    return heights
