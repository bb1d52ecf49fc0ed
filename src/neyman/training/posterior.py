"""Training a posterior: datasets at parameters drawn from the prior, their mean and width, and then a flow."""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
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
from neyman.networks.causal import CausalTransformer
from neyman.networks.encoder import Encoder
from neyman.networks.kinds import kind_of, posterior_options
from neyman.networks.layers import digest_of as module_digest
from neyman.networks.layers import initialised
from neyman.networks.options import PosteriorOptions
from neyman.networks.posterior import GRID, PosteriorNetwork, Straight, mean_values
from neyman.posteriors.coordinates import Coordinates
from neyman.posteriors.posterior import Posterior
from neyman.support.checks import checked_seed
from neyman.training.bank import Bank, digest_of, members_of
from neyman.training.checkpoints import checkpoint_folder, read_checkpoint, save_checkpoint
from neyman.training.contrastive import encoder_of
from neyman.training.crossfit import choose_device
from neyman.training.local_posterior import train_locals
from neyman.training.loop import Loss, Stage, mean_loss, run, shuffled
from neyman.training.pilot import with_tables_where_needed
from neyman.training.posterior_checks import DATASETS, examine_posterior
from neyman.training.prefixes import mean_over_prefixes, some_prefixes
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
_PART = 3  # of the datasets of a training are as many as its checks take, at most
_STREAM = 0x9E0  # keeps seeds apart
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
    executor: Executor | None = None,
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
        executor: any :class:`concurrent.futures.Executor` that simulates the datasets of the training instead.

    Returns:
        The posterior, with a report on how it does on fresh datasets: of what is wrong, a warning is logged.

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
    simulation = _Simulation(simulator, options.datasets, seed, progress, cache, workers, executor)
    datasets = simulation.datasets(0)
    low, high = simulator.bounds.T
    options = with_tables_where_needed(kind, datasets, low, high, options, seed=seed, device=chosen)
    with initialised(seed):
        encoder = encoder_of(kind, datasets.features, options, datasets.event_shape)
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
    training = _Training(encoder, simulation, datasets, coordinates, options, seed, chosen, progress, folder)
    trained = training.run()
    local, history = None, training.history
    if simulator.local_names:
        local, more = train_locals(
            trained, simulator.local_names, datasets, coordinates, options, seed=seed, device=chosen,
            progress=progress, checkpoint=folder,
        )  # fmt: skip
        history = [*history, *more]
    fewest = float(datasets.numbers.min())
    if kind.streams:  # every beginning of a stream has been seen
        fewest = min(fewest, 1.0)
    posterior = Posterior(
        trained,
        names=simulator.names,
        bounds=simulator.bounds,
        prior=simulator.prior,
        features=simulator.features,
        channel=simulator.channel,
        spec=simulator.spec(),
        event_shape=simulator.event_shape,
        kind=kind.name,
        numbers=(fewest, float(datasets.numbers.max())),
        provenance=provenance,
        history=tuple(history),
        local=local,
    )
    number = min(DATASETS, simulation.number // _PART)
    posterior.report = (examine_posterior(posterior, simulator, seed=seed, datasets=number, workers=workers),)
    return posterior


class _Simulation:
    """The datasets of a training, at parameters of the prior, as many at a time as fit into memory."""

    def __init__(
        self,
        simulator: Simulator,
        datasets: int,
        seed: int,
        progress: bool,
        cache: str | Path | None,
        workers: int | None,
        executor: Executor | None,
    ) -> None:
        self.simulator, self.seed = simulator, seed
        self.simulate = functools.partial(simulate, workers=workers, executor=executor, cache=cache, progress=progress)
        pilots = simulate(simulator, draw_prior(simulator, _PILOTS, np.random.default_rng(seed)), seed, workers=1)
        if not len(pilots.features):
            raise InvalidSimulation(f"the simulator made no event in {len(pilots)} datasets: there is nothing to learn")
        self.number = math.ceil(datasets / GROUP) * GROUP
        fit = int(_NUMBERS / pilots.features.size * len(pilots)) // GROUP * GROUP
        if (most := max(fit, _FEWEST)) < self.number:
            log.warning("%d datasets instead of %d: those are as many as fit into memory", most, self.number)
            self.number = most

    def datasets(self, k: int) -> Datasets:
        """Return the k-th batch of datasets."""
        seed = int(np.random.SeedSequence([self.seed, _STREAM, k]).generate_state(1)[0])
        pars = draw_prior(self.simulator, self.number, np.random.default_rng([seed, _STREAM]))
        return self.simulate(self.simulator, pars, seed)


class _Training:
    """The stages of a training and what they share."""

    def __init__(
        self,
        encoder: Encoder,
        simulation: _Simulation,
        datasets: Datasets,
        coordinates: Coordinates,
        options: PosteriorOptions,
        seed: int,
        device: torch.device,
        progress: bool,
        checkpoint: Path | None,
    ) -> None:
        self.simulation, self.coordinates = simulation, coordinates
        self.options, self.seed, self.device = options, seed, device
        self.progress, self.checkpoint = progress, checkpoint
        self.history: list[dict[str, Any]] = []
        self.bank = Bank(datasets, options.batch_size, device)
        self.u = self._coordinates_of(datasets)
        first = self._summaries(self.bank, encoder.to(device), self.bank.groups)
        self.network = self._network(encoder, first, self.u, trained=False)

    def run(self) -> PosteriorNetwork:
        """Train, and return the network on the CPU."""
        options, bank, encoder = self.options, self.bank, self.network.encoder
        self._stage("moments", self._of_datasets, bank.validation(_VALIDATION), bank.order, bank.batch, options.steps)
        encoder.eval().requires_grad_(False)
        self.summaries, self.u = self._encoded()
        held_out = torch.arange(bank.held_out * GROUP, device=self.device)
        order = functools.partial(shuffled, len(held_out), len(self.u))
        self.network = self._network(encoder, self.summaries[len(held_out) :], self.u[len(held_out) :], trained=True)
        batch = min(_BATCH, len(self.u) - len(held_out))
        head, flow = (functools.partial(self._of_summaries, flow=flow) for flow in (False, True))
        self._stage("head", head, held_out, order, batch, options.head_steps)
        without = copy.deepcopy(self.network)
        self._stage("flow", flow, held_out, order, batch, options.flow_steps)
        best = [min(entry["validation_loss"]) for entry in self.history]
        if best[-1] > best[-2]:  # nothing was left for the flow
            self.network = without
        return self.network.cpu().eval().requires_grad_(False)

    def _network(self, encoder: Encoder, summaries: Tensor, u: Tensor, *, trained: bool) -> PosteriorNetwork:
        """Return a network that has learned nothing but a line."""
        options, values = self.options, mean_values(summaries.double())
        straight = Straight(*map(torch.from_numpy, self.coordinates.straight(GRID.numpy())))
        spread = values.std(0)
        with initialised(self.seed):
            network = PosteriorNetwork(
                encoder, u.shape[1], values.mean(0), torch.where(spread > 1e-9, spread, 1.0),
                head=options.head, flow=options.flow, bins=options.bins, transforms=options.transforms,
                straight=straight,
            ).to(self.device)  # fmt: skip
        network.fit_line(summaries, u, trained=trained)
        return network

    def _coordinates_of(self, datasets: Datasets) -> Tensor:
        rows = datasets.pars[: len(datasets) // GROUP * GROUP]
        return torch.from_numpy(self.coordinates.of(rows).astype(np.float32)).to(self.device)

    def _encoded(self) -> tuple[Tensor, Tensor]:
        """Return summaries and parameters: of datasets that are held out, and behind them of those to learn from."""
        first = self.bank.held_out if self.options.fresh else self.bank.groups
        encoder = self.network.encoder
        known = [(self._summaries(self.bank, encoder, first), self.u[: first * GROUP])]
        for k in range(1, self.options.fresh + 1):
            file = None if self.checkpoint is None else self.checkpoint / f"summaries-{k}.pt"
            if file is not None and file.exists():
                state = read_checkpoint(file, self.device)
            else:
                datasets = self.simulation.datasets(k)
                bank = Bank(datasets, self.options.batch_size, self.device)
                state = {"sums": self._summaries(bank, encoder, bank.groups, k), "u": self._coordinates_of(datasets)}
                if file is not None:
                    save_checkpoint(state, file)
            known.append((state["sums"], state["u"]))
        sums, u = zip(*known, strict=True)
        return torch.cat(sums), torch.cat(u)

    def _summaries(self, bank: Bank, encoder: Encoder, groups: int, k: int = 0) -> Tensor:
        """Return the summaries of the first groups of datasets, of streams those of a random beginning of each."""
        if isinstance(encoder, CausalTransformer):
            return some_prefixes(encoder, bank, groups, GROUP, self.seed + k)
        return bank.all_encoded(encoder, groups)

    def _of_datasets(self, network: PosteriorNetwork, groups: Tensor, generator: torch.Generator) -> Tensor:
        rows = members_of(groups)
        if network.encoder.causal:
            return -mean_over_prefixes(network, self.bank, rows, self.u[rows])
        summaries = self.bank.encoded(network.encoder, rows)
        return -network.log_prob(summaries, self.u[rows][:, None], flow=False).mean()

    def _of_summaries(
        self, network: PosteriorNetwork, rows: Tensor, generator: torch.Generator, *, flow: bool
    ) -> Tensor:
        return -network.log_prob(self.summaries[rows], self.u[rows][:, None], flow=flow).mean()

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
