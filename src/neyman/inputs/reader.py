"""Files of events, one format behind another: trees that have branches, and give them in steps.

A format is a function that opens a file as a :class:`Reader`, in a file of its own, registered for its suffix in
:data:`neyman.inputs.files.READERS`; :mod:`neyman.inputs.root` and :mod:`neyman.inputs.parquet` are two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import awkward as ak

from neyman.exceptions import InvalidEvents
from neyman.support.messages import did_you_mean

__all__ = [
    "Column",
    "Open",
    "Reader",
    "Tree",
    "column",
    "damaged",
    "is_plain",
    "members",
    "one_line",
    "readable",
    "spelled",
]


def __dir__() -> list[str]:
    return __all__


class Tree(Protocol):
    """A table of events in an open file."""

    @property
    def entries(self) -> int:
        """The number of events."""

    @property
    def branches(self) -> Collection[str]:
        """The names of the columns; a column may have more than one, and a structure is named beside its members."""

    @property
    def columns(self) -> Mapping[str, str]:
        """One name of each column that is no structure, the best to type, with what is said of its reading.

        That is why it cannot be read, or what it is part of where reading it may fail or take very long; else nothing.
        """

    def steps(
        self, names: Collection[str], size: int, start: int = 0, stop: int | None = None
    ) -> Iterator[dict[str, ak.Array]]:
        """Yield some branches, at least one, of one step of events after another.

        Args:
            names: the branches.
            size: of a step in memory, in bytes.
            start: the first event.
            stop: one beyond the last event; ``None`` is the end.

        Raises:
            InvalidEvents: if one cannot be read, or is a structure.
        """


class Reader(Protocol):
    """An open file."""

    @property
    def trees(self) -> Collection[str]:
        """The names of the trees."""

    def tree(self, name: str) -> Tree:
        """Return a tree.

        Raises:
            InvalidEvents: if there is none of that name.
        """


Open: TypeAlias = Callable[[str], AbstractContextManager[Reader]]
"""Opens a file, a path or a URL, of one format; raises InvalidEvents with one line if it cannot be read."""


@dataclass(frozen=True)
class Column:
    """What the name of a branch stands for.

    Args:
        key: an array, by the name that the library which reads the file has for it.
        members: which member of its entries, the outermost structure first.
        inside: where it is a structure, the names of what is inside.
        fault: why it cannot be read, where that is known before.
        part_of: the class of the objects that it is part of, where they are read as a whole, one after another.
    """

    key: str
    members: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    fault: str = ""
    part_of: str = ""


def is_plain(name: str) -> bool:
    """Tell whether a name can be typed in an expression as it is; others stand in ``get("...")``.

    Example:
        >>> is_plain("lv.fP.fX"), is_plain("m-4l"), is_plain("event/I16")
        (True, False, False)
    """
    return re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name) is not None


def members(form: ak.forms.Form) -> Iterator[tuple[str, ...]]:
    """Yield the ways to the members of a structure, the structures among them first; nothing if it is none.

    Example:
        >>> import awkward as ak
        >>> form = ak.Array([[{"pt": 25.0, "track": {"d0": 0.1}}]]).layout.form
        >>> list(members(form))
        [('pt',), ('track',), ('track', 'd0')]
    """
    while (form.is_list or form.is_option or form.is_indexed) and form.parameter("__array__") is None:
        form = form.content
    if form.is_record:
        for field in form.fields:
            if not field.startswith("@"):  # what ROOT keeps of every object
                yield (field,)
                yield from ((field, *rest) for rest in members(form.content(field)))


def spelled(columns: Iterable[tuple[Column, tuple[str, ...]]]) -> dict[str, Column]:
    """Return columns by name; a spelling names a column unless one before it in the order of preference takes it.

    Args:
        columns: each with its spellings, the best first; where two columns have a spelling of one rank, it names none.

    Example:
        >>> i16, x, other = Column("event/I16"), Column("event/x"), Column("jet/x")
        >>> sorted(spelled([(i16, ("event.I16", "I16")), (x, ("event.x", "x")), (other, ("jet.x", "x"))]))
        ['I16', 'event.I16', 'event.x', 'jet.x']
    """
    ranks: dict[int, dict[str, list[Column]]] = {}
    for column, spellings in columns:
        for rank, name in enumerate(spellings):
            same = ranks.setdefault(rank, {}).setdefault(name, [])
            if column not in same:
                same.append(column)
    found: dict[str, Column] = {}
    for _, names in sorted(ranks.items()):
        found |= {name: same[0] for name, same in names.items() if len(same) == 1 and name not in found}
    return found


def column(columns: Mapping[str, Column], name: str, where: str) -> Column:
    """Return the column of a name that is no structure.

    Raises:
        InvalidEvents: if it is a structure; the message names what is inside.
    """
    if name not in columns:
        raise InvalidEvents(f"{where}: no branch {name!r}; {did_you_mean(name, columns)}")
    if inside := columns[name].inside:
        shown = f"{', '.join(inside[:12])}{', ...' if len(inside) > 12 else ''}"
        raise InvalidEvents(f"{where}: branch {name!r} is a structure; name one of its members: {shown}")
    return columns[name]


@contextmanager
def readable(file: str) -> Iterator[None]:
    """Turn what reading a file raises, any kind of error where the file is damaged, into one line with its name."""
    try:
        yield
    except (MemoryError, InvalidEvents):
        raise
    except FileNotFoundError as error:
        raise InvalidEvents(f"{file}: no such file; check the path") from error
    except Exception as error:
        raise damaged(file, error) from error


def damaged(file: str, error: Exception) -> InvalidEvents:
    """Return the error for a file whose reading raises one that says little of what to do."""
    return InvalidEvents(
        f"{file}: cannot be read ({one_line(error)}); check its permissions, or make it again if it is damaged"
    )


def one_line(error: Exception) -> str:
    """Return another library's error as part of one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}{'...' if len(text) > 120 else ''}"
