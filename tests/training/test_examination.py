"""Diagnostics find out whether a dataset-wide ratio is right, and where not; the exact ratio passes."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import write_analysis
from torch import Tensor, nn

import neyman
from neyman import plot
from neyman.cli import inspection
from neyman.cli.main import main
from neyman.model.setwise import SetChannel
from neyman.model.sources import SimulatorSource
from neyman.networks.deepset import DeepSet
from neyman.networks.scaling import FeatureScaler
from neyman.results import SetReport, from_json
from neyman.training.examination import examine

SCALE = 6.0  # of the features: none is so far out that its logarithm is taken


def events(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    mu, rate = pars
    return rng.normal(mu, 1.0, size=(rng.poisson(rate), 1))


SIMULATOR = neyman.Simulator(
    events,
    [{"name": "mu", "inits": [0.0], "bounds": [[-2, 2]]}, {"name": "rate", "inits": [40.0], "bounds": [[20, 80]]}],
    poi="mu",
    features=["x"],
)


class Exact(nn.Module):
    """The logarithm of the likelihood of a Gaussian mean and a Poisson rate, and ways to spoil it."""

    def __init__(self, steepness: float = 1.0, shift: float = 0.0, upper: float = 0.0) -> None:
        super().__init__()
        self.steepness, self.shift, self.upper = steepness, shift, upper

    def score(self, summaries: Tensor, theta: Tensor) -> Tensor:
        mu, rate = theta.unbind(-1)
        total, number = SCALE * summaries[:, :1], summaries[:, -1:]
        mu = mu + self.shift + self.upper * (mu > 1.0) * (mu - 1.0)
        return self.steepness * (mu * total - number * mu**2 / 2 + number * rate.log() - rate)


def a_channel(head: nn.Module) -> SetChannel:
    encoder = DeepSet(FeatureScaler(torch.zeros(1), torch.full((1,), SCALE)), (4,), 2).requires_grad_(False)
    low, high = SIMULATOR.bounds.T.copy()
    head: Any = head  # with the interface of a learned one
    return SetChannel("events", "deepset", ["x"], low, high, encoder, head, (5, 120), SimulatorSource(SIMULATOR))


def examined(head: nn.Module, seed: int = 0) -> SetReport:
    channel = a_channel(head)
    model = neyman.Model(SIMULATOR.spec(), {"events": channel}, poi_name="mu")
    return examine(SetReport("events", ("x",), "deepset", ()), channel, model, seed=seed, workers=1)


@pytest.fixture(scope="module")
def exact() -> SetReport:
    return examined(Exact())


@pytest.fixture(scope="module")
def steep() -> SetReport:
    return examined(Exact(steepness=1.6))


@pytest.fixture(scope="module")
def trained() -> neyman.Model:
    torch.set_num_threads(1)
    options = {"kind": "deepset", "datasets": 6400, "fresh": 0, "steps": 100, "head_steps": 200, "networks": 1}
    return neyman.train(SIMULATOR, options, seed=1, device="cpu", workers=1)


def test_nothing_is_wrong_with_the_exact_ratio(exact: SetReport) -> None:
    # of 200 seeds, the network was called off in 2, and asymptotic intervals in 3
    assert exact.good
    assert exact.verdict.startswith("the network agrees")


def test_the_numbers_of_the_exact_ratio_are_as_expected_within_their_errors(exact: SetReport) -> None:
    everywhere = exact.calibration[0]
    for key, expected in (("slope", 1.0), ("bias", 0.0)):
        assert abs(everywhere[key] - expected) < 4 * everywhere[f"{key}_error"]
    for pair in exact.closure:
        assert abs(pair["offset"]) < 4 * pair["offset_error"]
    for region in exact.regions:  # t of a Gaussian mean is chi-square exactly, but at its bounds
        assert abs(region["below_68"] - 0.6827) < 4 * region["below_68_error"]
        assert abs(region["pull"]) < 4 * region["pull_error"]


def test_the_errors_of_slope_bias_and_offset_are_those_of_their_scatter() -> None:
    reports = [examined(Exact(), seed) for seed in range(12)]
    pulls = [
        *((r.calibration[k]["slope"] - 1.0) / r.calibration[k]["slope_error"] for r in reports for k in range(1, 5)),
        *(r.calibration[k]["bias"] / r.calibration[k]["bias_error"] for r in reports for k in range(1, 5)),
        *(pair["offset"] / pair["offset_error"] for r in reports for pair in r.closure),
    ]
    # the spread of 132 pulls is good to 6 %
    assert np.std(pulls) == pytest.approx(1.0, abs=0.25)


def test_a_ratio_that_is_too_steep_is_too_sure_of_itself_everywhere(steep: SetReport) -> None:
    assert not steep.good
    assert "the network is off, too sure of itself everywhere" in steep.verdict
    # the slope is one over the steepness
    assert steep.calibration[0]["slope"] == pytest.approx(1 / 1.6, abs=4 * steep.calibration[0]["slope_error"])


def test_asymptotic_intervals_of_a_ratio_that_is_too_steep_are_too_narrow(steep: SetReport) -> None:
    assert "asymptotic intervals are not to be trusted at mu" in steep.verdict
    assert "(too narrow): use toys" in steep.verdict


def test_a_ratio_that_is_too_flat_is_not_sure_enough() -> None:
    assert "not sure enough" in examined(Exact(steepness=0.5)).verdict


def test_a_shifted_ratio_is_biased() -> None:
    report = examined(Exact(shift=0.07))
    assert "biased" in report.verdict
    # half a standard deviation of mu at 50 events, good to 0.05; a mean over 20 to 80 events
    assert report.calibration[0]["bias"] == pytest.approx(-0.5, abs=0.2)


def test_the_place_where_a_ratio_is_wrong_is_named() -> None:
    verdict = examined(Exact(upper=0.3)).verdict
    network, _, asymptotic = verdict.partition("; asymptotic intervals")
    for part in (network, asymptotic):
        assert "mu 1 to 2" in part
        assert "-2" not in part
    assert "everywhere" not in verdict


def test_a_ratio_that_does_not_see_a_feature_is_found_out() -> None:
    class Blind(Exact):
        def score(self, summaries: Tensor, theta: Tensor) -> Tensor:
            number, rate = summaries[:, -1:], theta[..., 1]
            return number * rate.log() - rate

    report = examined(Blind())
    # it is calibrated for what it sees
    assert report.calibration[0]["slope"] == pytest.approx(1.0, abs=4 * report.calibration[0]["slope_error"])
    assert "blind to the mean of x" in report.verdict


def test_where_counts_are_small_asymptotic_intervals_are_warned_of_and_not_the_network() -> None:
    def counts(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.zeros((rng.poisson(pars[0] + 0.5), 1))

    class Counting(nn.Module):
        def score(self, summaries: Tensor, theta: Tensor) -> Tensor:
            rate = theta[..., 0] + 0.5
            return summaries[:, -1:] * rate.log() - rate

    simulator = neyman.Simulator(counts, [{"name": "mu", "inits": [1.0], "bounds": [[0, 4]]}], "mu", ["x"])
    encoder = a_channel(Exact()).encoder
    head: Any = Counting()
    low, high = simulator.bounds.T.copy()
    channel = SetChannel("events", "deepset", ["x"], low, high, encoder, head, (0, 20), SimulatorSource(simulator))
    model = neyman.Model(simulator.spec(), {"events": channel}, poi_name="mu")
    report = examine(SetReport("events", ("x",), "deepset", ()), channel, model, workers=1)
    assert not report.good
    assert report.verdict.startswith("asymptotic intervals are not to be trusted at")
    assert report.verdict.endswith("use toys")


def test_datasets_are_others_with_another_seed_and_the_same_with_the_same(exact: SetReport) -> None:
    assert examined(Exact()).to_json() == exact.to_json()
    assert examined(Exact(), seed=1).truths["statistic"] != exact.truths["statistic"]


def test_a_report_comes_back_from_json_and_draws_the_same(steep: SetReport) -> None:
    back = from_json(steep.to_json())
    assert isinstance(back, SetReport)
    assert repr(back) == repr(steep)
    assert back.to_json() == steep.to_json()
    assert len(plot.draw(back).axes) == len(plot.draw(steep).axes)


def test_a_training_is_examined_and_the_model_file_keeps_what_was_found(trained: neyman.Model, tmp_path: Path) -> None:
    (report,) = trained.report
    assert isinstance(report, SetReport)
    assert report.verdict
    trained.save(tmp_path / "model.neyman")
    again = neyman.Model.load(tmp_path / "model.neyman")
    assert repr(again.report[0]) == repr(report)
    found = inspection.of_model(again)
    assert report.verdict in inspection.text(found)
    assert found["training"][0]["calibration"][0]["slope"] == report.calibration[0]["slope"]


def test_a_bad_network_is_warned_of_in_training_and_inspection(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        report = examined(Exact(steepness=2.0))
    assert report.verdict in caplog.text
    model = neyman.Model(SIMULATOR.spec(), {"events": a_channel(Exact())}, poi_name="mu", report=[report])
    assert f"warning: events: {report.verdict}" in inspection.text(inspection.of_model(model))


def test_a_trained_network_whose_head_is_perturbed_is_off(trained: neyman.Model) -> None:
    channel = trained.learned["events"]
    assert isinstance(channel, SetChannel)
    generator = torch.Generator().manual_seed(0)
    spoiled = copy.deepcopy(channel)
    with torch.no_grad():
        for weight in spoiled.head.parameters():
            weight += (
                0.3 * weight.std(correction=0) * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            )
    spoiled = spoiled.with_simulator(SIMULATOR)
    model = neyman.Model(SIMULATOR.spec(), {"events": spoiled}, poi_name="mu")
    report = examine(SetReport("events", ("x",), "deepset", ()), spoiled, model, workers=1)
    assert "the network is off" in report.verdict


def test_a_simulator_without_a_parameter_of_interest_has_no_test_statistic() -> None:
    channel = a_channel(Exact())
    model = neyman.Model(SIMULATOR.spec(), {"events": channel})
    report = examine(SetReport("events", ("x",), "deepset", ()), channel, model, workers=1)
    assert (report.poi, report.regions, report.axis) == ("", (), "mu")
    assert "t at the truth" not in repr(report)
    plot.training(report).canvas.draw()


def test_a_failure_of_the_diagnostics_does_not_lose_the_training() -> None:
    def fails(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise RuntimeError("no more licences")

    broken = neyman.Simulator(fails, SIMULATOR.parameters, poi="mu", features=["x"])
    channel = a_channel(Exact()).with_simulator(broken)
    model = neyman.Model(SIMULATOR.spec(), {"events": channel}, poi_name="mu")
    report = examine(SetReport("events", ("x",), "deepset", ()), channel, model, workers=1)
    assert not report.good
    assert "no more licences" in report.verdict


def test_a_document_with_a_dataset_wide_channel_is_trained_examined_inspected_and_drawn(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    document = write_analysis(tmp_path, events=2000)
    text = document.read_text()
    text = text.replace(
        "{hidden: [16, 16], folds: 3, epochs: 6, minimum_steps: 300}",
        "{kind: deepset, datasets: 1600, steps: 20, head_steps: 20}",
    )
    bounds = (
        "- {name: mu, bounds: [[0, 2]], inits: [1.0]}\n        - {name: norm, bounds: [[0.8, 1.2]], inits: [1.0]}\n"
    )
    document.write_text(text.replace("- {name: lumi, aux", f"{bounds}        - {{name: lumi, aux"))
    model, figure, runner = tmp_path / "model.neyman", tmp_path / "training.pdf", CliRunner()
    trained = runner.invoke(main, ["train", str(document), "-o", str(model), "--device", "cpu"])
    assert trained.exit_code == 0, trained.output
    report = neyman.Model.load(model).report[-1]
    assert isinstance(report, SetReport)
    assert report.verdict in trained.stderr
    assert report.axis == "share of signal"
    assert {region["name"] for region in report.regions} == {"mu", "number of events"}
    assert report.verdict in runner.invoke(main, ["inspect", str(model)]).stdout
    assert runner.invoke(main, ["plot", str(model), "-o", str(figure)]).exit_code == 0
    assert figure.read_bytes().startswith(b"%PDF")
