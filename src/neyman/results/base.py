"""What all results have in common: text, HTML, a figure, JSON and back, parameters by name."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_type_hints

from neyman.exceptions import InvalidParameter, InvalidResult
from neyman.results.encoding import decoded, encoded
from neyman.support.messages import did_you_mean
from neyman.support.text import html_table, text_table

if TYPE_CHECKING:  # matplotlib is imported where a figure is drawn
    from matplotlib.figure import Figure

__all__ = ["FORMAT", "NamedResult", "Result", "Table"]


def __dir__() -> list[str]:
    return __all__


FORMAT = 1
"""Of the JSON of results. Files without a number are older: their limits had one minus the confidence level."""

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]  # caption, header, rows


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A frozen value that prints as a table, goes to JSON and back, and can be drawn.

    Args:
        warnings: what speaks against trusting it: data that the simulation has nothing like, a closure that failed.
    """

    kind: ClassVar[str] = ""
    """What its JSON is tagged with."""
    derived: ClassVar[tuple[str, ...]] = ()
    """Properties that its JSON has beside the fields; they are not read."""
    warnings: tuple[str, ...] = field(default=(), kw_only=True)

    def table(self) -> Table:
        """Return what is printed: a caption, the names of the columns and the rows of texts."""
        raise NotImplementedError

    def plot(self) -> Figure:
        """Return the figure of the result, as :func:`neyman.plot.draw` does; ``.savefig("figure.pdf")`` writes it."""
        from neyman.results.figures import draw

        return draw(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types, with the result's ``kind`` and the number of the format."""
        names = (*(f.name for f in dataclasses.fields(self)), *self.derived)
        return {"result": self.kind, "format": FORMAT, **{name: encoded(getattr(self, name)) for name in names}}

    def to_json(self, indent: int | None = 2) -> str:
        """Return the result as a JSON text, which :func:`neyman.results.from_json` restores exactly.

        Numbers that are not finite are ``null`` (nan), ``"Infinity"`` and ``"-Infinity"``.

        Args:
            indent: spaces of each level; everything stands on one line with ``None``.
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def restored(cls, fields: Mapping[str, Any]) -> Self:
        """Return the result that has these fields, as JSON types.

        Raises:
            InvalidResult: if there are too few or too many of them, or one does not hold what it should.
        """
        annotations, declared, no_default = get_type_hints(cls), dataclasses.fields(cls), (dataclasses.MISSING,) * 2
        hints = {f.name: annotations[f.name] for f in declared}
        needed = [f.name for f in declared if (f.default, f.default_factory) == no_default]
        if missing := [name for name in needed if name not in fields]:
            raise InvalidResult(f"not a result: the {cls.kind} has no {', '.join(missing)}")
        values = {}
        for name, value in fields.items():
            if name in cls.derived:
                continue
            if name not in hints:
                raise InvalidResult(f"not a result: a {cls.kind} has no field {name!r}; {did_you_mean(name, hints)}")
            try:
                values[name] = decoded(value, hints[name])
            except ValueError as error:
                raise InvalidResult(f"not a result: {name} of the {cls.kind}: {error}") from error
        return cls(**values)

    def __repr__(self) -> str:
        caption, header, rows = self.table()
        return self._warned("\n".join([caption, *text_table([header, *rows], right=range(1, len(header)))]))

    def _repr_html_(self) -> str:
        return html_table(*self.table()) + "".join(f"<p>warning: {html.escape(text)}</p>" for text in self.warnings)

    def _warned(self, text: str) -> str:
        """Return a text with the warnings behind it, a line each."""
        return "\n".join([text, *(f"  warning: {warning}" for warning in self.warnings)])


@dataclass(frozen=True, eq=False, repr=False)
class NamedResult(Result):
    """A result with an entry for each of some parameters: ``result["mu"]``, ``"mu" in result``, ``dict(result)``."""

    if TYPE_CHECKING:  # a field or a property of the subclasses

        @property
        def names(self) -> tuple[str, ...]:  # noqa: D102
            ...

    def keys(self) -> tuple[str, ...]:
        """Return the names of the parameters."""
        return self.names

    def index(self, name: str) -> int:
        """Return the place of a parameter in the arrays of the result.

        Raises:
            InvalidParameter: if there is no such parameter; the message has the nearest.
        """
        if name not in self.names:
            raise InvalidParameter(f"the {self.kind} has no parameter {name!r}; {did_you_mean(name, self.names)}")
        return self.names.index(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names
