"""The commands that throw toys: ``train-statistic``, ``cls``, ``upper-limit``, ``interval``, ``coverage``, ``toys``."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neyman.cli.options import (
    FILE,
    Point,
    Values,
    data_of,
    emit,
    fix_option,
    interactive,
    load,
    on_data,
    seed_option,
    simulator_option,
    test_stat_option,
)
from neyman.exceptions import FailedFit, NeymanError

if TYPE_CHECKING:  # what follows costs seconds to import
    from neyman.inference.critical.values import CriticalValues
    from neyman.inference.learned_statistic import LearnedStatistic
    from neyman.model.model import Model
    from neyman.results import Result

__all__ = ["COMMANDS"]


def __dir__() -> list[str]:
    return __all__


_STATISTICS = ("tmu_tilde", "tmu", "qmu_tilde", "qmu", "q0")
_CALIBRATIONS = ("toys", "quantile", "asymptotics")

_workers = click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True,
    help="Processes that throw toys; the result does not depend on it.",
)  # fmt: skip
_source = click.option(
    "--source", type=click.Choice(["simulation", "model"]), default="simulation", show_default=True,
    help="Toys of simulated events, or of the learned density.",
)  # fmt: skip
_checkpoint = click.option(
    "--checkpoint", metavar="FILE", type=FILE, help="Keep finished toys there; an interrupted run goes on from it."
)
_toys_option = click.option(
    "--toys", "n_toys", metavar="N", type=click.IntRange(1),
    help="Throw N toys of each hypothesis instead of using the asymptotic formulas.",
)  # fmt: skip
_construction_stat = click.option(
    "--test-stat", type=click.Choice(_STATISTICS), default="tmu_tilde", show_default=True, help="The test statistic."
)
_statistic = click.option(
    "--statistic", "learned", metavar="FILE", type=FILE,
    help="The test statistic that neyman train-statistic has learned, instead of --test-stat.",
)  # fmt: skip
_calibration = click.option(
    "--calibration", type=click.Choice(_CALIBRATIONS), default="toys", show_default=True,
    help="Where the critical values come from.",
)  # fmt: skip

_critical = click.option(
    "--critical", metavar="FILE", type=FILE,
    help="With --calibration quantile: critical values for any data, read from FILE if it exists, else learned and "
    "kept there. Default is to learn them for these data.",
)  # fmt: skip
_nuisance = click.option(
    "--nuisance", type=click.Choice(["profile", "worst"]), default="profile", show_default=True,
    help="With --calibration quantile: nuisance parameters at their best fit, or where the p-value is largest.",
)  # fmt: skip


class _Range(click.ParamType[Any]):
    """Two values, as ``0:10``."""

    name = "LOW:HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Return both."""
        if isinstance(value, tuple):
            return value
        low, _, high = value.partition(":")
        try:
            return float(low), float(high)
        except ValueError:
            self.fail(f"{value!r} is not LOW:HIGH, as in 0:10", param, ctx)


def _level(default: float, text: str) -> Callable[..., Any]:
    bounds = click.FloatRange(0, 1, min_open=True, max_open=True)
    return click.option("--level", type=bounds, default=default, show_default=True, help=text)


@contextlib.contextmanager
def _executor(workers: int) -> Iterator[concurrent.futures.Executor | None]:
    """Give that many processes, or none beside this one."""
    if workers == 1:
        yield None
        return
    # spawned: a process that is forked while torch has threads may hang
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as executor:
        yield executor


def _learned_statistic(path: Path | None, test_stat: str) -> tuple[str, LearnedStatistic | None]:
    """Return the name of the test statistic and, with a file, the learned one."""
    if path is None:
        return test_stat, None
    import neyman

    return "learned", neyman.LearnedStatistic.load(path)


def _critical_values(
    model: Model, path: Path | None, calibration: str, test_stat: str, n_toys: int | None, **options: Any
) -> CriticalValues | None:
    """Return the critical values of a file, which are learned and kept there first if there is none."""
    if path is None:
        return None
    import neyman

    if calibration != "quantile":
        raise click.UsageError("--critical takes --calibration quantile")
    if path.exists():
        return neyman.CriticalValues.load(path)
    critical = neyman.critical_values(model, test_stat, n_toys=n_toys or 20_000, **options, progress=interactive())
    critical.save(path)
    click.echo(repr(critical), err=True)
    return critical


@click.command()
@on_data
@click.option("--mu", type=float, default=1.0, show_default=True, help="The tested value of the parameter of interest.")
@test_stat_option
@_toys_option
@seed_option
@_source
@_workers
def cls(
    model: Model, data: Any, mu: float, test_stat: str, n_toys: int | None, seed: int, source: str, workers: int
) -> Result:
    """Test one value of the parameter of interest by CLs.

    \b
    $ neyman cls analysis.neyman --mu 1
    $ neyman cls analysis.neyman --mu 1 --toys 5000 --workers 4
    """
    from neyman.inference import limits

    if n_toys is None:
        return limits.cls(mu, data, model, test_stat=test_stat)
    with _executor(workers) as executor:
        return limits.cls(
            mu, data, model, test_stat=test_stat, calctype="toybased", n_toys=n_toys, seed=seed, source=source,
            executor=executor, progress=interactive(),
        )  # fmt: skip


@click.command("upper-limit")
@on_data
@_level(0.95, "The confidence level.")
@test_stat_option
@_statistic
@_toys_option
@seed_option
@_source
@_checkpoint
@_workers
def upper_limit(
    model: Model,
    data: Any,
    level: float,
    test_stat: str,
    learned: Path | None,
    n_toys: int | None,
    seed: int,
    source: str,
    checkpoint: Path | None,
    workers: int,
) -> Result:
    """Set the CLs upper limit on the parameter of interest, observed and expected.

    \b
    $ neyman upper-limit analysis.neyman
    $ neyman upper-limit analysis.neyman --asimov 0 | neyman plot -o limit.pdf
    $ neyman upper-limit analysis.neyman --toys 5000 --workers 4
    """
    import neyman

    test_stat, statistic = _learned_statistic(learned, test_stat)
    if n_toys is None:
        return neyman.limit(data, model, level=level, test_stat=test_stat, statistic=statistic)
    with _executor(workers) as executor:
        return neyman.limit(
            data, model, level=level, test_stat=test_stat, calctype="toybased", n_toys=n_toys, seed=seed,
            source=source, checkpoint=checkpoint, executor=executor, progress=interactive(), statistic=statistic,
        )  # fmt: skip


@click.command("train-statistic")
@click.argument("model", type=FILE)
@click.option("--values", metavar="LOW:HIGH", type=_Range(), required=True,
              help="The lowest and the highest value that is to be tested.")  # fmt: skip
@click.option("-o", "--output-file", metavar="FILE", type=FILE, required=True, help="The file of the statistic.")
@click.option("--side", type=click.Choice(["both", "upper"]), default="both", show_default=True,
              help="Against values on both sides, or smaller ones alone, for upper limits.")  # fmt: skip
@click.option("--datasets", "n_datasets", metavar="N", type=click.IntRange(1), default=50_000, show_default=True,
              help="How many datasets are simulated.")  # fmt: skip
@fix_option
@seed_option
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, ...; auto takes a GPU if there is one.")
@simulator_option
def train_statistic(
    model: Path,
    values: tuple[float, float],
    output_file: Path,
    side: str,
    n_datasets: int,
    fix: Sequence[tuple[str, float]],
    seed: int,
    device: str,
    simulator: Path | None,
) -> None:
    """Learn a test statistic whose toys take no fits, for ``--statistic``.

    \b
    $ neyman train-statistic analysis.neyman --values 0:10 -o statistic.neyman
    $ neyman interval analysis.neyman --statistic statistic.neyman
    """
    import neyman

    statistic = neyman.train_statistic(
        load(model, simulator), values, side=side, n_datasets=n_datasets, fixed=dict(fix), seed=seed, device=device,
        progress=interactive(),
    )  # fmt: skip
    statistic.save(output_file)
    click.echo(repr(statistic), err=True)


@click.command()
@on_data
@_level(0.68, "The confidence level.")
@_construction_stat
@_statistic
@_calibration
@click.option("--values", type=Values(), help="Tested values to begin with: LOW:HIGH:POINTS or a list.")
@click.option("--toys", "n_toys", metavar="N", type=click.IntRange(1),
              help="How many toys a tested value takes at most (default 4000), or critical values are learned from "
              "(default 20,000).")  # fmt: skip
@_critical
@_nuisance
@fix_option
@seed_option
@_source
@_checkpoint
@_workers
def interval(
    model: Model,
    data: Any,
    level: float,
    test_stat: str,
    learned: Path | None,
    calibration: str,
    values: list[float] | None,
    n_toys: int | None,
    critical: Path | None,
    nuisance: str,
    fix: Sequence[tuple[str, float]],
    seed: int,
    source: str,
    checkpoint: Path | None,
    workers: int,
) -> Result:
    """Construct the Neyman confidence interval on the parameter of interest.

    \b
    $ neyman interval analysis.neyman --level 0.95 --workers 4
    $ neyman interval analysis.neyman | neyman plot -o belt.pdf
    $ neyman interval analysis.neyman --calibration quantile --critical critical.npz
    $ neyman interval analysis.neyman --statistic statistic.neyman
    """
    import neyman

    test_stat, statistic = _learned_statistic(learned, test_stat)
    with _executor(workers) as executor:
        found = _critical_values(
            model, critical, calibration, test_stat, n_toys, seed=seed, executor=executor, source=source,
            fixed=dict(fix), level=level, checkpoint=checkpoint,
        )  # fmt: skip
        return neyman.interval(
            data, model, level, test_stat, calibration, seed=seed, n_toys=n_toys, poi_values=values, critical=found,
            nuisance=nuisance, statistic=statistic, executor=executor, source=source, fixed=dict(fix),
            checkpoint=checkpoint, progress=interactive(),
        )  # fmt: skip


@click.command()
@click.argument("model", type=FILE)
@click.option("-o", "--output-file", metavar="FILE", type=FILE,
              help="Write the JSON there instead of to standard output.")  # fmt: skip
@click.option("--truth", "truths", type=Point(), multiple=True,
              help="True parameters, the others where the model suggests; repeatable.")  # fmt: skip
@click.option("--values", type=Values(), help="True values of the parameter of interest: LOW:HIGH:POINTS or a list.")
@_level(0.68, "The confidence level.")
@_construction_stat
@_statistic
@_calibration
@click.option("--toys", "n_toys", metavar="N", type=click.IntRange(1), default=1000, show_default=True,
              help="How many toys are thrown at each truth.")  # fmt: skip
@_critical
@_nuisance
@click.option("--tolerance", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="How far below the level the coverage may be.")  # fmt: skip
@fix_option
@seed_option
@_source
@_checkpoint
@_workers
@simulator_option
def coverage(
    model: Path,
    output_file: Path | None,
    truths: Sequence[dict[str, float]],
    values: list[float] | None,
    level: float,
    test_stat: str,
    learned: Path | None,
    calibration: str,
    n_toys: int,
    critical: Path | None,
    nuisance: str,
    tolerance: float,
    fix: Sequence[tuple[str, float]],
    seed: int,
    source: str,
    checkpoint: Path | None,
    workers: int,
    simulator: Path | None,
) -> None:
    """Measure how often the interval covers the truth; the exit status is 1 where it does so too rarely.

    \b
    $ neyman coverage analysis.neyman --values 0:3:7 --workers 4 -o coverage.json
    $ neyman coverage analysis.neyman --truth mu=0,scale=1 --truth mu=1,scale=-1
    """
    import neyman

    loaded = load(model, simulator)
    points = [*truths, *({loaded.config.poi_name: value} for value in values or [])]
    if not points:
        raise click.UsageError("give the truths, by --truth or --values")
    test_stat, statistic = _learned_statistic(learned, test_stat)
    with _executor(workers) as executor:
        found = _critical_values(
            loaded, critical, calibration, test_stat, None, seed=seed, executor=executor, source=source,
            fixed=dict(fix), level=level,
        )  # fmt: skip
        result = neyman.coverage(
            loaded, points, level, calibration, n_toys, seed, executor, test_stat=test_stat, critical=found,
            nuisance=nuisance, statistic=statistic, source=source, tolerance=tolerance, fixed=dict(fix),
            checkpoint=checkpoint, progress=interactive(),
        )  # fmt: skip
    emit(result.to_json(), output_file)
    click.echo(repr(result), err=True)
    if not result.passed:
        under = result.verdicts.count("undercovers")
        raise NeymanError(f"the interval undercovers at {under} of {len(points)} truths")


@click.command()
@click.argument("model", type=FILE)
@click.option("-n", "--number", "n", type=click.IntRange(1), default=1000, show_default=True, help="How many.")
@click.option("--at", type=Point(), default="", help="Where to throw them; the others are where the model suggests.")
@click.option("--fit", is_flag=True, help="Fit each of them.")
@fix_option
@click.option("--test-stat", type=click.Choice(_STATISTICS),
              help="Instead of toys, give this test statistic in them and in the data, at the --at value of the "
              "parameter of interest and the nuisance parameters' best fit there.")  # fmt: skip
@click.option("--asimov", metavar="VALUE", type=float, help="With --test-stat: the Asimov data as the data.")
@click.option("--data", metavar="FILE", type=FILE, help="With --test-stat: other observations.")
@click.option("-o", "--output-file", metavar="FILE", type=FILE,
              help="Write the JSON there instead of to standard output.")  # fmt: skip
@seed_option
@_source
@_checkpoint
@_workers
@simulator_option
def toys(
    model: Path,
    n: int,
    at: dict[str, float],
    fit: bool,
    fix: Sequence[tuple[str, float]],
    test_stat: str | None,
    asimov: float | None,
    data: Path | None,
    output_file: Path | None,
    seed: int,
    source: str,
    checkpoint: Path | None,
    workers: int,
    simulator: Path | None,
) -> None:
    """Throw toys and fit them, or show how a test statistic is distributed in them.

    \b
    $ neyman toys analysis.neyman -n 10000 --at mu=1,scale=0.5 --fit --workers 4 -o toys.json
    $ neyman toys analysis.neyman --at mu=1 --test-stat tmu_tilde | neyman plot -o statistic.pdf
    """
    import neyman
    from neyman.inference.parameters import parameter_index

    loaded = load(model, simulator)
    pars = list(loaded.config.suggested_init())
    for name, value in at.items():
        pars[parameter_index(loaded, name)] = value
    with _executor(workers) as executor:
        result: Any
        if test_stat is None:
            result = neyman.toys(
                pars, loaded, n, seed, source, fit, executor, fixed=dict(fix), checkpoint=checkpoint,
                progress=interactive(),
            )  # fmt: skip
        else:
            from neyman.inference.construction import distribution

            poi = loaded.config.poi_name
            if list(at) != [poi]:
                raise click.UsageError(f"--test-stat takes --at with the parameter of interest alone, as --at {poi}=1")
            result = distribution(
                at[poi], data_of(loaded, data, asimov), loaded, test_stat, n_toys=n, seed=seed, executor=executor,
                source=source, fixed=dict(fix), progress=interactive(),
            )  # fmt: skip
    emit(result.to_json(), output_file)
    if not getattr(result, "valid", True):
        raise FailedFit("some toys have no valid fit: see the JSON")


COMMANDS = (train_statistic, cls, upper_limit, interval, coverage, toys)
