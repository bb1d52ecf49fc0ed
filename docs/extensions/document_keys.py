"""The directive ``keys``: a table of the keys that a part of the document may have, from its JSON schema.

Lines under the directive, ``key: meaning``, say what the schema does not; a key that neither explains is an error.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from neyman.inputs.schema import load_schema

_WORDS = {
    "array": "list",
    "boolean": "true or false",
    "integer": "whole number",
    "null": "null",
    "number": "number",
    "object": "mapping",
    "string": "text",
}


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what a part refers to and that itself."""
    reference, name = part.get("$ref", ""), ""
    while reference:
        name = reference.rpartition("/")[2]
        if not reference.startswith("#/"):
            return name, {"type": "object", "description": f"As in pyhf: its `{name}`."}
        part = schema
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        reference = part.get("$ref", "")
    return name, part


def _takes(part: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return in words what a key takes."""
    name, part = _resolved(part, schema)
    if "const" in part:
        return f"`{part['const']}`".replace("True", "true")
    if "enum" in part:
        return ", ".join(f"`{one}`" for one in part["enum"])
    if name == "expression":
        return "expression"
    types = part.get("type", [])
    types = [types] if isinstance(types, str) else types
    words = [_WORDS[one] for one in types]
    if isinstance(part.get("items"), dict) and "array" in types:
        inner = _resolved(part["items"], schema)[0]
        inner = f"{inner}s" if inner else "these"
        words[types.index("array")] = f"list of {inner}"
        if types == ["array"] and inner == "these":
            words = ["list of " + _takes(part["items"], schema) + "s"]
    return ", ".join(words[:-1]) + " or " * (len(words) > 1) + words[-1] if words else "anything"


class Keys(SphinxDirective):
    """``keys`` with the name of a definition, or without one for the top of the document."""

    optional_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        schema = load_schema()
        part = schema["definitions"][self.arguments[0]] if self.arguments else schema
        meanings = dict(re.split(r":\s+", line, maxsplit=1) for line in self.content if line.strip())
        if unknown := set(meanings) - set(part["properties"]):
            raise self.error(f"the schema has no such key: {', '.join(sorted(unknown))}")
        lines = ["````{list-table}", ":header-rows: 1", ":widths: 18 22 60", "", "* - key", "  - takes", "  - meaning"]
        for key, value in part["properties"].items():
            found = _resolved(value, schema)[1]
            items = _resolved(found["items"], schema)[1] if isinstance(found.get("items"), dict) else {}
            text = meanings.get(key) or value.get("description") or found.get("description") or items.get("description")
            if text is None:
                raise self.error(f"say what the key {key} means: neither the schema nor this page does")
            required = " (required)" if key in part.get("required", ()) else ""
            text = text if key in meanings else re.sub(r"\{[^{}]*\}", r"`\g<0>`", text)
            lines += [f"* - `{key}`{required}", f"  - {_takes(value, schema)}", f"  - {text}"]
        return self.parse_text_to_nodes("\n".join([*lines, "````", ""]))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("keys", Keys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
