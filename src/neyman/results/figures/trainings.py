"""Figures of trainings: loss, calibration and closure; of dataset-wide networks also the test statistic."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from neyman.results import SetReport, TrainingReport
from neyman.results.figures.style import (
    BLUE,
    COLOURS,
    GREY,
    MARKERS,
    ORANGE,
    VERMILLION,
    NotebookFigure,
    add_legend,
    add_ticks,
    array,
    escaped,
    legend_columns,
    wrapped,
)
from neyman.results.training import chi_squared, worst_classes

__all__ = ["training"]


def __dir__() -> list[str]:
    return __all__


_CLOSURE = 2.6  # inches of a row of closure panels
_CLASS = 3.0  # inches that the name of a class may take
_PANEL = 3.0  # inches of a panel of datasets
_COLUMNS = 4  # of the closure of datasets: the worst ones, where there are more


def training(report: TrainingReport | SetReport) -> Figure:
    """Draw how the networks of one channel were trained, and how they do on simulation they have not seen.

    Of classifiers, the loss per fold, the calibration, and each feature of the reference sample, the same reweighted by
    the learned ratio, and the simulation that this should reproduce, with the ratio of the last two below. Of a
    dataset-wide network, that of summary statistics of datasets, and the test statistic and the best fit at the truth.

    Args:
        report: one learned channel's.
    """
    return _of_datasets(report) if isinstance(report, SetReport) else _of_classifiers(report)


def _of_classifiers(report: TrainingReport) -> Figure:
    """Draw how classifiers were trained.

    The closure panels show each feature of the reference sample, the same reweighted by the learned ratio, and the
    simulation that this should reproduce, with the ratio of the last two below. Of very many classes, those that close
    worst are shown.

    Args:
        report: one learned channel's.
    """
    cells = [worst_classes(c) for c in report.classifiers]
    rows = [len(by_class) for by_class in cells]
    columns = max([1, *(len(row) for by_class in cells for row in by_class.values())])
    width = max(3.1 * columns, 7.0)
    tops = [2.7 + 0.17 * _legend_rows(_curves(c), width / 2) for c in report.classifiers]
    heights = [top + _CLOSURE * n for top, n in zip(tops, rows, strict=True)]
    figure = NotebookFigure(figsize=(width, sum(heights) + 0.3), layout="constrained")
    figure.suptitle(wrapped(f"training of channel {report.channel}", width), fontsize="medium")
    figure.get_layout_engine().set(hspace=0, h_pad=0.03)  # type: ignore[union-attr,call-arg]
    parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, height, classifier, by_class in zip(parts, tops, report.classifiers, cells, strict=True):
        ratios = [height, *[_CLOSURE] * len(by_class)]
        top, *below = part.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
        grid = top.add_gridspec(2, 2, height_ratios=(3, 1))
        _loss(top.add_subplot(grid[:, 0]), classifier, width / 2 - 0.8)
        calibration = top.add_subplot(grid[0, 1])
        _calibration(calibration, top.add_subplot(grid[1, 1], sharex=calibration), classifier, width / 2 - 0.8)
        for subfigure, row in zip(below, by_class.values(), strict=True):
            axes = subfigure.subplots(2, columns, squeeze=False, sharex="col", height_ratios=(3, 1))
            for ax in axes[:, len(row) :].flat:
                ax.remove()
            for k, cell in enumerate(row):
                _closure(axes[0, k], axes[1, k], cell, first=k == 0)
            handles, names = axes[0, 0].get_legend_handles_labels()
            subfigure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize="small")
    return figure


def _legend_rows(names: Collection[str], width: float) -> int:
    labels = [wrapped(name, _CLASS, lines=1) for name in names]
    return -(-len(labels) // legend_columns(labels, width - 0.8))


def _curves(classifier: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the calibration of the classes whose closure is shown, and of those without any."""
    hidden = {cell["class"] for cell in classifier.get("reweighting", ())} - set(worst_classes(classifier))
    return {name: curve for name, curve in classifier["calibration"].items() if name not in hidden}


def _loss(ax: Axes, classifier: Mapping[str, Any], width: float) -> None:
    validation = [array(fold) for fold in classifier["validation_loss"]]
    for fold in classifier["train_loss"]:
        ax.plot(np.arange(1, len(fold) + 1), array(fold), color=ORANGE, linewidth=0.9)
    for fold, best in zip(validation, classifier["best_epoch"], strict=True):
        ax.plot(np.arange(1, len(fold) + 1), fold, color=BLUE, linewidth=1.3)
        ax.plot(int(best) + 1, fold[int(best)], "o", color=VERMILLION, markersize=4, zorder=5)
    handles = [
        Line2D([], [], color=ORANGE, label="training"),
        Line2D([], [], color=BLUE, label="validation"),
        Line2D([], [], color=VERMILLION, marker="o", markersize=4, linestyle="none", label="kept"),
    ]
    losses = np.concatenate([*validation, *map(array, classifier["train_loss"])])
    low, high = np.nanquantile(losses, (0.0, 0.95))  # the first epochs would hide all others
    margin = 0.08 * (high - low) or 0.1
    ax.set(xlabel="epoch", ylabel="loss per fold", ylim=(low - margin, high + margin))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    title = wrapped(classifier["name"], width, lines=1)
    add_legend(ax, handles=handles, title=title, width=width, minor="y")


def _calibration(ax: Axes, below: Axes, classifier: Mapping[str, Any], width: float) -> None:
    curves = _curves(classifier)
    ax.axline((0, 0), slope=1, color=GREY, linestyle=":", linewidth=1)
    below.axhline(0, color=GREY, linestyle=":", linewidth=1)
    reach, low, high = 0.01, 1.0, 0.0
    for k, (name, curve) in enumerate(curves.items()):
        predicted, observed, error = (array(curve[key]) for key in ("predicted", "observed", "error"))
        style: dict[str, Any] = {"fmt": MARKERS[k % 7], "color": COLOURS[k % 7], "markersize": 3.5, "linewidth": 1}
        ax.errorbar(predicted, observed, yerr=error, label=wrapped(name, _CLASS, lines=1), **style)
        below.errorbar(predicted, observed - predicted, yerr=error, **style)
        low, high = min(low, predicted.min(initial=1)), max(high, predicted.max(initial=0))
        reach = max(reach, 1.2 * float(np.nanmax(np.abs(observed - predicted) + error, initial=0)))
    limits = (max(low - 0.05, -0.02), min(high + 0.05, 1.02))
    ax.set(ylabel="in simulation", xlim=limits, ylim=limits)
    ax.tick_params(labelbottom=False)
    below.set(xlabel="predicted probability", ylim=(-min(reach, 1), min(reach, 1)))
    below.set_ylabel("difference", fontsize="small")
    below.yaxis.set_major_locator(MaxNLocator(3))
    add_legend(ax, width=width)
    add_ticks(below)


def _closure(ax: Axes, below: Axes, cell: Mapping[str, Any], *, first: bool) -> None:
    edges, reference, reweighted, target, error = (
        array(cell[key]) for key in ("edges", "reference", "reweighted", "target", "error")
    )
    middle = (edges[:-1] + edges[1:]) / 2
    ax.stairs(reference, edges, color=GREY, linestyle="--", label="reference")
    ax.stairs(reweighted, edges, color=BLUE, linewidth=1.4, label="reweighted")
    ax.errorbar(
        middle,
        target,
        yerr=error,
        fmt="o",
        color="black",
        markersize=2.5,
        linewidth=1,
        label=wrapped(cell["class"], _CLASS, lines=1),
    )
    top = np.nanmax([reference, reweighted, target])
    ax.set_ylim(min(0.0, float(np.nanmin([reweighted, target]))), 1.1 * top if top > 0 else None)
    ax.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.where(reweighted != 0, reweighted, np.nan)
        ratio, ratio_error = target / known, error / np.abs(known)
    deviation = (np.abs(ratio - 1) + ratio_error)[np.isfinite(ratio + ratio_error)]
    reach = float(np.clip(1.1 * np.quantile(np.append(deviation, 0.05), 0.8), 0.05, 1.0))
    below.axhline(1, color=BLUE, linewidth=1.2)
    below.errorbar(middle, ratio, yerr=ratio_error, fmt="o", color="black", markersize=2.5, linewidth=1)
    label = wrapped(cell["feature"], 2.3)
    below.set(xlim=(edges[0], edges[-1]), ylim=(1 - reach, 1 + reach))
    below.set_xlabel(label, fontsize="small" if "\n" in label else "medium")
    below.yaxis.set_major_locator(MaxNLocator(3))
    below.xaxis.set_major_locator(MaxNLocator(5))
    if first:
        ax.set_ylabel("fraction")
        below.set_ylabel("ratio")
    add_ticks(ax)
    add_ticks(below)


# -- dataset-wide networks


def _of_datasets(report: SetReport) -> Figure:
    pairs = [[cell for cell in pair["cells"] if cell["class"] == f"at {pair['there']}"] for pair in report.closure]
    fitted = len(report.truths.get("truth", ())) > 1
    heights = [3.2, *([3.1] if fitted else []), *[2.7] * len(pairs)]
    figure = NotebookFigure(figsize=(11.0, sum(heights) + 0.9), layout="constrained")
    title = wrapped(f"training of channel {report.channel} ({report.network})", 10.0)
    figure.suptitle("\n".join([title, *textwrap.wrap(escaped(report.verdict), 120)]), fontsize="medium")
    figure.get_layout_engine().set(hspace=0.02, h_pad=0.04)  # type: ignore[union-attr,call-arg]
    parts = list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    top = parts.pop(0)
    grid = top.add_gridspec(2, 3, height_ratios=(3, 1))
    if report.stages:
        _stages(top.add_subplot(grid[:, 0]), report)
    if report.curve:
        curve = top.add_subplot(grid[0, 1])
        _calibration(
            curve, top.add_subplot(grid[1, 1], sharex=curve), {"calibration": {"candidates": report.curve}}, _PANEL
        )
        _slices(top.add_subplot(grid[:, 2]), report)
    if fitted:
        for ax, panel in zip(parts.pop(0).subplots(1, 3), (_distribution, _fractions, _deviations), strict=True):
            panel(ax, report)
    for part, pair, cells in zip(parts, report.closure, pairs, strict=True):
        worst = np.argsort([-chi_squared([cell])[0] for cell in cells], kind="stable")[:_COLUMNS]
        shown = [cells[k] for k in sorted(worst)]
        axes = part.subplots(2, max(len(shown), 1), squeeze=False, sharex="col", height_ratios=(3, 1))
        for k, cell in enumerate(shown):
            _closure(axes[0, k], axes[1, k], cell, first=k == 0)
        handles, _ = axes[0, 0].get_legend_handles_labels()
        names = [f"at {pair['here']}", "reweighted", f"at {pair['there']}"]
        part.legend(
            handles,
            [wrapped(n, _CLASS, lines=1) for n in names],
            loc="outside upper center",
            ncols=3,
            frameon=False,
            fontsize="small",
        )
    return figure


def _stages(ax: Axes, report: SetReport) -> None:
    """Draw how far each stage's validation loss is above its best: a colour for each, dashes for another network."""
    names = list(dict.fromkeys(stage["name"] for stage in report.stages))
    for stage in report.stages:
        k, network = names.index(stage["name"]), int(stage.get("network", 0))
        loss = array(stage["validation_loss"])
        best = float(np.nanmin(loss)) if loss.size else np.nan
        kept = {True: ", kept", False: ", not kept"}.get(stage.get("kept"), "")  # type: ignore[arg-type]
        above = np.where(loss > best, loss - best, np.nan)
        x = np.arange(1, len(loss) + 1) / max(len(loss), 1)
        style: dict[str, Any] = {"color": COLOURS[k % 7], "marker": MARKERS[k % 7], "markersize": 3.5, "linewidth": 1.2}
        if network:
            style |= {"linestyle": "--", "fillstyle": "none"}
        else:
            style["label"] = escaped(f"{stage['name']}: {best:.4f}{kept}")
        ax.plot(x, above, **style)
    ax.set(xlabel="progress of the stage", ylabel="validation loss above its best", yscale="log", xlim=(0, 1.03))
    ax.margins(y=0.3)
    ax.set_ylim(bottom=max(ax.get_ylim()[0], 1e-5))
    add_legend(ax, width=_PANEL, minor="x")


def _slices(ax: Axes, report: SetReport) -> None:
    """Draw the slope and the bias of the calibration along the parameter."""
    slices = [one for one in report.calibration if np.isfinite(one["low"])]
    low, high = (array([one[key] for one in slices]) for key in ("low", "high"))
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    for key, right, colour, marker, label in (
        ("slope", 1.0, BLUE, "o", "slope of the log-ratio"),
        ("bias", 0.0, VERMILLION, "s", "bias in standard deviations"),
    ):
        value, error = (array([one[k] for one in slices]) for k in (key, f"{key}_error"))
        ax.axhline(right, color=colour, linestyle=":", linewidth=1)
        ax.errorbar(middle, value, yerr=error, xerr=half, fmt=marker, color=colour, markersize=4.5, label=label)
    reach = ax.get_ylim()
    ax.set(xlabel=wrapped(report.axis, _PANEL), xlim=(low.min(), high.max()) if slices else None)
    ax.set(ylim=(min(reach[0], -0.6), max(reach[1], 1.6)), ylabel="calibration of the network")
    add_legend(ax, width=_PANEL)


def _distribution(ax: Axes, report: SetReport) -> None:
    """Draw the distribution of the test statistic at the truth."""
    t = array(report.truths["statistic"])
    high = float(np.clip(np.quantile(t, 0.99), 8.0, 40.0))
    edges = np.linspace(0.0, high, 26)
    counts = np.histogram(np.minimum(t, high), edges)[0].astype(float)  # the last bin has all beyond
    expected = -np.diff(np.append(scipy.stats.chi2.sf(edges[:-1], 1), 0.0)) * t.size
    ax.stairs(expected, edges, color=ORANGE, linewidth=1.6, label=r"$\chi^2_1$")
    ax.errorbar(
        0.5 * (edges[1:] + edges[:-1]), np.where(counts > 0, counts, np.nan), yerr=np.sqrt(counts), fmt="o",
        color="black", markersize=3.5, linewidth=1, label=f"{t.size} datasets",
    )  # fmt: skip
    ax.set(
        xlabel=f"$t$ at the true {wrapped(report.poi, 2.0)}", ylabel="datasets per bin", yscale="log", xlim=(0, high)
    )
    ax.set_ylim(0.3, 2 * max(float(counts.max()), 1.0))
    add_legend(ax, width=_PANEL, minor="x")


def _fractions(ax: Axes, report: SetReport) -> None:
    """Draw which fraction of the test statistics is below the points of chi-square, slice by slice."""
    names = [region["name"] for region in report.regions]
    x = np.arange(len(names)) + 0.6 * (array([names[0] != name for name in names]))  # two groups
    for key, level, colour, marker in (("below_68", 68.27, BLUE, "o"), ("below_95", 95.0, VERMILLION, "s")):
        value, error = (100 * array([region[k] for region in report.regions]) for k in (key, f"{key}_error"))
        ax.axhline(level, color=colour, linestyle=":", linewidth=1)
        ax.errorbar(x, value, yerr=error, fmt=marker, color=colour, markersize=4.5, label=f"{level:.0f} % point")
    ax.set_xticks(x, [f"{region['low']:.3g}\nto {region['high']:.3g}" for region in report.regions], fontsize="small")
    for name in dict.fromkeys(names):
        own = x[[other == name for other in names]]
        ax.text(own.mean(), 0.02, wrapped(name, 1.5), transform=ax.get_xaxis_transform(), ha="center", fontsize="small")
    low = min(50.0, ax.get_ylim()[0])
    ax.set(ylabel="datasets with $t$ below [%]", ylim=(low - 0.12 * (103 - low), 103), xlim=(x[0] - 0.6, x[-1] + 0.6))
    add_legend(ax, width=_PANEL, minor="y")
    ax.tick_params(axis="x", which="both", length=0)


def _deviations(ax: Axes, report: SetReport) -> None:
    """Draw the difference of best fit and truth against the truth, and its mean and spread."""
    truth, difference = array(report.truths["truth"]), array(report.truths["bestfit"]) - array(report.truths["truth"])
    ax.axhline(0, color=GREY, linestyle=":", linewidth=1)
    ax.plot(truth, difference, "o", color=BLUE, markersize=2, alpha=0.4, markeredgewidth=0)
    edges = np.linspace(truth.min(), truth.max(), 9)
    place = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, 7)
    used = [k for k in range(8) if np.count_nonzero(place == k) > 2]
    mean, spread = (array([f(difference[place == k]) for k in used]) for f in (np.mean, np.std))
    middle = 0.5 * (edges[1:] + edges[:-1])[used]
    ax.errorbar(middle, mean, yerr=spread, fmt="D", color="black", markersize=4, linewidth=1.3, label="mean and spread")
    poi = wrapped(report.poi, 1.6)
    reach = 1.1 * float(np.quantile(np.abs(difference), 0.99)) or 1.0
    ax.set(xlabel=f"true {poi}", ylabel=f"best fit of {poi} $-$ truth", ylim=(-reach, reach))
    dots = Line2D([], [], color=BLUE, marker="o", markersize=3, linestyle="none", label="datasets")
    add_legend(ax, handles=[dots, *ax.get_legend_handles_labels()[0]], width=_PANEL)
