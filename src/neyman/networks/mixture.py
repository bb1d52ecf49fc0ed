"""The cross-fitted classifier of a mixture channel: one network per fold, their logits averaged for new events."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from neyman.networks.layers import FeatureScaler, StackedLinear, stacked_mlp

__all__ = ["CrossFitClassifier"]


def __dir__() -> list[str]:
    return __all__


class CrossFitClassifier(nn.Module):
    """``K`` classifiers of the same ``C`` classes, each to be trained on all folds of the simulation but one.

    Args:
        scaler: the feature scaling, shared by all networks.
        classes: ``C``.
        hidden: sizes of the hidden layers.
        folds: ``K``.

    Example:
        >>> import torch
        >>> scaler = FeatureScaler(torch.zeros(3), torch.ones(3))
        >>> network = CrossFitClassifier(scaler, classes=2, hidden=(16,), folds=5)
        >>> network(torch.randn(100, 3)).shape, network.mean_logits(torch.randn(100, 3)).shape
        (torch.Size([5, 100, 2]), torch.Size([100, 2]))
    """

    def __init__(self, scaler: FeatureScaler, classes: int, hidden: Sequence[int], folds: int) -> None:
        super().__init__()
        self.scaler = scaler
        self.folds = folds
        self.classes = classes
        self.hidden = tuple(hidden)
        self.stack = stacked_mlp(folds, [len(scaler.centre), *hidden, classes])

    def forward(self, x: Tensor) -> Tensor:
        """Return every network's logits ``(K, N, C)``, for features ``(N, d)`` or a batch per fold ``(K, N, d)``."""
        z = self.scaler(x)
        return self.stack(z.expand(self.folds, *z.shape[-2:]))  # type: ignore[no-any-return]

    def mean_logits(self, x: Tensor) -> Tensor:
        """Return the logits ``(N, C)`` of new events ``(N, d)``: the mean over the networks."""
        *hidden, last = self.stack
        z = self.scaler(x)
        z = z.expand(self.folds, *z.shape[-2:])
        for layer in hidden:
            z = functional.silu(z, inplace=True) if isinstance(layer, nn.SiLU) else layer(z)
        assert isinstance(last, StackedLinear)
        # transposed, for matrix products with few columns are slow
        return torch.baddbmm(last.bias.mT, last.weight.mT, z.mT).mean(0).T
