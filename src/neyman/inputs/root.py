"""ROOT files to events: sources with a selection, a weight and features that are expressions of the branches."""

from __future__ import annotations

import glob
import hashlib
import struct
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray
from tqdm import tqdm

from neyman.events import Events, EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs.expressions import Branches, Function, compiled
from neyman.support.messages import did_you_mean, near

__all__ = ["check", "files_of", "only_tree", "provenance", "read", "tree_of"]


def __dir__() -> list[str]:
    return __all__


STEP = "16 MB"  # of the branches read at once; the temporaries of the expressions take a few times as much
TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")


def read(
    source: EventSource, expressions: Sequence[str], *, progress: bool = False, allow_empty: bool = False
) -> Events:
    """Read the selected events of a source, a step at a time, so that files may be larger than memory.

    The selection applies before the other expressions see an event: ``jet_pt[:, 0]`` is safe behind ``njet >= 1``.

    Args:
        source: files, tree, weight and selection.
        expressions: the ``d`` features.
        progress: whether to draw a bar on standard error.
        allow_empty: whether no event at all is a legal answer, as it is for data.

    Returns:
        The ``N`` selected events in the order of the files, features of shape ``(N, d)``.

    Raises:
        InvalidEvents: if a file, tree or branch is missing or cannot be read, an expression is wrong or not finite, or
            no event is selected.

    Example:
        >>> import tempfile, uproot
        >>> from neyman.inputs.root import read
        >>> from neyman.events import EventSource
        >>> with tempfile.TemporaryDirectory() as folder, uproot.recreate(f"{folder}/signal.root") as file:
        ...     _ = file.mktree("nominal", {"m": "float32", "w": "float32"})
        ...     file["nominal"].extend({"m": [91.0, 125.0, 126.0], "w": [0.5, 0.5, 1.0]})
        ...     read(EventSource((f"{folder}/*.root",), "nominal", "2 * w", "m > 100"), ["m / 100"]).weights
        array([1., 2.])
    """
    files = files_of(source)
    blocks = [np.empty((0, len(expressions)), dtype=np.float32)]
    weights = [np.empty(0)]
    total = 0
    size = sum(path.stat().st_size for path in files)
    with tqdm(total=size, unit="B", unit_scale=True, desc=source.tree, file=sys.stderr, disable=not progress) as bar:
        for path in files:
            with _opened(path, source.tree) as tree:
                entries = tree.num_entries
                for x, w, n in _selected(source, expressions, path, tree):
                    blocks.append(x)
                    weights.append(w)
                    bar.update(path.stat().st_size * n // entries)
                total += entries
    where = f"{files[0]}{f' and {len(files) - 1} more' if len(files) > 1 else ''}: tree {source.tree!r}"
    if total == 0 and not allow_empty:
        raise InvalidEvents(f"{where} has no events; name another tree or file")
    if not sum(map(len, weights)) and not allow_empty:
        raise InvalidEvents(f"{where}: selection {source.selection!r} keeps none of {total} events; loosen it")
    return Events(np.concatenate(blocks), np.concatenate(weights))


def check(source: EventSource, expressions: Sequence[str]) -> int:
    """Check that files, tree and branches exist and the expressions can be parsed, without reading an event.

    Args:
        source: files, tree, weight and selection.
        expressions: the features.

    Returns:
        The number of events before the selection.

    Raises:
        InvalidEvents: if something is missing or wrong.
    """
    total = 0
    for path in files_of(source):
        with _opened(path, source.tree) as tree:
            for text in (source.selection, source.weight, *expressions):
                if text is not None:
                    compiled(text, path, source.tree, tree)
            total += tree.num_entries
    return total


def files_of(source: EventSource) -> list[Path]:
    """Return the files of a source, globs expanded in alphabetical order, each file once.

    Raises:
        InvalidEvents: if a file does not exist or a glob matches none.
    """
    files: dict[Path, Path] = {}
    for pattern in source.files:
        if "://" in pattern:
            raise InvalidEvents(f"{pattern}: only local files can be read; copy it here first")
        path = Path(pattern)
        if path.is_dir():
            raise InvalidEvents(f"{path}: is a folder; write {path / '*.root'} for the files in it")
        found = [path] if path.exists() else [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
        if not found and glob.has_magic(pattern):
            raise InvalidEvents(f"{pattern}: no file matches this glob; check the path")
        if not found:
            close = near(path.name, (other.name for other in path.parent.glob("*")))
            raise InvalidEvents(
                f"{path}: no such file; {did_you_mean(path.name, close) if close else 'check the path'}"
            )
        for one in found:
            files.setdefault(one.resolve(), one)
    if not files:
        raise InvalidEvents(f"the events of tree {source.tree!r} have no files; name at least one")
    return list(files.values())


def tree_of(path: Path) -> tuple[Path, str | None]:
    """Return file and tree of ``FILE.root:TREE``; no tree where the text names none.

    Example:
        >>> tree_of(Path("data/events.root:nominal"))[1]
        'nominal'
    """
    file, colon, tree = str(path).rpartition(".root:")
    return (Path(f"{file}.root"), tree) if colon and tree and not path.exists() else (path, None)


def only_tree(path: Path) -> str:
    """Return the name of a file's tree.

    Raises:
        InvalidEvents: if the file cannot be read, or has no tree or several.
    """
    files_of(EventSource((str(path),), ""))
    with _checked(path) as (_, classes):
        trees = [tree for tree, kind in classes.items() if kind in TREES]
    if not trees:
        raise InvalidEvents(f"{path}: the file has no trees at all; name another")
    if len(trees) > 1:
        shown = f"{', '.join(trees[:12])}{', ...' if len(trees) > 12 else ''}"
        raise InvalidEvents(f"{path}: it has the trees {shown}: choose one, as in {path}:{trees[0]}")
    return trees[0]


def provenance(sources: Iterable[EventSource]) -> list[dict[str, str | int]]:
    """Return ``{"file", "size", "sha256"}`` of every file that the sources name, each file once."""
    files = {path.resolve(): path for source in sources for path in files_of(source)}
    return [{"file": str(path), "size": path.stat().st_size, "sha256": _sha256(path)} for path in files.values()]


def _sha256(path: Path) -> str:
    with _damage(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Reading: one file after another, one step after another


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    """Open the TTree or RNTuple ``name`` of a file."""
    with _checked(path) as (file, classes):
        key = name.partition(";")[0].strip("/")
        trees = [tree for tree, kind in classes.items() if kind in TREES]
        if key not in trees:
            found = f"{name!r} is a {classes[key]}, no tree" if key in classes else f"no tree {name!r}"
            raise InvalidEvents(
                f"{path}: {found}; {did_you_mean(key, trees) if trees else 'the file has no trees at all'}"
            )
        with _damage(path):
            tree = file[name.strip("/")]
        yield tree


@contextmanager
def _checked(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """Open a file and give it with the classes of its objects, after a look at the header, which has its length."""
    with _damage(path), path.open("rb") as raw:
        header = raw.read(20)
    size = path.stat().st_size
    if not header.startswith(b"root"):
        raise InvalidEvents(f"{path}: not a ROOT file, or an empty one ({size} bytes); make it again or name another")
    end = size + 1  # of a file too short for its header
    if len(header) == 20:
        version = int.from_bytes(header[4:8], "big")
        (end,) = struct.unpack_from(">q" if version >= 1_000_000 else ">i", header, 12)
    if size < end:
        raise InvalidEvents(f"{path}: truncated, the file ends after {size} bytes; copy it or make it again")
    with _damage(path):
        file = uproot.open({str(path): None})
        classes = file.classnames(cycle=False)
    with file:
        yield file, classes


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what reading a file raises, any kind of error where the file is damaged, into one line with its name."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidEvents(
            f"{path}: cannot be read ({_line(error)}); check its permissions, or make it again if it is damaged"
        ) from error


def _selected(
    source: EventSource, expressions: Sequence[str], path: Path, tree: Any
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64], int]]:
    """Yield the selected features and weights of each step, and how many events it had before the selection."""
    where = f"{path}: tree {source.tree!r}"
    wanted = [*expressions, source.weight or "1"]
    functions = [compiled(text, path, source.tree, tree) for text in wanted]
    used = {name for _, names in functions for name in names}
    select, tested = compiled(source.selection or "True", path, source.tree, tree)
    infinite = [0] * len(wanted)
    kept = 0
    for step, n in _steps(tree, used | tested, path):
        branches = {name: _widened(array, f"{where}: branch {name!r}") for name, array in step.items()}
        n_kept = n
        if source.selection is not None:
            label = f"{where}: selection {source.selection!r}"
            mask = _numbers(select, branches, n, label)
            if mask.dtype.kind == "f":
                raise InvalidEvents(f"{label} is no condition; compare it with a number")
            branches = {name: branches[name][mask != 0] for name in used}
            n_kept = int(np.count_nonzero(mask))
        x = np.empty((n_kept, len(expressions)), dtype=np.float32)
        w = np.empty(n_kept)
        columns = [*x.T, w]
        for i, (text, (function, _)) in enumerate(zip(wanted, functions, strict=True)):
            with np.errstate(over="ignore"):  # beyond float32 is infinite, and counted
                columns[i][:] = _numbers(function, branches, n_kept, f"{where}: {text!r}")
            infinite[i] += n_kept - int(np.count_nonzero(np.isfinite(columns[i])))
        kept += n_kept
        yield x, w, n
    for i, text in enumerate(wanted):
        if infinite[i]:
            kind = "feature" if i < len(expressions) else "weight"
            raise InvalidEvents(
                f"{where}: {kind} {text!r} is not finite for {infinite[i]} of {kept} selected events; "
                "select them away or change the expression"
            )


def _steps(tree: Any, names: Collection[str], path: Path) -> Iterator[tuple[dict[str, ak.Array], int]]:
    """Yield the named branches a step at a time, with the number of events."""
    if tree.num_entries and not names:
        yield {}, tree.num_entries
    elif tree.num_entries:
        with _damage(path):
            for step in tree.iterate(sorted(names), step_size=STEP, library="ak"):
                yield {name: step[name] for name in names}, len(step)


def _widened(array: ak.Array, where: str) -> ak.Array:
    """Return a branch in double precision or 64-bit integers or as truth values, its fixed-size arrays as vectors."""
    layout = array.layout
    while (layout.is_list or layout.is_option or layout.is_indexed) and layout.parameter("__array__") is None:
        layout = layout.content
    if not (layout.is_numpy and layout.dtype.kind in "biuf" and layout.parameter("__array__") is None):
        raise InvalidEvents(f"{where} holds {array.type.content}, not numbers; use another branch")
    if layout.dtype.kind != "b":
        array = ak.values_astype(array, np.float64 if layout.dtype.kind == "f" else np.int64)
    return ak.from_regular(array, axis=None)


def _numbers(function: Function, branches: Branches, n: int, where: str) -> NDArray[Any]:
    """Evaluate an expression to one number per event, shape ``(n,)``; what is missing is nan, or false."""
    try:
        with np.errstate(all="ignore"):
            value = function(branches)
        if isinstance(value, ak.Array) and value.ndim == 1 and len(value) == n:
            missing = False if "bool" in str(value.type) else np.nan
            value = np.asarray(ak.to_numpy(ak.fill_none(value, missing)))
        elif getattr(value, "ndim", 0) == 0:
            value = np.full(n, value)
    except IndexError as error:
        raise InvalidEvents(
            f"{where} asks for an entry that some event has not; select events that have it, as in 'num(x) >= 1'"
        ) from error
    except InvalidEvents as error:
        raise InvalidEvents(f"{where}: {error}") from None
    except (ArithmeticError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError) as error:
        raise InvalidEvents(f"{where} cannot be evaluated ({_line(error)}); correct the expression") from error
    if isinstance(value, ak.Array):
        raise InvalidEvents(f"{where} is not one number per event but {value.type}; reduce it, as in x[:, 0] or max(x)")
    if value.dtype.kind not in "biuf":
        raise InvalidEvents(f"{where} is {value.dtype}, not one number per event; correct the expression")
    return cast(NDArray[Any], value)


def _line(error: Exception) -> str:
    """Return another library's error as part of one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}{'...' if len(text) > 120 else ''}"
