"""Compare learned likelihoods of a narrow resonance of unknown mass with the exact one.

``python run.py --network deepset --figure profiles.png``: at every point (s, m), the width of the 68 % interval of s,
the bias, the test statistic at the truth and the coverage, on exact toys. Both likelihoods have many maxima in m: every
fit starts from the best points of a grid. The model files are kept in ``--folder`` and used again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import comparison
import exact
import numpy as np
from numpy.typing import NDArray

from neyman.results.figures import style

STARTS = {"s": np.linspace(0.05, 0.65, 7), "m": np.linspace(-2.9, 4.9, 79)}  # m: a signal's width apart
FRACTIONS = np.linspace(0.0, 0.7, 57)  # of the picture

Array = NDArray[np.float64]


def toys(point: tuple[float, float], n: int, seed: int) -> tuple[list[Array], Array]:
    """Draw datasets, as a model holds them in single precision, and their auxiliary data, shape ``(n, 1)``."""
    rng = np.random.default_rng([seed, exact.POINTS.index(point)])
    datasets = [exact.sample(point, rng).astype(np.float32) for _ in range(n)]
    return datasets, np.array([exact.auxdata(point, rng) for _ in datasets])


def measure(model: Any, n: int, seed: int) -> dict[str, Any]:
    """Return what :func:`comparison.compare` gives, by point."""
    found = {}
    for point in exact.POINTS:
        datasets, auxdata = toys(point, n, seed)
        learned = comparison.fits(model, datasets, point[0], list(auxdata), STARTS)
        reference = comparison.exact_fits(exact, datasets, point[0], aux=auxdata[:, 0])
        found[f"s = {point[0]:g}, m = {point[1]:g}"] = comparison.compare(learned, reference)
    return found


def profile(model: Any, x: Array, auxdata: Array) -> Array:
    """Return -2 log of the profile likelihood ratio of a model at ``FRACTIONS``."""
    data = comparison.pack(model, x, auxdata)
    minimum = comparison.deepest(model, data, STARTS, {})[1]
    masses = {"m": STARTS["m"]}
    held = np.array([comparison.deepest(model, data, masses, {"s": s})[1] for s in FRACTIONS])
    return held - min(minimum, held.min())


def draw(models: dict[str, Any], path: Path, seed: int) -> None:
    """Draw the exact and the learned profile likelihoods of one dataset at each point."""
    figure = style.NotebookFigure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for ax, point in zip(axes.flat, exact.POINTS, strict=True):
        datasets, auxdata = toys(point, 1, seed)
        t, _ = exact.profile(datasets[0], FRACTIONS, float(auxdata[0, 0]))
        ax.plot(FRACTIONS, t, color="black", linewidth=2.5, alpha=0.5, label="exact")
        for k, (name, model) in enumerate(models.items()):
            ax.plot(FRACTIONS, profile(model, datasets[0], auxdata[0]), "--", color=style.COLOURS[k], label=name)
        ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
        ax.axvline(point[0], color=style.GREY, linewidth=0.8, linestyle=":")
        ax.set(ylim=(0.0, 9.0), xlim=(0.0, FRACTIONS[-1]), title=f"s = {point[0]:g}, m = {point[1]:g}")
        style.add_ticks(ax)
    style.add_legend(axes[0, 0])
    figure.supxlabel("signal fraction s")
    figure.supylabel("-2 log of the profile likelihood ratio")
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = comparison.command_line(__doc__, toys=100).parse_args(arguments)
    models = {name: comparison.trained(exact, name, options.seed, options.folder) for name in options.network}
    runs: list[dict[str, Any]] = [
        {"network": name, "seed": options.seed, "points": measure(model, options.toys, 1)}
        for name, model in models.items()
    ]
    comparison.write(runs, options.output)
    if options.figure:
        draw(models, options.figure, seed=2)


if __name__ == "__main__":
    main()
