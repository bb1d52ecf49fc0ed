"""The language of expressions: Python's syntax tree compiled to functions of branches; nothing else is ever run."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import awkward as ak
import numpy as np

from neyman.exceptions import InvalidEvents
from neyman.inputs.functions import CONSTANTS, FUNCTIONS, OTHER_NAMES, POSITIONS, extreme
from neyman.inputs.operators import (
    ARITHMETIC,
    COMPARISONS,
    CONNECTIVES,
    condition,
    divided,
    exclusive_or,
    inverted,
    joined,
    kind_of,
    shifted,
)
from neyman.inputs.spellings import in_python
from neyman.inputs.subscripts import element, sliced, subset, taken
from neyman.inputs.syntax import (
    combines_conditions,
    dotted,
    is_mask,
    literal,
    parsed_node,
    slice_of,
    whole_number,
    without_module,
)
from neyman.support.messages import did_you_mean, near

__all__ = ["ENTRY", "Branches", "Function", "Parser", "Values"]


def __dir__() -> list[str]:
    return __all__


Branches: TypeAlias = Mapping[str, ak.Array]
Function: TypeAlias = "Callable[[Values], Any]"

OPTIONS = ("axis", "ascending", "keepdims")  # of functions
ENTRY = "entry"  # stands for the number of the entry in the tree, where nothing has that name
OF_CONDITIONS = ("all", "any", "where")  # functions whose first argument is a condition
DIVISIONS = {ast.FloorDiv: np.floor_divide, ast.Mod: np.remainder}
SHIFTS = {ast.LShift: np.left_shift, ast.RShift: np.right_shift}
LONG = 500  # characters of a text, beyond which no other spelling of it is looked for
NO_EXPRESSION = "is no expression; write Python, with &, |, ~ for and, or, not and where(condition, a, b) for a choice"
CONDITIONS = "conditions are combined with &, |, ~, each in parentheses: (a > 1) & (b < 2)"
WITHOUT = {"max": extreme(ak.max, np.maximum, identity=False), "min": extreme(ak.min, np.minimum, identity=False)}


@dataclass(frozen=True)
class Values:
    """What an expression is evaluated on.

    Args:
        branches: of each, the entries of some events.
        found: what aliases were evaluated to.
    """

    branches: Branches
    found: dict[str, Any]


class Parser:
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
        self.guarded = False  # whether it is inside a choice or a combination of conditions

    def text(self, text: str) -> Function:
        """Compile a text: the name of a branch, whatever it would mean in Python, or an expression."""
        if self.exists(text.strip()):
            return self.branch(text.strip())
        try:
            return self.compiled(parsed_node(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError, InvalidEvents) as error:
            what = str(error) if isinstance(error, InvalidEvents) else NO_EXPRESSION
            hint = in_python(text) if len(text) < LONG else None
            if hint is not None and self.is_right(hint):
                what = f"{what.partition('; did you mean')[0]}; did you mean {hint!r}?"
            raise InvalidEvents(what) from error

    def is_right(self, text: str) -> bool:
        """Return whether another text is an expression."""
        try:
            Parser(self.known, self.aliases, self.branches).compiled(parsed_node(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError, InvalidEvents):
            return False
        return True

    def compiled(self, node: ast.expr) -> Function:
        """Return a node as a function of the branches."""
        if (number := literal(node)) is not None:
            return _constant(number)
        match node:
            case ast.Name() | ast.Attribute() if name := dotted(node):
                return self.name(name)
            case ast.UnaryOp(op=ast.Invert()):
                return self.applied(partial(inverted, text=ast.unparse(node.operand)), node.operand)
            case ast.UnaryOp(op=ast.UAdd() | ast.USub()):
                sign = -1 if isinstance(node.op, ast.USub) else 1
                return self.applied(partial(ARITHMETIC[ast.Mult], sign), node.operand)
            case ast.BinOp():
                return self.binary(node)
            case ast.Compare():
                return self.comparison(node)
            case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                raise InvalidEvents(CONDITIONS)
            case ast.IfExp():
                raise InvalidEvents("a choice is where(condition, a, b)")
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
        constant = without_module(name)
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
        if name not in self.known and name != ENTRY:
            names = sorted({*self.known, *self.aliases})
            raise InvalidEvents(f"no branch {name!r}; {did_you_mean(name, names)}")
        self.used.add(name)
        return lambda values: values.branches[name]

    def named(self, kind: str, name: str, text: str, *, nominal: bool) -> Function:
        """Compile the expression behind a name, which is evaluated once for all that use it."""
        key = f"{kind} {name!r}{' (nominal)' if nominal else ''}{' (guarded)' if self.guarded else ''}"
        before = self.nominal
        if key not in self.functions:
            if key in self.path:
                names = [part.split("'")[1] for part in (*self.path[self.path.index(key) :], key)]
                circle = " -> ".join(names)
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

    def applied(self, function: Callable[..., Any], *nodes: ast.expr | Function, **options: int) -> Function:
        """Compile a function of other nodes, or of what is compiled already."""
        arguments = [self.compiled(node) if isinstance(node, ast.expr) else node for node in nodes]
        return lambda values: function(*(argument(values) for argument in arguments), **options)

    def behind_guard(self, function: Callable[..., Any], *nodes: ast.expr | Function) -> Function:
        """Compile a function of other nodes, of which some may keep events away from others."""
        before, self.guarded = self.guarded, True
        applied = self.applied(function, *nodes)
        self.guarded = before
        return applied

    def binary(self, node: ast.BinOp) -> Function:
        """Compile an operator between two nodes."""
        operation, sides = type(node.op), (node.left, node.right)
        texts = (ast.unparse(node.left), ast.unparse(node.right))
        if operation in CONNECTIVES:
            bits = any(map(is_mask, sides))
            return self.behind_guard(partial(joined, CONNECTIVES[operation], bits=bits, texts=texts), *sides)
        if operation is ast.BitXor:
            if any(literal(side) is not None for side in sides):
                raise InvalidEvents(f"^ is no power; write {texts[0]} ** {texts[1]}")
            return self.applied(partial(exclusive_or, texts=texts), *sides)
        if operation in DIVISIONS:
            return self.applied(partial(divided, DIVISIONS[operation], guarded=self.guarded), *sides)
        if operation in SHIFTS:
            return self.applied(partial(shifted, SHIFTS[operation]), *sides)
        if operation not in ARITHMETIC:
            raise InvalidEvents(f"{ast.unparse(node)!r} is not possible; write sum(a * b) for a product of vectors")
        return self.applied(ARITHMETIC[operation], *sides)

    def comparison(self, node: ast.Compare) -> Function:
        """Compile one comparison; where a side is ``a & b`` it has parentheses.

        Python takes ``x > 1 & y`` for ``x > (1 & y)``, which is hardly what was meant.
        """
        left, right = node.left, node.comparators[0]
        left_bare = combines_conditions(left) and left.col_offset == node.col_offset
        right_bare = combines_conditions(right) and right.end_col_offset == node.end_col_offset
        if len(node.ops) > 1 or type(node.ops[0]) not in COMPARISONS or left_bare or right_bare:
            raise InvalidEvents(CONDITIONS)
        sides = [
            _constant(side.value)
            if isinstance(side, ast.Constant) and isinstance(side.value, str)
            else self.compiled(side)
            for side in (left, right)
        ]
        compare = COMPARISONS[type(node.ops[0])]
        return lambda values: compare(*(side(values) for side in sides))

    def call(self, node: ast.Call) -> Function:
        """Compile ``function(x, axis=1)``, and ``get("name")``, which is a branch of whatever name."""
        name = without_module(dotted(node.func) or ast.unparse(node.func))
        match node:
            case ast.Call(func=ast.Name(id="get"), args=[ast.Constant(value=str() as branch)], keywords=[]):
                return self.branch(branch)
        if name not in FUNCTIONS:
            raise InvalidEvents(f"no function {name!r}; {_function_hint(name)}")
        options = {}
        for keyword in node.keywords:
            if keyword.arg not in OPTIONS:
                raise InvalidEvents(f"{name} takes no option {keyword.arg!r}; the options are {' and '.join(OPTIONS)}")
            options[keyword.arg] = whole_number(keyword.value)
        if name == "fill_none" and len(node.args) == 2:
            return self.filled(*node.args)
        try:
            inspect.signature(FUNCTIONS[name]).bind(*node.args, **options)
        except TypeError as error:
            raise InvalidEvents(f"{name} cannot be called so ({error})") from None
        if name in OF_CONDITIONS and node.args:
            first, rest = self.condition(node.args[0]), node.args[1:]
            return self.behind_guard(partial(FUNCTIONS[name], **options), first, *rest)
        return self.applied(FUNCTIONS[name], *node.args, **options)

    def condition(self, node: ast.expr) -> Function:
        """Compile a node that has to be a condition."""
        text = ast.unparse(node)
        return self.applied(partial(condition, text=text), node)

    def filled(self, x: ast.expr, value: ast.expr) -> Function:
        """Compile ``fill_none(x, value)``; a largest or smallest entry of none is missing there."""
        match x:
            case ast.Call(func=function, args=[vector], keywords=[] | [ast.keyword(arg="axis")]):
                name = without_module(dotted(function) or "")
                if name in WITHOUT:
                    axis = whole_number(x.keywords[0].value) if x.keywords else -1
                    reduced = self.applied(WITHOUT[name], vector, axis=axis)
                    default = self.compiled(value)
                    return lambda values: ak.fill_none(reduced(values), default(values))
        return self.applied(FUNCTIONS["fill_none"], x, value)

    def subscript(self, node: ast.Subscript) -> Function:
        """Compile ``x[:, 0]``, ``x[:, :2]``, ``x[y > 0]``: an index looks inside an event and never chooses events."""
        text, chosen, value = ast.unparse(node.value), ast.unparse(node.slice), self.compiled(node.value)
        match node.slice:
            case ast.Tuple(elts=[ast.Slice(lower=None, upper=None, step=None), *rest]):
                return self.inside(text, value, rest)
            case ast.Slice() | ast.Tuple() | ast.Constant() | ast.UnaryOp(op=ast.USub()):
                inner = ", ".join(part.strip("()") for part in chosen.split("]["))
                raise InvalidEvents(
                    f"the first index runs over the events; write {text}[:, {inner}], "
                    f"or {text}[condition] with one per entry"
                )
        index, positions = self.compiled(node.slice), self.says_where(node.slice)

        def subscript(values: Values) -> Any:
            return subset(_vector(value(values), text), index(values), positions=positions, texts=(text, chosen))

        return subscript

    def inside(self, text: str, value: Function, indices: Sequence[ast.expr]) -> Function:
        """Compile ``x[:, i, j]``: positions, slices and, as the first, an expression."""
        steps: list[tuple[str, Any]] = []
        for place, node in enumerate(indices):
            if isinstance(node, ast.Slice):
                steps.append((ast.unparse(node), slice_of(node)))
            elif isinstance(literal(node), int) or place > 0:
                steps.append((ast.unparse(node), whole_number(node)))
            else:
                steps.append((ast.unparse(node), self.compiled(node)))

        def inside(values: Values) -> Any:
            x, axis = value(values), 1
            for chosen, index in steps:
                x = _vector(x, text, axis)
                if isinstance(index, slice):
                    x, axis = sliced(x, index, axis), axis + 1
                elif isinstance(index, int):
                    x = element(x, index, axis)
                elif kind_of(found := index(values)) == "i":
                    x = taken(x, found)
                    axis += isinstance(found, ak.Array) and found.ndim > 1
                else:
                    x, axis = subset(x, found, positions=False, texts=(text, chosen)), axis + 1
            return x

        return inside

    def says_where(self, node: ast.expr) -> bool:
        """Return whether integers are positions by what made them, or by a name with "index" or "idx" in it."""
        for part in ast.walk(node):
            name = dotted(part) if isinstance(part, ast.Name | ast.Attribute) else None
            if name is None:
                continue
            if without_module(name) in POSITIONS or "idx" in name.lower() or "index" in name.lower():
                return True
            if name in self.aliases and self.says_where(parsed_node(self.aliases[name])):  # compiled already: this ends
                return True
        return False


def _vector(x: Any, text: str, axis: int = 1) -> ak.Array:
    if not isinstance(x, ak.Array) or x.ndim < 2:
        raise InvalidEvents(f"{text} is one number per event and takes no index")
    if x.ndim <= axis:
        raise InvalidEvents(f"{text} is a vector and takes no second index; write {text}[:, 0]")
    return x


def _function_hint(name: str) -> str:
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    if close := near(name.rpartition(".")[2], FUNCTIONS):
        return f"did you mean {' or '.join(map(repr, close))}?"
    return "functions have the names of numpy and awkward, as sqrt(x), sum(x), num(x), where(condition, a, b)"


def _constant(value: Any) -> Function:
    return lambda values: value
