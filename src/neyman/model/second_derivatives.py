"""Second derivatives of the log-likelihood: exact for the events of mixtures, of the rates by differences of Jacobians.

They take about as long as five evaluations of the gradient, whatever the number of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.model.likelihood import LearnedTerm
from neyman.model.mixture import MixtureChannel
from neyman.model.model import Model

__all__ = ["second_derivatives"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_POINTS = 16  # of which Jacobians are in memory at once


def second_derivatives(
    model: Model, pars: Array, main: Array, auxdata: Array, summaries: Mapping[str, Any], steps: Array
) -> Array | None:
    r"""Return the second derivatives of the log-likelihood.

    With :math:`\lambda` the log-likelihood as a function of the rates :math:`\nu` and of the shape parameters, they are
    those of :math:`\lambda` with rates that are linear in the parameters, plus
    :math:`\sum \partial \lambda / \partial \nu \; \partial^2 \nu`.

    Args:
        model: the model.
        pars: the parameters, shape ``(P,)``.
        main: counts and, for learned channels, sums of weights, shape ``(B,)``.
        auxdata: the auxiliary data, shape ``(A,)``.
        summaries: the summary of every learned channel.
        steps: small steps of the parameters, of either sign, to points where the likelihood is defined; where one is
            zero the parameter stays where it is, and its row and column are zero. Shape ``(P,)``.

    Returns:
        Shape ``(P, P)``; ``None`` where they are not to be had so: at the edge of the likelihood's domain, or where a
        learned channel is no mixture.

    Example:
        >>> import numpy as np
        >>> import neyman
        >>> spec = {"channels": [{"name": "SR", "samples": [{"name": "signal", "data": [5.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}]}
        >>> model = neyman.Model(spec, {}, poi_name="mu")
        >>> second_derivatives(model, np.ones(1), np.array([10.0]), np.empty(0), {}, np.array([1e-3])).round(6)
        array([[-10.]])
    """
    rates, jacobian = model.rates(pars)
    counted = model.counted
    expected = rates.sum(axis=0)[counted]
    if not np.all(expected > 0.0) or not np.isfinite(jacobian).all():
        return None
    slopes = jacobian.sum(axis=0)[counted]
    total = -(slopes.T * (main[counted] / expected**2)) @ slopes
    by_rate = np.zeros_like(rates)
    by_rate[:, counted] = main[counted] / expected - 1.0
    for channel in model.learned.values():
        if not isinstance(channel, MixtureChannel):
            return None
        term = LearnedTerm(model, channel)
        own, alphas = rates[term.samples, term.bin], pars[term.parameters]
        found = channel.curvature(
            summaries[channel.name], own, alphas, jacobian[term.samples, term.bin], term.parameters
        )
        if found is None:
            return None
        total += found
        by_rate[term.samples, term.bin] += channel.log_ratio(summaries[channel.name], own, alphas)[1]
    moving = np.flatnonzero(steps)
    gradients = np.zeros((2, len(pars), len(pars)))
    for begin in range(0, len(moving), _POINTS):
        some = moving[begin : begin + _POINTS]
        for side, factor in enumerate((1.0, 0.5)):
            points = np.tile(pars, (len(some), 1))
            points[np.arange(len(some)), some] += factor * steps[some]
            bent = np.einsum("sb,nsbp->np", by_rate, model.rates(points)[1] - jacobian)
            pulled = model.constraints.batch(points, np.tile(auxdata, (len(some), 1)))[1]
            at = model.constraints.batch(pars[None], auxdata[None])[1]
            gradients[side, some] = (bent + pulled - at) / (points[np.arange(len(some)), some] - pars[some])[:, None]
    bends = 2.0 * gradients[1] - gradients[0]  # to second order
    total += 0.5 * (bends + bends.T)
    still = np.setdiff1d(np.arange(len(pars)), moving)
    total[still] = total[:, still] = 0.0
    return total if np.isfinite(total).all() else None
