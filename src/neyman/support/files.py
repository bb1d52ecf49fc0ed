"""Files written completely or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["replacing"]


def __dir__() -> list[str]:
    return __all__


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of ``path`` once it is complete, and leaves no trace if it fails.

    Args:
        path: the file.

    Raises:
        OSError: if it cannot be written; what stood there before is then untouched.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "result.json")
        ...     with replacing(path) as stream:
        ...         _ = stream.write(b"{}")
        ...     path.read_text()
        '{}'
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the user knows that name, not the temporary one
        raise
