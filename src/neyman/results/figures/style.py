"""The look of figures: colours, ticks, legends; figures made without pyplot."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoMinorLocator
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BAND_68",
    "BAND_95",
    "BLUE",
    "COLOURS",
    "GREY",
    "MARKERS",
    "ORANGE",
    "SKY",
    "VERMILLION",
    "NotebookFigure",
    "add_legend",
    "add_ticks",
    "array",
    "escaped",
    "single",
    "symbol",
]


def __dir__() -> list[str]:
    return __all__


# Okabe and Ito's palette; the band's two are those of CMS for readers who cannot tell red from green.
BLUE, SKY, ORANGE, VERMILLION, GREY = "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#7F7F7F"
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", ORANGE, SKY, "#000000")
MARKERS = "osD^vP*"
BAND_68, BAND_95 = "#607641", "#F5BB54"

_SYMBOLS = {
    "tmu": r"$t_\mu$",
    "tmu_tilde": r"$\tilde{t}_\mu$",
    "qmu": r"$q_\mu$",
    "qmu_tilde": r"$\tilde{q}_\mu$",
    "q0": r"$q_0$",
}


class NotebookFigure(Figure):
    """A figure that notebooks show even where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def array(values: ArrayLike) -> NDArray[np.float64]:
    """Return numbers as an array of floats."""
    return np.asarray(values, dtype=np.float64)


def escaped(name: object) -> str:
    """Keep matplotlib from reading a name as mathematics."""
    return str(name).replace("$", r"\$")


def symbol(test_stat: str) -> str:
    """Return the symbol of a test statistic."""
    return _SYMBOLS.get(test_stat, escaped(test_stat))


def single(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of one panel, its size in inches."""
    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def add_legend(ax: Axes, *, minor: str = "both", **options: Any) -> None:
    """Draw the legend, and the ticks."""
    ax.legend(frameon=False, fontsize="small", **options)
    add_ticks(ax, minor)


def add_ticks(ax: Axes, minor: str = "both") -> None:
    """Draw ticks on all sides and inwards, as physics journals do."""
    if minor in ("x", "both"):
        ax.xaxis.set_minor_locator(AutoMinorLocator())
    if minor in ("y", "both"):
        ax.yaxis.set_minor_locator(AutoMinorLocator())
    ax.tick_params(which="both", direction="in", top=True, right=True)
    if minor == "x":
        ax.tick_params(axis="y", which="both", length=0)
