"""The training loop of every network: a stage says what is learned and how, the loop does it, and can be resumed."""

from __future__ import annotations

import concurrent.futures
import copy
import functools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from neyman.exceptions import FailedFit, InvalidModelFile
from neyman.training.checkpoints import read_checkpoint, save_checkpoint

__all__ = ["SAVE_EVERY", "History", "Loss", "Stage", "mean_loss", "run", "shuffled", "warm_up_and_cosine"]


def __dir__() -> list[str]:
    return __all__


SAVE_EVERY = 20.0
"""Seconds between checkpoints: what an interruption may cost."""

Loss: TypeAlias = Callable[[Any, Tensor, torch.Generator], Tensor]
"""From the module, the positions in a batch and a source of randomness to the losses, shape ``()`` or ``(K,)``."""

_WARM_UP = 100  # steps, or a tenth of them if that is less


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage of a training: what is learned, from what, and for how long.

    Args:
        name: what it is called in histories, progress bars and names of files.
        module: what learns; those of its parameters that require gradients.
        loss: what is minimised, for a batch.
        validation: the loss of the module on held-out data, shape ``()`` or ``(K,)``.
        order: the positions of the training data, shuffled, for one pass; batches are cut from the last axis.
        batch: the length of a batch along that axis.
        steps: how many at most.
        learning_rate: its peak; it rises over the first steps and falls to zero as a cosine.
        every: steps between validations.
        patience: validations without improvement after which the stage ends.
        earliest: the step before which it does not end.
        weight_decay: AdamW's.
        clip: the largest norm of a gradient; none by default.
        average: whether a moving average of the weights is validated and kept, rather than the weights themselves.
        networks: ``K`` networks that are stacked along the first axis of every parameter; each keeps its own best.
    """

    name: str
    module: nn.Module
    loss: Loss
    validation: Callable[[Any], Tensor]
    order: Callable[[torch.Generator], Tensor]
    batch: int
    steps: int
    learning_rate: float
    every: int
    patience: int
    earliest: int = 0
    weight_decay: float = 0.0
    clip: float | None = None
    average: bool = False
    networks: int = 1


@dataclass(frozen=True, eq=False)
class History:
    """How a stage went.

    Args:
        name: of the stage.
        training: the mean loss of the batches since the validation before, shape ``(validations, K)``.
        validation: the loss on held-out data, shape ``(validations, K)``.
        best: the validation whose weights were kept, shape ``(K,)``.
        seconds: wall time, without what was done before an interruption.
    """

    name: str
    training: NDArray[np.float64]
    validation: NDArray[np.float64]
    best: NDArray[np.int64]
    seconds: float

    def entry(self) -> dict[str, Any]:
        """Return the history of a single network as a report has it."""
        return {
            "name": self.name,
            "train_loss": self.training[:, 0].tolist(),
            "validation_loss": self.validation[:, 0].tolist(),
            "seconds": self.seconds,
        }


def run(
    stage: Stage,
    *,
    seed: int,
    device: torch.device,
    advice: str,
    label: str | None = None,
    checkpoint: Path | None = None,
    stop: threading.Event | None = None,
) -> History:
    """Run a stage; its module ends with the weights that validated best, ready for evaluation.

    Args:
        stage: what to do.
        seed: fixes the order of the data and whatever the loss draws.
        device: where the module is.
        advice: what to do if the training diverges, for the message.
        label: of the progress bar on standard error, or ``None`` for none.
        checkpoint: a file that takes the state now and then and at the end, and from which the stage goes on.
        stop: ends the stage with its next step, after a checkpoint.

    Raises:
        FailedFit: if the loss is not finite.
        InvalidModelFile: if the checkpoint cannot be read.
        concurrent.futures.CancelledError: if it was told to stop.
    """
    begin = saved = time.perf_counter()
    state = _State(stage, seed, device)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint)
    with tqdm(total=stage.steps, initial=state.step, desc=label, disable=label is None, unit="step") as bar:
        while not state.finished:
            state.advance()
            bar.update()
            if state.step % stage.every == 0 or state.step == stage.steps:
                state.validate()
                if state.diverged:
                    raise FailedFit(f"the training of {label or stage.name} diverged: its loss is not finite; {advice}")
                bar.set_postfix(loss=f"{state.best_loss.mean().item():.5f}")
            stopped = stop is not None and stop.is_set()
            if checkpoint is not None and (stopped or time.perf_counter() - saved > SAVE_EVERY):
                state.save(checkpoint)
                saved = time.perf_counter()
            if stopped:
                raise concurrent.futures.CancelledError
    if checkpoint is not None:
        state.save(checkpoint)
    state.keep_best()
    return History(
        stage.name,
        np.array(state.training, dtype=np.float64),
        np.array(state.validation, dtype=np.float64),
        state.best_validation.cpu().numpy(),
        time.perf_counter() - begin,
    )


def warm_up_and_cosine(step: int, steps: int) -> float:
    """Return the learning rate at a step, of so many in all, in units of its peak.

    Example:
        >>> [round(warm_up_and_cosine(step, 1000), 2) for step in (0, 99, 500, 1000)]
        [0.01, 0.98, 0.5, 0.0]
    """
    rise = min(1.0, (step + 1) / min(_WARM_UP, max(steps // 10, 1)))
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def shuffled(first: int, last: int, generator: torch.Generator) -> Tensor:
    """Return the positions from ``first`` to before ``last`` in random order, shape ``(last - first,)``."""
    return torch.randperm(last - first, generator=generator) + first


def mean_loss(loss: Loss, positions: Tensor, module: nn.Module, *, seed: int = 0, part: int = 32) -> Tensor:
    """Return the mean of a loss over held-out data, always with the same randomness.

    Args:
        loss: the loss.
        positions: of the data, shape ``(N,)``.
        module: the module, in evaluation.
        seed: of the randomness.
        part: data in memory at a time.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([loss(module, one, generator).double() for one in torch.split(positions, part)]).mean()


class _State:
    """Everything that changes during a stage, so that it can be written down."""

    def __init__(self, stage: Stage, seed: int, device: torch.device) -> None:
        self.stage, self.device = stage, device
        self.learning = [p for p in stage.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.learning, lr=stage.learning_rate, weight_decay=stage.weight_decay, betas=(0.9, 0.99)
        )
        self.schedule = LambdaLR(self.optimizer, functools.partial(warm_up_and_cosine, steps=stage.steps))
        # by hand: torch's AveragedModel does the same in a tenth of a step of a small network more
        self.average = copy.deepcopy(stage.module) if stage.average else stage.module
        self.averaged = [p.detach() for p in self.average.parameters() if p.requires_grad]
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.empty(0, dtype=torch.int64)
        self.step = self.since = 0
        self.running = torch.zeros(stage.networks, dtype=torch.float64, device=device)
        self.best = [p.detach().clone() for p in self.learning]
        self.best_loss = torch.full_like(self.running, math.inf)
        self.best_validation = torch.zeros(stage.networks, dtype=torch.int64, device=device)
        self.training: list[list[float]] = []
        self.validation: list[list[float]] = []

    @property
    def finished(self) -> bool:
        done = len(self.validation)
        stalled = done > 0 and bool((done - 1 - self.best_validation >= self.stage.patience).all())
        return self.step >= self.stage.steps or (stalled and self.step >= self.stage.earliest)

    @property
    def diverged(self) -> bool:
        """Whether a network has never had a finite loss, or none of them has one any more."""
        return not (bool(torch.isfinite(self.best_loss).all()) and np.isfinite(self.training[-1]).any())

    def advance(self) -> None:
        """Make one step."""
        stage = self.stage
        if self.order.shape[-1] < stage.batch:
            self.order = stage.order(self.generator)
        batch, self.order = self.order[..., : stage.batch].to(self.device), self.order[..., stage.batch :]
        stage.module.train()
        losses = stage.loss(stage.module, batch, self.generator)
        self.optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        if stage.clip is not None:
            nn.utils.clip_grad_norm_(self.learning, stage.clip)
        self.optimizer.step()
        self.schedule.step()
        self.step, self.since = self.step + 1, self.since + 1
        if stage.average:  # over few steps at the beginning, over a thousand later
            decay = min(0.999, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.averaged, self.learning, 1 - decay)  # type: ignore[arg-type]
        self.running += losses.detach().double()

    def validate(self) -> None:
        """Evaluate the module, or its average, on held-out data, and keep the weights that are the best so far."""
        self.average.eval()
        with torch.no_grad():
            for mine, buffer in zip(self.average.buffers(), self.stage.module.buffers(), strict=True):
                mine.copy_(buffer)
            loss = self.stage.validation(self.average).double().reshape(-1)
        self.training.append((self.running / max(self.since, 1)).tolist())
        self.validation.append(loss.tolist())
        self.running, self.since = torch.zeros_like(self.running), 0
        better = loss < self.best_loss  # never, where nan
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best_validation[better] = len(self.validation) - 1
        for best, value in zip(self.best, self.averaged, strict=True):
            if self.stage.networks > 1:
                best[better] = value[better]
            elif better:
                best.copy_(value)

    def keep_best(self) -> None:
        """Leave the module with the weights that validated best."""
        with torch.no_grad():
            for parameter, value in zip(self.learning, self.best, strict=True):
                parameter.copy_(value)
        self.stage.module.eval()

    def save(self, path: Path) -> None:
        """Write everything into a checkpoint."""
        state = {
            "module": self.stage.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self.average.state_dict(),
            "generator": self.generator.get_state(),
            "order": self.order.clone(),
            **{name: getattr(self, name) for name in _KEPT},
        }
        save_checkpoint(state, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = read_checkpoint(path, self.device)
        try:
            self.stage.module.load_state_dict(state["module"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.average.load_state_dict(state["average"])
            self.generator.set_state(state["generator"].cpu())
            self.order = state["order"].cpu()
            for name in _KEPT:
                setattr(self, name, state[name])
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise InvalidModelFile(f"{path}: a checkpoint of another training; delete it to train anew") from error


_KEPT = ("step", "since", "running", "best", "best_loss", "best_validation", "training", "validation")
