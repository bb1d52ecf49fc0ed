"""The encoder of a deep set: a sum over the events of what a small network makes of each (arXiv:1703.06114)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from neyman.networks.encoder import Encoder
from neyman.networks.layers import mlp
from neyman.networks.scaling import FeatureScaler
from neyman.networks.tables import FeatureTables

__all__ = ["DeepSet"]


def __dir__() -> list[str]:
    return __all__


class DeepSet(Encoder):
    r"""Encodes a dataset as :math:`\sum_i w_i \phi(x_i)`, with a multilayer perceptron :math:`\phi`, or tables.

    The sum makes it invariant under the order of the events and under the splitting of one into two of half the
    weight, and the summary of two datasets together is the sum of their summaries.

    Args:
        scaler: the feature scaling.
        hidden: sizes of the hidden layers.
        width: number of learned sums.
        knots: of the tables of the features, for narrow structures; 0 for a perceptron alone.

    Example:
        >>> import torch
        >>> network = DeepSet(FeatureScaler(torch.zeros(3), torch.ones(3)), hidden=(32,), width=16)
        >>> events, weights, dataset = torch.randn(7, 3), torch.ones(7), torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> summary = network(events, weights, dataset, 2)
        >>> summary.shape, summary[:, -1]
        (torch.Size([2, 20]), tensor([3., 4.], grad_fn=<SelectBackward0>))
    """

    def __init__(self, scaler: FeatureScaler, hidden: Sequence[int], width: int, knots: int = 0) -> None:
        super().__init__(scaler, width)
        self.hidden, self.knots = tuple(hidden), knots
        if knots:
            self.phi: nn.Module = FeatureTables(scaler.features, scaler.size, knots, hidden, width)
        else:
            self.phi = mlp([scaler.size, *hidden, width])

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the scaling to build it again, as JSON."""
        return {"hidden": self.hidden, "width": self.width, "knots": self.knots}

    def adapt(self, x: Tensor) -> None:
        """Put the knots of the tables where these events are, shape ``(E, d)``."""
        if isinstance(self.phi, FeatureTables):
            self.phi.adapt(self.scaler(x))

    def numbers(self, x: Tensor, z: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return the numbers of each event, shape ``(E, width)``; the arguments are those of any encoder."""
        return self.phi(z)  # type: ignore[no-any-return]
