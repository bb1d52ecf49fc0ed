"""A network of our own that turns the image of a lens into numbers, first trained on single images.

It looks at the image along rings about the centre, so that an arc is a line, and the shape of the lens a slow change of
its radius with the angle; residual convolutions on the circle do the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import lenses
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["LensEncoder", "pretrained"]

_ANGLES, _RINGS = 48, 24
_INNERMOST, _OUTERMOST = 0.7, 3.15  # arc seconds
_CHANNELS = 64
_NUMBERS = 64  # of an image
_BATCH = 128
_HELD_OUT = 2000  # images


class _Residual(nn.Module):
    """What a dilated convolution on the circle and a mixing of channels add."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.GroupNorm(1, channels),
            nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation, padding_mode="circular"),
            nn.SiLU(),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(E, channels, angles)`` of the same."""
        changed: Tensor = x + self.change(x)
        return changed


class LensEncoder(nn.Module):
    """Turns images ``(E, 32, 32)`` into numbers ``(E, 64)``, each image by itself."""

    rings: Tensor

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        angle = torch.arange(_ANGLES) * (2 * math.pi / _ANGLES)
        radius = torch.linspace(_INNERMOST, _OUTERMOST, _RINGS)[:, None] / (lenses.SIDE / 2)
        rings = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)
        self.register_buffer("rings", rings[None].to(torch.float32), persistent=False)
        self.circle = nn.Sequential(
            nn.Conv1d(_RINGS, _CHANNELS, 3, padding=1, padding_mode="circular"),
            *[_Residual(_CHANNELS, dilation) for dilation in (1, 2, 4)],
            nn.GroupNorm(1, _CHANNELS),
            nn.SiLU(),
            nn.Conv1d(_CHANNELS, 16, 1),
        )
        self.whole = nn.Sequential(
            nn.Linear(16 * _ANGLES, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, _NUMBERS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers of images."""
        scaled = (x[:, None] - 0.2) / 0.3
        polar = nn.functional.grid_sample(scaled, self.rings.expand(len(x), -1, -1, -1), align_corners=False)
        numbers: Tensor = self.whole(self.circle(polar[:, 0]).flatten(1))
        return numbers


def pretrained(images: int, steps: int, seed: int) -> tuple[LensEncoder, list[dict[str, Any]]]:
    """Return an encoder that knows what single images tell of global and local parameters, and its history.

    It minimises minus the logarithm of normal distributions whose means and widths are linear in its numbers: of what
    is told by one image its sums over images should not lose anything, and learning that from single images is fast.

    Args:
        images: how many are simulated.
        steps: of the training.
        seed: fixes everything random.
    """
    x, targets = _simulated(images, seed)
    torch.manual_seed(seed)
    encoder = LensEncoder(lenses.EVENT_SHAPE)
    head = nn.Linear(_NUMBERS, 2 * targets.shape[1])
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.05)

    def losses(rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of each image, shape ``(n,)``, and by how much its means are off, ``(n, 6)``."""
        mean, log_width = head(encoder(x[rows])).chunk(2, dim=1)
        off = targets[rows] - mean
        return (log_width + 0.5 * (off / log_width.exp()) ** 2).sum(1), off

    history: list[dict[str, Any]] = []
    begin = time.process_time()
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        losses(torch.randint(_HELD_OUT, len(x), (_BATCH,)))[0].mean().backward()
        nn.utils.clip_grad_norm_([*encoder.parameters(), *head.parameters()], 10.0)
        optimizer.step()
        schedule.step()
        if step % max(steps // 20, 1) == 0:
            import sys

            print(step, file=sys.stderr) if not history else print(history[-1], file=sys.stderr)
            with torch.no_grad():
                parts = [losses(rows) for rows in torch.arange(_HELD_OUT).split(500)]
            value, off = (torch.cat(part) for part in zip(*parts, strict=True))
            entry = {"step": step, "seconds": time.process_time() - begin, "held_out_loss": value.mean().item()}
            history.append(
                {**entry, "off": off.square().mean(0).sqrt().tolist(), "typically": off.abs().median(0).values.tolist()}
            )
    return encoder.eval(), history


def _simulated(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images, shape ``(n, 32, 32)``, and all parameters of each in units of their spread, ``(n, 6)``."""
    rng = np.random.default_rng([seed, 1])
    globals_ = np.column_stack([prior.rvs(n, random_state=rng) for prior in lenses.PRIOR.values()])
    made = [lenses.sample_n(pars, 1, rng) for pars in globals_]
    parameters: NDArray[np.float64] = np.hstack([globals_, np.concatenate([local for _, local in made])])
    parameters = (parameters - parameters.mean(0)) / parameters.std(0)
    images = np.concatenate([image for image, _ in made]).astype(np.float32)
    return torch.from_numpy(images), torch.from_numpy(parameters.astype(np.float32))
