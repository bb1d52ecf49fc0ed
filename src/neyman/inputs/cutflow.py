"""The cutflow: what the selection leaves of each event source, and its weighted yield; a table to read and as JSON."""

from __future__ import annotations

import ast
import html
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from neyman.support.text import html_table, text_table

__all__ = ["Cutflow", "CutflowRow", "conditions_of"]


def __dir__() -> list[str]:
    return __all__


def conditions_of(selection: str | None) -> list[str]:
    """Return the conditions that a selection combines with ``&``, in their order.

    Args:
        selection: the expression.

    Example:
        >>> conditions_of("(njet >= 2) & ((m > 100) & (abs(eta) < 2.5) | (flag == 1))")
        ['njet >= 2', '(m > 100) & (abs(eta) < 2.5) | (flag == 1)']
    """
    if selection is None:
        return []
    text = " ".join(selection.split())
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [selection]  # the name of a branch, or what reading it refuses
    return [ast.get_source_segment(text, part) or ast.unparse(part) for part in _parts(node)]


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        yield from _parts(node.left)
        yield from _parts(node.right)
    else:
        yield node


@dataclass(frozen=True)
class CutflowRow:
    """What the selection leaves of the events of one source.

    Args:
        channel: the channel.
        sample: the sample; ``None`` is what was observed.
        variation: parameter and side, as ``"scale hi"``; ``None`` is nominal.
        events: how many there are before the selection; ``None`` for bin contents that are given.
        conditions: of the selection.
        passing: how many events are left after each of them, one after another.
        total: the sum of the weights of those left, or of the bin contents.
    """

    channel: str
    sample: str | None
    variation: str | None
    events: int | None
    conditions: tuple[str, ...]
    passing: tuple[int, ...]
    total: float

    @property
    def selected(self) -> int | None:
        """How many events are left in the end."""
        return self.passing[-1] if self.passing else self.events


@dataclass(frozen=True, repr=False)
class Cutflow:
    """The cutflow of every event source of an analysis, which prints as a table for each channel.

    Args:
        rows: of all channels, in the document's order.
        signed: channel and name of the samples that are ``signed: true``, whose weights may have a negative sum.
    """

    rows: tuple[CutflowRow, ...]
    signed: frozenset[tuple[str, str]] = frozenset()

    @property
    def warnings(self) -> list[str]:
        """What is allowed but seldom meant: samples and variations without events, or with a negative sum."""
        found = []
        for row in self.rows:
            where = f"channel {row.channel}: {row.sample}{f', {row.variation},' if row.variation else ''}"
            if row.sample is not None and row.events is not None and not row.selected:
                found.append(f"{where} has no events{'' if row.events == 0 else ' after the selection'}")
            elif row.sample is not None and row.total < 0 and (row.channel, row.sample) not in self.signed:
                found.append(f"{where} has weights that sum to {row.total:.5g}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the rows as JSON types."""
        return {"rows": [{**asdict(row), "selected": row.selected} for row in self.rows]}

    def to_json(self, indent: int | None = 2) -> str:
        """Return the rows as a JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    def __repr__(self) -> str:
        lines = []
        for caption, header, rows in self._tables():
            lines += [caption, *text_table([header, *rows], right=range(2, len(header)))]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        tables = (html_table(caption, header, rows) for caption, header, rows in self._tables())
        return "".join(tables).replace("\n", html.escape("; "))

    def _tables(self) -> Iterator[tuple[str, list[str], list[list[str]]]]:
        """Yield caption, header and rows for each channel; its conditions have numbers where there are several."""
        for channel, group in groupby(self.rows, key=lambda row: row.channel):
            rows = list(group)
            conditions = list(dict.fromkeys(condition for row in rows for condition in row.conditions))
            varied = any(row.variation for row in rows)
            numbered = {condition: f"[{i}]" for i, condition in enumerate(conditions, 1)} if len(conditions) > 1 else {}
            caption = "\n".join(
                [f"channel {channel}"]
                + [f"  {number} {condition}" for condition, number in numbered.items()]
                + [f"  selected: {condition}" for condition in conditions if not numbered]
            )
            header = ["sample", "variation" if varied else "", "events", *numbered.values(), "selected", "yield"]
            yield caption, header, [_cells(row, list(numbered)) for row in rows]


def _cells(row: CutflowRow, numbered: list[str]) -> list[str]:
    left = dict(zip(row.conditions, row.passing, strict=True))
    counts = (row.events, *(left.get(condition) for condition in numbered), row.selected)
    return [
        row.sample or "observed",
        row.variation or "",
        *("" if count is None else str(count) for count in counts),
        f"{row.total:.5g}",
    ]
