"""CLs and its expected band as functions of the tested value: by the asymptotic formulas, or on toys."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import scipy.special
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter
from neyman.inference.calibrations import Thrower
from neyman.inference.observed import Observed, Tested, asimov_data
from neyman.inference.parameters import Bounds, Fixed, Start, checked_parameters
from neyman.inference.statistics import TIE, TestStatistic
from neyman.inference.throws import can_throw
from neyman.inference.worst import across, spent
from neyman.model.model import Model
from neyman.model.summary import Data

__all__ = ["AsymptoticCls", "ToyCls", "asymptotic_cls", "without_upper_bound"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_SIGMAS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


class AsymptoticCls:
    """CLs by the asymptotic formulas of arXiv:1007.1727, with pyhf's choice of the Asimov dataset.

    That is the model's expected data without signal, with the nuisance parameters as the data would have them there.

    Args:
        data: the flat data vector.
        model: the model.
        statistic: the test statistic.
        init: starting values.
        bounds: bounds; the upper one of the parameter of interest does not count.
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
        self._bounded = statistic.bounded
        self.data = Observed(data, model, statistic, init, without_upper_bound(model, bounds), fixed)
        self.name, limits = self.data.name, self.data.profile.bounds
        self.end = _end_of_networks(model)
        background, free = self.data.at(0.0), ~self.data.profile.fixed
        start = np.where(free, np.clip(background, *np.array(limits).T), background).tolist()
        self.asimov = Observed(asimov_data(model, background), model, statistic, start, limits, fixed)

    def root_q_asimov(self, value: float) -> float:
        """Return the root of the test statistic on the Asimov dataset, infinite where that is impossible."""
        return math.sqrt(_q(self.asimov, value))

    def observed(self, value: float) -> float:
        """Return the observed CLs."""
        q, root_asimov = _q(self.data, value), self.root_q_asimov(value)
        # the statistic whose distribution is normal: arXiv:1007.1727, eqs. 57 and 66
        normal = math.sqrt(q) - root_asimov
        if math.isinf(q):
            return 0.0
        if math.isinf(root_asimov):  # any signal would be seen without one
            return float(scipy.stats.norm.sf(math.sqrt(q)))
        if self._bounded and math.sqrt(q) > root_asimov:
            if root_asimov == 0.0:
                return math.exp(-0.5 * q)  # the limit of what follows
            normal = (q - root_asimov**2) / (2.0 * root_asimov)
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

    With the worst nuisance parameters the p-value with signal is the largest of their confidence region
    (:func:`neyman.inference.worst.across`). The one without signal stays that of the best fit: it is at most one, so
    that whatever it is CLs excludes the truth no more often than the p-value with signal does.

    Args:
        observed: the observed data.
        thrower: throws the toys.
        n_toys: of each hypothesis, and with it of each point of the region.
        seed: fixes the toys.
        worst: whether the nuisance parameters with signal are the worst ones.
    """

    def __init__(self, observed: Observed, thrower: Thrower, n_toys: int, seed: int, worst: bool = False) -> None:
        self.data, self._thrower, self._n_toys, self._seed, self._worst = observed, thrower, n_toys, seed, worst
        if not observed.bounds[0] <= 0.0:
            low = observed.bounds[0]
            raise InvalidParameter(f"{observed.name} has the lower bound {low:g}: CLs needs toys without signal")

    def curves(self, values: Sequence[float]) -> Array:
        """Return the observed CLs and the expected ones at -2 .. +2 sigma, shape ``(n, 6)``."""
        given = [float(value) for value in values]
        self.data.checked(given)
        model, source = self.data.model, self._thrower.settings.source
        # a value at which no dataset can exist is excluded by all of them
        at_values = [one for one in self.data.tested(given) if can_throw(model, one.pars, source)]
        background = self.data.at(0.0)
        with_signal, without = (
            [Tested(one.value, one.pars if signal else background, one.statistic, (self._seed, signal))
             for one in at_values]
            for signal in (1, 0)
        )  # fmt: skip
        points = [self._points(one) for one in with_signal]
        toys = self._thrower.toys([*itertools.chain(*points), *without], self._n_toys)
        ordered = {key: np.sort(values) for key, values in toys.items()}
        rows = {}
        for signal, no_signal in zip(points, without, strict=True):
            both = [ordered[one.key] for one in signal], ordered[no_signal.key]
            gamma = spent(self._n_toys) if self._worst else 0.0
            # as pyhf: CLs of every toy without signal, then the quantiles of that
            expected = np.quantile(_toy_cls(both[1], *both, gamma), scipy.stats.norm.cdf(_SIGMAS))
            rows[no_signal.value] = [*_toy_cls(np.array([no_signal.statistic]), *both, gamma), *expected]
        return np.array([rows.get(value, [0.0] * (1 + _SIGMAS.size)) for value in given])

    def _points(self, one: Tested) -> list[Tested]:
        """Return the data at a tested value, at each point where toys with signal are thrown."""
        if not self._worst or math.isinf(one.statistic):
            return [one]
        return across(self.data, self._thrower, one, self._n_toys)


def without_upper_bound(model: Model, bounds: Bounds | None) -> list[tuple[float, float]]:
    """Return the bounds of all parameters, without the upper one of the parameter of interest.

    An upper limit, and the best fit that it compares with, may lie beyond what the model suggests. A network that was
    trained for a range of the parameter is not used beyond it.
    """
    limits = checked_parameters(model, bounds=bounds).bounds
    poi = model.config.poi_index
    if poi is not None:
        end = _end_of_networks(model)
        limits[poi] = limits[poi][0], math.inf if end is None else end
    return limits


def asymptotic_cls(normal: ArrayLike, root_asimov: float) -> Array:
    r"""Return CLs, the p-value with signal over the one without: :math:`\Phi(-x - r) / \Phi(-x)`.

    The ratio is that of pyhf's p-values, also where these are too small to be told from zero.

    Args:
        normal: the test statistic in the form that is normal without signal, :math:`x`.
        root_asimov: the root of the test statistic on the Asimov dataset, :math:`r`.

    Example:
        >>> asymptotic_cls([0.0, 60.0], 2.0).round(4)
        array([0.0455, 0.    ])
        >>> float(asymptotic_cls(60.0, 0.05).round(4))  # both p-values are zero in floating point
        0.0497
    """
    x = np.asarray(normal, dtype=np.float64)
    if math.isinf(root_asimov):
        return np.zeros_like(x)
    far = x > 0.0  # there the tails are exp(-x^2 / 2) times a smooth function
    a, b = np.where(far, x + root_asimov, 0.0), np.where(far, x, 0.0)
    tails = scipy.special.erfcx(a / math.sqrt(2.0)) / scipy.special.erfcx(b / math.sqrt(2.0))
    beyond = np.exp(-0.5 * root_asimov * (a + b)) * tails
    return np.asarray(
        np.where(far, beyond, scipy.special.ndtr(-x - root_asimov) / scipy.special.ndtr(-np.minimum(x, 0.0)))
    )


def _toy_cls(values: Array, with_signal: Sequence[Array], without: Array, gamma: float) -> Array:
    """Return CLs at values of the statistic, from its values in toys of either hypothesis, in ascending order.

    With several sets of toys with signal the largest p-value counts, and ``gamma`` more; CLs is then at most one.
    """
    *p_with_signal, p_without = (
        1.0 - np.searchsorted(toys, values - TIE, side="left") / toys.size for toys in (*with_signal, without)
    )
    p_with = np.max(p_with_signal, axis=0)
    p_with = np.where(p_with > 0.0, np.minimum(p_with + gamma, 1.0), 0.0)
    found = np.divide(p_with, p_without, out=np.zeros_like(p_with), where=p_without > 0.0)
    return np.asarray(np.minimum(found, 1.0) if gamma else found)  # the largest may exceed the one without signal


def _q(observed: Observed, value: float) -> float:
    """Return q of arXiv:1007.1727, eq. 14 or 16, without a fit where it is zero."""
    return 0.0 if observed.best > value else observed.statistic(value)


def _end_of_networks(model: Model) -> float | None:
    """Return where the training of networks that know only a range of the parameter of interest ended, if any do."""
    if not any(channel.bounded for channel in getattr(model, "learned", {}).values()):
        return None
    return float(model.config.suggested_bounds()[model.config.poi_index][1])
