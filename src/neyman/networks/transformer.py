"""The encoder of a set transformer: events that see each other before they are summed (arXiv:1810.00825)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from neyman.networks.encoder import Encoder
from neyman.networks.layers import mlp
from neyman.networks.scaling import FeatureScaler
from neyman.networks.tables import FeatureTables

__all__ = ["SetTransformer"]


def __dir__() -> list[str]:
    return __all__


_CAP = 10.0  # of the logits of attention: their exponentials need no subtraction of a maximum


class SetTransformer(Encoder):
    r"""Encodes a dataset as :math:`\sum_i w_i \psi(x_i, D)`, where each event has seen the dataset.

    The events attend to each other through a few learned inducing points (induced set attention), so that the cost is
    linear in their number. An event of weight :math:`w` carries :math:`+\log w` in the logits of attention: the
    summary does not change when it is split into two of half the weight.

    Args:
        scaler: the feature scaling.
        width: number of learned sums, and of channels throughout.
        points: number of inducing points.
        attention_heads: heads of attention; a divisor of ``width``.
        blocks: number of rounds in which the events see each other.
        knots: of the tables of the features, for narrow structures; 0 for a perceptron alone.

    Example:
        >>> import torch
        >>> network = SetTransformer(FeatureScaler(torch.zeros(3), torch.ones(3)), width=16)
        >>> events, weights, dataset = torch.randn(7, 3), torch.ones(7), torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> network(events, weights, dataset, 2).shape
        torch.Size([2, 20])
    """

    additive = False

    def __init__(
        self,
        scaler: FeatureScaler,
        width: int,
        points: int = 8,
        attention_heads: int = 4,
        blocks: int = 2,
        knots: int = 0,
    ) -> None:
        super().__init__(scaler, width)
        self.points, self.attention_heads, self.knots = points, attention_heads, knots
        if knots:
            self.embed: nn.Module = FeatureTables(scaler.features, scaler.size, knots, (width,), width)
        else:
            self.embed = mlp([scaler.size, width, width])
        self.blocks = nn.ModuleList([_InducedBlock(width, points, attention_heads) for _ in range(blocks)])
        self.out = nn.Linear(width, width, dtype=torch.float32)

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the scaling to build it again, as JSON."""
        shape = {"width": self.width, "points": self.points, "attention_heads": self.attention_heads}
        return {**shape, "blocks": len(self.blocks), "knots": self.knots}

    def adapt(self, x: Tensor) -> None:
        """Put the knots of the tables where these events are, shape ``(E, d)``."""
        if isinstance(self.embed, FeatureTables):
            self.embed.adapt(self.scaler(x))

    def numbers(self, x: Tensor, z: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return the numbers of each event, shape ``(E, width)``; the arguments are those of any encoder."""
        tokens = self.embed(z)
        for block in self.blocks:
            tokens = block(tokens, weights, dataset, n)
        return self.out(tokens)  # type: ignore[no-any-return]


class _InducedBlock(nn.Module):
    """Inducing points attend to the events of their dataset, and the events to what the points have gathered."""

    def __init__(self, width: int, points: int, heads: int) -> None:
        super().__init__()
        self.heads, self.points = heads, points
        self.before = nn.LayerNorm(width, dtype=torch.float32)
        self.gather_logits = nn.Linear(width, points * heads, dtype=torch.float32)
        self.gather_values = nn.Linear(width, width, dtype=torch.float32)
        self.mix = mlp([points * width + 1, 2 * width, points * width])
        self.spread_logits = nn.Linear(width, points * heads, dtype=torch.float32)
        self.after = nn.LayerNorm(width, dtype=torch.float32)
        self.feed = mlp([width, 2 * width, width])

    def forward(self, tokens: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        events, width = tokens.shape
        seen = self.before(tokens)
        values = self.gather_values(seen).view(events, 1, self.heads, width // self.heads)
        # multiplying by w is adding log w to the logits; a dataset without events gathers nothing
        attention = weights[:, None] * _capped(self.gather_logits(seen)).exp()
        shares = attention.view(events, self.points, self.heads, 1)
        gathered = _summed((shares * values).flatten(1), dataset, n).view(n, self.points, self.heads, -1)
        total = _summed(attention, dataset, n).view(n, self.points, self.heads, 1)
        context = (gathered / total.clamp(min=1e-12)).flatten(1).to(tokens.dtype)
        size = torch.log1p(_summed(weights[:, None], dataset, n).clamp(min=0.0)).to(tokens.dtype)
        points = context + self.mix(torch.cat([context, size], dim=1))
        spread = functional.softmax(_capped(self.spread_logits(seen)).view(events, self.points, self.heads, 1), dim=1)
        held = points.view(n, self.points, self.heads, -1)
        # event by event, point by point: what a dataset's points hold, gathered for its events
        update = sum(spread[:, k] * held[:, k].index_select(0, dataset) for k in range(self.points))
        assert isinstance(update, Tensor)
        tokens = tokens + update.flatten(1)
        return tokens + self.feed(self.after(tokens))  # type: ignore[no-any-return]


def _capped(logits: Tensor) -> Tensor:
    return _CAP * torch.tanh(logits / _CAP)


def _summed(values: Tensor, dataset: Tensor, n: int) -> Tensor:
    return torch.zeros(n, values.shape[1], dtype=values.dtype, device=values.device).index_add(0, dataset, values)
