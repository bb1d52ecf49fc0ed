"""Figures of Neyman constructions: the belt and the coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from neyman.results import CoverageResult, IntervalResult
from neyman.results.figures.style import (
    BAND_68,
    BAND_95,
    BLUE,
    COLOURS,
    GREY,
    MARKERS,
    VERMILLION,
    NotebookFigure,
    add_legend,
    add_ticks,
    single,
    symbol,
    wrapped,
)

__all__ = ["belt", "coverage"]


def __dir__() -> list[str]:
    return __all__


def belt(result: IntervalResult) -> Figure:
    """Draw the critical value of the test statistic and its observed value against the parameter of interest.

    The interval is where the observed value lies in the accepted region, the band below the critical value. The panel
    below has the p-value.

    Args:
        result: an interval with its scan.
    """
    figure = NotebookFigure(figsize=(6.4, 5.4), layout="constrained")
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
    x, t, critical = result.scan, result.statistic, result.critical
    error, p_error = result.critical_errors, result.p_errors
    top = 1.1 * max(1.8 * float(np.nanmax(critical + error)), 1.3 * float(np.nanmin(t)), 1e-3)
    ax.fill_between(x, 0, critical, color=BLUE, alpha=0.15, linewidth=0, label="accepted")
    if np.any(error > 0):
        ax.fill_between(x, critical - error, critical + error, color=BLUE, alpha=0.4, linewidth=0)
    ax.plot(x, critical, color=BLUE, linewidth=1.4, label=f"critical value ({_percent(result.level)})")
    ax.plot(x, t, "-o", color="black", markersize=3.5, linewidth=1.2, label="observed")
    threshold = 1.0 - result.level
    below.errorbar(x, result.p_values, yerr=p_error, fmt="-o", color="black", markersize=3, linewidth=1)
    below.axhline(threshold, color=VERMILLION, linewidth=1.2)
    for i, (low, high) in enumerate(result.intervals):
        label = ("interval " + _ends(result.intervals)) if i == 0 else None
        ax.axvspan(max(low, x[0]), min(high, x[-1]), ymax=0.025, color=VERMILLION, linewidth=0, label=label)
        for end in filter(np.isfinite, (low, high)):
            for panel in (ax, below):
                panel.axvline(end, color=VERMILLION, linestyle=":", linewidth=1)
    if not result.intervals:
        ax.plot([], [], " ", label="no value is accepted")
    ax.set(ylabel=symbol(result.test_stat), ylim=(0, top), xlim=(x[0], x[-1]))
    below.set(xlabel=wrapped(result.name, 5.4), ylabel="p-value", ylim=(0, 1.05))
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")  # the curves may be anywhere
    add_ticks(ax)
    add_ticks(below)
    return figure


def coverage(results: CoverageResult | Sequence[CoverageResult]) -> Figure:
    """Draw the coverage at each truth, with the band that chance allows about the level.

    Args:
        results: one coverage, or several of the same truths, as on toys and by the asymptotic formulas.
    """
    several = [results] if isinstance(results, CoverageResult) else list(results)
    first = several[0]
    poi = first.names.index(first.poi)
    others = [k for k in range(len(first.names)) if k != poi and np.ptp(first.truths[:, k]) > 0]
    # along the parameter of interest where no other one changes, else the truths one by one
    curve = not others and len(np.unique(first.truths[:, poi])) == len(first.truths)
    figure, ax = single(6.4, 4.8)
    order = np.argsort(first.truths[:, poi]) if curve else np.arange(len(first.truths))
    x = first.truths[order, poi] if curve else np.arange(len(order), dtype=float)
    step = float(np.min(np.diff(x))) if x.size > 1 else 1.0
    margin = 0.6 * step
    band_x = np.array([x[0] - margin, *x, x[-1] + margin])
    for sigma, colour in ((2, BAND_95), (1, BAND_68)):
        tails = scipy.stats.norm.cdf([-sigma, sigma])
        low, high = (scipy.stats.binom.ppf(tail, first.toys[order], first.level) / first.toys[order] for tail in tails)
        low, high = (100 * np.array([edge[0], *edge, edge[-1]]) for edge in (low, high))
        ax.fill_between(
            band_x, low, high, color=colour, linewidth=0, alpha=0.8, label=f"{(68, 95)[sigma - 1]} % of toys"
        )
    ax.axhline(100 * first.level, color=GREY, linestyle="--", linewidth=1)
    for i, result in enumerate(several):
        y, ends = 100 * result.coverage[order], 100 * result.intervals[order]
        shift = 0.12 * step * (i - 0.5 * (len(several) - 1))
        verdict = "" if result.passed else ", fails"
        ax.errorbar(
            x + shift, y, yerr=np.abs(ends.T - y), fmt=MARKERS[i], color=("black", *COLOURS[1:])[i % 7],
            markersize=5, linewidth=1.3, label=f"{result.calibration} ({result.test_stat}{verdict})",
        )  # fmt: skip
    ax.set(ylabel=f"coverage of the {_percent(first.level)} interval [%]", xlim=(band_x[0], band_x[-1]))
    if curve:
        ax.set_xlabel(wrapped(f"true {first.poi}", 5.4))
    else:
        shown = [poi, *others]
        ax.set_xticks(x, ["\n".join(f"{first.truths[i, k]:.3g}" for k in shown) for i in order])
        ax.set_xlabel(wrapped("true " + ", ".join(first.names[k] for k in shown), 5.4))
    low, high = ax.get_ylim()
    reach = max(100 * first.level - low, high - 100 * first.level, 2.0)
    ax.set_ylim(max(100 * first.level - 1.1 * reach, 0), 100 * first.level + 1.1 * reach)
    add_legend(ax, minor="y" if not curve else "both")
    if not curve:
        ax.tick_params(axis="x", which="both", length=0)
    ax.yaxis.set_major_locator(MaxNLocator(7))
    return figure


def _percent(level: float) -> str:
    return f"{100 * level:.4g} %"


def _ends(intervals: Sequence[tuple[float, float]]) -> str:
    return " and ".join(f"[{low:.3g}, {high:.3g}]" for low, high in intervals)
