"""Figures of predictions: data over the stacked samples, with the uncertainty and the ratio of both below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import AutoMinorLocator, MaxNLocator
from numpy.typing import NDArray

from neyman.exceptions import Unsupported
from neyman.results import Distribution, PredictionResult
from neyman.results.figures.style import STACK, NotebookFigure, add_ticks, array, legend_columns, wrapped

__all__ = ["features"]


def __dir__() -> list[str]:
    return __all__


_COLUMNS = 4  # of panels side by side
_SHOWN = 10  # samples at most: those that contribute least stand together as "others"
_LOG = 30.0  # times the median bin, a bin makes the axis logarithmic
_UNEQUAL = 10.0  # times the narrowest bin the widest one is: they are drawn with the same width
_HARDLY = 0.5  # expected events
_BAND: dict[str, Any] = {"facecolor": "none", "edgecolor": "0.35", "hatch": "/////", "linewidth": 0, "fill": True}
_OPEN = 0.045  # of the axis is an open bin wide, and half as much the gap beside it


def features(result: PredictionResult, channel: str | None = None) -> Figure:
    """Draw the data over the stacked prediction of every distribution, with the ratio of both below.

    The first sample of the document is on top of the stack. The hatched band is the total uncertainty of the
    prediction; the bars of the data are 68 % intervals of a Poisson mean. Events beyond the axis are in the bins that
    stand apart at its ends.

    Args:
        result: a prediction.
        channel: the channel to draw; all of them by default.

    Raises:
        Unsupported: if there is nothing to draw.
    """
    shown = [one for one in result.distributions if channel in (None, one.channel)]
    if not shown:
        raise Unsupported(f"there is nothing to draw: the prediction has no distribution of {channel or 'any channel'}")
    columns = {4: 2, 5: 3, 6: 3, 9: 3}.get(len(shown), min(len(shown), _COLUMNS))
    rows = -(-len(shown) // columns)
    channels = dict.fromkeys(one.channel for one in shown)
    width = max(3.6 * columns, 5.0)
    stack = _Stack(shown)
    handles = stack.handles(any(one.data is not None for one in shown))
    per_row = legend_columns([handle.get_label() for handle in handles], width)
    title = result.label + (f", {next(iter(channels))}" if len(channels) == 1 else "")
    title = wrapped(title + (f": {result.region}" if result.region else ""), width)
    extra = 0.19 * -(-len(handles) // per_row) + 0.2 * (1 + title.count("\n"))
    figure = NotebookFigure(figsize=(width, 3.5 * rows + extra), layout="constrained")
    figure.get_layout_engine().set(hspace=0, h_pad=0.02)  # type: ignore[union-attr,call-arg]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=per_row, frameon=False, fontsize="small", title=title,
        title_fontsize="medium", alignment="left",
    )  # fmt: skip
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=(3, 1) * rows)
    for k, one in enumerate(shown):
        row, column = 2 * (k // columns), k % columns
        ax = figure.add_subplot(grid[row, column])
        below = figure.add_subplot(grid[row + 1, column], sharex=ax)
        _Panel(one).draw(ax, below, stack, width / columns, one.channel if len(channels) > 1 else "")
        if column == 0:
            ax.set_ylabel("events per bin")
            below.set_ylabel("data / prediction" if one.data is not None else "uncertainty", fontsize="x-small")
    return figure


class _Stack:
    """The samples in the order of the document, each with its colour; the smallest of very many stand together."""

    def __init__(self, shown: Sequence[Distribution]) -> None:
        largest: dict[str, float] = {}
        for one in shown:
            for sample, yields in one.yields.items():
                largest[sample] = max(largest.get(sample, 0.0), float(np.abs(yields).sum()))
        ranked = sorted(largest, key=lambda sample: -largest[sample])
        ranked.sort(key=lambda sample: sample != next(iter(largest)))  # the first of the document, mostly the signal
        kept = set(ranked if len(ranked) <= _SHOWN else ranked[: _SHOWN - 1])
        names = [sample for sample in largest if sample in kept]
        self._colours = dict(zip(names, STACK, strict=False))
        if len(kept) < len(largest):
            self._others, self._colours[""] = len(largest) - len(kept), STACK[_SHOWN - 1]

    def layers(self, one: Distribution) -> list[tuple[str, NDArray[np.float64]]]:
        """Return the colours and contents of a distribution's samples, the lowest first."""
        found = {sample: np.zeros(len(one.error)) for sample in self._colours}
        for sample, yields in one.yields.items():
            found[sample if sample in found else ""] += yields
        return [(self._colours[sample], content) for sample, content in reversed(found.items())]

    def handles(self, data: bool) -> list[Any]:
        """Return what the legend shows."""
        samples = [
            Patch(facecolor=colour, label=wrapped(sample or f"{self._others} other samples", 4.0, lines=1))
            for sample, colour in self._colours.items()
        ]
        points = (
            [Line2D([], [], color="black", marker="o", markersize=3.5, linestyle="none", label="data")] if data else []
        )
        return [*points, *samples, Patch(**_BAND, label="uncertainty")]


class _Panel:
    """Where the bins of a distribution stand along the axis.

    Those that are open at an end stand apart from the others. Bins of very different width, as of equal prediction,
    are drawn with the same width.
    """

    def __init__(self, one: Distribution) -> None:
        self.one, inner = one, one.edges[np.isfinite(one.edges)]
        widths = np.diff(inner)
        self._ranked = inner if widths.max() > _UNEQUAL * widths.min() else None
        place = inner if self._ranked is None else np.arange(len(inner), dtype=np.float64)
        first, last = int(one.edges[0] == -np.inf), int(one.edges[-1] == np.inf)
        self._low, self._high = float(place[0]), float(place[-1])
        size = _OPEN * (self._high - self._low)
        bins = len(one.error)
        self._parts = [(slice(first, bins - last), place)]
        self._ends: dict[float, str] = {}
        if first:
            self._parts.insert(0, (slice(0, 1), self._low - size * np.array([1.5, 0.5])))
            self._ends[self._low - size] = one.ends[0]
        if last:
            self._parts.append((slice(bins - 1, bins), self._high + size * np.array([0.5, 1.5])))
            self._ends[self._high + size] = one.ends[1]
        self._middle = np.concatenate([(part[1:] + part[:-1]) / 2 for _, part in self._parts])
        # without data, where hardly any event is expected, there is nothing to see
        self._there = np.logical_or(False if one.data is None else one.data != 0, one.total > _HARDLY)

    def draw(self, ax: Axes, below: Axes, stack: _Stack, width: float, channel: str) -> None:
        """Draw the distribution, and the ratio below."""
        one, total = self.one, self.one.total
        up, down = np.zeros_like(total), np.zeros_like(total)
        for colour, content in stack.layers(one):  # samples with negative contents hang below zero
            above, under = up + np.maximum(content, 0.0), down + np.minimum(content, 0.0)
            self._stairs(ax, above, up, facecolor=colour, fill=True)
            self._stairs(ax, under, down, facecolor=colour, fill=True)
            up, down = above, under
        error = np.where(np.isfinite(one.error), one.error, 0.0)
        self._stairs(ax, total, None, color="0.2", linewidth=0.9)
        self._stairs(ax, total + error, total - error, **_BAND)
        top = float(np.max(total + error, initial=0.0))
        if one.data is not None:
            low, high = _poisson_interval(one.data)
            self._points(ax, one.data, np.stack([one.data - low, high - one.data]))
            top = max(top, float(np.max(high, where=self._there, initial=0.0)))
        bottom = float(np.min(down, initial=0.0))
        self._limits(ax, top if bottom == 0 else max(top, float(np.max(up))), bottom, up)
        self._ratio(below, error)
        self._axis(ax, below, width)
        known = np.isfinite(one.chi_squared)
        fit = f"$\\chi^2$ / dof = {one.chi_squared:.1f} / {one.degrees}, p = {one.p_value:.2g}" if known else ""
        title = "\n".join(text for text in (wrapped(channel, width, lines=1), fit) if text)
        ax.set_title(title, loc="left", fontsize="small", pad=3)

    def _stairs(self, ax: Axes, values: NDArray[np.float64], baseline: Any, **options: Any) -> None:
        for own, edges in self._parts:
            ax.stairs(values[own], edges, baseline=None if baseline is None else baseline[own], **options)

    def _points(self, ax: Axes, values: NDArray[np.float64], bars: NDArray[np.float64]) -> None:
        """Draw the data where there are any, or should be."""
        shown = np.where(self._there, values, np.nan)
        ax.errorbar(self._middle, shown, yerr=np.abs(bars), fmt="o", color="black", markersize=2.8, linewidth=0.9)

    def _limits(self, ax: Axes, top: float, bottom: float, contents: NDArray[np.float64]) -> None:
        positive = contents[contents > 0]
        if bottom == 0 and len(positive) > 2 and top > _LOG * float(np.median(positive)):
            lowest = max(float(positive.min()), top / 1e5)
            ax.set(yscale="log", ylim=(lowest / 2, 2 * top))
            return
        ax.set_ylim(1.1 * bottom, 1.08 * top if top > 0 else 1.0)
        ax.ticklabel_format(axis="y", scilimits=(-3, 5), useMathText=True)

    def _ratio(self, below: Axes, error: NDArray[np.float64]) -> None:
        one = self.one
        known = np.where(one.total > 0, one.total, np.nan)
        width = error / known
        deviation = [np.append(width, 0.05)]
        below.axhline(1.0, color="0.2", linewidth=0.9)
        self._stairs(below, 1 + np.nan_to_num(width), 1 - np.nan_to_num(width), **_BAND)
        if one.data is not None:
            ratio, ends = one.data / known, np.where(self._there, _poisson_interval(one.data) / known, np.nan)
            self._points(below, ratio, ends - ratio)
            deviation += list(np.abs(ends - 1))
        found = np.concatenate(deviation)
        reach = float(np.clip(1.1 * np.quantile(found[np.isfinite(found)], 0.85), 0.1, 1.0))
        if one.data is not None:
            for marker, beyond, side in (("^", ends[0] > 1 + reach, 1), ("v", ends[1] < 1 - reach, -1)):
                there = self._middle[beyond]
                below.plot(there, np.full(len(there), 1 + 0.88 * side * reach), marker, color="black", markersize=4)
        below.set_ylim(1 - reach, 1 + reach)
        below.yaxis.set_major_locator(MaxNLocator(3))

    def _axis(self, ax: Axes, below: Axes, width: float) -> None:
        """Draw the axis: its ends, ticks and label."""
        margin = 0.5 * _OPEN * (self._high - self._low) if self._ends else 0.0
        ends = self._parts[0][1][0], self._parts[-1][1][-1]
        below.set_xlim(ends[0] - margin * (ends[0] < self._low), ends[1] + margin * (ends[1] > self._high))
        fine = not self._ends and self._ranked is None and self.one.kind != "bins"
        for panel in (ax, below):
            add_ticks(panel, minor="" if panel.get_yscale() == "log" else "y")
            if fine:
                panel.xaxis.set_minor_locator(AutoMinorLocator())
        locator = MaxNLocator(5, integer=self.one.kind == "bins" or self._ranked is not None, steps=[1, 2, 2.5, 5, 10])
        if fine:
            below.xaxis.set_major_locator(locator)
        else:
            ticks = np.array([t for t in locator.tick_values(self._low, self._high) if self._low <= t <= self._high])
            shown = ticks if self._ranked is None else self._ranked[ticks.astype(np.intp)]
            texts = [f"{value:.4g}".replace("-", "\N{MINUS SIGN}") for value in shown]
            scale = self._high - self._low
            far = {
                tick: text
                for tick, text in zip(ticks.tolist(), texts, strict=True)
                if all(abs(tick - x) > scale * (0.03 + 0.012 * len(text + end)) for x, end in self._ends.items())
            }
            below.set_xticks([*far, *self._ends], [*far.values(), *self._ends.values()])
        ax.tick_params(labelbottom=False)
        label = wrapped(self.one.label, 0.8 * width)
        below.set_xlabel(label, fontsize="small" if "\n" in label else "medium")


def _poisson_interval(n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the central 68 % interval of a Poisson mean, shape ``(2, B)`` (Garwood, Biometrika 28 (1936) 437)."""
    n = np.maximum(array(n), 0.0)
    tails = scipy.stats.norm.cdf([-1.0, 1.0])
    low = scipy.stats.gamma.ppf(tails[0], np.where(n > 0, n, 1.0))
    return np.stack([np.where(n > 0, low, 0.0), scipy.stats.gamma.ppf(tails[1], n + 1)])
