"""Streams: what a network makes of every beginning of a dataset whose events come one after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.events import Events
from neyman.networks.causal import CausalTransformer
from neyman.networks.encoder import Encoder

__all__ = ["prefix_sums"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_PART = 1_000_000  # events in memory at a time, where every beginning is a dataset of its own


def prefix_sums(encoder: Encoder, encode_many: Callable[..., Array], events: Events) -> Array:
    """Return the summaries of the first event, the first two and so on, shape ``(N, K)``.

    Args:
        encoder: from events to sums.
        encode_many: returns the sums of many datasets of features, offsets and weights.
        events: the events in their order.
    """
    number = len(events)
    if isinstance(encoder, CausalTransformer):
        with torch.inference_mode():
            x, weights = torch.from_numpy(events.features), torch.from_numpy(events.weights)
            found: Array = encoder.prefixes(x, weights, torch.zeros(number, dtype=torch.int64), 1).numpy()
            return found
    if encoder.additive:
        return np.cumsum(encode_many(events.features, np.arange(number + 1), events.weights), axis=0)
    parts, first = [np.empty((0, encoder.size))], 0
    while first < number:  # beginnings with first + 1 to last events
        last = first + 1
        while last < number and (last + 1) * (last + 1 - first) <= _PART:
            last += 1
        lengths = np.arange(first + 1, last + 1)
        index = np.concatenate([np.arange(length) for length in lengths])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        parts.append(encode_many(events.features[index], offsets, events.weights[index]))
        first = last
    return np.concatenate(parts)
