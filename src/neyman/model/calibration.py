"""Calibration of classifiers: logistic regression on out-of-fold logits that makes every score average to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from neyman.model.variations import Variation, slopes_and_curvatures

__all__ = [
    "LogitCalibration",
    "balanced_weights",
    "calibrate",
    "corrected",
    "fit_multinomial",
    "fit_ratio",
    "regressors",
    "sample_ratios",
    "shape_scores",
]


def __dir__() -> list[str]:
    return __all__


_MOST_STEPS = 20
_SMALL_STEP = 1e-8  # of a log-ratio
_LEAST = 0.05  # of the density that samples of positive and of negative yield would have if they were added


@dataclass(frozen=True, eq=False)
class LogitCalibration:
    """Coefficients of the two logistic regressions that turn raw logits into calibrated ones.

    The first has a constant and the logits as features. The second adds the nominal scores that follow from the first.

    Args:
        samples: coefficients for the classifier of the samples: shapes ``(1 + C - 1, C)`` and ``(1 + C - 1 + S, C)``.
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
    sides: NDArray[np.float64],
    yields: NDArray[np.float64],
    variations: Sequence[Variation],
) -> NDArray[np.float64]:
    """Return the nominal scores of every event: by the sample fractions, then by the variations.

    Args:
        log_ratios: logits of the samples, shape ``(N, C)``.
        sides: log-ratios of the varied sources, shape ``(N, V)``.
        yields: nominal yields, shape ``(C,)``.
        variations: the shape systematics.

    Returns:
        Shape ``(N, C - 1 + M)``; the last sample's score follows from the others.
    """
    ratios = sample_ratios(log_ratios)
    fractions = yields / yields.sum()
    density = ratios @ fractions
    if fractions.min() < 0:  # it may be close to zero, where scores have no moments
        density = np.maximum(density, _LEAST * (ratios @ np.abs(fractions)))
    by_fraction = ratios / density[:, None]
    slopes, _ = slopes_and_curvatures(sides, variations)
    owners = [v.sample for v in variations]
    return np.concatenate([by_fraction[:, :-1], by_fraction[:, owners] * fractions[owners] * slopes], axis=1)


def calibrate(
    log_ratios: NDArray[np.float64],
    sides: NDArray[np.float64],
    calibration: LogitCalibration,
    yields: NDArray[np.float64],
    variations: Sequence[Variation],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Apply both logistic regressions to raw logits; see :class:`LogitCalibration`."""
    first = corrected(log_ratios, sides, None, calibration.samples[0], calibration.variations[0])
    scores = shape_scores(*first, yields, variations)
    return corrected(log_ratios, sides, scores, calibration.samples[1], calibration.variations[1])


def corrected(
    log_ratios: NDArray[np.float64],
    sides: NDArray[np.float64],
    scores: NDArray[np.float64] | None,
    sample_coefficients: NDArray[np.float64],
    side_coefficients: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add the linear corrections of one logistic regression to the logits."""
    new_log_ratios = log_ratios + regressors(log_ratios[:, :-1] - log_ratios[:, -1:], scores) @ sample_coefficients
    new_sides = sides * (1 + side_coefficients[1]) + side_coefficients[0]
    if scores is not None:
        new_sides += scores @ side_coefficients[2:]
    return new_log_ratios, new_sides


def regressors(values: NDArray[np.float64], scores: NDArray[np.float64] | None) -> NDArray[np.float64]:
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


def fit_ratio(
    offset: NDArray[np.float64],
    features: NDArray[np.float64],
    nominal: NDArray[np.float64],
    varied: NDArray[np.float64],
    ridge: float = 1e-6,
) -> NDArray[np.float64]:
    """Fit the log-ratio ``offset + features @ coefficients`` of the same events with two weights by Newton's method.

    It is the logistic regression of :func:`fit_multinomial` where every event is in both of two classes.

    Args:
        offset: log-ratio to be corrected, shape ``(N,)``.
        features: shape ``(N, F)``, a constant among them.
        nominal: weights of either sign, shape ``(N,)``.
        varied: the other weights, shape ``(N,)``.
        ridge: penalty on the coefficients of the scaled features, for numerical stability only.

    Returns:
        The coefficients, shape ``(F,)``.

    Example:
        >>> import numpy as np
        >>> rho = np.array([1.0, 2.0, 3.0])
        >>> fit_ratio(np.zeros(3), np.ones((3, 1)), np.ones(3) / 3, rho / 3).round(3)
        array([0.693])
    """
    spread = features.std(0)
    scale = np.where(spread > 0, spread, np.maximum(np.abs(features).max(0), 1e-300))
    x = features / scale
    coefficients = np.zeros(x.shape[1])
    for _ in range(_MOST_STEPS):
        probability = expit(offset + x @ coefficients)
        both = (nominal + varied) * probability
        gradient = x.T @ (both - varied) + ridge * coefficients
        hessian = x.T @ (x * (both * (1 - probability))[:, None]) + ridge * np.eye(len(coefficients))
        try:
            step = cho_solve(cho_factor(hessian), gradient)
        except np.linalg.LinAlgError:  # weights of either sign that cancel each other
            break
        coefficients = coefficients - step
        if np.abs(step).max() < _SMALL_STEP:
            break
    result: NDArray[np.float64] = coefficients / scale
    return result


def fit_multinomial(
    offset: NDArray[np.float64],
    features: NDArray[np.float64],
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
    spread = features.std(0)
    scale = np.where(spread > 0, spread, np.maximum(np.abs(features).max(0), 1e-300))
    x = features / scale
    w = weights / weights.sum()
    target = np.eye(classes)[labels][:, :-1]
    shape = (x.shape[1], classes - 1)

    def values(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        free = x @ flat.reshape(shape)
        corrected: NDArray[np.float64] = offset + np.concatenate([free, np.zeros((len(x), 1))], axis=1)
        return corrected

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = values(flat)
        value = -w @ np.take_along_axis(log_softmax(z, axis=1), labels[:, None], axis=1)[:, 0]
        residual = w[:, None] * (softmax(z, axis=1)[:, :-1] - target)
        return float(value + ridge / 2 * flat @ flat), (x.T @ residual).ravel() + ridge * flat

    def hessian(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        p = softmax(values(flat), axis=1)[:, :-1]
        blocks = np.empty((*shape, *shape))
        for c in range(classes - 1):
            for d in range(c, classes - 1):
                curvature = w * p[:, c] * ((c == d) - p[:, d])
                blocks[:, c, :, d] = blocks[:, d, :, c] = x.T @ (x * curvature[:, None])
        return blocks.reshape(flat.size, flat.size) + ridge * np.eye(flat.size)

    start = np.zeros(shape[0] * shape[1])
    optimum = minimize(loss, start, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-10}).x
    return np.concatenate([optimum.reshape(shape) / scale[:, None], np.zeros((shape[0], 1))], axis=1)
