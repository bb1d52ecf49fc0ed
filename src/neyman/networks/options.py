"""The options of networks and their training: the keys of a channel's ``network:``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neyman.exceptions import InvalidDocument
from neyman.support.messages import did_you_mean

__all__ = ["SET_KINDS", "SetOptions", "TrainingOptions", "set_options", "training_options"]


def __dir__() -> list[str]:
    return __all__


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
    """

    hidden: tuple[int, ...] = (64, 64)
    folds: int = 5
    epochs: int = 12
    batch_size: int = 2048
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    patience: int = 6
    minimum_steps: int = 500


SET_KINDS = ("event", "deepset", "transformer")


@dataclass(frozen=True)
class SetOptions:
    """How a dataset-wide network is built and trained; every field is a key of ``network:`` or of ``neyman.train``.

    Args:
        hidden: sizes of the hidden layers that each event goes through; of ``event`` and ``deepset``.
        width: number of learned sums over the events.
        points: inducing points of a ``transformer``.
        attention_heads: heads of its attention, a divisor of ``width``.
        blocks: its rounds of attention.
        datasets: number of datasets to simulate.
        batch_size: datasets a step.
        steps: of the training end to end.
        head_steps: of the training of each head on the summaries.
        learning_rate: its peak; it rises over the first steps and falls to zero as a cosine.
        networks: how many networks, trained at once on a core each, have their scores averaged.
    """

    hidden: tuple[int, ...] = (32, 32)
    width: int = 16
    points: int = 4
    attention_heads: int = 4
    blocks: int = 1
    datasets: int = 150_000
    batch_size: int = 256
    steps: int = 2500
    head_steps: int = 6000
    learning_rate: float = 3e-3
    networks: int = 2


_DEFAULTS: dict[str, dict[str, Any]] = {
    "event": {"width": 32, "steps": 4000, "networks": 1},
    "deepset": {},
    "transformer": {"width": 32},
}


def set_options(kind: str, network: Mapping[str, Any]) -> SetOptions:
    """Return the options of a dataset-wide network.

    Args:
        kind: ``"event"``, ``"deepset"`` or ``"transformer"``.
        network: the options given; ``kind`` among them is left out.

    Raises:
        InvalidDocument: if a key is unknown or a value makes no sense.

    Example:
        >>> set_options("deepset", {"width": 32}).width
        32
    """
    options = SetOptions(**{**_DEFAULTS[kind], **_checked(kind, network, SetOptions())})
    if kind == "transformer" and options.width % options.attention_heads:
        raise InvalidDocument(
            f"attention_heads: {options.attention_heads} heads do not divide a width of {options.width}"
        )
    return options


def training_options(network: Mapping[str, Any]) -> TrainingOptions:
    """Return the options of a channel's ``network:``.

    Args:
        network: the mapping as written.

    Raises:
        InvalidDocument: if a key is unknown or a value makes no sense.

    Example:
        >>> training_options({"kind": "mixture", "hidden": [32, 32]}).hidden
        (32, 32)
    """
    return TrainingOptions(**_checked("mixture", network, TrainingOptions()))


def _checked(kind: str, network: Mapping[str, Any], default: TrainingOptions | SetOptions) -> dict[str, Any]:
    """Return the options given, if they make sense."""
    given = {key: value for key, value in network.items() if key != "kind"}
    defaults = dataclasses.asdict(default)
    for key, value in given.items():
        if key not in defaults:
            raise InvalidDocument(f"{key} is not an option of a {kind}: {did_you_mean(key, defaults)}")
        if key == "hidden":
            valid = isinstance(value, list | tuple) and all(type(n) is int and n > 0 for n in value)
            given[key] = tuple(value) if valid else value
        elif isinstance(defaults[key], int):
            valid = isinstance(value, int) and not isinstance(value, bool) and value > (1 if key == "folds" else 0)
        else:
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            valid = number and (value > 0 or (value == 0 and key == "weight_decay"))
        if not valid:
            raise InvalidDocument(f"{key}: {value!r} makes no sense; the default is {defaults[key]!r}")
    return given
