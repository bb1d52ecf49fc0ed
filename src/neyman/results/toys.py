"""Toys, and the distribution of a test statistic in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.results.base import NamedResult, Result, Table
from neyman.support.text import rounded

__all__ = ["StatisticResult", "ToysResult"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False, repr=False)
class ToysResult(NamedResult):
    """Toys thrown at one point, and what was fitted to each.

    ``toys["mu"]`` are the best fits of a parameter, and ``len(toys)`` is the number of toys.

    Args:
        names: the parameters, in the model's order, shape ``(P,)``.
        pars: where the toys were thrown, shape ``(P,)``.
        source: ``"simulation"`` or ``"model"``.
        seed: of the whole.
        main: counts and, for a learned channel, the number of events, shape ``(n, B)``.
        auxdata: the auxiliary data, shape ``(n, A)``.
        bestfit: the best fits, shape ``(n, P)``; empty if none were asked for.
        twice_nll: -2 log L there, shape ``(n,)``.
        fitted: whether a minimum was found, shape ``(n,)``.
        fallbacks: how many toys had to be left to iminuit.
        valid: whether all fits that were asked for found a minimum.
    """

    kind: ClassVar[str] = "toys"
    names: tuple[str, ...]
    pars: NDArray[np.float64]
    source: str
    seed: int
    main: NDArray[np.float64]
    auxdata: NDArray[np.float64]
    bestfit: NDArray[np.float64]
    twice_nll: NDArray[np.float64]
    fitted: NDArray[np.bool_]
    fallbacks: int = 0
    valid: bool = True

    def __len__(self) -> int:
        return len(self.main)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return the best fits of the parameter ``name``, of the toys whose fit found a minimum."""
        place = self.index(name)
        if not len(self.bestfit):
            raise InvalidParameter(f"the toys were not fitted, so that {name} has no best fits: use fit=True")
        return np.asarray(self.bestfit[self.fitted, place])

    def rows(self) -> list[tuple[str, ...]]:
        """Return name and true value, and of fitted toys mean and standard deviation of the best fits."""
        truth = [(name, f"{value:.5g}") for name, value in zip(self.names, self.pars, strict=True)]
        if not self.fitted.any():
            return list(truth)
        return [(*one, *rounded(float(self[one[0]].mean()), float(self[one[0]].std()))) for one in truth]

    def table(self) -> Table:
        """Return what is printed: each parameter, and of fitted toys mean and standard deviation of the best fits."""
        caption = f"{len(self)} toys from the {self.source}"
        if len(self.bestfit):
            caption += f", fitted ({int(self.fitted.sum())} valid, {self.fallbacks} by iminuit)"
        header = ("parameter", "true", "mean", "spread")
        return caption, header if self.fitted.any() else header[:2], self.rows()


@dataclass(frozen=True, eq=False, repr=False)
class StatisticResult(Result):
    """The distribution of a test statistic at one point.

    Args:
        name: the parameter of interest.
        value: its tested value.
        test_stat: the test statistic.
        pars: the parameters that the toys were thrown at, shape ``(P,)``.
        statistic: its values in the toys, shape ``(n,)``.
        observed: its value in the observed data, nan without.
        root_asimov: the tested value in standard deviations, which the asymptotic form depends on.
        p_value: the fraction of toys at or above the observed value, nan without.
        asymptotic_p_value: the same by the asymptotic formula.
        edges: values of the statistic from zero up, the edges of a histogram, shape ``(k,)``.
        asymptotic: the asymptotic probability of a value at least as large, shape ``(k,)``.
    """

    kind: ClassVar[str] = "test statistic"
    name: str
    value: float
    test_stat: str
    pars: NDArray[np.float64]
    statistic: NDArray[np.float64]
    observed: float
    root_asimov: float
    p_value: float
    asymptotic_p_value: float
    edges: NDArray[np.float64]
    asymptotic: NDArray[np.float64]

    def __repr__(self) -> str:
        return (
            f"{self._caption()}: observed {self.observed:.4g}, p-value {self.p_value:.4g} +/- {self.p_error:.2g} "
            f"from {len(self.statistic)} toys, {self.asymptotic_p_value:.4g} by the asymptotic formula"
        )

    @property
    def p_error(self) -> float:
        """The Monte Carlo error of the p-value."""
        return math.sqrt(max(self.p_value * (1 - self.p_value), 0.0) / max(len(self.statistic), 1))

    def table(self) -> Table:
        """Return what is printed: the observed value and its p-values."""
        header = ("observed", "p-value", "error", "toys", "asymptotic p-value")
        row = [f"{x:.4g}" for x in (self.observed, self.p_value, self.p_error)]
        return self._caption(), header, [(*row, f"{len(self.statistic)}", f"{self.asymptotic_p_value:.4g}")]

    def _caption(self) -> str:
        return f"{self.test_stat} at {self.name} = {self.value:g}"
