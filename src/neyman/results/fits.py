"""Fits and scans of the profile likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neyman.results.base import NamedResult, Table
from neyman.support.text import rounded

if TYPE_CHECKING:  # matplotlib is imported where a figure is drawn
    from matplotlib.figure import Figure

    from neyman.results.prediction import Predicts

__all__ = ["FitResult", "ScanResult"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False, repr=False)
class FitResult(NamedResult):
    """A maximum-likelihood fit.

    ``fit["mu"]`` is a best-fit value, ``dict(fit)`` has all of them.

    Args:
        names: the parameters, in the model's order, shape ``(P,)``.
        bestfit: their best-fit values, shape ``(P,)``.
        uncertainty: symmetric uncertainties from the Hessian, zero where held fixed, shape ``(P,)``; at a bound or edge
            where the Hessian says nothing, the longer side of MINOS; nan where the data do not determine a parameter.
        covariance: shape ``(P, P)``, zero rows where held fixed or where the Hessian says nothing.
        twice_nll: -2 log L at the minimum.
        minos: MINOS uncertainties ``{name: (down, up)}``, down negative.
        valid: whether it is a minimum, also one at bounds, and its Hessian is positive definite along them.
        message: what there is to say of it: parameters at their bounds, or that the data do not determine.
        labels: for each parameter ``"free"``, ``"constrained"`` or ``"fixed"``.
        constraints: the centre and width of the constraint terms ``{name: (centre, width)}``.
        at_bound: the parameters that are at their ``"lower"`` or ``"upper"`` bound.
        simulation: what the finite simulation adds to each uncertainty, in quadrature, and the likelihood does not
            know, shape ``(P,)``, zero where held fixed; see :mod:`neyman.inference.simulation`. ``None`` where nothing
            is known of a simulation.
    """

    kind: ClassVar[str] = "fit"
    names: tuple[str, ...]
    bestfit: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    covariance: NDArray[np.float64]
    twice_nll: float
    minos: dict[str, tuple[float, float]]
    valid: bool
    message: str
    labels: tuple[str, ...] = ()
    constraints: dict[str, tuple[float, float]] = field(default_factory=dict)
    at_bound: dict[str, str] = field(default_factory=dict)
    simulation: NDArray[np.float64] | None = None

    def __getitem__(self, name: str) -> float:
        """Return the best-fit value of the parameter ``name``."""
        return float(self.bestfit[self.index(name)])

    def __len__(self) -> int:
        return len(self.names)

    def error(self, name: str) -> float:
        """Return the symmetric uncertainty of the parameter ``name``, zero where it was held fixed."""
        return float(self.uncertainty[self.index(name)])

    def correlation(self, first: str, second: str) -> float:
        """Return the correlation of two parameters, zero where one was held fixed."""
        return float(self.correlations[self.index(first), self.index(second)])

    @property
    def correlations(self) -> NDArray[np.float64]:
        """The correlation matrix, shape ``(P, P)``; rows and columns of what was held fixed are zero."""
        sigma = np.sqrt(np.diag(self.covariance))
        scale = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0)
        return np.asarray(self.covariance * np.outer(scale, scale))

    def plot_features(self, model: Predicts, data: Any = None, **options: Any) -> Figure:
        """Return the figure of the data over the prediction after this fit, of every feature, learned ratio and bin.

        Args:
            model: the model that was fitted.
            data: the data vector; the document's observations where it is left out.
            options: those of :meth:`neyman.Model.prediction`, whose result this draws.
        """
        return model.prediction(data, self, **options).plot()

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return name, value, uncertainty and MINOS uncertainties of each parameter, rounded to be read."""
        rows = []
        for i, name in enumerate(self.names):
            if self.labels and self.labels[i] == "fixed":
                rows.append((name, f"{self.bestfit[i]:.5g}", "fixed", ""))
                continue
            value, uncertainty = rounded(float(self.bestfit[i]), float(self.uncertainty[i]))
            if math.isnan(self.uncertainty[i]):
                uncertainty = "not determined"
            form = "+.3g" if "e" in value + uncertainty else f"+.{len(value.partition('.')[2])}f"
            minos = " ".join(format(side, form) for side in self.minos.get(name, ()))
            rows.append((name, value, uncertainty, minos))
        return rows

    def __repr__(self) -> str:
        lines, rows = [self._caption()], self.rows()
        simulated = self._simulated()
        name_width, value_width = (max((len(row[k]) for row in rows), default=0) for k in (0, 1))
        for name, value, uncertainty, minos in rows:
            error = f"+/- {uncertainty}" if uncertainty[0].isdigit() or uncertainty == "inf" else f"({uncertainty})"
            line = f"  {name:<{name_width}} = {value:>{value_width}} {error}"
            line += f"  (MINOS {minos})" if minos else ""
            line += f"  (simulation {simulated[name]})" if simulated.get(name) else ""
            lines.append(line + (f"  at its {self.at_bound[name]} bound" if name in self.at_bound else ""))
        return self._warned("\n".join(lines))

    def table(self) -> Table:
        """Return what is printed: name, best fit, uncertainty, MINOS uncertainties and bound of each parameter.

        Where it is known, what the finite simulation adds stands behind these.
        """
        header: tuple[str, ...] = ("parameter", "best fit", "uncertainty", "MINOS")
        rows: list[tuple[str, ...]] = [*self.rows()]
        if simulated := self._simulated():
            header, rows = (*header, "simulation"), [(*row, simulated[row[0]]) for row in rows]
        if self.at_bound:
            ends = (self.at_bound.get(row[0]) for row in rows)
            rows = [(*row, f"at its {end} bound" if end else "") for row, end in zip(rows, ends, strict=True)]
            header = (*header, "")
        return self._caption(), header, rows

    def _simulated(self) -> dict[str, str]:
        """Return what the simulation adds to each parameter, rounded like its uncertainty; nothing if unknown."""
        if self.simulation is None:
            return {}
        texts = {}
        for name, own, uncertainty in zip(self.names, self.simulation.tolist(), self.uncertainty.tolist(), strict=True):
            known = math.isfinite(own) and uncertainty > 0.0
            texts[name] = rounded(own, uncertainty)[0] if known else ""
        return texts

    def _caption(self) -> str:
        return f"fit: {self.message} -2 log L = {self.twice_nll:.4f}"


@dataclass(frozen=True, eq=False, repr=False)
class ScanResult(NamedResult):
    """A profile likelihood scan over one parameter or two.

    ``scan["mu"]`` are the scanned values of a parameter.

    Args:
        name: the scanned parameter, or the two.
        values: the scanned values, shape ``(n,)``; for two parameters a pair of such axes.
        delta_twice_nll: -2 log of the profile likelihood ratio, shape ``(n,)`` or ``(n_1, n_2)``.
        bestfit: the best-fit value, or the two.
        uncertainty: its symmetric uncertainty, or the two.
    """

    kind: ClassVar[str] = "scan"
    name: str | tuple[str, str]
    values: tuple[NDArray[np.float64], NDArray[np.float64]] | NDArray[np.float64]
    delta_twice_nll: NDArray[np.float64]
    bestfit: float | tuple[float, float]
    uncertainty: float | tuple[float, float]

    @property
    def names(self) -> tuple[str, ...]:
        """The scanned parameters."""
        return (self.name,) if isinstance(self.name, str) else self.name

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return the scanned values of the parameter ``name``."""
        return self._axes()[self.index(name)]

    def table(self) -> Table:
        """Return what is printed: the scanned range of each parameter, its best fit and uncertainty."""
        fits = np.reshape([self.bestfit, self.uncertainty], (2, -1)).T.tolist()
        rows = []
        for name, axis, fit in zip(self.names, self._axes(), fits, strict=True):
            ends = (f"{end:.5g}" for end in (axis.min(initial=np.inf), axis.max(initial=-np.inf)))
            rows.append((name, f"{len(axis)}", *ends, *rounded(*fit)))
        caption = f"scan of the profile likelihood in {' and '.join(self.names)}"
        return caption, ("parameter", "points", "from", "to", "best fit", "uncertainty"), rows

    def _axes(self) -> tuple[NDArray[np.float64], ...]:
        return self.values if isinstance(self.values, tuple) else (self.values,)
