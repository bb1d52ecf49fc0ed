"""CLs upper limits by ``neyman.limit`` against pyhf's on the same learned model: ``python limit_speed.py``.

pyhf's is ``pyhf.infer.intervals.upper_limits.upper_limit`` with its default root finder (toms748), under each of
pyhf's own optimizers and under ``neyman.optimizer()``. All see the same observed data, encoded beforehand.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyhf
from fit_speed import observed, trained_model
from numpy.typing import NDArray
from pyhf.infer.intervals.upper_limits import upper_limit

import neyman

__all__: list[str] = []

Array = NDArray[np.float64]

PEERS: dict[str, Callable[[], Any]] = {
    "pyhf, scipy (its default)": pyhf.optimize.scipy_optimizer,
    "pyhf, minuit": pyhf.optimize.minuit_optimizer,
    "pyhf, neyman.optimizer()": neyman.optimizer,
}


def by_neyman(data: Array, model: neyman.Model) -> Array:
    """Return the observed limit and the five expected ones, shape ``(6,)``."""
    result = neyman.limit(data, model)
    return np.array([result.observed, *result.expected])


def by_pyhf(data: Array, model: neyman.Model, optimizer: Callable[[], Any]) -> Array:
    """Return the same from pyhf."""
    pyhf.set_backend("numpy", optimizer())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, about the undefined corners that the optimizers try
            limit, band = upper_limit(data, model)
    finally:
        pyhf.set_backend("numpy")
    return np.array([limit, *band], dtype=np.float64)


def main(repetitions: int) -> None:
    """Print times and limits."""
    model = trained_model()
    data = model.data(observed(1050))
    methods: dict[str, Callable[[], Array]] = {"neyman.limit": lambda: by_neyman(data, model)}
    for name, optimizer in PEERS.items():
        methods[name] = lambda optimizer=optimizer: by_pyhf(data, model, optimizer)  # type: ignore[misc]

    times: dict[str, list[float]] = {name: [] for name in methods}
    limits: dict[str, Array] = {}
    failures: dict[str, str] = {}
    for _ in range(repetitions):
        for name, method in methods.items():
            if name in failures:
                continue
            start = time.perf_counter()
            try:
                limits[name] = method()
            except (pyhf.exceptions.FailedMinimization, ValueError) as error:
                failures[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            times[name].append(time.perf_counter() - start)
    reference, ours = limits["neyman.limit"], statistics.median(times["neyman.limit"])
    print(f"1050 events, {model.config.npars} parameters, median of {repetitions}; the observed and expected limits")
    for name in methods:
        seconds = statistics.median(times[name])
        line = f"{name:26} {seconds:8.3f} s {seconds / ours:7.1f} x  "
        if name in failures:
            print(line + f"failed: {failures[name]}")
            continue
        worst = np.max(np.abs(limits[name] / reference - 1))
        print(line + " ".join(f"{value:.4f}" for value in limits[name]) + f"  (within {100 * worst:.2f} %)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    main(parser.parse_args().repetitions)
