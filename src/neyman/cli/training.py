"""The commands that make files of models and what belongs to them: ``train``, ``combine``, ``train-statistic``, ..."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neyman.cli.console import interactive
from neyman.cli.options import (
    FILE,
    STATISTICS,
    device_option,
    executor_options,
    inference,
    load,
    measurement_option,
    output_option,
    seed_option,
)
from neyman.cli.values import BOUNDS, RANGE, SETTING

if TYPE_CHECKING:  # what follows costs seconds to import
    from neyman.inference.critical.values import CriticalValues
    from neyman.inference.learned_statistic import LearnedStatistic
    from neyman.model.model import Model
    from neyman.posteriors.posterior import Posterior

__all__ = ["COMMANDS"]


def __dir__() -> list[str]:
    return __all__


class _Kind(click.Option):
    """An option whose help names the kinds of networks, which are looked up only for it."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option and its help."""
        from neyman.networks.kinds import names

        self.help = (self.help or "").format(", ".join(names()))
        return super().get_help_record(ctx)


@click.command()
@click.argument("source", type=FILE)
@output_option("The model file; an old one is replaced once the new one is complete.")
@seed_option
@device_option
@measurement_option
@click.option(
    "--network", metavar="KIND", cls=_Kind, help="Of a simulator: {}, or with --posterior causal; deepset by default."
)
@click.option("--posterior", is_flag=True, help="Of a simulator: the posterior of its parameters, no model.")
@click.option("--option", "options", type=SETTING, multiple=True,
              help="Of a simulator: an option of the network, as --option datasets=300000; repeatable.")  # fmt: skip
@click.option("--cache", metavar="FOLDER", type=FILE, help="Of a simulator: keep its datasets there for another time.")
@executor_options
def train(
    source: Path,
    output_file: Path,
    seed: int,
    device: str,
    measurement: str | None,
    network: str | None,
    posterior: bool,
    options: Sequence[tuple[str, Any]],
    cache: Path | None,
    workers: int | None,
    executor: str | None,
) -> None:
    """Learn from a document or a simulator; write a model, or a posterior.

    Of a document the learned channels are trained. A simulator is named by its Python file, which is run, and its
    name there. If training is interrupted, the same command goes on where it stopped.

    \b
    $ neyman train analysis.yaml -o analysis.neyman
    $ neyman train analysis.yaml -o analysis.neyman --seed 1 --device cuda
    $ neyman train analysis.yaml -o analysis.neyman --executor dask://HOST:8786
    $ neyman train model.py:simulator -o model.neyman --network deepset --cache datasets
    $ neyman train model.py:simulator -o model.posterior --posterior
    """
    import neyman
    from neyman.inputs.simulator_file import is_simulator, load_simulator
    from neyman.support.executors import open_executor

    checkpoint = output_file.with_name(f"{output_file.name}.checkpoint")
    found: Model | Posterior
    settings: dict[str, Any] = {"seed": seed, "device": device, "progress": interactive(), "checkpoint": checkpoint}
    if is_simulator(source):
        if measurement is not None:
            raise click.UsageError("a simulator has no --measurement")
        simulator = load_simulator(source)
        chosen = {**({} if network is None else {"kind": network}), **dict(options)}
        learn = neyman.train_posterior if posterior else neyman.train
        # without an executor it decides by what they save how many workers there are
        where = open_executor(executor, workers) if executor else contextlib.nullcontext()
        with where as opened:
            settings["workers"] = None if executor else workers
            found = learn(simulator, chosen, cache=cache, executor=opened, **settings)
    else:
        if posterior or network is not None or options or cache is not None:
            raise click.UsageError("--posterior, --network, --option and --cache are for simulators")
        workspace = neyman.Workspace.load(source, measurement, progress=interactive())
        with open_executor(executor, workers) as opened:
            found = neyman.train(workspace, executor=opened, **settings)
    found.save(output_file)
    shutil.rmtree(checkpoint)  # only now: saving may have failed
    for report in found.report:
        click.echo(repr(report), err=True)


@click.command()
@click.argument("models", type=FILE, nargs=-1, required=True)
@output_option("The file of the joint model.")
@click.option("--poi", metavar="NAME", help="The parameter of interest; by default that of the models.")
@click.option("--bounds", type=BOUNDS, multiple=True,
              help="Bounds of a parameter whose bounds differ in the models; repeatable.")  # fmt: skip
def combine(
    models: Sequence[Path], output_file: Path, poi: str | None, bounds: Sequence[tuple[str, tuple[float, float]]]
) -> None:
    """Join models into one that shares their parameters.

    Parameters of the same name are one, with their constraint once. Models of documents and of simulators go together,
    and documents of bins alone are models already.

    \b
    $ neyman combine search.neyman model.neyman -o joint.neyman
    $ neyman combine model.neyman control.yaml --poi mu --bounds norm=0.5:2 -o joint.neyman
    """
    import neyman

    joint = neyman.combine(*(load(path) for path in models), poi=poi, bounds=dict(bounds))
    joint.save(output_file)
    click.echo(repr(joint), err=True)


@click.command("train-statistic")
@click.option("--values", type=RANGE, required=True, help="The lowest and the highest value that is to be tested.")
@click.option("--side", type=click.Choice(["both", "upper"]), default="both", show_default=True,
              help="Against values on both sides, or smaller ones alone, for upper limits.")  # fmt: skip
@click.option("--datasets", "n_datasets", metavar="N", type=click.IntRange(1), default=50_000, show_default=True,
              help="How many datasets are simulated.")  # fmt: skip
@seed_option
@device_option
@inference(data=False, saves="statistic")
def train_statistic(model: Model, **options: Any) -> LearnedStatistic:
    """Learn a test statistic whose toys take no fits.

    It takes the place of --test-stat, by --statistic.

    \b
    $ neyman train-statistic analysis.neyman --values 0:10 -o statistic.neyman
    $ neyman interval analysis.neyman --statistic statistic.neyman
    """
    import neyman

    return neyman.train_statistic(model, **options, progress=interactive())


@click.command("critical-values")
@click.option("--values", "poi_range", type=RANGE, help="The lowest and the highest value that is to be tested.")
@inference(data=False, level=0.95, test_stats=STATISTICS, statistic=True, toys="Learn from N toys (default 20,000).",
           saves="critical values")  # fmt: skip
def critical_values(model: Model, **options: Any) -> CriticalValues:
    """Learn the critical values of a test statistic.

    They are for any data, by --calibration quantile --critical.

    \b
    $ neyman critical-values analysis.neyman -o critical.npz --workers 4
    $ neyman interval analysis.neyman --calibration quantile --critical critical.npz
    """
    import neyman

    return neyman.critical_values(model, **options)


COMMANDS = (train, combine, train_statistic, critical_values)
