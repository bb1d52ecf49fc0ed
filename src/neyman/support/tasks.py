"""Many independent tasks on one model, here or on any executor: in order, with nothing lost if workers die."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import itertools
import pickle
import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm.auto import tqdm

from neyman.exceptions import InvalidParameter, NeymanError
from neyman.support.mapping import NotMapped, dumps, loads

__all__ = ["at_once", "one_torch_thread", "run"]


def __dir__() -> list[str]:
    return __all__


M = TypeVar("M")
R = TypeVar("R")

_MODELS: OrderedDict[str, Any] = OrderedDict()  # in a worker: the last few models, so that each travels there once
_MODELS_KEPT = 2
_WORKERS = 32  # of an executor that does not say how many it has


def run(
    function: Callable[[Any, Any], Any],
    model: Any,
    tasks: Sequence[Any],
    executor: Any = None,
    *,
    progress: bool = False,
    description: str = "toys",
) -> Iterator[tuple[int, Any]]:
    """Yield the number and the result of every task as they get done, ``function(model, task)``.

    The model travels to a worker once, not with every task, and without the arrays that are mapped from a file that the
    worker sees. What fails on the executor, because a worker was killed
    or the executor shut down, is done again in this process.

    Args:
        function: a function of a module, so that it can be pickled.
        model: what all tasks have in common; it is pickled at most once.
        tasks: the tasks.
        executor: any :class:`concurrent.futures.Executor`, as a ``ProcessPoolExecutor`` or Dask's
            ``client.get_executor()``; ``None`` runs the tasks here, one after the other.
        progress: whether to show a progress bar on standard error.
        description: of the progress bar.

    Raises:
        InvalidParameter: if the executor is none.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with ThreadPoolExecutor(2) as executor:
        ...     sorted(run(pow, 2, [1, 2, 3], executor))
        [(0, 2), (1, 4), (2, 8)]
    """
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise InvalidParameter(
            f"executor is {executor!r}, which takes no tasks: give a concurrent.futures.Executor or None"
        )
    with tqdm(total=len(tasks), desc=description, disable=not progress, leave=False) as bar:
        results = _here(function, model, tasks) if executor is None else _there(function, model, tasks, executor)
        for result in results:
            bar.update()
            yield result


def _here(function: Callable[[Any, Any], Any], model: Any, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    for number, task in enumerate(tasks):
        yield number, _result(function, model, task)


def _there(
    function: Callable[[Any, Any], Any], model: Any, tasks: Sequence[Any], executor: Any
) -> Iterator[tuple[int, Any]]:
    pickled = dumps(model)
    token = hashlib.sha256(pickled).hexdigest()
    failed: dict[int, BaseException | None] = {}
    waiting: dict[Any, int] = {}
    remaining = iter(range(len(tasks)))
    # a few at a time: were all submitted at once, each would ask for the model
    window = 2 * _workers(executor)

    def submit(number: int, payload: bytes | None) -> None:
        try:
            with warnings.catch_warnings():
                # Dask's: a task that it sends on if its worker dies is never small enough
                warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
                future = executor.submit(_task, token, payload, function, tasks[number])
            waiting[future] = number
        except RuntimeError as error:  # broken, or shut down
            failed[number] = error

    try:
        for number in itertools.islice(remaining, window):
            submit(number, None)
        while waiting:
            done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                number = waiting.pop(future)
                error = concurrent.futures.CancelledError() if future.cancelled() else future.exception()
                outcome = None if error is not None else future.result()
                if outcome is not None and outcome.needs is not None:
                    if outcome.needs == "arrays":  # a worker that does not see the file
                        pickled = pickle.dumps(model)
                    submit(number, pickled)
                    continue
                if isinstance(error, NeymanError):
                    raise error
                if outcome is not None:
                    yield number, outcome.result
                else:
                    failed[number] = error
                for following in itertools.islice(remaining, 1):
                    submit(following, None)
        failed.update(dict.fromkeys(remaining, next(iter(failed.values()), None)))
    finally:
        for future in waiting:
            future.cancel()
    if failed:
        reason = " ".join(str(next(iter(failed.values()))).split())[:200]
        kind = type(next(iter(failed.values()))).__name__
        warnings.warn(f"the executor failed ({kind}: {reason}): what it has not done runs here", stacklevel=3)
        for number in sorted(failed):
            yield number, _result(function, model, tasks[number])


def _workers(executor: Any) -> int:
    """Return how many workers an executor has now, at least one; where it does not say, as many as may be."""
    if (client := getattr(executor, "_client", None)) is not None:  # Dask's
        return max(len(client.nthreads()), 1)
    return getattr(executor, "_max_workers", None) or _WORKERS


@dataclass(frozen=True)
class _Outcome:
    """What a worker sends back: the result, or what it needs: the ``"model"``, or its ``"arrays"`` too."""

    result: Any = None
    needs: str | None = None


def _task(token: str, payload: bytes | None, function: Callable[[Any, Any], Any], task: Any) -> _Outcome:
    """Run one task in a worker, with the model that it has kept under the token or else is given as a pickle."""
    if token not in _MODELS:
        if payload is None:
            return _Outcome(needs="model")
        try:
            _MODELS[token] = loads(payload)
        except NotMapped:
            return _Outcome(needs="arrays")
        while len(_MODELS) > _MODELS_KEPT:
            _MODELS.popitem(last=False)
    return _Outcome(_result(function, _MODELS[token], task))


def _result(function: Callable[[Any, Any], Any], model: Any, task: Any) -> Any:
    """Run one task, with one thread: sums of floats by several have other last digits."""
    with one_torch_thread():
        return function(model, task)


def at_once(function: Callable[[M, threading.Event], R], members: Sequence[M], cores: int) -> list[R]:
    """Return the result of a function for each of some members, on so many cores, each with one thread of torch.

    Small networks gain more by a core of their own than by sharing several, and their digits do not depend on how many
    there are.

    Args:
        function: takes a member and an event; where that is set, after an error or control-C, it ends soon.
        members: what is done.
        cores: how many at once; one is done in the calling thread.

    Example:
        >>> at_once(lambda member, stop: member**2, [1, 2, 3], cores=2)
        [1, 4, 9]
    """
    stop = threading.Event()
    with one_torch_thread():
        if cores == 1 or len(members) < 2:
            return [function(member, stop) for member in members]
        with concurrent.futures.ThreadPoolExecutor(min(cores, len(members))) as executor:
            futures = [executor.submit(function, member, stop) for member in members]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()  # the first error there is
            finally:
                stop.set()
                executor.shutdown(wait=False, cancel_futures=True)
        return [future.result() for future in futures]


_entering = threading.Lock()
_inside = 0
_threads_before = 1


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread for the block under ``with``, and afterwards as many as before.

    Blocks may run in several threads at once: the last of them to end restores the number.

    Example:
        >>> import torch
        >>> before = torch.get_num_threads()
        >>> with one_torch_thread():
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    global _inside, _threads_before
    torch = sys.modules.get("torch")
    if torch is None:  # nothing here uses it
        yield
        return
    with _entering:
        if _inside == 0:
            _threads_before = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _entering:
            _inside -= 1
            if _inside == 0:
                torch.set_num_threads(_threads_before)
