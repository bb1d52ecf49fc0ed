"""Learned likelihoods of whole datasets of events, as pyhf models.

Its chapters are read in one order and import one way: ``exceptions``; ``support``, mechanisms without physics;
``events``; ``networks``, torch modules; ``results`` with their figures; ``inputs``, documents, files and simulators;
``model``, the likelihood; ``posteriors``, what networks say of parameters; ``inference``, fits, limits and intervals;
``training``, from inputs to a model; ``demo``; ``cli``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neyman import demo, exceptions, networks, results
    from neyman.events import Ensemble, Events
    from neyman.export.folder import export_onnx
    from neyman.inference.construction import interval
    from neyman.inference.coverage import coverage
    from neyman.inference.critical.learning import critical_values
    from neyman.inference.critical.values import CriticalValues
    from neyman.inference.fit import fit, scan
    from neyman.inference.impacts import impacts
    from neyman.inference.learned_statistic import LearnedStatistic
    from neyman.inference.limits import cls, limit
    from neyman.inference.optimizer import optimizer
    from neyman.inference.posterior import posterior
    from neyman.inference.significance import significance
    from neyman.inference.toys import toys
    from neyman.inputs.purefunc import modifier_set
    from neyman.inputs.simulator import Simulator
    from neyman.inputs.workspace import Workspace
    from neyman.model.combination import combine
    from neyman.model.model import Model
    from neyman.model.summary import Summary
    from neyman.posteriors.posterior import Posterior
    from neyman.posteriors.summary import PosteriorSummary
    from neyman.results import (
        ClsResult,
        CoverageResult,
        FitResult,
        ImpactsResult,
        IntervalResult,
        LimitResult,
        LocalsResult,
        PosteriorResult,
        PredictionResult,
        ScanResult,
        SignificanceResult,
        StreamResult,
        ToysResult,
    )
    from neyman.results import figures as plot
    from neyman.training.posterior import train_posterior
    from neyman.training.statistic import train_statistic
    from neyman.training.train import train

# each name is imported when it is first used: torch and pyhf take seconds, and `neyman --help` needs neither
_HOMES = {
    "ClsResult": "results",
    "CoverageResult": "results",
    "CriticalValues": "inference.critical.values",
    "Ensemble": "events",
    "Events": "events",
    "FitResult": "results",
    "ImpactsResult": "results",
    "IntervalResult": "results",
    "LearnedStatistic": "inference.learned_statistic",
    "LimitResult": "results",
    "LocalsResult": "results",
    "Model": "model.model",
    "Posterior": "posteriors.posterior",
    "PosteriorResult": "results",
    "PosteriorSummary": "posteriors.summary",
    "PredictionResult": "results",
    "ScanResult": "results",
    "SignificanceResult": "results",
    "Simulator": "inputs.simulator",
    "StreamResult": "results",
    "Summary": "model.summary",
    "ToysResult": "results",
    "Workspace": "inputs.workspace",
    "cls": "inference.limits",
    "combine": "model.combination",
    "coverage": "inference.coverage",
    "critical_values": "inference.critical.learning",
    "export_onnx": "export.folder",
    "fit": "inference.fit",
    "impacts": "inference.impacts",
    "interval": "inference.construction",
    "limit": "inference.limits",
    "modifier_set": "inputs.purefunc",
    "optimizer": "inference.optimizer",
    "posterior": "inference.posterior",
    "scan": "inference.fit",
    "significance": "inference.significance",
    "toys": "inference.toys",
    "train": "training.train",
    "train_posterior": "training.posterior",
    "train_statistic": "training.statistic",
}
# modules that are attributes, too: neyman.plot.limit(result)
_MODULES = {
    "demo": "demo",
    "exceptions": "exceptions",
    "networks": "networks",
    "plot": "results.figures",
    "results": "results",
}

__all__ = [
    "ClsResult",
    "CoverageResult",
    "CriticalValues",
    "Ensemble",
    "Events",
    "FitResult",
    "ImpactsResult",
    "IntervalResult",
    "LearnedStatistic",
    "LimitResult",
    "LocalsResult",
    "Model",
    "Posterior",
    "PosteriorResult",
    "PosteriorSummary",
    "PredictionResult",
    "ScanResult",
    "SignificanceResult",
    "Simulator",
    "StreamResult",
    "Summary",
    "ToysResult",
    "Workspace",
    "__version__",
    "cls",
    "combine",
    "coverage",
    "critical_values",
    "demo",
    "exceptions",
    "export_onnx",
    "fit",
    "impacts",
    "interval",
    "limit",
    "modifier_set",
    "networks",
    "optimizer",
    "plot",
    "posterior",
    "results",
    "scan",
    "significance",
    "toys",
    "train",
    "train_posterior",
    "train_statistic",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        value = _version()
    elif name in _MODULES:
        value = importlib.import_module(f"neyman.{_MODULES[name]}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"neyman.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'neyman' has no attribute {name!r}")
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("neyman")
    except PackageNotFoundError:  # a checkout that is not installed
        return "0+unknown"
