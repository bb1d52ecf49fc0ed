"""Learn the posterior of dark matter's subhalos from images of strong lenses, and see how far it can be trusted.

``python run.py --folder .``: trains an encoder on single images and then a posterior for 1 to 25 lenses, measures its
width against the number of lenses, ranks global and local parameters of fresh datasets, and draws pictures of it all.
What is trained is kept in ``--folder`` and used again.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import lenses
import numpy as np
import torch
from encoder import LensEncoder, pretrained
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

import neyman
from neyman.results.figures import style

NUMBERS = (1, 2, 5, 10, 25)  # of lenses, where the widths are measured
SHOWN = (-2.0, 12.0)  # the parameters of the datasets in the pictures

Array = NDArray[np.float64]


def simulator() -> neyman.Simulator:
    """Return the simulator, with what is local to a lens."""
    return neyman.Simulator(
        lenses.sample, lenses.PARAMETERS, lenses.POI, lenses.FEATURES,
        prior=lenses.PRIOR, locals=lenses.LOCALS, event_shape=lenses.EVENT_SHAPE,
    )  # fmt: skip


def trained(folder: Path, images: int, steps: int, datasets: int, set_steps: int, seed: int) -> neyman.Posterior:
    """Return the posterior, from its file if there is one."""
    path = folder / f"lensing-{seed}.posterior"
    if path.exists():
        return neyman.Posterior.load(path, network=LensEncoder)
    begin = _seconds()
    weights = folder / f"encoder-{seed}.pt"
    encoder = LensEncoder(lenses.EVENT_SHAPE)
    if weights.exists():
        encoder.load_state_dict(torch.load(weights, weights_only=True))
    else:
        encoder, history = pretrained(images, steps, seed)
        torch.save(encoder.state_dict(), weights)
        (folder / f"encoder-{seed}.json").write_text(json.dumps(history, indent=1))
    middle = _seconds()
    options = {"kind": encoder, "datasets": datasets, "fresh": 0, "steps": set_steps, "batch_size": 64}
    options |= {"learning_rate": 1e-3, "local_steps": 500, "flow_steps": 2000}
    posterior = neyman.train_posterior(simulator(), options, seed=seed, progress=True, cache=folder / "datasets")
    posterior.save(path)
    seconds = {"encoder": middle - begin, "posterior": _seconds() - middle}
    (folder / f"seconds-{seed}.json").write_text(json.dumps(seconds))
    return posterior


def widths(posterior: neyman.Posterior, datasets: int, seed: int) -> list[dict[str, Any]]:
    """Return, for each number of lenses, the widths of the posteriors of datasets from the prior, and their pulls."""
    found = []
    for n in NUMBERS:
        rng = np.random.default_rng([seed, n])
        theta = np.column_stack([prior.rvs(datasets, random_state=rng) for prior in lenses.PRIOR.values()])
        x = np.concatenate([lenses.sample_n(pars, n, rng)[0] for pars in theta]).reshape(n * datasets, -1)
        sums = posterior.encode_many(x.astype(np.float32), n * np.arange(datasets + 1))
        means, covariances = posterior.moments(sums)
        width = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        low, middle, high = np.quantile(width, [0.16, 0.5, 0.84], axis=0)
        draws = posterior.sample_many(sums, 500, seed)
        ranks = (draws < theta[:, None]).mean(axis=1)
        inside = {level: (np.abs(ranks - 0.5) < level / 2).mean(axis=0).tolist() for level in (0.68, 0.95)}
        found.append(
            {
                "lenses": n, "width": middle.tolist(), "16 %": low.tolist(), "84 %": high.tolist(),
                "r.m.s. error": np.sqrt(((means - theta) ** 2).mean(axis=0)).tolist(),
                "pull": ((means - theta) / width).std(axis=0).tolist(), "covered": inside, "ranks": ranks.tolist(),
            }
        )  # fmt: skip
    return found


def locals_of(posterior: neyman.Posterior, datasets: int, seed: int) -> dict[str, Any]:
    """Return ranks, widths and errors of what is local to single lenses, of datasets from the prior."""
    rng = np.random.default_rng([seed, 0])
    ranks, width, error = [], [], []
    for k in range(datasets):
        pars = np.array([prior.rvs(random_state=rng) for prior in lenses.PRIOR.values()])
        x, truth = lenses.sample_n(pars, 5, rng)
        draws = posterior.sample_locals(x, 400, k)
        values = np.stack([draws[name] for name in lenses.LOCALS], axis=-1)  # (n, lenses, 4)
        ranks.append((values < truth).mean(axis=0))
        width.append(values.std(axis=0))
        error.append(values.mean(axis=0) - truth)
    ranks_, width_, error_ = (np.concatenate(one) for one in (ranks, width, error))
    return {
        "width": np.median(width_, axis=0).tolist(),
        "r.m.s. error": np.sqrt((error_**2).mean(axis=0)).tolist(),
        "covered": {level: (np.abs(ranks_ - 0.5) < level / 2).mean(axis=0).tolist() for level in (0.68, 0.95)},
        "ranks": ranks_.tolist(),
    }


def draw_images(path: Path, seed: int) -> None:
    """Draw images of lenses, and what the subhalos change in them."""
    rng = np.random.default_rng(seed)
    figure = style.NotebookFigure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(2, 6)
    for above, below in axes.T:
        _, local = lenses.sample_n(SHOWN, 1, rng)
        masses, places = lenses.subhalos(SHOWN, rng)
        clean = lenses.image(local[0], masses, places)
        smooth = lenses.image(local[0], masses[:0], places[:0])
        above.imshow(clean + rng.normal(0, lenses.NOISE, clean.shape), origin="lower", vmin=0, vmax=0.9, cmap="magma")
        below.imshow(clean - smooth, origin="lower", vmin=-0.2, vmax=0.2, cmap="RdBu")
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
    axes[0, 0].set_ylabel("image")
    axes[1, 0].set_ylabel("by subhalos")
    figure.savefig(path, dpi=110)


def draw_widths(found: list[dict[str, Any]], path: Path) -> None:
    """Draw the width of the abundance's and the slope's posterior against the number of lenses."""
    figure = style.NotebookFigure(figsize=(7, 3), layout="constrained")
    labels = ("slope of the subhalos' masses", "abundance of subhalos")
    for k, (ax, label) in enumerate(zip(figure.subplots(1, 2), labels, strict=True)):
        n = [one["lenses"] for one in found]
        ax.fill_between(n, [one["16 %"][k] for one in found], [one["84 %"][k] for one in found], alpha=0.25)
        ax.plot(n, [one["width"][k] for one in found], "o-", label="posterior, median and 68 %")
        ax.plot(n, [one["r.m.s. error"][k] for one in found], "x", color="black", label="r.m.s. error of its mean")
        ax.axhline(list(lenses.PRIOR.values())[k].std(), color=style.GREY, linestyle=":", label="prior")
        ax.set(xscale="log", xlabel="lenses", ylabel=f"width: {label}", ylim=(0, None))
        ax.set_xticks(n, [str(one) for one in n])
        ax.xaxis.set_minor_locator(NullLocator())  # those of the style are linear
    style.add_legend(ax)
    figure.savefig(path, dpi=110)


def draw_ranks(found: list[dict[str, Any]], local: dict[str, Any], path: Path) -> None:
    """Draw how often the truth is below each quantile of the posterior: on the diagonal if it is calibrated."""
    figure = style.NotebookFigure(figsize=(7, 3.2), layout="constrained")
    all_ranks = np.concatenate([np.array(one["ranks"]) for one in found])
    groups = (("global", [*lenses.PRIOR], all_ranks), ("local", lenses.LOCALS, np.array(local["ranks"])))
    for ax, (title, names, ranks) in zip(figure.subplots(1, 2, sharey=True), groups, strict=True):
        level = np.linspace(0, 1, 101)
        for k, name in enumerate(names):
            below = (ranks[:, k] <= level[:, None]).mean(axis=1)
            ax.plot(level, below - level, label=name, color=style.COLOURS[k])
        band = 2 * np.sqrt(level * (1 - level) / len(ranks))
        ax.fill_between(level, -band, band, color=style.GREY, alpha=0.2)
        ax.set(xlabel=f"quantile of the posterior, {title}", ylim=(-0.12, 0.12))
        style.add_legend(ax)
    figure.axes[0].set_ylabel("truth below, less the quantile")
    figure.savefig(path, dpi=110)


def _seconds() -> float:
    return sum(os.times()[:4])  # of this process and of those of the simulation


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(), help="what is trained, results and pictures")
    parser.add_argument("--images", type=int, default=120_000, help="single images of the encoder's training")
    parser.add_argument("--steps", type=int, default=14_000, help="of the encoder's training")
    parser.add_argument("--datasets", type=int, default=16_000, help="of the posterior's training")
    parser.add_argument("--set-steps", type=int, default=600, help="of the posterior's training, end to end")
    parser.add_argument("--measured", type=int, default=200, help="datasets for each figure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    posterior = trained(
        options.folder, options.images, options.steps, options.datasets, options.set_steps, options.seed
    )
    found, local = widths(posterior, options.measured, 1), locals_of(posterior, options.measured, 2)
    result = {"seed": options.seed, "global": found, "local": local}
    (options.folder / "results.json").write_text(json.dumps(result))
    draw_images(options.folder / "images.png", seed=3)
    draw_widths(found, options.folder / "widths.png")
    draw_ranks(found, local, options.folder / "ranks.png")
    x, _ = lenses.sample_n(SHOWN, 25, np.random.default_rng(4))
    draws = posterior.sample(x.reshape(25, -1), seed=5)
    draws.plot(truth=dict(zip(lenses.PRIOR, SHOWN, strict=True))).savefig(options.folder / "corner.png", dpi=110)
    print(draws)
    for one in found:
        print({key: value for key, value in one.items() if key != "ranks"})
    print({key: value for key, value in local.items() if key != "ranks"})


if __name__ == "__main__":
    main()
