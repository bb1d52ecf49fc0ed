"""The file of a posterior: what it keeps, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simulators
from click.testing import CliRunner
from torch import nn

import neyman
from neyman.cli.main import main
from neyman.exceptions import InvalidModelFile, InvalidParameter
from neyman.results import PosteriorReport

EVENTS = np.array([[0.4], [1.2]])


class Own(nn.Sequential):
    def __init__(self, features: int) -> None:
        super().__init__(nn.Linear(features, 4), nn.Tanh())


def test_a_posterior_is_read_as_it_was_written(posterior: neyman.Posterior, tmp_path: Path) -> None:
    posterior.save(tmp_path / "x.posterior")
    read = neyman.Posterior.load(tmp_path / "x.posterior")
    assert np.array_equal(read.sample(EVENTS, n=100).draws, posterior.sample(EVENTS, n=100).draws)
    assert np.array_equal(read.log_prob([[0.5]], EVENTS), posterior.log_prob([[0.5]], EVENTS))
    for name in ("names", "features", "channel", "kind", "numbers", "spec", "provenance", "history", "fingerprint"):
        assert getattr(read, name) == getattr(posterior, name), name
    assert [one.to_dict() for one in read.report] == [one.to_dict() for one in posterior.report]
    read.sample(posterior.encode(EVENTS), n=5)  # summaries are of both


def test_constraints_and_bounds_are_kept(constrained_posterior: neyman.Posterior, tmp_path: Path) -> None:
    constrained_posterior.save(tmp_path / "x.posterior")
    read = neyman.Posterior.load(tmp_path / "x.posterior")
    assert np.array_equal(read.bounds, constrained_posterior.bounds)
    x = simulators.onoff.draw([1.0, 1.0], 0)
    assert np.array_equal(read.sample(x, n=50).draws, constrained_posterior.sample(x, n=50).draws)


def test_other_files_are_refused_in_one_line(posterior: neyman.Posterior, tmp_path: Path) -> None:
    posterior.save(tmp_path / "x.posterior")
    content = (tmp_path / "x.posterior").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    (tmp_path / "text").write_text("no posterior")
    for name, message in (("cut", "corrupt"), ("text", "corrupt"), ("missing", "no such posterior")):
        with pytest.raises(InvalidModelFile, match=message):
            neyman.Posterior.load(tmp_path / name)
    with pytest.raises(InvalidModelFile, match="a posterior, not a model file"):
        neyman.Model.load(tmp_path / "x.posterior")


def test_a_network_of_ones_own_is_given_again(tmp_path: Path) -> None:
    options = {"kind": Own, "datasets": 1600, "fresh": 0, "steps": 20, "head_steps": 10, "flow_steps": 10}
    trained = neyman.train_posterior(simulators.normal_mean, options, workers=1)
    trained.save(tmp_path / "x.posterior")
    with pytest.raises(InvalidParameter, match="class of your own, Own"):
        neyman.Posterior.load(tmp_path / "x.posterior")
    read = neyman.Posterior.load(tmp_path / "x.posterior", network=Own)
    assert np.array_equal(read.sample(EVENTS, n=10).draws, trained.sample(EVENTS, n=10).draws)


def test_the_verdict_of_fresh_datasets_is_kept_inspected_and_drawn(posterior: neyman.Posterior, tmp_path: Path) -> None:
    posterior.save(tmp_path / "x.posterior")
    (report,) = neyman.Posterior.load(tmp_path / "x.posterior").report
    assert isinstance(report, PosteriorReport)
    assert report.names == posterior.names
    assert report.verdict
    inspected = CliRunner().invoke(main, ["inspect", str(tmp_path / "x.posterior")])
    assert report.verdict in inspected.output
    drawn = CliRunner().invoke(main, ["plot", str(tmp_path / "x.posterior"), "-o", str(tmp_path / "x.png")])
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "x.png").stat().st_size > 5_000
