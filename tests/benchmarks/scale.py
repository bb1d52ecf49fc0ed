"""An analysis of the size of one at the LHC, from ROOT files to ranking: ``python scale.py --json scale.json``.

Five samples of 200,000 events with eight features, 50 systematics by weight and five by trees, which the samples
share. The generator knows every density: features are normal, weights exponentials of functions of one feature each,
trees have shifted features. So fitted nuisance parameters are compared with those of the exact likelihood.
Each stage runs in a process of its own; its wall time, CPU time and peak memory are those of this process.
``python scale.py --growth`` runs small sizes, ``python scale.py --events 20000`` a tenth.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import iminuit
import numpy as np
import pyhf
import uproot
from numpy.typing import NDArray
from ruamel.yaml import YAML

import neyman

Array = NDArray[np.float64]

STAGES = ("write", "train", "encode", "fit", "exact", "limit", "impacts", "binned")
NODES, QUADRATURE = np.polynomial.hermite_e.hermegauss(48)
QUADRATURE = QUADRATURE / QUADRATURE.sum()
EXPECTED = 20_000.0  # events in the data
MANY = 100_000  # events that are encoded


@dataclass(frozen=True)
class Problem:
    """Samples of normal features, the first of which is the signal, and what the systematics do to them.

    Args:
        samples: how many.
        weights: systematics by weight, each a function of one feature.
        trees: systematics by trees, each a shift of one feature.
        features: how many.
    """

    samples: int = 5
    weights: int = 50
    trees: int = 5
    features: int = 8

    @property
    def means(self) -> Array:
        """Of the features, whose width is one, by sample."""
        return np.random.default_rng(1).normal(0.0, 0.6, (self.samples, self.features))

    @property
    def sizes(self) -> Array:
        """Of the systematics by weight, by sample: changes of about four per cent."""
        rng = np.random.default_rng(2)
        return rng.uniform(0.02, 0.08, (self.samples, self.weights)) * rng.choice([-1, 1], (1, self.weights))

    @property
    def shifts(self) -> Array:
        """Of a feature by the systematics by trees, by sample."""
        return np.random.default_rng(3).uniform(0.05, 0.15, (self.samples, self.trees))

    @property
    def yields(self) -> Array:
        """Expected events: a signal of three per cent, and backgrounds each half as large as the one before."""
        backgrounds = 0.5 ** np.arange(self.samples - 1)
        return EXPECTED * np.concatenate([[0.03], 0.97 * backgrounds / backgrounds.sum()])

    def function(self, k: int, x: Array) -> Array:
        """Return what a systematic by weight is proportional to: a function of feature ``k % features``."""
        order = k // self.features
        scale = 0.7 + 0.4 * (order // 3)
        return (np.tanh, np.cos, np.sin)[order % 3](scale * x)

    def names(self) -> list[str]:
        """Return the names of the nuisance parameters with shapes."""
        return [f"weight_{k}" for k in range(self.weights)] + [f"tree_{k}" for k in range(self.trees)]

    def simulate(self, c: int, events: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw events of a sample."""
        return (self.means[c] + rng.normal(size=(events, self.features))).astype(np.float32)


def write(problem: Problem, folder: Path, events: int) -> None:
    """Write the files of the samples, of the data, and the document."""
    rng, names = np.random.default_rng(events), [f"x{i}" for i in range(problem.features)]
    rates = problem.yields
    for c in range(problem.samples):
        x = problem.simulate(c, events, rng)
        weight = np.full(events, rates[c] / events, dtype=np.float32)
        arrays = {**dict(zip(names, x.T, strict=True)), "w": weight}
        for k in range(problem.weights):
            power = problem.sizes[c, k] * problem.function(k, x[:, k % problem.features].astype(np.float64))
            arrays |= {f"w{k}_up": weight * np.exp(power), f"w{k}_down": weight * np.exp(-power)}
        with uproot.recreate(folder / f"sample_{c}.root") as file:
            file.mktree("nominal", dict.fromkeys(arrays, "float32"))
            for begin in range(0, events, 50_000):
                part = slice(begin, begin + 50_000)
                file["nominal"].extend({name: a[part].astype(np.float32) for name, a in arrays.items()})
            for k in range(problem.trees):
                for side, sign in (("up", 1), ("down", -1)):
                    moved = x.copy()
                    moved[:, k % problem.features] += sign * problem.shifts[c, k]
                    columns = {**dict(zip(names, moved.T, strict=True)), "w": weight}
                    file.mktree(f"tree{k}_{side}", dict.fromkeys(columns, "float32"))
                    file[f"tree{k}_{side}"].extend(columns)
    for name, scale in (("data", 1.0), ("many", MANY / EXPECTED)):
        numbers = rng.poisson(scale * rates)
        x = np.concatenate([problem.simulate(c, n, rng) for c, n in enumerate(numbers)])
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("nominal", dict.fromkeys(names, "float32"))
            file["nominal"].extend(dict(zip(names, x.T, strict=True)))
    shapes: list[dict[str, Any]] = [
        {
            "name": f"weight_{k}",
            "type": "histosys",
            "data": {"hi": {"weight": f"w{k}_up"}, "lo": {"weight": f"w{k}_down"}},
        }
        for k in range(problem.weights)
    ] + [
        {
            "name": f"tree_{k}",
            "type": "histosys",
            "data": {"hi": {"tree": f"tree{k}_up"}, "lo": {"tree": f"tree{k}_down"}},
        }
        for k in range(problem.trees)
    ]
    samples = []
    for c in range(problem.samples):
        own: dict[str, Any] = {"name": f"norm_{c}", "type": "normsys", "data": {"hi": 1.05, "lo": 0.95}}
        if c == 0:
            own = {"name": "mu", "type": "normfactor", "data": None}
        samples.append({"name": f"sample_{c}", "events": {"files": f"sample_{c}.root"}, "modifiers": [own, *shapes]})
    document = {
        "version": "1.0.0",
        "channels": [
            {"name": "SR", "features": names, "events": {"tree": "nominal", "weight": "w"}, "samples": samples}
        ],
        "observations": [{"name": "SR", "events": {"files": "data.root", "tree": "nominal"}}],
        "measurements": [
            {
                "name": "m",
                "config": {"poi": "mu", "parameters": [{"name": "mu", "bounds": [[0.0, 100.0]], "inits": [1.0]}]},
            }
        ],
    }
    with (folder / "analysis.yaml").open("w") as file:
        YAML(typ="safe").dump(document, file)


class Exact:
    """-2 log L of the exact densities, with the rates of the model, and its gradient.

    Args:
        problem: the problem.
        model: the model, whose rates and constraint terms it has.
        x: the events, shape ``(N, d)``.
    """

    def __init__(self, problem: Problem, model: neyman.Model, x: Array) -> None:
        self.problem, self.model = problem, model
        self.at = np.array([model.config.par_slice(name).start for name in problem.names()])
        self.samples = [model.rates.samples.index(f"sample_{c}") for c in range(problem.samples)]
        self.data = model.config.auxdata
        d, means = problem.features, problem.means
        self.basis = np.stack([problem.function(k, x[:, k % d]) for k in range(problem.weights)])
        self.moved = x.T[[k % d for k in range(problem.trees)]]
        centred = x[None] - means[:, None]
        self.nominal = -0.5 * (centred**2).sum(axis=2)
        self.nodes = [
            [problem.function(k, means[c, k % d] + NODES) for k in range(problem.weights)] for c in range(len(means))
        ]

    def shapes(self, alphas: Array) -> tuple[Array, Array]:
        """Return the log-densities, shape ``(C, N)``, and the means of their slopes, shape ``(C, K)``."""
        p = self.problem
        a, b = alphas[: p.weights], alphas[p.weights :]
        logs, means = self.nominal.copy(), np.zeros((p.samples, len(alphas)))
        for c in range(p.samples):
            logs[c] += (a * p.sizes[c]) @ self.basis
            logs[c] += (b * p.shifts[c]) @ (self.moved - p.means[c, [k % p.features for k in range(p.trees)], None])
            for j in range(p.features):
                own = [k for k in range(p.weights) if k % p.features == j]
                moved = [k for k in range(p.trees) if k % p.features == j]
                slopes = np.array(
                    [p.sizes[c, k] * self.nodes[c][k] for k in own] + [p.shifts[c, k] * NODES for k in moved]
                )
                index = own + [p.weights + k for k in moved]
                if index:
                    powers = alphas[index] @ slopes
                    terms = QUADRATURE * np.exp(powers)
                    logs[c] -= np.log(terms.sum())
                    means[c, index] = slopes @ terms / terms.sum()
        return logs, means

    def __call__(self, pars: Array) -> tuple[float, Array]:
        """Return the value and the gradient."""
        p = self.problem
        rates, jacobian = self.model.rates(pars)
        nu, slopes = rates[self.samples, 0], jacobian[self.samples, 0]
        logs, means = self.shapes(pars[self.at])
        parts = nu[:, None] * np.exp(logs - logs.max(axis=0))
        density = parts.sum(axis=0)
        value = nu.sum() - (np.log(density) + logs.max(axis=0)).sum()
        shares = parts / density
        sums = shares.sum(axis=1)
        gradient = slopes.sum(axis=0) - (sums / nu) @ slopes
        tree = [k % p.features for k in range(p.trees)]
        for c in range(p.samples):
            own = np.concatenate(
                [
                    p.sizes[c] * (self.basis @ shares[c]),
                    p.shifts[c] * (self.moved @ shares[c] - p.means[c, tree] * sums[c]),
                ]
            )
            np.subtract.at(gradient, self.at, own - means[c] * sums[c])
        log_constraints, by_pars, _ = self.model.constraints.batch(pars[None], np.asarray(self.data)[None])
        return 2 * (value - float(log_constraints[0])), 2 * (gradient - by_pars[0])


def loaded(folder: Path, name: str = "data") -> tuple[neyman.Model, Any]:
    """Return the model and a dataset, encoded."""
    model = neyman.Model.load(folder / "analysis.neyman")
    events = neyman.Workspace.load(folder / "analysis.yaml").with_data(folder / f"{name}.root").observed().events["SR"]
    weight = EXPECTED / MANY if name == "many" else 1.0
    return model, model.encode(neyman.Ensemble({"SR": neyman.Events(events.features, weight * events.weights)}))


def stage_write(problem: Problem, folder: Path, events: int) -> dict[str, Any]:
    """Write files and document."""
    write(problem, folder, events)
    return {"MB": sum(file.stat().st_size for file in folder.iterdir()) / 1e6}


def stage_train(problem: Problem, folder: Path, events: int) -> dict[str, Any]:
    """Train and save, as ``neyman train`` does."""
    model = neyman.train(neyman.Workspace.load(folder / "analysis.yaml"), seed=0)
    model.save(folder / "analysis.neyman")
    return {"MB": (folder / "analysis.neyman").stat().st_size / 1e6}


def stage_encode(problem: Problem, folder: Path, events: int) -> dict[str, Any]:
    """Encode 100,000 events."""
    model = neyman.Model.load(folder / "analysis.neyman")
    observed = neyman.Workspace.load(folder / "analysis.yaml").with_data(folder / "many.root").observed()
    return timed(lambda: model.encode(observed))


def stage_fit(problem: Problem, folder: Path, events: int) -> dict[str, Any]:
    """Fit the data, and 100,000 events of a fifth of the weight."""
    model, _ = loaded(folder)
    return for_both(folder, neyman.fit) | {"parameters": len(model.config.par_names)}


def stage_exact(problem: Problem, folder: Path, events: int) -> dict[str, Any]:
    """Compare the fitted nuisance parameters with those of the exact likelihood, on the same data."""
    model, summary = loaded(folder)
    ours = neyman.fit(summary, model)
    x = neyman.Workspace.load(folder / "analysis.yaml").observed().events["SR"].features.astype(np.float64)
    exact = Exact(problem, model, x)
    minuit = iminuit.Minuit(
        lambda pars: exact(pars)[0], ours.bestfit, grad=lambda pars: exact(pars)[1], name=ours.names
    )
    minuit.errordef = 1.0
    minuit.limits = model.config.suggested_bounds()
    minuit.migrad()
    minuit.hesse()
    theirs, errors = np.array(minuit.values), np.array(minuit.errors)
    pulls, widths = (ours.bestfit - theirs) / errors, ours.uncertainty / errors
    kinds = {"mu": ["mu"], "weights": problem.names()[: problem.weights], "trees": problem.names()[problem.weights :]}
    found: dict[str, Any] = {"valid": bool(minuit.valid), "calls": minuit.nfcn + minuit.ngrad}
    for kind, names in kinds.items():
        index = [ours.index(name) for name in names]
        if index:
            found[f"{kind} rms"] = float(np.sqrt((pulls[index] ** 2).mean()))
            found[f"{kind} width"] = float(widths[index].mean())
    constrained = errors[[ours.index(name) for name in problem.names()]]
    return found | {
        "floor": math.sqrt((problem.yields**2).sum() / problem.yields.sum() / events),
        "exact width": float(constrained.mean()),
    }


def stage_limit(problem: Problem, folder: Path, events: int) -> dict[str, Any]:
    """Set an asymptotic limit with its band."""
    return for_both(folder, neyman.limit)


def stage_impacts(problem: Problem, folder: Path, events: int) -> dict[str, Any]:
    """Rank all parameters."""
    return for_both(folder, neyman.impacts)


def stage_binned(problem: Problem, folder: Path, events: int) -> dict[str, Any]:
    """Do the same with pyhf and cabinetry on 20 bins of one feature of the same document."""
    import cabinetry

    workspace = neyman.Workspace.load(folder / "analysis.yaml").binned({"SR": ("x0", np.linspace(-3, 3, 21).tolist())})
    model = workspace.model(poi_name="mu")
    data = workspace.data(model)
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(maxiter=1_000_000))
    found = {f"pyhf fit {key}": value for key, value in timed(lambda: pyhf.infer.mle.fit(data, model)).items()}
    low, high = model.config.suggested_bounds()[model.config.poi_index]
    limits = timed(lambda: pyhf.infer.intervals.upper_limits.toms748_scan(data, model, low, high, rtol=0.02))
    found |= {f"pyhf limit {key}": value for key, value in limits.items()}

    def ranking() -> Any:
        return cabinetry.fit.ranking(model, data, fit_results=cabinetry.fit.fit(model, data))

    found |= {f"cabinetry ranking {key}": value for key, value in timed(ranking).items()}
    found |= {f"neyman limit {key}": value for key, value in timed(lambda: neyman.limit(data, model)).items()}
    return found | {f"neyman impacts {key}": value for key, value in timed(lambda: neyman.impacts(data, model)).items()}


def for_both(folder: Path, function: Callable[[Any, neyman.Model], Any]) -> dict[str, float]:
    """Return the seconds for the data, and for the same weight in 100,000 events."""
    found = {}
    for name in ("data", "many"):
        model, summary = loaded(folder, name)
        times = timed(partial(function, summary, model))
        found |= {f"{name} {key}": value for key, value in times.items()}
    return found


def timed(function: Callable[[], Any]) -> dict[str, float]:
    """Return wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def run(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run a stage in a process of its own; its seconds include the start of Python."""
    command = [sys.executable, __file__, "--stage", name, "--folder", str(folder)]
    for key in ("samples", "events", "weights", "trees"):
        command += [f"--{key}", str(getattr(options, key))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"failed": done.returncode}


def stage(name: str, options: argparse.Namespace) -> None:
    """Run a stage here and print what it took as JSON."""
    problem = Problem(options.samples, options.weights, options.trees)
    wall = time.perf_counter()
    found = globals()[f"stage_{name}"](problem, Path(options.folder), options.events)
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = {"wall": time.perf_counter() - wall, "CPU": time.process_time(), "GB": used.ru_maxrss / 1e6}
    print(
        json.dumps(
            {key: round(value, 3) if isinstance(value, float) else value for key, value in (total | found).items()}
        )
    )


def growth(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run small sizes, each with one thing doubled."""
    base = {"samples": 3, "events": 10_000, "weights": 10, "trees": 1}
    doubled = [
        {},
        {"events": 20_000},
        {"events": 40_000},
        {"weights": 20},
        {"weights": 40},
        {"samples": 6},
        {"trees": 2},
    ]
    found = {}
    for number, change in enumerate(doubled):
        size = argparse.Namespace(**base | change)
        own = folder / str(number)
        own.mkdir()
        label = ", ".join(f"{key} {value}" for key, value in (change or base).items())
        found[label] = {name: run(name, size, own) for name in ("write", "train", "encode", "fit", "limit", "impacts")}
        times = {name: one.get("CPU", math.nan) for name, one in found[label].items()}
        print(f"{label:45} " + "  ".join(f"{name} {value:.1f} s" for name, value in times.items()), file=sys.stderr)
    if options.plot:
        draw(found, options.plot)
    return found


def draw(found: dict[str, Any], path: str) -> None:
    """Draw the CPU seconds of the stages against what :func:`growth` makes larger."""
    import matplotlib.pyplot as plt

    first = next(iter(found))
    base = dict(part.split() for part in first.split(", "))
    figure, axes = plt.subplots(1, len(base), figsize=(10, 3.5), sharey=True, layout="constrained")
    for axis, (key, value) in zip(axes, base.items(), strict=True):
        labels = [first, *(label for label in found if label.startswith(f"{key} ") and label != first)]
        sizes = [int(value), *(int(label.split()[1]) for label in labels[1:])]
        for name in ("train", "encode", "fit", "limit", "impacts"):
            axis.loglog(sizes, [seconds(found[label][name]) for label in labels], "o-", label=name)
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel({"events": "events of a sample", "weights": "systematics by weight"}.get(key, key))
    axes[0].set_ylabel("CPU seconds")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    figure.savefig(path, dpi=150)


def seconds(stage: dict[str, Any]) -> float:
    """Return the CPU seconds of a stage: of what it times, with 100,000 events where it does that, or all of it."""
    return next(stage[key] for key in ("many cpu", "cpu", "CPU") if key in stage)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--events", type=int, default=200_000, help="of each sample")
    parser.add_argument("--weights", type=int, default=50)
    parser.add_argument("--trees", type=int, default=5)
    parser.add_argument("--folder", help="where the files are written, and stay")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--plot", help="a file for the plot of the growth")
    parser.add_argument("--json", help="a file for the result")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        stage(arguments.stage, arguments)
        sys.exit()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(arguments.folder or temporary)
        place.mkdir(exist_ok=True, parents=True)
        if arguments.growth:
            result = growth(arguments, place)
        else:
            result = {}
            for one in arguments.stages.split(","):
                result[one] = run(one, arguments, place)
                print(f"{one:8} {result[one]}", file=sys.stderr, flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2))
