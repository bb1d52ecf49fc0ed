"""The commands that explore the likelihood: ``fit``, ``scan``, ``impacts`` and ``posterior``."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from neyman.cli.console import deliver
from neyman.cli.options import inference, seed_option
from neyman.cli.values import GROUP, PRIOR, VALUES
from neyman.exceptions import InvalidDocument

if TYPE_CHECKING:  # what follows costs seconds to import
    from neyman.model.model import Model
    from neyman.results import Result

__all__ = ["COMMANDS"]


def __dir__() -> list[str]:
    return __all__


@click.command()
@click.option("--minos", metavar="NAME", multiple=True, help="Also give this parameter's MINOS interval; repeatable.")
@inference()
def fit(model: Model, data: Any, **options: Any) -> Result:
    """Fit all parameters by maximum likelihood.

    \b
    $ neyman fit analysis.neyman --minos mu
    $ neyman fit analysis.neyman --fix mu=0 --data other.yaml
    """
    import neyman

    return neyman.fit(data, model, **options)


@click.command()
@click.option("--values", type=VALUES, multiple=True,
              help="LOW:HIGH:POINTS or a list; once for each parameter. By default about the best fit.")  # fmt: skip
@inference()
@click.argument("names", nargs=-1, required=True)
def scan(model: Model, data: Any, names: Sequence[str], values: Sequence[list[float]], **options: Any) -> Result:
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
        return neyman.scan(data, model, names[0], values[0] if values else None, **options)
    return neyman.scan(data, model, names, values or None, **options)


@click.command()
@click.option("--poi", metavar="NAME", help="The parameter whose best fit moves; default: that of interest.")
@click.option("--parameter", "parameters", metavar="NAME", multiple=True,
              help="Rank this one only, or those like 'jes_*'; repeatable.")  # fmt: skip
@click.option("--group", "groups", type=GROUP, multiple=True,
              help="Give the part of some parameters in the uncertainty, as 'jets=jes_*,jer'; repeatable.")  # fmt: skip
@click.option("--prefit/--no-prefit", default=True, show_default=True, help="Give the impacts before the fit, too.")
@click.option("--blind", is_flag=True, help="Hide the best fit of the parameter of interest and the impacts' signs.")
@inference()
def impacts(
    model: Model, data: Any, parameters: Sequence[str], groups: Sequence[tuple[str, list[str]]], **options: Any
) -> Result:
    """Rank the parameters by how far they move the best fit of one, and split its uncertainty.

    \b
    $ neyman impacts analysis.neyman -o impacts.json
    $ neyman impacts analysis.neyman --group "jets=jes_*,jer" --blind | neyman plot -o impacts.pdf
    """
    import neyman

    return neyman.impacts(data, model, parameters=parameters or None, groups=dict(groups), **options)


def _or_posterior(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command of a model draw from a posterior file, too."""

    @functools.wraps(command)
    def run(model: Path, **options: Any) -> None:
        from neyman.posteriors.file import is_posterior

        if is_posterior(model):
            _drawn(model, **options)
        else:
            command(model, **options)

    return run


def _drawn(file: Path, *, data: str | None, n: int, seed: int, output_file: Path | None, **others: Any) -> None:
    """Deliver draws from a posterior file."""
    from neyman.posteriors.data import read_events
    from neyman.posteriors.posterior import Posterior

    source = click.get_current_context().get_parameter_source
    if given := [name for name in others if source(name) is ParameterSource.COMMANDLINE]:
        raise click.UsageError(f"--{given[0]} is for models; {file} is a posterior, whose prior is learned with it")
    if data is None:
        raise InvalidDocument(f"{file}: a posterior has no observations: give --data FILE")
    loaded = Posterior.load(file)
    deliver(loaded.sample(read_events(data, loaded.features), n, seed), output_file)


@click.command()
@click.option("-n", "--draws", "n", metavar="N", type=click.IntRange(1), default=4000, show_default=True,
              help="The number of draws.")  # fmt: skip
@click.option("--prior", type=PRIOR, multiple=True,
              help="A distribution of scipy.stats, as 'mu=norm(1, 0.5)', instead of the uniform one within the bounds; "
              "it multiplies a constraint term; repeatable.")  # fmt: skip
@click.option("--chains", metavar="N", type=click.IntRange(1), default=4, show_default=True,
              help="The number of Markov chains, which are compared with each other.")  # fmt: skip
@seed_option
@_or_posterior
@inference()
def posterior(model: Model, data: Any, prior: Sequence[tuple[str, Any]], **options: Any) -> Result:
    """Draw the parameters from prior times likelihood, or from a posterior file.

    The prior is uniform within the bounds of every parameter, times the constraint terms of the likelihood.
    MODEL may be what neyman train --posterior has written: then --data, -n and --seed are all there is to choose.

    \b
    $ neyman posterior analysis.neyman -o posterior.json
    $ neyman posterior analysis.neyman --prior "mu=norm(1, 0.5)" --fix scale | neyman plot -o corner.pdf
    $ neyman posterior model.posterior --data data.root
    """
    import neyman

    return neyman.posterior(data, model, prior=dict(prior), **options)


COMMANDS = (fit, scan, impacts, posterior)
