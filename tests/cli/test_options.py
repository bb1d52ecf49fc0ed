"""The options that commands share: the same name, the same meaning and the same words on every command."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from conftest import write_analysis
from test_cli import BINNED, fails, run

import neyman
from neyman.cli.main import main

FITS = ("fit", "scan")
TESTS = ("cls", "upper-limit", "significance", "interval")
TOYS = (*TESTS, "coverage", "toys", "critical-values")
STATISTICS = ("cls", "upper-limit", "interval", "coverage")
COMMANDS = (*FITS, *TOYS, "train-statistic")

WHERE: dict[str, tuple[str, ...]] = {
    "--fix": COMMANDS,
    "--simulator": COMMANDS,
    "--output-file": COMMANDS,
    "--data": (*FITS, *TESTS, "toys"),
    "--asimov": (*FITS, *TESTS, "toys"),
    "--level": ("upper-limit", "interval", "coverage", "critical-values"),
    "--test-stat": (*STATISTICS, "toys", "critical-values"),
    "--statistic": (*STATISTICS, "critical-values"),
    "--calibration": (*TESTS, "coverage"),
    "--critical": ("interval", "coverage"),
    "--nuisance": ("cls", "upper-limit", "significance", "interval", "coverage"),
    "--n-toys": TOYS,
    "--source": TOYS,
    "--workers": (*FITS, *TOYS),
    "--executor": (*FITS, *TOYS),
    "--seed": (*TOYS, "train-statistic"),
    "--checkpoint": TOYS,
}
# what they mean is said in the same words, but for what depends on the command
OWN_WORDS = {"--n-toys", "--output-file", "--test-stat"}


def option(command: str, name: str) -> click.Option | None:
    found = [p for p in main.commands[command].params if isinstance(p, click.Option) and name in p.opts]
    return found[0] if found else None


@pytest.fixture
def binned(tmp_path: Path) -> Path:
    path = tmp_path / "binned.json"
    path.write_text(json.dumps(BINNED))
    return path


@pytest.mark.parametrize("name", WHERE)
def test_a_shared_option_is_on_every_command_that_can_use_it(name: str) -> None:
    assert [command for command in COMMANDS if option(command, name)] == [c for c in COMMANDS if c in WHERE[name]]


@pytest.mark.parametrize("name", sorted(set(WHERE) - OWN_WORDS))
def test_a_shared_option_is_explained_in_the_same_words(name: str) -> None:
    assert len({option(command, name).help for command in WHERE[name]}) == 1


@pytest.mark.parametrize(
    ("command", "function"),
    [("upper-limit", neyman.limit), ("interval", neyman.interval), ("coverage", neyman.coverage),
     ("critical-values", neyman.critical_values)],
)  # fmt: skip
def test_defaults_are_those_of_the_library(command: str, function: Any) -> None:
    library = inspect.signature(function).parameters
    for name in ("level", "test_stat", "source", "seed"):
        found = option(command, f"--{name.replace('_', '-')}")
        assert found is not None
        assert found.default == library[name].default


@pytest.mark.parametrize("fix", ["xsec=0.5", "xsec"])
def test_a_parameter_is_held_at_a_value_or_where_the_model_suggests(binned: Path, fix: str) -> None:
    fit = json.loads(run("fit", binned, "--fix", fix).stdout)
    assert fit["bestfit"][fit["names"].index("xsec")] == (0.5 if "=" in fix else 0.0)
    assert fit["labels"][fit["names"].index("xsec")] == "fixed"


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("scan", ["mu", "--values", "0,1"]),
        ("cls", []),
        ("upper-limit", []),
        ("significance", []),
        ("interval", ["--calibration", "asymptotics"]),
        ("coverage", ["--calibration", "asymptotics", "--values", "1", "--n-toys", "20"]),
        ("toys", ["--fit", "--n-toys", "20"]),
    ],
)
def test_a_parameter_is_held_by_every_command(binned: Path, command: str, options: list[str]) -> None:
    free, held, suggested = (
        run(command, binned, *options, *fix) for fix in ([], ["--fix", "xsec=0"], ["--fix", "xsec"])
    )
    assert held.exit_code == suggested.exit_code == 0
    assert held.stdout == suggested.stdout != free.stdout


def test_a_parameter_that_is_not_there_is_not_held(binned: Path) -> None:
    for fix in ("xsecc", "xsecc=1"):
        assert "no parameter xsecc: did you mean 'xsec'?" in fails("fit", binned, "--fix", fix)


def test_what_is_no_value_to_hold_a_parameter_at_is_refused(binned: Path) -> None:
    result = run("fit", binned, "--fix", "xsec=a")
    assert result.exit_code == 2
    assert "'xsec=a' is neither NAME=VALUE, as in mu=1.0, nor NAME" in result.stderr


@pytest.mark.parametrize("command", WHERE["--level"])
def test_one_minus_the_level_is_refused_with_a_hint(command: str, binned: Path) -> None:
    result = run(command, binned, "--level", "0.05")
    assert result.exit_code == 2
    assert "did you mean 0.95?" in " ".join(result.stderr.split())


def test_the_names_of_pyhf_are_taken(binned: Path) -> None:
    for name, other in (("qtilde", "qmu_tilde"), ("q", "qmu")):
        limits = [run("upper-limit", binned, "--test-stat", spelling).stdout for spelling in (name, other)]
        assert limits[0] == limits[1]
    toys = [run("cls", binned, "--calibration", spelling, "-n", "50").stdout for spelling in ("toys", "toybased")]
    assert toys[0] == toys[1]


def test_a_number_of_toys_asks_for_toys(binned: Path) -> None:
    formula, toys, both, refused = (
        run("cls", binned, *options).stdout
        for options in ([], ["-n", "50"], ["-n", "50", "--calibration", "toys"],
                        ["-n", "50", "--calibration", "asymptotics"])
    )  # fmt: skip
    assert toys == both != formula == refused


@pytest.mark.parametrize("name", ["-n", "--n-toys", "--toys"])
def test_the_number_of_toys_has_one_meaning(binned: Path, name: str) -> None:
    assert len(json.loads(run("toys", binned, name, "7").stdout)["main"]) == 7


def test_how_many_toys_there_are_by_default_is_for_the_library_to_say(binned: Path) -> None:
    assert len(json.loads(run("toys", binned).stdout)["main"]) == 1000


@pytest.mark.parametrize("command", ["cls", "coverage"])
def test_processes_give_the_same_toys(command: str, binned: Path) -> None:
    options = ["--values", "1", "--calibration", "asymptotics"] if command == "coverage" else []
    alone, two = (run(command, binned, "-n", "600", *options, "--workers", n) for n in (1, 2))
    assert alone.exit_code == two.exit_code
    assert alone.stdout == two.stdout


@pytest.mark.filterwarnings("ignore")  # of Dask's own, about ports and files
def test_a_dask_cluster_gives_the_same_toys(binned: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        there = run("toys", binned, "-n", "20", "--executor", cluster.scheduler_address)
    assert there.exit_code == 0, there.output
    assert there.stdout == run("toys", binned, "-n", "20").stdout


@pytest.mark.slow
def test_training_in_processes_gives_the_same_model(tmp_path: Path) -> None:
    document = write_analysis(tmp_path, events=600)
    document.write_text(document.read_text().replace("minimum_steps: 300", "minimum_steps: 20"))
    for name, options in (("one", ()), ("two", ("--workers", "2"))):
        result = run("train", document, "-o", tmp_path / name, *options)
        assert result.exit_code == 0, result.output
    assert neyman.Model.load(tmp_path / "one").fingerprint == neyman.Model.load(tmp_path / "two").fingerprint


def test_a_running_cluster_has_its_own_workers(binned: Path) -> None:
    started = fails("toys", binned, "--executor", "tcp://127.0.0.1:1", "--workers", "2")
    assert "a running Dask cluster has its own workers: leave --workers out" in started


def test_a_cluster_that_is_not_there_is_one_line(binned: Path) -> None:
    pytest.importorskip("distributed")
    started = fails("toys", binned, "--executor", "dask://127.0.0.1:1")
    assert started.startswith("neyman: no Dask scheduler at dask://127.0.0.1:1 (")


@pytest.mark.parametrize("command", WHERE["--output-file"])
def test_a_folder_that_cannot_be_written_to_is_said_before_the_work(command: str, binned: Path, tmp_path: Path) -> None:
    options = {"scan": ["mu"], "coverage": ["--values", "1"], "train-statistic": ["--values", "0:3"]}
    started = fails(command, binned, *options.get(command, []), "-o", tmp_path / "none" / "result")
    assert started == f"neyman: {tmp_path / 'none'}: No such file or directory"


def test_critical_values_are_learned_for_any_data(binned: Path, tmp_path: Path) -> None:
    path = tmp_path / "critical.npz"
    learned = run("critical-values", binned, "-o", path, "-n", "1000", "--level", "0.9", "--values", "0:6")
    assert learned.exit_code == 0, learned.output
    assert "critical values of tmu_tilde for mu from 0 to 6, learned from 1000 toys" in learned.stderr
    options = ("--calibration", "quantile", "--critical", path, "--level", "0.9", "--values", "0:5:11")
    interval = json.loads(run("interval", binned, *options).stdout)
    assert np.shape(interval["intervals"]) == (1, 2)
