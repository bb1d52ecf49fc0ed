"""Diagnostics of a dataset-wide network on datasets it has not seen: is its ratio right, and are asymptotics?

=====================  ====================================================================================
``calibration``        are the true parameters among candidates as often the true ones as predicted?
``closure``            do datasets from one point, reweighted by the ratio, look like those from another?
``at_truth``           is the test statistic at the truth distributed as chi-square, and the best fit unbiased?
``examine``            all of these, and the verdict
=====================  ====================================================================================

The first two test the network alone. The third tests what is done with it: where counts are small or a parameter is at
its bound, the exact likelihood ratio does not follow chi-square either.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
from numpy.typing import NDArray

from neyman.events import effective_events
from neyman.exceptions import NeymanError
from neyman.inference.batch import fit_batch
from neyman.inputs.simulation import Datasets
from neyman.model.constraints import constraints
from neyman.model.setwise import SetChannel
from neyman.model.toys import Toys, draw
from neyman.results import SetReport
from neyman.training.closure import calibration_curve, reweighting
from neyman.training.proposals import reflected
from neyman.training.verdicts import SLICES, verdict

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["DATASETS", "at_truth", "calibration", "closure", "examine"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

Array = NDArray[np.float64]

DATASETS = 3000  # in all
_EVENTS = 3_000_000  # in all: fewer datasets where they are large
_FEWEST = 0.1  # of the datasets are made in any case
_SHARES = (0.03, 0.25, 0.37, 0.35)  # of the datasets: pilots, calibration, closure, test statistic
_CANDIDATES = 16
_REACH = (1.0, 3.0)  # of the candidates from their centre, in standard deviations
_UNIFORM = 0.2  # of the datasets have candidates from the whole range
_PAIRS = 3
_APART = 1.0  # standard deviations: the effective sample is exp(-1) of the datasets, and falls fast beyond
_TOYS = 5  # at each truth
_BINS = 10
_SLICES_OF_NUMBER = 3
_QUANTILES = (0.6827, 0.95)
_STREAM = 0xD1A6  # keeps the seeds apart from those of the training


def examine(
    report: SetReport,
    channel: SetChannel,
    model: Model,
    *,
    seed: int = 0,
    datasets: int = DATASETS,
    workers: int | None = None,
) -> SetReport:
    """Return the report of a training with everything that fresh datasets say, and warn of what is bad.

    Args:
        report: of the training.
        channel: the trained channel.
        model: the model that it is part of.
        seed: that of the training; the datasets here have other ones.
        datasets: how many to make; fewer where they have very many events.
        workers: processes that a simulator runs in.
    """
    try:
        report = dataclasses.replace(report, **_found(channel, model, seed, datasets, workers))
        text, good = verdict(report)
    except NeymanError as error:  # nobody loses a training to its diagnostics
        text, good = f"the diagnostics failed, so that nothing is known of the network: {error}", False
    if not good:
        log.warning("channel %s: %s", channel.name, text)
    return dataclasses.replace(report, verdict=text, good=good)


def _found(channel: SetChannel, model: Model, seed: int, datasets: int, workers: int | None) -> dict[str, Any]:
    source = _Source(channel, np.random.default_rng([seed, _STREAM]), workers)
    scale = _Scale(channel, source, max(int(_SHARES[0] * datasets), 16))
    size = min(1.0, max(_EVENTS / max(scale.events * datasets, 1.0), _FEWEST))
    several, pairs, toys = (max(int(share * size * datasets), 20) for share in _SHARES[1:])
    poi = model.config.poi_name or ""
    axis = channel.names.index(poi) if poi in channel.names else 0
    found: dict[str, Any] = {"axis": channel.names[axis]}
    found["curve"], found["calibration"] = calibration(channel, source, scale, axis, several)
    found["closure"] = closure(channel, source, scale, axis, pairs)
    if poi and not model.config.suggested_fixed()[model.config.poi_index]:
        found["poi"] = poi
        found["truths"], found["regions"] = at_truth(model, toys, seed)
    return found


class _Source:
    """Fresh datasets of a channel at any of the network's parameters."""

    def __init__(self, channel: SetChannel, rng: np.random.Generator, workers: int | None) -> None:
        self.channel, self.rng, self.workers = channel, rng, workers
        self.origin = channel.simulation()

    def draw(self, points: Array, numbers: NDArray[np.int64] | None = None) -> tuple[Array, Datasets]:
        """Return the sums of a dataset for each point, and the datasets.

        Args:
            points: shape ``(T, P)``.
            numbers: of events, where they are not the network's own; drawn as in its training by default.
        """
        if numbers is None and not self.channel.owns_number:
            low, high = np.log(self.channel.numbers[0]), np.log(self.channel.numbers[1] + 1)
            numbers = np.exp(self.rng.uniform(low, high, len(points))).astype(np.int64)
        datasets = self.origin.datasets(points, numbers, self.rng, self.workers)
        return self.channel.encode_many(datasets.features, datasets.offsets), datasets


class _Scale:
    """How well a dataset determines the parameters, anywhere, as the network itself says: from a few pilots.

    With the second derivatives of the score and the variance of a uniform distribution over the range, in units of
    which everything is. It only decides how far apart things are; nothing has to be right about it.
    """

    def __init__(self, channel: SetChannel, source: _Source, pilots: int) -> None:
        self._low, self._span = channel.low, channel.high - channel.low
        self._centres = source.rng.random((pilots, len(channel.low)))
        points = self.point(self._centres)
        sums, datasets = source.draw(points)
        self.events = float(datasets.numbers.mean())
        information = channel.information(sums, points) * self._span[:, None] * self._span
        variance = np.linalg.inv(information + 12.0 * np.eye(len(self._low)))
        self._roots = np.linalg.cholesky(variance)

    def point(self, unit: Array) -> Array:
        """Return parameters from fractions of their ranges, reflected at the bounds."""
        return np.asarray(self._low + self._span * reflected(unit))

    def root(self, unit: Array) -> Array:
        """Return a root of the covariance near each place, as the nearest pilot has it, shape ``(n, P, P)``."""
        distance = ((unit[:, None] - self._centres) ** 2).sum(axis=2)
        return np.asarray(self._roots[np.argmin(distance, axis=1)])


# -- the network


def calibration(
    channel: SetChannel, source: _Source, scale: _Scale, axis: int, n: int
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


def closure(channel: SetChannel, source: _Source, scale: _Scale, axis: int, n: int) -> tuple[dict[str, Any], ...]:
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
    names = ["number of events", *(f"{what} of {x}" for x in channel.features for what in ("mean", "spread"))]
    entries = []
    for k in range(_PAIRS):
        ends = scale.point(np.stack([unit[k] - step[k], unit[k] + step[k]]))
        numbers = None if channel.owns_number else np.full(2 * each, int(np.sqrt(np.prod(channel.numbers))))
        sums, datasets = source.draw(np.repeat(ends, each, axis=0), numbers)
        scores = channel.scores(sums, np.broadcast_to(ends, (2 * each, 2, p)).copy())
        here, there = (_point(channel.names, end) for end in ends)
        statistics, ratio = _statistics(datasets), (scores[:, 1] - scores[:, 0]).reshape(2, each)
        found = _closed(names, (here, there), statistics.reshape(2, each, -1), ratio)
        entries.append({"here": here, "there": there, "at": float(ends[:, axis].mean().round(12)), **found})
    return tuple(entries)


def _point(names: Sequence[str], point: Array) -> str:
    return ", ".join(f"{name} = {value:.3g}" for name, value in zip(names, point, strict=True))


def _statistics(datasets: Datasets) -> Array:
    """Return number of events, and mean and spread of each feature, nan where there is none, shape ``(T, 1 + 2 d)``."""
    numbers, x = datasets.numbers, datasets.features.astype(np.float64)
    t, d = len(numbers), x.shape[1]
    row = np.repeat(np.arange(t), numbers)
    columns = [numbers.astype(np.float64)]
    for k in range(d):
        mean = np.bincount(row, x[:, k], minlength=t) / np.where(numbers > 0, numbers, np.nan)
        square = np.bincount(row, (x[:, k] - mean[row]) ** 2, minlength=t)
        columns += [mean, np.sqrt(square / np.where(numbers > 1, numbers, np.nan))]
    return np.stack(columns, axis=1)


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


# -- what is done with it


def at_truth(model: Model, n: int, seed: int = 0) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    r"""Fit datasets thrown over the parameters' bounds and compare the parameter of interest with the truth.

    :math:`t = -2 \log (L(\mu, \hat{\hat\theta}) / L(\hat\mu, \hat\theta))` (arXiv:1007.1727, eq. 8) at the true
    :math:`\mu`, all other parameters profiled. A parameter with a constraint has truths as its constraint tells.

    Args:
        model: the model.
        n: how many datasets.
        seed: that of the training.

    Returns:
        The values of each dataset, and what they say in slices of the parameter of interest and of the number of
        events.
    """
    rng = np.random.default_rng([seed, _STREAM, 1])
    poi, name = model.config.poi_index, model.config.poi_name
    truths = _truths(model, max(n // _TOYS, 1), rng)
    toys = Toys.joined([draw(truth, model, _TOYS, int(rng.integers(2**63))) for truth in truths])
    truths = np.repeat(truths, _TOYS, axis=0)
    held = fit_batch(model, toys, truths, fixed={name: truths[:, poi]})
    free = fit_batch(model, toys, held.pars)
    good = held.valid & free.valid
    t = np.maximum(held.twice_nll - free.twice_nll, 0.0)[good]
    number = toys.main.sum(axis=1)[good]
    truth, bestfit = truths[good, poi], free.pars[good, poi]
    low, high = model.config.suggested_bounds()[poi]
    slices = [(name, truth, np.linspace(low, high, SLICES + 1))]
    slices += [("number of events", number, np.unique(np.quantile(number, np.linspace(0, 1, _SLICES_OF_NUMBER + 1))))]
    regions = [
        _region(what, edges[k : k + 2], t[own], np.sign(bestfit - truth)[own])
        for what, values, edges in slices
        for k in range(len(edges) - 1)
        if (own := (np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2) == k)).sum() > 1
    ]
    columns = {"truth": truth, "bestfit": bestfit, "statistic": t, "number": number}
    # six digits are more than a figure shows
    found = {key: tuple(float(f"{value:.6g}") for value in values) for key, values in columns.items()}
    return found, tuple(regions)


def _truths(model: Model, n: int, rng: np.random.Generator) -> Array:
    """Return parameters over the bounds, evenly of the parameter of interest, where all rates are positive."""
    bounds = np.array(model.config.suggested_bounds(), dtype=np.float64)
    held = np.array(model.config.suggested_fixed(), dtype=bool)
    truths = rng.uniform(bounds[:, 0], bounds[:, 1], size=(n, len(bounds)))
    truths[:, held] = np.array(model.config.suggested_init(), dtype=np.float64)[held]
    terms = constraints(model)
    for k, name in enumerate(model.config.par_names):
        if name in terms and not held[k]:
            truths[:, k] = np.clip(rng.normal(*terms[name], n), *bounds[k])
    low, high = bounds[model.config.poi_index]
    truths[:, model.config.poi_index] = low + (high - low) * (np.arange(n) + rng.random(n)) / n
    positive: Array = truths[model.rates(truths)[0].min(axis=(1, 2)) >= 0.0]
    return positive


def _region(name: str, ends: Array, t: Array, sign: Array) -> dict[str, Any]:
    n, pull = len(t), sign * np.sqrt(t)
    entry: dict[str, Any] = {"name": name, "low": float(ends[0]), "high": float(ends[1]), "toys": n}
    for level, key in zip(_QUANTILES, ("below_68", "below_95"), strict=True):
        entry[key] = float(np.mean(t <= scipy.stats.chi2.ppf(level, 1)))
        # as expected at this level: the observed fraction may be one
        entry[f"{key}_error"] = float(np.sqrt(level * (1 - level) / n))
    entry |= {"mean": float(t.mean()), "mean_error": float(t.std(ddof=1) / np.sqrt(n))}
    entry |= {"pull": float(pull.mean()), "pull_error": float(pull.std(ddof=1) / np.sqrt(n))}
    entry |= {"pull_width": float(pull.std(ddof=1)), "pull_width_error": float(pull.std(ddof=1) / np.sqrt(2 * n))}
    return entry
