"""How much faster a training is with more workers: wall and CPU time for the same model, to the last digit.

    python tests/benchmarks/worker_speed.py --workers 1 2 4 --samples 4 --events 100000

Each sample has a shift of a feature as a systematic, so that there are as many classifiers as samples, and one more.
The time includes reading the files and starting the workers; "threads" are those of one process, without an executor.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uproot

import neyman
from neyman.support.executors import open_executor

FEATURES = 8


def analysis(folder: Path, samples: int, events: int) -> dict[str, Any]:
    """Write the files of an analysis; return its document."""
    rng = np.random.default_rng(0)
    entries = []
    for c in range(samples):
        x = rng.normal(np.eye(samples, FEATURES)[c], 1.0, size=(events, FEATURES))
        with uproot.recreate(folder / f"{c}.root") as file:
            file["t"] = {**{f"x{k}": x[:, k] for k in range(FEATURES)}, "w": np.full(events, 1000.0 / events)}
        shift = {key: {"branches": {"x0": f"x0 {sign} 0.1"}} for key, sign in (("hi", "+"), ("lo", "-"))}
        modifiers = [{"name": f"scale{c}", "type": "histosys", "data": shift}]
        modifiers += [{"name": "mu", "type": "normfactor", "data": None}] if c == 0 else []
        entries.append({"name": f"s{c}", "events": {"files": f"{c}.root", "tree": "t", "weight": "w"},
                        "modifiers": modifiers})  # fmt: skip
    return {
        "version": "1.0.0",
        "channels": [{"name": "SR", "features": [f"x{k}" for k in range(FEATURES)], "samples": entries}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }


@contextlib.contextmanager
def timed(label: str) -> Iterator[None]:
    """Print the wall time of a block and the CPU time of this process and of its children that have ended."""

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    begin = (time.perf_counter(), cpu())
    yield
    print(f"{label:14s} {time.perf_counter() - begin[0]:7.1f} s {cpu() - begin[1]:7.1f} s of CPU", flush=True)


def main() -> None:
    """Train with each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--executor", default="processes", help="processes or dask")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        document = analysis(Path(folder), options.samples, options.events)
        found = set()
        for threads in sorted({1, torch.get_num_threads()}):
            torch.set_num_threads(threads)
            with timed(f"{threads} threads"):
                found.add(neyman.train(neyman.Workspace(document, folder)).fingerprint)
        for workers in options.workers:
            with timed(f"{workers} {options.executor}"), open_executor(options.executor, workers) as executor:
                found.add(neyman.train(neyman.Workspace(document, folder), executor=executor).fingerprint)
    print("the same model, to the last digit" if len(found) == 1 else "the models differ")


if __name__ == "__main__":
    main()
