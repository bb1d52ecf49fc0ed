"""Figures of posteriors: the corner plot, and what is local to each event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.ndimage
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.results import LocalsResult, PosteriorResult, StreamResult, rounded
from neyman.results.figures.style import BLUE, COLOURS, NotebookFigure, add_legend, add_ticks, wrapped
from neyman.support.messages import did_you_mean

__all__ = ["corner", "local_parameters"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_MOST = 10  # parameters that are drawn if none are named
_FEW = 100  # draws that have no contours: they are dots
_SMOOTHING = 1.2  # bins
_TRUE = "black"


def corner(
    results: PosteriorResult | Mapping[str, PosteriorResult],
    names: Sequence[str] = (),
    truth: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the posterior of every parameter and of every pair.

    The diagonal has the marginal distributions, with the median and the central 68 % interval above; below it are the
    regions of highest density that hold 68 % and 95 % of the draws. Fewer than 100 draws are dots.

    Args:
        results: a posterior, or several to compare, by the name to show.
        names: the parameters to draw; by default all that vary, free ones before constrained ones, and ten at most.
        truth: true values to mark, by name.

    Raises:
        InvalidParameter: for a parameter that a posterior does not have.
        Unsupported: if there is nothing to draw.

    Example:
        >>> import numpy as np
        >>> draws = np.random.default_rng(0).normal([1.0, -2.0], [0.1, 0.5], size=(1000, 2))
        >>> figure = corner(PosteriorResult(("mu", "alpha"), draws), truth={"mu": 1.0})
        >>> [ax.get_xlabel() for ax in figure.axes]
        ['', 'mu', 'alpha']
    """
    several = {"": results} if isinstance(results, PosteriorResult) else dict(results)
    true = dict(truth or {})
    for name in true:
        if not any(name in result for result in several.values()):
            known = [name for result in several.values() for name in result.names]
            raise InvalidParameter(f"no posterior has the parameter {name!r}; {did_you_mean(name, known)}")
    shown, left_out = _chosen(several, names)
    columns = [np.stack([result[name] for name in shown], axis=1) for result in several.values()]  # (n, K) each
    ranges = [_range([draws[:, k] for draws in columns], true.get(name)) for k, name in enumerate(shown)]

    size = {1: 4.4, 2: 2.7, 3: 2.1, 4: 1.8}.get(len(shown), 1.5)
    width = size * len(shown) + 0.8
    letters = "medium" if len(shown) <= 2 else "small" if len(shown) <= 5 else "x-small"
    figure = NotebookFigure(figsize=(width, width), layout="constrained")
    panels = figure.subplots(len(shown), len(shown), squeeze=False)
    for (row, column), ax in np.ndenumerate(panels):
        if column > row:
            ax.remove()
            continue
        for colour, draws in zip(COLOURS * len(columns), columns, strict=False):
            if row == column:
                _marginal(ax, draws[:, row], ranges[row], colour, alone=len(columns) == 1)
            else:
                _pair(ax, draws[:, [column, row]], colour)
        ax.set_xlim(ranges[column])
        if shown[column] in true:
            ax.axvline(true[shown[column]], color=_TRUE, linestyle="--", linewidth=1)
        if row == column:
            ax.set_ylim(bottom=0.0)
            if len(columns) == 1:
                ax.set_title(_summary(columns[0][:, row]), fontsize=letters)
        else:
            ax.set_ylim(ranges[row])
            if shown[row] in true:
                ax.axhline(true[shown[row]], color=_TRUE, linestyle="--", linewidth=1)
        _label(ax, row, column, shown, size, letters)
    handles = _handles(several, true, left_out, contours=len(shown) > 1)
    if handles:
        columns_of_legend = max(1, min(len(handles), int(width / 1.5)))
        figure.legend(handles=handles, loc="outside upper right", ncols=columns_of_legend, frameon=False,
                      fontsize="small")  # fmt: skip
    return figure


def local_parameters(result: LocalsResult, names: Sequence[str] = ()) -> Figure:
    """Draw the posterior of what is local to each event: median, 68 % and 95 % interval, by the event's place.

    Args:
        result: the draws.
        names: the local parameters to draw; all by default.

    Raises:
        InvalidParameter: for a parameter that the result does not have.
        Unsupported: if there are no draws or no events.
    """
    shown = list(names) or list(result.names)
    if not result.draws.size or not shown:
        raise Unsupported("there is nothing to draw: no draws of local parameters")
    figure = NotebookFigure(figsize=(6.4, 2.2 * len(shown) + 1.0), layout="constrained")
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name in zip(axes, shown, strict=True):
        events = np.arange(result[name].shape[1])
        for level, thickness, alpha in ((0.95, 1.0, 0.6), (0.68, 3.0, 0.6)):
            low, high = result.interval(name, level).T
            ax.vlines(events, low, high, color=BLUE, linewidth=thickness, alpha=alpha, label=f"{100 * level:.0f} %")
        ax.plot(events, np.median(result[name], axis=0), "o", color="black", markersize=2, label="median")
        ax.set_ylabel(wrapped(name, 2.0))
        add_ticks(ax)
    axes[-1].set_xlabel("event")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(axes[0], minor="y")
    return figure


def stream(result: StreamResult, names: Sequence[str] = (), truth: Mapping[str, float] | None = None) -> Figure:
    """Draw the posterior after each element of a stream: median, 68 % and 95 % interval, by the number of elements.

    Args:
        result: the draws.
        names: the parameters to draw; all by default.
        truth: true values to mark, by name.

    Raises:
        InvalidParameter: for a parameter that the result does not have.
        Unsupported: if there are no draws or no elements.
    """
    shown = list(names) or list(result.names)
    if not result.draws.size or not shown:
        raise Unsupported("there is nothing to draw: no draws of a stream")
    figure = NotebookFigure(figsize=(6.4, 2.2 * len(shown) + 1.0), layout="constrained")
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name in zip(axes, shown, strict=True):
        elements = np.arange(1, result[name].shape[1] + 1)
        for level, alpha in ((0.95, 0.25), (0.68, 0.45)):
            low, high = result.interval(name, level).T
            ax.fill_between(elements, low, high, color=BLUE, alpha=alpha, linewidth=0, label=f"{100 * level:.0f} %")
        ax.plot(elements, np.median(result[name], axis=0), color="black", linewidth=1.0, label="median")
        if name in (truth or {}):
            ax.axhline((truth or {})[name], color="black", linestyle="--", linewidth=0.8, label="truth")
        ax.set_ylabel(wrapped(name, 2.0))
        add_ticks(ax)
    if len(elements) > 1:
        axes[-1].set_xscale("log")
    axes[-1].set_xlabel("elements")
    add_legend(axes[0], minor="y")
    return figure


def _chosen(several: Mapping[str, PosteriorResult], names: Sequence[str]) -> tuple[list[str], int]:
    """Return the parameters to draw, and how many more there would be."""
    if isinstance(names, str):
        names = [names]
    if not several or not all(len(result) for result in several.values()):
        raise Unsupported("there is nothing to draw: the posterior has no draws")
    first = next(iter(several.values()))
    for name in names:
        first.index(name)
    shown = list(names)
    if not names:
        shown = [name for name in first.names if np.ptp(first[name]) > 0 and all(name in r for r in several.values())]
        if len(first.labels) == len(first.names):
            shown.sort(key=lambda name: first.labels[first.index(name)] == "constrained")
    if not shown:
        raise Unsupported("there is nothing to draw: no parameter varies")
    return (shown, 0) if names else (shown[:_MOST], max(len(shown) - _MOST, 0))


def _range(columns: Sequence[Array], true: float | None) -> tuple[float, float]:
    """Return the range of an axis: a few far draws are left out."""
    ends = np.array([np.quantile(draws, [0.0005, 0.9995]) for draws in columns])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if true is not None:
        low, high = min(low, true), max(high, true)
    margin = 0.04 * (high - low) or max(abs(high), 1.0) * 0.1
    return low - margin, high + margin


def _marginal(ax: Axes, draws: Array, ends: tuple[float, float], colour: str, *, alone: bool) -> None:
    low, high = max(ends[0], draws.min()), min(ends[1], draws.max())
    edges = np.linspace(low, high if high > low else low + 1e-9 * max(abs(low), 1.0), _bins(len(draws)) + 1)
    density, _ = np.histogram(draws, edges, density=True)
    ax.stairs(density, edges, color=colour, linewidth=1.3)
    if alone:
        inside = np.clip(np.quantile(draws, [0.16, 0.84]), edges[0], edges[-1])
        centres = 0.5 * (edges[1:] + edges[:-1])
        ax.stairs(density, edges, fill=True, color=colour, alpha=0.18)
        within = np.where((centres >= inside[0]) & (centres <= inside[1]), density, 0.0)
        ax.stairs(within, edges, fill=True, color=colour, alpha=0.35)


def _pair(ax: Axes, draws: Array, colour: str) -> None:
    """Draw where 68 % and 95 % of the draws of a pair are, or the draws where they are few or do not vary."""
    covariance = np.cov(draws.T)
    scale = np.sqrt(np.diag(covariance))
    if len(draws) < _FEW or not np.all(scale > 0) or abs(covariance[0, 1]) >= (1.0 - 1e-9) * np.prod(scale):
        ax.plot(*draws.T, ".", color=colour, markersize=3, alpha=0.6)
        return
    # in coordinates without correlation, so that bins blur a thin ellipse no more than a round one
    axes = np.linalg.cholesky(covariance)
    centre = draws.mean(axis=0)
    free = np.linalg.solve(axes, (draws - centre).T)
    edges = [np.linspace(values.min() - 0.5, values.max() + 0.5, _bins(len(draws)) + 1) for values in free]
    counts = np.histogram2d(free[0], free[1], bins=edges)[0]
    smooth = scipy.ndimage.gaussian_filter(counts, _SMOOTHING)
    descending = np.sort(smooth, axis=None)[::-1]
    below = np.searchsorted(np.cumsum(descending), np.array([0.95, 0.68]) * smooth.sum())
    levels = descending[np.minimum(below, descending.size - 1)]
    middles = np.meshgrid(*[0.5 * (edge[1:] + edge[:-1]) for edge in edges], indexing="ij")
    x, y = np.tensordot(axes, np.stack(middles), axes=1) + centre[:, None, None]
    if not 0.0 < levels[0] < levels[1] < descending[0]:
        ax.plot(*draws.T, ".", color=colour, markersize=3, alpha=0.6)
        return
    ax.contourf(x, y, smooth, levels=[*levels, np.inf], colors=[to_rgba(colour, 0.18), to_rgba(colour, 0.45)])
    ax.contour(x, y, smooth, levels=levels, colors=colour, linewidths=1.1, linestyles=["dashed", "solid"])


def _bins(n: int) -> int:
    return int(np.clip(2.0 * n ** (1 / 3), 12, 60))


def _summary(draws: Array) -> str:
    """Return the median and how far the 68 % interval reaches from it."""
    low, median, high = (float(x) for x in np.quantile(draws, [0.16, 0.5, 0.84]))
    centre, up = rounded(median, high - median)
    centre = centre.lstrip("-") if not float(centre) else centre
    down = rounded(median, median - low)[1] if median > low else "0"
    return f"{centre} $^{{+{up}}}_{{-{down}}}$"


def _label(ax: Axes, row: int, column: int, shown: Sequence[str], size: float, letters: str) -> None:
    """Give a panel ticks, numbers and names where it stands at the left or at the bottom."""
    ax.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
    add_ticks(ax, "x" if row == column else "both")
    if row == column:
        ax.set_yticks([])
    else:
        ax.yaxis.set_major_locator(MaxNLocator(3, prune="both"))
    ax.tick_params(labelsize=letters, labelbottom=row == len(shown) - 1, labelleft=column == 0 and row > 0)
    for label in ax.get_xticklabels():
        label.set_rotation(30 if len(shown) > 2 else 0)
    if row == len(shown) - 1:
        ax.set_xlabel(wrapped(shown[column], 0.9 * size), fontsize=letters)
    if column == 0 and row > 0:
        ax.set_ylabel(wrapped(shown[row], 0.9 * size), fontsize=letters)


def _handles(
    several: Mapping[str, PosteriorResult], true: Mapping[str, float], left_out: int, *, contours: bool
) -> list[Patch | Line2D]:
    handles: list[Patch | Line2D] = []
    if len(several) > 1:
        handles += [
            Patch(facecolor=to_rgba(colour, 0.45), edgecolor=colour, label=wrapped(name, 2.0, lines=1))
            for name, colour in zip(several, COLOURS * len(several), strict=False)
        ]
    elif contours:
        handles += [
            Patch(facecolor=to_rgba(BLUE, 0.6), edgecolor=BLUE, label="68 %"),
            Patch(facecolor=to_rgba(BLUE, 0.18), edgecolor=BLUE, linestyle="--", label="95 %"),
        ]
    if true:
        handles.append(Line2D([], [], color=_TRUE, linestyle="--", linewidth=1, label="true value"))
    if left_out:
        handles.append(Line2D([], [], linestyle="none", label=f"{left_out} more by names=[...]"))
    return handles
