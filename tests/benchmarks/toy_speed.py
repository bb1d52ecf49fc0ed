"""Toys with fits by ``neyman.toys`` against ``pyhf.infer``'s toy calculator on the same model: ``python toy_speed.py``.

Every toy is thrown, and fitted twice: with all parameters free and with mu = 1. pyhf's toys are those of
``ToyCalculator``, under its default optimizer and under ``neyman.optimizer()``; the likelihood is the same.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pyhf
from fit_speed import scaled, trained_model
from pyhf.infer.calculators import ToyCalculator

import neyman
from neyman.inference.batch import fit_batch
from neyman.inference.toys import batches

__all__: list[str] = []

PEERS: dict[str, Callable[[], Any]] = {
    "pyhf, scipy (its default)": pyhf.optimize.scipy_optimizer,
    "pyhf, neyman.optimizer()": neyman.optimizer,
}


def counting() -> neyman.Model:
    """Return two bins with an uncertain background."""
    return neyman.Model(
        pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec, {}, poi_name="mu"
    )


def by_neyman(model: neyman.Model, n: int) -> float:
    """Return toys per second."""
    pars, start = np.array(model.config.suggested_init()), time.perf_counter()
    for toys in batches(pars, model, n):
        for fixed in ({}, {"mu": 1.0}):
            assert fit_batch(model, toys, init=pars, fixed=fixed).valid.all()
    return n / (time.perf_counter() - start)


def by_pyhf(model: neyman.Model, n: int, optimizer: Callable[[], Any]) -> float:
    """Return toys per second; the calculator throws as many without signal as with it."""
    data = model.data(model.expected_ensemble(model.config.suggested_init()))
    pyhf.set_backend("numpy", optimizer())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, about the undefined corners that the optimizers try
            calculator = ToyCalculator(data, model, ntoys=n, test_stat="qtilde", track_progress=False)
            start = time.perf_counter()
            calculator.distributions(1.0)
            return 2 * n / (time.perf_counter() - start)
    finally:
        pyhf.set_backend("numpy")


def main(n: int, n_pyhf: int, n_memory: int) -> None:
    """Print toys per second, against workers, and the peak of the memory."""
    learned = trained_model()
    models = {f"{events} events": scaled(learned, events / 1050) for events in (100, 600, 1000)}
    models["two bins"] = counting()
    for name, model in models.items():
        by_neyman(model, 100)
        ours = by_neyman(model, n)
        print(f"{name}, {model.config.npars} parameters: neyman {ours:.0f} toys/s, each fitted twice")
        for peer, optimizer in PEERS.items():
            theirs = by_pyhf(model, n_pyhf, optimizer)
            print(f"    {peer:26} {theirs:8.2f} toys/s, {ours / theirs:6.0f} times slower")

    model, pars = models["1000 events"], learned.config.suggested_init()
    for workers in (1, 2):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
            neyman.toys(pars, model, 10 * workers, fit=True, executor=executor, batch=1)  # they import what they need
            start = time.perf_counter()
            neyman.toys(pars, model, n, fit=True, executor=executor)
            print(f"1000 events, {workers} workers: {n / (time.perf_counter() - start):.0f} toys/s, each fitted once")
    neyman.toys(pars, model, n_memory, fit=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"1000 events, {n_memory} toys in one process: peak {peak:.2f} GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=4000)
    parser.add_argument("--pyhf", type=int, default=20)
    parser.add_argument("--memory", type=int, default=1_000_000)
    arguments = parser.parse_args()
    main(arguments.n, arguments.pyhf, arguments.memory)
