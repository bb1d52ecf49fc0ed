"""The test statistic of a posterior: how far its mean is from a value, in units of its width; WALDO."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inference.parameters import values_to_test
from neyman.model.summary import Summary
from neyman.model.toys import Toys
from neyman.posteriors.posterior import Posterior

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["Waldo"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_POINTS = 32  # that the moments of a dataset are taken with: whatever they are, they are the same in data and toys


@dataclass(frozen=True, eq=False)
class Waldo:
    r"""The Wald statistic of an amortised posterior, for ``test_stat="waldo"`` (Masserano et al., arXiv:2205.15680).

    .. math:: t_{\mu_0}(D) = \frac{(\mathrm{E}[\mu | D] - \mu_0)^2}{\mathrm{V}[\mu | D]}

    Equation 6 there, of the parameter of interest alone; the other parameters are averaged over by the posterior.
    Whatever its prior and its flow say, intervals cover once toys calibrate it: a good posterior makes them short, and
    it must only not be blind to the parameter. It sees the events of its own channel and no auxiliary data.

    Args:
        posterior: the posterior, from :func:`neyman.train_posterior`.
        names: the model's parameters.
        poi: position of the parameter of interest among them.
        values: lowest and highest value that can be tested: those of the posterior's training.
        model: the model, if it is at hand; it does not travel to other processes.
    """

    posterior: Posterior
    names: tuple[str, ...]
    poi: int
    values: tuple[float, float]
    model: Model | None = None
    side: str = "both"

    @classmethod
    def of(cls, posterior: Posterior, model: Model) -> Waldo:
        """Return the statistic for a model and its parameter of interest.

        Args:
            posterior: the posterior.
            model: the model; its toys have the events that the posterior takes.

        Raises:
            InvalidParameter: if the posterior is not of a channel of the model, or knows nothing of its parameter of
                interest.
        """
        poi = model.config.poi_index
        if poi is None:
            raise InvalidParameter("the model has no parameter of interest: name one by model.config.set_poi")
        names = tuple(model.config.par_names)
        low, high = dict(zip(posterior.names, posterior.bounds.tolist(), strict=True)).get(names[poi], (0.0, 0.0))
        found = cls(posterior, names, int(poi), (low, high))
        found.belongs_to(model)
        return found

    def belongs_to(self, model: Any) -> None:
        """Make sure that the posterior is of a channel of a model, and knows its parameter of interest.

        Raises:
            InvalidParameter: if it is not.
        """
        posterior, channel = self.posterior, getattr(model, "learned", {}).get(self.posterior.channel)
        if channel is None or not channel.owns_number:
            raise InvalidParameter(
                f"the posterior takes events of the channel {posterior.channel}, which the model has not learned "
                "from a simulator: give the posterior of the model's simulator"
            )
        # of events with a shape, a name for each number
        if posterior.event_shape is None and tuple(channel.features) != posterior.features:
            raise InvalidParameter(
                f"the posterior takes the features {', '.join(posterior.features)}, but the model's channel "
                f"{posterior.channel} has {', '.join(channel.features)}: give the posterior of the model's simulator"
            )
        name = str(model.config.poi_name)
        if name not in posterior.names:
            raise InvalidParameter(
                f"the posterior is of {', '.join(posterior.names)}, not of the parameter of interest {name}"
            )
        if model.config.poi_index != self.poi or self.names != tuple(model.config.par_names):
            raise InvalidParameter("the statistic was made for another model: make it for this one")

    def with_model(self, model: Any) -> Waldo:
        """Return the statistic with its model at hand."""
        self.belongs_to(model)
        return dataclasses.replace(self, model=model)

    def evaluate(self, data: Toys, value: ArrayLike) -> Array:
        """Return the statistic of many toys, shape ``(n,)``.

        Args:
            data: the toys.
            value: the tested value, or one for each toy, shape ``(n,)``.

        Raises:
            InvalidParameter: for a value outside the range.
        """
        toys = data.events[self.posterior.channel]
        return self.of_features(self._moments(toys.features, toys.offsets), value)

    def features(self, data: Any) -> Array:
        """Return mean and variance of one dataset, shape ``(2,)``."""
        if self.model is None:
            raise InvalidParameter("the statistic of a dataset needs its model: use with_model(model), or give toys")
        if isinstance(data, Summary):
            raise Unsupported("the posterior sees events, which the summary of another network has not: give the data")
        events = self.model.ensemble(data).events[self.posterior.channel]
        found: Array = self._moments(events.features, np.array([0, len(events)]), events.weights)[0]
        return found

    def of_features(self, features: Array, value: ArrayLike) -> Array:
        """Return the statistic from means and variances, shape ``(n, 2)``; see :meth:`evaluate`."""
        mean, variance = features.T
        return np.asarray((mean - self.checked_values(value)) ** 2 / variance)

    def checked_values(self, value: ArrayLike) -> Array:
        """Return tested values, shape ``(m,)``.

        Raises:
            InvalidParameter: if one is outside the range.
        """
        return values_to_test(value, self.values, self.names[self.poi], "posterior", "with wider bounds")

    def digest(self) -> str:
        """Return a hash of the posterior, for the checkpoints of toys."""
        return self.posterior.fingerprint

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "model": None}  # it travels to other processes by itself

    def _moments(self, events: NDArray[np.float32], offsets: NDArray[np.int64], weights: Array | None = None) -> Array:
        """Return the mean and the variance of the parameter of interest in many datasets, shape ``(n, 2)``."""
        sums = self.posterior.encode_many(events, offsets, weights)
        means, covariances = self.posterior.moments(sums, _POINTS)
        k = self.posterior.names.index(self.names[self.poi])
        return np.stack([means[:, k], covariances[:, k, k]], axis=1)
