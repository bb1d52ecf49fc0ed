"""Event sources to events: files found, and selection, weight and features evaluated a step of a file at a time."""

from __future__ import annotations

import glob
import hashlib
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neyman.events import Events, EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs.expressions import parsed
from neyman.inputs.reader import Open, Tree, readable
from neyman.inputs.root import open_root
from neyman.support.messages import did_you_mean, near

__all__ = ["READERS", "check", "files_of", "only_tree", "provenance", "read", "tree_of"]


def __dir__() -> list[str]:
    return __all__


READERS: dict[str, Open] = {".root": open_root}
"""What opens files of each suffix; a file of any other suffix is taken for a ROOT file."""

STEP = "16 MB"  # of the branches read at once; the temporaries of the expressions take a few times as much


def read(
    source: EventSource,
    expressions: Sequence[str],
    *,
    progress: bool = False,
    allow_empty: bool = False,
    step: str = STEP,
) -> Events:
    """Read the selected events of a source, a step at a time, so that files may be larger than memory.

    The selection applies before the other expressions see an event: ``jet_pt[:, 0]`` is safe behind ``njet >= 1``.

    Args:
        source: files, tree, weight and selection.
        expressions: the ``d`` features.
        progress: whether to draw a bar on standard error.
        allow_empty: whether no event at all is a legal answer, as it is for data.
        step: how much of the branches is read at once.

    Returns:
        The ``N`` selected events in the order of the files, features of shape ``(N, d)``.

    Raises:
        InvalidEvents: if a file, tree or branch is missing or cannot be read, an expression is wrong or not finite, or
            no event is selected.

    Example:
        >>> import tempfile, uproot
        >>> from neyman.inputs.sources import read
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
                for x, w, n in _selected(source, expressions, path, tree, step):
                    blocks.append(x)
                    weights.append(w)
                    bar.update(path.stat().st_size * n // tree.entries)
                total += tree.entries
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
                    parsed(text, tree.branches, f"{path}: tree {source.tree!r}")
            total += tree.entries
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
    if not path.exists():
        for suffix in READERS:
            file, _, tree = str(path).rpartition(f"{suffix}:")
            if file and tree:
                return Path(f"{file}{suffix}"), tree
    return path, None


def only_tree(path: Path) -> str:
    """Return the name of a file's tree.

    Raises:
        InvalidEvents: if the file cannot be read, or has no tree or several.
    """
    files_of(EventSource((str(path),), ""))
    with READERS.get(path.suffix, open_root)(path) as file:
        trees = list(file.trees)
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
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Reading: one file after another, one step after another


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Tree]:
    with READERS.get(path.suffix, open_root)(path) as file:
        yield file.tree(name)


def _selected(
    source: EventSource, expressions: Sequence[str], path: Path, tree: Tree, size: str
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64], int]]:
    """Yield the selected features and weights of each step, and how many events it had before the selection."""
    where = f"{path}: tree {source.tree!r}"
    known = tree.branches
    wanted = [parsed(text, known, where) for text in (*expressions, source.weight or "1")]
    used = frozenset().union(*(expression.branches for expression in wanted))
    selection = parsed(source.selection or "True", known, where)
    infinite = [0] * len(wanted)
    kept = 0
    for branches, n in _steps(tree, used | selection.branches, size, where):
        n_kept = n
        if source.selection is not None:
            label = f"{where}: selection {source.selection!r}"
            mask = selection.numbers(branches, n, label)
            if mask.dtype.kind == "f":
                raise InvalidEvents(f"{label} is no condition; compare it with a number")
            branches = {name: branches[name][mask != 0] for name in used}
            n_kept = int(np.count_nonzero(mask))
        x = np.empty((n_kept, len(expressions)), dtype=np.float32)
        w = np.empty(n_kept)
        for i, (expression, column) in enumerate(zip(wanted, [*x.T, w], strict=True)):
            with np.errstate(over="ignore"):  # beyond float32 is infinite, and counted
                column[:] = expression.numbers(branches, n_kept, f"{where}: {expression.text!r}")
            infinite[i] += n_kept - int(np.count_nonzero(np.isfinite(column)))
        kept += n_kept
        yield x, w, n
    for i, expression in enumerate(wanted):
        if infinite[i]:
            kind = "feature" if i < len(expressions) else "weight"
            raise InvalidEvents(
                f"{where}: {kind} {expression.text!r} is not finite for {infinite[i]} of {kept} selected events; "
                "select them away or change the expression"
            )


def _steps(tree: Tree, names: Collection[str], size: str, where: str) -> Iterator[tuple[dict[str, ak.Array], int]]:
    """Yield the branches of a step and the number of its events; without a branch, that of all events."""
    if tree.entries and not names:
        yield {}, tree.entries
    elif tree.entries:
        for step in tree.steps(names, size):
            branches = {name: _widened(array, f"{where}: branch {name!r}") for name, array in step.items()}
            yield branches, len(next(iter(branches.values())))


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
