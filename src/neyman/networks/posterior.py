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

__all__ = ["GRID", "MomentHead", "PosteriorNetwork", "Straight", "identical_flow", "mean_values"]


def __dir__() -> list[str]:
    return __all__


GRID = torch.linspace(-5.0, 5.0, 501, dtype=torch.float64)
"""Coordinates at which :class:`Straight` knows the parameters themselves."""

_FEWEST = 0.5  # events, for the logarithm of their number
_FAR = 30.0  # standard deviations, whose tail is a number still
_ENDLESS = 1e6
_TINY, _ROUND = 1e-300, 1e-16  # probabilities
_NARROW = 1e-9  # of a width in coordinates
_APART = 2.5  # standard deviations from where a prior ends, where that makes no difference to a line
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


def identical_flow(size: int, context: int, hidden: Sequence[int], bins: int, transforms: int) -> zuko.flows.NSF:
    """Return a flow of splines (arXiv:1906.04032) that is the identity before it is trained.

    Args:
        size: how many numbers it transforms.
        context: how many it depends on.
        hidden: sizes of the hidden layers of each transform.
        bins: of its splines.
        transforms: how many there are.

    Example:
        >>> import torch
        >>> identical_flow(2, 3, (8,), bins=4, transforms=1).transform(torch.ones(3))(torch.tensor([0.5, -1.0]))
        tensor([ 0.5000, -1.0000], grad_fn=<...>)
    """
    flow = zuko.flows.NSF(
        size, context, bins=bins, transforms=transforms, hidden_features=tuple(hidden), activation=nn.SiLU
    ).to(torch.float32)  # by name: pyhf's pytorch backend changes torch's default
    for transform in flow.transform.transforms:
        last = transform.hyper[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return flow


class Straight(nn.Module):
    r"""From a normal distribution of parameters, cut at their bounds, to one of their coordinates.

    What data tell is often linear in the parameters, and the coordinates of a uniform prior are not. From the quantiles
    of the cut distribution at plus and minus one standard deviation follow those of the coordinates, and from their
    middle and distance a normal distribution again. It is exact where data are, and where they tell nothing.

    Args:
        knots: the parameters, shifted and scaled, at the coordinates :data:`GRID`, in ascending order, shape
            ``(P, len(GRID))``; they are taken for the coordinates themselves where the prior has no ends.
        ends: of the prior, shifted and scaled alike, infinite where there are none, shape ``(P, 2)``.

    Example:
        >>> ends = torch.tensor([[-torch.inf, torch.inf]])
        >>> u, log_root = Straight(GRID[None], ends)(torch.tensor([[1.0], [7.0]]), torch.tensor([[2.0], [2.0]]))
        >>> u.ravel().round(decimals=3), log_root.ravel().round(decimals=3)
        (tensor([1., 7.]), tensor([2., 2.]))
    """

    knots: Tensor
    ends: Tensor
    grid: Tensor

    def __init__(self, knots: Tensor, ends: Tensor) -> None:
        super().__init__()
        self.register_buffer("knots", knots.to(torch.float64).contiguous())
        self.register_buffer("ends", ends.to(torch.float64).clamp(-_ENDLESS, _ENDLESS))  # gradients are numbers
        self.register_buffer("grid", GRID.clone(), persistent=False)

    def forward(self, v: Tensor, log_root: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and logarithms of inverse widths of coordinates, from those of parameters, ``(n, P)`` all."""
        centre, width = v.double(), torch.exp(-log_root.double())
        low, high = ((self.ends[:, k] - centre) / width for k in range(2))
        # mirrored such that the tails are small numbers, which have all their digits
        mirrored = low + high > 0
        below = torch.special.ndtr(torch.where(mirrored, -high, low).clamp(-_FAR, _FAR))
        inside = torch.special.ndtr(torch.where(mirrored, -low, high).clamp(-_FAR, _FAR)) - below
        sign = torch.where(mirrored, -1.0, 1.0)

        def coordinate(deviation: float) -> Tensor:
            fraction = torch.special.ndtr(deviation * sign)
            z = torch.special.ndtri((below + fraction * inside).clamp(_TINY, 1.0 - _ROUND))
            return self._interpolated(centre + sign * z * width, self.knots, self.grid.expand_as(self.knots))

        first, last = coordinate(-1.0), coordinate(1.0)
        roots = -torch.log((0.5 * (last - first)).clamp(min=_NARROW))
        return (0.5 * (first + last)).to(v.dtype), roots.to(v.dtype)

    def back(self, u: Tensor) -> Tensor:
        """Return the parameters, shifted and scaled, at coordinates ``(n, P)``."""
        return self._interpolated(u.double(), self.grid.expand_as(self.knots), self.knots)

    def _interpolated(self, x: Tensor, known: Tensor, values: Tensor) -> Tensor:
        """Return a function ``(n, P)`` on the line through known points; beyond them it goes on with the slope one."""
        inside = torch.maximum(torch.minimum(x, known[:, -1]), known[:, 0])
        place = torch.searchsorted(known.contiguous(), inside.T.contiguous(), right=True).clamp(1, known.shape[1] - 1)
        begin, end = (known.gather(1, place + k) for k in (-1, 0))
        low, high = (values.gather(1, place + k) for k in (-1, 0))
        return (low + (inside.T - begin) / (end - begin) * (high - low)).T + (x - inside)


class MomentHead(nn.Module):
    r"""Mean and inverse width of a normal distribution: a line through the features, and what a perceptron adds.

    Many events determine parameters to a small fraction of what the prior allows, and the mean has to be right to a
    small fraction of that. So :meth:`fit_line` finds a line by least squares, which stays; what is then learned has the
    line's widths for units. Where a prior ends the line is that of the parameters, see :class:`Straight`.

    With several parameters :math:`z = R (u - m)` has the lower-triangular :math:`R_{ij} = r_i (\delta_{ij} + c_{ij})`:
    each parameter's inverse width given those before it, times one on the diagonal and coefficients to the left.

    Args:
        inputs: number of features, ``F``.
        parameters: ``P``.
        hidden: sizes of the hidden layers.
        learned: of how many features, the first, the perceptron learns; all by default.
        straight: from the line of the parameters to that of their coordinates, where they differ.

    Example:
        >>> import torch
        >>> mean, root = MomentHead(5, 2, (16,))(torch.randn(7, 5))
        >>> mean.shape, root.shape, root[0, 0, 1].item()
        (torch.Size([7, 2]), torch.Size([7, 2, 2]), 0.0)
    """

    line: Tensor

    def __init__(
        self,
        inputs: int,
        parameters: int,
        hidden: Sequence[int],
        learned: int | None = None,
        straight: Straight | None = None,
    ) -> None:
        super().__init__()
        self.learned, self.parameters_ = inputs if learned is None else learned, parameters
        outputs = 2 * parameters + parameters * (parameters - 1) // 2
        self.straight = straight
        self.register_buffer("line", torch.zeros(2 * parameters, inputs + 1, dtype=torch.float32))
        self.linear = nn.Linear(self.learned, outputs, dtype=torch.float32)
        self.rest = mlp([self.learned, *hidden, outputs], zero=True)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def fit_line(self, x: Tensor, u: Tensor, of_mean: Tensor | None = None, of_width: Tensor | None = None) -> None:
        """Find the line.

        Args:
            x: features, shape ``(n, F)``.
            u: the coordinates of the parameters, shape ``(n, P)``.
            of_mean: which features the mean may depend on, shape ``(F,)``; all by default.
            of_width: which of them the width may depend on; all by default.
        """
        every = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
        of_mean, of_width = (every if one is None else one for one in (of_mean, of_width))
        columns = of_mean.nonzero()[:, 0]
        v, ends = (u, None) if self.straight is None else (self.straight.back(u), self.straight.ends)
        lines = fitted_lines(x[:, columns], v, _LOG_ROOTS, of_width[columns].nonzero()[:, 0], ends, _APART)
        self.line.zero_()
        self.line[:, torch.cat([columns, columns.new_full((1,), len(every))])] = torch.cat(lines, dim=1).T.to(self.line)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means ``(n, P)`` and roots of the inverse covariances ``(n, P, P)`` from features ``(n, F)``."""
        p, seen = self.parameters_, x[:, : self.learned]
        line, log_line = torch.split(x @ self.line[:, :-1].T + self.line[:, -1], p, dim=1)
        parts = [p, p, p * (p - 1) // 2]
        (shift, log_shift, left), (mean, log_root, more) = (
            torch.split(layer(seen), parts, dim=1) for layer in (self.linear, self.rest)
        )
        line = line + torch.exp(-log_line.clamp(*_LOG_ROOTS)) * shift
        log_line = (log_line + log_shift).clamp(*_LOG_ROOTS)
        if self.straight is not None:
            line, log_line = self.straight(line, log_line)
        unit = torch.eye(p, dtype=x.dtype, device=x.device).repeat(len(x), 1, 1)
        row, column = torch.tril_indices(p, p, -1, device=x.device)
        unit[:, row, column] = left + more
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
        straight: what is known of parameters whose prior ends.

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
        straight: Straight | None = None,
    ) -> None:
        super().__init__()
        self._shape = {"head": tuple(head), "flow": tuple(flow), "bins": bins, "transforms": transforms}
        self._shape["context"] = context
        self.encoder = encoder
        self.register_buffer("centre", centre.to(torch.float64))
        self.register_buffer("scale", scale.to(torch.float64))
        size = len(centre)
        self.head = MomentHead(2 * size, parameters, head, size, straight)
        self.context = mlp([size, *flow[:1], context])
        self.flow = identical_flow(parameters, context, flow, bins, transforms)

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside encoder, parameters and scaling to build it again, as JSON."""
        return self._shape

    def features(self, summaries: Tensor) -> Tensor:
        """Return what the head sees of summaries, shape ``(n, 2 K)``.

        The same comes again over the number of events: a prior moves the mean by about a part in that number.
        """
        values = mean_values(summaries.to(torch.float64))
        x = (values - self.centre) / self.scale
        inverse = torch.exp(self.centre[-1:] - values[:, -1:]) - 1.0  # zero at the usual number of events
        return torch.cat([x, x[:, :-1] * inverse, inverse], dim=1).to(torch.float32)

    def fit_line(self, summaries: Tensor, u: Tensor, *, trained: bool) -> None:
        """Start from a line whose width depends on nothing but the number of events, see :class:`MomentHead`.

        Args:
            summaries: of datasets, shape ``(n, K)``.
            u: their parameters, shape ``(n, P)``.
            trained: whether the encoder is; before, the line sees only what the encoder does not learn.
        """
        k = len(self.centre)
        of_mean = torch.ones(2, k, dtype=torch.bool, device=summaries.device)
        of_mean[:, k - 1 - self.encoder.width : -1] = trained
        of_width = torch.zeros_like(of_mean)
        of_width[:, -1] = True  # nothing but the number of events
        self.head.fit_line(self.features(summaries), u, of_mean.flatten(), of_width.flatten())

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
