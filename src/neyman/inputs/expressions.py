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
Function: TypeAlias = "Callable[[Values], Any]"

MODULES = ("ak", "awkward", "math", "np", "numpy")  # which may stand before a function's name
OPTIONS = ("axis", "ascending")  # of functions
CONDITIONS = "conditions are combined with &, |, ~, each in parentheses: (a > 1) & (b < 2)"


@dataclass(frozen=True)
class Values:
    """What an expression is evaluated on.

    Args:
        branches: of each, the entries of some events.
        found: what aliases were evaluated to.
    """

    branches: Branches
    found: dict[str, Any]


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
                value = self.function(Values(branches, {}))
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


def parsed(
    text: str,
    known: Collection[str],
    where: str,
    *,
    aliases: Mapping[str, str] | None = None,
    branches: Mapping[str, str] | None = None,
) -> Expression:
    """Return the expression that a text is.

    Args:
        text: the text.
        known: the names of the branches that there are.
        where: what messages begin with.
        aliases: expressions by name; they may use each other.
        branches: expressions that stand in the place of a branch or an alias, wherever it is used; within them every
            name has its own meaning.

    Raises:
        InvalidEvents: if it is no expression, or uses a branch or a function that does not exist, an alias that has the
            name of a branch, or aliases that lead in a circle.

    Example:
        >>> import awkward as ak
        >>> from neyman.inputs.expressions import parsed
        >>> expression = parsed("max(jet_pt) / 10", ["jet_pt", "m4l"], "signal.root")
        >>> sorted(expression.branches)
        ['jet_pt']
        >>> expression.numbers({"jet_pt": ak.Array([[25.0, 50.0], [30.0]])}, 2, "signal.root")
        array([5., 3.])
    """
    parser = _Parser(known, aliases or {}, branches or {})
    try:
        function = parser.text(text)
    except InvalidEvents as error:
        raise InvalidEvents(f"{where}: {text!r}: {error}") from error.__cause__
    return Expression(text, frozenset(parser.used), function)


class _Parser:
    """Compiles the nodes of one expression; what has no method here does not exist in the language.

    Args:
        known: the names of the branches that there are.
        aliases: expressions by name.
        branches: what stands in the place of a branch or an alias.
    """

    def __init__(self, known: Collection[str], aliases: Mapping[str, str], branches: Mapping[str, str]) -> None:
        self.known, self.aliases, self.branches = frozenset(known), aliases, branches
        self.used: set[str] = set()
        self.functions: dict[str, Function] = {}
        self.path: list[str] = []
        self.nominal = False  # whether it is inside what replaces a branch

    def text(self, text: str) -> Function:
        """Compile a text: the name of a branch, whatever it would mean in Python, or an expression."""
        if self.exists(text.strip()):
            return self.branch(text.strip())
        try:
            node = ast.parse(" ".join(text.split()), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise InvalidEvents(
                "is no expression; write Python, with &, |, ~ for and, or, not and where(condition, a, b) for a choice"
            ) from error
        try:
            return self.compiled(node)
        except RecursionError as error:
            raise InvalidEvents("is no expression that can be read, it is too deep") from error

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

    def exists(self, name: str) -> bool:
        """Return whether there is a branch, an alias or a replacement of that name."""
        return name in self.known or name in self.aliases or (name in self.branches and not self.nominal)

    def name(self, name: str) -> Function:
        """Compile the name of a branch or of a constant."""
        constant = _without_module(name)
        if constant in CONSTANTS and not self.exists(name):
            return _constant(CONSTANTS[constant])
        return self.branch(name)

    def branch(self, name: str) -> Function:
        """Compile the name of a branch: of what replaces it, of an alias, or of a branch of the file."""
        if name in self.branches and not self.nominal:
            return self.named("branches", name, self.branches[name], nominal=True)
        if name in self.aliases:
            if name in self.known:
                raise InvalidEvents(f"alias {name!r} would hide the branch of that name; give the alias another name")
            return self.named("alias", name, self.aliases[name], nominal=self.nominal)
        if name not in self.known:
            names = sorted({*self.known, *self.aliases})
            raise InvalidEvents(f"no branch {name!r}; {did_you_mean(name, names)}")
        self.used.add(name)
        return lambda values: values.branches[name]

    def named(self, kind: str, name: str, text: str, *, nominal: bool) -> Function:
        """Compile the expression behind a name, which is evaluated once for all that use it."""
        key, before = f"{kind} {name!r}{' (nominal)' if nominal else ''}", self.nominal
        if key not in self.functions:
            if key in self.path:
                circle = " -> ".join([*self.path[self.path.index(key) :], key])
                raise InvalidEvents(f"the aliases go in a circle: {circle}; take one out")
            self.path.append(key)
            self.nominal = nominal
            try:
                self.functions[key] = self.text(text)
            except InvalidEvents as error:
                raise InvalidEvents(f"{kind} {name!r}: {text!r}: {error}") from error.__cause__
            self.nominal = before
            self.path.pop()
        function = self.functions[key]

        def evaluated(values: Values) -> Any:
            if key not in values.found:
                try:
                    values.found[key] = function(values)
                except InvalidEvents as error:
                    raise InvalidEvents(f"{kind} {name!r}: {text!r}: {error}") from None
            return values.found[key]

        return evaluated

    def applied(self, function: Callable[..., Any], *nodes: ast.expr, **options: int) -> Function:
        """Compile a function of other nodes."""
        arguments = [self.compiled(node) for node in nodes]
        return lambda values: function(*(argument(values) for argument in arguments), **options)

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

        def subscript(values: Values) -> Any:
            x, i = value(values), index(values)
            if getattr(x, "ndim", 0) < 2:
                raise InvalidEvents(f"{text} is one number per event and takes no index")
            if not isinstance(i, tuple) and getattr(i, "ndim", 0) < 2:
                raise InvalidEvents(wrong)
            return x[i]

        return subscript


def _constant(value: Any) -> Function:
    return lambda values: value


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
