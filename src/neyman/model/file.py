"""The model file: the parts of a model as one archive, and a model built of them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyhf

from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidModelFile
from neyman.model.channel import AnyChannel, Packed
from neyman.model.mixture import MixtureChannel
from neyman.model.setwise import SetChannel
from neyman.networks import kinds
from neyman.results import SetReport, TrainingReport, from_dict
from neyman.support.archives import Archive, under

__all__ = ["load", "save"]


def __dir__() -> list[str]:
    return __all__


T = TypeVar("T")

_FILE = Archive(
    "model file",
    InvalidModelFile,
    "make one with 'neyman train'",
    format=2,
    mapped=True,
    corrupt=(pyhf.exceptions.InvalidModel, pyhf.exceptions.InvalidSpecification),
)


def save(
    path: Path,
    *,
    spec: dict[str, Any],
    learned: Mapping[str, AnyChannel],
    poi_name: str | None,
    observed: Ensemble | None,
    document: dict[str, Any],
    provenance: dict[str, Any],
    report: Sequence[TrainingReport | SetReport],
    modifier_settings: dict[str, dict[str, str]] | None,
    simulation_errors: Mapping[str, Mapping[str, Sequence[float]]],
) -> None:
    """Write the parts of a model, completely or not at all; they are the arguments of ``neyman.Model``."""
    channels = [channel.pack() for channel in learned.values()]
    events = [] if observed is None else list(observed.events.values())
    header = {
        "spec": spec,  # in which a bound may be infinite
        "poi": poi_name,
        "document": document,
        "provenance": provenance,
        "modifier_settings": modifier_settings,
        "simulation_errors": simulation_errors,
        "report": [one.to_dict() for one in report],
        "channels": [packed.entry for packed in channels],
        "observed": observed
        and {
            "events": list(observed.events),
            "counts": {name: counts.tolist() for name, counts in observed.counts.items()},
            "auxdata": None if observed.auxdata is None else observed.auxdata.tolist(),
        },
    }
    arrays = {f"channels/{i}/{key}": array for i, one in enumerate(channels) for key, array in one.arrays.items()}
    for i, one in enumerate(events):
        arrays |= {f"observed/{i}/features": one.features, f"observed/{i}/weights": one.weights}
    weights = {f"{i}/{key}": value for i, one in enumerate(channels) for key, value in one.weights.items()}
    _FILE.write(path, header, arrays, weights)


def load(path: Path, build: Callable[..., T], network: Any = None) -> T:
    """Read a model file and build the model from its parts.

    Args:
        path: the file.
        build: what takes the parts: ``neyman.Model``.
        network: a network of the user's own, as :func:`neyman.networks.register` takes it.

    Raises:
        InvalidModelFile: if it is missing, truncated, corrupt, from a newer format, or not a model file.
        InvalidParameter: if it takes a network of the user's own, and that is missing or another one.
    """
    with _FILE.read(path) as (version, header, arrays, weights):
        learned = {}
        for number, entry in enumerate(header["channels"]):
            name = entry["name"]
            folders = (name, name) if version == 1 else (str(number), f"channels/{number}")
            packed = Packed(entry, under(folders[0], weights), under(folders[1], arrays))
            try:
                learned[name] = _unpack(packed, network)
            except Exception as error:
                error.add_note(f"channel {name}")
                raise
        reports = [from_dict(entry) for entry in header["report"]]
        observed = header["observed"]
        if observed is not None:
            events = {}
            for number, name in enumerate(observed["events"]):
                of = f"{name}/observed " if version == 1 else f"observed/{number}/"
                events[name] = Events(arrays[f"{of}features"], arrays[f"{of}weights"])
            observed = Ensemble(events, observed["counts"], observed["auxdata"])
        return build(
            spec=header["spec"],
            learned=learned,
            poi_name=header["poi"],
            observed=observed,
            document=header["document"],
            provenance=header["provenance"],
            modifier_settings=header.get("modifier_settings"),
            simulation_errors=header.get("simulation_errors"),
            report=[report for report in reports if isinstance(report, TrainingReport | SetReport)],
        )


def _unpack(packed: Packed, network: Any) -> AnyChannel:
    """Make the channel that was packed, by the class that its kind of network is for."""
    name, kind = packed.entry["name"], packed.entry["kind"]
    if kind == MixtureChannel.kind:
        return MixtureChannel.unpack(packed)
    if kinds.is_loadable(kind, packed.entry["networks"][0]["encoder"]):
        return SetChannel.unpack(packed, network)
    raise InvalidModelFile(f"channel {name}: unknown kind of network {kind!r}: upgrade neyman")
