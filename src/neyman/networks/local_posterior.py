"""The network of what is local to an event: from the event, the parameters and its dataset to a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neyman.networks.encoder import Encoder
from neyman.networks.layers import mlp
from neyman.networks.lines import fitted_lines
from neyman.networks.posterior import identical_flow

__all__ = ["LocalNetwork"]


def __dir__() -> list[str]:
    return __all__


_LOG_ROOTS = (-3.0, 10.0)  # of the inverse widths, in units of those of all events


class LocalNetwork(nn.Module):
    r"""The posterior of local parameters :math:`v`, whose distribution over all events is about a standard normal one.

    Its density is that of a flow in :math:`z = R (v - m)`, times :math:`|R|`, where mean, inverse width and flow depend
    on the event :math:`x_i`, on the parameters :math:`\theta` and, through a few numbers, on the summary of the whole
    dataset. Where the events are independent given the parameters these numbers are of no use and start at zero; where
    they have more in common than the parameters, they tell of it.

    Args:
        encoder: makes numbers of an event by itself.
        local: number of local parameters, ``L``.
        parameters: of the whole dataset, ``P``.
        summary: how many features the summary of a dataset has, ``K``.
        head: sizes of the hidden layers of mean and width.
        flow: the same of each transform of the flow.
        bins: of its splines.
        transforms: how many there are.
        context: how many numbers the flow sees.

    Example:
        >>> import torch
        >>> from neyman.networks.deepset import DeepSet
        >>> from neyman.networks.scaling import FeatureScaler
        >>> encoder = DeepSet(FeatureScaler(torch.zeros(3), torch.ones(3)), hidden=(8,), width=4)
        >>> network = LocalNetwork(encoder, local=2, parameters=1, summary=8)
        >>> numbers, context = network.numbers(torch.randn(5, 3)), network.summary(torch.zeros(5, 8))
        >>> seen = network.joined(numbers, torch.zeros(5, 1), context)
        >>> network.draw(seen, torch.randn(5, 2)).shape, network.log_prob(seen, torch.zeros(5, 2)).shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        encoder: Encoder,
        local: int,
        parameters: int,
        summary: int,
        head: Sequence[int] = (64, 64),
        flow: Sequence[int] = (64, 64),
        bins: int = 8,
        transforms: int = 1,
        context: int = 16,
    ) -> None:
        super().__init__()
        self._shape = {"head": tuple(head), "flow": tuple(flow), "bins": bins, "transforms": transforms}
        self._shape |= {"local": local, "parameters": parameters, "summary": summary, "context": context}
        self.encoder = encoder
        numbers = encoder.size - 1
        self.register_buffer("centre", torch.zeros(numbers, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(numbers, dtype=torch.float32))
        self.summary = mlp([summary, *head[:1], context], zero=True)
        size = numbers + parameters + context
        self.head = _Head(size, local, head)
        self.context = mlp([size, *flow[:1], context])
        self.flow = identical_flow(local, context, flow, bins, transforms)

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the encoder to build it again, as JSON."""
        return self._shape

    def numbers(self, x: Tensor) -> Tensor:
        """Return what is seen of events by themselves, shape ``(E, A)``, of events ``(E, d)``."""
        one = torch.arange(len(x), device=x.device)
        summed = self.encoder(x, torch.ones(len(x), dtype=torch.float32, device=x.device), one, len(x))
        scaled: Tensor = (summed[:, :-1] - self.centre) / self.scale
        return scaled

    def adapt(self, x: Tensor) -> None:
        """Scale what is seen of events by what it is of these, shape ``(E, d)``."""
        with torch.no_grad():
            found = self.numbers(x)
            spread = found.std(0)
            self.centre.copy_(found.mean(0))
            self.scale.copy_(torch.where(spread > 1e-9, spread, torch.ones_like(spread)))

    @staticmethod
    def joined(numbers: Tensor, u: Tensor, context: Tensor) -> Tensor:
        """Return what the distribution depends on, shape ``(..., A + P + C)``.

        Args:
            numbers: what is seen of events by themselves, shape ``(..., A)``.
            u: the parameters of the dataset of each, shape ``(..., P)``.
            context: what :attr:`summary` makes of the features of its summary, shape ``(..., C)``.
        """
        return torch.cat([numbers, u.to(numbers.dtype), context], dim=-1)

    def log_prob(self, seen: Tensor, v: Tensor, *, flow: bool = True) -> Tensor:
        """Return the logarithm of the density, shape ``(E,)``.

        Args:
            seen: what it depends on, shape ``(E, F)``.
            v: the local parameters, shape ``(E, L)``.
            flow: whether with the flow, or of the normal distribution alone.
        """
        mean, root = self.head(seen)
        z = torch.einsum("eij,ej->ei", root, v.to(torch.float32) - mean)
        distribution = self.flow(self.context(seen)) if flow else self.flow.base()
        density: Tensor = distribution.log_prob(z) + torch.diagonal(root, dim1=1, dim2=2).log().sum(dim=1)
        return density

    def draw(self, seen: Tensor, base: Tensor) -> Tensor:
        """Return draws, one for each row, shape ``(E, L)``, from as many standard normal numbers."""
        mean, root = self.head(seen)
        z = self.flow(self.context(seen)).transform.inv(base.to(torch.float32))
        found: Tensor = mean + torch.linalg.solve_triangular(root, z[:, :, None], upper=False)[:, :, 0]
        return found


class _Head(nn.Module):
    """Mean and root of the inverse covariance: linear in what is seen, and what a perceptron adds."""

    def __init__(self, inputs: int, local: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.local = local
        outputs = 2 * local + local * (local - 1) // 2
        self.linear = nn.Linear(inputs, outputs, dtype=torch.float32)
        self.rest = mlp([inputs, *hidden, outputs], zero=True)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def fit_line(self, seen: Tensor, v: Tensor) -> None:
        """Start with lines by least squares."""
        lines = torch.cat(fitted_lines(seen, v, _LOG_ROOTS), dim=1).to(self.linear.weight)
        self.linear.weight[: lines.shape[1]] = lines[:-1].T
        self.linear.bias[: lines.shape[1]] = lines[-1]

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return means ``(E, L)`` and lower-triangular roots ``(E, L, L)``."""
        n = self.local
        mean, log_root, left = torch.split(self.linear(seen) + self.rest(seen), [n, n, n * (n - 1) // 2], dim=1)
        unit = torch.eye(n, dtype=seen.dtype, device=seen.device).repeat(len(seen), 1, 1)
        row, column = torch.tril_indices(n, n, -1, device=seen.device)
        unit[:, row, column] = left
        return mean, log_root.clamp(*_LOG_ROOTS).exp()[:, :, None] * unit
