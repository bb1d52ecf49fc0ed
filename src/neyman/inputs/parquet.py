"""Parquet files, by pyarrow and awkward: each is one table, whatever name a document has for a tree."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from typing import Any

import awkward as ak
import fsspec

from neyman.exceptions import InvalidEvents
from neyman.inputs.places import is_url, suffix
from neyman.inputs.reader import Column, column, members, one_line, readable, spelled

__all__ = ["SUFFIXES", "ParquetTable", "is_table", "open_parquet"]


def __dir__() -> list[str]:
    return __all__


SUFFIXES = (".parquet", ".parq", ".pq")


def is_table(file: str) -> bool:
    """Tell by its name whether a file is a parquet file.

    Example:
        >>> is_table("data/*.parquet"), is_table("data.root")
        (True, False)
    """
    return suffix(file) in SUFFIXES


class ParquetTable:
    """A parquet file, a :class:`neyman.inputs.reader.Reader` that is its own :class:`neyman.inputs.reader.Tree`."""

    def __init__(self, path: str, file: Any) -> None:
        self._path, self._file = path, file

    @property
    def trees(self) -> tuple[str, ...]:
        """The name of its one table, which is empty."""
        return ("",)

    def tree(self, name: str) -> ParquetTable:
        """Return the table, whatever name a tree has in the files of another format."""
        return self

    @property
    def entries(self) -> int:
        """The number of events."""
        return int(self._file.metadata.num_rows)

    @property
    def branches(self) -> Collection[str]:
        """The names of the columns and of their members."""
        return self._columns.keys()

    @property
    def columns(self) -> dict[str, str]:
        """A name of each column that is no structure, with nothing to say of its reading."""
        names: dict[Column, str] = {}
        for name, found in self._columns.items():
            if not found.inside:
                names.setdefault(found, name)
        return dict.fromkeys(names.values(), "")

    def steps(
        self, names: Collection[str], size: int, start: int = 0, stop: int | None = None
    ) -> Iterator[dict[str, ak.Array]]:
        """Yield some columns of one step of events after another."""
        chosen = {name: column(self._columns, name, self._path) for name in names}
        wanted = {(found.key, *found.members) for found in chosen.values()}
        leaves = [leaf for leaf, way in self._leaves.items() if any(way[: len(other)] == other for other in wanted)]
        groups = [self._file.metadata.row_group(i) for i in range(self._file.metadata.num_row_groups)]
        rows = max(1, int(size * max(self.entries, 1) / max(1, _bytes(groups, leaves))))
        end = self.entries if stop is None else min(stop, self.entries)
        ends = list(accumulate(group.num_rows for group in groups))
        needed = [i for i, last in enumerate(ends) if start < last and last - groups[i].num_rows < end]
        done = ends[needed[0]] - groups[needed[0]].num_rows if needed else 0
        with readable(self._path):
            for batch in self._file.iter_batches(rows, row_groups=needed, columns=leaves) if needed else ():
                first, last = max(start - done, 0), min(end - done, len(batch))
                done += len(batch)
                if first < last:
                    part = batch.slice(first, last - first)
                    yield {name: self._array(part, found) for name, found in chosen.items()}

    @cached_property
    def _leaves(self) -> dict[str, tuple[str, ...]]:
        """The columns of numbers as the file has them, and the way to each: the names of the structures, and its own.

        Both lists are in one order; the names of the first have more parts, as ``Muon.list.element.pt``.
        """
        schema = self._file.schema
        paths = [schema.column(i).path for i in range(len(schema))]
        ways = [way for field in self._file.schema_arrow for way in _ways(field.type, (field.name,))]
        return dict(zip(paths, ways, strict=True))

    @cached_property
    def _columns(self) -> dict[str, Column]:
        found = []
        with readable(self._path):
            for field in self._file.schema_arrow:
                ways = [(), *_members(field)]
                for way in ways:
                    deeper = (other for other in ways if other[: len(way)] == way and other != way)
                    inside = tuple(".".join((field.name, *other)) for other in deeper)
                    found.append((Column(field.name, way, inside), (".".join((field.name, *way)), (way or "x")[-1])))
        return spelled(found)

    def _array(self, batch: Any, found: Column) -> ak.Array:
        try:
            array = ak.from_arrow(batch.select([found.key]))[found.key]
        except MemoryError:
            raise
        except Exception as error:
            kind = self._file.schema_arrow.field(found.key).type
            raise InvalidEvents(
                f"{self._path}: column {found.key!r} of the type {kind} cannot be read ({one_line(error)}); use another"
            ) from error
        for member in found.members:
            array = array[member]
        return ak.from_categorical(array) if ak.is_categorical(array) else array


@contextmanager
def open_parquet(path: str) -> Iterator[ParquetTable]:
    """Open a parquet file.

    Raises:
        InvalidEvents: if it cannot be read, or pyarrow is missing.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise InvalidEvents(f"{path}: parquet files need pyarrow: pip install 'neyman[parquet]'") from error
    with contextlib.ExitStack() as stack:
        with readable(path):
            source = stack.enter_context(fsspec.open(path, "rb")) if is_url(path) else path
            file = stack.enter_context(parquet.ParquetFile(source))
        yield ParquetTable(path, file)


def _ways(kind: Any, way: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the way to each column of a type of Arrow."""
    kind = getattr(kind, "storage_type", kind)
    if hasattr(kind, "key_type") and hasattr(kind, "item_type"):  # a map
        yield from (*_ways(kind.key_type, way), *_ways(kind.item_type, way))
    elif kind.num_fields == 0 or not hasattr(kind, "value_field"):
        inner = [kind.field(i) for i in range(kind.num_fields)]
        yield from [other for field in inner for other in _ways(field.type, (*way, field.name))] if inner else [way]
    else:
        yield from _ways(kind.value_type, way)


def _members(field: Any) -> list[tuple[str, ...]]:
    pyarrow = importlib.import_module("pyarrow")
    try:
        return list(members(ak.from_arrow_schema(pyarrow.schema([field])).content(0)))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  what cannot be an array says so when it is read
        return []


def _bytes(groups: Sequence[Any], leaves: Collection[str]) -> int:
    """Return how much columns take up in memory."""
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema in leaves)
