"""Results print as tables, go to JSON and come back the same."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from neyman.exceptions import InvalidParameter, NeymanError
from neyman.results import FitResult, IntervalResult, LimitResult, ScanResult, TrainingReport, from_json


def a_fit(**changes: object) -> FitResult:
    fields = {
        "names": ("mu", "alpha<b>", "lumi"),
        "bestfit": np.array([1.23456, -0.3, 1.0]),
        "uncertainty": np.array([0.3141, 0.98, 0.0]),
        "covariance": np.diag([0.3141**2, 0.98**2, 0.0]),
        "twice_nll": 12.5,
        "minos": {"mu": (-0.30, 0.33)},
        "valid": True,
        "message": "converged.",
        "labels": ("free", "constrained", "fixed"),
        "constraints": {"alpha<b>": (0.0, 1.0)},
    }
    return FitResult(**{**fields, **changes})  # type: ignore[arg-type]


def a_report() -> TrainingReport:
    cell = {
        "feature": "x", "class": "signal", "edges": [0, 1, 2], "reference": [5.0, 5.0],
        "reweighted": [7.0, 3.0], "target": [6.0, 4.0], "error": [1.0, 0.5],
    }  # fmt: skip
    classifier = {
        "name": "samples", "classes": ["signal", "background"], "seconds": 3.0, "best_epoch": [1, 0],
        "train_loss": [[0.7, 0.6, 0.5], [0.7, 0.6]], "validation_loss": np.array([[0.7, 0.65], [0.61, 0.7]]),
        "calibration": {"signal": {"predicted": [0.2, 0.8], "observed": [0.25, math.nan], "error": [0.1, 0.1]}},
        "reweighting": [cell],
    }  # fmt: skip
    return TrainingReport("SR", ("x",), (classifier,))


def test_a_fit_comes_back_from_json() -> None:
    fit = a_fit()
    back = from_json(fit.to_json())
    assert isinstance(back, FitResult)
    assert (back.names, back.minos, back.labels) == (fit.names, fit.minos, fit.labels)
    assert back.constraints == fit.constraints
    np.testing.assert_array_equal(back.covariance, fit.covariance)


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4)])
def test_a_scan_of_two_parameters_comes_back_from_json(sizes: tuple[int, int]) -> None:
    axes = (np.linspace(0, 1, sizes[0]), np.linspace(2, 3, sizes[1]))
    scan = ScanResult(("a", "b"), axes, np.ones(sizes), (0.5, 2.5), (0.1, 0.2))
    back = from_json(scan.to_json())
    assert isinstance(back, ScanResult)
    assert back.name == ("a", "b")
    assert back.delta_twice_nll.shape == sizes
    for axis, original in zip(back.values, axes, strict=True):
        np.testing.assert_array_equal(axis, original)


def test_numbers_that_are_not_finite_become_null_and_come_back_as_nan() -> None:
    scan = ScanResult("mu", np.array([0.0, 1.0]), np.array([np.inf, 0.0]), math.nan, 0.1)
    text = scan.to_json()
    assert json.loads(text)["delta_twice_nll"] == [None, 0.0]
    back = from_json(text)
    assert isinstance(back, ScanResult)
    assert np.isnan(back.delta_twice_nll[0])
    assert math.isnan(back.bestfit)  # type: ignore[arg-type]


def test_a_training_report_comes_back_from_json() -> None:
    back = from_json(a_report().to_json())
    assert isinstance(back, TrainingReport)
    assert back.classifiers[0]["train_loss"] == [[0.7, 0.6, 0.5], [0.7, 0.6]]
    assert back.classifiers[0]["calibration"]["signal"]["observed"] == [0.25, None]
    assert repr(back) == repr(a_report())


def test_a_fit_prints_one_aligned_line_per_parameter() -> None:
    assert repr(a_fit()).splitlines() == [
        "fit: converged. -2 log L = 12.5000",
        "  mu       =  1.23 +/- 0.31  (MINOS -0.30 +0.33)",
        "  alpha<b> = -0.30 +/- 0.98",
        "  lumi     =     1 (fixed)",
    ]


def test_the_table_for_notebooks_escapes_names() -> None:
    html = a_fit()._repr_html_()
    assert "alpha&lt;b&gt;" in html
    assert "alpha<b>" not in html


def test_a_limit_prints_its_confidence_level_and_band() -> None:
    expected = np.array([0.5, 0.7, 1.0, 1.4, 1.9])
    limit = LimitResult("mu", 0.95, 1.25, expected, np.array([0.0, 2.0]), np.ones(2), np.ones((2, 5)))
    assert repr(limit) == ("95 % CLs upper limit on mu: observed 1.25, expected 1 (68 %: 0.7 to 1.4, 95 %: 0.5 to 1.9)")
    assert "<td>1.25</td>" in limit._repr_html_()


def test_a_training_report_prints_epochs_loss_and_closure() -> None:
    text = repr(a_report())
    assert "2 folds, best epochs 2, 1, validation loss 0.6300" in text
    assert "signal 5/2" in text  # chi-squared (1/1)^2 + (1/0.5)^2 over two bins


def test_an_unknown_parameter_of_a_fit_is_named_with_the_nearest() -> None:
    assert a_fit()["mu"] == pytest.approx(1.23456)
    with pytest.raises(InvalidParameter, match="'lumy'; did you mean 'lumi'"):
        a_fit()["lumy"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"result": "fit"}', '{"result": "limit", "wrong": 1}'])
def test_what_is_not_a_result_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(NeymanError, match="not a result") as caught:
        from_json(text)
    assert "\n" not in str(caught.value)


def an_interval(**changes: object) -> IntervalResult:
    points = np.array([0.0, 1.0, 2.0])
    fields = {
        "name": "mu", "level": 0.68, "intervals": ((0.0, 1.234567),), "errors": ((0.0, 0.0123),), "scan": points,
        "statistic": points, "critical": points, "critical_errors": points, "p_values": points, "p_errors": points,
        "toys": np.array([500, 500, 500]), "calibration": "toys", "test_stat": "tmu_tilde", "bestfit": 0.5,
    }  # fmt: skip
    return IntervalResult(**{**fields, **changes})  # type: ignore[arg-type]


def test_an_interval_prints_its_ends_with_their_monte_carlo_errors() -> None:
    title = "68 % confidence interval on mu (tmu_tilde, toys)"
    assert repr(an_interval()) == f"{title}: [0, 1.235 +/- 0.012], best fit 0.5"
    two = an_interval(intervals=((0.0, 1.0), (2.0, 3.0)), errors=((0.0, 0.1), (0.1, 0.1)))
    assert repr(two) == f"{title}: [0, 1.00 +/- 0.10] and [2.00 +/- 0.10, 3.00 +/- 0.10], best fit 0.5"


@pytest.mark.parametrize("intervals", [(), ((0.5, 1.0),), ((0.0, 0.5), (0.7, 1.0))])
def test_an_interval_of_any_number_of_pieces_comes_back_from_json(intervals: tuple[tuple[float, float], ...]) -> None:
    back = from_json(an_interval(intervals=intervals, errors=intervals).to_json())
    assert isinstance(back, IntervalResult)
    assert back.intervals == intervals


def test_an_empty_interval_says_why() -> None:
    assert repr(an_interval(intervals=(), errors=(), message="nothing fits")).endswith(
        "empty, best fit 0.5; nothing fits"
    )
