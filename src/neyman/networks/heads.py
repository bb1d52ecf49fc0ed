"""Heads: from the summary of a dataset and candidate parameters to the score whose softmax tells the true ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neyman.networks.layers import mlp
from neyman.networks.lines import fitted_lines
from neyman.networks.tables import ParameterTables

__all__ = [
    "BilinearHead",
    "EventHead",
    "GaussianHead",
    "Head",
    "LinearHead",
    "ParameterFeatures",
    "SummaryFeatures",
    "head_of",
    "summary_values",
]


def __dir__() -> list[str]:
    return __all__


_EDGES = (0.01, 0.1, 0.5)  # of the logarithms, in units of a parameter's range
_NOTHING = 1e-6  # events, less than which are none
_LOG_ROOTS = (-1.0, 9.0)  # of a precision in units of the ranges
_APART = 2.5  # standard deviations from the bounds, where these make no difference
_EXTREME = 2.5  # standard deviations of the logarithm of a size: no powers of more
_OUTSIDE = 1e-5  # of a Gaussian within the bounds: single precision does not tell less
_FAR = 4.0  # standard deviations: beyond, the distance from the expected parameters is compressed


class ParameterFeatures(nn.Module):
    r"""What a head sees of the parameters: ``u`` from -1 to 1, its products, and logarithms from either bound.

    With :math:`v = (\theta - lo)/(hi - lo)`, :math:`u = 2v - 1` and :math:`2 \log(1 + v/e) / \log(1 + 1/e) - 1` for a
    few :math:`e`, and the same of :math:`1 - v`: rates close to zero matter as much as their logarithms do.

    Args:
        low: lower bounds, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.

    Example:
        >>> import torch
        >>> ParameterFeatures(torch.zeros(2), torch.ones(2))(torch.rand(5, 2)).shape
        torch.Size([5, 17])
    """

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.register_buffer("low", low.to(torch.float64, copy=True))  # each head has its own, to be saved
        self.register_buffer("high", high.to(torch.float64, copy=True))
        self._pairs = torch.triu_indices(len(low), len(low))

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.low) * (1 + 2 * len(_EDGES)) + self._pairs.shape[1]

    def unit(self, theta: Tensor) -> Tensor:
        """Return the parameters as fractions of their range, of the shape of ``theta``."""
        return (theta - self.low.to(theta.dtype)) / (self.high - self.low).to(theta.dtype)

    def forward(self, theta: Tensor) -> Tensor:
        """Return the features, shape ``(..., size)``, of parameters ``(..., P)``."""
        v = self.unit(theta)
        u = 2 * v - 1
        columns = [u, u[..., self._pairs[0]] * u[..., self._pairs[1]]]
        for edge in _EDGES:
            norm = math.log1p(1 / edge)
            # a numerical step may leave the range by a hair
            columns += [2 * torch.log1p(side.clamp(min=-0.5 * edge) / edge) / norm - 1 for side in (v, 1 - v)]
        return torch.cat(columns, dim=-1)


def summary_values(summaries: Tensor) -> Tensor:
    """Return the sums, their means over the events and the logarithm of the size, shape ``(n, 2 K)``."""
    total = summaries[:, -1:].clamp(min=0.0)
    return torch.cat([summaries, summaries[:, :-1] / (total + 1), torch.log1p(total)], dim=1)


def mean_values(summaries: Tensor) -> Tensor:
    """Return the means over the events and the logarithm of the size, shape ``(n, K)``."""
    total = summaries[:, -1:].clamp(min=0.0)
    return torch.cat([summaries[:, :-1] / total.clamp(min=_NOTHING), torch.log1p(total)], dim=1)


class SummaryFeatures(nn.Module):
    """What a head sees of a summary: the sums, their means over the events and the logarithm of the size, scaled.

    A likelihood of independent events is linear in the sums; one of events with something in common depends on their
    mean and their number.

    Args:
        summaries: what is to be expected, shape ``(T, K)``, the last column being the total weight.
        means: whether to leave out the sums, which follow from the others.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, summaries: Tensor, *, means: bool = False) -> None:
        super().__init__()
        self._values = mean_values if means else summary_values
        values = self._values(summaries.double())
        self.register_buffer("centre", values.mean(0).to(torch.float32))
        spread = values.std(0)
        self.register_buffer("scale", torch.where(spread > 1e-9, spread, torch.ones_like(spread)).to(torch.float32))

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.centre)

    def forward(self, summaries: Tensor) -> Tensor:
        """Return the features, shape ``(n, size)``, of summaries ``(n, K)``."""
        return (self._values(summaries) - self.centre) / self.scale


class Head(nn.Module):
    """The base of the heads that a trained network ends with."""

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the parameters' bounds and the size of a summary to build it again, as JSON."""
        raise NotImplementedError

    def score(self, summaries: Tensor, theta: Tensor) -> Tensor:
        """Return the scores ``(n, m)`` of summaries ``(n, K)`` with their candidates ``(n, m, P)``."""
        raise NotImplementedError


class LinearHead(Head):
    r"""A score linear in the sums, :math:`a(\theta) \cdot S + b(\theta) \cdot M(F) + A(\theta)`, plus a small rest.

    Linear is exact for independent events, the logarithm of a Poisson process. The summary enters as it is, not
    scaled by what is expected: only so do the sums learn well. It teaches the encoder. Where tables of the parameters
    are among what makes the coefficients, it is a head to end with, too; else the others take over.

    Args:
        parameters: the features of the parameters.
        size: length of a summary, ``K``.
        rank: of the rest, which starts at zero.
        knots: of the tables of the parameters, for narrow structures; 0 for none.
        tabled: the parameters that have them, by their positions; all by default.
    """

    centre: Tensor
    scale: Tensor
    tracked: Tensor

    def __init__(
        self, parameters: ParameterFeatures, size: int, rank: int = 6, knots: int = 0, tabled: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.parameters_, self.rank, self.knots, self.tabled = parameters, rank, knots, list(tabled)
        self.a = mlp([parameters.size, 64, 64, size + 1])
        self.tables = _tables(parameters, knots, tabled, size)
        self.b = mlp([parameters.size, 64, 64, rank], zero=True)
        self.rest = mlp([2 * size, 64, 64, rank])
        self.register_buffer("centre", torch.zeros(2 * size, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(2 * size, dtype=torch.float32))
        self.register_buffer("tracked", torch.zeros((), dtype=torch.int64))

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the parameters' bounds and the size of a summary to build it again, as JSON."""
        return {"kind": "LinearHead", "rank": self.rank, "knots": self.knots, "tabled": self.tabled}

    def track(self, summaries: Tensor, until: int) -> None:
        """Let the scaling of the rest follow the summaries, for that many calls."""
        if self.tracked >= until:
            return
        rate = 0.02 if self.tracked else 0.3
        self.tracked += 1
        values = summary_values(summaries.detach())
        self.centre.lerp_(values.mean(0), rate)
        self.scale.lerp_(values.std(0) + 1e-6, rate)

    def data(self, summaries: Tensor) -> Tensor:
        """Return what the score needs of datasets, shape ``(..., R)``."""
        features = (summary_values(summaries.flatten(0, -2)) - self.centre) / self.scale
        rest = self.rest(features).view(*summaries.shape[:-1], -1)
        return torch.cat([summaries, torch.ones_like(summaries[..., :1]), rest], dim=-1)

    def candidates(self, theta: Tensor) -> Tensor:
        """Return what the score needs of parameters, shape ``(..., R)``."""
        features = self.parameters_(theta)
        return torch.cat([self.per_event(theta), 100 * self.a(features)[..., -1:], self.b(features)], dim=-1)

    def per_event(self, theta: Tensor) -> Tensor:
        """Return the coefficients of the terms of one event, shape ``(..., K)``."""
        features = self.parameters_(theta)
        a: Tensor = self.a(features)[..., :-1]
        return a if self.tables is None else a + self.tables(features, self.parameters_.unit(theta))

    def score(self, summaries: Tensor, theta: Tensor) -> Tensor:
        """Return the scores ``(n, m)`` of summaries ``(n, K)`` with their candidates ``(n, m, P)``."""
        return (self.candidates(theta) @ self.data(summaries)[:, :, None])[:, :, 0]


class EventHead(Head):
    r"""The likelihood of independent events, :math:`\sum_i w_i \log r(x_i, \theta)` with :math:`\log r = a \cdot \phi`.

    Where the number of events is the network's own, it is a Poisson number of the learned rate:
    :math:`+ \sum_i w_i \log\lambda(\theta) - \lambda(\theta)`.

    Args:
        parameters: the features of the parameters.
        size: length of a summary, ``K``.
        counts: whether the number of events is its own.
        knots: of the tables of the parameters, for narrow structures; 0 for none.
        tabled: the parameters that have them, by their positions; all by default.
    """

    def __init__(
        self, parameters: ParameterFeatures, size: int, *, counts: bool, knots: int = 0, tabled: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.parameters_, self.knots, self.tabled = parameters, knots, list(tabled)
        self.tables = _tables(parameters, knots, tabled, size)
        self.a = mlp([parameters.size, 64, 64, size])
        self.linear = nn.Linear(parameters.size, size, bias=False, dtype=torch.float32)
        self.rate = mlp([parameters.size, 32, 32, 1], zero=True) if counts else None

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the parameters' bounds and the size of a summary to build it again, as JSON."""
        return {"kind": "EventHead", "counts": self.rate is not None, "knots": self.knots, "tabled": self.tabled}

    def per_event(self, theta: Tensor) -> Tensor:
        """Return the coefficients of the terms of one event, shape ``(..., K)``."""
        features = self.parameters_(theta)
        a: Tensor = self.a(features) + self.linear(features)
        return a if self.tables is None else a + self.tables(features, self.parameters_.unit(theta))

    def log_rate(self, theta: Tensor) -> Tensor:
        """Return the logarithm of the expected number of events, shape ``(..., 1)``."""
        assert self.rate is not None
        return 10 * self.rate(self.parameters_(theta))  # type: ignore[no-any-return]

    def score(self, summaries: Tensor, theta: Tensor) -> Tensor:
        """Return the scores ``(n, m)`` of summaries ``(n, K)`` with their candidates ``(n, m, P)``."""
        score = (self.per_event(theta) @ summaries[:, :, None])[:, :, 0]
        if self.rate is None:
            return score
        log_rate = self.log_rate(theta)[..., 0]
        return score + summaries[:, -1:] * log_rate - log_rate.exp()


class BilinearHead(Head):
    r"""A score bilinear in a network of the dataset and one of the parameters, so that all pairs are one product.

    Args:
        parameters: the features of the parameters.
        summaries: the features of a summary.
        rank: number of learned terms beside those linear in the features of the summary.
        hidden: width of the hidden layers.
    """

    def __init__(
        self, parameters: ParameterFeatures, summaries: SummaryFeatures, rank: int = 16, hidden: int = 64
    ) -> None:
        super().__init__()
        self.parameters_, self.summaries = parameters, summaries
        self.rank, self.hidden = rank, hidden
        out = rank + summaries.size + 1
        self.m = mlp([summaries.size, hidden, hidden, rank])
        self.a = mlp([parameters.size, hidden, hidden, out])
        self.linear = nn.Linear(parameters.size, out, bias=False, dtype=torch.float32)

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the parameters' bounds and the size of a summary to build it again, as JSON."""
        return {"kind": "BilinearHead", "rank": self.rank, "hidden": self.hidden}

    def data(self, summaries: Tensor) -> Tensor:
        """Return what the score needs of datasets, shape ``(..., R)``."""
        w = self.summaries(summaries.flatten(0, -2))
        values = torch.cat([self.m(w), w, torch.ones_like(w[:, :1])], dim=1)
        return values.view(*summaries.shape[:-1], -1)

    def candidates(self, theta: Tensor) -> Tensor:
        """Return what the score needs of parameters, shape ``(..., R)``."""
        features = self.parameters_(theta)
        a = self.a(features) + self.linear(features)
        return torch.cat([10 * a[..., :-1], 100 * a[..., -1:]], dim=-1)

    def score(self, summaries: Tensor, theta: Tensor) -> Tensor:
        """Return the scores ``(n, m)`` of summaries ``(n, K)`` with their candidates ``(n, m, P)``."""
        return (self.candidates(theta) @ self.data(summaries)[:, :, None])[:, :, 0]


class GaussianHead(Head):
    r"""A score that is a Gaussian about the expected parameters, :math:`-z^2/2`, times what it takes to be right.

    :math:`z = L(D)(v - \mu(D))`, with :math:`v` the parameters in units of their ranges. The mean and the triangular
    root of the precision are learned first, as the posterior of uniformly drawn parameters; then everything is, with a
    correction that sees the dataset, the parameters and :math:`z`. It is the better head where a dataset determines the
    parameters to a small fraction of their ranges: there the mean has to be right to a small fraction of a standard
    deviation. So it is a line through the means of the events, which :meth:`fit_line` finds by least squares, and
    beside it a network whose units are the standard deviations.

    Args:
        parameters: the features of the parameters.
        summaries: the features of a summary.
        hidden: width of the hidden layers.
        line: whether the network's units are standard deviations; not in the first model files.
    """

    basis: Tensor
    unit: Tensor

    def __init__(
        self, parameters: ParameterFeatures, summaries: SummaryFeatures, hidden: int = 64, *, line: bool = True
    ) -> None:
        super().__init__()
        self.parameters_, self.summaries, self.hidden, self.line = parameters, summaries, hidden, line
        n = len(parameters.low)
        self._n = n
        below = torch.tril_indices(n, n, -1)
        basis = torch.zeros(below.shape[1], n, n, dtype=torch.float32)
        basis[torch.arange(below.shape[1]), below[0], below[1]] = 1
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("unit", torch.eye(n, dtype=torch.float32), persistent=False)
        out = 2 * n + below.shape[1]
        self.posterior = mlp([summaries.size, hidden, hidden, out], zero=line)
        self.linear = nn.Linear(summaries.size + (2 if line else 0), out, dtype=torch.float32)
        self.rest = mlp([summaries.size + parameters.size + n, hidden, hidden, 1], zero=True)

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the parameters' bounds and the size of a summary to build it again, as JSON."""
        return {"kind": "GaussianHead", "hidden": self.hidden, "line": self.line}

    def fit_line(self, summaries: Tensor, theta: Tensor) -> None:
        """Start from a mean and a logarithm of the precision that are linear, by weighted least squares in turns.

        Of lines through all datasets and through those that the bounds leave alone the likelier ones are kept.

        Args:
            summaries: of datasets, shape ``(n, K)``.
            theta: their parameters, shape ``(n, P)``.
        """
        x, v = self._terms(self.summaries(summaries)), self.parameters_.unit(theta.double())
        best = math.inf
        with torch.no_grad():
            for ends in (None, torch.tensor([[0.0, 1.0]], dtype=v.dtype, device=v.device).expand(v.shape[1], 2)):
                before = {name: value.clone() for name, value in self.linear.state_dict().items()}
                self._set_lines(fitted_lines(x, v, _LOG_ROOTS, ends=ends, apart=_APART))
                loss = float(self.negative_log_posterior(summaries, theta).mean())
                if loss < best:
                    best = loss
                else:
                    self.linear.load_state_dict(before)

    def _set_lines(self, lines: tuple[Tensor, Tensor]) -> None:
        self.linear.weight.zero_()
        self.linear.bias.zero_()
        for k, line in enumerate(lines):
            rows = slice(k * self._n, (k + 1) * self._n)
            self.linear.weight[rows] = line[:-1].T.to(self.linear.weight)
            self.linear.bias[rows] = line[-1].to(self.linear.bias)

    def _terms(self, w: Tensor) -> Tensor:
        """Return what the line goes through: features, square and cube of the last one, the logarithm of the size."""
        if not self.line:
            return w
        size = w[:, -1:].clamp(-_EXTREME, _EXTREME)
        return torch.cat([w, size**2, size**3], dim=1)

    def _moments(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, log of the diagonal of the root of the precision, and that root, of features ``(n, F)``."""
        n, learned, linear = self._n, self.posterior(w), self.linear(self._terms(w))
        scale = torch.exp(-linear[:, n : 2 * n].clamp(*_LOG_ROOTS)) if self.line else 1.0
        out = linear + learned
        mean, log_root = linear[:, :n] + scale * learned[:, :n], out[:, n : 2 * n].clamp(*_LOG_ROOTS)
        root = self.unit + torch.einsum("nk,kij->nij", out[:, 2 * n :], self.basis)
        return mean, log_root, log_root.exp()[:, :, None] * root

    def negative_log_posterior(self, summaries: Tensor, theta: Tensor) -> Tensor:
        """Return ``-log`` of the Gaussian of datasets ``(n, K)`` at the true parameters ``(n, P)``, shape ``(n,)``.

        It ends at the bounds, each parameter given those before it: so it is learned as wide as the likelihood, and
        not as what the bounds leave of it.
        """
        mean, log_root, root = self._moments(self.summaries(summaries))
        v = self.parameters_.unit(theta)
        z = (root @ (v - mean)[:, :, None])[:, :, 0]
        below, above = (z + (bound - v) * log_root.exp() for bound in (0, 1))
        within = 0.5 * (torch.erf(above / math.sqrt(2)) - torch.erf(below / math.sqrt(2)))
        return (0.5 * z * z - log_root + within.clamp(min=_OUTSIDE).log()).sum(1)

    def widths(self, summaries: Tensor) -> Tensor:
        """Return the standard deviations of the Gaussian in units of the ranges, shape ``(n, P)``."""
        root = self._moments(self.summaries(summaries))[2]
        inverse = torch.linalg.solve_triangular(root, self.unit.expand_as(root), upper=False)
        widths: Tensor = (inverse * inverse).sum(2).sqrt()
        return widths

    def score(self, summaries: Tensor, theta: Tensor) -> Tensor:
        """Return the scores ``(n, m)`` of summaries ``(n, K)`` with their candidates ``(n, m, P)``."""
        w = self.summaries(summaries)
        mean, _, root = self._moments(w)
        z = (self.parameters_.unit(theta) - mean[:, None]) @ root.mT
        seen = torch.cat(
            [w[:, None].expand(-1, theta.shape[1], -1), self.parameters_(theta), z / (1 + z.abs() / _FAR)], dim=2
        )
        score: Tensor = -0.5 * (z * z).sum(2) + 3 * self.rest(seen)[:, :, 0]
        return score


def head_of(shape: Mapping[str, Any], low: Tensor, high: Tensor, size: int) -> Head:
    """Return a head as a model file describes it, without its weights.

    Args:
        shape: what :attr:`Head.shape` says of it.
        low: lower bounds of the parameters, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        size: length of a summary.

    Raises:
        LookupError: for an unknown kind of head.
    """
    options, parameters = dict(shape), ParameterFeatures(low, high)
    kind = options.pop("kind")
    if kind == "EventHead":
        return EventHead(parameters, size, **options)
    if kind == "LinearHead":
        return LinearHead(parameters, size, **options)
    if kind == "GaussianHead":
        options = {"line": False, **options}  # as it was in the first model files
        return GaussianHead(parameters, SummaryFeatures(torch.zeros(2, size), means=options["line"]), **options)
    return {"BilinearHead": BilinearHead}[kind](parameters, SummaryFeatures(torch.zeros(2, size)), **options)


def _tables(parameters: ParameterFeatures, knots: int, tabled: Sequence[int], size: int) -> ParameterTables | None:
    """Return the tables of the parameters, where there are any."""
    return ParameterTables(tabled or range(len(parameters.low)), parameters.size, knots, size) if knots else None
