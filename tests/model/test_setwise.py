"""Dataset-wide channels: what leaves the likelihood ratio alone, its derivatives, and where it has no answer."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import simulators
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neyman
from neyman.events import Events
from neyman.exceptions import InvalidDocument, InvalidParameter, InvalidSimulation, Unsupported
from neyman.model.setwise import SetChannel
from neyman.model.setwise_ratio import SetSummaries
from neyman.networks.heads import BilinearHead, EventHead, GaussianHead, ParameterFeatures, SummaryFeatures
from neyman.networks.kinds import kind_of, names, set_options
from neyman.training.contrastive import encoder_of

KINDS = names()
LOW, HIGH = np.array([0.0, 0.1]), np.array([12.0, 2.5])
NONE = np.empty(0)  # the rates of a simulator's channel


def untrained(kind: str, head: str, seed: int) -> SetChannel:
    """Return a channel of two features with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        scale = np.random.default_rng(seed).normal(size=(500, 2)).astype(np.float32)
        encoder = encoder_of(kind_of(kind), scale, set_options(kind, {"width": 8, "knots": 0}))
        parameters = ParameterFeatures(torch.from_numpy(LOW), torch.from_numpy(HIGH))
        summaries = torch.randn(50, encoder.size) * 10 + 40
        heads = {
            "event": lambda: EventHead(parameters, encoder.size, counts=True),
            "bilinear": lambda: BilinearHead(parameters, SummaryFeatures(summaries)),
            "gaussian": lambda: GaussianHead(parameters, SummaryFeatures(summaries, means=True)),
        }
        made = heads[head]()
        for module in (encoder, made):
            module.eval().requires_grad_(False)
    return SetChannel("events", kind, ["x", "y"], LOW, HIGH, encoder, made, (0.0, 1e9), None, ["mu", "nu"])


UNTRAINED = [("event", "event"), *((kind, head) for kind in KINDS[1:] for head in ("bilinear", "gaussian"))]


def ratio(channel: SetChannel, events: Events, pars: np.ndarray) -> float:
    """Return the log-likelihood ratio of two points: the score alone has a term that only the dataset knows."""
    summary = channel.encode(events)
    return channel.log_ratio(summary, NONE, pars)[0] - channel.log_ratio(summary, NONE, np.array([3.0, 1.0]))[0]


def assert_unchanged(channel: SetChannel, events: Events, changed: Events, pars: np.ndarray) -> None:
    # 1e-5 of the value, or of what a value is made of: the number of events
    tolerance = 1e-5 * max(abs(ratio(channel, events, pars)), len(events), 1.0)
    assert ratio(channel, changed, pars) == pytest.approx(ratio(channel, events, pars), abs=tolerance)


datasets = st.tuples(st.integers(1, 40), st.integers(0, 2**20))
points = st.tuples(st.floats(0.0, 12.0), st.floats(0.1, 2.5)).map(np.array)


def variants(events: Events, rng: np.random.Generator) -> dict[str, Events]:
    """Return the same dataset written in other ways."""
    order = rng.permutation(len(events))
    part = rng.random(len(events))
    return {
        "order": events[order],
        "halves": Events(np.repeat(events.features, 2, axis=0), np.repeat(0.5 * events.weights, 2)),
        "parts": Events(events.features, events.weights * part) + Events(events.features, events.weights * (1 - part)),
        "nothing": events + Events(100 * rng.normal(size=(5, events.features.shape[1])), np.zeros(5)),
    }


@pytest.mark.parametrize(("kind", "head"), UNTRAINED)
@settings(max_examples=15, deadline=None)
@given(dataset=datasets, pars=points)
def test_order_splitting_and_events_of_no_weight_change_nothing(kind, head, dataset, pars):
    n, seed = dataset
    rng = np.random.default_rng(seed)
    events = Events(3 * rng.normal(size=(n, 2)), rng.uniform(0.1, 5.0, n))
    channel = untrained(kind, head, seed % 3)
    for changed in variants(events, rng).values():
        assert_unchanged(channel, events, changed, pars)


@pytest.mark.parametrize("kind", KINDS)
def test_order_splitting_and_events_of_no_weight_change_nothing_after_training(of_simulator, kind):
    channel, rng = of_simulator(kind).learned["events"], np.random.default_rng(3)
    events = simulators.onoff.draw([4.0, 1.2], seed=1)
    for changed in variants(events, rng).values():
        assert_unchanged(channel, events, changed, np.array([5.0, 0.9]))


def test_an_event_of_weight_two_is_two_events(of_simulator):
    channel = of_simulator("transformer").learned["events"]
    events = simulators.onoff.draw([4.0, 1.2], seed=1)
    twice = Events(events.features, np.full(len(events), 2.0))
    assert_unchanged(channel, twice, events + events, np.array([5.0, 0.9]))


@pytest.mark.parametrize("kind", ["event", "deepset"])
def test_summaries_of_two_datasets_add_up(of_simulator, kind):
    channel = of_simulator(kind).learned["events"]
    one, other = (simulators.onoff.draw([2.0, 1.0], seed=s) for s in (1, 2))
    joint = channel.encode(one + other)
    np.testing.assert_allclose((channel.encode(one) + channel.encode(other)).sums, joint.sums, rtol=1e-6, atol=1e-4)


def test_summaries_of_a_transformer_do_not_add(of_simulator):
    summary = of_simulator("transformer").learned["events"].encode(simulators.onoff.draw([2.0, 1.0], seed=1))
    with pytest.raises(Unsupported, match="encode the joint dataset"):
        summary + summary


@pytest.mark.parametrize("kind", KINDS)
def test_many_datasets_are_encoded_as_each_alone(of_simulator, kind, monkeypatch):
    monkeypatch.setattr("neyman.model.setwise.CHUNK", 70)  # some datasets at a time, or part of one
    channel = of_simulator(kind).learned["events"]
    sets = [simulators.onoff.draw(pars, seed=s) for s, pars in enumerate([[1, 1], [0, 0], [9, 2], [0, 0], [2, 0.1]])]
    offsets = np.cumsum([0, *map(len, sets)])
    assert 0 in np.diff(offsets)
    together = channel.encode_many(np.concatenate([one.features for one in sets]), offsets)
    for row, one in zip(together, sets, strict=True):
        # float32 of some ten features, summed over a hundred events
        np.testing.assert_allclose(row, channel.encode(one).sums if len(one) else 0.0, atol=1e-3)


# -- derivatives


def numerical(function, point: np.ndarray, step: float = 1e-5) -> np.ndarray:
    columns = []
    for k in range(len(point)):
        shift = np.zeros(len(point))
        shift[k] = step
        columns.append((function(point + shift) - function(point - shift)) / (2 * step))
    return np.array(columns)


@pytest.mark.parametrize(("kind", "head"), UNTRAINED)
def test_the_derivative_by_parameters_is_exact(kind, head):
    channel, rng = untrained(kind, head, 1), np.random.default_rng(0)
    summary = channel.encode(Events(rng.normal(size=(20, 2))))
    pars = np.array([5.0, 0.4])
    found = channel.log_ratio(summary, NONE, pars)[2]
    expected = numerical(lambda p: channel.log_ratio(summary, NONE, p)[0], pars)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # steps of 1e-5 in double precision


def test_the_derivative_by_rates_is_exact(of_workspace):
    channel = of_workspace.learned["SR"]
    summary = channel.encode(of_workspace.observed_ensemble.events["SR"])
    rates, pars = np.array([30.0, 85.0]), np.array([0.4])
    _, by_rate, by_par = channel.log_ratio(summary, rates, pars)
    expected = numerical(lambda r: channel.log_ratio(summary, r, pars)[0], rates, 1e-4)
    np.testing.assert_allclose(by_rate, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_par, numerical(lambda p: channel.log_ratio(summary, rates, p)[0], pars), rtol=1e-4)


def test_the_ratio_depends_on_the_fractions_of_the_rates_alone(of_workspace):
    channel = of_workspace.learned["SR"]
    summary = channel.encode(of_workspace.observed_ensemble.events["SR"])
    values = [channel.log_ratio(summary, k * np.array([30.0, 85.0]), np.array([0.4]))[0] for k in (1.0, 3.0)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize("kind", [*KINDS, "workspace"])
def test_the_gradient_of_the_model_is_exact(of_simulator, of_workspace, kind):
    model = of_workspace if kind == "workspace" else of_simulator(kind)
    ensemble = model.observed_ensemble or neyman.Ensemble({"events": simulators.onoff.draw([3.0, 1.1], seed=4)})
    data, pars = model.data(ensemble), np.array(model.config.suggested_init()) + 0.07
    expected = numerical(lambda p: model.evaluate(p, data)[0], pars)
    np.testing.assert_allclose(model.evaluate(pars, data)[1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [*KINDS, "workspace"])
def test_many_ratios_at_once_are_those_of_each_alone(of_simulator, of_workspace, kind):
    model = of_workspace if kind == "workspace" else of_simulator(kind)
    [channel] = model.learned.values()
    rng, n = np.random.default_rng(0), 7
    sets = [Events(rng.normal(size=(40 + k, 1))) for k in range(n)]
    alone = [channel.encode(one) for one in sets]
    rates = rng.uniform(40, 60, (n, len(channel.samples)))
    pars = rng.uniform(0.2, 2.0, (n, len(channel.parameters)))
    together = SetSummaries(np.stack([one.sums for one in alone]))
    values, local, information = channel.log_ratio_batch(together, rates, pars)
    assert np.linalg.eigvalsh(information).min() > -1e-6 * np.abs(information).max()
    for k in range(n):
        value, by_rate, by_par = channel.log_ratio(alone[k], rates[k], pars[k])
        assert values[k] == pytest.approx(value, rel=1e-10)
        np.testing.assert_allclose(local[k], np.concatenate([by_rate, by_par]), rtol=1e-8, atol=1e-10)


def test_a_dataset_without_events_tells_of_rates_through_the_count_alone(of_workspace):
    channel = of_workspace.learned["SR"]
    with pytest.warns(UserWarning, match="a dataset of 0 events"):
        summary = channel.encode(Events(np.empty((0, 1))))
    value, by_rate, by_par = channel.log_ratio(summary, np.array([30.0, 85.0]), np.array([0.4]))
    assert value == 0.0
    assert not by_rate.any()
    assert not by_par.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_without_events_bounds_the_rate_of_a_simulator(of_simulator, kind):
    model = of_simulator(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether the training had such datasets
        fit = neyman.fit(model.data(neyman.Ensemble({"events": Events(np.empty((0, 1)))})), model)
    assert fit["mu"] < 1.0


# -- what has no answer


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_beyond_the_training_are_refused_by_name(of_simulator, kind):
    channel = of_simulator(kind).learned["events"]
    summary = channel.encode(simulators.onoff.draw([4.0, 1.2], seed=1))
    with pytest.raises(InvalidParameter, match=r"events: mu = 12.5 is outside \(0, 12\).*train with wider bounds"):
        channel.log_ratio(summary, NONE, np.array([12.5, 1.0]))
    with pytest.raises(InvalidParameter, match="nu = nan"):
        channel.log_ratio(summary, NONE, np.array([1.0, np.nan]))


def test_a_limit_beyond_the_training_asks_for_wider_bounds(of_simulator):
    model = of_simulator("deepset")
    data = model.data(neyman.Ensemble({"events": simulators.onoff.draw([14.0, 1.0], seed=2)}))
    with pytest.raises((InvalidParameter, neyman.exceptions.FailedFit), match="train with wider bounds"):
        neyman.limit(data, model)


def test_a_limit_within_the_training_is_found_though_the_search_reaches_its_end(of_simulator):
    model = of_simulator("deepset")
    data = model.data(neyman.Ensemble({"events": simulators.onoff.draw([5.0, 1.0], seed=2)}))
    result = neyman.limit(data, model)
    assert 5.0 < result.observed < 12.0
    assert result.scan.max() <= 12.0


def test_more_events_than_in_the_training_are_a_warning_with_the_numbers(of_simulator):
    channel = of_simulator("deepset").learned["events"]
    most = int(channel.numbers[1])
    with pytest.warns(UserWarning, match=f"a dataset of {most + 10} events, .* trained with .* to {most}"):
        channel.encode(Events(np.zeros((most + 10, 1))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "deepset", "dataset": 100}, "dataset is not an option of a deepset: did you mean 'datasets'?"),
        ({"kind": "deepset", "folds": 3}, "folds is not an option of a deepset"),
        ({"kind": "transformer", "width": 10}, "attention_heads: 4 heads do not divide a width of 10"),
        ({"kind": "deepset", "steps": 0}, "steps: 0 makes no sense"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(InvalidDocument) as error:
        neyman.train(simulators.onoff, options)
    assert message in str(error.value)


def test_a_mixture_is_no_network_of_a_simulator():
    with pytest.raises(InvalidParameter, match="'mixture': of a simulator it must be one of event, deepset"):
        neyman.train(simulators.onoff, "mixture")


@pytest.mark.parametrize(
    ("simulator", "message"),
    [
        (simulators.widening, r"returned shape \(3, 2\), not \(events, 1\).*at mu="),
        (simulators.broken, r"x, as float32, is not finite.*at mu="),
        (simulators.silent, "no event in 3200 datasets"),
    ],
)
def test_a_simulator_that_fails_is_named_with_its_parameters(simulator, message):
    with pytest.raises(InvalidSimulation, match=message):
        neyman.train(simulator, {"datasets": 3200}, workers=1)
