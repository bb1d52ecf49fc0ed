r"""What the finite simulation leaves open: the covariance that its size gives the scores of the parameters.

A likelihood that is made of simulated events is itself an estimate. At the true parameters the mean of its scores over
data is not zero but off by what the simulation's own mean of them is off: with the calibration of
:mod:`neyman.model.calibration` the scores average to zero over the simulated events. That error has the covariance

.. math::

    V = \sum_c \nu_c^2 \frac{\sum_i w_i^2\, s_i s_i^T}{(\sum_i w_i)^2}

with the events i of sample c, their weights w and scores s, the derivatives of the logarithm of the unnormalised
density :math:`\sum_c \nu_c p_c(x)`. This is for rate and shape of a sample together, as its yield is a sum of weights,
too. Where a ``staterror`` has the rate's error in the likelihood, scores count from their mean in the sample, so that
the shape's is left, and of that what the tilts of :mod:`neyman.model.tilts` cannot describe. (One with ``data: [0.0]``
says that the rate is known.) The bins of other channels that are filled with events are the same, the score of an event
being that of its bin. With the inverse ``C`` of the Fisher information, a fit has the covariance ``C V C`` from one
simulation to another.

What it is not: the networks' own noise, beyond what averaging and calibration leave, a training that has gone wrong,
and the shapes that are learned from varied events (``hi`` and ``lo``), which are finite, too: their errors are
multiplied by the pull of the parameter. For what is known of the uncertainty of learned ratios see Benevedes and
Thaler, arXiv:2506.00113; for that of bins Barlow and Beeston, Comput. Phys. Commun. 77 (1993) 219.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.model.channel import AnyChannel
from neyman.model.likelihood import LearnedTerm
from neyman.model.mixture import MixtureChannel
from neyman.model.model import Model
from neyman.model.sources import LabelledEvents
from neyman.model.tilts import bounded

__all__ = ["cost_warning", "mixture_of", "score_covariance", "simulation_parameters", "simulation_uncertainty"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_WORTH_SAYING = 0.2  # of the expected uncertainty: in quadrature, that is two per cent
_EVENTS = 10_000  # of a sample: more would tell its variance no better than to one or two per cent


def simulation_uncertainty(model: Model, pars: ArrayLike, covariance: Array) -> Array | None:
    """Return what the finite simulation adds to the uncertainty of each parameter, in quadrature, shape ``(P,)``.

    Args:
        model: the model.
        pars: the best fit, shape ``(P,)``.
        covariance: of the fit, shape ``(P, P)``, zero for what was held fixed.

    Returns:
        As far as the likelihood does not have it; ``None`` where nothing is known of a simulation.
    """
    between = score_covariance(model, pars, np.diag(covariance) > 0.0)
    if between is None:
        return None
    return np.asarray(np.sqrt(np.maximum(np.einsum("pi,ij,pj->p", covariance, between, covariance), 0.0)))


def simulation_parameters(model: Model) -> set[str]:
    """Return the names of the parameters by which the likelihood has the finite simulation."""
    config = model.config
    names = {name for name, kind in config.modifiers if kind == "staterror"}
    tilts = [
        one.tilts.parameters
        for one in getattr(model, "learned", {}).values()
        if isinstance(one, MixtureChannel) and one.tilts
    ]
    return {name for one in names for name in config.par_names[config.par_slice(one)]}.union(*tilts)


def cost_warning(poi: str, uncertainty: float, simulation: float) -> str:
    """Say what the finite simulation adds to the expected uncertainty of the parameter of interest, if that is much.

    Example:
        >>> cost_warning("mu", 0.3, 0.01)
        ''
        >>> cost_warning("mu", 0.3, 0.1)[:53]
        'the finite simulation adds 0.1 to the expected uncert'
    """
    if not simulation > _WORTH_SAYING * uncertainty:
        return ""
    return (
        f"the finite simulation adds {simulation:.2g} to the expected uncertainty {uncertainty:.2g} of {poi}, in "
        "quadrature: simulate more, or give the samples a staterror"
    )


def score_covariance(model: Model, pars: ArrayLike, free: NDArray[np.bool_] | None = None) -> Array | None:
    """Return the covariance of the scores from one simulation to another, as far as the likelihood does not have it.

    Args:
        model: the model.
        pars: the parameters, shape ``(P,)``.
        free: which of them a fit moves, shape ``(P,)``; all by default. What others describe is not in its likelihood.

    Returns:
        Shape ``(P, P)``; ``None`` where nothing is known of a simulation, as for lists of numbers and simulators.
    """
    if not hasattr(model, "learned"):  # other likelihoods have no samples
        return None
    pars = np.asarray(pars, dtype=np.float64)
    free = np.ones(pars.size, dtype=bool) if free is None else free
    mixtures = [mixture for one in model.learned.values() if (mixture := mixture_of(one)) is not None]
    if not mixtures and not model.simulation_errors:
        return None
    rates, jacobian = model.rates(pars)
    total = np.zeros((pars.size, pars.size))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # where the density of an event is not positive
        for mixture in mixtures:
            held = _held(model, mixture.name, free)
            total += _of_events(LearnedTerm(model, mixture), mixture, pars, rates, jacobian, held, free)
        for name, samples in model.simulation_errors.items():
            total += _of_bins(model, name, samples, rates, jacobian, _held(model, name, free))
    return total


def mixture_of(channel: AnyChannel) -> MixtureChannel | None:
    """Return the mixture whose pool a learned channel has its events from; nothing for one of a simulator."""
    if isinstance(channel, MixtureChannel):
        return channel
    return channel.source.mixture if isinstance(channel.source, LabelledEvents) else None


def _samples(model: Model, channel: str) -> Sequence[dict[str, Any]]:
    return next(one["samples"] for one in model.spec["channels"] if one["name"] == channel)


def _held(model: Model, channel: str, free: NDArray[np.bool_]) -> dict[str, str]:
    """Return the samples of a channel whose rates have their error in the likelihood, each with its ``staterror``.

    That is nameless where the rate is known, its error zero.
    """

    def holds(modifier: Mapping[str, Any]) -> bool:
        if modifier["type"] != "staterror":
            return False
        return not np.any(modifier["data"]) or bool(free[model.config.par_slice(modifier["name"])].any())

    return {
        one["name"]: modifier["name"] if np.any(modifier["data"]) else ""
        for one in _samples(model, channel)
        for modifier in one["modifiers"]
        if holds(modifier)
    }


def _of_events(
    term: LearnedTerm,
    mixture: MixtureChannel,
    pars: Array,
    rates: Array,
    jacobian: Array,
    held: Mapping[str, str],
    free: NDArray[np.bool_],
) -> Array:
    """Return the part of a learned channel."""
    own, slopes = rates[term.samples, term.bin], jacobian[term.samples, term.bin]
    total, by_parameter = np.zeros((pars.size, pars.size)), np.zeros((pars.size, len(term.parameters)))
    of_rates: dict[str, list[tuple[Array, float]]] = {}
    by_parameter[term.parameters, np.arange(len(term.parameters))] = 1.0
    for c, sample in enumerate(mixture.samples):
        events, squares = mixture.pool.of_sample(c, _EVENTS)
        summary, weights = mixture.select(mixture.pool.features, events), mixture.pool.summary.weights[events]
        by_rate, by_alpha = mixture.scores(summary, own, pars[term.parameters])
        scores = (slopes.T @ by_rate + by_parameter @ by_alpha) * bounded(by_rate, own)
        if sample in held:
            mean, error = scores @ weights / weights.sum(), float(np.sqrt(squares.sum()))
            of_rates.setdefault(held[sample], []).append((own[c] * error * mean, error))
            scores -= mean[:, None]
        tilts = [m for m, v in enumerate(mixture.variations) if v.sample == c and m >= len(mixture.shapes)]
        tilts = [m for m in tilts if free[term.parameters[m]]]
        if tilts:
            known = summary.slopes[tilts]
            known = known - (known @ weights / weights.sum())[:, None]
            scores -= np.linalg.lstsq((known * squares) @ known.T, (known * squares) @ scores.T)[0].T @ known
        total += own[c] ** 2 * (scores * squares) @ scores.T
    for name, rates_of in of_rates.items():
        if name and len(rates_of) > 1:
            total += _of_shares(rates_of)
    return total


def _of_shares(errors: Sequence[tuple[Array, float]]) -> Array:
    """Return what is left of the rates' errors of samples that share a parameter, which moves all of them alike.

    Args:
        errors: of each sample, what its error does to the scores, shape ``(P,)``, and the relative error.
    """
    effects = np.stack([effect for effect, _ in errors], axis=1)
    alike = 1.0 / np.array([error for _, error in errors])
    left = np.eye(len(errors)) - np.outer(alike, alike) / (alike @ alike)
    return np.asarray(effects @ left @ effects.T)


def _of_bins(
    model: Model,
    channel: str,
    errors: Mapping[str, Sequence[float]],
    rates: Array,
    jacobian: Array,
    held: Mapping[str, str],
) -> Array:
    """Return the part of a channel whose bins are filled with events."""
    bins = model.config.channel_slices[channel]
    expected, slopes = rates[:, bins].sum(axis=0), jacobian[:, bins].sum(axis=0)
    variance = np.zeros(len(expected))
    for sample in _samples(model, channel):
        if sample["name"] in errors and sample["name"] not in held:
            nominal, own = np.array(sample["data"]), rates[model.rates.samples.index(sample["name"]), bins]
            factor = np.divide(own, nominal, out=np.zeros_like(own), where=nominal != 0.0)
            variance += (factor * np.array(errors[sample["name"]])) ** 2
    scores = np.divide(slopes, expected[:, None], out=np.zeros_like(slopes), where=expected[:, None] > 0.0)
    return np.asarray((scores.T * variance) @ scores)
