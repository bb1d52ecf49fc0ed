"""The command that takes a model to other programs: ``export``."""

# ruff: noqa: D301 (the \b in these docstrings is a backspace, click's mark of lines to be left as they are)

from __future__ import annotations

from pathlib import Path

import click

from neyman.cli.options import FILE, load

__all__ = ["COMMANDS"]


def __dir__() -> list[str]:
    return __all__


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--onnx",
    "folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Write the files there: CHANNEL.onnx for each learned channel, and likelihood.json.",
)
def export(model: Path, folder: Path) -> None:
    """Write a model for programs without neyman.

    Each learned channel becomes a file of ONNX, which gives the calibrated ratios of events from their features.
    likelihood.json says how the likelihood is made of them. Only mixtures can be exported: a network of whole datasets
    has no ratios of single events. It needs pip install 'neyman[onnx]'.

    \b
    $ neyman export analysis.neyman --onnx exported
    """
    import neyman

    for file in neyman.export_onnx(load(model), folder).values():
        click.echo(str(file))


COMMANDS = (export,)
