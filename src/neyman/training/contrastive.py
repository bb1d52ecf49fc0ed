"""Training of dataset-wide networks: contrastive over the parameters, end to end, then a head on the summaries."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

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
from neyman.networks.options import PosteriorOptions, SetOptions
from neyman.networks.scaling import robust_scaler
from neyman.support.tasks import at_once
from neyman.training.bank import Bank, digest_of
from neyman.training.checkpoints import read_checkpoint, save_checkpoint
from neyman.training.loop import Loss, Stage, mean_loss, run, shuffled
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


_SINGLE = 4  # times as many steps with single events, where there are tables,
_FEWER = 8  # times fewer then with whole datasets,
_SLOWER = 0.3  # and this much slower
_EVALUATIONS = 20  # of a stage
_PATIENCE = 6  # of these, without improvement
_CHANCE = 0.005  # by how much less a loss on held-out datasets may be without being better
_LATE = 0.6  # of the steps: before, the learning rate is too large for the last digits to tell
_SEEN = 4.0  # standard errors
_ADAPTED = 100_000  # events, that tables have their knots among
_CHECKED = 1000  # events, of a network of the user's own
_APART = 1_000_003  # between the seeds of networks that are averaged

T = TypeVar("T")


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


def encoder_of(
    kind: Kind,
    features: NDArray[np.float32],
    options: SetOptions | PosteriorOptions,
    event_shape: Sequence[int] | None = None,
) -> Encoder:
    """Return an untrained encoder for events like these.

    Args:
        kind: the kind of network.
        features: of events, shape ``(N, d)``.
        options: of the network.
        event_shape: the shape of an event that is no list of features.

    Raises:
        InvalidParameter: if a network of the user's own does not make finite numbers of them.
    """
    x = torch.from_numpy(features)
    encoder = kind.build(robust_scaler(x, event_shape), **options.shape)
    encoder.adapt(x[:: max(len(x) // _ADAPTED, 1)])
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
    fresh: Callable[[int], Datasets] | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    progress: str | None = None,
    checkpoint: Path | None = None,
) -> TrainedSet:
    r"""Train encoders and heads on simulated datasets, and average them.

    The loss is :math:`-\log \mathrm{softmax}_j s(D_b, \theta_j)` at :math:`j = b` with the parameters of the dataset's
    group for candidates (arXiv:2210.06170). First encoder and a linear head are trained together; then the encoder is
    frozen, the summaries of fresh datasets are computed once, and richer heads are fitted to them: one bilinear in
    dataset and parameters, one that is a Gaussian times a correction, with candidates near the true parameters on the
    scale that the dataset itself determines. The better one on held-out datasets is kept. Fresh datasets are several
    times as many, for a head that has seen too few is wrong by a percent, and an encoder takes those that it was
    trained on for more telling than they are. A kind of single events learns from these and has one head alone.
    Several networks that differ in their seeds are trained at once and their scores are averaged.

    Args:
        kind: the kind of network.
        datasets: the simulation, at parameters from :func:`neyman.training.proposals.propose`.
        low: lower bounds of the parameters, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        options: sizes and schedules.
        counts: whether the number of events tells of the parameters.
        fresh: simulates datasets for the heads, the k-th time for k from 0 on, ``options.fresh`` times; without it the
            heads are trained on the datasets of the encoder.
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

    def every(stage: Callable[[_Training], T]) -> list[T]:
        def run(member: _Training, stop: threading.Event) -> T:
            member.stop = stop
            return stage(member)

        return at_once(run, members, torch.get_num_threads() if device is None or device.type == "cpu" else 1)

    every(_Training.learn)
    if fresh is not None and not kind.single_events:
        for k in range(options.fresh):
            if any(member.misses(k) for member in members):
                every(functools.partial(_Training.see, k=k, datasets=fresh(k)))
    trained = every(_Training.finish)
    history = [{**entry, "network": k} for k, one in enumerate(trained) for entry in one.history]
    return TrainedSet(
        AverageEncoder([one.encoder for one in trained]),
        AverageHead([one.head for one in trained], [one.encoder.size for one in trained]),
        trained[0].numbers,
        history,
    )


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
        self.fresh: list[dict[str, Tensor]] = []
        self.head: Head | None = None
        self.guide: LinearHead | None = None
        self.tabled = options.tabled
        self.knots: int = options.shape.get("knots", 0)
        self.stop = threading.Event()
        with initialised(seed):
            self.encoder = encoder_of(kind, datasets.features, options, datasets.event_shape).to(self.device)

    def learn(self) -> None:
        """Train the encoder, with a head that is the last one for single events only."""
        if self.kind.single_events:
            self.head = self._events()
            return
        with initialised(self.seed + 1):
            guide = LinearHead(self._parameters(), self.encoder.size, knots=self.knots, tabled=self.tabled).to(
                self.device
            )
        module, order, steps, rate = Guided(self.encoder, guide), self.bank.order, self.options.steps, None
        if self.knots:
            loss = functools.partial(event_loss, self.bank)
            self._stage("single events", module, loss, order, _SINGLE * steps, held_out=32)
            self.guide, steps, rate = guide, max(steps // _FEWER, 1), _SLOWER * self.options.learning_rate
        whole = functools.partial(dataset_loss, self.bank, steps // 2)
        self._stage("dataset", module, whole, order, steps, rate=rate, held_out=32)
        self.encoder.eval().requires_grad_(False)

    def misses(self, k: int) -> bool:
        """Whether the k-th fresh datasets have not been seen, before an interruption."""
        return self.checkpoint is None or not self._file(k).exists()

    def see(self, k: int, datasets: Datasets) -> None:
        """Keep the summaries of the k-th fresh datasets."""
        if not self.misses(k):
            return
        bank = Bank(datasets, self.options.batch_size, self.device)
        known = {"sums": bank.all_encoded(self.encoder), "theta": bank.theta}
        if self.checkpoint is None:
            self.fresh.append(known)
        else:
            save_checkpoint(known, self._file(k))

    def finish(self) -> _Member:
        """Train the heads on whole datasets."""
        if self.head is None:
            self.head = self._head(self._summaries())
        for module in (self.encoder, self.head):
            module.cpu().eval().requires_grad_(False)
        low, high = float(self.bank.numbers.min()), float(self.bank.numbers.max())
        return _Member(self.encoder, self.head, (low, high), self.history)

    def _file(self, k: int) -> Path:
        assert self.checkpoint is not None
        return self.checkpoint / f"summaries-{k}.pt"

    def _summaries(self) -> Summaries:
        """Return the summaries that heads are trained on, after those of the datasets that were held out."""
        fresh = self.fresh
        if self.checkpoint is not None:
            files = [self._file(k) for k in range(self.options.fresh)]
            fresh = [read_checkpoint(file, self.device) for file in files if file.exists()]
        own = self.bank.all_encoded(self.encoder, self.bank.held_out if fresh else self.bank.groups)
        sums = torch.cat([own, *(one["sums"] for one in fresh)])
        theta = torch.cat([self.bank.theta[: len(own)], *(one["theta"] for one in fresh)])
        return Summaries(sums, theta, self.low, self.high)

    def _events(self) -> EventHead:
        """Train on single events, and leave out a learned rate that held-out numbers of events do not see."""
        with initialised(self.seed + 1):
            head = EventHead(
                self._parameters(), self.encoder.size, counts=self.counts, knots=self.knots, tabled=self.tabled
            )
            head = head.to(self.device)
        loss = functools.partial(event_loss, self.bank)
        self._stage("events", Guided(self.encoder, head), loss, self.bank.order, self.options.steps, held_out=32)
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

    def _head(self, known: Summaries) -> Head:
        """Fit heads and keep the one whose loss on held-out datasets, with candidates near the truth, is lowest.

        The bilinear one is kept where the others are not clearly better: where the likelihood is no Gaussian they
        come as low, with widths that are further off.
        """
        with initialised(self.seed + 2):
            gaussian = GaussianHead(self._parameters(), SummaryFeatures(known.sums, means=True)).to(self.device)
            bilinear = BilinearHead(self._parameters(), SummaryFeatures(known.sums)).to(self.device)
        gaussian.fit_line(known.sums, known.theta)
        steps, rate = self.options.head_steps, self.options.learning_rate
        order = functools.partial(shuffled, self.bank.held_out, len(known.sums) // GROUP)
        posterior = functools.partial(posterior_loss, known)
        self._stage("posterior", gaussian, posterior, order, max(steps // 3, 1), batches=4)
        with torch.no_grad():
            widths = torch.cat([gaussian.widths(part) for part in torch.split(known.sums, 4096)])
        of_candidates = functools.partial(candidate_loss, known, widths)
        self._stage("bilinear head", bilinear, functools.partial(group_loss, known), order, steps, batches=2)
        self._stage("gaussian head", gaussian, of_candidates, order, max(steps * 2 // 3, 1), rate=0.7 * rate)
        heads: list[Head] = [bilinear, gaussian]
        if self.guide is not None:
            near = functools.partial(group_loss, known)
            self._stage("linear head", self.guide, near, order, steps, rate=_SLOWER * rate, batches=2)
            heads.append(self.guide)
        groups = self.bank.validation(self.bank.held_out)
        with torch.no_grad():
            losses = [float(mean_loss(of_candidates, groups, head, seed=self.seed, part=64)) for head in heads]
        best = int(np.argmin(losses))
        if losses[best] > losses[0] - _CHANCE:
            best = 0
        for k, entry in enumerate(self.history[-len(heads) :]):
            entry["held_out_loss"], entry["kept"] = losses[k], k == best
        return heads[best]

    def _parameters(self) -> ParameterFeatures:
        return ParameterFeatures(self.low, self.high).to(self.device)

    def _stage(
        self,
        name: str,
        module: nn.Module,
        loss: Loss,
        order: Callable[[torch.Generator], Tensor],
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
            order,
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
