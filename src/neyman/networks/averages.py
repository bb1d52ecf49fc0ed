"""Several networks as one: their summaries side by side, their scores averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neyman.networks.encoder import Encoder
from neyman.networks.heads import Head

__all__ = ["AverageEncoder", "AverageHead"]


def __dir__() -> list[str]:
    return __all__


class AverageEncoder(nn.Module):
    """The encoders of networks that were trained apart, seen as one.

    Args:
        members: the encoders, all of one kind.
    """

    def __init__(self, members: Sequence[Encoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.additive = all(member.additive for member in members)
        self.sizes = [member.size for member in members]
        self.event_shape = members[0].scaler.event_shape

    @property
    def size(self) -> int:
        """Length of a summary; the last entry is the total weight."""
        return sum(self.sizes)

    def forward(self, x: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return the summaries of all members side by side, shape ``(n, size)``; the arguments are a deep set's."""
        return torch.cat([member(x, weights, dataset, n) for member in self.members], dim=1)


class AverageHead(nn.Module):
    """The mean of the scores of networks that were trained apart: their errors partly cancel.

    Args:
        members: the heads.
        sizes: the length of the summary that each takes.
    """

    def __init__(self, members: Sequence[Head], sizes: Sequence[int]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.sizes = list(sizes)

    def score(self, summaries: Tensor, theta: Tensor) -> Tensor:
        """Return the scores ``(n, m)`` of summaries ``(n, K)`` with their candidates ``(n, m, P)``."""
        parts = torch.split(summaries, self.sizes, dim=1)
        scores = [head.score(part, theta) for head, part in zip(self.members, parts, strict=True)]  # type: ignore[operator]
        return torch.stack(scores).mean(dim=0)
