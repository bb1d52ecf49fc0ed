"""Measurements of a document: the settings of parameters, checked against what their modifiers have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from neyman.exceptions import InvalidDocument
from neyman.inputs.channels import Channel
from neyman.inputs.node import Node
from neyman.inputs.pyhf_options import has_bindings
from neyman.support.messages import did_you_mean

__all__ = ["measurement_of"]


def __dir__() -> list[str]:
    return __all__


SETTINGS = {  # of all parameters besides these: inits, bounds, fixed
    "histosys": ("auxdata",),
    "lumi": ("auxdata", "sigmas"),
    "normfactor": (),
    "normsys": ("auxdata",),
    "purefunc": (),
    "shapefactor": (),
    "shapesys": ("auxdata", "factors"),
    "staterror": ("auxdata", "sigmas"),
}
"""The settings that pyhf has for the constraint of each type of modifier."""

REASONS = {
    "histosys": "its constraint has the width 1 by definition: change its hi and lo instead",
    "normsys": "its constraint has the width 1 by definition: change its hi and lo instead",
    "normfactor": "it is free: constrain it by a modifier of type normsys, or a lumi, in its place",
    "purefunc": "it is free: a parameter in an expression is constrained by a normsys of its name",
    "shapefactor": "it is free: a shapesys or a staterror is constrained",
    "shapesys": "its constraint is Poisson, with factors in place of sigmas",
    "staterror": "its constraint is normal, with sigmas in place of factors",
    "lumi": "its constraint is normal, with sigmas in place of factors",
}

DEFAULTS: dict[str, tuple[float, tuple[float, float]]] = {
    "histosys": (0.0, (-5.0, 5.0)),
    "normfactor": (1.0, (0.0, 10.0)),
    "normsys": (0.0, (-5.0, 5.0)),
    "purefunc": (1.0, (0.0, 10.0)),
    "shapefactor": (1.0, (0.0, 10.0)),
    "shapesys": (1.0, (1e-10, 10.0)),
    "staterror": (1.0, (1e-10, 10.0)),
}
"""Where pyhf starts a parameter, and its bounds."""

LUMI_SETTINGS = ("auxdata", "sigmas", "inits", "bounds")
IN_BINS = ("shapefactor", "shapesys", "staterror")  # one parameter for each bin


@dataclass
class _Parameter:
    """A parameter as its modifiers define it: their type, and the bins of each channel that it is in."""

    kind: str
    bins: dict[str, int] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """How many numbers it is."""
        if self.kind == "staterror":
            return sum(self.bins.values())
        return next(iter(self.bins.values())) if self.kind in IN_BINS else 1


def measurement_of(document: Mapping[str, Any], name: str | None, channels: Mapping[str, Channel]) -> dict[str, Any]:
    """Return a measurement of a document, whose parameters exist and have settings that pyhf uses and needs.

    Args:
        document: a document that keeps the schema.
        name: its name; ``None`` is the first one.
        channels: the channels of the document by name.

    Raises:
        InvalidDocument: if there is no such measurement, no modifier has one of its parameters, or a setting is
            missing, has no effect, or makes no sense.
    """
    measurements = {entry["name"].value: entry for entry in Node(document)["measurements"]}
    name = next(iter(measurements)) if name is None else name
    if name not in measurements:
        raise InvalidDocument(f"measurements: no measurement {name!r}; {did_you_mean(name, measurements)}")
    config = measurements[name]["config"]
    parameters = _parameters(channels)
    settings = {entry["name"].value: entry for entry in _unique(config["parameters"])}
    parameters |= _of_bindings(document, channels, parameters, settings, config["poi"])
    _check_poi(config["poi"], parameters)
    for parameter, entry in settings.items():
        if parameter in parameters:
            _check(entry, parameters[parameter])
        elif parameter != "lumi":  # which pyhf sets without need
            raise entry["name"].error(_unknown(parameter, parameters))
    for lumi in (parameter for parameter, one in parameters.items() if one.kind == "lumi"):
        given = settings[lumi].value if lumi in settings else {}
        if missing := [key for key in LUMI_SETTINGS if key not in given]:
            raise settings.get(lumi, config["parameters"]).error(
                f"{lumi} needs {', '.join(missing)}, for which there is no default; write for example "
                f"{{name: {lumi}, auxdata: [1.0], sigmas: [0.02], inits: [1.0], bounds: [[0.5, 1.5]]}}"
            )
    measurement: dict[str, Any] = measurements[name].value
    return measurement


def _parameters(channels: Mapping[str, Channel]) -> dict[str, _Parameter]:
    found: dict[str, _Parameter] = {}
    for channel in channels.values():
        for modifier in (modifier for sample in channel.samples for modifier in sample.modifiers):
            if modifier["type"] == "purefunc":
                continue  # whose name is that of a binding
            parameter = found.setdefault(modifier["name"], _Parameter(modifier["type"]))
            parameter.bins[channel.name] = channel.kind.bins
    return found


def _of_bindings(
    document: Mapping[str, Any],
    channels: Mapping[str, Channel],
    parameters: Mapping[str, _Parameter],
    settings: Mapping[str, Node],
    poi: Node,
) -> dict[str, _Parameter]:
    """Return the parameters that only the bindings of a document have: each is the parameter of interest, or set."""
    if not has_bindings(document):
        return {}
    from neyman.inputs.bindings import Bindings  # sympy takes a third of a second to load

    bindings = Bindings(Node(document).get("bindings", []))
    if poi.value in bindings:
        of_its_own = did_you_mean(poi.value, bindings.uses(poi.value))
        raise poi.error(f"{poi.value!r} is a binding, and a parameter of interest is a parameter; {of_its_own}")
    places = (
        modifier
        for channel in channels.values()
        for sample in channel.samples
        for modifier in sample.place.get("modifiers", [])
        if modifier["type"].value == "purefunc"
    )
    bindings.check({place["name"].value: place["name"] for place in places}, [*parameters, *settings])
    known = {*parameters, *settings, *([poi.value] if poi.value else [])}
    for name, place in ((name, place) for place, names in bindings.symbols for name in names):
        if name in parameters and parameters[name].kind in IN_BINS:
            raise place.error(f"{name!r} is a {parameters[name].kind}, a number for each bin; an expression takes one")
        if name not in known:
            nearest = did_you_mean(name, sorted({*known, *bindings}))
            raise place.error(
                f"no parameter {name!r}; {nearest} (A new one is set in the measurement, as "
                f"{{name: {name}, inits: [1.0], bounds: [[0, 10]]}}.)"
            )
    return {name: _Parameter("purefunc") for name in bindings.parameters if name not in parameters}


def _unique(entries: Node) -> Iterator[Node]:
    names: set[str] = set()
    for entry in entries:
        name = entry["name"]
        if name.value in names:
            raise name.error(f"{name.value!r} is there twice; names are unique")
        names.add(name.value)
        yield entry


def _check_poi(poi: Node, parameters: Mapping[str, _Parameter]) -> None:
    if not poi.value:
        return
    if poi.value not in parameters:
        raise poi.error(_unknown(poi.value, parameters))
    kind = parameters[poi.value].kind
    if kind in IN_BINS:
        raise poi.error(f"{poi.value!r} is a {kind}, a number for each bin; a parameter of interest is one number")


def _unknown(name: str, parameters: Mapping[str, _Parameter]) -> str:
    return f"no modifier defines {name!r}; {did_you_mean(name, sorted(parameters))}"


def _check(entry: Node, parameter: _Parameter) -> None:
    """Check the settings of a parameter."""
    kind, number = parameter.kind, parameter.number
    name = entry["name"].value
    for key in ("auxdata", "sigmas", "factors"):
        if key in entry and key not in SETTINGS[kind]:
            raise entry[key].error(f"the {kind} {name!r} has no {key}; {REASONS[kind]}")
    for key in ("inits", "bounds", "auxdata", "sigmas", "factors"):
        if key in entry and len(entry[key].value) != number:
            raise entry[key].error(f"the length is {len(entry[key].value)}, but the {kind} {name!r} is {_of(number)}")
    for key in ("sigmas", "factors"):
        for value in entry.get(key, ()):
            if not value.value > 0:
                raise value.error(f"must be positive, not {value.value:g}")
    if kind == "shapesys":
        for value in entry.get("auxdata", ()):
            if value.value < 0:
                raise value.error(f"must not be negative, for a count is Poisson; not {value.value:g}")
    _check_bounds(entry, kind, number)


def _check_bounds(entry: Node, kind: str, number: int) -> None:
    """Check that bounds are pairs, the lower one first, with the start between them."""
    start, default = DEFAULTS.get(kind, (None, None))
    bounds = entry.get("bounds", [default] * number)
    inits = entry.get("inits", [start] * number)
    for pair, init in zip(bounds, inits, strict=True):
        if pair.value is None or init.value is None:
            continue
        if len(pair.value) != 2:
            raise pair.error(f"must be [lower, upper], not {len(pair.value)} numbers")
        low, high = pair.value
        if not low < high:
            raise pair.error(
                f"the lower bound {low:g} is not below the upper {high:g}; turn them round, or write fixed: true"
            )
        if not low <= init.value <= high:
            where, what = (init, "") if "inits" in entry else (pair, "the default start ")
            raise where.error(
                f"{what}{init.value:g} is outside the bounds {low:g} to {high:g}; "
                f"write {'others' if 'inits' in entry else 'inits between them'}"
            )


def _of(number: int) -> str:
    return "one number" if number == 1 else f"{number} numbers, one for each bin"
