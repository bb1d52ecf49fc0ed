"""CLs, upper limits, and the significance of a discovery."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neyman.results.base import Result, Table
from neyman.support.text import rounded

__all__ = ["ClsResult", "LimitResult", "SignificanceResult"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False, repr=False)
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
        return self._warned(f"{self._caption()}: {_band_text(self.observed, self.expected)}")

    def table(self) -> Table:
        """Return what is printed: the observed and the expected CLs."""
        return _band_table(self._caption(), self.observed, self.expected)

    def _caption(self) -> str:
        return f"CLs of {self.name} = {self.value:g}"


@dataclass(frozen=True, eq=False, repr=False)
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
        return self._warned(f"{self._caption()}: {_band_text(self.observed, self.expected)}")

    def table(self) -> Table:
        """Return what is printed: the observed and the expected limits."""
        return _band_table(self._caption(), self.observed, self.expected)

    def _caption(self) -> str:
        return f"{100 * self.level:.4g} % CLs upper limit on {self.name}"


@dataclass(frozen=True, eq=False, repr=False)
class SignificanceResult(Result):
    """How improbable the data are without signal.

    Args:
        name: the parameter of interest, zero without signal.
        statistic: the observed test statistic, q0.
        p_value: the probability of a statistic at least as large without signal.
        p_error: the Monte Carlo error of it, zero by the asymptotic formula.
        significance: the p-value in standard deviations, one-sided; zero where the data show no excess.
        error: the Monte Carlo error of it.
        expected: the expected significance of a parameter of interest of one, nan where it is not known.
        bestfit: the best-fit value of the parameter of interest.
        calibration: ``"toys"`` or ``"asymptotics"``.
        toys: how many toys with a valid fit the p-value rests on.
        message: what is to be said about it.
    """

    kind: ClassVar[str] = "significance"
    name: str
    statistic: float
    p_value: float
    p_error: float
    significance: float
    error: float
    expected: float
    bestfit: float
    calibration: str
    toys: int
    message: str = ""

    def rows(self) -> list[tuple[str, str]]:
        """Return what is known of the significance and its text, rounded to be read."""

        def text(value: float, error: float, form: str) -> str:
            return " +/- ".join(rounded(value, error)) if error > 0.0 else format(value, form)

        rows = [
            ("significance", text(self.significance, self.error, ".3g")),
            ("p-value", text(self.p_value, self.p_error, ".3g")),
        ]
        if not math.isnan(self.expected):
            rows.append((f"expected at {self.name} = 1", f"{self.expected:.3g}"))
        return rows

    def __repr__(self) -> str:
        (_, deviations), (_, p_value), *expected = self.rows()
        text = f"significance of {self.name}: {deviations} standard deviations ({self.calibration}), p-value {p_value}"
        text += "".join(f"; {what}: {value}" for what, value in expected)
        return self._warned(f"{text}; {self.message}" if self.message else text)

    def table(self) -> Table:
        """Return what is printed: the significance, its p-value, and the expected one where it is known."""
        caption = f"significance of {self.name} ({self.calibration}) {self.message}".strip()
        return caption, ("", "standard deviations, one-sided"), self.rows()


def _band_text(observed: float, expected: NDArray[np.float64]) -> str:
    down2, down1, median, up1, up2 = expected
    band = f"68 %: {down1:.4g} to {up1:.4g}, 95 %: {down2:.4g} to {up2:.4g}"
    return f"observed {observed:.4g}, expected {median:.4g} ({band})"


def _band_table(caption: str, observed: float, expected: NDArray[np.float64]) -> Table:
    header = ("observed", *(f"expected {n:+d} sigma" if n else "expected" for n in range(-2, 3)))
    return caption, header, [[f"{x:.4g}" for x in (observed, *expected)]]
