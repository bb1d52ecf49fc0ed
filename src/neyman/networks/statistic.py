"""The network of a learned test statistic: from features of a dataset and a tested value to the logit of its truth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neyman.networks.heads import ParameterFeatures
from neyman.networks.layers import mlp

__all__ = ["StatisticNetwork"]


def __dir__() -> list[str]:
    return __all__


_EDGE = 6.0  # standard deviations: beyond, features grow only logarithmically
_FAR = 4.0  # the same of the tested value
_TURN = 5.0  # where the parabola becomes a line: the farthest alternative


class StatisticNetwork(nn.Module):
    r"""The logit :math:`s(D, \mu_0)` of a dataset being one of :math:`\mu_0` rather than of another value.

    :math:`z = (\mu_0 - m(D))/\sigma(D)`, with the moments of the parameter of interest learned first; then everything
    is, with a correction that sees the dataset, the tested value and :math:`z`.

    Args:
        centre: of the features, shape ``(F,)``.
        scale: of the features, positive, shape ``(F,)``.
        low: lowest value of the parameter of interest, shape ``(1,)``.
        high: highest value, shape ``(1,)``.
        upper: whether the alternatives are smaller values alone.
        hidden: width of the hidden layers.

    Example:
        >>> import torch
        >>> network = StatisticNetwork(torch.zeros(3), torch.ones(3), torch.zeros(1), torch.ones(1), upper=False)
        >>> x = network.scaled(torch.randn(7, 3))
        >>> network(x, torch.rand(7, 5)).shape
        torch.Size([7, 5])
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self, centre: Tensor, scale: Tensor, low: Tensor, high: Tensor, *, upper: bool, hidden: int = 64
    ) -> None:
        super().__init__()
        self.register_buffer("centre", centre.to(torch.float64))
        self.register_buffer("scale", scale.to(torch.float64))
        self.parameters_ = ParameterFeatures(low, high)
        self.upper, self.hidden = upper, hidden
        size = len(centre)
        self.moments = mlp([size, hidden, hidden, 2])
        self.linear = nn.Linear(size, 2, dtype=torch.float32)
        self.rest = mlp([size + self.parameters_.size + 1, hidden, hidden, 1], zero=True)

    def scaled(self, features: Tensor) -> Tensor:
        """Return what the other methods take, of the shape of ``features``: ``(n, F)``."""
        z = (features.to(torch.float64) - self.centre) / self.scale
        excess = (z.abs() - _EDGE).clamp(min=0.0)
        return (z.clamp(-_EDGE, _EDGE) + z.sign() * torch.log1p(excess)).to(torch.float32)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the log of the inverse width, in units of the range, shape ``(n, 1)`` both."""
        out = self.moments(x) + self.linear(x)
        return out[:, :1], out[:, 1:].clamp(-1, 9)

    def negative_log_posterior(self, x: Tensor, mu: Tensor) -> Tensor:
        """Return the mean of ``-log`` of the Gaussian at the true values, shape ``(n,)``."""
        mean, log_root = self._moments(x)
        z = (self.parameters_.unit(mu.to(x)[:, None]) - mean) * log_root.exp()
        return (0.5 * z * z - log_root).mean()

    def widths(self, x: Tensor) -> Tensor:
        """Return the standard deviations of the parameter of interest, shape ``(n,)``."""
        span = (self.parameters_.high - self.parameters_.low).to(x)
        return (-self._moments(x)[1]).exp()[:, 0] * span

    def forward(self, x: Tensor, mu: Tensor) -> Tensor:
        """Return the logits ``(n, m)`` of datasets ``(n, F)``, each at its tested values ``(n, m)``."""
        mean, log_root = self._moments(x)
        value = mu.to(x)[..., None]
        z = (self.parameters_.unit(value)[..., 0] - mean) * log_root.exp()
        compressed = z / (1 + z.abs() / _FAR)
        seen = torch.cat(
            [x[:, None].expand(-1, mu.shape[1], -1), self.parameters_(value), compressed[..., None]], dim=2
        )
        away = z.clamp(min=0.0) if self.upper else z
        parabola = _TURN**2 * (torch.sqrt(1 + (away / _TURN) ** 2) - 1)
        logit: Tensor = 3 * self.rest(seen)[..., 0] - parabola
        return logit - 0.5 * z.clamp(max=0.0) if self.upper else logit

    def statistic(self, features: Tensor, mu: Tensor) -> Tensor:
        """Return -2 times the logits of datasets ``(n, F)``, each at its value ``(n,)``, shape ``(n,)``."""
        logits: Tensor = self(self.scaled(features), mu[:, None])[:, 0]
        return -2.0 * logits.to(torch.float64)
