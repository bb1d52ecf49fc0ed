"""Models with dataset-wide channels: files, Asimov data, summaries, fits of toys, toys of simulators."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import simulators
import torch
from pyhf.exceptions import InvalidPdfData

import neyman
from neyman.exceptions import InvalidEnsemble, InvalidModelFile, InvalidParameter, Unsupported
from neyman.inference.batch import fit_batch
from neyman.model.summary import Summary
from neyman.model.toys import draw
from neyman.networks import kinds

ALL = [*kinds.names(), "workspace"]


@pytest.fixture
def any_model(of_simulator, of_workspace, request) -> neyman.Model:
    """Return the model of a kind of network, or the one of a workspace."""
    return of_workspace if request.param == "workspace" else of_simulator(request.param)


def an_ensemble(model: neyman.Model) -> neyman.Ensemble:
    if model.observed_ensemble is not None:
        return model.observed_ensemble
    return neyman.Ensemble({"events": simulators.onoff.draw([4.0, 1.1], seed=4)})


# -- the model file


@pytest.mark.parametrize("any_model", ALL, indirect=True)
def test_a_saved_model_is_the_same_one(any_model, tmp_path):
    any_model.save(tmp_path / "model.neyman")
    again = neyman.Model.load(tmp_path / "model.neyman")
    pars, data = np.array(any_model.config.suggested_init()) + 0.1, any_model.data(an_ensemble(any_model))
    assert again.evaluate(pars, data)[0] == any_model.evaluate(pars, data)[0]
    np.testing.assert_array_equal(again.evaluate(pars, data)[1], any_model.evaluate(pars, data)[1])
    assert again.fingerprint == any_model.fingerprint
    assert again.config.par_names == any_model.config.par_names
    assert repr(again.report[-1]) == repr(any_model.report[-1])
    [mine], [other] = any_model.learned.values(), again.learned.values()
    assert (mine.kind, mine.numbers, mine.names, mine.features) == (
        other.kind, other.numbers, other.names, other.features,
    )  # fmt: skip


def test_many_events_on_an_executor_are_a_few_numbers_and_the_same(of_workspace):
    [channel] = of_workspace.learned.values()
    events = neyman.Events(np.random.default_rng(0).normal(size=(150_000, len(channel.features))))
    counts = {name: np.zeros(n) for name, n in of_workspace.config.channel_nbins.items() if name != channel.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was trained with fewer
        whole = channel.encode(events)
    ensemble = neyman.Ensemble({channel.name: events}, counts)
    with pytest.warns(UserWarning, match="do not trust its answer"), ThreadPoolExecutor(2) as executor:
        found = of_workspace.encode(ensemble, executor=executor).channels[channel.name]
    assert found.sums.tolist() == whole.sums.tolist()


def test_the_pool_of_a_workspace_is_in_the_file(of_workspace, tmp_path):
    of_workspace.save(tmp_path / "model.neyman")
    again, pars = neyman.Model.load(tmp_path / "model.neyman"), of_workspace.config.suggested_init()
    np.testing.assert_array_equal(again.expected_data(pars), of_workspace.expected_data(pars))
    np.testing.assert_array_equal(draw(pars, again, 20, 3).main, draw(pars, of_workspace, 20, 3).main)


def test_a_pickled_model_is_the_same_one(of_simulator):
    model = of_simulator("deepset")
    data, pars = model.data(an_ensemble(model)), [3.0, 1.2]
    assert pickle.loads(pickle.dumps(model)).logpdf(pars, data) == model.logpdf(pars, data)


def test_without_its_simulator_a_model_fits_but_makes_no_datasets(of_simulator, tmp_path):
    model = of_simulator("deepset")
    model.save(tmp_path / "model.neyman")
    bare, data = neyman.Model.load(tmp_path / "model.neyman"), model.data(an_ensemble(model))
    assert neyman.fit(data, bare).twice_nll == neyman.fit(data, model).twice_nll
    assert np.all(np.isfinite(neyman.scan(data, bare, "mu", [2.0, 4.0]).delta_twice_nll))
    pars = bare.config.suggested_init()
    for ask in (
        lambda: bare.expected_data(pars),
        lambda: bare.make_pdf(pars).sample(),
        lambda: neyman.toys(pars, bare, 3),
        lambda: neyman.limit(data, bare),
        lambda: neyman.interval(data, bare),
    ):
        with pytest.raises(Unsupported, match=r"give it, as in Model.load\(path, simulator=simulator\)"):
            ask()
    again = neyman.Model.load(tmp_path / "model.neyman", simulator=simulators.onoff)
    np.testing.assert_array_equal(again.expected_data(pars), model.expected_data(pars))


def test_another_simulator_is_refused(of_simulator, tmp_path):
    of_simulator("deepset").save(tmp_path / "model.neyman")
    other = neyman.Simulator(simulators.onoff_events, [simulators.NU, simulators.MU], "mu", ["x"])
    with pytest.raises(InvalidParameter, match="parameters nu, mu, but that of the training mu, nu"):
        neyman.Model.load(tmp_path / "model.neyman", simulator=other)


def changed(path: Path, target: Path, change) -> Path:
    """Copy a model file with another header."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            if name == "neyman.json":
                header = json.loads(content)
                change(header["content"]["channels"][0])
                content = json.dumps(header).encode()
            archive.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("kind", "deepsets", "unknown kind of network 'deepsets': upgrade neyman"),
        ("kind", None, "unknown kind of network None: upgrade neyman"),
        ("kind", "transformer", "unexpected keyword argument 'hidden'"),
        ("features", 3, "'int' object is not iterable"),
        ("parameters", ["mu", "tau"], "'tau' is missing"),
        ("parameters", [], "other parameters or features than its network"),
        ("numbers", [1], "expected 2, got 1"),
        ("numbers", "many", "could not convert string to float"),
        ("encoder", {}, "'hidden' and 'width'"),
        ("encoder", {"width": -1}, "'hidden'"),
        ("encoder", {"hidden": [32, 32], "width": 17}, "size mismatch"),
        ("head", {"kind": "Head"}, "channel events: 'Head' is missing"),
        ("head", {"kind": "__class__"}, "channel events: '__class__' is missing"),
        ("head", {}, "channel events: 'kind' is missing"),
        ("head", [1], "channel events: cannot convert"),
        ("source", {}, "channel events: '[a-z]*' is missing"),
        ("name", "other", "'other' is missing"),
        ("networks", [], "channel events: list index out of range"),
        ("networks", {}, "channel events: 0 is missing"),
    ],
)
def test_an_entry_that_makes_no_channel_is_refused(of_simulator, tmp_path, key, value, wrong):
    of_simulator("deepset").save(tmp_path / "model.neyman")

    def change(entry: dict) -> None:
        (entry["networks"][0] if key in ("encoder", "head") else entry)[key] = value

    path = changed(tmp_path / "model.neyman", tmp_path / "wrong.neyman", change)
    with pytest.raises(InvalidModelFile, match=rf"wrong\.neyman: .*{wrong}") as caught:
        neyman.Model.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("position", np.linspace(0.02, 0.98, 25))
def test_a_flipped_byte_is_noticed(of_simulator, tmp_path, position):
    of_simulator("transformer").save(tmp_path / "model.neyman")
    content = bytearray((tmp_path / "model.neyman").read_bytes())
    content[int(position * len(content))] ^= 0xFF
    (tmp_path / "bad.neyman").write_bytes(content)
    with pytest.raises(InvalidModelFile, match=r"bad\.neyman: .*(not a model file|cannot be read)"):
        neyman.Model.load(tmp_path / "bad.neyman")


class Trap:
    """Says that it was unpickled."""

    def __reduce__(self):
        return warnings.warn, ("code was run",)


@pytest.mark.parametrize("member", ["weights.safetensors", "channels/0/low.npy", "neyman.json"])
def test_a_pickle_in_the_place_of_a_member_is_not_run(of_simulator, tmp_path, member):
    of_simulator("deepset").save(tmp_path / "model.neyman")
    with (
        zipfile.ZipFile(tmp_path / "model.neyman") as source,
        zipfile.ZipFile(tmp_path / "evil.neyman", "w") as archive,
    ):
        for name in source.namelist():
            archive.writestr(name, pickle.dumps(Trap()) if name == member else source.read(name))
    with pytest.raises(
        InvalidModelFile, match=r"evil\.neyman: not a model file"
    ):  # and no warning, which would be an error
        neyman.Model.load(tmp_path / "evil.neyman")


# -- Asimov data


@pytest.mark.parametrize("any_model", ALL, indirect=True)
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_a_fit_of_asimov_data_returns_their_parameters(any_model, shift):
    pars = np.array(any_model.config.suggested_init()) + shift
    fit = neyman.fit(any_model.expected_data(pars), any_model)
    np.testing.assert_allclose((fit.bestfit - pars) / fit.uncertainty, 0.0, atol=0.01)


def test_asimov_data_at_a_bound_stay_there(of_workspace):
    pars = np.array(of_workspace.config.suggested_init())
    pars[of_workspace.config.poi_index] = 0.0
    ensemble = of_workspace.expected_ensemble(pars)
    assert ensemble.events["SR"].weights.min() >= 0
    gradient = of_workspace.evaluate(pars, of_workspace.data(ensemble))[1]
    free = np.arange(len(pars)) != of_workspace.config.poi_index
    np.testing.assert_allclose(gradient[free], 0.0, atol=1e-3)
    assert gradient[of_workspace.config.poi_index] < 1e-3


def test_asimov_events_add_up_to_what_is_expected(of_simulator, of_workspace):
    pars = np.array([3.0, 1.2])
    events = of_simulator("deepset").expected_ensemble(pars).events["events"]
    # 30 + 36 expected; the average over a few hundred datasets, five standard errors
    assert events.weights.sum() == pytest.approx(66.0, abs=5 * np.sqrt(66 / 200))
    assert events.weights.min() >= 0
    point = np.array(of_workspace.config.suggested_init())
    expected = of_workspace.rates(point)[0].sum(axis=0)
    [term] = of_workspace.terms
    total = of_workspace.expected_ensemble(point).events["SR"].weights.sum()
    assert total == pytest.approx(expected[term.bin], rel=1e-9)


# -- summaries in the place of data


@pytest.mark.parametrize("any_model", ["deepset", "workspace"], indirect=True)
def test_a_summary_takes_the_place_of_data(any_model, tmp_path):
    ensemble = an_ensemble(any_model)
    data, summary = any_model.data(ensemble), any_model.encode(ensemble)
    summary.save(tmp_path / "summary.npz")
    kept = Summary.load(tmp_path / "summary.npz")
    for one in (summary, kept):
        assert neyman.fit(one, any_model, minos=["mu"]).to_json() == neyman.fit(data, any_model, minos=["mu"]).to_json()
        values = [0.5, 1.0, 1.5]
        scans = [neyman.scan(d, any_model, "mu", values).delta_twice_nll for d in (one, data)]
        np.testing.assert_array_equal(*scans)
    assert neyman.limit(kept, any_model).to_json() == neyman.limit(data, any_model).to_json()
    intervals = [neyman.interval(d, any_model, calibration="asymptotics").to_json() for d in (kept, data)]
    assert intervals[0] == intervals[1]
    np.testing.assert_array_equal(any_model.read_data(tmp_path / "summary.npz").main, summary.main)


def test_a_summary_of_another_model_is_refused(of_simulator, tmp_path):
    one, other = of_simulator("deepset"), of_simulator("event")
    summary = one.encode(an_ensemble(one))
    with pytest.raises(InvalidPdfData, match="made by another model"):
        neyman.fit(summary, other)
    with pytest.raises(InvalidEnsemble, match="different models cannot be added"):
        summary + other.encode(an_ensemble(other))
    summary.save(tmp_path / "summary.npz")
    with pytest.raises(InvalidEnsemble, match=r"summary\.npz: the summary was made by another model"):
        other.read_data(tmp_path / "summary.npz")


def test_summaries_of_two_runs_are_that_of_both(of_simulator):
    model = of_simulator("deepset")
    runs = [simulators.onoff.draw([2.0, 1.0], seed=s) for s in (1, 2)]
    added = model.encode(neyman.Ensemble({"events": runs[0]})) + model.encode(neyman.Ensemble({"events": runs[1]}))
    both = model.encode(neyman.Ensemble({"events": runs[0] + runs[1]}))
    # float32 sums in another order
    assert neyman.fit(added, model)["mu"] == pytest.approx(neyman.fit(both, model)["mu"], rel=1e-4)


@pytest.mark.parametrize("content", [b"", b"PK", b"nonsense" * 20])
def test_what_is_no_summary_is_refused(tmp_path, content):
    (tmp_path / "summary.npz").write_bytes(content)
    with pytest.raises(InvalidEnsemble, match="not a summary of a dataset"):
        Summary.load(tmp_path / "summary.npz")


# -- fits of many toys


@pytest.mark.filterwarnings("ignore:channel .* a dataset of")  # at 0.1 nu some have fewer events than the training
@pytest.mark.parametrize(
    ("any_model", "pars"),
    [
        ("deepset", [4.0, 1.1]), ("deepset", [0.0, 0.1]), ("event", [4.0, 1.1]), ("transformer", [4.0, 1.1]),
        ("workspace", None),
    ],
    indirect=["any_model"],
)  # fmt: skip
def test_fits_of_toys_at_once_are_those_of_iminuit(any_model, pars):
    point = np.array(any_model.config.suggested_init() if pars is None else pars)
    toys = draw(point, any_model, 1000, seed=1)
    fits = fit_batch(any_model, toys, init=point)
    assert fits.valid.all()
    assert fits.fallbacks <= 50
    few = np.arange(0, 1000, 10)
    worse = 0
    for toy in few:
        alone = neyman.fit(toys.summary(toy), any_model, init=point)
        worse += fits.twice_nll[toy] > alone.twice_nll + 1e-3
    assert worse == 0


# -- toys of a simulator


def test_toys_do_not_depend_on_the_executor_and_can_be_resumed(of_simulator, tmp_path):
    model, store = of_simulator("deepset"), tmp_path / "toys.npz"
    torch.set_num_threads(2)  # which the workers do not have
    try:
        alone = neyman.toys([4.0, 1.1], model, 60, seed=3, fit=True, batch=20)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        spread = neyman.toys([4.0, 1.1], model, 60, seed=3, fit=True, batch=20, executor=executor)
    assert alone.to_json() == spread.to_json()
    interrupted = 0

    class Interrupted(Exception):
        pass

    class Executor:
        """Runs two tasks, then is interrupted."""

        def submit(self, function, *args):
            nonlocal interrupted
            interrupted += 1
            if interrupted > 4:  # each task first asks for the model
                raise Interrupted
            future: Future = Future()
            future.set_result(function(*args))
            return future

    with pytest.raises(Interrupted):
        neyman.toys([4.0, 1.1], model, 60, seed=3, fit=True, batch=20, executor=Executor(), checkpoint=store)
    resumed = neyman.toys([4.0, 1.1], model, 60, seed=3, fit=True, batch=20, checkpoint=store)
    assert resumed.to_json() == alone.to_json()


def test_toys_of_a_simulator_are_its_datasets(of_simulator):
    toys = draw([4.0, 1.2], of_simulator("deepset"), 2000, seed=2)
    # 40 + 36 events, a Poisson number; five standard errors of 2000
    assert toys.main.mean() == pytest.approx(76.0, abs=5 * np.sqrt(76 / 2000))
    assert toys.main.var() == pytest.approx(76.0, rel=5 * np.sqrt(2 / 2000))
    assert toys.auxdata.mean() == pytest.approx(1.2, abs=5 * 0.3 / np.sqrt(2000))


def test_a_network_of_datasets_has_no_density_to_draw_from(of_simulator):
    with pytest.raises(Unsupported, match="use source='simulation'"):
        draw([4.0, 1.2], of_simulator("deepset"), 5, source="model")


def test_an_interval_on_toys(of_simulator):
    model = of_simulator("deepset")
    data = model.data(an_ensemble(model))
    found = neyman.interval(data, model, level=0.68, calibration="toys", n_toys=200, poi_values=[2, 3, 4, 5, 6, 7])
    fit = neyman.fit(data, model)
    [(low, high)] = found.intervals
    assert low < fit["mu"] < high
    # 200 toys give the ends to some 20 %, and the asymptotic ones differ by their own error
    assert high - low == pytest.approx(2 * fit.uncertainty[0], rel=0.4)


# -- predictions


def test_a_network_of_whole_datasets_shows_the_simulation_it_was_trained_with(of_workspace):
    found = of_workspace.prediction(ratios=["signal"], features=["x"])
    assert [one.kind for one in found.distributions] == ["feature", "ratio"]
    assert found["SR", "x"].total.sum() == pytest.approx(100.0)  # 20 signal and 80 background


def test_a_network_learned_from_a_simulator_has_no_simulation_to_show(of_simulator):
    model = of_simulator("deepset")
    with pytest.raises(Unsupported, match="learned from a simulator, so that the model has no simulated events"):
        model.prediction(model.data(an_ensemble(model)))
