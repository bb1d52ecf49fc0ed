"""ROOT files, TTree and RNTuple, by uproot."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import awkward as ak
import uproot

from neyman.exceptions import InvalidEvents
from neyman.inputs.places import is_url, size_of
from neyman.inputs.reader import Column, column, damaged, is_plain, members, one_line, readable, spelled
from neyman.support.messages import did_you_mean

__all__ = ["RootFile", "RootTree", "open_root"]


def __dir__() -> list[str]:
    return __all__


KNOWN = "TLorentzVector|TVector[23]|TString|TDatime"  # classes that uproot has models of its own for
TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")


class RootTree:
    """A TTree or an RNTuple, a :class:`neyman.inputs.reader.Tree`.

    A branch inside another has the name that uproot gives it, ``event/I16``, that of ROOT, ``event.I16``, and its own,
    ``I16``, where no other has it. A member of a structure is named as ``lv.pt``.
    """

    def __init__(self, file: str, name: str, tree: Any) -> None:
        self._where, self._tree = f"{file}: tree {name!r}", tree
        self._file = file

    @property
    def entries(self) -> int:
        """The number of events."""
        return int(self._tree.num_entries)

    @property
    def branches(self) -> Collection[str]:
        """The names of the branches."""
        return self._columns.keys()

    @property
    def columns(self) -> dict[str, str]:
        """A name of each branch that is no structure, ROOT's, with what is said of its reading."""
        best: dict[Column, str] = {}
        for name, found in self._columns.items():
            if not found.inside and (found not in best or (is_plain(name) and not is_plain(best[found]))):
                best[found] = name
        return {name: _said(found) for found, name in best.items()}

    def steps(
        self, names: Collection[str], size: int, start: int = 0, stop: int | None = None
    ) -> Iterator[dict[str, ak.Array]]:
        """Yield some branches of one step of events after another."""
        chosen = {name: column(self._columns, name, self._where) for name in names}
        keys = sorted({found.key for found in chosen.values()})
        with readable(self._file):
            for found in chosen.values():
                self._check(found)
        chooser = {"filter_field": self._is_field(keys)} if self._is_ntuple else {"expressions": keys}
        try:
            for step in self._tree.iterate(
                **chooser, step_size=f"{size} B", entry_start=start, entry_stop=stop, library="ak"
            ):
                yield {name: self._picked(step, found) for name, found in chosen.items()}
        except MemoryError:
            raise
        except Exception as error:
            raise self._unreadable(keys, error) from error

    @property
    def _is_ntuple(self) -> bool:
        return not hasattr(self._tree, "branches")

    @cached_property
    def _columns(self) -> dict[str, Column]:
        with readable(self._file):
            found = list(self._fields() if self._is_ntuple else self._branches())
        return spelled(found)

    def _fields(self) -> Iterator[tuple[Column, tuple[str, ...]]]:
        """Yield the fields of an RNTuple; the members of a pair or tuple are read together, as they have no names."""
        keys = self._tree.keys()
        for key in keys:
            inside = tuple(other for other in keys if other.startswith(f"{key}."))
            parts = key.split(".")
            first = next((i for i, part in enumerate(parts) if i and part.isdigit()), len(parts))
            of_pair = self._tree[".".join(parts[:-1])].typename.startswith("std::pair<") if parts[1:] else False
            own = {"0": "first", "1": "second"}[parts[-1]] if of_pair else parts[-1]
            column = Column(".".join(parts[:first]), tuple(parts[first:]), inside)
            yield column, (key, ".".join((*parts[:-1], own)), own)

    def _branches(self) -> Iterator[tuple[Column, tuple[str, ...]]]:
        """Yield the branches of a TTree and their members, each after what it is in."""
        branches = dict(self._tree.items())
        names = {key: _dotted(branch, self._tree) for key, branch in branches.items()}
        for key, branch in branches.items():
            name = names[key]
            if isinstance(branch.interpretation, uproot.interpretation.grouped.AsGrouped):
                inside = tuple(names[other] for other in branches if other.startswith(f"{key}/"))
                yield Column(key, (), inside), (key, name)
                continue
            ways, fault = self._members(branch)
            inside = tuple(".".join((name, *way)) for way in ways)
            own = re.sub(r"\[.*\]$", "", branch.name).strip(".")
            part_of = branch.typename if _is_object(branch.interpretation) else ""
            yield Column(key, (), inside, fault, part_of), (key, name, own, own.rpartition(".")[2])
            for way in ways:
                deeper = tuple(".".join((name, *other)) for other in ways if other[: len(way)] == way and other != way)
                dotted = ".".join(way)
                yield (
                    Column(key, way, deeper, "", part_of),
                    (f"{key}.{dotted}", f"{name}.{dotted}", f"{own}.{dotted}", way[-1]),
                )

    def _members(self, branch: Any) -> tuple[list[tuple[str, ...]], str]:
        """Return the ways to the members of a branch, and why it cannot be read at all."""
        if isinstance(branch.interpretation, uproot.interpretation.identify.UnknownInterpretation):
            return [], "its type is not known"
        try:
            return list(members(branch.interpretation.awkward_form(self._tree.file))), ""
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  of as many kinds as there are structures
            return [], one_line(error)

    def _check(self, found: Column) -> None:
        """Raise what uproot would not, or not in one line, or not before it has read gigabytes."""
        key = found.key
        if found.fault:
            raise InvalidEvents(self._cannot(key, found.fault))
        if self._is_ntuple:
            return
        branch = self._tree[key]
        if branch.num_entries != self.entries:
            raise InvalidEvents(
                f"{self._where}: branch {key!r} has {branch.num_entries} entries where the tree has {self.entries}; "
                "use another branch, or write the tree again"
            )

    def _is_field(self, keys: Collection[str]) -> Any:
        wanted = {self._tree[key].field_id for key in keys}
        return lambda field: field.field_id in wanted

    def _picked(self, step: ak.Array, found: Column) -> ak.Array:
        way = (*found.key.split("."), *found.members) if self._is_ntuple else (found.key, *found.members)
        for member in way:
            step = step[member]
        return step

    def _unreadable(self, keys: Collection[str], error: Exception) -> InvalidEvents:
        """Return the error for the first branch that cannot be read alone, or else for the file."""
        for key in keys:
            try:
                self._tree[key].array(entry_stop=1)
            except MemoryError:
                raise
            except Exception as own:  # noqa: BLE001  as many kinds as there are kinds of damage
                return InvalidEvents(self._cannot(key, one_line(own)))
        return damaged(self._file, error)

    def _cannot(self, key: str, why: str) -> str:
        """Say that a branch cannot be read, and which ones beside it in a structure may be."""
        kind = getattr(self._tree[key], "typename", "unknown")
        parent = key.rpartition("." if self._is_ntuple else "/")[0]
        others = [name for name, found in self._columns.items() if not found.inside and found.key != key]
        beside = [name for name in others if parent and self._columns[name].key.startswith(parent) and "/" not in name]
        hint = f"; beside it are {', '.join(beside[:6])}" if beside else "; use another branch"
        return f"{self._where}: branch {key!r} of the type {kind} cannot be read ({why}){hint}"


class RootFile:
    """An open file, a :class:`neyman.inputs.reader.Reader`."""

    def __init__(self, path: str, file: Any) -> None:
        self._path, self._file = path, file
        self._classes: dict[str, str] = file.classnames(cycle=False)

    @property
    def trees(self) -> list[str]:
        """The names of the trees, with their folders."""
        return [name for name, kind in self._classes.items() if kind in TREES]

    def tree(self, name: str) -> RootTree:
        """Return a tree by its name, with or without a cycle."""
        key, _, cycle = name.strip("/").partition(";")
        if key not in self.trees:
            found = f"{name!r} is a {self._classes[key]}, no tree" if key in self._classes else f"no tree {name!r}"
            hint = did_you_mean(key, self.trees) if self.trees else "the file has no trees at all"
            raise InvalidEvents(f"{self._path}: {found}; {hint}")
        cycles = [other for other in self._file.keys() if other.partition(";")[0] == key]  # noqa: SIM118
        if cycle and f"{key};{cycle}" not in cycles:
            raise InvalidEvents(f"{self._path}: no cycle {cycle} of tree {key!r}; there is {', '.join(cycles)}")
        with readable(self._path):
            return RootTree(self._path, name, self._file[name.strip("/")])


@contextmanager
def open_root(path: str) -> Iterator[RootFile]:
    """Open a ROOT file after a look at its header, which has its length: uproot does not see all that is truncated.

    Raises:
        InvalidEvents: if it cannot be read.
    """
    if not is_url(path):
        _check_header(path)
    with readable(path):
        file = uproot.open({path: None})
        opened = RootFile(path, file)
    with file:
        yield opened


def _check_header(path: str) -> None:
    with readable(path), Path(path).open("rb") as raw:
        header = raw.read(20)
    size = size_of(path)
    if not header.startswith(b"root"):
        raise InvalidEvents(f"{path}: not a ROOT file, or an empty one ({size} bytes); make it again or name another")
    end = size + 1  # of a file too short for its header
    if len(header) == 20:
        version = int.from_bytes(header[4:8], "big")
        (end,) = struct.unpack_from(">q" if version >= 1_000_000 else ">i", header, 12)
    if size < end:
        raise InvalidEvents(f"{path}: truncated, the file ends after {size} bytes; copy it or make it again")


def _said(found: Column) -> str:
    return f"cannot be read: {found.fault}" if found.fault else found.part_of and f"in a whole {found.part_of}"


def _is_object(interpretation: Any) -> bool:
    """Tell whether a branch has objects of a class, which uproot reads one after another if it can at all."""
    objects = isinstance(interpretation, uproot.interpretation.objects.AsObjects)
    return objects and re.search(rf"(Model|Unknown)_(?!{KNOWN})", repr(interpretation)) is not None


def _dotted(branch: Any, tree: Any) -> str:
    """Return the name that ROOT has for a branch: those of the branches that it is in, and its own."""
    names: list[str] = []
    while branch is not tree:
        names.insert(0, re.sub(r"\[.*\]$", "", branch.name).strip("."))
        branch = branch.parent
    return ".".join(
        name.removeprefix(f"{above}.") if above else name for above, name in zip(["", *names], names, strict=False)
    )
