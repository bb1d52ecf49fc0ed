"""Python's syntax trees of expressions: what is written out in them, for the parser to decide by."""

from __future__ import annotations

import ast
import operator

from neyman.exceptions import InvalidEvents

__all__ = [
    "combines_conditions",
    "dotted",
    "is_mask",
    "literal",
    "parsed_node",
    "slice_of",
    "whole_number",
    "without_module",
]


def __dir__() -> list[str]:
    return __all__


MODULES = ("ak", "awkward", "math", "np", "numpy")  # which may stand before a function's name


def parsed_node(text: str) -> ast.expr:
    """Return the syntax tree of a text, whose line breaks mean nothing."""
    return ast.parse(" ".join(text.split()), mode="eval").body


def combines_conditions(node: ast.expr) -> bool:
    """Return whether a node is ``a & b`` or ``a | b``."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr)


def literal(node: ast.expr) -> bool | int | float | None:
    """Return the number that is written out, with its sign, or nothing."""
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.UnaryOp(op=ast.Invert(), operand=ast.Constant(value=int() as value)) if not isinstance(value, bool):
            return ~value
    return None


def is_mask(node: ast.expr) -> bool:
    """Return whether a node can only be meant as bits: a whole number as it is written, or one that is shifted."""
    number = literal(node)
    if number is not None:
        return not isinstance(number, bool)
    match node:
        case ast.BinOp(op=ast.LShift() | ast.RShift()):
            return literal(node.left) is not None or literal(node.right) is not None
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
            return is_mask(node.left) and is_mask(node.right)
    return False


def slice_of(node: ast.Slice) -> slice:
    """Return the slice that a node is.

    Raises:
        InvalidEvents: if its ends are no whole numbers, or its step is 0.
    """
    part = slice(*(None if end is None else whole_number(end) for end in (node.lower, node.upper, node.step)))
    if part.step == 0:
        raise InvalidEvents("the step of a slice is not 0; write x[:, ::2] for every other entry")
    return part


def whole_number(node: ast.expr) -> int:
    """Return the whole number that a node is.

    Raises:
        InvalidEvents: if it is none.
    """
    try:
        return operator.index(ast.literal_eval(node))
    except (TypeError, ValueError):
        raise InvalidEvents(f"{ast.unparse(node)!r} is no whole number; write one, as in x[:, 0]") from None


def dotted(node: ast.AST) -> str | None:
    """Return ``"a.b"`` for the attribute ``a.b``, or nothing where the first part is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def without_module(name: str) -> str:
    """Return ``"log"`` for ``"np.log"``, and a name as it is where no module stands before it."""
    module, _, rest = name.rpartition(".")
    return rest if module in MODULES else name
