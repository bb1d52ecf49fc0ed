"""The model file: one zip of JSON, safetensors and npz, written in one step and read without running code."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyhf
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidModelFile
from neyman.model.channel import AnyChannel, Packed
from neyman.model.mixture import MixtureChannel
from neyman.model.setwise import SetChannel
from neyman.networks import kinds
from neyman.results import SetReport, TrainingReport, from_dict
from neyman.support.files import replacing

__all__ = ["FORMAT", "load", "save"]


def __dir__() -> list[str]:
    return __all__


FORMAT = 1

T = TypeVar("T")

_CORRUPT = (
    LookupError,
    TypeError,
    ValueError,
    EOFError,
    RuntimeError,
    zlib.error,
    SafetensorError,
    pyhf.exceptions.InvalidModel,
    pyhf.exceptions.InvalidSpecification,
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
) -> None:
    """Write the parts of a model, completely or not at all; they are the arguments of ``neyman.Model``."""
    weights: dict[str, torch.Tensor] = {}
    arrays: dict[str, NDArray[Any]] = {}
    header = {
        "format": FORMAT,
        "spec": spec,
        "poi": poi_name,
        "document": document,
        "provenance": provenance,
        "modifier_settings": modifier_settings,
        "report": [one.to_dict() for one in report],
        "channels": [_pack(channel, weights, arrays) for channel in learned.values()],
        "observed": _pack_ensemble(observed, arrays),
    }
    with replacing(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("neyman.json", json.dumps(header, indent=1))  # a bound may be infinite
        archive.writestr("weights.safetensors", safetensors.torch.save(weights))
        archive.writestr("arrays.npz", _npz(arrays))


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
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("neyman.json"))
            if header["format"] > FORMAT:
                raise InvalidModelFile(
                    f"{path}: format {header['format']}, but this version reads up to {FORMAT}: upgrade neyman"
                )
            weights = safetensors.torch.load(archive.read("weights.safetensors"))
            with np.load(io.BytesIO(archive.read("arrays.npz")), allow_pickle=False) as stored:
                arrays = dict(stored)
        channels = [_unpack(entry, weights, arrays, network) for entry in header["channels"]]
        reports = [from_dict(entry) for entry in header["report"]]
        return build(
            spec=header["spec"],
            learned={channel.name: channel for channel in channels},
            poi_name=header["poi"],
            observed=_unpack_ensemble(header["observed"], arrays),
            document=header["document"],
            provenance=header["provenance"],
            modifier_settings=header.get("modifier_settings"),
            report=[report for report in reports if isinstance(report, TrainingReport | SetReport)],
        )
    except FileNotFoundError as error:
        raise InvalidModelFile(f"{path}: no such model file; make one with 'neyman train'") from error
    except IsADirectoryError as error:
        raise InvalidModelFile(f"{path}: a folder, not a model file") from error
    except zipfile.BadZipFile as error:
        raise InvalidModelFile(f"{path}: not a model file, or a truncated or corrupt one ({error})") from error
    except _CORRUPT as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidModelFile(f"{path}: not a model file, or a corrupt one ({reason})") from error


def _pack(channel: AnyChannel, weights: dict[str, torch.Tensor], arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Put the channel's tensors and arrays where they belong and return the rest as JSON."""
    packed = channel.pack()
    weights.update({f"{channel.name}/{key}": value for key, value in packed.weights.items()})
    arrays.update({f"{channel.name}/{key}": value for key, value in packed.arrays.items()})
    return packed.entry


def _unpack(
    entry: dict[str, Any], weights: dict[str, torch.Tensor], arrays: dict[str, Any], network: Any
) -> AnyChannel:
    prefix = f"{entry['name']}/"
    packed = Packed(
        entry,
        {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)},
        {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)},
    )
    if entry["kind"] == MixtureChannel.kind:
        return MixtureChannel.unpack(packed)
    if kinds.is_loadable(entry["kind"], entry["networks"][0]["encoder"]):
        return SetChannel.unpack(packed, network)
    raise InvalidModelFile(f"channel {entry['name']}: unknown kind of network '{entry['kind']}': upgrade neyman")


def _pack_ensemble(ensemble: Ensemble | None, arrays: dict[str, NDArray[Any]]) -> dict[str, Any] | None:
    if ensemble is None:
        return None
    for name, events in ensemble.events.items():
        arrays[f"{name}/observed features"] = events.features
        arrays[f"{name}/observed weights"] = events.weights
    return {
        "events": list(ensemble.events),
        "counts": {name: counts.tolist() for name, counts in ensemble.counts.items()},
        "auxdata": None if ensemble.auxdata is None else ensemble.auxdata.tolist(),
    }


def _unpack_ensemble(entry: dict[str, Any] | None, arrays: dict[str, Any]) -> Ensemble | None:
    if entry is None:
        return None
    events = {
        name: Events(arrays[f"{name}/observed features"], arrays[f"{name}/observed weights"])
        for name in entry["events"]
    }
    return Ensemble(events, entry["counts"], entry["auxdata"])


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
