"""The cross-fitted classifier of a mixture channel: one network per fold, of which a new event meets one or all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from neyman.networks.layers import StackedLinear, stacked_mlp
from neyman.networks.scaling import FeatureScaler

__all__ = ["CrossFitClassifier", "fold_of", "logits"]


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
        self.stack = stacked_mlp(folds, [scaler.size, *hidden, classes])

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


def fold_of(events: int, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of every event of a class, shape ``(events,)``.

    It depends on the number of events alone, so that a systematic variation that only reweights the nominal
    events shares their folds.
    """
    return np.random.default_rng([seed, events]).permutation(events) % folds


def logits(
    network: CrossFitClassifier,
    features: NDArray[np.float32],
    folds: NDArray[np.int64] | None = None,
    chunk: int = 2048,
) -> NDArray[np.float32]:
    """Return a classifier's logits for events, shape ``(N, C)``.

    Args:
        network: the classifier.
        features: shape ``(N, d)``.
        folds: the fold of every event: each gets the logits of the network of its fold. For events of the training it
            is the one that has not seen them, for new events :func:`neyman.networks.folds.hashed_folds` chooses.
            ``None`` is for the mean of all networks.
        chunk: events in memory at a time, of each fold.

    Example:
        >>> import numpy as np, torch
        >>> network = CrossFitClassifier(FeatureScaler(torch.zeros(2), torch.ones(2)), 2, (8,), 5)
        >>> logits(network, np.zeros((4, 2), dtype=np.float32)).shape
        (4, 2)
    """
    out = np.empty((len(features), network.classes), dtype=np.float32)
    with torch.inference_mode():
        if folds is None:
            for begin in range(0, len(features), chunk):
                part = slice(begin, begin + chunk)
                out[part] = network.mean_logits(torch.from_numpy(np.ascontiguousarray(features[part]))).numpy()
            return out
        held_out = [np.flatnonzero(folds == k) for k in range(network.folds)]
        for begin in range(0, max(map(len, held_out)), chunk):
            parts = [index[begin : begin + chunk] for index in held_out]
            x = np.zeros((len(parts), max(map(len, parts)), features.shape[1]), dtype=np.float32)
            for k, index in enumerate(parts):
                x[k, : len(index)] = features[index]
            values = network(torch.from_numpy(x)).numpy()
            for k, index in enumerate(parts):
                out[index] = values[k, : len(index)]
    return out
