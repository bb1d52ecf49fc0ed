"""A five-parameter fit by ``neyman.fit`` against iminuit on the exact density in NumPy: ``python fit_speed.py``.

INFERNO's problem with a luminosity: the signal strength mu is free; r, lambda, the norm b of the background and the
luminosity have constraint terms. Both sides get the same data, parameters, bounds, constraints and starting values.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import iminuit
import numpy as np
from numpy.typing import NDArray

import neyman

EXAMPLE = Path(__file__).parents[2] / "examples" / "inferno"
sys.path.insert(0, str(EXAMPLE))
from exact import LAMBDA, SIGMA_LAMBDA, SIGMA_R, B, S, draw_background, draw_signal, signal_density  # noqa: E402
from make_ntuples import make_ntuples  # noqa: E402

__all__ = ["observed", "trained_model"]

Array = NDArray[np.float64]

PARAMETERS = ("mu", "r", "lambda", "b", "lumi")
START = (1.0, 0.0, 0.0, 0.0, 1.0)
BOUNDS = ((0.0, 10.0), (-5.0, 5.0), (-2.5, 5.0), (-5.0, 5.0), (0.8, 1.2))
SIGMA_B, SIGMA_LUMI = 0.1, 0.02  # relative
SIZES = (600, 100_000)  # observed events


def trained_model(events: int = 20_000) -> neyman.Model:
    """Train the example with a luminosity: networks of the default size, trained just enough to be realistic."""
    document = neyman.Workspace.load(EXAMPLE / "analysis.yaml").document
    (channel,) = document["channels"]
    channel["network"] = {"epochs": 4, "minimum_steps": 100}
    for sample in channel["samples"]:
        sample["modifiers"].append({"name": "lumi", "type": "lumi", "data": None})
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [SIGMA_LUMI], "inits": [1.0], "bounds": [BOUNDS[-1]]}
    document["measurements"][0]["config"]["parameters"].append(lumi)
    with tempfile.TemporaryDirectory() as folder:
        make_ntuples(Path(folder), events=events)
        return neyman.train(neyman.Workspace(document, folder))


def scaled(model: neyman.Model, factor: float) -> neyman.Model:
    """Return the model with every rate multiplied by a factor."""
    spec = copy.deepcopy(model.spec)
    for channel in spec["channels"]:
        for sample in channel["samples"]:
            sample["data"] = [factor * content for content in sample["data"]]
    return neyman.Model(spec, model.learned, poi_name="mu")


def observed(events: int) -> neyman.Ensemble:
    """Draw a dataset of so many events at the nominal fraction of signal."""
    rng = np.random.default_rng(events)
    n_signal = round(events * S / (S + B))
    x = np.concatenate([draw_signal(n_signal, rng), draw_background(events - n_signal, rng)]).astype(np.float32)
    return neyman.Ensemble({"SR": neyman.Events(x, np.ones(events))})


def exact_twice_nll(x: Array, scale: float) -> Callable[[Array], float]:
    """Return -2 log L of the exact density as a function of the five parameters.

    Whatever does not depend on the parameters is computed once.
    """
    x0, x2 = np.ascontiguousarray(x[:, 0]), np.ascontiguousarray(x[:, 2])
    signal = signal_density(x)
    constant = np.exp(-0.5 * x[:, 1] ** 2 / 9) / (2 * np.pi * np.sqrt(45))

    def twice_nll(pars: Array) -> float:
        mu, r, lambda_, b, lumi = pars
        rate = LAMBDA + SIGMA_LAMBDA * lambda_
        n_signal, n_background = scale * lumi * mu * S, scale * lumi * B * (1 + SIGMA_B * b)
        background = rate * constant * np.exp(-0.1 * (x0 - (2 + SIGMA_R * r)) ** 2 - rate * x2)
        log_density = np.log(n_signal * signal + n_background * background)
        pulls = r**2 + lambda_**2 + b**2 + ((lumi - 1) / SIGMA_LUMI) ** 2
        return float(2 * (n_signal + n_background - np.sum(log_density)) + pulls)

    return twice_nll


def exact_fit(twice_nll: Callable[[Array], float]) -> iminuit.Minuit:
    """Minimise as users of iminuit do: the default strategy, numerical derivatives, MIGRAD and then HESSE."""
    minuit = iminuit.Minuit(twice_nll, np.array(START), name=PARAMETERS)
    minuit.limits = BOUNDS
    minuit.errordef = iminuit.Minuit.LEAST_SQUARES
    minuit.migrad()
    minuit.hesse()
    assert minuit.valid
    return minuit


def interleaved(functions: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """Return the median wall time of each function in seconds; they take turns, after one turn that does not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repetition in range(repetitions + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if repetition:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def compare(model: neyman.Model, events: int, repetitions: int) -> None:
    """Print the comparison at one number of observed events."""
    scale = events / (S + B)
    model, ensemble = scaled(model, scale), observed(events)
    data = model.data(ensemble)
    twice_nll = exact_twice_nll(ensemble.events["SR"].features.astype(np.float64), scale)

    ours, peers = neyman.fit(data, model), exact_fit(twice_nll)
    calls = evaluations(model, data)
    at_start = np.array(START)
    pars = np.array(model.config.suggested_init())
    seconds = interleaved(
        {
            "fit": lambda: neyman.fit(data, model),
            "exact fit": lambda: exact_fit(twice_nll),
            "encoding": lambda: model.encode(ensemble),
            "evaluation": lambda: [model.evaluate(pars, data) for _ in range(10)],
            "exact evaluation": lambda: [twice_nll(at_start) for _ in range(10)],
        },
        repetitions,
    )
    uncertainty = dict(zip(ours.names, ours.uncertainty, strict=True))
    print(f"\n{events:,} events, median of {repetitions}, milliseconds")
    print(f"  {'':31}{'neyman':>10}{'exact':>10}{'ratio':>8}")
    for label, key in (("fit, data encoded", "fit"), ("one evaluation", "evaluation")):
        mine, theirs = (1e3 * seconds[name] / (1 if key == "fit" else 10) for name in (key, f"exact {key}"))
        print(f"  {label:31}{mine:10.3f}{theirs:10.3f}{mine / theirs:8.2f}")
    print(f"  {'evaluations (ours: gradient too)':31}{calls:9d}{peers.nfcn:10d}")
    print(f"  {'encoding, once':31}{1e3 * seconds['encoding']:10.3f}")
    for name in PARAMETERS:
        left = f"{ours[name]:.3f} +- {uncertainty[name]:.3f}"
        print(f"  {name:8} neyman {left:18} exact {peers.values[name]:.3f} +- {peers.errors[name]:.3f}")


def evaluations(model: neyman.Model, data: Array) -> int:
    """Return how many evaluations a fit takes, each a value with its gradient."""
    calls = 0
    evaluate = model.evaluate

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return evaluate(*arguments)

    with mock.patch.object(model, "evaluate", counted):
        neyman.fit(data, model)
    return calls


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=15)
    arguments = parser.parse_args()
    model = trained_model()
    for size in SIZES:
        compare(model, size, arguments.repetitions)
