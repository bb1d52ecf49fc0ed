"""The examples' generators and exact results."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import uproot

import neyman

INFERNO = Path(__file__).parents[2] / "examples" / "inferno"
FELDMAN_COUSINS = INFERNO.parent / "feldman_cousins"


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


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FELDMAN_COUSINS)
    return importlib.import_module("tables")


def test_exact_enumeration_gives_the_published_intervals_of_counts(tables: ModuleType) -> None:
    for n, published in tables.PUBLISHED.items():
        # the paper's grid has steps of 0.005; for no events it lengthens the interval on purpose
        assert tables.counting_interval(n) == pytest.approx(published if n else (0.0, 0.95), abs=0.011)


def test_exact_intervals_of_a_gaussian_far_from_the_boundary_have_two_equal_sides(tables: ModuleType) -> None:
    assert tables.gaussian_interval(8.0, 0.9) == pytest.approx((8.0 - 1.645, 8.0 + 1.645), abs=1e-3)
    assert tables.gaussian_interval(0.0, 0.95) == pytest.approx((0.0, 1.96), abs=1e-3)


@pytest.mark.parametrize(("x0", "level"), [(-3.0, 0.9), (-1.0, 0.9), (0.5, 0.6827), (1.5, 0.9), (3.1, 0.99)])
def test_the_bounded_gaussian_has_its_exact_interval(tables: ModuleType, x0: float, level: float) -> None:
    result = neyman.interval([1.0, x0], tables.gaussian(), level, seed=2)
    exact = tables.gaussian_interval(x0, level)
    for found, expected, error in zip(result.intervals[0], exact, result.errors[0], strict=True):
        assert abs(found - expected) <= 4 * error + 1e-6
        assert error < 0.15


def test_the_count_beside_the_gaussian_says_nothing(tables: ModuleType) -> None:
    model = tables.gaussian()
    first, second = (neyman.interval([n, 0.7], model, 0.9, calibration="asymptotics") for n in (0.0, 5.0))
    np.testing.assert_allclose(first.intervals, second.intervals, atol=1e-4)
