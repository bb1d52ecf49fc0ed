"""What a pyhf.Model is made with, so that its specification may have bindings."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pyhf

__all__ = ["has_bindings", "pyhf_options", "validate"]


def __dir__() -> list[str]:
    return __all__


def pyhf_options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return options for a :class:`pyhf.Model`; of a specification with bindings, which pyhf has no schema for yet.

    Args:
        spec: the specification.

    Raises:
        InvalidDocument: if a binding is wrong.
        pyhf.exceptions.InvalidSpecification: if the rest of a specification with bindings is.

    Example:
        >>> import pyhf
        >>> sample = {"name": "signal", "data": [9.0], "modifiers": [{"name": "c", "type": "purefunc", "data": None}]}
        >>> spec = {"channels": [{"name": "SR", "samples": [sample]}],
        ...         "bindings": [{"names": ["c"], "expressions": "mu**2", "language": "sympy"}]}
        >>> pyhf.Model(spec, poi_name="mu", **pyhf_options(spec)).expected_data([2.0])
        array([36.])
    """
    if not has_bindings(spec):
        return {}
    from neyman.inputs.purefunc import modifier_set  # sympy takes a third of a second to load

    validate(spec)
    return {"modifier_set": modifier_set(spec.get("bindings", [])), "validate": False}


def has_bindings(spec: Mapping[str, Any]) -> bool:
    """Return whether a specification or document has bindings, or modifiers that should have."""
    return "bindings" in spec or any(
        modifier.get("type") == "purefunc"
        for channel in spec.get("channels", ())
        for sample in channel.get("samples", ())
        for modifier in sample.get("modifiers", ())
    )


def validate(spec: Mapping[str, Any]) -> None:
    """Validate all of a specification but its bindings against pyhf's schema of a model, which has none yet.

    Raises:
        pyhf.exceptions.InvalidSpecification: if it breaks the schema.
    """
    plain = copy.deepcopy({key: value for key, value in spec.items() if key != "bindings"})
    for channel in plain.get("channels", ()):
        for sample in channel.get("samples", ()):
            sample["modifiers"] = [one for one in sample.get("modifiers", ()) if one.get("type") != "purefunc"]
    pyhf.schema.validate(plain, "model.json")
