"""Parameters as the coordinates in which their prior is the standard normal distribution, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

__all__ = ["Coordinates"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_FAR = 8.0  # standard deviations: further out no draw of a prior ever is


class Coordinates:
    r"""The map :math:`u_p = \Phi^{-1}(F_p(\theta_p))`, with the prior's distribution functions within the bounds.

    A normal prior is scaled, a uniform one straightened at its ends: whatever is drawn in :math:`u` lies where the
    prior does, and a density :math:`q(u)` is :math:`p(\theta)\, q(u) / \varphi(u)` in :math:`\theta`.

    Args:
        prior: a frozen scipy distribution for each parameter, in their order.
        bounds: shape ``(P, 2)``.

    Example:
        >>> import scipy.stats
        >>> coordinates = Coordinates({"mu": scipy.stats.uniform(0, 12)}, np.array([[0.0, 12.0]]))
        >>> u = coordinates.of(np.array([[6.0], [10.0]]))
        >>> u.round(3).ravel(), coordinates.back(u).round(3).ravel()
        (array([0.   , 0.967]), array([ 6., 10.]))
    """

    def __init__(self, prior: Mapping[str, Any], bounds: Array) -> None:
        self.distributions = list(prior.values())
        self.bounds = np.asarray(bounds, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.distributions)

    def of(self, theta: Array) -> Array:
        """Return the coordinates of parameters, shape ``(..., P)``; those out of bounds are infinite."""
        u = np.empty(np.shape(theta))
        for p, (one, (low, high)) in enumerate(zip(self.distributions, self.bounds, strict=True)):
            value = theta[..., p]
            below, above = one.cdf(value) - one.cdf(low), one.sf(value) - one.sf(high)
            with np.errstate(divide="ignore", invalid="ignore"):
                total = np.maximum(below, 0.0) + np.maximum(above, 0.0)
                # each half by the tail that is small, for the digits
                found = np.where(below < above, ndtri(below / total), -ndtri(above / total))
            u[..., p] = np.select([value < low, value > high], [-np.inf, np.inf], found)
        return u

    def back(self, u: Array) -> Array:
        """Return the parameters at coordinates, shape ``(..., P)``."""
        theta = np.empty(np.shape(u))
        for p, (one, (low, high)) in enumerate(zip(self.distributions, self.bounds, strict=True)):
            value = np.clip(u[..., p], -_FAR, _FAR)
            inside = one.cdf(high) - one.cdf(low)
            lower, upper = (ndtr(sign * value) * inside for sign in (1.0, -1.0))
            found = np.empty(value.shape)
            left = value < 0
            found[left] = one.ppf(one.cdf(low) + lower[left])
            found[~left] = one.isf(one.sf(high) + upper[~left])
            theta[..., p] = np.clip(found, low, high)
        return theta

    def straight(self, grid: Array) -> tuple[Array, Array]:
        """Return the parameters at some coordinates, and the ends of the prior, shapes ``(P, K)`` and ``(P, 2)``.

        They are shifted and scaled to be like the coordinates about zero. Where a prior does not end on both sides they
        are the coordinates themselves, which data tell as they tell the parameter.
        """
        theta = self.back(np.repeat(np.concatenate([grid, [-1.0, 0.0, 1.0]])[:, None], len(self), axis=1)).T
        low, centre, high = theta[:, -3:].T[:, :, None]
        ended = np.array([np.isfinite(one.support()).all() for one in self.distributions])[:, None]
        knots, ends = (2.0 * (values - centre) / (high - low) for values in (theta[:, :-3], self.bounds))
        return np.where(ended, knots, grid), np.where(ended, ends, [-np.inf, np.inf])

    def log_ratio(self, u: Array) -> Array:
        r"""Return :math:`-\log\varphi(u)`, shape ``(...)``: with a density in coordinates, the ratio to the prior."""
        return np.asarray((0.5 * u**2).sum(axis=-1) + 0.5 * np.log(2 * np.pi) * u.shape[-1])
