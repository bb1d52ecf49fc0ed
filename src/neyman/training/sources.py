"""The varied events of a channel's samples: those that are learned from their weights alone, and all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from neyman.events import ChannelSimulation, Events, same_features
from neyman.model.variations import Variation

__all__ = ["VariedSources", "varied_sources"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class VariedSources:
    """The varied events by index of their sample and by name, in the order of the columns of their log-ratios.

    Args:
        variations: the shape systematics with the columns of their sides.
        others: events of their own, as from another tree: columns first.
        weights: the nominal sample's events with other weights: the columns after these.
    """

    variations: list[Variation]
    others: Mapping[int, Mapping[str, Events]]
    weights: Mapping[int, Mapping[str, Events]]

    def columns(self) -> Iterator[tuple[int, Events, bool]]:
        """Yield of every column the sample, the events and whether these are the nominal ones with other weights."""
        for group in (self.others, self.weights):
            for sample, events in group.items():
                yield from ((sample, varied, group is self.weights) for varied in events.values())

    def of(self, group: Mapping[int, Mapping[str, Events]], sample: int) -> slice:
        """Return the columns of a sample's varied events in one of the groups."""
        begin = 0 if group is self.others else sum(map(len, self.others.values()))
        begin += sum(len(events) for c, events in group.items() if c < sample)
        return slice(begin, begin + len(group[sample]))


def varied_sources(simulation: ChannelSimulation) -> VariedSources:
    """Tell the variations by weight of a simulation from the others, and give each side a column.

    Example:
        >>> nominal = Events([[1.0], [2.0]])
        >>> heavier, moved = Events(nominal.features, [1.1, 0.9]), Events([[1.1], [2.2]])
        >>> varied = {"b": {"scale": (moved, None), "pdf": (heavier, None)}}
        >>> sources = varied_sources(ChannelSimulation("SR", ("x",), {"b": nominal}, varied))
        >>> list(sources.others[0]), list(sources.weights[0])
        (['scale hi'], ['pdf hi'])
        >>> [(v.parameter, v.hi) for v in sources.variations]
        [('scale', 0), ('pdf', 1)]
    """
    others: dict[int, dict[str, Events]] = {}
    weights: dict[int, dict[str, Events]] = {}
    for c, (sample, nominal) in enumerate(simulation.samples.items()):
        for parameter, pair in simulation.variations.get(sample, {}).items():
            for side, events in zip(("hi", "lo"), pair, strict=True):
                if events is not None:
                    group = weights if same_features(events, nominal) else others
                    group.setdefault(c, {})[f"{parameter} {side}"] = events
    names = [(c, name) for group in (others, weights) for c, events in group.items() for name in events]
    column = {key: number for number, key in enumerate(names)}
    variations = []
    for c, sample in enumerate(simulation.samples):
        for parameter in simulation.variations.get(sample, {}):
            hi, lo = (column.get((c, f"{parameter} {side}")) for side in ("hi", "lo"))
            if hi is not None or lo is not None:
                variations.append(Variation(c, parameter, hi, lo, (sample, parameter) in simulation.mirrored))
    return VariedSources(variations, others, weights)
