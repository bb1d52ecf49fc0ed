"""What a simulator has returned, as rows of finite numbers, one for each event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidSimulation

__all__ = ["pair", "rows"]


def __dir__() -> list[str]:
    return __all__


_FLOAT_KINDS = "biuf"


def pair(returned: Any, names: Sequence[str]) -> tuple[Any, Any]:
    """Return events and local parameters, if it is a pair.

    Args:
        returned: what the simulator has returned.
        names: of the local parameters.

    Raises:
        InvalidSimulation: if it is anything else.

    Example:
        >>> pair([[1.0], [2.0]], ["z"])
        Traceback (most recent call last):
        neyman.exceptions.InvalidSimulation: the simulator returned a list, not (events, locals), the locals being z
    """
    if not isinstance(returned, tuple) or len(returned) != 2:
        got = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else f"a {type(returned).__name__}"
        raise InvalidSimulation(
            f"the simulator returned {got}, not (events, locals), the locals being {', '.join(names)}"
        )
    return returned


def rows(returned: Any, what: str, columns: Sequence[str], shape: tuple[int, ...], meaning: str) -> NDArray[np.float32]:
    """Return an array with a row for each event, if there can be one.

    Args:
        returned: what the simulator has returned.
        what: what it is in messages, before "shape": nothing, or ``"locals of "``.
        columns: names of the numbers of an event, ``d`` of them.
        shape: of the numbers of one event.
        meaning: what these numbers are in messages.

    Returns:
        Shape ``(N, d)``, a copy: the simulator may use its array again.

    Raises:
        InvalidSimulation: if it is no array, of another shape, not of real numbers or not finite.

    Example:
        >>> rows([[1, 2], [3, 4], [5, 6]], "", ["x", "y"], (2,), "the features being x, y").shape
        (3, 2)
    """
    try:
        array = np.asarray(returned)
    except (TypeError, ValueError) as error:
        raise InvalidSimulation(
            f"the simulator returned {what}a {type(returned).__name__} that makes no array"
        ) from error
    if array.size == 0:
        return np.empty((0, len(columns)), dtype=np.float32)
    if not array.ndim or array.shape[1:] != shape:
        hint = ": reshape them to (events, 1)" if array.ndim == 1 and shape == (1,) else ""
        wanted = f"(events, {', '.join(map(str, shape))})"
        raise InvalidSimulation(f"the simulator returned {what}shape {array.shape}, not {wanted}, {meaning}{hint}")
    if array.dtype.kind not in _FLOAT_KINDS:
        raise InvalidSimulation(f"the simulator returned {what}{array.dtype!r} instead of real numbers")
    array = array.reshape(len(array), -1)
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    finite = np.isfinite(numbers)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        found = f"{array[row, column]} in {int((~finite).any(axis=1).sum())} of {len(numbers)} events"
        raise InvalidSimulation(f"{columns[column]}, as float32, is not finite: the simulator returned {found}")
    return numbers
