"""Checks of arguments that many functions take."""

from __future__ import annotations

from typing import Any

import numpy as np

from neyman.exceptions import InvalidParameter

__all__ = ["checked_level", "checked_number", "checked_source"]


def __dir__() -> list[str]:
    return __all__


def checked_number(n: Any, what: str) -> int:
    """Return a number of toys.

    Raises:
        InvalidParameter: if it is not a positive whole number.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InvalidParameter(f"{what} is {n!r}: it must be a whole number, at least 1")
    return int(n)


def checked_level(level: float) -> float:
    """Return a confidence level.

    Raises:
        InvalidParameter: if it does not lie between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise InvalidParameter(f"level is {level}: it must lie between 0 and 1, as 0.68 for 68 %")
    return float(level)


def checked_source(source: str) -> str:
    """Return where toys come from.

    Raises:
        InvalidParameter: if there is no such source.
    """
    if source not in ("simulation", "model"):
        raise InvalidParameter(f"source is {source!r}: it must be 'simulation' or 'model'")
    return source
