"""The command line: ``neyman train``, ``neyman fit``, ``neyman upper-limit`` and their companions."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

import errno
import io
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neyman.cli import toys as toy_commands
from neyman.cli.options import (
    FILE,
    Group,
    Setting,
    Values,
    emit,
    fix_option,
    interactive,
    is_document,
    load,
    measurement_option,
    on_data,
    seed_option,
    write,
)
from neyman.exceptions import NeymanError, Unsupported

if TYPE_CHECKING:  # what follows costs seconds to import: each command imports what it needs, so that --help is quick
    from matplotlib.figure import Figure

    from neyman.model.model import Model
    from neyman.results import Result

__all__ = ["main"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)


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
@click.argument("document", type=FILE)
@measurement_option
def validate(document: Path, measurement: str | None) -> None:
    """Check a document, and that its files, trees and branches exist; or a simulator, by one dataset.

    \b
    $ neyman validate analysis.yaml
    analysis.yaml is valid
    $ neyman validate model.py:simulator
    model.py:simulator is valid: 104 events of x at mu=1, nu=1
    """
    from neyman.inputs.simulator_file import is_simulator, load_simulator
    from neyman.inputs.workspace import Workspace

    if is_simulator(document):
        if measurement is not None:
            raise click.UsageError("a simulator has no --measurement")
        simulator = load_simulator(document)
        events = simulator.draw(simulator.inits, seed=0)
        point = ", ".join(f"{name}={value:g}" for name, value in zip(simulator.names, simulator.inits, strict=True))
        emit(f"{document} is valid: {len(events)} events of {', '.join(simulator.features)} at {point}")
        return
    Workspace.load(document, measurement).validate()
    emit(f"{document} is valid")


@main.command()
@click.argument("path", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(path: Path, as_json: bool) -> None:
    """Print what a document, a simulator or a model file holds, and warn of what will limit it.

    \b
    $ neyman inspect analysis.yaml
    $ neyman inspect model.py:simulator
    $ neyman inspect analysis.neyman
    """
    from neyman.cli import inspection
    from neyman.inputs.simulator_file import is_simulator, load_simulator

    if is_simulator(path):
        found = inspection.of_simulator(load_simulator(path))
    elif is_document(path):
        from neyman.inputs.workspace import Workspace

        found = inspection.of_workspace(Workspace.load(path, progress=interactive()))
    else:
        found = inspection.of_model(load(path))
    emit(json.dumps(found, indent=2) if as_json else inspection.text(found))


@main.command()
@click.argument("source", type=FILE)
@click.option("-o", "--output-file", metavar="FILE", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="The model file to write; an old one is replaced once the new one is complete.")  # fmt: skip
@seed_option
@click.option("--device", default="auto", show_default=True, help="Where to train: auto, cpu, cuda, cuda:1, ...")
@measurement_option
@click.option("--network", metavar="KIND", help="Of a simulator: event, deepset (the default) or transformer.")
@click.option("--option", "options", type=Setting(), multiple=True,
              help="Of a simulator: an option of the network, as --option datasets=300000; repeatable.")  # fmt: skip
@click.option("--cache", metavar="FOLDER", type=FILE, help="Of a simulator: keep its datasets there for another time.")
@click.option("--workers", type=click.IntRange(1),
              help="Of a simulator: processes that it runs in; by default as many as save time.")  # fmt: skip
def train(
    source: Path,
    output_file: Path,
    seed: int,
    device: str,
    measurement: str | None,
    network: str | None,
    options: Sequence[tuple[str, Any]],
    cache: Path | None,
    workers: int | None,
) -> None:
    """Train the learned channels of a document, or a network on a simulator, and write a model file.

    A simulator is named by its Python file, which is run, and its name there. If training is interrupted, the same
    command goes on where it stopped.

    \b
    $ neyman train analysis.yaml -o analysis.neyman
    $ neyman train analysis.yaml -o analysis.neyman --seed 1 --device cuda
    $ neyman train model.py:simulator -o model.neyman --network deepset --cache datasets
    """
    import neyman
    from neyman.inputs.simulator_file import is_simulator, load_simulator

    if not os.access(output_file.parent, os.W_OK):  # before the hours, not after
        code = errno.EACCES if output_file.parent.is_dir() else errno.ENOENT
        raise OSError(code, os.strerror(code), str(output_file.parent))
    checkpoint = output_file.with_name(f"{output_file.name}.checkpoint")
    settings: dict[str, Any] = {"seed": seed, "device": device, "progress": interactive(), "checkpoint": checkpoint}
    if is_simulator(source):
        if measurement is not None:
            raise click.UsageError("a simulator has no --measurement")
        simulator = load_simulator(source)
        chosen = {**({} if network is None else {"kind": network}), **dict(options)}
        model = neyman.train(simulator, chosen, cache=cache, workers=workers, **settings)
    else:
        if network is not None or options or cache is not None or workers is not None:
            raise click.UsageError("--network, --option, --cache and --workers are for simulators")
        model = neyman.train(neyman.Workspace.load(source, measurement, progress=interactive()), **settings)
    model.save(output_file)
    shutil.rmtree(checkpoint)  # only now: saving may have failed
    for report in model.report:
        click.echo(repr(report), err=True)


@main.command()
@on_data
@click.option("--minos", metavar="NAME", multiple=True, help="Also give this parameter's MINOS interval; repeatable.")
@fix_option
def fit(model: Model, data: Any, minos: Sequence[str], fix: Sequence[tuple[str, float]]) -> Result:
    """Fit all parameters by maximum likelihood.

    \b
    $ neyman fit analysis.neyman --minos mu
    $ neyman fit analysis.neyman --fix mu=0 --data other.yaml
    """
    import neyman

    return neyman.fit(data, model, fixed=dict(fix), minos=minos)


@main.command()
@on_data
@click.argument("names", nargs=-1, required=True)
@click.option("--values", type=Values(), multiple=True,
              help="LOW:HIGH:POINTS or a list; once for each parameter. By default about the best fit.")  # fmt: skip
@fix_option
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
@click.argument("result", type=click.Path(path_type=Path), default="-")
@click.option("-o", "--output-file", metavar="FILE", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="The figure; its suffix says the format: pdf, png, svg, ...")  # fmt: skip
@click.option("--correlations", is_flag=True, help="Draw the correlation matrix of a fit instead of its pulls.")
def plot(result: Path, output_file: Path, correlations: bool) -> None:
    """Draw a result, or the training of a model file.

    RESULT is the JSON of a fit, a scan, an upper limit, an interval, a coverage or a test statistic, standard input by
    default, or a model file. Where a model has several learned channels, a PDF has a page for each, and other formats
    a file for each.

    \b
    $ neyman plot limit.json -o limit.pdf
    $ neyman plot fit.json -o correlations.png --correlations
    $ neyman plot analysis.neyman -o training.pdf
    """
    from neyman.results import FitResult, from_json
    from neyman.results.figures import plots as draw

    if str(result) != "-" and _is_model(result):
        _save([(report.channel, draw.training(report)) for report in load(result).report], output_file)
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
@click.argument("folder", type=FILE, default="neyman-demo")
@seed_option
def demo(folder: Path, seed: int) -> None:
    """Play a whole search on synthetic ROOT files, against bins and the exact likelihood, in about two minutes.

    FOLDER, neyman-demo by default, gets the ntuples, the document, the model, the results and their figures.

    \b
    $ neyman demo neyman-demo
    """
    from neyman import demo as demonstration

    found = demonstration.run(folder, seed, progress=interactive())
    for name, result in found.items():
        if name != "files":
            down, up = result["uncertainty"]
            click.echo(
                f"{name:<27} mu = {result['mu']:.2f} {down:+.2f} {up:+.2f}, limit {result['observed_limit']:.2f}, "
                f"expected {result['expected_limit']:.2f}",
                err=True,
            )
    emit(json.dumps(found, indent=2))


def _is_model(path: Path) -> bool:
    """Whether a file is, or was meant to be, a model file: a zip."""
    if path.suffix == ".neyman":
        return True
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"


for _command in toy_commands.COMMANDS:
    main.add_command(_command)


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
