"""What pyhf takes, of channels that are filled already: the specification of a model, and a whole binned workspace."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import pyhf

from neyman.exceptions import InvalidDocument
from neyman.inputs.pyhf_options import has_bindings, pyhf_options, validate

__all__ = ["binned_workspace", "check_modifiers", "inner"]


def __dir__() -> list[str]:
    return __all__


def inner(
    document: Mapping[str, Any], measurement: Mapping[str, Any], channels: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the specification of a model, that of a ``pyhf.Model``.

    Args:
        document: the document, whose bindings it has.
        measurement: one of its measurements, whose settings of parameters it has.
        channels: the channels as pyhf has them.
    """
    parameters = copy.deepcopy(measurement["config"]["parameters"])
    return {"channels": channels, "parameters": parameters, **_bindings(document)}


def binned_workspace(
    document: Mapping[str, Any],
    measurement: Mapping[str, Any],
    channels: Sequence[Mapping[str, Any]],
    observations: Sequence[Mapping[str, Any]],
) -> pyhf.Workspace:
    """Return a workspace with all measurements of a document, validated by pyhf.

    Args:
        document: the document.
        measurement: the one that comes first.
        channels: the channels as pyhf has them.
        observations: of those channels that are not blind.
    """
    others = [m for m in document["measurements"] if m["name"] != measurement["name"]]
    spec = {
        "channels": channels,
        "observations": observations,
        "measurements": [measurement, *others],
        "version": document["version"],
        **_bindings(document),
    }
    if not observations or has_bindings(spec):  # pyhf's schema of a workspace wants at least one, and has none
        validate(inner(document, measurement, channels))
        return pyhf.Workspace(spec, validate=False)
    return pyhf.Workspace(spec)


def check_modifiers(spec: Mapping[str, Any], poi_name: str | None) -> None:
    """Check that pyhf makes a model of a specification.

    Args:
        spec: the specification.
        poi_name: the parameter of interest, or ``None``.

    Raises:
        InvalidDocument: if its measurement or its modifiers are wrong.
    """
    try:
        pyhf.Model(spec, poi_name=poi_name, **pyhf_options(spec))
    except pyhf.exceptions.InvalidSpecification as error:
        raise InvalidDocument(f"measurements: {' '.join(str(error).split())}") from None
    except (pyhf.exceptions.InvalidModel, pyhf.exceptions.InvalidNameReuse) as error:
        raise InvalidDocument(f"modifiers: {' '.join(str(error).split())}") from None


def _bindings(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: copy.deepcopy(document[key]) for key in ("bindings",) if key in document}
