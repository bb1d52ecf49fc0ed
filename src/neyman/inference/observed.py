"""One dataset as the construction sees it: its test statistic and best fits as functions of the tested value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.inference.learned_statistic import LearnedStatistic
from neyman.inference.parameters import Bounds, Start
from neyman.inference.profile import Profile
from neyman.inference.statistics import is_bounded, statistic
from neyman.inference.throws import Settings
from neyman.support.checks import checked_source

__all__ = ["Observed", "poi_profile"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


def poi_profile(
    data: Any,
    model: Any,
    init: Start | None,
    bounds: Bounds | None,
    fixed: Mapping[str, float] | None,
    *,
    bounded: bool,
) -> Profile:
    """Return the profile likelihood of a dataset whose parameter of interest is free.

    Args:
        data: the flat data vector, shape ``(N,)``.
        model: the model.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        bounded: whether the parameter of interest must not be below zero.

    Raises:
        InvalidParameter: if there is no parameter of interest, or it is fixed.
    """
    if model.config.poi_index is None:
        raise InvalidParameter("the model has no parameter of interest: name one as the measurement's poi")
    poi = int(model.config.poi_index)
    profile = Profile(data, model, init, bounds, fixed)
    if profile.fixed[poi]:
        raise InvalidParameter(
            f"{model.config.poi_name} is fixed and is the parameter of interest: leave it out of fixed"
        )
    if bounded:
        low, high = profile.bounds[poi]
        profile.bounds[poi] = low, high = max(low, 0.0), max(high, 1e-3)
        profile.start[poi] = np.clip(profile.start[poi], low, high)
    return profile


class Observed:
    """The test statistic in the observed data, as a function of the tested value.

    Args:
        data: the flat data vector.
        model: the model.
        test_stat: the test statistic.
        init: starting values.
        bounds: bounds.
        fixed: parameters held at a value.
        learned: the learned test statistic, if it is that.
    """

    def __init__(
        self,
        data: Any,
        model: Any,
        test_stat: str,
        init: Start | None,
        bounds: Bounds | None,
        fixed: Mapping[str, float] | None,
        learned: LearnedStatistic | None = None,
    ) -> None:
        self.model, self.test_stat = model, test_stat
        self.fixed = {name: float(value) for name, value in (fixed or {}).items()}
        self.profile = poi_profile(data, model, init, bounds, fixed, bounded=is_bounded(test_stat))
        self.poi, self.name = int(model.config.poi_index), str(model.config.poi_name)
        self.bounds = self.profile.bounds[self.poi]
        self._asimov: Profile | None = None
        self.learned = learned
        self._features = None if learned is None else learned.with_model(model).features(data)[None]

    @property
    def best(self) -> float:
        """The best-fit value of the parameter of interest."""
        return float(self.profile.best[0][self.poi])

    def at(self, value: float) -> Array:
        """Return all parameters at their conditional best fit, shape ``(P,)``."""
        return self.profile.at({self.poi: value})[0]

    def ratio(self, value: float) -> float:
        """Return -2 log of the profile likelihood ratio."""
        return self.profile.ratio({self.poi: value})

    def statistic(self, value: float) -> float:
        """Return the test statistic."""
        self.ratio(value)  # which may find a better maximum
        if self.learned is not None and self._features is not None:
            return float(self.learned.of_features(self._features, value)[0])
        _, minimum = self.profile.best
        _, conditional = self.profile.at({self.poi: value})
        return float(statistic(self.test_stat, value, self.best, minimum, conditional))

    def root_asimov(self, value: float) -> float:
        """Return the tested value in standard deviations, from the Asimov dataset without signal."""
        if not is_bounded(self.test_stat):
            return math.inf
        if self._asimov is None:
            without = self.at(max(0.0, self.bounds[0]))
            start = np.clip(without, *np.array(self.profile.bounds).T)
            start[self.profile.fixed] = without[self.profile.fixed]
            data = self.model.expected_data(without)
            self._asimov = Profile(data, self.model, start.tolist(), self.profile.bounds, self.fixed)
        return math.sqrt(self._asimov.ratio({self.poi: value}))

    def settings(self, source: str) -> Settings:
        """Return how toys are to be thrown and fitted."""
        bounds = tuple(self.profile.bounds)
        return Settings(self.poi, self.test_stat, checked_source(source), bounds, self.fixed, self.name, self.learned)

    def label(self) -> list[Any]:
        """Return what tells these data and fits from others."""
        label = [self.profile.names, self.profile.bounds, self.fixed, self.profile.best]
        return label if self.learned is None else [*label, self.learned.digest()]
