r"""Are posteriors right? Truths among draws, as arrays: nothing here knows of networks or simulators.

===========================  ====================================================================================
``pits``                     where the truth is among the draws of its posterior: uniform if that is right
``normal_scores``            the same as standard normal numbers
``pulls``                    the truth minus the mean of the draws over their standard deviation
``pair_pits``                where the product of the deviations of two parameters is: sees wrong correlations
``tarp_pits``                how much of the posterior is nearer to a random point than the truth (arXiv:2302.03026)
``expected_coverage``        how often the central credible intervals hold the truth
``uniformity``               the p-value of probabilities being uniform
``predictable``              do statistics of a dataset tell where the truth lies in its posterior?
``exchangeable``             are replicated datasets larger in a statistic than the real ones?
===========================  ====================================================================================

All of it rests on this: the truth, drawn from the prior, is one more draw of the exact posterior of its dataset
(simulation-based calibration, arXiv:1804.06788). Its rank is then uniform whatever is known of the data alone: anywhere
in sample size, posterior mean or any other statistic. Not so at given true parameters, where the prior pulls.

``T`` is the number of datasets, ``n`` that of draws of each, ``P`` that of parameters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Predictable",
    "exchangeable",
    "expected_coverage",
    "mean_p",
    "normal_scores",
    "pair_pits",
    "pits",
    "predictable",
    "pulls",
    "spread_p",
    "tarp_pits",
    "uniformity",
]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


def pits(truths: ArrayLike, draws: ArrayLike, rng: np.random.Generator) -> Array:
    r"""Return the probabilities below the truths, :math:`(r + U)/(n + 1)`: exactly uniform if the posterior is right.

    Args:
        truths: shape ``(T, P)``.
        draws: of the posterior of each dataset, shape ``(T, n, P)``.
        rng: of U, which makes ranks continuous and resolves ties.

    Returns:
        Shape ``(T, P)``. The rank is ``floor(pit * (n + 1))``.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> pits([[0.0], [2.5]], [[[1.0], [2.0], [3.0]]] * 2, rng).round(2)
        array([[0.16],
               [0.57]])
    """
    values, several = np.asarray(truths, dtype=np.float64)[:, None], np.asarray(draws, dtype=np.float64)
    below, equal = (several < values).sum(axis=1), (several == values).sum(axis=1)
    return np.asarray((below + rng.random(below.shape) * (equal + 1)) / (several.shape[1] + 1))


def normal_scores(probabilities: ArrayLike) -> Array:
    """Return the standard normal numbers that have these probabilities below them, of the same shape."""
    return np.asarray(scipy.special.ndtri(np.asarray(probabilities, dtype=np.float64)))


def pulls(truths: ArrayLike, draws: ArrayLike) -> Array:
    r"""Return :math:`(\theta - m)/s`, with m and s the mean and the standard deviation of the draws, shape ``(T, P)``.

    It has mean zero and width one if the posterior is right, whatever its shape. What the number of draws adds to the
    width, :math:`\sqrt{(1 + 1/n)(n - 1)/(n - 3)}` of a normal posterior, is taken out.
    """
    several = np.asarray(draws, dtype=np.float64)
    n = several.shape[1]
    spread = np.maximum(several.std(axis=1, ddof=1), 1e-300)
    return np.asarray(
        (truths - several.mean(axis=1)) / spread / np.sqrt((1 + 1 / n) * (n - 1) / max(n - 3, 1)), dtype=np.float64
    )


def pair_pits(
    truths: ArrayLike, draws: ArrayLike, rng: np.random.Generator, most: int = 10
) -> dict[tuple[int, int], Array]:
    """Return the probabilities of products of the deviations of two parameters: uniform if the correlation is right.

    Deviations are those from the mean of draws and truth together, which treats them alike. That such a quantity
    depends on the data is what makes it sharp (arXiv:2211.02383).

    Args:
        truths: shape ``(T, P)``.
        draws: shape ``(T, n, P)``.
        rng: resolves ties.
        most: how many pairs to take.

    Returns:
        For each pair of parameters, shape ``(T,)``.
    """
    both = np.concatenate([np.asarray(truths, dtype=np.float64)[:, None], draws], axis=1)
    both -= both.mean(axis=1, keepdims=True)
    p = both.shape[2]
    pairs = [(i, j) for i in range(p) for j in range(i + 1, p)][:most]
    products = ((pair, both[:, :, pair[0]] * both[:, :, pair[1]]) for pair in pairs)
    return {pair: pits(one[:, :1], one[:, 1:, None], rng)[:, 0] for pair, one in products}


def tarp_pits(truths: ArrayLike, draws: ArrayLike, rng: np.random.Generator) -> Array:
    """Return the fraction of the draws nearer than the truth to a random point: uniform if the posterior is right.

    Tests of accuracy with random points (TARP, arXiv:2302.03026), of all parameters together. The points are the truths
    of other datasets; distances are in standard deviations of the truths.

    Args:
        truths: shape ``(T, P)``.
        draws: shape ``(T, n, P)``.
        rng: deals the points.

    Returns:
        Shape ``(T,)``.
    """
    values, several = np.asarray(truths, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    t = len(values)
    points = values[(np.arange(t) + rng.integers(1, max(t, 2), size=t)) % t]  # never its own
    scale = np.maximum(values.std(axis=0), 1e-300)
    far = np.sqrt((((several - points[:, None]) / scale) ** 2).sum(axis=2))
    own = np.sqrt((((values - points) / scale) ** 2).sum(axis=1))
    return pits(own[:, None], far[:, :, None], rng)[:, 0]


def expected_coverage(probabilities: ArrayLike, levels: ArrayLike, *, central: bool = True) -> Array:
    """Return how often credible intervals hold the truth, at each level.

    Args:
        probabilities: of :func:`pits`, shape ``(T,)``.
        levels: of the intervals, shape ``(L,)``.
        central: whether the intervals are central; or else those from below, as TARP has them.

    Returns:
        Shape ``(L,)``. The Kolmogorov-Smirnov distribution of ``T`` says how far from the levels it may be.

    Example:
        >>> expected_coverage([0.1, 0.4, 0.5, 0.9], [0.5, 0.9]).tolist()
        [0.5, 1.0]
    """
    u = np.asarray(probabilities, dtype=np.float64)
    needed = np.abs(2.0 * u - 1.0) if central else u
    return np.asarray((needed[:, None] <= np.asarray(levels, dtype=np.float64)).mean(axis=0))


def uniformity(probabilities: ArrayLike) -> float:
    """Return the p-value of probabilities being uniform: the smallest of three tests, times three.

    These are the mean of their normal scores, the spread of these, and the Kolmogorov-Smirnov test. The first two have
    the most power against what goes wrong most often, the third sees everything else.

    Example:
        >>> import numpy as np
        >>> u = np.random.default_rng(1).random(1000)
        >>> uniformity(u) > 0.05, uniformity(0.1 + 0.8 * u) < 1e-6
        (True, True)
    """
    u = np.asarray(probabilities, dtype=np.float64)
    z = normal_scores(u)
    return min(1.0, 3.0 * min(float(scipy.stats.kstest(u, "uniform").pvalue), mean_p(z), spread_p(z)))


def mean_p(z: Array) -> float:
    """Return the p-value of standard normal numbers having this mean, on both sides."""
    return float(2.0 * scipy.stats.norm.sf(abs(z.sum()) / np.sqrt(len(z))))


def spread_p(z: Array) -> float:
    """Return the p-value of standard normal numbers having this spread, on both sides."""
    square, free = ((z - z.mean()) ** 2).sum(), len(z) - 1
    return float(min(1.0, 2.0 * min(scipy.stats.chi2.cdf(square, free), scipy.stats.chi2.sf(square, free))))


class Predictable(NamedTuple):
    """How well statistics of datasets predict normal scores.

    Args:
        size: the r.m.s. of what they predict, less what chance alone predicts.
        p: the probability to predict so much by chance.
        strongest: the number of the statistic that predicts most by itself.
    """

    size: float
    p: float
    strongest: int


def predictable(scores: ArrayLike, statistics: ArrayLike) -> Predictable:
    r"""Regress numbers of mean zero and variance one on statistics that should say nothing of them.

    With an orthonormal basis :math:`q_k` of straight lines and parabolas in the ranks of the statistics,
    :math:`\sum_k (\sum_t q_{kt} z_t)^2` is distributed as chi-square if they do not. This is a test of *local*
    calibration: it finds posteriors that are right on average over all datasets and wrong for each, such as the prior
    itself, if a statistic says more than the posterior knows.

    Args:
        scores: shape ``(T,)``.
        statistics: shape ``(T, S)``; nan where there is none.
    """
    z = np.asarray(scores, dtype=np.float64)
    columns = np.asarray(statistics, dtype=np.float64)
    t, s = columns.shape
    filled = np.where(np.isfinite(columns), columns, np.nanmedian(columns, axis=0))
    x = 2.0 * (scipy.stats.rankdata(filled, axis=0) - 0.5) / t - 1.0
    curves = np.stack([x, 0.5 * (3.0 * x**2 - 1.0)], axis=2)  # (T, S, 2)
    curves -= curves.mean(axis=0)
    alone = [float(((_basis(curves[:, k]).T @ z) ** 2).sum()) for k in range(s)]
    basis = _basis(curves.reshape(t, -1))
    square, terms = float(((basis.T @ z) ** 2).sum()), basis.shape[1]
    size = float(np.sqrt(max(square - terms, 0.0) / t))
    return Predictable(size, float(scipy.stats.chi2.sf(square, max(terms, 1))), int(np.argmax(alone)))


def _basis(columns: Array) -> Array:
    """Return an orthonormal basis of the space of the columns."""
    u, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(u[:, singular > 1e-6 * np.sqrt(len(columns))])


def exchangeable(observed: ArrayLike, replicated: ArrayLike) -> tuple[float, float, float]:
    """Compare a statistic of datasets with that of one replica each, simulated at a draw of its posterior.

    If the posterior is right, the two can be exchanged: the posterior predictive check that is exact. The p-value is
    that of the Wilcoxon test of signed ranks.

    Args:
        observed: shape ``(T,)``; nan where there is none.
        replicated: shape ``(T,)``.

    Returns:
        The mean difference of replica and observed in standard deviations of the statistic, its error, the p-value;
        zero, zero and one where the statistic does not vary.
    """
    x, y = np.asarray(observed, dtype=np.float64), np.asarray(replicated, dtype=np.float64)
    there = np.isfinite(x) & np.isfinite(y)
    difference, spread = (y - x)[there], float(x[there].std()) if there.any() else 0.0
    if len(difference) < 2 or not difference.any() or spread == 0.0:
        return 0.0, 0.0, 1.0
    shift = float(difference.mean()) / spread
    error = float(difference.std()) / spread / np.sqrt(len(difference))
    return shift, float(error), float(scipy.stats.wilcoxon(difference, method="asymptotic").pvalue)
