"""The flat data vector of a model, and the ensembles it is packed from and unpacked to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyhf.exceptions import InvalidPdfData

from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidEnsemble

__all__ = ["DataVector"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


class DataVector:
    """The layout of a model's data vector: ``[main | events | aux]``.

    Main data are the counts, and the sum of weights of a learned channel. An event is a row
    ``[channel, x_1 .. x_D, w]``, ``D`` being the largest number of features of a channel.

    Args:
        config: pyhf's configuration of the model.
        features: the features of every learned channel.
    """

    def __init__(self, config: Any, features: Mapping[str, tuple[str, ...]]) -> None:
        self._config, self._features = config, dict(features)
        self._width = max(map(len, self._features.values()), default=0) + 2

    def pack(self, ensemble: Ensemble) -> Array:
        """Return the vector of an ensemble.

        Raises:
            InvalidEnsemble: if a channel is missing or unknown, has another number of features or bins, or numbers
                that are not finite.
        """
        main, aux = self.main_and_aux(ensemble)
        rows = []
        for position, name in enumerate(self._config.channels):
            if name in self._features:
                events = ensemble.events[name]
                block = np.zeros((len(events), self._width))
                block[:, 0], block[:, -1] = position, events.weights
                block[:, 1 : 1 + events.features.shape[1]] = events.features
                rows.append(block.ravel())
        return np.concatenate([main, *rows, aux])

    def main_and_aux(self, ensemble: Ensemble, elsewhere: Collection[str] = ()) -> tuple[Array, Array]:
        """Return main and auxiliary data of an ensemble.

        Args:
            ensemble: the ensemble.
            elsewhere: learned channels whose events are not in it; their total weight is left zero.

        Raises:
            InvalidEnsemble: as :meth:`pack`.
        """
        self._check_channels(ensemble, elsewhere)
        main = np.zeros(self._config.nmaindata)
        for name in set(self._config.channels) - set(elsewhere):
            learned = name in self._features
            content = ensemble.events[name].weights.sum() if learned else ensemble.counts[name]
            main[self._config.channel_slices[name]] = content
        aux = self._config.auxdata if ensemble.auxdata is None else ensemble.auxdata
        return main, np.array(aux, dtype=np.float64)

    def unpack(self, data: Array) -> Ensemble:
        """Return the ensemble of a vector.

        Raises:
            pyhf.exceptions.InvalidPdfData: if the vector has a wrong length or contradicts itself.
        """
        main, rows, aux = self.split(data)
        events, counts = {}, {}
        for position, name in enumerate(self._config.channels):
            part = main[self._config.channel_slices[name]]
            if name not in self._features:
                counts[name] = part
                continue
            own = rows[rows[:, 0] == position]
            events[name] = Events(own[:, 1 : 1 + len(self._features[name])], own[:, -1])
            total = events[name].weights.sum()
            if not np.isclose(part[0], total, rtol=1e-6, atol=1e-6):
                raise InvalidPdfData(
                    f"channel {name}: the main data have {part[0]:g} events, but their weights add up to {total:g}"
                )
        if sum(len(e) for e in events.values()) != len(rows):
            raise InvalidPdfData(
                "the data have events of a channel that is not a learned one: pack them with model.data"
            )
        return Ensemble(events, counts, aux)

    def split(self, data: Array) -> tuple[Array, Array, Array]:
        """Return main data, the rows of events, and auxiliary data.

        Raises:
            pyhf.exceptions.InvalidPdfData: if the vector has a wrong length.
        """
        fixed = self._config.nmaindata + self._config.nauxdata
        events = data.size - fixed
        if data.ndim != 1 or events < 0 or events % self._width or (events and not self._features):
            expected = f"{fixed}" + (f" and {self._width} for each event" if self._features else "")
            raise InvalidPdfData(f"eval failed as data has len {data.size} but {expected} was expected")
        end = self._config.nmaindata + events
        return data[: self._config.nmaindata], data[self._config.nmaindata : end].reshape(-1, self._width), data[end:]

    def _check_channels(self, ensemble: Ensemble, elsewhere: Collection[str] = ()) -> None:
        for name in self._config.channels:
            if name in elsewhere:
                continue
            given: Mapping[str, Any] = ensemble.events if name in self._features else ensemble.counts
            what = "events" if name in self._features else "counts"
            if name not in given:
                raise InvalidEnsemble(f"channel {name}: the ensemble has no {what} for it")
            if name in self._features:
                width, features = ensemble.events[name].features.shape[1], self._features[name]
                if width != len(features):
                    raise InvalidEnsemble(
                        f"channel {name}: the events have {width} features, the model {len(features)}: "
                        f"{', '.join(features)}"
                    )
                _check_finite(ensemble.events[name], name)
            elif ensemble.counts[name].shape != (self._config.channel_nbins[name],):
                bins = self._config.channel_nbins[name]
                raise InvalidEnsemble(
                    f"channel {name}: {ensemble.counts[name].size} counts given in the shape "
                    f"{ensemble.counts[name].shape}, but it has {bins} bins"
                )
            elif not np.all(np.isfinite(ensemble.counts[name])):
                raise InvalidEnsemble(f"channel {name}: the counts are not all finite")
        for name in [*ensemble.events, *ensemble.counts]:
            if name not in self._config.channels:
                raise InvalidEnsemble(
                    f"channel {name}: the model has no such channel; it has {', '.join(self._config.channels)}"
                )
            if name in ensemble.events and name in ensemble.counts:
                raise InvalidEnsemble(f"channel {name}: the ensemble has both events and counts for it; leave one out")
        if ensemble.auxdata is not None and ensemble.auxdata.shape != (self._config.nauxdata,):
            raise InvalidEnsemble(
                f"{ensemble.auxdata.size} auxiliary data given, but the model has {self._config.nauxdata}"
            )


def _check_finite(events: Events, channel: str) -> None:
    finite = np.isfinite(events.features).all(axis=1) & np.isfinite(events.weights)
    if not finite.all():
        raise InvalidEnsemble(
            f"channel {channel}: {np.count_nonzero(~finite)} of {len(events)} events have a feature or weight that is"
            " not finite: leave them out or correct them"
        )
