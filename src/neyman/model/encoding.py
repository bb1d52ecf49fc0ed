"""Encoding of datasets in parts: of events at hand, or of files that are read where the workers are."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from neyman.events import Ensemble, Events, EventSource
from neyman.inputs import sources
from neyman.inputs.partitions import partitions, reading
from neyman.model.channel import AnyChannel
from neyman.model.observations import Sources, observed_in
from neyman.model.pool import MixtureSummary
from neyman.model.summary import Summary
from neyman.support.tasks import at_once, run

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["encode"]


def __dir__() -> list[str]:
    return __all__


_Part: TypeAlias = "tuple[str, Events | EventSource]"  # of the events of a channel, or where they are


def encode(model: Model, data: Ensemble | str | Path, executor: Executor | None, progress: bool) -> Summary:
    """Return the summary of a dataset; see :meth:`neyman.Model.encode`."""
    of_events: Sources = {}

    if not isinstance(data, Ensemble):
        found = observed_in(model, str(data))
        if isinstance(found, Summary):
            return found
        of_events, data = found
    main, auxdata = model.main_and_aux(data, elsewhere=of_events)  # which checks the ensemble
    parts = [*_of_files(model.learned, of_events, executor), *_of_events(model.learned, data)]
    expressions = {name: tuple(of_channel[1]) for name, of_channel in of_events.items()}
    done = _all(model.learned, expressions, parts, executor, progress)
    summaries = {}
    for name, channel in model.learned.items():
        own = [one for part, one in zip(parts, done, strict=True) if part[0] == name]
        summaries[name] = _joined([summary for summary, _ in own])
        if name in of_events:
            main[model.config.channel_slices[name]] = sum(total for _, total in own)
        channel.warn_of_number(float(main[model.config.channel_slices[name]].sum()))
    return Summary(main, auxdata, summaries, model.fingerprint)


def _all(
    channels: Mapping[str, AnyChannel],
    expressions: Mapping[str, tuple[str, ...]],
    parts: Sequence[_Part],
    executor: Executor | None,
    progress: bool,
) -> list[tuple[Any, float]]:
    """Return what comes of each part, with one thread of torch for each."""
    if executor is None:
        here = (channels, expressions)
        return at_once(lambda part, _: _encoded(here, part), parts, torch.get_num_threads())
    there = ({name: channel.without_simulation() for name, channel in channels.items()}, expressions)
    done = dict(run(_encoded, there, parts, executor, progress=progress, description="encoding"))
    return [done[number] for number in range(len(parts))]


def _of_events(channels: Mapping[str, AnyChannel], data: Ensemble) -> Iterator[_Part]:
    """Yield parts of the events at hand, at least one for each channel."""
    for name, events in data.events.items():
        if name in channels:
            size = channels[name].part or max(len(events), 1)
            yield from ((name, events[begin : begin + size]) for begin in range(0, max(len(events), 1), size))


def _of_files(channels: Mapping[str, AnyChannel], of_events: Sources, executor: Executor | None) -> Iterator[_Part]:
    """Yield partitions of the files; all of them at once, where whole datasets alone are encoded."""
    names = list(of_events)
    for name, found in zip(names, partitions([of_events[name][0] for name in names], executor), strict=True):
        if channels[name].part is None:
            yield name, of_events[name][0]
        else:
            yield from ((name, source) for source in found)


def _encoded(common: tuple[Mapping[str, AnyChannel], Mapping[str, tuple[str, ...]]], part: _Part) -> tuple[Any, float]:
    """Return the summary of a part, and its total weight."""
    channels, expressions = common
    name, events = part
    if isinstance(events, EventSource):
        with reading(0):
            events = sources.read(events, expressions[name], allow_empty=True)
    return channels[name].encode_part(events), float(events.weights.sum())


def _joined(summaries: list[Any]) -> Any:
    if isinstance(summaries[0], MixtureSummary):
        return MixtureSummary.joined(summaries)
    return functools.reduce(operator.add, summaries)
