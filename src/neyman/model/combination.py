"""Several models as one: the channels of all in one likelihood, with parameters of the same name in common."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray

from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidParameter
from neyman.inputs.pyhf_options import joined_bindings
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.support.checks import checked_range
from neyman.support.messages import did_you_mean

__all__ = ["combine"]


def __dir__() -> list[str]:
    return __all__


_ALIKE = {"histosys": "normsys"}  # pyhf lets these two share a parameter
_OF_BINS = ("shapesys", "staterror")  # a parameter for each of their own bins, which no other bins can share


def combine(
    *models: Model | pyhf.Model, poi: str | None = None, bounds: Mapping[str, tuple[float, float]] | None = None
) -> Model:
    """Return the joint model of several: all of their channels, sharing the parameters that have the same name.

    Binned channels, mixtures and networks of whole datasets, from documents or simulators, can stand side by side. The
    joint likelihood is the product of all; a parameter that several models constrain has that constraint *once*, so
    they must agree on it: on its auxiliary data and width, on bounds, and on whether it is fixed. It starts where the
    first model has it start. Observations are joined, and where a channel has none the joint model keeps those of
    the others: ``model.observed`` is ``None`` then, and ``model.read_data`` adds the missing one.

    Args:
        models: at least two, with different channels; a plain :class:`pyhf.Model` is taken, too.
        poi: the parameter of interest; by default that of the models, if it is one and the same.
        bounds: by name, the bounds of parameters whose bounds differ. They must lie within those that a network of
            whole datasets was trained for.

    Raises:
        InvalidParameter: if models contradict each other; the message names the parameter or channel.

    Example:
        >>> import neyman, pyhf
        >>> def counts(number, name):
        ...     signal, background = ({"name": s, "data": [n], "modifiers": []} for s, n in (("s", 5.0), ("b", number)))
        ...     signal["modifiers"] = [{"name": "mu", "type": "normfactor", "data": None}]
        ...     return neyman.Model({"channels": [{"name": name, "samples": [signal, background]}]}, {}, poi_name="mu")
        >>> model = neyman.combine(counts(50.0, "SR1"), counts(5.0, "SR2"))
        >>> model
        neyman.Model(learned channels: none; binned channels: SR1, SR2; 1 parameters, POI mu)
        >>> neyman.fit([60.0, 10.0], model)["mu"]
        1.16
    """
    if len(models) < 2:
        raise InvalidParameter(f"{len(models)} models given to be combined: give at least two")
    parts = [_Part(f"model {number}", as_model(model)) for number, model in enumerate(models, start=1)]
    _check_channels(parts)
    settings = [part.model.config.modifier_settings for part in parts]
    if any(one != settings[0] for one in settings):
        raise InvalidParameter("the models have different modifier_settings: make them with the same ones")
    names = list(dict.fromkeys(name for part in parts for name in part.model.config.par_order))
    chosen = {name: _checked_bounds(name, pair, parts) for name, pair in (bounds or {}).items()}
    blocks = [_block(name, [part for part in parts if name in part.blocks], chosen.get(name)) for name in names]
    bindings = joined_bindings([(part.label, part.model.spec) for part in parts])
    joint = Model(
        {"channels": _channels(parts), "parameters": blocks, **bindings},
        {name: channel for part in parts for name, channel in part.model.learned.items()},
        poi_name=_poi(parts, names, poi),
        provenance={"combined": [part.model.provenance for part in parts]},
        report=[report for part in parts for report in part.model.report],
        simulation_errors={name: errors for part in parts for name, errors in part.model.simulation_errors.items()},
        modifier_settings=next((part.model.modifier_settings for part in parts if part.model.modifier_settings), None),
    )
    joint.observed_ensemble = _observed(parts, joint)
    return joint


@dataclass(frozen=True)
class _Block:
    """What is known of a parameter of a model: what models that share it must agree on, and where it starts."""

    constraint: str
    number: int
    bounds: list[tuple[float, float]]
    fixed: list[bool]
    inits: list[float]
    kinds: frozenset[str]
    explicit: dict[str, Any]

    def __str__(self) -> str:
        bounds = ", ".join(f"[{low:g}, {high:g}]" for low, high in dict.fromkeys(self.bounds))
        held = f", fixed at {self.inits[0]:g}" if all(self.fixed) else ""
        kinds = f" ({', '.join(sorted(self.kinds))})" if self.kinds else ""
        return f"{self.constraint}, bounds {bounds}{held}{kinds}"


class _Part:
    """A model to be combined, and what it says of each of its parameters."""

    def __init__(self, label: str, model: Model) -> None:
        self.model = model
        self.label = f"{label} ({', '.join(model.config.channels)})"
        explicit = {block["name"]: block for block in model.spec.get("parameters", [])}
        self.blocks = {name: self._block(name, explicit.get(name, {})) for name in model.config.par_order}

    def _block(self, name: str, explicit: dict[str, Any]) -> _Block:
        one = self.model.config.param_set(name)
        kinds = {kind for modifier, kind in self._modifiers() if modifier == name}
        return _Block(
            constraint=_constraint(one),
            number=int(one.n_parameters),
            bounds=[(float(low), float(high)) for low, high in one.suggested_bounds],
            fixed=[bool(value) for value in one.suggested_fixed],
            inits=[float(value) for value in one.suggested_init],
            kinds=frozenset(_ALIKE.get(kind, kind) for kind in kinds),
            explicit=explicit,
        )

    def _modifiers(self) -> Iterator[tuple[str, str]]:
        """Yield names and types of modifiers, but of those that only make a simulator's parameters exist."""
        for channel in self.model.spec["channels"]:
            if not self.is_of_simulator(channel["name"]):
                for sample in channel["samples"]:
                    for modifier in sample["modifiers"]:
                        if modifier["type"] != "purefunc":  # whose name is that of a binding
                            yield modifier["name"], modifier["type"]

    def is_of_simulator(self, channel: str) -> bool:
        """Whether a channel was learned from a simulator."""
        return channel in self.model.learned and self.model.learned[channel].owns_number


def _constraint(one: Any) -> str:
    """Return the constraint of a parameter in words."""
    if not one.constrained:
        return "free"
    values = ", ".join(f"{centre:g} +/- {width:g}" for centre, width in zip(one.auxdata, one.width(), strict=True))
    return f"{'Poisson' if one.pdf_type == 'poisson' else 'normal'} constraint {values}"


def _check_channels(parts: list[_Part]) -> None:
    known: dict[str, str] = {}
    for part in parts:
        for name in part.model.config.channels:
            if name in known:
                raise InvalidParameter(
                    f"the channel {name} is in {known[name]} and in {part.label}: give one of them another name"
                )
            known[name] = part.label


def _checked_bounds(name: str, pair: Any, parts: list[_Part]) -> tuple[float, float]:
    """Return bounds that were asked for, if the networks of whole datasets allow them."""
    owners = [part for part in parts if name in part.blocks]
    if not owners:
        known = [known for part in parts for known in part.blocks]
        raise InvalidParameter(
            f"bounds: the models have no parameter {name}; {did_you_mean(name, dict.fromkeys(known))}"
        )
    trained = [part.blocks[name] for part in owners if any(one.bounded for one in part.model.learned.values())]
    low = max((block.bounds[0][0] for block in trained), default=-float("inf"))
    high = min((block.bounds[0][1] for block in trained), default=float("inf"))
    return checked_range(pair, f"the range in bounds of {name}", low, high, name)


def _block(name: str, parts: list[_Part], bounds: tuple[float, float] | None) -> dict[str, Any]:
    """Return the block of a parameter in the joint model."""
    blocks = [part.blocks[name] for part in parts]
    first = blocks[0]
    for part, other in zip(parts[1:], blocks[1:], strict=True):
        texts = f"{first} in {parts[0].label}, but {other} in {part.label}"
        if (first.constraint, first.number) != (other.constraint, other.number):
            raise InvalidParameter(f"the parameter {name} is {texts}: give it the same constraint, or another name")
        if first.fixed != other.fixed or (any(first.fixed) and first.inits != other.inits):
            raise InvalidParameter(f"the parameter {name} is {texts}: fix it at the same value in both, or in neither")
        kinds = first.kinds and other.kinds and (first.kinds | other.kinds)
        if kinds and (first.kinds != other.kinds or kinds & set(_OF_BINS)):
            raise InvalidParameter(
                f"the parameter {name} is {texts}: modifiers of these types cannot share it, give it another name"
            )
        if bounds is None and first.bounds != other.bounds:
            low = max(block.bounds[0][0] for block in blocks)
            high = min(block.bounds[0][1] for block in blocks)
            hint = "the same bounds in both"
            if low < high:
                hint = f'bounds={{"{name}": ({low:g}, {high:g})}}, or --bounds {name}={low:g}:{high:g}'
            raise InvalidParameter(f"the parameter {name} is {texts}: give {hint}")
    # the modifiers that stay in the specification say what else a block has
    explicit = next((block.explicit for block in blocks if block.kinds), first.explicit)
    pairs = first.bounds if bounds is None else [bounds] * first.number
    inits = [min(max(init, low), high) for init, (low, high) in zip(first.inits, pairs, strict=True)]
    block = {**copy.deepcopy(explicit), "name": name, "inits": inits, "bounds": [list(pair) for pair in pairs]}
    return {**block, "fixed": first.fixed[0]} if len(set(first.fixed)) == 1 else block


def _channels(parts: list[_Part]) -> list[dict[str, Any]]:
    """Return the channels of all; what makes a simulator's parameter exist goes where something else does."""
    exist = {name for part in parts for name, block in part.blocks.items() if block.kinds}
    channels = []
    for part in parts:
        for channel in copy.deepcopy(part.model.spec["channels"]):
            if part.is_of_simulator(channel["name"]):
                for sample in channel["samples"]:
                    sample["modifiers"] = [one for one in sample["modifiers"] if one["name"] not in exist]
                    exist |= {one["name"] for one in sample["modifiers"]}
            channels.append(channel)
    return channels


def _poi(parts: list[_Part], names: list[str], poi: str | None) -> str | None:
    if poi is not None:
        if poi not in names:
            raise InvalidParameter(f"the models have no parameter {poi}: {did_you_mean(poi, names)}")
        return poi
    found = list(dict.fromkeys(part.model.config.poi_name for part in parts if part.model.config.poi_name is not None))
    if len(found) > 1:
        raise InvalidParameter(
            f'the models have different parameters of interest, {" and ".join(found)}: choose one by poi="{found[0]}"'
        )
    return found[0] if found else None


def _observed(parts: list[_Part], joint: Model) -> Ensemble | None:
    """Return the observations of all models that have any; what a model does not say of auxiliary data is nominal."""
    found = [(part, part.model.observed_ensemble) for part in parts]
    events: dict[str, Events] = {}
    counts: dict[str, NDArray[np.float64]] = {}
    known: dict[str, tuple[list[float], _Part]] = {}
    auxdata = joint.config.auxdata.copy()
    for part, ensemble in found:
        if ensemble is None:
            continue
        events.update(ensemble.events)
        counts.update(ensemble.counts)
        values = part.model.config.auxdata if ensemble.auxdata is None else ensemble.auxdata.tolist()
        for name, own in _slices(part.model):
            before, other = known.setdefault(name, (values[own], part))
            if before != values[own]:
                raise InvalidParameter(
                    f"the observed auxiliary data of {name} are {before} in {other.label}, but {values[own]} in "
                    f"{part.label}: they must be the same"
                )
    for name, own in _slices(joint):
        if name in known:
            auxdata[own] = known[name][0]
    return Ensemble(events, counts, auxdata) if events or counts else None


def _slices(model: Model) -> Iterator[tuple[str, slice]]:
    """Yield the constrained parameters and where their auxiliary data are."""
    begin = 0
    for name in model.config.auxdata_order:
        end = begin + len(model.config.param_set(name).auxdata)
        yield name, slice(begin, end)
        begin = end
