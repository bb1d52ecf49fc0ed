"""Training of cross-fitted classifiers: balanced batches, all folds at once, early stopping, checkpoints."""

from __future__ import annotations

import math
import pickle
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from neyman.events import Events
from neyman.exceptions import FailedFit, InvalidModelFile, Unsupported
from neyman.networks.layers import initialised, robust_scaler
from neyman.networks.mixture import CrossFitClassifier, fold_of
from neyman.networks.options import TrainingOptions
from neyman.support.files import replacing

__all__ = [
    "TrainedClassifier",
    "choose_device",
    "read_checkpoint",
    "save_checkpoint",
    "train_classifier",
]


def __dir__() -> list[str]:
    return __all__


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
        checkpoint: a file that takes the state after every epoch, and from which an interrupted training goes on.

    Returns:
        The classifier with the best weights of every fold.

    Raises:
        FailedFit: if the loss is not finite.
    """
    start = time.perf_counter()
    device = device or torch.device("cpu")
    state = _State(classes, options, seed, device)
    if checkpoint is not None and checkpoint.exists():
        state.load(read_checkpoint(checkpoint, device))
    bar = tqdm(total=state.epochs, initial=len(state.train_loss), desc=progress, disable=progress is None, unit="epoch")
    with bar:
        while not state.finished:
            state.run_epoch()
            if not math.isfinite(state.best_loss.sum().item()):
                raise FailedFit(
                    f"the training of {progress or 'a classifier'} diverged: a network's loss is not finite; use a"
                    f" learning_rate below {options.learning_rate:g}, or look for features with extreme values"
                )
            if checkpoint is not None:
                save_checkpoint(state.dump(), checkpoint)
            bar.update()
            bar.set_postfix(loss=f"{state.best_loss.mean().item():.5f}")
    return TrainedClassifier(
        network=state.best_network(),
        train_loss=np.asarray(state.train_loss, dtype=np.float64).T,
        validation_loss=np.asarray(state.validation_loss, dtype=np.float64).T,
        best_epoch=state.best_epoch.cpu().numpy(),
        seconds=time.perf_counter() - start,
    )


class _State:
    """Everything that changes during a training, so that it can be written down after every epoch."""

    def __init__(self, classes: Sequence[Events], options: TrainingOptions, seed: int, device: torch.device) -> None:
        self.options = options
        self.device = device
        self.generator = torch.Generator().manual_seed(seed)
        features = torch.from_numpy(np.concatenate([events.features for events in classes]))
        with initialised(seed):
            network = CrossFitClassifier(robust_scaler(features), len(classes), options.hidden, options.folds)
        self.network = network.to(device)
        self.features = features.to(device)
        # each class has mean weight one: its total is its number of events, and the balanced batches equalise these
        weights = np.concatenate([e.weights * (len(e) / e.weights.sum()) for e in classes])
        self.weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        self._split(classes, seed)

        per_class = max(options.batch_size // len(classes), 1)
        average = sum(len(events) for events in classes) / len(classes) * (1 - 1 / options.folds)
        self.per_class = min(per_class, max(int(average) // 4, 1))
        self.steps = max(int(average) // self.per_class, 1)
        self.epochs = max(options.epochs, math.ceil(options.minimum_steps / self.steps))
        self.patience = max(options.patience, math.ceil(self.epochs * options.patience / options.epochs))
        self.labels = torch.arange(len(classes), device=device).repeat_interleave(self.per_class).repeat(options.folds)

        parameters = self.network.parameters()
        self.optimizer = torch.optim.AdamW(
            parameters, lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.99)
        )
        self.best = {name: value.clone() for name, value in self.network.stack.state_dict().items()}
        self.best_loss = torch.full((options.folds,), math.inf, dtype=torch.float64, device=device)
        self.best_epoch = torch.zeros(options.folds, dtype=torch.int64, device=device)
        self.train_loss: list[list[float]] = []
        self.validation_loss: list[list[float]] = []

    def _split(self, classes: Sequence[Events], seed: int) -> None:
        """Index the events of every (fold, class) pair for training and, padded to one length, for validation."""
        offset = 0
        held_out: list[list[Tensor]] = [[] for _ in range(self.options.folds)]
        self.train_index: list[list[Tensor]] = [[] for _ in range(self.options.folds)]
        for events in classes:
            fold = fold_of(len(events), self.options.folds, seed)
            for k in range(self.options.folds):
                self.train_index[k].append(torch.from_numpy(np.flatnonzero(fold != k) + offset))
                held_out[k].append(torch.from_numpy(np.flatnonzero(fold == k) + offset))
            offset += len(events)
        length = max(sum(map(len, parts)) for parts in held_out)
        index = torch.zeros(self.options.folds, length, dtype=torch.int64)
        label = torch.zeros(self.options.folds, length, dtype=torch.int64)
        weight = torch.zeros(self.options.folds, length, dtype=torch.float32)
        for k, parts in enumerate(held_out):
            n = sum(map(len, parts))
            index[k, :n] = torch.cat(parts)
            label[k, :n] = torch.cat([torch.full((len(part),), c) for c, part in enumerate(parts)])
            weights = [self.weights[part.to(self.device)].cpu() for part in parts]
            # the mean over a fold: a fold whose signed weights cancel would have none
            weight[k, :n] = torch.cat([w / max(len(w), 1) / len(parts) for w in weights])
        self.validation = (index.to(self.device), label.to(self.device), weight.to(self.device))

    @property
    def finished(self) -> bool:
        epoch = len(self.validation_loss)
        return epoch >= self.epochs or (epoch > 0 and bool((epoch - 1 - self.best_epoch >= self.patience).all()))

    def run_epoch(self) -> None:
        epoch = len(self.train_loss)
        order = torch.stack([torch.stack([self._stream(i) for i in row]) for row in self.train_index])
        total = torch.zeros(self.options.folds, dtype=torch.float64, device=self.device)
        for step in range(self.steps):
            self._set_learning_rate(epoch * self.steps + step)
            batch = order[:, :, step * self.per_class : (step + 1) * self.per_class].flatten(1).to(self.device)
            values = self.network(self.features[batch])
            losses = torch.nn.functional.cross_entropy(values.flatten(0, 1), self.labels, reduction="none")
            per_fold = (losses.view(batch.shape) * self.weights[batch]).mean(1)
            self.optimizer.zero_grad()
            per_fold.sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += per_fold.detach()
        self.train_loss.append((total / self.steps).tolist())
        self._validate(epoch)

    def _stream(self, index: Tensor) -> Tensor:
        """Return enough of a class's events for one epoch, shuffled; a small class comes round again."""
        needed = self.steps * self.per_class
        rounds = math.ceil(needed / len(index))
        return torch.cat([index[torch.randperm(len(index), generator=self.generator)] for _ in range(rounds)])[:needed]

    def _set_learning_rate(self, step: int) -> None:
        total = self.epochs * self.steps
        warm_up = min(1.0, (step + 1) / min(100, max(total // 10, 1)))
        rate = self.options.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * step / total))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _validate(self, epoch: int) -> None:
        index, label, weight = self.validation
        loss = torch.zeros(self.options.folds, dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for begin in range(0, index.shape[1], 16384):
                part = slice(begin, begin + 16384)
                values = self.network(self.features[index[:, part]])
                losses = torch.nn.functional.cross_entropy(values.mT, label[:, part], reduction="none")
                loss += (losses.double() * weight[:, part]).sum(1)
        self.validation_loss.append(loss.tolist())
        improved = loss < self.best_loss
        self.best_loss = torch.where(improved, loss, self.best_loss)
        self.best_epoch[improved] = epoch
        for name, value in self.network.stack.state_dict().items():
            self.best[name][improved] = value[improved]

    def best_network(self) -> CrossFitClassifier:
        self.network.stack.load_state_dict(self.best)
        return self.network.cpu().eval().requires_grad_(False)

    def dump(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "best": self.best,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "train_loss": self.train_loss,
            "validation_loss": self.validation_loss,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.best, self.best_loss, self.best_epoch = state["best"], state["best_loss"], state["best_epoch"]
        self.train_loss, self.validation_loss = state["train_loss"], state["validation_loss"]


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write the state of a training, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        torch.save(state, stream)


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read the state back; ``weights_only`` keeps torch from running what a pickle says."""
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError, struct.error) as error:
        raise InvalidModelFile(f"{path}: not a checkpoint, or a corrupt one; delete it to train anew") from error
    return state
