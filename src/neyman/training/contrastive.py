"""Training of dataset-wide networks: contrastive over the parameters, end to end, then a head on the summaries."""

from __future__ import annotations

import concurrent.futures
import functools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neyman.inputs.simulation import Datasets
from neyman.networks.averages import AverageEncoder, AverageHead
from neyman.networks.encoder import Encoder
from neyman.networks.heads import (
    BilinearHead,
    EventHead,
    GaussianHead,
    Head,
    LinearHead,
    ParameterFeatures,
    SummaryFeatures,
)
from neyman.networks.kinds import Kind
from neyman.networks.layers import initialised
from neyman.networks.options import SetOptions
from neyman.networks.scaling import robust_scaler
from neyman.support.tasks import one_torch_thread
from neyman.training.bank import Bank, digest_of
from neyman.training.checkpoints import read_checkpoint, save_checkpoint
from neyman.training.loop import Loss, Stage, mean_loss, run
from neyman.training.losses import (
    Guided,
    Summaries,
    candidate_loss,
    dataset_loss,
    event_loss,
    group_loss,
    posterior_loss,
)
from neyman.training.proposals import GROUP

__all__ = ["TrainedSet", "encoder_of", "train_set"]


def __dir__() -> list[str]:
    return __all__


_EVALUATIONS = 20  # of a stage
_PATIENCE = 6  # of these, without improvement
_LATE = 0.6  # of the steps: before, the learning rate is too large for the last digits to tell
_SEEN = 4.0  # standard errors
_CHECKED = 1000  # events, of a network of the user's own
_APART = 1_000_003  # between the seeds of networks that are averaged


@dataclass(frozen=True, eq=False)
class TrainedSet:
    """Trained networks, averaged.

    Args:
        encoder: from events to summaries.
        head: from summaries to scores.
        numbers: fewest and most events of the datasets of the training.
        history: per stage its name, network, losses in training and validation, and seconds.
    """

    encoder: AverageEncoder
    head: AverageHead
    numbers: tuple[float, float]
    history: list[dict[str, Any]] = field(default_factory=list)


def encoder_of(kind: Kind, features: NDArray[np.float32], options: SetOptions) -> Encoder:
    """Return an untrained encoder for events like these.

    Args:
        kind: the kind of network.
        features: of events, shape ``(N, d)``.
        options: of the network.

    Raises:
        InvalidParameter: if a network of the user's own does not make finite numbers of them.
    """
    x = torch.from_numpy(features)
    encoder = kind.build(robust_scaler(x), **options.shape)
    encoder.check(x[:: max(len(x) // _CHECKED, 1)])
    return encoder


def train_set(
    kind: Kind,
    datasets: Datasets,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    options: SetOptions,
    *,
    counts: bool,
    seed: int = 0,
    device: torch.device | None = None,
    progress: str | None = None,
    checkpoint: Path | None = None,
) -> TrainedSet:
    r"""Train encoders and heads on simulated datasets, and average them.

    The loss is :math:`-\log \mathrm{softmax}_j s(D_b, \theta_j)` at :math:`j = b` with the parameters of the dataset's
    group for candidates (arXiv:2210.06170). First encoder and a linear head are trained together; then the encoder is
    frozen, the summaries are computed once, and richer heads are fitted to them: one bilinear in dataset and
    parameters, one that is a Gaussian times a correction, with candidates near the true parameters on the scale that
    the dataset itself determines. The better one on held-out datasets is kept. A kind of single events learns from
    these and has one head alone. Several networks that differ in their seeds are trained at once and their scores are
    averaged.

    Args:
        kind: the kind of network.
        datasets: the simulation, at parameters from :func:`neyman.training.proposals.propose`.
        low: lower bounds of the parameters, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        options: sizes and schedules.
        counts: whether the number of events tells of the parameters.
        seed: fixes initial weights, batches and candidates.
        device: where to train; the networks come back on the CPU.
        progress: label of the progress bars on standard error, or ``None``.
        checkpoint: a folder for the state of an unfinished training.

    Raises:
        FailedFit: if a loss is not finite, or the datasets are too few.
    """
    folder = None if checkpoint is None else checkpoint / digest_of(datasets)  # that of other datasets is of no use
    members = [
        _Training(
            kind, datasets, low, high, options, counts, seed + _APART * k, device,
            progress if k == 0 else None, None if folder is None else folder / f"{k}",
        )
        for k in range(options.networks)
    ]  # fmt: skip
    trained = _at_once(members) if device is None or device.type == "cpu" else [member.run() for member in members]
    history = [{**entry, "network": k} for k, one in enumerate(trained) for entry in one.history]
    return TrainedSet(
        AverageEncoder([one.encoder for one in trained]),
        AverageHead([one.head for one in trained], [one.encoder.size for one in trained]),
        trained[0].numbers,
        history,
    )


def _at_once(members: Sequence[_Training]) -> list[_Member]:
    """Train each network on a core of its own: so small ones gain more than by sharing several."""
    stop = threading.Event()

    def run(member: _Training) -> _Member:
        member.stop = stop
        return member.run()

    cores = min(len(members), torch.get_num_threads())
    with one_torch_thread(), concurrent.futures.ThreadPoolExecutor(cores) as executor:
        futures = [executor.submit(run, member) for member in members]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()  # the first error there is
        finally:
            stop.set()  # after an error or control-C the others end with their next step
    return [future.result() for future in futures]


@dataclass(frozen=True, eq=False)
class _Member:
    """One network of several."""

    encoder: Encoder
    head: Head
    numbers: tuple[float, float]
    history: list[dict[str, Any]]


class _Training:
    """The stages of one network, and what they share."""

    def __init__(
        self,
        kind: Kind,
        datasets: Datasets,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        options: SetOptions,
        counts: bool,
        seed: int,
        device: torch.device | None,
        progress: str | None,
        checkpoint: Path | None,
    ) -> None:
        self.kind, self.options, self.counts, self.seed = kind, options, counts, seed
        self.device = device or torch.device("cpu")
        self.progress, self.checkpoint = progress, checkpoint
        self.bank = Bank(datasets, options.batch_size, self.device)
        self.low, self.high = torch.from_numpy(low), torch.from_numpy(high)
        self.history: list[dict[str, Any]] = []
        self.stop = threading.Event()
        with initialised(seed):
            self.encoder = encoder_of(kind, datasets.features, options).to(self.device)

    def run(self) -> _Member:
        head: Head = self._events() if self.kind.single_events else self._sets()
        for module in (self.encoder, head):
            module.cpu().eval().requires_grad_(False)
        low, high = float(self.bank.numbers.min()), float(self.bank.numbers.max())
        return _Member(self.encoder, head, (low, high), self.history)

    def _events(self) -> EventHead:
        """Train on single events, and leave out a learned rate that held-out numbers of events do not see."""
        with initialised(self.seed + 1):
            head = EventHead(self._parameters(), self.encoder.size, counts=self.counts).to(self.device)
        loss = functools.partial(event_loss, self.bank)
        self._stage("events", Guided(self.encoder, head), loss, self.options.steps, held_out=32)
        if head.rate is not None and not self._rate_is_seen(head):
            head.rate = None
        return head

    def _rate_is_seen(self, head: EventHead) -> bool:
        """Whether held-out numbers of events tell the learned rate from a constant one.

        Where the number does not depend on the parameters, and need not be a Poisson number either, the noise of a
        learned rate would outweigh what the events say.
        """
        rows = torch.arange(self.bank.held_out * GROUP, device=self.device)
        numbers = self.bank.numbers[rows].double()
        constant = self.bank.numbers.double().mean().clamp(min=1e-12).log()
        with torch.no_grad():
            log_rate = head.log_rate(self.bank.theta[rows])[:, 0].double()
        gain = numbers * (log_rate - constant) - (log_rate.exp() - constant.exp())
        return bool(gain.mean() > _SEEN * gain.std() / math.sqrt(len(rows)))

    def _sets(self) -> Head:
        """Train on whole datasets with a linear head, then heads on the summaries."""
        with initialised(self.seed + 1):
            guide = LinearHead(self._parameters(), self.encoder.size).to(self.device)
        loss = functools.partial(dataset_loss, self.bank, self.options.steps // 2)
        self._stage("dataset", Guided(self.encoder, guide), loss, self.options.steps, held_out=32)
        self.encoder.eval().requires_grad_(False)
        return self._head(Summaries(self._all_encoded(), self.bank.theta, self.low, self.high))

    def _all_encoded(self) -> Tensor:
        file = None if self.checkpoint is None else self.checkpoint / "summaries.pt"
        if file is not None and file.exists():
            kept: Tensor = read_checkpoint(file, self.device)["summaries"]
            return kept
        summaries = self.bank.all_encoded(self.encoder)
        if file is not None:
            save_checkpoint({"summaries": summaries}, file)
        return summaries

    def _head(self, known: Summaries) -> Head:
        """Fit both heads and keep the one whose loss on held-out datasets, with candidates near the truth, is lower."""
        features = SummaryFeatures(known.sums).to(self.device)
        with initialised(self.seed + 2):
            gaussian = GaussianHead(self._parameters(), features).to(self.device)
            bilinear = BilinearHead(self._parameters(), features).to(self.device)
        steps, rate = self.options.head_steps, self.options.learning_rate
        posterior = functools.partial(posterior_loss, known)
        self._stage("posterior", gaussian, posterior, max(steps // 3, 1), batches=4)
        with torch.no_grad():
            widths = torch.cat([gaussian.widths(part) for part in torch.split(known.sums, 4096)])
        of_candidates = functools.partial(candidate_loss, known, widths)
        self._stage("bilinear head", bilinear, functools.partial(group_loss, known), steps, batches=2)
        self._stage("gaussian head", gaussian, of_candidates, max(steps * 2 // 3, 1), rate=0.7 * rate)
        heads: tuple[Head, ...] = (bilinear, gaussian)
        groups = self.bank.validation(self.bank.held_out)
        with torch.no_grad():
            losses = [float(mean_loss(of_candidates, groups, head, seed=self.seed, part=64)) for head in heads]
        best = int(np.argmin(losses))
        for k, entry in enumerate(self.history[-2:]):
            entry["held_out_loss"], entry["kept"] = losses[k], k == best
        return heads[best]

    def _parameters(self) -> ParameterFeatures:
        return ParameterFeatures(self.low, self.high).to(self.device)

    def _stage(
        self,
        name: str,
        module: nn.Module,
        loss: Loss,
        steps: int,
        *,
        rate: float | None = None,
        batches: int = 1,
        held_out: int = 128,
    ) -> None:
        """Minimise a loss over groups of datasets; validate on fewer of them where every event has to be encoded."""
        bank, peak = self.bank, self.options.learning_rate
        stage = Stage(
            name,
            module,
            loss,
            functools.partial(mean_loss, loss, bank.validation(held_out)),
            bank.order,
            batch=min(batches * bank.batch, bank.groups - bank.held_out),
            steps=steps,
            learning_rate=rate or peak,
            every=max(steps // _EVALUATIONS, 1),
            patience=_PATIENCE,
            earliest=int(_LATE * steps) + 1,
            clip=1.0,
            average=True,
        )
        history = run(
            stage,
            seed=self.seed,
            device=self.device,
            advice=f"use a learning_rate below {peak:g}, or look for features with extreme values",
            label=None if self.progress is None else f"{self.progress}: {name}",
            checkpoint=None if self.checkpoint is None else self.checkpoint / f"{name}.pt",
            stop=self.stop,
        )
        self.history.append(history.entry())
