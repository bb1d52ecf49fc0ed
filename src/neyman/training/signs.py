"""Weights of one sign for a pool, which cannot be drawn from with others."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from neyman.events import Events
from neyman.networks.mixture import CrossFitClassifier, logits

__all__ = ["by_sign", "of_yield", "positive_weights"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_BELOW = 0.02  # of a sample's absolute weights may be where networks think its density negative


def of_yield(events: Events) -> Events:
    """Return the events with the opposite weights if their yield is negative: a density has no sign."""
    return events if events.weights.sum() > 0 else Events(events.features, -events.weights)


def by_sign(events: Events, folds: int) -> list[Events] | None:
    """Return the events of positive and of negative weight, now positive, if there are enough to learn from.

    Args:
        events: of a sample.
        folds: of the networks that are to learn.
    """
    parts = [events[events.weights >= 0], events[events.weights < 0]]
    if min(map(len, parts)) < 10 * folds:
        return None
    return [Events(part.features, np.abs(part.weights)) for part in parts]


def positive_weights(
    name: str,
    events: Events,
    network: CrossFitClassifier | None,
    folds: Callable[[Events], NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Return weights of one sign that describe the density of a sample, of sum one, shape ``(N,)``.

    A pool with negative weights cannot be drawn from. Its absolute weights times the mean sign of the weights, as a
    function of the features, describe the same density with positive ones; the sign, at least 0.01, follows from a
    classifier of its positive and negative parts. Where these were too few to learn from it is the same everywhere.

    Args:
        name: of the sample.
        events: of the sample.
        network: the classifier of the two parts of the sample's simulation; ``None`` if these were too few.
        folds: gives the folds of the events of either part.
    """
    weights = np.abs(events.weights)
    parts = [events.weights >= 0, events.weights < 0]
    if network is not None and parts[1].any():
        log_ratio = np.empty(len(events))
        for mask in parts:
            part = events[mask]
            values = logits(network, part.features, folds(part))
            log_ratio[mask] = values[:, 0] - values[:, 1]
        positive, negative = (weights[mask].sum() for mask in parts)
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
