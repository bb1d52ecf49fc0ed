"""Normalisation of a varied density over the pool, compressed to few groups, for every value of its parameters."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["LogNormalisation"]


def __dir__() -> list[str]:
    return __all__


_TWO_CUMULANTS_UP_TO = 4  # dimensions; in more, groups are too wide for a second order


class LogNormalisation:
    r"""The cumulant generating function ``K(t) = log E[exp(t . Y)]`` of a weighted cloud of points.

    With ``Y`` the log-ratios of a sample's systematic variations over its pool and ``t`` functions of the nuisance
    parameters, ``exp(K)`` is what the varied density has to be divided by.

    A sum over the whole pool at every step of a fit would be slow. The points are split along their widest
    direction into groups. In up to four dimensions, one or two systematics, these are so narrow that the first two
    cumulants of each describe it: :math:`K(t) = \log \sum_g w_g \exp(t \cdot \bar y_g + \tfrac12 t^T S_g t)`.
    In more, where that grows without bound in the tails, each group is a few of its own points, moved and scaled to
    its mean and spread. What either leaves out is below the statistical error of the pool itself, as long as not
    many parameters at once are beyond one standard deviation.

    Args:
        points: shape ``(N, D)``.
        weights: not negative, shape ``(N,)``.
        groups: number of groups, at most.
        members: points that stand for a group, in more than four dimensions.

    Example:
        >>> import numpy as np
        >>> y = np.random.default_rng(0).normal(0.0, 0.3, size=(100_000, 1))
        >>> value, gradient = LogNormalisation(y, np.ones(100_000))(np.array([1.0]))
        >>> bool(abs(value - np.log(np.exp(y).mean())) < 1e-6)
        True
    """

    def __init__(
        self, points: NDArray[np.floating[Any]], weights: NDArray[np.float64], groups: int = 512, members: int = 16
    ) -> None:
        used, varying = weights > 0, np.any(points != 0, axis=0)
        y, w = points[used][:, _some(varying)].astype(np.float64), weights[used] / weights[used].sum()
        parts = _grouped(y, w, min(groups, max(len(y) // 8, 1)))
        covariances = None
        if y.shape[1] > _TWO_CUMULANTS_UP_TO:
            chosen = [_members(y[g], w[g], members) for g in parts]
            centres = np.concatenate([z for z, _ in chosen])
            totals = np.concatenate([v for _, v in chosen])
        else:
            totals = np.array([w[g].sum() for g in parts])
            centres = np.stack([w[g] @ y[g] for g in parts]) / totals[:, None]
            centred = (y[g] - mean for g, mean in zip(parts, centres, strict=True))
            covariances = np.stack(
                [(c * w[g][:, None]).T @ c / total for c, g, total in zip(centred, parts, totals, strict=True)]
            )
        self._set(varying, centres, totals, covariances)

    def _set(
        self,
        varying: NDArray[np.bool_],
        points: NDArray[np.floating[Any]],
        weights: NDArray[np.float64],
        covariances: NDArray[np.floating[Any]] | None,
    ) -> None:
        def rounded(values: NDArray[Any]) -> NDArray[np.float64]:
            return values.astype(np.float32).astype(np.float64)  # as in a file: one that is read is the same

        self._varies, self._varying = varying, _some(varying)
        self._points, self._weights = rounded(points), weights
        self._covariances = None if covariances is None else rounded(covariances)

    def pack(self) -> dict[str, NDArray[Any]]:
        """Return the groups as a file keeps them; :meth:`unpack` makes the same of them."""
        arrays: dict[str, NDArray[Any]]
        arrays = {"varying": self._varies, "points": self._points.astype(np.float32), "weights": self._weights}
        if self._covariances is not None:
            arrays["covariances"] = self._covariances.astype(np.float32)
        return arrays

    @classmethod
    def unpack(cls, arrays: Mapping[str, NDArray[Any]]) -> LogNormalisation:
        """Make a normalisation of what :meth:`pack` returned."""
        made = cls.__new__(cls)
        made._set(arrays["varying"], arrays["points"], arrays["weights"], arrays.get("covariances"))
        return made

    def __call__(self, t: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return ``K(t)`` and its gradient, for ``t`` of shape ``(D,)``."""
        whole, t = np.zeros_like(t), t[self._varying]
        exponent, slopes = self._points @ t, self._points
        if self._covariances is not None:
            pulled = (self._covariances.reshape(-1, t.size) @ t).reshape(slopes.shape)
            exponent = exponent + 0.5 * (pulled @ t)
            slopes = slopes + pulled
        peak = exponent.max()
        terms = self._weights * np.exp(exponent - peak)
        total = terms.sum()
        whole[self._varying] = terms @ slopes / total
        return float(peak + np.log(total)), whole

    def second_derivatives(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the second derivatives of ``K``, the covariance of the weighted cloud, shape ``(D, D)``.

        Args:
            t: shape ``(D,)``.
        """
        whole, t = np.zeros((t.size, t.size)), t[self._varying]
        exponent, slopes = self._points @ t, self._points
        if self._covariances is not None:
            pulled = (self._covariances.reshape(-1, t.size) @ t).reshape(slopes.shape)
            exponent = exponent + 0.5 * (pulled @ t)
            slopes = slopes + pulled
        terms = self._weights * np.exp(exponent - exponent.max())
        terms /= terms.sum()
        mean = terms @ slopes
        found = (slopes.T * terms) @ slopes - np.outer(mean, mean)
        if self._covariances is not None:
            found += np.tensordot(terms, self._covariances, axes=1)
        index = np.arange(len(whole))[self._varying]
        whole[np.ix_(index, index)] = found
        return whole

    def batch(self, t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``K`` and its gradients for many points, ``t`` being of shape ``(n, D)``."""
        whole, t = np.zeros_like(t), t[:, self._varying]
        n, d = t.shape
        exponent = t @ self._points.T
        if self._covariances is not None:
            square = self._covariances.reshape(-1, d * d)
            exponent += (0.5 * (t[:, :, None] * t[:, None, :])).reshape(n, d * d) @ square.T
        peak = exponent.max(axis=1, keepdims=True)
        exponent -= peak
        terms = torch.from_numpy(exponent).exp_().numpy()
        terms *= self._weights
        total = terms.sum(axis=1, keepdims=True)
        gradient = terms @ self._points
        if self._covariances is not None:
            gradient += ((terms @ square).reshape(n, d, d) @ t[:, :, None])[:, :, 0]
        whole[:, self._varying] = gradient / total
        return (peak + np.log(total))[:, 0], whole


def _some(varying: NDArray[np.bool_]) -> slice | NDArray[np.intp]:
    """Return which dimensions are to be kept: those in which not all points are zero, or all if there is none."""
    return slice(None) if varying.all() or not varying.any() else np.flatnonzero(varying)


def _members(
    y: NDArray[np.float64], w: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points of a group, or ``size`` that stand for them with the same mean and total variance."""
    if len(y) <= size:
        return y, w
    share = np.cumsum(w) / w.sum()
    chosen = y[np.searchsorted(share[:-1], (np.arange(size) + 0.5) / size)]
    mean, centred = w @ y / w.sum(), chosen - chosen.mean(axis=0)
    wanted, found = w @ ((y - mean) ** 2).sum(axis=1) / w.sum(), (centred**2).sum() / size
    scale = np.sqrt(wanted / found) if found > 0 else 0.0
    return mean + scale * centred, np.full(size, w.sum() / size)


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
