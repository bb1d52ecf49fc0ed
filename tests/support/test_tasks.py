"""Tasks on executors: in any order, on any of them, with nothing lost when workers die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.support.tasks import run


def power(base: int, exponent: int) -> int:
    return base**exponent


def fail(_: object, task: int) -> int:
    if task == 2:
        raise FailedFit("two does not fit")
    return task


def die_once(folder: str, task: int) -> int:
    """Kill the worker that comes first."""
    marker = Path(folder, "died")
    if task == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * task


class Counting:
    """A model that counts how often it is pickled."""

    pickled = 0

    def __reduce__(self) -> Any:
        Counting.pickled += 1
        return (Counting, ())


def times(_: object, task: int) -> int:
    return 2 * task


class Cancelling(Executor):
    """An executor that gives its tasks up."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_without_an_executor_tasks_run_here_in_order() -> None:
    assert list(run(power, 2, [3, 1, 2])) == [(0, 8), (1, 2), (2, 4)]


def test_any_executor_gives_the_same() -> None:
    tasks = list(range(100))
    expected = [power(2, task) for task in tasks]
    with ThreadPoolExecutor(3) as executor:
        assert [value for _, value in sorted(run(power, 2, tasks, executor))] == expected


def test_processes_give_the_same() -> None:
    with ProcessPoolExecutor(2) as executor:
        assert sorted(run(power, 2, [1, 2, 3], executor)) == [(0, 2), (1, 4), (2, 8)]


@pytest.mark.filterwarnings("ignore")  # of Dask's own, about ports and files
def test_a_dask_cluster_gives_the_same() -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        tasks = list(range(80))
        assert sorted(run(power, 2, tasks, client.get_executor())) == [(i, 2**i) for i in tasks]


def test_the_model_is_pickled_once() -> None:
    Counting.pickled = 0
    with ThreadPoolExecutor(2) as executor:
        assert len(list(run(times, Counting(), list(range(50)), executor))) == 50
    assert Counting.pickled == 1


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1) as executor, pytest.warns(UserWarning, match="the executor failed"):
        assert sorted(run(die_once, str(tmp_path), [0, 1, 2, 3], executor)) == [(0, 0), (1, 10), (2, 20), (3, 30)]


def test_an_executor_that_is_shut_down_loses_nothing() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.warns(UserWarning, match="after shutdown"):
        assert sorted(run(power, 2, [1, 2], executor)) == [(0, 2), (1, 4)]


def test_an_executor_that_cancels_loses_nothing() -> None:
    with pytest.warns(UserWarning, match="CancelledError"):
        assert sorted(run(power, 2, list(range(100)), Cancelling())) == [(i, 2**i) for i in range(100)]


def test_an_error_of_ours_comes_back_as_it_is() -> None:
    with ThreadPoolExecutor(2) as executor, pytest.raises(FailedFit, match="two does not fit"):
        list(run(fail, None, [1, 2, 3], executor))


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"concurrent\.futures\.Executor"):
        list(run(power, 2, [1], executor=4))


def threads(_: object, task: int) -> int:
    return torch.get_num_threads()


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_a_task_has_one_thread_of_torch_wherever_it_runs_and_the_caller_keeps_its_own() -> None:
    assert [found for _, found in run(threads, None, [1, 2])] == [1, 1]
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(3) as executor:
        assert {found for _, found in run(threads, None, list(range(50)), executor)} == {1}
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as executor:  # a thread that begins later
        assert executor.submit(torch.get_num_threads).result() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_task_that_fails_leaves_the_threads_of_torch_as_they_were() -> None:
    with pytest.raises(FailedFit):
        list(run(fail, None, [2]))
    assert torch.get_num_threads() == 2
