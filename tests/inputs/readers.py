"""Readers of event files that are made for tests: one that notes what it is asked for, one of another format."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from neyman.exceptions import InvalidEvents
from neyman.inputs.files import READERS
from neyman.inputs.reader import Reader, Tree
from neyman.inputs.root import open_root


def record(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Return a list that from now on gets the branches of each reading of a tree of a ROOT file."""
    asked: list[set[str]] = []

    class Recorded:
        def __init__(self, tree: Tree) -> None:
            self.tree, self.entries, self.branches, self.columns = tree, tree.entries, tree.branches, tree.columns

        def steps(
            self, names: Collection[str], size: int, start: int = 0, stop: int | None = None
        ) -> Iterator[dict[str, ak.Array]]:
            asked.append(set(names))
            return self.tree.steps(names, size, start, stop)

    class RecordedFile:
        def __init__(self, file: Reader) -> None:
            self.file, self.trees = file, file.trees

        def tree(self, name: str) -> Recorded:
            return Recorded(self.file.tree(name))

    @contextmanager
    def opened(path: str) -> Iterator[RecordedFile]:
        with open_root(path) as file:
            yield RecordedFile(file)

    monkeypatch.setitem(READERS, ".root", opened)
    return asked


class Columns:
    """A file of text whose first line names its one tree and its branches."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open() as file:
            self.name, *self.branches = file.readline().split()
        self.columns = dict.fromkeys(self.branches, "")
        self.values = np.loadtxt(path, skiprows=1, ndmin=2)
        self.entries, self.trees = len(self.values), [self.name]

    def tree(self, name: str) -> Columns:
        if name != self.name:
            raise InvalidEvents(f"{self.path}: no tree {name!r}")
        return self

    def steps(
        self, names: Collection[str], size: int, start: int = 0, stop: int | None = None
    ) -> Iterator[dict[str, ak.Array]]:
        for part in np.array_split(self.values[start:stop], 2):
            yield {name: ak.Array(part[:, self.branches.index(name)]) for name in names}


@contextmanager
def open_columns(path: str) -> Iterator[Columns]:
    yield Columns(Path(path))
