"""Maximum-likelihood fits and profile-likelihood scans, by iminuit with exact gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyhf
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter
from neyman.inference.crossing import crossing
from neyman.inference.outside import warn_of_outside
from neyman.inference.parameters import Bounds, Fixed, Start, parameter_index
from neyman.inference.profile import Profile
from neyman.inference.simulation import simulation_uncertainty
from neyman.model.constraints import constraints
from neyman.model.impossible import bin_name
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.summary import Data
from neyman.results import FitResult, ScanResult
from neyman.support.checks import checked_number, checked_values

__all__ = ["fit", "fitted", "scan"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_SCAN_WIDTH = 3.0  # standard deviations either side of the best fit


def fit(
    data: Data,
    model: Model | pyhf.Model,
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    minos: Sequence[str] = (),
) -> FitResult:
    """Fit the parameters by maximum likelihood.

    Args:
        data: the flat data vector, as from ``model.data(ensemble)``, shape ``(N,)``, or the summary of a dataset.
        model: the model, or a plain :class:`pyhf.Model`.
        init: starting values, ``P`` of them or by name; the others start where the model suggests.
        bounds: bounds, ``P`` pairs or by name; they may be infinite.
        fixed: parameters held at a value, as ``{"mu": 1.0}``, or where they start, as ``["mu"]``, beside those that the
            model itself holds fixed.
        minos: parameters to run MINOS for; ``"mu"`` and ``["mu"]`` are the same.

    Returns:
        The fit. The covariance is the inverse of half the Hessian of -2 log L at the minimum, also where a parameter
        is at its bound, which the message says. Where the Hessian says nothing about a parameter because -2 log L
        rises from a bound in a straight line, as it does without events, MINOS is run, and the longer of its sides is
        the uncertainty; one that the data do not determine at all has the uncertainty nan. The fit is valid if it is
        a minimum: stationary along the bounds that it lies on, with a positive definite Hessian there.

    Raises:
        InvalidParameter: for a parameter or value that the model does not have or allow, or data that are not finite.
        FailedFit: if the minimisation does not converge, or the likelihood is zero wherever the parameters may be.

    Example:
        >>> import neyman, pyhf
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> data = [80.0, 70.0, *model.config.auxdata]
        >>> result = neyman.fit(data, model, minos=["mu"])
        >>> round(result["mu"], 2)
        2.18
        >>> [round(side, 2) for side in result.minos["mu"]]
        [-0.59, 0.62]
    """
    model = as_model(model)
    warnings = warn_of_outside(data, model)
    return fitted(Profile(data, model, init, bounds, fixed), minos, warnings)


def fitted(profile: Profile, minos: Sequence[str] = (), warnings: tuple[str, ...] = ()) -> FitResult:
    """Return the fit of a profile likelihood, as :func:`fit` does.

    Args:
        profile: the likelihood of one dataset.
        minos: parameters to run MINOS for.
        warnings: what is to be said of the data.
    """
    names = [minos] if isinstance(minos, str) else list(minos)
    uncertainties = {name: profile.minos(name) for name in names}
    uncertainty = np.sqrt(np.maximum(np.diag(profile.covariance), 0.0))
    for index in _undetermined(profile):
        name, uncertainty[index] = profile.names[index], np.nan
        if profile.at_bound[index] or profile.edges.size:  # where -2 log L rises from there, in a straight line
            sides = uncertainties.setdefault(name, profile.minos(name))
            uncertainty[index] = _longer(profile, index, sides)
    pars, value = profile.best  # of all that MINOS may have found
    terms = constraints(profile.model)
    return FitResult(
        names=tuple(profile.names),
        bestfit=pars,
        uncertainty=uncertainty,
        covariance=profile.covariance,
        twice_nll=value,
        minos=uncertainties,
        valid=bool(profile.fixed.all()) or profile.optimum.good,
        message=_message(profile, [profile.names[index] for index in np.flatnonzero(np.isnan(uncertainty))]),
        labels=tuple(
            "fixed" if fix else "constrained" if name in terms else "free"
            for name, fix in zip(profile.names, profile.fixed, strict=True)
        ),
        constraints=terms,
        at_bound={profile.names[index]: _end(profile, index) for index in np.flatnonzero(profile.at_bound).tolist()},
        warnings=warnings,
        simulation=simulation_uncertainty(profile.model, pars, profile.covariance),
    )


def _undetermined(profile: Profile) -> list[int]:
    """Return the free parameters that the Hessian says nothing about."""
    if profile.fixed.all():
        return []
    free: NDArray[np.intp] = np.flatnonzero(~profile.fixed)
    return [int(index) for index in free[profile.optimum.undetermined]]


def _longer(profile: Profile, index: int, sides: tuple[float, float]) -> float:
    """Return the longer side of MINOS, nan if it ends at a bound or nowhere: then the data do not determine it."""
    ends = profile.best[0][index] + np.array(sides)
    found = [abs(side) for side, end in zip(sides, ends, strict=True) if end not in profile.bounds[index]]
    return max((side for side in found if np.isfinite(side) and side > 0.0), default=np.nan)


def _end(profile: Profile, index: int) -> str:
    return "lower" if profile.best[0][index] <= profile.bounds[index][0] else "upper"


def _message(profile: Profile, undetermined: Sequence[str]) -> str:
    """Return what there is to say of a fit in a line."""
    if profile.fixed.all():
        return "all parameters are fixed."
    optimum = profile.optimum
    if optimum.curved and not optimum.good:
        return f"not converged: -2 log L is expected to be lower by {optimum.distance:.2g} nearby."
    said = ["converged"]
    for index in np.flatnonzero(profile.at_bound).tolist():
        said.append(f"{profile.names[index]} is at its {_end(profile, index)} bound {profile.best[0][index]:.5g}")
    if profile.edges.size:
        bins = " and ".join(bin_name(profile.model, int(index)) for index in profile.edges)
        said.append(f"at the edge of the likelihood's domain, where nothing is expected in {bins}")
    message = ", ".join(said)
    if undetermined:
        message += f", but the data do not determine {', '.join(undetermined)}: the Hessian is not positive definite"
    elif not optimum.curved:
        message += ", but the Hessian is not positive definite"
    return message + "."


def scan(
    data: Data,
    model: Model | pyhf.Model,
    name: str | Sequence[str],
    values: Any = None,
    points: int | None = None,
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
) -> ScanResult:
    """Scan the profile likelihood ratio over one parameter or two.

    Each point starts from its nearest neighbour, so that a scan costs a few evaluations a point.

    Args:
        data: the flat data vector, shape ``(N,)``, or the summary of a dataset.
        model: the model, or a plain :class:`pyhf.Model`.
        name: the parameter, or a pair of them.
        values: the values to scan, shape ``(n,)``, or a pair of such axes; default is three standard deviations either
            side of the best fit, within the bounds; where the Hessian gives none, the bounds, or as far as MINOS says.
        points: how many there are by default: 31, or 21 a side for two parameters.
        init: starting values of the global fit, as for :func:`fit`.
        bounds: bounds, as for :func:`fit`.
        fixed: parameters held at a value, as for :func:`fit`.

    Returns:
        The scan: -2 log of the profile likelihood ratio, zero at the best fit, infinite where the likelihood is zero.

    Raises:
        InvalidParameter: for a parameter or value that the model does not have or allow, or data that are not finite.
        FailedFit: if a minimisation does not converge.

    Example:
        >>> import neyman, pyhf
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> data = [80.0, 70.0, *model.config.auxdata]
        >>> neyman.scan(data, model, "mu", [1.0, 2.0, 3.0]).delta_twice_nll.round(1)
        array([4.1, 0.1, 1.8])
    """
    model = as_model(model)
    warnings = warn_of_outside(data, model)
    profile = Profile(data, model, init, bounds, fixed)
    names = [name] if isinstance(name, str) else list(name)
    if len(names) not in (1, 2) or len(set(names)) != len(names):
        raise InvalidParameter(f"a scan takes one parameter or two different ones, not {', '.join(names) or 'none'}")
    indices = [parameter_index(model, entry) for entry in names]
    for entry, index in zip(names, indices, strict=True):
        if profile.fixed[index]:
            raise InvalidParameter(f"cannot scan {entry}, which is fixed: leave it out of fixed")
    given = [None] * len(names) if values is None else [values] if len(names) == 1 else list(values)
    if len(given) != len(names):
        raise InvalidParameter(f"a scan of {names[0]} and {names[1]} takes a pair of axes as values")
    number = points if points is not None else (31 if len(names) == 1 else 21)
    axes = [
        _axis(profile, index, axis, number, entry) for entry, index, axis in zip(names, indices, given, strict=True)
    ]
    profiled = np.empty([axis.size for axis in axes])
    for cell in _from_the_inside(profile, indices, axes):
        held = {index: float(axis[i]) for index, axis, i in zip(indices, axes, cell, strict=True)}
        profile.ratio(held)  # which finds a better maximum if there is one on the way
        profiled[cell] = profile.at(held)[1]
    best, minimum = profile.best
    delta = np.maximum(profiled - minimum, 0.0)
    widths = [_width(profile, index) for index in indices]
    if len(names) == 1:
        return ScanResult(names[0], axes[0], delta, float(best[indices[0]]), widths[0], warnings=warnings)
    first, second = indices
    return ScanResult(
        (names[0], names[1]),
        (axes[0], axes[1]),
        delta,
        (float(best[first]), float(best[second])),
        (widths[0], widths[1]),
        warnings=warnings,
    )


def _width(profile: Profile, index: int) -> float:
    """Return the uncertainty that a fit gives of a parameter."""
    if index not in _undetermined(profile):
        return float(np.sqrt(max(profile.covariance[index, index], 0.0)))
    return _longer(profile, index, profile.minos(profile.names[index]))


def _axis(profile: Profile, index: int, values: ArrayLike | None, points: int, name: str) -> Array:
    if values is not None:
        return checked_values(values, f"the values to scan {name} at")
    points = checked_number(points, "the number of points")
    best, (low, high) = profile.best[0][index], profile.bounds[index]
    width = _width(profile, index)
    if np.isnan(width):  # which the data do not determine
        width = (high - low) if np.isfinite(high - low) else profile.scale(index)
    reach = _SCAN_WIDTH * width
    ends = [
        _inside(profile, index, float(best), float(end)) for end in (max(low, best - reach), min(high, best + reach))
    ]
    return np.linspace(ends[0], ends[1], points)


def _inside(profile: Profile, index: int, best: float, end: float) -> float:
    """Return the end of a range, drawn in to where the likelihood is zero beyond."""
    if end == best or np.isfinite(profile.ratio({index: end})):
        return end
    return crossing(lambda value: profile.ratio({index: value}), np.inf, best, end, end)


def _from_the_inside(profile: Profile, indices: list[int], axes: list[Array]) -> list[tuple[int, ...]]:
    """Return the cells of the grid, those close to the best fit first: each later one has a neighbour to start from."""
    scales = [profile.scale(index) for index in indices]
    distance = np.zeros([axis.size for axis in axes])
    for dimension, (index, axis, scale) in enumerate(zip(indices, axes, scales, strict=True)):
        shape = [-1 if i == dimension else 1 for i in range(len(axes))]
        distance = distance + (((axis - profile.best[0][index]) / scale) ** 2).reshape(shape)
    order = np.argsort(distance, axis=None, kind="stable")
    return [tuple(int(i) for i in np.unravel_index(flat, distance.shape)) for flat in order]
