"""The test statistics: a table of what each is, which values it speaks against, and how it is distributed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inference.learned_statistic import LearnedStatistic
from neyman.inference.waldo import Waldo
from neyman.model.model import Model
from neyman.posteriors.posterior import Posterior
from neyman.support.messages import did_you_mean

__all__ = [
    "STATISTICS",
    "TIE",
    "Statistic",
    "TestStatistic",
    "chosen_statistic",
    "formula_of",
    "statistic_named",
    "upper_limit_statistic",
]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]
Statistic = LearnedStatistic | Posterior  # what a user gives as ``statistic=``

# two fits of the same data agree to this: toys that tie with the data, as equal counts do, must count as such
TIE = 1e-3


@dataclass(frozen=True, eq=False)
class TestStatistic:
    r"""A test statistic: the larger its value, the less compatible a dataset is with the tested value.

    With :math:`t_\mu = -2 \log (L(\mu, \hat{\hat\theta}) / L(\hat\mu, \hat\theta))`, arXiv:1007.1727: ``tmu`` and
    ``tmu_tilde`` are it (eqs. 8 and 11), ``qmu`` and ``qmu_tilde`` are zero where :math:`\hat\mu > \mu` (eqs. 14 and
    16) and give upper limits, ``q0`` is zero where :math:`\hat\mu < \mu` (eq. 12, at any :math:`\mu`) and gives lower
    limits, at zero the significance of a discovery. ``learned`` is a network, from :func:`neyman.train_statistic`, and
    ``waldo`` the Wald statistic of a posterior, from :func:`neyman.train_posterior`.

    Args:
        name: its name.
        alias: its other name, that of :func:`pyhf.infer.hypotest`.
        side: which intervals it gives: ``"both"`` ends, ``"upper"`` or ``"lower"`` limits.
        bounded: whether the best-fit parameter of interest must not be below zero.
        tail: the asymptotic probability of a value at least as large, from the value and ``root_asimov``.
        learned: the network or the posterior that takes the place of fits.
    """

    __test__ = False  # for pytest, to which its name looks like tests

    name: str
    alias: str = ""
    side: str = "both"
    bounded: bool = False
    tail: Callable[[Array, Array], Array] | None = None
    learned: LearnedStatistic | Waldo | None = None

    def of_fits(self, value: float, best: ArrayLike, minimum: ArrayLike, conditional: ArrayLike) -> Array:
        """Return the test statistic of any number of datasets.

        Args:
            value: the tested value of the parameter of interest.
            best: its best-fit values, not below zero for a bounded statistic, shape ``(n,)``.
            minimum: -2 log L there, shape ``(n,)``.
            conditional: -2 log L at the best fit with the parameter at the tested value, infinite for a dataset that is
                impossible there, shape ``(n,)``.

        Example:
            >>> statistic_named("qmu").of_fits(1.0, [0.5, 2.0], [0.0, 0.0], [1.5, 3.0])
            array([1.5, 0. ])
        """
        best, minimum = np.asarray(best, dtype=np.float64), np.asarray(minimum, dtype=np.float64)
        # a dataset may be impossible at the tested value, and has no statistic where it is impossible at all
        minimum = np.where(np.isfinite(minimum), minimum, np.nan)
        ratio = np.maximum(np.asarray(conditional, dtype=np.float64) - minimum, 0.0)
        if self.side == "upper":
            return np.where(best > value, 0.0, ratio)
        return np.where(best < value, 0.0, ratio) if self.side == "lower" else ratio

    def smallest(self, value: float) -> bool:
        """Whether no dataset has a smaller value: none is below zero, if it is a likelihood ratio or a square."""
        return not isinstance(self.learned, LearnedStatistic) and value <= TIE

    def p_value(self, observed: ArrayLike, root_asimov: ArrayLike) -> Array:
        """Return the asymptotic probability of a value at least as large at the tested parameters, arXiv:1007.1727.

        Sections 3.3 (``tmu``), 3.4 (``tmu_tilde``), 3.5 (``q0``), 3.6 (``qmu``) and 3.7 (``qmu_tilde``).

        Args:
            observed: values of the test statistic, shape ``(n,)``.
            root_asimov: the tested value in standard deviations: the root of ``tmu`` in the Asimov dataset without
                signal; one, or one for each value.

        Raises:
            InvalidParameter: if there is no formula.

        Example:
            >>> statistic_named("tmu").p_value([1.0, 4.0], 1.5).round(3)
            array([0.317, 0.046])
        """
        if self.tail is None:
            raise InvalidParameter(f"the {self.name} statistic has no asymptotic formula: use calibration='toys'")
        t = np.maximum(np.asarray(observed, dtype=np.float64), 0.0)
        return np.asarray(np.where(t > 0.0, self.tail(t, np.asarray(root_asimov, dtype=np.float64)), 1.0))

    def critical(self, level: float, root_asimov: float) -> float:
        """Return the value that the statistic stays below with the probability ``level`` at the tested parameters.

        Args:
            level: the confidence level.
            root_asimov: as for :meth:`p_value`.

        Example:
            >>> one, two = statistic_named("tmu_tilde").critical(0.95, 0.0), statistic_named("tmu").critical(0.95, 0.0)
            >>> round(one, 3), round(two, 3)
            (2.706, 3.841)
        """

        def excess(t: float) -> float:
            return float(self.p_value(t, root_asimov)) - (1.0 - level)

        if excess(1e-12) <= 0.0:
            return 0.0
        high = 1.0
        while excess(high) > 0.0:
            high *= 2.0
        return float(scipy.optimize.brentq(excess, 1e-12, high, xtol=1e-10))


def _one_side(t: Array, root: Array) -> Array:
    return np.asarray(scipy.stats.norm.sf(np.sqrt(t)))


def _both_sides(t: Array, root: Array) -> Array:
    return 2.0 * _one_side(t, root)


def _one_side_bounded(t: Array, root: Array) -> Array:
    """Return the tail where the best fit is not below zero: a value beyond ``root**2`` means that it is at zero."""
    known = (root > 0.0) & (root < math.inf)
    safe = np.where(known, root, 1.0)
    far = np.where(known, scipy.stats.norm.sf((t + safe**2) / (2.0 * safe)), 0.0)
    return np.where(t > root**2, far, _one_side(t, root))


def _both_sides_bounded(t: Array, root: Array) -> Array:
    return _one_side(t, root) + _one_side_bounded(t, root)


STATISTICS: Mapping[str, TestStatistic] = MappingProxyType(
    {
        one.name: one
        for one in (
            TestStatistic("tmu", tail=_both_sides),
            TestStatistic("tmu_tilde", bounded=True, tail=_both_sides_bounded),
            TestStatistic("qmu", alias="q", side="upper", tail=_one_side),
            TestStatistic("qmu_tilde", alias="qtilde", side="upper", bounded=True, tail=_one_side_bounded),
            TestStatistic("q0", side="lower", tail=_one_side),
        )
    }
)

_LEARNED = "learned"
_WALDO = TestStatistic("waldo", tail=_both_sides)


def statistic_named(name: str) -> TestStatistic:
    """Return the test statistic of a name, pyhf's spellings among them.

    Raises:
        InvalidParameter: if there is none.

    Example:
        >>> statistic_named("qtilde").name
        'qmu_tilde'
    """
    aliases = {one.alias: one for one in STATISTICS.values() if one.alias}
    found = STATISTICS.get(name) or aliases.get(name)
    if found is None:
        known = [*STATISTICS, *aliases, _LEARNED, _WALDO.name]
        raise InvalidParameter(f"test_stat is {name!r}: {did_you_mean(name, known)}")
    return found


def formula_of(name: str) -> TestStatistic:
    """Return the test statistic whose formulas learned critical values begin with: for ``"waldo"``, those of ``tmu``.

    Example:
        >>> formula_of("waldo").p_value([4.0], 0.0).round(3)
        array([0.046])
    """
    return _WALDO if name == _WALDO.name else statistic_named(name)


def chosen_statistic(name: str, statistic: Statistic | None, model: Model, calibration: str) -> TestStatistic:
    """Return the test statistic that ``test_stat=`` and ``statistic=`` of a call name together.

    Args:
        name: its name, or ``"learned"`` or ``"waldo"``.
        statistic: the learned statistic for ``"learned"``, the posterior for ``"waldo"``.
        model: the model.
        calibration: where the p-values are to come from.

    Raises:
        InvalidParameter: if there is none of that name, or name, statistic and calibration do not go together.
    """
    if name == _LEARNED:
        if not isinstance(statistic, LearnedStatistic):
            raise InvalidParameter(
                "test_stat='learned' takes the statistic: give statistic=neyman.train_statistic(model, values)"
            )
        statistic.belongs_to(model)
        if calibration != "toys":
            raise InvalidParameter(
                "only toys can calibrate a learned statistic, whose distribution no formula gives, not "
                f"{calibration!r}: use calibration='toys'"
            )
        return TestStatistic(_LEARNED, side=statistic.side, learned=statistic)
    if name == _WALDO.name:
        if not isinstance(statistic, Posterior):
            given = "" if statistic is None else f", not a {type(statistic).__name__}"
            raise InvalidParameter(
                f"test_stat='waldo' takes a posterior{given}: give statistic=neyman.train_posterior(simulator)"
            )
        waldo = Waldo.of(statistic, model)
        if calibration == "asymptotics":
            raise InvalidParameter(
                "only toys can calibrate the waldo statistic, whatever the posterior is: use calibration='toys', or "
                "'quantile' for critical values that are learned from toys"
            )
        return dataclasses.replace(_WALDO, learned=waldo)
    if statistic is not None:
        wanted = _WALDO.name if isinstance(statistic, Posterior) else _LEARNED
        raise InvalidParameter(f"statistic is for test_stat={wanted!r}, not for {name!r}: leave one of them out")
    return statistic_named(name)


def upper_limit_statistic(name: str, statistic: Statistic | None, model: Model, calibration: str) -> TestStatistic:
    """Return the test statistic of an upper limit, as :func:`chosen_statistic`.

    Raises:
        Unsupported: if it gives no upper limits.
        InvalidParameter: as :func:`chosen_statistic`.
    """
    if name != _WALDO.name:
        chosen = chosen_statistic(name, statistic, model, calibration)
        if chosen.side == "upper":
            return chosen
        if name == _LEARNED:
            raise InvalidParameter("an upper limit takes a one-sided statistic: train it with side='upper'")
    names = " or ".join(repr(one.name) for one in STATISTICS.values() if one.side == "upper")
    raise Unsupported(f"test_stat {name!r} sets no upper limit: use {names}, or neyman.interval")
