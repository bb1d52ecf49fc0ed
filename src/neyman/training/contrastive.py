"""Training of dataset-wide networks: contrastive over the parameters, end to end, then a head on the summaries."""

from __future__ import annotations

import concurrent.futures
import hashlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from neyman.exceptions import FailedFit
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
from neyman.networks.layers import initialised, robust_scaler
from neyman.networks.options import SetOptions
from neyman.training.crossfit import read_checkpoint, save_checkpoint

__all__ = ["GROUP", "LoopState", "TrainedSet", "encoder_of", "propose", "train_set"]


def __dir__() -> list[str]:
    return __all__


GROUP = 32  # datasets whose parameters are each other's candidates
_LOCAL = 0.5  # of the groups have their parameters near each other
_SPREADS = (0.02, 0.5)  # of a local group, in units of the ranges
_VALIDATION = 0.05  # of the groups
_CANDIDATES = 16  # of a dataset, where they are its own
_NEAR = (0.5, 4.0)  # how far these are from the true parameters, in standard deviations of the posterior
_UNIFORM = 0.2  # of the datasets have candidates from the whole range
_EVENTS = 4  # of a dataset in a batch, where events are taken one by one
_EVALUATIONS = 20
_PATIENCE = 6  # evaluations without improvement
_LATE = 0.6  # of the steps: before, the learning rate is too large for the last digits to tell
_SECONDS_KEPT = 20.0  # what an interruption may cost
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


def propose(low: NDArray[np.float64], high: NDArray[np.float64], n: int, seed: int) -> NDArray[np.float64]:
    """Return parameters to simulate at, in groups of :data:`GROUP`, shape ``(n, P)``.

    All are distributed uniformly over the bounds. Half of the groups are independent; in the others the parameters
    are close to each other, on scales from 2 % to half of their ranges, so that the contrast between them teaches
    what a dataset that determines them well can tell. Given its group, each is drawn alike: the contrast is exact.

    Args:
        low: lower bounds, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        n: how many, rounded up to whole groups.
        seed: fixes them.

    Example:
        >>> import numpy as np
        >>> propose(np.zeros(2), np.ones(2), 100, seed=0).shape
        (128, 2)
    """
    rng = np.random.default_rng(seed)
    groups, p = math.ceil(n / GROUP), len(low)
    unit = rng.random((groups, GROUP, p))
    spread = np.exp(rng.uniform(math.log(_SPREADS[0]), math.log(_SPREADS[1]), (groups, 1, 1)))
    near = rng.random((groups, 1, p)) + spread * rng.normal(size=(groups, GROUP, p))
    near = np.abs(near) % 2  # reflected at the bounds, which keeps the distribution uniform
    near = np.where(near > 1, 2 - near, near)
    chosen = np.where(rng.random((groups, 1, 1)) < _LOCAL, near, unit).reshape(-1, p)
    return np.asarray(low + (high - low) * chosen)


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
        datasets: the simulation, at parameters from :func:`propose`.
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
    folder = None if checkpoint is None else checkpoint / _digest(datasets)  # that of other datasets is of no use
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
        torch.set_num_threads(1)
        member.stop = stop
        return member.run()

    with concurrent.futures.ThreadPoolExecutor(min(len(members), torch.get_num_threads())) as executor:
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
        groups = len(datasets) // GROUP
        self.held_out = max(int(_VALIDATION * groups), 1)
        self.group_batch = max(options.batch_size // GROUP, 1)
        if groups - self.held_out < self.group_batch:
            raise FailedFit(
                f"{len(datasets)} datasets are too few for a batch of {options.batch_size}: use more datasets"
            )
        self.groups = groups
        self.theta = torch.from_numpy(datasets.pars[: groups * GROUP].astype(np.float32)).to(self.device)
        self.x = torch.from_numpy(datasets.features).to(self.device)
        self.offsets = torch.from_numpy(datasets.offsets).to(self.device)
        self.numbers = self.offsets.diff()
        self.low, self.high = torch.from_numpy(low), torch.from_numpy(high)
        self.history: list[dict[str, Any]] = []
        self.stop = threading.Event()
        with initialised(seed):
            self.encoder = encoder_of(kind, datasets.features, options).to(self.device)

    def run(self) -> _Member:
        head: Head = self._events() if self.kind.single_events else self._sets()
        for module in (self.encoder, head):
            module.cpu().eval().requires_grad_(False)
        low, high = float(self.numbers.min()), float(self.numbers.max())
        return _Member(self.encoder, head, (low, high), self.history)

    def _parameters(self) -> ParameterFeatures:
        return ParameterFeatures(self.low, self.high).to(self.device)

    # -- events one by one

    def _events(self) -> EventHead:
        with initialised(self.seed + 1):
            head = EventHead(self._parameters(), self.encoder.size, counts=self.counts).to(self.device)

        def loss(groups: Tensor, generator: torch.Generator) -> Tensor:
            rows = _members(groups)
            numbers = self.numbers[rows]
            chosen = torch.rand(len(rows), _EVENTS, generator=generator).to(self.device)
            chosen = self.offsets[:-1][rows][:, None] + (chosen * numbers[:, None]).long()
            there = (numbers > 0).repeat_interleave(_EVENTS)
            events = self.x[chosen.clamp(max=len(self.x) - 1).flatten()]
            alone = torch.arange(len(events), device=self.device)
            summaries = self.encoder(events, torch.ones_like(events[:, 0]), alone, len(events))
            coefficients = head.per_event(self.theta[rows]).view(len(groups), GROUP, -1)
            scores = summaries.view(len(groups), GROUP * _EVENTS, -1) @ coefficients.mT
            target = torch.arange(GROUP, device=self.device).repeat_interleave(_EVENTS).repeat(len(groups))
            losses = functional.cross_entropy(scores.flatten(0, 1), target, reduction="none")
            total = (losses * there).sum() / there.sum().clamp(min=1)
            if head.rate is not None:
                log_rate = head.log_rate(self.theta[rows])[:, 0]
                # minus the log-likelihood of a Poisson number, in units of what a count can fluctuate
                total = (
                    total + ((log_rate.exp() - numbers * log_rate) / self.numbers.float().mean().clamp(min=1)).mean()
                )
            return total

        self._loop("events", [self.encoder, head], loss, self.options.steps, self.options.learning_rate)
        if head.rate is not None and not self._rate_is_seen(head):
            head.rate = None
        return head

    def _rate_is_seen(self, head: EventHead) -> bool:
        """Whether held-out numbers of events tell the learned rate from a constant one.

        Where the number does not depend on the parameters, and need not be a Poisson number either, the noise of a
        learned rate would outweigh what the events say.
        """
        rows = torch.arange(self.held_out * GROUP, device=self.device)
        numbers = self.numbers[rows].double()
        constant = self.numbers.double().mean().clamp(min=1e-12).log()
        with torch.no_grad():
            log_rate = head.log_rate(self.theta[rows])[:, 0].double()
        gain = numbers * (log_rate - constant) - (log_rate.exp() - constant.exp())
        return bool(gain.mean() > _SEEN * gain.std() / math.sqrt(len(rows)))

    # -- whole datasets

    def _sets(self) -> Head:
        with initialised(self.seed + 1):
            guide = LinearHead(self._parameters(), self.encoder.size).to(self.device)

        def loss(groups: Tensor, generator: torch.Generator) -> Tensor:
            rows = _members(groups)
            summaries = self._encoded(rows)
            if guide.training:
                guide.track(summaries, until=self.options.steps // 2)
            return _contrast(guide, summaries, self.theta[rows])

        self._loop("dataset", [self.encoder, guide], loss, self.options.steps, self.options.learning_rate)
        self.encoder.eval().requires_grad_(False)
        summaries = self._all_encoded()
        return self._head(summaries)

    def _encoded(self, rows: Tensor) -> Tensor:
        numbers = self.numbers[rows]
        dataset = torch.arange(len(rows), device=self.device).repeat_interleave(numbers)
        begin = torch.cumsum(numbers, 0) - numbers
        events = torch.arange(len(dataset), device=self.device) + (self.offsets[:-1][rows] - begin)[dataset]
        x = self.x[events]
        return self.encoder(x, torch.ones_like(x[:, 0]), dataset, len(rows))  # type: ignore[no-any-return]

    def _all_encoded(self) -> Tensor:
        file = None if self.checkpoint is None else self.checkpoint / "summaries.pt"
        if file is not None and file.exists():
            kept: Tensor = read_checkpoint(file, self.device)["summaries"]
            return kept
        with torch.no_grad():
            parts = torch.split(torch.arange(self.groups * GROUP, device=self.device), 64 * GROUP)
            summaries = torch.cat([self._encoded(rows) for rows in parts])
        if file is not None:
            save_checkpoint({"summaries": summaries}, file)
        return summaries

    def _head(self, summaries: Tensor) -> Head:
        """Fit both heads and keep the one whose loss on held-out datasets, with candidates near the truth, is lower."""
        features = SummaryFeatures(summaries).to(self.device)
        with initialised(self.seed + 2):
            gaussian = GaussianHead(self._parameters(), features).to(self.device)
            bilinear = BilinearHead(self._parameters(), features).to(self.device)

        def posterior(groups: Tensor, generator: torch.Generator) -> Tensor:
            chosen = _members(groups)
            return gaussian.negative_log_posterior(summaries[chosen], self.theta[chosen])

        steps, rate = self.options.head_steps, self.options.learning_rate
        self._loop("posterior", [gaussian], posterior, max(steps // 3, 1), rate, batches=4)
        with torch.no_grad():
            widths = torch.cat([gaussian.widths(part) for part in torch.split(summaries, 4096)])

        def of_groups(groups: Tensor, generator: torch.Generator) -> Tensor:
            chosen = _members(groups)
            return _contrast(bilinear, summaries[chosen], self.theta[chosen])

        def of_candidates(head: Head) -> Callable[[Tensor, torch.Generator], Tensor]:
            def loss(groups: Tensor, generator: torch.Generator) -> Tensor:
                chosen = _members(groups)
                theta = self._candidates(self.theta[chosen], widths[chosen], generator)
                return -functional.log_softmax(head.score(summaries[chosen], theta), dim=1)[:, 0].mean()

            return loss

        self._loop("bilinear head", [bilinear], of_groups, steps, rate, batches=2)
        self._loop("gaussian head", [gaussian], of_candidates(gaussian), max(steps * 2 // 3, 1), 0.7 * rate)
        losses: dict[Head, float] = {}
        with torch.no_grad():
            for head in (bilinear, gaussian):
                generator = torch.Generator().manual_seed(self.seed)
                parts = torch.split(torch.arange(self.held_out, device=self.device), 64)
                losses[head] = float(np.mean([of_candidates(head)(part, generator).item() for part in parts]))
        chosen = min(losses, key=lambda head: losses[head])
        for head, stage in ((bilinear, "bilinear head"), (gaussian, "gaussian head")):
            entry = next(e for e in self.history if e["name"] == stage)
            entry["held_out_loss"], entry["kept"] = losses[head], head is chosen
        return chosen

    def _candidates(self, theta: Tensor, widths: Tensor, generator: torch.Generator) -> Tensor:
        """Return the true parameters and candidates distributed like them given a common centre, ``(n, m, P)``.

        The scale depends on the dataset alone, and the reflected normal distribution is symmetric: so no candidate is
        distinguished from the true one but by the dataset.
        """
        n, p = theta.shape
        m = _CANDIDATES - 1

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(self.device)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator).to(self.device)

        low, span = self.low.to(theta), (self.high - self.low).to(theta)
        scale = widths * torch.exp(math.log(_NEAR[0]) + uniform(n, 1) * math.log(_NEAR[1] / _NEAR[0]))
        centre = _reflected((theta - low) / span + scale * normal(n, p))
        near = _reflected(centre[:, None] + scale[:, None] * normal(n, m, p))
        others = torch.where(uniform(n, 1, 1) < _UNIFORM, uniform(n, m, p), near)
        return torch.cat([theta[:, None], low + span * others], dim=1)

    # -- the loop

    def _loop(
        self,
        name: str,
        modules: Sequence[nn.Module],
        loss: Callable[[Tensor, torch.Generator], Tensor],
        steps: int,
        rate: float,
        batches: int = 1,
    ) -> None:
        """Minimise a loss over groups of datasets; the modules end with the averaged weights that validate best."""
        begin = time.perf_counter()
        state = LoopState(modules, rate, self.seed, self.groups, self.held_out, batches * self.group_batch)
        file = None if self.checkpoint is None else self.checkpoint / f"{name}.pt"
        if file is not None and file.exists():
            state.load(read_checkpoint(file, self.device))
        label = None if self.progress is None else f"{self.progress}: {name}"
        # fewer where every event has to be encoded
        held_out = torch.arange(min(self.held_out, 32 if self.encoder in modules else 128))
        every, saved = max(steps // _EVALUATIONS, 1), time.perf_counter()
        with tqdm(total=steps, initial=state.step, desc=label, disable=label is None, unit="step") as bar:
            while state.step < steps and not (state.stalled and state.step > _LATE * steps):
                value = state.advance(loss, steps, self.device)
                if not math.isfinite(value):
                    raise FailedFit(
                        f"the training of {self.progress or 'a network'} diverged: the loss is not finite; use a"
                        f" learning_rate below {self.options.learning_rate:g}, or look for features with extreme values"
                    )
                bar.update()
                if state.step % every == 0 or state.step == steps:
                    state.validate(loss, held_out.to(self.device))
                    bar.set_postfix(loss=f"{state.validation[-1]:.5f}")
                stopped = self.stop.is_set()
                if file is not None and (stopped or time.perf_counter() - saved > _SECONDS_KEPT):
                    save_checkpoint(state.dump(), file)
                    saved = time.perf_counter()
                if stopped:
                    raise concurrent.futures.CancelledError
        if file is not None:
            save_checkpoint(state.dump(), file)
        state.finish()
        self.history.append(
            {
                "name": name,
                "train_loss": state.training,
                "validation_loss": state.validation,
                "seconds": time.perf_counter() - begin,
            }
        )


class LoopState:
    """Everything that changes during a stage, so that it can be written down.

    Args:
        modules: what learns.
        rate: the peak of the learning rate.
        seed: fixes the order of the groups and whatever the loss draws.
        groups: how many there are.
        held_out: how many of them, the first ones, are for validation.
        batch: groups of a step.
    """

    def __init__(
        self, modules: Sequence[nn.Module], rate: float, seed: int, groups: int, held_out: int, batch: int
    ) -> None:
        self.modules, self.rate = modules, rate
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=rate, betas=(0.9, 0.99))
        self.average = [p.detach().clone() for p in self.parameters]
        self.best = [p.detach().clone() for p in self.parameters]
        self.generator = torch.Generator().manual_seed(seed)
        self.groups, self.held_out, self.batch = groups, held_out, min(batch, groups - held_out)
        self.order = torch.empty(0, dtype=torch.int64)
        self.step, self.since, self.running = 0, 0, 0.0
        self.training: list[float] = []
        self.validation: list[float] = []

    @property
    def stalled(self) -> bool:
        """Whether the validation has long not been better."""
        best = int(np.argmin(self.validation)) if self.validation else 0
        return len(self.validation) - 1 - best >= _PATIENCE

    def advance(self, loss: Callable[[Tensor, torch.Generator], Tensor], steps: int, device: torch.device) -> float:
        """Make one step, of so many in all; return the sum of the losses since the last validation."""
        if len(self.order) < self.batch:
            self.order = torch.randperm(self.groups - self.held_out, generator=self.generator) + self.held_out
        groups, self.order = self.order[: self.batch].to(device), self.order[self.batch :]
        warm_up = min(1.0, (self.step + 1) / min(100, max(steps // 10, 1)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * warm_up * 0.5 * (1 + math.cos(math.pi * self.step / steps))
        for module in self.modules:
            module.train()
        value = loss(groups, self.generator)
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step, self.since = self.step + 1, self.since + 1
        decay = min(0.999, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)  # type: ignore[arg-type]
        self.running += value.item()
        return self.running

    def validate(self, loss: Callable[[Tensor, torch.Generator], Tensor], held_out: Tensor) -> None:
        """Evaluate the averaged weights on held-out groups, and keep them if they are the best."""
        now = [p.detach().clone() for p in self.parameters]
        self._set(self.average)
        for module in self.modules:
            module.eval()
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)  # always the same candidates
            parts = torch.split(held_out, 32)
            self.validation.append(float(np.mean([loss(part, generator).item() for part in parts])))
        self.training.append(self.running / max(self.since, 1))
        self.running, self.since = 0.0, 0
        if self.validation[-1] <= min(self.validation):
            self.best = [p.clone() for p in self.average]
        self._set(now)

    def finish(self) -> None:
        """Leave the modules with the averaged weights that validated best."""
        self._set(self.best)
        for module in self.modules:
            module.eval()

    def _set(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)

    def dump(self) -> dict[str, Any]:
        """Return everything, for a checkpoint."""
        return {
            "modules": [module.state_dict() for module in self.modules],
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "best": self.best,
            "generator": self.generator.get_state(),
            "order": self.order,
            "step": self.step,
            "since": self.since,
            "running": self.running,
            "training": self.training,
            "validation": self.validation,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for module, values in zip(self.modules, state["modules"], strict=True):
            module.load_state_dict(values)
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.best = state["average"], state["best"]
        self.generator.set_state(state["generator"].cpu())
        self.order = state["order"].cpu()
        self.step, self.since, self.running = state["step"], state["since"], state["running"]
        self.training, self.validation = state["training"], state["validation"]


def _digest(datasets: Datasets) -> str:
    digest = hashlib.sha256()
    for array in (datasets.pars, datasets.features, datasets.offsets):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _members(groups: Tensor) -> Tensor:
    """Return the datasets of groups, group by group, shape ``(n * GROUP,)``."""
    return (groups[:, None] * GROUP + torch.arange(GROUP, device=groups.device)).flatten()


def _contrast(head: LinearHead | BilinearHead, summaries: Tensor, theta: Tensor) -> Tensor:
    """Return the loss of datasets, each with the parameters of its group for candidates."""
    data = head.data(summaries.view(-1, GROUP, summaries.shape[1]))
    candidates = head.candidates(theta.view(-1, GROUP, theta.shape[1]))
    return -functional.log_softmax(data @ candidates.mT, dim=2).diagonal(dim1=1, dim2=2).mean()


def _reflected(v: Tensor) -> Tensor:
    v = v.abs() % 2
    return torch.where(v > 1, 2 - v, v)
