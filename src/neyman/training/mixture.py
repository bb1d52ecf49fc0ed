"""Learning a mixture channel from its simulation: cross-fit, average, calibrate (arXiv:1506.02169)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

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
    fit_ratio,
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
from neyman.training.closure import closure_failures
from neyman.training.crossfit import TrainedClassifier, train_classifier
from neyman.training.mixture_report import samples_entry, variations_entry, weights_entry
from neyman.training.sources import VariedSources, varied_sources
from neyman.training.weights import train_weights

__all__ = ["check_sizes", "train_mixture"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_BELOW = 0.02  # of a sample's absolute weights may be where networks think its density negative


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
    sources = varied_sources(simulation)
    classes = {"samples": nominal} if len(samples) > 1 else {}
    classes |= {f"variations of {samples[c]}": [nominal[c], *own.values()] for c, own in sources.others.items()}
    signed = {name: _by_sign(_of_yield(events), options.folds) for name, events in simulation.samples.items()}
    classes |= {f"signs of {name}": parts for name, parts in signed.items() if parts is not None}
    work: dict[str, Callable[..., TrainedClassifier]] = {
        label: partial(train_classifier, events, options) for label, events in classes.items()
    }
    for c, own in sources.weights.items():
        varied = [events.weights for events in own.values()]
        work[f"weights of {samples[c]}"] = partial(train_weights, nominal[c], varied, options)
    trained = Trainer(simulation.channel, seed, device, progress, checkpoints, executor)(work)
    networks = _Networks(
        samples=trained["samples"].network if "samples" in trained else None,
        variations={c: trained[f"variations of {samples[c]}"].network for c in sources.others},
        weights={c: trained[f"weights of {samples[c]}"].network for c in sources.weights},
        folds=options.folds,
        seed=seed,
    )
    layout = _Layout(np.array([events.weights.sum() for events in nominal]), sources.variations)
    labelled = [networks.raw(events) for events in nominal]
    calibration = _calibration(networks, layout, nominal, sources, labelled)
    weights = [
        _positive_weights(name, _of_yield(events), signed[name], trained.get(f"signs of {name}"), options.folds, seed)
        for name, events in simulation.samples.items()
    ]
    channel = MixtureChannel(
        simulation.channel,
        simulation.features,
        samples,
        layout.yields,
        sources.variations,
        networks.samples,
        networks.variations,
        calibration,
        _pool(layout, nominal, weights, labelled, calibration),
        options.encoding,
        networks.weights,
    )
    calibrated = layout.calibrated(labelled, calibration)
    entries, failures = [], []
    if "samples" in trained:
        ratios = sample_ratios(np.concatenate([log_ratios for log_ratios, _ in calibrated]))
        entries.append(samples_entry(trained["samples"], simulation.features, simulation.samples, ratios))
        failures += closure_failures(entries[-1], dict(zip(samples, layout.yields, strict=True)))
    for c, own in sources.others.items():
        columns, name = sources.of(sources.others, c), f"variations of {samples[c]}"
        values = (  # in memory one source at a time
            layout.calibrated([networks.raw(events)], calibration)[0][1][:, column]
            for column, events in zip(range(columns.start, columns.stop), own.values(), strict=True)
        )
        at_nominal = calibrated[c][1][:, columns]
        entries.append(variations_entry(name, trained[name], simulation.features, nominal[c], own, at_nominal, values))
        failures += closure_failures(entries[-1], dict.fromkeys(own, float(layout.yields[c])))
    for c, own in sources.weights.items():
        columns, name = sources.of(sources.weights, c), f"weights of {samples[c]}"
        entry = weights_entry(name, trained[name], simulation.features, nominal[c], own, calibrated[c][1][:, columns])
        entries.append(entry)
        failures += closure_failures(entry, dict.fromkeys(own, float(layout.yields[c])))
    for text in failures:
        log.warning("channel %s: %s", simulation.channel, text)
    return channel, TrainingReport(simulation.channel, simulation.features, tuple(entries), warnings=tuple(failures))


Raw: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Of N events the logits of the samples, shape ``(N, C)``, and the log-ratios of the varied sources, ``(N, V)``."""


@dataclass(frozen=True, eq=False)
class _Networks:
    """The trained networks: of the samples, of each varied sample's sources, and of its weights."""

    samples: CrossFitClassifier | None
    variations: dict[int, CrossFitClassifier]
    weights: dict[int, CrossFitClassifier]
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
        sides += [logits(network, events.features, folds) for network in self.weights.values()]
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


def _calibration(
    networks: _Networks,
    layout: _Layout,
    nominal: Sequence[Events],
    sources: VariedSources,
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
    sources: VariedSources,
    labelled: Sequence[Raw],
    scores: Callable[[Raw], NDArray[np.float64]] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coefficients of one stage of the calibration: of the samples and, a column each, of the sources."""
    classes = len(nominal)
    labels = np.repeat(np.arange(classes), [len(e) for e in nominal])
    log_ratios = np.concatenate([raw[0] for raw in labelled])
    of_labelled = None if scores is None else [scores(raw) for raw in labelled]
    everywhere = None if of_labelled is None else np.concatenate(of_labelled)
    features = regressors(log_ratios[:, :-1] - log_ratios[:, -1:], everywhere)
    of_samples = np.zeros((features.shape[1], 1))
    if classes > 1:
        weights = balanced_weights(np.concatenate([e.weights for e in nominal]), labels)
        of_samples = fit_multinomial(log_ratios, features, labels, weights)
    varied = list(sources.columns())
    of_variations = np.zeros((2 + features.shape[1] - classes, len(varied)))  # a constant, the own logit, the scores
    for v, (c, events, by_weight) in enumerate(varied):
        if by_weight:  # one of very many: of the scores, those of the samples and its own
            values, m = (
                labelled[c][1][:, v],
                next(m for m, one in enumerate(sources.variations) if v in (one.hi, one.lo)),
            )
            used = [] if of_labelled is None else [*range(classes - 1), classes - 1 + m]
            here = None if of_labelled is None else of_labelled[c][:, used]
            pair = [e.weights / e.weights.sum() for e in (nominal[c], events)]
            rows = [0, 1, *(2 + s for s in used)]
            of_variations[rows, v] = fit_ratio(values, regressors(values[:, None], here), *pair)
            continue
        pair = [networks.raw(events), labelled[c]]
        values = np.concatenate([raw[1][:, v : v + 1] for raw in pair])
        here = None if scores is None else np.concatenate([scores(raw) for raw in pair])
        binary = np.repeat([0, 1], [len(raw[0]) for raw in pair])
        weights = balanced_weights(np.concatenate([events.weights, nominal[c].weights]), binary)
        offset = np.concatenate([values, np.zeros_like(values)], axis=1)
        of_variations[:, v] = fit_multinomial(offset, regressors(values, here), binary, weights)[:, 0]
    return of_samples, of_variations


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


def _of_yield(events: Events) -> Events:
    """Return the events with the opposite weights if their yield is negative: a density has no sign."""
    return events if events.weights.sum() > 0 else Events(events.features, -events.weights)


def _by_sign(events: Events, folds: int) -> list[Events] | None:
    """Return the events of positive and of negative weight, now positive, if there are enough to learn from."""
    parts = [events[events.weights >= 0], events[events.weights < 0]]
    if min(map(len, parts)) < 10 * folds:
        return None
    return [Events(part.features, np.abs(part.weights)) for part in parts]


def _positive_weights(
    name: str, events: Events, parts: Sequence[Events] | None, trained: TrainedClassifier | None, folds: int, seed: int
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
        signs = 2 * expit(log_ratio + np.log(positive / negative)) - 1
        if (below := float(weights[signs < 0].sum() / weights.sum())) > _BELOW:
            log.warning(
                "sample %s has a negative density in a region with %.2g %% of its absolute weights: write "
                "`signed: true` for it if it is an interference or the like",
                name,
                100 * below,
            )
        weights *= np.clip(signs, 0.01, None)
    return np.asarray(weights / weights.sum())
