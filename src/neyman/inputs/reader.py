"""Files of events, one format behind another: trees that have branches, and give them in steps.

A format is a function that opens a file as a :class:`Reader`, in a file of its own, registered for its suffix in
:data:`neyman.inputs.sources.READERS`; :mod:`neyman.inputs.root` is one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import awkward as ak

from neyman.exceptions import InvalidEvents

__all__ = ["Open", "Reader", "Tree", "one_line", "readable"]


def __dir__() -> list[str]:
    return __all__


class Tree(Protocol):
    """A table of events in an open file."""

    @property
    def entries(self) -> int:
        """The number of events."""

    @property
    def branches(self) -> Collection[str]:
        """The names of the columns."""

    def steps(self, names: Collection[str], size: str) -> Iterator[dict[str, ak.Array]]:
        """Yield some branches, at least one, of one step of events after another.

        Args:
            names: the branches.
            size: of a step in memory, as ``"16 MB"``.
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


Open: TypeAlias = Callable[[Path], AbstractContextManager[Reader]]
"""Opens a file of one format; raises InvalidEvents with one line if it cannot be read."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what reading a file raises, any kind of error where the file is damaged, into one line with its name."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidEvents(
            f"{path}: cannot be read ({one_line(error)}); check its permissions, or make it again if it is damaged"
        ) from error


def one_line(error: Exception) -> str:
    """Return another library's error as part of one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}{'...' if len(text) > 120 else ''}"
