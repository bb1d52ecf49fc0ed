"""Test statistics of the profile likelihood ratio, and what the asymptotic formulas say of them."""

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter

__all__ = ["TEST_STATISTICS", "asymptotic_critical", "asymptotic_pvalue", "checked", "is_bounded", "statistic"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

TEST_STATISTICS = ("tmu", "tmu_tilde", "qmu", "qmu_tilde", "q0")


def checked(test_stat: str) -> str:
    """Return the test statistic's name.

    Raises:
        InvalidParameter: if there is none of that name.
    """
    if test_stat not in TEST_STATISTICS:
        raise InvalidParameter(f"test_stat is {test_stat!r}: it must be one of {', '.join(TEST_STATISTICS)}")
    return test_stat


def is_bounded(test_stat: str) -> bool:
    """Whether the best-fit parameter of interest must not be below zero."""
    return test_stat.endswith("_tilde")


def statistic(test_stat: str, value: float, best: ArrayLike, minimum: ArrayLike, conditional: ArrayLike) -> Array:
    r"""Return the test statistic of any number of datasets.

    With :math:`t_\mu = -2 \log (L(\mu, \hat{\hat\theta}) / L(\hat\mu, \hat\theta))`, arXiv:1007.1727: ``tmu`` and
    ``tmu_tilde`` are it (eqs. 8 and 11), ``qmu`` and ``qmu_tilde`` are zero where :math:`\hat\mu > \mu` (eqs. 14 and
    16) and give upper limits, ``q0`` is zero where :math:`\hat\mu < \mu` (eq. 12, at any :math:`\mu`) and gives lower
    limits, at zero the significance of a discovery.

    Args:
        test_stat: its name.
        value: the tested value of the parameter of interest.
        best: its best-fit values, not below zero for a ``_tilde``, shape ``(n,)``.
        minimum: -2 log L there, shape ``(n,)``.
        conditional: -2 log L at the best fit with the parameter at the tested value, shape ``(n,)``.

    Example:
        >>> statistic("qmu", 1.0, [0.5, 2.0], [0.0, 0.0], [1.5, 3.0])
        array([1.5, 0. ])
    """
    best = np.asarray(best, dtype=np.float64)
    ratio = np.maximum(np.asarray(conditional, dtype=np.float64) - np.asarray(minimum, dtype=np.float64), 0.0)
    if test_stat.startswith("qmu"):
        return np.where(best > value, 0.0, ratio)
    return np.where(best < value, 0.0, ratio) if test_stat == "q0" else ratio


def asymptotic_pvalue(test_stat: str, observed: ArrayLike, root_asimov: ArrayLike) -> Array:
    """Return the probability of a value at least as large at the tested parameters, arXiv:1007.1727.

    Sections 3.3 (``tmu``), 3.4 (``tmu_tilde``), 3.5 (``q0``), 3.6 (``qmu``) and 3.7 (``qmu_tilde``).

    Args:
        test_stat: the test statistic.
        observed: its values, shape ``(n,)``.
        root_asimov: the tested value in standard deviations: the root of ``tmu`` in the Asimov dataset without signal;
            one, or one for each value.

    Example:
        >>> asymptotic_pvalue("tmu", [1.0, 4.0], 1.5).round(3)
        array([0.317, 0.046])
    """
    t = np.maximum(np.asarray(observed, dtype=np.float64), 0.0)
    tail = scipy.stats.norm.sf(np.sqrt(t))
    root = np.asarray(root_asimov, dtype=np.float64)
    beyond = t > root**2
    known = (root > 0.0) & (root < np.inf)
    safe = np.where(known, root, 1.0)
    far = np.where(known, scipy.stats.norm.sf((t + safe**2) / (2.0 * safe)), 0.0)
    if test_stat == "tmu":
        pvalue = 2.0 * tail
    elif test_stat == "tmu_tilde":
        pvalue = tail + np.where(beyond, far, tail)
    elif test_stat == "qmu_tilde":
        pvalue = np.where(beyond, far, tail)
    else:
        pvalue = tail
    return np.asarray(np.where(t > 0.0, pvalue, 1.0))


def asymptotic_critical(test_stat: str, level: float, root_asimov: float) -> float:
    """Return the value that the statistic stays below with the probability ``level`` at the tested parameters.

    Args:
        test_stat: the test statistic.
        level: the confidence level.
        root_asimov: as for :func:`asymptotic_pvalue`.

    Example:
        >>> round(asymptotic_critical("tmu_tilde", 0.95, 0.0), 3), round(asymptotic_critical("tmu", 0.95, 0.0), 3)
        (2.706, 3.841)
    """

    def excess(t: float) -> float:
        return float(asymptotic_pvalue(test_stat, t, root_asimov)) - (1.0 - level)

    if excess(1e-12) <= 0.0:
        return 0.0
    high = 1.0
    while excess(high) > 0.0:
        high *= 2.0
    return float(scipy.optimize.brentq(excess, 1e-12, high, xtol=1e-10))
