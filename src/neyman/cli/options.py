"""The console: what the commands share; errors in one line, kinds of values, options, writing of results."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neyman.exceptions import FailedFit, InvalidDocument, InvalidModelFile, InvalidParameter, NeymanError
from neyman.support.files import replacing

if TYPE_CHECKING:  # what follows costs seconds to import
    from neyman.model.model import Model
    from neyman.results import Result

__all__ = [
    "FILE",
    "Group",
    "Named",
    "Point",
    "Setting",
    "Values",
    "data_of",
    "emit",
    "fix_option",
    "interactive",
    "is_document",
    "load",
    "measurement_option",
    "on_data",
    "one_line",
    "seed_option",
    "simulator_option",
    "test_stat_option",
    "write",
]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

DOCUMENTS = (".yaml", ".yml", ".json")
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


class Point(click.ParamType[Any]):
    """Parameters and their values, as ``mu=1,norm=0.9``."""

    name = "NAME=VALUE,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """Return the values by name."""
        if isinstance(value, dict):
            return value
        if not value:
            return {}
        try:
            pairs = [pair.partition("=") for pair in value.split(",")]
            return {name.strip(): float(number) for name, _, number in pairs}
        except ValueError:
            self.fail(f"{value!r} is not NAME=VALUE,NAME=VALUE, as in mu=1,norm=0.9", param, ctx)


class Setting(click.ParamType[Any]):
    """An option of a network, its value a number or a list, as ``hidden=64,64``."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Return key and value."""
        if isinstance(value, tuple):
            return value
        key, _, text = value.partition("=")
        try:
            return key.strip(), json.loads(f"[{text}]" if "," in text else text)
        except ValueError:
            self.fail(f"{value!r} is not KEY=VALUE, as in datasets=300000 or hidden=64,64", param, ctx)


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


def is_document(path: Path) -> bool:
    """Whether a file is a document, by its name."""
    return path.suffix.lower() in DOCUMENTS


def load(path: Path, simulator: Path | None = None) -> Model:
    """Load a model file, with the simulator that was named; a document with nothing to learn is a model already."""
    import neyman
    from neyman.inputs.simulator_file import is_simulator, load_simulator

    if is_simulator(path):
        raise InvalidModelFile(f"{path}: a simulator, no model; first run neyman train {path} -o FILE.neyman")
    if not is_document(path):
        return neyman.Model.load(path, None if simulator is None else load_simulator(simulator))
    if simulator is not None:
        raise click.UsageError("--simulator is for models that were trained on one, and this is a document")
    workspace = neyman.Workspace.load(path)
    if workspace.learned:
        output = path.with_suffix(".neyman").name
        raise InvalidDocument(
            f"{path}: the channel {workspace.learned[0]} is to be learned; first run neyman train {path} -o {output}"
        )
    return neyman.train(workspace, progress=False)


def data_of(model: Model, path: Path | None, asimov: float | None) -> Any:
    """Return the flat data vector, or the summary of a dataset, that the options ask for."""
    if path is not None and asimov is not None:
        raise click.UsageError("--data and --asimov exclude each other")
    if asimov is not None:
        if model.config.poi_index is None:
            raise InvalidParameter("--asimov: the measurement has no parameter of interest")
        pars = model.config.suggested_init()
        pars[model.config.poi_index] = asimov
        return model.expected_data(pars)
    data = model.observed if path is None else model.read_data(path)
    if data is None:
        raise InvalidDocument("the model has no observations: give --data FILE or --asimov VALUE")
    return data


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
    with replacing(path) as stream:
        stream.write(content)
    log.info("wrote %s", path)


FILE = click.Path(path_type=Path)
fix_option = click.option("--fix", type=Named(), multiple=True, help="Hold a parameter at a value; repeatable.")
measurement_option = click.option(
    "--measurement", metavar="NAME", help="One of the document's measurements; default: the first."
)
simulator_option = click.option(
    "--simulator", metavar="FILE.py:NAME", type=FILE,
    help="The simulator that the model was trained on, if it was: toys and Asimov data need it.",
)  # fmt: skip
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Fixes everything random.")
test_stat_option = click.option("--test-stat", type=click.Choice(["qtilde", "q"]), default="qtilde", show_default=True,
                          help="The test statistic, named as in pyhf.")  # fmt: skip


def on_data(command: Callable[..., Result]) -> Callable[..., None]:
    """Make a function of model, data and options a command with ``--data``, ``--asimov`` and JSON out."""

    @functools.wraps(command)
    def run(
        model: Path,
        data: Path | None,
        asimov: float | None,
        simulator: Path | None,
        output_file: Path | None,
        **options: Any,
    ) -> None:
        loaded = load(model, simulator)
        result = command(loaded, data_of(loaded, data, asimov), **options)
        emit(result.to_json(), output_file)
        for value in (getattr(result, name, 0.0) for name in ("twice_nll", "bestfit", "observed")):
            if not all(map(math.isfinite, value if hasattr(value, "__iter__") else [value])):
                raise FailedFit(f"the {result.kind} is not finite: see its JSON")
        if not getattr(result, "valid", True):
            raise FailedFit(f"the {result.kind} is not valid: {getattr(result, 'message', '')}")

    for option in (
        click.option("-o", "--output-file", metavar="FILE", type=FILE,
                     help="Write the JSON there instead of to standard output."),
        simulator_option,
        click.option("--asimov", metavar="VALUE", type=float,
                     help="Use the Asimov data at this value of the parameter of interest instead."),
        click.option("--data", metavar="FILE", type=FILE,
                     help="Observations instead of the model's own: another document, a ROOT file (FILE.root:TREE "
                     "where the model does not know the tree), or a saved summary (FILE.npz)."),
        click.argument("model", type=FILE),
    ):  # fmt: skip
        run = option(run)
    return run
