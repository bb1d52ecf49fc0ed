"""Symmetric matrices of second derivatives: made positive definite, and inverted, whatever the parameters' units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["inverse", "positive"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_FLAT = 1e-10  # an eigenvalue below this, in units of the diagonal, is no curvature


def positive(hessian: Array, floor: float = _FLAT) -> Array:
    """Return a positive definite matrix for a symmetric one: directions of negative curvature change sign.

    Args:
        hessian: a symmetric matrix, shape ``(F, F)``.
        floor: the smallest eigenvalue, in units of the diagonal.

    Example:
        >>> import numpy as np
        >>> from neyman.inference.curvature import positive
        >>> positive(np.diag([4.0, -9.0]))
        array([[4., 0.],
               [0., 9.]])
    """
    scale, values, vectors = _modes(hessian)
    values = np.maximum(np.abs(values), floor)
    return np.asarray((vectors * values) @ vectors.T * np.outer(scale, scale))


def inverse(hessian: Array) -> tuple[Array, bool]:
    """Return the inverse of a symmetric matrix, and whether the matrix is positive definite.

    Directions without curvature do not contribute to it, those of negative curvature count as if it were positive.

    Args:
        hessian: a symmetric matrix, shape ``(F, F)``.

    Example:
        >>> import numpy as np
        >>> from neyman.inference.curvature import inverse
        >>> inverse(np.diag([4.0, 1e-12]))
        (array([[2.5e-01, 0.0e+00],
               [0.0e+00, 1.0e+12]]), True)
    """
    scale, values, vectors = _modes(hessian)
    curved = np.abs(values) > _FLAT
    inverted = np.divide(1.0, np.abs(values), out=np.zeros_like(values), where=curved)
    result = (vectors * inverted) @ vectors.T / np.outer(scale, scale)
    return np.asarray(0.5 * (result + result.T)), bool(np.all(values > _FLAT))


def _modes(hessian: Array) -> tuple[Array, Array, Array]:
    """Return scales that take out the parameters' units, and eigenvalues and eigenvectors of the matrix in them."""
    diagonal = np.abs(np.diag(hessian))
    scale = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    return scale, values, vectors
