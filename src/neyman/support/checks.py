"""Checks of arguments that many functions take: each returns the argument as it is used, or says what is wrong."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter

__all__ = [
    "checked_choice",
    "checked_finite",
    "checked_level",
    "checked_number",
    "checked_pars",
    "checked_range",
    "checked_seed",
    "checked_source",
    "checked_values",
]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


def checked_seed(seed: Any) -> int:
    """Return a seed.

    Raises:
        InvalidParameter: if it is not a whole number from 0 to 2^63 - 1.

    Example:
        >>> checked_seed(-1)
        Traceback (most recent call last):
        neyman.exceptions.InvalidParameter: seed is -1: give a whole number from 0 to 2^63 - 1
    """
    try:
        checked = operator.index(seed)
    except TypeError:
        checked = -1
    if not 0 <= checked < 2**63:
        raise InvalidParameter(f"seed is {seed!r}: give a whole number from 0 to 2^63 - 1")
    return checked


def checked_level(level: Any) -> float:
    """Return a confidence level.

    Raises:
        InvalidParameter: if it is not a number from 0.5 to below 1. One below is most likely the probability of being
            wrong, and the message names the confidence level of that.

    Example:
        >>> checked_level(0.05)
        Traceback (most recent call last):
        neyman.exceptions.InvalidParameter: level is 0.05: give the confidence level, at least 0.5; did you mean 0.95?
    """
    try:
        checked = float(level)
    except (TypeError, ValueError):
        checked = math.nan
    if 0.0 < checked < 0.5:
        raise InvalidParameter(
            f"level is {level}: give the confidence level, at least 0.5; did you mean {1.0 - checked:.10g}?"
        )
    if not 0.5 <= checked < 1.0:
        raise InvalidParameter(f"level is {level}: it must lie between 0.5 and 1, as 0.68 for 68 %")
    return checked


def checked_number(n: Any, what: str) -> int:
    """Return a number of things, as of toys.

    Args:
        n: the number.
        what: what it is called in messages.

    Raises:
        InvalidParameter: if it is not a positive whole number.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InvalidParameter(f"{what} is {n!r}: it must be a whole number, at least 1")
    return int(n)


def checked_finite(value: Any, what: str) -> float:
    """Return a number.

    Args:
        value: the number.
        what: what it is called in messages.

    Raises:
        InvalidParameter: if it is not a finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParameter(f"{what} is {value}: it must be a finite number")
    return number


def checked_values(values: Any, what: str) -> Array:
    """Return numbers as an array, shape ``(n,)``.

    Args:
        values: a number or a list of them.
        what: what they are called in messages.

    Raises:
        InvalidParameter: if there are none, or they are not finite numbers or not a flat list.
    """
    try:
        checked = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        checked = np.empty(0)
    if checked.ndim != 1 or checked.size == 0 or not np.isfinite(checked).all():
        raise InvalidParameter(f"{what} must be a flat list of finite numbers")
    return checked


def checked_pars(pars: ArrayLike, names: Sequence[str], what: str) -> Array:
    """Return the values of all parameters, shape ``(P,)``.

    Args:
        pars: the values, in the order of the names.
        names: the names of the parameters.
        what: what the values are called in messages.

    Raises:
        InvalidParameter: if they are not a finite number for each parameter.
    """
    try:
        checked = np.array(pars, dtype=np.float64)
    except (TypeError, ValueError):
        checked = np.empty(0)
    if checked.shape != (len(names),) or not np.isfinite(checked).all():
        raise InvalidParameter(f"{what} must be {len(names)} finite numbers: {', '.join(names[:20])}")
    return checked


def checked_range(values: Any, what: str, low: float, high: float, name: str) -> tuple[float, float]:
    """Return the lowest and the highest of some values of a parameter.

    Args:
        values: the lowest and the highest value; or more of them, in any order.
        what: what they are called in messages.
        low: the lowest value that is allowed.
        high: the highest value that is allowed.
        name: the name of the parameter.

    Raises:
        InvalidParameter: if they are not at least two different values, two stand the wrong way round, or one is not
            allowed.
    """
    try:
        given = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        given = np.empty(0)
    if given.size < 2 or not low <= given.min() < given.max() <= high:
        raise InvalidParameter(f"{what} is {values}: give at least two values of {name} within ({low:g}, {high:g})")
    if given.size == 2 and given[0] > given[1]:
        raise InvalidParameter(f"{what} is {values}: the lowest value of {name} comes first")
    return float(given.min()), float(given.max())


def checked_choice(value: Any, what: str, allowed: Sequence[str]) -> str:
    """Return one of the allowed words.

    Args:
        value: the word.
        what: the name of the argument.
        allowed: the words that it may be.

    Raises:
        InvalidParameter: if it is another one.

    Example:
        >>> checked_choice("none", "nuisance", ["profile", "worst"])
        Traceback (most recent call last):
        neyman.exceptions.InvalidParameter: nuisance is 'none': it must be 'profile' or 'worst'
    """
    if not isinstance(value, str) or value not in allowed:
        *first, last = map(repr, allowed)
        raise InvalidParameter(f"{what} is {value!r}: it must be {', '.join(first)}{' or ' if first else ''}{last}")
    return value


def checked_source(source: Any) -> str:
    """Return where toys come from.

    Raises:
        InvalidParameter: if it is neither ``"simulation"`` nor ``"model"``.
    """
    return checked_choice(source, "source", ("simulation", "model"))
