"""Where p-values come from: the asymptotic formulas, toys, or critical values learned from toys thrown everywhere.

A :class:`Calibration` says of datasets at tested values how probable a test statistic at least as large is, with the
error of that. Intervals, CLs, the significance of a discovery and coverage all ask one of the three here.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.inference.critical.values import CriticalValues
from neyman.inference.observed import Tested
from neyman.inference.statistics import TIE, TestStatistic
from neyman.inference.throws import BATCH, Settings, Throw, can_throw, seed_of, statistics, throw_all, valid_ones
from neyman.model.model import Model
from neyman.support.checks import checked_choice
from neyman.support.store import Store

__all__ = [
    "Asymptotics",
    "Calibration",
    "OnToys",
    "Point",
    "Quantile",
    "Thrower",
    "check_nuisance",
    "chosen_calibration",
    "fraction_at_least",
]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_CERTAIN = 3.5  # standard deviations between a p-value and its threshold, for no more toys to be thrown
_ALIASES = {"toybased": "toys"}  # pyhf's spelling


def chosen_calibration(calibration: str, calctype: str | None, *allowed: str) -> str:
    """Return where p-values are to come from.

    Args:
        calibration: what is asked for.
        calctype: the same as pyhf calls it, which counts if it is given.
        allowed: what it may be.

    Raises:
        InvalidParameter: if it is something else.

    Example:
        >>> chosen_calibration("asymptotics", "toybased", "toys", "asymptotics")
        'toys'
    """
    what, given = ("calibration", calibration) if calctype is None else ("calctype", calctype)
    return checked_choice(_ALIASES.get(given, given), what, allowed)


def check_nuisance(calibration: str, nuisance: str, critical: CriticalValues | None = None) -> None:
    """Check that how nuisance parameters are treated, and learned critical values, go with a calibration.

    Raises:
        InvalidParameter: if they do not.
    """
    checked_choice(nuisance, "nuisance", ("profile", "worst"))
    if critical is not None and calibration != "quantile":
        raise InvalidParameter("critical is for calibration='quantile'")
    if nuisance == "worst" and calibration == "asymptotics":
        raise InvalidParameter(
            "nuisance='worst' is a place to throw toys, and calibration='asymptotics' throws none: give "
            "calibration='toys'"
        )


@dataclass(frozen=True, eq=False)
class Point:
    """What a calibration says of a dataset at a tested value.

    Args:
        value: the tested value.
        statistic: the observed test statistic.
        critical: its critical value.
        critical_error: the Monte Carlo error of it.
        p_value: the probability of a statistic at least as large.
        p_error: the Monte Carlo error of it.
        toys: how many there were.
        accepted: whether the interval holds the value.
        distance: of the p-value above the threshold.
    """

    value: float
    statistic: float
    critical: float
    critical_error: float
    p_value: float
    p_error: float
    toys: int
    accepted: bool
    distance: float


class Calibration(Protocol):
    """Where p-values come from."""

    def points(self, tested: Sequence[Tested]) -> list[Point]:
        """Return the p-value of each dataset at its tested value, the critical value there, and the errors of both."""


class Asymptotics:
    """P-values by the asymptotic formulas.

    Args:
        statistic: the test statistic.
        level: the confidence level of critical values.
        root_asimov: a tested value in standard deviations, as for :meth:`TestStatistic.p_value`.
    """

    def __init__(self, statistic: TestStatistic, level: float, root_asimov: Callable[[float], float]) -> None:
        self._statistic, self._level, self._root = statistic, level, root_asimov
        self._critical = functools.cache(functools.partial(statistic.critical, level))

    def points(self, tested: Sequence[Tested]) -> list[Point]:
        """Return the points of datasets at tested values."""
        points = []
        for one in tested:
            root = self._root(one.value)
            p = float(self._statistic.p_value(one.statistic, root))
            excess = p - (1.0 - self._level)
            critical = self._critical(root)
            points.append(Point(one.value, one.statistic, critical, 0.0, p, 0.0, 0, excess > 0.0, excess))
        return points


class Quantile:
    """P-values by learned critical values, from :func:`neyman.critical_values`.

    Args:
        critical: the learned critical values.
        level: the confidence level.
        nuisance: ``"profile"`` or ``"worst"``, as for :func:`neyman.interval`.
    """

    def __init__(self, critical: CriticalValues, level: float, nuisance: str) -> None:
        self._critical, self._level, self._nuisance = critical, level, nuisance
        self._toys = int(np.isfinite(critical.held_out).sum())

    def points(self, tested: Sequence[Tested]) -> list[Point]:
        """Return the points of datasets at tested values."""
        if not tested:
            return []
        t, pars = np.array([one.statistic for one in tested]), np.array([one.pars for one in tested])
        p, p_error = self._critical.p_values(t, pars, self._nuisance)
        critical, critical_error = self._critical.critical(self._level, pars, self._nuisance)
        excess = p - (1.0 - self._level)
        columns = (array.tolist() for array in (critical, critical_error, p, p_error, excess))
        return [
            Point(one.value, one.statistic, c, c_error, p, error, self._toys, distance > 0.0, distance)
            for one, c, c_error, p, error, distance in zip(tested, *columns, strict=True)
        ]


class Thrower:
    """Throws the toys that datasets are compared with: at the tested value and the nuisance parameters of each dataset.

    Datasets with the same seeds at the same tested value are compared with the same toys, which are thrown once.

    Args:
        model: the model.
        settings: how toys are thrown and fitted.
        store: for the finished toys, default in memory.
        executor: any :class:`concurrent.futures.Executor`, or ``None`` for this process.
        progress: whether to show a progress bar.
        first: toys of the first round; each round doubles their number.
        batch: toys of a task at most, default all of a round.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        store: Store | None = None,
        executor: Executor | None = None,
        progress: bool = False,
        *,
        first: int = BATCH,
        batch: int | None = BATCH,
    ) -> None:
        self.settings = settings
        self._model, self._executor, self._progress = model, executor, progress
        self._store = store or Store(None, model, [])  # what one round has thrown is there for the next
        self._first, self._batch = first, batch

    def toys(self, tested: Sequence[Tested], number: int) -> dict[tuple[float, ...], Array]:
        """Return the test statistic in so many toys, by the keys of the datasets."""
        throws = {
            (*one.key, batch, size): Throw(
                one.pars, one.value, size, seed_of(int(one.seeds[0]), *one.seeds[1:], batch), self.settings
            )
            for one in tested
            for batch, size in enumerate(self._sizes(number))
        }
        thrown = throw_all(statistics, self._model, throws, self._store, self._executor, progress=self._progress)
        return {
            key: valid_ones(thrown[batch] for batch in batches)
            for key, batches in itertools.groupby(throws, key=lambda batch: batch[:-2])
        }

    def can_throw(self, one: Tested) -> bool:
        """Whether there are toys to compare a dataset with."""
        return can_throw(self._model, one.pars, self.settings.source)

    def rounds(self, most: int) -> Iterator[int]:
        """Yield how many toys there are after every round."""
        number = min(self._first, most)
        while number < most:
            yield number
            number = min(2 * number, most)
        yield number

    def _sizes(self, number: int) -> Iterator[int]:
        """Yield the sizes of the batches of so many toys: those of fewer toys, and more."""
        before = 0
        for total in self.rounds(number):
            while before < total:
                size = min(total - before, self._batch or total)
                yield size
                before += size


class OnToys:
    """P-values on toys: twice as many in each round, until it is certain on which side of the threshold a p-value is.

    Args:
        thrower: throws the toys.
        level: the confidence level.
        n_toys: how many a dataset is compared with at most.
        certain: standard deviations between a p-value and its threshold, for no more toys to be thrown.
    """

    def __init__(self, thrower: Thrower, level: float, n_toys: int, certain: float = _CERTAIN) -> None:
        self._thrower, self._level, self._n_toys, self._certain = thrower, level, n_toys, certain

    def points(self, tested: Sequence[Tested]) -> list[Point]:
        """Return the points of datasets at tested values."""
        points = {i: self._without_toys(one) for i, one in enumerate(tested) if self._takes_no_toys(one)}
        undecided = [i for i in range(len(tested)) if i not in points]
        for number in self._thrower.rounds(self._n_toys):
            thrown = self._thrower.toys([tested[i] for i in undecided], number) if undecided else {}
            ordered = {key: np.sort(toys) for key, toys in thrown.items()}
            points |= {i: self._point(tested[i], ordered[tested[i].key]) for i in undecided}
            undecided = [i for i in undecided if not self._decided(points[i])]
        return [points[i] for i in range(len(tested))]

    def _takes_no_toys(self, one: Tested) -> bool:
        """Whether no toy has a statistic as large, for the data are impossible there, or each has, and none exists."""
        return math.isinf(one.statistic) or (
            self._thrower.settings.statistic.smallest(one.statistic) and not self._thrower.can_throw(one)
        )

    def _without_toys(self, one: Tested) -> Point:
        p = 0.0 if math.isinf(one.statistic) else 1.0
        excess = p - (1.0 - self._level)
        return Point(one.value, one.statistic, math.nan, 0.0, p, 0.0, 0, excess > 0.0, excess)

    def _decided(self, point: Point) -> bool:
        sigma = math.sqrt(self._level * (1.0 - self._level) / point.toys)
        smallest = self._thrower.settings.statistic.smallest(point.statistic)
        return smallest or abs(point.distance) > self._certain * sigma

    def _point(self, one: Tested, toys: Array) -> Point:
        n, t = toys.size, one.statistic
        p, p_error = fraction_at_least(toys, t)
        # order statistics: the critical value is the smallest one that the fraction `level` of toys does not exceed
        spread = math.sqrt(self._level * (1.0 - self._level) / n)
        ranks = [math.ceil((self._level + shift) * n) - 1 for shift in (-spread, 0.0, spread)]
        low, middle, high = toys[np.clip(ranks, 0, n - 1)].tolist()
        excess = p - (1.0 - self._level)
        return Point(one.value, t, middle, 0.5 * (high - low), p, p_error, n, excess > 0.0, excess)


def fraction_at_least(toys: Array, statistic: float) -> tuple[float, float]:
    """Return the fraction of toys whose test statistic is at least as large, and its error.

    Args:
        toys: the test statistic in toys, in ascending order, shape ``(n,)``.
        statistic: the test statistic.

    Example:
        >>> fraction_at_least(np.array([0.0, 1.0, 2.0, 3.0]), 2.0)
        (0.5, 0.25)
    """
    n = toys.size
    p = float(n - np.searchsorted(toys, statistic - TIE, side="left")) / n
    return p, math.sqrt(max(p * (1.0 - p), 1.0 / n) / n)
