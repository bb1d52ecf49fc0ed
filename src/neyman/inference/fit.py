"""Maximum-likelihood fits and profile-likelihood scans, by iminuit with exact gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyhf
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter
from neyman.inference.parameters import Bounds, Fixed, Start, parameter_index
from neyman.inference.profile import Profile
from neyman.model.constraints import constraints
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.summary import Data
from neyman.results import FitResult, ScanResult
from neyman.support.checks import checked_number, checked_values

__all__ = ["fit", "scan"]


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
        is at its bound.

    Raises:
        InvalidParameter: for a parameter or value that the model does not have or allow, or data that are not finite.
        FailedFit: if the minimisation does not converge.

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
    profile = Profile(data, model, init, bounds, fixed)
    names = [minos] if isinstance(minos, str) else list(minos)
    uncertainties = {name: profile.minos(name) for name in names}
    pars, value = profile.best
    covariance = profile.covariance
    message = "converged."
    if profile.fixed.all():
        message = "all parameters are fixed."
    elif not profile.curved:
        message = "converged, but the data do not determine every parameter: the Hessian is not positive definite."
    terms = constraints(model)
    return FitResult(
        names=tuple(profile.names),
        bestfit=pars,
        uncertainty=np.sqrt(np.maximum(np.diag(covariance), 0.0)),
        covariance=covariance,
        twice_nll=value,
        minos=uncertainties,
        valid=True,
        message=message,
        labels=tuple(
            "fixed" if fix else "constrained" if name in terms else "free"
            for name, fix in zip(profile.names, profile.fixed, strict=True)
        ),
        constraints=terms,
    )


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
            side of the best fit, within the bounds.
        points: how many there are by default: 31, or 21 a side for two parameters.
        init: starting values of the global fit, as for :func:`fit`.
        bounds: bounds, as for :func:`fit`.
        fixed: parameters held at a value, as for :func:`fit`.

    Returns:
        The scan: -2 log of the profile likelihood ratio, zero at the best fit.

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
    widths = np.sqrt(np.maximum(np.diag(profile.covariance), 0.0))
    if len(names) == 1:
        return ScanResult(names[0], axes[0], delta, float(best[indices[0]]), float(widths[indices[0]]))
    first, second = indices
    return ScanResult(
        (names[0], names[1]),
        (axes[0], axes[1]),
        delta,
        (float(best[first]), float(best[second])),
        (float(widths[first]), float(widths[second])),
    )


def _axis(profile: Profile, index: int, values: ArrayLike | None, points: int, name: str) -> Array:
    if values is not None:
        return checked_values(values, f"the values to scan {name} at")
    points = checked_number(points, "the number of points")
    best = profile.best[0][index]
    reach = _SCAN_WIDTH * float(np.sqrt(max(profile.covariance[index, index], 0.0)))
    low, high = profile.bounds[index]
    return np.linspace(max(low, best - reach), min(high, best + reach), points)


def _from_the_inside(profile: Profile, indices: list[int], axes: list[Array]) -> list[tuple[int, ...]]:
    """Return the cells of the grid, those close to the best fit first: each later one has a neighbour to start from."""
    covariance = profile.covariance
    scales = [float(np.sqrt(covariance[index, index])) or 1.0 for index in indices]
    distance = np.zeros([axis.size for axis in axes])
    for dimension, (index, axis, scale) in enumerate(zip(indices, axes, scales, strict=True)):
        shape = [-1 if i == dimension else 1 for i in range(len(axes))]
        distance = distance + (((axis - profile.best[0][index]) / scale) ** 2).reshape(shape)
    order = np.argsort(distance, axis=None, kind="stable")
    return [tuple(int(i) for i in np.unravel_index(flat, distance.shape)) for flat in order]
