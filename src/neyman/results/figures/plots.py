"""Figures from results: scans, limits, pulls, correlations, training diagnostics; nothing here refits.

=====================  ==============================================
``scan``               a profile likelihood scan, 1-D or 2-D
``scans``              the same in several analyses of one dataset
``limit``              CLs against the parameter of interest, with its band
``belt``               a Neyman construction: critical and observed values
``coverage``           coverage at the truths, with the binomial band
``teststatistic``      a test statistic in toys, and its asymptotic form
``pulls``              the parameters of a fit against their constraints
``correlations``       the correlation matrix of a fit
``training``           loss, calibration and closure of one learned channel, and its test statistic
``draw``               whichever of these the result asks for
=====================  ==============================================

Every function returns a :class:`matplotlib.figure.Figure` made without pyplot: there is no global state to close,
and nothing changes the user's own style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from neyman.exceptions import Unsupported
from neyman.results import (
    CoverageResult,
    FitResult,
    IntervalResult,
    LimitResult,
    Result,
    ScanResult,
    SetReport,
    StatisticResult,
    TrainingReport,
    rounded,
)
from neyman.results.figures.belts import belt, coverage, teststatistic
from neyman.results.figures.style import (
    BAND_68,
    BAND_95,
    BLUE,
    COLOURS,
    GREY,
    ORANGE,
    VERMILLION,
    NotebookFigure,
    add_legend,
    add_ticks,
    array,
    escaped,
    single,
)
from neyman.results.figures.training import training

__all__ = [
    "belt",
    "correlations",
    "coverage",
    "draw",
    "limit",
    "pulls",
    "scan",
    "scans",
    "teststatistic",
    "training",
]


def __dir__() -> list[str]:
    return __all__


def draw(result: Result) -> Figure:
    """Draw any result.

    Args:
        result: a fit, a scan, a limit, an interval, a coverage, a test statistic or a training report.

    Returns:
        The figure; ``figure.savefig("figure.pdf")`` writes it.

    Raises:
        Unsupported: if there is no figure for this kind of result.

    Example:
        >>> import numpy as np
        >>> from neyman.results import ScanResult
        >>> mu = np.linspace(0, 2, 5)
        >>> draw(ScanResult("mu", mu, ((mu - 1) / 0.3) ** 2, 1.0, 0.3)).axes[0].get_xlabel()
        'mu'
    """
    match result:
        case FitResult():
            return pulls(result)
        case ScanResult():
            return scan(result)
        case LimitResult():
            return limit(result)
        case IntervalResult():
            return belt(result)
        case CoverageResult():
            return coverage(result)
        case StatisticResult():
            return teststatistic(result)
        case TrainingReport() | SetReport():
            return training(result)
    raise Unsupported(
        f"there is no figure for {type(result).__name__}: draw a fit, a scan, a limit, an interval, a coverage, "
        "a test statistic or a training report"
    )


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
    ax.set(xlabel=escaped(result.name), ylabel=r"$-2\,\Delta\log L$", xlim=(low, high), ylim=(0, top))
    add_legend(ax, loc="upper center")


def scans(results: Mapping[str, ScanResult]) -> Figure:
    """Draw profile likelihood scans of one parameter in several analyses of the same data.

    Args:
        results: the scans, by the name to show.
    """
    figure, ax = single(6.4, 4.8)
    styles = ["-", (0, (4, 2)), "-.", (0, (1, 1))]
    for i, (name, result) in enumerate(results.items()):
        label = "{}: {} $\\pm$ {}".format(
            name, *rounded(float(array(result.bestfit)), float(array(result.uncertainty)))
        )
        x, q = array(result.values), array(result.delta_twice_nll)
        ax.plot(x, q, color=COLOURS[i % len(COLOURS)], linestyle=styles[i % len(styles)], linewidth=2, label=label)
        ax.set(xlabel=escaped(str(result.name)), xlim=(x.min(), x.max()))
    _levels(ax)
    ax.set(ylabel=r"$-2\,\Delta\log L$", ylim=(0, 8))
    add_legend(ax, loc="upper center")
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
    ax.set(xlabel=escaped(result.name[0]), ylabel=escaped(result.name[1]), xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    add_legend(ax, handles=handles, loc="best")


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
    ax.set(xlabel=escaped(result.name), ylabel="CL$_s$", xlim=(x[0], x[-1]), ylim=(floor, 1.15), yscale="log")
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    add_legend(ax, handles=handles, loc="upper right", minor="x")
    ax.tick_params(axis="y", which="minor", length=2)
    return figure


def pulls(result: FitResult) -> Figure:
    """Draw the constrained parameters in units of their constraints, and the free ones beside them.

    Args:
        result: a fit. Where it does not carry ``constraints``, a constrained parameter is taken to be constrained to
            0 +- 1.
    """
    labels = result.labels or ("constrained",) * len(result.names)
    constrained = [i for i, label in enumerate(labels) if label == "constrained"]
    free = [i for i, label in enumerate(labels) if label == "free"]
    # inches: rows of pulls, rows of free parameters with an axis each
    height = 1.0 + max(0.28 * max(len(constrained), 3), 0.62 * len(free))
    figure = NotebookFigure(figsize=(5.6 * bool(constrained) + 3.4 * bool(free) or 3.4, height), layout="constrained")
    left: FigureBase = figure
    right: FigureBase = figure
    if constrained and free:
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(5.6, 3.4))[0]
    if constrained:
        _pull_panel(left.subplots(), result, constrained)
    if free:
        grid = right.add_gridspec(max(len(free), int(height / 0.62)), 1)
        for row, i in enumerate(free):
            _free_panel(right.add_subplot(grid[row, 0]), result, i)
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
    ax.set_yticks(y, [escaped(name) for name in names])
    add_ticks(ax, minor="x")


def _free_panel(ax: Axes, result: FitResult, i: int) -> None:
    down, up = _errors(result, [i])[:, 0]
    value = float(result.bestfit[i])
    ax.errorbar([value], [0], xerr=[[down], [up]], fmt="o", color="black", markersize=4.5, linewidth=1.4)
    reach = 1.6 * max(down, up) or 1.0
    name, shown, uncertainty, minos = result.rows()[i]
    errors = "$^{{{1}}}_{{{0}}}$".format(*minos.split()) if minos else f"$\\pm$ {uncertainty}"
    ax.set_title(f"{escaped(name)} = {shown} {errors}", fontsize="small", pad=3)
    ax.set(xlim=(value - reach, value + reach), ylim=(-1, 1), yticks=[])
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelsize="x-small", direction="in")
    ax.spines[["left", "right", "top"]].set_visible(False)


def correlations(result: FitResult) -> Figure:
    """Draw the correlation matrix of the parameters that were not held fixed.

    Args:
        result: a fit.
    """
    kept = [i for i in range(len(result.names)) if result.covariance[i, i] > 0]
    covariance = result.covariance[np.ix_(kept, kept)]
    sigma = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sigma, sigma)
    n = len(kept)
    figure, ax = single(2.6 + 0.45 * max(n, 4), 1.8 + 0.45 * max(n, 4))
    image = ax.imshow(correlation, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
    names = [escaped(result.names[i]) for i in kept]
    ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n), names)
    ax.tick_params(length=0)
    for (row, column), value in np.ndenumerate(correlation):
        if abs(value) >= 0.005:
            colour = "white" if abs(value) > 0.6 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize="x-small", color=colour)
    figure.colorbar(image, ax=ax, label="correlation")
    return figure


def _errors(result: FitResult, indices: Sequence[int]) -> NDArray[np.float64]:
    """Return how far each interval reaches down and up, shape ``(2, len(indices))``: MINOS where known."""
    errors = []
    for i in indices:
        sigma = float(result.uncertainty[i])
        down, up = result.minos.get(result.names[i], (-sigma, sigma))
        errors.append((abs(down), abs(up)))
    return array(np.nan_to_num(np.array(errors, dtype=float).T))
