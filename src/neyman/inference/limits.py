"""CLs upper limits by the asymptotic formulas or on toys, with the expected band."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from pyhf.infer.calculators import AsymptoticTestStatDistribution

from neyman.exceptions import FailedFit, InvalidParameter, Unsupported
from neyman.inference.crossing import crossing
from neyman.inference.learned_statistic import LEARNED, LearnedStatistic, checked_statistic
from neyman.inference.observed import poi_profile
from neyman.inference.parameters import Bounds, Start
from neyman.inference.profile import Profile
from neyman.inference.toylimits import ToyCls
from neyman.model.setwise import SetChannel
from neyman.results import ClsResult, LimitResult
from neyman.support.checks import checked_level, checked_values

__all__ = ["cls", "limit"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_POINTS = 21  # of the scan that comes with a limit
_DOUBLINGS = 40
_BAND = np.array([2.0, 1.0, 0.0, -1.0, -2.0])  # the statistic at -2 .. +2 sigma: normal without signal, arXiv:1007.1727


def limit(
    data: Any,
    model: Any,
    level: float = 0.95,
    calctype: str = "asymptotics",
    test_stat: str = "qtilde",
    values: Any = None,
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    *,
    n_toys: int = 2000,
    seed: int = 0,
    executor: Any = None,
    source: str = "simulation",
    checkpoint: str | Path | None = None,
    progress: bool = False,
    statistic: LearnedStatistic | None = None,
) -> LimitResult:
    r"""Set a CLs upper limit on the parameter of interest.

    The limits are the values at which CLs crosses one minus the level, found as roots; the asymptotic formulas are
    pyhf's (arXiv:1007.1727), the Asimov dataset is the model's expected data at POI = 0 with the nuisance parameters
    fitted to the data, as in pyhf. The POI's upper bound does not limit the search.

    Args:
        data: the flat data vector, as from ``model.data(ensemble)``, shape ``(N,)``.
        model: the model.
        level: the confidence level.
        calctype: ``"asymptotics"`` or ``"toybased"``: then every tested value takes ``n_toys`` toys with signal and as
            many without, and the limits lie where CLs, straight in its logarithm between tested values, crosses one
            minus the level. The limit at -2 sigma rests on one toy in a thousand: 20,000 toys give CLs there to a
            fifth.
        test_stat: ``"qtilde"``, for which the best-fit POI is not below zero, ``"q"``, or ``"learned"`` for
            ``statistic``.
        values: the values of the POI at which the result gives CLs, shape ``(n,)``; default is a grid from zero to
            beyond the highest limit.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        n_toys: toys of each hypothesis, as all that follows with ``"toybased"`` alone.
        seed: fixes the toys; the executor does not change them.
        executor: any :class:`concurrent.futures.Executor`; default is this process.
        source: ``"simulation"`` for toys of simulated events, ``"model"`` for toys of the learned density.
        checkpoint: a file for the finished toys: the same call after an interruption goes on from it.
        progress: whether to show a progress bar.
        statistic: with ``"learned"``, a statistic of ``neyman.train_statistic(..., side="upper")``, for which toys take
            no fits.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
        Unsupported: for other test statistics.
        FailedFit: if a minimisation does not converge, or CLs never falls below one minus the level.

    Example:
        >>> import neyman, pyhf
        >>> spec = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec
        >>> model = neyman.Model(spec, {}, poi_name="mu")  # or neyman.Model.load("analysis.neyman")
        >>> data = [51.0, 48.0, *model.config.auxdata]
        >>> result = neyman.limit(data, model)
        >>> round(result.observed, 2), result.expected.round(2)
        (1.01, array([0.56, 0.76, 1.06, 1.5 , 2.05]))
    """
    if calctype not in ("asymptotics", "toybased"):
        raise InvalidParameter(f"calctype is {calctype!r}: it must be 'asymptotics' or 'toybased'")
    level = checked_level(level)
    threshold = 1.0 - level
    of_guesses = _checked_statistic(test_stat, statistic, model, calctype)
    asymptotics = _Asymptotics(data, model, of_guesses, init, bounds, fixed)
    scan = None if values is None else _grid(values)
    sigma = asymptotics.sigma()
    expected = np.array(
        [
            # the expected CLs depend on the tested value through q_A alone, and its root is nearly linear
            asymptotics.crossing(asymptotics.root_q_asimov, target, guess=sigma * target)
            for target in _roots_of_expected(threshold)
        ]
    )
    observed = asymptotics.crossing(
        lambda value: -math.log(max(asymptotics.observed(value), 1e-300)),
        -math.log(threshold),
        guess=max(float(expected[2]) + asymptotics.best, 0.1 * float(expected[2])),
    )
    if scan is None:
        end = 1.15 * max(observed, float(expected[4]))
        scan = np.linspace(0.0, end if asymptotics.end is None else min(end, asymptotics.end), _POINTS)
        scan = np.unique(np.concatenate([scan, [observed], expected]))
    if calctype == "toybased":
        toys = ToyCls(
            data, model, test_stat, n_toys, seed, executor, source, init, bounds, fixed, checkpoint, progress, statistic
        )
        return toys.limit(level, np.array([observed, *expected]), None if values is None else scan)
    return LimitResult(
        name=asymptotics.name,
        level=level,
        observed=observed,
        expected=expected,
        scan=scan,
        cls_observed=np.array([asymptotics.observed(value) for value in scan]),
        cls_expected=np.array([asymptotics.expected(value) for value in scan]),
    )


def cls(
    value: float,
    data: Any,
    model: Any,
    test_stat: str = "qtilde",
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    *,
    calctype: str = "asymptotics",
    n_toys: int = 2000,
    seed: int = 0,
    executor: Any = None,
    source: str = "simulation",
    progress: bool = False,
    statistic: LearnedStatistic | None = None,
) -> ClsResult:
    """Return the CLs of one value of the parameter of interest, with the expected band.

    What :func:`pyhf.infer.hypotest` gives for it, by warm-started fits with exact gradients, or by toys that are
    fitted in batches.

    Args:
        value: the tested value.
        data: the flat data vector, shape ``(N,)``.
        model: the model.
        test_stat: ``"qtilde"``, ``"q"`` or ``"learned"``.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        calctype: ``"asymptotics"`` or ``"toybased"``.
        n_toys: toys of each hypothesis, as all that follows with ``"toybased"`` alone.
        seed: fixes the toys; the executor does not change them.
        executor: any :class:`concurrent.futures.Executor`; default is this process.
        source: ``"simulation"`` or ``"model"``, as for :func:`limit`.
        progress: whether to show a progress bar.
        statistic: with ``"learned"``, a statistic of ``neyman.train_statistic(..., side="upper")``, for which toys take
            no fits.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI.
        Unsupported: for other test statistics.
        FailedFit: if a minimisation does not converge.

    Example:
        >>> import neyman, pyhf
        >>> from neyman.inference.limits import cls
        >>> spec = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec
        >>> model = neyman.Model(spec, {}, poi_name="mu")  # or neyman.Model.load("analysis.neyman")
        >>> data = [51.0, 48.0, *model.config.auxdata]
        >>> round(cls(1.0, data, model).observed, 3)
        0.053
    """
    tested = float(_grid([value])[0])
    if calctype not in ("asymptotics", "toybased"):
        raise InvalidParameter(f"calctype is {calctype!r}: it must be 'asymptotics' or 'toybased'")
    _checked_statistic(test_stat, statistic, model, calctype)
    if calctype == "toybased":
        toys = ToyCls(
            data, model, test_stat, n_toys, seed, executor, source, init, bounds, fixed, None, progress, statistic
        )
        return toys.cls(tested)
    asymptotics = _Asymptotics(data, model, test_stat, init, bounds, fixed)
    return ClsResult(
        name=asymptotics.name,
        value=tested,
        observed=asymptotics.observed(tested),
        expected=asymptotics.expected(tested),
    )


class _Asymptotics:
    """The asymptotic CLs of a model and a dataset, as a function of the tested value; every fit is done once.

    Where a network looks at whole datasets, no value beyond the bounds that it was trained for can be tested.
    """

    def __init__(
        self,
        data: Any,
        model: Any,
        test_stat: str,
        init: Start | None,
        bounds: Bounds | None,
        fixed: Mapping[str, float] | None,
    ) -> None:
        if test_stat not in ("qtilde", "q"):
            raise Unsupported(
                f"test_stat {test_stat!r} sets no upper limit: use 'qtilde' or 'q', or pyhf.infer.hypotest for others"
            )
        self._fixed = fixed
        self._bounded = test_stat == "qtilde"
        self._data = self._profile(data, model, init, bounds)
        self._poi, self.name = int(model.config.poi_index), str(model.config.poi_name)
        ends = any(isinstance(channel, SetChannel) for channel in getattr(model, "learned", {}).values())
        self.end = float(model.config.suggested_bounds()[self._poi][1]) if ends else None
        # as in pyhf: POI = 0, and the nuisance parameters as the data would have them there
        background, _ = self._data.at({self._poi: 0.0})
        start = background.copy()
        start[~self._data.fixed] = np.clip(background, *np.array(self._data.bounds).T)[~self._data.fixed]
        self._asimov = self._profile(model.expected_data(background), model, start.tolist(), self._data.bounds)

    @property
    def best(self) -> float:
        """The best-fit value of the POI."""
        return float(self._data.best[0][self._poi])

    def sigma(self) -> float:
        """Return the uncertainty of the POI without signal, a first guess of how limits scale."""
        variance = float(self._asimov.covariance[self._poi, self._poi])
        sigma = math.sqrt(variance) if variance > 0.0 else math.inf
        low, high = self._data.bounds[self._poi]
        return sigma if math.isfinite(sigma) else 0.1 * (high - low)

    def crossing(self, function: Callable[[float], float], target: float, guess: float) -> float:
        """Return the value of the POI at which the function crosses the target."""
        root = crossing(function, target, start=0.0, guess=guess, bound=self.end)
        if not math.isfinite(root):
            raise FailedFit(f"CLs never falls below the level: does the signal's rate grow with {self.name}?")
        if root == self.end and function(root) < target:
            raise FailedFit(
                f"CLs does not fall below the level up to {self.name} = {root:g}, where the training of the "
                f"networks ended: train with wider bounds of {self.name}"
            )
        return root

    def root_q_asimov(self, value: float) -> float:
        """Return the root of the test statistic on the Asimov dataset."""
        return math.sqrt(self._q(self._asimov, value))

    def observed(self, value: float) -> float:
        """Return the observed CLs."""
        root, root_asimov = math.sqrt(self._q(self._data, value)), self.root_q_asimov(value)
        # the statistic whose distribution is normal: arXiv:1007.1727, eqs. 57 and 66
        statistic = root - root_asimov
        if self._bounded and root > root_asimov > 0.0:
            statistic = (root**2 - root_asimov**2) / (2.0 * root_asimov)
        return float(_cls(statistic, root_asimov))

    def expected(self, value: float) -> Array:
        """Return the expected CLs at -2, -1, 0, 1, 2 sigma, shape ``(5,)``."""
        return _cls(_BAND, self.root_q_asimov(value))

    def _q(self, profile: Profile, value: float) -> float:
        """Return q of arXiv:1007.1727, eq. 14 or 16: zero where the best fit lies above the tested value."""
        if profile.best[0][self._poi] > value:
            return 0.0
        ratio = profile.ratio({self._poi: value})  # which may have found a better maximum on the way
        return 0.0 if profile.best[0][self._poi] > value else ratio

    def _profile(self, data: Any, model: Any, init: Start | None, bounds: Any) -> Profile:
        """Return the profile likelihood in the POI, its range wide enough for the best fit to lie inside."""
        profile = poi_profile(data, model, init, bounds, self._fixed, bounded=self._bounded)
        poi = int(model.config.poi_index)
        for _ in range(_DOUBLINGS):
            low, high = profile.bounds[poi]
            if profile.best[0][poi] < high - 1e-3 * (high - low):
                return profile
            wider = list(profile.bounds)
            wider[poi] = (low, 2.0 * high)
            profile = poi_profile(data, model, init, wider, self._fixed, bounded=self._bounded)
        name = model.config.poi_name
        raise FailedFit(f"the best-fit {name} is beyond {high:g}: does the signal's rate grow with it?")


def _checked_statistic(test_stat: str, statistic: LearnedStatistic | None, model: Any, calctype: str) -> str:
    """Return the test statistic by whose asymptotic limits a search begins."""
    if statistic is None and test_stat != LEARNED:
        return test_stat  # which is checked where it is used
    checked_statistic(test_stat, statistic, model, "toys" if calctype == "toybased" else calctype)
    if statistic is not None and statistic.side != "upper":
        raise InvalidParameter("an upper limit takes a one-sided statistic: train it with side='upper'")
    return "qtilde"


def _cls(statistic: float | Array, root_asimov: float) -> Array:
    """Return CLs, pyhf's p-value with signal over the one without, for values of the test statistic."""
    with_signal = AsymptoticTestStatDistribution(-root_asimov).pvalue(statistic)
    without = AsymptoticTestStatDistribution(0.0).pvalue(statistic)
    return np.asarray(np.divide(with_signal, without, out=np.zeros_like(without), where=without > 0.0))


@functools.lru_cache
def _roots_of_expected(threshold: float) -> tuple[float, ...]:
    """Return the values of sqrt(q_A) at which the expected CLs are at a threshold, -2 .. +2 sigma."""
    return tuple(
        float(scipy.optimize.brentq(lambda root, i=i: math.log(_cls(_BAND, root)[i] / threshold), 0.0, 30.0))
        for i in range(5)
    )


def _grid(values: Any) -> Array:
    return np.unique(checked_values(values, "the tested values of the parameter of interest"))
