"""What every learned channel and every dataset can do, whatever its kind."""

from __future__ import annotations

import numpy as np
import pytest

import neyman
from neyman.exceptions import InvalidParameter
from neyman.model.batches import Batch
from neyman.model.channel import ToyEvents
from neyman.model.toys import Toys, draw


def some_toys() -> ToyEvents:
    table = np.arange(10, dtype=np.float32)[:, None]
    return ToyEvents.of(table, np.array([7, 1, 1, 4]), np.array([1, 0, 3]))


def test_the_events_of_toys_are_found_again_when_some_toys_are_chosen():
    chosen = some_toys()[np.array([2, 0])]
    assert chosen.numbers.tolist() == [3, 1]
    assert chosen.features.ravel().tolist() == [1, 1, 4, 7]
    assert chosen.of_toy(1).tolist() == [7]


@pytest.mark.parametrize("shared", [True, False])
def test_toys_of_batches_are_joined_in_their_order(shared):
    one, other = some_toys(), some_toys()
    if shared:
        other = ToyEvents(one.table, other.index, other.offsets)
    joined = ToyEvents.joined([one, other])
    assert joined.numbers.tolist() == [1, 0, 3, 1, 0, 3]
    assert joined.features.ravel().tolist() == [7, 1, 1, 4, 7, 1, 1, 4]
    assert len(joined.table) == (10 if shared else 20)


def test_a_batch_gives_each_toy_the_value_of_its_own_summary_and_zero_without_events():
    def log_ratio(summaries, rates, pars):
        value = summaries * rates[:, 0]
        return value, np.stack([summaries, value], axis=1), np.zeros((len(value), 2, 2))

    blocks = [(np.array([1, 4]), np.array([10.0, 40.0])), (np.array([3]), np.array([30.0]))]
    batch = Batch(5, blocks, log_ratio)
    rows, by_pars = np.array([4, 0, 3]), np.tile([[[1.0, 0.0, 0.0]]], (3, 1, 1))
    value, gradient, information = batch(
        rows, np.array([[2.0], [3.0], [5.0]]), by_pars, np.zeros((3, 1)), np.array([2])
    )
    assert value.tolist() == [80.0, 0.0, 150.0]
    assert gradient.tolist() == [[40.0, 0.0, 80.0], [0.0, 0.0, 0.0], [30.0, 0.0, 150.0]]
    assert information.shape == (3, 3, 3)


def test_a_batch_adds_up_what_a_parameter_does_to_rates_and_to_several_samples():
    rng = np.random.default_rng(0)
    local, by_rate = rng.normal(size=(2, 5)), rng.normal(size=(2, 2, 3))  # two rates, three own parameters
    root = rng.normal(size=(2, 5, 5))
    information, places = root @ root.transpose(0, 2, 1), np.array([1, 2, 1])

    def log_ratio(summaries, rates, pars):
        return np.zeros(2), local, information

    chain = np.concatenate([by_rate, np.tile(np.eye(3)[places], (2, 1, 1))], axis=1)
    _, gradient, found = Batch(2, [(np.arange(2), np.zeros(2))], log_ratio)(
        np.arange(2), np.ones((2, 2)), by_rate, np.zeros((2, 3)), places
    )
    np.testing.assert_allclose(gradient, np.einsum("nl,nlp->np", local, chain), rtol=1e-12)
    np.testing.assert_allclose(found, chain.transpose(0, 2, 1) @ information @ chain, rtol=1e-12)


def test_the_stored_channel_is_the_same_channel(model):
    channel = model.learned["SR"]
    again = type(channel).unpack(channel.pack())
    events = model.observed_ensemble.events["SR"]
    rates, pars = np.array([40.0, 300.0]), np.array([0.3])
    one, other = (c.log_ratio(c.encode(events), rates, pars) for c in (channel, again))
    assert one[0] == pytest.approx(other[0], rel=1e-6)  # the pool is stored in single precision
    assert again.digest() == channel.digest()


def test_labelled_events_tell_the_size_of_their_simulation(model):
    simulated = model.learned["SR"].simulation().simulated
    pool = model.learned["SR"].pool
    assert list(simulated) == list(model.learned["SR"].samples)
    assert sum(size.number for size in simulated.values()) == len(pool.samples)
    assert simulated["background"].shapes == ("scale",)
    assert simulated["background"].effective == pytest.approx(simulated["background"].number)  # all of one weight


def test_a_mixture_takes_no_simulator(model):
    with pytest.raises(InvalidParameter, match="channel SR: it was learned from labelled events"):
        model.learned["SR"].with_simulator(None)


# -- toys at points of their own


def point(model: neyman.Model, **values: float) -> np.ndarray:
    pars = np.array(model.config.suggested_init())
    for name, value in values.items():
        pars[model.config.par_names.index(name)] = value
    return pars


@pytest.mark.parametrize("source", ["simulation", "model"])
def test_toys_at_points_of_their_own_have_the_rates_there(model, source):
    points = np.repeat([point(model, mu=0.0), point(model, mu=3.0, scale=0.5)], 200, axis=0)
    toys = draw(points, model, seed=3, source=source)
    bin_ = model.config.channel_slices["SR"].start
    for half, pars in ((toys[:200], points[0]), (toys[200:], points[-1])):
        expected = model.rates(pars)[0].sum(axis=0)[bin_]
        assert half.main[:, bin_].mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / 200))
        assert half.events["SR"].numbers.tolist() == half.main[:, bin_].tolist()


def test_toys_take_one_point_and_a_number_or_a_point_each(model):
    pars = point(model)
    for points, n in ((pars, None), (np.stack([pars, pars]), 2), (np.ones((2, 7)), None)):
        with pytest.raises(InvalidParameter, match="finite numbers"):
            draw(points, model, n)


def test_joined_toys_are_those_of_the_parts(model):
    one, other = draw(point(model), model, 2, seed=1), draw(point(model), model, 3, seed=2)
    joined = Toys.joined([one, other])
    assert len(joined) == 5
    assert joined.ensemble(3).events["SR"].features.tolist() == other.ensemble(1).events["SR"].features.tolist()


# -- what a user sees


def test_what_a_user_meets_is_shown_in_words_and_as_a_table(model):
    ensemble = model.observed_ensemble
    toys = draw(point(model), model, 2)
    shown = {
        "Model": (model, "mixture of x, y"),
        "Ensemble": (ensemble, "auxiliary data"),
        "Events": (ensemble.events["SR"], "total weight"),
        "Summary": (model.encode(ensemble), "SR"),
        "Toys": (toys, "2 toys"),
    }
    for name, (thing, words) in shown.items():
        assert name in repr(thing)
        assert "object at" not in repr(thing)
        assert thing._repr_html_().startswith("<table>")
        assert words in thing._repr_html_()
    assert "0 events" in neyman.Events(np.empty((0, 2)))._repr_html_()
