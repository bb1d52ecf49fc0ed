"""Compare learned likelihoods of a narrow resonance of unknown mass with the exact one.

``python run.py --network deepset --figure profiles.png``: at every point (s, m), the width of the 68 % interval of s,
the bias, the test statistic at the truth and the coverage, on exact toys; and the coverage of a Neyman construction on
toys. Both likelihoods have many maxima in m: they are profiled on a grid. The model files are kept in ``--folder`` and
used again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import comparison
import exact
import grid
import numpy as np
from numpy.typing import NDArray

from neyman.results.figures import style

SHOWN = np.linspace(0.0, 0.7, 57)  # of the picture
CALIBRATED = np.linspace(exact.LOW, exact.HIGH, 17)  # the m that toys are thrown at to calibrate t

Array = NDArray[np.float64]


def toys(point: tuple[float, float], n: int, seed: int, stream: int = 0) -> tuple[list[Array], Array]:
    """Draw datasets, as a model holds them in single precision, and their auxiliary data, shape ``(n,)``."""
    rng = np.random.default_rng([seed, stream])
    datasets = [exact.sample(point, rng).astype(np.float32) for _ in range(n)]
    return datasets, np.array([exact.auxdata(point, rng)[0] for _ in datasets])


def calibrated(heights: grid.Heights, s: float, n: int, seed: int) -> Array:
    """Return the 68 % points of t at s on toys at s and each of ``CALIBRATED``, shape ``(17,)``."""
    found = []
    for k, m in enumerate(CALIBRATED):
        found.append(np.quantile(grid.profiles(heights, *toys((s, m), n, seed, k)).t(s), comparison.LEVEL))
    return np.array(found)


def measure(heights: grid.Heights, n: int, seed: int) -> dict[str, Any]:
    """Return what :func:`comparison.compare` gives, by point, and the coverage with toys: both with ``n`` of them."""
    found = {}
    for k, point in enumerate(exact.POINTS):
        datasets, auxdata = toys(point, n, seed, k)
        learned = grid.profiles(heights, datasets, auxdata)
        reference = comparison.exact_fits(exact, datasets, point[0], aux=auxdata)
        result = comparison.compare(learned.fits(point[0]), reference)
        critical = calibrated(heights, point[0], n, seed + 1)
        inside = learned.t(point[0]) <= np.interp(learned.mass(point[0]), CALIBRATED, critical)
        result["coverage with toys"] = comparison.fraction(inside)
        found[f"s = {point[0]:g}, m = {point[1]:g}"] = result
    return found


def draw(likelihoods: dict[str, grid.Heights], path: Path, seed: int) -> None:
    """Draw the exact and the learned profile likelihoods of one dataset at each point."""
    figure = style.NotebookFigure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    for k, (ax, point) in enumerate(zip(axes.flat, exact.POINTS, strict=False)):
        datasets, auxdata = toys(point, 1, seed, k)
        t, _ = exact.profile(datasets[0], SHOWN, float(auxdata[0]))
        ax.plot(SHOWN, t, color="black", linewidth=2.5, alpha=0.5, label="exact")
        for row, (name, heights) in enumerate(likelihoods.items()):
            learned = grid.profiles(heights, datasets, auxdata).t(SHOWN)[0]
            ax.plot(SHOWN, learned, "--", color=style.COLOURS[row], label=name)
        ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
        ax.axvline(point[0], color=style.GREY, linewidth=0.8, linestyle=":")
        ax.set(ylim=(0.0, 9.0), xlim=(0.0, SHOWN[-1]), title=f"s = {point[0]:g}, m = {point[1]:g}")
        style.add_ticks(ax)
    for ax in axes.flat[len(exact.POINTS) :]:
        ax.set_axis_off()
    axes[-1, -1].legend(*axes[0, 0].get_legend_handles_labels(), loc="center", frameon=False)
    for ax in axes[:, 0]:
        ax.set_ylabel("-2 log of profile ratio")
    figure.supxlabel("signal fraction s")
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = comparison.command_line(__doc__, toys=300).parse_args(arguments)
    likelihoods: dict[str, grid.Heights] = {
        name: grid.exact_heights
        if name == "exact"
        else grid.learned_heights(comparison.trained(exact, name, options.seed, options.folder))
        for name in options.network
    }
    runs: list[dict[str, Any]] = [
        {"network": name, "seed": options.seed, "points": measure(heights, options.toys, 1)}
        for name, heights in likelihoods.items()
    ]
    comparison.write(runs, options.output)
    if options.figure:
        draw(likelihoods, options.figure, seed=2)


if __name__ == "__main__":
    main()
