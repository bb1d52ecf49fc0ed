"""Compare learned likelihoods of the hierarchical Gaussian with the exact one, and update one group by group.

``python run.py --network deepset event --figure widths.png --sequence sequence.png``: for every number of groups, the
width of the 68 % interval of theta_1, the bias, the test statistic at the truth and the coverage, on exact toys. The
model files are kept in ``--folder`` and used again. :func:`sequence` follows one stream of groups by adding summaries.
"""

from __future__ import annotations

import functools
import operator
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import comparison
import exact
import numpy as np
from numpy.typing import NDArray

import neyman
from neyman.results.figures import style

REACH = 1.5  # the true parameters are uniform within this
TRUTH = (0.5, -0.5, 1.0)  # of the stream
STEPS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200)  # groups after which the stream is fitted

Array = NDArray[np.float64]


def stream(seed: int) -> list[Array]:
    """Draw 200 groups, each of shape ``(5, 3)``."""
    rng = np.random.default_rng(seed)
    return [exact.sample_n(TRUTH, 1, rng) for _ in range(max(STEPS))]


def sequence(model: Any, groups: list[Array]) -> dict[str, list[float]]:
    """Fit after some of the groups: each is encoded once, and the summaries add up.

    Args:
        model: a trained model.
        groups: the groups in the order they come in, each of shape ``(5, 3)``.

    Returns:
        The best fit of theta_1 and the ends of its 68 % interval after each of ``STEPS``.
    """
    found: dict[str, list[float]] = {"best": [], "low": [], "high": []}
    summary = None
    for before, after in zip((0, *STEPS), STEPS, strict=False):
        new = [model.encode(neyman.Ensemble({"events": neyman.Events(x)})) for x in groups[before:after]]
        summary = functools.reduce(operator.add, new if summary is None else [summary, *new])
        result = neyman.fit(summary, model, minos=[exact.POI])
        best = float(result[exact.POI])
        down, up = result.minos[exact.POI]
        for key, value in (("best", best), ("low", best + down), ("high", best + up)):
            found[key].append(value)
    return found


def draw_sequence(learned: dict[str, dict[str, list[float]]], groups: list[Array], path: Path) -> None:
    """Draw the interval of theta_1 against the number of groups seen.

    Args:
        learned: by network, what :func:`sequence` gives.
        groups: the groups.
        path: of the picture.
    """
    seen = [np.concatenate(groups[:n]) for n in STEPS]
    ends, best = exact.interval(seen), exact.best_fit(seen)[:, 0]
    figure, ax = style.single(6, 4)
    ax.fill_between(STEPS, ends[:, 0], ends[:, 1], color=style.SKY, alpha=0.4, linewidth=0, label="exact, 68 %")
    ax.plot(STEPS, best, color=style.BLUE)
    for k, (name, values) in enumerate(learned.items()):
        middle, low, high = (np.array(values[key]) for key in ("best", "low", "high"))
        x = np.array(STEPS) * 1.05 ** (k + 1)  # beside the exact ones
        marker = {"color": style.COLOURS[1 + k], "marker": style.MARKERS[k], "linestyle": "none", "markersize": 5}
        ax.errorbar(x, middle, [middle - low, high - middle], label=f"{name}, summaries added", **marker)
    ax.axhline(TRUTH[0], color="black", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", xlabel="groups seen", ylabel=r"$\theta_1$")
    style.add_legend(ax, minor="y")
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = comparison.command_line(__doc__, toys=300)
    parser.add_argument("--sequence", type=Path, help="a file for the picture of the stream (not of event networks)")
    options = parser.parse_args(arguments)
    models = {name: comparison.trained(exact, name, options.seed, options.folder) for name in options.network}
    runs: list[dict[str, Any]] = [
        {
            "network": name,
            "seed": options.seed,
            "points": comparison.by_cardinality(exact, model, options.toys, 1, REACH),
        }
        for name, model in models.items()
    ]
    if options.sequence:
        groups = stream(seed=2)
        followed = {name: sequence(models[name], groups) for name in models if name == "deepset"}
        for run in runs:
            if run["network"] in followed:
                run["sequence"] = {"groups": list(STEPS), **followed[run["network"]]}
        draw_sequence(followed, groups, options.sequence)
    comparison.write(runs, options.output)
    if options.figure:
        comparison.draw_widths(runs, options.figure, "groups", r"median width of the 68 % interval of $\theta_1$")


if __name__ == "__main__":
    main()
