"""What the operators of expressions mean: for elements that are missing, integers as conditions, and large numbers.

An event may have no element of a vector; it is missing then, awkward's ``None``. Arithmetic with what is missing is
missing, a comparison with it is false. So a guard and what it guards stand in one expression, in either order.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np

from neyman.exceptions import InvalidEvents

__all__ = ["BINARY", "COMPARISONS", "UNARY", "chosen", "condition", "element", "kind_of", "power", "taken"]


def __dir__() -> list[str]:
    return __all__


def kind_of(value: Any) -> str:
    """Return what the entries of a value are: ``"b"``, ``"i"``, ``"u"`` or ``"f"`` as numpy has it, or ``"s"`` of text.

    Example:
        >>> import awkward as ak
        >>> kind_of(ak.Array([[1.5], []])), kind_of(3), kind_of(ak.Array(["GT"]))
        ('f', 'i', 's')
    """
    if isinstance(value, str):
        return "s"
    if not isinstance(value, ak.Array):
        return np.asarray(value).dtype.kind
    layout = value.layout
    while layout.is_list or layout.is_option or layout.is_indexed:
        if layout.parameter("__array__") in {"string", "bytestring"}:
            return "s"
        layout = layout.content
    return str(layout.dtype.kind) if layout.is_numpy else "f"


def condition(value: Any) -> Any:
    """Return truth values: an integer is true where it is not zero, what is missing is false.

    Raises:
        InvalidEvents: for numbers with a fraction, or text.

    Example:
        >>> import awkward as ak
        >>> condition(ak.Array([[0, 1], [None, 4]])).tolist()
        [[False, True], [False, True]]
    """
    kind = kind_of(value)
    if kind not in "biu":
        raise InvalidEvents("a number is no condition; compare it with one, as in x > 0 or x != 0")
    truth = value if kind == "b" else value != 0
    return _filled(truth)


def element(x: Any, index: int, axis: int) -> Any:
    """Return one element of each vector along an axis, missing where a vector has not as many.

    Example:
        >>> import awkward as ak
        >>> element(ak.Array([[4.0, 3.0], [5.0], []]), -1, axis=1).tolist()
        [3.0, 5.0, None]
    """
    number = ak.num(x, axis=axis)
    there = _filled(number > index if index >= 0 else number >= -index)
    return ak.mask(x, there)[(*[slice(None)] * axis, index)]


def taken(x: Any, positions: Any) -> Any:
    """Return the elements at given positions, one position or a vector of them for each event; missing without one.

    Example:
        >>> import awkward as ak
        >>> x = ak.Array([[4.0, 3.0], [5.0], []])
        >>> taken(x, ak.Array([1, 0, 0])).tolist(), taken(x, ak.Array([[1, -1], [], []])).tolist()
        ([3.0, 5.0, None], [[3.0, None], [], []])
    """
    if kind_of(positions) not in "iu":
        raise InvalidEvents("positions are whole numbers, as argmax has them")
    if not isinstance(positions, ak.Array):
        return element(x, int(positions), 1)
    if positions.ndim < 2:
        return ak.firsts(taken(x, ak.singletons(positions)))
    there = _filled((positions >= 0) & (positions < ak.num(x, axis=1)))
    return x[ak.mask(positions, there)]


def chosen(truth: Any, a: Any, b: Any) -> Any:
    """Return one value where a condition is true and another one where it is false; only the chosen one is needed.

    Example:
        >>> import awkward as ak
        >>> chosen(ak.Array([True, False]), ak.Array([1.0, None]), 0).tolist()
        [1.0, 0.0]
    """
    kinds = {kind_of(a), kind_of(b)}
    if len(kinds) > 1 and "b" in kinds:
        a, b = 1 * a, 1 * b  # numbers, both
    if "f" in kinds:
        a, b = (1.0 * value if kind_of(value) != "f" else value for value in (a, b))
    truth = condition(truth)
    if not isinstance(truth, ak.Array):
        return a if truth else b
    return ak.where(truth, a, b)


def power(a: Any, b: Any) -> Any:
    """Return a power in double precision, for integer ones overflow and cannot be negative."""
    return a ** (float(b) if isinstance(b, int) else 1.0 * b)


def _filled(truth: Any) -> Any:
    return ak.fill_none(truth, False, axis=None) if isinstance(truth, ak.Array) else truth


def _compared(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compared(a: Any, b: Any) -> Any:
        text = [kind_of(value) == "s" for value in (a, b)]
        if any(text) and (not all(text) or compare not in {operator.eq, operator.ne}):
            raise InvalidEvents('text is compared with text, by == or !=, as in Type == "GT"')
        return _filled(compare(a, b))

    return compared


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return an operator of numbers, and truth values, of which the factor 1 makes numbers."""

    def arithmetic(a: Any, b: Any) -> Any:
        if "u" in (kind_of(a), kind_of(b)):
            raise InvalidEvents("unsigned numbers of 2**63 and more can only be compared, or divided with // and %")
        return function(1 * a, 1 * b)

    return arithmetic


def _divided(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a division of whole numbers, which is missing where the divisor is zero."""

    def divided(a: Any, b: Any) -> Any:
        if "f" in (kind_of(a), kind_of(b)):
            return function(1 * a, 1 * b)
        if "u" in (kind_of(a), kind_of(b)) and isinstance(b, ak.Array):
            raise InvalidEvents("unsigned numbers of 2**63 and more can only be divided by a number")
        if not isinstance(b, ak.Array):
            if b == 0:
                raise InvalidEvents("division by zero")
            return function(1 * a, 1 * b)
        return function(1 * a, ak.mask(1 * b, b != 0))

    return divided


def _no_power(a: Any, b: Any) -> Any:
    if kind_of(a) == kind_of(b) == "b":
        return a ^ b
    raise InvalidEvents("^ is no power; write **")


UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: lambda a: 1 * a,
    ast.USub: lambda a: _arithmetic(operator.mul)(-1, a),
    ast.Invert: lambda a: np.logical_not(condition(a)),
}
BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _arithmetic(operator.add),
    ast.Sub: _arithmetic(operator.sub),
    ast.Mult: _arithmetic(operator.mul),
    ast.Div: operator.truediv,
    ast.FloorDiv: _divided(operator.floordiv),
    ast.Mod: _divided(operator.mod),
    ast.Pow: power,
    ast.BitAnd: lambda a, b: condition(a) & condition(b),
    ast.BitOr: lambda a, b: condition(a) | condition(b),
    ast.BitXor: _no_power,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: _compared(operator.eq),
    ast.NotEq: _compared(operator.ne),
    ast.Lt: _compared(operator.lt),
    ast.LtE: _compared(operator.le),
    ast.Gt: _compared(operator.gt),
    ast.GtE: _compared(operator.ge),
}
