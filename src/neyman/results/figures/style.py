"""The look of figures: colours, ticks, legends; figures made without pyplot."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
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
    "STACK",
    "VERMILLION",
    "NotebookFigure",
    "add_legend",
    "add_ticks",
    "array",
    "escaped",
    "legend_columns",
    "single",
    "symbol",
    "wrapped",
]


def __dir__() -> list[str]:
    return __all__


# Okabe and Ito's palette; the band's two are those of CMS for readers who cannot tell red from green.
BLUE, SKY, ORANGE, VERMILLION, GREY = "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#7F7F7F"
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", ORANGE, SKY, "#000000")
MARKERS = "osD^vP*"
# Petroff's ten for stacked samples (arXiv:2107.02270), which all readers can tell apart
STACK = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
BAND_68, BAND_95 = "#607641", "#F5BB54"

_CHARACTER = 0.085  # inches, of a medium letter on average

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


def wrapped(name: object, width: float, lines: int = 3) -> str:
    r"""Break a name, which may be a long expression, into lines that fit, and keep it from being read as mathematics.

    Args:
        name: the name.
        width: in inches, at medium size.
        lines: how many there may be; what is longer has dots in its middle.

    Example:
        >>> wrapped("sqrt(2*pt[:,0]*pt[:,1]*(cosh(eta[:,0]-eta[:,1])))", 2.5, lines=2).split("\n")
        ['sqrt(2*pt[:,0]*pt[:,1]*(cosh(', 'eta[:,0]-eta[:,1])))']
    """
    most = max(int(width / _CHARACTER), 4)
    rows, text = [""], str(name)
    if len(text) > lines * most:  # what tells names apart often stands at their end
        half = (lines * most - 1 - 4 * (lines - 1)) // 2  # lines are not filled to the last letter
        text = f"{text[:half]}…{text[-half:]}"
    parts = re.split(r"(?<=[-\s,*/+(&|=<>_])(?![\s\d=&|])", text)
    for word in (part[k : k + most] for part in parts for k in range(0, len(part), most)):
        if rows[-1] and len(rows[-1]) + len(word.rstrip()) > most:
            rows.append("")
        rows[-1] += word
    return escaped("\n".join(row.strip() for row in rows))


def symbol(test_stat: str) -> str:
    """Return the symbol of a test statistic."""
    return _SYMBOLS.get(test_stat, escaped(test_stat))


def single(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of one panel, its size in inches."""
    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def add_legend(
    ax: Axes, *, minor: str = "both", width: float | None = None, title: str = "", handles: Sequence[Any] | None = None
) -> None:
    """Draw the legend above the panel, where no curve is, and the ticks.

    Args:
        ax: the panel.
        minor: the axes that have minor ticks, see :func:`add_ticks`.
        width: of the panel in inches; default is that of the whole figure.
        title: of the panel, which stands above the legend.
        handles: what is named; default is all that has a label.
    """
    shown = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    labels = [str(handle.get_label()) for handle in shown]
    figure = ax.get_figure(root=True)
    assert figure is not None
    ax.legend(
        shown, labels, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.1, borderpad=0.2, handlelength=1.6,
        ncols=legend_columns(labels, width or figure.get_figwidth() - 0.9), frameon=False, fontsize="small",
        title=title or None, title_fontsize="small", alignment="left",
    )  # fmt: skip
    add_ticks(ax, minor)


def legend_columns(labels: Sequence[str], width: float) -> int:
    """Return how many columns of a legend of small letters fit into a width in inches.

    Example:
        >>> legend_columns(["data", "signal", "background"], 3.0)
        2
    """
    longest = max((len(line) for label in labels for line in label.split("\n")), default=1)
    return int(min(max(width // (0.073 * longest + 0.55), 1), max(len(labels), 1)))


def add_ticks(ax: Axes, minor: str = "both") -> None:
    """Draw ticks on all sides and inwards, as physics journals do."""
    if minor in ("x", "both"):
        ax.xaxis.set_minor_locator(AutoMinorLocator())
    if minor in ("y", "both"):
        ax.yaxis.set_minor_locator(AutoMinorLocator())
    ax.tick_params(which="both", direction="in", top=True, right=True)
    if minor == "x":
        ax.tick_params(axis="y", which="both", length=0)
