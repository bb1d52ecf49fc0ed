"""The encoder of a deep set: a sum over the events of what a small network makes of each (arXiv:1703.06114)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neyman.networks.layers import FeatureScaler, mlp

__all__ = ["DeepSet"]


def __dir__() -> list[str]:
    return __all__


class DeepSet(nn.Module):
    r"""Encodes a dataset as :math:`S = [\sum_i w_i \phi(x_i), \sum_i w_i]`.

    The sum makes it invariant under the order of the events and under the splitting of one into two of half the
    weight, and the summary of two datasets together is the sum of their summaries. The scaled features themselves
    are among :math:`\phi`, so that the mean of the events is never lost.

    Args:
        scaler: the feature scaling.
        hidden: sizes of the hidden layers.
        width: number of learned sums.

    Example:
        >>> import torch
        >>> network = DeepSet(FeatureScaler(torch.zeros(3), torch.ones(3)), hidden=(32,), width=16)
        >>> events, weights, dataset = torch.randn(7, 3), torch.ones(7), torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> summary = network(events, weights, dataset, 2)
        >>> summary.shape, summary[:, -1]
        (torch.Size([2, 20]), tensor([3., 4.], grad_fn=<SelectBackward0>))
    """

    additive = True

    def __init__(self, scaler: FeatureScaler, hidden: Sequence[int], width: int) -> None:
        super().__init__()
        self.scaler = scaler
        self.hidden = tuple(hidden)
        self.width = width
        self.phi = mlp([len(scaler.centre), *hidden, width])

    @property
    def size(self) -> int:
        """Length of a summary."""
        return len(self.scaler.centre) + self.width + 1

    def forward(self, x: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return the summaries of ``n`` datasets, shape ``(n, size)``, in the precision of the weights.

        Args:
            x: the events of all datasets, shape ``(E, d)``.
            weights: shape ``(E,)``.
            dataset: the dataset each event belongs to, shape ``(E,)``.
            n: number of datasets.
        """
        z = self.scaler(x)
        values = torch.cat([z, self.phi(z), torch.ones_like(z[:, :1])], dim=1).to(weights.dtype)
        return torch.zeros(n, self.size, dtype=weights.dtype, device=x.device).index_add(
            0, dataset, weights[:, None] * values
        )
