"""The model file: one zip of JSON, safetensors and npz, written in one step and read without running code."""

from __future__ import annotations

import dataclasses
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
from neyman.model.calibration import Calibration, Variation
from neyman.model.mixture import MixtureChannel, MixtureSummary, Pool
from neyman.model.setwise import SetChannel
from neyman.networks import kinds
from neyman.networks.averages import AverageEncoder, AverageHead
from neyman.networks.heads import head_of
from neyman.networks.layers import FeatureScaler, initialised
from neyman.networks.mixture import CrossFitClassifier
from neyman.results import SetReport, TrainingReport, from_json
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
    learned: Mapping[str, MixtureChannel | SetChannel],
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
        reports = [from_json(json.dumps(entry)) for entry in header["report"]]
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


def _pack(
    channel: MixtureChannel | SetChannel, weights: dict[str, torch.Tensor], arrays: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    """Put the channel's tensors and arrays where they belong and return the rest as JSON."""
    if isinstance(channel, SetChannel):
        return _pack_set(channel, weights, arrays)
    return _pack_mixture(channel, weights, arrays)


def _unpack(
    entry: dict[str, Any], weights: dict[str, torch.Tensor], arrays: dict[str, Any], network: Any
) -> MixtureChannel | SetChannel:
    if entry["kind"] == MixtureChannel.kind:
        return _unpack_mixture(entry, weights, arrays)
    if not kinds.is_loadable(entry["kind"], entry["networks"][0]["encoder"]):
        raise InvalidModelFile(f"channel {entry['name']}: unknown kind of network '{entry['kind']}': upgrade neyman")
    return _unpack_set(entry, weights, arrays, network)


def _pack_set(channel: SetChannel, weights: dict[str, torch.Tensor], arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    for name, module in (("encoder", channel.encoder), ("head", channel.head)):
        for key, value in module.state_dict().items():
            weights[f"{channel.name}/{name}/{key}"] = value.clone().contiguous()
    arrays[f"{channel.name}/low"], arrays[f"{channel.name}/high"] = channel.low, channel.high
    source = channel.source if isinstance(channel.source, MixtureChannel) else None
    return {
        "name": channel.name,
        "kind": channel.kind,
        "features": channel.features,
        "parameters": channel.parameters,
        "numbers": channel.numbers,
        "networks": [
            {"encoder": encoder.shape, "head": head.shape}
            for encoder, head in zip(channel.encoder.members, channel.head.members, strict=True)
        ],
        "source": None if source is None else _pack_mixture(source, weights, arrays),
    }


def _unpack_set(
    entry: dict[str, Any], weights: dict[str, torch.Tensor], arrays: dict[str, Any], network: Any
) -> SetChannel:
    name = entry["name"]
    low, high = (arrays[f"{name}/{key}"].astype(np.float64) for key in ("low", "high"))

    def state(part: str) -> dict[str, torch.Tensor]:
        prefix = f"{name}/{part}"
        return {k.removeprefix(prefix): value for k, value in weights.items() if k.startswith(prefix)}

    encoders, heads = [], []
    for k, shape in enumerate(entry["networks"]):
        encoders.append(kinds.load_encoder(entry["kind"], shape["encoder"], state(f"encoder/members.{k}."), network))
        with initialised(0):
            heads.append(head_of(shape["head"], torch.from_numpy(low), torch.from_numpy(high), encoders[-1].size))
        heads[-1].load_state_dict(state(f"head/members.{k}."))
    encoder = AverageEncoder(encoders)
    head = AverageHead(heads, encoder.sizes)
    for module in (encoder, head):
        module.eval().requires_grad_(False)
    source = None if entry["source"] is None else _unpack_mixture(entry["source"], weights, arrays)
    fewest, most = map(float, entry["numbers"])
    channel = SetChannel(
        name, entry["kind"], entry["features"], low, high, encoder, head, (fewest, most), source, entry["parameters"]
    )
    if len(channel.names) != len(low) or any(len(channel.features) != len(one.scaler.centre) for one in encoders):
        raise ValueError(f"channel {name} has other parameters or features than its network")
    return channel


def _pack_mixture(
    channel: MixtureChannel, weights: dict[str, torch.Tensor], arrays: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    networks = {
        "samples": channel.sample_classifier,
        **{f"variations {c}": network for c, network in channel.variation_classifiers.items()},
    }
    shapes = {}
    for name, network in networks.items():
        if network is None:
            continue
        shapes[name] = {"classes": network.classes, "hidden": network.hidden, "folds": network.folds}
        for key, value in network.state_dict().items():
            weights[f"{channel.name}/{name}/{key}"] = value.contiguous()
    pool = channel.pool
    own: dict[str, NDArray[Any]] = {
        "yields": channel.yields,
        "calibration samples 1": channel.calibration.samples[0],
        "calibration samples 2": channel.calibration.samples[1],
        "calibration variations 1": channel.calibration.variations[0],
        "calibration variations 2": channel.calibration.variations[1],
        "pool features": pool.features,
        "pool samples": pool.samples.astype(np.int16),
        "pool weights": pool.summary.weights,
        "pool ratios": pool.summary.ratios.astype(np.float32),
        "pool slopes": pool.summary.slopes.astype(np.float32),
        "pool curvatures": pool.summary.curvatures.astype(np.float32),
    }
    arrays.update({f"{channel.name}/{key}": value for key, value in own.items()})
    return {
        "name": channel.name,
        "kind": channel.kind,
        "features": channel.features,
        "samples": channel.samples,
        "variations": [dataclasses.asdict(v) for v in channel.variations],
        "networks": shapes,
    }


def _unpack_mixture(entry: dict[str, Any], weights: dict[str, torch.Tensor], arrays: dict[str, Any]) -> MixtureChannel:
    name = entry["name"]
    networks = {}
    for key, shape in entry["networks"].items():
        prefix = f"{name}/{key}/"
        state = {k.removeprefix(prefix): value for k, value in weights.items() if k.startswith(prefix)}
        scaler = FeatureScaler(state["scaler.centre"], state["scaler.scale"])
        with initialised(0):
            network = CrossFitClassifier(scaler, shape["classes"], shape["hidden"], shape["folds"])
        network.load_state_dict(state)
        networks[key] = network.eval().requires_grad_(False)
    sample_classifier = networks.pop("samples", None)

    def own(key: str) -> Any:
        return arrays[f"{name}/{key}"]

    summary = MixtureSummary(
        own("pool weights"),
        *(own(f"pool {key}").astype(np.float64) for key in ("ratios", "slopes", "curvatures")),
    )
    calibration = Calibration(
        samples=(own("calibration samples 1"), own("calibration samples 2")),
        variations=(own("calibration variations 1"), own("calibration variations 2")),
    )
    return MixtureChannel(
        name,
        entry["features"],
        entry["samples"],
        own("yields"),
        [Variation(**v) for v in entry["variations"]],
        sample_classifier,
        {int(key.removeprefix("variations ")): network for key, network in networks.items()},
        calibration,
        Pool(own("pool features"), own("pool samples").astype(np.int64), summary),
    )


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
