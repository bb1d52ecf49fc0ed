"""Parameters within bounds as functions of coordinates without any, which samplers need, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

__all__ = ["Unbounded"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_INSIDE = 1e-6  # of the width: how near to a bound a point is that lies on it


class Unbounded:
    r"""Coordinates :math:`u` without bounds for parameters :math:`\theta` that have some.

    .. math:: \theta = l + (h - l) \Phi(u), \quad \theta = l + e^u, \quad \theta = h - e^{-u}, \quad \theta = u

    with two bounds, a lower one, an upper one, and none. With two bounds a density that does not vanish at a bound gets
    the tail of a Gaussian, which samplers are best at: what is uniform becomes a standard normal.

    Args:
        bounds: lower and upper bounds, which may be infinite.

    Example:
        >>> import numpy as np
        >>> coordinates = Unbounded([(0.0, 10.0), (1.0, np.inf), (-np.inf, np.inf)])
        >>> u = coordinates.of(np.array([5.0, 2.0, -3.0]))
        >>> coordinates(u)[0].round(9).tolist()
        [5.0, 2.0, -3.0]
    """

    def __init__(self, bounds: Sequence[tuple[float, float]]) -> None:
        self._low, self._high = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
        below, above = np.isfinite(self._low), np.isfinite(self._high)
        self._both, self._lower, self._upper = (
            np.flatnonzero(one) for one in (below & above, below & ~above, above & ~below)
        )
        self._width = self._high[self._both] - self._low[self._both]
        self._log_density = np.log(self._width) - 0.5 * np.log(2.0 * np.pi)

    def __call__(self, u: Array) -> tuple[Array, Array, float, Array]:
        r"""Return the parameters and the Jacobian.

        Args:
            u: the coordinates, shape ``(F,)``.

        Returns:
            The parameters, their derivatives :math:`d\theta/du`, each shape ``(F,)``, the logarithm of the product of
            these, and its gradient, shape ``(F,)``.
        """
        theta, logs, gradient = u.copy(), np.zeros(u.size), np.zeros(u.size)
        both, lower, upper = self._both, self._lower, self._upper
        if both.size:
            inner = u[both]
            theta[both] = np.minimum(self._low[both] + self._width * ndtr(inner), self._high[both])
            logs[both], gradient[both] = self._log_density - 0.5 * inner**2, -inner
        if lower.size:
            theta[lower] = self._low[lower] + np.exp(u[lower])
            logs[lower], gradient[lower] = u[lower], 1.0
        if upper.size:
            theta[upper] = self._high[upper] - np.exp(-u[upper])
            logs[upper], gradient[upper] = -u[upper], -1.0
        return theta, np.exp(logs), float(logs.sum()), gradient

    def of(self, theta: Array) -> Array:
        """Return the coordinates of parameters, shape ``(F,)``; those on a bound are moved a little inside.

        Args:
            theta: the parameters, shape ``(F,)``.
        """
        both, lower, upper = self._both, self._lower, self._upper
        u = np.array(theta, dtype=np.float64)
        share = np.clip((u[both] - self._low[both]) / self._width, _INSIDE, 1.0 - _INSIDE)
        u[both] = ndtri(share)
        u[lower] = np.log(np.maximum(u[lower] - self._low[lower], _INSIDE * np.maximum(1.0, np.abs(self._low[lower]))))
        u[upper] = -np.log(
            np.maximum(self._high[upper] - u[upper], _INSIDE * np.maximum(1.0, np.abs(self._high[upper])))
        )
        return u
