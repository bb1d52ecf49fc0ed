"""Figures of profile likelihood scans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from neyman.results import ScanResult, rounded
from neyman.results.figures.style import BLUE, COLOURS, GREY, ORANGE, VERMILLION, add_legend, array, single, wrapped

__all__ = ["scan", "scans"]


def __dir__() -> list[str]:
    return __all__


def scan(result: ScanResult) -> Figure:
    """Draw a profile likelihood scan with its 68 % and 95 % levels.

    The levels are those of Wilks' theorem: 1.00 and 3.84 for one parameter, 2.30 and 5.99 for two.

    Args:
        result: a scan over one parameter or two.
    """
    figure, ax = single(6.4, 4.8)
    if isinstance(result.name, str):
        _scan_1d(ax, result)
    else:
        _scan_2d(ax, result)
    return figure


def _scan_1d(ax: Axes, result: ScanResult) -> None:
    order = np.argsort(array(result.values))
    x, q = array(result.values)[order], array(result.delta_twice_nll)[order]
    bestfit, uncertainty = float(np.asarray(result.bestfit)), float(np.asarray(result.uncertainty))
    low, high = float(x[0]), float(x[-1])
    top = float(np.clip(1.15 * np.nanmax(q), 5.0, 16.0))
    _levels(ax)
    if np.isfinite(uncertainty) and uncertainty > 0:
        fine = np.linspace(low, high, 400)
        parabola = ((fine - bestfit) / uncertainty) ** 2
        ax.plot(fine, parabola, "--", color=ORANGE, label="parabola of the Hessian")
    ax.plot(x, q, "-", marker="o", markersize=3.5, color=BLUE, label="profile likelihood")
    if low <= bestfit <= high:
        label = "best fit {} $\\pm$ {}".format(*rounded(bestfit, uncertainty))
        ax.plot(bestfit, 0, marker="D", color=VERMILLION, linestyle="none", clip_on=False, zorder=5, label=label)
    ax.set(xlabel=wrapped(result.name, 5.4), ylabel=r"$-2\,\Delta\log L$", xlim=(low, high), ylim=(0, top))
    add_legend(ax)


def scans(results: Mapping[str, ScanResult]) -> Figure:
    """Draw profile likelihood scans of one parameter in several analyses of the same data.

    Args:
        results: the scans, by the name to show.
    """
    figure, ax = single(6.4, 4.8)
    styles = ["-", (0, (4, 2)), "-.", (0, (1, 1))]
    for i, (name, result) in enumerate(results.items()):
        label = "{}: {} $\\pm$ {}".format(
            wrapped(name, 4.0, lines=1), *rounded(float(array(result.bestfit)), float(array(result.uncertainty)))
        )
        x, q = array(result.values), array(result.delta_twice_nll)
        ax.plot(x, q, color=COLOURS[i % len(COLOURS)], linestyle=styles[i % len(styles)], linewidth=2, label=label)
        ax.set(xlabel=wrapped(result.name, 5.4), xlim=(x.min(), x.max()))
    _levels(ax)
    ax.set(ylabel=r"$-2\,\Delta\log L$", ylim=(0, 8))
    add_legend(ax)
    return figure


def _levels(ax: Axes) -> None:
    """Mark the 68 % and 95 % levels of one parameter."""
    for level, percent in ((1.0, "68 %"), (3.84, "95 %")):
        ax.axhline(level, color=GREY, linestyle=":", linewidth=1)
        ax.annotate(percent, (1, level), (-4, 2), xycoords=ax.get_yaxis_transform(),
                    textcoords="offset points", ha="right", va="bottom", color=GREY)  # fmt: skip


def _scan_2d(ax: Axes, result: ScanResult) -> None:
    x, y = (array(axis) for axis in result.values)
    rows, columns = np.argsort(x), np.argsort(y)
    x, y, delta = x[rows], y[columns], array(result.delta_twice_nll)[np.ix_(rows, columns)]
    q = np.ma.masked_invalid(delta).T  # type: ignore[no-untyped-call]
    levels = (2.30, 5.99)
    ax.contourf(x, y, q, levels=(-np.inf, *levels), colors=[to_rgba(BLUE, 0.45), to_rgba(BLUE, 0.18)])
    ax.contour(x, y, q, levels=levels, colors=BLUE, linewidths=1.5, linestyles=["solid", "dashed"])
    bestfit = array(result.bestfit)
    handles: list[Any] = [
        Patch(facecolor=to_rgba(BLUE, 0.45), edgecolor=BLUE, linestyle="-", label="68 %"),
        Patch(facecolor=to_rgba(BLUE, 0.18), edgecolor=BLUE, linestyle="--", label="95 %"),
    ]
    handles += ax.plot(*bestfit, "D", color=VERMILLION, zorder=5, linestyle="none", label="best fit")
    ax.set(
        xlabel=wrapped(result.name[0], 5.4), ylabel=wrapped(result.name[1], 4.0), xlim=(x[0], x[-1]), ylim=(y[0], y[-1])
    )
    add_legend(ax, handles=handles)
