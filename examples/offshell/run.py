"""Compare unbinned, binned and exact fits of an off-shell signal strength: ``python run.py [--toys 60]``.

Simulates and trains once for each document, then fits exact datasets at several signal strengths with every likelihood,
and measures how often intervals hold the truth. Prints JSON.
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
import pyhf
from make_ntuples import make_ntuples
from numpy.typing import NDArray

import neyman
from neyman.inference.twice_nll import TwiceNLL
from neyman.model.plain import as_model
from neyman.results.figures import style

Array = NDArray[np.float64]

HERE = Path(__file__).parent
DOCUMENTS = {"S, SBI, B": "analysis.yaml", "S, I, B": "interference.yaml"}
TRUTHS = (0.2, 0.5, 1.0, 2.0, 5.0)
APART = 0.5  # in the root of the signal strength are two minima, at least
EDGES = np.array([0.22, 0.24, 0.26, 0.28, 0.30, 0.33, 0.37, 0.42, 0.5, 0.65, 1.01])


def trained(folder: Path, document: str, network: Mapping[str, Any]) -> tuple[neyman.Model, pyhf.Model, float]:
    """Return the model of a document, the same in bins of the mass, and the CPU seconds of the training."""
    workspace = neyman.Workspace.load(HERE / document)
    written = workspace.document
    if network:
        written["channels"][0]["network"] = dict(network)
    workspace = neyman.Workspace(written, folder)
    start = time.process_time()
    model = neyman.train(workspace, seed=0)
    seconds = time.process_time() - start
    binned = workspace.binned({"SR": ("m", EDGES.tolist())})
    options = {"modifier_set": neyman.modifier_set(written["bindings"]), "validate": False}
    return model, binned.model(**options), seconds


def fitted(data: Any, likelihood: Any, mu: float) -> tuple[neyman.FitResult, float]:
    """Return the best fit, and -2 log of the profile likelihood ratio at the truth."""
    starts = (0.1, 1.0, 5.0) if isinstance(likelihood, exact.ExactLikelihood) else (1.0,)  # neyman tries others itself
    best = min((neyman.fit(data, likelihood, init={"mu": start}) for start in starts), key=lambda fit: fit.twice_nll)
    there = neyman.fit(data, likelihood, fixed={"mu": mu})
    return best, there.twice_nll - best.twice_nll


def uncertainty(data: Any, likelihood: Any, fit: neyman.FitResult) -> float:
    """Return the uncertainty of mu from the second derivatives where another fit is, nan where they have none."""
    model = as_model(likelihood)
    pars = np.array([fit[name] for name in model.config.par_names])
    nll = TwiceNLL(model, data, pars, np.ones(pars.size, dtype=bool))
    hessian = nll.hessian(pars, model.config.suggested_bounds())
    definite = np.all(np.linalg.eigvalsh(hessian) > 0)
    return float(
        np.sqrt(2 * np.linalg.inv(hessian)[model.config.poi_index, model.config.poi_index]) if definite else np.nan
    )


def measure(models: Mapping[str, neyman.Model], binned: pyhf.Model, toys: int) -> dict[str, dict[str, Any]]:
    """Return what all likelihoods say of the same exact datasets.

    Of each, a row with mu-hat of every dataset, with its uncertainty, with the test statistic at the truth, with -2 log
    of the exact profile likelihood ratio at this mu-hat, and with the uncertainty at the exact best fit.
    """
    first = models["S, SBI, B"]
    reference, poi = exact.ExactLikelihood(first), first.config.poi_index
    found: dict[str, dict[str, Any]] = {}
    for mu in TRUTHS:
        rng = np.random.default_rng([7, int(10 * mu)])
        rows: dict[str, list[tuple[float, ...]]] = {}
        for _ in range(toys):
            x, auxdata = exact.toy(mu, rng), rng.normal(size=1)
            ensemble = neyman.Ensemble({"SR": neyman.Events(x)}, auxdata=auxdata)
            events, counts = first.data(ensemble), np.histogram(x[:, 0], EDGES)[0]
            true, t = fitted(events, reference, mu)
            rows.setdefault("exact", []).append((true["mu"], float(true.uncertainty[poi]), t, 0.0, np.nan))
            others = [("binned", np.concatenate([counts, auxdata]), binned)]
            others += [(name, model.encode(ensemble), model) for name, model in models.items()]
            for name, data, likelihood in others:
                own, t = fitted(data, likelihood, mu)
                lost = neyman.fit(events, reference, fixed={"mu": own["mu"]}).twice_nll - true.twice_nll
                there = uncertainty(data, likelihood, true)
                width = float(own.uncertainty[own.names.index("mu")])
                rows.setdefault(name, []).append((own["mu"], width, t, lost, there))
        found[str(mu)] = {name: np.array(values).T.tolist() for name, values in rows.items()}
        print(f"mu = {mu}: {json.dumps(compare(found[str(mu)]))}", file=sys.stderr)
    return found


def compare(rows: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    """Compare every likelihood with the exact one; sigma is the uncertainty of the exact fit of the same dataset."""
    best, width, t, *_ = np.array(rows["exact"])
    found: dict[str, Any] = {"median sigma": float(np.median(width)), "coverage of t < 1": float((t < 1).mean())}
    for name in (name for name in rows if name != "exact"):
        own, own_width, own_t, lost, there = np.array(rows[name])
        other = np.abs(np.sqrt(own) - np.sqrt(best)) > APART  # the lower of two minima is not the same one
        difference, ratio = ((own - best) / width)[~other], (own_width / width)[~other]
        n = difference.size
        draws = np.random.default_rng(0).integers(n, size=(400, n))
        everyone = np.random.default_rng(0).integers(len(best), size=(400, len(best)))
        found[name] = {
            "in the other minimum": int(other.sum()),
            "r.m.s. difference": with_error(np.sqrt(np.mean(difference[draws] ** 2, axis=1)), rms(difference)),
            "bias": with_error(difference[draws].mean(axis=1), float(difference.mean())),
            "68 % of the differences are below": float(np.quantile(np.abs(own - best) / width, 0.683)),
            "r.m.s. difference by the exact likelihood": with_error(
                np.sqrt(np.mean(lost[everyone], axis=1)), float(np.sqrt(np.mean(lost)))
            ),
            "width ratio": with_error(np.median(ratio[draws], axis=1), float(np.median(ratio))),
            "width ratio at the exact mu-hat": with_error(
                np.nanmedian((there / width)[everyone], axis=1), float(np.nanmedian(there / width))
            ),
            "r.m.s. difference of t": rms(own_t - t),
            "coverage of t < 1": float((own_t < 1).mean()),
        }
    return found


def rms(values: Array) -> float:
    """Return the root of the mean of squares."""
    return float(np.sqrt(np.mean(values**2)))


def with_error(draws: Array, value: float) -> list[float]:
    """Return a number and its error, the spread of bootstrap draws."""
    return [value, float(draws.std())]


def coverage(model: neyman.Model, toys: int) -> dict[str, Any]:
    """Return how often 68 % intervals hold the truth, calibrated by toys and by asymptotic formulas."""
    truths = [{"mu": mu} for mu in TRUTHS]
    found = {}
    for calibration in ("toys", "asymptotics"):
        result = neyman.coverage(
            model, truths, 0.68, calibration, n_toys=toys, n_calibration=2 * toys, fixed={"norm": 0.0}, seed=3
        )
        found[calibration] = {"coverage": list(map(float, result.coverage)), "error": list(map(float, result.error))}
    return found


def with_two_minima() -> Array:
    """Return an exact dataset whose likelihood has two minima that are nearly the same."""
    root, of = np.linspace(0.0, 2.6, 261), exact.yields()
    for seed in range(1000):
        x = exact.toy(0.3, np.random.default_rng([11, seed]))
        p = exact.densities(x)
        f = root[:, None] ** 2 * p["S"] + root[:, None] * p["I"] + p["B"] + p["Q"]
        nll = -2 * np.log(f).sum(axis=1) + 2 * (root**2 * of["S"] + root * of["I"])
        lowest = np.flatnonzero((nll[1:-1] < nll[:-2]) & (nll[1:-1] < nll[2:])) + 1
        if lowest.size == 2 and np.ptp(nll[lowest]) < 1 and nll[lowest[0] : lowest[1]].max() - nll.min() > 2:
            return x
    raise RuntimeError("no dataset has two minima")


def draw(models: Mapping[str, neyman.Model], binned: pyhf.Model, found: Mapping[str, Any], path: Path) -> None:
    """Draw learned against exact best fits, and the likelihoods of a dataset with two minima."""
    figure = style.NotebookFigure(figsize=(10, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, name in enumerate(models):
        for number, rows in enumerate(found.values()):
            label = name if number == 0 else None
            left.plot(
                rows["exact"][0], rows[name][0], style.MARKERS[k], color=style.COLOURS[k], ms=4, alpha=0.6, label=label
            )
    left.plot([0, 9], [0, 9], color="black", linewidth=1)
    left.set(xlabel=r"exact $\hat\mu$", ylabel=r"learned $\hat\mu$")
    style.add_legend(left)
    ensemble = neyman.Ensemble({"SR": neyman.Events(x := with_two_minima())})
    first = models["S, SBI, B"]
    values = np.linspace(0.02, 5.5, 60)
    counts = np.concatenate([np.histogram(x[:, 0], EDGES)[0], [0.0]])
    curves = [("exact", first.data(ensemble), exact.ExactLikelihood(first)), ("binned", counts, binned)]
    curves += [(name, model.encode(ensemble), model) for name, model in models.items()]
    for k, (name, data, likelihood) in enumerate(curves):
        scan = neyman.scan(data, likelihood, "mu", values)
        colour = {"exact": "black", "binned": style.GREY}.get(name, style.COLOURS[max(k - 2, 0)])
        right.plot(values, scan.delta_twice_nll, ("-", ":", "--", "-.")[k], color=colour, label=name)
    right.set(xlabel=r"$\mu$", ylabel=r"$-2\,\log$ of the profile likelihood ratio", ylim=(0, 12))
    style.add_legend(right)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="simulated events of each sample")
    parser.add_argument("--toys", type=int, default=60, help="exact datasets at each signal strength")
    parser.add_argument("--coverage", type=int, default=1000, help="toys for the coverage at each, 0 for none")
    parser.add_argument("--network", type=json.loads, default={}, help="options of the network, as JSON")
    parser.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    parser.add_argument("--figure", type=Path, help="a file for the picture")
    parser.add_argument("--models", type=Path, help="a folder that keeps the models")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        make_ntuples(Path(scratch), arguments.events)
        parts = {name: trained(Path(scratch), document, arguments.network) for name, document in DOCUMENTS.items()}
    learned = {name: model for name, (model, _, _) in parts.items()}
    for name, model in learned.items() if arguments.models else ():
        model.save(arguments.models / f"{Path(DOCUMENTS[name]).stem}.neyman")
    in_bins = parts["S, SBI, B"][1]
    rows = measure(learned, in_bins, arguments.toys)
    results: dict[str, Any] = {
        "training CPU seconds": {name: seconds for name, (_, _, seconds) in parts.items()},
        "fits": {mu: compare(values) for mu, values in rows.items()},
    }
    if arguments.figure:
        draw(learned, in_bins, rows, arguments.figure)
    if arguments.coverage:
        results["coverage"] = {name: coverage(model, arguments.coverage) for name, model in learned.items()}
    print(json.dumps(results, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps({"summary": results, "fits": rows}))
