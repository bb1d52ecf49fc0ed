"""The cache of simulated datasets: files named by a hash of all that they follow from, in a folder of bounded size."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import re
import struct
import sys
import time
import types
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.inputs.simulator import Simulator
from neyman.support.files import replacing

__all__ = ["Cache", "Drawn", "fingerprint"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

FORMAT = 1

Drawn = tuple[NDArray[np.float32], NDArray[np.int64]]  # events end to end, and how many each dataset has

_FILE = re.compile(r"simulation-[0-9a-f]{64}\.npz")
_PART = re.compile(r"\.simulation-[0-9a-f]{64}\.npz\..*\.part")  # of a writer at work, or one that was killed
_ABANDONED = 3600.0  # seconds after which a writer must have been killed
_KEPT = 0.9  # of the limit, when old files make room
_UNSEEN = 16  # one part in so many of the limit may be written before the folder is looked at again
_CORRUPT = (LookupError, TypeError, ValueError, EOFError, RuntimeError, OSError, struct.error, zlib.error)
_UNPICKLABLE = (pickle.PicklingError, AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError)


class Cache:
    """A folder with the results of simulations.

    Files are written completely or not at all, by any number of processes. One that cannot be read counts as missing.
    When they exceed the limit, those that were not used for longest are deleted; other files are left alone.

    Args:
        folder: the folder, made if it does not exist.
        limit: its size in bytes.

    Raises:
        InvalidParameter: if the limit is negative.
        OSError: if the folder cannot be made or read.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from neyman.inputs.simulation_cache import Cache
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = Cache(folder, 10_000)
        ...     cache.put("0" * 64, (np.zeros((3, 2), dtype=np.float32), np.array([1, 2])))
        ...     cache.get("0" * 64, datasets=2, features=2)[1]
        array([1, 2])
    """

    def __init__(self, folder: str | Path, limit: int) -> None:
        if not limit >= 0:
            raise InvalidParameter(f"cache_limit is {limit}: give a number of bytes")
        self.folder, self.limit = Path(folder), limit
        self.folder.mkdir(parents=True, exist_ok=True)
        self._seen = self._unseen = 0
        self._writable = True
        self._prune()

    def _path(self, key: str) -> Path:
        return self.folder / f"simulation-{key}.npz"

    def get(self, key: str, datasets: int, features: int) -> Drawn | None:
        """Return what is kept under a key, ``None`` if it is missing, corrupt or not so many datasets and features."""
        path = self._path(key)
        try:
            with zipfile.ZipFile(path) as archive:
                x, numbers = _read(archive, "features"), _read(archive, "numbers")
            right = x.dtype == np.float32 and numbers.dtype == np.int64 and x.ndim == 2 and x.shape[1] == features
            if not right or numbers.shape != (datasets,) or (numbers < 0).any() or numbers.sum() != len(x):
                raise ValueError("it has other arrays")
            os.utime(path)  # used now
        except FileNotFoundError:
            return None
        except (*_CORRUPT, zipfile.BadZipFile) as error:
            log.warning("%s cannot be used (%s): simulating again", path, error)
            return None
        return x, numbers

    def put(self, key: str, drawn: Drawn) -> None:
        """Keep something under a key; if it cannot be written, warn and keep nothing from then on."""
        if not self._writable:
            return
        path = self._path(key)
        try:
            with replacing(path) as stream:
                np.savez(stream, features=drawn[0], numbers=drawn[1])
            self._unseen += drawn[0].nbytes + drawn[1].nbytes + 1000  # headers
            if self._seen + self._unseen > self.limit or self._unseen > self.limit / _UNSEEN:
                self._prune()
        except OSError as error:
            self._writable = False
            warnings.warn(f"{self.folder}: {error.strerror or error}: the simulation goes on uncached", stacklevel=3)

    def _prune(self) -> None:
        """Delete the files that were not used for longest until what is left has room."""
        files, now = sorted(self._files()), time.time()
        total = sum(size for _, size, _ in files)
        target = self.limit if total <= self.limit else _KEPT * self.limit
        for used, size, path in files:
            abandoned = _PART.fullmatch(path.name) is not None and now - used > _ABANDONED
            if abandoned or (total > target and _FILE.fullmatch(path.name) is not None):
                path.unlink(missing_ok=True)
                total -= size
        self._seen, self._unseen = total, 0

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield time of last use, size and path of each file of ours."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if _FILE.fullmatch(entry.name) or _PART.fullmatch(entry.name):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:  # another process has deleted or renamed it
                        continue
                    yield status.st_mtime, status.st_size, Path(entry.path)


def _read(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    content = archive.read(f"{name}.npy")  # which checks the CRC before anything is made of it
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def fingerprint(simulator: Simulator) -> str:
    """Return a hash of what a simulator computes: another simulator or another code has another one.

    It covers the names and settings of parameters and features; of ``sample`` and each function that it refers to in
    its own module, the text of the module (if that is a file), the compiled code, defaults, closure and the values of
    the global names used; of a function of another module referred to by name, the text of that; the state of an
    object, if ``sample`` is one; the version of NumPy. It cannot see what changes further away: a module that is
    imported as a whole (``import tools``), what other modules import in turn, a file that is read.

    Raises:
        InvalidParameter: if the simulator has a state that cannot be pickled.

    Example:
        >>> from neyman.inputs.simulation_cache import fingerprint
        >>> from neyman.inputs.simulator import Simulator
        >>> def width(value):
        ...     sample = lambda pars, rng: rng.normal(0.0, value, size=(10, 1))
        ...     return Simulator(sample, [{"name": "mu", "inits": [1.0], "bounds": [[0, 2]]}], "mu", ["x"])
        >>> fingerprint(width(1.0)) == fingerprint(width(1.0)), fingerprint(width(1.0)) == fingerprint(width(2.0))
        (True, False)
    """
    sample = simulator.sample
    home = getattr(getattr(sample, "func", sample), "__module__", None) or type(sample).__module__
    what = (FORMAT, np.__version__, _text(home), simulator.parameters, simulator.features, sample)
    stream = io.BytesIO()
    try:
        _Describer(stream, home, {}).dump(what)
    except _UNPICKLABLE as error:
        text = " ".join(str(error).split())
        raise InvalidParameter(f"the simulator has a state that cannot be pickled, give cache=None: {text}") from error
    return hashlib.sha256(stream.getvalue()).hexdigest()


class _Describer(pickle.Pickler):
    """Pickles by content what pickle leaves as a reference: functions and classes, each of them once."""

    def __init__(self, stream: io.BytesIO, home: str, described: dict[int, tuple[int, Any]]) -> None:
        super().__init__(stream, protocol=4)
        self._home = home
        self._described = described

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType):
            return ("module", obj.__name__)
        if not isinstance(obj, types.FunctionType | type):
            return None
        if id(obj) in self._described:  # as in one that refers to itself
            return ("again", self._described[id(obj)][0])
        self._described[id(obj)] = (len(self._described), obj)
        name = (obj.__module__, obj.__qualname__, _text(obj.__module__))
        if isinstance(obj, types.FunctionType):
            cells = [_content(cell) for cell in obj.__closure__ or ()]
            return (
                "function",
                *name,
                _code(obj.__code__),
                obj.__defaults__,
                obj.__kwdefaults__,
                cells,
                self._used(obj),
            )
        if obj.__module__ != self._home:
            return ("class", *name)
        return ("class", *name, obj.__bases__, self._parts(obj))

    def _parts(self, cls: type) -> list[tuple[str, str]]:
        """Return the names of a class's methods and attributes, with hashes."""
        parts = [(name, value) for name, value in sorted(vars(cls).items()) if _counts(name, value)]
        return [(name, self._hash(getattr(value, "__func__", getattr(value, "fget", value)))) for name, value in parts]

    def _used(self, function: types.FunctionType) -> list[tuple[str, str]]:
        """Return the global names that a function of the simulator's own module uses, with hashes of their values."""
        if function.__module__ != self._home:
            return []
        names = sorted(name for name in _names(function.__code__) if name in function.__globals__)
        return [(name, self._hash(function.__globals__[name])) for name in names]

    def _hash(self, value: Any) -> str:
        """Return a hash of a value; one that cannot be pickled and is made in a file counts by its type."""
        stream, before = io.BytesIO(), dict(self._described)
        try:
            _Describer(stream, self._home, self._described).dump(value)
        except _UNPICKLABLE:
            if _text(self._home) is None:
                raise
            self._described.clear()
            self._described.update(before)
            return f"a {type(value).__module__}.{type(value).__qualname__}"
        return hashlib.sha256(stream.getvalue()).hexdigest()


def _counts(name: str, value: Any) -> bool:
    """Whether a class's attribute is of its own making, and not of Python's."""
    return not (name.startswith("__") and name.endswith("__")) or isinstance(value, types.FunctionType)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _text(module: str | None) -> str | None:
    """Return a hash of the text of a module, ``None`` if it has no file of Python's."""
    path = getattr(sys.modules.get(module or ""), "__file__", None)
    if path is None or not path.endswith(".py"):
        return None
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def _code(code: types.CodeType) -> str:
    """Return a hash of compiled code, which is what runs, whatever has happened to the file since."""
    parts = [code.co_code.hex(), repr(code.co_names), repr(code.co_varnames), repr(code.co_freevars)]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts.append(_code(constant))
        elif isinstance(constant, frozenset):  # whose order depends on the process
            parts.append(repr(sorted(map(repr, constant))))
        else:
            parts.append(f"{type(constant).__name__} {constant!r}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _names(code: types.CodeType) -> set[str]:
    """Return the names of globals (and of attributes) that code uses, with the functions inside it."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))
