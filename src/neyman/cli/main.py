"""The command line: ``neyman train``, ``neyman fit``, ``neyman upper-limit`` and their companions."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

import logging
import sys
import warnings

import click

from neyman.cli import export, files, fits, toys, training
from neyman.cli.console import Group

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
    $ neyman significance analysis.neyman
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


for _chapter in (files, training, fits, toys, export):
    for _command in _chapter.COMMANDS:
        main.add_command(_command)
