"""Building blocks: multilayer perceptrons, and stacks of them so that all folds train at once."""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["StackedLinear", "digest_of", "initialised", "mlp", "stacked_mlp"]


def __dir__() -> list[str]:
    return __all__


_RANDOM = threading.Lock()


@contextlib.contextmanager
def initialised(seed: int) -> Iterator[None]:
    """Make networks whose first weights a seed fixes, one thread at a time.

    The random numbers that the caller draws from torch stay as they are.

    Args:
        seed: fixes the weights.
    """
    with _RANDOM, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def digest_of(module: nn.Module) -> str:
    """Return a hash of a network's structure and weights."""
    digest = hashlib.sha256(repr(module).encode())
    for value in module.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()


class StackedLinear(nn.Module):
    """``K`` independent linear layers applied to ``K`` batches: ``(K, B, i) -> (K, B, o)``.

    Args:
        stacks: ``K``.
        inputs: ``i``.
        outputs: ``o``.
    """

    def __init__(self, stacks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        # float32 by name: pyhf's pytorch backend changes torch's default
        self.weight = nn.Parameter(torch.empty(stacks, inputs, outputs, dtype=torch.float32).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(stacks, 1, outputs, dtype=torch.float32).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(K, B, o)``."""
        return torch.baddbmm(self.bias, x, self.weight)


def stacked_mlp(stacks: int, sizes: Sequence[int]) -> nn.Sequential:
    """Return ``K`` independent multilayer perceptrons with SiLU between their layers.

    The last layer starts at zero, so that a classifier starts from equal probabilities and a log-ratio from zero.

    Args:
        stacks: ``K``.
        sizes: inputs, hidden layers, outputs.

    Example:
        >>> import torch
        >>> stacked_mlp(5, [3, 8, 2])(torch.randn(5, 100, 3)).shape
        torch.Size([5, 100, 2])
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [StackedLinear(stacks, inputs, outputs), nn.SiLU()]
    last = layers[-2]
    assert isinstance(last, StackedLinear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers[:-1])


def mlp(sizes: Sequence[int], *, zero: bool = False) -> nn.Sequential:
    """Return a multilayer perceptron with SiLU between its layers.

    Args:
        sizes: inputs, hidden layers, outputs.
        zero: whether the last layer starts at zero.

    Example:
        >>> import torch
        >>> mlp([3, 8, 2], zero=True)(torch.randn(100, 3)).abs().max()
        tensor(0., grad_fn=<MaxBackward1>)
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        # float32 by name: pyhf's pytorch backend changes torch's default
        layers += [nn.Linear(inputs, outputs, dtype=torch.float32), nn.SiLU()]
    last = layers[-2]
    assert isinstance(last, nn.Linear)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers[:-1])
