"""Does a reweighted reference look like the target? The errors, and what is a failure."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import neyman
from neyman.cli import inspection
from neyman.events import ChannelSimulation, Events
from neyman.networks.options import TrainingOptions
from neyman.results import from_json
from neyman.results.training import chi_squared
from neyman.training.closure import closure_failures, reweighting
from neyman.training.mixture import train_mixture

N = 6000
QUICK = TrainingOptions(hidden=(16,), folds=3, epochs=4, minimum_steps=200)


def weighted(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return events, their weights, the exact ratio of their features, and varied weights that scatter about it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 1)).astype(np.float32)
    ratio = 1.0 + 0.2 * np.tanh(x[:, 0])
    w = rng.uniform(0.5, 1.5, N)
    return x, w, ratio / np.average(ratio, weights=w), w * ratio * (1.0 + 0.3 * rng.choice([-1, 1], N))


def test_a_variation_by_weight_that_is_not_learned_at_all_fails_and_its_exact_ratio_does_not():
    learned, nothing = [], []
    for seed in range(20):
        x, w, ratio, varied = weighted(seed)
        for r, found in ((ratio, learned), (np.ones(N), nothing)):
            found.append(chi_squared(reweighting(["x"], (x, w), r, (x, varied), "hi")))
    chi2, bins = np.array(learned).T
    assert np.all(bins == 25)
    assert chi2.mean() / 25 == pytest.approx(1.0, abs=0.2)  # 20 times 25 bins: 0.06, and the total has no freedom
    assert np.all(np.array(nothing)[:, 0] > 200)


def test_weights_that_the_features_tell_exactly_have_errors_too():
    x, w, ratio, _ = weighted(1)
    for r, low, high in ((ratio, 0.0, 1.0), (1.02 * ratio - 0.02, 0.0, 25.0), (np.ones(N), 1000.0, np.inf)):
        chi2, bins = chi_squared(reweighting(["x"], (x, w), r, (x, w * ratio), "hi"))
        assert bins == 25
        assert low <= chi2 <= high


def test_other_events_have_the_errors_of_independent_samples():
    chi2 = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, N, 1)).astype(np.float32)
        chi2.append(chi_squared(reweighting(["x"], (x, np.ones(N)), np.ones(N), (y, np.ones(N)), "hi"))[0])
    assert np.mean(chi2) == pytest.approx(24.0, abs=5.0)  # the scatter of the mean is 1.5


def test_a_sentinel_does_not_stretch_the_bins():
    rng = np.random.default_rng(3)
    x = np.where(rng.random((N, 1)) < 0.3, -999.0, rng.normal(size=(N, 1))).astype(np.float32)
    [cell] = reweighting(["x"], (x, np.ones(N)), np.ones(N), (x, np.ones(N)), "hi")
    assert cell["edges"][0] > -4
    assert cell["target"][0] > 0.3  # with the sentinel


def failed(ratio: np.ndarray, seed: int, expected: float = 200.0) -> list[str]:
    x, w, _, varied = weighted(seed)
    cells = reweighting(["x"], (x, w), ratio, (x, varied), "scale hi")
    return closure_failures({"name": "variations of b", "reweighting": cells}, {"scale hi": expected})


def test_a_failure_is_told_with_its_size_and_nothing_is_told_of_a_good_ratio_or_one_that_does_not_matter():
    [text] = failed(np.ones(N), 0)
    assert text.startswith("variations of b: scale hi is not learned well: x does not close (chi2 ")
    assert text.endswith("sigma of the data")
    assert not [text for seed in range(30) for text in failed(weighted(seed)[2], seed)]
    assert not failed(np.ones(N), 0, expected=0.1)


def simulation(change: str) -> ChannelSimulation:
    """Return two samples, one with a variation by weight."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, 2)), rng.normal(0.7, 1.0, size=(N, 2))
    w = np.full(N, 300.0 / N)
    factor = {"wave": 1.0 + 0.8 * np.sin(12.0 * x[:, 0]), "tilt": 1.0 + 0.2 * np.tanh(x[:, 1])}[change]
    samples = {"s": Events(y, np.full(N, 40.0 / N)), "b": Events(x, w)}
    return ChannelSimulation("SR", ("x", "y"), samples, {"b": {change: (Events(x, w * factor), None)}})


def test_a_training_that_closes_warns_of_nothing(caplog):
    torch.set_num_threads(1)
    with caplog.at_level(logging.WARNING):
        _, report = train_mixture(simulation("tilt"), TrainingOptions(hidden=(32, 32), folds=3, minimum_steps=500))
    assert report.warnings == ()
    assert not caplog.records


def test_a_training_warns_of_what_does_not_close():
    """A variation that turns over often is too much for a few steps of a small network."""
    torch.set_num_threads(1)
    channel, report = train_mixture(simulation("wave"), QUICK)
    [text] = report.warnings
    assert text.startswith("weights of b: wave hi is not learned well: x does not close")
    assert f"warning: {text}" in repr(report)
    assert from_json(report.to_json()).warnings == report.warnings
    modifiers = {
        "s": [{"name": "mu", "type": "normfactor", "data": None}],
        "b": [{"name": "wave", "type": "normsys", "data": {"hi": 1.0, "lo": 1.0}}],
    }
    yields = {"s": 40.0, "b": 300.0}
    rows = [{"name": name, "data": [yields[name]], "modifiers": own} for name, own in modifiers.items()]
    spec = {"channels": [{"name": "SR", "samples": rows}]}
    model = neyman.Model(spec, {"SR": channel}, poi_name="mu", report=[report])
    assert f"SR: {text}" in inspection.of_model(model)["warnings"]
