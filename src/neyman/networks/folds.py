"""The folds of new events, by a hash of their features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPLITMIX64", "hashed_folds"]


def __dir__() -> list[str]:
    return __all__


SPLITMIX64 = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)
"""The constants of the hash: what is added to its state, and the two factors of its mixing."""

_BLOCK = 16_384  # events whose hashes stay in a processor's cache


def hashed_folds(features: NDArray[np.float32], folds: int) -> NDArray[np.int64]:
    """Return the fold of new events, of which nothing is known but their features, shape ``(N,)``.

    It is the remainder of a hash of the float32 features by the number of folds: the bits of one feature after the
    other are added to the state of SplitMix64 (Steele, Lea, Flood, doi:10.1145/2714064.2660195), and each time mixed
    into the next state. So it depends on nothing but the event itself, not on its place, its weight, the machine, or
    the version; equal events have equal folds, and 0.0 and -0.0 are equal.

    Args:
        features: shape ``(N, d)``.
        folds: their number.

    Example:
        >>> import numpy as np
        >>> events = np.array([[125.0, 0.0], [91.2, 0.0], [125.0, -0.0]], dtype=np.float32)
        >>> hashed_folds(events, 5)
        array([3, 0, 3])
    """
    found, (step, first, second) = np.empty(len(features), dtype=np.int64), SPLITMIX64
    for begin in range(0, len(features), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        # to add zero makes -0.0 zero
        bits = (np.asarray(features[part], dtype=np.float32) + np.float32(0.0)).view(np.uint32).astype(np.uint64)
        state = np.zeros(len(bits), dtype=np.uint64)
        for column in bits.T:
            state += column + step
            state = (state ^ (state >> np.uint64(30))) * first
            state = (state ^ (state >> np.uint64(27))) * second
            state ^= state >> np.uint64(31)
        found[part] = (state % np.uint64(folds)).astype(np.int64)
    return found
