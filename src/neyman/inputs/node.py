"""A place in a document: the value that stands there, and its path, which every error about it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from neyman.exceptions import InvalidDocument

__all__ = ["Node", "place"]


def __dir__() -> list[str]:
    return __all__


def place(path: Iterable[str | int]) -> str:
    """Return the path of a key as a user writes it.

    Example:
        >>> from neyman.inputs.node import place
        >>> place(["channels", 0, "samples", 1, "data"])
        'channels[0].samples[1].data'
    """
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


@dataclass(frozen=True)
class Node:
    """A value of a document with its path.

    Args:
        value: a mapping, a list, or a plain value.
        path: the keys that lead to it.

    Example:
        >>> from neyman.inputs.node import Node
        >>> document = Node({"channels": [{"name": "SR"}, {"name": "CR"}]})
        >>> [f"{channel} is {channel['name'].value}" for channel in document["channels"]]
        ['channels[0] is SR', 'channels[1] is CR']
    """

    value: Any
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return place(self.path) or "document"

    def __getitem__(self, key: str | int) -> Node:
        return Node(self.value[key], (*self.path, key))

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def __iter__(self) -> Iterator[Node]:
        return (self[i] for i in range(len(self.value)))

    def get(self, key: str, default: Any = None) -> Node:
        """Return what stands under a key of a mapping, or a default there."""
        return Node(self.value.get(key, default), (*self.path, key))

    def error(self, what: str) -> InvalidDocument:
        """Return the error that says what is wrong here."""
        return InvalidDocument(f"{self}: {what}", self.path)
