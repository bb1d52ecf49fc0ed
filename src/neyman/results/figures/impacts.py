"""The figure of impacts: pulls, and how far each parameter moves the best fit of the one of interest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from neyman.results import ImpactsResult
from neyman.results.figures.style import BLUE, GREY, ORANGE, add_ticks, escaped, single, wrapped

__all__ = ["impacts"]


def __dir__() -> list[str]:
    return __all__


_NAME = 4.2  # inches that the name of a parameter may take
_SHOWN = 30  # parameters by default
_UP, _DOWN = BLUE, ORANGE


def impacts(result: ImpactsResult, names: Sequence[str] = ()) -> Figure:
    """Draw the parameters with the largest impacts: their pulls below, the impacts above, as cabinetry does.

    Args:
        result: the impacts.
        names: the parameters to draw; default is the 30 with the largest impacts.

    Returns:
        The figure.

    Raises:
        InvalidParameter: if there is no such parameter.
    """
    ranked = [result.index(name) for name in (names or result.names[:_SHOWN])]
    labels = [wrapped(result.names[i], _NAME, lines=1) for i in ranked]
    wide = 4.6 + min(0.085 * max((len(result.names[i]) for i in ranked), default=0) + 0.2, _NAME)
    figure, ax = single(wide, 1.9 + 0.28 * max(len(ranked), 3))
    y = np.arange(len(ranked))[::-1]
    top = ax.twiny()
    ax.set_zorder(top.get_zorder() + 1)  # pulls in front of bars
    ax.patch.set_visible(False)
    _bars(top, result, ranked, y)
    _pulls(ax, result, ranked, y)
    shown = f"{len(ranked)} of {len(result)} parameters" if len(ranked) < len(result) else ""
    size = "|" if result.blind else ""
    top.set_xlabel(rf"{size}$\Delta${escaped(result.poi)}{size}")
    ax.set_xlabel(r"$(\hat{\theta} - \theta_0)\,/\,\Delta\theta$")
    ax.set(ylim=(-0.7, len(ranked) - 0.3))
    ax.set_yticks(y, labels)
    add_ticks(ax, minor="x")
    ax.tick_params(which="both", top=False)
    if result.blind:
        sides = [Patch(color=_UP, label="post-fit"), Patch(fill=False, edgecolor=_UP, label="pre-fit")]
    else:
        sides = [
            Patch(color=_UP, label=r"$\theta = \hat{\theta} + \Delta\hat{\theta}$"),
            Patch(color=_DOWN, label=r"$\theta = \hat{\theta} - \Delta\hat{\theta}$"),
            Patch(fill=False, edgecolor=_UP, label=r"$\hat{\theta} + \Delta\theta$ (pre-fit)"),
            Patch(fill=False, edgecolor=_DOWN, label=r"$\hat{\theta} - \Delta\theta$ (pre-fit)"),
        ]
    figure.legend(
        handles=sides, loc="outside upper left", ncols=2, frameon=False, fontsize="small", title=shown or None,
        title_fontsize="small", alignment="left",
    )  # fmt: skip
    return figure


def _bars(ax: Axes, result: ImpactsResult, ranked: Sequence[int], y: NDArray[np.intp]) -> None:
    """Draw filled bars after the fit and open ones before it."""
    sides = ((1, _UP),) if result.blind else ((0, _DOWN), (1, _UP))
    for column, colour in sides:
        after, before = result.postfit[ranked], result.prefit[ranked]
        if result.blind:
            after, before = (np.fmax(one[:, :1], one[:, 1:]).repeat(2, axis=1) for one in (after, before))
        ax.barh(y, np.nan_to_num(after[:, column]), height=0.75, color=colour, alpha=0.75, linewidth=0)
        ax.barh(y, np.nan_to_num(before[:, column]), height=0.75, fill=False, edgecolor=colour, linewidth=1.0)
    found = np.abs(np.concatenate([result.postfit[ranked], result.prefit[ranked]]))
    reach = 1.15 * float(np.nanmax(found)) if np.isfinite(found).any() else 1.0
    ax.set_xlim((0.0 if result.blind else -reach) or 0.0, reach or 1.0)
    ax.tick_params(which="both", direction="in")


def _pulls(ax: Axes, result: ImpactsResult, ranked: Sequence[int], y: NDArray[np.intp]) -> None:
    """Draw the pulls of constrained parameters, and the values of free ones as numbers."""
    for line in (-1.0, 0.0, 1.0):
        ax.axvline(line, color=GREY, linestyle=":" if line else "-", linewidth=0.8)
    for i, height in zip(ranked, y.tolist(), strict=True):
        name = result.names[i]
        if name in result.constraints:
            centre, width = result.constraints[name]
            pull, error = (result.bestfit[i] - centre) / width, result.uncertainty[i] / width
            ax.errorbar([pull], [height], xerr=[[error], [error]], fmt="o", color="black", markersize=4, linewidth=1.3)
        else:
            text = f"{result.bestfit[i]:.3g} $\\pm$ {result.uncertainty[i]:.2g}"
            ax.text(0.0, height, text, ha="center", va="center", fontsize="small")
    ax.set_xlim(-2.3, 2.3)
