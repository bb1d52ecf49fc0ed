"""Channels as HistFactory has them: event sources filled into bins, in the samples and in their modifiers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from neyman.events import EventSource
from neyman.exceptions import InvalidDocument, InvalidEvents
from neyman.inputs.channels import Channel, Histogram, Sample

__all__ = ["Fill", "histfactory", "ones"]


def __dir__() -> list[str]:
    return __all__


Fill: TypeAlias = Callable[[Channel, EventSource, Sample], Histogram]
"""Reads an event source of a sample of a channel and fills it into the bins."""


def ones(channel: Channel, *_: object) -> Histogram:
    """Read nothing and put 1 into every bin."""
    return Histogram([1.0] * channel.kind.bins, [1.0] * channel.kind.bins, 1.0)


def histfactory(channel: Channel, fill: Fill, *, staterror: bool = False) -> dict[str, Any]:
    """Return a channel as pyhf has it.

    Args:
        channel: the channel.
        fill: what turns event sources into bin contents.
        staterror: whether to give each sample without a ``staterror`` the statistical error of its simulation.
    """
    samples = []
    for sample in channel.samples:
        if isinstance(sample.contents, EventSource):
            nominal = fill(channel, sample.contents, sample)
        else:
            nominal = Histogram(list(sample.contents), [], float(np.sum(sample.contents)))
        modifiers: list[dict[str, Any]] = []
        for modifier in sample.modifiers:
            _add(modifiers, _filled(modifier, channel, sample, nominal, fill))
        if staterror and not any(modifier["type"] == "staterror" for modifier in modifiers):
            modifiers.append({"name": f"staterror_{channel.name}", "type": "staterror", "data": nominal.errors})
        samples.append({"name": sample.name, "data": nominal.contents, "modifiers": modifiers})
    return {"name": channel.name, "samples": samples}


def _filled(
    modifier: Mapping[str, Any], channel: Channel, sample: Sample, nominal: Histogram, fill: Fill
) -> dict[str, Any]:
    """Return a modifier with bin contents where it has event sources or null."""
    if modifier["type"] == "purefunc":
        return dict(modifier)  # with or without data, as written
    name, kind, data = modifier["name"], modifier["type"], copy.deepcopy(modifier["data"])
    if kind == "histosys" and name in sample.variations:
        sides = sample.variations[name]
        hi, lo = (None if source is None else fill(channel, source, sample) for source in sides)
        one = hi or lo
        other = nominal.mirrored(one) if sides.mirrored and one else nominal
        kind, data = channel.kind.varied(nominal, hi or other, lo or other)
        if kind == "normsys" and not min(data.values()) > 0:
            raise InvalidEvents(
                f"{sample.place} ({sample.name!r}, {name!r}): one side has {max(data.values()):g} times the nominal "
                "yield, and that of its mirror image would not be positive; give the other side too, or write {} for it"
            )
    elif kind == "staterror" and data is None:
        data = nominal.errors
    elif kind in {"histosys", "shapesys", "staterror"}:
        data = channel.kind.listed(kind, data, nominal)
        if sample.sign and isinstance(sample.contents, EventSource):
            data = _shared(kind, data, sample, nominal, fill(channel, sample.contents, replace(sample, sign=0)))
    return {"name": name, "type": kind, "data": data}


def _shared(kind: str, data: Any, sample: Sample, half: Histogram, whole: Histogram) -> Any:
    """Return what half of a sample of either sign has of the lists that the document has for all of it."""
    if kind == "histosys" and whole.total:
        return {key: [value * half.total / whole.total for value in values] for key, values in data.items()}
    if kind == "staterror":
        return [value * half.errors[0] / whole.errors[0] for value in data]
    raise InvalidDocument(
        f"{sample.place}: a {kind} with lists cannot be shared by the events of positive and of negative weight of a "
        "signed sample; write a normsys, a staterror, or a histosys with event sources in its place"
    )


def _add(modifiers: list[dict[str, Any]], new: dict[str, Any]) -> None:
    """Append a modifier; two normsys of one name, of which one was a histosys, are one with the product of factors."""
    for modifier in modifiers:
        if modifier["type"] == new["type"] == "normsys" and modifier["name"] == new["name"]:
            modifier["data"] = {side: modifier["data"][side] * new["data"][side] for side in ("hi", "lo")}
            return
    modifiers.append(new)
