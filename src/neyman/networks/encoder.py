"""The base of the encoders of datasets: a sum over the events of numbers that a network makes of each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neyman.networks.scaling import FeatureScaler

__all__ = ["Encoder"]


def __dir__() -> list[str]:
    return __all__


class Encoder(nn.Module):
    r"""Encodes a dataset as :math:`S = [\sum_i w_i z_i, \sum_i w_i \phi_i, \sum_i w_i]`.

    :math:`z_i` is what the scaling makes of an event's features, so that the mean of the events and the number of those
    in a spike are never lost, and :math:`\phi_i` the numbers that a kind of network makes of it: its :meth:`numbers`.
    Of events with a shape, as images, it is left out: sums of pixels tell nothing.

    Args:
        scaler: the feature scaling.
        width: how many numbers the network makes of an event.
    """

    additive = True
    """Whether the summary of two datasets together is the sum of their summaries."""
    causal = False
    """Whether an event sees those before it, so that the summary of every beginning is a cumulative sum."""

    def __init__(self, scaler: FeatureScaler, width: int) -> None:
        super().__init__()
        self.scaler = scaler
        self.width = width

    @property
    def size(self) -> int:
        """Length of a summary."""
        return (0 if self.scaler.event_shape else self.scaler.size) + self.width + 1

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the scaling to build it again, as JSON."""
        raise NotImplementedError

    def numbers(self, x: Tensor, z: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return the numbers of each event, shape ``(E, width)``.

        Args:
            x: the events of all datasets, shape ``(E, d)``.
            z: what the scaling makes of their features, shape ``(E, d + S)``.
            weights: shape ``(E,)``.
            dataset: the dataset each event belongs to, shape ``(E,)``.
            n: number of datasets.
        """
        raise NotImplementedError

    def adapt(self, x: Tensor) -> None:
        """See some events before the training, shape ``(E, d)``: what has no tables need not."""

    def check(self, x: Tensor) -> None:
        """Check what the network makes of some events, shape ``(E, d)``: of those of ours there is nothing to check."""

    def forward(self, x: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return the summaries of ``n`` datasets, shape ``(n, size)``, in the precision of the weights.

        Args:
            x: the events of all datasets, shape ``(E, d)``.
            weights: shape ``(E,)``.
            dataset: the dataset each event belongs to, shape ``(E,)``.
            n: number of datasets.
        """
        terms = self.terms(x, weights, dataset, n)
        return torch.zeros(n, self.size, dtype=weights.dtype, device=x.device).index_add(0, dataset, terms)

    def terms(self, x: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return what each event adds to the summary of its dataset, shape ``(E, size)``."""
        z = self.scaler(x)
        numbers = self.numbers(x, z, weights, dataset, n)
        summed = [numbers] if self.scaler.event_shape else [z, numbers]
        values = torch.cat([*summed, torch.ones_like(z[:, :1])], dim=1).to(weights.dtype)
        return weights[:, None] * values
