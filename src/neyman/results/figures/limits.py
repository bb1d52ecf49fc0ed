"""Figures of upper limits and of single hypotheses: CLs and significances with their expected bands."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from neyman.results import ClsResult, LimitResult, SignificanceResult
from neyman.results.figures.style import BAND_68, BAND_95, VERMILLION, add_legend, array, single, wrapped

__all__ = ["cls", "limit", "significance"]


def __dir__() -> list[str]:
    return __all__


def limit(result: LimitResult) -> Figure:
    """Draw observed and expected CLs against the POI, and the limits: where it is one minus the level.

    Args:
        result: a limit with its scan.
    """
    figure, ax = single(6.4, 4.8)
    x, expected = result.scan, array(result.cls_expected)
    threshold = 1.0 - result.level
    floor = threshold / 20
    ax.fill_between(x, expected[:, 0], expected[:, 4], color=BAND_95, linewidth=0)
    ax.fill_between(x, expected[:, 1], expected[:, 3], color=BAND_68, linewidth=0)
    ax.plot(x, expected[:, 2], "--", color="black")
    ax.plot(x, result.cls_observed, "-o", markersize=3.5, color="black")
    ax.axhline(threshold, color=VERMILLION, linewidth=1.2)
    for value, line in ((result.observed, "-"), (float(result.expected[2]), "--")):
        ax.plot([value, value], [floor, threshold], line, color="black", linewidth=1)
        ax.plot(value, threshold, "D", color=VERMILLION, markeredgecolor="white", zorder=5)
    down2, down1, median, up1, up2 = result.expected
    handles = [
        Line2D([], [], color="black", marker="o", markersize=3.5, label=f"observed, limit {result.observed:.3g}"),
        Line2D([], [], color="black", linestyle="--", label=f"expected, limit {median:.3g}"),
        Patch(color=BAND_68, label=f"68 %: {down1:.3g} to {up1:.3g}"),
        Patch(color=BAND_95, label=f"95 %: {down2:.3g} to {up2:.3g}"),
        Line2D([], [], color=VERMILLION, marker="D", markeredgecolor="white", label=f"CL$_s$ = {threshold:g}"),
    ]
    ax.set(xlabel=wrapped(result.name, 5.4), ylabel="CL$_s$", xlim=(x[0], x[-1]), ylim=(floor, 1.15), yscale="log")
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    add_legend(ax, handles=handles, minor="x")
    ax.tick_params(axis="y", which="minor", length=2)
    return figure


def cls(result: ClsResult) -> Figure:
    """Draw the observed CLs of one value of the parameter of interest above its expected band.

    Args:
        result: the CLs.
    """
    figure, ax = _strip(result.observed, array(result.expected), "CL$_s$")
    ax.axvline(0.05, color=VERMILLION, linewidth=1.2, label="CL$_s$ = 0.05, excluded at 95 % below")
    shown = [x for x in (result.observed, *result.expected) if x > 0]
    ax.set(xscale="log", xlim=(max(min([*shown, 0.05]) / 2, 1e-12), 1.3))
    add_legend(ax, title=wrapped(f"{result.name} = {result.value:g}", 6.0), minor="")
    return figure


def significance(result: SignificanceResult) -> Figure:
    """Draw the significance of a discovery, above the band about the expected one where this is known.

    The band is one standard deviation wide to each side, and two (arXiv:1007.1727, section 4.3).

    Args:
        result: the significance.
    """
    title = wrapped(f"discovery of {result.name}: p = {result.p_value:.3g}", 6.0)
    if result.p_error > 0:
        title += f" $\\pm$ {result.p_error:.1g}"
    band = array(result.expected + np.arange(-2.0, 3.0))
    figure, ax = _strip(result.significance, band, "significance in standard deviations", result.error)
    known = [0.0, *(x for x in (result.significance, *band) if np.isfinite(x))]
    for sigma in (3, 5):
        if sigma < max(known) + 1:
            ax.axvline(sigma, color=VERMILLION, linewidth=1.2, linestyle=":")
    ax.set(xlim=(min(known) - 0.25, max(known) + 0.5))
    add_legend(ax, title=title, minor="x")
    return figure


def _strip(observed: float, expected: NDArray[np.float64], label: str, error: float = 0.0) -> tuple[Figure, Axes]:
    """Return a figure of one observed number and the expected band along the horizontal axis."""
    figure, ax = single(6.4, 2.3)
    down2, down1, median, up1, up2 = expected
    if np.isfinite(median):
        for low, high, colour, percent in ((down2, up2, BAND_95, 95), (down1, up1, BAND_68, 68)):
            shown = f"{percent} %: {low:.3g} to {high:.3g}"
            ax.fill_between([low, high], 0.15, 0.45, color=colour, linewidth=0, label=shown)
        ax.plot([median, median], [0.15, 0.45], "--", color="black", label=f"expected {median:.3g}")
    ax.errorbar(observed, 0.3, xerr=error, fmt="o", color="black", markersize=6, label=f"observed {observed:.3g}")
    ax.set(xlabel=label, ylim=(0, 0.6), yticks=[])
    return figure, ax
