"""The help of commands: examples, lines that begin with a dollar, as code that can be copied, and options as code."""

from __future__ import annotations

import re

import click
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_EXAMPLE = "| $ "  # what sphinx-click makes of them


def show_examples(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Make a block of code of the examples."""
    found: list[str] = []
    for line in lines:
        if line.startswith(_EXAMPLE):
            found += [] if found and found[-1].startswith("   ") else ["", ".. code-block:: console", ""]
            found.append(f"   {line.removeprefix('| ')}")
        else:
            found += ["", line] if found and found[-1].startswith("   ") else [line]
    lines[:] = found


def mark_options(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Mark the options that a help text names as code."""
    lines[:] = [
        line if ".. option::" in line or "$ " in line else re.sub(r"(?<![\w`-])--[a-z][\w-]*", r"``\g<0>``", line)
        for line in lines
    ]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Listen to sphinx-click."""
    app.connect("sphinx-click-process-description", show_examples)
    app.connect("sphinx-click-process-description", mark_options)
    app.connect("sphinx-click-process-options", mark_options)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
