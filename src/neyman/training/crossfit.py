"""Training of cross-fitted classifiers: balanced batches, all folds at once, each with a left-out fold to stop at."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from neyman.events import Events
from neyman.exceptions import Unsupported
from neyman.networks.layers import initialised
from neyman.networks.mixture import CrossFitClassifier, fold_of
from neyman.networks.options import TrainingOptions
from neyman.networks.scaling import robust_scaler
from neyman.training.loop import History, Stage, run

__all__ = ["TrainedClassifier", "choose_device", "train_classifier"]


def __dir__() -> list[str]:
    return __all__


_VALIDATIONS = 8  # at least, where a large simulation is not passed over as often as others
_CHUNK = 16_384  # held-out events in memory at a time, of each fold


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A classifier with the best weights of every fold and the history of its training.

    Args:
        network: the networks.
        train_loss: shape ``(folds, epochs)``.
        validation_loss: on the left-out fold, shape ``(folds, epochs)``.
        best_epoch: the epoch whose weights were kept, shape ``(folds,)``.
        seconds: wall time.
    """

    network: CrossFitClassifier
    train_loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64]
    best_epoch: NDArray[np.int64]
    seconds: float

    @classmethod
    def of(cls, network: CrossFitClassifier, history: History) -> TrainedClassifier:
        """Return a network that has been trained, on the CPU, with the history of its training."""
        return cls(
            network=network.cpu().requires_grad_(False),
            train_loss=history.training.T,
            validation_loss=history.validation.T,
            best_epoch=history.best,
            seconds=history.seconds,
        )


def choose_device(device: str = "auto") -> torch.device:
    """Return the torch device: with ``"auto"`` a GPU when torch has one.

    Raises:
        Unsupported: if torch cannot use the device.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise Unsupported(f"device '{device}' cannot be used ({reason}); use 'cpu' or 'auto'") from error
    return torch.device(device)


def train_classifier(
    classes: Sequence[Events],
    options: TrainingOptions,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: str | None = None,
    checkpoint: Path | None = None,
    stop: threading.Event | None = None,
) -> TrainedClassifier:
    """Train one classifier of ``C`` classes on every choice of all folds but one.

    The loss is the cross entropy weighted with the events' signed weights; every class counts the same, so that
    ``C * softmax`` estimates the density ratio of a class to the equal mixture of all (arXiv:1506.02169).

    Args:
        classes: the events of each class.
        options: architecture and schedule.
        seed: fixes folds, initial weights and batches.
        device: where to train; the network comes back on the CPU.
        progress: label of a progress bar on standard error, or ``None``.
        checkpoint: a file that takes the state now and then, and from which an interrupted training goes on.
        stop: ends the training with its next step, after a checkpoint.

    Returns:
        The classifier with the best weights of every fold.

    Raises:
        FailedFit: if the loss is not finite.
    """
    device = device or torch.device("cpu")
    data = _Data(classes, options, seed, device)
    with initialised(seed):
        network = CrossFitClassifier(data.scaler, len(classes), options.hidden, options.folds)
    epochs = max(options.epochs, math.ceil(options.minimum_steps / data.steps))
    steps = min(epochs * data.steps, max(options.maximum_steps, options.minimum_steps))
    every = data.steps if steps == epochs * data.steps else min(data.steps, math.ceil(steps / _VALIDATIONS))
    stage = Stage(
        "classifier",
        network.to(device),
        data.loss,
        data.validation_loss,
        data.order,
        batch=data.per_class,
        steps=steps,
        learning_rate=options.learning_rate,
        every=every,
        patience=max(options.patience, math.ceil(epochs * options.patience / options.epochs)),
        weight_decay=options.weight_decay,
        networks=options.folds,
    )
    advice = f"use a learning_rate below {options.learning_rate:g}, or look for features with extreme values"
    history = run(stage, seed=seed, device=device, advice=advice, label=progress, checkpoint=checkpoint, stop=stop)
    return TrainedClassifier.of(network, history)


class _Data:
    """The events of all classes on a device, their folds, and the losses on them."""

    def __init__(self, classes: Sequence[Events], options: TrainingOptions, seed: int, device: torch.device) -> None:
        self.folds, self.device = options.folds, device
        features = torch.from_numpy(np.concatenate([events.features for events in classes]))
        self.scaler = robust_scaler(features)
        self.features = features.to(device)
        # each class has mean weight one: its total is its number of events, and the balanced batches equalise these
        weights = np.concatenate([e.weights * (len(e) / e.weights.sum()) for e in classes])
        self.weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        self._split(classes, seed)
        per_class = max(options.batch_size // len(classes), 1)
        average = sum(len(events) for events in classes) / len(classes) * (1 - 1 / options.folds)
        self.per_class = min(per_class, max(int(average) // 4, 1))
        """Events of each class in a batch of a fold."""
        self.steps = max(int(average) // self.per_class, 1)
        """Steps that pass over the average class once."""
        self.labels = torch.arange(len(classes), device=device).repeat_interleave(self.per_class).repeat(options.folds)

    def _split(self, classes: Sequence[Events], seed: int) -> None:
        """Index the events of every (fold, class) pair for training and, padded to one length, for validation."""
        offset = 0
        left_out: list[list[Tensor]] = [[] for _ in range(self.folds)]
        self.train_index: list[list[Tensor]] = [[] for _ in range(self.folds)]
        for events in classes:
            fold = fold_of(len(events), self.folds, seed)
            for k in range(self.folds):
                self.train_index[k].append(torch.from_numpy(np.flatnonzero(fold != k) + offset))
                left_out[k].append(torch.from_numpy(np.flatnonzero(fold == k) + offset))
            offset += len(events)
        length = max(sum(map(len, parts)) for parts in left_out)
        index = torch.zeros(self.folds, length, dtype=torch.int64)
        label = torch.zeros(self.folds, length, dtype=torch.int64)
        weight = torch.zeros(self.folds, length, dtype=torch.float32)
        for k, parts in enumerate(left_out):
            n = sum(map(len, parts))
            index[k, :n] = torch.cat(parts)
            label[k, :n] = torch.cat([torch.full((len(part),), c) for c, part in enumerate(parts)])
            weights = [self.weights[part.to(self.device)].cpu() for part in parts]
            # the mean over a fold: a fold whose signed weights cancel would have none
            weight[k, :n] = torch.cat([w / max(len(w), 1) / len(parts) for w in weights])
        self.held_out = (index.to(self.device), label.to(self.device), weight.to(self.device))

    def order(self, generator: torch.Generator) -> Tensor:
        """Return the events of an epoch, shuffled, shape ``(folds, classes, N)``; a small class comes round again.

        Classes of one length are shuffled alike: where they are the same events, moved by a variation, a batch has an
        event with its copies, whose differences are then less random.
        """
        needed = self.steps * self.per_class

        def places(length: int) -> Tensor:
            rounds = math.ceil(needed / length)
            return torch.cat([torch.randperm(length, generator=generator) for _ in range(rounds)])[:needed]

        orders = []
        for row in self.train_index:
            chosen = {length: places(length) for length in dict.fromkeys(map(len, row))}
            orders.append(torch.stack([index[chosen[len(index)]] for index in row]))
        return torch.stack(orders)

    def loss(self, network: CrossFitClassifier, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted cross entropy of each fold's network, shape ``(folds,)``."""
        events = batch.flatten(1)
        values = network(self.features[events])
        losses = functional.cross_entropy(values.flatten(0, 1), self.labels, reduction="none")
        return (losses.view(events.shape) * self.weights[events]).mean(1)

    def validation_loss(self, network: CrossFitClassifier) -> Tensor:
        """Return the loss of each network on the fold that it has not seen, shape ``(folds,)``."""
        index, label, weight = self.held_out
        loss = torch.zeros(self.folds, dtype=torch.float64, device=self.device)
        for begin in range(0, index.shape[1], _CHUNK):
            part = slice(begin, begin + _CHUNK)
            values = network(self.features[index[:, part]])
            losses = functional.cross_entropy(values.mT, label[:, part], reduction="none")
            loss += (losses.double() * weight[:, part]).sum(1)
        return loss
