"""The console: what the commands share; errors in one line, kinds of values, writing of results."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from neyman.exceptions import NeymanError
from neyman.files import replacing

__all__ = ["Group", "Named", "Values", "emit", "one_line", "write"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_INTERRUPTED = 130  # what a shell reports for control-C


class Group(click.Group):
    """A group whose commands fail with one line on standard error and the exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("neyman: interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except Exception as error:
            text = one_line(error)
            if text is None:
                raise
            log.debug("traceback of the following error", exc_info=True)
            click.echo(f"neyman: {text}", err=True)
            ctx.exit(1)


def one_line(error: Exception) -> str | None:
    """Return what to tell the user, or ``None`` for what is not theirs to mend: a broken pipe, or our mistake."""
    if isinstance(error, OSError):
        if error.errno == errno.EPIPE:
            return None
        text = error.strerror or str(error)
        return f"{error.filename}: {text}" if error.filename else text
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the second is torch's
        return "out of memory"
    if isinstance(error, NeymanError) or type(error).__module__ == "pyhf.exceptions":
        return " ".join(str(error).split()) or type(error).__name__
    return None


class Named(click.ParamType[Any]):
    """A parameter and its value, as ``mu=1.0``."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Return name and value."""
        if isinstance(value, tuple):
            return value
        name, _, number = value.partition("=")
        try:
            return name, float(number)
        except ValueError:
            self.fail(f"{value!r} is not NAME=VALUE, as in mu=1.0", param, ctx)


class Values(click.ParamType[Any]):
    """Values to scan: ``0:2:21`` from 0 to 2 in 21 points, or ``0,0.5,1`` itself."""

    name = "VALUES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        """Return the values."""
        if isinstance(value, list):
            return value
        try:
            if ":" not in value:
                return [float(number) for number in value.split(",")]
            low, high, n = value.split(":")
            step = (float(high) - float(low)) / max(int(n) - 1, 1)
            return [float(low) + i * step for i in range(int(n))]
        except ValueError:
            self.fail(f"{value!r} is neither LOW:HIGH:POINTS, as in 0:2:21, nor a list, as in 0,0.5,1", param, ctx)


def emit(text: str, path: Path | None = None) -> None:
    """Write a text to a file, or to standard output."""
    if path is not None:
        write(path, text.encode() + b"\n")
        return
    try:
        click.echo(text)
    except OSError as error:
        if error.errno != errno.EPIPE:  # which click deals with
            with contextlib.suppress(OSError):  # else Python would complain again when it flushes at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            error.filename = "standard output"
        raise


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    with replacing(path) as stream:
        stream.write(content)
    log.info("wrote %s", path)
