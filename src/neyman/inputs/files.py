"""The files of event sources: found by their patterns, told from others, and opened by the reader of their format."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from neyman.events import EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs.parquet import SUFFIXES, open_parquet
from neyman.inputs.places import found, identity, is_url, suffix
from neyman.inputs.reader import Open, Reader, Tree
from neyman.inputs.root import open_root

__all__ = ["READERS", "files_of", "only_tree", "opened", "opened_tree", "provenance", "tree_of"]


def __dir__() -> list[str]:
    return __all__


READERS: dict[str, Open] = {".root": open_root, **dict.fromkeys(SUFFIXES, open_parquet)}
"""What opens files of each suffix; a file of any other suffix is taken for a ROOT file."""


def files_of(source: EventSource) -> list[str]:
    """Return the files of a source, globs expanded in alphabetical order, each file once.

    Raises:
        InvalidEvents: if a file does not exist or a glob matches none.
    """
    files: dict[str, str] = {}
    for pattern in source.files:
        for file in found(pattern, tuple(READERS)):
            files.setdefault(_resolved(file), file)
    if not files:
        raise InvalidEvents(f"the events of tree {source.tree!r} have no files; name at least one")
    return list(files.values())


def tree_of(text: str | Path) -> tuple[str, str | None]:
    """Return file and tree of ``FILE.root:TREE``; no tree where the text names none.

    Example:
        >>> tree_of("data/events.root:nominal"), tree_of("https://host/a.root:t")
        (('data/events.root', 'nominal'), ('https://host/a.root', 't'))
    """
    text = str(text)
    if not Path(text).exists():
        for suffix in READERS:
            file, _, tree = text.rpartition(f"{suffix}:")
            if file and tree:
                return f"{file}{suffix}", tree
    return text, None


def only_tree(file: str | Path) -> str:
    """Return the name of a file's tree.

    Raises:
        InvalidEvents: if the file cannot be read, or has no tree or several.
    """
    file = str(file)
    with opened(file) as reader:
        trees = list(reader.trees)
    if not trees:
        raise InvalidEvents(f"{file}: the file has no trees at all; name another")
    if len(trees) > 1:
        shown = f"{', '.join(trees[:12])}{', ...' if len(trees) > 12 else ''}"
        raise InvalidEvents(f"{file}: it has the trees {shown}: choose one, as in {file}:{trees[0]}")
    return trees[0]


def provenance(sources: Iterable[EventSource]) -> list[dict[str, str | int]]:
    """Return what tells every file that the sources name from another or changed one, each file once.

    It is ``{"file", "size", "sha256"}`` of files on this machine; for URLs see :func:`neyman.inputs.places.identity`.
    """
    return [
        identity(file) for file in {_resolved(file): file for source in sources for file in files_of(source)}.values()
    ]


def _resolved(file: str) -> str:
    return file if is_url(file) else str(Path(file).resolve())


@contextmanager
def opened(file: str) -> Iterator[Reader]:
    """Open a file with the reader of its format.

    Raises:
        InvalidEvents: if there is no such file, or it cannot be read.
    """
    file, *_ = files_of(EventSource((file if is_url(file) else glob.escape(file),), ""))
    with READERS.get(suffix(file), open_root)(file) as reader:
        yield reader


@contextmanager
def opened_tree(file: str, name: str) -> Iterator[Tree]:
    """Open a file and one of its trees.

    Args:
        file: the file, as :func:`files_of` gives it.
        name: of the tree.

    Raises:
        InvalidEvents: if the file cannot be read, or has no such tree.
    """
    with READERS.get(suffix(file), open_root)(file) as reader:
        yield reader.tree(name)
