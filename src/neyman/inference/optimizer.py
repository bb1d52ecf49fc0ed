"""pyhf's minuit optimizer with the model's exact gradient."""

from __future__ import annotations

import copy
from typing import Any

import iminuit
import numpy as np
import pyhf
import scipy.optimize

from neyman.inference.minimise import TwiceNLL, minuit

__all__ = ["optimizer"]


def __dir__() -> list[str]:
    return __all__


def optimizer(**options: Any) -> pyhf.optimize.minuit_optimizer:
    """Return pyhf's minuit optimizer with the model's exact gradient.

    For a plain :class:`pyhf.Model`, or an objective other than pyhf's ``twice_nll``, it is pyhf's own
    :class:`pyhf.optimize.minuit_optimizer`; and where every parameter is fixed, it returns them.

    Args:
        options: those of :class:`pyhf.optimize.minuit_optimizer`, as ``tolerance``, ``strategy``, ``maxiter``; only
            that the tolerance is 0.01 by default, for exact gradients make precision cheap.

    Example:
        >>> import neyman.inference.minimise, pyhf
        >>> pyhf.set_backend("numpy", neyman.inference.optimizer.optimizer())
        >>> model = pyhf.simplemodels.uncorrelated_background([5.0], [50.0], [7.0])
        >>> data = [60.0, *model.config.auxdata]
        >>> bool(pyhf.infer.mle.fit(data, model)[0] > 1.0)
        True
    """
    return _Optimizer(**{"tolerance": 0.01, **options})


class _Optimizer(pyhf.optimize.minuit_optimizer):
    """pyhf's minuit optimizer; a copy of it, with the problem at hand, serves each minimisation."""

    __slots__ = ("_likelihood",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._likelihood: TwiceNLL | None = None

    def minimize(
        self,
        objective: Any,
        data: Any,
        pdf: Any,
        init_pars: Any,
        par_bounds: Any,
        fixed_vals: Any = None,
        **kwargs: Any,
    ) -> Any:
        fixed = dict(fixed_vals or [])
        if len(fixed) == pdf.config.npars:
            return _nothing_to_fit(objective, data, pdf, fixed, kwargs)
        if objective is not pyhf.infer.mle.twice_nll or not hasattr(pdf, "evaluate") or kwargs.get("do_grad") is False:
            return super().minimize(objective, data, pdf, init_pars, par_bounds, fixed_vals, **kwargs)
        # Minuit 2.33 mixes up the Hessian's rows where parameters are fixed: leave those out of it altogether, unless
        # the caller wants to see the minuit object with all parameters
        kwargs["do_stitch"] = bool(kwargs.get("do_stitch")) or not kwargs.get("return_result_obj")
        free = np.array([not (kwargs["do_stitch"] and index in fixed) for index in range(pdf.config.npars)])
        pars = [fixed.get(index, value) for index, value in enumerate(init_pars)]
        solver = copy.copy(self)
        solver._likelihood = TwiceNLL(pdf, pyhf.tensorlib.astensor(data), pars, free)
        solver.strategy = 0 if self.strategy is None else self.strategy
        kwargs["do_grad"] = False  # pyhf's numpy shim knows no gradients: ours goes to iminuit directly
        return super(_Optimizer, solver).minimize(objective, data, pdf, init_pars, par_bounds, fixed_vals, **kwargs)

    def _get_minimizer(
        self,
        objective_and_grad: Any,
        init_pars: Any,
        init_bounds: Any,
        fixed_vals: Any = None,
        do_grad: bool = False,
        par_names: Any = None,
    ) -> iminuit.Minuit:
        nll = self._likelihood
        if nll is not None and not fixed_vals:
            minimiser = minuit(nll, init_pars, init_bounds, par_names)
            minimiser.print_level = self.verbose
            minimiser.errordef = self.errordef
            return minimiser
        if nll is None:
            return super()._get_minimizer(objective_and_grad, init_pars, init_bounds, fixed_vals, do_grad, par_names)
        both = lambda pars: (nll(pars), nll.gradient(pars))  # noqa: E731
        return super()._get_minimizer(both, init_pars, init_bounds, fixed_vals, True, par_names)


def _nothing_to_fit(objective: Any, data: Any, pdf: Any, fixed: dict[int, float], options: dict[str, Any]) -> Any:
    """Return what pyhf's optimizers return, for parameters that are all fixed."""
    pars = np.array([fixed[index] for index in range(len(fixed))], dtype=np.float64)
    value = np.asarray(objective(pars, pyhf.tensorlib.astensor(data), pdf)[0])
    zero = np.zeros_like(pars)
    correlation = np.zeros((pars.size, pars.size))
    fitted = np.stack([pars, zero], axis=1) if options.get("return_uncertainties") else pars
    result = scipy.optimize.OptimizeResult(
        x=fitted,
        fun=value,
        unc=zero,
        corr=correlation,
        success=True,
        message="All parameters are fixed.",
        nfev=1,
        minuit=None,
    )
    wanted = [fitted]
    if options.get("return_correlations"):
        wanted.append(correlation)
    if options.get("return_fitted_val"):
        wanted.append(value)
    if options.get("return_result_obj"):
        wanted.append(result)
    return tuple(wanted) if len(wanted) > 1 else wanted[0]
