"""A learned test statistic: a classifier of datasets by the value of the parameter of interest; no fit is needed."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter
from neyman.inference.fixed_features import dataset_features, toy_features
from neyman.inference.parameters import values_to_test
from neyman.model.summary import Summary
from neyman.model.toys import Toys
from neyman.networks.statistic import StatisticNetwork
from neyman.support.archives import Archive, joined, split

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["LearnedStatistic"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_FILE = Archive("file of a learned statistic", InvalidParameter, "train one with neyman.train_statistic")


@dataclass(frozen=True, eq=False)
class LearnedStatistic:
    r"""A test statistic learned from simulated datasets, by :func:`neyman.train_statistic`.

    :math:`t_{\mu_0}(D) = -2 \log \hat r(D, \mu_0)`, with :math:`\hat r` the ratio of the probabilities of :math:`D` at
    :math:`\mu_0` and at values apart from it, each averaged over the nuisance parameters, up to a function of
    :math:`\mu_0`. It is the larger the less a dataset is compatible with :math:`\mu_0`, and not distributed by any
    formula: only toys can calibrate it.

    Args:
        names: the parameters, in the model's order, shape ``(P,)``.
        poi: position of the parameter of interest.
        side: ``"both"``, or ``"upper"`` where the alternatives are smaller values alone.
        values: lowest and highest tested value.
        box: where datasets were thrown, shape ``(P, 2)``.
        delta: smallest and largest distance of the alternatives, or ``None`` where it is relative to the uncertainty.
        references: parameters at which events of a mixture are summarised, shape ``(R, P)``.
        fingerprint: the model's.
        network: the network.
        history: per stage its name, losses in training and validation, and seconds.
        auc: of held-out datasets, the probability that one of the alternatives has the larger value.
        reliability: of held-out datasets in ten bins of the learned probability of the tested value: its mean, the
            fraction for which it is true, and the error of that, shape ``(3, 10)``.
        n_datasets: how many it was trained on.
        seed: of the training.
        model: the model, if it is at hand; it is not saved.
    """

    names: tuple[str, ...]
    poi: int
    side: str
    values: tuple[float, float]
    box: Array
    delta: tuple[float, float] | None
    references: Array
    fingerprint: str
    network: StatisticNetwork = field(repr=False)
    history: tuple[dict[str, Any], ...]
    auc: float
    reliability: Array
    n_datasets: int
    seed: int
    model: Model | None = None

    def evaluate(self, data: Any, value: ArrayLike) -> Array:
        """Return the test statistic: the larger, the less compatible a dataset is with the tested value.

        Args:
            data: toys, as from :func:`neyman.model.toys.draw`; or one dataset: a flat data vector or a
                :class:`neyman.Summary`.
            value: the tested value, or one for each toy, shape ``(n,)``.

        Returns:
            Shape ``(n,)``; of one dataset and many values, one for each.

        Raises:
            InvalidParameter: for a value outside the range, a dataset of another model, or one dataset if the model is
                not at hand.
        """
        if isinstance(data, Toys):
            self.belongs_to(data.model)
            features = toy_features(data, self.references)
        else:
            features = self.features(data)[None]
        return self.of_features(features, value)

    def of_features(self, features: Array, value: ArrayLike) -> Array:
        """Return the test statistic from the features of datasets, shape ``(n, F)``; see :meth:`evaluate`."""
        tested = self.checked_values(value)
        n = max(len(features), tested.size)
        x = np.broadcast_to(features, (n, features.shape[1]))
        with torch.inference_mode():
            mu = torch.from_numpy(np.broadcast_to(tested, (n,)).copy())
            found: Array = self.network.statistic(torch.from_numpy(x.copy()), mu).numpy()
        return found

    def with_model(self, model: Any) -> LearnedStatistic:
        """Return the statistic with its model at hand.

        Raises:
            InvalidParameter: if it was trained for another model.
        """
        self.belongs_to(model)
        return dataclasses.replace(self, model=model)

    def belongs_to(self, model: Any) -> None:
        """Make sure that this is a statistic of a model and of its parameter of interest.

        Raises:
            InvalidParameter: if it is not.
        """
        if self.names != tuple(model.config.par_names) or self.fingerprint != model.fingerprint:
            raise InvalidParameter("the statistic was trained for another model: train it for this one")
        if model.config.poi_index != self.poi:
            raise InvalidParameter(
                f"the statistic is for {self.names[self.poi]}, not for {model.config.poi_name}: train one for it"
            )

    def digest(self) -> str:
        """Return a hash of the model and of the network's weights."""
        digest = hashlib.sha256(self.fingerprint.encode())
        for value in self.network.state_dict().values():
            digest.update(value.numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the statistic to a file, which :meth:`load` reads; the model is not in it.

        Args:
            path: the file, completely written or not at all.
        """
        header, arrays = split(self)
        del header["network"], header["model"]
        header["hidden"] = self.network.hidden
        _FILE.write(path, header, arrays, self.network.state_dict())

    @classmethod
    def load(cls, path: str | Path, model: Model | None = None) -> LearnedStatistic:
        """Return the statistic of a file; reading one runs no code.

        Args:
            path: the file.
            model: the model, if the statistic of single datasets is to be evaluated.

        Raises:
            InvalidParameter: if there is none, it holds something else, or it was trained for another model.
        """
        with _FILE.read(path) as (_, header, arrays, weights):
            values = joined(header, arrays)
            ends = weights["parameters_.low"], weights["parameters_.high"]
            with torch.random.fork_rng(devices=[]):  # the user's own random numbers stay as they are
                network = StatisticNetwork(
                    weights["centre"], weights["scale"], *ends, upper=values["side"] == "upper",
                    hidden=values.pop("hidden"),
                )  # fmt: skip
            network.load_state_dict(weights)
            found = cls(**values, network=network.eval().requires_grad_(False))
        return found if model is None else found.with_model(model)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "model": None}  # it travels to other processes by itself

    def __repr__(self) -> str:
        low, high = self.values
        sides = "smaller values" if self.side == "upper" else "values on both sides"
        mean, fraction, error = self.reliability
        worst = np.max(np.abs(fraction - mean) / error, where=error > 0, initial=0.0)
        return (
            f"LearnedStatistic of {self.names[self.poi]} from {low:g} to {high:g} against {sides}; "
            f"{self.n_datasets} datasets, held-out AUC {self.auc:.3f}, "
            f"largest pull of the learned probabilities {worst:.1f}"
        )

    def features(self, data: Any) -> Array:
        """Return what the network sees of one dataset, shape ``(F,)``; see :meth:`evaluate`."""
        if self.model is None:
            raise InvalidParameter("the statistic of a dataset needs its model: use with_model(model), or give toys")
        if isinstance(data, Summary):
            if data.model != self.fingerprint:
                raise InvalidParameter("the summary was made by another model: encode the dataset with this one")
            summary = data
        else:
            summary = self.model.encode(self.model.ensemble(data))
        return dataset_features(self.model, summary.main, summary.auxdata, summary.channels, self.references)

    def checked_values(self, value: ArrayLike) -> Array:
        """Return tested values, shape ``(m,)``.

        Raises:
            InvalidParameter: if one is outside the range.
        """
        return values_to_test(value, self.values, self.names[self.poi], "statistic", "there")
