"""Normalisation of a varied density over the pool, compressed to few groups, for every value of its parameters."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

__all__ = ["LogNormalisation"]


def __dir__() -> list[str]:
    return __all__


class LogNormalisation:
    r"""The cumulant generating function ``K(t) = log E[exp(t . Y)]`` of a weighted cloud of points.

    With ``Y`` the log-ratios of a sample's systematic variations over its pool and ``t`` functions of the nuisance
    parameters, ``exp(K)`` is what the varied density has to be divided by.

    A sum over the whole pool at every step of a fit would be slow. The points are split along their widest
    direction into groups so narrow that the first two cumulants of each describe it:
    :math:`K(t) = \log \sum_g w_g \exp(t \cdot \bar y_g + \tfrac12 t^T S_g t)`.
    What this leaves out is the third cumulant inside a group, far below the statistical error of the pool itself.

    Args:
        points: shape ``(N, D)``.
        weights: not negative, shape ``(N,)``.
        groups: number of groups, at most.

    Example:
        >>> import numpy as np
        >>> y = np.random.default_rng(0).normal(0.0, 0.3, size=(100_000, 1))
        >>> value, gradient = LogNormalisation(y, np.ones(100_000))(np.array([1.0]))
        >>> bool(abs(value - np.log(np.exp(y).mean())) < 1e-6)
        True
    """

    def __init__(self, points: NDArray[np.float64], weights: NDArray[np.float64], groups: int = 512) -> None:
        used = weights > 0
        y, w = points[used].astype(np.float64), weights[used] / weights[used].sum()
        members = _grouped(y, w, min(groups, max(len(y) // 8, 1)))
        self._weights = np.array([w[g].sum() for g in members])
        self._means = np.stack([w[g] @ y[g] for g in members]) / self._weights[:, None]
        centred = (y[g] - mean for g, mean in zip(members, self._means, strict=True))
        self._covariances = np.stack(
            [(c * w[g][:, None]).T @ c / total for c, g, total in zip(centred, members, self._weights, strict=True)]
        )

    def __call__(self, t: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return ``K(t)`` and its gradient, for ``t`` of shape ``(D,)``."""
        groups, dimensions = self._means.shape
        pulled = (self._covariances.reshape(-1, dimensions) @ t).reshape(groups, dimensions)
        exponent = (self._means + 0.5 * pulled) @ t
        peak = exponent.max()
        terms = self._weights * np.exp(exponent - peak)
        total = terms.sum()
        return float(peak + np.log(total)), terms @ (self._means + pulled) / total


def _grouped(y: NDArray[np.float64], w: NDArray[np.float64], groups: int) -> list[NDArray[np.intp]]:
    """Split the points into groups; the next to be split is always the one with the largest third cumulant."""

    def entry(group: NDArray[np.intp]) -> tuple[float, int, int, NDArray[np.intp]]:
        variances = y[group].var(axis=0)
        widest = int(np.argmax(variances))
        return -float(w[group].sum() * variances[widest] ** 1.5), int(group[0]), widest, group

    heap = [entry(np.arange(len(y)))]
    while len(heap) < groups and heap[0][0] < 0:
        _, _, widest, group = heapq.heappop(heap)
        low = y[group, widest] < y[group, widest].mean()
        for half in (group[low], group[~low]):
            heapq.heappush(heap, entry(half))
    return [group for *_, group in heap]
