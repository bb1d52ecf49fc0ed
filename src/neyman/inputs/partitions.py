"""Event sources in partitions, ranges of the entries of one file each, to be read by many workers at once."""

from __future__ import annotations

import dataclasses
import glob
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from neyman.events import Events, EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs.files import files_of, opened
from neyman.inputs.places import is_url
from neyman.inputs.sources import read_together
from neyman.support.tasks import run

__all__ = ["ENTRIES", "Group", "partitions", "read_partitions", "reading"]


def __dir__() -> list[str]:
    return __all__


ENTRIES = 262_144
"""Of a file that are read at a time: what one task holds in memory."""

Group: TypeAlias = tuple[Sequence[EventSource], Sequence[str]]
"""Sources that differ in their weight alone, and the expressions of their features."""


def read_partitions(
    groups: Sequence[Group], executor: Executor, *, progress: bool = False
) -> Iterator[tuple[int, list[Events]]]:
    """Read sources where the workers of an executor are; only the selected features and weights come back.

    Args:
        groups: what is read.
        executor: any :class:`concurrent.futures.Executor`, whose workers see the files under the same paths.
        progress: whether to show a progress bar on standard error.

    Yields:
        The number of a group and what :func:`neyman.inputs.sources.read_together` gives of it, which may be no events.

    Raises:
        InvalidEvents: as that; the message names the worker, too.
    """
    first = [(sources[0], expressions) for sources, expressions in groups]
    pieces = partitions([source for source, _ in first], executor)
    tasks = [
        (
            number,
            [dataclasses.replace(source, files=piece.files, entries=piece.entries) for source in groups[number][0]],
        )
        for number, own in enumerate(pieces)
        for piece in own
    ]
    found: dict[int, list[Events]] = {}
    left = [len(own) for own in pieces]
    of_group = np.cumsum([0, *left])
    common = [tuple(expressions) for _, expressions in first]
    for task, events in run(_read, common, tasks, executor, progress=progress, description="reading"):
        found[task] = events
        number = tasks[task][0]
        left[number] -= 1
        if not left[number]:
            yield number, _joined([found.pop(task) for task in range(of_group[number], of_group[number + 1])])


def partitions(sources: Sequence[EventSource], executor: Executor | None) -> list[list[EventSource]]:
    """Return the partitions of each source, at least one; workers find the files and say how many entries they have.

    Raises:
        InvalidEvents: if a file is missing or cannot be read; the message names the worker, too.
    """
    absolute = [dataclasses.replace(source, files=tuple(map(_absolute, source.files))) for source in sources]
    found = dict(run(_survey, None, list(enumerate(absolute)), executor))
    return [
        [
            dataclasses.replace(source, files=(file if is_url(file) else glob.escape(file),), entries=entries)
            for file, total in found[number]
            for entries in _ranges(source, total)
        ]
        or [source]
        for number, source in enumerate(absolute)
    ]


@contextmanager
def reading(number: int) -> Iterator[None]:
    """Say in errors about files which worker could not read them; the number becomes their ``source``."""
    try:
        yield
    except InvalidEvents as error:
        blamed = InvalidEvents(f"worker {_name()}: {error}")
        blamed.source = number
        raise blamed from None


def _absolute(file: str) -> str:
    return file if is_url(file) else os.path.abspath(file)


def _survey(_: None, task: tuple[int, EventSource]) -> list[tuple[str, int]]:
    """Return the files of a source and how many entries each has."""
    number, source = task
    found = []
    with reading(number):
        for file in files_of(source):
            with opened(file) as reader:
                found.append((file, reader.tree(source.tree).entries))
    return found


def _ranges(source: EventSource, total: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of those entries of a file that the source asks for."""
    start, stop = source.entries or (0, None)
    stop = total if stop is None else min(stop, total)
    yield from ((begin, min(begin + ENTRIES, stop)) for begin in range(start, stop, ENTRIES))


def _read(expressions: Sequence[Sequence[str]], task: tuple[int, list[EventSource]]) -> list[Events]:
    """Read one partition of the sources of a group."""
    number, sources = task
    with reading(number):
        return read_together(sources, expressions[number], allow_empty=True)


def _joined(parts: Sequence[list[Events]]) -> list[Events]:
    """Join partitions; the events of all sources share their features."""
    features = np.concatenate([part[0].features for part in parts])
    return [Events(features, np.concatenate([one.weights for one in of])) for of in zip(*parts, strict=True)]


def _name() -> str:
    """Return what tells this worker from others: its address where it is Dask's, else machine and process."""
    try:
        from distributed import get_worker

        return str(get_worker().address)
    except (ImportError, ValueError):  # no worker of Dask's
        return f"{socket.gethostname()}, process {os.getpid()}"
