"""Expressions of branches: text to a function, by a walk over Python's own syntax tree; nothing else is ever run.

Expressions are Python's, of branches and of a fixed table of functions: ``jet_pt[:, 0] / 100``, ``log(pt4l)``,
``ak.num(jet_pt)``, ``max(jet_pt[abs(jet_eta) < 2.5])``. They are evaluated here and not by uproot, because uproot
evaluates expressions before it applies a cut, knows no cut on an RNTuple and no function that reduces a vector, and
compiles what it is given, while a document that somebody sent must not run code. As in ROOT's ``TTree::Draw`` all
arithmetic is in double precision or 64-bit integers, whatever the branch's type, so that ``nvtx - 10`` of an unsigned
branch can be negative.
"""

from __future__ import annotations

import ast
import inspect
import operator
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from neyman.exceptions import InvalidEvents
from neyman.support.messages import did_you_mean

__all__ = ["Branches", "Function", "compiled"]


def __dir__() -> list[str]:
    return __all__


Branches = Mapping[str, ak.Array]
Function = Callable[[Branches], Any]


def compiled(text: str, path: Path, name: str, tree: Any) -> tuple[Function, set[str]]:
    """Return an expression as a function of the branches, and the names of those it uses."""
    keys = tree.keys()
    names: set[str] = set()
    try:
        if text.strip() in keys:  # whatever its name would mean in Python
            names.add(text.strip())
            return operator.itemgetter(text.strip()), names
        node = ast.parse(" ".join(text.split()), mode="eval").body
        return _compile(node, set(keys), names), names
    except InvalidEvents as error:
        raise InvalidEvents(f"{path}: tree {name!r}: {text!r}: {error}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidEvents(
            f"{path}: tree {name!r}: {text!r} is no expression; write Python, with &, |, ~ for and, or, not and "
            "where(condition, a, b) for a choice"
        ) from error


def _compile(node: ast.expr, keys: Collection[str], names: set[str]) -> Function:
    """Compile one node, adding to ``names`` the branches it uses; what is not here does not exist in the language."""
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return _constant(value)
        case ast.Call(func=ast.Name(id="get"), args=[ast.Constant(value=str() as name)], keywords=[]):
            return _branch(name, keys, names)
        case ast.Name() | ast.Attribute() if dotted := _dotted(node):
            return _branch(dotted, keys, names)
        case ast.UnaryOp() if type(node.op) in _UNARY:
            unary, operand = _UNARY[type(node.op)], _compile(node.operand, keys, names)
            return lambda branches: unary(operand(branches))
        case ast.BinOp() if type(node.op) in _BINARY:
            return _binary(_BINARY[type(node.op)], node.left, node.right, keys, names)
        case ast.Compare(ops=[comparison], comparators=[right]) if type(comparison) in _COMPARISONS:
            bare = [
                side
                for side, inside in (
                    (node.left, node.left.col_offset > node.col_offset),
                    (right, (right.end_col_offset or 0) < (node.end_col_offset or 0)),
                )
                if isinstance(side, ast.BinOp) and isinstance(side.op, ast.BitAnd | ast.BitOr) and not inside
            ]
            if not bare:  # 'a > 1 & b' is 'a > (1 & b)' to Python, hardly what was meant
                return _binary(_COMPARISONS[type(comparison)], node.left, right, keys, names)
        case ast.Call():
            return _call(node, keys, names)
        case ast.Subscript():
            return _subscript(node, keys, names)
    if isinstance(node, ast.Compare | ast.BoolOp) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
        raise InvalidEvents("conditions are combined with &, |, ~, each in parentheses: (a > 1) & (b < 2)")
    raise InvalidEvents(f"{ast.unparse(node)!r} is not possible; use branches, numbers, operators and functions")


def _constant(value: Any) -> Function:
    return lambda branches: value


def _branch(name: str, keys: Collection[str], names: set[str]) -> Function:
    if name in keys:
        names.add(name)
        return operator.itemgetter(name)
    if _without_module(name) == "pi":
        return _constant(np.pi)
    raise InvalidEvents(f"no branch {name!r}; {did_you_mean(name, sorted(keys))}")


def _binary(
    function: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr, keys: Collection[str], names: set[str]
) -> Function:
    a, b = _compile(left, keys, names), _compile(right, keys, names)
    return lambda branches: function(a(branches), b(branches))


def _call(node: ast.Call, keys: Collection[str], names: set[str]) -> Function:
    name = _without_module(_dotted(node.func) or ast.unparse(node.func))
    if name not in _FUNCTIONS:
        raise InvalidEvents(f"no function {name!r}; {did_you_mean(name, sorted(_FUNCTIONS), show=100)}")
    function, arguments = _FUNCTIONS[name], [_compile(argument, keys, names) for argument in node.args]
    options = {}
    for keyword in node.keywords:
        if keyword.arg not in ("axis", "ascending"):
            raise InvalidEvents(f"{name} takes no option {keyword.arg!r}; the options are axis and ascending")
        options[keyword.arg] = _literal(keyword.value)
    return lambda branches: function(*(argument(branches) for argument in arguments), **options)


def _subscript(node: ast.Subscript, keys: Collection[str], names: set[str]) -> Function:
    """Compile ``x[:, 0]``, ``x[:, :2]`` and ``x[y > 0]``: an index looks inside an event and never chooses events."""
    text, value = ast.unparse(node.value), _compile(node.value, keys, names)
    wrong = f"the first index runs over the events; write {text}[:, 0], or {text}[condition] with one per entry"
    match node.slice:
        case ast.Tuple(elts=[ast.Slice(lower=None, upper=None, step=None), *rest]):
            index = _constant((slice(None), *map(_index, rest)))
        case ast.Slice() | ast.Tuple() | ast.Constant():
            raise InvalidEvents(wrong)
        case _:
            index = _compile(node.slice, keys, names)

    def subscript(branches: Branches) -> Any:
        x, i = value(branches), index(branches)
        if getattr(x, "ndim", 0) < 2:
            raise InvalidEvents(f"{text} is one number per event and takes no index")
        if not isinstance(i, tuple) and getattr(i, "ndim", 0) < 2:
            raise InvalidEvents(wrong)
        return x[i]

    return subscript


def _index(node: ast.expr) -> int | slice:
    if isinstance(node, ast.Slice):
        return slice(*(None if part is None else _index(part) for part in (node.lower, node.upper, node.step)))
    return _literal(node)


def _literal(node: ast.expr) -> int:
    try:
        return operator.index(ast.literal_eval(node))
    except (TypeError, ValueError):
        raise InvalidEvents(f"{ast.unparse(node)!r} is no whole number; write one, as in x[:, 0]") from None


def _dotted(node: ast.expr) -> str | None:
    """Return ``"a.b"`` for the attribute ``a.b``, or nothing where the first part is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def _without_module(name: str) -> str:
    module, _, rest = name.rpartition(".")
    return rest if module in ("ak", "awkward", "math", "np", "numpy") else name


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
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: lambda a: 1 * a,
    ast.USub: lambda a: -1 * a,
    ast.Invert: np.invert,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
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
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
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
_FUNCTIONS: dict[str, Callable[..., Any]] = {
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
