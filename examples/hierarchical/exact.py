r"""The exact likelihood of a hierarchical Gaussian: groups of events about local means about one global mean.

A dataset has n groups. Group i has a local mean ``z_i ~ N(theta, SIGMA_Z)`` and five events around it, ``x_ij ~ N(z_i,
SIGMA_X)``; only the 5 n events are observed, in random order and without the labels of their groups. theta_1 is of
interest, theta_2 and theta_3 are profiled, each within its bounds.

**The likelihood of unlabelled events is exact and in closed form.** Given an assignment g of the events to n groups of
five, the means of the groups are independent and ``xbar_i ~ N(theta, V)`` with ``V = SIGMA_Z + SIGMA_X/5``, independent
of the differences within the groups, whose density holds no theta. The density of n such means splits in turn into that
of their mean and that of what they scatter about it, which holds no theta either, so that

.. math::

    p(x | \theta, g) = N\bigl(\bar x; \theta, V / n\bigr) \; h_g(x).

Without labels, the density is the average of this over all assignments g. But the groups are of equal size: the mean of
their means is the mean of all events, the same number for every g. The first factor comes out of the average,

.. math::

    p(x | \theta) = N\bigl(\bar x; \theta, V / n\bigr) \; \frac{1}{|G|} \sum_g h_g(x),

and only h, which is free of theta, depends on the labels. By the factorisation theorem the mean of all events is
sufficient for theta with the labels or without, and they lose nothing. It takes known covariances (an unknown SIGMA_Z
would have to be told from SIGMA_X by the labels in h) and groups of equal size (else the weights of the groups' means
differ from assignment to assignment). The number of groups is drawn independently of theta: it says nothing about theta
itself, but the width of the likelihood is that of n groups, ``1 / sqrt(n)``.

*Blind* to the hierarchy is the likelihood of 5 n independent events ``N(theta, SIGMA_Z + SIGMA_X)``: right for each
event, wrong for the dataset. Its best fit is the same mean where no bound is near, its width too small, and its
interval undercovers, equally for all n.

Everything takes many datasets at once. Run it to print the widths of the intervals and what they cover.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

__all__ = [
    "CARDINALITIES",
    "FEATURES",
    "GROUP",
    "GROUPS",
    "PARAMETERS",
    "POI",
    "SIGMA_X",
    "SIGMA_Z",
    "best_fit",
    "blind_coverage",
    "covariance",
    "evaluate",
    "interval",
    "log_likelihood",
    "ratio",
    "sample",
    "sample_n",
    "sigma",
]

Array = NDArray[np.float64]

GROUP = 5  # events in a group
GROUPS = (1, 200)  # the fewest and the most groups in a dataset
SIGMA_Z = np.array([[0.6, 0.2, 0.0], [0.2, 0.5, 0.1], [0.0, 0.1, 0.4]])
SIGMA_X = np.array([[0.8, -0.2, 0.1], [-0.2, 0.6, 0.0], [0.1, 0.0, 0.7]])
LOW, HIGH = -3.0, 3.0  # the bounds of each parameter

PARAMETERS = [{"name": f"theta_{k}", "inits": [0.0], "bounds": [[LOW, HIGH]]} for k in (1, 2, 3)]
POI = "theta_1"
FEATURES = ["x_1", "x_2", "x_3"]

CARDINALITIES = (1, 5, 20, 100, 200)  # groups: where everything is measured

_ROOT_Z, _ROOT_X = np.linalg.cholesky(SIGMA_Z), np.linalg.cholesky(SIGMA_X)
_LOG_EDGES = np.log([GROUPS[0], GROUPS[1] + 1])


def sample(pars: ArrayLike, rng: np.random.Generator) -> Array:
    """Draw one dataset, shape ``(5 n, 3)``, with n log-uniform: the integer part of such a number from 1 to 201."""
    return sample_n(pars, int(np.exp(rng.uniform(*_LOG_EDGES))), rng)


def sample_n(pars: ArrayLike, n: int, rng: np.random.Generator) -> Array:
    """Draw one dataset of n groups, shape ``(5 n, 3)``, its events in random order."""
    z = np.asarray(pars, dtype=np.float64) + rng.standard_normal((n, 3)) @ _ROOT_Z.T
    x = np.repeat(z, GROUP, axis=0) + rng.standard_normal((GROUP * n, 3)) @ _ROOT_X.T
    return x[rng.permutation(GROUP * n)]


def covariance(n: ArrayLike, blind: bool = False) -> Array:
    """Return the covariance of the mean of n groups, shape ``(..., 3, 3)``, or what one blind to them takes it for."""
    one = (SIGMA_Z + SIGMA_X) / GROUP if blind else SIGMA_Z + SIGMA_X / GROUP
    return one / np.asarray(n, dtype=np.float64)[..., None, None]


def sigma(n: ArrayLike, blind: bool = False) -> Array:
    """Return the uncertainty of theta_1 from n groups away from all bounds, of the shape of n."""
    return np.sqrt(covariance(n, blind)[..., 0, 0])


def blind_coverage() -> float:
    """Return the probability that the blind 68 % interval of theta_1 covers it away from the bounds, for every n."""
    return float(2 * norm.cdf(sigma(1, blind=True) / sigma(1)) - 1)


def evaluate(pars: ArrayLike, x: ArrayLike, blind: bool = False) -> tuple[float, Array]:
    """Return what :func:`log_likelihood` does of one dataset, and its gradient by the parameters, shape ``(3,)``."""
    mean, n = _statistics([x])
    slope = np.linalg.solve(covariance(n[0], blind), mean[0] - np.asarray(pars, dtype=np.float64))
    return float(log_likelihood(pars, [x], blind)[0]), slope


def log_likelihood(pars: ArrayLike, datasets: Sequence[ArrayLike], blind: bool = False) -> Array:
    r"""Return :math:`\log N(\bar x; \theta, V/n)`: the log-likelihood but for the factor h, which is free of theta.

    Args:
        pars: the parameters, shape ``(3,)``, or one point for each dataset, shape ``(B, 3)``.
        datasets: ``B`` datasets, each of shape ``(5 n, 3)`` with its own n.
        blind: take the events for independent.

    Returns:
        Shape ``(B,)``.
    """
    mean, n = _statistics(datasets)
    one = covariance(1, blind)
    away = np.asarray(pars, dtype=np.float64) - mean
    log_norm = -0.5 * np.linalg.slogdet(2 * np.pi * one)[1] + 1.5 * np.log(n)
    return log_norm - 0.5 * n * np.sum(away @ np.linalg.inv(one) * away, axis=1)


def best_fit(datasets: Sequence[ArrayLike], blind: bool = False) -> Array:
    """Return the best fits within the bounds, shape ``(B, 3)``."""
    mean, n = _statistics(datasets)
    return _nearest(mean, n, blind)[0]


def ratio(datasets: Sequence[ArrayLike], theta_1: ArrayLike, blind: bool = False) -> Array:
    """Return -2 log of the profile likelihood ratio at theta_1, one value or one for each dataset, shape ``(B,)``."""
    mean, n = _statistics(datasets)
    held = np.broadcast_to(np.asarray(theta_1, dtype=np.float64), n.shape)
    return np.maximum(_nearest(mean, n, blind, held)[1] - _nearest(mean, n, blind)[1], 0.0)


def interval(datasets: Sequence[ArrayLike], threshold: float = 1.0, blind: bool = False) -> Array:
    """Return the ends of the set of theta_1 with a -2 log of the ratio up to the threshold, shape ``(B, 2)``."""
    mean, n = _statistics(datasets)
    best, minimum = _nearest(mean, n, blind)
    ends = []
    for bound in (LOW, HIGH):
        # the profile is convex and zero at the best fit: bisect between it and the bound
        inside, outside = best[:, 0].copy(), np.full(n.shape, bound)
        reaches = _nearest(mean, n, blind, outside)[1] - minimum <= threshold
        for _ in range(40):  # to a part in 10^12 of the bounds' distance
            middle = 0.5 * (inside + outside)
            below = _nearest(mean, n, blind, middle)[1] - minimum <= threshold
            inside, outside = np.where(below, middle, inside), np.where(below, outside, middle)
        ends.append(np.where(reaches, bound, inside))
    return np.stack(ends, axis=1)


def _statistics(datasets: Sequence[ArrayLike]) -> tuple[Array, Array]:
    """Return the mean of the events, shape ``(B, 3)``, and the number of groups, shape ``(B,)``, of every dataset."""
    arrays = [np.asarray(x, dtype=np.float64) for x in datasets]
    return np.array([x.mean(axis=0) for x in arrays]), np.array([len(x) / GROUP for x in arrays])


def _nearest(mean: Array, n: Array, blind: bool, theta_1: Array | None = None) -> tuple[Array, Array]:
    """Return the points within the bounds nearest to the means, shape ``(B, 3)``, and their squared distances.

    On every face of the box (each parameter free or on one of its bounds) the nearest point has a closed form: with the
    parameters H held, the free ones follow as in a conditional Gaussian. Of those points that lie within the
    bounds the nearest is the answer, as the problem is convex.
    """
    one = covariance(1, blind)
    bounds = [np.full(len(mean), value) for value in (LOW, HIGH)]
    choices = [[None, *bounds], [None, *bounds], [None, *bounds]]
    if theta_1 is not None:
        choices[0] = [theta_1]
    nearest, least = np.zeros_like(mean), np.full(len(mean), np.inf)
    for face in itertools.product(*choices):
        held = [k for k, value in enumerate(face) if value is not None]
        free = [k for k, value in enumerate(face) if value is None]
        point, distance = mean.copy(), np.zeros(len(mean))
        if held:
            away = np.stack([value for value in face if value is not None], axis=1) - mean[:, held]
            pull = np.linalg.solve(one[np.ix_(held, held)], away.T).T
            point[:, held] += away
            point[:, free] += pull @ one[np.ix_(held, free)]
            distance = n * np.sum(away * pull, axis=1)
        allowed = np.all((point[:, free] >= LOW) & (point[:, free] <= HIGH), axis=1)
        better = allowed & (distance < least)
        nearest[better], least[better] = point[better], distance[better]
    return nearest, least


if __name__ == "__main__":
    print(f"blind interval: covers {blind_coverage():.3f} for every n")
    for number in CARDINALITIES:
        print(f"n = {number}: width {2 * sigma(number):.3f}, blind {2 * sigma(number, blind=True):.3f}")
