"""From numbers of toys that cover to a verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from neyman.results import CoverageResult

__all__ = ["certificate"]


def __dir__() -> list[str]:
    return __all__


_SIGNIFICANT = 3.0  # one-sided standard deviations, shared among the truths, between a verdict and chance


def certificate(covered: ArrayLike, toys: ArrayLike, level: float, tolerance: float, **what: Any) -> CoverageResult:
    """Return the coverage at each truth; a verdict needs three standard deviations, one-sided and shared among them.

    Args:
        covered: how many toys cover, shape ``(T,)``.
        toys: of how many, shape ``(T,)``.
        level: the confidence level.
        tolerance: how far below it the coverage may be.
        what: the other fields of the result.
    """
    hits, numbers = np.asarray(covered, dtype=np.int64), np.asarray(toys, dtype=np.int64)
    fraction = hits / numbers
    chance = scipy.stats.norm.sf(_SIGNIFICANT) / len(hits)
    under = scipy.stats.binom.cdf(hits, numbers, max(level - tolerance, 0.0)) < chance
    over = scipy.stats.binom.sf(hits - 1, numbers, level) < chance
    tail = scipy.stats.norm.sf(1.0)
    low = np.where(hits > 0, scipy.stats.beta.ppf(tail, hits, numbers - hits + 1), 0.0)
    high = np.where(hits < numbers, scipy.stats.beta.isf(tail, hits + 1, numbers - hits), 1.0)
    error: NDArray[np.float64] = np.sqrt(np.maximum(fraction * (1.0 - fraction), 1.0 / numbers) / numbers)
    return CoverageResult(
        level=level,
        coverage=fraction,
        error=error,
        intervals=np.stack([low, high], axis=1),
        covered=hits,
        toys=numbers,
        verdicts=tuple(
            "undercovers" if u else "overcovers" if o else "covers" for u, o in zip(under, over, strict=True)
        ),
        tolerance=tolerance,
        **what,
    )
