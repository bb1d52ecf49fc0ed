"""Files of documents: YAML 1.2 or JSON to plain values, and the line on which a key stands."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from neyman.exceptions import InvalidDocument
from neyman.support.messages import did_you_mean

__all__ = ["line_of", "read_file"]


def __dir__() -> list[str]:
    return __all__


JSON_LINES = 500_000  # bytes; in a larger JSON file it would take more than ten seconds to find a line


def read_file(path: str | Path) -> dict[str, Any]:
    """Read a document from a JSON (``.json``) or YAML (any other suffix) file.

    The YAML is that of version 1.2: ``1e-3`` is a number, ``no`` and ``on`` are strings.

    Args:
        path: the file.

    Returns:
        The document, not validated.

    Raises:
        InvalidDocument: if the file is missing, empty, not YAML or JSON, names a key twice or holds no mapping.
    """
    path = Path(path)
    text = _text(path)
    try:
        if path.suffix == ".json":
            document = json.loads(text, object_pairs_hook=_unique_pairs) if text.strip() else None
        else:
            document = _yaml().load(text)
    except json.JSONDecodeError as error:
        raise InvalidDocument(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    except MarkedYAMLError as error:
        raise InvalidDocument(f"{path}{_problem(error)}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{path}: {' '.join(str(error).split())}") from None
    if document is None:
        raise InvalidDocument(f"{path}: is empty; a document has channels, observations and measurements")
    if not isinstance(document, dict):
        noun = "a list" if isinstance(document, list) else f"a {type(document).__name__}"
        raise InvalidDocument(f"{path}: must hold a mapping with the key 'channels', not {noun}")
    return document


def line_of(path: str | Path, key: Iterable[str | int]) -> int | None:
    r"""Return the line of a file on which a key stands, counted from 1.

    Args:
        path: the file of a document.
        key: the path of the key, as ``("channels", 0, "name")``; a missing one stands where it is missing.

    Returns:
        The line, or ``None`` if nothing of the path is there, or for a large JSON file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "analysis.yaml")
        ...     _ = path.write_text("version: 1.0.0\nchannels:\n- name: SR\n  features: [m]\n")
        ...     line_of(path, ("channels", 0, "features")), line_of(path, ("channels", 0, "samples"))
        (4, 3)
    """
    path, line = Path(path), None
    if path.suffix == ".json" and path.stat().st_size > JSON_LINES:
        return None
    try:
        node = _yaml().compose(_text(path))
    except (YAMLError, InvalidDocument):  # JSON need not be YAML
        return None
    for part in key:
        found = _step(node, part)
        if found is None:
            break
        line, node = found
    return None if line is None else line + 1


def _step(node: Node | None, part: str | int) -> tuple[int, Node] | None:
    """Return the line and the value of an item of a list or a key of a mapping."""
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    if not isinstance(node, MappingNode):
        return None
    for key, value in node.value:
        if key.value == part:
            return key.start_mark.line, value
    merged = [value for key, value in node.value if key.value == "<<"]
    return next((found for value in merged if (found := _step(value, part)) is not None), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        others = sorted(p.name for p in path.parent.glob("*") if p.suffix in {".yaml", ".yml", ".json"})
        raise InvalidDocument(f"{path}: no such file; {did_you_mean(path.name, others)}") from None
    except UnicodeDecodeError:
        raise InvalidDocument(f"{path}: not a text file; a document is YAML or JSON") from None
    except OSError as error:
        raise InvalidDocument(f"{path}: cannot be read: {error.strerror}") from None


def _problem(error: MarkedYAMLError) -> str:
    """Return where a YAML file is wrong and what is wrong there, as one line."""
    mark = error.problem_mark or error.context_mark
    problem = " ".join((error.problem or "not YAML").split())
    if r"character '\t'" in problem:
        problem = "a tab cannot indent YAML; write spaces"
    return f", line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else f": {problem}"


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice in one mapping")
    return unique


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    yaml.composer.warn_double_anchors = False  # the latter holds from then on, as YAML has it
    return yaml


class _Constructor(SafeConstructor):
    """Plain values of YAML 1.2, whose core has no dates; a key that is there twice is an error of one line."""

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        if key in mapping:
            raise ConstructorError(None, None, f"the key {key!r} is there twice in one mapping", key_node.start_mark)
        return True


for _tag in ("timestamp", "value"):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{_tag}", SafeConstructor.construct_yaml_str)
