"""The result of a search for a discovery."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from neyman.results.base import Result
from neyman.support.text import html_table, rounded

__all__ = ["SignificanceResult"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
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
        if math.isfinite(self.expected):
            rows.append((f"expected at {self.name} = 1", f"{self.expected:.3g}"))
        return rows

    def __repr__(self) -> str:
        (_, deviations), (_, p_value), *expected = self.rows()
        text = f"significance of {self.name}: {deviations} standard deviations ({self.calibration}), p-value {p_value}"
        text += "".join(f"; {what}: {value}" for what, value in expected)
        return f"{text}; {self.message}" if self.message else text

    def _repr_html_(self) -> str:
        caption = f"significance of {self.name} ({self.calibration}) {self.message}".strip()
        return html_table(caption, ("", "standard deviations, one-sided"), self.rows())
