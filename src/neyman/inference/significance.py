"""The significance of a discovery: how improbable the data are without signal."""

from __future__ import annotations

import math
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pyhf
import scipy.stats

from neyman.inference.calibrations import Thrower, check_nuisance, chosen_calibration, fraction_at_least
from neyman.inference.observed import Observed, asimov_data, wider_bounds
from neyman.inference.outside import warn_of_outside
from neyman.inference.parameters import Bounds, Fixed, Start
from neyman.inference.statistics import statistic_named
from neyman.inference.throws import BATCH, can_throw
from neyman.inference.worst import across, spent
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.summary import Data
from neyman.results import SignificanceResult
from neyman.support.checks import checked_number
from neyman.support.store import Store

__all__ = ["significance"]


def __dir__() -> list[str]:
    return __all__


_SIGNAL = 1.0  # of the parameter of interest, in the Asimov data of the expected significance


def significance(
    data: Data,
    model: Model | pyhf.Model,
    calibration: str = "asymptotics",
    *,
    n_toys: int = 10_000,
    seed: int = 0,
    executor: Executor | None = None,
    source: str = "simulation",
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
    nuisance: str = "profile",
    calctype: str | None = None,
) -> SignificanceResult:
    r"""Return the significance of a signal: the p-value of the data without signal, in standard deviations.

    The test statistic is :math:`q_0` of arXiv:1007.1727, eq. 12, at zero; the asymptotic p-value is
    :math:`1 - \Phi(\sqrt{q_0})`, eq. 52, one half where the data show no excess, as in pyhf. On toys it is the fraction
    of toys without signal whose statistic is at least as large, thrown with the nuisance parameters at their
    conditional best fit in the data.

    Args:
        data: the flat data vector, as from ``model.data(ensemble)``, shape ``(N,)``.
        model: the model.
        calibration: where the p-value comes from: ``"asymptotics"`` or ``"toys"``.
        n_toys: how many toys are thrown, as all that follows with ``"toys"`` alone. A significance of five standard
            deviations is one toy in 3.5 million.
        seed: fixes the toys; the executor does not change them.
        executor: any :class:`concurrent.futures.Executor`; default is this process.
        source: ``"simulation"`` for toys of simulated events, ``"model"`` for toys of the learned density.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.
        checkpoint: a file for the finished toys: the same call after an interruption goes on from it.
        progress: whether to show a progress bar.
        nuisance: where toys are thrown: ``"profile"`` for the nuisance parameters' conditional best fit in the data, or
            ``"worst"`` for the largest p-value of their confidence region, as for :func:`neyman.limit`: ``n_toys`` at
            each of its points.
        calctype: ``calibration`` as pyhf calls it; ``"toybased"`` is ``"toys"``.

    Returns:
        The p-value and the significance. With the asymptotic formula also the expected significance: that of the
        Asimov data at a parameter of interest of one, with the nuisance parameters as the data would have them there.

    Raises:
        InvalidParameter: for an argument that cannot be, or a model without a POI or whose POI cannot be zero.
        FailedFit: if a minimisation does not converge, or no toy has a valid fit.

    Example:
        >>> import neyman, pyhf
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> data = [70.0, 67.0, *model.config.auxdata]
        >>> neyman.significance(data, model)
        significance of mu: 2.79 standard deviations (asymptotics), p-value 0.00261; expected at mu = 1: 1.8
    """
    model, calibration = as_model(model), chosen_calibration(calibration, calctype, "asymptotics", "toys")
    check_nuisance(calibration, nuisance)
    n_toys, test = checked_number(n_toys, "the number of toys"), statistic_named("q0")
    warnings = warn_of_outside(data, model)
    observed = Observed(data, model, test, init, bounds, fixed)
    settings = observed.settings(source)
    [tested] = observed.tested(observed.checked([0.0]).tolist(), seed)
    expected, message = math.nan, ""
    p_value, p_error, number = float(scipy.stats.norm.sf(math.sqrt(tested.statistic))), 0.0, 0
    deviations = math.sqrt(tested.statistic)
    if math.isinf(tested.statistic):
        message = f"the data are impossible without signal: {observed.why_impossible(tested.pars)}"
    elif calibration == "toys":
        worst = nuisance == "worst"
        label = ["worst", n_toys] if worst else []  # the number of toys decides how large the region is
        store = Store(checkpoint, model, ["significance", observed.label(), seed, source, BATCH, *label])
        thrower = Thrower(model, settings, store, executor, progress)
        points = across(observed, thrower, tested, n_toys) if worst else [tested]
        toys = [np.sort(values) for values in thrower.toys(points, n_toys).values()]
        p_value, p_error = max(fraction_at_least(values, tested.statistic) for values in toys)
        number = sum(values.size for values in toys)
        if p_value == 0.0:
            message = f"none of {number} toys has a statistic as large: at least this significance, throw more toys"
        elif worst:
            p_value = min(p_value + spent(n_toys), 1.0)
        deviations = float(scipy.stats.norm.isf(p_value or p_error))
    low, high = observed.bounds
    if math.isfinite(tested.statistic) and observed.best >= high:
        cut_off = f"the best fit is at the upper bound {high:g}, beyond which the significance may be larger"
        message = "; ".join(filter(None, [message, cut_off, wider_bounds(observed)]))
    if calibration == "asymptotics":
        with_signal = observed.at(_SIGNAL)
        if low <= _SIGNAL <= high and can_throw(model, with_signal, "model"):
            asimov = asimov_data(model, with_signal)
            expected = math.sqrt(Observed(asimov, model, test, init, observed.profile.bounds, fixed).statistic(0.0))
    return SignificanceResult(
        name=observed.name,
        statistic=tested.statistic,
        p_value=p_value,
        p_error=p_error,
        significance=max(deviations, 0.0),
        error=p_error / float(scipy.stats.norm.pdf(deviations)) if p_error > 0.0 and math.isfinite(deviations) else 0.0,
        expected=expected,
        bestfit=observed.best,
        calibration=calibration,
        toys=number,
        message=message,
        warnings=warnings,
    )
