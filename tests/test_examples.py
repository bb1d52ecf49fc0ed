"""The examples' generators and exact results."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import uproot

INFERNO = Path(__file__).parents[1] / "examples" / "inferno"


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(INFERNO)
    return importlib.import_module("exact")


@pytest.mark.parametrize(("benchmark", "expected"), enumerate([14.705, 15.503, 15.634, 15.605, 16.877]))
def test_the_information_limits_the_uncertainty_in_each_benchmark(
    exact: ModuleType, benchmark: int, expected: float
) -> None:
    assert exact.limit(benchmark) == pytest.approx(expected, abs=1e-3)


def test_the_information_is_the_covariance_of_the_scores_of_toys(exact: ModuleType) -> None:
    rng = np.random.default_rng(1)
    scores = []
    for _ in range(2000):
        x = exact.toy(rng)
        p_s, p_b = exact.signal_density(x), exact.background_density(x)
        derivatives = np.stack([p_s, 1000 * p_b * (x[:, 0] - 2) / 5, 1000 * p_b * (1 / 3 - x[:, 2]), p_b])
        scores.append((derivatives / (50 * p_s + 1000 * p_b)).sum(axis=1) - [1, 0, 0, 1])
    information = exact.fisher_information()
    scale = np.sqrt(np.diag(information))
    np.testing.assert_allclose(
        np.cov(np.transpose(scores)) / np.outer(scale, scale), information / np.outer(scale, scale), atol=0.12
    )


def test_the_inferno_files_have_the_expected_yields(
    exact: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    importlib.import_module("make_ntuples").make_ntuples(tmp_path, events=1000)
    with uproot.open(tmp_path / "background.root") as file:
        assert set(file.keys(cycle=False)) == {"nominal", "r_up", "r_down", "lambda_up", "lambda_down"}
        assert file["lambda_down"]["w"].array(library="np").sum() == pytest.approx(1000)
        x2 = file["lambda_down"]["x2"].array(library="np")
        assert x2.mean() == pytest.approx(1 / 2, rel=0.15)
    with uproot.open({tmp_path / "signal.root": "nominal"}) as tree:
        assert tree["w"].array(library="np").sum() == pytest.approx(50)
