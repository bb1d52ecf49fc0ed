"""The commands that test values of the parameter of interest by formulas or on toys, from ``cls`` to ``toys``."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neyman.cli.options import STATISTICS, data_of, data_options, inference
from neyman.cli.values import POINT, VALUES, Word

if TYPE_CHECKING:  # what follows costs seconds to import
    from neyman.inference.critical.values import CriticalValues
    from neyman.model.model import Model
    from neyman.results import Result

__all__ = ["COMMANDS"]


def __dir__() -> list[str]:
    return __all__


_UPPER = ("qmu_tilde", "qmu")
_FORMULAS = ("asymptotics", "toys")
_OF_INTERVALS = ("toys", "quantile", "asymptotics")
_OF_EACH = "Throw N toys of each hypothesis (default 2000)."


@click.command()
@click.option("--mu", type=float, default=1.0, show_default=True, help="The tested value of the parameter of interest.")
@inference(test_stats=_UPPER, statistic=True, calibrations=_FORMULAS, toys=_OF_EACH)
def cls(model: Model, data: Any, mu: float, **options: Any) -> Result:
    """Test a value of the parameter of interest by CLs.

    \b
    $ neyman cls analysis.neyman --mu 1
    $ neyman cls analysis.neyman --mu 1 --n-toys 5000 --workers 4
    """
    import neyman

    return neyman.cls(mu, data, model, **options)


@click.command("upper-limit")
@click.option("--values", type=VALUES, help="Values to test beside: LOW:HIGH:POINTS or a list.")
@inference(level=0.95, test_stats=_UPPER, statistic=True, calibrations=_FORMULAS, toys=_OF_EACH)
def upper_limit(model: Model, data: Any, **options: Any) -> Result:
    """Set the CLs upper limit, observed and expected.

    \b
    $ neyman upper-limit analysis.neyman
    $ neyman upper-limit analysis.neyman --asimov 0 | neyman plot -o limit.pdf
    $ neyman upper-limit analysis.neyman --n-toys 5000 --workers 4
    """
    import neyman

    return neyman.limit(data, model, **options)


@click.command()
@inference(calibrations=_FORMULAS, toys="Throw N toys without signal (default 10,000).")
def significance(model: Model, data: Any, **options: Any) -> Result:
    """Give the significance of a discovery.

    It is that of the data against no signal, observed and expected.

    \b
    $ neyman significance analysis.neyman
    $ neyman significance analysis.neyman --n-toys 100000 --workers 4
    """
    import neyman

    return neyman.significance(data, model, **options)


@click.command()
@click.option("--values", "poi_values", type=VALUES,
              help="Tested values to begin with: LOW:HIGH:POINTS or a list.")  # fmt: skip
@inference(
    level=0.68,
    test_stats=STATISTICS,
    statistic=True,
    calibrations=_OF_INTERVALS,
    toys="Throw N toys at most at a tested value (default 4000), or learn critical values from N (default 20,000).",
)
def interval(model: Model, data: Any, poi_values: list[float] | None, critical: Path | None, **options: Any) -> Result:
    """Construct the Neyman confidence interval.

    \b
    $ neyman interval analysis.neyman --level 0.95 --workers 4
    $ neyman interval analysis.neyman | neyman plot -o belt.pdf
    $ neyman interval analysis.neyman --calibration quantile --critical critical.npz
    $ neyman interval analysis.neyman --statistic statistic.neyman
    $ neyman interval model.posterior --simulator model.py:simulator --data observed.root
    """
    import neyman

    found = _critical_values(model, critical, **options)
    return neyman.interval(data, model, poi_values=poi_values, critical=found, **options)


@click.command()
@click.option("--truth", "truths", type=POINT, multiple=True,
              help="True parameters, the others where the model suggests; repeatable.")  # fmt: skip
@click.option("--values", type=VALUES, help="True values of the parameter of interest: LOW:HIGH:POINTS or a list.")
@click.option("--tolerance", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="How far below the level the coverage may be.")  # fmt: skip
@inference(
    data=False,
    level=0.68,
    test_stats=STATISTICS,
    statistic=True,
    calibrations=_OF_INTERVALS,
    toys="Throw N toys at each truth (default 1000).",
)
def coverage(
    model: Model,
    truths: Sequence[dict[str, float]],
    values: list[float] | None,
    tolerance: float,
    critical: Path | None,
    n_toys: int = 1000,
    checkpoint: Path | None = None,
    **options: Any,
) -> Result:
    """Measure how often the interval covers the truth.

    The exit status is 1 where it does so too rarely.

    \b
    $ neyman coverage analysis.neyman --values 0:3:7 --workers 4 -o coverage.json
    $ neyman coverage analysis.neyman --truth mu=0,scale=1 --truth mu=1,scale=-1
    """
    import neyman

    points = [*truths, *({model.config.poi_name: value} for value in values or [])]
    if not points:
        raise click.UsageError("give the truths, by --truth or --values")
    found = _critical_values(model, critical, **options)
    return neyman.coverage(
        model, points, n_toys=n_toys, critical=found, tolerance=tolerance, checkpoint=checkpoint, **options
    )


@click.command()
@click.option("--at", type=POINT, default="", help="Where to throw them; the others are where the model suggests.")
@click.option("--fit", is_flag=True, help="Fit each of them.")
@click.option("--test-stat", type=Word(STATISTICS),
              help="Instead of toys, give this test statistic in them and in the data, at the --at value of the "
              "parameter of interest and the nuisance parameters' best fit there.")  # fmt: skip
@data_options
@inference(data=False, toys="Throw N toys (default 1000).")
def toys(
    model: Model,
    at: dict[str, float],
    fit: bool,
    test_stat: str | None,
    data: str | None,
    asimov: float | None,
    n_toys: int = 1000,
    checkpoint: Path | None = None,
    **options: Any,
) -> Result:
    """Throw toys; fit them, or give a test statistic.

    \b
    $ neyman toys analysis.neyman -n 10000 --at mu=1,scale=0.5 --fit --workers 4 -o toys.json
    $ neyman toys analysis.neyman --at mu=1 --test-stat tmu_tilde | neyman plot -o statistic.pdf
    """
    import neyman
    from neyman.inference.construction import distribution
    from neyman.inference.parameters import checked_point

    if test_stat is not None:
        poi = model.config.poi_name
        if fit or checkpoint is not None:
            raise click.UsageError("--test-stat goes with neither --fit nor --checkpoint")
        if list(at) != [poi]:
            raise click.UsageError(f"--test-stat takes --at with the parameter of interest alone, as --at {poi}=1")
        return distribution(at[poi], data_of(model, data, asimov), model, test_stat, n_toys=n_toys, **options)
    pars = checked_point(at, model, "--at")
    return neyman.toys(pars, model, n_toys, fit=fit, checkpoint=checkpoint, **options)


def _critical_values(
    model: Model, path: Path | None, calibration: str, nuisance: str, statistic: Any = None, **options: Any
) -> CriticalValues | None:
    """Return the critical values of a file, which are learned and kept there first if there is none."""
    if path is None:
        return None
    import neyman

    if calibration != "quantile":
        raise click.UsageError("--critical takes --calibration quantile")
    if path.exists():
        return neyman.CriticalValues.load(path)
    critical = neyman.critical_values(model, statistic=statistic, **options)
    critical.save(path)
    click.echo(repr(critical), err=True)
    return critical


COMMANDS = (cls, upper_limit, significance, interval, coverage, toys)
