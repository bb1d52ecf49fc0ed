"""What the operators of expressions do with arrays that may have missing values: arithmetic, comparisons, conditions.

Arithmetic on what is missing is missing. A comparison with it is false, whichever, so that conditions are never
missing: a number where a condition is wanted stands for ``number != 0``. Integers have 64 bits and never wrap around.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import awkward as ak
import numpy as np

from neyman.exceptions import InvalidEvents

__all__ = [
    "ARITHMETIC",
    "COMPARISONS",
    "CONNECTIVES",
    "aligned",
    "condition",
    "divided",
    "exclusive_or",
    "inverted",
    "joined",
    "kind_of",
    "number",
    "shifted",
]


def __dir__() -> list[str]:
    return __all__


Value: TypeAlias = Any  # an awkward array, or a Python or numpy scalar
Operator: TypeAlias = Callable[[Value, Value], Value]

LIMIT = 2**63  # of 64-bit integers with a sign


def kind_of(x: Value) -> str:
    """Return what a value holds: ``"b"`` truth values, ``"i"`` integers, ``"f"`` other numbers, ``"s"`` text.

    Example:
        >>> import awkward as ak
        >>> kind_of(ak.Array([[1, None], []])), kind_of(0.5), kind_of(ak.Array(["GT"]))
        ('i', 'f', 's')
    """
    if not isinstance(x, ak.Array):
        if isinstance(x, int) and not isinstance(x, bool):  # of any size
            return "i"
        return "s" if isinstance(x, str) else np.asarray(x).dtype.kind.replace("u", "i")
    layout = x.layout
    while layout.parameter("__array__") is None and (layout.is_list or layout.is_option or layout.is_indexed):
        layout = layout.content
    if layout.parameter("__array__") is not None:
        return "s"
    if layout.is_numpy:
        return str(layout.dtype.kind).replace("u", "i")
    return "f" if layout.is_unknown else "?"


def number(x: Value, of: str = "") -> Value:
    """Return numbers to compute with: integers of truth values, numpy's of a literal.

    Args:
        x: a value.
        of: what it is, for the message.

    Raises:
        InvalidEvents: if it is text.
    """
    match kind_of(x):
        case "b":
            return 1 * x
        case "s" | "?" as other:
            what = "text" if other == "s" else "of more than one kind"
            raise InvalidEvents(f"{of or 'an operand'} is {what}, not a number; compare text, as in x == 'word'")
        case "i" if isinstance(x, int):
            if -LIMIT <= x < LIMIT:
                return np.int64(x)
            return np.uint64(x) if 0 <= x < 2 * LIMIT else float(x)
    return x


def condition(x: Value, text: str) -> Value:
    """Return the truth values of a condition; what is missing is false, and integers are true unless they are 0.

    Args:
        x: a value.
        text: what it is, for the message.

    Raises:
        InvalidEvents: if it is neither truth values nor integers.

    Example:
        >>> import awkward as ak
        >>> condition(ak.Array([0, 2, None]), "flag").to_list()
        [False, True, False]
    """
    match kind_of(x):
        case "b":
            return _without_missing(x)
        case "i":
            return _without_missing(x != 0)
        case "s":
            raise InvalidEvents(f"{text} is no condition but text; compare it, as in {text} == 'word'")
    raise InvalidEvents(f"{text} is no condition; compare it with a number, as in {text} > 0 or {text} == 1")


def aligned(*values: Value) -> list[Value]:
    """Return values, a missing one of an event spread over the entries that another value has of the event.

    So ``pt > pt[:, 0]`` has no entries where there are none, and ``pt > x[:, 0]`` is false for all where x has none.
    """
    deepest = max(values, key=_depth)
    if _depth(deepest) < 2:
        return list(values)
    return [_spread(x, deepest) if _depth(x) == 1 and _may_miss(x) else x for x in values]


def _spread(x: ak.Array, like: ak.Array) -> ak.Array:
    filler = "" if kind_of(x) == "s" else 0
    full, valid, _ = ak.broadcast_arrays(ak.fill_none(x, filler), ~ak.is_none(x), like)
    return ak.mask(full, valid)


def _depth(x: Value) -> int:
    return int(x.ndim) if isinstance(x, ak.Array) else 0


def _may_miss(x: Value) -> bool:
    layout = x.layout if isinstance(x, ak.Array) else None
    while layout is not None and layout.parameter("__array__") is None:
        if layout.is_option:
            return True
        layout = layout.content if layout.is_list or layout.is_indexed else None
    return False


def _without_missing(x: Value) -> Value:
    return ak.fill_none(x, False, axis=-1) if _may_miss(x) else x


# --- Comparisons


def _comparison(compare: Operator, sign: str) -> Operator:
    """Return a comparison that is exact for all 64-bit integers, and false with what is missing."""

    def compared(a: Value, b: Value) -> Value:
        kinds = kind_of(a) + kind_of(b)
        if "s" in kinds:
            if kinds != "ss" or sign not in ("==", "!="):
                raise InvalidEvents("text is compared with == and != and a text in quotes, as in x == 'word'")
        else:
            a, b = number(a), number(b)
            if {kind_of(a), kind_of(b)} == {"i", "f"}:
                a, b = (_whole(x) for x in (a, b))
        return _without_missing(compare(*aligned(a, b)))

    return compared


def _whole(x: Value) -> Value:
    """Return the integer that a literal as ``1e3`` is, so that comparing with it rounds no integer."""
    return number(int(x)) if isinstance(x, float) and x.is_integer() and -LIMIT <= x < 2 * LIMIT else x


COMPARISONS: dict[type[ast.cmpop], Operator] = {
    ast.Eq: _comparison(operator.eq, "=="),
    ast.NotEq: _comparison(operator.ne, "!="),
    ast.Lt: _comparison(operator.lt, "<"),
    ast.LtE: _comparison(operator.le, "<="),
    ast.Gt: _comparison(operator.gt, ">"),
    ast.GtE: _comparison(operator.ge, ">="),
}


# --- Arithmetic


def _arithmetic(ufunc: Operator, largest: Callable[[int, int], int]) -> Operator:
    """Return an operation that does not wrap around.

    Args:
        ufunc: the operation.
        largest: how large its result can be, from how large the two operands are.
    """

    def applied(a: Value, b: Value) -> Value:
        a, b = aligned(number(a), number(b))
        if kind_of(a) + kind_of(b) != "ii" or largest(_size(a), _size(b)) < LIMIT:
            return ufunc(a, b)
        estimate = ufunc(_as(a, np.float64), _as(b, np.float64))
        result = ufunc(_as(a, np.uint64), _as(b, np.uint64))  # right up to multiples of 2^64
        if _lowest(estimate) >= 0 and _highest(estimate) < 2 * LIMIT:
            return result
        if _lowest(estimate) > -LIMIT and _highest(estimate) < LIMIT:
            return _as(result, np.int64)
        raise InvalidEvents("goes beyond what 64-bit integers can hold; write 1.0 * x for double precision")

    return applied


def _as(x: Value, dtype: type[np.generic]) -> Value:
    return ak.values_astype(x, dtype) if isinstance(x, ak.Array) else np.asarray(x).astype(dtype)[()]


def _lowest(x: Value) -> Any:
    found = ak.min(x, axis=None) if isinstance(x, ak.Array) else x
    return 0 if found is None else found


def _highest(x: Value) -> Any:
    found = ak.max(x, axis=None) if isinstance(x, ak.Array) else x
    return 0 if found is None else found


def _size(x: Value) -> int:
    return max(-int(_lowest(x)), int(_highest(x)))


def _power(a: Value, b: Value) -> Value:
    a, b = aligned(number(a), number(b))
    return a ** (1.0 * b)  # integer powers overflow, and cannot be negative


def _ratio(a: Value, b: Value) -> Value:
    a, b = aligned(number(a), number(b))
    return np.true_divide(a, b)


ARITHMETIC: dict[type[ast.operator], Operator] = {
    ast.Add: _arithmetic(np.add, operator.add),
    ast.Sub: _arithmetic(np.subtract, operator.add),
    ast.Mult: _arithmetic(np.multiply, operator.mul),
    ast.Div: _ratio,
    ast.Pow: _power,
}


def divided(ufunc: Operator, a: Value, b: Value, *, guarded: bool) -> Value:
    """Return the whole part of a ratio, or the remainder.

    Args:
        ufunc: ``np.floor_divide`` or ``np.remainder``.
        a: the dividend.
        b: the divisor.
        guarded: whether a condition around it may keep the zeros away, so that an integer ratio to 0 is missing.

    Raises:
        InvalidEvents: if an integer is divided by 0 that nothing guards.
    """
    a, b = aligned(number(a), number(b))
    if kind_of(a) + kind_of(b) != "ii":
        return ufunc(a, b)
    zero = b == 0
    if ak.any(zero, axis=None) if isinstance(zero, ak.Array) else zero:
        if not guarded or not isinstance(b, ak.Array):
            raise InvalidEvents("an integer is divided by 0; write where(n != 0, x // n, 0), or select n != 0")
        b = ak.mask(b, ~zero)
    if max(_highest(a), _highest(b)) >= LIMIT:
        if min(_lowest(a), _lowest(b)) < 0:
            raise InvalidEvents("integers beyond 2^63 are divided by none below 0; write 1.0 * x for double precision")
        a, b = _as(a, np.uint64), _as(b, np.uint64)
    return ufunc(a, b)


def shifted(ufunc: Operator, a: Value, b: Value) -> Value:
    """Return integers with their bits shifted, ``a << b`` or ``a >> b``."""
    a, b = aligned(number(a), number(b))
    if kind_of(a) + kind_of(b) != "ii":
        raise InvalidEvents("<< and >> shift the bits of integers, and these are not; write * or / for numbers")
    if _lowest(b) < 0 or _highest(b) > 62:
        raise InvalidEvents("bits are shifted by 0 to 62 places")
    if ufunc is np.left_shift and _size(a) << int(_highest(b)) >= LIMIT:
        raise InvalidEvents("goes beyond what 64-bit integers can hold; write 2.0 ** n for double precision")
    return ufunc(a, _as(b, np.uint64) if _highest(a) >= LIMIT else b)


# --- Conditions

CONNECTIVES: dict[type[ast.operator], Operator] = {ast.BitAnd: operator.and_, ast.BitOr: operator.or_}


def joined(combine: Operator, a: Value, b: Value, *, bits: bool, texts: tuple[str, str]) -> Value:
    """Return ``a & b`` or ``a | b``: of conditions, or the bits of two integers where one is a literal.

    Args:
        combine: the operator.
        a: the left side.
        b: the right side.
        bits: whether one side can only be meant as bits, as 2 in ``jet_id & 2``.
        texts: what the sides are, for the message.

    Raises:
        InvalidEvents: if a side is no condition, or both are integers that can be meant as either.
    """
    kinds = kind_of(a) + kind_of(b)
    if kinds == "ii" and bits:
        a, b = aligned(number(a), number(b))
        if max(_highest(a), _highest(b)) >= LIMIT:
            a, b = _as(a, np.uint64), _as(b, np.uint64)
        return combine(a, b)
    if kinds == "ii" and not all(_lowest(x) >= 0 and _highest(x) <= 1 for x in (a, b)):
        sign = "&" if combine is operator.and_ else "|"
        raise InvalidEvents(
            f"{texts[0]} {sign} {texts[1]} joins integers other than 0 and 1; write ({texts[0]} > 0) {sign} "
            f"({texts[1]} > 0) or what == they should be, and bit(x, n) for the bits of a number"
        )
    conditions = [condition(x, text) for x, text in zip((a, b), texts, strict=True)]
    return _without_missing(combine(*aligned(*conditions)))


def exclusive_or(a: Value, b: Value, *, texts: tuple[str, str]) -> Value:
    """Return ``a ^ b`` of conditions, which is no power."""
    if "b" not in kind_of(a) + kind_of(b):
        raise InvalidEvents("^ is no power; write **, or a != b where one of two conditions holds but not both")
    return joined(operator.xor, a, b, bits=False, texts=texts)


def inverted(a: Value, *, text: str) -> Value:
    """Return ``~a`` of a condition: true for 0 and for what is missing."""
    return np.logical_not(condition(a, text))
