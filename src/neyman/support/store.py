"""Batches of toys that are done, by name: in memory, or in a checkpoint that an interrupted run goes on from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import NeymanError
from neyman.support.archives import Archive

__all__ = ["Store"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_CHECKPOINT = Archive("checkpoint of toys", NeymanError, "delete it, or name another", compressed=False)


class Fingerprinted(Protocol):
    """What toys are thrown from: a model, which knows the hash of all that its likelihood follows from."""

    @property
    def fingerprint(self) -> str:
        """The hash."""

    @property
    def config(self) -> Any:
        """The parameters, their suggested values and bounds, and the parameter of interest, as pyhf has them."""


class Store:
    """The batches that are done, by name; with a path, a checkpoint file that an interrupted run goes on from.

    A checkpoint is refused if anything differs that its batches follow from: the model, its parameter of interest and
    suggested values, or the settings.

    Args:
        path: of the file, or ``None`` to keep the batches in memory alone.
        model: the model.
        settings: whatever else the batches follow from; anything that JSON can say, and arrays.

    Raises:
        NeymanError: if the file is none of ours, or was made for something else.

    Example:
        >>> import neyman
        >>> channel = {"name": "SR", "samples": [{"name": "signal", "data": [5.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> store = Store(None, neyman.Model({"channels": [channel]}, {}, poi_name="mu"), ["settings"])
        >>> store["first"] = np.zeros(3)
        >>> "first" in store, "second" in store
        (True, False)
    """

    def __init__(self, path: str | Path | None, model: Fingerprinted, settings: Any) -> None:
        self._path = None if path is None else Path(path)
        self._done: dict[str, Array] = {}
        if self._path is None:
            return
        config = model.config
        suggested = [config.suggested_init(), config.suggested_bounds(), config.suggested_fixed()]
        follows_from = [model.fingerprint, config.poi_name, suggested, settings]
        self._label = hashlib.sha256(json.dumps(follows_from, sort_keys=True, default=_plain).encode()).hexdigest()
        if self._path.exists():
            with _CHECKPOINT.read(self._path) as content:
                if content.header["label"] != self._label:
                    raise NeymanError("a checkpoint of other toys (model, data, seed or options differ): name another")
                self._done = dict(content.arrays)

    def __contains__(self, name: str) -> bool:
        return name in self._done

    def __getitem__(self, name: str) -> Array:
        return self._done[name]

    def __setitem__(self, name: str, values: Array) -> None:
        self._done[name] = values

    def save(self) -> None:
        """Write the file, if there is to be one."""
        if self._path is not None:
            _CHECKPOINT.write(self._path, {"label": self._label}, self._done)


def _plain(value: Any) -> Any:
    """Return a NumPy value as JSON can say it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a setting of a checkpoint is a {type(value).__name__}, which cannot be compared")
