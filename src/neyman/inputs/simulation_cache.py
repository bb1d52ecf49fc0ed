"""The cache of simulated datasets: files named by a hash of all that they follow from, in a folder of bounded size."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import re
import sys
import time
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter, NeymanError
from neyman.inputs.simulator import Simulator
from neyman.support.archives import Archive

__all__ = ["Cache", "Drawn", "fingerprint"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

FORMAT = 3  # of the files and of the fingerprints

# events end to end, how many each dataset has, and what is local to each event
Drawn = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]

_NAME = re.compile(r"simulation-[0-9a-f]{64}\.npz")
_PART = re.compile(r"\.simulation-[0-9a-f]{64}\.npz\..*\.part")  # of a writer at work, or one that was killed
_ABANDONED = 3600.0  # seconds after which a writer must have been killed
_KEPT = 0.9  # of the limit, when old files make room
_UNSEEN = 16  # one part in so many of the limit may be written before the folder is looked at again
_FILE = Archive("file of simulated datasets", NeymanError, "delete it", compressed=False)
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
        ...     x, z = np.zeros((3, 2), dtype=np.float32), np.zeros((3, 0), dtype=np.float32)
        ...     cache.put("0" * 64, (x, np.array([1, 2]), z))
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

    def get(self, key: str, datasets: int, features: int, locals: int = 0) -> Drawn | None:
        """Return what is kept under a key, ``None`` if it is missing, corrupt or of another number of anything."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            with _FILE.read(path) as content:
                x, numbers, z = (content.arrays[name] for name in ("features", "numbers", "locals"))
            right = x.dtype == z.dtype == np.float32 and numbers.dtype == np.int64 and x.ndim == 2
            right = right and x.shape[1] == features and z.shape == (len(x), locals)
            if not right or numbers.shape != (datasets,) or (numbers < 0).any() or numbers.sum() != len(x):
                raise ValueError("it has other arrays")
            os.utime(path)  # used now
        except (NeymanError, OSError, KeyError, ValueError) as error:
            log.warning("%s cannot be used (%s): simulating again", path, error)
            return None
        return x, numbers, z

    def put(self, key: str, drawn: Drawn) -> None:
        """Keep something under a key; if it cannot be written, warn and keep nothing from then on."""
        if not self._writable:
            return
        path = self._path(key)
        try:
            _FILE.write(path, {}, dict(zip(("features", "numbers", "locals"), drawn, strict=True)))
            self._unseen += sum(one.nbytes for one in drawn) + 1000  # headers
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
            if abandoned or (total > target and _NAME.fullmatch(path.name) is not None):
                path.unlink(missing_ok=True)
                total -= size
        self._seen, self._unseen = total, 0

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield time of last use, size and path of each file of ours."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) or _PART.fullmatch(entry.name):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:  # another process has deleted or renamed it
                        continue
                    yield status.st_mtime, status.st_size, Path(entry.path)


def fingerprint(simulator: Simulator) -> str:
    """Return a hash of what a simulator computes: another simulator or another code has another one.

    It covers the simulator's version, parameters, features, local parameters and shape of events; its function or
    object, with whatever it closes over or holds; of each function and class of the same module that it refers to, the
    text of that module (if that is a file), the compiled code and the values of the global names used; of those of
    another module the text of that; the version of NumPy. It cannot see what changes further away: a module that is
    imported as a whole (``import tools``), what other modules import in turn, a file that is read. For these there is
    the simulator's ``version``.

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
    describer = _Describer()
    try:
        describer.add(FORMAT, np.__version__, simulator.version, simulator.parameters, simulator.features)
        describer.add(simulator.local_names, simulator.event_shape, sample)
        for found in describer.found:  # which grows
            describer.describe(found, home)
    except _UNPICKLABLE as error:
        text = " ".join(str(error).split())
        raise InvalidParameter(f"the simulator has a state that cannot be pickled, give cache=None: {text}") from error
    return hashlib.sha256(describer.stream.getvalue()).hexdigest()


class _Describer(pickle.Pickler):
    """Pickles values; the functions and classes among them are numbered, and described once each, by their content."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()
        super().__init__(self.stream, protocol=4)
        self.found: list[Any] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType):
            return obj.__name__
        if not isinstance(obj, types.FunctionType | type):
            return None
        if id(obj) not in self._numbers:
            self._numbers[id(obj)] = len(self.found)
            self.found.append(obj)
        return self._numbers[id(obj)]

    def add(self, *values: Any) -> None:
        """Add values to the description."""
        self.clear_memo()  # what has failed half-way is not referred to
        self.dump(values)

    def describe(self, found: Any, home: str) -> None:
        """Add what a function or class consists of, and in the simulator's own module the values that it uses."""
        self.add(found.__module__, found.__qualname__, _text(found.__module__))
        used: dict[str, Any] = {}
        if isinstance(found, types.FunctionType):
            cells = [_content(cell) for cell in found.__closure__ or ()]
            self.add(_code(found.__code__), found.__defaults__, found.__kwdefaults__, cells)
            if found.__module__ == home:
                names = _names(found.__code__)
                used = {name: value for name, value in found.__globals__.items() if name in names}
        elif found.__module__ == home:
            self.add(found.__bases__)
            parts = {name: value for name, value in vars(found).items() if _counts(name, value)}
            used = {name: getattr(one, "__func__", getattr(one, "fget", one)) for name, one in parts.items()}
        for name in sorted(used):
            try:
                self.add(name, used[name])
            except _UNPICKLABLE:
                if _text(home) is None:
                    raise
                self.add(name, type(used[name]))  # the text of the module says how it is made


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
