"""How much the networks of a mixture disagree, as the end of a training says."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import write_analysis

import neyman
from neyman.events import Ensemble, Events
from neyman.model.toys import draw
from neyman.results import from_dict
from neyman.training.disagreement import disagreement


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """A model of networks with a handful of steps each, which differ by how they started."""
    path = write_analysis(tmp_path_factory.mktemp("hasty"), events=400)
    document = neyman.Workspace.load(path).document
    document["channels"][0]["network"] = {"hidden": [4], "folds": 3, "epochs": 1, "minimum_steps": 20}
    return neyman.train(neyman.Workspace(document, path.parent))


def with_encoding(model, encoding):
    return neyman.Model(model.spec, {"SR": model.learned["SR"].with_encoding(encoding)}, poi_name="mu")


def test_networks_that_disagree_are_warned_of(hasty):
    report = hasty.report[0]
    assert report.disagreement > 0.3
    assert any(text.startswith("the networks disagree: the best fit of mu moves by") for text in report.warnings)
    assert f"networks disagree by {report.disagreement:.2f} sigma" in repr(report)


def test_networks_that_agree_are_not(trained):
    report = trained.report[0]
    assert 0.0 < report.disagreement < 0.2
    assert not any("disagree" in text for text in report.warnings)
    assert from_dict(report.to_dict()).disagreement == report.disagreement


def test_the_disagreement_is_how_far_fits_of_the_same_data_are_apart(trained):
    pars = np.array(trained.config.suggested_init())
    toys = draw(pars, trained, 60, seed=1)
    best = []
    for encoding in ("fold", "mean"):
        model = with_encoding(trained, encoding)
        fits = []
        for k in range(len(toys)):
            ensemble = toys.ensemble(k)
            events = Ensemble({"SR": Events(ensemble.events["SR"].features)}, ensemble.counts, ensemble.auxdata)
            fits.append(neyman.fit(model.encode(events), model))
        best.append(fits)
    index = trained.config.poi_index
    moves = [a.bestfit[index] - b.bestfit[index] for a, b in zip(*best, strict=True)]
    sigma = np.mean([b.uncertainty[index] for b in best[1]])
    # the error is to first order in the difference, and of a tenth of it from sixty toys
    assert disagreement(trained, "SR") == pytest.approx(np.sqrt(np.mean(np.square(moves))) / sigma, rel=0.35)
