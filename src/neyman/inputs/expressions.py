"""Expressions of branches: text to a function, by a walk over Python's own syntax tree; nothing else is ever run.

Expressions are Python's, of branches, of aliases and of the functions of :mod:`neyman.inputs.functions`:
``log(pt4l)``, ``jet_pt[:, 0] / 100``, ``max(jet_pt[abs(jet_eta) < 2.5])``, ``(njet >= 2) & (jet_pt[:, 1] > 30)``. They
are evaluated here and not by uproot, because uproot evaluates expressions before it applies a cut, knows no cut on an
RNTuple and no function that reduces a vector, and compiles what it is given, while a document that somebody sent must
not run code. As in ROOT's ``TTree::Draw`` all arithmetic is in double precision or 64-bit integers, whatever the
branch's type, so that ``nvtx - 10`` of an unsigned branch can be negative.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidEvents
from neyman.inputs.functions import CONSTANTS, FUNCTIONS, POSITIONS
from neyman.inputs.operators import BINARY, COMPARISONS, UNARY, condition, element, kind_of, taken
from neyman.inputs.reader import one_line
from neyman.inputs.spellings import in_python
from neyman.support.messages import did_you_mean, near

__all__ = ["ENTRY", "Branches", "Expression", "parsed"]


def __dir__() -> list[str]:
    return __all__


Branches: TypeAlias = Mapping[str, ak.Array]
Function: TypeAlias = "Callable[[Values], Any]"

ENTRY = "entry"
"""The number of an event in its tree, by the name that ``TTree::Draw`` has for it without a ``$``."""

MODULES = ("ak", "awkward", "math", "np", "numpy")  # which may stand before a function's name
OPTIONS = ("axis", "ascending")  # of functions
NO_EXPRESSION = "is no expression; write Python, with &, |, ~ for and, or, not and where(condition, a, b) for a choice"
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
        branches: the names of those it uses; :data:`ENTRY` is one where the file has no branch of that name.
        function: takes the branches of any number of events.
    """

    text: str
    branches: frozenset[str]
    function: Function

    def numbers(self, branches: Branches, n: int, where: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Evaluate it to one number per event.

        Args:
            branches: of each, the entries of ``n`` events.
            n: the number of events.
            where: what messages begin with.

        Returns:
            Truth values, integers or double precision, shape ``(n,)``, and for which events they are missing.

        Raises:
            InvalidEvents: if it cannot be evaluated, or not to a number per event.
        """
        value = self._evaluated(branches, where)
        if isinstance(value, ak.Array) and value.ndim == 1 and kind_of(value) != "s":
            missing = np.asarray(ak.to_numpy(ak.is_none(value)))
            return np.asarray(ak.to_numpy(ak.fill_none(value, 0))), missing
        if isinstance(value, ak.Array):
            if kind_of(value) == "s":
                raise InvalidEvents(f'{where} is text; compare it, as in {self.text} == "..."')
            raise InvalidEvents(
                f"{where} is not one number per event but {value.type}; reduce it, as in x[:, 0] or max(x)"
            )
        if kind_of(value) not in "biuf":
            raise InvalidEvents(f"{where} is not one number per event; correct the expression")
        return np.full(n, value), np.zeros(n, dtype=bool)

    def condition(self, branches: Branches, n: int, where: str) -> NDArray[np.bool_]:
        """Evaluate it to one truth value per event, which is false where what it needs is missing.

        Args:
            branches: of each, the entries of ``n`` events.
            n: the number of events.
            where: what messages begin with.

        Returns:
            Truth values, shape ``(n,)``.

        Raises:
            InvalidEvents: if it cannot be evaluated, or not to a condition.
        """
        value, missing = self.numbers(branches, n, where)
        if value.dtype.kind == "f":
            raise InvalidEvents(f"{where} is no condition; compare it with a number")
        return np.asarray((value != 0) & ~missing)

    def _evaluated(self, branches: Branches, where: str) -> Any:
        try:
            with np.errstate(all="ignore"):
                return self.function(Values(branches, {}))
        except InvalidEvents as error:
            raise InvalidEvents(f"{where}: {error}") from None
        except (ArithmeticError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError) as error:
            if "broadcast" in str(error):
                raise InvalidEvents(
                    f"{where} combines vectors that have not as many elements in every event; "
                    "select the same elements of both, or reduce them"
                ) from error
            raise InvalidEvents(f"{where} cannot be evaluated ({one_line(error)}); correct the expression") from error


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
        aliases: expressions by the names that stand for them.
        branches: expressions by the names of branches or aliases in whose place they stand. Names inside these
            expressions have their own meaning.

    Raises:
        InvalidEvents: if it is no expression, or uses a branch or a function that does not exist.

    Example:
        >>> import awkward as ak
        >>> from neyman.inputs.expressions import parsed
        >>> expression = parsed("lead / 10", ["jet_pt", "m4l"], "signal.root", aliases={"lead": "max(jet_pt)"})
        >>> sorted(expression.branches)
        ['jet_pt']
        >>> expression.numbers({"jet_pt": ak.Array([[25.0, 50.0], [30.0]])}, 2, "signal.root")[0]
        array([5., 3.])
    """
    parser = _Parser(known, aliases or {}, branches or {})
    try:
        function = parser.text(text)
    except InvalidEvents as error:
        raise InvalidEvents(f"{where}: {text!r}: {error}") from None
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
        """Compile a text."""
        if text.strip() in self.known or text.strip() in self.aliases:  # whatever its name would mean in Python
            return self.branch(text.strip())
        try:
            return self.compiled(_node(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError, InvalidEvents) as error:
            what = str(error) if isinstance(error, InvalidEvents) else NO_EXPRESSION
            hint = in_python(text)
            if hint is not None and self._is_right(hint):
                what = f"{what.partition('; did you mean')[0]}; did you mean {hint!r}?"
            raise InvalidEvents(what) from error

    def _is_right(self, text: str) -> bool:
        try:
            _Parser(self.known, self.aliases, self.branches).compiled(_node(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError, InvalidEvents):
            return False
        return True

    def compiled(self, node: ast.expr) -> Function:
        """Return a node as a function of the branches."""
        match node:
            case ast.Constant(value=int() as value) if value > np.iinfo(np.int64).max:
                return _constant(np.uint64(value) if value <= np.iinfo(np.uint64).max else float(value))
            case ast.Constant(value=bool() | int() | float() as value):
                return _constant(value)
            case ast.Name() | ast.Attribute() if name := _dotted(node):
                return self.name(name)
            case ast.UnaryOp() if type(node.op) in UNARY:
                return self.applied(UNARY[type(node.op)], node.operand)
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr() | ast.LShift() | ast.RShift()) if bits := _bits(node):
                raise InvalidEvents(f"{ast.unparse(node)!r} looks at bits; write {bits}")
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
            case ast.Constant(value=str() as text):
                raise InvalidEvents(f"text is only compared, as in Type == {text!r}")
        raise InvalidEvents(f"{ast.unparse(node)!r} is not possible; use branches, numbers, operators and functions")

    def name(self, name: str) -> Function:
        """Compile the name of a branch, an alias or a constant."""
        constant = _without_module(name)
        if constant in CONSTANTS and name not in self.known and name not in self.aliases:
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
        if name not in self.known and name != ENTRY:
            raise InvalidEvents(f"no branch {name!r}; {did_you_mean(name, [*self.aliases, *sorted(self.known)])}")
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
        a, b = (self.side(side) for side in (left, right))
        compare = COMPARISONS[type(node.ops[0])]
        return lambda values: compare(a(values), b(values))

    def side(self, node: ast.expr) -> Function:
        """Compile one side of a comparison, which may be text."""
        match node:
            case ast.Constant(value=str() as text):
                return _constant(text)
        return self.compiled(node)

    def call(self, node: ast.Call) -> Function:
        """Compile ``function(x, axis=1)``, and ``get("name")``, which is a branch of whatever name."""
        name = _without_module(_dotted(node.func) or ast.unparse(node.func))
        match node:
            case ast.Call(func=ast.Name(id="get"), args=[ast.Constant(value=str() as branch)], keywords=[]):
                return self.branch(branch)
        if name == "DeltaR":
            raise InvalidEvents("ROOT's DeltaR(eta1, eta2, phi1, phi2) is deltaR(eta1, phi1, eta2, phi2) here")
        if name not in FUNCTIONS:
            close = near(name.rpartition(".")[2], FUNCTIONS)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "see the table of functions"
            raise InvalidEvents(f"no function {name!r}; {hint}")
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
                steps = [self.step(part) for part in rest]
            case ast.Slice() | ast.Tuple() | ast.Constant():
                raise InvalidEvents(wrong)
            case index:
                step = self.mask(index, text, wrong)
                steps = [self.positions(index) if self.is_positions(index) else step]

        def subscript(values: Values) -> Any:
            x, axis = value(values), 1
            for step in steps:
                if getattr(x, "ndim", 0) < 2:
                    raise InvalidEvents(f"{text} is one number per event and takes no index")
                if axis >= x.ndim:
                    raise InvalidEvents(f"{text} has not as many indices")
                x, axis = step(x, axis, values)
            return x

        return subscript

    def step(self, node: ast.expr) -> _Step:
        """Compile one index after the first of ``x[:, i, j]``: a slice, a whole number, or a position in each event."""
        if isinstance(node, ast.Slice):
            part = slice(*(None if end is None else _whole_number(end) for end in (node.lower, node.upper, node.step)))
            return lambda x, axis, values: (x[(*[slice(None)] * axis, part)], axis + 1)
        try:
            number = operator.index(ast.literal_eval(node))
        except (TypeError, ValueError):
            return self.positions(node)
        return lambda x, axis, values: (element(x, number, axis), axis)

    def positions(self, node: ast.expr) -> _Step:
        """Compile an index that is a position, or several, in each event."""
        index = self.compiled(node)

        def step(x: Any, axis: int, values: Values) -> tuple[Any, int]:
            if axis > 1:
                raise InvalidEvents(f"the position {ast.unparse(node)} can only be the index after the first")
            i = index(values)
            return taken(x, i), axis + (getattr(i, "ndim", 0) > 1)

        return step

    def mask(self, node: ast.expr, text: str, wrong: str) -> _Step:
        """Compile the condition in ``x[y > 0]``."""
        index, name = self.compiled(node), ast.unparse(node)

        def step(x: Any, axis: int, values: Values) -> tuple[Any, int]:
            mask = index(values)
            if kind_of(mask) in "iu":
                raise InvalidEvents(
                    f"{name} is whole numbers; write {text}[{name} != 0] to select elements, or "
                    f"take({text}, {name}) for those at positions"
                )
            if getattr(mask, "ndim", 0) < 2:
                raise InvalidEvents(wrong)
            return x[condition(mask)], axis

        return step

    def is_positions(self, node: ast.expr) -> bool:
        """Tell whether the values of a node are positions of elements, whatever aliases it goes through."""
        match node:
            case ast.Subscript():
                return self.is_positions(node.value)
            case ast.Call():
                return _without_module(_dotted(node.func) or "") in POSITIONS
            case ast.Name(id=name) if name in self.aliases:  # which is compiled already, so that this ends
                return self.is_positions(_node(self.aliases[name]))
        return False


_Step: TypeAlias = Callable[[Any, int, Values], tuple[Any, int]]
"""Takes an array, the axis of an index and the branches; returns what the index leaves, and the axis of the next."""


def _node(text: str) -> ast.expr:
    return ast.parse(" ".join(text.split()), mode="eval").body


def _bits(node: ast.BinOp) -> str | None:
    """Return how bits are looked at, if whole numbers in an expression say that they are."""
    if isinstance(node.op, ast.LShift | ast.RShift):
        return "bit(flags, 3) for bit number 3"
    for flags, other in ((node.left, node.right), (node.right, node.left)):
        match other:
            case ast.Constant(value=int() as number) if not isinstance(number, bool):
                if number > 0 and number & (number - 1) == 0:
                    name = ast.unparse(flags)
                    return f"bit({name}, {number.bit_length() - 1}), or {name} != 0 if it is a flag"
                return "bit(flags, 3) for bit number 3, or flag != 0 for a flag"
    return None


def _constant(value: Any) -> Function:
    return lambda values: value


def _combines_conditions(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr)


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
