"""What new events get from the networks of a mixture: the values of one fold, or the mean of all."""

from __future__ import annotations

import dataclasses
import json
import zipfile

import numpy as np
import pytest
import torch
from conftest import background, signal
from scipy.stats import chisquare

import neyman
from neyman.events import ChannelSimulation, Events
from neyman.exceptions import InvalidDocument
from neyman.networks.folds import hashed_folds
from neyman.networks.options import TrainingOptions
from neyman.training.mixture import train_mixture

FOLDS = [534312, 876486, 499905]  # of three events below, of a million folds
SHORT = TrainingOptions(hidden=(4,), folds=3, epochs=1, minimum_steps=10)


def simulated(sampler, total, seed, n=600):
    return Events(sampler(n, np.random.default_rng(seed)), np.full(n, total / n))


@pytest.fixture(scope="module")
def simulation():
    varied = simulated(lambda n, rng: background(n, rng, 1.0), 300.0, 3)
    samples = {"signal": simulated(signal, 40.0, 1), "background": simulated(background, 300.0, 2)}
    return ChannelSimulation("SR", ("x", "y"), samples, {"background": {"scale": (varied, None)}})


@pytest.fixture(scope="module")
def channels(simulation):
    return {
        encoding: train_mixture(simulation, dataclasses.replace(SHORT, encoding=encoding))[0]
        for encoding in ("fold", "mean")
    }


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(4)
    return Events(background(200, rng), rng.uniform(0.5, 2.0, 200))


def test_the_fold_of_an_event_is_the_same_on_every_machine():
    values = np.array([[0.1, -2.5, 3e7], [1.0, 0.0, -1e-30], [7.0, 7.0, 7.0]], dtype=np.float32)
    assert hashed_folds(values, 1_000_000).tolist() == FOLDS
    assert hashed_folds(values.astype(">f4"), 1_000_000).tolist() == FOLDS  # bytes in the other order


def test_a_negative_zero_is_a_zero():
    signs = np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)
    assert len(set(hashed_folds(signs, 1_000_000))) == 1


@pytest.mark.parametrize("kind", ["continuous", "whole numbers", "one feature"])
def test_folds_are_of_equal_size_and_nothing_to_do_with_the_features(kind):
    rng = np.random.default_rng(5)
    x = {
        "continuous": rng.normal(size=(100_000, 2)),
        "whole numbers": np.stack(np.meshgrid(np.arange(400), np.arange(250)), -1).reshape(-1, 2),
        "one feature": rng.exponential(size=(100_000, 1)),
    }[kind].astype(np.float32)
    folds = hashed_folds(x, 5)
    upper = x[:, 0] > np.median(x[:, 0])
    for part in (folds, folds[upper], folds[~upper]):
        assert chisquare(np.bincount(part, minlength=5)).pvalue > 1e-3


def test_an_event_has_the_value_of_the_network_of_its_fold_of_every_classifier(channels, events):
    channel = channels["fold"]
    folds = hashed_folds(events.features, 3)
    logs, sides = channel.raw(events.features)

    for network, found in (
        (channel.sample_classifier, lambda v: v),
        (channel.variation_classifiers[1], lambda v: v[:, 1:] - v[:, :1]),
    ):
        every = network(torch.from_numpy(events.features)).numpy()
        own = found(every[folds, np.arange(len(folds))])
        np.testing.assert_allclose(logs if own.shape == logs.shape else sides, own, atol=1e-5)


def test_the_mean_encoding_has_the_mean_of_all(channels, events):

    channel = channels["mean"]
    every = channel.sample_classifier(torch.from_numpy(events.features)).numpy()
    np.testing.assert_allclose(channel.raw(events.features)[0], every.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("encoding", ["fold", "mean"])
def test_the_likelihood_knows_no_order_and_two_halves_are_one_event(channels, events, encoding):
    channel = channels[encoding]
    rates, alphas = np.array([50.0, 320.0]), np.array([0.7])

    def value(some):
        return channel.log_ratio(channel.encode(some), rates, alphas)[0]

    # the networks are of single precision, and round by how many events they take at once
    order = np.random.default_rng(6).permutation(len(events))
    halves = Events(np.repeat(events.features, 2, axis=0), np.repeat(events.weights / 2, 2))
    assert value(events[order]) == pytest.approx(value(events), abs=1e-5)
    assert value(halves) == pytest.approx(value(events), abs=1e-5)
    assert value(events[:70]) + value(events[70:]) == pytest.approx(value(events), abs=1e-5)


def test_a_model_file_keeps_the_encoding_and_an_older_one_has_the_mean(channels, events, tmp_path):
    scale = {"name": "scale", "type": "normsys", "data": {"hi": 1, "lo": 1}}
    samples = [
        {"name": name, "data": [n], "modifiers": [scale]} for name, n in (("signal", 40.0), ("background", 300.0))
    ]
    spec = {"channels": [{"name": "SR", "samples": samples}]}
    path = tmp_path / "new.neyman"
    neyman.Model(spec, {"SR": channels["fold"]}, poi_name=None).save(path)
    with zipfile.ZipFile(path) as new, zipfile.ZipFile(tmp_path / "old.neyman", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name.endswith(".json"):
                header = json.loads(content)
                for entry in header["content"]["channels"] if "content" in header else header["channels"]:
                    del entry["encoding"]
                content = json.dumps(header).encode()
            old.writestr(name, content)
    for name, encoding in (("new", "fold"), ("old", "mean")):
        loaded = neyman.Model.load(tmp_path / f"{name}.neyman").learned["SR"]
        np.testing.assert_array_equal(loaded.encode(events).ratios, channels[encoding].encode(events).ratios)
    assert channels["fold"].digest() != channels["mean"].digest()


def test_an_unknown_encoding_is_named():
    with pytest.raises(InvalidDocument, match=r"encoding: 'median' makes no sense; write fold or mean"):
        neyman.networks.kinds.training_options({"kind": "mixture", "encoding": "median"})


def test_whole_numbers_have_one_network_in_data_and_all_in_toys_of_which_the_mean_is_the_mean_encoding():
    """With few different events those of data are like those of toys only as far as networks agree."""

    def counts(mean, total, seed):
        x = np.minimum(np.random.default_rng(seed).poisson(mean, size=(2000, 1)), 4)
        return Events(x, np.full(2000, total / 2000))

    samples = {"signal": counts(3.0, 40.0, 1), "background": counts(1.5, 300.0, 2)}
    hasty = TrainingOptions(hidden=(4,), folds=5, epochs=1, minimum_steps=30)  # so that networks disagree
    channel, _ = train_mixture(ChannelSimulation("SR", ("n",), samples, {}), hasty, seed=1)
    pool = channel.pool
    of_toys = [np.log(pool.summary.ratios[0] / pool.summary.ratios[1])[pool.features[:, 0] == k] for k in range(5)]
    values = Events(np.repeat(np.arange(5.0), 2)[:, None])

    def of_data(encoding):
        ratios = channel.with_encoding(encoding).encode(values).ratios
        found = np.log(ratios[0] / ratios[1]).reshape(5, 2)
        np.testing.assert_array_equal(found[:, 0], found[:, 1])
        return found[:, 0]

    by_fold, by_mean = of_data("fold"), of_data("mean")
    for own, found in zip(of_toys, by_fold, strict=True):
        assert len(np.unique(own.round(4))) == 5  # each toy's event the value of the network that has not seen it
        assert np.abs(own - found).min() < 1e-3
    away = [np.sqrt(np.mean((found - [own.mean() for own in of_toys]) ** 2)) for found in (by_fold, by_mean)]
    # what is left of the mean is how evenly the folds share the events of a value
    assert away[0] > 0.2
    assert away[1] < 0.04
