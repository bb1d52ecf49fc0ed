"""From a workspace to a model: options, seeds, checkpoints, warnings."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from conftest import write_analysis

import neyman
from neyman.exceptions import InvalidDocument
from neyman.options import training_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hiden": [8]}, "hiden is not an option of a mixture: did you mean 'hidden'"),
        ({"folds": 1}, "folds: 1 makes no sense; the default is 5"),
        ({"hidden": [8, -1]}, "hidden"),
        ({"epochs": "many"}, "epochs: 'many' makes no sense"),
        ({"learning_rate": -1.0}, "learning_rate"),
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


def test_a_folder_that_is_something_else_is_not_taken_for_checkpoints(tmp_path):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    with pytest.raises(InvalidDocument, match="not empty"):
        neyman.train(workspace, checkpoint=tmp_path)
    assert (tmp_path / "data.root").exists()


def test_a_small_simulation_is_warned_of(tmp_path, caplog):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    with caplog.at_level(logging.WARNING, logger="neyman"):
        neyman.train(workspace)
    assert "sample background has 600 effective simulated events for 300 expected" in caplog.text
    assert "0.71 sigma" in caplog.text


def test_the_learned_fit_agrees_with_the_exact_one(model, data):
    """mu-hat within a quarter of its uncertainty: 8000 simulated events for 300 expected cost up to 0.2."""
    from scipy.optimize import minimize
    from test_learning import exact_log_density

    events = model.ensemble(data).events["SR"].features.astype(np.float64)
    names = model.config.par_names

    def exact(theta):
        pars = np.array(theta)
        rates, _ = model._rates(pars)
        nu = {name: rates[model.config.samples.index(name)] for name in ("signal", "background")}
        bin_ = model.config.channel_slices["SR"].start
        alpha = pars[names.index("scale")]
        density = nu["signal"][bin_] * np.exp(exact_log_density(events, "signal")) + nu["background"][bin_] * np.exp(
            exact_log_density(events, "background", alpha)
        )
        main, _, aux = model._split(data)
        expected = rates.sum(axis=0)
        control = model.config.channel_slices["CR"]
        counts = np.sum(main[control] * np.log(expected[control]) - expected[control])
        constraint, _ = model._constraints(pars, aux)
        return -(np.log(density).sum() - expected[bin_] + counts + constraint)

    best = minimize(exact, model.config.suggested_init(), bounds=model.config.suggested_bounds(), method="L-BFGS-B").x
    fit = neyman.fit(data, model)
    difference = (fit.bestfit - best) / fit.uncertainty
    assert abs(difference[names.index("mu")]) < 0.25
    assert np.all(np.abs(difference) < 0.3)
