"""What all results have in common: JSON and back, numbers and tables as text."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

__all__ = ["Result", "restored"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class Result:
    """What every result can do; ``kind`` tags its JSON."""

    kind: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types, with the result's ``kind``."""
        fields = {f.name: _jsonable(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"result": self.kind, **fields}

    def to_json(self, indent: int | None = 2) -> str:
        """Return the result as a JSON text that :func:`from_json` reads back; numbers that are not finite are null."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _jsonable(value.tolist())
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no nan
    return value


def restored(value: Any) -> Any:
    """Turn JSON lists back into arrays of numbers or tuples of anything else, null into nan."""
    if value is None:
        return math.nan
    if isinstance(value, dict):
        return {
            key: tuple(math.nan if x is None else x for x in item) if isinstance(item, list) else item
            for key, item in value.items()
        }
    if not isinstance(value, list):
        return value
    if any(isinstance(item, dict) for item in value) or all(isinstance(item, str) for item in value):
        return tuple(value)
    try:
        return np.asarray(value, dtype=np.float64)
    except ValueError:  # two axes of different length
        return tuple(np.asarray(item, dtype=np.float64) for item in value)
