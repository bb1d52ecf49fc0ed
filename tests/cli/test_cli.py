"""The command line: every command on small files, and what is said where something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import uproot
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from neyman.cli.main import main

DOCUMENT = """
version: "1.0.0"
channels:
  - name: SR
    features: [x, "y / 2"]
    network: {hidden: [8], folds: 2, epochs: 2, minimum_steps: 20}
    samples:
      - name: signal
        events: {files: events.root, tree: signal, weight: w}
        modifiers:
          - {name: mu, type: normfactor, data: null}
          - {name: scale, type: histosys, data: {hi: {tree: signal_up}, lo: {tree: signal_down}}}
      - name: background
        events: {files: events.root, tree: background, weight: w}
        modifiers:
          - {name: xsec, type: normsys, data: {hi: 1.1, lo: 0.9}}
  - name: CR
    samples:
      - name: background
        data: [50.0, 40.0]
        modifiers:
          - {name: xsec, type: normsys, data: {hi: 1.1, lo: 0.9}}
observations:
  - {name: SR, events: {files: data.root, tree: data}}
  - {name: CR, data: [52, 39]}
measurements:
  - {name: search, config: {poi: mu, parameters: []}}
"""

BINNED = {
    "version": "1.0.0",
    "channels": [{"name": "CR", "samples": [
        {"name": "signal", "data": [5.0, 10.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [50.0, 40.0],
         "modifiers": [{"name": "xsec", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}]},
    ]}],
    "observations": [{"name": "CR", "data": [52.0, 44.0]}],
    "measurements": [{"name": "search", "config": {"poi": "mu", "parameters": []}}],
}  # fmt: skip


def write_events(folder: Path) -> None:
    rng = np.random.default_rng(0)

    def events(n: int, mean: float, total: float) -> dict[str, Any]:
        return {"x": rng.normal(mean, 1, n), "y": rng.normal(-mean, 1, n), "w": np.full(n, total / n)}

    with uproot.recreate(folder / "events.root") as file:
        for name, mean, total in (
            ("signal", 1.5, 20.0), ("signal_up", 1.7, 21.0), ("signal_down", 1.3, 19.0), ("background", 0.0, 100.0),
        ):  # fmt: skip
            file[name] = events(2000, mean, total)
    with uproot.recreate(folder / "data.root") as file:
        file["data"] = events(118, 0.2, 118.0)


def run(*args: object, **options: Any) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], **options)


def fails(*args: object) -> str:
    """Return the one line that a command fails with."""
    result = run(*args)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)  # and no other, which would be a traceback
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("neyman: ")
    return lines[0]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysis")
    write_events(folder)
    (folder / "analysis.yaml").write_text(DOCUMENT)
    return folder / "analysis.yaml"


@pytest.fixture(scope="module")
def model(document: Path) -> Path:
    path = document.with_suffix(".neyman")
    result = run("train", document, "-o", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def binned(tmp_path: Path) -> Path:
    path = tmp_path / "binned.json"
    path.write_text(json.dumps(BINNED))
    return path


@pytest.mark.parametrize("command", main.commands)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = run(command, "-h")
    assert result.exit_code == 0
    assert f"  $ neyman {command} " in result.stdout
    assert command in run("--help").stdout


def test_the_package_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-m", "neyman", "--help"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("Usage: neyman [OPTIONS] COMMAND")


def test_help_does_not_import_what_takes_seconds() -> None:
    code = (
        "import sys; from neyman.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([m for m in ('torch', 'pyhf', 'matplotlib', 'uproot') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


TABLE = """\
channel SR
  sample      variation  events  selected  yield
  signal                   2000      2000     20
  signal      scale hi     2000      2000     21
  signal      scale lo     2000      2000     19
  background               2000      2000    100
  observed                  118       118    118
channel CR
  sample        events  selected  yield
  background                         90
  observed                           91

"""


def test_validate_prints_events_and_yields_and_that_a_document_is_valid(document: Path) -> None:
    result = run("validate", document)
    assert (result.exit_code, result.stdout) == (0, f"{TABLE}{document} is valid\n")


def test_validate_takes_other_observations_and_prints_json(document: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    events, ours = f"{document.parent}/events.root", f"{document.parent}/data.root"
    text = DOCUMENT.replace("events.root", events).replace("data: [52, 39]", "data: [5, 3]")
    other.write_text(text.replace("data.root, tree: data", f"{ours}, tree: data, entries: [0, 100]"))
    result = run("validate", document, "--data", other, "--json")
    found = json.loads(result.stdout)
    observed = {row["channel"]: row for row in found["rows"] if row["sample"] is None}
    assert found["valid"]
    assert (observed["SR"]["events"], observed["SR"]["total"], observed["CR"]["total"]) == (100, 100.0, 8.0)
    assert "channel 'CR' is not observed in events" in fails("validate", document, "--data", ours)
    assert "no such file" in fails("validate", document, "--data", tmp_path / "no.yaml")


def test_validate_warns_of_data_that_the_simulation_does_not_have(document: Path, tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "data.root") as file:
        file["data"] = {"x": np.full(50, 1000.0), "y": np.linspace(-1, 1, 50)}
    other = tmp_path / "other.yaml"
    other.write_text(DOCUMENT.replace("events.root", f"{document.parent}/events.root"))
    result = run("validate", document, "--data", other)
    assert result.exit_code == 0
    assert "WARNING: channel SR: 50 of 50 events have x " in result.stderr
    assert "WARNING" not in run("validate", document).stderr


def test_validate_names_a_missing_branch(document: Path) -> None:
    broken = document.with_name("broken.yaml")
    broken.write_text(DOCUMENT.replace("y / 2", "yy / 2"))
    assert "yy" in fails("validate", broken)


@pytest.mark.parametrize(
    "command", [["validate"], ["inspect"], ["train", "-o", "x.neyman"], ["fit"], ["plot", "-o", "x.pdf"]]
)
def test_a_missing_file_is_named(command: list[str], tmp_path: Path) -> None:
    assert "missing.yaml" in fails(*command, tmp_path / "missing.yaml")


def test_inspect_shows_what_a_document_holds(document: Path) -> None:
    result = run("inspect", document)
    assert result.exit_code == 0, result.output
    for text in ("x, y / 2", "scale (normsys and shape)", "2000", "observed", "2 bins", "xsec", "0 +/- 1"):
        assert text in result.stdout
    assert "warning: SR, background: 2000 effective simulated events for 100 expected" in result.stdout


def test_inspect_shows_where_a_model_comes_from(model: Path) -> None:
    result = run("inspect", model)
    assert result.exit_code == 0, result.output
    for text in ("x, y / 2", "scale (normsys and shape)", "2000", "events.root", "seed: 0", "2 folds", "closure"):
        assert text in result.stdout


def test_inspect_gives_json_too(model: Path) -> None:
    found = json.loads(run("inspect", model, "--json").stdout)
    assert found["poi"] == "mu"
    assert found["training"][0]["channel"] == "SR"


def test_fit_gives_the_result_as_json(model: Path) -> None:
    result = run("fit", model, "--minos", "mu", "--fix", "scale=0.5")
    assert result.exit_code == 0, result.output
    fit = json.loads(result.stdout)
    assert fit["result"] == "fit"
    assert list(fit["minos"]) == ["mu"]
    assert fit["bestfit"][fit["names"].index("scale")] == 0.5


def test_a_result_goes_to_a_file(model: Path, tmp_path: Path) -> None:
    result = run("fit", model, "-o", tmp_path / "fit.json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads((tmp_path / "fit.json").read_text())["valid"]


def test_asimov_data_bring_their_parameter_back(model: Path) -> None:
    fit = json.loads(run("fit", model, "--asimov", "0.7").stdout)
    assert fit["bestfit"][fit["names"].index("mu")] == pytest.approx(0.7, abs=1e-3)


def test_other_data_take_the_place_of_the_models_own(document: Path, model: Path) -> None:
    other = document.with_name("other.yaml")
    contents = YAML(typ="safe").load(DOCUMENT)
    contents["observations"][1]["data"] = [500.0, 400.0]
    other.write_text(json.dumps(contents))
    mine, others = (json.loads(run("fit", model, *args).stdout) for args in ([], ["--data", other]))
    xsec = mine["names"].index("xsec")
    assert others["bestfit"][xsec] > mine["bestfit"][xsec] + 1


@pytest.mark.parametrize(
    ("names", "values", "shape"),
    [
        (["mu"], ["--values", "0:2:5"], (5,)),
        (["mu"], ["--values", "0,1"], (2,)),
        (["mu", "xsec"], ["--values", "0:2:3", "--values", "-1:1:2"], (3, 2)),
    ],
)
def test_scan_of_one_parameter_or_two(model: Path, names: list[str], values: list[str], shape: tuple[int, ...]) -> None:
    result = run("scan", model, *names, *values)
    assert result.exit_code == 0, result.output
    assert np.shape(json.loads(result.stdout)["delta_twice_nll"]) == shape


@pytest.mark.parametrize("values", ["0:2", "a,b", "0:2:x"])
def test_values_that_are_none_are_refused(model: Path, values: str) -> None:
    result = run("scan", model, "mu", "--values", values)
    assert result.exit_code == 2
    assert "as in 0:2:21" in result.stderr


def test_impacts_with_a_group_are_drawn_from_a_pipe(model: Path, tmp_path: Path) -> None:
    result = run("impacts", model, "--asimov", 1, "--group", "yields=xsec", "--blind")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["value"] is None
    assert found["groups"]["yields"] > 0
    figure = tmp_path / "impacts.png"
    assert run("plot", "-o", figure, "--parameter", "scale", input=result.stdout).exit_code == 0
    assert figure.stat().st_size > 0
    assert "as in jets=jes_*,jer" in run("impacts", model, "--group", "yields").stderr


def test_a_posterior_is_drawn_from_a_pipe(binned: Path, tmp_path: Path) -> None:
    options = ["-n", "200", "--chains", "2", "--seed", "1", "--fix", "xsec=0", "--prior", "mu=norm(1, scale=0.5)"]
    result = run("posterior", binned, *options)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["result"], len(found["draws"]), found["prior"]) == (
        "posterior", 200, {"mu": "norm(1, scale=0.5) within (0, 10)"},
    )  # fmt: skip
    plotted = run("plot", "-o", tmp_path / "corner.png", "--parameter", "mu", input=result.stdout)
    assert plotted.exit_code == 0, plotted.output
    assert (tmp_path / "corner.png").stat().st_size > 5_000


@pytest.mark.parametrize("prior", ["mu", "mu=normal(1)", "mu=norm(one)", "mu=norm(1, 2, 3)", "mu=poisson(3)"])
def test_a_prior_that_is_none_is_refused(binned: Path, prior: str) -> None:
    result = run("posterior", binned, "--prior", prior)
    assert result.exit_code == 2
    assert "is not NAME=DISTRIBUTION with one of scipy.stats, as in 'mu=norm(1, 0.5)'" in " ".join(
        result.stderr.replace("│", " ").split()
    )


def test_a_posterior_whose_chains_disagree_is_written_and_ends_with_1(binned: Path) -> None:
    two = json.loads(binned.read_text())
    two["channels"][0]["samples"][1] = {"name": "background", "data": [10_000.0, 10_000.0], "modifiers": [
        {"name": "xsec", "type": "normsys", "data": {"hi": 1.2, "lo": 1.2}}]}  # fmt: skip
    two["observations"][0]["data"] = [14_400.0, 14_400.0]  # that of xsec = 2 and xsec = -2
    binned.write_text(json.dumps(two))
    result = run("posterior", binned, "-n", "100", "--chains", "2", "--fix", "mu=0")
    assert result.exit_code == 1
    assert not json.loads(result.stdout)["valid"]
    assert "neyman: the posterior is not valid: the chains disagree about xsec (R-hat" in result.stderr


def test_cls_agrees_with_pyhf(binned: Path) -> None:
    import pyhf

    workspace = pyhf.Workspace(BINNED)
    pdf = workspace.model()
    observed, expected = pyhf.infer.hypotest(1.5, workspace.data(pdf), pdf, return_expected_set=True)
    found = json.loads(run("cls", binned, "--mu", "1.5").stdout)
    assert found["observed"] == pytest.approx(float(observed), rel=1e-3)
    assert found["expected"] == pytest.approx([float(value) for value in expected], rel=1e-3)


def test_cls_on_toys_is_near_the_asymptotic_one(binned: Path) -> None:
    toys, formula = (json.loads(run("cls", binned, *args).stdout) for args in (["--toys", "2000"], []))
    assert toys["observed"] == pytest.approx(formula["observed"], abs=0.08)


def test_significance_agrees_with_pyhf(binned: Path) -> None:
    import pyhf

    workspace = pyhf.Workspace(BINNED)
    pdf = workspace.model()
    p_value = float(pyhf.infer.hypotest(0.0, workspace.data(pdf), pdf, test_stat="q0"))
    found = json.loads(run("significance", binned).stdout)
    assert found["p_value"] == pytest.approx(p_value, rel=1e-3)  # two minimisers
    assert found["significance"] == pytest.approx(NormalDist().inv_cdf(1.0 - p_value), rel=1e-3)


def test_significance_on_toys_is_near_the_asymptotic_one(binned: Path) -> None:
    toys, formula = (json.loads(run("significance", binned, *args).stdout) for args in (["-n", "2000"], []))
    assert (toys["calibration"], formula["calibration"]) == ("toys", "asymptotics")
    assert toys["significance"] == pytest.approx(formula["significance"], abs=5.0 * toys["error"])


def test_upper_limit_on_toys(binned: Path) -> None:
    result = run("upper-limit", binned, "--toys", "500")
    assert result.exit_code == 0, result.output
    formula = json.loads(run("upper-limit", binned).stdout)
    assert json.loads(result.stdout)["observed"] == pytest.approx(formula["observed"], rel=0.2)


def test_interval_is_drawn_from_a_pipe(binned: Path, tmp_path: Path) -> None:
    result = run("interval", binned, "--toys", "500", "--level", "0.9", "--seed", "3")
    assert result.exit_code == 0, result.output
    interval = json.loads(result.stdout)
    assert interval["result"] == "interval"
    assert interval["intervals"][0][0] < interval["bestfit"] < interval["intervals"][0][1]
    assert run("plot", "-o", tmp_path / "belt.png", input=result.stdout).exit_code == 0


def test_interval_of_a_learned_channel(model: Path) -> None:
    result = run("interval", model, "--toys", "100", "--values", "0:2:3", "--fix", "scale=0")
    assert json.loads(result.stdout)["toys"][0] > 0


def test_learned_critical_values_are_kept_and_used_again(binned: Path, tmp_path: Path) -> None:
    path = tmp_path / "critical.npz"
    options = ("--calibration", "quantile", "--critical", path, "--level", "0.9")
    first = run("interval", binned, *options, "--toys", "1000")
    assert first.exit_code == 0
    assert "critical values of tmu_tilde for mu from 0 to 10, learned from 1000 toys" in first.stderr
    written = path.stat().st_mtime_ns
    second = run("interval", binned, *options, "--nuisance", "worst")
    assert second.exit_code == 0
    assert path.stat().st_mtime_ns == written
    (low, high), (lower, higher) = (json.loads(result.stdout)["intervals"][0] for result in (first, second))
    assert lower <= low < high <= higher
    coverage = run("coverage", binned, *options, "--toys", "200", "--values", "1")
    assert json.loads(coverage.stdout)["calibration"] == "quantile"
    assert "tmu_tilde, quantile" in coverage.stderr
    refused = run("interval", binned, "--critical", path)
    assert refused.exit_code == 2
    assert "--critical takes --calibration quantile" in refused.stderr


def test_an_empty_interval_is_written_and_ends_with_1(binned: Path) -> None:
    result = run("interval", binned, "--toys", "100", "--values", "8:10:3")
    assert json.loads(result.stdout)["intervals"] == []
    assert result.exit_code == 1
    assert result.stderr.startswith("neyman: the interval is not valid: no tested value from 8 to 10 is accepted")


def test_the_result_does_not_depend_on_the_workers(binned: Path) -> None:
    alone, two = (run("interval", binned, "--toys", "200", "--workers", n).stdout for n in (1, 2))
    assert alone == two


def test_coverage_prints_a_table_on_standard_error(binned: Path, tmp_path: Path) -> None:
    path = tmp_path / "coverage.json"
    result = run("coverage", binned, "--toys", "40", "--truth", "mu=1,xsec=0.5", "--values", "0,2", "-o", path)
    assert result.exit_code == 0, result.output
    assert "coverage of the 68 % interval on mu (tmu_tilde, toys): passed" in result.stderr
    coverage = json.loads(path.read_text())
    assert coverage["truths"] == [[1.0, 0.5], [0.0, 0.0], [2.0, 0.0]]
    assert coverage["passed"]
    assert run("plot", path, "-o", tmp_path / "coverage.png").exit_code == 0


def test_coverage_that_fails_ends_with_1(binned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    import neyman

    coverage = neyman.coverage
    monkeypatch.setattr(
        neyman, "coverage", lambda *a, **k: dataclasses.replace(coverage(*a, **k), verdicts=("undercovers",))
    )
    result = run("coverage", binned, "--toys", "20", "--values", "1", "--calibration", "asymptotics")
    assert result.exit_code == 1
    assert "neyman: the interval undercovers at 1 of 1 truths" in result.stderr
    assert json.loads(result.stdout)["passed"] is False


@pytest.mark.parametrize("args", [[], ["--truth", "mu"]])
def test_coverage_wants_truths(binned: Path, args: list[str]) -> None:
    assert run("coverage", binned, *args).exit_code == 2


def test_toys_are_thrown_and_fitted(model: Path) -> None:
    result = run("toys", model, "-n", "20", "--at", "mu=2,xsec=0.5", "--fit")
    assert result.exit_code == 0, result.output
    toys = json.loads(result.stdout)
    assert np.shape(toys["bestfit"]) == (20, len(toys["names"]))
    assert toys["pars"][toys["names"].index("mu")] == 2.0


def test_a_test_statistic_in_toys_is_drawn_from_a_pipe(binned: Path, tmp_path: Path) -> None:
    result = run("toys", binned, "-n", "300", "--at", "mu=1", "--test-stat", "tmu_tilde")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["statistic"]) == 300
    assert run("plot", "-o", tmp_path / "statistic.png", input=result.stdout).exit_code == 0
    assert run("toys", binned, "--at", "xsec=1", "--test-stat", "tmu").exit_code == 2


def test_what_toys_cannot_be_thrown_at_is_refused(binned: Path) -> None:
    assert "no parameter nu" in fails("toys", binned, "--at", "nu=1")
    assert "outside its bounds (0, 10)" in fails("interval", binned, "--values", "3:50:3")
    assert run("interval", binned, "--level", "68").exit_code == 2
    assert run("toys", binned, "-n", "0").exit_code == 2


def test_upper_limit_is_drawn_from_a_pipe(binned: Path, tmp_path: Path) -> None:
    result = run("upper-limit", binned, "--level", "0.9")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["level"] == 0.9
    drawn = run("plot", "-o", tmp_path / "limit.svg", input=result.stdout)
    assert drawn.exit_code == 0, drawn.output
    assert "CL" in (tmp_path / "limit.svg").read_text()


def test_plot_draws_the_training_of_a_model_file(model: Path, tmp_path: Path) -> None:
    result = run("plot", model, "-o", tmp_path / "training.pdf")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "training.pdf").read_bytes().startswith(b"%PDF")


def test_plot_draws_the_data_over_the_prediction_before_and_after_a_fit(model: Path, tmp_path: Path) -> None:
    assert run("fit", model, "-o", tmp_path / "fit.json").exit_code == 0
    for options, label in (
        ([], "pre-fit"), (["--post-fit"], "post-fit"), (["--fit", tmp_path / "fit.json"], "post-fit"),
    ):  # fmt: skip
        result = run("plot", model, "--features", *options, "-o", tmp_path / "figure.pdf")
        assert result.exit_code == 0, result.output
        assert f"{label} prediction" in result.stderr
        assert all(text in result.stderr for text in ("y / 2", "log p(mu = ", "CR"))
        assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_a_prediction_is_a_figure_for_each_channel_or_its_numbers(model: Path, tmp_path: Path) -> None:
    assert run("plot", model, "--features", "-o", tmp_path / "figure.png").exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["figure_CR.png", "figure_SR.png"]
    chosen = ["--channel", "SR", "--feature", "x", "--ratio", "signal", "--region", "signal: top 30%", "--blind"]
    binning = ["--bins", "x=-2:2:9", "--bins", "signal=5"]
    result = run("plot", model, "--features", *chosen, *binning, "-o", tmp_path / "numbers.json")
    assert result.exit_code == 0, result.output
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    feature, ratio = numbers["distributions"]
    assert feature["edges"][1:-1] == np.linspace(-2, 2, 9).tolist()
    assert (feature["name"], ratio["name"], feature["data"]) == ("x", "signal", None)
    assert run("plot", tmp_path / "numbers.json", "-o", tmp_path / "again.svg").exit_code == 0


def test_a_figure_without_a_name_is_called_like_what_it_shows(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("plot", model, "--features", "--channel", "CR").exit_code == 0
    assert (tmp_path / "analysis_features.pdf").exists()


def test_the_prediction_of_a_document_without_learned_channels_is_drawn(binned: Path, tmp_path: Path) -> None:
    result = run("plot", binned, "--features", "--post-fit", "--asimov", "1", "-o", tmp_path / "figure.pdf")
    assert result.exit_code == 0, result.output
    assert "0.0 / " in result.stderr  # the Asimov data are the prediction


def test_what_a_prediction_cannot_have_is_one_line(model: Path, binned: Path, tmp_path: Path) -> None:
    output = ["-o", tmp_path / "figure.png"]
    assert "no feature 'z'" in fails("plot", model, "--features", "--feature", "z", *output)
    assert "write 'top 20%'" in fails("plot", model, "--features", "--region", "best", *output)
    assert run("scan", binned, "mu", "-o", tmp_path / "scan.json").exit_code == 0
    assert "takes the JSON of neyman fit" in fails(
        "plot", model, "--features", "--fit", tmp_path / "scan.json", *output
    )
    assert run("fit", binned, "-o", tmp_path / "other.json").exit_code == 0
    assert "fit this one" in fails("plot", model, "--features", "--fit", tmp_path / "other.json", *output)
    for wrong in (["--region", "top 20%"], ["--features", "--bins", "x=y"], ["--features", "--post-fit", "--fit", "a"]):
        assert run("plot", model, *wrong, *output).exit_code == 2
    assert run("plot", input="{}").exit_code == 2  # no name to call the figure by


@pytest.mark.parametrize(
    ("command", "options"),
    [("fit", []), ("scan", ["mu"]), ("cls", []), ("upper-limit", []), ("significance", []), ("interval", []),
     ("coverage", ["--values", "1", "-n", "20", "--calibration", "asymptotics"]), ("toys", ["-n", "20", "--fit"])],
)  # fmt: skip
def test_plot_draws_whatever_a_command_gives(command: str, options: list[str], binned: Path, tmp_path: Path) -> None:
    result = run(command, binned, *options, "-o", tmp_path / "result.json")
    assert result.stderr.strip()  # its text, since the JSON is in the file
    drawn = run("plot", tmp_path / "result.json", "-o", tmp_path / "figure.png")
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_one_line(binned: Path, tmp_path: Path) -> None:
    fit = json.loads(run("fit", binned).stdout)
    edited = tmp_path / "edited.json"
    for content, message in (
        (json.dumps({**fit, "bestfit": fit["bestfit"][:1]}), "edited.json"),
        ("[" * 100_000, "not a result"),
        (json.dumps({"result": "fit"}), "not a result"),
    ):
        edited.write_text(content)
        assert message in fails("plot", edited, "-o", tmp_path / "figure.png")


def test_plot_draws_correlations_of_a_fit_only(binned: Path, tmp_path: Path) -> None:
    run("fit", binned, "-o", tmp_path / "fit.json")
    run("scan", binned, "mu", "--values", "0,1", "-o", tmp_path / "scan.json")
    assert run("plot", tmp_path / "fit.json", "-o", tmp_path / "c.png", "--correlations").exit_code == 0
    assert "only a fit" in fails("plot", tmp_path / "scan.json", "-o", tmp_path / "c.png", "--correlations")


def test_an_unknown_figure_format_is_refused_with_the_known_ones(binned: Path, tmp_path: Path) -> None:
    run("fit", binned, "-o", tmp_path / "fit.json")
    assert "'doc'; use one of" in fails("plot", tmp_path / "fit.json", "-o", tmp_path / "c.doc")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\x00", b'{"result": "fit"}'])
def test_what_is_no_result_is_not_drawn(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_bytes(content)
    assert "wrong.json: not a result" in fails("plot", tmp_path / "wrong.json", "-o", tmp_path / "x.pdf")


def test_a_document_to_be_learned_must_be_trained_first(document: Path) -> None:
    assert "first run neyman train" in fails("fit", document)


def test_an_unknown_parameter_is_refused(binned: Path) -> None:
    assert "xsecc" in fails("fit", binned, "--fix", "xsecc=1")


def test_a_document_without_observations_wants_data(binned: Path) -> None:
    binned.write_text(json.dumps({**BINNED, "observations": []}))
    assert "--asimov" in fails("fit", binned)
    assert run("fit", binned, "--asimov", "1").exit_code == 0


def test_data_and_asimov_exclude_each_other(binned: Path) -> None:
    assert run("fit", binned, "--data", binned, "--asimov", "1").exit_code == 2


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_truncated_model_file_is_refused(model: Path, tmp_path: Path, keep: float) -> None:
    content = model.read_bytes()
    (tmp_path / "cut.neyman").write_bytes(content[: int(len(content) * keep)])
    for command in (["fit"], ["inspect"], ["plot", "-o", tmp_path / "x.pdf"]):
        assert "cut.neyman" in fails(*command, tmp_path / "cut.neyman")


def test_training_refuses_a_folder_that_is_not_there_before_it_starts(document: Path, tmp_path: Path) -> None:
    assert "No such file" in fails("train", document, "-o", tmp_path / "none" / "analysis.neyman")


def test_the_same_seed_trains_the_same_model(document: Path, model: Path, tmp_path: Path) -> None:
    run("train", document, "-o", tmp_path / "again.neyman", "--seed", "0")
    first, second = (json.loads(run("fit", path).stdout)["twice_nll"] for path in (model, tmp_path / "again.neyman"))
    assert first == second


def test_an_interrupt_ends_with_130(binned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neyman.inputs.workspace import Workspace

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Workspace, "load", interrupted)
    result = run("fit", binned)
    assert (result.exit_code, result.stderr) == (130, "neyman: interrupted\n")


def test_a_mistake_of_ours_keeps_its_traceback(binned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neyman.inputs.workspace import Workspace

    def wrong(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Workspace, "load", wrong)
    assert isinstance(run("fit", binned).exception, ZeroDivisionError)


def test_a_fit_that_is_not_valid_ends_with_1_but_is_written(binned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    import neyman

    fit = neyman.fit
    monkeypatch.setattr(neyman, "fit", lambda *a, **k: dataclasses.replace(fit(*a, **k), valid=False, message="no."))
    result = run("fit", binned)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["valid"] is False
    assert result.stderr == "neyman: the fit is not valid: no.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is always full")
def test_a_full_disk_is_one_line(binned: Path) -> None:
    command = [sys.executable, "-c", "from neyman.cli.main import main; main()", "fit", str(binned)]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "neyman: standard output: No space left on device\n")


def test_a_reader_that_goes_away_is_no_error_message(binned: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "from neyman.cli.main import main; main()", "fit", str(binned)]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert result.stderr == ""
