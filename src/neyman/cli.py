"""The command line: ``neyman train``, ``neyman fit``, ``neyman upper-limit`` and their companions."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

import errno
import functools
import io
import json
import logging
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neyman.console import Group, Named, Values, emit, write
from neyman.exceptions import FailedFit, InvalidDocument, InvalidParameter, NeymanError, Unsupported

if TYPE_CHECKING:  # what follows costs seconds to import: each command imports what it needs, so that --help is quick
    from matplotlib.figure import Figure

    from neyman.model import Model
    from neyman.results import Result

__all__ = ["main"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_DOCUMENTS = (".yaml", ".yml", ".json")


_FILE = click.Path(path_type=Path)
_fix = click.option("--fix", type=Named(), multiple=True, help="Hold a parameter at a value; repeatable.")
_measurement = click.option(
    "--measurement", metavar="NAME", help="One of the document's measurements; default: the first."
)
_seed = click.option("--seed", type=int, default=0, show_default=True, help="Fixes everything random.")
_test_stat = click.option("--test-stat", type=click.Choice(["qtilde", "q"]), default="qtilde", show_default=True,
                          help="The test statistic, named as in pyhf.")  # fmt: skip


def _on_data(command: Callable[..., Result]) -> Callable[..., None]:
    """Make a function of model, data and options a command with ``--data``, ``--asimov`` and JSON out."""

    @functools.wraps(command)
    def run(model: Path, data: Path | None, asimov: float | None, output_file: Path | None, **options: Any) -> None:
        loaded = _load(model)
        result = command(loaded, _data(loaded, data, asimov), **options)
        emit(result.to_json(), output_file)
        for value in (getattr(result, name, 0.0) for name in ("twice_nll", "bestfit", "observed")):
            if not all(map(math.isfinite, value if hasattr(value, "__iter__") else [value])):
                raise FailedFit(f"the {result.kind} is not finite: see its JSON")
        if not getattr(result, "valid", True):
            raise FailedFit(f"the {result.kind} is not valid: {getattr(result, 'message', '')}")

    for option in (
        click.option("-o", "--output-file", metavar="FILE", type=_FILE,
                     help="Write the JSON there instead of to standard output."),
        click.option("--asimov", metavar="VALUE", type=float,
                     help="Use the Asimov data at this value of the parameter of interest instead."),
        click.option("--data", metavar="FILE", type=_FILE,
                     help="Observations from another document or ROOT file instead of the model's own."),
        click.argument("model", type=_FILE),
    ):  # fmt: skip
        run = option(run)
    return run


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="neyman")
@click.option("-v", "--verbose", count=True, help="Log what happens on standard error; twice for more.")
@click.pass_context
def main(ctx: click.Context, verbose: int) -> None:
    """Learn the likelihood of every event from ROOT ntuples, and fit, scan and set limits with it.

    Results are JSON on standard output; progress and messages go to standard error. The exit status is 0 only
    where the result is valid.

    \b
    $ neyman validate analysis.yaml
    $ neyman train analysis.yaml -o analysis.neyman
    $ neyman fit analysis.neyman --minos mu
    $ neyman upper-limit analysis.neyman -o limit.json
    $ neyman plot limit.json -o limit.pdf
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("neyman")
    logger.addHandler(handler)
    logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    ctx.call_on_close(lambda: logger.removeHandler(handler))
    ctx.with_resource(warnings.catch_warnings())
    warnings.showwarning = lambda message, *_, **__: log.warning("%s", " ".join(str(message).split()))


@main.command()
@click.argument("document", type=_FILE)
@_measurement
def validate(document: Path, measurement: str | None) -> None:
    """Check a document, and that its files, trees and branches exist.

    \b
    $ neyman validate analysis.yaml
    analysis.yaml is valid
    """
    from neyman.workspace import Workspace

    Workspace.load(document, measurement).validate()
    emit(f"{document} is valid")


@main.command()
@click.argument("path", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(path: Path, as_json: bool) -> None:
    """Print what a document or a model file holds, and warn of what will limit it.

    \b
    $ neyman inspect analysis.yaml
    $ neyman inspect analysis.neyman
    """
    from neyman import inspection

    if _is_document(path):
        from neyman.workspace import Workspace

        found = inspection.of_workspace(Workspace.load(path, progress=_interactive()))
    else:
        found = inspection.of_model(_load(path))
    emit(json.dumps(found, indent=2) if as_json else inspection.text(found))


@main.command()
@click.argument("document", type=_FILE)
@click.option("-o", "--output-file", metavar="FILE", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="The model file to write; an old one is replaced once the new one is complete.")  # fmt: skip
@_seed
@click.option("--device", default="auto", show_default=True, help="Where to train: auto, cpu, cuda, cuda:1, ...")
@_measurement
def train(document: Path, output_file: Path, seed: int, device: str, measurement: str | None) -> None:
    """Train the learned channels of a document and write a model file.

    If training is interrupted, the same command goes on where it stopped.

    \b
    $ neyman train analysis.yaml -o analysis.neyman
    $ neyman train analysis.yaml -o analysis.neyman --seed 1 --device cuda
    """
    import neyman

    if not os.access(output_file.parent, os.W_OK):  # before the hours, not after
        code = errno.EACCES if output_file.parent.is_dir() else errno.ENOENT
        raise OSError(code, os.strerror(code), str(output_file.parent))
    workspace = neyman.Workspace.load(document, measurement, progress=_interactive())
    checkpoint = output_file.with_name(f"{output_file.name}.checkpoint")
    model = neyman.train(workspace, seed=seed, device=device, progress=_interactive(), checkpoint=checkpoint)
    model.save(output_file)
    shutil.rmtree(checkpoint)  # only now: saving may have failed
    for report in model.report:
        click.echo(repr(report), err=True)


@main.command()
@_on_data
@click.option("--minos", metavar="NAME", multiple=True, help="Also give this parameter's MINOS interval; repeatable.")
@_fix
def fit(model: Model, data: Any, minos: Sequence[str], fix: Sequence[tuple[str, float]]) -> Result:
    """Fit all parameters by maximum likelihood.

    \b
    $ neyman fit analysis.neyman --minos mu
    $ neyman fit analysis.neyman --fix mu=0 --data other.yaml
    """
    import neyman

    return neyman.fit(data, model, fixed=dict(fix), minos=minos)


@main.command()
@_on_data
@click.argument("names", nargs=-1, required=True)
@click.option("--values", type=Values(), multiple=True,
              help="LOW:HIGH:POINTS or a list; once for each parameter. By default about the best fit.")  # fmt: skip
@_fix
def scan(
    model: Model, data: Any, names: Sequence[str], values: Sequence[list[float]], fix: Sequence[tuple[str, float]]
) -> Result:
    """Scan the profile likelihood over one parameter or two.

    \b
    $ neyman scan analysis.neyman mu -o scan.json
    $ neyman scan analysis.neyman mu scale --values 0:3:31 --values -2:2:21 | neyman plot -o contours.pdf
    """
    import neyman

    if len(names) > 2:
        raise click.UsageError("a scan is over one parameter or two")
    if values and len(values) != len(names):
        raise click.UsageError(f"{len(names)} parameters need as many --values, not {len(values)}")
    if len(names) == 1:
        return neyman.scan(data, model, names[0], values[0] if values else None, fixed=dict(fix))
    return neyman.scan(data, model, names, values or None, fixed=dict(fix))


@main.command()
@_on_data
@click.option("--mu", type=float, default=1.0, show_default=True, help="The tested value of the parameter of interest.")
@_test_stat
def cls(model: Model, data: Any, mu: float, test_stat: str) -> Result:
    """Test one value of the parameter of interest by CLs.

    \b
    $ neyman cls analysis.neyman --mu 1
    """
    from neyman.inference import limits

    return limits.cls(mu, data, model, test_stat=test_stat)


@main.command("upper-limit")
@_on_data
@click.option("--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True,
              help="One minus the confidence level.")  # fmt: skip
@_test_stat
def upper_limit(model: Model, data: Any, level: float, test_stat: str) -> Result:
    """Set the CLs upper limit on the parameter of interest, observed and expected.

    \b
    $ neyman upper-limit analysis.neyman
    $ neyman upper-limit analysis.neyman --asimov 0 | neyman plot -o limit.pdf
    """
    import neyman

    return neyman.limit(data, model, level=level, test_stat=test_stat)


@main.command()
@click.argument("result", type=click.Path(path_type=Path), default="-")
@click.option("-o", "--output-file", metavar="FILE", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="The figure; its suffix says the format: pdf, png, svg, ...")  # fmt: skip
@click.option("--correlations", is_flag=True, help="Draw the correlation matrix of a fit instead of its pulls.")
def plot(result: Path, output_file: Path, correlations: bool) -> None:
    """Draw a result, or the training of a model file.

    RESULT is the JSON of a fit, a scan or an upper limit, standard input by default, or a model file. Where a model
    has several learned channels, a PDF has a page for each, and other formats a file for each.

    \b
    $ neyman plot limit.json -o limit.pdf
    $ neyman plot fit.json -o correlations.png --correlations
    $ neyman plot analysis.neyman -o training.pdf
    """
    from neyman import plot as draw
    from neyman.results import FitResult, from_json

    if str(result) != "-" and _is_model(result):
        _save([(report.channel, draw.training(report)) for report in _load(result).report], output_file)
        return
    try:
        with click.open_file(str(result), encoding="utf-8") as stream:
            read = from_json(stream.read())
    except UnicodeDecodeError as error:
        raise NeymanError(f"{result}: not a result: no text") from error
    except NeymanError as error:
        raise NeymanError(f"{'standard input' if str(result) == '-' else result}: {error}") from error
    if correlations and not isinstance(read, FitResult):
        raise Unsupported(f"{result}: only a fit has correlations, not a {read.kind}; leave out --correlations")
    figure = draw.correlations(read) if correlations and isinstance(read, FitResult) else draw.draw(read)
    _save([("", figure)], output_file)


@main.command()
@click.argument("folder", type=_FILE, default="neyman-demo")
@_seed
def demo(folder: Path, seed: int) -> None:
    """Play a whole search on synthetic ROOT files, against bins and the exact likelihood, in about two minutes.

    FOLDER, neyman-demo by default, gets the ntuples, the document, the model, the results and their figures.

    \b
    $ neyman demo neyman-demo
    """
    from neyman import demo as demonstration

    found = demonstration.run(folder, seed, progress=_interactive())
    for name, result in found.items():
        if name != "files":
            down, up = result["uncertainty"]
            click.echo(
                f"{name:<27} mu = {result['mu']:.2f} {down:+.2f} {up:+.2f}, limit {result['observed_limit']:.2f}, "
                f"expected {result['expected_limit']:.2f}",
                err=True,
            )
    emit(json.dumps(found, indent=2))


def _is_document(path: Path) -> bool:
    return path.suffix.lower() in _DOCUMENTS


def _is_model(path: Path) -> bool:
    """Whether a file is, or was meant to be, a model file: a zip."""
    if path.suffix == ".neyman":
        return True
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"


def _load(path: Path) -> Model:
    """Load a model file; a document with nothing to learn is a model already."""
    import neyman

    if not _is_document(path):
        return neyman.Model.load(path)
    workspace = neyman.Workspace.load(path)
    if workspace.learned:
        output = path.with_suffix(".neyman").name
        raise InvalidDocument(
            f"{path}: the channel {workspace.learned[0]} is to be learned; first run neyman train {path} -o {output}"
        )
    return neyman.train(workspace, progress=False)


def _data(model: Model, path: Path | None, asimov: float | None) -> Any:
    """Return the flat data vector that the options ask for."""
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


def _interactive() -> bool:
    """Whether somebody is watching the progress bars."""
    return sys.stderr.isatty()


def _save(figures: Sequence[tuple[str, Figure]], path: Path) -> None:
    """Write all figures to one file where the format has pages, else to one each."""
    from matplotlib.backends.backend_pdf import PdfPages

    if not figures:
        raise Unsupported("there is nothing to draw: the model has no learned channel")
    kind = path.suffix[1:].lower()
    known = sorted(figures[0][1].canvas.get_supported_filetypes())
    if kind not in known:
        raise Unsupported(f"{path}: no figure format {kind!r}; use one of {', '.join(known)}")
    if kind == "pdf":
        buffer = io.BytesIO()
        with PdfPages(buffer) as pages:
            for _, figure in figures:
                pages.savefig(figure)
        write(path, buffer.getvalue())
        return
    for name, figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150)
        write(path if len(figures) == 1 else path.with_stem(f"{path.stem}_{name}"), buffer.getvalue())
