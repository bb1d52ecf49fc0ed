"""The finite simulation in the likelihood: a staterror on samples with event sources."""

from __future__ import annotations

import copy
import logging
import math

import numpy as np
import pytest
from conftest import write_analysis

import neyman
from neyman.cli.inspection import of_model
from neyman.events import ChannelSimulation, Events
from neyman.exceptions import InvalidDocument
from neyman.inference.simulation import score_covariance
from neyman.networks.options import TrainingOptions
from neyman.training.finite import check_staterrors, expected_cost
from neyman.training.mixture import train_mixture


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The analysis of 600 events a sample, without and with a staterror on each sample of the learned channel."""
    folder = tmp_path_factory.mktemp("finite")
    path = write_analysis(folder, events=600)
    document = path.read_text()
    plain = neyman.train(neyman.Workspace.load(path), seed=1)
    for sample in ("signal", "background"):
        document = document.replace(
            f"events: {{files: {sample}.root, tree: nominal, weight: w}}\n        modifiers:",
            f"events: {{files: {sample}.root, tree: nominal, weight: w}}\n        modifiers:\n"
            f"          - {{name: mc_{sample}, type: staterror, data: null}}",
        )
    path.write_text(document)
    return plain, neyman.train(neyman.Workspace.load(path), seed=1)


def test_a_staterror_on_events_has_rate_and_shape_in_the_likelihood(models):
    model = models[1]
    names = model.config.par_names
    assert {"mc_signal[0]", "mc_background[0]", "mc_signal_SR_signal_0", "mc_background_SR_background_0"} < {*names}
    before, after = (neyman.fit(one.expected_data(one.config.suggested_init()), one) for one in models)
    wanted = math.hypot(before.error("mu"), before.simulation[before.index("mu")])
    # the data know a little of the tilts, so that profiling does better than adding in quadrature
    assert 0.93 * wanted < after.error("mu") < 1.01 * wanted
    assert after.simulation[after.index("mu")] < 0.05 * after.error("mu")


def test_what_is_held_fixed_is_not_in_the_likelihood(models):
    plain, model = models
    fixed = [name for name in model.config.par_names if name.startswith("mc_")]
    before = neyman.fit(plain.expected_data(plain.config.suggested_init()), plain)
    after = neyman.fit(model.expected_data(model.config.suggested_init()), model, fixed=fixed)
    for name in ("mu", "scale"):
        # events are grouped in the directions of the tilts, too, so that normalisations are not the same
        assert after.error(name) == pytest.approx(before.error(name), rel=1e-2)
        assert after.simulation[after.index(name)] == pytest.approx(before.simulation[before.index(name)], rel=2e-2)


def test_a_shared_staterror_leaves_the_shares_of_the_samples_open(models):
    plain = models[0]

    def with_staterrors(names: dict[str, str]) -> neyman.Model:
        spec = copy.deepcopy(plain.spec)
        for sample in next(one["samples"] for one in spec["channels"] if one["name"] == "SR"):
            if sample["name"] in names:
                error = [sample["data"][0] / math.sqrt(600)]
                sample["modifiers"].append({"name": names[sample["name"]], "type": "staterror", "data": error})
        return neyman.Model(spec, plain.learned, poi_name="mu")

    none, shared, own = (
        with_staterrors(names)
        for names in ({}, {"signal": "mc", "background": "mc"}, {"signal": "mc_s", "background": "mc_b"})
    )
    at = [np.array(one.config.suggested_init()) for one in (none, shared, own)]
    places = [one.config.par_names.index("mu") for one in (none, shared, own)]
    left = [score_covariance(one, pars)[k, k] for one, pars, k in zip((none, shared, own), at, places, strict=True)]
    assert left[0] > 1.02 * left[1] > 1.04 * left[2]


def signed(n: int, rng: np.random.Generator) -> Events:
    """Return weighted simulation of which some is negative, a random number of events."""
    x = rng.normal(0.0, 1.5, size=(rng.poisson(n), 2))
    return Events(x, rng.choice([0.5, 1.5, -0.5], p=[0.4, 0.4, 0.2], size=len(x)) * 300.0 / (0.7 * n))


def test_weights_of_either_sign_have_the_spread_of_independent_simulations():
    rng = np.random.default_rng(3)
    samples = {"signal": Events(rng.normal([1.0, -1.0], 1.0, size=(3000, 2)), np.full(3000, 0.02)),
               "background": signed(3000, rng)}  # fmt: skip
    simulation = ChannelSimulation("SR", ("x", "y"), samples, {"signal": {}, "background": {}})
    options = TrainingOptions(hidden=(8,), folds=2, epochs=3, minimum_steps=100)
    channel, _ = train_mixture(simulation, options)
    mu = [{"name": "mu", "type": "normfactor", "data": None}]
    known = [{"name": "known", "type": "staterror", "data": [0.0]}]  # of the signal, only the shape is left
    spec = {"channels": [{"name": "SR", "samples": [
        {"name": "signal", "data": [60.0], "modifiers": mu + known},
        {"name": "background", "data": [float(samples["background"].weights.sum())], "modifiers": []}]}]}  # fmt: skip
    model = neyman.Model(spec, {"SR": channel}, poi_name="mu")
    rates = model.rates([1.0, 1.0])[0][[model.config.samples.index(s) for s in channel.samples], 0]

    def scores(events: Events) -> np.ndarray:
        return 60.0 * channel.scores(channel.encode(events), rates, np.empty(0))[0][0]

    of_background = [events.weights @ scores(events) for events in (signed(3000, rng) for _ in range(300))]
    of_signal = scores(Events(rng.normal([1.0, -1.0], 1.0, size=(100_000, 2)))).std() * 60.0 / np.sqrt(3000)
    found = math.hypot(np.std(of_background), of_signal)
    place = model.config.par_names.index("mu")
    # 300 simulations know the spread to 4 per cent
    assert math.sqrt(score_covariance(model, [1.0, 1.0])[place, place]) == pytest.approx(found, rel=0.12)


@pytest.mark.filterwarnings("ignore:.*simulated ones")  # half as many as a toy has
def test_the_tilts_are_in_the_file_and_in_toys(models, tmp_path):
    model = models[1]
    model.save(tmp_path / "model.neyman")
    loaded = neyman.Model.load(tmp_path / "model.neyman")
    pars = np.array(model.config.suggested_init())
    pars[model.config.par_names.index("mc_background_SR_background_0")] = 1.0
    assert loaded.logpdf(pars, model.observed) == pytest.approx(model.logpdf(pars, model.observed), abs=1e-3)
    fits = neyman.toys(pars, model, 20, seed=1, fit=True)
    assert np.isfinite(fits.bestfit).all()


def test_inspection_knows_what_the_simulation_costs(models):
    warnings = [of_model(one)["warnings"] for one in models]
    assert any("the finite simulation adds" in text for text in warnings[0])
    assert not any("the finite simulation adds" in text for text in warnings[1])


def test_the_end_of_a_training_says_what_the_simulation_costs(models, caplog):
    plain = models[0]
    with caplog.at_level(logging.WARNING, logger="neyman"):
        cost = expected_cost(plain)
    assert plain.provenance["simulation"] == cost
    assert f"the finite simulation adds {cost['simulation']:.2g} to the expected uncertainty" in caplog.text
    fit = neyman.fit(plain.expected_data(plain.config.suggested_init()), plain)
    assert cost["uncertainty"] == pytest.approx(fit.error("mu"))


def test_impacts_tell_the_simulation_apart_from_systematics(models):
    model = models[1]
    result = neyman.impacts(model.expected_data(model.config.suggested_init()), model, prefit=False)
    of_simulation = [name for name in result.names if name.startswith("mc_")]
    sizes = [np.abs(result.auxdata[result.index(name)]).mean() for name in of_simulation]
    assert result.parts["simulation"] == pytest.approx(math.hypot(*sizes))
    assert result.parts["simulation"] > result.parts["systematics"]


def test_a_staterror_without_a_positive_yield_is_refused():
    events = {"interference": Events(np.zeros((3, 1)), [1.0, -1.0, -1.0])}
    simulation = ChannelSimulation("SR", ("x",), events, {}, frozenset(), {"interference": "mc"})
    sample = {"name": "interference", "data": [-1.0], "modifiers": [{"name": "mc", "type": "staterror", "data": [1.7]}]}
    with pytest.raises(InvalidDocument, match="staterror mc, add up to -1: give a sample of positive yield"):
        check_staterrors({"channels": [{"name": "SR", "samples": [sample]}]}, [simulation])
