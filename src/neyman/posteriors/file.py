"""The file of a posterior: its network and what it takes to use it, as one archive; reading it runs no code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from neyman.exceptions import InvalidModelFile
from neyman.inputs.priors import prior_from_json, prior_to_json
from neyman.networks import kinds
from neyman.networks.layers import initialised
from neyman.networks.local_posterior import LocalNetwork
from neyman.networks.posterior import PosteriorNetwork, Straight
from neyman.posteriors.locals import LocalCoordinates, LocalPosterior
from neyman.posteriors.posterior import Posterior
from neyman.results import from_dict
from neyman.support.archives import Archive

__all__ = ["is_posterior", "load", "save"]


def __dir__() -> list[str]:
    return __all__


_FILE = Archive("posterior", InvalidModelFile, "make one with 'neyman train --posterior'")


def save(posterior: Posterior, path: Path) -> None:
    """Write a posterior, completely or not at all."""
    network = posterior.network
    header = {
        "names": posterior.names,
        "prior": prior_to_json(posterior.prior),
        "features": posterior.features,
        "channel": posterior.channel,
        "kind": posterior.kind,
        "numbers": posterior.numbers,
        "spec": posterior.spec,
        "event_shape": posterior.event_shape,
        "encoder": network.encoder.shape,
        "network": network.shape,
        "provenance": posterior.provenance,
        "history": posterior.history,
        "report": [one.to_dict() for one in posterior.report],
    }
    arrays, weights = {"bounds": posterior.bounds}, network.state_dict()
    if (local := posterior.local) is not None:
        kind = posterior.kind if network.encoder.additive else "deepset"
        header["local"] = {
            "names": local.names,
            "kind": kind,
            "encoder": local.network.encoder.shape,
            "network": local.network.shape,
        }
        arrays["local/knots"] = local.coordinates.knots
        weights = {**weights, **{f"local/{key}": value for key, value in local.network.state_dict().items()}}
    _FILE.write(path, header, arrays, weights)


def load(path: Path, network: Any = None) -> Posterior:
    """Read a posterior.

    Args:
        path: the file.
        network: a network of the user's own, as :func:`neyman.networks.register` takes it.

    Raises:
        InvalidModelFile: if the file is missing, corrupt, from a newer version, or none of ours.
        InvalidParameter: if it takes a network of the user's own, and that is missing or another one.
    """
    with _FILE.read(path) as (_, header, arrays, weights):
        names, bounds, kind = header["names"], arrays["bounds"], header["kind"]
        if not kinds.is_loadable(kind, header["encoder"]):
            raise InvalidModelFile(f"unknown kind of network {kind!r}: upgrade neyman")
        own = {key: value for key, value in weights.items() if not key.startswith("local/")}
        encoder = kinds.load_encoder(kind, header["encoder"], _part(own, "encoder."), network)
        with initialised(0):
            trained = PosteriorNetwork(
                encoder, len(names), own["centre"], own["scale"], **header["network"],
                straight=Straight(own["head.straight.knots"], own["head.straight.ends"]),
            )  # fmt: skip
        trained.load_state_dict(own)
        trained.eval().requires_grad_(False)
        event_shape = header["event_shape"]
        columns = len(header["features"]) if event_shape is None else math.prod(event_shape)
        if bounds.shape != (len(names), 2) or encoder.scaler.features != columns:
            raise ValueError("it has other parameters or features than its network")
        return Posterior(
            trained,
            names=names,
            bounds=bounds,
            prior=prior_from_json(header["prior"]),
            features=header["features"],
            channel=header["channel"],
            kind=kind,
            numbers=(float(header["numbers"][0]), float(header["numbers"][1])),
            spec=header["spec"],
            event_shape=event_shape,
            provenance=header["provenance"],
            history=header["history"],
            report=[from_dict(one) for one in header["report"]],
            local=_local(header["local"], arrays, _part(weights, "local/"), network) if "local" in header else None,
        )


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def _local(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], state: dict[str, Tensor], network: Any
) -> LocalPosterior:
    """Return the posterior of what is local to events."""
    encoder = kinds.load_encoder(header["kind"], header["encoder"], _part(state, "encoder."), network)
    with initialised(0):
        trained = LocalNetwork(encoder, **header["network"])
    trained.load_state_dict(state)
    coordinates = LocalCoordinates(arrays["local/knots"])
    if len(coordinates.knots) != len(header["names"]):
        raise ValueError("it has other local parameters than its network")
    return LocalPosterior(header["names"], trained.eval().requires_grad_(False), coordinates)


def is_posterior(path: Path) -> bool:
    """Whether a file is one of a posterior."""
    return _FILE.is_kind_of(path)
