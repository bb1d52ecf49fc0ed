"""What a pyhf.Model is made with, so that its specification may have bindings."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import pyhf

from neyman.exceptions import InvalidParameter

__all__ = ["check_start", "has_bindings", "joined_bindings", "pyhf_options", "validate"]


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


def check_start(spec: Mapping[str, Any]) -> None:
    """Refuse bindings with which a channel has a negative rate where the model starts.

    Args:
        spec: the specification; without bindings there is nothing to be checked.

    Raises:
        InvalidDocument: if there is such a channel.
    """
    if has_bindings(spec):
        from neyman.inputs.purefunc import check_rates

        check_rates(pyhf.Model(spec, poi_name=None, **pyhf_options(spec)))


def joined_bindings(specs: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the bindings of several specifications, each name once, as an item of their joint specification.

    Args:
        specs: the specifications, each with what messages call it.

    Raises:
        InvalidParameter: if a name stands for different expressions, or for an expression here and a parameter there.
    """
    if not any(has_bindings(spec) for _, spec in specs):
        return {}
    from neyman.inputs.bindings import Bindings

    joined: list[dict[str, Any]] = []
    known: dict[str, tuple[Any, str]] = {}
    for label, spec in specs:
        bindings = Bindings(spec.get("bindings", []))
        for name in bindings:
            if name in known and known[name][0] != bindings[name]:
                (other, before), one = known[name], bindings[name]
                raise InvalidParameter(
                    f"the binding {name} is {other} in {before}, but {one} in {label}: give one of them another name"
                )
        for entry in bindings.entries.value:
            there = [name for name in entry["names"] if name in known]
            if there and len(there) < len(entry["names"]):
                raise InvalidParameter(
                    f"the bindings {', '.join(entry['names'])} of {label} are one tuple, of which "
                    f"{known[there[0]][1]} has only {', '.join(there)}: bind each by itself"
                )
            joined += [] if there else [entry]
        known |= {name: (bindings[name], label) for name in bindings if name not in known}
    return {"bindings": joined}


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
