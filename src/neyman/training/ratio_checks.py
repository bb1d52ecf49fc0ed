"""Is the ratio of a dataset-wide network right? Its calibration and its closure on datasets it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from neyman.events import effective_events
from neyman.model.setwise import SetChannel
from neyman.training.closure import calibration_curve, reweighting
from neyman.training.fresh import FreshDatasets, Scale
from neyman.training.simple_statistics import simple_statistics
from neyman.training.verdicts import SLICES

__all__ = ["calibration", "closure"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_CANDIDATES = 16
_REACH = (1.0, 3.0)  # of the candidates from their centre, in standard deviations
_UNIFORM = 0.2  # of the datasets have candidates from the whole range
_PAIRS = 3
_APART = 1.0  # standard deviations: the effective sample is exp(-1) of the datasets, and falls fast beyond
_BINS = 10


def calibration(
    channel: SetChannel, source: FreshDatasets, scale: Scale, axis: int, n: int
) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    r"""Compare the predicted probabilities of candidate parameters with how often they are the true ones.

    The true ones and the candidates are drawn alike, about a common centre, so that
    :math:`p_j = \mathrm{softmax}_j s(D, \theta_j)` is exact if the ratio is (arXiv:2210.06170). Beside the curve, the
    slope is the :math:`\beta` at which :math:`\mathrm{softmax}_j \beta s(D, \theta_j)` is most likely, and the bias the
    :math:`b` at which :math:`\mathrm{softmax}_j (s(D, \theta_j) - b \theta_j / \sigma)` is, with :math:`\sigma` the
    standard deviation that the network gives the parameter: how far it is off.

    Args:
        channel: the channel.
        source: of datasets.
        scale: how far apart the candidates are to be.
        axis: the parameter that is sliced, by the centre of the candidates, and whose bias it is.
        n: how many datasets.

    Returns:
        The curve, and slope and bias everywhere and in slices.
    """
    rng, p = source.rng, len(channel.low)
    centre = rng.random((n, p))
    root = scale.root(centre)
    everywhere = rng.random(n) < _UNIFORM
    reach = np.exp(rng.uniform(np.log(_REACH[0]), np.log(_REACH[1]), n))
    steps = rng.normal(size=(n, _CANDIDATES, p)) @ (reach[:, None, None] * root).transpose(0, 2, 1)
    unit = np.where(everywhere[:, None, None], rng.random((n, _CANDIDATES, p)), centre[:, None] + steps)
    candidates = scale.point(unit)
    sums, _ = source.draw(np.ascontiguousarray(candidates[:, 0]))
    scores = channel.scores(sums, candidates)
    probabilities = _softmax(scores)
    member = np.zeros(scores.shape, dtype=bool)
    member[:, 0] = True
    curve = calibration_curve(probabilities.ravel(), member.ravel(), np.ones(member.size), bins=15)
    sigma = np.sqrt((root[:, axis] ** 2).sum(axis=1)) * max(channel.high[axis] - channel.low[axis], 1e-300)
    values = candidates[:, :, axis] / sigma[:, None]
    place = np.floor(centre[:, axis] * SLICES)
    regions = [("", np.ones(n, dtype=bool))]
    regions += [(str(k), (place == k) & ~everywhere) for k in range(SLICES)]
    edges = np.linspace(channel.low[axis], channel.high[axis], SLICES + 1)
    entries = []
    for name, own in regions:
        low, high = (edges[int(name)], edges[int(name) + 1]) if name else (np.nan, np.nan)
        slope, slope_error = _slope(scores[own])
        bias, bias_error = _bias(probabilities[own & ~everywhere], values[own & ~everywhere])
        entries.append(
            {
                "low": float(low), "high": float(high), "datasets": int(own.sum()), "slope": slope,
                "slope_error": slope_error, "bias": bias, "bias_error": bias_error,
            }
        )  # fmt: skip
    return curve, tuple(entries)


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _slope(scores: Array) -> tuple[float, float]:
    """Return the most likely factor of scores, the true one being the first, and its error."""
    slope, error = 1.0, np.inf
    for _ in range(50):
        p = _softmax(slope * scores)
        mean = (p * scores).sum(axis=1)
        information = float((p * (scores - mean[:, None]) ** 2).sum())
        if information < 1e-9:
            break
        error = information**-0.5
        step = float((scores[:, 0] - mean).sum()) / information
        slope += np.clip(step, -0.5, 0.5)
        if abs(step) < 1e-6:
            break
    return float(slope), float(error)


def _bias(p: Array, values: Array) -> tuple[float, float]:
    """Return how far learned values are above the true ones, the first, given in standard deviations; and its error.

    That is, to first order, how steep a slope added to the scores makes the true ones most likely.
    """
    mean = (p * values).sum(axis=1)
    information = max(float((p * (values - mean[:, None]) ** 2).sum()), 1e-300)
    return float((mean - values[:, 0]).sum() / information), information**-0.5


def closure(channel: SetChannel, source: FreshDatasets, scale: Scale, axis: int, n: int) -> tuple[dict[str, Any], ...]:
    r"""Reweight datasets from one point to another and compare them with datasets from there, both ways.

    The weights are :math:`r = \exp(s(D, \theta_1) - s(D, \theta_0))` over their mean, which is one if the ratio is
    right. What is judged has bounded weights: the logarithm of the mean weight by the acceptance ratio of C. H.
    Bennett, J. Comput. Phys. 22 (1976) 245, and the means of summary statistics, which :math:`r/(1+r)` at
    :math:`\theta_0` and :math:`1/(1+r)` at :math:`\theta_1` make the same.

    The points are spread along one parameter, a standard deviation apart in a random direction.

    Args:
        channel: the channel.
        source: of datasets.
        scale: how far one standard deviation is.
        axis: the parameter.
        n: how many datasets, of all points together.
    """
    rng, p, each = source.rng, len(channel.low), max(n // (2 * _PAIRS), 10)
    unit = rng.uniform(0.2, 0.8, size=(_PAIRS, p))
    unit[:, axis] = (np.arange(_PAIRS) + 0.5) / _PAIRS
    direction = rng.normal(size=(_PAIRS, p))
    direction *= 0.5 * _APART / np.linalg.norm(direction, axis=1, keepdims=True)
    step = (scale.root(unit) @ direction[:, :, None])[:, :, 0]
    entries = []
    for k in range(_PAIRS):
        ends = scale.point(np.stack([unit[k] - step[k], unit[k] + step[k]]))
        numbers = None if channel.owns_number else np.full(2 * each, int(np.sqrt(np.prod(channel.numbers))))
        sums, datasets = source.draw(np.repeat(ends, each, axis=0), numbers)
        scores = channel.scores(sums, np.broadcast_to(ends, (2 * each, 2, p)).copy())
        here, there = (_point(channel.names, end) for end in ends)
        names, statistics = simple_statistics(datasets, channel.features)
        ratio = (scores[:, 1] - scores[:, 0]).reshape(2, each)
        found = _closed(names, (here, there), statistics.reshape(2, each, -1), ratio)
        entries.append({"here": here, "there": there, "at": float(ends[:, axis].mean().round(12)), **found})
    return tuple(entries)


def _point(names: Sequence[str], point: Array) -> str:
    return ", ".join(f"{name} = {value:.3g}" for name, value in zip(names, point, strict=True))


def _closed(names: Sequence[str], ends: tuple[str, str], statistics: Array, ratio: Array) -> dict[str, Any]:
    """Return the closure between two points.

    Args:
        names: of the summary statistics.
        ends: the points.
        statistics: of the datasets at each, shape ``(2, n, S)``.
        ratio: log-ratios of the second point to the first, shape ``(2, n)``.
    """
    cells: list[dict[str, Any]] = []
    offset, error, overlap = _offset(ratio)
    weights = [_normalised(ratio[0]), _normalised(-ratio[1])]
    compared, shifts, errors = [], [], []
    for k, name in enumerate(names):
        there = np.isfinite(statistics[:, :, k])
        if there.sum(axis=1).min() < 2:
            continue
        x = [statistics[end, there[end], k] for end in (0, 1)]
        spread = float(np.sqrt(0.5 * (x[0].var() + x[1].var())))
        if spread <= 1e-9 * max(abs(float(x[0].mean())), 1e-300):  # it does not vary: nothing to compare
            continue
        moments = [_mean(values, overlap[end, there[end]]) for end, values in enumerate(x)]
        compared.append(name)
        shifts.append((moments[0][0] - moments[1][0]) / spread)
        errors.append(float(np.sqrt(moments[0][1] + moments[1][1])) / spread)
        columns = [(values[:, None].astype(np.float32), np.ones(len(values))) for values in x]
        for end in (0, 1):
            own = weights[end][there[end]]
            cells += reweighting([name], columns[end], own, columns[1 - end], f"at {ends[1 - end]}", _BINS)
    return {
        "datasets": ratio.size,
        "effective": float(min(effective_events(one) for one in weights)),
        "offset": offset,
        "offset_error": error,
        "statistics": compared,
        "shifts": shifts,
        "shift_errors": errors,
        "cells": cells,
    }


def _normalised(logarithms: Array) -> Array:
    """Return weights whose mean is one."""
    weights = np.exp(logarithms - logarithms.max())
    return np.asarray(weights / weights.mean())


def _mean(values: Array, weights: Array) -> tuple[float, float]:
    """Return the weighted mean and its variance."""
    mean = float((weights * values).sum() / weights.sum())
    return mean, float(((weights * (values - mean)) ** 2).sum() / weights.sum() ** 2)


def _offset(ratio: Array) -> tuple[float, float, Array]:
    """Return the logarithm of the mean weight, its error, and the bounded weights at both ends, shape ``(2, n)``."""
    logit = np.stack([ratio[0], -ratio[1]])
    sign = np.array([[-1.0], [1.0]])

    def difference(c: float) -> float:
        means = scipy.special.expit(logit + sign * c).mean(axis=1)
        return float(means[0] - means[1])

    reach = float(np.abs(ratio).max()) + 1.0
    offset = float(scipy.optimize.brentq(difference, -reach, reach))
    overlap = scipy.special.expit(logit + sign * offset)
    slope = float((overlap * (1.0 - overlap)).mean(axis=1).sum())
    variance = float((overlap.var(axis=1) / overlap.shape[1]).sum())
    return offset, float(np.sqrt(variance)) / max(slope, 1e-300), np.maximum(overlap, 1e-300)
