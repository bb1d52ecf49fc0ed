"""The datasets of a training on a device, in groups whose parameters are each other's candidates."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import torch
from torch import Tensor

from neyman.exceptions import FailedFit
from neyman.inputs.simulation import Datasets
from neyman.networks.encoder import Encoder
from neyman.training.loop import shuffled
from neyman.training.proposals import GROUP

__all__ = ["Bank", "digest_of", "members_of"]


def __dir__() -> list[str]:
    return __all__


_VALIDATION = 0.05  # of the groups


class Bank:
    """Datasets where a training has them at hand.

    Args:
        datasets: the simulation, in groups of :data:`neyman.training.proposals.GROUP`.
        batch_size: datasets of a step.
        device: where they are to be.

    Raises:
        FailedFit: if they are too few.
    """

    def __init__(self, datasets: Datasets, batch_size: int, device: torch.device) -> None:
        self.groups = len(datasets) // GROUP
        self.held_out = max(int(_VALIDATION * self.groups), 1)
        """The first groups, for validation."""
        self.batch = max(batch_size // GROUP, 1)
        """Groups of a step."""
        if self.groups - self.held_out < self.batch:
            raise FailedFit(f"{len(datasets)} datasets are too few for a batch of {batch_size}: use more datasets")
        self.device = device
        self.theta = torch.from_numpy(datasets.pars[: self.groups * GROUP].astype(np.float32)).to(device)
        self.x = torch.from_numpy(datasets.features).to(device)
        self.offsets = torch.from_numpy(datasets.offsets).to(device)
        self.numbers = self.offsets.diff()
        self.order = functools.partial(shuffled, self.held_out, self.groups)
        """What shuffles the groups that are trained on."""

    def validation(self, most: int) -> Tensor:
        """Return the groups for validation, not more than so many."""
        return torch.arange(min(self.held_out, most), device=self.device)

    def some_events(self, rows: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return ``n`` random events of each dataset, end to end, and whether they are there: not of an empty one."""
        numbers = self.numbers[rows]
        chosen = torch.rand(len(rows), n, generator=generator).to(self.device)
        chosen = self.offsets[:-1][rows][:, None] + (chosen * numbers[:, None]).long()
        return self.x[chosen.clamp(max=len(self.x) - 1).flatten()], (numbers > 0).repeat_interleave(n)

    def events_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the events of datasets end to end, shape ``(E, d)``, and the place of the dataset of each."""
        numbers = self.numbers[rows]
        dataset = torch.arange(len(rows), device=self.device).repeat_interleave(numbers)
        begin = torch.cumsum(numbers, 0) - numbers
        events = torch.arange(len(dataset), device=self.device) + (self.offsets[:-1][rows] - begin)[dataset]
        return self.x[events], dataset

    def encoded(self, encoder: Encoder, rows: Tensor) -> Tensor:
        """Return the summaries of datasets, shape ``(n, K)``."""
        x, dataset = self.events_of(rows)
        return encoder(x, torch.ones_like(x[:, 0]), dataset, len(rows))  # type: ignore[no-any-return]

    def all_encoded(self, encoder: Encoder, groups: int | None = None) -> Tensor:
        """Return the summaries of all datasets or those of the first groups, shape ``(n, K)``."""
        with torch.no_grad():
            rows = torch.arange((self.groups if groups is None else groups) * GROUP, device=self.device)
            parts = torch.split(rows, 64 * GROUP)
            return torch.cat([self.encoded(encoder, rows) for rows in parts])


def members_of(groups: Tensor) -> Tensor:
    """Return the datasets of groups, group by group, shape ``(n * GROUP,)``."""
    return (groups[:, None] * GROUP + torch.arange(GROUP, device=groups.device)).flatten()


def digest_of(datasets: Datasets) -> str:
    """Return a hash of datasets."""
    digest = hashlib.sha256()
    for array in (datasets.pars, datasets.features, datasets.offsets, datasets.locals):
        if array is None:
            continue
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
