"""Formulas as MathML, which browsers draw by themselves: no script and no font from elsewhere."""

from __future__ import annotations

import re
from typing import Any, Literal

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def _mathml(formula: str, display: Literal["inline", "block"]) -> str:
    """Return a formula with a thin space after the name of a function."""
    return re.sub(r"(<mi>(?:log|exp)</mi>)(?!<mo )", r'\1<mspace width="0.17em"/>', convert(formula, display=display))


def inline(self: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def block(self: Any, node: nodes.math_block) -> None:
    """Write a formula that stands by itself."""
    formula = re.sub(r"\\(begin|end)\{(align|gather|equation)\*?\}", r"\\\1{aligned}", node.astext())
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(_mathml(formula, "block"))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
