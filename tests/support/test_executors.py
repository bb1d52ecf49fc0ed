"""Executors by name: what is opened works and is closed, and what is wrong is one line."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import pytest

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.support.executors import open_executor
from neyman.support.tasks import run


def power(base: int, exponent: int) -> int:
    return base**exponent


def die_once(folder: str, task: int) -> int:
    """Kill the worker that comes first to the third task."""
    marker = Path(folder, "died")
    if task == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * task


def test_one_worker_needs_no_executor() -> None:
    with open_executor() as none, open_executor(None, 1) as one:
        assert none is one is None


@pytest.mark.parametrize("text", [None, "processes"])
def test_processes_share_the_work(text: str | None) -> None:
    with open_executor(text, 2) as executor:
        assert sorted(run(power, 2, [1, 2, 3], executor)) == [(0, 2), (1, 4), (2, 8)]


@pytest.mark.filterwarnings("ignore")  # of Dask's own, about ports and files
def test_a_dask_cluster_of_this_machine_loses_nothing_and_says_nothing_when_a_worker_is_killed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed")
    with open_executor("dask", 2) as executor:
        assert sorted(run(die_once, str(tmp_path), list(range(20)), executor)) == [(i, 10 * i) for i in range(20)]
    assert (tmp_path / "died").exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore")
def test_a_running_cluster_is_found_by_its_address_or_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 0, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        file = tmp_path / "scheduler.json"
        file.write_text(f'{{"address": "{cluster.scheduler_address}"}}')
        with open_executor(f"dask:{file}"), caplog.at_level(logging.WARNING, logger="neyman"):
            pass
        assert "has no workers yet: waiting for the first" in caplog.text
        cluster.scale(1)
        with open_executor(cluster.scheduler_address) as executor:
            assert list(run(power, 2, [5], executor)) == [(0, 32)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dusk", "no executor 'dusk': give processes, dask, dask://HOST:PORT or dask:FILE.json"),
        ("dask://host", "no executor 'dask://host'"),
        ("dask:nowhere.json", "nowhere.json: no such file; 'dask scheduler"),
        (f"dask:{__file__}.json", "test_executors.py.json: no such file"),
    ],
)
def test_another_name_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message), open_executor(text):
        pass


def test_a_file_that_is_not_a_scheduler_s_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    refused = pytest.raises(InvalidParameter, match=r"other\.json: not a file that 'dask scheduler")
    with refused, open_executor(f"dask:{tmp_path}/other.json"):
        pass


def test_a_scheduler_that_does_not_answer_is_one_line_within_seconds() -> None:
    pytest.importorskip("distributed")
    begin = time.perf_counter()
    refused = pytest.raises(Unsupported, match=r"no Dask scheduler at dask://127\.0\.0\.1:1 \(")
    with refused as caught, open_executor("dask://127.0.0.1:1"):
        pass
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - begin < 15.0  # five, and what a busy machine takes


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(Unsupported, match=r'pip install "neyman\[dask\]"'), open_executor("dask"):
        pass


def test_no_worker_is_too_few() -> None:
    with pytest.raises(InvalidParameter, match="workers is 0"), open_executor("processes", 0):
        pass
