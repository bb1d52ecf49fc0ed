"""Types in signatures by the names that a reader knows: ``NDArray[float64]``, not what numpy makes of it."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from numpy.typing import ArrayLike
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata, stringify_annotation

_SPELLINGS = [
    (re.escape(stringify_annotation(ArrayLike, "smart")), "~numpy.typing.ArrayLike"),
    (r"~numpy\.ndarray\[tuple\[.*?, \.\.\.\], ~numpy\.dtype\[([^\[\]]*)\]\]", r"~numpy.typing.NDArray[\1]"),
    (r"(?<![\w.~])Array(?!\w)", "~numpy.typing.NDArray[~numpy.float64]"),
    (r"(?<![\w.~])Figure(?!\w)", "~matplotlib.figure.Figure"),
    (r"(?<![\w.~])Path(?!\w)", "~pathlib.Path"),
    (r"~numpy\.random\._generator\.", "~numpy.random."),
    (r"~concurrent\.futures\._base\.", "~concurrent.futures."),
    (r"<factory>", "..."),
    (r"~pyhf\.(pdf|workspace)\.", "pyhf."),  # whose Model and Workspace are not ours
]


def _spelled(text: str | None) -> str | None:
    for pattern, name in _SPELLINGS:
        text = text and re.sub(pattern, name, text)
    return text


def name_types(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Replace what types are made of by their names."""
    return _spelled(signature), _spelled(returns)


def name_array_types(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Replace the types of properties, which have no event of their own."""
    for part in list(doctree.findall(addnodes.desc_annotation)):
        text = part.astext()
        short = re.sub(r"ndarray\[tuple\[.*?, \.\.\.\], dtype\[(\w+)\]\]", r"NDArray[\1]", text)
        if short != text:
            part.clear()
            part += nodes.Text(short)


def protect_colons(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from taking what stands before a colon for the type of a property, or of what is returned."""
    first = [0] if what in ("attribute", "property") and lines else []
    first += [number for number, line in enumerate(lines[1:], 1) if lines[number - 1].strip() == "Returns:"]
    for number in first:
        lines[number] = re.sub(r"^((?:[^:`]|`+[^`]*`+)*): ", "\\1 \N{EN DASH} ", lines[number])


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register all."""
    app.connect("autodoc-process-signature", name_types)
    app.connect("doctree-resolved", name_array_types)
    app.connect("autodoc-process-docstring", protect_colons, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
