"""Expressions of parameters as sympy has them, read without running what a document says."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

import sympy

from neyman.inputs.node import Node
from neyman.support.messages import did_you_mean

__all__ = ["CONSTANTS", "FUNCTIONS", "check_name", "parsed", "symbol"]


def __dir__() -> list[str]:
    return __all__


CONSTANTS = {"pi": sympy.pi, "E": sympy.E}
FUNCTIONS = {
    name: getattr(sympy, name)
    for name in (
        "Abs", "Max", "Min", "acos", "acosh", "asin", "asinh", "atan", "atan2", "cbrt", "cos", "cosh", "erf", "erfc",
        "exp", "ln", "log", "root", "sign", "sin", "sinh", "sqrt", "tan", "tanh",
    )
} | {"abs": sympy.Abs, "max": sympy.Max, "min": sympy.Min, "pow": sympy.Pow}  # fmt: skip

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LARGEST = 300.0  # decimal exponent of a power of numbers: sympy would write out all of its digits


def symbol(name: str) -> sympy.Symbol:
    """Return the symbol of a parameter, which is a real number."""
    return sympy.Symbol(name, real=True)


def check_name(name: str, place: Node) -> None:
    """Refuse a name that sympy, and so pyhf, reads as something else.

    Args:
        name: of a parameter in an expression, or of a binding.
        place: where it stands in the document.

    Raises:
        InvalidDocument: if it is no name in an expression.
    """
    if not name.isidentifier():
        raise place.error(f"{name!r} is no name in an expression: use letters, digits and _")
    if hasattr(sympy, name) or name in FUNCTIONS:
        raise place.error(f"{name!r} has a meaning of its own in sympy: use another name, such as {name}_0")


def parsed(place: Node) -> list[Any]:
    """Return the expressions of a text, one or a tuple of them.

    Nothing of the text is ever run: what is not a number, a name, an operator or one of the :data:`FUNCTIONS` is
    refused.

    Args:
        place: the text, and where it stands in the document.

    Raises:
        InvalidDocument: if it is no such expression.

    Example:
        >>> from neyman.inputs.formulas import parsed
        >>> from neyman.inputs.node import Node
        >>> parsed(Node("(mu - sqrt(mu), 1/2)"))
        [-sqrt(mu) + mu, 1/2]
    """
    text = place.value
    try:
        tree = ast.parse(" ".join(text.split()), mode="eval").body
        nodes = tree.elts if isinstance(tree, ast.Tuple) else [tree]
        return [_Reader(place).expression(node) for node in nodes]
    except SyntaxError as error:
        raise place.error(f"{text!r} is no expression: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError):
        raise place.error("the expression is too deep or has characters that no expression has") from None


class _Reader:
    """Reads the expressions of one text."""

    def __init__(self, place: Node) -> None:
        self._place = place

    def expression(self, node: ast.expr) -> Any:
        value = self._value(node)
        if value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo, sympy.I):
            raise self._place.error(f"{ast.unparse(node)!r} is no real number for any parameters")
        return value

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() as number):
                return sympy.Integer(number)
            case ast.Constant(value=float() as number) if math.isfinite(number):
                return sympy.Float(number)
            case ast.Name(id=name) if name in CONSTANTS:
                return CONSTANTS[name]
            case ast.Name(id=name):
                check_name(name, self._place)
                return symbol(name)
            case ast.UnaryOp(op=ast.UAdd() | ast.USub()):
                value = self._value(node.operand)
                return -value if isinstance(node.op, ast.USub) else value
            case ast.BinOp(op=ast.Pow()):
                return self._power(self._value(node.left), self._value(node.right))
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
                return _OPERATORS[type(node.op)](self._value(node.left), self._value(node.right))
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                return self._call(name, node)
            case ast.BinOp(op=ast.BitXor()):
                raise self._place.error(f"{ast.unparse(node)!r}: a power is written **, not ^")
        raise self._place.error(
            f"{ast.unparse(node)!r} is not allowed: an expression has numbers, names, + - * / ** and functions"
        )

    def _call(self, name: str, node: ast.Call) -> Any:
        if name not in FUNCTIONS:
            raise self._place.error(f"unknown function {name!r}; {did_you_mean(name, FUNCTIONS, show=30)}")
        arguments = [self._value(argument) for argument in node.args]
        if name in ("pow", "root") and len(arguments) == 2:
            power = arguments[1] if name == "pow" else 1 / arguments[1]
            return self._power(arguments[0], power)
        try:
            return FUNCTIONS[name](*arguments)
        except (TypeError, ValueError):
            raise self._place.error(
                f"{ast.unparse(node)!r}: {name} does not take such arguments, or {len(arguments)} of them"
            ) from None

    def _power(self, base: sympy.Expr, exponent: sympy.Expr) -> Any:
        numbers = base.is_number and exponent.is_number and base.is_real and exponent.is_real and not base.is_zero
        if numbers and abs(float(exponent) * math.log10(abs(float(base)))) > _LARGEST:
            raise self._place.error(f"{base}**{exponent} is too large or too small a number")
        return base**exponent
