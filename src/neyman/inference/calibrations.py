"""What decides on a tested value: toys thrown there, learned critical values, or the asymptotic formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from neyman.inference.critical.values import CriticalValues
from neyman.inference.ends import Point
from neyman.inference.observed import Array, Observed
from neyman.inference.statistics import asymptotic_critical, asymptotic_pvalue
from neyman.inference.throws import (
    BATCH,
    TIE,
    Settings,
    Throw,
    certain_at_zero,
    counts_of,
    seed_of,
    statistics,
    throw_all,
)
from neyman.support.store import Store

__all__ = ["Asymptotics", "Learned", "OnToys", "batches_of"]


def __dir__() -> list[str]:
    return __all__


_CERTAIN = 3.5  # standard deviations between a p-value and its threshold, for no more toys to be thrown


class Asymptotics:
    """Tested values by the asymptotic formulas."""

    def __init__(self, observed: Observed, level: float) -> None:
        self._observed, self._level = observed, level

    def __call__(self, values: Sequence[float]) -> list[Point]:
        """Return what is observed and expected at those values."""
        points = []
        for value in values:
            t, root = self._observed.statistic(value), self._observed.root_asimov(value)
            p = float(asymptotic_pvalue(self._observed.test_stat, t, root))
            critical = asymptotic_critical(self._observed.test_stat, self._level, root)
            excess = p - (1.0 - self._level)
            points.append(Point(value, t, critical, 0.0, p, 0.0, 0, excess > 0.0, excess))
        return points


class Learned:
    """Tested values by learned critical values."""

    def __init__(self, observed: Observed, critical: CriticalValues, level: float, nuisance: str) -> None:
        self._observed, self._critical, self._level, self._nuisance = observed, critical, level, nuisance
        self._toys = int(np.isfinite(critical.held_out).sum())

    def __call__(self, values: Sequence[float]) -> list[Point]:
        """Return what is observed and expected at those values."""
        if not len(values):
            return []
        statistics_ = np.array([self._observed.statistic(value) for value in values])
        pars = np.array([self._observed.at(value) for value in values])
        p, p_error = self._critical.p_values(statistics_, pars, self._nuisance)
        critical, critical_error = self._critical.critical(self._level, pars, self._nuisance)
        excess = p - (1.0 - self._level)
        columns = (statistics_, critical, critical_error, p, p_error, excess)
        return [
            Point(value, t, c, c_error, one, error, self._toys, distance > 0.0, distance)
            for value, t, c, c_error, one, error, distance in zip(values, *(x.tolist() for x in columns), strict=True)
        ]


class OnToys:
    """Tested values on toys: all that are asked for at once, in rounds of batches until each is decided."""

    def __init__(
        self,
        observed: Observed,
        settings: Settings,
        level: float,
        seed: int,
        n_toys: int,
        executor: Any,
        store: Store,
        progress: bool,
    ) -> None:
        self._observed, self._settings, self._level = observed, settings, level
        self._seed, self._n_toys, self._executor, self._progress = seed, n_toys, executor, progress
        self._store = store

    def __call__(self, values: Sequence[float]) -> list[Point]:
        """Return what is observed and expected at those values."""
        for value in values:
            self._observed.statistic(value)  # a better maximum is to be found before anything is decided
        batches, limit = dict.fromkeys(values, 1), math.ceil(self._n_toys / BATCH)
        undecided = list(values)
        while undecided:
            throws = {}
            for value in undecided:
                pars = self._observed.at(value)
                throws.update(batches_of(pars, value, range(batches[value]), self._n_toys, self._seed, self._settings))
            throw_all(statistics, self._observed.model, throws, self._store, self._executor, progress=self._progress)
            undecided = [v for v in undecided if batches[v] < limit and not self._certain(self._point(v, batches[v]))]
            for value in undecided:
                batches[value] = min(2 * batches[value], limit)
        return [self._point(value, batches[value]) for value in values]

    def _certain(self, point: Point) -> bool:
        sigma = math.sqrt(self._level * (1.0 - self._level) / point.toys)
        return certain_at_zero(self._observed.test_stat, point.statistic) or abs(point.distance) > _CERTAIN * sigma

    def _point(self, value: float, batches: int) -> Point:
        toys = np.sort(counts_of(self._store[_label(value, batch, self._n_toys)] for batch in range(batches)))
        n, t = toys.size, self._observed.statistic(value)
        p = float(np.mean(toys >= t - TIE))
        # order statistics: the critical value is the smallest one that the fraction `level` of toys does not exceed
        spread = math.sqrt(self._level * (1.0 - self._level) / n)
        ranks = [math.ceil((self._level + shift) * n) - 1 for shift in (-spread, 0.0, spread)]
        low, middle, high = toys[np.clip(ranks, 0, n - 1)].tolist()
        excess = p - (1.0 - self._level)
        p_error = math.sqrt(max(p * (1.0 - p), 1.0 / n) / n)
        return Point(value, t, middle, 0.5 * (high - low), p, p_error, n, excess > 0.0, excess)


def batches_of(
    pars: Array, value: float, batches: Sequence[int], n_toys: int, seed: int, settings: Settings
) -> dict[str, Throw]:
    """Return the batches of one tested value by name; the last one has what is left of the toys."""
    return {
        _label(value, batch, n_toys): Throw(pars, value, _size(batch, n_toys), seed_of(seed, value, batch), settings)
        for batch in batches
    }


def _size(batch: int, n_toys: int) -> int:
    return min(BATCH, n_toys - batch * BATCH)


def _label(value: float, batch: int, n_toys: int) -> str:
    """Return the name of a batch; its size is in it, for with more toys in all the last one is another."""
    return f"{value!r} {batch} {_size(batch, n_toys)}"
