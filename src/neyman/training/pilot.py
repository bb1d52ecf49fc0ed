"""Whether events have structures so narrow that a network needs tables: tried on single events, in a few seconds."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.inputs.simulation import Datasets
from neyman.networks.heads import EventHead, ParameterFeatures
from neyman.networks.kinds import Kind, kind_of
from neyman.networks.layers import initialised
from neyman.networks.options import PosteriorOptions, SetOptions
from neyman.training.bank import Bank
from neyman.training.contrastive import encoder_of
from neyman.training.loop import Stage, mean_loss, run
from neyman.training.losses import Guided, event_loss

__all__ = ["table_gain", "with_tables_where_needed"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_DATASETS = 20_000  # of the simulation, that are looked at
_STEPS = 300
_WORTH = 5  # times as many steps as these has a training that is worth it
_RATE = 3e-3
_BATCH = 256  # datasets of a step
_FEATURES = 32  # at most, that have tables
_TRIED = {"hidden": (32, 32), "width": 32}  # with tables and without
_SEEN = 4.0  # standard errors
_GAIN = 0.2  # of the log-likelihood ratio of a dataset, that is worth tables
_SUMS = 80  # with tables, at least

Options = TypeVar("Options", SetOptions, PosteriorOptions)


def table_gain(
    datasets: Datasets,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    knots: int,
    tabled: Sequence[int] = (),
    *,
    seed: int = 0,
    device: torch.device | None = None,
) -> tuple[float, float]:
    """Return by how much tables improve the held-out log-likelihood ratio of a dataset after a short training.

    Two small networks of single events are trained alike, one with tables of features and parameters. A perceptron
    learns smooth densities as fast; where a structure is narrow, it has hardly seen it by then.

    Args:
        datasets: the simulation, in groups of :data:`neyman.training.proposals.GROUP` drawn alike.
        low: lower bounds of the parameters, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        knots: of the tables.
        tabled: the parameters that have them, by their positions; all by default.
        seed: fixes initial weights and batches.
        device: where to train.

    Returns:
        The mean gain in the contrastive loss of single events, times the mean number of events; and its error.
    """
    device = device or torch.device("cpu")
    n = min(len(datasets), _DATASETS)
    end = datasets.offsets[n]
    some = Datasets(datasets.pars[:n], datasets.features[:end], datasets.offsets[: n + 1])
    bank = Bank(some, min(_BATCH, n // 2), device)
    held_out = bank.validation(bank.held_out)
    loss = functools.partial(event_loss, bank)
    losses = []
    for k in (0, knots):
        options = SetOptions({**_TRIED, "knots": k})
        with initialised(seed):
            encoder = encoder_of(kind_of("deepset"), some.features, options).to(device)
            parameters = ParameterFeatures(torch.from_numpy(low), torch.from_numpy(high))
            module = Guided(encoder, EventHead(parameters, encoder.size, counts=False, knots=k, tabled=tabled)).to(
                device
            )
        stage = Stage(
            "pilot", module, loss, functools.partial(mean_loss, loss, held_out), bank.order, batch=bank.batch,
            steps=_STEPS, learning_rate=_RATE, every=_STEPS, patience=1, clip=1.0, average=True,
        )  # fmt: skip
        run(stage, seed=seed, device=device, advice="look for features with extreme values")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            losses.append(torch.stack([loss(module, one, generator) for one in torch.split(held_out, 1)]).double())
    gain = (losses[0] - losses[1]) * float(bank.numbers.double().mean())
    return float(gain.mean()), float(gain.std()) / math.sqrt(len(gain))


def with_tables_where_needed(
    kind: Kind,
    datasets: Datasets,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    options: Options,
    *,
    seed: int = 0,
    device: torch.device | None = None,
) -> Options:
    """Return options of a network without tables, or with more sums if the simulation shows that it needs tables.

    Args:
        kind: the kind of network.
        datasets: the simulation, in groups of :data:`neyman.training.proposals.GROUP` drawn alike.
        low: lower bounds of the parameters, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        options: of the network; ``knots`` in its shape are those of tables where they help.
        seed: fixes everything random.
        device: where to train.

    Raises:
        InvalidParameter: if there is no parameter at a position in ``tabled``.
    """
    shape = options.shape
    if not shape.get("knots"):
        return options
    beyond = [k for k in getattr(options, "tabled", ()) if k >= len(low)]
    if beyond:
        raise InvalidParameter(f"tabled: {beyond[0]}, but the network has the parameters 0 to {len(low) - 1}")
    without = dataclasses.replace(options, shape={**shape, "knots": 0})
    if options.steps < _WORTH * _STEPS or datasets.features.shape[1] > _FEATURES:
        return without
    knots = shape["knots"]
    gain, error = table_gain(datasets, low, high, knots, seed=seed, device=device)
    if gain < max(_SEEN * error, _GAIN):
        return without
    log.info("narrow structures: tables improve the log-likelihood ratio of a dataset by %.2g ± %.1g", gain, error)
    changes: dict[str, Any] = {"shape": {**shape, "width": max(shape["width"], _SUMS)}}
    if isinstance(options, SetOptions):
        # a linear head has learned from single events what others need fresh datasets for; and a score is smoother in
        # a parameter without a table
        everything = range(len(low))
        others = [[k for k in everything if k != one] for one in everything]
        loss = [
            gain - table_gain(datasets, low, high, knots, some, seed=seed, device=device)[0] if some else gain
            for some in others
        ]
        needing = tuple(k for k in everything if loss[k] > _SEEN * error)
        changes |= {"fresh": min(options.fresh, 1), "tabled": options.tabled or needing}
    return dataclasses.replace(options, **changes)
