"""The examples of interference and of couplings: densities, files, and tiny trainings against the exact likelihoods."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import uproot

import neyman

EXAMPLES = Path(__file__).parents[2] / "examples"
NETWORK = {"hidden": [32], "folds": 2, "epochs": 4, "minimum_steps": 500}


@pytest.fixture(params=["offshell", "eft"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def modules(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """Import an example's modules, whose names other examples have, too."""
    names = sorted(path.stem for path in (EXAMPLES / name).glob("*.py"))
    for one in names:
        sys.modules.pop(one, None)
    monkeypatch.syspath_prepend(EXAMPLES / name)
    yield {one: importlib.import_module(one) for one in names}
    for one in names:
        sys.modules.pop(one, None)


@pytest.mark.parametrize("name", ["offshell"])
def test_the_samples_add_up_to_a_density_that_is_positive(modules: dict[str, ModuleType]) -> None:
    exact = modules["exact"]
    x, volume = exact.grid()
    p = exact.densities(x)
    assert p["I"].min() < 0 < p["I"].max()
    for mu in (0.0, 0.3, 1.0, 5.0):
        root = np.sqrt(mu)
        direct = mu * p["S"] + root * p["I"] + p["B"]
        assert (mu - root) * p["S"] + root * p["SBI"] + (1 - root) * p["B"] == pytest.approx(direct, rel=1e-12)
        assert direct.min() > 0
        assert (direct + p["Q"]).sum() * volume == pytest.approx(exact.expected(mu))


@pytest.mark.parametrize("name", ["eft"])
@pytest.mark.parametrize(("c1", "c2"), [(0.0, 0.0), (-1.3, 0.4), (2.0, 1.5)])
def test_the_basis_gives_the_density_at_any_couplings(modules: dict[str, ModuleType], c1: float, c2: float) -> None:
    exact, rng = modules["exact"], np.random.default_rng(0)
    events = np.stack([rng.gamma(2.0, size=500), np.cos(rng.uniform(-np.pi, np.pi, 500))], axis=1)
    bindings = neyman.Workspace.load(EXAMPLES / "eft" / "two.yaml").document["bindings"]
    known = {"c1": c1, "c2": c2}
    for binding in bindings:  # of our own document
        known |= zip(binding["names"], eval(binding["expressions"], dict(known)), strict=True)
    factors = [known[f"w_{sample}"] for sample in exact.BASIS]
    basis = np.array([exact.density(events, *couplings)[0] for couplings in exact.BASIS.values()])
    direct, slopes = exact.density(events, c1, c2)
    assert np.array(factors) @ basis == pytest.approx(direct, rel=1e-9)
    assert direct.min() > 0
    step = 1e-6
    numeric = (exact.density(events, c1 + step, c2)[0] - exact.density(events, c1 - step, c2)[0]) / (2 * step)
    assert slopes[0] == pytest.approx(numeric, rel=1e-5, abs=1e-6)
    drawn = exact.draw(c1, c2, 20_000, rng)
    total, by_c1 = exact.expected(c1, c2)[0], exact.expected(c1, c2)[1][0]
    values, slopes = exact.density(drawn, c1, c2)
    # the mean of the score is the derivative of the log of the total
    score = slopes[0] / values
    assert score.mean() == pytest.approx(by_c1 / total, abs=5 * score.std() / np.sqrt(len(drawn)))


def test_the_files_have_the_expected_yields(modules: dict[str, ModuleType], name: str, tmp_path: Path) -> None:
    modules["make_ntuples"].make_ntuples(tmp_path, events=2000)
    with uproot.open(tmp_path / "simulation.root") as file:
        sums = {tree: float(file[tree]["w"].array().to_numpy().sum()) for tree in file.keys(cycle=False)}
    exact = modules["exact"]
    if name == "offshell":
        assert {tree: sums[tree] for tree in ("S", "SBI", "B", "Q")} == pytest.approx(
            {tree: exact.yields()[tree] for tree in ("S", "SBI", "B", "Q")}
        )
        assert sums["I"] == pytest.approx(exact.yields()["I"], rel=0.1)  # five errors of 2,000 weighted events
    else:
        assert sums == pytest.approx({tree: exact.expected(*couplings)[0] for tree, couplings in exact.BASIS.items()})


@pytest.fixture
def one_bin(modules: dict[str, ModuleType]) -> neyman.Model:
    """A model with the samples of the example, their expected events in a single bin."""
    document = neyman.Workspace.load(EXAMPLES / "offshell" / "analysis.yaml").document
    samples = [
        {"name": sample["name"], "data": [modules["exact"].yields()[sample["name"]]], "modifiers": sample["modifiers"]}
        for sample in document["channels"][0]["samples"]
    ]
    spec = {"channels": [{"name": "SR", "samples": samples}], "bindings": document["bindings"]}
    return neyman.Model(spec | {"parameters": document["measurements"][0]["config"]["parameters"]}, {}, poi_name="mu")


@pytest.mark.parametrize("name", ["offshell"])
@pytest.mark.parametrize("mu", [0.2, 1.0, 5.0])
def test_exact_shapes_have_no_bias_but_their_simulation_has(
    modules: dict[str, ModuleType], one_bin: neyman.Model, mu: float
) -> None:
    exact, asimov = modules["exact"], modules["asimov"]
    samples, rng = list(one_bin.config.samples), np.random.default_rng(2)
    events = {sample: exact.draw(sample, 20_000, rng) for sample in samples}
    found = asimov.differences(one_bin, asimov.exact_shapes(samples, exact.grid()[0]), mu, events)
    assert found["bias"] == pytest.approx(0.0, abs=1e-9)
    assert found["scatter"] == pytest.approx(0.0, abs=1e-9)
    assert 0.0 < abs(found["bias of the simulation"]) < 4 * np.sqrt(exact.expected(mu) / 20_000)


@pytest.mark.parametrize("name", ["offshell"])
def test_a_difference_counts_by_what_the_exact_likelihood_loses(modules: dict[str, ModuleType]) -> None:
    """One of two datasets, whose likelihoods have two minima of nearly the same depth, is fitted in the other one."""
    exact_row = [[0.5, 0.6], [0.4, 0.4], [1.5, 0.5], [0.0, 0.0], [np.nan, np.nan]]
    own_row = [[0.5, 2.6], [0.4, 0.8], [1.5, 0.5], [0.0, 0.02], [0.4, 0.44]]
    found = modules["run"].compare({"exact": exact_row, "own": own_row})["own"]
    assert found["in the other minimum"] == 1
    assert found["r.m.s. difference"][0] == 0.0
    assert found["r.m.s. difference by the exact likelihood"][0] == pytest.approx(0.1)
    assert found["width ratio at the exact mu-hat"][0] == pytest.approx(1.05)


@pytest.mark.slow
def test_small_trainings_follow_the_exact_likelihood(modules: dict[str, ModuleType], name: str, tmp_path: Path) -> None:
    """10,000 events of each sample and trainings of seconds: a fraction of a standard deviation."""
    exact, run = modules["exact"], modules["run"]
    modules["make_ntuples"].make_ntuples(tmp_path, events=10_000)
    documents = {"offshell": ["analysis.yaml", "interference.yaml"], "eft": ["one"]}[name]
    models = [run.trained(tmp_path, document, NETWORK)[0] for document in documents]
    reference, rng = exact.ExactLikelihood(models[0]), np.random.default_rng(1)
    truth = {"offshell": 5.0, "eft": 0.5}[name]
    pulls = []
    for _ in range(10):
        x = exact.toy(truth, rng) if name == "offshell" else exact.toy(truth, 0.0, rng)
        data = models[0].data(neyman.Ensemble({"SR": neyman.Events(x)}))
        poi = str(models[0].config.poi_name)
        true = neyman.fit(data, reference, init={poi: truth})
        sigma = true.uncertainty[true.names.index(poi)]
        pulls.append([(neyman.fit(data, model)[poi] - true[poi]) / sigma for model in models])
        if name == "offshell":
            assert run.uncertainty(data, reference, true) == pytest.approx(sigma, rel=1e-3)
            assert run.uncertainty(data, models[0], true) == pytest.approx(sigma, rel=0.2)
    # of two minima the lower one may be the other: the median does not see that
    assert np.median(np.abs(pulls), axis=0).max() < 0.4
    if name == "offshell":
        asimov, channel, samples = modules["asimov"], models[0].learned["SR"], models[0].config.samples
        ratios = channel.encode(neyman.Events(exact.grid()[0])).ratios
        drawn = {sample: exact.draw(sample, 1000, rng) for sample in samples}
        in_order = ratios[[channel.samples.index(sample) for sample in samples]]
        found = asimov.differences(models[0], in_order, truth, drawn)
        # the mean of ten toys scatters a third as much as one; half as much again for what is not linear
        assert np.mean(pulls, axis=0)[0] == pytest.approx(found["bias"], abs=2 * found["scatter"])
