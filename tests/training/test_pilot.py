"""Tables come in where a structure is narrow, and only there; with them a network finds it."""

from __future__ import annotations

import numpy as np
import pytest
import simulators

import neyman
from neyman.inputs.simulation import simulate
from neyman.networks.kinds import kind_of, set_options
from neyman.training.contrastive import train_set
from neyman.training.pilot import with_tables_where_needed
from neyman.training.proposals import propose

WIDTH = 0.05


def resonance_events(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 20 events, each from a narrow resonance at m with probability a half, or else uniform in [-3, 3]."""
    x = rng.uniform(-3, 3, size=20)
    return np.where(rng.random(20) < 0.5, pars[0] + WIDTH * rng.standard_normal(20), x)[:, None]


RESONANCE = neyman.Simulator(
    resonance_events, [{"name": "m", "inits": [0.0], "bounds": [[-2.5, 2.5]]}], "m", ["x"], channel="SR"
)


def log_ratio(x: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return the exact log-ratios of datasets ``(n, 20)`` to none, each at its m ``(n, k)``, shape ``(n, k)``."""
    peak = np.exp(-0.5 * ((x[:, :, None] - m[:, None]) / WIDTH) ** 2) / (WIDTH * np.sqrt(2 * np.pi))
    return np.log1p(6.0 * peak).sum(axis=1)


@pytest.fixture(scope="module")
def trained() -> neyman.Model:
    options = {"kind": "event", "datasets": 20_000, "steps": 1500, "batch_size": 64}
    return neyman.train(RESONANCE, options, seed=0, workers=1)


def test_a_narrow_resonance_is_found_with_tables(trained):
    channel = trained.learned["SR"]
    assert channel.encoder.members[0].knots == set_options("event", {}).shape["knots"]
    rng = np.random.default_rng(1)
    truth = rng.uniform(-2.2, 2.2, size=300)
    x = np.array([resonance_events([m], rng)[:, 0] for m in truth], dtype=np.float32)
    # what a likelihood tells: where it is large, about the true m, and how much lower it is far from there
    near = np.clip(truth[:, None] + 0.02 * np.arange(-2, 3), -2.5, 2.5)
    points = np.concatenate([near, rng.uniform(-2.5, 2.5, size=(300, 5))], axis=1)
    sums = channel.encode_many(x.reshape(-1, 1), np.arange(0, 6001, 20))
    learned, exact = channel.scores(sums, points[:, :, None]), log_ratio(x, points)
    exact_gain, gain = (one[:, :5].mean(axis=1) - one[:, 5:].mean(axis=1) for one in (exact, learned))
    assert np.median(exact_gain) > 25.0
    assert abs(np.median(gain - exact_gain)) < 2.0
    shape = (learned - exact)[:, :5]
    assert np.median(shape.std(axis=1)) < 0.35  # of log-ratios that differ by 4 between the points


def test_a_model_file_keeps_the_tables(trained, tmp_path):
    trained.save(tmp_path / "resonance.neyman")
    again = neyman.Model.load(tmp_path / "resonance.neyman", simulator=RESONANCE)
    assert again.fingerprint == trained.fingerprint
    events = resonance_events([0.7], np.random.default_rng(2)).astype(np.float32)
    points = np.linspace(-2.5, 2.5, 50)[None, :, None]
    scores = [
        channel.scores(channel.encode_many(events, np.array([0, 20])), points)
        for channel in (trained.learned["SR"], again.learned["SR"])
    ]
    assert np.array_equal(*scores)


def test_smooth_densities_do_without_tables():
    low, high = simulators.onoff.bounds.T
    datasets = simulate(simulators.onoff, propose(low, high, 6400, 0), 0, workers=1)
    kind = kind_of("deepset")
    assert with_tables_where_needed(kind, datasets, low, high, kind.options).shape["knots"] == 0


def test_with_tables_single_events_come_before_whole_datasets():
    low, high = RESONANCE.bounds.T
    datasets = simulate(RESONANCE, propose(low, high, 640, 0), 0, workers=1)
    small = {"knots": 12, "width": 6, "steps": 10, "head_steps": 6, "batch_size": 64, "networks": 1}
    stages = {}
    for knots in (0, 12):
        trained = train_set(
            kind_of("deepset"), datasets, low, high, set_options("deepset", {**small, "knots": knots}), counts=True
        )
        stages[knots] = [entry["name"] for entry in trained.history]
    assert stages[0] == ["dataset", "posterior", "bilinear head", "gaussian head"]
    assert stages[12] == ["single events", *stages[0], "linear head"]
