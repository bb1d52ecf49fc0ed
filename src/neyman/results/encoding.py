"""Values to JSON and back: each is restored as the type that its field is annotated with.

JSON has no numbers that are not finite: nan is written as ``null``, the infinities as the texts ``"Infinity"`` and
``"-Infinity"``. An array is a list, or a list of lists; where it has several axes and nothing in it, so that lists
would lose some, it is ``{"shape": [0, 3]}``.
"""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

__all__ = ["decoded", "encoded"]


def __dir__() -> list[str]:
    return __all__


_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}


def encoded(value: Any) -> Any:
    """Return a value as JSON types.

    Args:
        value: of texts, numbers, arrays, and tuples, lists, dictionaries and dataclasses of these.

    Example:
        >>> import numpy as np
        >>> encoded({"a": np.array([1.0, np.nan, -np.inf]), "b": np.empty((0, 3))})
        {'a': [1.0, None, '-Infinity'], 'b': {'shape': [0, 3]}}
    """
    if isinstance(value, np.ndarray):
        if value.size == 0 and value.ndim > 1:
            return {"shape": list(value.shape)}
        finite = value.dtype.kind != "f" or np.isfinite(value).all()
        return value.tolist() if finite else encoded(value.tolist())
    if isinstance(value, np.generic):
        return encoded(value.item())
    if isinstance(value, tuple | list):
        return [encoded(item) for item in value]
    if isinstance(value, dict):
        return {key: encoded(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {field.name: encoded(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def decoded(value: Any, hint: Any) -> Any:
    """Return JSON types as what an annotation says.

    Args:
        value: as :func:`encoded` gives it.
        hint: the annotation: text, truth value, whole number, number, array of a type, tuple, list or dictionary of
            such, a dataclass, a union, of which the first that fits is taken, or ``Any``: then null is nan.

    Raises:
        ValueError: if the value cannot be one; the message says what was expected, and what was found.

    Example:
        >>> decoded([1, "-Infinity"], tuple[float, ...])
        (1.0, -inf)
        >>> decoded([1.5], NDArray[np.int64])
        Traceback (most recent call last):
        ValueError: expected whole numbers, found [1.5]
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, args)
    if origin is np.ndarray:
        return _array(value, np.dtype(get_args(args[1])[0]))
    if origin in (tuple, list):
        return _sequence(value, origin, args)
    if origin is dict:
        return {key: decoded(item, args[1]) for key, item in _checked(value, dict, "names with values").items()}
    if dataclasses.is_dataclass(hint):
        return _dataclass(value, hint)
    if hint is Any:
        return _untyped(value)
    if hint is float:
        return _float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    known = {str: "a text", bool: "true or false", int: "a whole number", types.NoneType: "null"}
    if hint is int and isinstance(value, bool):
        raise ValueError(_unexpected(value, known[hint]))
    return _checked(value, hint, known[hint])


def _first_that_fits(value: Any, hints: tuple[Any, ...]) -> Any:
    reasons = []
    for hint in hints:
        try:
            return decoded(value, hint)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(reasons[-1])


def _array(value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    what = {"f": "numbers", "i": "whole numbers", "b": "truth values"}[dtype.kind]
    if isinstance(value, dict) and set(value) == {"shape"} and 0 in value["shape"]:
        return np.empty(value["shape"], dtype)
    try:
        found = np.asarray(_checked(value, list, what), dtype if dtype.kind == "f" else None)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(_unexpected(value, what)) from None
    if found.size == 0 or found.dtype == dtype:
        return found.astype(dtype)
    if found.dtype.kind == "f" and dtype.kind == "i" and np.array_equal(found, np.trunc(found)):
        return found.astype(dtype)
    raise ValueError(_unexpected(value, what))


def _sequence(value: Any, kind: type, hints: tuple[Any, ...]) -> Any:
    items = _checked(value, list, "a list")
    if kind is list or hints[-1] is Ellipsis:
        return kind(decoded(item, hints[0]) for item in items)
    if len(items) != len(hints):
        raise ValueError(_unexpected(value, f"a list of {len(hints)}"))
    return tuple(decoded(item, hint) for item, hint in zip(items, hints, strict=True))


def _dataclass(value: Any, kind: Any) -> Any:
    names = {field.name for field in dataclasses.fields(kind)}
    if set(_checked(value, dict, "names with values")) != names:
        raise ValueError(_unexpected(value, f"the fields {', '.join(sorted(names))}"))
    hints = get_type_hints(kind)
    return kind(**{name: decoded(item, hints[name]) for name, item in value.items()})


def _float(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, str) and value in _INFINITIES:
        return _INFINITIES[value]
    if isinstance(value, bool):
        raise ValueError(_unexpected(value, "a number"))
    return float(_checked(value, int | float, "a number"))


def _untyped(value: Any) -> Any:
    if isinstance(value, list):
        return [_untyped(item) for item in value]
    if isinstance(value, dict):
        return {key: _untyped(item) for key, item in value.items()}
    return _float(value) if value is None or value in _INFINITIES else value


def _checked(value: Any, kind: Any, what: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(_unexpected(value, what))
    return value


def _unexpected(value: Any, what: str) -> str:
    text = repr(value)
    return f"expected {what}, found {text if len(text) <= 60 else text[:57] + '...'}"
