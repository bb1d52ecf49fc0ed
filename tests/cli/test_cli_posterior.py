"""The command line on posteriors: training one, and what it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import simulators
import uproot
from test_cli import fails, run

import neyman

FILE = f"{simulators.__file__}:normal_mean"
QUICK = [
    f"--option={option}"
    for option in ("datasets=1600", "fresh=1", "steps=20", "head_steps=20", "flow_steps=10", "hidden=[8]", "width=4")
]


@pytest.fixture(scope="module")
def path(posterior: neyman.Posterior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("posterior") / "model.posterior"
    posterior.save(path)
    return path


def test_train_writes_a_posterior(tmp_path: Path) -> None:
    result = run("train", FILE, "--posterior", "-o", tmp_path / "x.posterior", "--workers", 1, *QUICK)
    assert (result.exit_code, result.stdout) == (0, "")
    assert neyman.Posterior.load(tmp_path / "x.posterior").names == ("theta",)
    assert [one.name for one in tmp_path.iterdir()] == ["x.posterior"]


def test_a_document_has_no_posterior_to_train(document_path: Path, tmp_path: Path) -> None:
    result = run("train", document_path, "--posterior", "-o", tmp_path / "x")
    assert result.exit_code == 2
    assert "for simulators" in result.stderr


def test_options_of_a_posterior_are_checked(tmp_path: Path) -> None:
    text = fails("train", FILE, "--posterior", "-o", tmp_path / "x", "--option", "flow_step=3")
    assert "flow_steps" in text


def test_inspect_shows_priors_and_training(path: Path) -> None:
    lines = run("inspect", path).stdout.splitlines()
    assert lines[0] == "posterior, deepset of x"
    assert "trained with 1 to 30 events" in lines[1]
    assert any(line.split() == ["theta", "norm(0,", "2)", "-20", "to", "20"] for line in lines)
    assert {"moments", "head", "flow"} <= {line.split()[0] for line in lines if line}
    found = json.loads(run("inspect", path, "--json").stdout)
    assert found["parameters"] == [{"name": "theta", "prior": "norm(0, 2)", "bounds": [-20.0, 20.0]}]
    assert found["events"] == [1.0, 30.0]


def test_draws_of_the_events_of_a_file_are_printed_as_json(
    path: Path, posterior: neyman.Posterior, tmp_path: Path
) -> None:
    x = np.array([0.4, 1.2, -0.3])
    with uproot.recreate(tmp_path / "data.root") as file:
        file["tree"] = {"x": x}
    result = run("posterior", path, "--data", tmp_path / "data.root", "-n", 50, "--seed", 3)
    assert result.exit_code == 0, result.output
    drawn = neyman.results.from_json(result.stdout)
    assert np.array_equal(drawn.draws, posterior.sample(x[:, None], n=50, seed=3).draws)


@pytest.mark.parametrize(("options", "message"), [((), "give --data"), (("--data", "data.yaml"), "no file of events")])
def test_a_posterior_is_drawn_of_events_alone(path: Path, options: tuple[str, ...], message: str) -> None:
    assert message in fails("posterior", path, *options)


@pytest.mark.parametrize("option", [("--chains", 2), ("--asimov", 1.0)])
def test_options_of_models_are_not_those_of_posteriors(path: Path, option: tuple[object, ...]) -> None:
    result = run("posterior", path, "--data", "data.root", *option)
    assert (result.exit_code, f"{option[0]} is for models" in result.stderr) == (2, True)
