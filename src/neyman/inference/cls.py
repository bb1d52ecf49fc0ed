"""CLs and its expected band as functions of the tested value: by the asymptotic formulas, or on toys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from pyhf.infer.calculators import AsymptoticTestStatDistribution

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.calibrations import Thrower
from neyman.inference.observed import Observed, Tested
from neyman.inference.parameters import Bounds, Fixed, Start
from neyman.inference.statistics import TIE, TestStatistic
from neyman.model.model import Model
from neyman.model.summary import Data

__all__ = ["AsymptoticCls", "Cls", "ToyCls", "asymptotic_cls"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_SIGMAS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
_DOUBLINGS = 40  # of the range of the parameter of interest, until the best fit lies inside


class Cls(Protocol):
    """CLs as a function of the tested value."""

    def curves(self, values: Sequence[float]) -> Array:
        """Return the observed CLs and the expected ones at -2 .. +2 sigma, shape ``(n, 6)``."""


class AsymptoticCls:
    """CLs by pyhf's asymptotic formulas, arXiv:1007.1727.

    The Asimov dataset is the model's expected data without signal, with the nuisance parameters as the data would have
    them there, as in pyhf.

    Args:
        data: the flat data vector.
        model: the model.
        statistic: the test statistic.
        init: starting values.
        bounds: bounds; the upper one of the parameter of interest is widened until the best fit lies inside.
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
        self._statistic = statistic
        self.data = _inside(data, model, statistic, init, bounds, fixed)
        self.name = self.data.name
        ends = any(channel.bounded for channel in getattr(model, "learned", {}).values())
        self.end = float(model.config.suggested_bounds()[self.data.poi][1]) if ends else None
        background, free = self.data.at(0.0), ~self.data.profile.fixed
        start = np.where(free, np.clip(background, *np.array(self.data.profile.bounds).T), background)
        widened = self.data.profile.bounds
        self.asimov = _inside(model.expected_data(background), model, statistic, start.tolist(), widened, fixed)

    def root_q_asimov(self, value: float) -> float:
        """Return the root of the test statistic on the Asimov dataset."""
        return math.sqrt(_q(self.asimov, value))

    def observed(self, value: float) -> float:
        """Return the observed CLs."""
        root, root_asimov = math.sqrt(_q(self.data, value)), self.root_q_asimov(value)
        # the statistic whose distribution is normal: arXiv:1007.1727, eqs. 57 and 66
        normal = root - root_asimov
        if self._statistic.bounded and root > root_asimov > 0.0:
            normal = (root**2 - root_asimov**2) / (2.0 * root_asimov)
        return float(asymptotic_cls(normal, root_asimov))

    def curves(self, values: Sequence[float]) -> Array:
        """Return the observed CLs and the expected ones at -2 .. +2 sigma, shape ``(n, 6)``."""
        # without signal the statistic is normal, and large where the data look least like signal
        return np.array(
            [[self.observed(value), *asymptotic_cls(-_SIGMAS, self.root_q_asimov(value))] for value in values]
        )


class ToyCls:
    """CLs on toys, what pyhf's toy calculator gives, by batches of toys.

    The toys are thrown at the tested value and at zero, with the nuisance parameters at their conditional best fits in
    the observed data. The same seeds serve every tested value: CLs is then a smoother function of it.

    Args:
        observed: the observed data.
        thrower: throws the toys.
        n_toys: of each hypothesis.
        seed: fixes the toys.
    """

    def __init__(self, observed: Observed, thrower: Thrower, n_toys: int, seed: int) -> None:
        self.data, self._thrower, self._n_toys, self._seed = observed, thrower, n_toys, seed
        if not observed.bounds[0] <= 0.0:
            low = observed.bounds[0]
            raise InvalidParameter(f"{observed.name} has the lower bound {low:g}: CLs needs toys without signal")

    def curves(self, values: Sequence[float]) -> Array:
        """Return the observed CLs and the expected ones at -2 .. +2 sigma, shape ``(n, 6)``."""
        given = [float(value) for value in values]
        self.data.checked(given)
        at_values = self.data.tested(given)
        background = self.data.at(0.0)
        with_signal, without = (
            [Tested(one.value, one.pars if signal else background, one.statistic, (self._seed, signal))
             for one in at_values]
            for signal in (1, 0)
        )  # fmt: skip
        toys = self._thrower.toys([*with_signal, *without], self._n_toys)
        rows = []
        for signal, no_signal in zip(with_signal, without, strict=True):
            both = np.sort(toys[signal.key]), np.sort(toys[no_signal.key])
            # as pyhf: CLs of every toy without signal, then the quantiles of that
            expected = np.quantile(_toy_cls(both[1], *both), scipy.stats.norm.cdf(_SIGMAS))
            rows.append([*_toy_cls(np.array([signal.statistic]), *both), *expected])
        return np.array(rows)


def asymptotic_cls(normal: float | Array, root_asimov: float) -> Array:
    """Return CLs, pyhf's p-value with signal over the one without.

    Args:
        normal: the test statistic in the form that is normal without signal.
        root_asimov: the root of the test statistic on the Asimov dataset.
    """
    with_signal = AsymptoticTestStatDistribution(-root_asimov).pvalue(normal)
    without = AsymptoticTestStatDistribution(0.0).pvalue(normal)
    return np.asarray(np.divide(with_signal, without, out=np.zeros_like(without), where=without > 0.0))


def _toy_cls(values: Array, with_signal: Array, without: Array) -> Array:
    """Return CLs at values of the statistic, from its values in toys of either hypothesis, in ascending order."""
    p_with = 1.0 - np.searchsorted(with_signal, values - TIE, side="left") / with_signal.size
    p_without = 1.0 - np.searchsorted(without, values - TIE, side="left") / without.size
    return np.asarray(np.divide(p_with, p_without, out=np.zeros_like(p_with), where=p_without > 0.0))


def _q(observed: Observed, value: float) -> float:
    """Return q of arXiv:1007.1727, eq. 14 or 16, without a fit where it is zero."""
    return 0.0 if observed.best > value else observed.statistic(value)


def _inside(
    data: Data, model: Model, statistic: TestStatistic, init: Start | None, bounds: Bounds | None, fixed: Fixed | None
) -> Observed:
    """Return the data with a range of the parameter of interest that is wide enough for the best fit to lie inside."""
    observed = Observed(data, model, statistic, init, bounds, fixed)
    for _ in range(_DOUBLINGS):
        low, high = observed.bounds
        if not math.isfinite(high - low) or observed.best < high - 1e-3 * (high - low):
            return observed
        wider = list(observed.profile.bounds)
        wider[observed.poi] = (low, 2.0 * high)
        observed = Observed(data, model, statistic, init, wider, fixed)
    raise FailedFit(f"the best-fit {observed.name} is beyond {high:g}: does the signal's rate grow with it?")
