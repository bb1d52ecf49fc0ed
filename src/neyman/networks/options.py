"""The options of networks and their training: the keys of a channel's ``network:``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neyman.exceptions import InvalidDocument
from neyman.support.messages import did_you_mean

__all__ = ["PosteriorOptions", "SetOptions", "TrainingOptions", "checked_options"]


def __dir__() -> list[str]:
    return __all__


_WORDS = {"encoding": ("fold", "mean")}
_LEAST = {"folds": 2, "fresh": 0, "knots": 0, "pool": 0}  # of whole numbers, if not 1


@dataclass(frozen=True)
class TrainingOptions:
    """How a classifier is built and trained; every field is a key of a channel's ``network:``.

    Args:
        hidden: sizes of the hidden layers.
        folds: number of networks, each trained on all folds but one.
        epochs: passes over the average class, at most.
        batch_size: events a step and fold.
        learning_rate: its peak; it rises over the first steps and falls to zero as a cosine.
        weight_decay: AdamW's.
        patience: epochs without improvement on the left-out fold after which a fold stops.
        minimum_steps: small simulations get as many epochs as make this number of steps.
        maximum_steps: large simulations are passed over as often as this number of steps allows.
        encoding: what a new event gets: ``"fold"`` the values of the network of one fold, by a hash of its features, as
            the events of toys have them, so that intervals from toys cover whatever the networks; ``"mean"`` the mean
            logits of all networks, which is a little closer to the best. Equal events have the same network by their
            hash, those of toys each its own: where features have few different values (counts, categories), events of
            data are no longer like those of toys as far as networks disagree. ``"mean"``, which is the mean over the
            toys' events of a value, is right there.
        weight_steps: of the network of a sample's variations by weight, at most.
        weight_batch_size: its events a step and fold.
        weight_learning_rate: its peak, as above.
        pool: simulated events that the model keeps for toys, at most; 0 is all that take 120 MB with their values. Fits
            and limits on data do not depend on it.
    """

    hidden: tuple[int, ...] = (64, 64)
    folds: int = 5
    epochs: int = 16
    batch_size: int = 512
    learning_rate: float = 6e-3
    weight_decay: float = 1e-4
    patience: int = 8
    minimum_steps: int = 2000
    maximum_steps: int = 12_000
    encoding: str = "fold"
    weight_steps: int = 2000
    weight_batch_size: int = 256
    weight_learning_rate: float = 2e-2
    pool: int = 0


@dataclass(frozen=True)
class SetOptions:
    """How a dataset-wide network is built and trained; every option is a key of ``network:`` or of ``neyman.train``.

    Args:
        shape: the options of the network itself, which each kind has of its own.
        datasets: number of datasets to simulate, for the training end to end.
        fresh: how many times as many are then simulated for the heads, of which the summaries alone are kept; 0 trains
            the heads on the same datasets, where simulation is expensive.
        batch_size: datasets a step.
        steps: of the training end to end.
        head_steps: of the training of each head on the summaries.
        learning_rate: its peak; it rises over the first steps and falls to zero as a cosine.
        networks: how many networks, trained at once on a core each, have their scores averaged.
        tabled: the parameters that have tables where there are any, by their positions; all, or those that need them.
    """

    shape: dict[str, Any] = field(default_factory=dict)
    datasets: int = 150_000
    fresh: int = 3
    batch_size: int = 256
    steps: int = 2500
    head_steps: int = 6000
    learning_rate: float = 3e-3
    networks: int = 2
    tabled: tuple[int, ...] = ()


@dataclass(frozen=True)
class PosteriorOptions:
    """How the network of a posterior is built and trained; every option is one of ``neyman.train_posterior``.

    Args:
        shape: the options of the network that turns events into numbers, which each kind has of its own.
        datasets: number of datasets to simulate for the training end to end; fewer where they would not fit into
            memory.
        fresh: how many times as many are then simulated for mean, width and flow, of which the summaries alone are
            kept; 0 trains these on the same datasets, where simulation is expensive.
        batch_size: datasets a step.
        steps: of the training end to end, with a normal distribution for the posterior.
        head_steps: of the training of mean and width on the summaries.
        flow_steps: of the training with the flow on the summaries.
        local_steps: of the training of what is local to events, where there is something, before that of its flow.
        learning_rate: its peak; it rises over the first steps and falls to zero as a cosine.
        head: sizes of the hidden layers from the summary to mean and width.
        flow: sizes of the hidden layers of each transform of the flow.
        transforms: how many of them the flow has.
        bins: of the flow's splines.
    """

    shape: dict[str, Any] = field(default_factory=dict)
    datasets: int = 60_000
    fresh: int = 3
    batch_size: int = 128
    steps: int = 3000
    head_steps: int = 4000
    flow_steps: int = 2000
    local_steps: int = 3000
    learning_rate: float = 2e-3
    head: tuple[int, ...] = (64, 64)
    flow: tuple[int, ...] = (64, 64)
    transforms: int = 1
    bins: int = 8


def checked_options(
    kind: str, given: Mapping[str, Any], defaults: Mapping[str, Any], free: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the options given, if each exists and its value could stand for the default.

    Args:
        kind: the kind of network.
        given: the options; ``kind`` among them is left out.
        defaults: all options there are, with their defaults.
        free: options whose values may be anything that JSON can say.

    Raises:
        InvalidDocument: if an option is unknown or a value makes no sense.

    Example:
        >>> checked_options("deepset", {"kind": "deepset", "hidden": [8, 8]}, {"hidden": (32,), "width": 16})
        {'hidden': (8, 8)}
    """
    found = {key: value for key, value in given.items() if key != "kind"}
    for key, value in found.items():
        if key not in defaults:
            raise InvalidDocument(f"{key} is not an option of a {kind}: {did_you_mean(key, defaults)}")
        if key in free:
            valid = _is_json(value)
        elif key in _WORDS:
            if value not in _WORDS[key]:
                raise InvalidDocument(f"{key}: {value!r} makes no sense; write {' or '.join(_WORDS[key])}")
            continue
        elif isinstance(defaults[key], tuple):
            valid = isinstance(value, list | tuple) and all(type(n) is int and n >= (key != "tabled") for n in value)
            found[key] = tuple(value) if valid else value
        elif isinstance(defaults[key], int):
            valid = isinstance(value, int) and not isinstance(value, bool) and value >= _LEAST.get(key, 1)
            valid = valid and (key != "knots" or value == 0 or value >= 4)
        else:
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            valid = number and (value > 0 or (value == 0 and key == "weight_decay"))
        if not valid:
            raise InvalidDocument(f"{key}: {value!r} makes no sense; the default is {defaults[key]!r}")
    return found


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
