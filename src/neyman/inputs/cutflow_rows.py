"""The rows of the cutflow of a document: its event sources counted, condition after condition, in its order."""

from __future__ import annotations

from neyman.events import EventSource
from neyman.exceptions import InvalidDocument
from neyman.inputs.channels import Channel, Contents
from neyman.inputs.cutflow import Cutflow, CutflowRow, conditions_of
from neyman.inputs.reading import Reading
from neyman.support.messages import did_you_mean

__all__ = ["cutflow"]


def __dir__() -> list[str]:
    return __all__


def cutflow(reading: Reading, observed: Reading | None = None) -> Cutflow:
    """Return what the selection leaves of every event source, condition after condition, and the yields.

    Args:
        reading: of the document's event sources.
        observed: that of another document with the same channels, whose observations stand in the place of its own.

    Raises:
        InvalidEvents: if a source cannot be read.
        InvalidDocument: if the other document has other channels, or one that is blind.
    """
    rows: list[CutflowRow] = []
    for name, channel in reading.channels.items():
        for sample in channel.samples:
            nominal = _row(reading, channel, sample.contents, sample.name)
            rows.append(nominal)
            if sample.calibration is not None:
                rows.append(_row(reading, channel, sample.calibration, sample.name, "calibration"))
            for parameter, sides in sample.variations.items():
                named = [(side, one) for side, one in (("hi", sides.hi), ("lo", sides.lo)) if one]
                varied = [_row(reading, channel, one, sample.name, f"{parameter} {side}") for side, one in named]
                rows += varied
                if sides.mirrored:
                    side, total = "lo" if sides.hi else "hi", 2 * nominal.total - varied[0].total
                    label = f"{parameter} {side} (mirrored)"
                    rows.append(CutflowRow(name, sample.name, label, None, (), (), total))
        if observed is not None:
            rows.append(_observed(observed, channel))
        elif channel.observation is not None:
            rows.append(_row(reading, channel, channel.observation, None))
    signed = frozenset(
        (name, sample.name) for name, channel in reading.channels.items() for sample in channel.samples if sample.signed
    )
    return Cutflow(tuple(rows), signed)


def _row(
    reading: Reading, channel: Channel, contents: Contents, sample: str | None, variation: str | None = None
) -> CutflowRow:
    """Return the row of a sample, a variation or an observation."""
    if not isinstance(contents, EventSource):
        return CutflowRow(channel.name, sample, variation, None, (), (), float(sum(contents)))
    conditions = conditions_of(contents.selection)
    events, *passing = reading.passing(channel, contents, conditions)
    total = float(reading.read(channel, contents, allow_empty=True).weights.sum())
    return CutflowRow(channel.name, sample, variation, events, tuple(conditions), tuple(passing), total)


def _observed(reading: Reading, like: Channel) -> CutflowRow:
    """Return the row of the observation of a channel, which is like one of another document."""
    name = like.name
    if name not in reading.channels:
        raise InvalidDocument(f"other observations: no channel {name!r}; {did_you_mean(name, reading.channels)}")
    channel = reading.channels[name]
    if type(channel.kind) is not type(like.kind) or str(channel.kind) != str(like.kind):
        raise InvalidDocument(f"other observations: channel {name!r} has {channel.kind}, not {like.kind}")
    if channel.observation is None:
        raise InvalidDocument(f"other observations: channel {name!r} is blind; add an observation of that name")
    return _row(reading, channel, channel.observation, None)
