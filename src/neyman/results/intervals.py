"""Confidence intervals and how often they cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neyman.results.base import NamedResult, Result, Table
from neyman.support.text import rounded

__all__ = ["CoverageResult", "IntervalResult"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False, repr=False)
class IntervalResult(Result):
    """A confidence interval on the parameter of interest, by the Neyman construction.

    Args:
        name: the parameter of interest.
        level: the confidence level.
        intervals: the accepted values, ``((low, high), ...)``: none, one or several disconnected ones.
        errors: how well their ends are known, from the number of toys and the grid, ``((low, high), ...)``; zero at
            an end of the tested range.
        scan: the tested values in ascending order, shape ``(n,)``.
        statistic: the observed test statistic there, shape ``(n,)``.
        critical: its critical value there, shape ``(n,)``: the value is accepted where the statistic is not above.
        critical_errors: Monte Carlo errors of the critical values, shape ``(n,)``.
        p_values: probabilities of a statistic at least as large as the observed one, shape ``(n,)``.
        p_errors: their Monte Carlo errors, shape ``(n,)``.
        toys: how many toys each tested value took, or its critical value was learned from, shape ``(n,)``.
        calibration: ``"toys"``, ``"quantile"`` or ``"asymptotics"``.
        test_stat: the test statistic.
        bestfit: the best-fit value.
        valid: whether the interval is to be trusted: neither empty, nor cut off by the grid.
        message: what is to be said about it.
    """

    kind: ClassVar[str] = "interval"
    name: str
    level: float
    intervals: tuple[tuple[float, float], ...]
    errors: tuple[tuple[float, float], ...]
    scan: NDArray[np.float64]
    statistic: NDArray[np.float64]
    critical: NDArray[np.float64]
    critical_errors: NDArray[np.float64]
    p_values: NDArray[np.float64]
    p_errors: NDArray[np.float64]
    toys: NDArray[np.int64]
    calibration: str
    test_stat: str
    bestfit: float
    valid: bool = True
    message: str = ""

    def rows(self) -> list[tuple[str, str]]:
        """Return low and high end of each interval, with its Monte Carlo error where it has one, rounded to be read."""

        def text(end: float, error: float) -> str:
            exact = self.calibration == "asymptotics" or not error > 0.0
            return f"{end:.4g}" if exact else " +/- ".join(rounded(end, error))

        return [
            (text(low, low_error), text(high, high_error))
            for (low, high), (low_error, high_error) in zip(self.intervals, self.errors, strict=True)
        ]

    def __repr__(self) -> str:
        parts = [f"[{low}, {high}]" for low, high in self.rows()]
        text = f"{self._caption()}: {' and '.join(parts) or 'empty'}, best fit {self.bestfit:.4g}"
        return self._warned(f"{text}; {self.message}" if self.message else text)

    def table(self) -> Table:
        """Return what is printed: low and high end of each interval."""
        return f"{self._caption()} {self.message}".strip(), ("low", "high"), self.rows()

    def _caption(self) -> str:
        return f"{100 * self.level:.4g} % confidence interval on {self.name} ({self.test_stat}, {self.calibration})"


@dataclass(frozen=True, eq=False, repr=False)
class CoverageResult(NamedResult):
    """How often an interval covers the truth.

    ``coverage["mu"]`` are the true values of a parameter.

    Args:
        names: the parameters, in the model's order.
        truths: the true parameters, shape ``(T, P)``.
        level: the confidence level that was asked for.
        coverage: the fraction of toys whose interval holds the true parameter of interest, shape ``(T,)``.
        error: its binomial error, shape ``(T,)``.
        intervals: its 68 % Clopper-Pearson interval, shape ``(T, 2)``.
        covered: how many toys cover, shape ``(T,)``.
        toys: of how many with a valid fit, shape ``(T,)``.
        verdicts: for each truth ``"covers"``, ``"undercovers"`` or ``"overcovers"``.
        tolerance: how far below the level the coverage may be.
        poi: the parameter of interest.
        test_stat: the test statistic.
        calibration: ``"toys"``, ``"quantile"`` or ``"asymptotics"``.
    """

    kind: ClassVar[str] = "coverage"
    derived: ClassVar[tuple[str, ...]] = ("passed",)
    names: tuple[str, ...]
    truths: NDArray[np.float64]
    level: float
    coverage: NDArray[np.float64]
    error: NDArray[np.float64]
    intervals: NDArray[np.float64]
    covered: NDArray[np.int64]
    toys: NDArray[np.int64]
    verdicts: tuple[str, ...]
    tolerance: float
    poi: str
    test_stat: str
    calibration: str

    @property
    def passed(self) -> bool:
        """Whether no truth is undercovered."""
        return "undercovers" not in self.verdicts

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return the true values of the parameter ``name``, shape ``(T,)``."""
        return np.asarray(self.truths[:, self.index(name)])

    def __len__(self) -> int:
        return len(self.truths)

    def rows(self) -> list[tuple[str, ...]]:
        """Return truth, coverage, error, number of toys and verdict of each point, in percent."""
        return [
            (
                *(f"{value:.4g}" for value in truth),
                f"{100 * coverage:.1f}",
                f"{100 * error:.1f}",
                f"{int(toys)}",
                verdict,
            )
            for truth, coverage, error, toys, verdict in zip(
                self.truths, self.coverage, self.error, self.toys, self.verdicts, strict=True
            )
        ]

    def table(self) -> Table:
        """Return what is printed: truth, coverage in percent, its error, number of toys and verdict of each point."""
        caption = (
            f"coverage of the {100 * self.level:.4g} % interval on {self.poi} ({self.test_stat}, {self.calibration})"
        )
        header = (*self.names, "coverage [%]", "error", "toys", "verdict")
        return f"{caption}: {'passed' if self.passed else 'failed'}", header, self.rows()
