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
from neyman.model.calibration import LogitCalibration
from neyman.model.mixture import MixtureChannel
from neyman.model.pool import MixtureSummary, Pool
from neyman.model.variations import Variation

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


def with_systematics(number: int) -> neyman.Model:
    """Return 200 events of three samples with so many shape systematics each, known functions in place of networks."""
    rng, n, names = np.random.default_rng(0), 10_000, ("signal", "one", "two")
    samples, means, yields = np.repeat(range(3), n), np.array([1.5, -0.5, 0.0]), (20.0, 60.0, 120.0)
    x = rng.normal(size=(3 * n, 4)) + np.pad(means[samples, None], ((0, 0), (0, 3)))
    densities = np.exp(-0.5 * (x[:, 0] - means[:, None]) ** 2)
    waves = rng.normal(size=(3 * number, 4)) @ x.T
    summary = MixtureSummary(
        np.full(3 * n, 1.0 / n), 3.0 * densities / densities.sum(axis=0),
        (0.05 * np.sin(waves)).astype(np.float32), (0.005 * np.cos(waves)).astype(np.float32),
    )  # fmt: skip
    variations = [Variation(k // number, f"alpha_{k}", 2 * k, 2 * k + 1) for k in range(3 * number)]
    nothing = LogitCalibration((np.zeros((3, 3)),) * 2, (np.zeros((3, 6 * number)),) * 2)
    channel = MixtureChannel(
        "SR", ["a", "b", "c", "d"], names, np.array(yields), variations, None, {}, nothing,
        Pool(x.astype(np.float32), samples, summary),
    )  # fmt: skip
    modifiers = [
        [{"name": v.parameter, "type": "normsys", "data": {"hi": 1.0, "lo": 1.0}} for v in variations if v.sample == c]
        for c in range(3)
    ]
    modifiers[0].append({"name": "mu", "type": "normfactor", "data": None})
    expected = zip(names, yields, modifiers, strict=True)
    spec = [{"name": name, "data": [rate], "modifiers": own} for name, rate, own in expected]
    return neyman.Model({"channels": [{"name": "SR", "samples": spec}]}, {"SR": channel}, poi_name="mu")


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


def main(n: int, n_pyhf: int, n_memory: int, n_many: int) -> None:
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

    for number in (10, 100):
        model, start = with_systematics(number), time.process_time()
        assert neyman.toys(model.config.suggested_init(), model, n_many, fit=True).valid
        seconds = 1000.0 * (time.process_time() - start) / n_many
        print(f"3 samples with {number} systematics each: {seconds:.1f} s of CPU for 1000 toys with a fit")

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
    parser.add_argument("--many", type=int, default=1000, help="toys with many systematics")
    arguments = parser.parse_args()
    main(arguments.n, arguments.pyhf, arguments.memory, arguments.many)
