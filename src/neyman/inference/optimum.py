"""What a minimum is like: the bounds and edges it lies on, what its curvature determines, and whether it is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neyman.inference.twice_nll import TwiceNLL

__all__ = ["Optimum", "examined"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_NOTHING = 1e-5  # of the curvature that the expected counts would give: less is rounding, and says nothing
_FLAT = 1e-5  # of an eigenvalue, the diagonal being one; below it a direction has no curvature,
_UNSURE = 1e-2  # and below this, only precise derivatives can tell
_INVOLVED = 1e-2  # of a flat direction: what it must have of a parameter not to determine that
_AT_EDGE = 1e-4  # of what a parameter's width changes: a bin with less is at the edge,
_AN_EVENT = 1e-6  # or with less than this where that is large enough
_UNSEEN = 1e-7  # in -2 log L: what a step off a bound must gain
_DISTANCE = 1e-2  # in -2 log L: what a minimum may still be expected to lie lower


@dataclass(frozen=True, eq=False)
class Optimum:
    """A point that a minimisation has ended at, in terms of its ``F`` free parameters.

    Args:
        hessian: of -2 log L, shape ``(F, F)``.
        covariance: the inverse of half of it, zero for what it does not determine, shape ``(F, F)``.
        undetermined: the parameters that it says nothing about, shape ``(F,)``.
        at_bound: which parameters are at a bound, shape ``(F,)``.
        edges: positions of the bins without events whose rate is zero here: the likelihood's domain ends.
        curved: whether the Hessian is positive definite along the bounds and edges.
        distance: how much lower the minimum is expected to be.
        step: where it is expected, from here, shape ``(F,)``.
        unsure: whether an eigenvalue is so small that the place matters: it should be no other than the minimum.
        downhill: a direction along which -2 log L is curved downwards, of about one standard deviation, if any.
    """

    hessian: Array
    covariance: Array
    undetermined: NDArray[np.bool_]
    at_bound: NDArray[np.bool_]
    edges: NDArray[np.intp]
    curved: bool
    distance: float
    step: Array
    unsure: bool
    downhill: Array | None

    @property
    def good(self) -> bool:
        """Whether it is a minimum."""
        return self.curved and self.distance < _DISTANCE


def examined(nll: TwiceNLL, pars: Array, bounds: Sequence[tuple[float, float]]) -> Optimum:
    """Examine the point that a minimisation has ended at.

    Args:
        nll: -2 log L.
        pars: the free parameters, shape ``(F,)``.
        bounds: their bounds.
    """
    low, high = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
    widths = nll.widths(pars, bounds, within=False)
    hessian, gradient = nll.hessian(pars, bounds), nll.gradient(pars) * widths
    scaled = hessian * np.outer(widths, widths)
    unsure = bool(np.linalg.eigvalsh(_normalised(scaled)[0]).min(initial=1.0) < _UNSURE)
    if unsure:
        hessian = nll.hessian(pars, bounds, central=True)
        scaled = hessian * np.outer(widths, widths)

    silent = np.abs(np.diag(scaled)) < _NOTHING
    covariance, flat = np.zeros_like(hessian), silent.copy()
    some = np.flatnonzero(~silent)
    matrix, scale = _normalised(scaled[np.ix_(some, some)])
    values, vectors = np.linalg.eigh(matrix)
    steep = np.abs(values) > _FLAT
    flat[some] = (np.abs(vectors[:, ~steep]) > _INVOLVED).any(axis=1)
    inverted = np.divide(2.0, np.abs(values), out=np.zeros_like(values), where=steep)
    unit = widths[some] / scale
    covariance[np.ix_(some, some)] = (vectors * inverted) @ vectors.T * np.outer(unit, unit)
    covariance[flat] = covariance[:, flat] = 0.0

    at_bound = (pars <= low) | (pars >= high)
    pushed = ((pars <= low) & (gradient >= -_FLAT)) | ((pars >= high) & (gradient <= _FLAT))
    # where a slope is infinite at the bound, as that of a root, the least displacement of others makes one inwards
    gain = 0.5 * gradient**2 / np.maximum(np.diag(scaled), _NOTHING)
    pushed |= at_bound & (np.diag(scaled) > _NOTHING) & (gain < _UNSEEN)
    edges, normals = _edges(nll, pars, np.where(pushed, 0.0, widths))
    normals = np.concatenate([np.eye(pars.size)[pushed], normals * widths])
    along = _null_space(normals)
    matrix, scale = _normalised(along.T @ scaled @ along)
    values, vectors = np.linalg.eigh(matrix)
    slope = vectors.T @ ((along.T @ gradient) / scale)
    steps = -slope / np.maximum(np.abs(values), _FLAT)
    back = widths[:, None] * (along @ (vectors / scale[:, None]))
    downhill = back[:, 0] if values.size and values[0] < -_FLAT else None
    return Optimum(
        hessian,
        0.5 * (covariance + covariance.T),
        flat,
        at_bound,
        edges,
        curved=bool((values > _FLAT).all() and (np.diag(along.T @ scaled @ along) > _NOTHING).all()),
        distance=float(-0.5 * slope @ steps),
        step=back @ steps,
        unsure=unsure,
        downhill=downhill,
    )


def _normalised(matrix: Array) -> tuple[Array, Array]:
    """Return a matrix with a diagonal of one, and what its rows and columns were divided by."""
    diagonal = np.abs(np.diag(matrix))
    scale = np.sqrt(np.where(diagonal > _NOTHING, diagonal, 1.0))
    return matrix / np.outer(scale, scale), scale


def _edges(nll: TwiceNLL, pars: Array, widths: Array) -> tuple[NDArray[np.intp], Array]:
    """Return the bins without events whose rate a small step makes negative, and its derivatives."""
    if not nll.has_rates:
        return np.empty(0, dtype=np.intp), np.empty((0, pars.size))
    total, slopes = (array.sum(axis=0) for array in nll.rates(pars))
    step = np.abs(slopes * widths).max(axis=1, initial=0.0)
    low = (total < _AT_EDGE * step) | ((total < _AN_EVENT) & (step > 10.0 * _AN_EVENT))
    found = np.flatnonzero((nll.main[nll.model.counted] == 0.0) & low)
    return nll.model.counted[found], slopes[found]


def _null_space(normals: Array) -> Array:
    """Return directions at right angles to all normals, shape ``(F, F - K)``."""
    size = normals.shape[1]
    if not len(normals):
        return np.eye(size)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    _, values, rows = np.linalg.svd(normals / np.where(lengths > 0.0, lengths, 1.0))
    return np.asarray(rows[np.count_nonzero(values > 1e-9) :].T)
