"""Examples in the help of a command, lines that begin with a dollar, as code that can be copied."""

from __future__ import annotations

import click
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_MARK = "| $ "  # what sphinx-click makes of them


def show_examples(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Make a block of code of the examples."""
    found: list[str] = []
    for line in lines:
        if line.startswith(_MARK):
            found += [] if found and found[-1].startswith("   ") else ["", ".. code-block:: console", ""]
            found.append(f"   {line.removeprefix('| ')}")
        else:
            found += ["", line] if found and found[-1].startswith("   ") else [line]
    lines[:] = found


def setup(app: Sphinx) -> ExtensionMetadata:
    """Listen to sphinx-click."""
    app.connect("sphinx-click-process-description", show_examples)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
