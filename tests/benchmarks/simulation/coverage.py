"""Coverage over independent simulations: of profile likelihood intervals with and without a ``staterror``.

A signal on a background in two features, one shape systematic by weights. Each simulation has a random number of events
and is learned; fresh datasets of the exact densities are fitted with each. Run it once for every number of events::

    python tests/benchmarks/simulation/coverage.py --events 2000
    python tests/benchmarks/simulation/coverage.py --plot
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import neyman
from neyman.events import ChannelSimulation, Events
from neyman.networks.options import TrainingOptions
from neyman.training.finite import tilted
from neyman.training.mixture import train_mixture

S, B = 100.0, 1000.0  # expected events
SHIFT = 0.3  # of the background's mean at a pull of one, which is 0.2 of its width
QUICK = TrainingOptions(hidden=(16, 16), folds=2, epochs=6, minimum_steps=400, weight_steps=300)
ASKED = {"signal": "mc_signal", "background": "mc_background"}
LEVELS = {0.6827: 1.0, 0.9545: 4.0}  # and the rise of -2 log L that an interval goes to
FOLDER = Path(__file__).parent


def signal(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw signal events."""
    return rng.normal([1.5, 0.0], 1.0, size=(n, 2))


def background(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw background events."""
    return rng.normal(0.0, 1.5, size=(n, 2))


def simulate(n: int, rng: np.random.Generator) -> ChannelSimulation:
    """Return a simulation of about ``n`` events a sample."""
    numbers = rng.poisson(n, size=2)
    one = Events(signal(int(numbers[0]), rng), np.full(numbers[0], S / n))
    other = Events(background(int(numbers[1]), rng), np.full(numbers[1], B / n))
    x = other.features[:, 0].astype(np.float64)
    sides = (Events(other.features, other.weights * np.exp((a * SHIFT * x - 0.5 * SHIFT**2) / 1.5**2)) for a in (1, -1))
    samples = {"signal": one, "background": other}
    return ChannelSimulation(
        "SR", ("x", "y"), samples, {"signal": {}, "background": {"shape": (*sides,)}}, frozenset(), ASKED
    )


def models(simulation: ChannelSimulation, seed: int) -> dict[str, neyman.Model]:
    """Learn a simulation; return its model without and with a staterror on each sample."""
    channel = train_mixture(simulation, QUICK, seed=seed)[0]
    nominal = {name: float(events.weights.sum()) for name, events in simulation.samples.items()}
    hi, lo = (float(e.weights.sum()) for e in simulation.variations["background"]["shape"] if e is not None)
    factors = {"hi": hi / nominal["background"], "lo": lo / nominal["background"]}
    own: dict[str, list[dict[str, Any]]] = {
        "signal": [{"name": "mu", "type": "normfactor", "data": None}],
        "background": [{"name": "shape", "type": "normsys", "data": factors}],
    }
    found = {}
    for label in ("without", "with"):
        samples = []
        for name, events in simulation.samples.items():
            error = [float(np.sqrt(np.sum(events.weights**2)))]
            asked = [{"name": ASKED[name], "type": "staterror", "data": error}] if label == "with" else []
            samples.append({"name": name, "data": [nominal[name]], "modifiers": own[name] + asked})
        spec = {
            "channels": [{"name": "SR", "samples": samples}],
            "parameters": [{"name": "mu", "inits": [1.0], "bounds": [[-5.0, 15.0]]}],
        }
        model = neyman.Model(spec, {"SR": channel}, poi_name="mu")
        if label == "with":
            model = neyman.Model(*tilted(model, {"SR": ASKED}, {}), poi_name="mu")
        found[label] = model
    return found


def measure(options: argparse.Namespace) -> None:
    """Learn simulations, fit datasets, and write what each fit says of the truth."""
    torch.set_num_threads(1)
    rows, start, path = [], time.process_time(), FOLDER / f"coverage_{options.events}_{options.first}.json"
    for seed in range(options.first, options.first + options.simulations):
        rng = np.random.default_rng([seed, options.events])
        learned = models(simulate(options.events, rng), seed)
        for _ in range(options.datasets):
            features = np.concatenate([signal(rng.poisson(S), rng), background(rng.poisson(B), rng)])
            events, pull = Events(features), float(rng.normal())
            for label, model in learned.items():
                # the auxiliary data of the finite simulation are what they are: it is the simulation that varies
                aux = np.array(model.config.auxdata)
                aux[model.constraints.parameters == model.config.par_slice("shape").start] = pull
                summary = model.encode(neyman.Ensemble({"SR": events}, auxdata=aux))
                for fixed in ({}, {"shape": 0.0}):
                    fit = neyman.fit(summary, model, fixed=fixed)
                    rise = neyman.scan(summary, model, "mu", [1.0], fixed=fixed).delta_twice_nll[0]
                    rows.append({
                        "simulation": seed, "staterror": label, "systematic": not fixed, "rise": float(rise),
                        "mu": fit["mu"], "uncertainty": fit.error("mu"),
                        "added": float(fit.simulation[fit.index("mu")]),
                    })  # fmt: skip
        path.write_text(json.dumps({"seconds": time.process_time() - start, "rows": rows}))
    print(f"{options.events} events: {time.process_time() - start:.0f} s of CPU")


def covered(rows: list[dict[str, Any]], rise: float) -> tuple[float, float]:
    """Return the share of fits that have the truth in the interval, and its error, of the simulations as a whole."""
    numbers = np.array([row["simulation"] for row in rows])
    inside = np.array([row["rise"] < rise for row in rows], dtype=float)
    means = np.array([inside[numbers == one].mean() for one in np.unique(numbers)])
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


def plot() -> None:
    """Print the coverage, and draw it."""
    import matplotlib.pyplot as plt

    found: dict[int, list[dict[str, Any]]] = {}
    for path in FOLDER.glob("coverage_*.json"):
        found.setdefault(int(path.stem.split("_")[1]), []).extend(json.loads(path.read_text())["rows"])
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, systematic in zip(axes, (False, True), strict=True):
        for offset, (label, marker) in enumerate((("without", "o"), ("with", "s"))):
            points = []
            for events, rows in sorted(found.items()):
                some = [row for row in rows if row["systematic"] == systematic and row["staterror"] == label]
                points.append([events, *(value for rise in LEVELS.values() for value in covered(some, rise))])
                width, added = (np.median([row[key] for row in some]) for key in ("uncertainty", "added"))
                spread = np.std([row["mu"] for row in some])
                print(f"{events} events, {label} staterror, {'with' if systematic else 'no'} systematic: "
                      f"{', '.join(f'{value:.3f}' for value in points[-1][1:])}; "
                      f"width {width:.3f}, simulation adds {added:.3f}, spread {spread:.3f}")  # fmt: skip
            events, *values = np.array(points).T
            for k in range(len(LEVELS)):
                axis.errorbar(events * 1.06**offset, values[2 * k], values[2 * k + 1], fmt=marker, color=f"C{offset}",
                              label=f"{label} staterror" if k == 0 else None)  # fmt: skip
        for level in LEVELS:
            axis.axhline(level, color="grey", linewidth=0.8)
        axis.set(xscale="log", xlabel="simulated events of each sample",
                 title="one shape systematic" if systematic else "no systematic")  # fmt: skip
        axis.set_xticks(sorted(found), [f"{number:,}" for number in sorted(found)])
        axis.minorticks_off()
    axes[0].set_ylabel("coverage of mu over simulations")
    axes[0].legend(loc="lower right")
    figure.savefig(FOLDER / "coverage.png", dpi=120)


def main() -> None:
    """Measure, or plot what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2000, help="of each sample")
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--datasets", type=int, default=8, help="of each simulation")
    parser.add_argument("--first", type=int, default=0, help="number of the first simulation, to add to others")
    parser.add_argument("--plot", action="store_true")
    options = parser.parse_args()
    plot() if options.plot else measure(options)


if __name__ == "__main__":
    main()
