"""Expressions of branches: text to a function, by a walk over Python's own syntax tree; nothing else is ever run.

Expressions are Python's, of branches and of the functions of :mod:`neyman.inputs.functions`: ``log(pt4l)``,
``jet_pt[:, 0] / 100``, ``ak.num(jet_pt)``, ``max(jet_pt[abs(jet_eta) < 2.5])``. They are evaluated here and not by
uproot, because uproot evaluates expressions before it applies a cut, knows no cut on an RNTuple and no function that
reduces a vector, and compiles what it is given, while a document that somebody sent must not run code. As in ROOT's
``TTree::Draw`` all arithmetic is in double precision or 64-bit integers, whatever the branch's type, so that
``nvtx - 10`` of an unsigned branch can be negative.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidEvents
from neyman.inputs.functions import BINARY, COMPARISONS, CONSTANTS, FUNCTIONS, UNARY
from neyman.inputs.reader import one_line
from neyman.support.messages import did_you_mean

__all__ = ["Branches", "Expression", "parsed"]


def __dir__() -> list[str]:
    return __all__


Branches: TypeAlias = Mapping[str, ak.Array]
Function: TypeAlias = Callable[[Branches], Any]

MODULES = ("ak", "awkward", "math", "np", "numpy")  # which may stand before a function's name
OPTIONS = ("axis", "ascending")  # of functions
CONDITIONS = "conditions are combined with &, |, ~, each in parentheses: (a > 1) & (b < 2)"


@dataclass(frozen=True)
class Expression:
    """An expression of branches.

    Args:
        text: as written.
        branches: the names of those it uses.
        function: takes the branches of any number of events.
    """

    text: str
    branches: frozenset[str]
    function: Function

    def numbers(self, branches: Branches, n: int, where: str) -> NDArray[Any]:
        """Evaluate it to one number per event; what is missing is nan, or false.

        Args:
            branches: of each, the entries of ``n`` events.
            n: the number of events.
            where: what messages begin with.

        Returns:
            Truth values, integers or double precision, shape ``(n,)``.

        Raises:
            InvalidEvents: if it cannot be evaluated, or not to a number per event.
        """
        try:
            with np.errstate(all="ignore"):
                value = self.function(branches)
            if isinstance(value, ak.Array) and value.ndim == 1 and len(value) == n:
                missing = False if "bool" in str(value.type) else np.nan
                value = np.asarray(ak.to_numpy(ak.fill_none(value, missing)))
            elif getattr(value, "ndim", 0) == 0:
                value = np.full(n, value)
        except IndexError as error:
            raise InvalidEvents(
                f"{where} asks for an entry that some event has not; select events that have it, as in 'num(x) >= 1'"
            ) from error
        except InvalidEvents as error:
            raise InvalidEvents(f"{where}: {error}") from None
        except (ArithmeticError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError) as error:
            raise InvalidEvents(f"{where} cannot be evaluated ({one_line(error)}); correct the expression") from error
        if isinstance(value, ak.Array):
            raise InvalidEvents(
                f"{where} is not one number per event but {value.type}; reduce it, as in x[:, 0] or max(x)"
            )
        if value.dtype.kind not in "biuf":
            raise InvalidEvents(f"{where} is {value.dtype}, not one number per event; correct the expression")
        return cast(NDArray[Any], value)


def parsed(text: str, known: Collection[str], where: str) -> Expression:
    """Return the expression that a text is.

    Args:
        text: the text.
        known: the names of the branches that there are.
        where: what messages begin with.

    Raises:
        InvalidEvents: if it is no expression, or uses a branch or a function that does not exist.

    Example:
        >>> import awkward as ak
        >>> from neyman.inputs.expressions import parsed
        >>> expression = parsed("max(jet_pt) / 10", ["jet_pt", "m4l"], "signal.root")
        >>> sorted(expression.branches)
        ['jet_pt']
        >>> expression.numbers({"jet_pt": ak.Array([[25.0, 50.0], [30.0]])}, 2, "signal.root")
        array([5., 3.])
    """
    parser = _Parser(known)
    try:
        if text.strip() in parser.known:  # whatever its name would mean in Python
            function = parser.branch(text.strip())
        else:
            function = parser.compiled(ast.parse(" ".join(text.split()), mode="eval").body)
    except InvalidEvents as error:
        raise InvalidEvents(f"{where}: {text!r}: {error}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidEvents(
            f"{where}: {text!r} is no expression; write Python, with &, |, ~ for and, or, not and "
            "where(condition, a, b) for a choice"
        ) from error
    return Expression(text, frozenset(parser.used), function)


class _Parser:
    """Compiles the nodes of one expression; what has no method here does not exist in the language.

    Args:
        known: the names of the branches that there are.
    """

    def __init__(self, known: Collection[str]) -> None:
        self.known = frozenset(known)
        self.used: set[str] = set()

    def compiled(self, node: ast.expr) -> Function:
        """Return a node as a function of the branches."""
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return _constant(value)
            case ast.Name() | ast.Attribute() if name := _dotted(node):
                return self.name(name)
            case ast.UnaryOp() if type(node.op) in UNARY:
                return self.applied(UNARY[type(node.op)], node.operand)
            case ast.BinOp() if type(node.op) in BINARY:
                return self.applied(BINARY[type(node.op)], node.left, node.right)
            case ast.Compare():
                return self.comparison(node)
            case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                raise InvalidEvents(CONDITIONS)
            case ast.Call():
                return self.call(node)
            case ast.Subscript():
                return self.subscript(node)
        raise InvalidEvents(f"{ast.unparse(node)!r} is not possible; use branches, numbers, operators and functions")

    def name(self, name: str) -> Function:
        """Compile the name of a branch or of a constant."""
        constant = _without_module(name)
        if constant in CONSTANTS and name not in self.known:
            return _constant(CONSTANTS[constant])
        return self.branch(name)

    def branch(self, name: str) -> Function:
        """Compile the name of a branch."""
        if name not in self.known:
            raise InvalidEvents(f"no branch {name!r}; {did_you_mean(name, sorted(self.known))}")
        self.used.add(name)
        return operator.itemgetter(name)

    def applied(self, function: Callable[..., Any], *nodes: ast.expr, **options: int) -> Function:
        """Compile a function of other nodes."""
        arguments = [self.compiled(node) for node in nodes]
        return lambda branches: function(*(argument(branches) for argument in arguments), **options)

    def comparison(self, node: ast.Compare) -> Function:
        """Compile one comparison; where a side is ``a & b`` it has parentheses.

        Python takes ``x > 1 & y`` for ``x > (1 & y)``, which is hardly what was meant.
        """
        left, right = node.left, node.comparators[0]
        left_bare = _combines_conditions(left) and left.col_offset == node.col_offset
        right_bare = _combines_conditions(right) and right.end_col_offset == node.end_col_offset
        if len(node.ops) > 1 or type(node.ops[0]) not in COMPARISONS or left_bare or right_bare:
            raise InvalidEvents(CONDITIONS)
        return self.applied(COMPARISONS[type(node.ops[0])], left, right)

    def call(self, node: ast.Call) -> Function:
        """Compile ``function(x, axis=1)``, and ``get("name")``, which is a branch of whatever name."""
        name = _without_module(_dotted(node.func) or ast.unparse(node.func))
        match node:
            case ast.Call(func=ast.Name(id="get"), args=[ast.Constant(value=str() as branch)], keywords=[]):
                return self.branch(branch)
        if name not in FUNCTIONS:
            raise InvalidEvents(f"no function {name!r}; {did_you_mean(name, sorted(FUNCTIONS), show=100)}")
        options = {}
        for keyword in node.keywords:
            if keyword.arg not in OPTIONS:
                raise InvalidEvents(f"{name} takes no option {keyword.arg!r}; the options are {' and '.join(OPTIONS)}")
            options[keyword.arg] = _whole_number(keyword.value)
        return self.applied(FUNCTIONS[name], *node.args, **options)

    def subscript(self, node: ast.Subscript) -> Function:
        """Compile ``x[:, 0]``, ``x[:, :2]``, ``x[y > 0]``: an index looks inside an event and never chooses events."""
        text, value = ast.unparse(node.value), self.compiled(node.value)
        wrong = f"the first index runs over the events; write {text}[:, 0], or {text}[condition] with one per entry"
        match node.slice:
            case ast.Tuple(elts=[ast.Slice(lower=None, upper=None, step=None), *rest]):
                index = _constant((slice(None), *map(_index, rest)))
            case ast.Slice() | ast.Tuple() | ast.Constant():
                raise InvalidEvents(wrong)
            case _:
                index = self.compiled(node.slice)

        def subscript(branches: Branches) -> Any:
            x, i = value(branches), index(branches)
            if getattr(x, "ndim", 0) < 2:
                raise InvalidEvents(f"{text} is one number per event and takes no index")
            if not isinstance(i, tuple) and getattr(i, "ndim", 0) < 2:
                raise InvalidEvents(wrong)
            return x[i]

        return subscript


def _constant(value: Any) -> Function:
    return lambda branches: value


def _combines_conditions(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr)


def _index(node: ast.expr) -> int | slice:
    if isinstance(node, ast.Slice):
        return slice(*(None if part is None else _index(part) for part in (node.lower, node.upper, node.step)))
    return _whole_number(node)


def _whole_number(node: ast.expr) -> int:
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
    return rest if module in MODULES else name
