"""The likelihood that a posterior implies, as a model: its normal approximation divided by its prior."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inputs.simulator import Simulator
from neyman.model.channel import Asimov, Packed
from neyman.model.model import Model
from neyman.model.setwise import SetChannel
from neyman.model.setwise_ratio import positive
from neyman.model.sources import SimulatorSource
from neyman.networks.averages import AverageEncoder, AverageHead

if TYPE_CHECKING:
    from neyman.posteriors.posterior import Posterior

__all__ = ["PosteriorChannel", "implied_model"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_STEP = 1e-4  # of a parameter's range: for the slope of the prior
_POINTS = 32  # that the moments of a dataset are taken with, of which there may be many
_EVENTS = 20_000  # of an Asimov dataset, about


class PosteriorChannel(SetChannel):
    r"""A channel of events whose log-ratio is :math:`-\tfrac12 (\theta - m)^T C^{-1} (\theta - m) - \log p(\theta)`.

    ``m`` and ``C`` are mean and covariance of the posterior, which are taken once for each dataset, and ``p`` is its
    prior. The summary of a dataset has them in the place of sums, and so two of them do not add.

    Args:
        posterior: the posterior.
        simulator: the simulator it was trained on.
    """

    def __init__(self, posterior: Posterior, simulator: Simulator) -> None:
        encoder = AverageEncoder([posterior.network.encoder])
        encoder.additive = False
        low, high = posterior.bounds.T.copy()
        super().__init__(
            posterior.channel, posterior.kind, simulator.columns, low, high, encoder, AverageHead([], []),
            posterior.numbers, SimulatorSource(simulator),
        )  # fmt: skip
        self.posterior = posterior

    def __repr__(self) -> str:
        return f"PosteriorChannel({self.name}: {self.posterior!r})"

    def encode_many(
        self, features: NDArray[np.float32], offsets: NDArray[np.int64], weights: Array | None = None
    ) -> Array:
        """Return means, inverse covariances and numbers of events of many datasets, shape ``(n, P + P^2 + 1)``."""
        sums = self.posterior.encode_many(features, offsets, weights)
        means, covariances = self.posterior.moments(sums, _POINTS)
        return np.concatenate([means, np.linalg.inv(covariances).reshape(len(sums), -1), sums[:, -1:]], axis=1)

    def with_simulator(self, simulator: Simulator) -> PosteriorChannel:
        """Return the channel with its simulator at hand."""
        super().with_simulator(simulator)  # which checks it
        return PosteriorChannel(self.posterior, simulator)

    def digest(self) -> bytes:
        """Return a hash of the posterior."""
        return hashlib.sha256(f"posterior {self.posterior.fingerprint}".encode()).digest()

    def asimov(self) -> Asimov:
        """Return what simulates many datasets of the parameters, each with its share of the weight."""
        return self.simulation().asimov(_EVENTS)

    def pack(self) -> Packed:
        """Refuse to be saved: the posterior has a file of its own."""
        raise Unsupported(
            f"channel {self.name}: the model of a posterior has no file: save the posterior, and make the model of it "
            "again"
        )

    def _scored(self, sums: Array, points: Array, curved: bool) -> tuple[Array, Array, Array]:
        p = points.shape[1]
        inverse = sums[:, p : p + p * p].reshape(-1, p, p)
        apart = points - sums[:, :p]
        pull = np.einsum("nij,nj->ni", inverse, apart)
        prior, slope, curvature = self._prior(points)
        information = inverse + curvature[:, :, None] * np.eye(p)
        value = -0.5 * np.einsum("ni,ni->n", apart, pull) - prior
        return value, -pull - slope, positive(information, self.high - self.low)

    def _prior(self, points: Array) -> tuple[Array, Array, Array]:
        """Return the logarithm of the prior, shape ``(n,)``, and its first and second derivatives, ``(n, P)`` both."""
        value, slope, curvature = np.zeros(len(points)), np.zeros(points.shape), np.zeros(points.shape)
        for k, one in enumerate(self.posterior.prior.values()):
            step = _STEP * (self.high[k] - self.low[k])
            inside = np.clip(points[:, k], self.low[k] + step, self.high[k] - step)
            below, here, above = (one.logpdf(inside + shift) for shift in (-step, 0.0, step))
            slope[:, k] = (above - below) / (2.0 * step)
            curvature[:, k] = (above - 2.0 * here + below) / step**2
            value += here + (points[:, k] - inside) * slope[:, k]
        return value, slope, curvature


def implied_model(posterior: Posterior, simulator: Simulator) -> Model:
    """Return the model that a posterior implies; see :meth:`Posterior.model`."""
    for what, mine, theirs in (
        ("parameters", posterior.names, simulator.names),
        ("features", posterior.features, simulator.features),
        ("channel", (posterior.channel,), (simulator.channel,)),
        ("bounds", tuple(map(tuple, posterior.bounds)), tuple(map(tuple, simulator.bounds))),
    ):
        if tuple(mine) != tuple(theirs):
            raise InvalidParameter(
                f"the simulator has the {what} {', '.join(map(str, theirs))}, but that of the posterior "
                f"{', '.join(map(str, mine))}: give the simulator that it was trained on"
            )
    channel = PosteriorChannel(posterior, simulator)
    return Model(posterior.spec, {channel.name: channel}, poi_name=simulator.poi, provenance=posterior.provenance)
