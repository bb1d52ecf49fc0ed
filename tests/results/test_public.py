"""What ``import neyman`` offers, and that it costs nothing before it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import neyman

HEAVY = ("torch", "pyhf", "matplotlib", "scipy", "uproot", "iminuit")


def loaded_after(code: str) -> set[str]:
    """Return which of the heavy packages a fresh process has imported after some code."""
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert loaded_after("import neyman; neyman.__version__; neyman.exceptions.NeymanError") == set()


def test_reading_a_result_needs_no_matplotlib_and_drawing_one_no_torch() -> None:
    assert loaded_after("import neyman; neyman.results.from_json").isdisjoint({"torch", "pyhf", "matplotlib"})
    assert loaded_after("from neyman import plot; plot.limit").isdisjoint({"torch", "pyhf"})


@pytest.mark.parametrize("name", neyman.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(neyman, name) is not None
    assert name in dir(neyman)


def test_figures_are_known_as_plot() -> None:
    assert neyman.plot is importlib.import_module("neyman.results.figures")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        neyman.fitt  # noqa: B018
