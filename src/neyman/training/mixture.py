"""Learning a mixture channel from its simulation: cross-fit, average, calibrate (arXiv:1506.02169)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from neyman.events import ChannelSimulation, Events
from neyman.exceptions import InvalidEvents
from neyman.model.calibration import (
    LogitCalibration,
    balanced_weights,
    calibrate,
    corrected,
    fit_multinomial,
    regressors,
    sample_ratios,
    shape_scores,
)
from neyman.model.mixture import MixtureChannel
from neyman.model.pool import MixtureSummary, Pool
from neyman.model.variations import Variation, slopes_and_curvatures
from neyman.networks.mixture import CrossFitClassifier, fold_of, logits
from neyman.networks.options import TrainingOptions
from neyman.results import TrainingReport
from neyman.training.classifiers import Trainer
from neyman.training.closure import calibration_curve, closure_failures, membership, reweighting
from neyman.training.crossfit import TrainedClassifier, train_classifier

__all__ = ["check_sizes", "train_mixture"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)


def train_mixture(
    simulation: ChannelSimulation,
    options: TrainingOptions | None = None,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: bool = False,
    checkpoints: Path | None = None,
    executor: Executor | None = None,
) -> tuple[MixtureChannel, TrainingReport]:
    """Train a mixture channel.

    Args:
        simulation: the nominal and varied events of every sample.
        options: of the networks and their training.
        seed: fixes everything random.
        device: where the networks train.
        progress: whether to show a progress bar for each classifier on standard error.
        checkpoints: a folder for the state of an unfinished training.
        executor: what trains the classifiers; see :class:`neyman.training.classifiers.Trainer`.

    Returns:
        The channel and how its training went.

    Raises:
        InvalidEvents: if a sample has too few events for the folds.
    """
    options = options or TrainingOptions()
    check_sizes(simulation, options.folds)
    samples, nominal = list(simulation.samples), list(simulation.samples.values())
    variations, sources = _variations(simulation)
    classes = {"samples": nominal} if len(samples) > 1 else {}
    classes |= {f"variations of {samples[c]}": [nominal[c], *sources[c]] for c in sources}
    signed = {name: _by_sign(events, options.folds) for name, events in simulation.samples.items()}
    classes |= {f"signs of {name}": parts for name, parts in signed.items() if parts is not None}
    trained = Trainer(simulation.channel, seed, device, progress, checkpoints, executor)(
        {label: partial(train_classifier, events, options) for label, events in classes.items()}
    )
    of_samples = trained.get("samples")
    of_variations = {c: trained[f"variations of {samples[c]}"] for c in sources}
    networks = _Networks(
        samples=of_samples.network if of_samples else None,
        variations={c: classifier.network for c, classifier in of_variations.items()},
        folds=options.folds,
        seed=seed,
    )
    layout = _Layout(np.array([events.weights.sum() for events in nominal]), variations)
    labelled = [networks.raw(events) for events in nominal]
    calibration = _calibration(networks, layout, nominal, sources, labelled)
    weights = [
        _positive_weights(events, signed[name], trained.get(f"signs of {name}"), options.folds, seed)
        for name, events in simulation.samples.items()
    ]
    channel = MixtureChannel(
        simulation.channel,
        simulation.features,
        samples,
        layout.yields,
        variations,
        networks.samples,
        networks.variations,
        calibration,
        _pool(layout, nominal, weights, labelled, calibration),
        options.encoding,
    )
    entries = []
    if of_samples:
        entries.append(_sample_entry(of_samples, simulation, layout.calibrated(labelled, calibration)))
    for c, classifier in of_variations.items():
        # in memory one source at a time
        values = (layout.calibrated([networks.raw(events)], calibration)[0][1] for events in sources[c])
        at_nominal = layout.calibrated([labelled[c]], calibration)[0][1]
        entries.append(_variation_entry(classifier, simulation, c, layout, sources[c], at_nominal, values))
    failures = _failures(simulation, layout, entries)
    return channel, TrainingReport(simulation.channel, simulation.features, tuple(entries), warnings=failures)


Raw: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Of N events the logits of the samples, shape ``(N, C)``, and the log-ratios of the varied sources, ``(N, V)``."""


@dataclass(frozen=True, eq=False)
class _Networks:
    """The trained classifiers: of the samples, and of each varied sample's sources."""

    samples: CrossFitClassifier | None
    variations: dict[int, CrossFitClassifier]
    folds: int
    seed: int

    def raw(self, events: Events) -> Raw:
        """Return the values of simulated events, each from the networks that were not trained on its fold.

        They are computed each time they are needed: those of all sources at once would not fit into memory.
        """
        folds = fold_of(len(events), self.folds, self.seed)
        log_ratios = np.zeros((len(events), 1))
        if self.samples is not None:
            log_ratios = logits(self.samples, events.features, folds)
        sides = [np.empty((len(events), 0))]
        for network in self.variations.values():
            values = logits(network, events.features, folds)
            sides.append(values[:, 1:] - values[:, :1])
        return log_ratios, np.concatenate(sides, axis=1)


@dataclass(frozen=True, eq=False)
class _Layout:
    """The expected events of the samples, shape ``(C,)``, and which columns of the log-ratios vary them."""

    yields: NDArray[np.float64]
    variations: list[Variation]

    def calibrated(self, raw: Sequence[Raw], calibration: LogitCalibration) -> list[Raw]:
        """Return values after the calibration."""
        return [calibrate(*values, calibration, self.yields, self.variations) for values in raw]


def check_sizes(simulation: ChannelSimulation, folds: int) -> None:
    """Check that every sample and variation has events enough for the folds.

    Raises:
        InvalidEvents: naming the sample that has not.
    """
    for sample, events in simulation.samples.items():
        varied = [e for pair in simulation.variations.get(sample, {}).values() for e in pair if e is not None]
        for source in [events, *varied]:
            if len(source) < 10 * folds:
                raise InvalidEvents(
                    f"channel {simulation.channel}: sample {sample} has {len(source)} simulated events, too few for"
                    f" {folds} networks: at least {10 * folds} are needed"
                )


def _variations(simulation: ChannelSimulation) -> tuple[list[Variation], dict[int, list[Events]]]:
    """Return the variations with the columns of their sources, and each varied sample's sources in that order."""
    variations: list[Variation] = []
    sources: dict[int, list[Events]] = {}
    column = 0
    for c, sample in enumerate(simulation.samples):
        for parameter, pair in simulation.variations.get(sample, {}).items():
            columns: list[int | None] = []
            for events in pair:
                if events is None:
                    columns.append(None)
                    continue
                sources.setdefault(c, []).append(events)
                columns.append(column)
                column += 1
            if any(index is not None for index in columns):
                mirrored = (sample, parameter) in simulation.mirrored
                variations.append(Variation(c, parameter, columns[0], columns[1], mirrored))
    return variations, sources


def _calibration(
    networks: _Networks,
    layout: _Layout,
    nominal: Sequence[Events],
    sources: Mapping[int, Sequence[Events]],
    labelled: Sequence[Raw],
) -> LogitCalibration:
    """Fit the two stages; the second has the scores that follow from the first among its features."""

    def scores(raw: Raw) -> NDArray[np.float64]:
        return shape_scores(*corrected(*raw, None, *first), layout.yields, layout.variations)

    first = _stage(networks, nominal, sources, labelled, None)
    second = _stage(networks, nominal, sources, labelled, scores)
    return LogitCalibration(samples=(first[0], second[0]), variations=(first[1], second[1]))


def _stage(
    networks: _Networks,
    nominal: Sequence[Events],
    sources: Mapping[int, Sequence[Events]],
    labelled: Sequence[Raw],
    scores: Callable[[Raw], NDArray[np.float64]] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coefficients of one stage of the calibration: of the samples and, a column each, of the sources."""
    classes = len(nominal)
    labels = np.repeat(np.arange(classes), [len(e) for e in nominal])
    log_ratios = np.concatenate([raw[0] for raw in labelled])
    everywhere = None if scores is None else np.concatenate([scores(raw) for raw in labelled])
    features = regressors(log_ratios[:, :-1] - log_ratios[:, -1:], everywhere)
    of_samples = np.zeros((features.shape[1], 1))
    if classes > 1:
        weights = balanced_weights(np.concatenate([e.weights for e in nominal]), labels)
        of_samples = fit_multinomial(log_ratios, features, labels, weights)
    columns: list[NDArray[np.float64]] = []
    for c, varied in sources.items():
        for events in varied:
            v, pair = len(columns), [networks.raw(events), labelled[c]]
            values = np.concatenate([raw[1][:, v : v + 1] for raw in pair])
            here = None if scores is None else np.concatenate([scores(raw) for raw in pair])
            binary = np.repeat([0, 1], [len(raw[0]) for raw in pair])
            weights = balanced_weights(np.concatenate([events.weights, nominal[c].weights]), binary)
            offset = np.concatenate([values, np.zeros_like(values)], axis=1)
            columns.append(fit_multinomial(offset, regressors(values, here), binary, weights)[:, 0])
    width = 2 + features.shape[1] - classes  # a constant, the column's own logit, the scores
    return of_samples, np.stack(columns, axis=1) if columns else np.zeros((width, 0))


def _pool(
    layout: _Layout,
    nominal: Sequence[Events],
    weights: Sequence[NDArray[np.float64]],
    labelled: Sequence[Raw],
    calibration: LogitCalibration,
) -> Pool:
    def kept(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values.T.astype(np.float32).astype(np.float64)  # as in the model file: a loaded model is the same

    log_ratios, sides = (np.concatenate(part) for part in zip(*layout.calibrated(labelled, calibration), strict=True))
    slopes, curvatures = slopes_and_curvatures(sides, layout.variations)
    samples = np.repeat(np.arange(len(nominal)), [len(e) for e in nominal])
    summary = MixtureSummary(np.concatenate(weights), kept(sample_ratios(log_ratios)), kept(slopes), kept(curvatures))
    squares = np.concatenate([(e.weights / e.weights.sum()) ** 2 for e in nominal]).astype(np.float32)
    return Pool(np.concatenate([e.features for e in nominal]), samples, summary, squares)


def _by_sign(events: Events, folds: int) -> list[Events] | None:
    """Return the events of positive and of negative weight, now positive, if there are enough to learn from."""
    parts = [events[events.weights >= 0], events[events.weights < 0]]
    if min(map(len, parts)) < 10 * folds:
        return None
    return [Events(part.features, np.abs(part.weights)) for part in parts]


def _positive_weights(
    events: Events, parts: Sequence[Events] | None, trained: TrainedClassifier | None, folds: int, seed: int
) -> NDArray[np.float64]:
    """Return weights of one sign that describe the density of a sample, of sum one, shape ``(N,)``.

    A pool with negative weights cannot be drawn from. Its absolute weights times the mean sign of the weights, as a
    function of the features, describe the same density with positive ones; the sign, at least 0.01, follows from a
    classifier of its positive and negative parts. Where these were too few to learn from it is the same everywhere.
    """
    weights = np.abs(events.weights)
    if parts is not None and trained is not None:
        log_ratio = np.empty(len(events))
        for mask, part in zip((events.weights >= 0, events.weights < 0), parts, strict=True):
            values = logits(trained.network, part.features, fold_of(len(part), folds, seed))
            log_ratio[mask] = values[:, 0] - values[:, 1]
        positive, negative = (part.weights.sum() for part in parts)
        weights *= np.clip(2 * expit(log_ratio + np.log(positive / negative)) - 1, 0.01, None)
    return np.asarray(weights / weights.sum())


def _failures(simulation: ChannelSimulation, layout: _Layout, entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what does not close, and warn of it."""
    samples = list(simulation.samples)
    expected = dict(zip(samples, layout.yields, strict=True))
    found = []
    for entry in entries:
        owner = entry["name"].removeprefix("variations of ")
        own = dict.fromkeys(entry["classes"], expected.get(owner, 0.0)) if owner in expected else expected
        found += closure_failures(entry, own)
    for text in found:
        log.warning("channel %s: %s", simulation.channel, text)
    return tuple(found)


def _entry(name: str, classes: Sequence[str], trained: TrainedClassifier) -> dict[str, Any]:
    return {
        "name": name,
        "classes": list(classes),
        "train_loss": trained.train_loss.tolist(),
        "validation_loss": trained.validation_loss.tolist(),
        "best_epoch": trained.best_epoch.tolist(),
        "seconds": trained.seconds,
        "calibration": {},
        "reweighting": [],
    }


def _sample_entry(
    trained: TrainedClassifier, simulation: ChannelSimulation, calibrated: Sequence[Raw]
) -> dict[str, Any]:
    """Return the report of the classifier of the samples, with its values of the labelled events."""
    nominal = list(simulation.samples.values())
    entry = _entry("samples", list(simulation.samples), trained)
    ratios = sample_ratios(np.concatenate([values[0] for values in calibrated]))
    labels = np.repeat(np.arange(len(nominal)), [len(e) for e in nominal])
    weights = balanced_weights(np.concatenate([e.weights for e in nominal]), labels)
    reference = (np.concatenate([e.features for e in nominal]), weights)
    for c, sample in enumerate(simulation.samples):
        entry["calibration"][sample] = calibration_curve(ratios[:, c] / len(nominal), labels == c, weights)
        entry["reweighting"] += membership(simulation.features, reference, ratios[:, c], labels == c, sample)
    return entry


def _variation_entry(
    trained: TrainedClassifier,
    simulation: ChannelSimulation,
    sample: int,
    layout: _Layout,
    sources: Sequence[Events],
    of_nominal: NDArray[np.float64],
    of_sources: Iterable[NDArray[np.float64]],
) -> dict[str, Any]:
    """Return the report of a sample's variations, with the log-ratios of its nominal events and of its sources."""
    name, nominal = list(simulation.samples.items())[sample]
    columns = {
        column: f"{v.parameter} {side}"
        for v in layout.variations
        for side, column in (("hi", v.hi), ("lo", v.lo))
        if v.sample == sample and column is not None
    }
    entry = _entry(f"variations of {name}", ["nominal", *columns.values()], trained)
    for (column, label), events, values in zip(columns.items(), sources, of_sources, strict=True):
        at_nominal, at_varied = of_nominal[:, column], values[:, column]
        member = np.repeat([False, True], [len(nominal), len(events)])
        weights = balanced_weights(np.concatenate([nominal.weights, events.weights]), member.astype(np.int64))
        entry["calibration"][label] = calibration_curve(expit(np.concatenate([at_nominal, at_varied])), member, weights)
        entry["reweighting"] += reweighting(
            simulation.features,
            (nominal.features, nominal.weights),
            np.exp(at_nominal),
            (events.features, events.weights),
            label,
        )
    return entry
