"""Results: frozen values that print as a table, go to JSON and back, and can be plotted."""

from __future__ import annotations

import json

from neyman.exceptions import NeymanError
from neyman.results.base import Result, restored
from neyman.results.inference import (
    ClsResult,
    CoverageResult,
    FitResult,
    IntervalResult,
    LimitResult,
    ScanResult,
    StatisticResult,
    ToysResult,
)
from neyman.results.significance import SignificanceResult
from neyman.results.training import SetReport, TrainingReport
from neyman.support.text import rounded

__all__ = [
    "ClsResult",
    "CoverageResult",
    "FitResult",
    "IntervalResult",
    "LimitResult",
    "Result",
    "ScanResult",
    "SetReport",
    "SignificanceResult",
    "StatisticResult",
    "ToysResult",
    "TrainingReport",
    "from_json",
    "rounded",
]


def __dir__() -> list[str]:
    return __all__


_KINDS: dict[str, type[Result]] = {
    cls.kind: cls
    for cls in (
        FitResult,
        ScanResult,
        ClsResult,
        LimitResult,
        SignificanceResult,
        IntervalResult,
        CoverageResult,
        StatisticResult,
        ToysResult,
        TrainingReport,
        SetReport,
    )
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
    fields.pop("passed", None)  # which a coverage says of itself
    try:
        return cls(**{key: restored(value) for key, value in fields.items()})
    except (TypeError, ValueError) as error:
        raise NeymanError(f"not a result: the JSON of a {cls.kind} with other fields ({error})") from error
