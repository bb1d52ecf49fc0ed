"""The commands on files: ``validate``, ``inspect``, ``plot`` and ``demo``."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neyman.cli.console import emit, interactive, write
from neyman.cli.options import FILE, is_document, load, measurement_option, output_option, seed_option
from neyman.exceptions import NeymanError, Unsupported

if TYPE_CHECKING:  # what follows costs seconds to import
    from matplotlib.figure import Figure

__all__ = ["COMMANDS"]


def __dir__() -> list[str]:
    return __all__


@click.command()
@click.argument("document", type=FILE)
@measurement_option
@click.option(
    "--data",
    metavar="FILE",
    type=FILE,
    help="Observations instead of the document's own: another document, or a ROOT file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate(document: Path, measurement: str | None, data: Path | None, as_json: bool) -> None:
    """Check a document and its files, or a simulator.

    Every expression is evaluated, and samples have the events and yields that they need. The table has the events of
    each sample, variation and observation, those that each condition of the selection leaves, and the sum of their
    weights. A simulator gives one dataset.

    \b
    $ neyman validate analysis.yaml
    $ neyman validate analysis.yaml --data other.root
    $ neyman validate model.py:simulator
    model.py:simulator is valid: 104 events of x at mu=1, nu=1
    """
    from neyman.inputs.simulator_file import is_simulator, load_simulator
    from neyman.inputs.workspace import Workspace

    if is_simulator(document):
        if measurement is not None or data is not None:
            raise click.UsageError("a simulator has no --measurement and no --data")
        simulator = load_simulator(document)
        events = simulator.draw(simulator.inits, seed=0)
        point = ", ".join(f"{name}={value:g}" for name, value in zip(simulator.names, simulator.inits, strict=True))
        if as_json:
            found = {"valid": True, "events": len(events), "features": list(simulator.features)}
            emit(
                json.dumps({**found, "parameters": dict(zip(simulator.names, simulator.inits, strict=True))}, indent=2)
            )
            return
        emit(f"{document} is valid: {len(events)} events of {', '.join(simulator.features)} at {point}")
        return
    workspace = Workspace.load(document, measurement, progress=interactive())
    observed = None
    if data is not None and is_document(data):
        observed = Workspace.load(data, progress=interactive())
    elif data is not None:
        workspace = workspace.with_data(data)
    workspace.validate()
    cutflow = workspace.cutflow(observed)
    emit(json.dumps({"valid": True, **cutflow.to_dict()}, indent=2) if as_json else f"{cutflow}\n\n{document} is valid")


@click.command()
@click.argument("path", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(path: Path, as_json: bool) -> None:
    """Print what a document, simulator or model holds.

    It warns of what will limit the analysis.

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


@click.command()
@click.argument("result", type=click.Path(path_type=Path), default="-")
@output_option("The figure; its suffix says the format: pdf, png, svg, ...")
@click.option("--correlations", is_flag=True, help="Draw the correlation matrix of a fit instead of its pulls.")
def plot(result: Path, output_file: Path, correlations: bool) -> None:
    """Draw a result, or the training of a model file.

    RESULT is the JSON that another command wrote, standard input by default, or a model file. Where a
    model has several learned channels, a PDF has a page for each, and other formats a file for each.

    \b
    $ neyman plot limit.json -o limit.pdf
    $ neyman plot fit.json -o correlations.png --correlations
    $ neyman plot analysis.neyman -o training.pdf
    """
    from neyman.results import FitResult, figures, from_json

    if str(result) != "-" and _is_model(result):
        _save([(report.channel, report.plot()) for report in load(result).report], output_file)
        return
    name = "standard input" if str(result) == "-" else result
    try:
        with click.open_file(str(result), encoding="utf-8") as stream:
            read = from_json(stream.read())
    except (UnicodeDecodeError, RecursionError) as error:
        raise NeymanError(f"{name}: not a result: no JSON text") from error
    except NeymanError as error:
        raise NeymanError(f"{name}: {error}") from error
    if correlations and not isinstance(read, FitResult):
        raise Unsupported(f"{name}: only a fit has correlations, not a {read.kind}; leave out --correlations")
    try:
        figure = figures.correlations(read) if correlations and isinstance(read, FitResult) else read.plot()
    except (IndexError, ValueError) as error:
        raise NeymanError(f"{name}: the fields of this {read.kind} do not fit together ({error})") from error
    _save([("", figure)], output_file)


@click.command()
@click.argument("folder", type=FILE, default="neyman-demo")
@seed_option
def demo(folder: Path, seed: int) -> None:
    """Play a whole search on synthetic ROOT files.

    It is compared with bins and the exact likelihood, and takes about two minutes.

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


COMMANDS = (validate, inspect, plot, demo)
