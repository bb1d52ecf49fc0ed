"""Learned likelihoods of whole datasets of events, as pyhf models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neyman.analysis import train
    from neyman.backends import optimizer
    from neyman.ensemble import Ensemble, Events
    from neyman.inference.construction import interval
    from neyman.inference.coverage import coverage
    from neyman.inference.critical import CriticalValues
    from neyman.inference.fit import fit, scan
    from neyman.inference.learned import LearnedStatistic
    from neyman.inference.limits import limit
    from neyman.inference.quantile import critical_values
    from neyman.inference.statistic_training import train_statistic
    from neyman.inference.toys import toys
    from neyman.model import Model
    from neyman.results import CoverageResult, FitResult, IntervalResult, LimitResult, ScanResult, ToysResult
    from neyman.simulator import Simulator
    from neyman.summary import Summary
    from neyman.workspace import Workspace

# each name is imported when it is first used: torch and pyhf take seconds, and `neyman --help` needs neither
_HOMES = {
    "CoverageResult": "results",
    "CriticalValues": "inference.critical",
    "Ensemble": "ensemble",
    "Events": "ensemble",
    "FitResult": "results",
    "IntervalResult": "results",
    "LearnedStatistic": "inference.learned",
    "LimitResult": "results",
    "Model": "model",
    "ScanResult": "results",
    "Simulator": "simulator",
    "Summary": "summary",
    "ToysResult": "results",
    "Workspace": "workspace",
    "coverage": "inference.coverage",
    "critical_values": "inference.quantile",
    "fit": "inference.fit",
    "interval": "inference.construction",
    "limit": "inference.limits",
    "optimizer": "backends",
    "scan": "inference.fit",
    "toys": "inference.toys",
    "train": "analysis",
    "train_statistic": "inference.statistic_training",
}

__all__ = [
    "CoverageResult",
    "CriticalValues",
    "Ensemble",
    "Events",
    "FitResult",
    "IntervalResult",
    "LearnedStatistic",
    "LimitResult",
    "Model",
    "ScanResult",
    "Simulator",
    "Summary",
    "ToysResult",
    "Workspace",
    "coverage",
    "critical_values",
    "fit",
    "interval",
    "limit",
    "optimizer",
    "scan",
    "toys",
    "train",
    "train_statistic",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'neyman' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"neyman.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
