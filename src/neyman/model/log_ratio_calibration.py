"""Calibration of log-ratios to the nominal sample: many logistic regressions on the same events, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["LabelledLogRatios", "fit_log_ratios"]


def __dir__() -> list[str]:
    return __all__


Numbers: TypeAlias = NDArray[np.floating[Any]]

_BLOCK = 16_384  # events in double precision at a time
_ITERATIONS = 200
_PRECISION = 1e-9  # of the mean of each scaled feature in a class


@dataclass(frozen=True, eq=False)
class LabelledLogRatios:
    """Events with the values of ``K`` log-ratios, and how many of each are nominal and varied.

    Args:
        values: the log-ratios to be calibrated, shape ``(N, K)``.
        features: a constant and what else the corrections are linear in, shape ``(N, F)``.
        nominal: weights as events of the nominal sample, of either sign, shape ``(N,)``; ``None`` where they are none.
        varied: weights as events of each varied source, ``K`` of shape ``(N,)``; ``None`` where they are none.
    """

    values: Numbers
    features: Numbers
    nominal: NDArray[np.float64] | None
    varied: Sequence[NDArray[np.float64]] | None


def fit_log_ratios(parts: Sequence[LabelledLogRatios], ridge: float = 1e-6) -> NDArray[np.float64]:
    r"""Fit corrections to log-ratios, each linear in the log-ratio itself and in features, by logistic regression.

    At the optimum the nominal events, reweighted by a calibrated ratio, have the varied source's mean of every feature,
    up to a factor :math:`1 / (1 + r)` that both have. A variation by weight has the same events on both sides, and
    their statistical fluctuations cancel.

    The log-ratios of a sample share their events and, about, the Hessian: it is taken at a ratio of one, where it is
    largest, once for all of them. That costs a matrix product a step where Newton's method takes one for each
    log-ratio, and converges as fast as the ratios are near one.

    Args:
        parts: events which are nominal, varied, or both, with the same log-ratios and features.
        ridge: penalty on the coefficients of the scaled features, for numerical stability only.

    Returns:
        The coefficients of the constant, the log-ratio itself and the other features, shape ``(1 + F, K)``.

    Example:
        >>> import numpy as np
        >>> ones, zeros = np.ones((4, 1)), np.zeros((4, 1))
        >>> varied = [np.array([3.0, 1.0, 3.0, 1.0])]
        >>> parts = [LabelledLogRatios(np.log([[2.0], [1.0], [2.0], [1.0]]), ones, np.ones(4), varied)]
        >>> fit_log_ratios(parts).round(2)  # a ratio of 1.5 and 0.5
        array([[-0.69],
               [ 0.58]])
    """
    one = parts[0]
    columns, size = one.values.shape[1], 1 + one.features.shape[1]
    nominal = sum(float(part.nominal.sum()) for part in parts if part.nominal is not None)
    varied = np.zeros(columns)
    for part in parts:
        if part.varied is not None:
            varied += [float(w.sum()) for w in part.varied]
    blocks = [
        _Block(part, slice(begin, begin + _BLOCK), nominal, varied)
        for part in parts
        for begin in range(0, len(part.values), _BLOCK)
    ]
    hessian, scale = _hessian(blocks, columns, size)
    hessian[:, np.arange(size), np.arange(size)] += ridge
    inverse = np.linalg.inv(hessian)
    coefficients = np.zeros((columns, size))
    for _ in range(_ITERATIONS):
        gradient = ridge * coefficients
        for block in blocks:
            gradient += block.gradient(coefficients / scale) / scale
        step = (inverse @ gradient[:, :, None])[:, :, 0]
        coefficients -= step
        if np.abs(gradient).max() < _PRECISION:
            break
    found = (coefficients / scale).T
    return np.concatenate([found[1:2], found[:1], found[2:]])


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of a part; the log-ratio itself is the first of its features."""

    part: LabelledLogRatios
    rows: slice
    nominal: float
    varied: NDArray[np.float64]

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return log-ratios and features in double precision."""
        return self.part.values[self.rows].astype(np.float64), self.part.features[self.rows].astype(np.float64)

    def weights(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the share of the events in the nominal sample, shape ``(n, 1)``, and in each source, ``(n, K)``."""
        n = len(self.part.values[self.rows])
        zero = np.zeros((n, 1))
        as_nominal = zero if self.part.nominal is None else self.part.nominal[self.rows, None] / (2.0 * self.nominal)
        if self.part.varied is None:
            return as_nominal, np.zeros((n, len(self.varied)))
        as_varied = np.stack([w[self.rows] for w in self.part.varied], axis=1)
        return as_nominal, as_varied / (2.0 * self.varied)

    def gradient(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient of the loss of each log-ratio, shape ``(K, 1 + F)``."""
        values, features = self.arrays()
        as_nominal, as_varied = self.weights()
        z = values * (1.0 + coefficients[:, 0]) + features @ coefficients[:, 1:].T
        residual = torch.from_numpy(z).sigmoid_().numpy()
        residual *= as_nominal + as_varied
        residual -= as_varied
        own = np.einsum("nk,nk->k", residual, values)
        return np.concatenate([own[:, None], residual.T @ features], axis=1)


def _hessian(blocks: Sequence[_Block], columns: int, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Hessian of each loss at a ratio of one, shape ``(K, 1 + F, 1 + F)``, of features divided by a scale.

    The weights are positive and those of the nominal sample and of the sources' mean, so that it is never too small.
    """
    hessian = np.zeros((columns, size, size))
    for block in blocks:
        values, features = block.arrays()
        as_nominal, as_varied = block.weights()
        weights = 0.25 * (np.abs(as_nominal[:, 0]) + np.abs(as_varied).mean(axis=1))[:, None]
        hessian[:, 1:, 1:] += features.T @ (features * weights)
        hessian[:, 0, 1:] += (values * weights).T @ features
        hessian[:, 0, 0] += (weights * values**2).sum(axis=0)
    hessian[:, 1:, 0] = hessian[:, 0, 1:]
    spread = np.sqrt(4.0 * hessian[:, np.arange(size), np.arange(size)])
    scale = np.where(spread > 0.0, spread, 1.0)
    return hessian / (scale[:, :, None] * scale[:, None, :]), scale
