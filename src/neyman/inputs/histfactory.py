"""HistFactory channels from the document's: event sources filled into bins, and into the modifiers they stand in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neyman.events import Events, EventSource
from neyman.inputs.document import Channel, Sample

__all__ = ["Filled", "Filler", "fill_bins", "histfactory", "ones"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True)
class Filled:
    """What events make of bins: the sums of weights, the roots of the sums of their squares, and the total of all."""

    contents: list[float]
    errors: list[float]
    total: float


Filler = Callable[..., Filled]


def fill_bins(events: Events, binning: tuple[str, tuple[float, ...]] | None) -> Filled:
    """Fill the first feature into bins that include their lower edge; without a binning, everything into one."""
    w = events.weights
    total = float(w.sum())
    if binning is None:
        return Filled([total], [float(np.sqrt(np.sum(w**2)))], total)
    edges = np.asarray(binning[1], dtype=np.float32)  # an edge and a feature of the same value stay equal
    b = np.searchsorted(edges, events.features[:, 0], side="right")
    contents, squares = (np.bincount(b, v, minlength=len(edges) + 1)[1:-1] for v in (w, w**2))
    return Filled(contents.tolist(), np.sqrt(squares).tolist(), total)


def ones(channel: Channel) -> Filler:
    """Return a filler that reads nothing and puts 1 into every bin."""
    one = [1.0] * channel.bins
    return lambda *_: Filled(one, one, 1.0)


def histfactory(channel: Channel, fill: Filler, *, one_bin: bool = False, staterror: bool = False) -> dict[str, Any]:
    """Return a channel as pyhf has it.

    Args:
        channel: the channel.
        fill: what turns event sources into bin contents.
        one_bin: whether these are the one bin of a learned channel.
        staterror: whether to add a ``staterror``.
    """
    samples = []
    for sample in channel.samples:
        if isinstance(sample.contents, EventSource):
            nominal = fill(sample.contents, sample)
        else:
            nominal = Filled(list(sample.contents), [], float(np.sum(sample.contents)))
        modifiers: list[dict[str, Any]] = []
        for modifier in sample.modifiers:
            new = _filled_modifier(modifier, sample, nominal, fill, channel, one_bin)
            _add(modifiers, new)
        if staterror and not any(modifier["type"] == "staterror" for modifier in modifiers):
            _add(modifiers, {"name": f"staterror_{channel.name}", "type": "staterror", "data": nominal.errors})
        samples.append({"name": sample.name, "data": nominal.contents, "modifiers": modifiers})
    return {"name": channel.name, "samples": samples}


def _filled_modifier(
    modifier: Mapping[str, Any], sample: Sample, nominal: Filled, fill: Filler, channel: Channel, one_bin: bool
) -> dict[str, Any]:
    """Return a modifier with lists of bin contents where it has event sources, null, or one number for the channel."""
    name, kind, data = modifier["name"], modifier["type"], copy.deepcopy(modifier["data"])
    shared = bool(channel.features) and not one_bin
    if name in sample.variations and kind == "histosys":
        hi, lo = (nominal if source is None else fill(source, sample, name) for source in sample.variations[name])
        if one_bin:
            kind, data = "normsys", {"hi": hi.total / nominal.total, "lo": lo.total / nominal.total}
        else:
            data = {"hi_data": hi.contents, "lo_data": lo.contents}
    elif kind == "histosys" and shared:
        data = {key: [value * n / nominal.total for n in nominal.contents] for key, (value,) in data.items()}
    elif kind == "staterror" and data is None:
        data = nominal.errors
    elif kind in {"shapesys", "staterror"} and shared:
        data = [data[0] * float(np.sqrt(max(n, 0.0) / nominal.total)) for n in nominal.contents]
    return {"name": name, "type": kind, "data": data}


def _add(modifiers: list[dict[str, Any]], new: dict[str, Any]) -> None:
    """Append a modifier; two normsys of one name, of which one was a histosys, are one with the product of factors."""
    for modifier in modifiers:
        if modifier["type"] == new["type"] == "normsys" and modifier["name"] == new["name"]:
            modifier["data"] = {side: modifier["data"][side] * new["data"][side] for side in ("hi", "lo")}
            return
    modifiers.append(new)
