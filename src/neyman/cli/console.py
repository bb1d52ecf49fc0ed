"""The console: every error in one line, results as JSON, and the exit status that says whether one is valid."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neyman.exceptions import FailedFit, NeymanError

if TYPE_CHECKING:  # what follows costs seconds to import
    from neyman.results import Result

__all__ = ["Group", "deliver", "emit", "interactive", "one_line", "write"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_INTERRUPTED = 130  # what a shell reports for control-C


class Group(click.Group):
    """A group whose commands fail with one line on standard error and the exit status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands as they were added, which is the order of an analysis."""
        return list(self.commands)

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


def interactive() -> bool:
    """Whether somebody is watching the progress bars."""
    return sys.stderr.isatty()


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
    from neyman.support.files import replacing

    with replacing(path) as stream:
        stream.write(content)
    log.info("wrote %s", path)


def deliver(result: Result, path: Path | None) -> None:
    """Write a result as JSON, to a file or standard output; raise where it is not valid."""
    emit(result.to_json(), path)
    if path is not None or result.kind == "coverage":
        click.echo(repr(result), err=True)
    if complaint := _complaint(result):
        raise FailedFit(complaint)


def _complaint(result: Result) -> str | None:
    """Return what keeps a result from being valid."""
    if result.kind == "coverage":
        verdicts = list(getattr(result, "verdicts", ()))
        under = verdicts.count("undercovers")
        return f"the interval undercovers at {under} of {len(verdicts)} truths" if under else None
    if not getattr(result, "valid", True):
        message = getattr(result, "message", "some have no valid fit: see the JSON")
        return f"the {result.kind} {'are' if result.kind == 'toys' else 'is'} not valid: {message}"
    if result.kind == "toys":
        return None
    numbers = [getattr(result, name, 0.0) for name in ("twice_nll", "bestfit", "observed")]
    finite = all(math.isfinite(x) for value in numbers for x in (value if hasattr(value, "__iter__") else [value]))
    return None if finite else f"the {result.kind} is not finite: see its JSON"
