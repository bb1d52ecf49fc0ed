"""How much the networks of a mixture disagree: what the encoding of the events does to the best fit."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import numpy as np

from neyman.events import Events
from neyman.inference.batch import BatchNLL
from neyman.inference.curvature import inverse
from neyman.inference.throws import can_throw
from neyman.model.mixture import MixtureChannel
from neyman.model.toys import draw
from neyman.results import TrainingReport

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["disagreement", "judged"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_TOYS = 100
_FEWEST = 3
_EVENTS = 100_000  # of all toys: each is encoded twice
_STREAM = 0xF01D  # of random numbers
_TOLERATED = 0.3  # standard deviations, which make intervals some 4 % longer


def disagreement(model: Model, name: str, seed: int = 0) -> float:
    r"""Return how far the best fit of the parameter of interest moves between the encodings of a channel's events.

    Toys are thrown at the initial parameters. The signed root of :math:`t_\mu` at the true :math:`\mu` is, to first
    order, :math:`(I^{-1} U)_\mu / \sqrt{(I^{-1})_{\mu\mu}}` with the score :math:`U` and the information :math:`I`: the
    distance of the best fit from the truth in standard deviations (Rao's score test). What is returned is the root mean
    square of its difference where each event is encoded by the network of one fold and where it has the mean of all.

    Args:
        model: the model, with a parameter of interest.
        name: the mixture channel.
        seed: fixes the toys.
    """
    channel = model.learned[name]
    assert isinstance(channel, MixtureChannel)
    pars = np.asarray(model.config.suggested_init(), dtype=np.float64)
    free = np.flatnonzero(~np.asarray(model.config.suggested_fixed(), dtype=bool))
    n = int(np.clip(_EVENTS / max(model.rates(pars)[0].sum(), 1.0), _FEWEST, _TOYS))
    toys = draw(pars, model, n, np.random.SeedSequence([seed, _STREAM]))
    encodings = [channel.with_encoding(encoding) for encoding in ("fold", "mean")]
    information = np.zeros((len(pars), len(pars)))
    differences = np.empty((n, len(pars)))
    for k in range(n):  # one after the other: in memory a dataset at a time
        one = toys[k : k + 1]
        information += BatchNLL(model, one)(pars[None], np.arange(1))[2][0] / 2
        events, summaries = Events(one.events[name].features), one.summaries(0)
        by_fold, by_mean = (
            model.evaluate_encoded(pars, one.main[0], one.auxdata[0], {**summaries, name: encoding.encode(events)})[1]
            for encoding in encodings
        )
        differences[k] = by_fold - by_mean
    covariance = inverse((information / n)[np.ix_(free, free)])[0]
    poi = int(np.flatnonzero(free == model.config.poi_index)[0])
    moves = differences[:, free] @ covariance[poi] / np.sqrt(covariance[poi, poi])
    return float(np.sqrt(np.mean(moves**2)))


def judged(model: Model, report: TrainingReport, seed: int = 0) -> TrainingReport:
    """Return the report of a mixture with the disagreement of its networks, and warn of it where it is large.

    Args:
        model: the model that the channel is in.
        report: of the channel's training.
        seed: that of the training.
    """
    poi, pars = model.config.poi_index, np.asarray(model.config.suggested_init(), dtype=np.float64)
    if poi is None or model.config.suggested_fixed()[poi] or not can_throw(model, pars, "simulation"):
        return report
    found = disagreement(model, report.channel, seed)
    report = dataclasses.replace(report, disagreement=found)
    if not found > _TOLERATED:
        return report
    text = (
        f"the networks disagree: the best fit of {model.config.poi_name} moves by {found:.2f} sigma between them and"
        " their mean: train on more events or for more epochs"
    )
    log.warning("channel %s: %s", report.channel, text)
    return dataclasses.replace(report, warnings=(*report.warnings, text))
