"""The networks of a mixture as nodes of an ONNX graph: what they see of an event, and which of them it meets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.export.graph import Graph
from neyman.networks.folds import SPLITMIX64
from neyman.networks.layers import StackedLinear
from neyman.networks.mixture import CrossFitClassifier
from neyman.networks.scaling import FeatureScaler

__all__ = ["hashed_folds", "logits"]


def __dir__() -> list[str]:
    return __all__


_LOWEST, _HIGHEST = -126, 127  # exponents of the float32 numbers that have no leading zeros
_MANTISSA = 23  # bits
_BELOW_NEXT = 2e-8  # added to a logarithm to base 2: less than a third of the step to the next float32


def logits(graph: Graph, network: CrossFitClassifier, features: str, fold: str | None) -> str:
    """Add a classifier; return its logits, float64 of shape ``(N, C)``.

    Args:
        graph: the graph.
        network: the classifier.
        features: of the events, float32 of shape ``(N, d)``.
        fold: of the events, int64 of shape ``(N,)``, each of which meets the network of its fold; ``None`` for the mean
            of all networks.
    """
    value = _scaled(graph, network.scaler, features)
    for layer in network.stack:
        if isinstance(layer, StackedLinear):
            value = graph("Add", graph("MatMul", value, _numbers(layer.weight)), _numbers(layer.bias))  # (K, N, o)
        else:
            value = graph("Mul", value, graph("Sigmoid", value))
    over_networks = np.array([0])
    if fold is None:
        value = graph("ReduceMean", value, over_networks, keepdims=0)
    else:
        own = graph("Equal", graph("Unsqueeze", fold, np.array([1])), np.arange(network.folds)[:, None, None])
        value = graph("ReduceSum", graph("Mul", value, graph.cast(own, np.float32)), over_networks, keepdims=0)
    return graph.cast(value, np.float64)


def _scaled(graph: Graph, scaler: FeatureScaler, x: str) -> str:
    """Add a :class:`FeatureScaler`; return what it makes of the features, float32."""
    z = graph("Div", graph("Sub", x, _numbers(scaler.centre)), _numbers(scaler.scale))
    if len(scaler.bent):
        order = np.arange(scaler.features)
        order[_numbers(scaler.bent)] = scaler.features + np.arange(len(scaler.bent))
        z = graph("Gather", graph("Concat", z, _straightened(graph, scaler, x), axis=1), order, axis=1)
    edge, zero = np.float32(scaler.edge), np.float32(0.0)
    excess = graph("Max", graph("Sub", graph("Abs", z), edge), zero)
    tail = graph("Mul", graph("Sign", z), graph("Log", graph("Add", excess, np.float32(1.0))))
    z = graph("Add", graph("Clip", z, -edge, edge), tail)
    if not len(scaler.spikes):
        return z
    columns, spikes = _numbers(scaler.columns), _numbers(scaler.spikes)
    indicators = graph.cast(graph("Equal", graph("Gather", x, columns, axis=1), spikes), np.float32)
    of_feature = (columns[:, None] == np.arange(scaler.features)).astype(np.float32)
    elsewhere = graph("Sub", np.float32(1.0), graph("MatMul", indicators, of_feature))
    return graph("Concat", graph("Mul", z, elsewhere), indicators, axis=1)


def _straightened(graph: Graph, scaler: FeatureScaler, x: str) -> str:
    """Add the lines through points of the bent features; return their values, float32 of shape ``(N, m)``."""
    knots, scores, slopes = (_numbers(one).T for one in (scaler.knots, scaler.scores, scaler.slopes))  # (K, m)
    rows = graph("Gather", x, _numbers(scaler.bent), axis=1)
    reached = graph("GreaterOrEqual", graph("Unsqueeze", rows, np.array([1])), knots[1:-1])  # (N, K - 2, m)
    place = graph("ReduceSum", graph.cast(reached, np.int64), np.array([1]), keepdims=0)
    knot, score, slope = (graph("GatherElements", table, place, axis=0) for table in (knots, scores, slopes))
    return graph("Add", score, graph("Mul", graph("Sub", rows, knot), slope))


def hashed_folds(graph: Graph, features: str, columns: int, folds: int) -> str:
    """Add :func:`neyman.networks.folds.hashed_folds`; return the folds, int64 of shape ``(N,)``.

    Args:
        graph: the graph.
        features: of the events, float32 of shape ``(N, d)``.
        columns: ``d``.
        folds: their number.
    """
    bits = _bits(graph, features)
    # sums and products are of int64, which all runtimes have, and have the same bits as those of uint64
    to_add, first, second = SPLITMIX64.astype(np.int64)
    state = ""
    for column in range(columns):
        step = graph("Add", graph("Gather", bits, np.int64(column), axis=1), to_add)
        state = graph("Add", state, step) if state else step
        state = graph("Mul", _mixed(graph, state, 30), first)
        state = graph("Mul", _mixed(graph, state, 27), second)
        state = _mixed(graph, state, 31)
    return graph.cast(graph("Mod", graph.cast(state, np.uint64), np.uint64(folds)), np.int64)


def _mixed(graph: Graph, state: str, shift: int) -> str:
    """Add ``state ^ (state >> shift)`` of unsigned numbers."""
    unsigned = graph.cast(state, np.uint64)
    shifted = graph("BitShift", unsigned, np.uint64(shift), direction="RIGHT")
    return graph.cast(graph("BitwiseXor", unsigned, shifted), np.int64)


def _bits(graph: Graph, x: str) -> str:
    """Add the bits of float32 numbers, as int64; those of both zeros are 0.

    A number is ``m 2^e`` with ``1 <= m < 2``, or ``m < 1`` where ``e`` is the lowest exponent, and its bits are
    ``(m + e - lowest) 2^23``, which double precision has exactly.
    """
    size = graph.cast(graph("Abs", x), np.float64)
    binary = graph("Mul", graph("Log", size), np.float64(1.0 / np.log(2.0)))
    exponent = graph("Floor", graph("Add", binary, np.float64(_BELOW_NEXT)))
    exponent = graph("Clip", exponent, np.float64(_LOWEST), np.float64(_HIGHEST))
    above_lowest = graph("Sub", exponent, np.float64(_LOWEST))
    scales = np.ldexp(1.0, _MANTISSA - np.arange(_LOWEST, _HIGHEST + 1))
    mantissa = graph("Mul", size, graph("Gather", scales, graph.cast(above_lowest, np.int64)))
    bits = graph("Add", mantissa, graph("Mul", above_lowest, np.float64(2.0**_MANTISSA)))
    negative = graph.cast(graph("Less", x, np.float32(0.0)), np.int64)
    return graph("Add", graph.cast(bits, np.int64), graph("Mul", negative, np.int64(2**31)))


def _numbers(tensor: torch.Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor.detach().cpu().numpy()
    return array
