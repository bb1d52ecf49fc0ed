"""Learned likelihoods of whole datasets of events, as pyhf models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neyman.analysis import train
    from neyman.backends import optimizer
    from neyman.ensemble import Ensemble, Events
    from neyman.inference.fit import fit, scan
    from neyman.inference.limits import limit
    from neyman.model import Model
    from neyman.results import FitResult, LimitResult, ScanResult
    from neyman.workspace import Workspace

# each name is imported when it is first used: torch and pyhf take seconds, and `neyman --help` needs neither
_HOMES = {
    "Ensemble": "ensemble",
    "Events": "ensemble",
    "FitResult": "results",
    "LimitResult": "results",
    "Model": "model",
    "ScanResult": "results",
    "Workspace": "workspace",
    "fit": "inference.fit",
    "limit": "inference.limits",
    "optimizer": "backends",
    "scan": "inference.fit",
    "train": "analysis",
}

__all__ = [
    "Ensemble",
    "Events",
    "FitResult",
    "LimitResult",
    "Model",
    "ScanResult",
    "Workspace",
    "fit",
    "limit",
    "optimizer",
    "scan",
    "train",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'neyman' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"neyman.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
