"""Checks of posteriors pass those that are exact and find those that are wrong, also where only some are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neyman.results import PosteriorReport, from_json
from neyman.training import rank_checks
from neyman.training.posterior_checks import Quantity, posterior_report

SIGMA = np.array([1.0, 2.0])  # of an event about the parameters, whose prior is N(0, 3)
DATASETS, DRAWS = 2000, 255

Array = np.ndarray[Any, np.dtype[np.float64]]


class Problem:
    """Datasets of 1 to 200 events from N(theta, SIGMA), and the exact posteriors of theta, which are normal."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.theta = self.rng.normal(0.0, 3.0, size=(DATASETS, 2))
        self.numbers = np.exp(self.rng.uniform(0.0, np.log(201.0), size=(DATASETS, 1))).astype(int)
        self.x = self.rng.normal(self.theta, SIGMA / np.sqrt(self.numbers))
        self.mean, self.width = self.posterior(self.x, self.numbers)

    def posterior(self, x: Array, numbers: Array) -> tuple[Array, Array]:
        variance = 1.0 / (1.0 / 9.0 + numbers / SIGMA**2)
        return variance * numbers * x / SIGMA**2, np.sqrt(variance)

    def report(
        self, mean: Array | None = None, width: Array | None = None, noise: Array | None = None
    ) -> PosteriorReport:
        shape = (DATASETS, DRAWS, 2)
        z = self.rng.normal(size=shape) if noise is None else noise
        mean, width = (
            np.broadcast_to(exact if other is None else other, (DATASETS, 2))
            for exact, other in ((self.mean, mean), (self.width, width))
        )
        draws = mean[:, None] + width[:, None] * z
        again = self.rng.normal(draws[:, 0], SIGMA / np.sqrt(self.numbers))
        values, replicated = (np.concatenate([self.numbers, x], axis=1) for x in (self.x, again))
        names = ["number of events", "mean of x", "mean of y"]
        return posterior_report(["a", "b"], self.theta, draws, names, values, replicated=replicated)


@pytest.fixture
def problem() -> Problem:
    return Problem(seed=1)


def test_an_exact_posterior_raises_no_alarm_in_a_dozen_simulations() -> None:
    # the alarm is set for one in a hundred: two or more of twelve have a probability of 0.6 %
    verdicts = [Problem(seed).report() for seed in range(2, 14)]
    assert sum(not report.good for report in verdicts) <= 1
    assert all(report.verdict.startswith("calibrated within") for report in verdicts if report.good)


def test_probabilities_of_exact_posteriors_are_uniform_whatever_the_number_of_draws() -> None:
    rng = np.random.default_rng(3)
    for draws in (1, 9, 100):
        x = rng.normal(size=(5000, draws + 1, 1))
        assert rank_checks.uniformity(rank_checks.pits(x[:, 0], x[:, 1:], rng)[:, 0]) > 1e-3
        # and of parameters that take few values, where most draws are equal to the truth
        x = np.floor(2 * x)
        assert rank_checks.uniformity(rank_checks.pits(x[:, 0], x[:, 1:], rng)[:, 0]) > 1e-3


def test_a_posterior_that_is_too_narrow_by_a_tenth_is_found_with_its_parameter_and_size(problem: Problem) -> None:
    report = problem.report(width=problem.width * np.array([1.0, 0.9]))
    assert not report.good
    assert report.verdict.startswith("too narrow by ")
    assert "% for b everywhere; do not trust it" in report.verdict
    found = next(one for one in report.calibration if (one["name"], one["axis"]) == ("b", ""))
    assert found["width"] == pytest.approx(1.0 / 0.9, abs=3 * found["width_error"])


def test_a_posterior_that_is_too_wide_by_a_tenth_is_found(problem: Problem) -> None:
    assert "too wide by " in problem.report(width=1.1 * problem.width).verdict


def test_a_biased_posterior_is_found_with_its_direction(problem: Problem) -> None:
    report = problem.report(mean=problem.mean + 0.2 * problem.width * np.array([1.0, 0.0]))
    assert report.verdict.startswith("too high by 0.")
    assert "sigma for a everywhere" in report.verdict


def test_a_posterior_that_is_right_on_average_and_wrong_in_small_and_large_datasets_is_found(problem: Problem) -> None:
    narrow = np.where(problem.numbers > np.median(problem.numbers), 0.85, 1.18)
    report = problem.report(width=narrow * problem.width)
    # neither ranks of all datasets nor TARP see it
    assert all(one["p"] > 1e-3 for one in report.joint)
    assert "too narrow by " in report.verdict
    assert "too wide by " in report.verdict
    assert "at number of events" in report.verdict


def test_a_posterior_that_is_wrong_for_large_values_of_its_parameter_is_found(problem: Problem) -> None:
    report = problem.report(width=problem.width * np.where(problem.mean > 0.0, 0.85, 1.18))
    assert "at posterior mean of a" in report.verdict


def test_the_prior_in_the_place_of_the_posterior_is_found_though_its_ranks_are_uniform(problem: Problem) -> None:
    report = problem.report(mean=np.zeros(2), width=np.full(2, 3.0))
    assert all(one["p"] > 1e-3 for one in report.joint)
    assert "sigma r.m.s. for a, as the mean of x tells" in report.verdict


def test_a_posterior_that_does_not_see_half_of_the_events_is_found_though_its_ranks_are_uniform(
    problem: Problem,
) -> None:
    half = np.maximum(problem.numbers // 2, 1)
    rest = SIGMA * np.sqrt(1.0 / half - 1.0 / problem.numbers)
    mean, width = problem.posterior(problem.rng.normal(problem.x, rest), half)
    report = problem.report(mean, width)
    assert all(one["p"] > 1e-3 for one in report.joint)
    assert "as the mean of x tells" in report.verdict


def test_a_wrong_correlation_is_found_though_every_parameter_by_itself_is_right(problem: Problem) -> None:
    noise = problem.rng.normal(size=(DATASETS, DRAWS, 2))
    noise[:, :, 1] = 0.5 * noise[:, :, 0] + 0.75**0.5 * noise[:, :, 1]
    assert problem.report(noise=noise).verdict.startswith("wrong in the correlation of a and b")


def test_a_posterior_of_a_wrong_shape_is_found_though_mean_and_width_are_right(problem: Problem) -> None:
    noise = (problem.rng.gamma(4.0, size=(DATASETS, DRAWS, 2)) - 4.0) / 2.0
    assert not problem.report(noise=noise).good


def test_replicated_datasets_show_in_what_a_posterior_is_wrong(problem: Problem) -> None:
    report = problem.report(mean=problem.mean + np.array([2.0, 0.0]))
    shifts = {one["statistic"]: one for one in report.predictive}
    assert shifts["mean of x"]["p"] < 1e-6
    assert shifts["mean of x"]["shift"] > 0.0
    assert shifts["mean of y"]["p"] > 1e-3
    assert "datasets simulated from it have a mean of x" in report.verdict


def test_what_is_local_to_an_event_is_checked_by_rank_as_well(problem: Problem) -> None:
    rng, rows = problem.rng, np.arange(500)
    z = rng.normal(size=500)
    draws = problem.mean[:, None] + problem.width[:, None] * rng.normal(size=(DATASETS, DRAWS, 2))

    def report(width: float) -> PosteriorReport:
        own = Quantity("z", rows, z, width * rng.normal(size=(500, DRAWS)))
        return posterior_report(["a", "b"], problem.theta, draws, ["number of events"], problem.numbers, own=[own])

    right, wrong = report(1.0), report(0.7)
    assert right.good
    assert right.names == ("a", "b", "z")
    assert right.ranks.shape == (DATASETS, 3)
    assert set(right.ranks[500:, 2]) == {-1}
    assert "too narrow by " in wrong.verdict
    assert "for z everywhere" in wrong.verdict


def test_a_report_prints_goes_to_json_and_is_drawn(problem: Problem) -> None:
    report = problem.report(width=0.9 * problem.width)
    assert repr(from_json(report.to_json())) == repr(report)
    text = repr(report)
    for part in ("calibration of a", "number of events 1 |", "random points, TARP", report.verdict):
        assert part in text
    labels = [ax.get_xlabel() for ax in report.plot().axes]
    assert labels == [
        "rank of the truth among the draws",
        "level of the credible interval [%]",
        "level of regions about random points, TARP [%]",
        "number of events",
    ]
