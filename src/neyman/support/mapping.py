"""Large arrays in a zip are mapped from the file, not read, and travel to other processes as where they stand in it."""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIGNED", "MAPPED_FROM", "NotMapped", "aligned", "dumps", "loads", "mapped"]


def __dir__() -> list[str]:
    return __all__


MAPPED_FROM = 1 << 20
"""Bytes from which an array is worth a mapping."""

ALIGNED = 64
"""Bytes: an array begins at a multiple of it, as in memory; one of another writer that does not is read."""

_LOCAL = struct.Struct("<4s5H3L2H")  # what precedes the name of a member
_ZIP64 = 20  # bytes of the extra field that Python gives members that may be large
_PADDING = 0xD935  # the identifier of extra fields that align
_ENCRYPTED = 1


class NotMapped(Exception):
    """A file that an array is to be mapped from is not here, or another one is."""


class _Place(NamedTuple):
    """Where an array stands: file and member, and what tells it from that of another file."""

    file: str
    member: str
    crc: int
    size: int


class _Mapped(np.memmap):
    """An array in a file, which knows where."""

    place: _Place | None = None


def aligned(member: str, begin: int) -> zipfile.ZipInfo:
    """Return the entry of an uncompressed member whose content begins at a multiple of :data:`ALIGNED`.

    Args:
        member: its name.
        begin: where in the file it begins with its header, which may be larger than 4 GB.
    """
    info = zipfile.ZipInfo(member)
    field = struct.calcsize("<HH")
    before = begin + _LOCAL.size + len(member.encode()) + _ZIP64 + field
    padding = -before % ALIGNED
    info.extra = struct.pack("<HH", _PADDING, padding) + bytes(padding)
    return info


def mapped(archive: zipfile.ZipFile, member: str) -> NDArray[Any] | None:
    """Return an array of an open zip as a read-only mapping, or ``None`` if it has to be read.

    That is so where it is small, compressed, or not aligned. No code is run, and nothing outside the member can be
    reached; its bytes are not compared with their checksum, since that would read them.

    Args:
        archive: a file on this machine that is open for reading.
        member: the name of a NumPy file in it.

    Raises:
        ValueError: if the member is no array, or goes beyond the file.
    """
    info, stream = archive.getinfo(member), archive.fp
    stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & _ENCRYPTED
    if not stored or info.file_size < MAPPED_FROM or stream is None:
        return None
    stream.seek(info.header_offset)
    signature, *_, name, extra = _LOCAL.unpack(stream.read(_LOCAL.size))
    begin = info.header_offset + _LOCAL.size + name + extra
    if signature != b"PK\x03\x04" or begin + info.file_size > archive.start_dir:
        raise ValueError(f"{member} goes beyond the file")
    stream.seek(begin)
    numpy_format: Any = np.lib.format
    first = numpy_format.read_magic(stream) == (1, 0)
    header = numpy_format.read_array_header_1_0 if first else numpy_format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    offset = stream.tell()
    if dtype.hasobject or offset - begin + math.prod(shape) * dtype.itemsize != info.file_size:
        raise ValueError(f"{member} is no array of numbers of the size of the member")
    if offset % ALIGNED:
        return None
    found = _Mapped(stream, dtype, "r", offset, shape, "F" if fortran else "C")
    found.place = _Place(os.path.abspath(str(archive.filename)), member, info.CRC, info.file_size)
    return found.view(np.ndarray)  # an ordinary array, whose base it is


def dumps(value: Any) -> bytes:
    """Return a pickle in which mapped arrays are only named: :func:`loads` maps them where it sees the file.

    Args:
        value: what can be pickled.
    """
    stream = io.BytesIO()
    _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return stream.getvalue()


def loads(content: bytes) -> Any:
    """Return what :func:`dumps` has pickled.

    Args:
        content: the pickle, of a process that is trusted.

    Raises:
        NotMapped: if a file with mapped arrays is not here, or another one is in its place.
    """
    return _Unpickler(io.BytesIO(content)).load()


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        base = obj.base if isinstance(obj, np.ndarray) else None
        if not isinstance(base, _Mapped) or base.place is None:
            return None
        whole = obj.__array_interface__ == {**base.__array_interface__}
        return tuple(base.place) if whole else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        place = _Place(*pid)
        try:
            with zipfile.ZipFile(place.file) as archive:
                info = archive.getinfo(place.member)
                same = (info.CRC, info.file_size) == (place.crc, place.size)
                found = mapped(archive, place.member) if same else None
        except (OSError, LookupError, ValueError, zipfile.BadZipFile) as error:
            raise NotMapped(f"{place.file}: {error}") from error
        if found is None:
            raise NotMapped(f"{place.file}: another file")
        return found
