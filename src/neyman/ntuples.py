"""ROOT files to events: sources with a selection, a weight and features that are expressions of the branches.

Expressions are Python's, of branches and of a fixed table of functions: ``jet_pt[:, 0] / 100``, ``log(pt4l)``,
``ak.num(jet_pt)``, ``max(jet_pt[abs(jet_eta) < 2.5])``. They are evaluated here and not by uproot, because uproot
evaluates expressions before it applies a cut, knows no cut on an RNTuple and no function that reduces a vector, and
compiles what it is given, while a document that somebody sent must not run code. As in ROOT's ``TTree::Draw`` all
arithmetic is in double precision or 64-bit integers, whatever the branch's type, so that ``nvtx - 10`` of an unsigned
branch can be negative.
"""

from __future__ import annotations

import ast
import difflib
import glob
import hashlib
import inspect
import operator
import struct
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray
from tqdm import tqdm

from neyman.ensemble import Events
from neyman.exceptions import InvalidEvents

__all__ = ["EventSource", "check", "files_of", "provenance", "read"]


def __dir__() -> list[str]:
    return __all__


STEP = "16 MB"  # of the branches read at once; the temporaries of the expressions take a few times as much
TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")

Branches = Mapping[str, ak.Array]
Function = Callable[[Branches], Any]


@dataclass(frozen=True)
class EventSource:
    """Where the events of a sample come from.

    Args:
        files: paths or globs of ROOT files.
        tree: the name of the TTree or RNTuple in each, with its folders: ``"folder/nominal"``.
        weight: an expression for the event weight; ``None`` means one each.
        selection: an expression that is true for the events to keep; ``None`` means all.

    Example:
        >>> from neyman.ntuples import EventSource
        >>> EventSource(("signal_*.root",), "nominal", weight="w * pileup", selection="njet >= 2").tree
        'nominal'
    """

    files: tuple[str, ...]
    tree: str
    weight: str | None = None
    selection: str | None = None


def read(source: EventSource, expressions: Sequence[str], *, progress: bool = False) -> Events:
    """Read the selected events of a source, a step at a time, so that files may be larger than memory.

    The selection applies before the other expressions see an event: ``jet_pt[:, 0]`` is safe behind ``njet >= 1``.

    Args:
        source: files, tree, weight and selection.
        expressions: the ``d`` features.
        progress: whether to draw a bar on standard error.

    Returns:
        The ``N`` selected events in the order of the files, features of shape ``(N, d)``.

    Raises:
        InvalidEvents: if a file, tree or branch is missing or cannot be read, an expression is wrong or not finite, or
            no event is selected.

    Example:
        >>> import tempfile, uproot
        >>> from neyman.ntuples import EventSource, read
        >>> with tempfile.TemporaryDirectory() as folder, uproot.recreate(f"{folder}/signal.root") as file:
        ...     _ = file.mktree("nominal", {"m": "float32", "w": "float32"})
        ...     file["nominal"].extend({"m": [91.0, 125.0, 126.0], "w": [0.5, 0.5, 1.0]})
        ...     read(EventSource((f"{folder}/*.root",), "nominal", "2 * w", "m > 100"), ["m / 100"]).weights
        array([1., 2.])
    """
    files = files_of(source)
    blocks: list[NDArray[np.float32]] = []
    weights: list[NDArray[np.float64]] = []
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
    if total == 0:
        raise InvalidEvents(f"{where} has no events; name another tree or file")
    if not sum(map(len, weights)):
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
                    _compiled(text, path, source.tree, tree)
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
            nearby = [other.name for other in path.parent.glob("*")]
            raise InvalidEvents(f"{path}: no such file{_near(path.name, nearby, show=0) or '; check the path'}")
        for one in found:
            files.setdefault(one.resolve(), one)
    if not files:
        raise InvalidEvents(f"the events of tree {source.tree!r} have no files; name at least one")
    return list(files.values())


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
    """Open the TTree or RNTuple ``name`` of a file, after a look at the header, which has the file's length."""
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
        key = name.partition(";")[0].strip("/")
        trees = [tree for tree, kind in classes.items() if kind in TREES]
        if key not in trees:
            found = f"{name!r} is a {classes[key]}, no tree" if key in classes else f"no tree {name!r}"
            raise InvalidEvents(f"{path}: {found}{_near(key, trees) or '; the file has no trees at all'}")
        with _damage(path):
            tree = file[name.strip("/")]
        yield tree


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
    functions = [_compiled(text, path, source.tree, tree) for text in wanted]
    used = {name for _, names in functions for name in names}
    select, tested = _compiled(source.selection or "True", path, source.tree, tree)
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


def _near(name: str, names: Collection[str], show: int = 12) -> str:
    """Return the near misses of a name as the end of a message, or the first of all names, or nothing."""
    lower = {other.lower(): other for other in names}
    if close := [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    if names and show:
        return f"; there is {', '.join(sorted(names)[:show])}{', ...' if len(names) > show else ''}"
    return ""


def _line(error: Exception) -> str:
    """Return another library's error as part of one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}{'...' if len(text) > 120 else ''}"


# --- Expressions: text to a function of branches, by a walk over Python's own syntax tree


def _compiled(text: str, path: Path, name: str, tree: Any) -> tuple[Function, set[str]]:
    """Return an expression as a function of the branches, and the names of those it uses."""
    keys = tree.keys()
    names: set[str] = set()
    try:
        if text.strip() in keys:  # whatever its name would mean in Python
            names.add(text.strip())
            return operator.itemgetter(text.strip()), names
        node = ast.parse(" ".join(text.split()), mode="eval").body
        return _compile(node, set(keys), names), names
    except InvalidEvents as error:
        raise InvalidEvents(f"{path}: tree {name!r}: {text!r}: {error}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidEvents(
            f"{path}: tree {name!r}: {text!r} is no expression; write Python, with &, |, ~ for and, or, not and "
            "where(condition, a, b) for a choice"
        ) from error


def _compile(node: ast.expr, keys: Collection[str], names: set[str]) -> Function:
    """Compile one node, adding to ``names`` the branches it uses; what is not here does not exist in the language."""
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return _constant(value)
        case ast.Call(func=ast.Name(id="get"), args=[ast.Constant(value=str() as name)], keywords=[]):
            return _branch(name, keys, names)
        case ast.Name() | ast.Attribute() if dotted := _dotted(node):
            return _branch(dotted, keys, names)
        case ast.UnaryOp() if type(node.op) in _UNARY:
            unary, operand = _UNARY[type(node.op)], _compile(node.operand, keys, names)
            return lambda branches: unary(operand(branches))
        case ast.BinOp() if type(node.op) in _BINARY:
            return _binary(_BINARY[type(node.op)], node.left, node.right, keys, names)
        case ast.Compare(ops=[comparison], comparators=[right]) if type(comparison) in _COMPARISONS:
            bare = [
                side
                for side, inside in (
                    (node.left, node.left.col_offset > node.col_offset),
                    (right, (right.end_col_offset or 0) < (node.end_col_offset or 0)),
                )
                if isinstance(side, ast.BinOp) and isinstance(side.op, ast.BitAnd | ast.BitOr) and not inside
            ]
            if not bare:  # 'a > 1 & b' is 'a > (1 & b)' to Python, hardly what was meant
                return _binary(_COMPARISONS[type(comparison)], node.left, right, keys, names)
        case ast.Call():
            return _call(node, keys, names)
        case ast.Subscript():
            return _subscript(node, keys, names)
    if isinstance(node, ast.Compare | ast.BoolOp) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
        raise InvalidEvents("conditions are combined with &, |, ~, each in parentheses: (a > 1) & (b < 2)")
    raise InvalidEvents(f"{ast.unparse(node)!r} is not possible; use branches, numbers, operators and functions")


def _constant(value: Any) -> Function:
    return lambda branches: value


def _branch(name: str, keys: Collection[str], names: set[str]) -> Function:
    if name in keys:
        names.add(name)
        return operator.itemgetter(name)
    if _without_module(name) == "pi":
        return _constant(np.pi)
    raise InvalidEvents(f"no branch {name!r}{_near(name, keys)}")


def _binary(
    function: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr, keys: Collection[str], names: set[str]
) -> Function:
    a, b = _compile(left, keys, names), _compile(right, keys, names)
    return lambda branches: function(a(branches), b(branches))


def _call(node: ast.Call, keys: Collection[str], names: set[str]) -> Function:
    name = _without_module(_dotted(node.func) or ast.unparse(node.func))
    if name not in _FUNCTIONS:
        raise InvalidEvents(f"no function {name!r}{_near(name, _FUNCTIONS, show=100)}")
    function, arguments = _FUNCTIONS[name], [_compile(argument, keys, names) for argument in node.args]
    options = {}
    for keyword in node.keywords:
        if keyword.arg not in ("axis", "ascending"):
            raise InvalidEvents(f"{name} takes no option {keyword.arg!r}; the options are axis and ascending")
        options[keyword.arg] = _literal(keyword.value)
    return lambda branches: function(*(argument(branches) for argument in arguments), **options)


def _subscript(node: ast.Subscript, keys: Collection[str], names: set[str]) -> Function:
    """Compile ``x[:, 0]``, ``x[:, :2]`` and ``x[y > 0]``: an index looks inside an event and never chooses events."""
    text, value = ast.unparse(node.value), _compile(node.value, keys, names)
    wrong = f"the first index runs over the events; write {text}[:, 0], or {text}[condition] with one per entry"
    match node.slice:
        case ast.Tuple(elts=[ast.Slice(lower=None, upper=None, step=None), *rest]):
            index = _constant((slice(None), *map(_index, rest)))
        case ast.Slice() | ast.Tuple() | ast.Constant():
            raise InvalidEvents(wrong)
        case _:
            index = _compile(node.slice, keys, names)

    def subscript(branches: Branches) -> Any:
        x, i = value(branches), index(branches)
        if getattr(x, "ndim", 0) < 2:
            raise InvalidEvents(f"{text} is one number per event and takes no index")
        if not isinstance(i, tuple) and getattr(i, "ndim", 0) < 2:
            raise InvalidEvents(wrong)
        return x[i]

    return subscript


def _index(node: ast.expr) -> int | slice:
    if isinstance(node, ast.Slice):
        return slice(*(None if part is None else _index(part) for part in (node.lower, node.upper, node.step)))
    return _literal(node)


def _literal(node: ast.expr) -> int:
    try:
        return operator.index(ast.literal_eval(node))
    except (TypeError, ValueError):
        raise InvalidEvents(f"{ast.unparse(node)!r} is no whole number; write one, as in x[:, 0]") from None


def _dotted(node: ast.expr) -> str | None:
    """Return ``"a.b"`` for the attribute ``a.b``, or nothing where the first part is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def _without_module(name: str) -> str:
    module, _, rest = name.rpartition(".")
    return rest if module in ("ak", "awkward", "math", "np", "numpy") else name


def _within(function: Callable[..., Any], axis: int = -1) -> Callable[..., Any]:
    """Return an awkward function that stays inside the events: never axis 0, which is the other events of the step."""
    signature = inspect.signature(function)

    def within(*arguments: Any, **options: Any) -> Any:
        call = signature.bind(*arguments, **options)
        x, chosen = call.args[0], call.arguments.setdefault("axis", axis)
        if not isinstance(x, ak.Array) or x.ndim < 2:
            raise InvalidEvents(f"{function.__name__} needs a vector, not one number per event; use the branch itself")
        if chosen % x.ndim == 0:
            raise InvalidEvents(f"{function.__name__} cannot run over events; use axis=1")
        return function(*call.args, **call.kwargs)

    return within


def _extreme(reduction: Callable[..., Any], of_two: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return ``min`` or ``max``: of each event's entries, nan without any, or of two expressions."""

    def extreme(x: Any, *others: Any, axis: int = -1) -> Any:
        if not others:
            return ak.fill_none(_within(reduction)(x, axis=axis), np.nan)
        for other in others:
            x = of_two(x, other)
        return x

    return extreme


def _power(a: Any, b: Any) -> Any:
    return a ** (float(b) if isinstance(b, int) else 1.0 * b)  # integer powers overflow, and cannot be negative


# The factor 1 makes an integer of a truth value: numpy's True + True is True, and counts nothing.
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: lambda a: 1 * a,
    ast.USub: lambda a: -1 * a,
    ast.Invert: np.invert,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: 1 * a + b,
    ast.Sub: lambda a, b: 1 * a - b,
    ast.Mult: lambda a, b: 1 * a * b,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: 1 * a // b,
    ast.Mod: lambda a, b: 1 * a % b,
    ast.Pow: _power,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: np.left_shift,
    ast.RShift: operator.rshift,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_NUMPY = """absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil cos cosh exp exp2 expm1 fabs floor
fmod hypot isfinite isinf isnan log log10 log1p log2 logical_and logical_not logical_or maximum minimum rint sign sin
sinh sqrt square tan tanh trunc"""
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in _NUMPY.split()},
    "abs": np.absolute,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "atanh": np.arctanh,
    "pow": _power,
    "power": _power,
    "round": np.rint,
    "where": ak.where,
    "fill_none": ak.fill_none,
    **{f.__name__: _within(f) for f in (ak.all, ak.any, ak.count, ak.mean, ak.prod, ak.std, ak.sum, ak.var)},
    **{f.__name__: _within(f) for f in (ak.argsort, ak.sort)},
    **{f.__name__: _within(f, axis=1) for f in (ak.firsts, ak.num, ak.pad_none)},
    "max": _extreme(ak.max, np.maximum),
    "min": _extreme(ak.min, np.minimum),
}
