"""What is in a file of events: its trees and their branches, as a JSON-able description and as text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import awkward as ak

from neyman.events import EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs import files
from neyman.inputs.places import is_url, suffix
from neyman.inputs.reader import Tree, is_plain
from neyman.support.messages import did_you_mean
from neyman.support.text import text_table

__all__ = ["is_events", "of_events", "text"]


def __dir__() -> list[str]:
    return __all__


_FIRST = 3  # entries whose values are shown
_TOGETHER = 50  # branches are read, so that one that cannot be is soon found
_WIDTH = 36  # of the values of a branch
_STEP = 64_000_000  # bytes, more than so few entries have
_MAGIC = (b"root", b"PAR1")  # what ROOT and parquet files begin with


def is_events(text: str) -> bool:
    """Tell whether a text names a file of events, or such a file and a tree in it."""
    file, _ = files.tree_of(text)
    if suffix(file) in files.READERS or is_url(file):
        return True
    path = Path(file)
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) in _MAGIC


def of_events(text: str, filters: Collection[str] = ()) -> dict[str, Any]:
    """Describe a file of events; of each tree the first entries are read.

    Args:
        text: a path, a glob, of whose files the first is described, or a URL; ``FILE:TREE`` describes one tree.
        filters: patterns of the names of branches, ``"Jet_*"``; none means all.

    Returns:
        ``file``, ``files``, ``trees``: of each ``name``, ``entries`` and ``branches`` with ``name``, ``type``, the
        first ``values``, and ``feature``: ``"yes"``, or what to write instead.

    Raises:
        InvalidEvents: if the file cannot be read.
    """
    name, wanted = files.tree_of(text)
    file, *others = files.files_of(EventSource((name,), ""))
    with files.opened(file) as reader:
        trees = list(reader.trees) if wanted is None else [wanted]
        described = [{"name": tree, **_tree(reader.tree(tree), filters)} for tree in trees]
    if filters and described and not any(tree["branches"] for tree in described):
        with files.opened(file) as reader:
            names = [branch for tree in trees for branch in reader.tree(tree).columns]
        raise InvalidEvents(
            f"{file}: no branch matches {' or '.join(filters)}; {did_you_mean(next(iter(filters)), names)}"
        )
    return {"file": file, "files": 1 + len(others), "trees": described}


def text(found: Mapping[str, Any]) -> str:
    """Return a description as text to be read.

    Args:
        found: what :func:`of_events` returned.
    """
    more = f", the first of {found['files']} files" if found["files"] > 1 else ""
    lines = [f"{found['file']}{more}" if found["trees"] else f"{found['file']}{more}: no trees"]
    shown: dict[str, str] = {}
    for tree in found["trees"]:
        name = f"tree {tree['name']}: " if tree["name"] else ""
        entries, branches = tree["entries"], len(tree["branches"])
        title = (
            f"{name}{entries} entr{'y' if entries == 1 else 'ies'}, {branches} branch{'' if branches == 1 else 'es'}"
        )
        described = repr([(branch["name"], branch["type"]) for branch in tree["branches"]])
        if described in shown:
            lines += ["", f"{title}, as in {shown[described]}"]
            continue
        shown[described] = tree["name"]
        rows = [(b["name"], b["type"], b["values"], b["feature"]) for b in tree["branches"]]
        lines += ["", title]
        lines += text_table([("branch", "type", "first values", "feature"), *rows]) if rows else []
    return "\n".join(lines)


def _tree(tree: Tree, filters: Collection[str]) -> dict[str, Any]:
    columns = {
        name: said
        for name, said in tree.columns.items()
        if not filters or any(fnmatchcase(name, pattern) for pattern in filters)
    }
    names = [name for name, said in columns.items() if not said]
    arrays: dict[str, ak.Array | InvalidEvents] = {}
    for start in range(0, len(names), _TOGETHER):
        arrays |= _first(tree, names[start : start + _TOGETHER])
    branches = []
    for name, said in columns.items():
        found = arrays.get(name)
        if isinstance(found, ak.Array):
            values = "  ".join(_short(value) for value in found.to_list())
            values = values if len(values) <= _WIDTH else f"{values[: _WIDTH - 3]}..."
            branches.append({"name": name, "type": _type(found), "values": values, "feature": _feature(name, found)})
        elif said.startswith("in a whole"):
            branches.append(
                {"name": name, "type": said, "values": "", "feature": "try it: such are slow, or cannot be read"}
            )
        else:
            why = said or (str(found) if found else "")
            branches.append({"name": name, "type": "?", "values": "", "feature": f"no: {_reason(why)}"})
    return {"entries": tree.entries, "branches": branches}


def _first(tree: Tree, names: list[str]) -> dict[str, ak.Array | InvalidEvents]:
    """Return the first entries of branches, or of each why it cannot be read."""
    if not names or not tree.entries:
        return dict.fromkeys(names, InvalidEvents("there are no entries")) if names else {}
    try:
        return next(iter(tree.steps(names, _STEP, 0, _FIRST)), {})
    except (InvalidEvents, MemoryError) as error:
        if len(names) == 1:
            return {names[0]: InvalidEvents(str(error) or "out of memory")}
    middle = len(names) // 2
    return {**_first(tree, names[:middle]), **_first(tree, names[middle:])}


def _type(array: ak.Array) -> str:
    return str(array.type.content)


def _feature(name: str, array: ak.Array) -> str:
    """Say whether a branch is one number per event, or how to make it one."""
    layout, depth = array.layout, 0
    while (layout.is_list or layout.is_option or layout.is_indexed) and layout.parameter("__array__") is None:
        depth += layout.is_list
        layout = layout.content
    typed = name if is_plain(name) else f"get({name!r})"
    if layout.parameter("__array__") in ("string", "bytestring"):
        return f"no: a text; compare it, as in {typed} == 'a'" if not depth else "no: texts"
    if not layout.is_numpy or layout.dtype.kind not in "biuf":
        return "no: not numbers"
    if depth == 0:
        return "yes" if typed == name else f"yes; in formulas {typed}"
    return f"{typed}[:, 0], max({typed})" if depth == 1 else f"{'max(' * depth}{typed}{')' * depth}"


def _short(value: object) -> str:
    """Return a value in few letters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value[:4]))}{', ...' if len(value) > 4 else ''}]"
    return repr(value) if isinstance(value, str) else str(value)


def _reason(why: str) -> str:
    """Return why a branch cannot be read without where, which the table says."""
    return re.sub(r"^.*?(cannot be read.*|has \d+ entries.*)$", r"\1", why)[:100]
