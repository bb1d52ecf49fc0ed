"""Diagnostics of trained classifiers: calibration curves and closure, on events no network has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["calibration_curve", "reweighting"]


def __dir__() -> list[str]:
    return __all__


def calibration_curve(
    predicted: NDArray[np.float64], member: NDArray[np.bool_], weights: NDArray[np.float64], bins: int = 20
) -> dict[str, list[float]]:
    """Compare the predicted probability of a class with the fraction of events that belong to it.

    Args:
        predicted: probabilities, shape ``(N,)``.
        member: whether each event belongs to the class, shape ``(N,)``.
        weights: shape ``(N,)``.
        bins: of equal population.

    Returns:
        Per bin the mean ``predicted`` probability, the ``observed`` fraction and its statistical ``error``.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> p = rng.random(10_000)
        >>> curve = calibration_curve(p, rng.random(10_000) < p, np.ones(10_000), bins=4)
        >>> np.round(curve["observed"], 1).tolist()
        [0.1, 0.4, 0.6, 0.9]
    """
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1]))
    index = np.searchsorted(edges, predicted, side="right")
    total = np.bincount(index, weights, minlength=len(edges) + 1)
    used = total > 0
    mean = np.bincount(index, weights * predicted, minlength=len(total))[used] / total[used]
    observed = np.bincount(index, weights * member, minlength=len(total))[used] / total[used]
    variance = np.bincount(index, (weights * (member - predicted)) ** 2, minlength=len(total))[used] / total[used] ** 2
    return {"predicted": mean.tolist(), "observed": observed.tolist(), "error": np.sqrt(variance).tolist()}


def reweighting(
    features: Sequence[str],
    reference: tuple[NDArray[np.float32], NDArray[np.float64]],
    ratio: NDArray[np.float64],
    target: tuple[NDArray[np.float32], NDArray[np.float64]],
    name: str,
    bins: int = 25,
) -> list[dict[str, Any]]:
    """Histogram every feature of a reference, of the reference times a learned ratio, and of what that should give.

    Args:
        features: names of the features.
        reference: features ``(N, d)`` and weights ``(N,)``.
        ratio: the learned ratio of each reference event, shape ``(N,)``.
        target: features ``(M, d)`` and weights ``(M,)``.
        name: what the target is.
        bins: between the 0.5 % and 99.5 % quantiles; the first and last bin take what lies beyond.

    Returns:
        One entry per feature, all contents as fractions; ``error`` is that of ``reweighted - target``.
    """
    (x, w), (y, v) = reference, target
    w, v = w / w.sum(), v / v.sum()
    out = []
    for i, feature in enumerate(features):
        low, high = np.quantile(y[:, i], [0.005, 0.995])
        edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
        here, there = (np.searchsorted(edges[1:-1], z[:, i], side="right") for z in (x, y))
        before, after, wanted = (
            np.bincount(here, w, minlength=bins),
            np.bincount(here, w * ratio, minlength=bins),
            np.bincount(there, v, minlength=bins),
        )
        variance = np.bincount(here, (w * ratio) ** 2, minlength=bins) + np.bincount(there, v**2, minlength=bins)
        out.append(
            {
                "feature": feature,
                "class": name,
                "edges": edges.tolist(),
                "reference": before.tolist(),
                "reweighted": after.tolist(),
                "target": wanted.tolist(),
                "error": np.sqrt(variance).tolist(),
            }
        )
    return out
