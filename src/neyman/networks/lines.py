"""Least squares: the linear functions from which a network starts to learn a mean and a width."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fitted_lines"]


def __dir__() -> list[str]:
    return __all__


_ROUNDS = 5  # of means and widths in turns
_LOG_SQUARE = -1.2704  # mean of the logarithm of the square of a standard normal number
_RIDGE = 1e-6
_ENOUGH = 20  # datasets for each coefficient


def fitted_lines(
    x: Tensor,
    v: Tensor,
    log_roots: tuple[float, float],
    of_width: Tensor | None = None,
    ends: Tensor | None = None,
    apart: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return means and logarithms of inverse widths that are linear, by weighted least squares in turns.

    Args:
        x: features, shape ``(n, F)``.
        v: what is to be told from them, shape ``(n, P)``.
        log_roots: the smallest and the largest logarithm of an inverse width.
        of_width: the features that a width depends on, positions in ``F``; all by default.
        ends: where the values end, shape ``(P, 2)``.
        apart: how many widths a mean has to be from either end to count, so that what the ends cut off is not missed;
            all count where there are too few.

    Returns:
        The coefficients, shape ``(F + 1, P)`` each, the constants last.

    Example:
        >>> import torch
        >>> x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
        >>> means, roots = fitted_lines(x, 2 * x + 1, (-3.0, 3.0))
        >>> means.ravel().round(decimals=3)
        tensor([2., 1.], dtype=torch.float64)
    """
    w, v = torch.cat([x.double(), torch.ones_like(x[:, :1], dtype=torch.float64)], dim=1), v.double()

    constant = torch.tensor([x.shape[1]], device=x.device)
    columns = torch.arange(w.shape[1], device=x.device) if of_width is None else torch.cat([of_width, constant])
    of_width = w[:, columns]

    def solved(w: Tensor, weighted: Tensor, values: Tensor) -> Tensor:
        matrix = weighted.T @ w
        matrix.diagonal().add_(_RIDGE * matrix.diagonal().mean())
        line: Tensor = torch.linalg.solve(matrix, weighted.T @ values)
        return line

    means, roots = (torch.zeros(w.shape[1], v.shape[1], dtype=w.dtype, device=w.device) for _ in range(2))
    for k in range(v.shape[1]):
        log_root, counts = torch.zeros_like(v[:, k]), torch.ones_like(v[:, k])
        for _ in range(_ROUNDS):
            means[:, k] = solved(w, w * (counts * torch.exp(2 * log_root))[:, None], v[:, k])
            squares = (v[:, k] - w @ means[:, k]) ** 2
            roots[columns, k] = solved(
                of_width, of_width * counts[:, None], 0.5 * (_LOG_SQUARE - torch.log(squares + _RIDGE**2))
            )
            log_root = (w @ roots[:, k]).clamp(*log_roots)
            mean = w @ means[:, k]
            if ends is not None:
                inside = torch.minimum(mean - ends[k, 0], ends[k, 1] - mean) >= apart * torch.exp(-log_root)
                if inside.sum() >= _ENOUGH * w.shape[1]:
                    counts = inside.to(w.dtype)
    return means, roots
