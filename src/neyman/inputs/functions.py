"""The functions that an expression may use, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np

from neyman.exceptions import InvalidEvents
from neyman.inputs.operators import chosen, condition, kind_of, power, taken

__all__ = ["CONSTANTS", "FUNCTIONS", "POSITIONS", "bit", "deltaR", "deltaphi", "mass"]


def __dir__() -> list[str]:
    return __all__


def deltaphi(phi1: Any, phi2: Any) -> Any:
    """Return the difference of two azimuthal angles, from -pi to pi.

    Example:
        >>> deltaphi(3.0, -3.0)
        np.float64(-0.283)
    """
    difference = 1.0 * phi1 - phi2
    return difference - 2 * np.pi * np.rint(difference / (2 * np.pi))


def deltaR(eta1: Any, phi1: Any, eta2: Any, phi2: Any) -> Any:
    """Return the distance of two objects in pseudorapidity and azimuth; object by object, as in NanoAOD's tools.

    Example:
        >>> deltaR(0.0, 3.1, 0.3, -3.1)
        np.float64(0.311)
    """
    return np.hypot(1.0 * eta1 - eta2, deltaphi(phi1, phi2))


def mass(pt1: Any, eta1: Any, phi1: Any, m1: Any, pt2: Any, eta2: Any, phi2: Any, m2: Any) -> Any:
    """Return the invariant mass of two objects, each given by transverse momentum, pseudorapidity, azimuth and mass.

    The square of the mass is a sum of positive terms, so that light or close objects lose no digits.

    Example:
        >>> mass(50.0, 0.3, 0.1, 0.0, 40.0, -0.5, -2.9, 0.0)
        np.float64(96.49)
    """
    square1, square2 = 1.0 * m1 * m1, 1.0 * m2 * m2
    transverse1, transverse2 = np.sqrt(square1 + pt1 * pt1), np.sqrt(square2 + pt2 * pt2)
    y1, y2 = np.arcsinh(pt1 / transverse1 * np.sinh(eta1)), np.arcsinh(pt2 / transverse2 * np.sinh(eta2))
    product = transverse1 * transverse2
    excess = (square1 * pt2 * pt2 + square2 * pt1 * pt1 + square1 * square2) / (product + pt1 * pt2)
    angles = product * np.sinh((y1 - y2) / 2) ** 2 + pt1 * pt2 * np.sin((1.0 * phi1 - phi2) / 2) ** 2
    return np.sqrt(square1 + square2 + 2 * excess + 4 * angles)


def bit(x: Any, number: Any) -> Any:
    """Return whether a bit of whole numbers is set, the lowest being number 0.

    Example:
        >>> import awkward as ak
        >>> bit(ak.Array([0, 2, 6, 1]), 1).tolist()
        [False, True, True, False]
    """
    if kind_of(x) not in "iu" or isinstance(number, ak.Array) or kind_of(number) != "i" or not 0 <= number < 64:
        raise InvalidEvents("bit takes whole numbers and the number of a bit, as in bit(flags, 3)")
    return np.right_shift(x, number) % 2 != 0


def _within(function: Callable[..., Any], axis: int = -1) -> Callable[..., Any]:
    """Return an awkward function that stays inside the events: never axis 0, which is the other events of the step."""
    signature = inspect.signature(function)

    def within(*arguments: Any, **options: Any) -> Any:
        call = signature.bind(*arguments, **options)
        x, given = call.args[0], call.arguments.setdefault("axis", axis)
        if not isinstance(x, ak.Array) or x.ndim < 2 or (kind_of(x) == "s" and x.ndim < 3):
            raise InvalidEvents(f"{function.__name__} needs a vector, not one number per event; use the branch itself")
        if given % x.ndim == 0:
            raise InvalidEvents(f"{function.__name__} cannot run over events; use axis=1")
        return function(*call.args, **call.kwargs)

    return within


def _of_some(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an average of each event's entries, which is missing where there are none."""
    average, number = _within(function), _within(ak.count)

    def of_some(x: Any, axis: int = -1) -> Any:
        return ak.mask(average(x, axis=axis), number(x, axis=axis) > 0)

    return of_some


def _extreme(reduction: Callable[..., Any], of_two: Callable[[Any, Any], Any], of_none: float) -> Callable[..., Any]:
    """Return ``min`` or ``max``: of each event's entries, infinite without any, or of two expressions."""

    def extreme(x: Any, *others: Any, axis: int = -1) -> Any:
        if not others:
            found = _within(reduction)(x, axis=axis)
            return ak.fill_none(ak.values_astype(found, np.float64), of_none, axis=-1)
        for other in others:
            x = of_two(x, other)
        return x

    return extreme


def _flatten(x: Any) -> Any:
    if getattr(x, "ndim", 0) < 3:
        raise InvalidEvents("flatten joins the vectors of each event, and needs vectors of vectors")
    return ak.flatten(x, axis=2)


_NUMPY = """absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil cos cosh exp exp2 expm1 fabs floor
fmod hypot isfinite isinf isnan log log10 log1p log2 maximum minimum rint sign sin sinh sqrt square tan tanh trunc"""
CONSTANTS: dict[str, float] = {"pi": np.pi}
POSITIONS = ("argmax", "argmin", "argsort")  # the functions whose values are positions of elements
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in _NUMPY.split()},
    "abs": np.absolute,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "atanh": np.arctanh,
    "ln": np.log,
    "pow": power,
    "power": power,
    "round": np.rint,
    "where": chosen,
    "logical_and": lambda a, b: condition(a) & condition(b),
    "logical_or": lambda a, b: condition(a) | condition(b),
    "logical_not": lambda a: np.logical_not(condition(a)),
    **{f.__name__: f for f in (bit, deltaR, deltaphi, mass)},
    "fill_none": ak.fill_none,
    "flatten": _flatten,
    "take": taken,
    **{f.__name__: _within(f) for f in (ak.all, ak.any, ak.count, ak.prod, ak.sum)},
    **{f.__name__: _of_some(f) for f in (ak.mean, ak.std, ak.var)},
    **{f.__name__: _within(f) for f in (ak.argmax, ak.argmin, ak.argsort, ak.sort)},
    **{f.__name__: _within(f, axis=1) for f in (ak.firsts, ak.num, ak.pad_none)},
    "len": _within(ak.num, axis=1),
    "max": _extreme(ak.max, np.maximum, -np.inf),
    "min": _extreme(ak.min, np.minimum, np.inf),
}
