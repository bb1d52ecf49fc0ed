"""The commands that explore the likelihood: ``fit``, ``scan`` and ``posterior``."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from neyman.cli.options import inference, seed_option
from neyman.cli.values import PRIOR, VALUES

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
@click.option("-n", "--draws", "n", metavar="N", type=click.IntRange(1), default=4000, show_default=True,
              help="The number of draws.")  # fmt: skip
@click.option("--prior", type=PRIOR, multiple=True,
              help="A distribution of scipy.stats, as 'mu=norm(1, 0.5)', instead of the uniform one within the bounds; "
              "it multiplies a constraint term; repeatable.")  # fmt: skip
@click.option("--chains", metavar="N", type=click.IntRange(1), default=4, show_default=True,
              help="The number of Markov chains, which are compared with each other.")  # fmt: skip
@seed_option
@inference()
def posterior(model: Model, data: Any, prior: Sequence[tuple[str, Any]], **options: Any) -> Result:
    """Draw the parameters from prior times likelihood.

    The prior is uniform within the bounds of every parameter, times the constraint terms of the likelihood.

    \b
    $ neyman posterior analysis.neyman -o posterior.json
    $ neyman posterior analysis.neyman --prior "mu=norm(1, 0.5)" --fix scale | neyman plot -o corner.pdf
    """
    import neyman

    return neyman.posterior(data, model, prior=dict(prior), **options)


COMMANDS = (fit, scan, posterior)
