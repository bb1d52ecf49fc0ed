"""Compare learned and exact likelihoods of one and of two couplings: ``python run.py [--toys 60]``.

Simulates the basis samples, trains once for each document, fits exact datasets at several couplings with both
likelihoods, and compares the regions of two couplings. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import exact
import numpy as np
from make_ntuples import TRUTH, make_ntuples
from numpy.typing import NDArray

import neyman
from neyman.results.figures import style

Array = NDArray[np.float64]

HERE = Path(__file__).parent
TRUTHS: dict[str, list[tuple[float, ...]]] = {
    "one": [(-1.5,), (-0.5,), (0.0,), (0.5,), (1.5,)],
    "two": [(0.0, 0.0), (0.5, -0.5), (-1.0, 0.7), (0.8, 0.6), (1.2, 1.0)],
}
LEVELS = {"68 %": 2.296, "95 %": 5.991}  # of -2 log of the ratio, for two couplings
APART = 2.5  # standard deviations are two minima, at least
AXES = (np.linspace(-1.5, 1.0, 51), np.linspace(-1.2, 1.2, 49))


def trained(folder: Path, name: str, network: Mapping[str, Any]) -> tuple[neyman.Model, float]:
    """Return the model of a document, and the CPU seconds of the training."""
    written = neyman.Workspace.load(HERE / f"{name}.yaml").document
    if network:
        written["channels"][0]["network"] = dict(network)
    start = time.process_time()
    model = neyman.train(neyman.Workspace(written, folder), seed=0)
    return model, time.process_time() - start


def fitted(data: Any, model: Any, truth: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return, of the learned and the exact likelihood, the best fit, the uncertainties, and two test statistics.

    These are -2 log of the likelihood ratio at the truth, and of the exact one at the best fit. The learned fit looks
    for other minima by itself, the exact one is told where these may be.
    """
    reference, names = exact.ExactLikelihood(model), ("c1", "c2")[: len(truth)]
    own = neyman.fit(data, model)
    starts = [tuple(truth), tuple(own.bestfit), *((a, b)[: len(truth)] for a in (-1.5, 1.0) for b in (-1.0, 1.0))]
    fits = [neyman.fit(data, reference, init=dict(zip(names, start, strict=True))) for start in starts]
    best = min(fits, key=lambda fit: fit.twice_nll)

    def value(likelihood: Any, pars: Any) -> float:
        return float(-2 * likelihood.evaluate(np.array(pars), data)[0])

    found = []
    for fit, likelihood in ((own, model), (best, reference)):
        there = value(likelihood, truth) - value(likelihood, fit.bestfit)
        lost = value(reference, fit.bestfit) - value(reference, best.bestfit)
        found.append([*fit.bestfit, *fit.uncertainty, there, lost])
    return found[0], found[1]


def measure(model: neyman.Model, truths: Sequence[tuple[float, ...]], toys: int) -> dict[str, Any]:
    """Compare the fits of exact datasets at every truth; sigma is the uncertainty of the exact fit."""
    size, found = len(truths[0]), {}
    for truth in truths:
        rng = np.random.default_rng([13, *(int(10 * (value + 5)) for value in truth)])
        rows = []
        for _ in range(toys):
            x = exact.toy(*(*truth, 0.0)[:2], rng)
            data = model.data(neyman.Ensemble({"SR": neyman.Events(x)}))
            rows.append(fitted(data, model, truth))
        own, true = np.array(rows).swapaxes(0, 1)
        pull = (own[:, :size] - true[:, :size]) / true[:, size : 2 * size]
        other = np.abs(pull).max(axis=1) > APART
        ratio = (own / true)[~other, size : 2 * size]
        draws = np.random.default_rng(0).integers(len(ratio), size=(400, len(ratio)))
        everyone = np.random.default_rng(0).integers(toys, size=(400, toys))
        squares, medians = pull[~other] ** 2, np.median(ratio[draws], axis=1)
        found[", ".join(map(str, truth))] = {
            "median sigma": np.median(true[:, size : 2 * size], axis=0).tolist(),
            "in the other minimum": int(other.sum()),
            "r.m.s. difference": np.sqrt(squares.mean(axis=0)).tolist(),
            "its error": np.sqrt(squares[draws].mean(axis=1)).std(axis=0).tolist(),
            "width ratio": np.median(ratio, axis=0).tolist(),
            "error of the ratio": medians.std(axis=0).tolist(),
            "68 % of the differences are below": np.quantile(np.abs(pull), 0.683, axis=0).tolist(),
            "r.m.s. difference by the exact likelihood": float(np.sqrt(own[:, -1].mean())),
            "error of that": float(np.sqrt(own[everyone, -1].mean(axis=1)).std()),
            "r.m.s. difference of t": float(np.sqrt(np.mean((own[:, -2] - true[:, -2]) ** 2))),
            "coverage of 68 %": [float((one[:, -2] < (1.0, 2.296)[size - 1]).mean()) for one in (own, true)],
        }
        print(f"{truth}: {json.dumps(found[', '.join(map(str, truth))])}", file=sys.stderr)
    return found


def surface(data: Any, likelihood: Any) -> Array:
    """Return -2 log of the likelihood ratio on the grid of two couplings."""
    values = [[-2 * likelihood.evaluate(np.array([a, b]), data)[0] for b in AXES[1]] for a in AXES[0]]
    return np.array(values) - np.min(values)


def areas(model: neyman.Model, toys: int) -> dict[str, Any]:
    """Compare the areas of the regions of two couplings in exact datasets."""
    reference, ratios = exact.ExactLikelihood(model), []
    rng = np.random.default_rng(17)
    for _ in range(toys):
        data = model.data(neyman.Ensemble({"SR": neyman.Events(exact.toy(*TRUTH, rng))}))
        learned, true = (surface(data, likelihood) for likelihood in (model, reference))
        ratios.append([(learned < level).sum() / (true < level).sum() for level in LEVELS.values()])
    mean, error = np.mean(ratios, axis=0), np.std(ratios, axis=0) / np.sqrt(toys)
    return {name: [float(a), float(b)] for name, a, b in zip(LEVELS, mean, error, strict=True)}


def with_two_minima() -> Array:
    """Return the dataset, of 300 exact ones, whose likelihood in one coupling has the two most similar minima."""
    values, found = np.linspace(-2.0, 1.0, 121), []
    for seed in range(300):
        x = exact.toy(-0.4, 0.0, np.random.default_rng([3, seed]))
        nll = np.array([2 * (exact.expected(c, 0.0)[0] - np.log(exact.density(x, c, 0.0)[0]).sum()) for c in values])
        lowest = np.flatnonzero((nll[1:-1] < nll[:-2]) & (nll[1:-1] < nll[2:])) + 1
        found.append((float(np.ptp(nll[lowest])) if lowest.size == 2 else np.inf, seed))
    return exact.toy(-0.4, 0.0, np.random.default_rng([3, min(found)[1]]))


def draw(one: neyman.Model, two: neyman.Model, path: Path) -> None:
    """Draw the likelihood of one coupling and the regions of two, of exact datasets."""
    figure = style.NotebookFigure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    data = one.data(neyman.Ensemble({"SR": neyman.Events(with_two_minima())}))
    values = np.linspace(-2.0, 1.0, 76)
    both = ((exact.ExactLikelihood, "exact", "black", "-"), (None, "learned", style.BLUE, "--"))
    for make, name, colour, line in both:
        likelihood = one if make is None else make(one)
        left.plot(values, neyman.scan(data, likelihood, "c1", values).delta_twice_nll, line, color=colour, label=name)
    left.set(xlabel="$c_1$", ylabel=r"$-2\,\log$ of the likelihood ratio", ylim=(0, 12))
    style.add_legend(left)
    for truth, marker in ((TRUTH, "+"), ((0.0, 0.0), "x")):
        x = exact.toy(*truth, np.random.default_rng(6))
        data = two.data(neyman.Ensemble({"SR": neyman.Events(x)}))
        for make, _, colour, line in both:
            likelihood = two if make is None else make(two)
            contour: dict[str, Any] = {"levels": list(LEVELS.values()), "colors": [colour], "linestyles": line}
            right.contour(*AXES, surface(data, likelihood).T, **contour)
        right.plot(*truth, marker, color=style.VERMILLION, markersize=8, linestyle="none", label=f"truth {truth}")
    right.set(xlabel="$c_1$", ylabel="$c_2$")
    style.add_legend(right)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="simulated events of each sample")
    parser.add_argument("--toys", type=int, default=60, help="exact datasets at each truth")
    parser.add_argument("--regions", type=int, default=10, help="exact datasets whose regions are compared")
    parser.add_argument("--network", type=json.loads, default={}, help="options of the network, as JSON")
    parser.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    parser.add_argument("--figure", type=Path, help="a file for the picture")
    parser.add_argument("--models", type=Path, help="a folder that keeps the models")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        make_ntuples(Path(scratch), arguments.events)
        parts = {name: trained(Path(scratch), name, arguments.network) for name in TRUTHS}
    for name, (model, _) in parts.items() if arguments.models else ():
        model.save(arguments.models / f"{name}.neyman")
    if arguments.figure:
        draw(parts["one"][0], parts["two"][0], arguments.figure)
    results: dict[str, Any] = {"training CPU seconds": {name: seconds for name, (_, seconds) in parts.items()}}
    results |= {name: measure(parts[name][0], truths, arguments.toys) for name, truths in TRUTHS.items()}
    results["area of the region over that of the exact one"] = areas(parts["two"][0], arguments.regions)
    print(json.dumps(results, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(results))
