"""The finite simulation at the end of a training: its place in the likelihood, and what it costs beside that."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.events import ChannelSimulation
from neyman.exceptions import InvalidDocument
from neyman.inference.fit import fitted
from neyman.inference.profile import Profile
from neyman.inference.simulation import cost_warning
from neyman.model.channel import AnyChannel
from neyman.model.likelihood import LearnedTerm
from neyman.model.mixture import MixtureChannel
from neyman.model.model import Model
from neyman.model.tilts import Tilts, nominal_scores

__all__ = ["check_staterrors", "expected_cost", "tilted"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_EVENTS = 50_000  # of a sample, at most, that tell directions and their widths
_MOST = 4  # tilts of a sample
_LEAST = 0.02  # standard deviations, of all parameters in quadrature: what a tilt must move them by


def tilted(
    model: Model, staterrors: Mapping[str, Mapping[str, str]], others: Mapping[str, AnyChannel]
) -> tuple[dict[str, Any], dict[str, AnyChannel]]:
    """Put what the finite simulation leaves open of shapes into the likelihood, where a ``staterror`` asks for it.

    Each sample gets a tilt along the direction that moves the parameter of interest, which describes all that its
    simulation's size does to that, and some along those that move the others most. Tilts are called
    ``NAME_CHANNEL_SAMPLE_K`` with the name of the ``staterror`` and K from 0, that of the parameter of interest.

    Args:
        model: the mixtures that have been trained.
        staterrors: by channel and sample, the name of the ``staterror``.
        others: learned channels that stand in the place of mixtures.

    Returns:
        The specification with the new parameters, and the learned channels with the tilts.
    """
    spec, learned = copy.deepcopy(model.spec), {**model.learned, **others}
    if not staterrors:
        return spec, learned
    profile = _expected(model)
    for name, samples in staterrors.items():
        channel = model.learned[name]
        assert isinstance(channel, MixtureChannel)
        tilts = _tilts(model, channel, samples, profile)
        learned[name] = channel.with_tilts(tilts)
        entries = next(one["samples"] for one in spec["channels"] if one["name"] == name)
        for c, parameter in zip(tilts.samples, tilts.parameters, strict=True):
            entry = next(one for one in entries if one["name"] == channel.samples[c])
            entry["modifiers"].append({"name": parameter, "type": "normsys", "data": {"hi": 1.0, "lo": 1.0}})
    return spec, learned


def check_staterrors(spec: Mapping[str, Any], simulations: Iterable[ChannelSimulation]) -> None:
    """Check that each ``staterror`` of a learned channel can have the rate's error.

    Raises:
        InvalidDocument: if its samples have no positive yield together, of which pyhf makes an error of zero.
    """
    for simulation in simulations:
        samples = next(one["samples"] for one in spec["channels"] if one["name"] == simulation.channel)
        for name in dict.fromkeys(simulation.staterrors.values()):
            own = [one for one in samples if any(modifier["name"] == name for modifier in one["modifiers"])]
            if not (total := sum(one["data"][0] for one in own)) > 0.0:
                of = " and ".join(one["name"] for one in own)
                raise InvalidDocument(
                    f"channel {simulation.channel}: the yields of {of}, which have the staterror {name}, add up to "
                    f"{total:g}: give a sample of positive yield the same one"
                )


def expected_cost(model: Model) -> dict[str, Any]:
    """Return what the finite simulation adds to the expected uncertainty of the parameter of interest; say if much.

    Args:
        model: the trained model.

    Returns:
        ``poi``, its expected ``uncertainty``, and what the ``simulation`` adds in quadrature; nothing where a model has
        no parameter of interest or it is not determined.
    """
    if model.config.poi_name is None or not model.learned:
        return {}
    fit, poi = fitted(_expected(model)), model.config.poi_name
    if fit.simulation is None or not fit.error(poi) > 0.0:
        return {}
    added, expected = float(fit.simulation[fit.index(poi)]), fit.error(poi)
    if text := cost_warning(poi, expected, added):
        log.warning("%s", text)
    return {"poi": poi, "uncertainty": expected, "simulation": added}


def _expected(model: Model) -> Profile:
    """Return the likelihood of what is expected at the nominal parameters."""
    return Profile(model.expected_data(model.config.suggested_init()), model)


def _tilts(model: Model, channel: MixtureChannel, samples: Mapping[str, str], profile: Profile) -> Tilts:
    pars, term = profile.best[0], LearnedTerm(model, channel)
    rates, jacobian = model.rates(pars)
    own, slopes = rates[term.samples, term.bin], jacobian[term.samples, term.bin]
    poi = model.config.poi_index if model.config.poi_name is not None else None
    found: list[tuple[int, str, Array]] = []
    for c, sample in enumerate(channel.samples):
        if sample not in samples:
            continue
        events, squares = channel.pool.of_sample(c, _EVENTS)
        summary, weights = channel.select(channel.pool.features, events), channel.pool.summary.weights[events]
        scores = nominal_scores(summary.ratios, summary.slopes, own, channel.shapes)
        shifts = own[c] * _in_widths(profile.covariance) @ _by_parameter(channel, term, slopes, own)
        rows = _directions(shifts, scores, weights, squares, poi)
        found += [(c, f"{samples[sample]}_{channel.name}_{sample}_{k}", row) for k, row in enumerate(rows)]
    coefficients = np.array([row for *_, row in found]).reshape(len(found), len(own) + len(channel.shapes))
    return Tilts(tuple(c for c, *_ in found), tuple(name for _, name, _ in found), own, coefficients)


def _by_parameter(channel: MixtureChannel, term: LearnedTerm, slopes: Array, rates: Array) -> Array:
    """Return what makes the scores by all parameters of those by rates and shape parameters, shape ``(P, C + M)``."""
    matrix = np.concatenate([slopes.T, np.zeros((slopes.shape[1], len(channel.shapes)))], axis=1)
    pool = channel.pool
    for m, variation in enumerate(channel.shapes):
        weights = pool.summary.weights * (pool.samples == variation.sample)
        mean = pool.summary.slopes[m] @ weights / weights.sum()  # of a score that is normalised this is taken off
        matrix[term.parameters[m], len(rates) + m] += 1.0
        matrix[term.parameters[m], variation.sample] -= rates[variation.sample] * mean
    return np.asarray(matrix)


def _in_widths(covariance: Array) -> Array:
    """Return what turns the scores of a dataset into the shifts of the fit, in units of its uncertainties."""
    sigma = np.sqrt(np.diag(covariance))
    return np.asarray(covariance * np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0.0)[:, None])


def _directions(shifts: Array, scores: Array, weights: Array, squares: Array, poi: int | None) -> Array:
    """Return the tilts of a sample as combinations of scores, each for a parameter of width one, shape ``(K, S)``.

    Args:
        shifts: what makes the shift of each parameter, in units of its uncertainty, of the scores, shape ``(P, S)``.
        scores: of the events of the sample, shape ``(S, n)``.
        weights: of the events, shape ``(n,)``.
        squares: their squared shares, whose sum is one over the effective number of events, shape ``(n,)``.
        poi: position of the parameter of interest, whose direction is the first.
    """
    weights = weights / weights.sum()
    scores = scores - (scores @ weights)[:, None]
    error = (scores * squares) @ scores.T  # the covariance of the means of the scores
    between = shifts @ error @ shifts.T
    chosen: list[Array] = []
    if poi is not None and between[poi, poi] > 0.0:
        if math.sqrt(between[poi, poi]) > _LEAST:
            chosen.append(shifts[poi])
        between = between - np.outer(between[poi], between[poi]) / between[poi, poi]
    values, vectors = np.linalg.eigh(between)
    for value, vector in zip(values[::-1], vectors.T[::-1], strict=True):
        if len(chosen) < _MOST and value > _LEAST**2:
            chosen.append(vector @ shifts)
    directions = np.array(chosen).reshape(len(chosen), len(scores))
    spread = directions @ ((scores * weights) @ scores.T) @ directions.T
    # a pull of one moves the means of the directions by a column of this, whose square is the covariance of their means
    root = np.linalg.cholesky(directions @ error @ directions.T)
    return np.asarray(np.linalg.solve(spread, root).T @ directions)
