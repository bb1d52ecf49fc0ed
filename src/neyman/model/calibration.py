"""Calibration of classifiers: logistic regression on out-of-fold logits that makes every score average to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from neyman.model.variations import Variation, slopes_and_curvatures

__all__ = [
    "LEAST_DENSITY",
    "LogitCalibration",
    "balanced_weights",
    "by_parameter",
    "calibrate",
    "corrected",
    "fit_multinomial",
    "regressors",
    "sample_ratios",
    "score_columns",
    "shape_scores",
]


def __dir__() -> list[str]:
    return __all__


LEAST_DENSITY = 0.05
"""Of the density that samples of positive and of negative yield would have if they were added: below, scores have no
moments."""

_BLOCK = 65_536  # events whose features are in double precision at a time
_CURVED = 131_072  # events that the curvature of a loss is taken from: it need not be exact for the optimum to be


@dataclass(frozen=True, eq=False)
class LogitCalibration:
    """Coefficients of the two logistic regressions that turn raw logits into calibrated ones.

    The first has a constant and the logits as features. The second adds the nominal scores that follow from the first.

    Args:
        samples: coefficients for the classifier of the samples: shapes ``(1 + C - 1, C)`` and ``(1 + C - 1 + S, C)``,
            where ``S`` is the number of scores.
        variations: the same for each column of log-ratios to the nominal sample: shapes ``(2, V)`` and ``(2 + S, V)``.
    """

    samples: tuple[NDArray[np.float64], NDArray[np.float64]]
    variations: tuple[NDArray[np.float64], NDArray[np.float64]]


def sample_ratios(log_ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``g_c = C softmax_c`` from logits, both of shape ``(N, C)``."""
    shifted = np.exp(log_ratios - log_ratios.max(axis=1, keepdims=True))
    ratios: NDArray[np.float64] = shifted * (log_ratios.shape[1] / shifted.sum(axis=1, keepdims=True))
    return ratios


def shape_scores(
    log_ratios: NDArray[np.float64],
    sides: NDArray[np.floating[Any]],
    yields: NDArray[np.float64],
    variations: Sequence[Variation],
    columns: NDArray[np.intp] | None = None,
) -> NDArray[np.floating[Any]]:
    """Return the nominal scores of every event: by the sample fractions, then by the nuisance parameters' shapes.

    Args:
        log_ratios: logits of the samples, shape ``(N, C)``.
        sides: log-ratios of the varied sources, shape ``(N, V)``.
        yields: nominal yields, shape ``(C,)``.
        variations: the shape systematics.
        columns: which of the ``P`` last scores each variation adds to; by default those of one parameter share one.

    Returns:
        Shape ``(N, C - 1 + P)``, as precise as ``sides``; the last sample's score follows from the others.
    """
    ratios = sample_ratios(log_ratios)
    fractions = yields / yields.sum()
    density = ratios @ fractions
    if fractions.min() < 0:  # it may be close to zero, where scores have no moments
        density = np.maximum(density, LEAST_DENSITY * (ratios @ np.abs(fractions)))
    by_fraction = ratios / density[:, None]
    columns = by_parameter(variations) if columns is None else columns
    first = log_ratios.shape[1] - 1
    scores = np.zeros((len(ratios), first + columns.max(initial=-1) + 1), dtype=sides.dtype)
    scores[:, :first] = by_fraction[:, :-1]
    weights = (by_fraction * fractions).astype(sides.dtype)
    for c in sorted({v.sample for v in variations}):
        own = [m for m, v in enumerate(variations) if v.sample == c]
        slopes, _ = slopes_and_curvatures(sides, [variations[m] for m in own])
        slopes *= weights[:, c, None]
        scores[:, first + columns[own]] += slopes
    return scores


def by_parameter(variations: Sequence[Variation]) -> NDArray[np.intp]:
    """Return the number of each variation's parameter, in the order in which they first come, shape ``(M,)``.

    Example:
        >>> by_parameter([Variation(0, "scale", 0, 1), Variation(0, "pdf", 2, 3), Variation(1, "scale", 4, 5)])
        array([0, 1, 0])
    """
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(v.parameter, len(numbers)) for v in variations], dtype=np.intp)


def calibrate(
    log_ratios: NDArray[np.float64],
    sides: NDArray[np.floating[Any]],
    calibration: LogitCalibration,
    yields: NDArray[np.float64],
    variations: Sequence[Variation],
) -> tuple[NDArray[np.float64], NDArray[np.floating[Any]]]:
    """Apply both logistic regressions to raw logits; see :class:`LogitCalibration`."""
    first = corrected(log_ratios, sides, None, calibration.samples[0], calibration.variations[0])
    scores = shape_scores(*first, yields, variations, score_columns(calibration, variations))
    return corrected(log_ratios, sides, scores, calibration.samples[1], calibration.variations[1])


def score_columns(calibration: LogitCalibration, variations: Sequence[Variation]) -> NDArray[np.intp]:
    """Return which of the scores of a calibration each variation adds to, shape ``(M,)``.

    It is that of its parameter; in older model files no two variations shared a score.
    """
    first, second = calibration.samples
    scores = len(second) - len(first) - (first.shape[1] - 1)
    return np.arange(len(variations)) if scores == len(variations) else by_parameter(variations)


def corrected(
    log_ratios: NDArray[np.float64],
    sides: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]] | None,
    sample_coefficients: NDArray[np.float64],
    side_coefficients: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.floating[Any]]]:
    """Add the linear corrections of one logistic regression to the logits; the log-ratios stay as precise as given."""
    new_log_ratios = log_ratios + regressors(log_ratios[:, :-1] - log_ratios[:, -1:], scores) @ sample_coefficients
    constant, own, others = np.split(side_coefficients.astype(sides.dtype), [1, 2])
    new_sides = sides * (1 + own)
    new_sides += constant
    if scores is not None:
        new_sides += scores.astype(sides.dtype, copy=False) @ others
    return new_log_ratios, new_sides


def regressors(values: NDArray[np.float64], scores: NDArray[np.floating[Any]] | None) -> NDArray[np.float64]:
    """Return the features of a calibration: a constant, the logits' differences and, if given, the scores."""
    columns = [np.ones((len(values), 1)), values]
    return np.concatenate(columns if scores is None else [*columns, scores], axis=1)


def balanced_weights(weights: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scale the weights so that each class has a total of one.

    Args:
        weights: of either sign, shape ``(N,)``; the total of a class must be positive.
        labels: the class of each event, shape ``(N,)``.

    Example:
        >>> import numpy as np
        >>> balanced_weights(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]))
        array([0.25, 0.75, 1.  ])
    """
    totals = np.bincount(labels, weights)
    balanced: NDArray[np.float64] = weights / totals[labels]
    return balanced


def fit_multinomial(
    offset: NDArray[np.floating[Any]],
    features: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
    ridge: float = 1e-6,
) -> NDArray[np.float64]:
    """Fit ``logits = offset + features @ coefficients`` by multinomial logistic regression.

    At the optimum ``sum_i w_i (1[y_i = c] - p_c(x_i)) f(x_i) = 0`` for every class ``c`` and feature ``f``: with
    class-balanced weights the classifier then has the labelled simulation's mean of ``f`` in every class. With the
    scores of a likelihood among the features, every score averages to zero.

    Args:
        offset: logits to be corrected, shape ``(N, C)``.
        features: shape ``(N, F)``, a constant among them.
        labels: shape ``(N,)``.
        weights: of either sign, shape ``(N,)``.
        ridge: penalty on the coefficients of the scaled features, for numerical stability only.

    Returns:
        The coefficients, shape ``(F, C)``; the last class's are zero.

    Example:
        >>> import numpy as np
        >>> coefficients = fit_multinomial(np.zeros((4, 2)), np.ones((4, 1)), np.array([0, 0, 0, 1]), np.ones(4))
        >>> coefficients.round(3)
        array([[1.099, 0.   ]])
    """
    classes = offset.shape[1]
    spread = features.std(0, dtype=np.float64)
    scale = np.where(spread > 0, spread, np.maximum(np.abs(features).max(0).astype(np.float64), 1e-300))
    w = weights / weights.sum()
    shape = (features.shape[1], classes - 1)
    blocks = [slice(begin, begin + _BLOCK) for begin in range(0, len(features), _BLOCK)]

    def values(flat: NDArray[np.float64], x: NDArray[np.float64], block: slice) -> NDArray[np.float64]:
        corrected: NDArray[np.float64] = offset[block].astype(np.float64)
        corrected[:, :-1] += x @ flat.reshape(shape)
        return corrected

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = ridge / 2 * float(flat @ flat), ridge * flat.reshape(shape)
        for block in blocks:
            x, y = features[block] / scale, labels[block, None]
            z = values(flat, x, block)
            value -= float(w[block] @ np.take_along_axis(log_softmax(z, axis=1), y, axis=1)[:, 0])
            residual = softmax(z, axis=1)
            np.put_along_axis(residual, y, np.take_along_axis(residual, y, axis=1) - 1.0, axis=1)
            gradient = gradient + x.T @ (w[block, None] * residual[:, :-1])
        return value, gradient.ravel()

    step = max(len(features) // _CURVED, 1)
    some = [slice(begin, begin + step * _BLOCK, step) for begin in range(0, len(features), step * _BLOCK)]

    def hessian(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        curvatures = np.zeros((*shape, *shape))
        for block in some:
            x = features[block] / scale
            p = softmax(values(flat, x, block), axis=1)[:, :-1]
            for c in range(classes - 1):
                for d in range(c, classes - 1):
                    curvature = step * w[block] * p[:, c] * ((c == d) - p[:, d])
                    curvatures[:, c, :, d] += x.T @ (x * curvature[:, None])
        for c in range(classes - 1):
            for d in range(c):
                curvatures[:, c, :, d] = curvatures[:, d, :, c]
        return curvatures.reshape(flat.size, flat.size) + ridge * np.eye(flat.size)

    start = np.zeros(shape[0] * shape[1])
    optimum = minimize(loss, start, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-10}).x
    return np.concatenate([optimum.reshape(shape) / scale[:, None], np.zeros((shape[0], 1))], axis=1)
