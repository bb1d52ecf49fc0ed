"""One dataset as the construction sees it: its test statistic and best fits as functions of the tested value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.inference.parameters import Bounds, Fixed, Start
from neyman.inference.profile import Profile
from neyman.inference.statistics import TestStatistic
from neyman.inference.throws import Settings
from neyman.model.impossible import checked_rates, why_impossible
from neyman.model.model import Model
from neyman.model.summary import Data, Summary
from neyman.support.checks import checked_source, checked_values

__all__ = ["Observed", "Tested", "asimov_data", "poi_profile", "wider_bounds", "without_signal"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_APPROACH = 1e-6  # of the uncertainty: so near to a value without support the conditional best fit is taken


def poi_profile(
    data: Data,
    model: Model,
    init: Start | None,
    bounds: Bounds | None,
    fixed: Fixed | None,
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
        if high <= 0.0:
            raise InvalidParameter(
                f"{model.config.poi_name} has the upper bound {high:g}, and this statistic takes no value below zero: "
                "give bounds, or a statistic that does (qmu or tmu)"
            )
        profile.bounds[poi] = low, high = max(low, 0.0), high
        profile.start[poi] = np.clip(profile.start[poi], low, high)
    return profile


def asimov_data(model: Model, pars: Array) -> Array:
    """Return the Asimov data at some parameters.

    Args:
        model: the model.
        pars: the parameters, shape ``(P,)``.

    Raises:
        InvalidParameter: if a bin has a negative rate there, so that no dataset is to be expected.
    """
    if hasattr(model, "rates"):  # any other likelihood has its own ways
        checked_rates(model, np.asarray(pars, dtype=np.float64)[None], "no Asimov dataset exists")
    return np.asarray(model.expected_data(pars))


def wider_bounds(observed: Observed) -> str:
    """Return what a user may write where the upper bound of the parameter of interest cuts a result off."""
    (low, high), name = observed.bounds, observed.name
    high = 2.0 * high if high > 0.0 else high + (high - low)
    return (
        f"for wider bounds write bounds: [[{low:g}, {high:g}]] for {name} among the measurement's parameters, or "
        f'bounds={{"{name}": ({low:g}, {high:g})}}'
    )


def without_signal(
    model: Model, pars: Array, bounds: list[tuple[float, float]], free: Profile, fixed: Mapping[str, float]
) -> Profile:
    """Return the profile likelihood of the Asimov dataset at parameters without signal.

    Args:
        model: the model.
        pars: the parameters, shape ``(P,)``.
        bounds: of the fits.
        free: a profile likelihood that tells which parameters are fixed.
        fixed: parameters held at a value.
    """
    start = np.where(free.fixed, pars, np.clip(pars, *np.array(bounds).T))
    return Profile(asimov_data(model, pars), model, start.tolist(), bounds, fixed)


@dataclass(frozen=True, eq=False)
class Tested:
    """A dataset at a tested value of the parameter of interest.

    Args:
        value: the tested value.
        pars: the parameters that the dataset is compared with: its conditional best fit there, shape ``(P,)``.
        statistic: its test statistic.
        seeds: of the toys that it is compared with: the user's, and labels.
    """

    __test__ = False  # for pytest, to which its name looks like tests

    value: float
    pars: Array
    statistic: float
    seeds: tuple[float, ...]

    @property
    def key(self) -> tuple[float, ...]:
        """What the toys that the dataset is compared with depend on, beside its parameters."""
        return (float(self.value), *self.seeds)


class Observed:
    """The test statistic in the observed data, as a function of the tested value.

    Args:
        data: the flat data vector.
        model: the model.
        statistic: the test statistic.
        init: starting values.
        bounds: bounds.
        fixed: parameters held at a value.
    """

    def __init__(
        self,
        data: Data,
        model: Model,
        statistic: TestStatistic,
        init: Start | None,
        bounds: Bounds | None,
        fixed: Fixed | None,
    ) -> None:
        self.model, self.test = model, statistic
        self.profile = poi_profile(data, model, init, bounds, fixed, bounded=statistic.bounded)
        self.fixed = self.profile.held
        self.poi, self.name = int(model.config.poi_index), str(model.config.poi_name)
        self.bounds = self.profile.bounds[self.poi]
        self._asimov: Profile | None = None
        learned = statistic.learned
        self._features = None if learned is None else learned.with_model(model).features(data)[None]

    @property
    def best(self) -> float:
        """The best-fit value of the parameter of interest."""
        return float(self.profile.best[0][self.poi])

    def at(self, value: float) -> Array:
        """Return all parameters at their conditional best fit, shape ``(P,)``.

        Where the likelihood is zero whatever the others are, as without signal where a bin with events has no
        background, it is the limit of the conditional best fits from the side of the best fit, or, if the likelihood
        is zero near the value too, the best fit itself with the parameter of interest moved to the value.
        """
        pars, twice_nll = self.profile.at({self.poi: value})
        if math.isinf(twice_nll):
            step = math.copysign(_APPROACH * self.profile.scale(self.poi), self.best - value)
            near, twice_nll = self.profile.at({self.poi: value + step})
            pars = (self.profile.best[0] if math.isinf(twice_nll) else near).copy()
            pars[self.poi] = value
        return pars

    def why_impossible(self, pars: Array) -> str:
        """Return why the likelihood of the data is zero at some parameters."""
        if not hasattr(self.model, "rates"):
            return "its likelihood is zero"
        return why_impossible(self.model, pars, self.profile.data) or "its likelihood is zero"

    def ratio(self, value: float) -> float:
        """Return -2 log of the profile likelihood ratio."""
        return self.profile.ratio({self.poi: value})

    def statistic(self, value: float) -> float:
        """Return the test statistic."""
        self.ratio(value)  # which may find a better maximum
        if self.test.learned is not None and self._features is not None:
            return float(self.test.learned.of_features(self._features, value)[0])
        _, minimum = self.profile.best
        _, conditional = self.profile.at({self.poi: value})
        return float(self.test.of_fits(value, self.best, minimum, conditional))

    def tested(self, values: Sequence[float], seed: int = 0) -> list[Tested]:
        """Return the data at tested values, each of which has toys of its own."""
        for value in values:
            self.ratio(value)  # a better maximum is to be found before anything is decided
        return [Tested(value, self.at(value), self.statistic(value), (seed, value)) for value in values]

    def checked(self, values: Any) -> Array:
        """Return tested values in ascending order.

        Raises:
            InvalidParameter: if they are not finite numbers within the bounds.
        """
        grid = np.unique(checked_values(values, f"the tested values of {self.name}"))
        low, high = self.bounds
        outside = grid[(grid < low) | (grid > high)]
        if outside.size:
            raise InvalidParameter(
                f"{self.name} is to be tested at {outside[0]:g}, outside its bounds ({low:g}, {high:g}): "
                "change either, as with bounds={...}"
            )
        return grid

    def root_asimov(self, value: float) -> float:
        """Return the tested value in standard deviations, from the Asimov dataset without signal."""
        if not self.test.bounded:
            return math.inf
        if self._asimov is None:
            background = self.at(max(0.0, self.bounds[0]))
            self._asimov = without_signal(self.model, background, self.profile.bounds, self.profile, self.fixed)
        return math.sqrt(self._asimov.ratio({self.poi: value}))

    def settings(self, source: str) -> Settings:
        """Return how toys are to be thrown and fitted."""
        bounds = tuple(self.profile.bounds)
        return Settings(self.poi, self.test, checked_source(source), bounds, self.fixed, self.name)

    def label(self) -> list[Any]:
        """Return what a checkpoint of toys depends on beside the model: the data, their fits, the test statistic."""
        data = self.profile.data
        values = [data.main, data.auxdata] if isinstance(data, Summary) else data
        label = [values, self.profile.bounds, self.fixed, self.profile.best, self.test.name]
        return label if self.test.learned is None else [*label, self.test.learned.digest()]
