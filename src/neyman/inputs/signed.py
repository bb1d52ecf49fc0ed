"""Samples whose density has either sign, as two: the events of positive and those of negative weight."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from neyman.events import Events, same_features
from neyman.inputs.channels import Sample

__all__ = ["component", "halves", "sample_of", "wrong_yield"]


def __dir__() -> list[str]:
    return __all__


_ENDINGS = {1: " (+)", -1: " (-)"}
_FEW = 100  # events of the rarer sign: a sample of negative yield with fewer is learned as one


def halves(sample: Sample, weights: NDArray[np.float64]) -> tuple[Sample, ...]:
    """Return the samples that a sample of a learned channel is in the model.

    A sample of either sign, such as the interference of two amplitudes, has a density that is positive in some places
    and negative in others, which no classifier can learn. It is the difference of two that have one sign each: its
    events of positive and of negative weight. A sample with weights of one sign only stays as it is.

    Args:
        sample: the sample; it is split if it is ``signed: true`` or, where it does not say, its yield is negative.
        weights: of its nominal events, shape ``(N,)``.
    """
    rarer = min(np.count_nonzero(weights > 0), np.count_nonzero(weights < 0))
    split = rarer > 0 if sample.signed else sample.signed is None and weights.sum() < 0 and rarer >= _FEW
    if not split:
        return (sample,)
    return tuple(
        dataclasses.replace(sample, name=f"{sample.name}{ending}", sign=sign) for sign, ending in _ENDINGS.items()
    )


def component(events: Events, nominal: Events, sign: int, known: dict[tuple[int, int], NDArray[np.float32]]) -> Events:
    """Return the events of a sample, nominal or varied, that belong to one of its halves.

    The same events with other weights stay in the half of their nominal weights, so that they stay the same events.

    Args:
        events: of the sample.
        nominal: its nominal events.
        sign: of the half, 1 or -1, or 0 for all events.
        known: the features of nominal halves, to be kept and passed again, so that they share memory.
    """
    if sign == 0:
        return events
    if not same_features(events, nominal):
        return events[sign * events.weights > 0]
    mine = sign * nominal.weights > 0
    key = id(nominal.features), sign
    if key not in known:
        known[key] = nominal.features[mine]
    return Events(known[key], events.weights[mine])


def wrong_yield(sample: Sample, total: float, nominal: float, everything: float) -> str:
    """Return what the total weight of some events of a sample should be, or nothing where it is that.

    Args:
        sample: the sample, or half of it.
        total: the sum of weights of the events.
        nominal: that of the sample's nominal events.
        everything: that of the nominal events of all samples of the channel.
    """
    if sample.sign:
        kind = "positive" if sample.sign > 0 else "negative"
        return "" if total * sample.sign > 0 else f"the part of the sample with {kind} weights stays {kind}"
    allowed = nominal > 0 or (everything > 0 and sample.signed is None)
    if sample.signed or (allowed and total * nominal > 0):
        return ""
    return "a yield is negative, as that of the nominal events" if allowed and nominal < 0 else "a yield is positive"


def sample_of(name: str) -> str:
    """Return the name of the sample in the document of a sample in the model, which may be half of it.

    Example:
        >>> sample_of("interference (-)"), sample_of("background")
        ('interference', 'background')
    """
    for ending in _ENDINGS.values():
        name = name.removesuffix(ending)
    return name
