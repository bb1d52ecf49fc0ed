"""Other observations for a model: from a document, a file of events, or a saved summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.events import Ensemble, EventSource
from neyman.exceptions import InvalidDocument, InvalidEnsemble
from neyman.inputs import sources
from neyman.inputs.places import suffix
from neyman.inputs.workspace import Workspace
from neyman.model.summary import Summary

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["read_data"]


def __dir__() -> list[str]:
    return __all__


def read_data(model: Model, path: str) -> NDArray[np.float64] | Summary:
    """Return the observations in a file; see :meth:`neyman.Model.read_data`."""
    file, tree = sources.tree_of(path)
    if Path(path).suffix == ".npz":
        summary = Summary.load(path)
        if summary.model != model.fingerprint:
            raise InvalidEnsemble(f"{path}: the summary was made by another model: encode the dataset with this one")
        return summary
    if suffix(file) not in sources.READERS:
        return model.data(Workspace.load(path).observed())
    if model.document:
        if tree is not None:
            raise InvalidDocument(f"{path}: the model's document names the tree to read: give {file} alone")
        return model.data(Workspace(model.document).with_data(file).observed())
    if len(model.config.channels) != 1 or not model.learned:
        raise InvalidDocument(f"{path}: this model was not made from a document, so the tree to read is not known")
    [channel] = model.learned.values()
    source = EventSource((file,), tree or sources.only_tree(file))
    return model.data(Ensemble({channel.name: sources.read(source, channel.features, allow_empty=True)}))
