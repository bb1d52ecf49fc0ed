"""The distance of data and prediction in bins of which the fit may have determined a part."""

from __future__ import annotations

import numpy as np
import scipy.stats
from numpy.typing import NDArray

__all__ = ["chi_squared"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_FEWEST = 5.0  # expected events of bins that are compared by chi-square: fewer are joined with their neighbours
_DETERMINED = 0.05  # of its variance is left of a combination of bins that the fit has all but determined


def chi_squared(difference: Array, covariance: Array, expected: Array) -> tuple[float, int, float]:
    """Return the distance of data and prediction, its degrees of freedom and the probability of a larger one.

    Bins in which few events are expected are joined. Combinations of bins whose difference the fit has all but
    determined, as the total where a rate is free, are left out: they are no test.

    Args:
        difference: of data and prediction, shape ``(B,)``.
        covariance: of the difference, shape ``(B, B)``.
        expected: the prediction, shape ``(B,)``.
    """
    joined = _joined(expected)
    if not len(joined) or not np.isfinite(covariance).all():
        return np.nan, 0, np.nan
    scale = 1.0 / np.sqrt(joined @ expected)
    variances, directions = np.linalg.eigh((joined @ covariance @ joined.T) * np.outer(scale, scale))
    kept = variances > _DETERMINED
    pulls = (directions.T @ (scale * (joined @ difference)))[kept]
    value, degrees = float(np.sum(pulls**2 / variances[kept])), int(kept.sum())
    return (value, degrees, float(scipy.stats.chi2.sf(value, degrees))) if degrees else (np.nan, 0, np.nan)


def _joined(expected: Array) -> Array:
    """Return which bins stand together so that enough events are expected, shape ``(J, B)``, of zeros and ones."""
    group, groups, collected = np.zeros(len(expected), dtype=np.intp), 0, 0.0
    for b, content in enumerate(expected):
        group[b] = groups
        collected += content
        if collected >= _FEWEST:
            groups, collected = groups + 1, 0.0
    if not groups:
        return np.empty((0, len(expected)))
    group = np.minimum(group, groups - 1)  # what is left over at the end stands with the last ones
    return np.asarray(group == np.arange(groups)[:, None], dtype=np.float64)
