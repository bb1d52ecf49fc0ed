"""A mixture channel as an ONNX graph, from the features of events to their calibrated ratios, slopes and curvatures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.export.graph import Graph
from neyman.export.networks import hashed_folds, logits
from neyman.model.calibration import LEAST_DENSITY, score_columns
from neyman.model.mixture import MixtureChannel
from neyman.model.variations import Variation, slopes_and_curvatures
from neyman.networks.mixture import CrossFitClassifier

__all__ = ["ratios_graph"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_FEATURES = "features"


def ratios_graph(channel: MixtureChannel) -> Any:
    """Return the ``onnx.ModelProto`` that does what :meth:`MixtureChannel.encode` does.

    Its input is ``features``, float32 of shape ``(N, d)``. Its outputs are ``ratios``, float64 of shape ``(N, C)`` and,
    where the channel has variations, ``slopes`` and ``curvatures``, float64 of shape ``(N, M)``. The networks compute
    in float32, what follows them in float64.

    Args:
        channel: the channel.

    Raises:
        Unsupported: if onnx is not installed.
    """
    graph = Graph("ratios", {_FEATURES: (np.float32, len(channel.features))})
    log_ratios, sides = _raw(graph, channel)
    log_ratios, sides = _calibrated(graph, channel, log_ratios, sides)
    ratios = _ratios(graph, log_ratios, len(channel.samples))
    outputs = {"ratios": (ratios, np.float64, len(channel.samples))}
    if channel.variations:
        size = len(channel.variations)
        effects = _effects(graph, channel, ratios, sides)
        outputs |= {name: (one, np.float64, size) for name, one in zip(("slopes", "curvatures"), effects, strict=True)}
    about = {
        "channel": channel.name,
        "features": json.dumps(channel.features),
        "samples": json.dumps(channel.samples),
        "variations": json.dumps([[channel.samples[v.sample], v.parameter] for v in channel.variations]),
    }
    return graph.model(outputs, about)


def _raw(graph: Graph, channel: MixtureChannel) -> tuple[str, str | None]:
    """Add all networks; return the logits of the samples and the log-ratios of all varied sources, if there are any."""
    of_variations, of_weights = channel.variation_classifiers.values(), channel.weight_networks.values()
    networks: list[CrossFitClassifier] = [*of_variations, *of_weights]
    if channel.sample_classifier is not None:
        networks.append(channel.sample_classifier)
    fold = None
    if channel.encoding == "fold" and networks:
        fold = hashed_folds(graph, _FEATURES, len(channel.features), networks[0].folds)
    if channel.sample_classifier is None:
        rows = graph("Gather", graph("Shape", _FEATURES), np.array([0]))
        log_ratios = graph("Expand", np.zeros((1, 1)), graph("Concat", rows, np.array([1]), axis=0))
    else:
        log_ratios = logits(graph, channel.sample_classifier, _FEATURES, fold)
    sides = []
    for network in of_variations:  # of which the first class is the nominal sample
        to_nominal = np.eye(network.classes)[:, 1:] - np.eye(network.classes)[:, :1]
        sides.append(graph("MatMul", logits(graph, network, _FEATURES, fold), to_nominal))
    sides += [logits(graph, network, _FEATURES, fold) for network in of_weights]
    return log_ratios, graph("Concat", *sides, axis=1) if sides else None


def _calibrated(graph: Graph, channel: MixtureChannel, log_ratios: str, sides: str | None) -> tuple[str, str | None]:
    """Add both logistic regressions; see :func:`neyman.model.calibration.calibrate`."""
    samples, variations = channel.calibration.samples, channel.calibration.variations
    first = _corrected(graph, log_ratios, sides, None, samples[0], variations[0])
    scores = _scores(graph, channel, *first)
    return _corrected(graph, log_ratios, sides, scores, samples[1], variations[1])


def _corrected(
    graph: Graph, log_ratios: str, sides: str | None, scores: str | None, of_samples: Array, of_sides: Array
) -> tuple[str, str | None]:
    """Add the linear corrections of one logistic regression; see :func:`neyman.model.calibration.corrected`."""
    classes = of_samples.shape[1]
    differences = np.eye(classes)[:, :-1] - np.eye(classes)[:, -1:]
    linear = np.eye(classes) + differences @ of_samples[1:classes]
    log_ratios = graph("Add", graph("MatMul", log_ratios, linear), of_samples[0])
    if sides is not None:
        sides = graph("Add", graph("Mul", sides, 1.0 + of_sides[1]), of_sides[0])
    if scores is not None:
        log_ratios = graph("Add", log_ratios, graph("MatMul", scores, of_samples[classes:]))
        if sides is not None:
            sides = graph("Add", sides, graph("MatMul", scores, of_sides[2:]))
    return log_ratios, sides


def _scores(graph: Graph, channel: MixtureChannel, log_ratios: str, sides: str | None) -> str | None:
    """Add the nominal scores, if there are any; see :func:`neyman.model.calibration.shape_scores`."""
    classes = len(channel.samples)
    fractions = channel.yields / channel.yields.sum()
    ratios = _ratios(graph, log_ratios, classes)
    by_fraction = graph("Div", ratios, _density(graph, ratios, fractions))
    scores = [graph("MatMul", by_fraction, np.eye(classes)[:, :-1])] if classes > 1 else []
    if sides is not None:
        slopes = graph("MatMul", sides, _of_sides(channel)[0])
        columns = score_columns(channel.calibration, channel.shapes)
        of_column = np.eye(columns.max() + 1)[columns]
        by_shape = graph("Mul", graph("MatMul", by_fraction, _owners(channel.shapes, fractions)), slopes)
        scores.append(graph("MatMul", by_shape, of_column))
    return graph("Concat", *scores, axis=1) if scores else None


def _effects(graph: Graph, channel: MixtureChannel, ratios: str, sides: str | None) -> tuple[str, str]:
    """Add slopes and curvatures of all variations, those of the finite simulation last; return both."""
    found: list[list[str]] = [[], []]
    if sides is not None:
        for own, matrix in zip(found, _of_sides(channel), strict=True):
            own.append(graph("MatMul", sides, matrix))
    if channel.tilts is not None:
        rates = channel.tilts.rates
        by_rate = graph("Div", ratios, _density(graph, ratios, rates))
        scores = [by_rate]
        if channel.shapes:
            scores.append(graph("Mul", graph("MatMul", by_rate, _owners(channel.shapes, rates)), found[0][0]))
        tilts = graph("MatMul", graph("Concat", *scores, axis=1), channel.tilts.coefficients.T)
        found[0].append(tilts)
        found[1].append(graph("Mul", tilts, np.float64(0.0)))
    slopes, curvatures = (graph("Concat", *own, axis=1) for own in found)
    return slopes, curvatures


def _ratios(graph: Graph, log_ratios: str, classes: int) -> str:
    return graph("Mul", graph("Softmax", log_ratios, axis=1), np.float64(classes))


def _density(graph: Graph, ratios: str, rates: Array) -> str:
    """Add the density at rates, float64 of shape ``(N, 1)``, which is not close to zero if one of them is negative."""
    density = graph("MatMul", ratios, rates[:, None])
    if rates.min() < 0:
        density = graph("Max", density, graph("MatMul", ratios, LEAST_DENSITY * np.abs(rates)[:, None]))
    return density


def _of_sides(channel: MixtureChannel) -> tuple[Array, Array]:
    """Return what takes the log-ratios of the varied sources to slopes and to curvatures, both of shape ``(V, M)``."""
    sides = np.eye(channel.calibration.variations[0].shape[1])
    slopes, curvatures = slopes_and_curvatures(sides, channel.shapes)
    return slopes.astype(np.float64), curvatures.astype(np.float64)


def _owners(variations: Sequence[Variation], rates: Array) -> Array:
    """Return what takes numbers of the samples to those of the variations, times the rates, shape ``(C, M)``."""
    owners = np.array([v.sample for v in variations])
    found: Array = (np.arange(len(rates))[:, None] == owners) * rates[:, None]
    return found
