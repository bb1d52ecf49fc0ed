"""The learned likelihood against the exact one on toys the training has not seen; minutes, so behind ``-m slow``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*:UserWarning")]


def script(folder: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import an example's run.py under a name of its own."""
    monkeypatch.syspath_prepend(EXAMPLES / folder)
    for module in ("exact", "make_ntuples"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    spec = importlib.util.spec_from_file_location(f"{folder}_run", EXAMPLES / folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_search_agrees_with_the_exact_likelihood(tmp_path, monkeypatch):
    run = script("search", monkeypatch)
    found = run.summary([run.measure(seed=0, events=30_000, toys=100, limits=5, mu=1.0, folder=tmp_path)])
    # 26,000 simulated events for 300 expected: sqrt(N/n) is 0.11; the mean of 100 toys is known to 0.01
    assert abs(found["bias of mu-hat per seed, in sigma"][0]) < 2 * 0.11
    assert found["scatter of mu-hat about the exact one, in sigma"] < 0.1
    assert found["width ratio"]["median"] == pytest.approx(1.0, abs=0.02)
    assert found["observed limit over exact"]["mean"] == pytest.approx(1.0, abs=0.05)
    medians = found["median expected limit"]
    assert medians["learned"] < 0.95 * medians["mass in categories"] < 0.95 * medians["mass"]


def test_inferno_reaches_the_fisher_information(tmp_path, monkeypatch):
    run = script("inferno", monkeypatch)
    found = run.summary([run.measure(seed=0, events=100_000, toys=200, folder=tmp_path)])
    # one seed; the median over several is what is quoted
    np.testing.assert_allclose(found["ratio"], 1.0, atol=0.015)
    assert abs(found["bias of s per seed, in sigma"][0]) < 3 * 0.1
    for name in ("68 %", "95 %"):
        coverage = found["coverage"][name]
        assert abs(coverage["learned"] - coverage["exact"]) < 4 * coverage["error of the difference"] + 0.01
