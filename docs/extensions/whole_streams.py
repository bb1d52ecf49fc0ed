"""Put together what a cell prints: a command's text comes in pieces of a hundred bytes, which break lines."""

from __future__ import annotations

import functools

from nbclient import NotebookClient
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def setup(app: Sphinx) -> ExtensionMetadata:
    """Have the client that executes notebooks join them, which MyST-NB has no option for."""
    NotebookClient.__init__ = functools.partialmethod(NotebookClient.__init__, coalesce_streams=True)
    return {"parallel_read_safe": True}
