"""The finite simulation in the likelihood: a staterror on samples with event sources."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from conftest import write_analysis

import neyman
from neyman.cli.inspection import of_model


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


def test_the_end_of_a_training_says_what_the_simulation_costs(tmp_path, caplog):
    workspace = neyman.Workspace.load(write_analysis(tmp_path, events=600))
    with caplog.at_level(logging.WARNING, logger="neyman"):
        model = neyman.train(workspace, seed=1)
    cost = model.provenance["simulation"]
    assert f"the finite simulation adds {cost['simulation']:.2g} to the expected uncertainty" in caplog.text
    fit = neyman.fit(model.expected_data(model.config.suggested_init()), model)
    assert cost["uncertainty"] == pytest.approx(fit.error("mu"))


def test_impacts_tell_the_simulation_apart_from_systematics(models):
    model = models[1]
    result = neyman.impacts(model.expected_data(model.config.suggested_init()), model, prefit=False)
    of_simulation = [name for name in result.names if name.startswith("mc_")]
    sizes = [np.abs(result.auxdata[result.index(name)]).mean() for name in of_simulation]
    assert result.parts["simulation"] == pytest.approx(math.hypot(*sizes))
    assert result.parts["simulation"] > result.parts["systematics"]
