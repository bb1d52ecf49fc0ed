"""Compare the demonstration's learned likelihood with the exact one: ``python run.py [--seeds 5] [--toys 100]``.

For every seed, new ntuples and a new training; then exact datasets the training has not seen, each fitted with the
learned, the exact and the binned likelihoods. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

import neyman
from neyman import demo

mpl.use("Agg")
from matplotlib import pyplot as plt


def fitted(data: Any, likelihood: Any) -> tuple[float, float]:
    """Return mu-hat and its uncertainty."""
    result = neyman.fit(data, likelihood)
    return result["mu"], float(result.uncertainty[result.names.index("mu")])


def measure(seed: int, events: int, toys: int, limits: int, mu: float, folder: Path) -> dict[str, Any]:
    """Train once and compare on the same toys, drawn at the nominal parameters and signal strength ``mu``."""
    workspace = neyman.Workspace.load(demo.make_ntuples(folder, events, seed))
    start = time.perf_counter()
    model = neyman.train(workspace, seed=seed)
    seconds = time.perf_counter() - start
    exact = demo.ExactLikelihood(model)
    pars = np.array(model.config.suggested_init())
    pars[model.config.poi_index] = mu
    background = pars.copy()
    background[model.config.poi_index] = 0.0
    rng = np.random.default_rng([seed, 1])
    mu_hat, observed, expected = [], [], []
    for _ in range(toys):
        data = model.data(exact.toy(pars, rng))
        mu_hat.append([*fitted(data, model), *fitted(data, exact)])
    for _ in range(limits):
        data = model.data(exact.toy(background, rng))
        pair = [neyman.limit(data, likelihood) for likelihood in (model, exact)]
        observed.append([result.observed for result in pair])
        expected.append([result.expected[2] for result in pair])
    return {
        "seed": seed,
        "training_seconds": seconds,
        "mu_hat": np.array(mu_hat).T.tolist(),
        "observed": np.reshape(observed, (-1, 2)).T.tolist(),  # without limits, too
        "expected": np.reshape(expected, (-1, 2)).T.tolist(),
        "median limit": {
            "learned": median_limit(model),
            "exact": median_limit(exact),
            **{name: median_limit(demo.binned(workspace, name)) for name in demo.BINNINGS},
        },
    }


def median_limit(likelihood: Any) -> float:
    """Return the median expected limit at the nominal parameters without signal."""
    pars = np.array(likelihood.config.suggested_init())
    pars[likelihood.config.poi_index] = 0.0
    return float(neyman.limit(likelihood.expected_data(pars), likelihood).expected[2])


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the figures of all seeds together."""
    values = np.array([run["mu_hat"] for run in runs])  # (seeds, 4, toys)
    pull = (values[:, 0] - values[:, 2]) / values[:, 3]
    width = values[:, 1] / values[:, 3]
    observed, expected = (np.array([run[key] for run in runs]) for key in ("observed", "expected"))

    def ratio(pairs: NDArray[np.float64]) -> dict[str, float]:
        r = pairs[:, 0] / pairs[:, 1]
        return {"mean": float(r.mean()), "scatter": float(r.std()), "error": spread(r.mean(axis=1))}

    def spread(per_seed: NDArray[np.float64]) -> float:
        return float(per_seed.std(ddof=1) / np.sqrt(len(per_seed))) if len(per_seed) > 1 else float("nan")

    limits = {"observed limit over exact": observed, "expected limit over exact": expected}
    medians = {name: [run["median limit"][name] for run in runs] for name in runs[0]["median limit"]}
    return {
        "bias of mu-hat per seed, in sigma": pull.mean(axis=1).tolist(),
        "bias of mu-hat, r.m.s. over the seeds": float(np.sqrt(np.mean(pull.mean(axis=1) ** 2))),
        "scatter of mu-hat about the exact one, in sigma": float(pull.std(axis=1).mean()),
        "width ratio": {"median": float(np.median(width)), "error": spread(np.median(width, axis=1))},
        **{name: ratio(pairs) for name, pairs in limits.items() if pairs.size},
        "median expected limit": {name: float(np.mean(limits)) for name, limits in medians.items()},
        "training seconds": [run["training_seconds"] for run in runs],
        "toys": int(pull.size),
    }


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw mu-hat and the observed limit, learned against exact."""
    panels = [("mu_hat", (2, 0), r"$\hat\mu$"), ("observed", (1, 0), "limit")]
    panels = [panel for panel in panels if runs[0][panel[0]][0]]
    figure, axes = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 4.3), layout="constrained", squeeze=False)
    for ax, (key, rows, label) in zip(axes[0], panels, strict=True):
        x, y = (np.concatenate([run[key][row] for run in runs]) for row in rows)
        ax.plot(x, y, ".", markersize=4, alpha=0.6, color="#0072B2")
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        ax.plot(ends, ends, color="black", linewidth=1)
        ax.set(xlabel=f"exact {label}", ylabel=f"learned {label}")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--toys", type=int, default=100, help="exact toys for each seed")
    parser.add_argument("--limits", type=int, default=20, help="exact background-only toys with a limit, for each seed")
    parser.add_argument("--events", type=int, default=30_000, help="simulated events of each sample")
    parser.add_argument("--mu", type=float, default=1.0, help="true signal strength of the fitted toys")
    parser.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    parser.add_argument("--figure", type=Path, help="a file for the picture")
    arguments = parser.parse_args()
    results = []
    for number in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            results.append(
                measure(number, arguments.events, arguments.toys, arguments.limits, arguments.mu, Path(scratch))
            )
        print(f"seed {number}: trained in {results[-1]['training_seconds']:.0f} s", file=sys.stderr)
    print(json.dumps(summary(results), indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(results))
    if arguments.figure:
        draw(results, arguments.figure)
