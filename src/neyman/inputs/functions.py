"""The functions that an expression may use, by name."""

from __future__ import annotations

import ast
import inspect
import operator
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np

from neyman.exceptions import InvalidEvents
from neyman.inputs.kinematics import delta_phi, delta_r, mass
from neyman.inputs.operators import ARITHMETIC, aligned, condition, inverted, joined, kind_of, number
from neyman.inputs.subscripts import taken

__all__ = ["CONSTANTS", "FUNCTIONS", "OTHER_NAMES", "POSITIONS", "extreme"]


def __dir__() -> list[str]:
    return __all__


Function = Callable[..., Any]


def _elementwise(function: Function, name: str = "") -> Function:
    """Return a function of numbers, entry by entry; of what is missing it is missing."""
    name = name or function.__name__
    wanted = function.nin if isinstance(function, np.ufunc) else len(inspect.signature(function).parameters)

    def applied(*arguments: Any) -> Any:
        if len(arguments) != wanted:
            raise InvalidEvents(f"{name} takes {wanted} arguments, not {len(arguments)}")
        return function(*aligned(*map(number, arguments)))

    return applied


def _within(function: Function, axis: int = -1, prepare: Function = number, **always: Any) -> Function:
    """Return an awkward function that stays inside the events: never axis 0, which is the other events of the step."""
    signature = inspect.signature(function)

    def within(*arguments: Any, **options: Any) -> Any:
        call = signature.bind(*arguments, **always, **options)
        if isinstance(call.arguments.get("weight"), int):  # numpy's second argument is the axis
            call.arguments["axis"] = call.arguments.pop("weight")
        x, chosen = call.args[0], call.arguments.setdefault("axis", axis)
        if not isinstance(x, ak.Array) or x.ndim < 2:
            raise InvalidEvents(f"{function.__name__} needs a vector, not one number per event; use the branch itself")
        if not isinstance(chosen, int) or chosen % x.ndim == 0:
            raise InvalidEvents(f"{function.__name__} cannot run over events; use axis=1")
        return function(prepare(x), *call.args[1:], **call.kwargs)

    return within


def extreme(reduction: Function, of_two: Function, *, identity: bool = True) -> Function:
    """Return ``min`` or ``max``: of each event's entries, or of two expressions.

    Args:
        reduction: awkward's function.
        of_two: numpy's.
        identity: whether that of no entries is +inf or -inf, so that ``max(x) < 30`` is true; otherwise it is missing.
    """
    of_conditions = ak.any if of_two is np.maximum else ak.all
    reduced = _within(reduction, mask_identity=not identity)

    def applied(x: Any, *others: Any, **options: Any) -> Any:
        if others:
            for other in others:
                x = of_two(*aligned(number(x), number(other)))
            return x
        if identity and kind_of(x) == "b":
            return _within(of_conditions, prepare=lambda x: x)(x, **options)
        if not identity or kind_of(x) != "i":
            return reduced(x, **options)
        largest = _within(ak.max)(abs(x), **options)
        if ak.max(largest, axis=None) is not None and ak.max(largest, axis=None) > 2**53:
            raise InvalidEvents(f"{reduction.__name__} of integers above 2^53 would round them; compare the entries")
        return reduced(ak.values_astype(x, np.float64), **options)

    return applied


def _flatten(x: Any) -> Any:
    """Return vectors of vectors as vectors, and vectors that have at most one entry as that entry."""
    if not isinstance(x, ak.Array) or x.ndim < 2:
        raise InvalidEvents("flatten needs a vector, not one number per event; use the branch itself")
    if x.ndim > 2:
        return ak.flatten(x, axis=2)
    if ak.any(ak.num(x, axis=1) > 1):
        raise InvalidEvents("flatten would mix the events, some of which have several entries; write x[:, 0] or sum(x)")
    return ak.firsts(x, axis=1)


def _where(chosen: Any, a: Any, b: Any) -> Any:
    """Return ``a`` where a condition is true and ``b`` elsewhere; only the chosen one may not be missing."""
    if kind_of(a) + kind_of(b) != "bb":
        a, b = number(a), number(b)
    return ak.where(*aligned(chosen, a, b))


def _bit(x: Any, n: Any) -> Any:
    """Return whether bit ``n`` of integers is set, counted from 0."""
    if kind_of(x) not in "bi" or not isinstance(n, int) or not 0 <= n < 64:
        raise InvalidEvents("bit needs integers and the number of a bit from 0 to 63, as in bit(jet_id, 1)")
    x = number(x)
    if isinstance(x, ak.Array):
        x = ak.values_astype(x, np.uint64)
    return condition(np.right_shift(x, np.uint64(n)) & np.uint64(1), "bit")


def _pad(x: Any, n: Any, **options: int) -> Any:
    if not isinstance(n, int):
        raise InvalidEvents("pad_none needs a whole number, as in pad_none(x, 2)")
    return _within(ak.pad_none, axis=1, prepare=lambda x: x)(x, n, **options)


def _connective(combine: Function) -> Function:
    def applied(a: Any, b: Any) -> Any:
        return joined(combine, condition(a, "an argument"), condition(b, "an argument"), bits=False, texts=("a", "b"))

    return applied


_NUMPY = """absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil cos cosh exp exp2 expm1 fabs floor
fmod hypot isfinite isinf isnan log log10 log1p log2 maximum minimum rint sign sin sinh sqrt square tan tanh
trunc"""
CONSTANTS: dict[str, float] = {"pi": np.pi}
FUNCTIONS: dict[str, Function] = {
    **{name: _elementwise(getattr(np, name)) for name in _NUMPY.split()},
    "abs": _elementwise(np.absolute),
    "acos": _elementwise(np.arccos),
    "acosh": _elementwise(np.arccosh),
    "asin": _elementwise(np.arcsin),
    "asinh": _elementwise(np.arcsinh),
    "atan": _elementwise(np.arctan),
    "atan2": _elementwise(np.arctan2),
    "atanh": _elementwise(np.arctanh),
    "ln": _elementwise(np.log),
    "pow": ARITHMETIC[ast.Pow],
    "power": ARITHMETIC[ast.Pow],
    "round": _elementwise(np.rint),
    "deltaphi": _elementwise(delta_phi, "deltaphi"),
    "deltaR": _elementwise(delta_r, "deltaR"),
    "mass": _elementwise(mass),
    "bit": _bit,
    "where": _where,
    "logical_and": _connective(operator.and_),
    "logical_or": _connective(operator.or_),
    "logical_not": lambda a: inverted(a, text="the argument of logical_not"),
    "fill_none": ak.fill_none,
    "flatten": _flatten,
    "take": taken,
    **{f.__name__: _within(f, prepare=lambda x: x) for f in (ak.all, ak.any)},
    **{f.__name__: _within(f) for f in (ak.count, ak.prod, ak.sum)},
    **{f.__name__: _within(f, mask_identity=True) for f in (ak.mean, ak.std, ak.var)},
    **{f.__name__: _within(f) for f in (ak.argmax, ak.argmin, ak.argsort, ak.sort)},
    **{f.__name__: _within(f, axis=1, prepare=lambda x: x) for f in (ak.firsts, ak.num)},
    "pad_none": _pad,
    "len": _within(ak.num, axis=1, prepare=lambda x: x),
    "max": extreme(ak.max, np.maximum),
    "min": extreme(ak.min, np.minimum),
}
POSITIONS = ("argmax", "argmin", "argsort")  # functions that say where something stands in a vector
OTHER_NAMES: dict[str, str] = {
    "DeltaR": "write deltaR(eta1, phi1, eta2, phi2); ROOT's DeltaR has the order eta1, eta2, phi1, phi2",
    "InvariantMass": "write mass(pt1, eta1, phi1, m1, pt2, eta2, phi2, m2)",
    "DeltaPhi": "write deltaphi(phi1, phi2)",
    "dphi": "write deltaphi(phi1, phi2)",
    "delta_phi": "write deltaphi(phi1, phi2)",
    "delta_r": "write deltaR(eta1, phi1, eta2, phi2)",
    "dR": "write deltaR(eta1, phi1, eta2, phi2)",
    "size": "write len(x)",
    "Length": "write len(x)",
    "count_nonzero": "write sum(condition)",
    "isin": "write (x == 1) | (x == 2)",
    "float": "all arithmetic is in double precision; leave it out",
    "double": "all arithmetic is in double precision; leave it out",
    "int": "write trunc(x)",
    "clip": "write max(min(x, upper), lower)",
    "median": "there is mean(x)",
}
"""What to write for functions of other names."""
