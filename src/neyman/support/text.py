"""Numbers and tables as text: rounded to their uncertainty, aligned for a terminal, in HTML for a notebook."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Sequence

__all__ = ["html_table", "listed", "rounded", "text_table"]


def __dir__() -> list[str]:
    return __all__


_SHOWN = 40  # names in one line


def listed(names: Sequence[str]) -> str:
    """Return names with commas between them; of very many, the first, the last and their number.

    Example:
        >>> listed(["pt", "eta"]), listed([f"image[{k}]" for k in range(4096)])
        ('pt, eta', 'image[0], image[1], ..., image[4095] (4096 in all)')
    """
    if len(names) <= _SHOWN:
        return ", ".join(names)
    return f"{names[0]}, {names[1]}, ..., {names[-1]} ({len(names)} in all)"


def rounded(value: float, uncertainty: float) -> tuple[str, str]:
    """Return both as texts, rounded to two significant digits of the uncertainty.

    Example:
        >>> rounded(1.23456, 0.3141)
        ('1.23', '0.31')
    """
    if not (math.isfinite(value) and math.isfinite(uncertainty) and uncertainty > 0):
        return f"{value:.5g}", f"{uncertainty:.3g}"
    digits = max(0, 1 - math.floor(math.log10(uncertainty)))
    if digits > 8 or abs(value) + uncertainty > 1e7:
        return f"{value:.6g}", f"{uncertainty:.2g}"
    return f"{value:.{digits}f}", f"{uncertainty:.{digits}f}"


def text_table(rows: Iterable[Sequence[str]], right: Collection[int] = (), indent: str = "  ") -> list[str]:
    """Return the lines of a table with aligned columns.

    Args:
        rows: the cells, as many in each row; the header is a row, too.
        right: the columns, counted from 0, that are aligned to the right.
        indent: what each line begins with.

    Example:
        >>> text_table([("parameter", "value"), ("mu", "1.2")], right={1})
        ['  parameter  value', '  mu           1.2']
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if k in right else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def html_table(caption: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table for notebooks; every text is escaped.

    Args:
        caption: what the table shows.
        header: the names of the columns.
        rows: the cells.

    Example:
        >>> html_table("fit", ["parameter"], [["a<b>"]])
        '<table><caption>fit</caption><tr><th>parameter</th></tr><tr><td>a&lt;b&gt;</td></tr></table>'
    """

    def line(tag: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption>{line('th', header)}{body}</table>"
