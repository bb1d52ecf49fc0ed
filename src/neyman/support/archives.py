"""Files of arrays: one zip of JSON, NumPy arrays and tensors, written in one step and read without running code."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

import neyman
from neyman.exceptions import NeymanError
from neyman.support.files import replacing
from neyman.support.mapping import MAPPED_FROM, aligned, mapped

if TYPE_CHECKING:
    import torch

__all__ = ["Archive", "Content", "joined", "split", "under"]


def __dir__() -> list[str]:
    return __all__


T = TypeVar("T")

_HEADER, _WEIGHTS = "neyman.json", "weights.safetensors"
_FIRST = "arrays.npz"  # of model files of format 1
_DAMAGED = (EOFError, SafetensorError, struct.error, zipfile.BadZipFile, zlib.error)  # whoever wrote it
_CORRUPT = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    *_DAMAGED,
)


class Content(NamedTuple):
    """What a file holds.

    Args:
        format: the version of the content.
        header: anything that JSON can say.
        arrays: NumPy arrays by name.
        weights: torch tensors by name, as of a network's ``state_dict()``.
    """

    format: int
    header: Any
    arrays: Mapping[str, NDArray[Any]]
    weights: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Archive:
    """A kind of file, as the model file; each has one instance, through which all of them are written and read.

    Args:
        name: what such a file is called in messages; it is also written into the file.
        error: the exception for a file that cannot be used.
        remedy: what to do about such a file.
        format: the version of the content, to be raised when it changes; newer ones are refused.
        oldest: the oldest version that can be read.
        compressed: whether the content is to be made smaller, at some cost in time.
        mapped: whether large arrays are not, so that they are mapped from the file, read-only, and not read.
        corrupt: further exceptions by which a content may show that it is wrong.

    Example:
        >>> import tempfile
        >>> from neyman.exceptions import InvalidParameter
        >>> table = Archive("table of squares", InvalidParameter, "make one with squares()")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "squares.npz")
        ...     table.write(path, {"power": 2}, {"values": np.array([0, 1, 4, 9])})
        ...     with table.read(path) as content:
        ...         print(content.header["power"], content.arrays["values"])
        2 [0 1 4 9]
    """

    name: str
    error: type[NeymanError]
    remedy: str
    format: int = 1
    oldest: int = 1
    compressed: bool = True
    mapped: bool = False
    corrupt: tuple[type[Exception], ...] = ()

    def write(
        self,
        path: str | Path,
        header: Any,
        arrays: Mapping[str, NDArray[Any]] | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Write a file, completely or not at all.

        Args:
            path: the file.
            header: anything that JSON can say.
            arrays: arrays by name, none of Python objects.
            weights: tensors by name.

        Raises:
            OSError: if it cannot be written; what stood there before is then untouched.
        """
        arrays = arrays or {}
        about = {"kind": self.name, "format": self.format, "neyman": neyman.__version__}
        about |= {"arrays": list(arrays), "weights": weights is not None}
        method = zipfile.ZIP_DEFLATED if self.compressed else zipfile.ZIP_STORED
        with replacing(path) as stream, zipfile.ZipFile(stream, "w", method, compresslevel=1) as archive:
            with archive.open(_HEADER, "w") as member:
                member.write(json.dumps({**about, "content": header}, indent=1).encode())
            for name, array in arrays.items():
                entry: str | zipfile.ZipInfo = f"{name}.npy"
                if self.mapped and array.nbytes >= MAPPED_FROM:
                    entry = aligned(f"{name}.npy", stream.tell())
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.save(member, array, allow_pickle=False)
            if weights is not None:
                import safetensors.torch

                with archive.open(_WEIGHTS, "w", force_zip64=True) as member:
                    member.write(safetensors.torch.save({k: v.clone().contiguous() for k, v in weights.items()}))

    @contextlib.contextmanager
    def read(self, path: str | Path) -> Iterator[Content]:
        """Read a file for the block under ``with``, whose errors too are taken for those of a corrupt file.

        Args:
            path: the file.

        Raises:
            NeymanError: the kind's own, if the file is missing, truncated, corrupt, from a newer format, of another
                kind, or its content is not what the block needs, as when another version wrote it; the message names
                the file. Other errors of ours that the block raises are left alone.
        """
        wrong: tuple[type[Exception], ...] = (self.error, *_CORRUPT, *self.corrupt)
        try:
            yield self._content(Path(path))
        except wrong as error:
            raise self.error(f"{path}: {self._complaint(error, _writer(path))}") from error

    def is_kind_of(self, path: str | Path) -> bool:
        """Whether a file says of itself that it is one of these, corrupt or not; only that is read.

        Args:
            path: the file.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                return bool(json.loads(archive.read(_HEADER)).get("kind") == self.name)
        except _CORRUPT:
            return False

    def _content(self, path: Path) -> Content:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
            if _HEADER not in members:
                raise self.error(f"not a {self.name}, or one of an earlier version of neyman: {self.remedy}")
            about = json.loads(archive.read(_HEADER))
            kind, version = about.get("kind", self.name), about["format"]
            if kind != self.name:
                raise self.error(f"a {kind}, not a {self.name}: {self.remedy}")
            if version > self.format:
                raise self.error(f"format {version}, but this version reads up to {self.format}: upgrade neyman")
            if version < self.oldest:
                raise self.error(f"written by an earlier version of neyman: {self.remedy}")
            if version == 1 and _FIRST in members:
                with np.load(io.BytesIO(archive.read(_FIRST)), allow_pickle=False) as stored:
                    arrays = dict(stored)
                return Content(1, about, arrays, _weights(archive.read(_WEIGHTS)))
            wanted = {f"{name}.npy" for name in about["arrays"]} | ({_WEIGHTS} if about["weights"] else set())
            if missing := sorted(wanted - members):
                raise ValueError(f"{missing[0]} is missing")
            arrays = {name: self._array(archive, f"{name}.npy") for name in about["arrays"]}
            weights = _weights(archive.read(_WEIGHTS)) if about["weights"] else {}
            return Content(version, about["content"], arrays, weights)

    def _array(self, archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
        found = mapped(archive, member) if self.mapped else None
        if found is None:
            found = np.load(io.BytesIO(archive.read(member)), allow_pickle=False)
        return found

    def _complaint(self, error: Exception, writer: str | None) -> str:
        """Return what to say about a file, and not about how it was noticed."""
        match error:
            case NeymanError():
                return str(error)
            case FileNotFoundError():
                return f"no such {self.name}; {self.remedy}"
            case IsADirectoryError():
                return f"a folder, not a {self.name}"
            case OSError(strerror=str(reason)):
                return f"cannot be read: {reason}"
            case KeyError(args=(key,)):
                reason = f"{key!r} is missing"
            case _:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
        reason = ": ".join([*getattr(error, "__notes__", []), reason])  # a note says in which part it happened
        if writer not in (None, neyman.__version__) and not isinstance(error, _DAMAGED):
            return (
                f"written by neyman {writer}, and neyman {neyman.__version__} cannot use it ({reason}): use that "
                f"version, or {self.remedy}"
            )
        return f"not a {self.name}, or a truncated or corrupt one ({reason}): {self.remedy}"


def split(values: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the fields of a dataclass by name: those for the header of a file, and the arrays.

    Args:
        values: the instance.
    """
    fields = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    return {name: value for name, value in fields.items() if name not in arrays}, arrays


def joined(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the fields that :func:`split` has divided, for the dataclass to be made again.

    Args:
        header: what JSON has kept, with lists for tuples.
        arrays: the arrays.

    Example:
        >>> joined({"names": ["mu", "lumi"]}, {})
        {'names': ('mu', 'lumi')}
    """
    return {**{name: tuple(v) if isinstance(v, list) else v for name, v in header.items()}, **arrays}


def under(folder: str | int, members: Mapping[str, T]) -> dict[str, T]:
    """Return the members of a folder by their names in it.

    Args:
        folder: the folder.
        members: arrays or weights, by names like ``folder/name``.

    Example:
        >>> under(0, {"0/weights": "a", "1/weights": "b"})
        {'weights': 'a'}
    """
    prefix = f"{folder}/"
    return {name.removeprefix(prefix): value for name, value in members.items() if name.startswith(prefix)}


def _writer(path: str | Path) -> str | None:
    """Return the version of neyman that wrote a file, if it says so."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(_HEADER)).get("neyman")
    except _CORRUPT:
        return None
    return found if isinstance(found, str) else None


def _weights(content: bytes) -> dict[str, torch.Tensor]:
    import safetensors.torch

    return safetensors.torch.load(content)
