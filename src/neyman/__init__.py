"""Learned likelihoods of whole datasets of events, as pyhf models."""

from neyman.analysis import train
from neyman.backends import optimizer
from neyman.ensemble import Ensemble, Events
from neyman.inference.fit import fit, scan
from neyman.inference.limits import limit
from neyman.model import Model
from neyman.results import FitResult, LimitResult, ScanResult
from neyman.workspace import Workspace

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
