"""Many datasets of a simulator at once: in order, the same from any number of processes, kept on disk if asked."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import logging
import multiprocessing
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.events import Events
from neyman.exceptions import InvalidParameter
from neyman.inputs.simulation_cache import Cache, Drawn, fingerprint
from neyman.inputs.simulator import Simulator
from neyman.support.checks import checked_seed
from neyman.support.tasks import run

__all__ = ["Datasets", "simulate"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

CACHE_LIMIT = 4 * 2**30  # bytes

_CHUNK = 500  # datasets of a task, at most
_CHUNKS = 64  # of a simulation, at least: so many workers share even a small one
_PROBE = 0.2  # seconds of drawing that tell how long all datasets will take
_WORTH = 4.0  # seconds: below, starting processes costs more than it saves
_UNPICKLABLE = (pickle.PicklingError, AttributeError, TypeError, ValueError, RuntimeError)


@dataclass(frozen=True, eq=False)
class Datasets:
    """Simulated datasets, their events end to end.

    Args:
        pars: the parameters of each, shape ``(T, P)``.
        features: the events of all, shape ``(E, d)``.
        offsets: shape ``(T + 1,)``; dataset t has the events ``offsets[t]`` to ``offsets[t + 1]``.
        locals: what is local to each event, shape ``(E, L)``; ``None`` where there is nothing.
        event_shape: the shape of an event that is no list of features but travels as one; ``None`` where it is one.

    Example:
        >>> import numpy as np
        >>> from neyman.inputs.simulation import Datasets
        >>> pars, features = np.array([[1.0], [2.0]]), np.array([[0.1], [0.2], [0.3]], dtype=np.float32)
        >>> datasets = Datasets(pars, features, np.array([0, 1, 3]))
        >>> len(datasets), datasets.numbers, len(datasets.dataset(1))
        (2, array([1, 2]), 2)
    """

    pars: Floats
    features: NDArray[np.float32]
    offsets: NDArray[np.int64]
    locals: NDArray[np.float32] | None = None
    event_shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.pars)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The number of events in each, shape ``(T,)``."""
        return np.diff(self.offsets)

    def dataset(self, t: int) -> Events:
        """Return the events of one dataset."""
        t = range(len(self))[t]
        return Events(self.features[self.offsets[t] : self.offsets[t + 1]])


def simulate(
    simulator: Simulator,
    pars: ArrayLike,
    seed: int = 0,
    *,
    executor: Any = None,
    workers: int | None = None,
    cache: str | Path | None = None,
    cache_limit: int = CACHE_LIMIT,
    progress: bool = False,
) -> Datasets:
    """Simulate a dataset for each point.

    Dataset t is ``simulator.draw(pars[t], [seed, t])``, wherever and in whatever order it is made.

    Args:
        simulator: the simulator.
        pars: the points, shape ``(T, P)``.
        seed: the source of all randomness, a non-negative integer.
        executor: any :class:`concurrent.futures.Executor` to simulate on, instead of ``workers``.
        workers: number of processes, one being this one. ``None`` starts one for each core if that saves time and the
            simulator can be sent there.
        cache: a folder that keeps the datasets: the same call with the same code then takes them from there, also
            after it was interrupted. Code that changes in other modules than that of ``sample`` goes unseen, as do
            the files that it reads; see :func:`neyman.inputs.simulation_cache.fingerprint`.
        cache_limit: size of that folder in bytes; what was not used for longest is deleted.
        progress: whether to show a progress bar on standard error.

    Returns:
        The datasets, in the order of the points.

    Raises:
        InvalidParameter: if the points have the wrong shape, or there are workers or a cache and the simulator cannot
            be pickled.
        InvalidSimulation: if the simulator raises or returns what is no dataset; the message names parameters and seed.

    Example:
        >>> from neyman.inputs.simulation import simulate
        >>> from neyman.inputs.simulator import Simulator
        >>> def counts(pars, rng):
        ...     return rng.normal(0.0, 1.0, size=(rng.poisson(pars[0]), 1))
        >>> simulator = Simulator(counts, [{"name": "rate", "inits": [1.0], "bounds": [[0, 9]]}], "rate", ["x"])
        >>> datasets = simulate(simulator, [[1.0], [5.0]], seed=3)
        >>> datasets.numbers
        array([0, 6])
    """
    points, seed = _checked_points(simulator, pars), checked_seed(seed)
    if executor is not None and workers is not None:
        raise InvalidParameter("executor and workers exclude each other: give one of them")
    size = min(_CHUNK, -(-len(points) // _CHUNKS)) or 1
    chunks = [_Chunk(points[first : first + size], seed, first) for first in range(0, len(points), size)]
    done: dict[int, Drawn] = {}
    store = None if cache is None else Cache(cache, cache_limit)
    keys = [] if store is None else _keys(simulator, chunks)
    if store is not None:
        for number, (key, chunk) in enumerate(zip(keys, chunks, strict=True)):
            if (kept := store.get(key, len(chunk.pars), *_widths(simulator))) is not None:
                done[number] = kept
    missing = [number for number in range(len(chunks)) if number not in done]
    tasks = [chunks[number] for number in missing]
    with _executor(simulator, tasks, executor, workers) as chosen:
        for task, drawn in run(_drawn, simulator, tasks, chosen, progress=progress, description="datasets"):
            done[missing[task]] = drawn
            if store is not None:
                store.put(keys[missing[task]], drawn)
    features, numbers, local = _joined([done[number] for number in range(len(chunks))], *_widths(simulator))
    return Datasets(
        points, features, _offsets(numbers), local if simulator.local_names else None, simulator.event_shape
    )


@dataclass(frozen=True, eq=False)
class _Chunk:
    """A task: the datasets from number ``first`` on, whose seeds are ``[seed, number]``."""

    pars: Floats
    seed: int
    first: int

    def seeds(self) -> Iterator[list[int]]:
        return ([self.seed, self.first + number] for number in range(len(self.pars)))


def _keys(simulator: Simulator, chunks: Sequence[_Chunk]) -> list[str]:
    """Return what each chunk is kept under: a hash of all that it follows from."""
    common = fingerprint(simulator)
    parts = ((repr((common, c.seed, c.first, c.pars.shape)), c.pars) for c in chunks)
    return [hashlib.sha256(text.encode() + pars.astype("<f8").tobytes()).hexdigest() for text, pars in parts]


def _widths(simulator: Simulator) -> tuple[int, int]:
    """Return how many numbers an event has, and how many are local to it."""
    return len(simulator.columns), len(simulator.local_names)


def _drawn(simulator: Simulator, chunk: _Chunk) -> Drawn:
    """Return the events of a chunk."""
    drawn = [simulator.draw_with_locals(*one) for one in zip(chunk.pars, chunk.seeds(), strict=True)]
    numbers = np.array([len(events) for events, _ in drawn], dtype=np.int64)
    return np.concatenate([events.features for events, _ in drawn]), numbers, np.concatenate([z for _, z in drawn])


def _joined(parts: Sequence[Drawn], columns: int, locals: int) -> Drawn:
    parts = parts or [(_rows(columns), np.empty(0, dtype=np.int64), _rows(locals))]
    features, numbers, local = zip(*parts, strict=True)
    return np.concatenate(features), np.concatenate(numbers), np.concatenate(local)


def _rows(columns: int) -> NDArray[np.float32]:
    return np.empty((0, columns), dtype=np.float32)


def _offsets(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(numbers, dtype=np.int64)])


def _checked_points(simulator: Simulator, pars: ArrayLike) -> Floats:
    points = np.array(pars, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(simulator.names) or not np.isfinite(points).all():
        wanted = f"(points, {len(simulator.names)}), the parameters being {', '.join(simulator.names)}"
        raise InvalidParameter(f"pars, of shape {points.shape}, must be finite and of shape {wanted}")
    return points


# -- processes


@contextlib.contextmanager
def _executor(
    simulator: Simulator, chunks: Sequence[_Chunk], executor: Any, workers: int | None
) -> Iterator[concurrent.futures.Executor | None]:
    """Give what runs the chunks: the executor, a pool of workers, or ``None`` for this process."""
    if executor is not None:
        if (obstacle := _unpicklable(simulator)) is not None:
            raise InvalidParameter(f"{obstacle}: the executor cannot have it, so give none")
        yield executor
        return
    n = _number_of_workers(simulator, chunks, workers)
    if n == 1:
        yield None
        return
    # spawned: a process that is forked while torch has threads may hang
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(n, mp_context=context, initializer=_follow_parent) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _number_of_workers(simulator: Simulator, chunks: Sequence[_Chunk], workers: int | None) -> int:
    if workers is not None:
        if workers < 1:
            raise InvalidParameter(f"workers is {workers}: give a positive number, or None for as many as are useful")
        if workers > 1 and (obstacle := _obstacle(simulator)) is not None:
            raise InvalidParameter(f"workers is {workers}, but {obstacle}: give workers=1")
        return min(workers, max(len(chunks), 1))
    n = min(_cores(), len(chunks))
    if n < 2:
        return 1
    seconds = _seconds(simulator, chunks)
    if seconds < _WORTH:
        return 1
    if (obstacle := _obstacle(simulator)) is not None:
        log.warning("simulating for some %.0f s on one of %d cores: %s", seconds, n, obstacle)
        return 1
    log.info("simulating on %d cores, instead of for some %.0f s on one", n, seconds)
    return n


def _seconds(simulator: Simulator, chunks: Sequence[_Chunk]) -> float:
    """Return how long all chunks take in this process, from the first datasets; what is done only once, left out."""
    chunk, total = chunks[0], sum(len(chunk.pars) for chunk in chunks)
    start = time.perf_counter()
    for number, one in enumerate(zip(chunk.pars, chunk.seeds(), strict=True)):
        simulator.draw(*one)
        now = time.perf_counter()
        if number == 0 and len(chunk.pars) > 1:
            start = now
        elif now - start > _PROBE:
            break
    return (now - start) / max(number, 1) * total


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _follow_parent() -> None:
    """Let this worker end when the process that has started it does, even if that is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _unpicklable(simulator: Simulator) -> str | None:
    """Return why the simulator cannot be sent to any other process, ``None`` if it can."""
    try:
        pickle.dumps(simulator)
    except _UNPICKLABLE as error:
        return f"the simulator cannot be pickled ({' '.join(str(error).split())}); a function of a module can"
    return None


def _obstacle(simulator: Simulator) -> str | None:
    """Return why the simulator cannot be sent to a process that we start, ``None`` if it can."""
    if (obstacle := _unpicklable(simulator)) is not None:
        return obstacle
    if multiprocessing.current_process().daemon:
        return "a daemonic process cannot start others"
    path = getattr(sys.modules["__main__"], "__file__", None)  # which a new process imports
    if path is None or not Path(path).is_file():
        if b"__main__" in pickle.dumps(simulator):
            return "the simulator is defined in an interactive session; write it to a module and import it"
    elif b"__name__" not in Path(path).read_bytes():
        return f"new processes would run all of {path} again; put its main part under if __name__ == '__main__'"
    return None
