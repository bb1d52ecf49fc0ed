"""The summary of a whole dataset: what fits need of it, free of the parameters; kept, saved, and added."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidEnsemble
from neyman.model.channel import ChannelSummary
from neyman.model.pool import MixtureSummary
from neyman.model.setwise import SetSummary
from neyman.support.files import replacing

__all__ = ["Data", "Summary"]


def __dir__() -> list[str]:
    return __all__


_ARRAYS = ("weights", "ratios", "slopes", "curvatures")


@dataclass(frozen=True, eq=False)
class Summary:
    """A dataset as a model sees it, from ``model.encode(ensemble)``; ``+`` joins two datasets.

    :func:`neyman.fit`, ``scan``, ``limit`` and ``interval`` take it in the place of data. An experiment that goes on
    encodes only what is new: ``summary + model.encode(new)``. The auxiliary data are those of the first.

    Args:
        main: counts and, for a learned channel, the sum of event weights, shape ``(B,)``.
        auxdata: the auxiliary data, shape ``(A,)``.
        channels: the summary of the events of every learned channel.
        model: what tells the model that made it from others.
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

    def __repr__(self) -> str:
        return f"Summary({', '.join(self.channels) or 'no learned channel'}; total {self.main.sum():g})"

    def save(self, path: str | Path) -> None:
        """Write a file that :meth:`load` reads."""
        arrays = {"main": self.main, "auxdata": self.auxdata}
        header = {"model": self.model, "channels": [], "additive": []}
        for number, (name, summary) in enumerate(self.channels.items()):
            header["channels"].append(name)  # type: ignore[attr-defined]
            header["additive"].append(getattr(summary, "additive", None))  # type: ignore[attr-defined]
            if isinstance(summary, SetSummary):
                arrays[f"{number} sums"] = summary.sums
            else:
                arrays.update({f"{number} {key}": getattr(summary, key) for key in _ARRAYS})
        buffer = io.BytesIO()
        np.savez(buffer, header=np.array(json.dumps(header)), **arrays)  # type: ignore[arg-type]
        with replacing(path) as stream:
            stream.write(buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Summary:
        """Read a summary.

        Raises:
            InvalidEnsemble: if the file is missing or none of ours.
        """
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                content = dict(stored)
            header = json.loads(str(content["header"]))
            channels: dict[str, ChannelSummary] = {}
            for number, (name, additive) in enumerate(zip(header["channels"], header["additive"], strict=True)):
                if additive is None:
                    channels[name] = MixtureSummary(*(content[f"{number} {key}"] for key in _ARRAYS))
                else:
                    channels[name] = SetSummary(content[f"{number} sums"], additive)
            return cls(content["main"], content["auxdata"], channels, header["model"])
        except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InvalidEnsemble(f"{path}: not a summary of a dataset ({reason})") from error


Data = ArrayLike | Summary  # what fits take: the flat data vector, or the summary of it
