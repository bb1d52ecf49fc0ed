"""Impacts: how far each parameter moves the best fit of one of interest, and what its uncertainty is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from neyman.results.base import NamedResult, Table
from neyman.support.text import html_table, rounded, text_table

if TYPE_CHECKING:  # matplotlib is imported where a figure is drawn
    from matplotlib.figure import Figure

__all__ = ["ImpactsResult"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False, repr=False)
class ImpactsResult(NamedResult):
    """The impacts of all other parameters on one parameter, those with the largest first.

    ``impacts["jes"]`` is the pair of changes of the best fit when ``jes`` is held at its best fit minus and plus its
    uncertainty.

    Args:
        poi: the parameter whose best fit moves.
        value: its best fit; nan where blind.
        total: its uncertainty.
        names: the other parameters, ranked by their impact after the fit, shape ``(K,)``.
        bestfit: their best fits, shape ``(K,)``.
        uncertainty: their uncertainties after the fit, shape ``(K,)``.
        prefit: the changes of ``poi`` when the parameter is held one width of its constraint below and above its best
            fit, shape ``(K, 2)``; nan where it has no constraint or these were not asked for.
        postfit: the same with its uncertainty after the fit, shape ``(K, 2)``.
        auxdata: the changes of ``poi`` when the auxiliary data of its constraint are one standard deviation lower and
            higher and everything is fitted again, shape ``(K, 2)`` (arXiv:2307.04007); nan where it has no constraint.
        parts: what the uncertainty is made of, in quadrature: ``data``, ``systematics`` and ``simulation``, the last
            being the parameters of the finite simulation in the likelihood.
        groups: the part of each group of parameters in it.
        simulation: what the finite simulation adds and the likelihood does not know; nan where that is not known.
        constraints: centre and width of the constraint terms ``{name: (centre, width)}``.
        blind: whether the best fit of ``poi`` and the signs of the impacts are hidden.
        valid: whether the fit is valid and every impact was found.
        message: what there is to say of that.
    """

    kind: ClassVar[str] = "impacts"
    poi: str
    value: float
    total: float
    names: tuple[str, ...]
    bestfit: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    prefit: NDArray[np.float64]
    postfit: NDArray[np.float64]
    auxdata: NDArray[np.float64]
    parts: dict[str, float]
    groups: dict[str, float] = field(default_factory=dict)
    simulation: float = math.nan
    constraints: dict[str, tuple[float, float]] = field(default_factory=dict)
    blind: bool = False
    valid: bool = True
    message: str = ""

    def __getitem__(self, name: str) -> tuple[float, float]:
        """Return the changes of the parameter of interest with ``name`` at its best fit -+ its uncertainty."""
        down, up = self.postfit[self.index(name)].tolist()
        return down, up

    def plot(self, names: Sequence[str] = ()) -> Figure:
        """Return the figure of the impacts, as :func:`neyman.plot.impacts` does."""
        from neyman.results.figures.impacts import impacts

        return impacts(self, names)

    def __len__(self) -> int:
        return len(self.names)

    def table(self) -> Table:
        """Return what is printed: best fit and impacts of every parameter."""
        header = ("parameter", "best fit", "uncertainty", "pre-fit impact", "post-fit impact", "auxiliary data")
        rows = []
        for i, name in enumerate(self.names):
            value, uncertainty = rounded(float(self.bestfit[i]), float(self.uncertainty[i]))
            changes = (self._both(values[i]) for values in (self.prefit, self.postfit, self.auxdata))
            rows.append((name, value, uncertainty, *changes))
        return self._caption(), header, rows

    def __repr__(self) -> str:
        caption, header, rows = self.table()
        lines = [caption, *text_table([header, *rows], right=range(1, len(header)))]
        lines += [f"  {name}: {self._number(value)}" for name, value in {**self.parts, **self.groups}.items()]
        if not math.isnan(self.simulation):
            lines.append(f"  finite simulation, beside this: {self._number(self.simulation)}")
        return self._warned("\n".join(lines))

    def _repr_html_(self) -> str:
        parts = {**self.parts, **self.groups}
        if not math.isnan(self.simulation):
            parts["finite simulation, beside this"] = self.simulation
        rows = [(name, self._number(value)) for name, value in parts.items()]
        return super()._repr_html_() + html_table(f"uncertainty of {self.poi}", ("part", "size"), rows)

    def _caption(self) -> str:
        value, total = rounded(self.value, self.total)
        shown = f"blind, +/- {self._number(self.total)}" if self.blind else f"{value} +/- {total}"
        return f"impacts on {self.poi} = {shown}" + (f": {self.message}" if self.message else "")

    def _both(self, pair: NDArray[np.float64]) -> str:
        if np.isnan(pair).all():
            return ""
        if self.blind:
            return self._number(float(np.nanmax(pair)))
        return " ".join(self._number(side, "+") for side in pair.tolist())

    def _number(self, value: float, sign: str = "") -> str:
        """Return a change of the parameter of interest with three digits of its uncertainty."""
        digits = 2 - math.floor(math.log10(self.total)) if self.total > 0 and math.isfinite(self.total) else 3
        return format(value, f"{sign}.{digits}f" if 0 <= digits <= 8 else f"{sign}.3g")
