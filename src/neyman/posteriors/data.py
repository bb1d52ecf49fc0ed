"""The events of whatever stands for a dataset: events, arrays, ensembles, data vectors of a simulator's model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray
from pyhf.exceptions import InvalidPdfData

from neyman.events import Ensemble, Events, EventSource
from neyman.exceptions import InvalidEnsemble, InvalidEvents
from neyman.inputs import files, sources
from neyman.inputs.places import suffix
from neyman.model.data import DataVector
from neyman.support.messages import did_you_mean

__all__ = ["events_of", "read_events"]


def __dir__() -> list[str]:
    return __all__


_NOMINAL = 1e-9  # of auxiliary data that are the nominal ones


def events_of(
    data: Any,
    channel: str,
    features: Sequence[str],
    spec: Mapping[str, Any],
    event_shape: Sequence[int] | None = None,
) -> Events:
    """Return the events of a dataset.

    Args:
        data: :class:`Events`, an array ``(N, d)`` or ``(N, *event_shape)``, an :class:`Ensemble`, or the data vector
            of a model with this specification.
        channel: the channel that the events are in.
        features: the names of the features.
        spec: the inner HistFactory specification of the simulator.
        event_shape: of events that are images or sets.

    Raises:
        InvalidEnsemble: if it is none of these, or has other features or auxiliary data.
    """
    if isinstance(data, Ensemble):
        if channel not in data.events:
            raise InvalidEnsemble(
                f"the ensemble has no events of the channel {channel!r}: {did_you_mean(channel, data.events)}"
            )
        _check_nominal(data.auxdata, spec)
        return _checked(data.events[channel], features, event_shape)
    if isinstance(data, Events):
        return _checked(data, features, event_shape)
    wanted = (len(features),) if event_shape is None else tuple(event_shape)
    try:
        array = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidEnsemble(
            f"data is a {type(data).__name__}: give events, an array {_shape(wanted)}, an ensemble, the data "
            "vector of the simulator's model, or a summary"
        ) from error
    if event_shape is not None and array.shape[1:] == wanted:
        array = array.reshape(len(array), -1)
    if array.ndim == 2:
        return _checked(Events(array), features, event_shape)
    if array.ndim == 1:
        return _checked(_unpacked(array, channel, wanted, spec), features, event_shape)
    raise InvalidEnsemble(f"data has the shape {array.shape}: give an array {_shape(wanted)}")


def read_events(path: str, features: Sequence[str]) -> Events:
    """Return the events of a file that has branches named like the features.

    Args:
        path: a ROOT or parquet file, or its URL; ``FILE.root:TREE`` if it has several trees.
        features: the names.

    Raises:
        InvalidEvents: if the file cannot be read or has not what is needed.
    """
    file, tree = files.tree_of(path)
    if suffix(file) not in files.READERS:
        raise InvalidEvents(f"{path}: no file of events: give one of {', '.join(sorted(files.READERS))}")
    return sources.read(EventSource((file,), tree or files.only_tree(file)), features, allow_empty=True)


def _unpacked(data: NDArray[np.float64], channel: str, shape: Sequence[int], spec: Mapping[str, Any]) -> Events:
    """Return the events of a data vector."""
    config = pyhf.Model(dict(spec), poi_name=None).config
    names = tuple(map(str, range(math.prod(shape))))
    try:
        ensemble = DataVector(config, {channel: names}).unpack(data)
    except InvalidPdfData as error:
        raise InvalidEnsemble(
            f"data of shape {data.shape} are no data vector of the simulator's model ({error}): give events as an array"
            f" {_shape(shape)}"
        ) from error
    _check_nominal(ensemble.auxdata, spec)
    return ensemble.events[channel]


def _check_nominal(auxdata: NDArray[np.float64] | None, spec: Mapping[str, Any]) -> None:
    """Refuse auxiliary data that are not those of the prior, into which the constraints have gone."""
    if auxdata is None:
        return
    nominal = np.asarray(pyhf.Model(dict(spec), poi_name=None).config.auxdata, dtype=np.float64)
    if auxdata.shape != nominal.shape or not np.allclose(auxdata, nominal, rtol=_NOMINAL, atol=_NOMINAL):
        raise InvalidEnsemble(
            f"the auxiliary data {auxdata.tolist()} are not the nominal ones, {nominal.tolist()}: the constraint at "
            "those is part of the prior that this posterior was trained with"
        )


def _checked(events: Events, features: Sequence[str], event_shape: Sequence[int] | None) -> Events:
    number = len(features) if event_shape is None else math.prod(event_shape)
    if events.features.shape[1] != number:
        wanted = f"{number}: {', '.join(features[:12])}" if event_shape is None else _shape(event_shape)
        raise InvalidEnsemble(
            f"the events have {events.features.shape[1]} features, but those of the posterior {wanted}"
        )
    finite = np.isfinite(events.features).all(axis=1) & np.isfinite(events.weights)
    if not finite.all():
        raise InvalidEnsemble(
            f"{np.count_nonzero(~finite)} of {len(events)} events have a feature or weight that is not finite: leave "
            "them out or correct them"
        )
    return events


def _shape(wanted: Sequence[int]) -> str:
    return f"(events, {', '.join(map(str, wanted))})"
