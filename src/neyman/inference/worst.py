"""The largest p-value over the confidence region of the nuisance parameters, as Berger and Boos have it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from neyman.inference.calibrations import OnToys, Point, Thrower
from neyman.inference.crossing import crossing
from neyman.inference.observed import Observed, Tested
from neyman.inference.profile import Profile

__all__ = ["WorstOnToys", "across", "region", "spent"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_SPENT = 0.02  # of the probability of missing the truth, or of what one toy counts, on the region
_STEPS = {1: 4, 2: 3}  # tested points from the best fit to the end of the region, by the number of parameters
_FEWEST_STEPS = 2


class WorstOnToys:
    r"""P-values on toys thrown at several points of the confidence region of the nuisance parameters.

    Berger and Boos (doi:10.1080/01621459.1994.10476836, eq. 2): with a region :math:`C` that holds the true nuisance
    parameters with the probability :math:`1 - \gamma`, the p-value :math:`\sup_{\nu \in C} p(\mu, \nu) + \gamma` is not
    too small whatever they are. Here :math:`\gamma` is 2 % of one minus the level.

    Args:
        thrower: throws the toys.
        level: the confidence level.
        n_toys: how many a dataset is compared with at each point at most.
        points: the points of the region for a dataset at a tested value, at confidence :math:`1 - \gamma`; the first is
            its conditional best fit.
        lazy: whether to leave the other points where the first accepts already: the p-value is then a lower bound.
        certain: as for :class:`OnToys`.
    """

    def __init__(
        self,
        thrower: Thrower,
        level: float,
        n_toys: int,
        points: Callable[[Tested, float], Sequence[Array]],
        *,
        lazy: bool = False,
        **certain: float,
    ) -> None:
        self._gamma, self._thrower = _SPENT * (1.0 - level), thrower
        self._on_toys = OnToys(thrower, level + self._gamma, n_toys, **certain)
        self._points, self._lazy = points, lazy

    def points(self, tested: Sequence[Tested]) -> list[Point]:
        """Return the points of datasets at tested values: those of the largest p-values, with all toys counted."""
        found = [[point] for point in self._on_toys.points(tested)]
        open_ones = [i for i in range(len(tested)) if not (self._lazy and found[i][0].accepted)]
        elsewhere = [
            (i, one)
            for i in open_ones
            if math.isfinite(tested[i].statistic)
            for one in _moved(tested[i], self._points(tested[i], 1.0 - self._gamma), self._thrower)
        ]
        for (i, _), point in zip(elsewhere, self._on_toys.points([one for _, one in elsewhere]), strict=True):
            found[i].append(point)
        return [self._largest(points) for points in found]

    def _largest(self, points: Sequence[Point]) -> Point:
        largest = max(points, key=lambda point: point.distance)
        p_value = min(largest.p_value + self._gamma, 1.0) if largest.p_value > 0.0 else 0.0
        return dataclasses.replace(largest, p_value=p_value, toys=sum(point.toys for point in points))


def across(observed: Observed, thrower: Thrower, one: Tested, n_toys: int) -> list[Tested]:
    """Return the observed data at a tested value, and then at other points of its region, each with toys of its own.

    The region's confidence is one minus :func:`spent`. Points at which no toys exist are left out.

    Args:
        observed: the observed data.
        thrower: throws the toys.
        one: the data at the tested value.
        n_toys: how many toys are thrown at each point.
    """
    return [one, *_moved(one, region(observed.profile, observed.poi, one.value, 1.0 - spent(n_toys)), thrower)]


def spent(n_toys: int) -> float:
    r"""Return :math:`\gamma` for p-values that have no level, as of a discovery: 2 % of what one of the toys counts.

    Args:
        n_toys: how many toys are thrown at each point.

    Example:
        >>> spent(10_000)
        2e-06
    """
    return _SPENT / n_toys


def _moved(one: Tested, points: Sequence[Array], thrower: Thrower) -> list[Tested]:
    """Return a dataset at all points of its region but the first, as far as there are toys."""
    others = [dataclasses.replace(one, pars=pars, seeds=(*one.seeds, k)) for k, pars in enumerate(points)]
    return [other for other in others[1:] if thrower.can_throw(other)]


def region(profile: Profile, poi: int, value: float, confidence: float) -> list[Array]:
    r"""Return points of the confidence region of the nuisance parameters at a value of the parameter of interest.

    The region is where :math:`-2 \log L` is above its conditional minimum by at most the quantile of a chi-square
    distribution with as many degrees of freedom as there are nuisance parameters. Its points are the conditional best
    fit and, for each nuisance parameter, some values on the way to either end of the region, all others being at their
    best fit there: nine points with one nuisance parameter, 13 with two, four each and one with more.

    Args:
        profile: the likelihood of the data.
        poi: position of the parameter of interest.
        value: its value.
        confidence: of the region.

    Returns:
        The parameters, shape ``(P,)`` each; the conditional best fit comes first.
    """
    centre, minimum = profile.at({poi: value})
    nuisances = [k for k in np.flatnonzero(~profile.fixed).tolist() if k != poi]
    points = [centre]
    if not nuisances or math.isinf(minimum):
        return points
    reach = math.sqrt(scipy.stats.chi2.ppf(confidence, len(nuisances)))
    steps = _STEPS.get(len(nuisances), _FEWEST_STEPS)
    for k in nuisances:

        def distance(x: float, k: int = k) -> float:
            return math.sqrt(max(profile.at({poi: value, k: x})[1] - minimum, 0.0))

        start, sigma = float(centre[k]), profile.scale(k)
        for bound, way in zip(profile.bounds[k], (-1.0, 1.0), strict=True):
            if start == bound:
                continue
            end = crossing(distance, reach, start, start + way * reach * sigma, bound)
            if math.isfinite(end):
                points += [
                    profile.at({poi: value, k: start + share * (end - start)})[0]
                    for share in np.arange(1, steps + 1) / steps
                ]
    return points
