"""The figure of the checks of a posterior: ranks, expected coverage, TARP, and calibration in slices of the data."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neyman.exceptions import Unsupported
from neyman.results.figures.style import (
    BAND_68,
    BAND_95,
    COLOURS,
    GREY,
    MARKERS,
    NotebookFigure,
    add_legend,
    add_ticks,
    escaped,
    wrapped,
)
from neyman.results.posterior_checks import PosteriorReport

__all__ = ["posterior_checks"]


def __dir__() -> list[str]:
    return __all__


_BINS = 16
_SHOWN = 7  # parameters: of more, those that are furthest off


def posterior_checks(report: PosteriorReport) -> Figure:
    """Draw what fresh datasets say of a posterior.

    Above, the ranks of the truths among the draws, which should be flat, and how often central credible intervals hold
    the truth, less their level. Below, the same of regions about random points (TARP), and width and mean of the pulls
    in slices of the size of the data, or of the first that there are. Bands are what chance allows: of the ranks in 68
    and 95 % of the bins, of the curves anywhere in 95 % of all cases.

    Args:
        report: of the checks.

    Raises:
        Unsupported: if the checks failed, so that there is nothing to draw.
    """
    if not report.datasets:
        raise Unsupported("there is nothing to draw: the checks of the posterior failed")
    whole = {one["name"]: one for one in report.calibration if not one["axis"]}
    off = [min(whole[x]["bias_p"], whole[x]["width_p"]) if x in whole else 1.0 for x in report.names]
    shown = sorted(np.argsort(off, kind="stable")[:_SHOWN].tolist())
    figure = NotebookFigure(figsize=(8.4, 6.6), layout="constrained")
    axes = figure.subplots(2, 2)
    _ranks(axes[0, 0], report, shown)
    _coverage(axes[0, 1], report, shown)
    _tarp(axes[1, 0], report)
    _slices(axes[1, 1], report, shown)
    text = textwrap.fill(escaped(report.verdict), 120, max_lines=4, placeholder=" ...")
    figure.suptitle(text, fontsize="small", x=0.01, ha="left")
    return figure


def _ranks(ax: Axes, report: PosteriorReport, shown: list[int]) -> None:
    edges, reach = np.linspace(0.0, 1.0, _BINS + 1), 0.3
    for sigma, colour in ((2, BAND_95), (1, BAND_68)):
        ends = scipy.stats.binom.ppf(scipy.stats.norm.cdf([-sigma, sigma]), report.datasets, 1 / _BINS)
        ax.axhspan(*(ends * _BINS / report.datasets), color=colour, alpha=0.8, linewidth=0)
    for k, colour in zip(shown, COLOURS, strict=False):
        ranks = report.ranks[report.ranks[:, k] >= 0, k]
        heights = np.histogram((ranks + 0.5) / (report.draws + 1), edges)[0] * _BINS / max(len(ranks), 1)
        ax.stairs(heights, edges, color=colour, linewidth=1.3, label=wrapped(report.names[k], 2.0, lines=1))
        reach = max(reach, 1.2 * float(np.abs(heights - 1.0).max()))
    ax.set(xlabel="rank of the truth among the draws", ylabel="density", xlim=(0, 1))
    ax.set_ylim(max(1.0 - reach, 0.0), 1.0 + reach)
    add_legend(ax, width=3.4)


def _coverage(ax: Axes, report: PosteriorReport, shown: list[int]) -> None:
    x = 100 * report.levels
    band = 100 * float(report.bands[shown].max())
    ax.axhspan(-band, band, color=BAND_95, alpha=0.6, linewidth=0)
    ax.axhline(0.0, color=GREY, linewidth=1, linestyle="--")
    for k, colour in zip(shown, COLOURS, strict=False):
        ax.plot(x, 100 * (report.coverage[k] - report.levels), color=colour, linewidth=1.3)
    ax.set(xlabel="level of the credible interval [%]", ylabel="expected coverage - level [%]", xlim=(0, 100))
    add_ticks(ax)


def _tarp(ax: Axes, report: PosteriorReport) -> None:
    band = 100 * float(scipy.stats.kstwo.isf(0.05, report.datasets))
    ax.axhspan(-band, band, color=BAND_95, alpha=0.6, linewidth=0)
    ax.axhline(0.0, color=GREY, linewidth=1, linestyle="--")
    ax.plot(100 * report.levels, 100 * (report.tarp - report.levels), color="black", linewidth=1.3)
    ax.set(xlabel="level of regions about random points, TARP [%]", ylabel="coverage - level [%]", xlim=(0, 100))
    add_ticks(ax)


def _slices(ax: Axes, report: PosteriorReport, shown: list[int]) -> None:
    axis = next((one["axis"] for one in report.calibration if one["axis"]), "")
    for place, (k, colour) in enumerate(zip(shown, COLOURS, strict=False)):
        own = [one for one in report.calibration if one["name"] == report.names[k] and one["axis"] == axis]
        x = np.arange(len(own)) + 0.06 * (place - 0.5 * (len(shown) - 1))
        style: dict[str, Any] = {"color": colour, "fmt": MARKERS[place], "markersize": 4, "linewidth": 1}
        for key, fill in (("width", "full"), ("bias", "none")):
            ax.errorbar(x, [e[key] for e in own], [e[f"{key}_error"] for e in own], fillstyle=fill, **style)
        if place == 0:
            ax.set_xticks(np.arange(len(own)), [f"{e['low']:.3g} to\n{e['high']:.3g}" for e in own])
    for height in (0.0, 1.0):
        ax.axhline(height, color=GREY, linewidth=1, linestyle="--")
    ax.set(xlabel=escaped(axis or "all datasets"), ylabel="pull: width (full), mean (open)")
    add_ticks(ax, minor="y")
    ax.tick_params(axis="x", which="both", length=0)
