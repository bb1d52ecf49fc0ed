"""Training on streams: every beginning of a dataset is a dataset, and one training sees them all."""

from __future__ import annotations

import torch
from torch import Tensor

from neyman.networks.causal import CausalTransformer
from neyman.networks.posterior import PosteriorNetwork
from neyman.training.bank import Bank

__all__ = ["mean_over_prefixes", "some_prefixes"]


def __dir__() -> list[str]:
    return __all__


_PART = 512  # streams in memory at a time


def mean_over_prefixes(network: PosteriorNetwork, bank: Bank, rows: Tensor, u: Tensor) -> Tensor:
    """Return the mean logarithm of the density at the parameters of streams, over all their beginnings.

    The beginning with k elements counts as 1/k: as much for one to ten elements as for ten to a hundred.

    Args:
        network: that of the posterior, with an encoder that is causal.
        bank: of the streams.
        rows: which of them, shape ``(n,)``.
        u: their parameters, shape ``(n, P)``.

    Returns:
        Shape ``()``.
    """
    sums, stream = _prefixes(network.encoder, bank, rows)
    density = network.log_prob(sums, u[stream][:, None], flow=False)[:, 0]
    weights = 1.0 / sums[:, -1]
    return (weights * density).sum() / weights.sum()


def some_prefixes(encoder: CausalTransformer, bank: Bank, groups: int, size: int, seed: int) -> Tensor:
    """Return the summary of a random beginning of each dataset, its length log-uniform, shape ``(n, K)``.

    Args:
        encoder: the encoder.
        bank: of the datasets.
        groups: the first so many groups of them.
        size: of a group.
        seed: fixes the lengths.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    with torch.no_grad():
        for rows in torch.split(torch.arange(groups * size, device=bank.device), _PART):
            sums, _ = _prefixes(encoder, bank, rows)
            numbers = bank.numbers[rows]
            fraction = torch.rand(len(rows), generator=generator, dtype=torch.float64).to(bank.device)
            length = torch.exp(fraction * (numbers + 1.0).log()).long().clamp(min=1).minimum(numbers)
            found = sums.new_zeros(len(rows), encoder.size)
            there = numbers > 0  # of an empty dataset the summary is zero
            found[there] = sums[(torch.cumsum(numbers, 0) - numbers + length - 1)[there]]
            parts.append(found)
    return torch.cat(parts)


def _prefixes(encoder: torch.nn.Module, bank: Bank, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summaries of all beginnings of datasets, and the place of the dataset of each."""
    assert isinstance(encoder, CausalTransformer)
    x, dataset = bank.events_of(rows)
    return encoder.prefixes(x, torch.ones_like(x[:, 0]), dataset, len(rows)), dataset
