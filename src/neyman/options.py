"""The options of a mixture's networks and their training: the keys of a channel's ``network:``."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neyman.exceptions import InvalidDocument

__all__ = ["TrainingOptions", "training_options"]


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
    given = {key: value for key, value in network.items() if key != "kind"}
    defaults = dataclasses.asdict(TrainingOptions())
    for key, value in given.items():
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the options are {', '.join(defaults)}"
            raise InvalidDocument(f"{key} is not an option of a mixture: {hint}")
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
    return TrainingOptions(**given)
