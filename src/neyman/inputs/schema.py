"""The format of the document: read from YAML or JSON, held against the JSON schema, with errors that name the key."""

from __future__ import annotations

import functools
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyhf
import yaml
from referencing import Registry, Resource

from neyman.exceptions import InvalidDocument
from neyman.support.messages import did_you_mean

__all__ = ["load_schema", "normalise", "place", "read_file", "validate"]


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


def read_file(path: str | Path) -> dict[str, Any]:
    """Read a document from a JSON (``.json``) or YAML (any other suffix) file.

    Numbers like ``1e-3`` are numbers, and only ``true`` and ``false`` are booleans, as in YAML 1.2 and JSON.

    Args:
        path: the file.

    Returns:
        The document, not validated.

    Raises:
        InvalidDocument: if the file is missing, empty, not YAML or JSON, names a key twice or holds no mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        others = [p.name for p in path.parent.glob("*") if p.suffix in {".yaml", ".yml", ".json"}]
        raise InvalidDocument(f"{path}: no such file; {did_you_mean(path.name, sorted(others))}") from None
    except UnicodeDecodeError:
        raise InvalidDocument(f"{path}: not a text file; a document is YAML or JSON") from None
    except OSError as error:
        raise InvalidDocument(f"{path}: cannot be read: {error.strerror}") from None
    try:
        if path.suffix == ".json":
            document = json.loads(text, object_pairs_hook=_unique_pairs) if text.strip() else None
        else:
            document = _Loader(text).get_single_data()
    except json.JSONDecodeError as error:
        raise InvalidDocument(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidDocument(f"{path}: {line}{' '.join((error.problem or 'not YAML').split())}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{path}: {' '.join(str(error).split())}") from None
    if document is None:
        raise InvalidDocument(f"{path}: is empty; a document has channels, observations and measurements")
    if not isinstance(document, dict):
        raise InvalidDocument(f"{path}: must hold a mapping with the key 'channels', not {_noun(document)}")
    return document


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
    _check_finite(copy, [])
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
        raise InvalidDocument(_message(errors[0]))


def place(path: Iterable[str | int]) -> str:
    """Return the path of a key as a user writes it.

    Example:
        >>> from neyman.inputs.schema import place
        >>> place(["channels", 0, "samples", 1, "data"])
        'channels[0].samples[1].data'
    """
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


@functools.cache
def _validator() -> jsonschema.Draft7Validator:
    ours, theirs = load_schema(), pyhf.schema.load_schema("1.0.0/defs.json")
    registry: Registry[Any] = Registry().with_resource(theirs["$id"], Resource.from_contents(theirs))
    return jsonschema.Draft7Validator(ours, registry=registry)


def _message(error: jsonschema.ValidationError) -> str:
    path: list[Any] = list(error.absolute_path)
    rule: Any = error.validator_value
    value: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "additionalProperties":
            known = list(schema["properties"])
            unknown = next(key for key in value if key not in known)
            return f"{place([*path, unknown])}: no such key; {did_you_mean(unknown, known)}"
        case "required":
            missing = next(key for key in rule if key not in value)
            what = f"the key {missing!r} is missing"
        case "type":
            types = [rule] if isinstance(rule, str) else rule
            what = f"must be {' or '.join(_TYPES[kind] for kind in types)}, not {_short(value)}"
        case "enum" if isinstance(value, str):
            what = f"unknown {path[-1]} {value!r}; {did_you_mean(value, rule)}"
        case "enum" | "const":
            allowed = rule if error.validator == "enum" else [rule]
            what = f"must be {' or '.join(map(repr, allowed))}, not {_short(value)}"
        case "minItems" | "minLength":
            what = "must not be empty" if rule == 1 else f"needs at least {rule} entries, not {len(value)}"
        case _:
            what = " ".join(error.message.split())
    return f"{place(path) or 'document'}: {what}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _check_finite(value: Any, path: list[str | int]) -> None:
    open_bound = "bounds" in path and value in (math.inf, -math.inf)
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max and not open_bound:
        raise InvalidDocument(f"{place(path)}: must be a finite number, not {_short(value)}")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_finite(item, [*path, key])
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_finite(item, [*path, i])


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


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice in one mapping")
    return unique


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2, and an error where a mapping has a key twice."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice in one mapping", key.start_mark
                )
            seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {}  # none of version 1.1, where 1e-3 is a string and no is false
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
