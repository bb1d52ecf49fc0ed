"""Penalised logistic regression of probabilities on smooth functions: the numerics of learned critical values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.special import expit, xlogy

__all__ = ["Fitted", "deviance", "fit_fractions", "row_products", "splines", "tensor_penalty"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_ITERATIONS = 30
_CONVERGED = 1e-6  # of the deviance, relative
_LARGEST_STEP = 4.0  # in the logit of any row


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted regression.

    Args:
        coefficients: shape ``(M,)``.
        covariance: of the coefficients, shape ``(M, M)``: of the noise, by groups of rows that belong together, and of
            what the penalty may hide, as if the truth were drawn from it.
    """

    coefficients: Array
    covariance: Array


def splines(x: Array, low: float, high: float, number: int, degree: int = 3) -> Array:
    """Return B-splines on equidistant knots, constant beyond the range, shape ``(n, number)``; they add up to one.

    Args:
        x: where, shape ``(n,)``.
        low: where the range begins.
        high: where it ends.
        number: of the splines.
        degree: of the polynomials between knots.

    Example:
        >>> import numpy as np
        >>> splines(np.array([0.0, 0.5, 1.0]), 0.0, 1.0, 2, degree=1)
        array([[1. , 0. ],
               [0.5, 0.5],
               [0. , 1. ]])
    """
    knots = np.concatenate([[low] * degree, np.linspace(low, high, number - degree + 1), [high] * degree])
    return np.asarray(BSpline.design_matrix(np.clip(x, low, high), knots, degree).toarray())


def tensor_penalty(numbers: tuple[int, int]) -> Array:
    """Return the matrix of the sum of squared second differences along both axes of a table of coefficients.

    Args:
        numbers: rows and columns of the table.
    """
    first, second = (np.diff(np.eye(number), n=2, axis=0) for number in numbers)
    along = np.kron(first.T @ first, np.eye(numbers[1]))
    return np.asarray(along + np.kron(np.eye(numbers[0]), second.T @ second))


def fit_fractions(
    features: scipy.sparse.csr_matrix,
    offset: Array,
    response: Array,
    penalty: Array,
    start: Array | None = None,
    groups: NDArray[np.intp] | None = None,
) -> Fitted:
    """Minimise the deviance of fractions, plus a quadratic penalty, by Newton's method.

    Args:
        features: shape ``(n, M)``.
        offset: what the logit is without coefficients, shape ``(n,)``.
        response: fractions from 0 to 1, shape ``(n,)``.
        penalty: a positive definite matrix, shape ``(M, M)``.
        start: coefficients to begin with.
        groups: the group of each row, counted from zero; without, no covariance is computed.
    """
    beta = np.zeros(features.shape[1]) if start is None else start.copy()

    def cost(coefficients: Array) -> float:
        probability = expit(offset + features @ coefficients)
        return 0.5 * deviance(response, probability) + 0.5 * float(coefficients @ penalty @ coefficients)

    now = cost(beta)
    for _ in range(_ITERATIONS):
        probability = expit(offset + features @ beta)
        slope = features.T @ (response - probability) - penalty @ beta
        factor = scipy.linalg.cho_factor(_information(features, probability) + penalty)
        step = scipy.linalg.cho_solve(factor, slope)
        step *= min(1.0, _LARGEST_STEP / max(float(np.abs(features @ step).max()), 1e-12))
        trial = cost(beta + step)
        while trial > now and np.abs(step).max() > 1e-9:
            step *= 0.5
            trial = cost(beta + step)
        beta, change, now = beta + step, now - trial, trial
        if change < _CONVERGED * abs(now):
            break
    if groups is None:
        return Fitted(beta, np.empty((0, 0)))
    probability = expit(offset + features @ beta)
    information = _information(features, probability)
    residuals = features.multiply((response - probability)[:, None]).tocsr()
    sums = scipy.sparse.csr_matrix((np.ones(len(groups)), (groups, np.arange(len(groups))))) @ residuals
    noise = (sums.T @ sums).toarray()
    inverse = scipy.linalg.cho_solve(scipy.linalg.cho_factor(information + penalty), np.eye(len(beta)))
    # fractions of the same toys are correlated: how much less they tell than the deviance believes
    dispersion = float(np.trace(inverse @ noise)) / float(np.trace(inverse @ information))
    return Fitted(beta, inverse @ (noise + dispersion * penalty) @ inverse)


def deviance(response: Array, probability: Array) -> float:
    """Return minus twice the logarithm of the likelihood of fractions.

    Args:
        response: the fractions, shape ``(n,)``.
        probability: what is expected of them, shape ``(n,)``.
    """
    safe = np.clip(probability, 1e-12, 1.0 - 1e-12)
    return -2.0 * float(np.sum(xlogy(response, safe) + xlogy(1.0 - response, 1.0 - safe)))


def _information(features: scipy.sparse.csr_matrix, probability: Array) -> Array:
    weights = np.maximum(probability * (1.0 - probability), 1e-9)
    return np.asarray((features.T @ features.multiply(weights[:, None]).tocsr()).toarray())


def row_products(*factors: Array | Sequence[Array]) -> scipy.sparse.csr_matrix:
    """Return all products of one column of each factor, row by row, the last factor's columns running fastest."""
    result = np.ones((len(factors[0]), 1))
    for factor in factors:
        result = (result[:, :, None] * np.asarray(factor)[:, None, :]).reshape(len(result), -1)
    return scipy.sparse.csr_matrix(result)
