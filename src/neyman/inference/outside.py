"""Warnings of data that the simulation has nothing like, once for each fit, limit or interval."""

from __future__ import annotations

import logging

from neyman.model.model import Model
from neyman.model.summary import Data

__all__ = ["warn_of_outside"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)


def warn_of_outside(data: Data, model: Model) -> tuple[str, ...]:
    """Warn of features whose values in the data the simulation has not, and return what is to stand in the result.

    Args:
        data: the flat data vector, or the summary of a dataset, whose events are not known any more.
        model: the model.

    Raises:
        pyhf.exceptions.InvalidPdfData: if the data vector does not fit the model.
    """
    found = model.outside(data) if hasattr(model, "outside") else ()  # any other likelihood does not know
    for text in found:
        log.warning("%s", text)
    return found
