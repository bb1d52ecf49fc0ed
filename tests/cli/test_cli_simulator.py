"""The command line on simulators: training, data without a document, and what needs the simulator."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import simulators
import uproot
from test_cli import fails, run

import neyman
from neyman.exceptions import InvalidSimulation
from neyman.inputs.simulator_file import load_simulator

FILE = f"{simulators.__file__}:onoff"


@pytest.fixture(scope="module")
def folder(of_simulator: Callable[[str], neyman.Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a trained model and observed events."""
    path = tmp_path_factory.mktemp("simulator")
    of_simulator("deepset").save(path / "model.neyman")
    x = simulators.onoff.draw([4.0, 1.1], seed=4).features[:, 0]
    for name, trees in (("one", ["data"]), ("two", ["early", "late/nominal"]), ("none", [])):
        with uproot.recreate(path / f"{name}.root") as file:
            for tree in trees:
                file[tree] = {"x": x}
    with uproot.recreate(path / "other.root") as file:
        file["data"] = {"xx": x}
    return path


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("of_a_user"):
            del sys.modules[name]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_validate_makes_one_dataset() -> None:
    result = run("validate", FILE)
    n = len(simulators.onoff.draw([1.0, 1.0], seed=0))
    assert (result.exit_code, result.stdout) == (0, f"{FILE} is valid: {n} events of x at mu=1, nu=1\n")


def test_inspect_shows_parameters_and_the_number_of_events() -> None:
    result = run("inspect", FILE)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["nu", "1", "0.1", "to", "2.5", "1", "+/-", "0.3"] in rows
    found = json.loads(run("inspect", FILE, "--json").stdout)
    # 40 events a dataset, averaged over twenty; five standard errors
    assert found["channels"][0]["samples"][0]["yield"] == pytest.approx(40.0, abs=5 * np.sqrt(40 / 20))


def test_training_writes_a_model_and_keeps_datasets(tmp_path: Path) -> None:
    quick = [f"--option={key}={value}" for key, value in
             {"kind": '"event"', "datasets": 640, "steps": 5, "batch_size": 64, "hidden": "8,8"}.items()]  # fmt: skip
    result = run("train", FILE, "-o", tmp_path / "m.neyman", "--cache", tmp_path / "c", "--workers", "1", *quick)
    assert result.exit_code == 0, result.output
    assert "training of events (event; x)" in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "m.neyman"]  # and no checkpoint
    assert any((tmp_path / "c").iterdir())
    channel = neyman.Model.load(tmp_path / "m.neyman").learned["events"]
    assert (channel.kind, channel.encoder.members[0].hidden) == ("event", (8, 8))
    inspected = run("inspect", tmp_path / "m.neyman")
    assert "learned  " in inspected.stdout
    assert run("plot", tmp_path / "m.neyman", "-o", tmp_path / "training.pdf").exit_code == 0


def test_the_kind_and_options_of_a_network_are_checked(tmp_path: Path) -> None:
    output = ("-o", tmp_path / "m.neyman")
    assert "'deepsets': of a simulator it must be one of" in fails("train", FILE, *output, "--network", "deepsets")
    assert "did you mean 'datasets'?" in fails("train", FILE, *output, "--option", "dataset=3")
    assert run("train", FILE, *output, "--option", "hidden").exit_code == 2
    assert run("train", "analysis.yaml", *output, "--network", "deepset").exit_code == 2


def test_a_tree_of_observed_events_is_found_or_chosen(folder: Path) -> None:
    model = folder / "model.neyman"
    one = run("fit", model, "--data", folder / "one.root")
    assert one.exit_code == 0, one.output
    chosen = run("fit", model, "--data", f"{folder / 'two.root'}:late/nominal")
    assert json.loads(chosen.stdout) == json.loads(one.stdout)
    message = fails("fit", model, "--data", folder / "two.root")
    assert "it has the trees early, late/nominal: choose one, as in" in message
    assert message.endswith("two.root:early")
    assert "the file has no trees at all" in fails("fit", model, "--data", folder / "none.root")
    assert "no tree 'lat'" in fails("fit", model, "--data", f"{folder / 'two.root'}:lat")
    assert "no such file" in fails("fit", model, "--data", folder / "three.root")
    assert "no branch 'x'; did you mean 'xx'?" in fails("fit", model, "--data", folder / "other.root")
    assert "give --data FILE or --asimov VALUE" in fails("fit", model)


def test_a_saved_summary_is_data_too(folder: Path, of_simulator: Callable[[str], neyman.Model]) -> None:
    model = of_simulator("deepset")
    ensemble = neyman.Ensemble({"events": simulators.onoff.draw([4.0, 1.1], seed=4)})
    model.encode(ensemble).save(folder / "summary.npz")
    by_summary = run("fit", folder / "model.neyman", "--data", folder / "summary.npz")
    by_events = run("fit", folder / "model.neyman", "--data", folder / "one.root")
    assert by_summary.exit_code == 0, by_summary.output
    assert json.loads(by_summary.stdout) == json.loads(by_events.stdout)


@pytest.mark.filterwarnings("ignore:channel events. the network is far")  # it was trained for seconds
@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--asimov", "2"], ["scan", "mu", "--values", "1,2", "--asimov", "2"],
        ["cls", "--mu", "2", "--data", "one.root"], ["upper-limit", "--data", "one.root"],
        ["interval", "--toys", "40", "--values", "3,5", "--data", "one.root"], ["toys", "-n", "5"],
        ["coverage", "--toys", "5", "--values", "4", "--calibration", "asymptotics"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_toys_and_asimov_data_need_the_simulator(
    command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    name, *options = command
    assert "give it, as in Model.load" in fails(name, "model.neyman", *options)
    result = run(name, "model.neyman", *options, "--simulator", FILE)
    assert result.stdout.startswith("{"), result.output
    assert not result.stderr.startswith("neyman: channel")


def test_a_statistic_is_trained_on_the_simulator(folder: Path, tmp_path: Path) -> None:
    options = ("--values", "1:9", "--datasets", "1000", "-o", tmp_path / "statistic.neyman")
    assert "--simulator file.py:name" in fails("train-statistic", folder / "model.neyman", *options)
    result = run("train-statistic", folder / "model.neyman", "--simulator", FILE, *options)
    assert result.exit_code == 0, result.output
    assert neyman.LearnedStatistic.load(tmp_path / "statistic.neyman").values == (1.0, 9.0)


def test_toys_from_two_processes_are_those_from_one(folder: Path, tmp_path: Path) -> None:
    # a file that is imported from where it lies, by the workers too
    shutil.copy(simulators.__file__, tmp_path / "of_a_user_elsewhere.py")
    simulator = f"{tmp_path / 'of_a_user_elsewhere.py'}:onoff"
    options = ("toys", folder / "model.neyman", "-n", "6", "--simulator", simulator)
    alone, two = (run(*options, "--workers", n) for n in (1, 2))
    assert alone.exit_code == two.exit_code == 0
    assert alone.stdout == two.stdout
    assert two.stderr == ""


def test_another_simulator_is_refused(folder: Path, tmp_path: Path) -> None:
    text = Path(simulators.__file__).read_text().replace("[MU, NU]", "[NU, MU]")
    path = written(tmp_path / "of_a_user_other.py", text)
    assert "parameters nu, mu" in fails("toys", folder / "model.neyman", "--simulator", f"{path}:onoff")


def test_a_simulator_is_no_model_and_a_document_has_none(tmp_path: Path) -> None:
    assert "first run neyman train" in fails("fit", FILE)
    assert run("fit", tmp_path / "analysis.yaml", "--simulator", FILE).exit_code == 2


CONTROL = """
version: "1.0.0"
channels:
  - name: CR
    samples:
      - name: background
        data: [60.0]
        modifiers: [{name: nu, type: staterror, data: [18.0]}]
observations: [{name: CR, data: [70]}]
measurements: [{name: m, config: {poi: "", parameters: [{name: nu, bounds: [[0.1, 2.0]]}]}}]
"""


def test_a_model_of_a_simulator_is_joined_to_a_document_of_bins(folder: Path, tmp_path: Path) -> None:
    control, joint = written(tmp_path / "control.yaml", CONTROL), tmp_path / "joint.neyman"
    options = ("combine", folder / "model.neyman", control, "-o", joint)
    assert 'in model 2 (CR): give bounds={"nu": (0.1, 2)}, or --bounds nu=0.1:2' in fails(*options)
    assert run(*options, "--bounds", "nu=0.1").exit_code == 2
    result = run(*options, "--bounds", "nu=0.1:2")
    assert result.exit_code == 0, result.output
    assert "no observations for events: give --data" in fails("fit", joint)
    alone, both = (
        json.loads(run("fit", model, "--data", folder / "one.root").stdout)
        for model in (folder / "model.neyman", joint)
    )
    assert both["uncertainty"][both["names"].index("nu")] < 0.8 * alone["uncertainty"][alone["names"].index("nu")]
    toys = run("toys", joint, "-n", "3", "--simulator", FILE)
    assert np.shape(json.loads(toys.stdout)["main"]) == (3, 2)
    inspected = run("inspect", joint)
    assert "mu, nu" in inspected.stdout
    assert "no observations for all channels" in inspected.stdout


def test_a_posterior_is_a_test_statistic_and_a_model_of_its_own(
    folder: Path, constrained_posterior: neyman.Posterior, tmp_path: Path
) -> None:
    path = tmp_path / "onoff.posterior"
    constrained_posterior.save(path)
    options = ("--data", folder / "one.root", "--simulator", FILE, "--values", "2,5,8", "-n", "40")
    for arguments in ((path,), (folder / "model.neyman", "--statistic", path)):
        result = run("interval", *arguments, *options)
        assert json.loads(result.stdout)["test_stat"] == "waldo", result.output
    assert json.loads(run("interval", path, *options, "--test-stat", "tmu").stdout)["test_stat"] == "tmu"
    assert "sets no upper limit" in fails("upper-limit", path, "--data", folder / "one.root", "--simulator", FILE)
    assert json.loads(run("fit", path, "--data", folder / "one.root", "--simulator", FILE).stdout)["valid"]
    without = run("fit", path, "--data", folder / "one.root")
    assert without.exit_code == 2
    assert "give --simulator FILE.py:NAME" in without.stderr


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("x = 1", "x", "of_a_user_a.py:x is of the type int: make it a neyman.Simulator"),
        ("x = 1", "y", "no 'y' in it; it has no neyman.Simulator at all"),
        ("from simulators import onoff", "onof", "no 'onof' in it; did you mean 'onoff'?"),
        ("x = 1\n\nx = y", "x", "of_a_user_a.py, line 3: importing it failed (NameError: name 'y' is not defined)"),
        ("x = (", "x", "of_a_user_a.py, line 1: importing it failed (SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(3)", "x", "importing it failed (SystemExit: 3)"),
        ("x = 1", "", "name the simulator in the file, as in"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, text: str, name: str, message: str) -> None:
    path = written(tmp_path / "of_a_user_a.py", text)
    assert message in fails("validate", f"{path}:{name}" if name else path)


def test_a_missing_file_and_a_name_that_is_taken_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSimulation, match=r"none\.py: no such file"):
        load_simulator(tmp_path / "none.py:x")
    written(tmp_path / "json.py", "x = 1")
    with pytest.raises(InvalidSimulation, match="another module has the name 'json' already: rename the file"):
        load_simulator(f"{tmp_path}/json.py:x")
    written(tmp_path / "on-off.py", "x = 1")
    with pytest.raises(InvalidSimulation, match="'on-off' cannot be the name of a module: rename the file"):
        load_simulator(f"{tmp_path}/on-off.py:x")
