"""Compare learned posteriors of a narrow resonance with the exact one, with MCMC, and with fixed summaries.

``python posterior.py --figure widths.png``: the median width of the posterior of the fraction, on datasets of a
fraction of 0.2, against the true mean (figure 4 of arXiv:2306.12584), and the time that a dataset takes. The posterior
is trained once and kept in ``--folder``. ``--mcmc 3`` samples the exact posterior of three datasets at each mean by
emcee, which ``pip install emcee`` installs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import exact
import exact_posterior
import numpy as np
from numpy.typing import NDArray

import neyman
from neyman.results.figures import style

Array = NDArray[np.float64]

SIMULATOR = neyman.Simulator(
    exact.sample, exact_posterior.PARAMETERS, None, exact.FEATURES, prior=exact_posterior.PRIOR
)
_WALKERS, _STEPS, _BURNT = 32, 3000, 1000  # of emcee


def trained(network: Mapping[str, Any], seed: int, folder: Path) -> tuple[neyman.Posterior, float | None]:
    """Return a posterior, and the seconds of CPU time that it took, ``None`` if it is read from a file."""
    path = folder / f"{'-'.join(str(value) for value in network.values())}-{seed}.posterior"
    if path.exists():
        return neyman.Posterior.load(path), None
    begin = sum(os.times()[:4])  # with the processes of the simulation
    posterior = neyman.train_posterior(SIMULATOR, network, seed=seed)
    seconds = sum(os.times()[:4]) - begin
    posterior.save(path)
    return posterior, seconds


def learned(posterior: neyman.Posterior, datasets: Array) -> Array:
    """Return mean and standard deviation of the fraction in the posterior of each dataset, shape ``(B, 2)``."""
    n = datasets.shape[1]
    offsets = np.arange(len(datasets) + 1) * n
    sums = posterior.encode_many(datasets.reshape(-1, 1).astype(np.float32), offsets)
    draws = posterior.sample_many(sums, 2000, seed=1)[:, :, 0]
    return np.stack([draws.mean(axis=1), draws.std(axis=1)], axis=1)


def sampled(datasets: Array, seed: int) -> Array:
    """Return the same from MCMC of the exact posterior, as emcee's ensemble sampler finds it."""
    import emcee

    found = []
    for k, x in enumerate(datasets):
        sampler = emcee.EnsembleSampler(
            _WALKERS, 2, exact_posterior.log_posterior, args=(x,), vectorize=True
        )  # fmt: skip
        rng = np.random.default_rng([seed, k])
        start = np.stack([rng.random(_WALKERS), rng.normal(exact.CENTRE, exact.SIGMA, _WALKERS)], axis=1)
        sampler.random_state = np.random.RandomState(seed + k).get_state()
        sampler.run_mcmc(start, _STEPS)
        draws = sampler.get_chain(discard=_BURNT, flat=True)[:, 0]
        found.append((draws.mean(), draws.std()))
    return np.array(found)


def compared(found: Array, reference: Array) -> dict[str, float]:
    """Return how means and widths compare with the exact ones of the same datasets, with statistical errors."""
    pull, ratio = (found[:, 0] - reference[:, 0]) / reference[:, 1], found[:, 1] / reference[:, 1]
    rows = np.random.default_rng(0).integers(len(found), size=(300, len(found)))
    medians = np.median(found[rows, 1], axis=1) / np.median(reference[rows, 1], axis=1)
    return {
        "median width": float(np.median(found[:, 1])),
        "width ratio": float(np.median(found[:, 1]) / np.median(reference[:, 1])),
        "error of width ratio": float(medians.std()),
        "scatter of the width": float(ratio.std()),
        "bias in sigma": float(pull.mean()),
        "scatter in sigma": float(pull.std()),
    }


def measure(posteriors: Mapping[str, neyman.Posterior], toys: int, mcmc: int, seed: int) -> list[dict[str, Any]]:
    """Return the widths at every true mean, and the seconds of CPU time of a dataset.

    Args:
        posteriors: the learned ones by name.
        toys: datasets at each mean.
        mcmc: how many of them are sampled by MCMC.
        seed: of the datasets.
    """
    rows = []
    for m in exact_posterior.MASSES:
        datasets = exact_posterior.toys(m, toys, seed)
        reference = exact_posterior.moments(datasets)
        row: dict[str, Any] = {"m": m, "toys": toys, "exact": compared(reference, reference)}
        for name, posterior in posteriors.items():
            begin = time.process_time()
            found = learned(posterior, datasets)
            row[name] = {**compared(found, reference), "seconds": (time.process_time() - begin) / toys}
        for name, centre in exact_posterior.SUMMARIES.items():
            row[name] = compared(exact_posterior.moments(datasets, centre), reference)
        if mcmc:
            begin = time.process_time()
            found = sampled(datasets[:mcmc], seed)
            seconds = (time.process_time() - begin) / mcmc
            row["MCMC"] = {**compared(found, reference[:mcmc]), "seconds": seconds, "datasets": mcmc}
        rows.append(row)
        widths = [f"{key} {one['median width']:.4f}" for key, one in row.items() if isinstance(one, dict)]
        print(f"m = {m:g}: {'; '.join(widths)}", file=sys.stderr, flush=True)
    return rows


def picture(rows: Sequence[Mapping[str, Any]], names: Sequence[str], path: Path) -> None:
    """Draw the median width of the posterior of the fraction against the true mean, and its ratio to the exact one."""
    figure = style.NotebookFigure(figsize=(6, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    m = [row["m"] for row in rows]

    def widths(name: str, key: str = "median width") -> list[float]:
        return [row[name][key] for row in rows]

    grid = np.linspace(m[0], m[-1], 9)
    top.plot(m, widths("exact"), color="black", linewidth=2.5, alpha=0.5, label="exact")
    for k, name in enumerate(exact_posterior.SUMMARIES):
        label = f"exact, from {name.replace('^2', '$^2$')}"
        top.plot(m, widths(name), "--", color=(style.GREY, style.ORANGE)[k], label=label)
    for k, name in enumerate(names):
        marker = {"color": style.COLOURS[k], "marker": style.MARKERS[k], "linestyle": "none", "markersize": 6}
        top.plot(m, widths(name), label=f"learned, {name}", **marker)
        bottom.errorbar(m, widths(name, "width ratio"), widths(name, "error of width ratio"), **marker)
    if "MCMC" in rows[0]:
        ratios = widths("MCMC", "width ratio")
        bottom.plot(m, ratios, "x", color="black", label=f"MCMC, {rows[0]['MCMC']['datasets']} datasets each")
        bottom.legend(frameon=False, fontsize="small")
    bottom.fill_between(grid, 0.97, 1.03, color=style.GREY, alpha=0.2, linewidth=0)
    bottom.axhline(1.0, color="black", linewidth=0.8)
    top.set(ylabel="median width of the posterior of s", ylim=(0.0, None))
    bottom.set(xlabel="true mean m of the signal", ylabel="over the exact")
    style.add_legend(top)
    style.add_ticks(bottom)
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="*", default=["deepset"], help="kinds of networks to train")
    parser.add_argument("--options", type=json.loads, default={}, help="of the networks, as JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--toys", type=int, default=400, help="datasets at each mean")
    parser.add_argument("--mcmc", type=int, default=0, help="of these, how many are sampled by MCMC")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the posteriors are or will be")
    parser.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    parser.add_argument("--figure", type=Path, help="a file for the picture")
    options = parser.parse_args(arguments)
    posteriors, seconds = {}, {}
    for name in options.network:
        posteriors[name], seconds[name] = trained({"kind": name, **options.options}, options.seed, options.folder)
        for report in posteriors[name].report:
            print(report, file=sys.stderr)
    rows = measure(posteriors, options.toys, options.mcmc, seed=1)
    text = json.dumps({"seconds of training": seconds, "points": rows}, indent=2)
    if options.output:
        options.output.write_text(text)
    else:
        print(text)
    if options.figure:
        picture(rows, list(posteriors), options.figure)


if __name__ == "__main__":
    main()
