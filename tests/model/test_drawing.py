"""Toys: the moments of the simulation or of the learned density, and nothing that depends on chance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import neyman
from neyman.exceptions import InvalidParameter
from neyman.model.rates import Rates
from neyman.model.sources import choice
from neyman.model.toys import Toys, draw

N = 400


def at(model: neyman.Model, **values: float) -> np.ndarray:
    pars = np.array(model.config.suggested_init())
    for name, value in values.items():
        pars[model.config.par_names.index(name)] = value
    return pars


def features(toys: Toys, channel: str = "SR") -> np.ndarray:
    return toys.model.learned[channel].pool.features[toys.events[channel].index]


@pytest.mark.parametrize("source", ["simulation", "model"])
def test_counts_have_the_mean_and_variance_of_the_rates(model: neyman.Model, source: str) -> None:
    pars = at(model, mu=1.7, norm=1.1, scale=0.5)
    toys = draw(pars, model, N, seed=1, source=source)
    expected = Rates(model)(pars)[0].sum(axis=0)
    assert toys.main.mean(axis=0) == pytest.approx(expected, abs=5 * np.sqrt(expected.max() / N))
    assert toys.main.var(axis=0) / expected == pytest.approx(1.0, abs=5 * np.sqrt(2 / N))


def test_numbers_of_events_are_the_main_data(model: neyman.Model) -> None:
    toys = draw(at(model), model, 50)
    position = model.config.channel_slices["SR"].start
    assert toys.events["SR"].numbers.tolist() == toys.main[:, position].tolist()


def test_auxiliary_data_follow_the_constraint_terms(model: neyman.Model) -> None:
    auxdata = draw(at(model, scale=0.7, lumi=1.05), model, N).auxdata
    assert auxdata.mean(axis=0) == pytest.approx([0.7, 1.05], abs=5 / np.sqrt(N))
    assert auxdata.std(axis=0) == pytest.approx([1.0, 0.02], rel=0.2)


def test_simulation_toys_at_the_nominal_point_are_the_simulation(model: neyman.Model) -> None:
    x = features(draw(at(model, mu=2.0), model, N))
    pool = model.learned["SR"].pool
    means = [pool.summary.weights[pool.samples == c] @ pool.features[pool.samples == c] for c in range(2)]
    rates = Rates(model)(at(model, mu=2.0))[0][:, model.config.channel_slices["SR"].start]
    order = [model.config.samples.index(sample) for sample in model.learned["SR"].samples]
    assert x.mean(axis=0) == pytest.approx(rates[order] @ means / rates.sum(), abs=5 * 1.5 / np.sqrt(len(x)))


def test_simulation_toys_without_signal_have_no_signal_events(model: neyman.Model) -> None:
    channel = model.learned["SR"]
    drawn = draw(at(model, mu=0.0), model, 20).events["SR"].index
    assert set(channel.pool.samples[drawn]) == {channel.samples.index("background")}


def test_simulation_toys_away_from_the_nominal_point_are_bent_by_the_learned_shape_effect(model: neyman.Model) -> None:
    channel, pool = model.learned["SR"], model.learned["SR"].pool
    pars = at(model, mu=0.0, scale=1.0)
    x = features(draw(pars, model, N))
    own = pool.samples == channel.samples.index("background")
    unit = dataclasses.replace(pool.summary, ratios=np.ones_like(pool.summary.ratios))
    bend = channel.densities(unit, np.array([1.0]))[channel.samples.index("background"), own]
    mean = (pool.summary.weights[own] * bend) @ pool.features[own]
    error = 1.5 / np.sqrt(len(x))
    assert x.mean(axis=0) == pytest.approx(mean, abs=5 * error)
    assert abs(mean[0] - 0.3) < 0.1  # what the simulation was made with; the network is a small one
    assert x.mean(axis=0)[0] > 20 * error


def test_a_wrong_network_does_not_change_simulation_toys(model: neyman.Model) -> None:
    channel = model.learned["SR"]
    summary = channel.pool.summary
    rng = np.random.default_rng(0)
    spoilt = dataclasses.replace(summary, ratios=rng.permuted(summary.ratios, axis=1))
    expected = draw(at(model), model, 10).events["SR"].index
    original, channel.pool = channel.pool, dataclasses.replace(channel.pool, summary=spoilt)
    try:
        assert draw(at(model), model, 10).events["SR"].index.tolist() == expected.tolist()
        assert draw(at(model), model, 10, source="model").events["SR"].index.tolist() != expected.tolist()
    finally:
        channel.pool = original


def test_model_toys_have_scores_of_mean_zero(model: neyman.Model) -> None:
    pars = at(model, mu=1.5, scale=0.5)
    toys = draw(pars, model, N, source="model")
    gradients = np.array(
        [model.evaluate_encoded(pars, toys.main[i], toys.auxdata[i], toys.summaries(i))[1] for i in range(N)]
    )
    assert np.abs(gradients.mean(axis=0) / gradients.std(axis=0)).max() < 4.5 / np.sqrt(N)


def test_the_same_seed_gives_the_same_toys(model: neyman.Model) -> None:
    first, second, other = (draw(at(model), model, 5, seed=seed) for seed in (1, 1, 2))
    assert first.events["SR"].index.tolist() == second.events["SR"].index.tolist()
    assert first.auxdata.tolist() == second.auxdata.tolist()
    assert first.events["SR"].index.tolist() != other.events["SR"].index.tolist()


@pytest.mark.parametrize("index", [slice(3, 8), slice(None, None, -2), np.array([4, 1, 1]), np.arange(10) % 3 == 0])
def test_some_of_the_toys_are_those_toys(model: neyman.Model, index: object) -> None:
    toys = draw(at(model), model, 10)
    chosen = toys[index]
    for new, old in enumerate(np.arange(10)[index]):
        assert chosen.main[new].tolist() == toys.main[old].tolist()
        assert chosen.ensemble(new).events["SR"].features.tolist() == toys.ensemble(old).events["SR"].features.tolist()


def test_an_ensemble_packs_into_a_data_vector(model: neyman.Model) -> None:
    toys = draw(at(model), model, 3)
    data = model.data(toys.ensemble(2))
    assert data[: model.config.nmaindata].tolist() == toys.main[2].tolist()
    assert data[-model.config.nauxdata :].tolist() == toys.auxdata[2].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "the number of toys is 0"),
        ({"points": [1.0]}, "4 finite numbers"),
        ({"points": [np.nan] * 4}, "4 finite numbers"),
        ({"source": "data"}, "source is 'data'"),
    ],
)
def test_arguments_without_meaning_are_refused(model: neyman.Model, change: dict, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        draw(**{"points": at(model), "model": model, "n": 1, **change})


@pytest.mark.parametrize(
    "weights", [np.ones(7), np.random.default_rng(1).exponential(size=100), [0.0, 1e-9, 5.0, 0.0, 3.0, 0.0]]
)
def test_events_are_drawn_with_a_frequency_proportional_to_their_weights(weights: np.ndarray) -> None:
    weights, n = np.asarray(weights), 200_000
    numbers = np.bincount(choice(weights, n, np.random.default_rng(0)), minlength=len(weights))
    expected = n * weights / weights.sum()
    assert len(numbers) == len(weights)
    assert np.all(numbers[weights == 0] == 0)
    assert np.abs(numbers - expected).max() < 5 * np.sqrt(expected.max())


def test_a_negative_rate_of_a_channel_is_refused(model: neyman.Model) -> None:
    with pytest.raises(InvalidParameter, match=r"channel CR, bin 1: the expected rate is -200 at .*norm = -1"):
        draw(at(model, norm=-1.0), model, 1)
