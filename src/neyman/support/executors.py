"""Executors by name: processes of this machine, a Dask cluster on it, or the Dask cluster of a batch system."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.support.extras import from_extra

__all__ = ["open_executor"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_FORMS = "processes, dask, dask://HOST:PORT or dask:FILE.json"
_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx", "inproc")  # Dask's own
_CONNECTING = 5.0  # seconds that a scheduler may take to answer
_TALKATIVE = ("distributed", "tornado", "asyncio")  # log what their tasks raise in the background


@contextlib.contextmanager
def open_executor(text: str | None = None, workers: int | None = None) -> Iterator[Executor | None]:
    """Give the executor of a name for the block under ``with``, and close what was opened.

    Args:
        text: ``"processes"``, of this machine; ``"dask"``, a Dask cluster on it; ``"dask://HOST:PORT"``, the scheduler
            of a running one (or an address of Dask's own, as ``tcp://`` and ``tls://``); ``"dask:FILE.json"``, the file
            in which ``dask scheduler --scheduler-file`` says where it is. ``None`` is ``"processes"`` where more than
            one worker is asked for, and no executor otherwise.
        workers: how many processes, of this machine; by default as many as it has cores for us.

    Yields:
        The executor, or ``None``.

    Raises:
        InvalidParameter: if the text is none of these, or the number of workers is that of a running cluster.
        Unsupported: if Dask is not installed, or there is no scheduler.

    Example:
        >>> with open_executor("processes", workers=2) as executor:
        ...     list(executor.map(abs, [-1, -2]))
        [1, 2]
        >>> with open_executor("dusk") as executor:
        ...     pass
        Traceback (most recent call last):
        neyman.exceptions.InvalidParameter: no executor 'dusk': give processes, dask, dask://HOST:PORT or dask:FILE.json
    """
    if workers is not None and workers < 1:
        raise InvalidParameter(f"workers is {workers}: give a positive number")
    if text is None and workers in (None, 1):
        yield None
    elif text in (None, "processes"):
        with _processes(workers or _cores()) as executor:
            yield executor
    elif text == "dask":
        with _local_cluster(workers or _cores()) as executor:
            yield executor
    else:
        if workers is not None:
            raise InvalidParameter(f"a running Dask cluster has its own workers: leave --workers out, or {text}")
        with _cluster(text or "") as executor:
            yield executor


@contextlib.contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    import concurrent.futures
    import multiprocessing

    # spawned: a process that is forked while torch has threads may hang
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as executor:
        yield executor


@contextlib.contextmanager
def _local_cluster(workers: int) -> Iterator[Executor]:
    """Give a cluster of processes with a thread each; what is heavy here holds Python's lock."""
    distributed = _distributed()
    with _quiet():
        options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
        with (
            distributed.LocalCluster(**options, silence_logs=logging.CRITICAL) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client.get_executor()


@contextlib.contextmanager
def _cluster(text: str) -> Iterator[Executor]:
    address = _address(text)
    distributed = _distributed()
    with _quiet():
        try:
            workers = asyncio.run(_identity(distributed, address))["workers"]
        except Exception as error:  # whatever may answer there
            silent = f"no answer in {_CONNECTING:g} s" if isinstance(error, TimeoutError) else type(error).__name__
            reason = " ".join(str(error).split())[:120] or silent
            raise Unsupported(f"no Dask scheduler at {text} ({reason}): start one with 'dask scheduler'") from error
        if not workers:
            log.warning("the Dask scheduler at %s has no workers yet: waiting for the first", text)
        with distributed.Client(address) as client:
            yield client.get_executor()


async def _identity(distributed: Any, address: str) -> Any:
    """Ask a scheduler who it is: a client that finds none leaves threads behind that complain."""
    arguments = distributed.Security().get_connection_args("client")
    async with distributed.rpc(address, timeout=_CONNECTING, connection_args=arguments) as scheduler:
        return await asyncio.wait_for(scheduler.identity(), _CONNECTING)


def _address(text: str) -> str:
    """Return the address of a running cluster as Dask has it."""
    scheme, _, rest = text.partition(":")
    if scheme == "dask" and rest.endswith(".json"):
        try:
            return str(json.loads(Path(rest).read_text())["address"])
        except FileNotFoundError:
            raise InvalidParameter(f"{rest}: no such file; 'dask scheduler --scheduler-file FILE' writes it") from None
        except (ValueError, LookupError, TypeError) as error:
            raise InvalidParameter(f"{rest}: not a file that 'dask scheduler --scheduler-file FILE' writes") from error
    if scheme == "dask" and re.fullmatch(r"//.+:\d+/?", rest):
        return f"tcp:{rest}"
    if scheme in _SCHEMES and rest.startswith("//"):
        return text
    raise InvalidParameter(f"no executor {text!r}: give {_FORMS}")


def _distributed() -> Any:
    return from_extra("distributed", "dask", "Dask executors")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what goes on inside Dask off the terminal; what becomes of the tasks is said by those who gave them."""
    known = {*_TALKATIVE, *logging.root.manager.loggerDict}
    loggers = [logging.getLogger(name) for name in known if name.partition(".")[0] in _TALKATIVE]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
