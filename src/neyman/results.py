"""Results: frozen values that print as a table, go to JSON and back, and can be plotted."""

from __future__ import annotations

import dataclasses
import difflib
import html
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter, NeymanError

__all__ = ["ClsResult", "FitResult", "LimitResult", "Result", "ScanResult", "TrainingReport", "from_json", "rounded"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class Result:
    """What every result can do; ``kind`` tags its JSON."""

    kind: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types, with the result's ``kind``."""
        fields = {f.name: _jsonable(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"result": self.kind, **fields}

    def to_json(self, indent: int | None = 2) -> str:
        """Return the result as a JSON text that :func:`from_json` reads back; numbers that are not finite are null."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


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
            close = difflib.get_close_matches(name, self.names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self.names)}"
            raise InvalidParameter(f"the fit has no parameter {name!r}; {hint}")
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
        return _html_table(caption, ("parameter", "best fit", "uncertainty", "MINOS"), self.rows())


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
        level: one minus the confidence level, 0.05 for 95 %.
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
            f"{100 * (1 - self.level):.4g} % CLs upper limit on {self.name}: observed {self.observed:.4g}, "
            f"expected {median:.4g} (68 %: {down1:.4g} to {up1:.4g}, 95 %: {down2:.4g} to {up2:.4g})"
        )

    def _repr_html_(self) -> str:
        caption = f"{100 * (1 - self.level):.4g} % CLs upper limit on {self.name}"
        header = ("observed", *(f"expected {n:+d} sigma" if n else "expected" for n in range(-2, 3)))
        return _html_table(caption, header, [[f"{x:.4g}" for x in (self.observed, *self.expected)]])


@dataclass(frozen=True, eq=False)
class TrainingReport(Result):
    """How the networks of one learned channel were trained, and how well they reproduce the simulation.

    Args:
        channel: the learned channel.
        features: its features, as expressions.
        classifiers: for each classifier its ``name``, ``classes``, ``train_loss`` and ``validation_loss`` of shape
            ``(folds, epochs)`` (the folds may differ in length), ``best_epoch`` of each fold, counted from 0,
            ``calibration`` ``{class: {"predicted", "observed", "error"}}``, ``seconds``, and ``reweighting``: for
            each class and feature ``feature``, ``class``, the bin ``edges``, and the contents ``reference`` (before),
            ``reweighted`` (by the learned ratio), ``target`` (the simulation to reproduce) and the ``error`` of the
            difference between the last two.
    """

    kind: ClassVar[str] = "training"
    channel: str
    features: tuple[str, ...]
    classifiers: tuple[dict[str, Any], ...]

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Return name, classes, folds, epochs, validation loss and closure of each classifier."""
        rows = []
        for c in self.classifiers:
            best = [min((x for x in fold if x is not None), default=math.nan) for fold in c["validation_loss"]]
            loss = f"{np.mean(best):.4f}" if best else ""
            epochs = ", ".join(f"{int(epoch) + 1}" for epoch in c["best_epoch"])
            rows.append((c["name"], ", ".join(c["classes"]), str(len(best)), epochs, loss, _closure(c)))
        return rows

    def __repr__(self) -> str:
        lines = [f"training of {self.channel} ({', '.join(self.features)})"]
        for name, classes, folds, epochs, loss, closure in self.rows():
            lines.append(f"  {name}: {classes}")
            lines.append(f"    {folds} folds, best epochs {epochs}, validation loss {loss}")
            lines.append(f"    closure, chi2/bins: {closure}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        header = ("classifier", "classes", "folds", "best epochs", "validation loss", "closure")
        return _html_table(f"training of {self.channel} ({', '.join(self.features)})", header, self.rows())


_KINDS: dict[str, type[Result]] = {
    cls.kind: cls for cls in (FitResult, ScanResult, ClsResult, LimitResult, TrainingReport)
}


def from_json(text: str) -> Result:
    """Return the result that :meth:`Result.to_json` wrote.

    Args:
        text: the JSON text.

    Raises:
        NeymanError: if the text is not JSON, or not one of our results.
    """
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise NeymanError(f"not a result: no valid JSON ({error})") from error
    cls = _KINDS.get(fields.pop("result", "")) if isinstance(fields, dict) else None
    if cls is None:
        raise NeymanError(f"not a result: expected the JSON of one of {', '.join(_KINDS)}")
    try:
        return cls(**{key: _restored(value) for key, value in fields.items()})
    except TypeError as error:
        raise NeymanError(f"not a result: the JSON of a {cls.kind} with other fields ({error})") from error


def _closure(classifier: dict[str, Any]) -> str:
    """Return chi-squared per bin of each class, over all features, of reweighted against target."""
    total: dict[str, list[float]] = {}
    for cell in classifier["reweighting"]:
        reweighted, target, error = (np.asarray(cell[k], dtype=float) for k in ("reweighted", "target", "error"))
        used = error > 0
        chi2, bins = total.setdefault(cell["class"], [0.0, 0.0])
        chi2 += float(np.sum(((reweighted - target)[used] / error[used]) ** 2))
        total[cell["class"]] = [chi2, bins + float(used.sum())]
    return ", ".join(f"{name} {chi2:.0f}/{bins:.0f}" for name, (chi2, bins) in total.items())


def _html_table(caption: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(tag: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption>{line('th', header)}{body}</table>"


def rounded(value: float, uncertainty: float) -> tuple[str, str]:
    """Return both as texts, rounded to two significant digits of the uncertainty.

    Example:
        >>> rounded(1.23456, 0.3141)
        ('1.23', '0.31')
    """
    if not (math.isfinite(value) and math.isfinite(uncertainty) and uncertainty > 0):
        return f"{value:.5g}", f"{uncertainty:.3g}"
    digits = max(0, 1 - math.floor(math.log10(uncertainty)))
    if digits > 8 or abs(value) + uncertainty > 1e7:
        return f"{value:.6g}", f"{uncertainty:.2g}"
    return f"{value:.{digits}f}", f"{uncertainty:.{digits}f}"


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _jsonable(value.tolist())
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no nan
    return value


def _restored(value: Any) -> Any:
    """Turn JSON lists back into arrays of numbers or tuples of anything else, null into nan."""
    if value is None:
        return math.nan
    if isinstance(value, dict):
        return {
            key: tuple(math.nan if x is None else x for x in item) if isinstance(item, list) else item
            for key, item in value.items()
        }
    if not isinstance(value, list):
        return value
    if any(isinstance(item, dict) for item in value) or all(isinstance(item, str) for item in value):
        return tuple(value)
    try:
        return np.asarray(value, dtype=np.float64)
    except ValueError:  # two axes of different length
        return tuple(np.asarray(item, dtype=np.float64) for item in value)
