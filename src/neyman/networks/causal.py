"""The encoder of a stream: masked self-attention, in which an element sees those before it, for every beginning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from neyman.networks.encoder import Encoder
from neyman.networks.layers import mlp
from neyman.networks.scaling import FeatureScaler

__all__ = ["CausalTransformer"]


def __dir__() -> list[str]:
    return __all__


_PAIRS = 4_000_000  # of elements in memory at a time
_NO_WEIGHT = 1e-12  # of an element that others do not see


class CausalTransformer(Encoder):
    r"""Encodes a stream as :math:`\sum_{i \le k} w_i \psi(x_i; x_1 \ldots x_i)`, for every :math:`k` at once.

    Each element attends to itself and those before it. So the summary after k elements is a cumulative sum and does not
    change as the stream goes on, but that of two streams together is not the sum of theirs: the second has not seen
    the first. The order counts.

    Args:
        scaler: the feature scaling.
        width: number of learned sums, and of channels throughout.
        attention_heads: heads of attention; a divisor of ``width``.
        blocks: number of rounds in which the elements see those before them.

    Example:
        >>> import torch
        >>> network = CausalTransformer(FeatureScaler(torch.zeros(3), torch.ones(3)), width=16)
        >>> x, weights, stream = torch.randn(7, 3), torch.ones(7), torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> prefixes = network.prefixes(x, weights, stream, 2)
        >>> torch.allclose(prefixes[[2, 6]], network(x, weights, stream, 2), atol=1e-5)
        True
    """

    additive = False
    causal = True

    def __init__(self, scaler: FeatureScaler, width: int, attention_heads: int = 4, blocks: int = 2) -> None:
        super().__init__(scaler, width)
        self.attention_heads = attention_heads
        self.embed = mlp([scaler.size + 1, width, width])
        self.blocks = nn.ModuleList([_CausalBlock(width, attention_heads) for _ in range(blocks)])
        self.out = nn.Linear(width, width, dtype=torch.float32)

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the scaling to build it again, as JSON."""
        return {"width": self.width, "attention_heads": self.attention_heads, "blocks": len(self.blocks)}

    def numbers(self, x: Tensor, z: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return the numbers of each element, shape ``(E, width)``; the arguments are those of any encoder."""
        number = torch.bincount(dataset, minlength=n)
        begin = torch.cumsum(number, 0) - number
        place = torch.arange(len(dataset), device=x.device) - begin[dataset]
        tokens = self.embed(torch.cat([z, torch.log1p(place.to(z.dtype))[:, None]], dim=1))
        parts, first = [], 0
        longest = number.cpu()
        while first < n:  # as many streams at a time as memory has room for
            last = first + 1
            most = int(longest[first])
            while last < n and (last + 1 - first) * max(most, int(longest[last])) ** 2 <= _PAIRS:
                most = max(most, int(longest[last]))
                last += 1
            a, b = int(begin[first]), int(begin[last - 1] + number[last - 1])
            rows, columns = dataset[a:b] - first, place[a:b]
            padded = tokens.new_zeros(last - first, most, self.width).index_put((rows, columns), tokens[a:b])
            seen = weights.new_zeros(last - first, most).index_put((rows, columns), weights[a:b]).to(z.dtype)
            for block in self.blocks:
                padded = block(padded, seen)
            parts.append(padded[rows, columns])
            first = last
        return self.out(torch.cat(parts) if parts else tokens)  # type: ignore[no-any-return]

    def prefixes(self, x: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return the summary of each stream after each of its elements, shape ``(E, size)``.

        Args:
            x: the elements of all streams, one stream after the other, shape ``(E, d)``.
            weights: shape ``(E,)``.
            dataset: the stream each belongs to, shape ``(E,)``.
            n: number of streams.
        """
        terms = self.terms(x, weights, dataset, n)
        sums = torch.cumsum(terms.double(), 0)
        number = torch.bincount(dataset, minlength=n)
        begin = torch.cumsum(number, 0) - number
        before = torch.cat([sums.new_zeros(1, self.size), sums])[begin]
        return (sums - before[dataset]).to(weights.dtype)


class _CausalBlock(nn.Module):
    """The elements attend to those before them, and each is fed through a perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width, dtype=torch.float32)
        self.attention = nn.Linear(width, 3 * width, dtype=torch.float32)
        self.mix = nn.Linear(width, width, dtype=torch.float32)
        self.after = nn.LayerNorm(width, dtype=torch.float32)
        self.feed = mlp([width, 2 * width, width])

    def forward(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Return the tokens ``(n, N, width)`` after they have seen each other, each with a weight ``(n, N)``."""
        n, most, width = tokens.shape
        parts = self.attention(self.before(tokens)).view(n, most, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        # an element of weight 2 counts as two: log 2 in the logits; one without weight is as good as not there
        mask = torch.ones(most, most, dtype=torch.bool, device=tokens.device).tril()
        logits = torch.where(mask, weights.clamp(min=_NO_WEIGHT).log()[:, None, None, :], -torch.inf)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=logits.to(tokens.dtype))
        tokens = tokens + self.mix(seen.transpose(1, 2).reshape(n, most, width))
        return tokens + self.feed(self.after(tokens))  # type: ignore[no-any-return]
