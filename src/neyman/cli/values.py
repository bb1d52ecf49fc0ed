"""What is typed on the command line: points, ranges, settings of a network, levels, and words with two spellings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from neyman.exceptions import InvalidParameter

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
    Choice = click.Choice[str]
else:  # generic since click 8.4 and 8.2
    ParamType, Choice = click.ParamType, click.Choice

__all__ = ["BINS", "BOUNDS", "FIXED", "GROUP", "LEVEL", "POINT", "PRIOR", "RANGE", "SETTING", "VALUES", "Word"]


def __dir__() -> list[str]:
    return __all__


_SPELLINGS = {"toybased": "toys", "qtilde": "qmu_tilde", "q": "qmu"}  # pyhf's and ours


class _Read(ParamType):
    """What a function makes of a text.

    Args:
        name: what is to be typed, for the help.
        read: the function; raises ``ValueError`` for a text that it cannot read.
        wanted: the end of the message then, after "... is".
    """

    def __init__(self, name: str, read: Callable[[str], Any], wanted: str) -> None:
        self.name, self._read, self._wanted = name, read, wanted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what was typed."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except InvalidParameter as error:
            self.fail(str(error), param, ctx)
        except ValueError:
            self.fail(f"{value!r} is {self._wanted}", param, ctx)


class Word(Choice):
    """One of several words; where pyhf spells it in another way, that is taken, too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word."""
        same = [word for word in self.choices if _SPELLINGS.get(word, word) == _SPELLINGS.get(value, value)]
        return super().convert(same[0] if same else value, param, ctx)


def _fixed(text: str) -> tuple[str, float | None]:
    name, equals, number = text.partition("=")
    return name.strip(), float(number) if equals else None


def _point(text: str) -> dict[str, float]:
    pairs = [pair.partition("=") for pair in text.split(",") if text]
    return {name.strip(): float(number) for name, _, number in pairs}


def _group(text: str) -> tuple[str, list[str]]:
    name, equals, members = text.partition("=")
    if not (equals and name.strip() and members.strip()):
        raise ValueError
    return name.strip(), [member.strip() for member in members.split(",")]


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key.strip(), json.loads(f"[{value}]" if "," in value else value)


def _bins(text: str) -> tuple[str, int | list[float]]:
    name, _, given = text.rpartition("=")
    return name.strip(), int(given) if given.strip().isdigit() else _values(given)


def _values(text: str) -> list[float]:
    if ":" not in text:
        return [float(number) for number in text.split(",")]
    low, high, n = text.split(":")
    step = (float(high) - float(low)) / max(int(n) - 1, 1)
    return [float(low) + i * step for i in range(int(n))]


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    return float(low), float(high)


def _bounds(text: str) -> tuple[str, tuple[float, float]]:
    name, _, ends = text.partition("=")
    return name.strip(), _range(ends)


def _prior(text: str) -> tuple[str, Any]:
    import scipy.stats  # which takes a second

    found = re.fullmatch(r"\s*(.+?)\s*=\s*(\w+)\((.*)\)\s*", text)
    kind = getattr(scipy.stats, found[2], None) if found else None
    if found is None or not isinstance(kind, scipy.stats.rv_continuous):
        raise ValueError
    arguments = [one.rpartition("=") for one in found[3].split(",") if one.strip()]
    named = {key.strip(): float(number) for key, _, number in arguments if key}
    try:
        return found[1], kind(*(float(number) for key, _, number in arguments if not key), **named)
    except TypeError as error:  # too many arguments, or too few
        raise ValueError from error


def _level(text: str) -> float:
    from neyman.support.checks import checked_level  # which imports numpy

    return checked_level(text)


BINS = _Read("[NAME=]BINS", _bins, "neither a number of bins nor NAME=LOW:HIGH:POINTS or NAME=EDGE,EDGE,...")
BOUNDS = _Read("NAME=LOW:HIGH", _bounds, "not NAME=LOW:HIGH, as in mu=0:10")
FIXED = _Read("NAME[=VALUE]", _fixed, "neither NAME=VALUE, as in mu=1.0, nor NAME")
GROUP = _Read("NAME=PARAMETER,...", _group, "not NAME=PARAMETER,PARAMETER, as in jets=jes_*,jer")
POINT = _Read("NAME=VALUE,...", _point, "not NAME=VALUE,NAME=VALUE, as in mu=1,norm=0.9")
PRIOR = _Read(
    "NAME=DISTRIBUTION",
    _prior,
    "not NAME=DISTRIBUTION with one of scipy.stats, as in 'mu=norm(1, 0.5)' or 'mu=gamma(2)'",
)
SETTING = _Read("KEY=VALUE", _setting, "not KEY=VALUE, as in datasets=300000 or hidden=64,64")
VALUES = _Read("VALUES", _values, "neither LOW:HIGH:POINTS, as in 0:2:21, nor a list, as in 0,0.5,1")
RANGE = _Read("LOW:HIGH", _range, "not LOW:HIGH, as in 0:10")
LEVEL = _Read("LEVEL", _level, "not a confidence level, as 0.95")
