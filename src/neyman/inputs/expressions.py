"""Expressions of branches: text to a function, by a walk over Python's own syntax tree; nothing else is ever run.

Expressions are Python's, of branches and of the functions of :mod:`neyman.inputs.functions`: ``log(pt4l)``,
``jet_pt[:, 0] / 100``, ``ak.num(jet_pt)``, ``max(jet_pt[abs(jet_eta) < 2.5])``. They are evaluated here and not by
uproot, because uproot evaluates expressions before it applies a cut, knows no cut on an RNTuple and no function that
reduces a vector, and compiles what it is given, while a document that somebody sent must not run code. As in ROOT's
``TTree::Draw`` all arithmetic is in double precision or 64-bit integers, whatever the branch's type, so that
``nvtx - 10`` of an unsigned branch can be negative.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidEvents
from neyman.inputs.operators import kind_of
from neyman.inputs.parser import ENTRY, Branches, Function, Parser, Values
from neyman.inputs.reader import one_line

__all__ = ["ENTRY", "Branches", "Expression", "parsed"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True)
class Expression:
    """An expression of branches.

    Args:
        text: as written.
        branches: the names of those it uses; ``"entry"`` is the number of the entry where no branch has that name.
        function: takes the branches of any number of events.
    """

    text: str
    branches: frozenset[str]
    function: Function

    def numbers(
        self, branches: Branches, n: int, where: str, found: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Evaluate it to one number per event.

        Args:
            branches: of each, the entries of ``n`` events.
            n: the number of events.
            where: what messages begin with.
            found: what aliases are evaluated to, filled here: expressions of one source share it on the same events.

        Returns:
            Truth values, integers or double precision, shape ``(n,)``, and for which events they are missing.

        Raises:
            InvalidEvents: if it cannot be evaluated, or not to a number per event.
        """
        value = self._evaluated(Values(branches, {} if found is None else found), where)
        if isinstance(value, ak.Array) and value.ndim == 1 and kind_of(value) != "s":
            missing = np.asarray(ak.to_numpy(ak.is_none(value)))
            return np.asarray(ak.to_numpy(ak.fill_none(value, 0))), missing
        if isinstance(value, ak.Array):
            if kind_of(value) == "s":
                raise InvalidEvents(f'{where} is text; compare it, as in {self.text} == "word"')
            raise InvalidEvents(
                f"{where} is not one number per event but {value.type}; reduce it, as in x[:, 0] or max(x)"
            )
        if kind_of(value) not in "bif":
            raise InvalidEvents(f"{where} is not one number per event; correct the expression")
        return np.full(n, value), np.zeros(n, dtype=bool)

    def condition(
        self, branches: Branches, n: int, where: str, found: dict[str, Any] | None = None
    ) -> NDArray[np.bool_]:
        """Evaluate it to one truth value per event, which is false where what it needs is missing.

        Args:
            branches: of each, the entries of ``n`` events.
            n: the number of events.
            where: what messages begin with.
            found: what aliases are evaluated to, filled here: expressions of one source share it on the same events.

        Returns:
            Truth values, shape ``(n,)``.

        Raises:
            InvalidEvents: if it cannot be evaluated, or not to a condition.
        """
        value, missing = self.numbers(branches, n, where, found)
        if value.dtype.kind == "f":
            raise InvalidEvents(f"{where} is no condition; compare it with a number")
        return np.asarray((value != 0) & ~missing)

    def _evaluated(self, values: Values, where: str) -> Any:
        try:
            with np.errstate(all="ignore"):
                return self.function(values)
        except InvalidEvents as error:
            raise InvalidEvents(f"{where}: {error}") from None
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
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
        >>> expression.numbers({"jet_pt": ak.Array([[25.0, 50.0], [30.0]])}, 2, "signal.root")[0]
        array([5., 3.])
        >>> fourth = parsed("jet_pt[:, 3] > 20", ["jet_pt"], "signal.root")
        >>> fourth.condition({"jet_pt": ak.Array([[25.0, 50.0], [30.0]])}, 2, "signal.root").tolist()
        [False, False]
    """
    parser = Parser(known, aliases or {}, branches or {})
    try:
        function = parser.text(text)
    except InvalidEvents as error:
        raise InvalidEvents(f"{where}: {text!r}: {error}") from error.__cause__
    return Expression(text, frozenset(parser.used), function)
