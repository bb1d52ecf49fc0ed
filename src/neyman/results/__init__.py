"""Results: frozen values that print as a table, go to JSON and back, and can be drawn.

=======================  =====================================================================
``FitResult``            a maximum-likelihood fit
``ScanResult``           a scan of the profile likelihood over one parameter or two
``ImpactsResult``        how far each parameter moves the best fit of one of interest
``ClsResult``            CLs of one value of the parameter of interest
``LimitResult``          a CLs upper limit
``SignificanceResult``   the significance of a discovery
``IntervalResult``       a confidence interval by the Neyman construction
``CoverageResult``       how often an interval covers the truth
``ToysResult``           toys, and what was fitted to them
``StatisticResult``      the distribution of a test statistic in toys
``PosteriorResult``      draws of the posterior of the parameters
``LocalsResult``         draws of the posterior of what is local to each event
``StreamResult``         draws of that of the parameters after each element of a stream
``PredictionResult``     what a model expects of every feature and bin, beside the data
``TrainingReport``       how the classifiers of a learned channel were trained
``SetReport``            how a dataset-wide network was trained, and what fresh datasets say of it
``PosteriorReport``      what fresh datasets say of a learned posterior
=======================  =====================================================================

Every one has ``to_json()``, which :func:`from_json` restores exactly, and ``plot()``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from neyman.exceptions import InvalidResult
from neyman.results.base import FORMAT, Result
from neyman.results.fits import FitResult, ScanResult
from neyman.results.impacts import ImpactsResult
from neyman.results.intervals import CoverageResult, IntervalResult
from neyman.results.limits import ClsResult, LimitResult, SignificanceResult
from neyman.results.posterior_checks import PosteriorReport
from neyman.results.posteriors import LocalsResult, PosteriorResult, StreamResult
from neyman.results.prediction import Distribution, PredictionResult
from neyman.results.toys import StatisticResult, ToysResult
from neyman.results.training import SetReport, TrainingReport
from neyman.support.text import rounded

__all__ = [
    "ClsResult",
    "CoverageResult",
    "Distribution",
    "FitResult",
    "ImpactsResult",
    "IntervalResult",
    "LimitResult",
    "LocalsResult",
    "PosteriorReport",
    "PosteriorResult",
    "PredictionResult",
    "Result",
    "ScanResult",
    "SetReport",
    "SignificanceResult",
    "StatisticResult",
    "StreamResult",
    "ToysResult",
    "TrainingReport",
    "from_dict",
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
        ImpactsResult,
        ClsResult,
        LimitResult,
        SignificanceResult,
        IntervalResult,
        CoverageResult,
        StatisticResult,
        ToysResult,
        PosteriorResult,
        LocalsResult,
        StreamResult,
        PredictionResult,
        TrainingReport,
        SetReport,
        PosteriorReport,
    )
}


def from_json(text: str) -> Result:
    """Return the result that :meth:`Result.to_json` wrote: the same types, shapes and values.

    Args:
        text: the JSON text.

    Raises:
        InvalidResult: if the text is not JSON, not one of our results, from a newer format, or its fields do not fit.

    Example:
        >>> import numpy as np
        >>> result = ClsResult("mu", 1.0, 0.04, np.array([0.001, 0.01, 0.03, 0.1, np.inf]))
        >>> from_json(result.to_json()).expected
        array([0.001, 0.01 , 0.03 , 0.1  ,   inf])
    """
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidResult(f"not a result: no valid JSON ({error})") from error
    return from_dict(fields)


def from_dict(fields: Any) -> Result:
    """Return the result that :meth:`Result.to_dict` gave, as :func:`from_json` does.

    Args:
        fields: JSON types.

    Raises:
        InvalidResult: as for :func:`from_json`.
    """
    values = dict(fields) if isinstance(fields, Mapping) else {}
    kind, number = values.pop("result", None), values.pop("format", 0)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InvalidResult(f"not a result: expected the JSON of one of {', '.join(_KINDS)}")
    if not isinstance(number, int) or number > FORMAT:
        raise InvalidResult(f"a {kind} of format {number!r}, but this version reads up to {FORMAT}: upgrade neyman")
    if number == 0 and kind == LimitResult.kind and isinstance(level := values.get("level"), float) and level < 0.5:
        values["level"] = 1.0 - level  # older files had the probability of being wrong
    return _KINDS[kind].restored(values)
