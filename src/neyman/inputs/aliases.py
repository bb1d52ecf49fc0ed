"""Aliases of a document: names for expressions, and which names an expression uses, its aliases' among them."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Iterable, Mapping

from neyman.inputs.node import Node
from neyman.inputs.syntax import parsed_node

__all__ = ["aliases_of", "names_used"]


def __dir__() -> list[str]:
    return __all__


def aliases_of(entry: Node, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the aliases that hold in an entry of a document: its own over those around it.

    Args:
        entry: the document, a channel, a sample or an observation.
        inherited: the aliases of what is around it.

    Raises:
        InvalidDocument: if a name cannot be written in an expression, or an alias leads back to itself.

    Example:
        >>> from neyman.inputs.node import Node
        >>> aliases_of(Node({"aliases": {"ht": "sum(jet_pt)", "njet": None}}), {"njet": "num(jet_pt)"})
        {'ht': 'sum(jet_pt)'}
    """
    own = entry.get("aliases", {})
    for name, text in own.value.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            raise own[name].error(f"{name!r} is no name; use letters, digits and _, as in {_identifier(name)!r}")
        if text is None and name not in inherited:
            raise own[name].error(f"null takes an inherited alias away, but there is no {name!r}; write its expression")
    aliases = {**inherited, **own.value}
    aliases = {name: str(text) for name, text in aliases.items() if text is not None}
    for name in (name for name in own.value if name in aliases):
        if circle := _circle(name, aliases):
            raise own[name].error(f"the alias leads back to itself: {' -> '.join(circle)}; take one of these out")
    return aliases


def names_used(texts: Iterable[str], aliases: Mapping[str, str]) -> set[str]:
    """Return every name in some expressions, and in the aliases that they use.

    Args:
        texts: the expressions; each may be the name of a branch as a whole, whatever it has in it.
        aliases: the expressions of the aliases.

    Example:
        >>> sorted(names_used(["log(ht)", "lep.pt"], {"ht": "sum(jet_pt)"}))
        ['ht', 'jet_pt', 'lep', 'lep.pt', 'log(ht)', 'sum(jet_pt)']
    """
    found: set[str] = set()
    waiting = list(texts)
    while waiting:
        new = _names(waiting.pop()) - found
        found |= new
        waiting += [aliases[name] for name in new if name in aliases]
    return found


def _names(text: str) -> set[str]:
    """Return the names in one expression, those of functions left out."""
    names = {text.strip()}
    try:
        waiting: list[ast.AST] = [parsed_node(text)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return names  # that of a branch, or an error once there is a file to read
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Call(func=ast.Name(id="get"), args=[ast.Constant(value=str() as name)]):
                names.add(name)
            case ast.Name() | ast.Attribute():
                names.add(ast.unparse(node))
        function = node.func if isinstance(node, ast.Call) else None
        waiting += [child for child in ast.iter_child_nodes(node) if child is not function]
    return names


def _circle(start: str, aliases: Mapping[str, str]) -> list[str] | None:
    """Return the aliases from one back to itself, if it leads there."""
    paths = [[start]]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        for name in sorted(_names(aliases[path[-1]]) & set(aliases)):
            if name == start:
                return [*path, name]
            if name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return None


def _identifier(name: str) -> str:
    text = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return text if text.isidentifier() and not keyword.iskeyword(text) else f"x_{text}"
