"""Training a posterior: datasets at parameters drawn from the prior, their mean and width, and then a flow."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neyman.exceptions import InvalidSimulation
from neyman.inputs.priors import draw_prior
from neyman.inputs.simulation import Datasets, simulate
from neyman.inputs.simulator import Simulator
from neyman.networks.encoder import Encoder
from neyman.networks.kinds import kind_of, posterior_options
from neyman.networks.layers import digest_of as module_digest
from neyman.networks.layers import initialised
from neyman.networks.options import PosteriorOptions
from neyman.networks.posterior import PosteriorNetwork, mean_values
from neyman.posteriors.coordinates import Coordinates
from neyman.posteriors.posterior import Posterior
from neyman.support.checks import checked_seed
from neyman.training.bank import Bank, digest_of, members_of
from neyman.training.checkpoints import checkpoint_folder
from neyman.training.contrastive import encoder_of
from neyman.training.crossfit import choose_device
from neyman.training.loop import Loss, Stage, mean_loss, run, shuffled
from neyman.training.proposals import GROUP
from neyman.training.provenance import provenance_of

__all__ = ["train_posterior"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_NUMBERS = 200_000_000  # of all events of all datasets: what fits into memory; there are fewer datasets for it,
_FEWEST = 5000  # down to these
_PILOTS = 200  # datasets that tell how many events there are
_PRIOR = 0x9E0  # keeps the seed of the parameters apart from those of the datasets
_EVALUATIONS = 25  # of a stage
_VALIDATION = 64  # groups of datasets for it, at most
_BATCH = 1024  # datasets of a step of the flow


def train_posterior(
    simulator: Simulator,
    network: str | Mapping[str, Any] | Callable[..., Any] = "deepset",
    *,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    checkpoint: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
) -> Posterior:
    """Train the posterior of a simulator's parameters, for any dataset that it can make.

    Parameters are drawn from the prior, and a dataset is simulated at each. The network learns the mean and the width
    of what the parameters were, given their dataset, and a flow (arXiv:1906.04032) what about that is not normal.

    Args:
        simulator: the simulator, with its prior. The number of events is what it makes: one that draws it, whatever the
            parameters, gives a posterior for datasets of any size.
        network: what turns events into numbers that are summed: ``"deepset"``, ``"transformer"``, a name that
            :func:`neyman.networks.register` knows, or a network of one's own as that takes it. Or a mapping with this
            as ``kind`` and with options, see :class:`neyman.networks.options.PosteriorOptions`.
        seed: fixes everything random: the same seed gives the same posterior on the same machine. Not negative.
        device: ``"auto"`` takes a GPU when torch has one.
        progress: whether to show progress bars on standard error.
        checkpoint: a folder that keeps the state of the training; when it is interrupted, the same call resumes it.
        cache: a folder that keeps the simulated datasets: another training takes them from there.
        workers: processes that the simulator runs in; by default as many as save time.

    Returns:
        The posterior.

    Raises:
        InvalidDocument: if an option of the network makes no sense.
        InvalidSimulation: if the simulator fails, or makes no event at all.
        InvalidParameter: if there is no such network, or the seed is negative.
        FailedFit: if a training diverges.
        Unsupported: if the device cannot be used.
    """
    seed, chosen = checked_seed(seed), choose_device(device)
    given = dict(network) if isinstance(network, Mapping) else {"kind": network}
    kind = kind_of(given.get("kind", "deepset"))
    given["kind"] = kind.name
    options = posterior_options(kind, given)
    pars, datasets = _simulated(simulator, options, seed, progress, cache, workers)
    with initialised(seed):
        encoder = encoder_of(kind, datasets.features, options)
    provenance = {**provenance_of(seed, "zuko"), "simulator": repr(simulator), "network": given}
    content = {
        "simulator": repr(simulator),
        "parameters": simulator.parameters,
        "kind": kind.name,
        "encoder": module_digest(encoder),
        "datasets": digest_of(datasets),
        "options": dataclasses.asdict(options),
        "seed": seed,
        "versions": provenance["versions"],
    }
    folder = None if checkpoint is None else checkpoint_folder(checkpoint, content)
    coordinates = Coordinates(simulator.prior, simulator.bounds)
    training = _Training(encoder, datasets, coordinates.of(pars), options, seed, chosen, progress, folder)
    trained = training.run()
    return Posterior(
        trained,
        names=simulator.names,
        bounds=simulator.bounds,
        prior=simulator.prior,
        features=simulator.features,
        channel=simulator.channel,
        spec=simulator.spec(),
        event_shape=simulator.event_shape,
        kind=kind.name,
        numbers=(float(datasets.numbers.min()), float(datasets.numbers.max())),
        provenance=provenance,
        history=tuple(training.history),
    )


def _simulated(
    simulator: Simulator,
    options: PosteriorOptions,
    seed: int,
    progress: bool,
    cache: str | Path | None,
    workers: int | None,
) -> tuple[Array, Datasets]:
    """Return parameters of the prior, and a dataset at each, as many as fit into memory."""
    rng = np.random.default_rng([seed, _PRIOR])
    n = math.ceil(options.datasets / GROUP) * GROUP
    pars = draw_prior(simulator, n, rng)
    pilots = simulate(simulator, pars[:_PILOTS], seed, workers=1)
    if not len(pilots.features):
        raise InvalidSimulation(f"the simulator made no event in {len(pilots)} datasets: there is nothing to learn")
    fit = int(_NUMBERS / pilots.features.size * len(pilots)) // GROUP * GROUP
    if (most := max(fit, _FEWEST)) < n:
        log.warning("%d datasets instead of %d: those are as many as fit into memory", most, n)
        pars = pars[:most]
    return pars, simulate(simulator, pars, seed, workers=workers, cache=cache, progress=progress)


class _Training:
    """The stages of a training and what they share."""

    def __init__(
        self,
        encoder: Encoder,
        datasets: Datasets,
        u: Array,
        options: PosteriorOptions,
        seed: int,
        device: torch.device,
        progress: bool,
        checkpoint: Path | None,
    ) -> None:
        self.options, self.seed, self.device = options, seed, device
        self.progress, self.checkpoint = progress, checkpoint
        self.history: list[dict[str, Any]] = []
        self.bank = Bank(datasets, options.batch_size, device)
        self.u = torch.from_numpy(u[: self.bank.groups * GROUP].astype(np.float32)).to(device)
        values = mean_values(self.bank.all_encoded(encoder.to(device)).double())
        spread = values.std(0)
        with initialised(seed):
            self.network = PosteriorNetwork(
                encoder, u.shape[1], values.mean(0), torch.where(spread > 1e-9, spread, 1.0),
                head=options.head, flow=options.flow, bins=options.bins, transforms=options.transforms,
            ).to(device)  # fmt: skip

    def run(self) -> PosteriorNetwork:
        """Train, and return the network on the CPU."""
        options, bank = self.options, self.bank
        groups = bank.validation(_VALIDATION)
        self._stage("moments", self._moments, groups, bank.order, bank.batch, options.steps)
        if options.flow_steps:
            self.summaries = bank.all_encoded(self.network.encoder)
            self.network.encoder.requires_grad_(False)
            rows = members_of(torch.arange(bank.held_out, device=self.device))
            order = functools.partial(shuffled, bank.held_out * GROUP, bank.groups * GROUP)
            self._stage("flow", self._flow, rows, order, _BATCH, options.flow_steps)
        return self.network.cpu().eval().requires_grad_(False)

    def _moments(self, network: PosteriorNetwork, groups: Tensor, generator: torch.Generator) -> Tensor:
        rows = members_of(groups)
        summaries = self.bank.encoded(network.encoder, rows)
        return -network.log_prob(summaries, self.u[rows][:, None], flow=False).mean()

    def _flow(self, network: PosteriorNetwork, rows: Tensor, generator: torch.Generator) -> Tensor:
        return -network.log_prob(self.summaries[rows], self.u[rows][:, None]).mean()

    def _stage(
        self,
        name: str,
        loss: Loss,
        held_out: Tensor,
        order: Callable[[torch.Generator], Tensor],
        batch: int,
        steps: int,
    ) -> None:
        stage = Stage(
            name,
            self.network,
            loss,
            functools.partial(mean_loss, loss, held_out, part=batch),
            order,
            batch=batch,
            steps=steps,
            learning_rate=self.options.learning_rate,
            every=max(steps // _EVALUATIONS, 1),
            patience=_EVALUATIONS,
            clip=1.0,
            average=True,
        )
        history = run(
            stage,
            seed=self.seed,
            device=self.device,
            advice="are there events with extreme values?",
            label=name if self.progress else None,
            checkpoint=None if self.checkpoint is None else self.checkpoint / f"{name}.pt",
        )
        self.history.append(history.entry())
