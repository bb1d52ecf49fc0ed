"""What an expression may use, in one place: the operators, and the functions by name."""

from __future__ import annotations

import ast
import inspect
import operator
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np

from neyman.exceptions import InvalidEvents

__all__ = ["BINARY", "COMPARISONS", "CONSTANTS", "FUNCTIONS", "UNARY"]


def __dir__() -> list[str]:
    return __all__


def _within(function: Callable[..., Any], axis: int = -1) -> Callable[..., Any]:
    """Return an awkward function that stays inside the events: never axis 0, which is the other events of the step."""
    signature = inspect.signature(function)

    def within(*arguments: Any, **options: Any) -> Any:
        call = signature.bind(*arguments, **options)
        x, chosen = call.args[0], call.arguments.setdefault("axis", axis)
        if not isinstance(x, ak.Array) or x.ndim < 2:
            raise InvalidEvents(f"{function.__name__} needs a vector, not one number per event; use the branch itself")
        if chosen % x.ndim == 0:
            raise InvalidEvents(f"{function.__name__} cannot run over events; use axis=1")
        return function(*call.args, **call.kwargs)

    return within


def _extreme(reduction: Callable[..., Any], of_two: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return ``min`` or ``max``: of each event's entries, nan without any, or of two expressions."""

    def extreme(x: Any, *others: Any, axis: int = -1) -> Any:
        if not others:
            return ak.fill_none(_within(reduction)(x, axis=axis), np.nan)
        for other in others:
            x = of_two(x, other)
        return x

    return extreme


def _power(a: Any, b: Any) -> Any:
    return a ** (float(b) if isinstance(b, int) else 1.0 * b)  # integer powers overflow, and cannot be negative


# The factor 1 makes an integer of a truth value: numpy's True + True is True, and counts nothing.
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: lambda a: 1 * a,
    ast.USub: lambda a: -1 * a,
    ast.Invert: np.invert,
}
BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: 1 * a + b,
    ast.Sub: lambda a, b: 1 * a - b,
    ast.Mult: lambda a, b: 1 * a * b,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: 1 * a // b,
    ast.Mod: lambda a, b: 1 * a % b,
    ast.Pow: _power,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: np.left_shift,
    ast.RShift: operator.rshift,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_NUMPY = """absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil cos cosh exp exp2 expm1 fabs floor
fmod hypot isfinite isinf isnan log log10 log1p log2 logical_and logical_not logical_or maximum minimum rint sign sin
sinh sqrt square tan tanh trunc"""
CONSTANTS: dict[str, float] = {"pi": np.pi}
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
    "pow": _power,
    "power": _power,
    "round": np.rint,
    "where": ak.where,
    "fill_none": ak.fill_none,
    **{f.__name__: _within(f) for f in (ak.all, ak.any, ak.count, ak.mean, ak.prod, ak.std, ak.sum, ak.var)},
    **{f.__name__: _within(f) for f in (ak.argsort, ak.sort)},
    **{f.__name__: _within(f, axis=1) for f in (ak.firsts, ak.num, ak.pad_none)},
    "max": _extreme(ak.max, np.maximum),
    "min": _extreme(ak.min, np.minimum),
}
