"""Learning a mixture channel from its simulation: cross-fit, average, calibrate (arXiv:1506.02169)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from neyman.events import ChannelSimulation, Events
from neyman.exceptions import InvalidEvents
from neyman.model.calibration import (
    Calibration,
    balanced_weights,
    calibrate,
    corrected,
    fit_logistic,
    regressors,
    sample_ratios,
    shape_scores,
)
from neyman.model.mixture import MixtureChannel
from neyman.model.pool import MixtureSummary, Pool
from neyman.model.variations import Variation, slopes_and_curvatures
from neyman.networks.mixture import fold_of, logits
from neyman.networks.options import TrainingOptions
from neyman.results import TrainingReport
from neyman.training.closure import calibration_curve, reweighting
from neyman.training.crossfit import TrainedClassifier, train_classifier

__all__ = ["check_sizes", "train_mixture"]


def __dir__() -> list[str]:
    return __all__


def train_mixture(
    simulation: ChannelSimulation,
    options: TrainingOptions | None = None,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: bool = False,
    checkpoints: Path | None = None,
) -> tuple[MixtureChannel, TrainingReport]:
    """Train a mixture channel.

    Args:
        simulation: the nominal and varied events of every sample.
        options: of the networks and their training.
        seed: fixes everything random.
        device: where the networks train.
        progress: whether to show a progress bar for each classifier on standard error.
        checkpoints: a folder for the state of an unfinished training.

    Returns:
        The channel and how its training went.

    Raises:
        InvalidEvents: if a sample has too few events for the folds.
    """
    options = options or TrainingOptions()
    check_sizes(simulation, options.folds)

    def train(label: str, classes: Sequence[Events]) -> TrainedClassifier:
        file = f"{quote(simulation.channel, safe='')} {quote(label, safe=' ')}.pt"  # a name may have a slash
        path = None if checkpoints is None else checkpoints / file
        text = f"{simulation.channel}: {label}" if progress else None
        return train_classifier(classes, options, seed=seed, device=device, progress=text, checkpoint=path)

    samples = list(simulation.samples)
    nominal = list(simulation.samples.values())
    of_samples = train("samples", nominal) if len(samples) > 1 else None
    variations, sources = _variations(simulation)
    of_variations = {c: train(f"variations of {samples[c]}", [nominal[c], *sources[c]]) for c in sources}

    networks = _Networks(
        samples=of_samples.network if of_samples else None,
        variations={c: trained.network for c, trained in of_variations.items()},
        yields=np.array([events.weights.sum() for events in nominal]),
        layout=variations,
    )

    def raw(events: Events) -> Raw:
        # every value from one network, as a network that has seen the event must not be asked and a mean is less noisy
        return networks.raw(events.features, fold_of(len(events), options.folds, seed))

    labelled = [raw(events) for events in nominal]
    varied: Varied = {c: [functools.partial(raw, events) for events in sources[c]] for c in sources}
    calibration = _calibration(networks, nominal, sources, labelled, varied)
    pool = _pool(
        networks, nominal, labelled, calibration, lambda c: _signs(samples[c], nominal[c], options, seed, train)
    )
    channel = MixtureChannel(
        simulation.channel,
        simulation.features,
        samples,
        networks.yields,
        variations,
        networks.samples,
        networks.variations,
        calibration,
        pool,
    )
    entries = []
    if of_samples:
        entries.append(_sample_entry(of_samples, simulation, labelled, networks, calibration))
    for c, trained in of_variations.items():
        entries.append(_variation_entry(trained, simulation, c, sources[c], labelled, varied[c], networks, calibration))
    return channel, TrainingReport(simulation.channel, tuple(simulation.features), tuple(entries))


# logits of the samples (N, C), log-ratios of the sources (N, V)
Raw: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
# the values of a varied source are computed each time they are needed: all of them at once would not fit into memory
Varied: TypeAlias = dict[int, list[Callable[[], Raw]]]


@dataclass(frozen=True, eq=False)
class _Networks:
    samples: Any
    variations: dict[int, Any]
    yields: NDArray[np.float64]
    layout: list[Variation]

    def raw(self, features: NDArray[np.float32], folds: NDArray[np.int64]) -> Raw:
        """Return raw values of simulated events, each from the networks that were not trained on its fold."""
        n = len(features)
        log_ratios = np.zeros((n, 1)) if self.samples is None else logits(self.samples, features, folds)
        sides = [np.empty((n, 0))]
        for network in self.variations.values():
            values = logits(network, features, folds)
            sides.append(values[:, 1:] - values[:, :1])
        return log_ratios, np.concatenate(sides, axis=1)


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
                variations.append(Variation(c, parameter, hi=columns[0], lo=columns[1]))
    return variations, sources


def _calibration(
    networks: _Networks,
    nominal: Sequence[Events],
    sources: dict[int, list[Events]],
    labelled: Sequence[Raw],
    varied: Varied,
) -> Calibration:
    """Fit the two stages; the second has the scores that follow from the first among its features."""
    classes = len(nominal)
    labels = np.repeat(np.arange(classes), [len(e) for e in nominal])
    weights = balanced_weights(np.concatenate([e.weights for e in nominal]), labels)
    log_ratios = np.concatenate([raw[0] for raw in labelled])
    owner = [c for c in varied for _ in varied[c]]

    def fit(scores: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        everywhere = None if scores is None else np.concatenate([scores(*raw) for raw in labelled])
        features = regressors(log_ratios[:, :-1] - log_ratios[:, -1:], everywhere)
        if classes == 1:
            of_samples = np.zeros((features.shape[1], 1))
        else:
            of_samples = fit_logistic(log_ratios, features, labels, weights)
        columns = []
        for v, c in enumerate(owner):
            position = v - owner.index(c)
            pair = [varied[c][position](), labelled[c]]
            values = np.concatenate([raw[1][:, v : v + 1] for raw in pair])
            here = None if scores is None else np.concatenate([scores(*raw) for raw in pair])
            binary = np.repeat([0, 1], [len(raw[0]) for raw in pair])
            both = np.concatenate([sources[c][position].weights, nominal[c].weights])
            offset = np.concatenate([values, np.zeros_like(values)], axis=1)
            columns.append(fit_logistic(offset, regressors(values, here), binary, balanced_weights(both, binary))[:, 0])
        width = 2 + features.shape[1] - classes  # a constant, the column's own logit, the scores
        return of_samples, np.stack(columns, axis=1) if columns else np.zeros((width, 0))

    first = fit(None)

    def scores(log_ratios: NDArray[np.float64], sides: NDArray[np.float64]) -> NDArray[np.float64]:
        stage = corrected(log_ratios, sides, None, *first)
        return shape_scores(*stage, networks.yields, networks.layout)

    second = fit(scores)
    return Calibration(samples=(first[0], second[0]), variations=(first[1], second[1]))


def _pool(
    networks: _Networks, nominal: Sequence[Events], labelled: Sequence[Raw], calibration: Calibration, signs: Any
) -> Pool:
    def kept(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values.T.astype(np.float32).astype(np.float64)  # as in the model file: a loaded model is the same

    values = [calibrate(*raw, calibration, networks.yields, networks.layout) for raw in labelled]
    log_ratios = np.concatenate([value[0] for value in values])
    slopes, curvatures = slopes_and_curvatures(np.concatenate([value[1] for value in values]), networks.layout)
    samples = np.repeat(np.arange(len(nominal)), [len(e) for e in nominal])
    weights = []
    for c, events in enumerate(nominal):
        w = events.weights if np.all(events.weights >= 0) else np.abs(events.weights) * signs(c)
        weights.append(w / w.sum())
    summary = MixtureSummary(np.concatenate(weights), kept(sample_ratios(log_ratios)), kept(slopes), kept(curvatures))
    return Pool(np.concatenate([e.features for e in nominal]), samples, summary)


def _signs(sample: str, events: Events, options: TrainingOptions, seed: int, train: Any) -> NDArray[np.float64]:
    """Return the mean sign of the weights as a function of the features.

    A pool with negative weights cannot be drawn from. Its absolute weights times this mean describe the same
    density with positive ones.
    """
    parts = [events[events.weights >= 0], events[events.weights < 0]]
    if min(map(len, parts)) < 10 * options.folds:  # too few to learn from: the same factor everywhere
        return np.ones(len(events))
    positive = Events(parts[0].features, parts[0].weights)
    negative = Events(parts[1].features, -parts[1].weights)
    trained = train(f"signs of {sample}", [positive, negative])
    log_ratio = np.empty(len(events))
    for mask, part in ((events.weights >= 0, positive), (events.weights < 0, negative)):
        values = logits(trained.network, part.features, fold_of(len(part), options.folds, seed))
        log_ratio[mask] = values[:, 0] - values[:, 1]
    probability = expit(log_ratio + np.log(positive.weights.sum() / negative.weights.sum()))
    signs: NDArray[np.float64] = np.clip(2 * probability - 1, 0.01, None)
    return signs


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
    trained: TrainedClassifier,
    simulation: ChannelSimulation,
    labelled: Sequence[Raw],
    networks: _Networks,
    calibration: Calibration,
) -> dict[str, Any]:
    nominal = list(simulation.samples.values())
    entry = _entry("samples", list(simulation.samples), trained)
    values = np.concatenate([calibrate(*raw, calibration, networks.yields, networks.layout)[0] for raw in labelled])
    ratios = sample_ratios(values)
    labels = np.repeat(np.arange(len(nominal)), [len(e) for e in nominal])
    weights = balanced_weights(np.concatenate([e.weights for e in nominal]), labels)
    reference = (np.concatenate([e.features for e in nominal]), weights)
    for c, (sample, events) in enumerate(simulation.samples.items()):
        entry["calibration"][sample] = calibration_curve(ratios[:, c] / len(nominal), labels == c, weights)
        target = (events.features, events.weights)
        entry["reweighting"] += reweighting(simulation.features, reference, ratios[:, c], target, sample)
    return entry


def _variation_entry(
    trained: TrainedClassifier,
    simulation: ChannelSimulation,
    sample: int,
    sources: Sequence[Events],
    labelled: Sequence[Raw],
    varied: Sequence[Callable[[], Raw]],
    networks: _Networks,
    calibration: Calibration,
) -> dict[str, Any]:
    name, nominal = list(simulation.samples.items())[sample]
    layout = [v for v in networks.layout if v.sample == sample]
    columns = {
        column: f"{v.parameter} {side}"
        for v in layout
        for side, column in (("hi", v.hi), ("lo", v.lo))
        if column is not None
    }
    entry = _entry(f"variations of {name}", ["nominal", *columns.values()], trained)

    def log_ratios(raw: Raw) -> NDArray[np.float64]:
        return calibrate(*raw, calibration, networks.yields, networks.layout)[1]

    of_nominal = log_ratios(labelled[sample])
    for (column, label), events, raw in zip(columns.items(), sources, varied, strict=True):
        at_nominal, at_varied = of_nominal[:, column], log_ratios(raw())[:, column]
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
