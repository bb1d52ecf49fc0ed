"""Fitting the calibration of a mixture's networks, with all log-ratios in memory for a block of events only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.events import Events
from neyman.model.calibration import (
    LogitCalibration,
    balanced_weights,
    by_parameter,
    corrected,
    fit_multinomial,
    shape_scores,
)
from neyman.model.log_ratio_calibration import LabelledLogRatios, fit_log_ratios
from neyman.support.tasks import at_once
from neyman.training.sources import VariedSources

__all__ = ["Networks", "Values", "fit_calibration"]


def __dir__() -> list[str]:
    return __all__


Array: TypeAlias = NDArray[np.float64]
Single: TypeAlias = NDArray[np.float32]
M = TypeVar("M")
R = TypeVar("R")


class Networks(Protocol):
    """The trained networks of a channel."""

    def blocks(self, events: Events, *, of: int | None = None) -> Iterator[tuple[slice, Array, Single]]:
        """Yield logits ``(n, C)`` and log-ratios ``(n, V)``, or one sample's, from networks new to the events."""


@dataclass(frozen=True, eq=False)
class Values:
    """What a calibration keeps of the simulated events.

    Args:
        log_ratios: the logits of the samples of each sample's nominal events, shape ``(N, C)``.
        own: of these events, the log-ratios of the sample's own variations, shape ``(N, K)``.
        columns: which of all log-ratios a sample's own are, shape ``(K,)``.
        varied: of the log-ratios whose sources have events of their own, those of these events, shape ``(N,)``.
    """

    log_ratios: Sequence[Single]
    own: Sequence[Single]
    columns: list[NDArray[np.intp]]
    varied: dict[int, Single]

    def of_nominal(self, sample: int, columns: slice) -> Single:
        """Return some of a sample's own log-ratios of its nominal events, by their columns among all."""
        return self.own[sample][:, np.searchsorted(self.columns[sample], range(columns.start, columns.stop))]


def fit_calibration(
    networks: Networks, yields: Array, nominal: Sequence[Events], sources: VariedSources
) -> tuple[LogitCalibration, Values]:
    """Fit both stages; the second has the scores that follow from the first among its features.

    Of each sample's events only what enters a fit is kept: the logits of the samples, the log-ratios of its own
    variations, and one score for each parameter. The log-ratios of the other samples' variations are computed where
    scores are, and forgotten.

    Args:
        networks: the trained networks.
        yields: nominal yields, shape ``(C,)``.
        nominal: the nominal events of each sample.
        sources: the varied events.

    Returns:
        The calibration, and the calibrated values.
    """
    raw = _raw(networks, nominal, sources)
    first, _ = _stage(raw, nominal, sources, lambda events: np.ones((len(events), 1), dtype=np.float32))
    variations = sources.variations
    size = len(nominal) + int(by_parameter(variations).max(initial=-1)) + 1

    def features(events: Events) -> Single:
        found = np.ones((len(events), size), dtype=np.float32)
        for rows, log_ratios, sides in networks.blocks(events):
            found[rows, 1:] = shape_scores(*corrected(log_ratios, sides, None, *first), yields, variations)
        return found

    second, calibrated = _stage(raw, nominal, sources, features)
    return LogitCalibration((first[0], second[0]), (first[1], second[1])), calibrated


def _raw(networks: Networks, nominal: Sequence[Events], sources: VariedSources) -> Values:
    """Return what the networks say."""
    table = list(sources.columns())
    columns = [np.flatnonzero([owner == c for owner, _, _ in table]) for c in range(len(nominal))]

    def of_nominal(c: int) -> tuple[Single, Single]:
        log_ratios = np.empty((len(nominal[c]), len(nominal)), dtype=np.float32)
        own = np.empty((len(nominal[c]), len(columns[c])), dtype=np.float32)
        for rows, of_samples, sides in networks.blocks(nominal[c], of=c):
            log_ratios[rows], own[rows] = of_samples, sides
        return log_ratios, own

    def of_varied(v: int) -> Single:
        owner, events, _ = table[v]
        found, mine = np.empty(len(events), dtype=np.float32), np.searchsorted(columns[owner], v)
        for rows, _, sides in networks.blocks(events, of=owner):
            found[rows] = sides[:, mine]
        return found

    log_ratios, own = zip(*_each(of_nominal, range(len(nominal))), strict=True)
    moved = [v for v, (_, _, same) in enumerate(table) if not same]
    return Values(log_ratios, own, columns, dict(zip(moved, _each(of_varied, moved), strict=True)))


def _stage(
    raw: Values, nominal: Sequence[Events], sources: VariedSources, features: Callable[[Events], Single]
) -> tuple[tuple[Array, Array], Values]:
    """Return the coefficients of one stage, of the samples and, a column each, of the sources; and what it gives.

    Args:
        raw: what the networks say.
        nominal: the nominal events of each sample.
        sources: the varied events.
        features: what gives a constant and other features of events.
    """
    everywhere = _each(features, nominal)
    of_samples = _of_samples(raw.log_ratios, nominal, everywhere)
    of_sources = np.zeros((1 + everywhere[0].shape[1], sum(map(len, raw.columns))))
    table = list(sources.columns())

    def by_weight(c: int) -> None:
        columns = [v for v in raw.columns[c] if table[v][2]]
        if columns:
            values = raw.own[c][:, np.searchsorted(raw.columns[c], columns)]
            weights = [table[v][1].weights for v in columns]
            part = LabelledLogRatios(values, everywhere[c], nominal[c].weights, weights)
            of_sources[:, columns] = fit_log_ratios([part])

    def by_events(v: int) -> Single:
        c, events, _ = table[v]
        there, values = features(events), raw.varied[v][:, None]
        own = raw.own[c][:, raw.columns[c] == v]
        here = LabelledLogRatios(own, everywhere[c], nominal[c].weights, None)
        of_sources[:, [v]] = fit_log_ratios([here, LabelledLogRatios(values, there, None, [events.weights])])
        return _moved(values, there, of_sources[:, [v]])[:, 0]

    _each(by_weight, range(len(nominal)))
    varied = dict(zip(raw.varied, _each(by_events, list(raw.varied)), strict=True))
    log_ratios = [
        x + (_differences(x) @ of_samples[1 : x.shape[1]] + f @ _without(of_samples, x.shape[1])).astype(np.float32)
        for x, f in zip(raw.log_ratios, everywhere, strict=True)
    ]
    moved = [_moved(x, f, of_sources[:, mine]) for x, f, mine in zip(raw.own, everywhere, raw.columns, strict=True)]
    return (of_samples, of_sources), Values(log_ratios, moved, raw.columns, varied)


def _each(function: Callable[[M], R], members: Sequence[M]) -> list[R]:
    """Return the result of each, of several at once on the cores of this machine."""
    return at_once(lambda member, _: function(member), members, torch.get_num_threads())


def _of_samples(log_ratios: Sequence[Single], nominal: Sequence[Events], features: Sequence[Single]) -> Array:
    """Return the coefficients of a constant, the differences of the logits and the other features, for each sample."""
    classes = len(nominal)
    if classes == 1:
        return np.zeros((features[0].shape[1], 1))
    values = np.concatenate(log_ratios)
    labels = np.repeat(np.arange(classes), [len(events) for events in nominal])
    weights = balanced_weights(np.concatenate([events.weights for events in nominal]), labels)
    others = np.concatenate(features)
    return fit_multinomial(
        values, np.concatenate([others[:, :1], _differences(values), others[:, 1:]], axis=1), labels, weights
    )


def _differences(log_ratios: Single) -> Single:
    return log_ratios[:, :-1] - log_ratios[:, -1:]


def _without(coefficients: Array, classes: int) -> Array:
    """Return the coefficients without those of the logits' differences."""
    return np.concatenate([coefficients[:1], coefficients[classes:]])


def _moved(values: Single, features: Single, coefficients: Array) -> Single:
    """Return log-ratios with the corrections of a stage."""
    others = np.concatenate([coefficients[:1], coefficients[2:]]).astype(np.float32)
    moved: Single = values * (1.0 + coefficients[1]).astype(np.float32) + features @ others
    return moved
