"""The bias of fits from one small simulation to another, predicted with every fit against what is found.

INFERNO's problem (``examples/inferno``) with few simulated events of each sample. Each simulation is learned and fitted
to the same large dataset of the exact densities, and so is the exact likelihood: the difference is the bias. It is
found with the number of simulated events fixed, so that their yield is known, and with a random one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar

import neyman
from neyman.events import ChannelSimulation, Events
from neyman.networks.options import TrainingOptions
from neyman.training.mixture import train_mixture

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "inferno"))

import exact

STEPS = {"r": (0.2, exact.SIGMA_R), "lambda": (0.5, exact.SIGMA_LAMBDA)}  # where events are reweighted to; widths
LARGE = 200_000  # events of the dataset, of each sample


def simulate(n: int, rng: np.random.Generator) -> ChannelSimulation:
    """Return a simulation of ``n`` events a sample; the background's shape varies by weights."""
    signal, background = exact.draw_signal(n, rng), exact.draw_background(n, rng)
    nominal = Events(background, np.full(n, exact.B / n))
    density = exact.background_density(background)

    def varied(**values: float) -> Events:
        return Events(nominal.features, nominal.weights * exact.background_density(background, **values) / density)

    (r, _), (rate, _) = STEPS["r"], STEPS["lambda"]
    sides = {
        "r": (varied(r=exact.R + r), varied(r=exact.R - r)),
        "lambda": (varied(rate=exact.LAMBDA + rate), varied(rate=exact.LAMBDA - rate)),
    }
    samples = {"signal": Events(signal, np.full(n, exact.S / n)), "background": nominal}
    return ChannelSimulation("SR", ("x", "y", "z"), samples, {"signal": {}, "background": sides})


def model_of(channel: Any, signal: float, background: float, known: bool) -> neyman.Model:
    """Return the model with these yields, whose error is in the likelihood as zero if they are known."""
    zero = [{"name": "known", "type": "staterror", "data": [0.0]}] if known else []
    shapes = [{"name": name, "type": "normsys", "data": {"hi": 1.0, "lo": 1.0}} for name in STEPS]
    mu = [{"name": "mu", "type": "normfactor", "data": None}]
    samples = [
        {"name": "signal", "data": [signal], "modifiers": mu + zero},
        {"name": "background", "data": [background], "modifiers": shapes + zero},
    ]
    spec = {
        "channels": [{"name": "SR", "samples": samples}],
        "parameters": [
            {"name": "mu", "inits": [1.0], "bounds": [[-10.0, 10.0]]},
            # a unit of the pull is a step of the simulation, which may be narrower than the constraint
            *({"name": name, "auxdata": [0.0], "bounds": [[-9.0, 9.0]]} for name in STEPS),
        ],
    }
    return neyman.Model(spec, {"SR": channel}, poi_name="mu")


def large_dataset() -> Events:
    """Return many events of the exact densities, weighted to what is expected."""
    rng = np.random.default_rng(987)
    features = np.concatenate([exact.draw_signal(LARGE, rng), exact.draw_background(LARGE, rng)])
    return Events(features, np.repeat([exact.S, exact.B], LARGE) / LARGE)


def exact_mu(data: Events) -> float:
    """Return what the exact likelihood with only mu free gives."""
    signal = exact.S * exact.signal_density(data.features)
    background = exact.B * exact.background_density(data.features)

    def nll(mu: float) -> float:
        return float(mu * exact.S - data.weights @ np.log(mu * signal + background))

    return float(minimize_scalar(nll, bounds=(0.5, 1.5), method="bounded", options={"xatol": 1e-6}).x)


def main() -> None:
    """Learn the simulations, fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=24)
    parser.add_argument("--events", type=int, default=4000, help="of each sample")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("bias.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = large_dataset()
    truth, rows, start = exact_mu(data), [], time.process_time()
    for seed in range(options.simulations):
        rng = np.random.default_rng([seed, options.events])
        simulation = simulate(options.events, rng)
        channel = train_mixture(simulation, TrainingOptions(hidden=(32, 32), epochs=20), seed=seed)[0]
        summary = channel.encode(data)
        for known in (True, False):
            factors = np.ones(2) if known else rng.poisson(options.events, size=2) / options.events
            model = model_of(channel, *(factors * [exact.S, exact.B]), known)
            main = np.array([data.weights.sum()])
            whole = neyman.Summary(main, np.array(model.config.auxdata), {"SR": summary}, model.fingerprint)
            for fixed in (list(STEPS), []):
                fit = neyman.fit(whole, model, fixed=fixed)
                rows.append({
                    "simulation": seed, "known": known, "shapes": not fixed, "bias": fit["mu"] - truth,
                    "predicted": float(fit.simulation[fit.index("mu")]), "uncertainty": fit.error("mu"),
                })  # fmt: skip
        options.output.write_text(json.dumps(rows, indent=1))
    print(f"{options.simulations} simulations, {time.process_time() - start:.0f} s of CPU")
    for known in (True, False):
        for shapes in (False, True):
            some = [row for row in rows if row["known"] == known and row["shapes"] == shapes]
            bias, predicted, width = (np.array([row[k] for row in some]) for k in ("bias", "predicted", "uncertainty"))
            print(
                f"yields {'known' if known else 'random'}, shapes {'free' if shapes else 'fixed'}: predicted "
                f"{np.sqrt(np.mean((predicted / width) ** 2)):.3f}, found {np.sqrt(np.mean((bias / width) ** 2)):.3f} "
                f"sigma, pulls {np.sqrt(np.mean((bias / predicted) ** 2)):.2f} +- {(0.5 / len(bias)) ** 0.5:.2f}"
            )


if __name__ == "__main__":
    main()
