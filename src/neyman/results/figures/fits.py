"""Figures of fits: pulls and correlations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from neyman.results import FitResult
from neyman.results.figures.style import BAND_68, BAND_95, NotebookFigure, add_ticks, array, single, wrapped

__all__ = ["correlations", "pulls"]


def __dir__() -> list[str]:
    return __all__


_NAME = 4.2  # inches that the name of a parameter may take
_FREE = 3.4  # inches of the panel of a free parameter


def pulls(result: FitResult) -> Figure:
    """Draw the constrained parameters in units of their constraints, and the free ones beside them.

    Args:
        result: a fit. Where it does not carry ``constraints``, a constrained parameter is taken to be constrained to
            0 +- 1.
    """
    labels = result.labels or ("constrained",) * len(result.names)
    constrained = [i for i, label in enumerate(labels) if label == "constrained"]
    free = [i for i, label in enumerate(labels) if label == "free"]
    # inches: rows of pulls beside their names, rows of free parameters with an axis each below theirs
    wide = 4.4 + _name_width(result, constrained)
    titles = [_free_title(result, i) for i in free]
    row = 0.45 + 0.17 * max((1 + title.count("\n") for title in titles), default=1)
    height = 1.0 + max(0.28 * max(len(constrained), 3), row * len(free))
    figure = NotebookFigure(
        figsize=(wide * bool(constrained) + _FREE * bool(free) or _FREE, height), layout="constrained"
    )
    left: FigureBase = figure
    right: FigureBase = figure
    if constrained and free:
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(wide, _FREE))[0]
    if constrained:
        _pull_panel(left.subplots(), result, constrained)
    if free:
        grid = right.add_gridspec(max(len(free), int(height / row)), 1)
        for k, (i, title) in enumerate(zip(free, titles, strict=True)):
            _free_panel(right.add_subplot(grid[k, 0]), result, i, title)
    return figure


def _pull_panel(ax: Axes, result: FitResult, indices: Sequence[int]) -> None:
    names = [result.names[i] for i in indices]
    centre, width = np.array([result.constraints.get(name, (0.0, 1.0)) for name in names], dtype=float).T
    y = np.arange(len(names))[::-1]
    pull = (result.bestfit[indices] - centre) / width
    error = _errors(result, indices) / width
    reach = max(2.4, 1.08 * float(np.nanmax(np.abs(pull) + error.max(axis=0))))
    for low, high, colour in ((-2, -1, BAND_95), (-1, 1, BAND_68), (1, 2, BAND_95)):
        ax.axvspan(low, high, color=colour, alpha=0.5, linewidth=0)
    ax.axvline(0, color="black", linestyle=":", linewidth=1)
    ax.errorbar(pull, y, xerr=error, fmt="o", color="black", markersize=4.5, linewidth=1.4)
    ax.set(xlabel=r"$(\hat{\theta} - \theta_0)\,/\,\Delta\theta$", xlim=(-reach, reach), ylim=(-0.7, len(names) - 0.3))
    ax.set_yticks(y, [wrapped(name, _NAME, lines=1) for name in names])
    add_ticks(ax, minor="x")


def _free_title(result: FitResult, i: int) -> str:
    name, shown, uncertainty, minos = result.rows()[i]
    errors = "$^{{{1}}}_{{{0}}}$".format(*minos.split()) if minos else f"$\\pm$ {uncertainty}"
    value = f"{shown} {errors}"
    both = f"{wrapped(name, _FREE, lines=1)} = {value}"
    fits = len(name) + len(shown) + 2 * len(uncertainty) < 36
    return both if fits else f"{wrapped(name, _FREE, lines=2)}\n= {value}"


def _free_panel(ax: Axes, result: FitResult, i: int, title: str) -> None:
    down, up = _errors(result, [i])[:, 0]
    value = float(result.bestfit[i])
    ax.errorbar([value], [0], xerr=[[down], [up]], fmt="o", color="black", markersize=4.5, linewidth=1.4)
    reach = 1.6 * max(down, up) or 1.0
    ax.set_title(title, fontsize="small", pad=3)
    ax.set(xlim=(value - reach, value + reach), ylim=(-1, 1), yticks=[])
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.tick_params(labelsize="x-small", direction="in")
    ax.spines[["left", "right", "top"]].set_visible(False)


def correlations(result: FitResult) -> Figure:
    """Draw the correlation matrix of the parameters that were not held fixed.

    Args:
        result: a fit.
    """
    kept = [i for i in range(len(result.names)) if result.covariance[i, i] > 0]
    correlation = result.correlations[np.ix_(kept, kept)]
    n, label = len(kept), _name_width(result, kept)
    figure, ax = single(1.6 + label + 0.45 * max(n, 4), 0.8 + 0.75 * label + 0.45 * max(n, 4))
    image = ax.imshow(correlation, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
    names = [wrapped(result.names[i], _NAME, lines=1) for i in kept]
    ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n), names)
    ax.tick_params(length=0)
    for (row, column), value in np.ndenumerate(correlation):
        if abs(value) >= 0.005:
            colour = "white" if abs(value) > 0.6 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize="x-small", color=colour)
    figure.colorbar(image, ax=ax, label="correlation")
    return figure


def _name_width(result: FitResult, indices: Sequence[int]) -> float:
    """Return how many inches the names of parameters take."""
    return min(0.085 * max((len(result.names[i]) for i in indices), default=0) + 0.2, _NAME)


def _errors(result: FitResult, indices: Sequence[int]) -> NDArray[np.float64]:
    """Return how far each interval reaches down and up, shape ``(2, len(indices))``: MINOS where known."""
    errors = []
    for i in indices:
        sigma = float(result.uncertainty[i])
        down, up = result.minos.get(result.names[i], (-sigma, sigma))
        errors.append((abs(down), abs(up)))
    return array(np.nan_to_num(np.array(errors, dtype=float).T))
