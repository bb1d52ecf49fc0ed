"""Diagnostics of trained classifiers: calibration curves and closure, on events no network has seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution

from neyman.networks.scaling import spikes_of
from neyman.results.training import chi_squared

__all__ = ["calibration_curve", "closure_failures", "failing", "membership", "reweighting", "weightings"]


def __dir__() -> list[str]:
    return __all__


_KNOWN = 1 / 3  # of its error: how well the effect of a variation by weight can be learned
_ROUNDING = 1e-3  # of the contents of a bin: a ratio that is one everywhere is not learned better
_CHANCE = 1e-5  # of a failure that is none, in a classifier
_MATTERS = 0.2  # standard deviations of the data


def calibration_curve(
    predicted: NDArray[np.float64], member: NDArray[np.bool_ | np.float64], weights: NDArray[np.float64], bins: int = 20
) -> dict[str, list[float]]:
    """Compare the predicted probability of a class with the fraction of events that belong to it.

    Args:
        predicted: probabilities, shape ``(N,)``.
        member: whether each event belongs to the class, or which fraction of its weight does, shape ``(N,)``.
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
    r"""Histogram every feature of a reference, of the reference times a learned ratio, and of what that should give.

    The same events with other weights, as of a variation by weight, stand on both sides, and what both have in common
    has no error: that of the contents of a bin is the error of a difference, :math:`\sqrt{\sum_i (v_i - w_i r_i)^2}`.
    Where the features tell the weights exactly, that vanishes with the last digits of the ratio; it is at least a third
    of :math:`\sqrt{\sum_i (v_i - w_i)^2}`, as well as the simulation knows what the weights do. Elsewhere the samples
    are independent, :math:`\sqrt{\sum_i (w_i r_i)^2 + \sum_i v_i^2}`. A variation of branches has the same collisions
    in other bins and counts as that, too: its errors are too large rather than too small.

    Args:
        features: names of the features.
        reference: features ``(N, d)`` and weights ``(N,)``.
        ratio: the learned ratio of each reference event, shape ``(N,)``.
        target: features ``(M, d)`` and weights ``(M,)``.
        name: what the target is.
        bins: between the 0.5 % and 99.5 % quantiles of the target without its spikes; the first and last bin take what
            lies beyond.

    Returns:
        One entry per feature, all contents as fractions; ``error`` is that of ``reweighted - target``, at least a
        thousandth of them.

    Example:
        >>> import numpy as np
        >>> x, w = np.arange(4, dtype=np.float32)[:, None], np.ones(4)
        >>> same = reweighting(["x"], (x, w), np.ones(4), (x, w), "itself", bins=2)[0]
        >>> other = reweighting(["x"], (x, w), np.ones(4), (x[::-1], w), "another", bins=2)[0]
        >>> np.round(same["error"], 4), np.round(other["error"], 4)
        (array([0.0005, 0.0005]), array([0.5, 0.5]))
    """
    (x, w), (y, v) = reference, target
    before, wanted = w / w.sum(), v / v.sum()
    after = before * ratio
    if np.array_equal(x, y):
        return list(weightings(features, (x, w), [(name, ratio, v)], bins))
    none, here, there = np.zeros(len(w) + len(v)), np.zeros(len(w)), np.zeros(len(v))
    before, after, wanted = (np.concatenate(pair) for pair in ((before, there), (after, there), (here, wanted)))
    places = _places(np.concatenate([x, y]), wanted != 0, bins)
    return _histograms(features, places, before, after, wanted, none, name)


def weightings(
    features: Sequence[str],
    reference: tuple[NDArray[np.float32], NDArray[np.float64]],
    varied: Iterable[tuple[str, NDArray[np.float64], NDArray[np.float64]]],
    bins: int = 25,
) -> Iterator[dict[str, Any]]:
    """Do the same for many other weights of the same events, which share the bins.

    Args:
        features: names of the features.
        reference: features ``(N, d)`` and weights ``(N,)``.
        varied: the name, the learned ratio and the weights of each variation, the latter of shape ``(N,)``.
        bins: as for :func:`reweighting`.
    """
    x, w = reference
    before, places = w / w.sum(), _places(x, w != 0, bins)
    for name, ratio, weights in varied:
        wanted = weights / weights.sum()
        yield from _histograms(features, places, before, before * ratio, wanted, _KNOWN * (wanted - before), name)


def membership(
    features: Sequence[str],
    events: tuple[NDArray[np.float32], NDArray[np.float64]],
    ratio: NDArray[np.float64],
    member: NDArray[np.bool_],
    name: str,
    bins: int = 25,
) -> list[dict[str, Any]]:
    r"""Do the same for the mixture of all classes, reweighted to one of them, whose events are part of the mixture.

    An event's weight is :math:`w_i r_i` on one side and, if it is one of the class, :math:`v_i` on the other: the error
    is :math:`\sqrt{\sum_i (v_i - w_i r_i)^2}`.

    Args:
        features: names of the features.
        events: features ``(N, d)`` and weights ``(N,)`` of the mixture.
        ratio: the learned ratio of the class to the mixture, shape ``(N,)``.
        member: which events are the class's, shape ``(N,)``.
        name: of the class.
        bins: as for :func:`reweighting`.
    """
    x, w = events
    before, wanted = w / w.sum(), np.where(member, w, 0.0) / w[member].sum()
    places = _places(x, wanted != 0, bins)
    return _histograms(features, places, before, before * ratio, wanted, np.zeros(len(w)), name)


def _places(
    x: NDArray[np.float32], used: NDArray[np.bool_], bins: int
) -> list[tuple[NDArray[np.float64], NDArray[np.intp]]]:
    """Return the edges of the bins of each feature, to suit the events used, and the bin of every event."""
    edges = [_edges(column, bins) for column in x[used].T]
    return [(e, np.searchsorted(e[1:-1], column, side="right")) for e, column in zip(edges, x.T, strict=True)]


def _histograms(
    features: Sequence[str],
    places: Sequence[tuple[NDArray[np.float64], NDArray[np.intp]]],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    wanted: NDArray[np.float64],
    least: NDArray[np.float64],
    name: str,
) -> list[dict[str, Any]]:
    """Return the histograms of events with three weights each, and a least error of the difference of the last two."""
    out, squares = [], ((wanted - after) ** 2, least**2)
    for feature, (edges, place) in zip(features, places, strict=True):
        bins = len(edges) - 1
        reference, reweighted, target = (np.bincount(place, w, minlength=bins) for w in (before, after, wanted))
        variances = [np.bincount(place, one, minlength=bins) for one in squares]
        out.append(
            {
                "feature": feature,
                "class": name,
                "edges": edges.tolist(),
                "reference": reference.tolist(),
                "reweighted": reweighted.tolist(),
                "target": target.tolist(),
                "error": np.hypot(np.sqrt(np.maximum(*variances)), _ROUNDING * target).tolist(),
            }
        )
    return out


def closure_failures(classifier: Mapping[str, Any], expected: Mapping[str, float]) -> list[str]:
    """Say which classes of a classifier do not close in which feature: more than chance allows, and than matters.

    Args:
        classifier: its entry in the report, with ``reweighting``.
        expected: how many events of each class are expected in the data: a deviation matters if these could tell it
            by a fifth of a standard deviation.

    Example:
        >>> cell = {"feature": "x", "class": "scale hi", "reweighted": [0.5, 0.5], "target": [0.6, 0.4]}
        >>> closure_failures({"name": "b", "reweighting": [{**cell, "error": [0.01, 0.01]}]}, {"scale hi": 50.0})
        ['b: scale hi is not learned well: x does not close (chi2 200 for 2 bins), off by 1.4 sigma of the data']
        >>> closure_failures({"name": "b", "reweighting": [{**cell, "error": [0.1, 0.1]}]}, {"scale hi": 50.0})
        []
    """
    worst = failing(classifier["reweighting"], expected, "does not close")
    return [f"{classifier['name']}: {name} is not learned well: {text}" for name, text in worst.items()]


def failing(cells: Sequence[Mapping[str, Any]], expected: Mapping[str, float], verb: str) -> dict[str, str]:
    """Return of each class whose histograms disagree the feature that does so most, with the verb, and by how much.

    Args:
        cells: as from :func:`reweighting`.
        expected: as for :func:`closure_failures`.
        verb: what the feature does, such as "does not close".
    """
    worst: dict[str, tuple[float, str]] = {}
    for cell in cells:
        after, target, error = (np.asarray(cell[key], dtype=np.float64) for key in ("reweighted", "target", "error"))
        used = (error > 0) & (target > 0)
        chi2, n = chi_squared([cell])
        excess = float((((after - target)[used] ** 2 - error[used] ** 2) / target[used]).sum())
        sigma = math.sqrt(max(excess, 0.0) * abs(expected[cell["class"]]))
        if len(cells) * chi2_distribution.sf(chi2, n) < _CHANCE and sigma > _MATTERS:
            text = f"{cell['feature']} {verb} (chi2 {chi2:.0f} for {n} bins), off by {sigma:.2g} sigma of the data"
            worst[cell["class"]] = max(worst.get(cell["class"], (0.0, "")), (chi2, text))
    return {name: text for name, (_, text) in worst.items()}


def _edges(values: NDArray[np.float32], bins: int) -> NDArray[np.float64]:
    """Return the edges of bins of a feature, shape ``(bins + 1,)``, that its sentinels do not stretch."""
    distinct, counts = np.unique(values, return_counts=True)
    rest = values[~np.isin(values, distinct[spikes_of(distinct, counts)])]
    low, high = np.quantile(rest if len(rest) else values, [0.005, 0.995])
    return np.linspace(low, high if high > low else low + 1.0, bins + 1)
