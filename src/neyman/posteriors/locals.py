"""What is local to each event: its posterior, given the event and the parameters, for draws of these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.interpolate
import scipy.special
import torch
from numpy.typing import NDArray

from neyman.exceptions import InvalidSimulation
from neyman.networks.local_posterior import LocalNetwork

__all__ = ["LocalCoordinates", "LocalPosterior"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_SCORES = np.linspace(-4.0, 4.0, 9)  # standard deviations, at whose probabilities the quantiles are
_GRID = np.linspace(-6.0, 6.0, 2401)  # of the map between them: so fine that it has no kinks
_STEEPEST = 1e-6  # of the range, for a standard deviation: what the map always rises
_CONSTANT = 1e-9
_ROWS = 200_000  # draws of single events in memory at a time


class LocalCoordinates:
    r"""Local parameters as the coordinates :math:`v` in which all that were simulated are about standard normal.

    The map goes smoothly through a few quantiles (monotonic cubic interpolation, F. N. Fritsch, R. E. Carlson, SIAM J.
    Numer. Anal. 17 (1980) 238), and ends where the simulation does: no draw is beyond.

    Args:
        knots: of each local parameter the lowest value, the quantiles and the highest value, shape ``(L, 11)``.

    Example:
        >>> import numpy as np
        >>> z = np.random.default_rng(0).uniform(0.5, 1.0, size=(10_000, 1))
        >>> coordinates = LocalCoordinates.of_values(("q",), z)
        >>> coordinates.of(np.array([[0.75]])).round(1).item(), coordinates.back(np.array([[-9.0]])).round(2).item()
        (0.0, 0.5)
    """

    def __init__(self, knots: Array) -> None:
        self.knots = np.asarray(knots, dtype=np.float64)
        self._tables = [_table(row[1:-1]) for row in self.knots]

    @classmethod
    def of_values(cls, names: Sequence[str], z: NDArray[np.floating]) -> LocalCoordinates:
        """Return the coordinates of local parameters like these.

        Args:
            names: of the local parameters.
            z: simulated values, shape ``(E, L)``.

        Raises:
            InvalidSimulation: if one is the same for all events.
        """
        values = np.asarray(z, dtype=np.float64)
        low, high = values.min(axis=0), values.max(axis=0)
        for name, lowest, highest in zip(names, low, high, strict=True):
            if highest - lowest <= _CONSTANT * abs(highest):
                raise InvalidSimulation(
                    f"the local parameter {name} is {lowest:g} for all {len(values)} events: leave it out of locals"
                )
        quantiles = np.quantile(values, scipy.special.ndtr(_SCORES), axis=0)
        return cls(np.concatenate([low[None], quantiles, high[None]]).T)

    def of(self, z: NDArray[np.floating]) -> Array:
        """Return the coordinates of local parameters, shape ``(..., L)``."""
        columns = [np.interp(z[..., k], table, _GRID) for k, table in enumerate(self._tables)]
        return np.stack(columns, axis=-1)

    def back(self, v: Array) -> Array:
        """Return the local parameters at coordinates, shape ``(..., L)``."""
        columns = [
            np.clip(np.interp(v[..., k], _GRID, table), row[0], row[-1])
            for k, (table, row) in enumerate(zip(self._tables, self.knots, strict=True))
        ]
        return np.stack(columns, axis=-1)


def _table(quantiles: Array) -> Array:
    """Return the values at the grid of a map that rises everywhere."""
    inner = np.clip(_GRID, _SCORES[0], _SCORES[-1])
    line = scipy.interpolate.PchipInterpolator(_SCORES, quantiles)
    slope = np.where(inner < 0, line.derivative()(_SCORES[0]), line.derivative()(_SCORES[-1]))
    rise = _STEEPEST * (quantiles[-1] - quantiles[0])
    return np.asarray(line(inner) + slope * (_GRID - inner) + rise * _GRID)


class LocalPosterior:
    r"""The posterior :math:`p(z_i | x_i, \theta, D)` of what is local to the events of a dataset.

    Args:
        names: the local parameters.
        network: the trained network.
        coordinates: of the local parameters.
    """

    def __init__(self, names: Sequence[str], network: LocalNetwork, coordinates: LocalCoordinates) -> None:
        self.names, self.network, self.coordinates = tuple(names), network, coordinates

    def sample(self, features: NDArray[np.float32], u: Array, summary: torch.Tensor, rng: np.random.Generator) -> Array:
        """Return one draw for every event and every point of the parameters, shape ``(n, N, L)``.

        Args:
            features: of the events, shape ``(N, d)``.
            u: coordinates of draws of the parameters, shape ``(n, P)``.
            summary: features of the summary of the dataset, shape ``(1, K)``.
            rng: the source of randomness.
        """
        n, events, local = len(u), len(features), len(self.names)
        out = np.empty((n, events, local))
        if not events:
            return out
        with torch.inference_mode():
            numbers = self.network.numbers(torch.from_numpy(np.ascontiguousarray(features)))
            context = self.network.summary(summary)
            points = torch.from_numpy(u.astype(np.float32))
            size = max(_ROWS // events, 1)
            for first in range(0, n, size):
                part = points[first : first + size]
                rows = (len(part), events)
                seen = self.network.joined(
                    numbers.expand(*rows, -1), part[:, None].expand(*rows, -1), context.expand(*rows, -1)
                )
                base = torch.from_numpy(rng.standard_normal((*rows, local)))
                v = self.network.draw(seen.flatten(0, 1), base.flatten(0, 1)).view(*rows, local).double().numpy()
                out[first : first + size] = self.coordinates.back(v)
        return out
