"""Figures of toys: the distribution of a test statistic, of best fits and of counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from neyman.exceptions import Unsupported
from neyman.results import StatisticResult, ToysResult, rounded
from neyman.results.figures.style import (
    BLUE,
    ORANGE,
    VERMILLION,
    NotebookFigure,
    add_legend,
    add_ticks,
    array,
    single,
    symbol,
    wrapped,
)

__all__ = ["teststatistic", "toys"]


def __dir__() -> list[str]:
    return __all__


_PANELS = 12  # of toys at most
_BINS = 40


def teststatistic(result: StatisticResult) -> Figure:
    """Draw the distribution of a test statistic in toys, its asymptotic form, and the observed value.

    Args:
        result: the values in the toys.
    """
    figure, ax = single(6.4, 4.8)
    values = array(result.statistic)
    edges, above = array(result.edges), array(result.asymptotic)
    counts = np.histogram(values, edges)[0].astype(float)
    counts[-1] += np.sum(values > edges[-1])  # the last bin has all beyond
    inside = 0.5 * (edges[1:] + edges[:-1])
    form = -np.diff(above) * values.size
    form[-1] += above[-1] * values.size
    ax.stairs(form, edges, color=ORANGE, linewidth=1.6, label="asymptotic form")
    ax.errorbar(
        inside, np.where(counts > 0, counts, np.nan), yerr=np.sqrt(counts), fmt="o", color="black", markersize=3.5,
        linewidth=1, label=f"{values.size} toys",
    )  # fmt: skip
    if np.isfinite(result.observed):
        label = (
            f"observed {result.observed:.3g}: p = {result.p_value:.3g} in toys, "
            f"{result.asymptotic_p_value:.3g} asymptotic"
        )
        ax.axvline(result.observed, color=VERMILLION, linewidth=1.4, label=label)
    at = wrapped(f"{result.name} = {result.value:g}", 4.8)
    ax.set(xlabel=f"{symbol(result.test_stat)} at {at}", ylabel="toys per bin")
    ax.set(xlim=(0, edges[-1]), yscale="log", ylim=(0.5, 2 * max(float(counts.max()), 1.0)))
    add_legend(ax, minor="x")
    return figure


def toys(result: ToysResult, names: Sequence[str] = ()) -> Figure:
    """Draw the best fits of toys beside the true values; of toys without fits, the counts.

    Args:
        result: the toys.
        names: the parameters to draw, by default all that vary, twelve at most. Toys without fits have their bins.

    Raises:
        InvalidParameter: for a parameter that the toys do not have, or if they were not fitted.
        Unsupported: if there is nothing to draw.
    """
    if len(result.bestfit) or names:
        fits = {name: result[name] for name in names or result.names}
        columns = {name: (fit, float(result.pars[result.index(name)])) for name, fit in fits.items()}
        if not names:
            columns = {name: (fit, true) for name, (fit, true) in columns.items() if fit.size and np.ptp(fit) > 0}
    else:
        columns = {f"count of bin {k + 1}": (counts, np.nan) for k, counts in enumerate(result.main.T) if counts.size}
    if not columns:
        raise Unsupported("there is nothing to draw: no toy has a valid fit in which a parameter varies")
    shown = list(columns.items())[:_PANELS]
    width = min(len(shown), 4)
    height = -(-len(shown) // width)
    figure = NotebookFigure(figsize=(max(3.1 * width, 4.4), 2.6 * height + 0.6), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False).ravel()
    for ax in axes[len(shown) :]:
        ax.remove()
    for k, (ax, (name, (values, true))) in enumerate(zip(axes, shown, strict=False)):
        _histogram(ax, name, values, true)
        if k % width == 0:
            ax.set_ylabel("toys per bin")
    handles = [Line2D([], [], color="black", linestyle="--", label="mean")]
    if len(result.bestfit):
        handles.insert(0, Line2D([], [], color=VERMILLION, label="true value"))
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize="small")
    figure.suptitle(f"{len(result)} toys", x=0.02, ha="left", fontsize="medium")
    return figure


def _histogram(ax: Axes, name: str, values: NDArray[np.float64], true: float) -> None:
    low, high = np.quantile(values, (0.001, 0.999))  # a few far ones would hide all others: the end bins have them
    whole = bool(np.all(values == np.round(values)))
    if whole:
        step = np.ceil((high - low + 1) / _BINS)
        edges = np.arange(np.floor(low), np.ceil(high) + step + 1, step) - 0.5
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    ax.stairs(counts, edges, color=BLUE, fill=True, alpha=0.35)
    ax.axvline(float(values.mean()), color="black", linestyle="--", linewidth=1.2)
    if np.isfinite(true):
        ax.axvline(true, color=VERMILLION, linewidth=1.4)
    label = wrapped(name, 2.4)
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.1 * counts.max()))
    ax.set_xlabel(label, fontsize="small" if "\n" in label else "medium")
    ax.set_title("{} $\\pm$ {}".format(*rounded(float(values.mean()), float(values.std()))), fontsize="small")
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=whole))
    add_ticks(ax)
