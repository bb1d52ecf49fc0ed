"""CLs on toys, with the expected band: what pyhf's toy calculator gives, by batches of toys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from neyman.exceptions import FailedFit, InvalidParameter, Unsupported
from neyman.inference.learned_statistic import LEARNED, LearnedStatistic
from neyman.inference.observed import Observed
from neyman.inference.parameters import Bounds, Start
from neyman.inference.throws import BATCH, TIE, Throw, counts_of, seed_of, statistics, throw_all
from neyman.results import ClsResult, LimitResult
from neyman.support.checks import checked_number
from neyman.support.store import Store

__all__ = ["ToyCls"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_STATISTICS = {"qtilde": "qmu_tilde", "q": "qmu", LEARNED: LEARNED}
_QUANTILES = scipy.stats.norm.cdf([-2.0, -1.0, 0.0, 1.0, 2.0])
_POINTS = 9  # of the first scan
_ROUNDS = 3  # of tested values added at the crossings found so far
_CLOSE = 0.03  # a crossing is not tested again this near, relative to its value, to a tested one
_WIDENINGS = 6


class ToyCls:
    """CLs on toys, as a function of the tested value.

    The toys are thrown at the tested value and at zero, with the nuisance parameters at their conditional best fits in
    the observed data. The same toys without signal serve every tested value.

    Args:
        data: the flat data vector.
        model: the model.
        test_stat: ``"qtilde"``, ``"q"`` or ``"learned"``.
        n_toys: of each hypothesis.
        seed: fixes the toys.
        executor: any :class:`concurrent.futures.Executor`, or ``None``.
        source: ``"simulation"`` or ``"model"``.
        init: starting values.
        bounds: bounds.
        fixed: parameters held at a value.
        checkpoint: a file for the finished toys, or ``None``.
        progress: whether to show a progress bar.
        statistic: the learned statistic, for ``"learned"``.
    """

    def __init__(
        self,
        data: Any,
        model: Any,
        test_stat: str,
        n_toys: int,
        seed: int,
        executor: Any,
        source: str,
        init: Start | None,
        bounds: Bounds | None,
        fixed: Mapping[str, float] | None,
        checkpoint: str | Path | None,
        progress: bool,
        statistic: LearnedStatistic | None = None,
    ) -> None:
        if test_stat not in _STATISTICS:
            raise Unsupported(f"test_stat {test_stat!r} sets no upper limit: use 'qtilde' or 'q', or neyman.interval")
        self._n_toys = checked_number(n_toys, "the number of toys")
        self._observed = Observed(data, model, _STATISTICS[test_stat], init, bounds, fixed, statistic)
        self._settings = self._observed.settings(source)
        self._seed, self._executor, self._progress = seed, executor, progress
        label = [self._observed.label(), test_stat, n_toys, seed, source, BATCH]
        self._store = Store(checkpoint, model, ["limit", *label])
        if not self._observed.bounds[0] <= 0.0:
            low = self._observed.bounds[0]
            raise InvalidParameter(f"{self._observed.name} has the lower bound {low:g}: CLs needs toys without signal")

    def cls(self, value: float) -> ClsResult:
        """Return CLs at one value."""
        observed, expected = self._values([value])
        return ClsResult(self._observed.name, value, float(observed[0]), expected[0])

    def limit(self, level: float, guesses: Array, values: Array | None) -> LimitResult:
        """Return the limits.

        Args:
            level: the confidence level.
            guesses: about where the observed and the five expected limits should be, shape ``(6,)``.
            values: the values to begin with; default is a grid beyond the highest guess.
        """
        high, threshold = self._observed.bounds[1], 1.0 - level
        if self._observed.learned is not None:
            high = min(high, self._observed.learned.values[1])
        scan = np.linspace(0.0, 1.3 * float(guesses.max()), _POINTS) if values is None else values
        scan = np.unique(np.minimum(scan, high))
        curves = self._curves(scan)
        for _ in range(_WIDENINGS):
            if curves[-1].max() <= threshold or scan[-1] >= high:
                break
            new = np.array([min(1.5 * scan[-1], high)])
            scan, curves = np.append(scan, new), np.concatenate([curves, self._curves(new)])
        for _ in range(_ROUNDS):
            found = [_crossing(scan, curve, threshold) for curve in curves.T]
            near = [x for x in found if np.min(np.abs(scan - x)) > _CLOSE * x]
            new = np.array([x for i, x in enumerate(near) if all(abs(x - y) > _CLOSE * x for y in near[:i])])
            if not new.size:
                break
            scan, curves = np.append(scan, new), np.concatenate([curves, self._curves(new)])
            order = np.argsort(scan)
            scan, curves = scan[order], curves[order]
        limits = np.array([_crossing(scan, curve, threshold) for curve in curves.T])
        if not np.all(np.isfinite(limits)):
            raise FailedFit(
                f"CLs does not cross {threshold:g} from {self._observed.name} = {scan[0]:g} to {scan[-1]:g}: "
                "give other values, wider bounds, or more toys"
            )
        return LimitResult(
            self._observed.name, level, float(limits[0]), limits[1:], scan, curves[:, 0].copy(), curves[:, 1:].copy()
        )

    def _curves(self, values: Array) -> Array:
        """Return observed and expected CLs, shape ``(n, 6)``."""
        observed, expected = self._values(values.tolist())
        return np.column_stack([observed, expected])

    def _values(self, values: Sequence[float]) -> tuple[Array, Array]:
        """Return the observed CLs, shape ``(n,)``, and the expected ones, shape ``(n, 5)``."""
        low, high = self._observed.bounds
        for value in values:
            if not low <= value <= high:
                name = self._observed.name
                raise InvalidParameter(
                    f"{name} is to be tested at {value:g}, outside its bounds ({low:g}, {high:g}): change either"
                )
            self._observed.statistic(value)
        throws: dict[str, Throw] = {}
        names: dict[tuple[float, str], list[str]] = {}
        for value in values:
            for hypothesis, at in (("with", value), ("without", 0.0)):
                pars = self._observed.at(at)
                for batch in range(math.ceil(self._n_toys / BATCH)):
                    name = f"{value!r} {hypothesis} {batch}"
                    size = min(BATCH, self._n_toys - batch * BATCH)
                    # the same seeds at every value: CLs is then a smoother function of it
                    seed = seed_of(self._seed, float(hypothesis == "with"), batch)
                    throws[name] = Throw(pars, value, size, seed, self._settings)
                    names.setdefault((value, hypothesis), []).append(name)
        throw_all(statistics, self._observed.model, throws, self._store, self._executor, progress=self._progress)
        observed, expected = np.empty(len(values)), np.empty((len(values), 5))
        for i, value in enumerate(values):
            with_signal, without = (
                np.sort(counts_of(self._store[name] for name in names[value, hypothesis]))
                for hypothesis in ("with", "without")
            )
            observed[i] = _cls(np.array([self._observed.statistic(value)]), with_signal, without)[0]
            # as pyhf: CLs of every toy without signal, then the quantiles of that
            expected[i] = np.quantile(_cls(without, with_signal, without), _QUANTILES)
        return observed, expected


def _cls(values: Array, with_signal: Array, without: Array) -> Array:
    """Return CLs at values of the statistic, from its sorted values in toys of either hypothesis."""
    p_with = 1.0 - np.searchsorted(with_signal, values - TIE, side="left") / with_signal.size
    p_without = 1.0 - np.searchsorted(without, values - TIE, side="left") / without.size
    return np.asarray(np.divide(p_with, p_without, out=np.zeros_like(p_with), where=p_without > 0.0))


def _crossing(scan: Array, curve: Array, threshold: float) -> float:
    """Return where a curve last falls below a threshold, straight in its logarithm between tested values, else nan."""
    above = np.flatnonzero(curve > threshold)
    if not above.size or above[-1] == scan.size - 1:
        return math.nan
    i = above[-1]
    first, second = (math.log(max(float(value), 1e-4 * threshold)) for value in curve[i : i + 2])
    share = (first - math.log(threshold)) / (first - second)
    return float(scan[i] + share * (scan[i + 1] - scan[i]))
