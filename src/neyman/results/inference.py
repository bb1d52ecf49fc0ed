"""Results of inference: fits, scans, limits, intervals, coverage, toys."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.results.base import Result
from neyman.support.messages import did_you_mean
from neyman.support.text import html_table, rounded

__all__ = [
    "ClsResult",
    "CoverageResult",
    "FitResult",
    "IntervalResult",
    "LimitResult",
    "ScanResult",
    "StatisticResult",
    "ToysResult",
]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class FitResult(Result):
    """A maximum-likelihood fit.

    Args:
        names: the parameters, in the model's order, shape ``(P,)``.
        bestfit: their best-fit values, shape ``(P,)``.
        uncertainty: symmetric uncertainties from the Hessian, zero where held fixed, shape ``(P,)``.
        covariance: shape ``(P, P)``, zero rows where held fixed.
        twice_nll: -2 log L at the minimum.
        minos: MINOS uncertainties ``{name: (down, up)}``, down negative.
        valid: whether the minimum is to be trusted.
        message: what the minimiser said.
        labels: for each parameter ``"free"``, ``"constrained"`` or ``"fixed"``.
        constraints: the centre and width of the constraint terms ``{name: (centre, width)}``.
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

    def __getitem__(self, name: str) -> float:
        """Return the best-fit value of the parameter ``name``."""
        if name not in self.names:
            raise InvalidParameter(f"the fit has no parameter {name!r}; {did_you_mean(name, self.names)}")
        return float(self.bestfit[self.names.index(name)])

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return name, value, uncertainty and MINOS uncertainties of each parameter, rounded to be read."""
        rows = []
        for i, name in enumerate(self.names):
            if self.labels and self.labels[i] == "fixed":
                rows.append((name, f"{self.bestfit[i]:.5g}", "fixed", ""))
                continue
            value, uncertainty = rounded(float(self.bestfit[i]), float(self.uncertainty[i]))
            form = "+.3g" if "e" in value else f"+.{len(value.partition('.')[2])}f"
            minos = " ".join(format(side, form) for side in self.minos.get(name, ()))
            rows.append((name, value, uncertainty, minos))
        return rows

    def __repr__(self) -> str:
        lines = [f"fit: {self.message} -2 log L = {self.twice_nll:.4f}"]
        name_width, value_width = (max((len(row[k]) for row in self.rows()), default=0) for k in (0, 1))
        for name, value, uncertainty, minos in self.rows():
            error = "(fixed)" if uncertainty == "fixed" else f"+/- {uncertainty}"
            line = f"  {name:<{name_width}} = {value:>{value_width}} {error}"
            lines.append(line + (f"  (MINOS {minos})" if minos else ""))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        caption = f"fit: {self.message} -2 log L = {self.twice_nll:.4f}"
        return html_table(caption, ("parameter", "best fit", "uncertainty", "MINOS"), self.rows())


@dataclass(frozen=True, eq=False)
class ScanResult(Result):
    """A profile likelihood scan over one parameter or two.

    Args:
        name: the scanned parameter, or the two.
        values: the scanned values, shape ``(n,)``; for two parameters a pair of such axes.
        delta_twice_nll: -2 log of the profile likelihood ratio, shape ``(n,)`` or ``(n_1, n_2)``.
        bestfit: the best-fit value, or the two.
        uncertainty: its symmetric uncertainty, or the two.
    """

    kind: ClassVar[str] = "scan"
    name: str | tuple[str, str]
    values: NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]
    delta_twice_nll: NDArray[np.float64]
    bestfit: float | tuple[float, float]
    uncertainty: float | tuple[float, float]

    def __repr__(self) -> str:
        if isinstance(self.name, str):
            return (
                f"scan of {self.name}: {len(self.values)} points, "
                f"best fit {self.bestfit:.5g} +/- {self.uncertainty:.3g}"
            )
        shape = " x ".join(str(n) for n in self.delta_twice_nll.shape)
        return f"scan of {self.name[0]} and {self.name[1]}: {shape} points"


@dataclass(frozen=True, eq=False)
class ClsResult(Result):
    """The CLs of one value of the parameter of interest.

    Args:
        name: the parameter of interest.
        value: the tested value.
        observed: the observed CLs.
        expected: the expected ones at -2, -1, 0, 1, 2 sigma, shape ``(5,)``.
    """

    kind: ClassVar[str] = "cls"
    name: str
    value: float
    observed: float
    expected: NDArray[np.float64]

    def __repr__(self) -> str:
        down2, down1, median, up1, up2 = self.expected
        return (
            f"CLs of {self.name} = {self.value:g}: observed {self.observed:.4g}, "
            f"expected {median:.4g} (68 %: {down1:.4g} to {up1:.4g}, 95 %: {down2:.4g} to {up2:.4g})"
        )


@dataclass(frozen=True, eq=False)
class LimitResult(Result):
    """A CLs upper limit on the parameter of interest.

    Args:
        name: the parameter of interest.
        level: the confidence level, 0.95 for 95 %.
        observed: the observed upper limit.
        expected: the expected ones at -2, -1, 0, 1, 2 sigma, shape ``(5,)``.
        scan: the tested values in ascending order, shape ``(n,)``.
        cls_observed: the observed CLs there, shape ``(n,)``.
        cls_expected: the expected CLs there, shape ``(n, 5)``, -2 .. +2 sigma.
    """

    kind: ClassVar[str] = "limit"
    name: str
    level: float
    observed: float
    expected: NDArray[np.float64]
    scan: NDArray[np.float64]
    cls_observed: NDArray[np.float64]
    cls_expected: NDArray[np.float64]

    def __repr__(self) -> str:
        down2, down1, median, up1, up2 = self.expected
        return (
            f"{100 * self.level:.4g} % CLs upper limit on {self.name}: observed {self.observed:.4g}, "
            f"expected {median:.4g} (68 %: {down1:.4g} to {up1:.4g}, 95 %: {down2:.4g} to {up2:.4g})"
        )

    def _repr_html_(self) -> str:
        caption = f"{100 * self.level:.4g} % CLs upper limit on {self.name}"
        header = ("observed", *(f"expected {n:+d} sigma" if n else "expected" for n in range(-2, 3)))
        return html_table(caption, header, [[f"{x:.4g}" for x in (self.observed, *self.expected)]])


@dataclass(frozen=True, eq=False)
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

    def __post_init__(self) -> None:
        for name in ("intervals", "errors"):  # JSON has lists of lists
            pairs = np.asarray(getattr(self, name), dtype=np.float64).reshape(-1, 2)
            object.__setattr__(self, name, tuple((low, high) for low, high in pairs.tolist()))

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
        title = f"{100 * self.level:.4g} % confidence interval on {self.name} ({self.test_stat}, {self.calibration})"
        parts = [f"[{low}, {high}]" for low, high in self.rows()]
        text = f"{title}: {' and '.join(parts) or 'empty'}, best fit {self.bestfit:.4g}"
        return f"{text}; {self.message}" if self.message else text

    def _repr_html_(self) -> str:
        caption = f"{100 * self.level:.4g} % confidence interval on {self.name} ({self.test_stat}, {self.calibration})"
        return html_table(f"{caption} {self.message}".strip(), ("low", "high"), self.rows())


@dataclass(frozen=True, eq=False)
class CoverageResult(Result):
    """How often an interval covers the truth.

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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types, with ``passed`` and the result's ``kind``."""
        return {**super().to_dict(), "passed": self.passed}

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

    def __repr__(self) -> str:
        header = (*self.names, "coverage [%]", "error", "toys", "verdict")
        rows = [header, *self.rows()]
        widths = [max(len(row[k]) for row in rows) for k in range(len(header))]
        lines = ["  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([self._title(), *lines])

    def _repr_html_(self) -> str:
        return html_table(self._title(), (*self.names, "coverage [%]", "error", "toys", "verdict"), self.rows())

    def _title(self) -> str:
        return (
            f"coverage of the {100 * self.level:.4g} % interval on {self.poi} ({self.test_stat}, {self.calibration}): "
            f"{'passed' if self.passed else 'failed'}"
        )


@dataclass(frozen=True, eq=False)
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
        error = math.sqrt(max(self.p_value * (1 - self.p_value), 0.0) / len(self.statistic))
        return (
            f"{self.test_stat} at {self.name} = {self.value:g}: observed {self.observed:.4g}, p-value "
            f"{self.p_value:.4g} +/- {error:.2g} from {len(self.statistic)} toys, {self.asymptotic_p_value:.4g} by the "
            "asymptotic formula"
        )


@dataclass(frozen=True, eq=False)
class ToysResult(Result):
    """Toys thrown at one point, and what was fitted to each.

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
        if name not in self.names:
            raise InvalidParameter(f"the toys have no parameter {name!r}; {did_you_mean(name, self.names)}")
        if not len(self.bestfit):
            raise InvalidParameter(f"the toys were not fitted, so that {name} has no best fits: use fit=True")
        return np.asarray(self.bestfit[self.fitted.astype(bool), self.names.index(name)])

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return name, true value, and mean and standard deviation of the best fits of each parameter."""
        if not len(self.bestfit):
            return [(name, f"{value:.5g}", "", "") for name, value in zip(self.names, self.pars, strict=True)]
        return [
            (name, f"{value:.5g}", *rounded(float(fits.mean()), float(fits.std())))
            for name, value, fits in ((n, v, self[n]) for n, v in zip(self.names, self.pars, strict=True))
        ]

    def __repr__(self) -> str:
        fits = ""
        if len(self.bestfit):
            fits = f", fitted ({int(self.fitted.sum())} valid, {self.fallbacks} by iminuit): "
            fits += ", ".join(f"{name} = {mean} +/- {spread}" for name, _, mean, spread in self.rows())
        return f"{len(self)} toys from the {self.source}{fits}"

    def _repr_html_(self) -> str:
        return html_table(f"{len(self)} toys from the {self.source}", ("", "true", "mean", "spread"), self.rows())
