"""From a workspace to a model: options, seeds, checkpoints, warnings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot
from conftest import write_analysis
from ruamel.yaml import YAML

import neyman
from neyman.exceptions import InvalidDocument, InvalidEvents, InvalidParameter
from neyman.networks.kinds import training_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hiden": [8]}, "hiden is not an option of a mixture: did you mean 'hidden'"),
        ({"folds": 1}, "folds: 1 makes no sense; the default is 5"),
        ({"hidden": [8, -1]}, "hidden"),
        ({"epochs": "many"}, "epochs: 'many' makes no sense"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"hidden": [True]}, "hidden"),
    ],
)
def test_wrong_options_of_a_network_are_named(options, message):
    with pytest.raises(InvalidDocument, match=message):
        training_options(options)


def test_the_same_seed_gives_the_same_model(tmp_path):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    first, second = (neyman.train(workspace, seed=1) for _ in range(2))
    pars, data = first.config.suggested_init(), first.observed
    assert first.logpdf(pars, data) == second.logpdf(pars, data)


def test_checkpoints_of_another_training_are_not_taken(tmp_path):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    first = neyman.train(workspace, seed=1, checkpoint=tmp_path / "state")
    other = neyman.train(workspace, seed=2, checkpoint=tmp_path / "state")
    again = neyman.train(workspace, seed=2, checkpoint=tmp_path / "state")
    pars, data = first.config.suggested_init(), first.observed
    assert first.logpdf(pars, data) != other.logpdf(pars, data)
    assert again.logpdf(pars, data) == other.logpdf(pars, data)


def test_features_in_another_order_are_another_training(tmp_path):
    document = YAML(typ="safe").load(write_analysis(tmp_path, events=600).read_text())
    models = []
    for names in (["a", "b"], ["b", "a"]):
        expressions = {"a": "x", "b": "y"}
        document["channels"][0]["features"] = {name: expressions[name] for name in names}
        models.append(neyman.train(neyman.Workspace(document, tmp_path), seed=1, checkpoint=tmp_path / "state"))
    assert [list(model.learned["SR"].features) for model in models] == [["a", "b"], ["b", "a"]]
    fresh = neyman.train(neyman.Workspace(document, tmp_path), seed=1)
    pars, data = fresh.config.suggested_init(), fresh.observed
    assert models[1].logpdf(pars, data) == fresh.logpdf(pars, data)


def test_a_folder_that_is_something_else_is_not_taken_for_checkpoints(tmp_path):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    with pytest.raises(InvalidDocument, match="not empty"):
        neyman.train(workspace, checkpoint=tmp_path)
    assert (tmp_path / "data.root").exists()


def test_the_learned_fit_agrees_with_the_exact_one(model, data):
    """mu-hat within a quarter of its uncertainty: 8000 simulated events for 300 expected cost up to 0.2."""
    from scipy.optimize import minimize
    from test_mixture_training import exact_log_density

    dataset = model.ensemble(data)
    events = dataset.events["SR"].features.astype(np.float64)
    names = model.config.par_names

    def exact(theta):
        pars = np.array(theta)
        rates, _ = model.rates(pars)
        nu = {name: rates[model.config.samples.index(name)] for name in ("signal", "background")}
        bin_ = model.config.channel_slices["SR"].start
        alpha = pars[names.index("scale")]
        density = nu["signal"][bin_] * np.exp(exact_log_density(events, "signal")) + nu["background"][bin_] * np.exp(
            exact_log_density(events, "background", alpha)
        )
        expected = rates.sum(axis=0)
        control = expected[model.config.channel_slices["CR"]]
        counts = np.sum(dataset.counts["CR"] * np.log(control) - control)
        constraint, _ = model.constraints(pars, dataset.auxdata)
        return -(np.log(density).sum() - expected[bin_] + counts + constraint)

    best = minimize(exact, model.config.suggested_init(), bounds=model.config.suggested_bounds(), method="L-BFGS-B").x
    fit = neyman.fit(data, model)
    difference = (fit.bestfit - best) / fit.uncertainty
    assert abs(difference[names.index("mu")]) < 0.25
    assert np.all(np.abs(difference) < 0.3)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_named(tmp_path, seed):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    with pytest.raises(InvalidParameter, match=f"seed is {seed}: give a whole number from 0"):
        neyman.train(workspace, seed=seed)


def test_a_seed_of_numpy_can_be_written_down(tmp_path):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    neyman.train(workspace, seed=np.int64(4)).save(tmp_path / "model.neyman")
    assert neyman.Model.load(tmp_path / "model.neyman").provenance["seed"] == 4


def test_observations_that_cannot_be_read_are_noticed_before_the_training(tmp_path, monkeypatch):
    path = write_analysis(tmp_path, events=600)
    with uproot.recreate(tmp_path / "data.root") as file:
        file["nominal"] = {"x": np.array([0.0, np.nan]), "y": np.zeros(2)}
    monkeypatch.setattr("neyman.training.train.train_mixture", lambda *_, **__: pytest.fail("trained in vain"))
    with pytest.raises(InvalidEvents, match=r"data\.root"):
        neyman.train(neyman.Workspace.load(path))


def test_only_checkpoints_are_removed_from_a_folder_of_checkpoints(tmp_path):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    neyman.train(workspace, seed=1, checkpoint=tmp_path / "state")
    (tmp_path / "state" / "mine.neyman").write_text("precious")
    neyman.train(workspace, seed=2, checkpoint=tmp_path / "state")
    assert (tmp_path / "state" / "mine.neyman").read_text() == "precious"


def test_a_file_is_no_folder_for_checkpoints(tmp_path):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    with pytest.raises(InvalidDocument, match="a file, not a folder"):
        neyman.train(workspace, checkpoint=tmp_path / "data.root")


ROOT_FILES = """
version: "1.0.0"
channels:
  - name: SR
    features: ["jet_pt[:, 0] / 100", "num(jet_pt)"]
    network: {hidden: [4], folds: 3, epochs: 2, minimum_steps: 10}
    events: {tree: nominal, selection: "njet >= 1"}
    samples:
      - name: signal
        events: {files: ttree.root}
        modifiers:
          - {name: mu, type: normfactor, data: null}
          - {name: scale, type: histosys, data: {hi: {tree: scale_up}, lo: {}}}
      - name: background
        events: {files: rntuple.root}
        modifiers: [{name: norm, type: normsys, data: {hi: 1.1, lo: 0.9}}]
observations:
  - {name: SR, events: {files: ttree.root}}
measurements:
  - {name: measurement, config: {poi: mu, parameters: []}}
"""


def test_files_written_by_cern_root_are_trained_on_and_fitted():
    folder = Path(__file__).parents[1] / "data"  # a TTree with std::vector branches and an RNTuple
    model = neyman.train(neyman.Workspace(YAML(typ="safe").load(ROOT_FILES), folder))
    result = neyman.fit(model.observed, model)
    assert result.valid
    assert set(result.names) == {"mu", "scale", "norm"}
