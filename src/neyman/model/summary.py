"""The summary of a whole dataset: what fits need of it, free of the parameters; kept, saved, and added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidEnsemble
from neyman.model.channel import ChannelSummary
from neyman.model.pool import MixtureSummary
from neyman.model.setwise_ratio import SetSummary
from neyman.support.archives import Archive, joined, split, under
from neyman.support.text import html_table

__all__ = ["Data", "Summary"]


def __dir__() -> list[str]:
    return __all__


_FILE = Archive(
    "summary of a dataset", InvalidEnsemble, "make one with model.encode(ensemble).save(path)", compressed=False
)


@dataclass(frozen=True, eq=False)
class Summary:
    """A dataset as a model sees it, from ``model.encode(ensemble)``; ``+`` joins two datasets.

    :func:`neyman.fit`, ``scan``, ``limit`` and ``interval`` take it in the place of data. An experiment that goes on
    encodes only what is new: ``summary + model.encode(new)``. The auxiliary data are those of the first.

    Args:
        main: counts and, for a learned channel, the sum of event weights, shape ``(B,)``.
        auxdata: the auxiliary data, shape ``(A,)``.
        channels: the summary of the events of every learned channel.
        model: the ``fingerprint`` of the model that made it.
    """

    main: NDArray[np.float64]
    auxdata: NDArray[np.float64]
    channels: Mapping[str, ChannelSummary]
    model: str

    def __add__(self, other: Summary) -> Summary:
        if self.model != other.model:
            raise InvalidEnsemble("summaries of different models cannot be added: encode both with the same model")
        channels = {name: one + other.channels[name] for name, one in self.channels.items()}
        return Summary(self.main + other.main, self.auxdata, channels, self.model)

    def _repr_html_(self) -> str:
        channels = [(name, type(summary).__name__) for name, summary in self.channels.items()]
        caption = f"summary of a dataset of {self.main.sum():g} events, by the model {self.model[:12]}"
        return html_table(caption, ("learned channel", "summary"), channels)

    def __repr__(self) -> str:
        return f"Summary({', '.join(self.channels) or 'no learned channel'}; total {self.main.sum():g})"

    def save(self, path: str | Path) -> None:
        """Write a file that :meth:`load` reads.

        Args:
            path: the file.
        """
        entries: list[dict[str, Any]] = []
        arrays: dict[str, NDArray[Any]] = {"main": self.main, "auxdata": self.auxdata}
        for number, (name, summary) in enumerate(self.channels.items()):
            values, own = split(summary)
            entries.append({"name": name, "kind": type(summary).__name__, "values": values})
            arrays.update({f"{number}/{key}": array for key, array in own.items()})
        _FILE.write(path, {"model": self.model, "channels": entries}, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Summary:
        """Read a summary.

        Args:
            path: the file.

        Raises:
            InvalidEnsemble: if the file is missing, corrupt or none of ours.
        """
        with _FILE.read(path) as (_, header, arrays, _):
            kinds = {kind.__name__: kind for kind in (MixtureSummary, SetSummary)}
            channels: dict[str, ChannelSummary] = {
                entry["name"]: kinds[entry["kind"]](**joined(entry["values"], under(number, arrays)))
                for number, entry in enumerate(header["channels"])
            }
            return cls(arrays["main"], arrays["auxdata"], channels, header["model"])


Data = ArrayLike | Summary  # what fits take: the flat data vector, or the summary of it
