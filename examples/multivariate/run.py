"""Compare learned posteriors of the multivariate normal with the exact one, and update one element by element.

``python run.py --network deepset transformer --figure widths.png --sequence sequence.png``: for every number of
elements, the width of the posterior and its mean against the exact ones, on datasets at parameters drawn from the
prior. The files of the posteriors are kept in ``--folder`` and used again. :func:`sequence` follows one stream.
"""

from __future__ import annotations

import argparse
import itertools
import json
import operator
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import exact
import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter
from numpy.typing import NDArray

import neyman
from neyman.results.figures import style

TRUTH = (1.0, -2.0, 4.0)  # of the stream
SEEN = (1, 2, 5, 10, 20, 50, 100, 200)  # elements of the stream after which numbers are written

Array = NDArray[np.float64]


def simulator() -> neyman.Simulator:
    """Return the simulator with its prior."""
    return neyman.Simulator(exact.sample, exact.PARAMETERS, None, exact.FEATURES, prior=exact.PRIOR)


def trained(network: str, seed: int, folder: Path) -> tuple[neyman.Posterior, float | None]:
    """Return a posterior, and the seconds of CPU time that it took, ``None`` if it is read from a file."""
    path = folder / f"{network}-{seed}.posterior"
    if path.exists():
        return neyman.Posterior.load(path), None
    begin = sum(os.times()[:4])  # with the processes of the simulation
    posterior = neyman.train_posterior(simulator(), network, seed=seed)
    seconds = sum(os.times()[:4]) - begin
    posterior.save(path)
    return posterior, seconds


def measured(posterior: neyman.Posterior, k: int, datasets: int, seed: int) -> dict[str, Any]:
    """Compare with the exact posterior on datasets of k elements, at parameters of the prior.

    Args:
        posterior: the learned one.
        k: how many elements.
        datasets: how many.
        seed: of theirs.

    Returns:
        For each parameter: the exact width; the median of the learned one over it and its 16 and 84 % quantiles; the
        standard deviation of the pulls ``(mean - theta)/width``; the r.m.s. distance of the learned mean from the exact
        one in exact widths.
    """
    rng = np.random.default_rng([seed, k])
    theta = np.stack([one.rvs(datasets, random_state=rng) for one in exact.PRIOR.values()], axis=1)
    x = [exact.sample_k(point, k, rng) for point in theta]
    means, covariances = posterior.moments(posterior.encode_many(np.concatenate(x), k * np.arange(datasets + 1)))
    widths, right = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)), exact.width(k)
    low, middle, high = np.quantile(widths / right, [0.16, 0.5, 0.84], axis=0)
    return {
        "elements": k,
        "exact": right.tolist(),
        "ratio": middle.tolist(),
        "16 %": low.tolist(),
        "84 %": high.tolist(),
        "pull": np.std((means - theta) / widths, axis=0).tolist(),
        "distance": np.sqrt(np.mean(((means - exact.mean(x)) / right) ** 2, axis=0)).tolist(),
    }


def sequence(posterior: neyman.Posterior, stream: Array) -> tuple[Array, Array]:
    """Return means and widths after every element of a stream, each encoded once: their summaries add up.

    Args:
        posterior: of a network whose summaries add.
        stream: its elements, shape ``(k, 15)``.

    Returns:
        Two arrays of shape ``(k, 3)``.
    """
    summaries = list(itertools.accumulate((posterior.encode(one[None]) for one in stream), operator.add))
    means, covariances = posterior.moments(summaries)
    return means, np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))


def draw_widths(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the widths against the number of elements, and below them those learned over the exact ones.

    Args:
        runs: for each network, its name and what :func:`measured` gives at each number of elements.
        path: of the picture.
    """
    figure = style.NotebookFigure(figsize=(9.6, 5.2), layout="constrained")
    panels = figure.subplots(2, len(exact.NAMES), sharex=True, sharey="row", height_ratios=(1.5, 1))
    k = np.array(exact.CARDINALITIES)
    for i, (upper, lower) in enumerate(panels.T):
        upper.plot(k, exact.width(k)[:, i], color="black", linewidth=1, label="exact")
        lower.axhspan(0.98, 1.02, color="#DDDDDD", linewidth=0)
        lower.axhline(1.0, color="black", linewidth=1)
        for n, run in enumerate(runs):
            right, ratio, low, high = (
                np.array([point[key][i] for point in run["points"]]) for key in ("exact", "ratio", "16 %", "84 %")
            )
            marker = {"color": style.COLOURS[n], "marker": style.MARKERS[n], "linestyle": "none", "markersize": 4}
            x = k * 1.07 ** (n - (len(runs) - 1) / 2)  # beside each other
            for ax, scale in ((upper, right), (lower, np.ones_like(right))):
                y, errors = ratio * scale, [(ratio - low) * scale, (high - ratio) * scale]
                ax.errorbar(x, y, errors, label=run["network"], **marker)
        upper.set(xscale="log", yscale="log")
        lower.set(ylim=(0.92, 1.08), xlabel="elements")
        lower.xaxis.set_major_locator(FixedLocator([1, 5, 20, 100]))
        lower.xaxis.set_major_formatter(ScalarFormatter())
        lower.xaxis.set_minor_locator(NullLocator())
        style.add_legend(upper, minor="none", width=3.0, title=rf"$\theta_{i + 1}$")
        style.add_ticks(lower, "y")
    panels[0, 0].set_ylabel("width of the posterior")
    panels[1, 0].set_ylabel("over the exact one")
    figure.savefig(path, dpi=120)


def draw_sequence(learned: Mapping[str, tuple[Array, Array]], stream: Array, path: Path) -> None:
    """Draw the posteriors after every element of a stream.

    Args:
        learned: by network, what :func:`sequence` gives.
        stream: its elements.
        path: of the picture.
    """
    k = np.arange(1, len(stream) + 1)
    right, width = exact.mean([stream[:n] for n in k]), exact.width(k)
    figure = style.NotebookFigure(figsize=(9.6, 3.4), layout="constrained")
    for i, ax in enumerate(figure.subplots(1, len(exact.NAMES))):
        edges = (right[:, i] - width[:, i], right[:, i] + width[:, i])
        ax.fill_between(k, *edges, color=style.SKY, alpha=0.4, linewidth=0, label="exact, 68 %")
        ax.plot(k, right[:, i], color=style.BLUE, linewidth=1)
        for n, (name, (mean, sigma)) in enumerate(learned.items()):
            line = {"color": style.COLOURS[1 + n], "linestyle": "--" if n == 0 else ":"}
            ax.plot(k, mean[:, i], linewidth=1, label=name, **line)
            ax.plot(k, mean[:, i] - sigma[:, i], k, mean[:, i] + sigma[:, i], linewidth=1.2, **line)
        ax.axhline(TRUTH[i], color="black", linewidth=0.8, linestyle=":")
        ax.set(xscale="log", xlabel="elements seen", ylabel=rf"$\theta_{i + 1}$")
        style.add_legend(ax, minor="y", width=3.0)
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", default=["deepset", "transformer"])
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where the files of the posteriors are kept")
    parser.add_argument("--datasets", type=int, default=1000, help="at every number of elements")
    parser.add_argument("--output", type=Path, help="a file for the numbers, which are printed otherwise")
    parser.add_argument("--figure", type=Path, help="a file for the picture of the widths")
    parser.add_argument("--sequence", type=Path, help="a file for the picture of a stream")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    stream, runs, followed = exact.sample_k(TRUTH, max(SEEN), np.random.default_rng(3)), [], {}
    for name in options.network:
        posterior, seconds = trained(name, options.seed, options.folder)
        points = [measured(posterior, k, options.datasets, seed=1) for k in exact.CARDINALITIES]
        runs.append({"network": name, "seed": options.seed, "seconds": seconds, "points": points})
        if posterior.network.encoder.additive:
            followed[name] = sequence(posterior, stream)
            rows = np.array(SEEN) - 1
            kept = {key: values[rows].tolist() for key, values in zip(("mean", "width"), followed[name], strict=True)}
            runs[-1]["sequence"] = {"elements": list(SEEN), **kept}
    text = json.dumps(runs, indent=1)
    if options.output:
        options.output.write_text(text + "\n")
    else:
        sys.stdout.write(text + "\n")
    if options.figure:
        draw_widths(runs, options.figure)
    if options.sequence:
        draw_sequence(followed, stream, options.sequence)


if __name__ == "__main__":
    main()
