"""Batches that are done, by name: in memory, or in a checkpoint file that an interrupted run goes on from."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import NeymanError
from neyman.support.files import replacing

__all__ = ["Store"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


class Store:
    """The batches that are done, by name; with a path, a checkpoint file that an interrupted run goes on from.

    Args:
        path: of the file, or ``None``.
        belongs_to: what the file is made for, any JSON: a file made for something else is refused.

    Raises:
        NeymanError: if the file is none of ours, or was made for something else.
    """

    def __init__(self, path: str | Path | None = None, belongs_to: Any = None) -> None:
        self._path = None if path is None else Path(path)
        self._label = hashlib.sha256(json.dumps(belongs_to, sort_keys=True, default=_plain).encode()).hexdigest()
        self._done: dict[str, Array] = {}
        if self._path is not None and self._path.exists():
            self._done = self._read(self._path)

    def __contains__(self, name: str) -> bool:
        return name in self._done

    def __getitem__(self, name: str) -> Array:
        return self._done[name]

    def __setitem__(self, name: str, values: Array) -> None:
        self._done[name] = values

    def save(self) -> None:
        """Write the file, if there is to be one."""
        if self._path is None:
            return
        buffer = io.BytesIO()
        content: dict[str, Any] = {"belongs to": np.array(self._label), **self._done}
        np.savez(buffer, **content)
        with replacing(self._path) as stream:
            stream.write(buffer.getvalue())

    def _read(self, path: Path) -> dict[str, Array]:
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                found = {name: content[name] for name in content.files}
            label = str(found.pop("belongs to"))
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise NeymanError(f"{path}: not a checkpoint of toys ({error}): delete it, or name another") from error
        if label != self._label:
            raise NeymanError(f"{path}: a checkpoint of other toys (model, data, seed or options differ): name another")
        return found


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
