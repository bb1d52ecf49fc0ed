"""The options that commands share, each with the argument of the library that it stands for."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neyman.cli.console import deliver, interactive
from neyman.cli.values import FIXED, LEVEL, Word
from neyman.exceptions import InvalidDocument, InvalidModelFile, InvalidParameter

if TYPE_CHECKING:  # what follows costs seconds to import: each command imports what it needs, so that --help is quick
    from concurrent.futures import Executor

    from neyman.model.model import Model

__all__ = [
    "FILE",
    "PLACE",
    "STATISTICS",
    "data_of",
    "data_options",
    "device_option",
    "executor_options",
    "inference",
    "is_document",
    "load",
    "measurement_option",
    "output_option",
    "seed_option",
]


def __dir__() -> list[str]:
    return __all__


Command = Callable[..., Any]

DOCUMENTS = (".yaml", ".yml", ".json")
FILE = click.Path(path_type=Path)
PLACE = click.Path()  # or a URL, which is no path
STATISTICS = ("tmu_tilde", "tmu", "qmu_tilde", "qmu", "q0")
_POSITIVE = click.IntRange(1)

measurement_option = click.option(
    "--measurement", metavar="NAME", help="One of the document's measurements; default: the first."
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Fixes everything random.")
device_option = click.option(
    "--device", default="auto", show_default=True, help="Where to train: cpu, cuda, cuda:1, ...; auto takes a GPU."
)
_model_argument = click.argument("model", type=FILE)
_simulator_option = click.option(
    "--simulator", "simulators", metavar="FILE.py:NAME", type=FILE, multiple=True,
    help="The simulator that the model was trained on, if it was: toys and Asimov data need it; repeatable, for a "
    "joint model.",
)  # fmt: skip
_fix_option = click.option(
    "--fix", type=FIXED, multiple=True,
    help="Hold a parameter at a value, or where the model suggests; repeatable.",
)  # fmt: skip
_data_options = (
    click.option("--data", metavar="FILE", type=PLACE,
                 help="Observations instead of the model's own: another document, a ROOT or parquet file or its URL "
                 "(FILE.root:TREE where the model does not know the tree), or a saved summary (FILE.npz)."),
    click.option("--asimov", metavar="VALUE", type=float,
                 help="Use the Asimov data at this value of the parameter of interest instead."),
)  # fmt: skip
_throwing_options = (
    seed_option,
    click.option("--source", type=Word(["simulation", "model"]), default="simulation", show_default=True,
                 help="Toys of simulated events, or of the learned density."),
    click.option("--checkpoint", metavar="FILE", type=FILE,
                 help="Keep finished toys there; an interrupted run goes on from it."),
)  # fmt: skip
_executor_options = (
    click.option("--workers", metavar="N", type=_POSITIVE, show_default="1",
                 help="Processes that share the work; the result does not depend on it."),
    click.option("--executor", metavar="WHERE",
                 help="Where the work is done: by 'processes' of this machine, by 'dask' on it, or by the cluster of a "
                 "Dask scheduler, dask://HOST:PORT or dask:FILE.json."),
)  # fmt: skip
_critical_options = (
    click.option("--critical", metavar="FILE", type=FILE,
                 help="With --calibration quantile: critical values for any data, read from FILE if it exists, else "
                 "learned and kept there. Default is to learn them for these data."),
)  # fmt: skip
_nuisance_option = click.option(
    "--nuisance", type=Word(["profile", "worst"]), default="profile", show_default=True,
    help="Nuisance parameters at their best fit, or where the p-value is largest: with toys in their confidence "
    "region, for at least nine times as many toys, with learned critical values anywhere.",
)  # fmt: skip


def output_option(what: str, required: bool = True) -> Command:
    """Return ``--output-file`` for what a command writes."""
    return click.option(
        "-o", "--output-file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), required=required,
        callback=_writable, help=what,
    )  # fmt: skip


def _writable(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Return the path of an output whose folder can be written to: better said before the work than after."""
    if path is not None and not os.access(path.parent, os.W_OK):
        code = errno.EACCES if path.parent.is_dir() else errno.ENOENT
        raise OSError(code, os.strerror(code), str(path.parent))
    return path


def executor_options(command: Command) -> Command:
    """Give a command ``--workers`` and ``--executor``."""
    return _with(_executor_options, command)


def data_options(command: Command) -> Command:
    """Give a command ``--data`` and ``--asimov``."""
    return _with(_data_options, command)


def inference(
    *,
    data: bool = True,
    level: float | None = None,
    test_stats: Sequence[str] = (),
    statistic: bool = False,
    calibrations: Sequence[str] = (),
    toys: str | None = None,
    saves: str | None = None,
) -> Callable[[Command], Command]:
    """Make a command of a function of a model, and give it the options that stand for arguments of the library.

    The function takes the model, the data if it needs any, and the keyword arguments ``fixed``, ``level``,
    ``test_stat``, ``statistic``, ``calibration``, ``n_toys``, ``seed``, ``source``, ``checkpoint``, ``executor`` and
    ``progress``, as far as they are asked for and given; and returns what is to be written.

    Args:
        data: whether it needs data: ``--data`` and ``--asimov``.
        level: the default of ``--level``.
        test_stats: the choices of ``--test-stat``, the default first.
        statistic: whether a learned test statistic or a posterior can take its place: ``--statistic``.
        calibrations: the choices of ``--calibration``, the default first; toys are chosen by ``--n-toys``, too.
        toys: the help of ``--n-toys``, which brings what else says how toys are thrown.
        saves: what kind of file is written; default is the JSON of a result.
    """
    asymptotic = bool(calibrations) and calibrations[0] == "asymptotics"
    shared = [*(_data_options if data else ()), _simulator_option, _fix_option]
    if level is not None:
        shared.append(
            click.option("--level", type=LEVEL, default=level, show_default=True, help="The confidence level.")
        )
    if test_stats:
        shared.append(
            click.option("--test-stat", type=Word(test_stats), default=test_stats[0], show_default=True,
                         help="The test statistic."),
        )  # fmt: skip
    if statistic:
        shared.append(
            click.option("--statistic", metavar="FILE", type=FILE,
                         help="Instead of --test-stat: the test statistic that neyman train-statistic has learned, or "
                         "a posterior for the distance from its mean (waldo)."),
        )  # fmt: skip
    if calibrations:
        shared.append(
            click.option("--calibration", type=Word(calibrations), default=None if asymptotic else calibrations[0],
                         show_default="asymptotics, with --n-toys: toys" if asymptotic else True,
                         help="Where p-values and critical values come from."),
        )  # fmt: skip
        shared.append(_nuisance_option)
    if "quantile" in calibrations:
        shared += _critical_options
    if toys is not None:
        shared += [click.option("-n", "--n-toys", "--toys", metavar="N", type=_POSITIVE, help=toys), *_throwing_options]
    if data or toys is not None:
        shared += _executor_options
    shared.append(
        output_option("Write the JSON there instead of to standard output.", required=False)
        if saves is None
        else output_option(f"The file of the {saves}.")
    )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(
            model: Path,
            simulators: Sequence[Path],
            output_file: Path | None,
            fix: Iterable[tuple[str, float | None]],
            **own: Any,
        ) -> None:
            from neyman.inference.parameters import checked_parameters
            from neyman.support.executors import open_executor

            loaded = load(model, simulators)
            own["fixed"] = checked_parameters(loaded, fixed=dict(fix)).held
            if statistic:
                own |= _statistic(own.pop("statistic"), loaded)
            if asymptotic:
                own["calibration"] = own["calibration"] or ("asymptotics" if own["n_toys"] is None else "toys")
            with open_executor(own.pop("executor", None), own.pop("workers", None)) as executor:
                if data:
                    own["data"] = data_of(loaded, own.pop("data"), own.pop("asimov"), executor)
                if toys is not None:
                    own["executor"] = executor
                    own["progress"] = interactive()
                    if own["n_toys"] is None:
                        del own["n_toys"]  # the library has a default
                result = command(loaded, **own)
            if saves is None:
                deliver(result, output_file)
            else:
                result.save(output_file)
                click.echo(repr(result), err=True)

        return _model_argument(_with(shared, run))

    return decorate


def _statistic(path: Path | None, model: Model) -> dict[str, Any]:
    """Return the arguments for the test statistic of a file, or of the posterior that is in the place of the model."""
    import neyman
    from neyman.posteriors.file import is_posterior
    from neyman.posteriors.likelihood import PosteriorChannel
    from neyman.posteriors.posterior import Posterior

    if path is not None and is_posterior(path):
        return {"statistic": Posterior.load(path), "test_stat": "waldo"}
    if path is not None:
        return {"statistic": neyman.LearnedStatistic.load(path), "test_stat": "learned"}
    asked = click.get_current_context().get_parameter_source("test_stat") is not click.core.ParameterSource.DEFAULT
    for channel in model.learned.values():
        if isinstance(channel, PosteriorChannel) and not asked:
            return {"statistic": channel.posterior, "test_stat": "waldo"}
    return {}


def _with(options: Sequence[Command], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def is_document(path: Path) -> bool:
    """Whether a file is a document, by its name."""
    return path.suffix.lower() in DOCUMENTS


def load(path: Path, simulators: Sequence[Path] = ()) -> Model:
    """Load a model file, with the simulators that were named; a document with nothing to learn is a model already.

    Of the file of a posterior it is the model that the posterior implies.
    """
    import neyman
    from neyman.inputs.simulator_file import is_simulator, load_simulator
    from neyman.posteriors.file import is_posterior
    from neyman.posteriors.posterior import Posterior

    if is_simulator(path):
        raise InvalidModelFile(f"{path}: a simulator, no model; first run neyman train {path} -o FILE.neyman")
    if is_posterior(path):
        if len(simulators) != 1:
            raise click.UsageError(
                f"{path} is a posterior, whose toys are of the simulator: give --simulator FILE.py:NAME"
            )
        return Posterior.load(path).model(load_simulator(simulators[0]))
    if not is_document(path):
        return neyman.Model.load(path, [load_simulator(one) for one in simulators])
    if simulators:
        raise click.UsageError("--simulator is for models that were trained on one, and this is a document")
    workspace = neyman.Workspace.load(path)
    if workspace.learned:
        output = path.with_suffix(".neyman").name
        raise InvalidDocument(
            f"{path}: the channel {workspace.learned[0]} is to be learned; first run neyman train {path} -o {output}"
        )
    return neyman.train(workspace, progress=False)


def data_of(model: Model, path: str | None, asimov: float | None, executor: Executor | None = None) -> Any:
    """Return the flat data vector, or the summary of a dataset, that the options ask for.

    With an executor a file of events is read and encoded there.
    """
    if path is not None and asimov is not None:
        raise click.UsageError("--data and --asimov exclude each other")
    if asimov is not None:
        if model.config.poi_index is None:
            raise InvalidParameter("--asimov: the measurement has no parameter of interest")
        from neyman.inference.parameters import checked_point

        return model.expected_data(checked_point({model.config.poi_name: asimov}, model, "--asimov"))
    if executor is not None and path is not None:
        return model.encode(path, executor=executor)
    data = model.observed if path is None else model.read_data(path)
    if data is None:
        known = model.observed_ensemble
        missing = [] if known is None else [c for c in model.config.channels if c not in {*known.events, *known.counts}]
        what = f" for {' and '.join(missing)}" if missing else ""
        raise InvalidDocument(f"the model has no observations{what}: give --data FILE or --asimov VALUE")
    return data
