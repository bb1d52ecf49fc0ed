"""Simple statistics of datasets: number of events, mean and spread of the features; what diagnostics compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neyman.inputs.simulation import Datasets
from neyman.model.ranges import looked_at

__all__ = ["simple_statistics"]


def __dir__() -> list[str]:
    return __all__


def simple_statistics(datasets: Datasets, features: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
    """Return names and values of simple statistics of datasets.

    Args:
        datasets: ``T`` datasets of events with ``d`` features.
        features: the names of the features; of events that have a shape, as images, these are summed up first.

    Returns:
        The names of the number of events, and of mean and spread of each feature; and the values, shape
        ``(T, 1 + 2 d)``, nan where a dataset has too few events.

    Example:
        >>> import numpy as np
        >>> from neyman.inputs.simulation import Datasets
        >>> x = np.array([[1.0], [3.0], [5.0]], dtype=np.float32)
        >>> names, values = simple_statistics(Datasets(np.zeros((2, 1)), x, np.array([0, 2, 3])), ["x"])
        >>> names
        ['number of events', 'mean of x', 'spread of x']
        >>> values
        array([[ 2.,  2.,  1.],
               [ 1.,  5., nan]])
    """
    names, looked = looked_at(features, datasets.features, datasets.event_shape)
    numbers, x, t = datasets.numbers, looked.astype(np.float64), len(datasets)
    row = np.repeat(np.arange(t), numbers)
    columns = [numbers.astype(np.float64)]
    for k in range(len(names)):
        mean = np.bincount(row, x[:, k], minlength=t) / np.where(numbers > 0, numbers, np.nan)
        square = np.bincount(row, (x[:, k] - mean[row]) ** 2, minlength=t)
        columns += [mean, np.sqrt(square / np.where(numbers > 1, numbers, np.nan))]
    labels = ["number of events", *(f"{what} of {name}" for name in names for what in ("mean", "spread"))]
    return labels, np.stack(columns, axis=1)
