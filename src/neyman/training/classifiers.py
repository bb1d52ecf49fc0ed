"""The classifiers of a channel: independent trainings, at once on the cores of this machine or on an executor."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import torch

from neyman.support.tasks import at_once, run
from neyman.training.checkpoints import NOTE
from neyman.training.crossfit import TrainedClassifier

__all__ = ["Trainer", "Training"]


def __dir__() -> list[str]:
    return __all__


Training: TypeAlias = Callable[..., TrainedClassifier]
"""What trains one classifier: a :class:`functools.partial` of a function of a module, such as
``partial(train_classifier, classes, options)``, that holds its data and takes the keywords ``seed``, ``device``,
``progress``, ``checkpoint`` and ``stop`` of :func:`neyman.training.crossfit.train_classifier`."""


@dataclass(frozen=True, eq=False)
class Trainer:
    """What trains the classifiers of a channel, each with a checkpoint of its own and with one thread of torch.

    So the same seed gives the same classifiers, to the last digit, whatever trains them and how many at once.

    On an executor every classifier is a task. What travels there is its events and weights, what comes back is the
    networks; they train on the same kind of device there. A worker that sees the folder of checkpoints writes them
    there while it trains; otherwise the state of a finished training comes back with the result and is kept here.

    Args:
        channel: its name.
        seed: fixes everything random.
        device: where the networks train.
        progress: whether to show progress bars on standard error.
        checkpoints: a folder for the state of unfinished trainings.
        executor: any :class:`concurrent.futures.Executor`; ``None`` trains one after another on a GPU, and on CPUs as
            many at once as torch has threads.
    """

    channel: str
    seed: int = 0
    device: torch.device | None = None
    progress: bool = False
    checkpoints: Path | None = None
    executor: Executor | None = None

    def __call__(self, trainings: Mapping[str, Training]) -> dict[str, TrainedClassifier]:
        """Train classifiers that do not need each other.

        Args:
            trainings: by label, which names progress bar and checkpoint.

        Returns:
            The classifiers by label, in the same order.

        Raises:
            FailedFit: if one of them diverges.
        """
        labels = list(trainings)
        if self.executor is None:
            on_cpus = self.device is None or self.device.type == "cpu"
            cores = min(len(labels), torch.get_num_threads()) if on_cpus else 1
            trained = at_once(lambda label, stop: self._here(label, trainings[label], stop), labels, cores)
            return dict(zip(labels, trained, strict=True))
        note = _content(None if self.checkpoints is None else self.checkpoints / NOTE)
        tasks = [_Task(trainings[label], self._path(label), note, _content(self._path(label))) for label in labels]
        found: dict[str, TrainedClassifier] = {}
        text = f"{self.channel}: classifiers"
        for number, done in run(
            _train, (self.seed, self.device), tasks, self.executor, progress=self.progress, description=text
        ):
            label = labels[number]
            path = self._path(label)
            if done.state is not None and path is not None:
                path.write_bytes(done.state)
            found[label] = done.trained
        return {label: found[label] for label in labels}

    def _here(self, label: str, training: Training, stop: threading.Event) -> TrainedClassifier:
        text = f"{self.channel}: {label}" if self.progress else None
        return training(seed=self.seed, device=self.device, progress=text, checkpoint=self._path(label), stop=stop)

    def _path(self, label: str) -> Path | None:
        file = f"{quote(self.channel, safe='')} {quote(label, safe=' ')}.pt"  # a name may have a slash
        return None if self.checkpoints is None else self.checkpoints.resolve() / file


def _content(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None and path.exists() else None


@dataclass(frozen=True, eq=False)
class _Task:
    """One training, with the checkpoint that it goes on from."""

    training: Training
    checkpoint: Path | None
    note: bytes | None
    state: bytes | None


@dataclass(frozen=True, eq=False)
class _Done:
    """One classifier, and its last checkpoint where the client has to write it."""

    trained: TrainedClassifier
    state: bytes | None = None


def _train(common: tuple[int, torch.device | None], task: _Task) -> _Done:
    """Train in a worker."""
    settings: dict[str, Any] = dict(zip(("seed", "device"), common, strict=True))
    if task.checkpoint is None:
        return _Done(task.training(**settings))
    if (
        task.note is not None and _content(task.checkpoint.parent / NOTE) == task.note
    ):  # the worker sees the folder of this very training
        return _Done(task.training(**settings, checkpoint=task.checkpoint))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "checkpoint.pt")
        if task.state is not None:
            checkpoint.write_bytes(task.state)
        return _Done(task.training(**settings, checkpoint=checkpoint), checkpoint.read_bytes())
