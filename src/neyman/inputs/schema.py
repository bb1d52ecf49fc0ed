"""The format of the document: its JSON schema, and what is said about a key that breaks it."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyhf
from referencing import Registry, Resource

from neyman.exceptions import InvalidDocument
from neyman.inputs.node import Node
from neyman.support.messages import did_you_mean

__all__ = ["load_schema", "normalise", "validate"]


def __dir__() -> list[str]:
    return __all__


_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "a string",
}


def normalise(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an independent copy of a document made of what JSON knows, validated against the schema.

    Args:
        document: the document; arrays, numpy numbers and paths are turned into lists, numbers and strings.

    Raises:
        InvalidDocument: if it is not a mapping, not JSON, breaks the schema or holds a number that is not finite.
    """
    if not isinstance(document, Mapping):
        raise InvalidDocument(f"a document is a mapping with the key 'channels', not {_noun(document)}")
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(document), default=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"document: cannot be written as JSON: {error}") from None
    validate(copy)
    _check_finite(Node(copy))
    return copy


def load_schema() -> dict[str, Any]:
    """Return the schema of the document; it refers to pyhf's where the two agree.

    Example:
        >>> from neyman.inputs.schema import load_schema
        >>> load_schema()["required"]
        ['version', 'channels', 'measurements']
    """
    text = resources.files("neyman.inputs").joinpath("schemas/analysis.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def validate(document: Mapping[str, Any]) -> None:
    """Check a document against the schema.

    Args:
        document: the document, made of what JSON knows: mappings, lists, strings, numbers, booleans and null.

    Raises:
        InvalidDocument: for the first key that breaks the schema; an unknown key comes first, for a misspelt one is
            also a missing one.

    Example:
        >>> from neyman.inputs.schema import validate
        >>> validate({"version": "1.0.0", "chanels": [], "measurements": []})
        Traceback (most recent call last):
            ...
        neyman.exceptions.InvalidDocument: chanels: no such key; did you mean 'channels'?
    """
    errors = sorted(
        _validator().iter_errors(document),
        key=lambda error: (error.validator != "additionalProperties", list(error.absolute_path)),
    )
    if errors:
        raise _error(errors[0])


@functools.cache
def _validator() -> jsonschema.Draft7Validator:
    ours, theirs = load_schema(), pyhf.schema.load_schema("1.0.0/defs.json")
    registry: Registry[Any] = Registry().with_resource(theirs["$id"], Resource.from_contents(theirs))
    return jsonschema.Draft7Validator(ours, registry=registry)


def _error(error: jsonschema.ValidationError) -> InvalidDocument:
    """Return in our words what jsonschema has found."""
    here = Node(error.instance, tuple(error.absolute_path))
    rule: Any = error.validator_value
    schema: Any = error.schema
    value: Any = here.value
    match error.validator:
        case "additionalProperties":
            known = list(schema["properties"])
            unknown = next(key for key in value if key not in known)
            return here[unknown].error(f"no such key; {did_you_mean(unknown, known)}")
        case "required":
            missing = next(key for key in rule if key not in value)
            return here.error(f"the key {missing!r} is missing")
        case "type":
            types = [rule] if isinstance(rule, str) else rule
            return here.error(f"must be {' or '.join(_TYPES[kind] for kind in types)}, not {_short(value)}")
        case "enum" if isinstance(value, str):
            return here.error(f"unknown {here.path[-1]} {value!r}; {did_you_mean(value, rule)}")
        case "enum" | "const":
            allowed = rule if error.validator == "enum" else [rule]
            return here.error(f"must be {' or '.join(map(repr, allowed))}, not {_short(value)}")
        case "oneOf":  # of a binding
            has = [key for key in ("expressions", "expression") if key in value]
            return here.error(
                "has both 'expressions' and 'expression'; take one of them out"
                if has
                else "the key 'expressions' is missing"
            )
        case "pattern":  # that of the one word which may stand for a mapping
            return here.error(f"must be a mapping or the word 'symmetrize', not {_short(value)}")
        case "minProperties" | "maxProperties":
            return here.error("must not be empty" if not value else f"takes one key, not {' and '.join(value)}")
        case "maxItems":
            return here.error(f"takes at most {rule} entries, not {len(value)}")
        case "minItems" | "minLength":
            return here.error("must not be empty" if rule == 1 else f"needs at least {rule} entries, not {len(value)}")
        case _:
            return here.error(" ".join(error.message.split()))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _check_finite(here: Node) -> None:
    value = here.value
    open_bound = "bounds" in here.path and value in (math.inf, -math.inf)
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max and not open_bound:
        raise here.error(f"must be a finite number, not {_short(value)}")
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            _check_finite(here[key])


def _noun(value: object) -> str:
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is not a string, number, list or mapping")
