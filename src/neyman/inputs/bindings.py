"""Bindings: names for expressions of parameters, read and checked, and their values with exact derivatives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from neyman.exceptions import InvalidDocument
from neyman.inputs.formulas import check_name, parsed, symbol
from neyman.inputs.node import Node
from neyman.support.messages import did_you_mean

__all__ = ["Bindings", "Coefficients"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_INWARDS = 1e-8  # of the way to a point inside of the domain, where a slope is taken that is infinite at its edge


class Bindings:
    """Names for expressions of parameters, which may use each other.

    Args:
        entries: the list of bindings, each with ``names``, ``expressions`` (or ``expression``) and ``language``; or
            that list with its place in a document.

    Raises:
        InvalidDocument: if one is no such binding, or they use each other in a circle.

    Example:
        >>> from neyman.inputs.bindings import Bindings
        >>> bindings = Bindings([{"names": ["a", "b"], "expressions": "(mu**2, a - nu)", "language": "sympy"}])
        >>> bindings["b"], bindings.parameters
        (mu**2 - nu, ('mu', 'nu'))
    """

    def __init__(self, entries: Sequence[Mapping[str, Any]] | Node) -> None:
        self.entries = entries if isinstance(entries, Node) else Node(entries, ("bindings",))
        self._own: dict[str, sympy.Expr] = {}
        self.places: dict[str, Node] = {}
        self.symbols: list[tuple[Node, list[str]]] = []  # of each entry, the names that are no bindings
        for entry in self.entries:
            self._read(entry)
        self.symbols = [(place, [name for name in names if name not in self._own]) for place, names in self.symbols]
        self._whole: dict[str, sympy.Expr] = {}
        self._compiled: dict[tuple[tuple[str, ...], ...], Coefficients] = {}
        for name in self._own:
            self._resolve(name, ())
        free = {str(one) for expression in self._whole.values() for one in expression.free_symbols}
        self.parameters: tuple[str, ...] = tuple(sorted(free))

    def __getitem__(self, name: str) -> sympy.Expr:
        return self._whole[name]

    def __contains__(self, name: object) -> bool:
        return name in self._whole

    def __iter__(self) -> Any:
        return iter(self._whole)

    def check(self, used: Mapping[str, Node | None], others: Iterable[str]) -> None:
        """Check the bindings against the modifiers of a specification.

        Args:
            used: the names of its modifiers of type ``purefunc``, and where they stand.
            others: the names of its other modifiers.

        Raises:
            InvalidDocument: if a modifier has no binding, a binding no use, or a binding the name of a parameter.
        """
        for name, place in used.items():
            if name not in self:
                text = f"no binding defines the purefunc {name!r}; {did_you_mean(name, self)}"
                raise InvalidDocument(f"modifiers: {text}") if place is None else place.error(text)
        for name in others:
            if name in self:
                raise self.places[name].error(f"{name!r} is a parameter, too: give the binding another name")
        needed, todo = set(), list(used)
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += self._uses(name)
        for name in self:
            if name not in needed:
                raise self.places[name].error(
                    f"nothing uses the binding {name!r}: give a sample the modifier {{name: {name}, type: purefunc, "
                    "data: null}, or take it out"
                )

    def uses(self, name: str) -> list[str]:
        """Return the parameters that a binding depends on, those of the bindings that it uses included."""
        return sorted(str(one) for one in self[name].free_symbols)

    def coefficients(self, products: tuple[tuple[str, ...], ...]) -> Coefficients:
        """Return products of bindings as functions of the parameters.

        Args:
            products: the names of the factors of each.
        """
        if products not in self._compiled:
            expressions = [sympy.Mul(*(self[name] for name in names)) for names in products]
            self._compiled[products] = Coefficients(expressions, self.parameters)
        return self._compiled[products]

    def _read(self, entry: Node) -> None:
        """Read an entry of the list."""
        language = entry.get("language", "sympy")
        if language.value != "sympy":
            raise language.error(f"there is no language {language.value!r}; write sympy")
        names = entry["names"]
        key = "expressions" if "expressions" in entry else "expression"
        expressions = parsed(entry[key])
        if len(expressions) != len(names.value):
            raise entry[key].error(
                f"{_number(len(expressions), 'expression')} for {_number(len(names.value), 'name')} "
                f"({', '.join(names.value)}); write as many, as in (mu, sqrt(mu))"
            )
        self.symbols.append((entry[key], sorted({str(one) for x in expressions for one in x.free_symbols})))
        for name, expression in zip(names, expressions, strict=True):
            check_name(name.value, name)
            if name.value in self._own:
                raise name.error(f"{name.value!r} is there twice; names are unique")
            self._own[name.value] = expression
            self.places[name.value] = name

    def _uses(self, name: str) -> list[str]:
        return sorted(str(one) for one in self._own[name].free_symbols if str(one) in self._own)

    def _resolve(self, name: str, before: tuple[str, ...]) -> sympy.Expr:
        """Return an expression of parameters alone, for a binding that those before use."""
        if name in before:
            circle = [*before[before.index(name) :], name]
            raise self.places[name].error(f"a circle: {', which uses '.join(circle)}; take one of them out")
        if name not in self._whole:
            others = {symbol(other): self._resolve(other, (*before, name)) for other in self._uses(name)}
            self._whole[name] = self._own[name].xreplace(others)
        return self._whole[name]


class Coefficients:
    """Expressions of parameters: their values and exact derivatives at many points.

    Args:
        expressions: the expressions.
        parameters: the names of the parameters, in the order of the points.

    Attributes:
        curved: the parameters in which an expression is not linear.

    Example:
        >>> import numpy as np
        >>> from neyman.inputs.bindings import Bindings
        >>> bindings = Bindings([{"names": ["a"], "expressions": "mu * nu**2", "language": "sympy"}])
        >>> values, slopes = bindings.coefficients((("a",), ("a", "a")))(np.array([[2.0, 3.0]]))
        >>> values.tolist(), slopes.tolist()
        ([[18.0, 324.0]], [[[9.0, 12.0], [324.0, 432.0]]])
    """

    def __init__(self, expressions: Sequence[sympy.Expr], parameters: Sequence[str]) -> None:
        symbols = [symbol(name) for name in parameters]
        slopes = [[_slope(expression, one) for one in symbols] for expression in expressions]
        self.curved = frozenset(
            str(one) for row in slopes for one, slope in zip(symbols, row, strict=True) if sympy.diff(slope, one) != 0
        )
        flat = [*expressions, *(slope for row in slopes for slope in row)]
        self._shape = len(expressions), len(symbols)
        self._function = sympy.lambdify(symbols, flat, modules=["scipy", "numpy"], cse=True)

    def __call__(self, points: Array, inside: Sequence[Array] = ()) -> tuple[Array, Array]:
        """Return values and derivatives.

        A value is not a number outside of its expression's domain. A slope that is infinite at the edge of the domain,
        as that of ``sqrt(mu)`` at 0, is taken a little inside of it, all slopes of that point at the same place.

        Args:
            points: the parameters, shape ``(n, Q)``.
            inside: points that are looked towards for the inside of the domain, shape ``(Q,)``.

        Returns:
            The values of the ``K`` expressions, shape ``(n, K)``, and their derivatives, shape ``(n, K, Q)``.
        """
        values, slopes = self._evaluate(points)
        wrong = (~np.isfinite(slopes).all(axis=2) & np.isfinite(values)).any(axis=1)
        for row in np.flatnonzero(wrong):
            slopes[row] = self._slopes_inside(points[row], values[row], slopes[row], inside)
        return values, slopes

    def _evaluate(self, points: Array) -> tuple[Array, Array]:
        n, (number, n_parameters) = len(points), self._shape
        with np.errstate(all="ignore"):
            found = self._function(*points.T)
        flat = np.empty((number * (1 + n_parameters), n))
        for row, one in zip(flat, found, strict=True):
            row[:] = one
        values, slopes = flat[:number].T, flat[number:].reshape(number, n_parameters, n).transpose(2, 0, 1)
        return np.where(np.isfinite(values), values, np.nan), np.ascontiguousarray(slopes)

    def _slopes_inside(self, point: Array, values: Array, slopes: Array, inside: Sequence[Array]) -> Array:
        unit = np.maximum(1.0, np.abs(point))
        for towards in (*inside, point + unit, point - unit):
            near = point + _INWARDS * (towards - point)
            _, (found,) = self._evaluate(near[None])
            if np.isfinite(found[np.isfinite(values)]).all():
                return np.asarray(found)
        return np.asarray(np.where(np.isfinite(slopes), slopes, 0.0))


def _slope(expression: Any, parameter: sympy.Symbol) -> Any:
    """Return a derivative, which is zero at a jump, too."""
    return sympy.diff(expression, parameter).replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
