"""Compare the learned likelihood of INFERNO's problem with the exact one: ``python run.py [--seeds 5] [--toys 1000]``.

For every seed, new ntuples and a new training: the expected uncertainty of s in the five benchmarks, and on exact toys
the bias of s, the width and the coverage of the profile likelihood interval. Prints JSON and a table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import exact
import matplotlib as mpl
import numpy as np
import pyhf
from make_ntuples import make_ntuples
from numpy.typing import NDArray

import neyman
from neyman.model.constraints import Constraints
from neyman.model.rates import Rates

mpl.use("Agg")
from matplotlib import pyplot as plt


class ExactLikelihood:
    """The exact likelihood in the parameters of the document, with what ``neyman.fit`` needs of a model."""

    def __init__(self, model: pyhf.Model) -> None:
        self.config = model.config
        self._rates, self._constraints = Rates(model), Constraints(model)
        self._signal, self._background = (self._rates.samples.index(name) for name in ("signal", "background"))
        self._r, self._lambda = (model.config.par_names.index(name) for name in ("r", "lambda"))

    def evaluate(self, pars: NDArray[np.float64], data: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return log L and its gradient; ``data`` is the model's own data vector."""
        auxdata = data[-len(self.config.auxdata) :]
        x = data[1 : -len(self.config.auxdata)].reshape(-1, 5)[:, 1:4]
        rates, jacobian = (values[:, 0] for values in self._rates(pars))
        r, rate = exact.SIGMA_R * pars[self._r], exact.LAMBDA + exact.SIGMA_LAMBDA * pars[self._lambda]
        p = np.stack([exact.signal_density(x), exact.background_density(x, r, rate)])
        nu = rates[[self._signal, self._background]]
        f = nu @ p
        gradient = (p / f).sum(axis=1) @ jacobian[[self._signal, self._background]] - jacobian.sum(axis=0)
        share = nu[1] * p[1] / f
        gradient[self._r] += exact.SIGMA_R * share @ ((x[:, 0] - 2 - r) / 5)
        gradient[self._lambda] += exact.SIGMA_LAMBDA * share @ (1 / rate - x[:, 2])
        constraint, slope = self._constraints(pars, auxdata)
        return float(np.log(f).sum() - rates.sum() + constraint), gradient + slope


def expected_uncertainties(model: neyman.Model) -> list[float]:
    """Return the uncertainty of s in every benchmark, from the Hessian on the Asimov ensemble."""
    names = model.config.par_names
    pars = np.array(model.config.suggested_init())
    data = model.expected_data(pars)
    step = 1e-4
    hessian = -np.array(
        [
            (model.evaluate(pars + step * e, data)[1] - model.evaluate(pars - step * e, data)[1]) / (2 * step)
            for e in np.eye(len(pars))
        ]
    )
    constrained = np.array([name != "mu" for name in names])
    hessian -= np.diag(constrained.astype(float))  # benchmarks 1 and 2 have no constraint terms
    out = []
    for free in exact.BENCHMARKS:
        index = [names.index(name) for name in ("mu", *free)]
        constraint = np.diag([0.0] + [float(np.isfinite(width)) for width in free.values()])
        out.append(float(exact.S * np.sqrt(np.linalg.inv(hessian[np.ix_(index, index)] + constraint)[0, 0])))
    return out


def toy(model: neyman.Model, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw one exact dataset at the nominal parameters, auxiliary data included."""
    auxdata = np.asarray(model.config.auxdata) + rng.normal(size=model.config.nauxdata)
    return model.data(neyman.Ensemble({"SR": neyman.Events(exact.toy(rng))}, auxdata=auxdata))


def profile(likelihood: Any, data: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return s-hat, its uncertainty and -2 log of the profile likelihood ratio at the true s."""
    free = neyman.fit(data, likelihood)
    fixed = neyman.fit(data, likelihood, fixed={"mu": 1.0})
    index = free.names.index("mu")
    return exact.S * free["mu"], exact.S * float(free.uncertainty[index]), fixed.twice_nll - free.twice_nll


def measure(seed: int, events: int, toys: int, folder: Path) -> dict[str, Any]:
    """Train once and compare with the exact likelihood on the same toys."""
    make_ntuples(folder, events, seed)
    (folder / "analysis.yaml").write_text((Path(__file__).parent / "analysis.yaml").read_text())
    start = time.perf_counter()
    model = neyman.train(neyman.Workspace.load(folder / "analysis.yaml"), seed=seed)
    seconds = time.perf_counter() - start
    rng = np.random.default_rng([seed, 1])
    reference = ExactLikelihood(model)
    learned, truth = [], []
    for _ in range(toys):
        data = toy(model, rng)
        learned.append(profile(model, data))
        truth.append(profile(reference, data))
    return {
        "seed": seed,
        "training_seconds": seconds,
        "uncertainties": expected_uncertainties(model),
        "learned": np.array(learned).T.tolist(),
        "exact": np.array(truth).T.tolist(),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the figures of all seeds together, with their statistical errors."""
    uncertainties = np.array([run["uncertainties"] for run in runs])
    limits = np.array([exact.limit(k) for k in range(5)])
    learned, truth = (np.array([run[key] for run in runs]) for key in ("learned", "exact"))
    pull = (learned[:, 0] - truth[:, 0]) / truth[:, 1]
    ratio = learned[:, 1] / truth[:, 1]
    t, t_exact = learned[:, 2].ravel(), truth[:, 2].ravel()
    n = t.size
    coverage = {}
    for name, level in (("68 %", 1.0), ("95 %", 3.8415)):
        inside, inside_exact = t < level, t_exact < level
        coverage[name] = {
            "learned": float(inside.mean()),
            "exact": float(inside_exact.mean()),
            "error": float(np.sqrt(inside.mean() * (1 - inside.mean()) / n)),
            "error of the difference": float(np.std(inside.astype(float) - inside_exact) / np.sqrt(n)),
        }
    return {
        "limits": limits.tolist(),
        "median": np.median(uncertainties, axis=0).tolist(),
        "ratio": np.median(uncertainties / limits, axis=0).tolist(),
        "range of the ratio": [(uncertainties / limits).min(0).tolist(), (uncertainties / limits).max(0).tolist()],
        "bias of s per seed, in sigma": pull.mean(axis=1).tolist(),
        "bias of s, r.m.s. over the seeds": float(np.sqrt(np.mean(pull.mean(axis=1) ** 2))),
        "scatter of s-hat about the exact one, in sigma": float(pull.std(axis=1).mean()),
        "width ratio": float(np.median(ratio)),
        "coverage": coverage,
        "training seconds": [run["training_seconds"] for run in runs],
        "toys": n,
    }


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw s-hat against the exact one, and the test statistic at the truth against chi-square."""
    learned, truth = (np.concatenate([np.array(run[key]) for run in runs], axis=1) for key in ("learned", "exact"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    left.plot(truth[0], learned[0], ".", markersize=2, alpha=0.4, color="#0072B2", rasterized=True)
    ends = [truth[0].min(), truth[0].max()]
    left.plot(ends, ends, color="black", linewidth=1)
    left.set(xlabel="exact $\\hat s$", ylabel="learned $\\hat s$")
    edges = np.linspace(0, 9, 37)
    for values, name, colour in ((truth[2], "exact", "#D55E00"), (learned[2], "learned", "#0072B2")):
        right.hist(values, edges, density=True, histtype="step", linewidth=2, label=name, color=colour)
    x = np.linspace(0.05, 9, 200)
    right.plot(x, np.exp(-x / 2) / np.sqrt(2 * np.pi * x), "k:", label=r"$\chi^2_1$")
    right.set(xlabel="$t$ at the true $s$", ylabel="density", yscale="log", ylim=(1e-3, 5), xlim=(0, 9))
    right.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--toys", type=int, default=1000, help="exact toys for each seed")
    parser.add_argument("--events", type=int, default=100_000, help="simulated events of each tree")
    parser.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    parser.add_argument("--figure", type=Path, help="a file for the picture")
    arguments = parser.parse_args()
    results = []
    for number in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            results.append(measure(number, arguments.events, arguments.toys, Path(scratch)))
        last = [round(value, 2) for value in results[-1]["uncertainties"]]
        print(f"seed {number}: {last}, trained in {results[-1]['training_seconds']:.0f} s", file=sys.stderr)
    print(json.dumps(summary(results), indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(results))
    if arguments.figure:
        draw(results, arguments.figure)
