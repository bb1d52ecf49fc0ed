"""Parameters of a dataset-wide network in a workspace: shares of the samples, and the shapes' own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["first_places", "fractions_of", "shares_of"]


def __dir__() -> list[str]:
    return __all__


def first_places(names: Sequence[str]) -> NDArray[np.intp]:
    """Return where each different name stands first.

    Example:
        >>> first_places(["scale", "pdf", "scale"])
        array([0, 1])
    """
    return np.array([names.index(name) for name in dict.fromkeys(names)], dtype=np.intp)


def shares_of(rates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each sample's share of the rate of itself and those after it, but for the last one, whose share is one.

    Unlike fractions of the total they are independent: any values from zero to one make a composition.

    Args:
        rates: shape ``(n, C)``.

    Returns:
        The shares, shape ``(n, C - 1)``, and their derivatives by the rates, shape ``(n, C - 1, C)``; a half and zero
        where nothing is left.

    Example:
        >>> import numpy as np
        >>> shares_of(np.array([[2.0, 3.0, 5.0]]))[0]
        array([[0.2  , 0.375]])
    """
    n_samples = rates.shape[1]
    left = np.cumsum(rates[:, ::-1], axis=1)[:, ::-1]
    there = left > 0
    safe = np.where(there, left, 1.0)
    shares = np.where(there, rates / safe, 0.5)
    after = np.arange(n_samples) >= np.arange(n_samples)[:, None]
    slope = (np.eye(n_samples) - shares[:, :, None] * after) / safe[:, :, None] * there[:, :, None]
    last = max(n_samples - 1, 0)
    return shares[:, :last], slope[:, :last]


def fractions_of(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fractions of the total rate, shape ``(n, C)``, from the shares, shape ``(n, C - 1)``.

    Example:
        >>> import numpy as np
        >>> fractions_of(np.array([[0.2, 0.375]]))
        array([[0.2, 0.3, 0.5]])
    """
    ones = np.ones((len(shares), 1))
    left = np.concatenate([ones, np.cumprod(1.0 - shares, axis=1)], axis=1)
    fractions: NDArray[np.float64] = left * np.concatenate([shares, ones], axis=1)
    return fractions
