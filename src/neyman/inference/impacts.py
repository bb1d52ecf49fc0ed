"""Impacts of parameters on the best fit of one of interest, by warm-started fits with the exact gradient."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyhf
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.fit import fitted
from neyman.inference.outside import warn_of_outside
from neyman.inference.parameters import Bounds, Fixed, Start, parameter_index
from neyman.inference.profile import Profile
from neyman.inference.simulation import simulation_parameters
from neyman.inference.twice_nll import TwiceNLL
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.summary import Data, Summary
from neyman.results import FitResult, ImpactsResult
from neyman.support.messages import did_you_mean

__all__ = ["impacts"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_SLOPE = 1e-3  # of -2 log L in whitened parameters where a fit ends: 5e-7 above the minimum


def impacts(
    data: Data,
    model: Model | pyhf.Model,
    poi: str | None = None,
    parameters: Sequence[str] | None = None,
    groups: Mapping[str, str | Sequence[str]] | None = None,
    *,
    prefit: bool = True,
    blind: bool = False,
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
) -> ImpactsResult:
    """Rank the parameters by how far they move the best fit of one of interest, and split its uncertainty.

    The impact of a parameter *before* and *after* the fit is the change of the best fit of ``poi`` when the parameter
    is held at its own best fit -+ the width of its constraint, or -+ its uncertainty. These impacts do not add up to
    the uncertainty. The changes when the *auxiliary data* of one constraint are shifted by their standard deviation do
    (arXiv:2307.04007): their sum in quadrature is the systematic part of the uncertainty, and what is left of it is
    that of the data, to which parameters without a constraint belong.

    Every fit starts where the curvature at the best fit says that the new one is, and takes a few evaluations.

    Args:
        data: the flat data vector, shape ``(N,)``, or the summary of a dataset.
        model: the model, or a plain :class:`pyhf.Model`.
        poi: the parameter whose best fit moves; the model's parameter of interest by default.
        parameters: those to rank, by name or with wildcards as ``"jes_*"``; all that are not fixed by default.
        groups: names of groups with their parameters, by name or with wildcards, whose part of the uncertainty is
            wanted.
        prefit: whether to compute the impacts before the fit, a quarter to a third of the time.
        blind: whether to hide the best fit of ``poi`` and the signs of the impacts.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.

    Returns:
        The impacts, the largest first. They are valid if the fit is, and every one of them was found.

    Raises:
        InvalidParameter: for a parameter or value that the model does not have or allow, or without a parameter of
            interest.
        FailedFit: if the fit of all parameters does not converge.

    Example:
        >>> import neyman, pyhf
        >>> model = pyhf.simplemodels.correlated_background([12.0, 11.0], [50.0, 52.0], [55.0, 55.0], [45.0, 49.0])
        >>> result = neyman.impacts([70.0, 68.0, *model.config.auxdata], model)
        >>> [round(side, 2) for side in result["correlated_bkg_uncertainty"]]
        [0.35, -0.35]
        >>> {name: round(value, 2) for name, value in result.parts.items()}
        {'data': 0.51, 'systematics': 0.35, 'simulation': 0.0}
    """
    model = as_model(model)
    name = model.config.poi_name if poi is None else poi
    if name is None:
        raise InvalidParameter("the model has no parameter of interest: give poi")
    index = parameter_index(model, name)
    warnings = warn_of_outside(data, model)
    if getattr(model, "learned", {}):
        data = model.summary(data)  # encoded once for all fits
    profile = Profile(data, model, init, bounds, fixed)
    if profile.fixed[index]:
        raise InvalidParameter(f"{name} is fixed, so that nothing moves it: leave it out of fixed")
    others = [k for k in np.flatnonzero(~profile.fixed).tolist() if k != index]
    known = [profile.names[k] for k in others]
    wanted = known if parameters is None else _chosen(parameters, known, "parameters")
    ranked = [k for k in others if profile.names[k] in wanted]
    members = {group: _chosen(names, known, f"group {group}") for group, names in (groups or {}).items()}
    fit = fitted(profile, warnings=warnings)
    shifts = _Shifts(profile, index)
    rows = {k: shifts.row(k, fit.constraints.get(profile.names[k]), prefit) for k in ranked}
    by_data = {k: rows[k].auxdata if k in rows else shifts.by_auxdata(k) for k in others}
    order = sorted(ranked, key=lambda k: -float(np.nan_to_num(np.abs(rows[k].postfit).max())))
    hidden = np.abs if blind else np.asarray
    parts, sizes = _parts(fit, model, name, {profile.names[k]: pair for k, pair in by_data.items()})
    lost = [profile.names[k] for k in others if k in shifts.lost]
    complaint = f"no fit was found with {', '.join(lost)} moved." if lost else "" if fit.valid else fit.message
    return ImpactsResult(
        poi=name,
        value=math.nan if blind else fit[name],
        total=fit.error(name),
        names=tuple(profile.names[k] for k in order),
        bestfit=fit.bestfit[order],
        uncertainty=fit.uncertainty[order],
        prefit=hidden(np.array([rows[k].prefit for k in order]).reshape(-1, 2)),
        postfit=hidden(np.array([rows[k].postfit for k in order]).reshape(-1, 2)),
        auxdata=hidden(np.array([rows[k].auxdata for k in order]).reshape(-1, 2)),
        parts=parts,
        simulation=math.nan if fit.simulation is None else float(fit.simulation[index]),
        groups={group: math.hypot(*(sizes.get(one, 0.0) for one in names)) for group, names in members.items()},
        constraints={profile.names[k]: fit.constraints[profile.names[k]] for k in order if k in shifts.places},
        blind=blind,
        valid=fit.valid and not lost,
        message=complaint,
        warnings=warnings,
    )


def _chosen(wanted: str | Sequence[str], known: Sequence[str], what: str) -> list[str]:
    """Return the parameters that are named, or match what is named."""
    found: list[str] = []
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        matching = [pattern] if pattern in known else fnmatch.filter(known, pattern)
        if not matching:
            raise InvalidParameter(f"{what}: no free parameter {pattern!r} beside that of interest; "
                                   f"{did_you_mean(pattern, known)}")  # fmt: skip
        found += matching
    return list(dict.fromkeys(found))


def _parts(
    fit: FitResult, model: Model, poi: str, by_data: Mapping[str, Array]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the parts of the uncertainty in quadrature, and the size of that of every constraint."""
    sizes = {name: float(np.abs(pair).mean()) for name, pair in by_data.items() if not np.isnan(pair).all()}
    simulated = simulation_parameters(model)
    simulation = math.hypot(*(size for name, size in sizes.items() if name in simulated))
    systematics = math.hypot(*(size for name, size in sizes.items() if name not in simulated))
    rest = fit.error(poi) ** 2 - simulation**2 - systematics**2
    return {"data": math.sqrt(max(rest, 0.0)), "systematics": systematics, "simulation": simulation}, sizes


@dataclass(frozen=True)
class _Row:
    """The impacts of one parameter, each of shape ``(2,)``."""

    prefit: Array
    postfit: Array
    auxdata: Array


class _Shifts:
    """The changes of the best fit of one parameter when others, or their auxiliary data, are moved."""

    def __init__(self, profile: Profile, index: int) -> None:
        self.profile, self.index = profile, index
        self.best = profile.best[0]
        self.lost: set[int] = set()
        """The parameters with which a fit was not found."""
        terms = getattr(profile.model, "constraints", None)
        self.places: dict[int, list[int]] = {}
        """Of each constrained parameter the positions of its auxiliary data."""
        for place, parameter in enumerate([] if terms is None else terms.parameters.tolist()):
            self.places.setdefault(parameter, []).append(place)

    def row(self, k: int, constraint: tuple[float, float] | None, prefit: bool) -> _Row:
        """Return all impacts of the parameter at position ``k``."""
        sigma = math.sqrt(max(float(self.profile.covariance[k, k]), 0.0))
        before = constraint[1] if prefit and constraint is not None else 0.0
        return _Row(self._by_holding(k, before), self._by_holding(k, sigma), self.by_auxdata(k))

    def _by_holding(self, k: int, width: float) -> Array:
        """Return the changes with a parameter held at its best fit -+ a width, or at a bound that is nearer."""
        covariance, best = self.profile.covariance, self.best
        if not width > 0.0 or not covariance[k, k] > 0.0:
            return np.full(2, np.nan)
        free = ~self.profile.fixed
        free[k] = False
        changes = np.empty(2)
        for side, value in enumerate(np.clip(best[k] + np.array([-width, width]), *self.profile.bounds[k])):
            start = best + covariance[:, k] / covariance[k, k] * (value - best[k])
            start[k] = value
            changes[side] = self._change(
                k, self._refitted(start, free, self.profile.data), partial(self._held, k, float(value))
            )
        return changes

    def by_auxdata(self, k: int) -> Array:
        """Return the changes with the auxiliary data of a parameter one standard deviation lower and higher."""
        if k not in self.places or not self.profile.covariance[k, k] > 0.0:
            return np.full(2, np.nan)
        model, best = self.profile.model, self.best
        data, place = self.profile.data, self.places[k]
        auxdata = data.auxdata if isinstance(data, Summary) else np.asarray(data)[-model.config.nauxdata :]
        width = model.constraints.widths(best)[place]
        changes = np.empty(2)
        for side, way in enumerate((-1.0, 1.0)):
            shifted = np.array(auxdata, dtype=np.float64)
            shifted[place] += way * width
            pull = model.constraints(best, shifted)[1] - model.constraints(best, auxdata)[1]
            start = best + self.profile.covariance @ pull
            if isinstance(data, Summary):
                other: Data = dataclasses.replace(data, auxdata=shifted)
            else:
                other = np.concatenate([np.asarray(data, dtype=np.float64)[: -model.config.nauxdata], shifted])
            changes[side] = self._change(
                k, self._refitted(start, ~self.profile.fixed, other), partial(self._of_other_data, other)
            )
        return changes

    def _change(self, k: int, found: Array | None, again: Callable[[], Array]) -> float:
        """Return the change with the parameter at position ``k`` moved, by another fit where the first found none."""
        if found is None:
            try:
                found = again()
            except FailedFit:
                self.lost.add(k)
                return math.nan
        return float(found[self.index] - self.best[self.index])

    def _held(self, k: int, value: float) -> Array:
        return self.profile.at({k: value})[0]

    def _of_other_data(self, data: Data) -> Array:
        profile = self.profile
        return Profile(data, profile.model, self.best.tolist(), profile.bounds, dict(profile.held)).best[0]

    def _refitted(self, start: Array, free: NDArray[np.bool_], data: Data) -> Array | None:
        """Return the best fit near a start, by BFGS that knows the Hessian; ``None`` where a bound or more is met."""
        if self.profile.at_bound.any() or self.profile.edges.size:
            return None
        position = np.cumsum(~self.profile.fixed) - 1
        inside = position[np.flatnonzero(free)]
        hessian = self.profile.optimum.hessian[np.ix_(inside, inside)]
        try:
            root = cholesky(hessian, lower=True)
        except np.linalg.LinAlgError:
            return None
        low, high = np.array(self.profile.bounds).T[:, free]
        nll = TwiceNLL(self.profile.model, data, start, free)

        def parameters(white: Array) -> Array:
            return np.asarray(start[free] + solve_triangular(root, white, lower=True, trans="T"))

        def value(white: Array) -> tuple[float, Array]:
            pars = parameters(white)
            slope = solve_triangular(root, nll.gradient(pars), lower=True)
            return nll(pars), np.asarray(slope)

        if not math.isfinite(nll(start[free])):
            return None
        found = minimize(value, np.zeros(inside.size), jac=True, method="BFGS", options={"gtol": _SLOPE})
        pars = parameters(found.x)
        if not found.success or np.any((pars <= low) | (pars >= high)):
            return None
        return nll.full(pars)
