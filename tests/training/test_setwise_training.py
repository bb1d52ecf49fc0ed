"""Training of dataset-wide networks: reproducible, resumable, and on datasets that follow the simulation."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simulators
import torch
from scipy import stats

import neyman
from neyman.exceptions import InvalidEvents, InvalidParameter
from neyman.inputs.workspace import Workspace
from neyman.model.sources import bent_events, simulated_events
from neyman.networks.kinds import kind_of, set_options
from neyman.training import loop
from neyman.training import setwise as setlearning

SMALL = {"kind": "deepset", "datasets": 1280, "steps": 20, "head_steps": 20, "batch_size": 128, "networks": 1}


def small(seed: int = 0, **options) -> neyman.Model:
    return neyman.train(simulators.onoff, SMALL, seed=seed, workers=1, **options)


def test_the_same_seed_trains_the_same_network():
    assert small().fingerprint == small().fingerprint
    assert small().fingerprint != small(seed=1).fingerprint


@pytest.mark.parametrize("at", [3, 14, 22, 42])
def test_an_interrupted_training_goes_on_to_the_same_network(tmp_path, monkeypatch, at):
    whole = small()
    step, steps = torch.optim.AdamW.step, []

    def interrupted(*args, **options):
        steps.append(1)
        if len(steps) == at:
            raise KeyboardInterrupt
        return step(*args, **options)

    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small(checkpoint=tmp_path)
    monkeypatch.setattr(loop, "SAVE_EVERY", 20.0)
    resumed = small(checkpoint=tmp_path)
    assert resumed.fingerprint == whole.fingerprint
    # every step that was kept was not done again: the one that was interrupted is counted twice
    total = SMALL["steps"] + SMALL["head_steps"] // 3 + SMALL["head_steps"] + SMALL["head_steps"] * 2 // 3
    assert len(steps) <= total + 1


def test_two_networks_are_averaged_however_many_cores_train_them():
    threads, found = torch.get_num_threads(), []
    for cores in (1, 2):
        torch.set_num_threads(cores)
        try:
            found.append(neyman.train(simulators.onoff, {**SMALL, "networks": 2}, workers=1))
            assert torch.get_num_threads() == cores  # here, and in a thread that begins afterwards
            with ThreadPoolExecutor(1) as executor:
                assert executor.submit(torch.get_num_threads).result() == cores
        finally:
            torch.set_num_threads(threads)
    assert found[0].fingerprint == found[1].fingerprint
    both = found[0].learned["events"]
    assert both.encoder.size == 2 * small().learned["events"].encoder.size
    first, second = both.encoder.members
    assert not torch.equal(first.phi[0].weight, second.phi[0].weight)


def test_an_interruption_of_one_of_two_networks_ends_the_other(monkeypatch):
    step, calls = torch.optim.AdamW.step, []

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(*args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        neyman.train(simulators.onoff, {**SMALL, "networks": 2, "steps": 2000}, workers=1)
    assert len(calls) < 100  # and not some two thousand


def test_heads_learn_from_fresh_datasets_that_an_interruption_does_not_cost(tmp_path, monkeypatch):
    step, steps, drawn = torch.optim.AdamW.step, [], []

    def counted(pars, rng):
        drawn.append(tuple(pars))
        return simulators.onoff_events(pars, rng)

    def interrupted(*args, **options):
        steps.append(1)
        if len(steps) == SMALL["steps"] + 5:
            raise KeyboardInterrupt
        return step(*args, **options)

    options = {**SMALL, "fresh": 2}
    with monkeypatch.context() as patch:
        patch.setattr(simulators.onoff, "sample", counted)
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            neyman.train(simulators.onoff, options, workers=1, checkpoint=tmp_path)
        before = set(drawn)
        del drawn[:]
        patch.setattr(torch.optim.AdamW, "step", step)
        resumed = neyman.train(simulators.onoff, options, workers=1, checkpoint=tmp_path)
    assert len(before) >= 3 * SMALL["datasets"]
    # those of the encoder, and the one at the initial values that every training looks at
    assert len(before & set(drawn)) == SMALL["datasets"] + 1
    whole = neyman.train(simulators.onoff, options, workers=1)
    assert resumed.fingerprint == whole.fingerprint
    assert whole.fingerprint != neyman.train(simulators.onoff, {**SMALL, "fresh": 0}, workers=1).fingerprint


def test_checkpoints_of_other_datasets_are_not_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr(neyman.Simulator, "__repr__", lambda self: "the same name")
    small(checkpoint=tmp_path)
    monkeypatch.setattr(simulators.onoff, "sample", lambda pars, rng: simulators.onoff_events(pars, rng) + 1.0)
    other = small()
    assert small(checkpoint=tmp_path).fingerprint == other.fingerprint


# -- of a workspace


@pytest.fixture
def mixture(of_workspace):
    return of_workspace.learned["SR"].source.mixture


@pytest.mark.parametrize("alpha", [-2.0, 0.7, 2.0])
def test_bent_events_follow_the_bent_density(mixture, alpha):
    n, rng = 400, np.random.default_rng(1)
    numbers, alphas = np.tile([10, 40], (n, 1)), np.full((n, len(mixture.variations)), alpha)
    others = np.tile([0, 1], (2000, 1)), rng.uniform(-3, 3, (2000, len(mixture.variations)))  # with other parameters
    together = np.concatenate([numbers, others[0]]), np.concatenate([alphas, others[1]])
    one = bent_events(mixture, *together, rng)[: numbers.sum()]
    other = simulated_events(mixture, numbers, alphas[0], rng)
    for sample, share in ((0, 10), (1, 40)):
        x, y = (mixture.pool.features[i][mixture.pool.samples[i] == sample, 0] for i in (one, other))
        assert len(x) == len(y) == n * share
        # events of a pool of 3000 come several times, which the p-value does not know but on the safe side
        assert stats.ks_2samp(x, y).pvalue > 1e-3
        error = np.hypot(x.std() / np.sqrt(len(x)), y.std() / np.sqrt(len(y)))
        assert x.mean() == pytest.approx(y.mean(), abs=4 * error)


def test_each_toy_is_bent_by_parameters_of_its_own(mixture):
    numbers = np.tile([0, 500], (2, 1))
    events = bent_events(mixture, numbers, np.array([[-2.0], [2.0]]), np.random.default_rng(0))
    means = mixture.pool.features[events][:, 0].reshape(2, 500).mean(axis=1)
    # +-1 in the simulation: an alpha is half of the width of one; five standard errors, and 0.2 for the network
    np.testing.assert_allclose(means, [-1.0, 1.0], atol=5 / np.sqrt(500) + 0.2)


def test_a_shape_parameter_is_fitted_where_the_data_have_it(of_workspace):
    rng, pulls = np.random.default_rng(8), []
    for alpha in (-1.5, 0.0, 1.5):
        signal, background = rng.normal(2.0, 1.0, 20), rng.normal(0.5 * alpha, 1.0, 80)
        events = neyman.Events(np.concatenate([signal, background])[:, None])
        ensemble = neyman.Ensemble({"SR": events}, {"CR": [100.0, 80.0]}, of_workspace.config.auxdata)
        fit = neyman.fit(of_workspace.data(ensemble), of_workspace)
        # alpha has a unit constraint about zero, which draws the estimate towards it by its share of the information
        drawn = alpha * (1 - fit.uncertainty[list(fit.names).index("scale")] ** 2)
        pulls.append((fit["scale"] - drawn) / fit.uncertainty[list(fit.names).index("scale")])
    assert np.max(np.abs(pulls)) < 3


def changed(path: Path, edit) -> Workspace:
    document = Workspace.load(path).document
    edit(document)
    return Workspace(document, path.parent)


def test_every_fraction_within_the_bounds_was_trained(of_workspace):
    model, rng = of_workspace, np.random.default_rng(0)
    [term] = model.terms
    bounds = np.array(model.config.suggested_bounds())
    corners = bounds[np.arange(len(bounds)), rng.integers(0, 2, (50, len(bounds)))]
    rates = np.array([model.rates(point)[0][term.samples, term.bin] for point in corners])
    fractions = rates[:, 0] / rates.sum(axis=1)
    low, high = term.channel.low[0], term.channel.high[0]
    assert (fractions.min(), fractions.max()) == (pytest.approx(low), pytest.approx(high))
    assert (low, high) == (0.0, pytest.approx(80 / (80 + 48)))


def test_the_extremes_of_many_parameters_are_found():
    bounds = np.tile([0.5, 2.0], (12, 1))
    points = np.random.default_rng(0).uniform(0.5, 2.0, (500, 12))

    def function(x):
        signal, background = np.prod(x[:, :6], axis=1), np.prod(x[:, 6:], axis=1)
        return np.stack([signal / (signal + background), signal + background], axis=1)

    free = np.ones(12, dtype=bool)
    high = setlearning.extreme_values(function, 1.0, points, function(points), bounds, free)
    low = setlearning.extreme_values(function, -1.0, points, function(points), bounds, free)
    largest = 2.0**6 / (2.0**6 + 0.5**6)
    np.testing.assert_allclose([low[0], high[0]], [1 - largest, largest])
    np.testing.assert_allclose([low[1], high[1]], [2 * 0.5**6, 2 * 2.0**6])


def one_sample(document):
    channel = document["channels"][0]
    background = copy.deepcopy(channel["samples"][1])
    background["modifiers"] = [m for m in background["modifiers"] if m["name"] != "scale"]
    channel["samples"] = [background]
    channel["network"] |= {"datasets": 640}
    document["measurements"][0]["config"]["poi"] = "norm"
    document["measurements"][0]["config"]["parameters"] = document["measurements"][0]["config"]["parameters"][1:2]


def test_a_channel_without_anything_to_learn_says_so(sets_path):
    with pytest.raises(InvalidEvents, match=r"channel SR: nothing of its events changes.*use kind: mixture"):
        neyman.train(changed(sets_path, one_sample))


def test_infinite_bounds_are_refused_by_name(of_workspace, mixture):
    model = copy.copy(of_workspace)
    spec = copy.deepcopy(of_workspace.spec)
    for entry in spec["parameters"]:
        if entry["name"] == "mu":
            entry["bounds"] = [[0.0, float("inf")]]
    model = neyman.Model(spec, {"SR": mixture}, poi_name="mu")
    with pytest.raises(InvalidParameter, match=r"SR: mu has the bounds \[0.0, inf\].*narrower bounds"):
        setlearning.train_on_workspace(mixture, kind_of("deepset"), set_options("deepset", {}), model)


def test_a_number_of_events_that_says_nothing_is_left_out_of_the_likelihood_of_single_events():
    event = {**SMALL, "kind": "event", "steps": 100}
    telling = neyman.train(simulators.onoff, event, workers=1).learned["events"]
    silent = neyman.train(simulators.onoff_of_any_size, event, workers=1).learned["events"]
    assert telling.head.members[0].rate is not None
    assert silent.head.members[0].rate is None
