"""Sixteen systematics by weight against the exact likelihood, which is known for all of them at once."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.stats import norm

import neyman

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "weight_systematics.py"


@pytest.fixture(scope="module")
def problem() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("weight_systematics", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def trained(problem: ModuleType, events: int, folder: Path, network: dict[str, object]) -> neyman.Model:
    torch.set_num_threads(1)
    problem.write(folder, events)
    return neyman.train(neyman.Workspace(problem.document(network), folder), seed=0)


def test_the_exact_fit_is_unbiased_and_its_pulls_are_normal(problem: ModuleType) -> None:
    rng = np.random.default_rng(0)
    fits = [problem.exact_fit(problem.toy(rng)) for _ in range(20)]
    truth = np.array([1.0, *np.zeros(16)])
    pulls = np.array([(values - truth) / errors for values, errors in fits])
    # 340 standard normal numbers, nearly independent
    assert np.mean(pulls) == pytest.approx(0.0, abs=4 / np.sqrt(pulls.size))
    assert np.mean(pulls**2) == pytest.approx(1.0, abs=4 * np.sqrt(2 / pulls.size))


def test_the_weights_are_the_ratios_of_the_densities(problem: ModuleType, tmp_path: Path) -> None:
    problem.write(tmp_path, 40_000)
    simulation = neyman.Workspace(problem.document(), tmp_path).simulation("SR")
    nominal = simulation.samples["background"]
    for hi, lo in simulation.variations["background"].values():
        for events in (hi, lo):
            assert events.features is nominal.features
            # their mean is one up to 6 % / sqrt(40,000)
            assert events.weights.sum() / nominal.weights.sum() == pytest.approx(1.0, abs=4 * 0.06 / 200)
    tilted = simulation.variations["background"]["alpha_0"][0]
    x = nominal.features[:, 0].astype(np.float64)
    grid = np.linspace(-8, 8, 4001)
    ratio = np.exp(problem.log_weights(np.tile(grid[:, None], 8))[:, 0])
    exact = np.sum(norm.pdf(grid) * ratio * grid) / np.sum(norm.pdf(grid) * ratio)
    assert np.average(x, weights=tilted.weights) - x.mean() == pytest.approx(exact, abs=4 * 0.06 / 200)


def test_sixteen_systematics_from_weights_are_as_good_as_the_simulation(problem: ModuleType, tmp_path: Path) -> None:
    network = {"hidden": [32, 32], "folds": 3, "epochs": 1, "minimum_steps": 300, "weight_steps": 800}
    model = trained(problem, 10_000, tmp_path, network)
    differences, ratios, expected = problem.compared(model, toys=3)
    common = differences[:, 1:].mean(axis=0)
    # the shapes of 10,000 events: sixteen numbers know their r.m.s. to 18 %
    assert np.sqrt(np.mean(common**2)) < 1.5 * np.sqrt(np.mean(expected[1:] ** 2))
    assert np.std(differences[:, 1:] - common) < 0.08
    assert ratios[:, 1:].mean() == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_the_default_training_is_at_the_floor_of_the_simulation(problem: ModuleType, tmp_path: Path) -> None:
    model = trained(problem, 40_000, tmp_path, {})
    differences, ratios, expected = problem.compared(model, toys=5)
    common = differences[:, 1:].mean(axis=0)
    assert np.sqrt(np.mean(common**2)) < 1.5 * np.sqrt(np.mean(expected[1:] ** 2))
    assert np.std(differences[:, 1:] - common) < 0.06
    assert ratios[:, 1:].mean() == pytest.approx(1.0, abs=0.01)
    assert ratios[:, 0].mean() == pytest.approx(1.0, abs=0.02)
