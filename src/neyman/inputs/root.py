"""ROOT files, TTree and RNTuple, by uproot."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import uproot

from neyman.exceptions import InvalidEvents
from neyman.inputs.reader import readable
from neyman.support.messages import did_you_mean

__all__ = ["RootFile", "RootTree", "open_root"]


def __dir__() -> list[str]:
    return __all__


TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")


class RootTree:
    """A TTree or an RNTuple, a :class:`neyman.inputs.reader.Tree`."""

    def __init__(self, path: Path, tree: Any) -> None:
        self._path, self._tree = path, tree

    @property
    def entries(self) -> int:
        """The number of events."""
        return int(self._tree.num_entries)

    @property
    def branches(self) -> list[str]:
        """The names of the branches."""
        return list(self._tree.keys())

    def steps(self, names: Collection[str], size: str) -> Iterator[dict[str, ak.Array]]:
        """Yield some branches of one step of events after another."""
        with readable(self._path):
            for step in self._tree.iterate(sorted(names), step_size=size, library="ak"):
                yield {name: step[name] for name in names}


class RootFile:
    """An open file, a :class:`neyman.inputs.reader.Reader`."""

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file
        self._classes: dict[str, str] = file.classnames(cycle=False)

    @property
    def trees(self) -> list[str]:
        """The names of the trees, with their folders."""
        return [name for name, kind in self._classes.items() if kind in TREES]

    def tree(self, name: str) -> RootTree:
        """Return a tree by its name, with or without a cycle."""
        key = name.partition(";")[0].strip("/")
        if key not in self.trees:
            found = f"{name!r} is a {self._classes[key]}, no tree" if key in self._classes else f"no tree {name!r}"
            hint = did_you_mean(key, self.trees) if self.trees else "the file has no trees at all"
            raise InvalidEvents(f"{self._path}: {found}; {hint}")
        with readable(self._path):
            return RootTree(self._path, self._file[name.strip("/")])


@contextmanager
def open_root(path: Path) -> Iterator[RootFile]:
    """Open a ROOT file after a look at its header, which has its length: uproot does not see all that is truncated.

    Raises:
        InvalidEvents: if it cannot be read.
    """
    with readable(path), path.open("rb") as raw:
        header = raw.read(20)
    size = path.stat().st_size
    if not header.startswith(b"root"):
        raise InvalidEvents(f"{path}: not a ROOT file, or an empty one ({size} bytes); make it again or name another")
    end = size + 1  # of a file too short for its header
    if len(header) == 20:
        version = int.from_bytes(header[4:8], "big")
        (end,) = struct.unpack_from(">q" if version >= 1_000_000 else ">i", header, 12)
    if size < end:
        raise InvalidEvents(f"{path}: truncated, the file ends after {size} bytes; copy it or make it again")
    with readable(path):
        file = uproot.open({str(path): None})
        opened = RootFile(path, file)
    with file:
        yield opened
