"""The commands on files: ``validate``, ``inspect``, ``plot`` and ``demo``."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neyman.cli.console import emit, interactive, write
from neyman.cli.options import (
    FILE,
    PLACE,
    data_of,
    data_options,
    is_document,
    load,
    measurement_option,
    output_option,
    seed_option,
)
from neyman.cli.values import BINS
from neyman.exceptions import NeymanError, Unsupported

if TYPE_CHECKING:  # what follows costs seconds to import
    from matplotlib.figure import Figure

    from neyman.inputs.workspace import Workspace
    from neyman.results import PredictionResult, Result

__all__ = ["COMMANDS"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)


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
    weights. Bins without events, and observed values that the simulation has not, are warnings. A simulator gives one
    dataset.

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
        number = len(simulator.draw(simulator.inits, seed=0))
        point = dict(zip(simulator.names, simulator.inits, strict=True))
        found = {"valid": True, "events": number, "features": list(simulator.features), "parameters": point}
        at = ", ".join(f"{name}={value:g}" for name, value in point.items())
        text = f"{document} is valid: {number} events of {', '.join(simulator.features)} at {at}"
    else:
        workspace = Workspace.load(document, measurement, progress=interactive())
        observed = None
        if data is not None and is_document(data):
            observed = Workspace.load(data, progress=interactive())
        elif data is not None:
            workspace = workspace.with_data(data)
        workspace.validate()
        cutflow = workspace.cutflow(observed)
        warnings = cutflow.warnings + _outside_simulation(workspace, observed or workspace)
        for warning in warnings:
            log.warning("%s", warning)
        found = {"valid": True, **cutflow.to_dict(), "warnings": warnings}
        text = f"{cutflow}\n\n{document} is valid"
    emit(json.dumps(found, indent=2) if as_json else text)


def _outside_simulation(workspace: Workspace, observed: Workspace) -> list[str]:
    """Say which features of the observed events have values that the simulation has not."""
    from neyman.model.ranges import FeatureRanges

    if not observed.has_observations:
        return []
    events = observed.observed().events
    return [
        text
        for name in workspace.learned
        for text in FeatureRanges.of_samples(list(workspace.simulation(name).samples.values())).warnings(
            name, workspace.features(name), events[name]
        )
    ]


@click.command()
@click.argument("file", type=PLACE)
@click.option(
    "--filter",
    "filters",
    metavar="PATTERN",
    multiple=True,
    help="Of a file of events: only branches of such names, as 'Jet_*'; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@output_option("Write it there instead of to standard output.", required=False)
def inspect(file: str, filters: tuple[str, ...], as_json: bool, output_file: Path | None) -> None:
    """Print what a document, simulator, model, posterior or file of events holds.

    It warns of what will limit the analysis. Of a file of events, ROOT or parquet, on this machine or at a URL, it
    prints the trees and their branches: types, first values, and whether each is a feature as it stands.

    \b
    $ neyman inspect analysis.yaml
    $ neyman inspect model.py:simulator
    $ neyman inspect analysis.neyman
    $ neyman inspect model.posterior
    $ neyman inspect ntuple.root
    $ neyman inspect ntuple.root:Events --filter "Jet_*"
    """
    from neyman.cli import contents, inspection, posteriors
    from neyman.inputs.simulator_file import is_simulator, load_simulator
    from neyman.posteriors.file import is_posterior
    from neyman.posteriors.posterior import Posterior

    path = Path(file)
    as_text = inspection.text
    if contents.is_events(file):
        found, as_text = contents.of_events(file, filters), contents.text
    elif filters:
        raise click.UsageError("only a file of events has branches to --filter")
    elif is_simulator(path):
        found = inspection.of_simulator(load_simulator(path))
    elif is_document(path):
        from neyman.inputs.workspace import Workspace

        found = inspection.of_workspace(Workspace.load(path, progress=interactive()))
    elif is_posterior(path):
        found, as_text = posteriors.of_posterior(Posterior.load(path)), posteriors.text
    else:
        found = inspection.of_model(load(path))
    emit(json.dumps(found, indent=2) if as_json else as_text(found), output_file)


_FEATURES = (
    click.option("--features", "show", is_flag=True,
                 help="Of a model: draw the data over the prediction, for every feature, the learned ratio and bins."),
    click.option("--fit", metavar="FILE", type=FILE, help="With --features: the prediction after this fit, a JSON."),
    click.option("--post-fit", is_flag=True, help="With --features: fit first, and draw the prediction after it."),
    click.option("--channel", "channels", metavar="NAME", multiple=True, help="With --features: this one; repeatable."),
    click.option("--feature", "features", metavar="NAME", multiple=True,
                 help="With --features: this one instead of all; repeatable."),
    click.option("--ratio", "ratios", metavar="NAME", multiple=True,
                 help="With --features: the learned ratio of this sample to the others, or of the parameter of "
                 "interest; repeatable."),
    click.option("--bins", type=BINS, multiple=True,
                 help="With --features: how many bins, or NAME=LOW:HIGH:EDGES or a list of edges; repeatable."),
    click.option("--equal", is_flag=True, help="With --features: bins of equal prediction."),
    click.option("--region", metavar="TEXT",
                 help="With --features: only events there, as 'top 20%', 'signal: top 20%' or 'signal > 1.5' in the "
                 "logarithm of a learned ratio."),
    click.option("--blind", is_flag=True, help="With --features: leave out the data."),
    data_options,
)  # fmt: skip


def _with_features(command: Any) -> Any:
    for option in reversed(_FEATURES):
        command = option(command)
    return command


@click.command()
@click.argument("result", type=click.Path(path_type=Path), default="-")
@output_option("The figure; its suffix says the format: pdf, png, svg, ... Default: a pdf named like RESULT.", False)
@click.option("--correlations", is_flag=True, help="Draw the correlation matrix of a fit instead of its pulls.")
@click.option("--parameter", "names", metavar="NAME", multiple=True,
              help="Of a posterior: draw this one instead of the first ten; repeatable.")  # fmt: skip
@_with_features
def plot(
    result: Path, output_file: Path | None, correlations: bool, names: tuple[str, ...], show: bool, **options: Any
) -> None:
    """Draw a result, the training of a model file, or the data over its prediction.

    RESULT is the JSON that another command wrote, standard input by default, or a model file. Where a
    model has several channels, a PDF has a page for each, and other formats a file for each.

    \b
    $ neyman plot limit.json -o limit.pdf
    $ neyman plot fit.json -o correlations.png --correlations
    $ neyman plot impacts.json -o impacts.pdf
    $ neyman plot posterior.json -o corner.pdf --parameter mu --parameter scale
    $ neyman plot analysis.neyman -o training.pdf
    $ neyman plot analysis.neyman --features -o prefit.pdf
    $ neyman plot analysis.neyman --features --fit fit.json --region "top 20%" -o postfit.pdf
    $ neyman plot analysis.neyman --features --post-fit -o numbers.json
    """
    from neyman.posteriors.file import is_posterior
    from neyman.posteriors.posterior import Posterior
    from neyman.results import FitResult, ImpactsResult, PosteriorResult, figures

    if output_file is None:
        if str(result) == "-":
            raise click.UsageError("give the figure's name: -o FILE.pdf")
        output_file = Path(f"{result.stem}_features.pdf" if show else f"{result.stem}.pdf")
    if show:
        prediction = _prediction(result, options)
        click.echo(repr(prediction), err=True)
        if output_file.suffix == ".json":
            emit(prediction.to_json(), output_file)
            return
        _save([(one, figures.features(prediction, one)) for one in prediction.channels], output_file)
        return
    if unused := [name for name, value in options.items() if value not in (None, (), False)]:
        raise click.UsageError(f"--{unused[0].replace('_', '-').removesuffix('s')} is for --features only")
    if str(result) != "-" and is_posterior(result):
        reports = Posterior.load(result).report
        _save([(f"report{k}", report.plot()) for k, report in enumerate(reports, start=1)], output_file)
        return
    if str(result) != "-" and _is_model(result):
        _save([(report.channel, report.plot()) for report in load(result).report], output_file)
        return
    read = _result(result)
    name = "standard input" if str(result) == "-" else result
    if correlations and not isinstance(read, FitResult):
        raise Unsupported(f"{name}: only a fit has correlations, not a {read.kind}; leave out --correlations")
    if names and not isinstance(read, ImpactsResult | PosteriorResult):
        raise Unsupported(f"{name}: only a posterior or impacts are drawn for some parameters, not a {read.kind}")
    try:
        if correlations and isinstance(read, FitResult):
            figure = figures.correlations(read)
        else:
            figure = read.plot(names) if isinstance(read, ImpactsResult | PosteriorResult) else read.plot()
    except (IndexError, ValueError) as error:
        raise NeymanError(f"{name}: the fields of this {read.kind} do not fit together ({error})") from error
    _save([("", figure)], output_file)


def _result(path: Path) -> Result:
    """Read the JSON of a result, from standard input for ``-``."""
    from neyman.results import from_json

    name = "standard input" if str(path) == "-" else path
    try:
        with click.open_file(str(path), encoding="utf-8") as stream:
            return from_json(stream.read())
    except (UnicodeDecodeError, RecursionError) as error:
        raise NeymanError(f"{name}: not a result: no JSON text") from error
    except NeymanError as error:
        raise NeymanError(f"{name}: {error}") from error


def _prediction(path: Path, options: dict[str, Any]) -> PredictionResult:
    """Return what the options ask for."""
    import neyman
    from neyman.results import FitResult

    fit_file, post_fit, bins = options.pop("fit"), options.pop("post_fit"), options.pop("bins")
    data_file, asimov = options.pop("data"), options.pop("asimov")
    if fit_file is not None and post_fit:
        raise click.UsageError("--fit and --post-fit exclude each other")
    model = load(path)
    needed = data_file is not None or asimov is not None or post_fit or model.observed is not None
    data: Any = data_of(model, data_file, asimov) if needed else None
    fit = None if fit_file is None else _result(fit_file)
    if fit is not None and not isinstance(fit, FitResult):
        raise Unsupported(f"{fit_file}: --fit takes the JSON of neyman fit, not of a {fit.kind}")
    if post_fit:
        fit = neyman.fit(data, model)
    for key in ("channels", "features", "ratios"):
        options[key] = options[key] or None
    if bins:
        named = {name: given for name, given in bins if name}
        options["bins"] = named or bins[-1][1]
    return model.prediction(data, fit, **options)


@click.command()
@click.argument("folder", type=FILE, default="neyman-demo")
@seed_option
def demo(folder: Path, seed: int) -> None:
    """Play a whole search on synthetic ROOT files.

    It is compared with bins and the exact likelihood, and takes about a minute.

    FOLDER, neyman-demo by default, gets the ntuples, the document, the model, the results and their figures.

    \b
    $ neyman demo neyman-demo
    """
    from neyman import demo as demonstration

    found = demonstration.run(folder, seed, progress=interactive())
    click.echo(repr(found), err=True)
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
        raise Unsupported("there is nothing to draw: there is no report of a training")
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
