"""Event sources to events: selection, weight and features evaluated a step of a file at a time."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from neyman.events import Events, EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs.aliases import names_used
from neyman.inputs.expressions import ENTRY, Expression, parsed
from neyman.inputs.files import files_of, opened_tree
from neyman.inputs.operators import kind_of
from neyman.inputs.parquet import is_table
from neyman.inputs.places import size_of
from neyman.inputs.reader import Tree

__all__ = ["check", "passing", "read", "read_together"]


def __dir__() -> list[str]:
    return __all__


FIRST = 2000  # events of a file that every expression is tried on
STEP = 16_000_000  # bytes of the branches read at once; the temporaries of the expressions take a few times as much


def read(
    source: EventSource,
    expressions: Sequence[str],
    *,
    progress: bool = False,
    allow_empty: bool = False,
    step: int = STEP,
) -> Events:
    """Read the selected events of a source, a step at a time, so that files may be larger than memory.

    The selection applies before the other expressions see an event: ``jet_pt[:, 0]`` is safe behind ``njet >= 1``.

    Args:
        source: files, tree, weight and selection.
        expressions: the ``d`` features.
        progress: whether to draw a bar on standard error.
        allow_empty: whether no event at all is a legal answer, as it is for data.
        step: how much of the branches is read at once, in bytes.

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
    [events] = read_together([source], expressions, progress=progress, allow_empty=allow_empty, step=step)
    return events


def read_together(
    sources: Sequence[EventSource],
    expressions: Sequence[str],
    *,
    progress: bool = False,
    allow_empty: bool = False,
    step: int = STEP,
) -> list[Events]:
    """Read sources that differ in their weight alone, in one pass over the files.

    Args:
        sources: one or more, the same but for their weight.
        expressions: the ``d`` features.
        progress: whether to draw a bar on standard error.
        allow_empty: whether no event at all is a legal answer.
        step: how much of the branches is read at once, in bytes.

    Returns:
        The selected events of each source. All share one array of features.

    Raises:
        InvalidEvents: as :func:`read`; where the weight of one source is to blame, its ``source`` is that.

    Example:
        >>> import tempfile, uproot
        >>> from neyman.inputs.sources import read_together
        >>> from neyman.events import EventSource
        >>> with tempfile.TemporaryDirectory() as folder, uproot.recreate(f"{folder}/signal.root") as file:
        ...     _ = file.mktree("nominal", {"m": "float32", "w": "float32", "w_up": "float32"})
        ...     file["nominal"].extend({"m": [91.0, 125.0], "w": [0.5, 0.5], "w_up": [0.5, 0.625]})
        ...     sources = [EventSource((f"{folder}/*.root",), "nominal", weight) for weight in ("w", "w_up")]
        ...     nominal, up = read_together(sources, ["m"])
        >>> up.features is nominal.features, up.weights
        (True, array([0.5  , 0.625]))
    """
    source = sources[0]
    files = files_of(source)
    blocks = [np.empty((0, len(expressions)), dtype=np.float32)]
    weights = [np.empty((len(sources), 0))]
    total = stored = 0
    sizes = {path: size_of(path) if progress else 0 for path in files}
    with tqdm(
        total=sum(sizes.values()), unit="B", unit_scale=True, desc=source.tree, file=sys.stderr, disable=not progress
    ) as bar:
        for path in files:
            with opened_tree(path, source.tree) as tree:
                for x, w, n in _selected(sources, expressions, path, tree, step, source.entries):
                    blocks.append(x)
                    weights.append(w)
                    bar.update(sizes[path] * n // tree.entries)
                    total += n
                stored += tree.entries
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    where = _where(f"{files[0]}{more}", source.tree)
    if stored and source.entries and not total:
        raise InvalidEvents(f"{where} has {stored} entries, none {_range(source.entries)}; change the range")
    if total == 0 and not allow_empty:
        raise InvalidEvents(f"{where} has no events; name another tree or file")
    if not sum(map(len, blocks)) and not allow_empty:
        raise InvalidEvents(f"{where}: selection {source.selection!r} keeps none of {total} events; loosen it")
    features = np.concatenate(blocks)
    return [Events(features, np.concatenate([w[i] for w in weights])) for i in range(len(sources))]


def check(source: EventSource, expressions: Sequence[str], others: Sequence[EventSource] = ()) -> int:
    """Check that files, tree and branches exist, and evaluate all expressions on the first events of each file.

    Args:
        source: files, tree, weight and selection.
        expressions: the features.
        others: sources that differ from it in their weight alone.

    Returns:
        The number of events before the selection.

    Raises:
        InvalidEvents: if something is missing or wrong, as :func:`read_together`. A selection that keeps none of the
            first events is not.
    """
    for name, text in source.aliases:  # those that nothing uses may name branches of other trees
        names = names_used([text], {}) - (set() if text.replace(".", "").isidentifier() else {text.strip()})
        parsed(text, names, f"tree {source.tree!r}: alias {name!r}")
    total = 0
    for path in files_of(source):
        with opened_tree(path, source.tree) as tree:
            start, stop = source.entries or (0, None)
            first = (start, min(start + FIRST, tree.entries if stop is None else stop))
            for _ in _selected((source, *others), expressions, path, tree, STEP, first):
                pass
            total += tree.entries
    return total


def passing(source: EventSource, conditions: Sequence[str], *, step: int = STEP) -> list[int]:
    """Return how many events a source has, and how many are left after each of some conditions, one after another.

    Args:
        source: files and tree.
        conditions: those whose combination is its selection.
        step: how much of the branches is read at once, in bytes.

    Returns:
        The number of events, then one number after each condition.

    Raises:
        InvalidEvents: if a file, tree or branch cannot be read, or a condition cannot be evaluated.
    """
    left = np.zeros(len(conditions) + 1, dtype=np.int64)
    for path in files_of(source):
        with opened_tree(path, source.tree) as tree:
            where = _where(path, source.tree)
            cuts = [_parsed(text, source, tree, where) for text in conditions]
            used = frozenset().union(*(cut.branches for cut in cuts))
            for branches, n in _steps(tree, used, step, where, source.entries):
                of_aliases: dict[str, Any] = {}
                masks = [cut.condition(branches, n, f"{where}: condition {cut.text!r}", of_aliases) for cut in cuts]
                left += np.array([n, *np.logical_and.accumulate(masks).sum(axis=1)] if masks else [n])
    return [int(n) for n in left]


def _where(file: str, tree: str) -> str:
    """Return what messages begin with: the file, and the tree where there can be several."""
    return f"{file}: tree {tree!r}" if not is_table(file) else file


def _parsed(text: str, source: EventSource, tree: Tree, where: str) -> Expression:
    return parsed(text, tree.branches, where, aliases=dict(source.aliases), branches=dict(source.branches))


def _selected(
    sources: Sequence[EventSource],
    expressions: Sequence[str],
    path: str,
    tree: Tree,
    size: int,
    entries: tuple[int, int | None] | None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64], int]]:
    """Yield of each step the selected features, the weights of each source, and the events before the selection."""
    source, where = sources[0], _where(path, sources[0].tree)
    wanted = [_parsed(text, source, tree, where) for text in expressions]
    for one in sources:
        with _blamed(one):
            wanted.append(_parsed(one.weight or "1", source, tree, where))
    owners = [None] * len(expressions) + [*sources]
    used = frozenset().union(*(expression.branches for expression in wanted))
    selection = _parsed(source.selection or "True", source, tree, where)
    missing, infinite = [0] * len(wanted), [0] * len(wanted)
    kept = 0
    for branches, n in _steps(tree, used | selection.branches, size, where, entries):
        n_kept = n
        if source.selection is not None:
            mask = selection.condition(branches, n, f"{where}: selection {source.selection!r}")
            branches = {name: branches[name][mask] for name in used}
            n_kept = int(np.count_nonzero(mask))
        x = np.empty((n_kept, len(expressions)), dtype=np.float32)
        w = np.empty((len(sources), n_kept))
        of_aliases: dict[str, Any] = {}
        for i, (expression, column, owner) in enumerate(zip(wanted, [*x.T, *w], owners, strict=True)):
            with _blamed(owner):
                values, absent = expression.numbers(branches, n_kept, f"{where}: {expression.text!r}", of_aliases)
            with np.errstate(over="ignore"):  # beyond float32 is infinite, and counted
                column[:] = values
            missing[i] += int(np.count_nonzero(absent))
            infinite[i] += n_kept - int(np.count_nonzero(np.isfinite(column)))
        kept += n_kept
        yield x, w, n
    for i, (expression, owner) in enumerate(zip(wanted, owners, strict=True)):
        label = f"{where}: {'weight' if owner else 'feature'} {expression.text!r}"
        with _blamed(owner):
            if missing[i]:
                raise InvalidEvents(
                    f"{label} needs an element that {missing[i]} of {kept} selected events have not; select events that"
                    " have it, as in num(x) >= 2, or write where(num(x) >= 2, x[:, 1], 0)"
                )
            if infinite[i]:
                raise InvalidEvents(
                    f"{label} is not finite for {infinite[i]} of {kept} selected events; select them away or change the"
                    " expression (max and min of no element are infinite)"
                )


@contextmanager
def _blamed(source: EventSource | None) -> Iterator[None]:
    """Note in errors which source is to blame."""
    try:
        yield
    except InvalidEvents as error:
        error.source = source
        raise


def _steps(
    tree: Tree, names: Collection[str], size: int, where: str, entries: tuple[int, int | None] | None
) -> Iterator[tuple[dict[str, ak.Array], int]]:
    """Yield the branches of a step and the number of its events; without a branch, that of all events."""
    start, stop = entries or (0, None)
    stop = tree.entries if stop is None else min(stop, tree.entries)
    numbered = ENTRY in names and ENTRY not in tree.branches
    stored = [name for name in names if name != ENTRY or not numbered]
    if start < stop and not stored:
        yield {ENTRY: ak.Array(np.arange(start, stop))} if numbered else {}, stop - start
    elif start < stop:
        for step in tree.steps(stored, size, start, stop):
            branches = {name: _widened(array, f"{where}: branch {name!r}") for name, array in step.items()}
            n = len(next(iter(branches.values())))
            if numbered:
                branches[ENTRY] = ak.Array(np.arange(start, start + n))
            start += n
            yield branches, n


def _range(entries: tuple[int, int | None]) -> str:
    return f"from {entries[0]}" if entries[1] is None else f"{entries[0]} to {entries[1]}"


def _widened(array: ak.Array, where: str) -> ak.Array:
    """Return a branch in double precision, 64-bit integers, truth values or text, its fixed-size arrays as vectors.

    Unsigned numbers stay unsigned where they have no room in 64-bit integers with a sign.
    """
    if kind_of(array) == "s":
        return array
    layout = array.layout
    while (layout.is_list or layout.is_option or layout.is_indexed) and layout.parameter("__array__") is None:
        layout = layout.content
    if not (layout.is_numpy and layout.dtype.kind in "biuf" and layout.parameter("__array__") is None):
        raise InvalidEvents(f"{where} holds {array.type.content}, not numbers; use another branch")
    large = layout.dtype == np.uint64 and len(layout.data) > 0 and layout.data.max() > np.iinfo(np.int64).max
    if layout.dtype.kind != "b" and not large:
        array = ak.values_astype(array, np.float64 if layout.dtype.kind == "f" else np.int64)
    return ak.from_regular(array, axis=None)
