"""Diagnostics of a dataset-wide network on datasets it has not seen: is its ratio right, and are asymptotics?

=====================  ====================================================================================
``calibration``        are the true parameters among candidates as often the true ones as predicted?
``closure``            do datasets from one point, reweighted by the ratio, look like those from another?
``at_truth``           is the test statistic at the truth distributed as chi-square, and the best fit unbiased?
``examine``            all of these, and the verdict
=====================  ====================================================================================

The first two test the network alone. The third tests what is done with it: where counts are small or a parameter is at
its bound, the exact likelihood ratio does not follow chi-square either.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from neyman.exceptions import NeymanError
from neyman.model.setwise import SetChannel
from neyman.results import SetReport
from neyman.training.asymptotics import at_truth
from neyman.training.fresh import STREAM, FreshDatasets, Scale
from neyman.training.ratio_checks import calibration, closure
from neyman.training.verdicts import verdict

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["DATASETS", "examine"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

DATASETS = 3000  # in all
_EVENTS = 3_000_000  # in all: fewer datasets where they are large
_FEWEST = 0.1  # of the datasets are made in any case
_SHARES = (0.03, 0.25, 0.37, 0.35)  # of the datasets: pilots, calibration, closure, test statistic


def examine(
    report: SetReport,
    channel: SetChannel,
    model: Model,
    *,
    seed: int = 0,
    datasets: int = DATASETS,
    workers: int | None = None,
) -> SetReport:
    """Return the report of a training with everything that fresh datasets say, and warn of what is bad.

    Args:
        report: of the training.
        channel: the trained channel.
        model: the model that it is part of.
        seed: that of the training; the datasets here have other ones.
        datasets: how many to make; fewer where they have very many events.
        workers: processes that a simulator runs in.
    """
    try:
        report = dataclasses.replace(report, **_found(channel, model, seed, datasets, workers))
        text, good = verdict(report)
    except NeymanError as error:  # nobody loses a training to its diagnostics
        text, good = f"the diagnostics failed, so that nothing is known of the network: {error}", False
    if not good:
        log.warning("channel %s: %s", channel.name, text)
    return dataclasses.replace(report, verdict=text, good=good)


def _found(channel: SetChannel, model: Model, seed: int, datasets: int, workers: int | None) -> dict[str, Any]:
    source = FreshDatasets(channel, np.random.default_rng([seed, STREAM]), workers)
    scale = Scale(channel, source, max(int(_SHARES[0] * datasets), 16))
    size = min(1.0, max(_EVENTS / max(scale.events * datasets, 1.0), _FEWEST))
    several, pairs, toys = (max(int(share * size * datasets), 20) for share in _SHARES[1:])
    poi = model.config.poi_name or ""
    axis = channel.names.index(poi) if poi in channel.names else 0
    found: dict[str, Any] = {"axis": channel.names[axis]}
    found["curve"], found["calibration"] = calibration(channel, source, scale, axis, several)
    found["closure"] = closure(channel, source, scale, axis, pairs)
    if poi and not model.config.suggested_fixed()[model.config.poi_index]:
        found["poi"] = poi
        found["truths"], found["regions"] = at_truth(model, toys, seed)
    return found
