r"""Functions of single features and parameters that are learned as tables, where a smooth network would be too slow.

A perceptron learns what is smooth first. A structure that is narrow in units of a range, such as a resonance of unknown
mass, needs many numbers of each event: here they are cubic splines whose values at many knots are learned, one table a
feature, and of the parameters likewise. They start as sines and cosines of all frequencies: then a function of the
distance between a feature and a parameter, :math:`\cos k(x - m) = \cos kx \cos km + \sin kx \sin km`, is a sum of few
products, and shared by all places. See arXiv:2203.05556 for such embeddings of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from neyman.networks.layers import mlp

__all__ = ["FeatureTables", "ParameterTables", "SplineTables"]


def __dir__() -> list[str]:
    return __all__


_SPLINE = 4  # coefficients that a cubic spline has anywhere
_EDGES = (0.001, 0.999)  # of the events, between which there are knots


class SplineTables(nn.Module):
    r"""Learned cubic splines of several variables in [0, 1], each of one of them: :math:`f(u) = \sum_j c_j B_j(u)`.

    Beyond the range they are constant. They are looked up: only the four coefficients next to a value are read.

    Args:
        variables: how many variables there are, ``V``.
        knots: coefficients of each spline, at least 4.
        width: how many splines there are of each variable.

    Example:
        >>> import torch
        >>> SplineTables(2, knots=100, width=32)(torch.rand(7, 2)).shape
        torch.Size([7, 2, 32])
    """

    def __init__(self, variables: int, knots: int, width: int) -> None:
        super().__init__()
        self.variables, self.knots, self.width = variables, knots, width
        self.cells = knots - _SPLINE + 1
        places = (torch.arange(knots, dtype=torch.float32)[:, None] - 1) / self.cells
        column = torch.arange(width, dtype=torch.float32)
        waves = (column / 2).ceil() * math.pi * places - (column % 2) * math.pi / 2
        self.table = nn.Parameter((math.sqrt(2) * waves.cos()).repeat(variables, 1))

    def _found(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of the table and their weights, each of the shape of ``u`` and ``(4,)`` more."""
        place = u.clamp(0.0, 1.0) * self.cells
        cell = place.detach().floor().clamp(max=self.cells - 1)
        t, first = place - cell, cell.long() + self.knots * torch.arange(self.variables, device=u.device)
        s = 1 - t
        weights = torch.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3], dim=-1) / 6
        return first[..., None] + torch.arange(_SPLINE, device=u.device), weights

    def forward(self, u: Tensor) -> Tensor:
        """Return the values, shape ``(..., V, width)``, with all derivatives, at variables ``(..., V)``."""
        rows, weights = self._found(u)
        return (self.table[rows] * weights[..., None]).sum(-2)

    def of_constants(self, u: Tensor) -> Tensor:
        """Return the same without derivatives by the variables, in a tenth of the time."""
        rows, weights = self._found(u)
        flat = (one.reshape(-1, _SPLINE) for one in (rows, weights.to(self.table.dtype)))
        found = functional.embedding_bag(next(flat), self.table, per_sample_weights=next(flat), mode="sum")
        return found.view(*u.shape, self.width)


class FeatureTables(nn.Module):
    """What tables and a network make of the scaled features of events.

    The sum over the features of a linear map of their splines, plus a perceptron that sees the splines and the features
    and what else the scaling has: so that what is narrow in one feature may depend on the others.

    Args:
        features: how many features there are, the first columns of what is seen.
        size: how many columns there are.
        knots: of each table, at least 4.
        hidden: sizes of the perceptron's hidden layers.
        width: how many numbers are made.

    Example:
        >>> import torch
        >>> FeatureTables(2, 3, knots=100, hidden=(64,), width=48)(torch.randn(7, 3)).shape
        torch.Size([7, 48])
    """

    low: Tensor
    high: Tensor

    def __init__(self, features: int, size: int, knots: int, hidden: Sequence[int], width: int) -> None:
        super().__init__()
        self.features = features
        self.splines = SplineTables(features, knots, width)
        self.linear = nn.Linear(features * width, width, dtype=torch.float32)
        self.rest = mlp([features * width + size, *hidden, width])
        self.register_buffer("low", torch.full((features,), -4.0, dtype=torch.float32))
        self.register_buffer("high", torch.full((features,), 4.0, dtype=torch.float32))

    def adapt(self, z: Tensor) -> None:
        """Put the knots where events are.

        Args:
            z: scaled features of events, shape ``(E, size)``.
        """
        edges = torch.tensor(_EDGES, dtype=torch.float64)
        low, high = torch.quantile(z[:, : self.features].double().cpu(), edges, dim=0).to(self.low)
        apart = high > low
        self.low.copy_(torch.where(apart, low, low - 0.5))
        self.high.copy_(torch.where(apart, high, low + 0.5))

    def forward(self, z: Tensor) -> Tensor:
        """Return the numbers, shape ``(E, width)``, of scaled features ``(E, size)``."""
        u = (z[:, : self.features] - self.low) / (self.high - self.low)
        values = self.splines.of_constants(u).flatten(1)
        return self.linear(values) + self.rest(torch.cat([z, values], dim=1))  # type: ignore[no-any-return]


class ParameterTables(nn.Module):
    r"""Coefficients of a score that tables of the parameters make: :math:`g(f) \cdot A T(u) + h(f, T(u))`.

    A linear map of the splines :math:`T` of the parameters, times a network of their smooth features :math:`f`, which
    lets every wave have its strength anywhere, plus a perceptron of all, which starts at zero.

    Args:
        tabled: the parameters that have tables, by their positions.
        size: how many smooth features they have.
        knots: of each table, at least 4.
        width: how many coefficients are made.
        hidden: width of the hidden layers.

    Example:
        >>> import torch
        >>> tables = ParameterTables([1], 17, knots=80, width=99)
        >>> tables(torch.rand(5, 17), torch.rand(5, 2)).shape
        torch.Size([5, 99])
    """

    def __init__(self, tabled: Sequence[int], size: int, knots: int, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.tabled, parameters = list(tabled), len(tabled)
        self.splines = SplineTables(parameters, knots, width)
        self.linear = nn.Linear(parameters * width, width, dtype=torch.float32)
        self.strength = mlp([size, hidden, width])
        self.rest = mlp([size + parameters * width, hidden, hidden, width], zero=True)

    def forward(self, features: Tensor, unit: Tensor) -> Tensor:
        """Return the coefficients, shape ``(..., width)``.

        Args:
            features: smooth features of the parameters, shape ``(..., size)``.
            unit: the parameters as fractions of their ranges, shape ``(..., P)``.
        """
        values = self.splines(unit[..., self.tabled]).flatten(-2)
        waves = self.strength(features) * self.linear(values)
        return waves + self.rest(torch.cat([features, values], dim=-1))  # type: ignore[no-any-return]
