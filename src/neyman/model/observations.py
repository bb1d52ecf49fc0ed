"""Other observations for a model: from a document, a file of events, or a saved summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neyman.events import Ensemble, EventSource
from neyman.exceptions import InvalidDocument, InvalidEnsemble
from neyman.inputs import files, sources
from neyman.inputs.places import suffix
from neyman.inputs.workspace import Workspace
from neyman.model.channel import AnyChannel
from neyman.model.summary import Summary

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["Sources", "observed_in", "read_data"]


def __dir__() -> list[str]:
    return __all__


Sources: TypeAlias = "Mapping[str, tuple[EventSource, Sequence[str]]]"
"""Of learned channels, where their events are, with the expressions of their features."""


def read_data(model: Model, path: str) -> NDArray[np.float64] | Summary:
    """Return the observations in a file; see :meth:`neyman.Model.read_data`."""
    found = _observations(model, path)
    if isinstance(found, Summary):
        return found
    if isinstance(found, Workspace):
        return model.data(_completed(model, found.observed()))
    events = {name: sources.read(*of_channel, allow_empty=True) for name, of_channel in found.items()}
    return model.data(_completed(model, Ensemble(events)))


def observed_in(model: Model, path: str) -> tuple[Sources, Ensemble] | Summary:
    """Return where the events of a file of observations are, before they are read, and everything else; or a summary.

    Args:
        model: the model.
        path: as :meth:`neyman.Model.read_data` takes it.

    Raises:
        InvalidDocument: as that.
        InvalidEvents: as that.
        InvalidEnsemble: as that.
    """
    found = _observations(model, path)
    if isinstance(found, Summary):
        return found
    of_events = found.observed_sources() if isinstance(found, Workspace) else found
    rest = _completed(model, Ensemble({}, found.observed_counts() if isinstance(found, Workspace) else {}))
    events = {name: events for name, events in rest.events.items() if name not in of_events}
    return of_events, Ensemble(events, rest.counts, rest.auxdata)


def _observations(model: Model, path: str) -> Workspace | Sources | Summary:
    file, tree = files.tree_of(path)
    if Path(path).suffix == ".npz":
        summary = Summary.load(path)
        if summary.model != model.fingerprint:
            raise InvalidEnsemble(f"{path}: the summary was made by another model: encode the dataset with this one")
        return summary
    if suffix(file) not in files.READERS:
        return Workspace.load(path)
    if model.document:
        if tree is not None:
            raise InvalidDocument(f"{path}: the model's document names the tree to read: give {file} alone")
        return Workspace(model.document).with_data(file)
    channel = _read_into(model, path)
    return {channel.name: (EventSource((file,), tree or files.only_tree(file)), channel.features)}


def _read_into(model: Model, path: str) -> AnyChannel:
    """Return the channel that a file of events is for: without observations, or learned from a simulator, or any."""
    own = model.observed_ensemble
    learned = list(model.learned.values())
    missing = [channel for channel in learned if own is None or channel.name not in own.events]
    of_simulators = [channel for channel in learned if channel.owns_number]
    for channels in (missing, of_simulators, learned):
        if len(channels) == 1:
            return channels[0]
    if not learned:
        raise InvalidDocument(f"{path}: this model has no channel whose data are events")
    raise InvalidDocument(
        f"{path}: this model was not made from a document, so whether the events are of "
        f"{' or '.join(channel.name for channel in learned)} is not known: give a document with observations"
    )


def _completed(model: Model, ensemble: Ensemble) -> Ensemble:
    """Return observations with those of the model itself where a joint model has other channels."""
    own = model.observed_ensemble
    if model.document or own is None:
        return ensemble
    return Ensemble(
        {**own.events, **ensemble.events},
        {**own.counts, **ensemble.counts},
        own.auxdata if ensemble.auxdata is None else ensemble.auxdata,
    )
