"""What a report says of the networks of a mixture: their training, and how well they reproduce the simulation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from neyman.events import Events
from neyman.model.calibration import balanced_weights
from neyman.training.closure import calibration_curve, membership, reweighting, weightings
from neyman.training.crossfit import TrainedClassifier

__all__ = ["samples_entry", "variations_entry", "weights_entry"]


def __dir__() -> list[str]:
    return __all__


def samples_entry(
    trained: TrainedClassifier,
    features: Sequence[str],
    samples: Mapping[str, Events],
    ratios: NDArray[np.float64],
) -> dict[str, Any]:
    """Return the entry of the classifier of the samples.

    Args:
        trained: the classifier.
        features: their names.
        samples: the nominal events of each sample.
        ratios: ``g_c`` of these events, one sample after the other, shape ``(N, C)``.
    """
    nominal = list(samples.values())
    entry = _entry("samples", list(samples), trained)
    labels = np.repeat(np.arange(len(nominal)), [len(e) for e in nominal])
    weights = balanced_weights(np.concatenate([e.weights for e in nominal]), labels)
    reference = (np.concatenate([e.features for e in nominal]), weights)
    for c, sample in enumerate(samples):
        entry["calibration"][sample] = calibration_curve(ratios[:, c] / len(nominal), labels == c, weights)
        entry["reweighting"] += membership(features, reference, ratios[:, c], labels == c, sample)
    return entry


def variations_entry(
    name: str,
    trained: TrainedClassifier,
    features: Sequence[str],
    nominal: Events,
    sources: Mapping[str, Events],
    of_nominal: NDArray[np.floating[Any]],
    of_sources: Iterable[NDArray[np.floating[Any]]],
) -> dict[str, Any]:
    """Return the entry of the network of a sample's variations.

    Args:
        name: of the entry.
        trained: the network.
        features: their names.
        nominal: the sample's nominal events.
        sources: its varied events.
        of_nominal: the log-ratios of each source to the nominal, of the nominal events, shape ``(N, V)``.
        of_sources: the same of each source's events and to this source only, shape ``(M,)`` each.
    """
    entry = _entry(name, ["nominal", *sources], trained)
    for (label, events), at_nominal, at_varied in zip(sources.items(), of_nominal.T, of_sources, strict=True):
        member = np.repeat([False, True], [len(nominal), len(events)])
        weights = balanced_weights(np.concatenate([nominal.weights, events.weights]), member.astype(np.int64))
        entry["calibration"][label] = calibration_curve(expit(np.concatenate([at_nominal, at_varied])), member, weights)
        entry["reweighting"] += reweighting(
            features,
            (nominal.features, nominal.weights),
            np.exp(at_nominal),
            (events.features, events.weights),
            label,
        )
    return entry


def weights_entry(
    name: str,
    trained: TrainedClassifier,
    features: Sequence[str],
    nominal: Events,
    sources: Mapping[str, Events],
    log_ratios: NDArray[np.floating[Any]],
) -> dict[str, Any]:
    """Return the entry of the network of a sample's variations by weight.

    Args:
        name: of the entry.
        trained: the network.
        features: their names.
        nominal: the sample's nominal events.
        sources: the same events with other weights.
        log_ratios: of these to the nominal one, shape ``(N, V)``.
    """
    entry = _entry(name, ["nominal", *sources], trained)
    of_nominal = nominal.weights / nominal.weights.sum()
    for (label, events), log_ratio in zip(sources.items(), log_ratios.T, strict=True):
        of_varied = events.weights / events.weights.sum()
        both = of_nominal + of_varied
        share = np.divide(of_varied, both, out=np.zeros(len(both)), where=both != 0)
        entry["calibration"][label] = calibration_curve(expit(log_ratio), share, both)
    ratios = np.exp(log_ratios).T
    varied = ((label, ratio, events.weights) for (label, events), ratio in zip(sources.items(), ratios, strict=True))
    entry["reweighting"] = list(weightings(features, (nominal.features, nominal.weights), varied))
    return entry


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
