"""Variations by weight, learned in one pass: what is learned of known ratios, of noise, of signs and of zeros."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from neyman.events import ChannelSimulation, Events
from neyman.exceptions import FailedFit
from neyman.model.mixture import MixtureChannel
from neyman.networks.mixture import fold_of, logits
from neyman.networks.options import TrainingOptions
from neyman.training import loop
from neyman.training.mixture import train_mixture
from neyman.training.sources import varied_sources
from neyman.training.weights import train_weights

QUICK = TrainingOptions(hidden=(32, 32), folds=3, minimum_steps=50, epochs=1, weight_steps=400)
N = 4000


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def exact(x):
    """Log-ratios of four variations of 1 to 40 %, of mean zero: known ratios are learned up to the totals."""
    t = np.stack([0.05 * np.tanh(x[:, 0]), 0.05 * np.cos(x[:, 1]), 0.01 * x[:, 0], 0.4 * np.sin(x[:, 0] + x[:, 1])])
    return t - np.log(np.exp(t).mean(axis=1, keepdims=True))


def left_out(trained, x):
    """Return the log-ratios of events by the networks that have not seen them, shape ``(V, N)``."""
    return logits(trained.network, x, fold_of(len(x), trained.network.folds, 0)).T


def relative_errors(learned, exact):
    return np.std(learned - exact, axis=1) / np.std(exact, axis=1)


def test_ratios_that_the_features_tell_are_learned_without_the_noise_of_the_simulation(x, exact):
    trained = train_weights(Events(x), list(np.exp(exact)), QUICK)
    # a classifier of N events against N others has an error of sqrt(2/N) = 0.022 a degree of freedom: 0.45 of 5 %
    assert np.all(relative_errors(left_out(trained, x), exact) < 0.15)


def test_the_loss_says_how_much_of_the_variations_is_learned(x, exact):
    trained = train_weights(Events(x), list(np.exp(exact[:3])), QUICK)
    # of a fold, with its own mean square of the variations
    assert trained.validation_loss[:, -1].mean() == pytest.approx(-1.0, abs=0.03)
    noise = np.random.default_rng(1).choice([0.9, 1.1], size=N)
    nothing = train_weights(Events(x), [noise], QUICK)
    # what is learned by heart makes it positive on the left-out fold, and is not kept
    assert nothing.validation_loss.min(axis=1) == pytest.approx(0.0, abs=0.02)


def test_nominal_weights_count(x, exact):
    nominal = np.random.default_rng(2).lognormal(sigma=1.0, size=N)
    trained = train_weights(Events(x, nominal), list(nominal * np.exp(exact)), QUICK)
    assert np.all(relative_errors(left_out(trained, x), exact) < 0.2)


def test_weights_that_features_do_not_tell_give_the_ratio_of_their_means(x):
    """A factor of two or one half by chance: the mean of the ratios is 5/4 of the mean of their logarithms."""
    rng = np.random.default_rng(3)
    likely = 0.5 + 0.4 * np.tanh(x[:, 0])
    weights = np.where(rng.random(N) < likely, 2.0, 0.5)
    exact = np.log(0.5 + 1.5 * likely)
    learned = left_out(train_weights(Events(x), [weights], QUICK), x)[0]
    # 4000 events know it to 0.6/sqrt(4000) = 0.01 a degree of freedom; log means would be off by up to 0.3
    assert np.std(learned - exact) < 0.08
    assert abs(np.mean(learned - exact) + np.log(weights.mean())) < 0.03


def test_weights_of_either_sign_and_zero_count_as_they_are(x, exact):
    """Events of negative and zero nominal weight, where those of the variations are neither, cancel in the density."""
    rng = np.random.default_rng(4)
    extra = rng.normal(-1.0, 0.5, size=(100, 2)).astype(np.float32)
    everything = np.concatenate([x, x[::10], np.repeat(extra, 2, axis=0)])
    # a tenth of the events come apart: one has the nominal weight, one the others; the extra ones cancel
    moved, cancel = np.arange(N) % 10 == 0, np.tile([0.5, -0.5], 100)
    nominal = np.concatenate([np.ones(N), np.zeros(moved.sum()), cancel])
    ratio = np.exp(exact[3])
    varied = np.concatenate([np.where(moved, 0.0, ratio), ratio[moved], -0.6 * cancel])
    trained = train_weights(Events(everything, nominal), [varied], QUICK)
    learned = left_out(trained, everything)[:, :N]
    # 400 independent pairs have an error of sqrt(2 / 400) * 0.1 = 0.007 a degree of freedom in 0.3
    assert relative_errors(learned, exact[3:])[0] < 0.25


def test_a_variation_that_changes_nothing_is_learned_as_nothing(x, exact):
    trained = train_weights(Events(x), [np.ones(N), np.exp(exact[0]), np.full(N, 1.3)], QUICK)
    learned = left_out(trained, x)
    assert np.abs(learned[[0, 2]]).max() < 1e-4
    assert relative_errors(learned[1:2], exact[:1])[0] < 0.15


def test_the_same_seed_gives_the_same_networks_and_an_interrupted_training_resumes(x, exact, tmp_path, monkeypatch):
    step, steps, at = torch.optim.AdamW.step, [], 15

    def interrupted(*args, **options):
        steps.append(1)
        if len(steps) == at:
            raise KeyboardInterrupt
        return step(*args, **options)

    data = Events(x), list(np.exp(exact))
    few = dataclasses.replace(QUICK, weight_steps=40)
    whole = train_weights(*data, few, seed=5)
    path = tmp_path / "weights.pt"
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_weights(*data, few, seed=5, checkpoint=path)
    resumed = train_weights(*data, few, seed=5, checkpoint=path)
    assert np.array_equal(resumed.validation_loss, whole.validation_loss)
    assert np.array_equal(logits(resumed.network, x), logits(whole.network, x))


def test_a_training_that_diverges_is_an_error(x, exact):
    options = dataclasses.replace(QUICK, weight_learning_rate=1e30)
    with pytest.raises(FailedFit, match=r"use a weight_learning_rate below 1e\+30, or look for features or weights"):
        train_weights(Events(x), list(np.exp(exact)), options)


@pytest.fixture(scope="module")
def simulation(x, exact):
    """A systematic by weight, one of events of their own, and one of each kind on either side; another sample."""
    rng = np.random.default_rng(6)
    nominal = Events(x, np.full(N, 300.0 / N))

    def weighted(t):
        return Events(x.copy(), nominal.weights * np.exp(t))

    def moved(shift):
        return Events(rng.normal([shift, 0.0], 1.0, size=(N, 2)), nominal.weights)

    varied = {
        "weight": (weighted(exact[0]), weighted(-exact[0])),
        "shift": (moved(0.2), moved(-0.2)),
        "both": (moved(0.3), weighted(0.3 * (0.0 - x[:, 0]))),
    }
    signal = Events(rng.normal(1.0, 1.0, size=(N, 2)), np.full(N, 40.0 / N))
    return ChannelSimulation("SR", ("x", "y"), {"s": signal, "b": nominal}, {"s": {}, "b": varied})


@pytest.fixture(scope="module")
def trained(simulation):
    return train_mixture(simulation, dataclasses.replace(QUICK, minimum_steps=150))


def test_events_of_their_own_have_the_first_columns_and_weights_the_last(simulation):
    sources = varied_sources(simulation)
    assert [list(group[1]) for group in (sources.others, sources.weights)] == [
        ["shift hi", "shift lo", "both hi"],
        ["weight hi", "weight lo", "both lo"],
    ]
    assert [(v.parameter, v.hi, v.lo) for v in sources.variations] == [
        ("weight", 3, 4),
        ("shift", 0, 1),
        ("both", 2, 5),
    ]


def test_variations_by_weight_and_by_events_of_their_own_go_together(trained, x, exact):
    channel, report = trained
    assert [entry["name"] for entry in report.classifiers] == ["samples", "variations of b", "weights of b"]
    assert report.classifiers[2]["classes"] == ["nominal", "weight hi", "weight lo", "both lo"]
    slopes = channel.encode(Events(x)).slopes
    expected = np.stack([exact[0], 0.2 * x[:, 0], 0.3 * x[:, 0]])
    # a classifier of independent events knows 0.2 x to 0.02 a degree of freedom
    assert np.all(relative_errors(slopes, expected) < [0.15, 0.3, 0.15])


def test_the_networks_of_weights_are_in_the_model_file(trained, x):
    channel = trained[0]
    again = MixtureChannel.unpack(channel.pack())
    for name in ("ratios", "slopes", "curvatures"):
        assert np.array_equal(getattr(again.encode(Events(x)), name), getattr(channel.encode(Events(x)), name))
