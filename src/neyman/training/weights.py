"""Learning all variations by weight of a sample in one pass over its events, whose ratios of weights are known."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from neyman.events import Events
from neyman.networks.layers import StackedLinear, initialised
from neyman.networks.mixture import CrossFitClassifier, fold_of
from neyman.networks.options import TrainingOptions
from neyman.networks.scaling import robust_scaler
from neyman.training.crossfit import TrainedClassifier
from neyman.training.loop import Stage, run

__all__ = ["train_weights"]


def __dir__() -> list[str]:
    return __all__


_CHUNK = 8192  # held-out events in memory at a time, of each fold
_LEAST = 1e-4  # relative size of a variation: below, it is rounding
_UNITS = 2  # of the last hidden layer for each variation, which have little in common, up to the widest
_WIDEST = 256
_VALIDATIONS = 4  # at least


def train_weights(
    nominal: Events,
    varied: Sequence[NDArray[np.float64]],
    options: TrainingOptions,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: str | None = None,
    checkpoint: Path | None = None,
    stop: threading.Event | None = None,
) -> TrainedClassifier:
    """Learn the log-ratios of a sample with other weights to the nominal one, on every choice of all folds but one.

    The events are the same, so that none is there twice: each with its weights ``w_k`` is one of class ``k`` and one of
    the nominal class 0, and the loss of the log-ratio ``f_k`` is the cross entropy of the two,
    ``-w_k log sigma(f_k) - w_0 log sigma(-f_k)`` with equal totals of both. Its gradient vanishes event by event where
    the ratio of the weights is a function of the features: then the finite number of events adds no noise. It is taken
    in units of the variation's size, so that all variations count the same: it is zero where nothing is learned and
    minus one where a small variation that is a function of the features is known exactly.

    Args:
        nominal: ``N`` events of the sample, with weights of either sign.
        varied: the weights of each of ``V`` variations, shape ``(N,)``, of either sign.
        options: architecture and schedule; where there are many variations, the last hidden layer is wider.
        seed: fixes folds, initial weights and batches.
        device: where to train; the network comes back on the CPU.
        progress: label of a progress bar on standard error, or ``None``.
        checkpoint: a file that takes the state now and then, and from which an interrupted training goes on.
        stop: ends the training with its next step, after a checkpoint.

    Returns:
        Networks with ``V`` outputs, the log-ratios, and the best weights of every fold.

    Raises:
        FailedFit: if the loss is not finite.
    """
    device = device or torch.device("cpu")
    data = _Data(nominal, varied, options, seed, device)
    *first, last = options.hidden
    hidden = (*first, max(last, min(_UNITS * len(varied), _WIDEST)))  # its outputs are sums of these units
    with initialised(seed):
        network = CrossFitClassifier(data.scaler, len(varied), hidden, options.folds)
    epochs = math.ceil(options.weight_steps / data.steps)
    stage = Stage(
        "weights",
        network.to(device),
        data.loss,
        data.validation_loss,
        data.order,
        batch=data.batch,
        steps=epochs * data.steps,
        learning_rate=options.weight_learning_rate,
        every=data.steps,
        patience=math.ceil(epochs * options.patience / options.epochs),
        weight_decay=options.weight_decay,
        networks=options.folds,
    )
    rate = options.weight_learning_rate
    advice = f"use a weight_learning_rate below {rate:g}, or look for features or weights with extreme values"
    history = run(stage, seed=seed, device=device, advice=advice, label=progress, checkpoint=checkpoint, stop=stop)
    outputs = network.stack[-1]
    assert isinstance(outputs, StackedLinear)
    with torch.no_grad():  # from units of the variations' sizes to log-ratios
        outputs.weight.mul_(data.sizes)
        outputs.bias.mul_(data.sizes)
    return TrainedClassifier.of(network, history)


class _Data:
    """The events with all their weights on a device, their folds, and the losses on them."""

    def __init__(
        self,
        nominal: Events,
        varied: Sequence[NDArray[np.float64]],
        options: TrainingOptions,
        seed: int,
        device: torch.device,
    ) -> None:
        n = len(nominal)
        self.folds = options.folds
        features = torch.from_numpy(nominal.features)
        self.scaler = robust_scaler(features)
        self.features = features.to(device)
        weights = nominal.weights * (n / nominal.weights.sum())
        differences = np.empty((n, len(varied)), dtype=np.float32)  # an event's are side by side: batches are rows
        sizes = np.empty(len(varied))
        size = np.abs(weights)
        for k, other in enumerate(varied):
            difference = other * (n / other.sum()) - weights
            differences[:, k] = difference
            square = np.minimum(difference * difference, size * size) / np.where(size > 0, size, 1.0)
            sizes[k] = math.sqrt(square.sum() / size.sum())
        self.weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        self.differences = torch.from_numpy(differences).to(device)
        self.sizes = torch.from_numpy(np.maximum(sizes, _LEAST).astype(np.float32)).to(device)
        """Relative size of each variation, event by event, shape ``(V,)``."""
        fold = fold_of(n, options.folds, seed)
        self.train_index = [torch.from_numpy(np.flatnonzero(fold != k)) for k in range(options.folds)]
        self.held_out = [torch.from_numpy(np.flatnonzero(fold == k)) for k in range(options.folds)]
        shortest = min(map(len, self.train_index))
        self.batch = min(options.weight_batch_size, max(shortest // 4, 1))
        """Events in a batch of a fold."""
        self.steps = max(min(shortest // self.batch, options.weight_steps // _VALIDATIONS), 1)
        """Steps between two validations, which pass over the events once if these are not too many."""

    def order(self, generator: torch.Generator) -> Tensor:
        """Return the events up to the next validation, shuffled, shape ``(folds, N)``."""
        needed = self.steps * self.batch
        orders = [index[torch.randperm(len(index), generator=generator)] for index in self.train_index]
        return torch.stack([order[:needed] for order in orders])

    def loss(self, network: CrossFitClassifier, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of each fold's network, the mean over variations, shape ``(folds,)``."""
        return self._losses(network, batch).mean(1)

    def validation_loss(self, network: CrossFitClassifier) -> Tensor:
        """Return the loss of each network on the fold that it has not seen, shape ``(folds,)``."""
        length = max(map(len, self.held_out))
        loss = torch.zeros(self.folds, dtype=torch.float64, device=self.weights.device)
        for begin in range(0, length, _CHUNK):
            parts = [index[begin : begin + _CHUNK] for index in self.held_out]
            index = torch.zeros(self.folds, max(map(len, parts)), dtype=torch.int64)
            valid = torch.zeros(index.shape)
            for k, part in enumerate(parts):
                index[k, : len(part)], valid[k, : len(part)] = part, 1.0
            losses = self._losses(network, index.to(self.weights.device))
            loss += (losses * valid.to(losses.device)).sum(1, dtype=torch.float64)
        return loss / torch.tensor([len(index) for index in self.held_out], device=loss.device)

    def _losses(self, network: CrossFitClassifier, events: Tensor) -> Tensor:
        """Return the losses of events, shape ``(folds, N)``: those of :func:`train_weights`, less that of ``f = 0``."""
        ratio: Tensor = network(self.features[events]) * self.sizes
        weight, difference = self.weights[events][..., None], self.differences[events]
        even = functional.softplus(ratio) - 0.5 * ratio - math.log(2.0)
        losses = (2.0 * weight + difference) * even - 0.5 * difference * ratio
        return (losses * (4.0 / self.sizes**2)).mean(-1)
