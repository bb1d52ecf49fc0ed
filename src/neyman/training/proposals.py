"""Where datasets are simulated, and which other parameters they are held against."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["GROUP", "candidates_near", "log_density", "propose", "reflected"]


def __dir__() -> list[str]:
    return __all__


GROUP = 32  # datasets whose parameters are each other's candidates
_LOCAL = 0.5  # of the groups have their parameters near each other
_SPREADS = (0.01, 0.5)  # of a local group, in units of the ranges
_BOUND = 0.15  # of the groups have one of their parameters close to a bound
_CLOSE = 0.003  # of the range: where its logarithmic distribution begins
_LOG = math.log1p(1 / _CLOSE)
_CANDIDATES = 16  # of a dataset, where they are its own
_NEAR = (0.5, 4.0)  # how far these are from the true parameters, in standard deviations of the posterior
_UNIFORM = 0.2  # of the datasets have candidates from the whole range

T = TypeVar("T", NDArray[np.float64], Tensor)


def reflected(unit: T) -> T:
    """Return fractions of a range, reflected at its bounds: what was symmetric or uniform without bounds stays so.

    Args:
        unit: fractions, of which some are below zero or above one.

    Example:
        >>> import numpy as np
        >>> reflected(np.array([-0.25, 0.5, 1.25]))
        array([0.25, 0.5 , 0.75])
    """
    once = abs(unit) % 2.0
    return once + (once > 1.0) * (2.0 - 2.0 * once)


def propose(low: NDArray[np.float64], high: NDArray[np.float64], n: int, seed: int) -> NDArray[np.float64]:
    """Return parameters to simulate at, in groups of :data:`GROUP`, shape ``(n, P)``.

    Most are distributed uniformly over the bounds. Half of these groups are independent; in the others the parameters
    are close to each other, on scales from 1 % to half of their ranges, so that the contrast between them teaches
    what a dataset that determines them well can tell. In the rest one parameter is close to one of its bounds, where
    an interval may end: its distance is distributed logarithmically, down to 0.3 % of the range, the other parameters
    uniformly. Given its group, each is drawn alike: the contrast is exact.

    Args:
        low: lower bounds, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        n: how many, rounded up to whole groups.
        seed: fixes them.

    Example:
        >>> import numpy as np
        >>> propose(np.zeros(2), np.ones(2), 100, seed=0).shape
        (128, 2)
    """
    rng = np.random.default_rng(seed)
    groups, p = math.ceil(n / GROUP), len(low)
    unit = rng.random((groups, GROUP, p))
    spread = np.exp(rng.uniform(math.log(_SPREADS[0]), math.log(_SPREADS[1]), (groups, 1, 1)))
    near = reflected(rng.random((groups, 1, p)) + spread * rng.normal(size=(groups, GROUP, p)))
    kind = rng.random((groups, 1, 1))
    inside = np.where(kind < _BOUND + _LOCAL * (1 - _BOUND), near, unit)
    distance = _CLOSE * np.expm1(_LOG * unit)
    side = np.where(rng.random((groups, 1, 1)) < 0.5, distance, 1 - distance)
    one = np.arange(p) == rng.integers(p, size=(groups, 1, 1))
    chosen = np.where(kind < _BOUND, np.where(one, side, unit), inside).reshape(-1, p)
    return np.asarray(low + (high - low) * chosen)


def log_density(unit: Tensor) -> Tensor:
    """Return the logarithm of how densely :func:`propose` fills a place, relative to a uniform distribution.

    Args:
        unit: parameters as fractions of their ranges, shape ``(..., P)``.

    Returns:
        Shape ``(...)``.

    Example:
        >>> import torch
        >>> log_density(torch.tensor([[0.5, 0.5], [0.0, 0.5]])).exp()
        tensor([0.9013, 3.0328])
    """
    unit = unit.clamp(0.0, 1.0)
    close = 0.5 * (1 / (unit + _CLOSE) + 1 / (1 - unit + _CLOSE)) / _LOG
    return torch.log(1 - _BOUND + _BOUND * close.mean(dim=-1))


def candidates_near(theta: Tensor, widths: Tensor, low: Tensor, high: Tensor, generator: torch.Generator) -> Tensor:
    """Return the true parameters and candidates distributed like them given a common centre, shape ``(n, m, P)``.

    The scale depends on the dataset alone, and the reflected normal distribution is symmetric: so no candidate is
    distinguished from the true one but by the dataset, and by how densely :func:`propose` fills its place: the
    probability to be the true one is the softmax of the log-likelihood plus :func:`log_density`.

    Args:
        theta: the true parameters, shape ``(n, P)``.
        widths: how well each dataset determines them, in units of the ranges, shape ``(n, P)``.
        low: lower bounds, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        generator: the source of randomness, on the CPU.
    """
    n, p = theta.shape
    m = _CANDIDATES - 1

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(theta.device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(theta.device)

    low, span = low.to(theta), (high - low).to(theta)
    scale = widths * torch.exp(math.log(_NEAR[0]) + uniform(n, 1) * math.log(_NEAR[1] / _NEAR[0]))
    centre = reflected((theta - low) / span + scale * normal(n, p))
    near = reflected(centre[:, None] + scale[:, None] * normal(n, m, p))
    others = torch.where(uniform(n, 1, 1) < _UNIFORM, uniform(n, m, p), near)
    return torch.cat([theta[:, None], low + span * others], dim=1)
