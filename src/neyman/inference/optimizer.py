"""pyhf's minuit optimizer with the model's exact gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import iminuit
import numpy as np
import pyhf
import scipy.optimize
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import FailedFit
from neyman.inference.minimise import minimise, minuit
from neyman.inference.optimum import examined
from neyman.inference.twice_nll import TwiceNLL
from neyman.model.model import Model

__all__ = ["optimizer"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


def optimizer(**options: Any) -> pyhf.optimize.minuit_optimizer:
    """Return pyhf's minuit optimizer with the model's exact gradient.

    For a plain :class:`pyhf.Model`, or an objective other than pyhf's ``twice_nll``, it is pyhf's own
    :class:`pyhf.optimize.minuit_optimizer`; and where every parameter is fixed, it returns them.

    Args:
        options: those of :class:`pyhf.optimize.minuit_optimizer`, as ``tolerance``, ``strategy``, ``maxiter``; only
            that the tolerance is 0.01 by default, for exact gradients make precision cheap.

    Example:
        >>> import neyman, pyhf
        >>> pyhf.set_backend("numpy", neyman.optimizer())
        >>> model = pyhf.simplemodels.uncorrelated_background([5.0], [50.0], [7.0])
        >>> data = [60.0, *model.config.auxdata]
        >>> bool(pyhf.infer.mle.fit(data, model)[0] > 1.0)
        True
    """
    return _Optimizer(**{"tolerance": 0.01, **options})


class _Optimizer(pyhf.optimize.minuit_optimizer):
    """pyhf's minuit optimizer, whose ``minimize`` leaves our models' likelihoods to our own minimiser."""

    __slots__ = ()

    def minimize(
        self,
        objective: Any,
        data: ArrayLike,
        pdf: pyhf.Model,
        init_pars: Sequence[float],
        par_bounds: Any,
        fixed_vals: Any = None,
        return_fitted_val: bool = False,
        return_result_obj: bool = False,
        return_uncertainties: bool = False,
        return_correlations: bool = False,
        do_grad: bool | None = None,
        do_stitch: bool = False,
        **options: Any,
    ) -> Any:
        """Minimise as :meth:`pyhf.optimize.mixins.OptimizerMixin.minimize` does, and return what that returns."""
        held = dict(fixed_vals or [])
        nothing_to_fit = len(held) == pdf.config.npars
        ours = objective is pyhf.infer.mle.twice_nll and isinstance(pdf, Model) and do_grad is not False
        if not (ours or nothing_to_fit):
            return super().minimize(
                objective, data, pdf, init_pars, par_bounds, fixed_vals, return_fitted_val, return_result_obj,
                return_uncertainties, return_correlations, do_grad, do_stitch, **options,
            )  # fmt: skip
        data = pyhf.tensorlib.astensor(data)
        pars = np.array([held.get(index, value) for index, value in enumerate(init_pars)], dtype=np.float64)
        if nothing_to_fit:
            result = _constant(np.asarray(objective(pars, data, pdf)[0]), pars)
        else:
            # Minuit 2.33 mixes up the Hessian's rows where parameters are fixed: leave those out of it altogether,
            # unless the caller wants to see the minuit object with all parameters
            left_out = {} if return_result_obj and not do_stitch else held
            free = np.array([index not in left_out for index in range(pars.size)])
            result = self._minimum(TwiceNLL(pdf, data, pars, free), pars, free, par_bounds, held, **options)
        if return_uncertainties:
            result.x = np.stack([result.x, result.unc], axis=1)
        wanted = (True, return_correlations, return_fitted_val, return_result_obj)
        values = [
            value for value, want in zip((result.x, result.corr, result.fun, result), wanted, strict=True) if want
        ]
        return tuple(values) if len(values) > 1 else values[0]

    def _minimum(
        self,
        nll: TwiceNLL,
        pars: Array,
        free: NDArray[np.bool_],
        bounds: Sequence[tuple[float, float]],
        held: Mapping[int, float],
        *,
        maxiter: int | None = None,
        strategy: int | None = None,
        tolerance: float | None = None,
        **others: Any,
    ) -> scipy.optimize.OptimizeResult:
        """Return what pyhf does of a minimum; the parameters that are not free are none of Minuit's."""
        if others:
            raise pyhf.exceptions.Unsupported(f"Unsupported options were passed in: {list(others)}.")
        places = np.flatnonzero(free)
        names = [nll.model.config.par_names[place] for place in places]
        known = {position: held[place] for position, place in enumerate(places.tolist()) if place in held}
        # Minuit would move a value that is fixed outside its bounds
        limits = [(min(bounds[i][0], held.get(i, math.inf)), max(bounds[i][1], held.get(i, -math.inf))) for i in places]
        minimiser = minuit(nll, pars[places], limits, names, use_hessian=not known)
        for position, value in known.items():
            minimiser.fixed[position] = True
            minimiser.values[position] = value
        minimiser.print_level = self.verbose
        minimiser.errordef = self.errordef
        minimiser.tol = self.tolerance if tolerance is None else tolerance
        minimiser.strategy = next((given for given in (strategy, self.strategy) if given is not None), 0)
        minimiser.migrad(ncall=self.maxiter if maxiter is None else maxiter)
        if not minimiser.fmin.has_reached_call_limit and not (minimiser.valid and math.isfinite(minimiser.fval)):
            return self._at_edge(nll, pars, bounds, held, minimiser)
        if not minimiser.valid:
            reason = " Call limit was reached." if minimiser.fmin.has_reached_call_limit else ""
            reason += " Estimated distance to minimum too large." if minimiser.fmin.is_above_max_edm else ""
            message = f"Optimization failed.{reason}"
            result = scipy.optimize.OptimizeResult(success=False, message=message, minuit=minimiser)
            raise pyhf.exceptions.FailedMinimization(result)
        minimiser.hesse()
        uncertainty, correlation = np.zeros(pars.size), np.zeros((pars.size, pars.size))
        uncertainty[places] = np.where(minimiser.fixed, 0.0, minimiser.errors)
        correlation[np.ix_(places, places)] = minimiser.covariance.correlation()
        return scipy.optimize.OptimizeResult(
            x=nll.full(np.array(minimiser.values)),
            unc=uncertainty,
            corr=correlation,
            success=True,
            fun=np.asarray(minimiser.fval),
            hess_inv=minimiser.covariance,
            message="Optimization terminated successfully.",
            nfev=minimiser.nfcn,
            njev=minimiser.ngrad,
            minuit=minimiser,
        )

    def _at_edge(
        self,
        nll: TwiceNLL,
        pars: Array,
        bounds: Sequence[tuple[float, float]],
        held: Mapping[int, float],
        minimiser: iminuit.Minuit,
    ) -> scipy.optimize.OptimizeResult:
        """Return the minimum that Minuit has not found, as at the edge of the likelihood's domain, by our own fit."""
        free = np.array([index not in held for index in range(pars.size)])
        places = np.flatnonzero(free)
        limits, names = [bounds[i] for i in places], [nll.model.config.par_names[i] for i in places]
        nll = TwiceNLL(nll.model, nll.data, pars, free)
        try:
            found, value = minimise(nll, pars[free], limits, names)
        except FailedFit as error:
            message = f"Optimization failed. {error}"
            result = scipy.optimize.OptimizeResult(success=False, message=message, minuit=minimiser)
            raise pyhf.exceptions.FailedMinimization(result) from error
        covariance = examined(nll, found, limits).covariance
        sigma = np.sqrt(np.diag(covariance))
        uncertainty, correlation = np.zeros(pars.size), np.zeros((pars.size, pars.size))
        uncertainty[places] = sigma
        scale = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0.0)
        correlation[np.ix_(places, places)] = covariance * np.outer(scale, scale)
        return scipy.optimize.OptimizeResult(
            x=nll.full(found),
            unc=uncertainty,
            corr=correlation,
            success=True,
            fun=np.asarray(value),
            hess_inv=covariance,
            message="Optimization terminated successfully, by Newton's method.",
            nfev=minimiser.nfcn,
            njev=minimiser.ngrad,
            minuit=minimiser,
        )


def _constant(value: Array, pars: Array) -> scipy.optimize.OptimizeResult:
    """Return what pyhf does of a minimum, for parameters that are all fixed."""
    return scipy.optimize.OptimizeResult(
        x=pars,
        unc=np.zeros_like(pars),
        corr=np.zeros((pars.size, pars.size)),
        success=True,
        fun=value,
        message="All parameters are fixed.",
        nfev=1,
        minuit=None,
    )
