"""Files read in partitions on workers give what one process reads, and what is wrong names the worker."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from conftest import write_analysis

import neyman
from neyman.events import EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs import partitions
from neyman.inputs.partitions import read_partitions
from neyman.inputs.sources import read_together


@pytest.fixture
def sources(tmp_path: Path) -> list[EventSource]:
    """Give two files of 1000 and 300 entries, and two weights."""
    rng = np.random.default_rng(0)
    for name, n in (("a", 1000), ("b", 300)):
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            file["t"] = {"x": rng.normal(size=n), "w": rng.uniform(0.5, 1.5, n)}
    return [EventSource((f"{tmp_path}/*.root",), "t", weight, "x > -1") for weight in ("w", "2 * w")]


@pytest.mark.parametrize("entries", [None, (10, None), (100, 350), (400, 401)])
def test_partitions_are_what_one_process_reads(
    sources: list[EventSource], entries: tuple[int, int | None] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "ENTRIES", 128)
    group = [EventSource(**{**vars(source), "entries": entries}) for source in sources]
    expected = read_together(group, ["x", "x**2"])
    with ThreadPoolExecutor(2) as executor:
        [(number, found)] = read_partitions([(group, ["x", "x**2"])], executor)
    assert number == 0
    assert found[0].features is found[1].features
    np.testing.assert_array_equal(found[0].features, expected[0].features)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine.weights, other.weights)


class Elsewhere(Executor):
    """An executor whose workers do not see a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        hidden = self.file.rename(self.file.with_name("hidden"))
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except InvalidEvents as error:
            future.set_exception(error)
        finally:
            hidden.rename(self.file)
        return future


def test_a_worker_without_a_file_is_one_line_with_both(sources: list[EventSource], tmp_path: Path) -> None:
    named = EventSource((f"{tmp_path}/a.root",), "t")
    with pytest.raises(InvalidEvents, match=rf"^worker .*, process {os.getpid()}: .*a\.root: no such file"):
        list(read_partitions([([named], ["x"])], Elsewhere(tmp_path / "a.root")))


def test_a_workspace_read_by_processes_is_the_same(tmp_path: Path) -> None:
    path = write_analysis(tmp_path, events=600)
    here, there = neyman.Workspace.load(path), neyman.Workspace.load(path)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        there.validate(executor)
    (tmp_path / "data.root").unlink()
    mine, other = there.simulation("SR"), neyman.Workspace.load(path)
    for sample, events in mine.samples.items():
        np.testing.assert_array_equal(events.features, here.simulation("SR").samples[sample].features)
    assert len(there.observed().events["SR"]) > 0  # the file is not needed any more
    with pytest.raises(InvalidEvents):
        other.observed()


def test_an_error_of_a_worker_begins_with_the_place_in_the_document(tmp_path: Path) -> None:
    path = write_analysis(tmp_path, events=600)
    workspace = neyman.Workspace.load(path)
    with pytest.raises(InvalidEvents, match=r"line \d+: .*observations.*worker .*data\.root: no such file"):
        workspace.read(Elsewhere(tmp_path / "data.root"))


class Counting(ThreadPoolExecutor):
    """An executor that counts its tasks."""

    tasks = 0

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.tasks += 1
        return super().submit(function, *args, **kwargs)


def test_a_training_reads_where_the_workers_are(tmp_path: Path) -> None:
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    with Counting(1) as executor:
        workspace.validate(executor)
    assert executor.tasks >= 4  # signal, background and its two varied trees
