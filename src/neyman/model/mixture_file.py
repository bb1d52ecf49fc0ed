"""What a model file stores of a mixture channel: networks, calibration, pool, normalisations and tilts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neyman.model.calibration import LogitCalibration
from neyman.model.channel import Packed
from neyman.model.normalisation import LogNormalisation
from neyman.model.pool import MixtureSummary, Pool
from neyman.model.tilts import Tilts
from neyman.model.variations import Variation
from neyman.networks.layers import initialised
from neyman.networks.mixture import CrossFitClassifier
from neyman.networks.scaling import FeatureScaler

if TYPE_CHECKING:
    from neyman.model.mixture import MixtureChannel

__all__ = ["pack", "unpack"]


def __dir__() -> list[str]:
    return __all__


_VALUES = ("ratios", "slopes", "curvatures")


def pack(channel: MixtureChannel) -> Packed:
    """Return what a model file stores of a channel."""
    networks = {"samples": channel.sample_classifier} if channel.sample_classifier else {}
    networks |= {f"variations {c}": network for c, network in channel.variation_classifiers.items()}
    networks |= {f"weights {c}": network for c, network in channel.weight_networks.items()}
    summary = channel.pool.summary
    entry = {
        "name": channel.name,
        "kind": channel.kind,
        "features": channel.features,
        "samples": channel.samples,
        "encoding": channel.encoding,
        "variations": [dataclasses.asdict(v) for v in channel.shapes],
        "networks": {
            key: {"classes": network.classes, "hidden": network.hidden, "folds": network.folds}
            for key, network in networks.items()
        },
    }
    weights = {
        f"{key}/{part}": value.contiguous()
        for key, network in networks.items()
        for part, value in network.state_dict().items()
    }
    arrays = {
        "yields": channel.yields,
        "pool features": channel.pool.features,
        "pool samples": channel.pool.samples.astype(np.int16),
        "pool weights": summary.weights,
        **({} if channel.pool.squares is None else {"pool squares": channel.pool.squares}),
        "pool ratios": summary.ratios.astype(np.float32),
        **{f"pool {key}": getattr(summary, key)[: len(channel.shapes)].astype(np.float32) for key in _VALUES[1:]},
        **{
            f"calibration {what} {number + 1}": getattr(channel.calibration, what)[number]
            for what in ("samples", "variations")
            for number in (0, 1)
        },
        **{
            f"normalisation {c} {key}": array
            for c, one in channel.normalisations.items()
            for key, array in one.pack().items()
        },
    }
    if channel.tilts is not None:
        entry["tilts"] = {"samples": channel.tilts.samples, "parameters": channel.tilts.parameters}
        arrays |= {"tilts rates": channel.tilts.rates, "tilts coefficients": channel.tilts.coefficients}
    return Packed(entry, weights, arrays)


def unpack(packed: Packed, build: type[MixtureChannel]) -> MixtureChannel:
    """Make the channel of what a model file has stored.

    Args:
        packed: what :func:`pack` has returned.
        build: the class of the channel.
    """
    entry, arrays = packed.entry, packed.arrays
    networks = {}
    for key, shape in entry["networks"].items():
        state = {k.removeprefix(f"{key}/"): v for k, v in packed.weights.items() if k.startswith(f"{key}/")}
        scaler = FeatureScaler.of_state(state)
        with initialised(0):
            network = CrossFitClassifier(scaler, shape["classes"], shape["hidden"], shape["folds"])
        network.load_state_dict(state)
        networks[key] = network.eval().requires_grad_(False)
    samples, variations = (
        (arrays[f"calibration {what} 1"], arrays[f"calibration {what} 2"]) for what in ("samples", "variations")
    )
    ratios, *effects = (arrays[f"pool {key}"] for key in _VALUES)
    pool = Pool(
        arrays["pool features"],
        arrays["pool samples"].astype(np.int64),
        MixtureSummary(arrays["pool weights"], ratios.astype(np.float64), *effects),
        arrays.get("pool squares"),
    )
    tilts = None
    if "tilts" in entry:
        owners, names = (tuple(entry["tilts"][key]) for key in ("samples", "parameters"))
        tilts = Tilts(owners, names, arrays["tilts rates"], arrays["tilts coefficients"])
    variation_classifiers, weight_networks = (
        {int(key.removeprefix(kind)): network for key, network in networks.items() if key.startswith(kind)}
        for kind in ("variations ", "weights ")
    )
    return build(
        entry["name"],
        entry["features"],
        entry["samples"],
        arrays["yields"],
        [Variation(**v) for v in entry["variations"]],
        networks.get("samples"),
        variation_classifiers,
        LogitCalibration(samples, variations),
        pool,
        entry.get("encoding", "mean"),  # all there was before
        weight_networks,
        tilts,
        {
            c: LogNormalisation.unpack(groups)
            for c in range(len(entry["samples"]))
            if (groups := _starting(f"normalisation {c} ", arrays))
        },
    )


def _starting(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names start with something, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
