"""What event sources inherit: the keys of one level of a document over those of the level around it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from neyman.events import EventSource
from neyman.inputs.node import Node
from neyman.inputs.parquet import is_table
from neyman.inputs.places import is_url

__all__ = ["event_source", "merged"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_JOINED = {"weight": ("times", "*"), "selection": ("and", "&")}
"""The keys that are lists of expressions: what adds to an inherited list, and the operator that joins it."""


def merged(inherited: Mapping[str, Any], entry: Node, *, narrows: bool) -> dict[str, Any]:
    """Return the keys of an event source: its own, and those that it inherits.

    Args:
        inherited: the keys of the level around it, as this function returned them.
        entry: the source in the document.
        narrows: whether a plain selection is and-ed with the inherited one instead of taking its place.

    Returns:
        The keys; weight and selection are lists of expressions, or ``None``.

    Raises:
        InvalidDocument: if a range of entries ends before it starts, or parquet files, which are one table each, are
            given a tree; one that they inherit is for others and does not matter.
    """
    keys = {**inherited, **entry.value}
    if "tree" in entry and _are_tables(keys):
        raise entry["tree"].error(
            f"parquet files have no trees; take out {entry['tree'].value!r}, or vary files, weight or branches"
        )
    for key, (adding, _) in _JOINED.items():
        if key in entry:
            keys[key] = _terms(inherited.get(key), entry[key], adding, narrows=narrows and key == "selection")
    if "entries" in entry:
        start, stop = entry["entries"].value
        if stop is not None and stop <= start:
            raise entry["entries"].error(f"the range ends at {stop}, not after its start {start}; write [first, end]")
    return keys


def event_source(
    keys: Mapping[str, Any], entry: Node, folder: Path, aliases: Mapping[str, str], branches: Mapping[str, str]
) -> EventSource:
    """Return the event source that has such keys.

    Args:
        keys: what :func:`merged` returned.
        entry: the source in the document.
        folder: where relative paths start.
        aliases: the names of expressions that it may use.
        branches: the expressions that stand in the place of branches.

    Raises:
        InvalidDocument: if it has no files, or no tree where one is needed.
    """
    for key in ("files", "tree"):
        if key not in keys and not (key == "tree" and _are_tables(keys)):
            raise entry.error(f"the key {key!r} is missing, and there is none to inherit")
    files = _listed(keys["files"])
    joined = {key: _joined(keys.get(key), operator) for key, (_, operator) in _JOINED.items()}
    return EventSource(
        files=tuple(file if is_url(file) else str(folder / Path(file).expanduser()) for file in files),
        tree="" if _are_tables(keys) else keys["tree"],
        aliases=tuple(sorted(aliases.items())),
        branches=tuple(sorted(branches.items())),
        entries=tuple(keys["entries"]) if "entries" in keys else None,
        **joined,
    )


def _listed(files: str | list[str]) -> list[str]:
    return [files] if isinstance(files, str) else files


def _are_tables(keys: Mapping[str, Any]) -> bool:
    """Tell whether all files of a source are tables without a name."""
    return "files" in keys and all(is_table(file) for file in _listed(keys["files"]))


def _terms(inherited: list[str] | None, own: Node, adding: str, *, narrows: bool) -> list[str] | None:
    """Return the expressions of a weight or a selection, each once, with the inherited ones where it adds to them."""
    value, adds = own.value, narrows
    if value is None:
        return None
    if isinstance(value, dict):
        [(how, value)] = value.items()
        adds = how == adding
    terms = [str(term) for term in (value if isinstance(value, list) else [value])]
    if not adds or not inherited:
        return terms
    if not isinstance(own.value, dict) and not set(inherited) <= set(terms):
        log.warning(
            "%s: %s is and-ed with the inherited %s, whose place it took in earlier versions; write {%s: ...} or "
            "{replace: ...} to say which",
            own, _shown(terms), _shown(inherited), adding,
        )  # fmt: skip
    return list(dict.fromkeys([*inherited, *terms]))


def _joined(terms: list[str] | None, operator: str) -> str | None:
    if not terms:
        return None
    return terms[0] if len(terms) == 1 else f" {operator} ".join(f"({term})" for term in terms)


def _shown(terms: Iterable[str]) -> str:
    return " and ".join(map(repr, terms))
