"""Pages of the gallery include the READMEs of the examples, whose pictures lie beside them."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def find_pictures(app: Sphinx, relative_path: Path, parent_docname: str, content: list[str]) -> None:
    """Give the pictures of an included text the paths that they have from here."""
    folder = relative_path.parent.as_posix()
    content[0] = re.sub(r"^(\.\. image:: )(?=\w)", rf"\g<1>/{folder}/", content[0], flags=re.MULTILINE)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Listen to what is included."""
    app.connect("include-read", find_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
