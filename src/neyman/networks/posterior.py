"""The network of a posterior: from the summary of a dataset to a normal distribution, and a flow for what is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import zuko
from torch import Tensor, nn

from neyman.networks.encoder import Encoder
from neyman.networks.layers import mlp
from neyman.networks.lines import fitted_lines

__all__ = ["MomentHead", "PosteriorNetwork", "mean_values"]


def __dir__() -> list[str]:
    return __all__


_FEWEST = 0.5  # events, for the logarithm of their number
_LOG_ROOTS = (-3.0, 14.0)  # of the inverse widths, in units of the prior's


def mean_values(summaries: Tensor) -> Tensor:
    """Return the sums of summaries divided by the number of events, and the logarithm of that number.

    Args:
        summaries: the sums, the total weight last, shape ``(n, K)``.

    Returns:
        Shape ``(n, K)``; means of no events are zero.

    Example:
        >>> import torch
        >>> mean_values(torch.tensor([[6.0, 2.0], [0.0, 0.0]]))
        tensor([[ 3.0000,  0.6931],
                [ 0.0000, -0.6931]])
    """
    total = summaries[:, -1:].clamp(min=0.0)
    means = torch.where(total > 0, summaries[:, :-1] / total.clamp(min=1e-9), 0.0)
    return torch.cat([means, total.clamp(min=_FEWEST).log()], dim=1)


class MomentHead(nn.Module):
    r"""Mean and inverse width of a normal distribution: a line through the features, and what a perceptron adds.

    Many events determine parameters to a small fraction of what the prior allows, and the mean has to be right to a
    small fraction of that. So :meth:`fit_line` finds a line by least squares, which stays; what is then learned has the
    line's widths for units. A prior moves the mean by a part of order one over the number of events, so that the line
    also sees the features over that number.

    With several parameters :math:`z = R (u - m)` has the lower-triangular :math:`R_{ij} = r_i (\delta_{ij} + c_{ij})`:
    each parameter's inverse width given those before it, times one on the diagonal and coefficients to the left.

    Args:
        inputs: number of features, ``K``, the last being the logarithm of the number of events; as many more are the
            same over that number.
        parameters: ``P``.
        hidden: sizes of the hidden layers.

    Example:
        >>> import torch
        >>> mean, root = MomentHead(5, 2, (16,))(torch.randn(7, 10))
        >>> mean.shape, root.shape, root[0, 0, 1].item()
        (torch.Size([7, 2]), torch.Size([7, 2, 2]), 0.0)
    """

    line: Tensor

    def __init__(self, inputs: int, parameters: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.inputs, self.parameters_ = inputs, parameters
        outputs = 2 * parameters + parameters * (parameters - 1) // 2
        self.register_buffer("line", torch.zeros(2 * parameters, 2 * inputs + 1, dtype=torch.float32))
        self.linear = nn.Linear(inputs, outputs, dtype=torch.float32)
        self.rest = mlp([inputs, *hidden, outputs], zero=True)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def fit_line(self, x: Tensor, u: Tensor, seen: Tensor) -> None:
        """Find the line, in which the width depends on nothing but the number of events.

        Args:
            x: the features of datasets, shape ``(n, 2 K)``.
            u: their parameters, shape ``(n, P)``.
            seen: which features the line may see, shape ``(2 K,)``.
        """
        sizes = torch.zeros_like(seen)
        sizes[[self.inputs - 1, 2 * self.inputs - 1]] = True
        columns = (seen | sizes).nonzero()[:, 0]
        lines = fitted_lines(x[:, columns], u, _LOG_ROOTS, sizes[columns].nonzero()[:, 0])
        columns = torch.cat([columns, columns.new_full((1,), 2 * self.inputs)])
        self.line.zero_()
        self.line[:, columns] = torch.cat(lines, dim=1).T.to(self.line)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means ``(n, P)`` and roots of the inverse covariances ``(n, P, P)`` from features ``(n, 2 K)``."""
        p, seen = self.parameters_, x[:, : self.inputs]
        line, log_line = torch.split(x @ self.line[:, :-1].T + self.line[:, -1], p, dim=1)
        mean, log_root, left = torch.split(self.linear(seen) + self.rest(seen), [p, p, p * (p - 1) // 2], dim=1)
        log_line = log_line.clamp(*_LOG_ROOTS)
        unit = torch.eye(p, dtype=x.dtype, device=x.device).repeat(len(x), 1, 1)
        row, column = torch.tril_indices(p, p, -1, device=x.device)
        unit[:, row, column] = left
        root = (log_line + log_root).clamp(*_LOG_ROOTS).exp()[:, :, None] * unit
        return line + torch.exp(-log_line) * mean, root


class PosteriorNetwork(nn.Module):
    r"""The posterior of parameters :math:`u`, whose prior is the standard normal distribution, given a dataset.

    Its density is that of a flow in :math:`z = R(D) (u - m(D))`, times :math:`|R|`; the flow sees the dataset too.

    Args:
        encoder: from events to sums.
        parameters: ``P``.
        centre: of :func:`mean_values`, shape ``(K,)``.
        scale: of the same, positive, shape ``(K,)``.
        head: sizes of the hidden layers of the head.
        flow: the same of each transform of the flow.
        bins: of its splines.
        transforms: how many there are.
        context: how many numbers the flow sees of a dataset.

    Example:
        >>> import torch
        >>> from neyman.networks.deepset import DeepSet
        >>> from neyman.networks.scaling import FeatureScaler
        >>> encoder = DeepSet(FeatureScaler(torch.zeros(3), torch.ones(3)), hidden=(8,), width=4)
        >>> network = PosteriorNetwork(encoder, 2, torch.zeros(8), torch.ones(8))
        >>> summaries = encoder(torch.randn(7, 3), torch.ones(7), torch.tensor([0, 0, 0, 1, 1, 1, 1]), 2)
        >>> u = network.draw(summaries, torch.randn(2, 100, 2))
        >>> u.shape, network.log_prob(summaries, u).shape
        (torch.Size([2, 100, 2]), torch.Size([2, 100]))
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        encoder: Encoder,
        parameters: int,
        centre: Tensor,
        scale: Tensor,
        head: Sequence[int] = (64, 64),
        flow: Sequence[int] = (64, 64),
        bins: int = 8,
        transforms: int = 1,
        context: int = 16,
    ) -> None:
        super().__init__()
        self._shape = {"head": tuple(head), "flow": tuple(flow), "bins": bins, "transforms": transforms}
        self._shape["context"] = context
        self.encoder = encoder
        self.register_buffer("centre", centre.to(torch.float64))
        self.register_buffer("scale", scale.to(torch.float64))
        size = len(centre)
        self.head = MomentHead(size, parameters, head)
        self.context = mlp([size, *flow[:1], context])
        self.flow = zuko.flows.NSF(
            parameters, context, bins=bins, transforms=transforms, hidden_features=tuple(flow), activation=nn.SiLU
        ).to(torch.float32)  # by name: pyhf's pytorch backend changes torch's default
        for transform in self.flow.transform.transforms:  # the identity at first
            last = transform.hyper[-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside encoder, parameters and scaling to build it again, as JSON."""
        return self._shape

    def features(self, summaries: Tensor) -> Tensor:
        """Return what the head sees of summaries, shape ``(n, 2 K)``: the same again over the number of events."""
        values = mean_values(summaries.to(torch.float64))
        x = (values - self.centre) / self.scale
        inverse = torch.exp(self.centre[-1:] - values[:, -1:]) - 1.0  # zero at the usual number of events
        return torch.cat([x, x[:, :-1] * inverse, inverse], dim=1).to(torch.float32)

    def fit_line(self, summaries: Tensor, u: Tensor, *, trained: bool) -> None:
        """Start from a line, see :meth:`MomentHead.fit_line`.

        Args:
            summaries: of datasets, shape ``(n, K)``.
            u: their parameters, shape ``(n, P)``.
            trained: whether the encoder is; before, the line sees only what the encoder does not learn.
        """
        seen = torch.ones(len(self.centre), dtype=torch.bool, device=summaries.device)
        seen[len(seen) - 1 - self.encoder.width : -1] = trained
        self.head.fit_line(self.features(summaries), u, seen.repeat(2))

    def log_prob(self, summaries: Tensor, u: Tensor, *, flow: bool = True) -> Tensor:
        """Return the logarithm of the density.

        Args:
            summaries: shape ``(n, K)``.
            u: parameters for each, shape ``(n, m, P)``.
            flow: whether with the flow, or of the normal distribution alone.

        Returns:
            Shape ``(n, m)``.
        """
        x = self.features(summaries)
        mean, root = self.head(x)
        z = torch.einsum("nij,nmj->nmi", root, u.to(torch.float32) - mean[:, None])
        log_root = torch.diagonal(root, dim1=1, dim2=2).log().sum(dim=1)
        distribution = self.flow(self.context(x[:, : len(self.centre)])[:, None]) if flow else self.flow.base()
        density: Tensor = distribution.log_prob(z) + log_root[:, None]
        return density

    def draw(self, summaries: Tensor, base: Tensor) -> Tensor:
        """Return draws.

        Args:
            summaries: shape ``(n, K)``.
            base: standard normal numbers, shape ``(n, m, P)``.
        """
        x = self.features(summaries)
        mean, root = self.head(x)
        z = self.flow.transform(self.context(x[:, : len(self.centre)])[:, None]).inv(base.to(torch.float32))
        shift = torch.linalg.solve_triangular(root, z.transpose(1, 2), upper=False).transpose(1, 2)
        found: Tensor = (mean[:, None] + shift).to(base.dtype)
        return found
