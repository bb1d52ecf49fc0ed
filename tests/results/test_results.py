"""Results print as tables and are read by the names of their parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from neyman.exceptions import InvalidParameter
from neyman.results import (
    CoverageResult,
    FitResult,
    IntervalResult,
    LimitResult,
    LocalsResult,
    PosteriorResult,
    ScanResult,
    SignificanceResult,
    ToysResult,
    TrainingReport,
    from_json,
)


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


def test_a_training_report_without_finite_losses_prints() -> None:
    report = a_report()
    report.classifiers[0]["validation_loss"] = [[math.nan], []]
    assert "validation loss nan" in repr(report)


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


def test_a_fit_is_read_by_name() -> None:
    covariance = np.array([[0.09, -0.12, 0.0], [-0.12, 1.0, 0.0], [0.0, 0.0, 0.0]])
    fit = a_fit(covariance=covariance, uncertainty=np.array([0.3, 1.0, 0.0]))
    assert dict(fit) == {"mu": 1.23456, "alpha<b>": -0.3, "lumi": 1.0}
    assert list(fit) == list(fit.names)
    assert len(fit) == 3
    assert "mu" in fit
    assert "nu" not in fit
    assert fit.error("mu") == 0.3
    assert fit.correlation("mu", "alpha<b>") == fit.correlation("alpha<b>", "mu") == pytest.approx(-0.4)
    np.testing.assert_allclose(fit.correlations, [[1.0, -0.4, 0.0], [-0.4, 1.0, 0.0], [0.0, 0.0, 0.0]])
    for ask in (lambda: fit.error("lumy"), lambda: fit.correlation("mu", "lumy"), lambda: fit.index("lumy")):
        with pytest.raises(InvalidParameter, match=r"the fit has no parameter 'lumy'; did you mean 'lumi'\?"):
            ask()


def test_toys_give_the_valid_best_fits_by_name() -> None:
    bestfit = np.array([[1.0, 0.1], [9.0, 0.9], [2.0, 0.2]])
    toys = some_toys(bestfit=bestfit, twice_nll=np.zeros(3), fitted=np.array([True, False, True]), valid=False)
    np.testing.assert_array_equal(toys["mu"], [1.0, 2.0])
    assert set(dict(toys)) == {"mu", "norm"}
    with pytest.raises(InvalidParameter, match=r"the toys has no parameter 'nrom'; did you mean 'norm'\?"):
        toys["nrom"]
    with pytest.raises(InvalidParameter, match="the toys were not fitted"):
        some_toys()["mu"]


def test_toys_print_as_a_table_whether_they_were_fitted_or_not() -> None:
    assert repr(some_toys()).splitlines() == [
        "3 toys from the model",
        "  parameter  true",
        "  mu            1",
        "  norm        0.5",
    ]
    fitted = some_toys(bestfit=np.full((3, 2), 2.0), twice_nll=np.zeros(3), fitted=np.array([True, True, False]))
    assert repr(fitted).splitlines()[0] == "3 toys from the model, fitted (2 valid, 0 by iminuit)"
    none_valid = some_toys(bestfit=np.full((3, 2), np.nan), twice_nll=np.full(3, np.nan), fitted=np.zeros(3, bool))
    assert "(0 valid" in repr(none_valid)


def test_a_scan_has_its_axes_by_name() -> None:
    scan = ScanResult(("a", "b"), (np.arange(3.0), np.arange(2.0)), np.ones((3, 2)), (0.5, 1.0), (0.1, 0.2))
    np.testing.assert_array_equal(scan["b"], [0.0, 1.0])
    assert ScanResult("mu", np.arange(4.0), np.ones(4), 1.0, 0.2)["mu"].shape == (4,)
    assert "0.50         0.10" in repr(scan)


def test_a_coverage_has_the_truths_by_name() -> None:
    one = np.array([0.7])
    coverage = CoverageResult(
        ("mu", "norm"), np.array([[2.0, 0.5]]), 0.68, one, 0.1 * one, np.array([[0.6, 0.8]]), np.array([70]),
        np.array([100]), ("covers",), 0.0, "mu", "tmu", "toys",
    )  # fmt: skip
    assert {name: coverage[name].tolist() for name in coverage} == {"mu": [2.0], "norm": [0.5]}
    assert coverage.passed


def test_a_significance_prints_its_p_value_and_the_expected_one_where_it_is_known() -> None:
    result = SignificanceResult("mu", 5.29, 0.0107, 0.0004, 2.3, 0.015, 3.2, 0.8, "toys", 20_000)
    assert repr(result) == (
        "significance of mu: 2.300 +/- 0.015 standard deviations (toys), p-value 0.01070 +/- 0.00040; "
        "expected at mu = 1: 3.2"
    )
    assert "expected" not in repr(dataclasses.replace(result, expected=math.nan))
    assert "<td>2.300 +/- 0.015</td>" in result._repr_html_()


def some_toys(**changes: object) -> ToysResult:
    fields = {
        "names": ("mu", "norm"), "pars": np.array([1.0, 0.5]), "source": "model", "seed": 4,
        "main": np.array([[3.0], [4.0], [5.0]]), "auxdata": np.empty((3, 0)), "bestfit": np.empty((0, 2)),
        "twice_nll": np.empty(0), "fitted": np.empty(0, dtype=bool),
    }  # fmt: skip
    return ToysResult(**{**fields, **changes})  # type: ignore[arg-type]


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


def test_an_empty_interval_says_why() -> None:
    assert repr(an_interval(intervals=(), errors=(), message="nothing fits")).endswith(
        "empty, best fit 0.5; nothing fits"
    )


def a_posterior(**changes: object) -> PosteriorResult:
    draws = np.random.default_rng(0).normal([1.0, -0.3, 2.0], [0.3, 0.1, 0.0], size=(1000, 3))
    fields = {
        "names": ("mu", "alpha", "held"), "draws": draws, "labels": ("free", "constrained", "fixed"), "chains": 4,
        "r_hat": np.array([1.001, 1.002, math.nan]), "effective": np.array([912.3, 700.0, math.nan]),
        "effective_tail": np.array([800.0, 650.0, math.nan]), "message": "converged.",
    }  # fmt: skip
    return PosteriorResult(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_posterior_prints_a_line_per_parameter_with_what_its_chains_say() -> None:
    assert repr(a_posterior()).splitlines() == [
        "posterior: 1000 draws of 4 chains, converged.",
        "  parameter    mean    std  median     68 % interval  R-hat  effective draws",
        "  mu           0.97   0.30    0.96      0.68 to 1.26  1.001              912",
        "  alpha      -0.297  0.097  -0.300  -0.391 to -0.197  1.002              700",
        "  held            2  fixed",
    ]
    assert "NOT VALID" in repr(a_posterior(valid=False))


def test_moments_quantiles_and_intervals_of_a_posterior_are_those_of_its_draws() -> None:
    posterior = a_posterior()
    draws = posterior.draws
    np.testing.assert_array_equal(posterior["alpha"], draws[:, 1])
    np.testing.assert_allclose(posterior.mean, draws.mean(axis=0))
    np.testing.assert_allclose(posterior.std, draws.std(axis=0))
    np.testing.assert_allclose(posterior.covariance, np.cov(draws.T, ddof=0), atol=1e-15)
    np.testing.assert_allclose(posterior.quantile([0.1, 0.9]), np.quantile(draws, [0.1, 0.9], axis=0))
    assert posterior.interval("mu", 0.9) == pytest.approx(np.quantile(draws[:, 0], [0.05, 0.95]))
    assert list(dict(posterior)) == ["mu", "alpha", "held"]
    assert len(posterior) == 1000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda p: p["alhpa"], "did you mean 'alpha'"),
        (lambda p: p.quantile(1.2), "from 0 to 1"),
        (lambda p: p.interval("mu", 0.05), "did you mean 0.95"),
    ],
)
def test_what_a_posterior_does_not_have_is_refused(wrong: Callable[[PosteriorResult], object], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        wrong(a_posterior())


def test_a_posterior_without_draws_prints_and_has_no_moments() -> None:
    empty = a_posterior(draws=np.empty((0, 3)))
    assert "0 draws" in repr(empty)
    with pytest.raises(InvalidParameter, match="the posterior has no draws"):
        _ = empty.mean


def test_arviz_gets_the_draws_chain_by_chain() -> None:
    posterior = a_posterior()
    data = posterior.to_arviz()
    assert data.posterior["mu"].shape == (4, 250)
    np.testing.assert_array_equal(np.ravel(data.posterior["alpha"]), posterior["alpha"])


def test_local_parameters_have_draws_and_intervals_for_every_event() -> None:
    draws = np.random.default_rng(0).normal([[0.0, 1.0], [5.0, 2.0], [9.0, 3.0]], 0.5, size=(400, 3, 2))
    result = LocalsResult(("z", "w"), draws)
    np.testing.assert_array_equal(result["w"], draws[:, :, 1])
    np.testing.assert_allclose(result.mean, draws.mean(axis=0))
    np.testing.assert_allclose(result.interval("z", 0.9).T, np.quantile(draws[:, :, 0], [0.05, 0.95], axis=0))
    assert result.to_arviz().posterior["z"].shape == (1, 400, 3)
    assert "posterior of what is local to 3 events: 400 draws" in repr(result)
    assert "0 events" in repr(LocalsResult(("z",), np.empty((400, 0, 1))))


def test_a_fit_shows_what_the_finite_simulation_adds():
    fit = a_fit(simulation=np.array([0.05, 0.2, 0.0]))
    assert "(simulation 0.05)" in repr(fit)
    header, rows = fit.table()[1:]
    assert rows[0][header.index("simulation")] == "0.05"
    assert from_json(fit.to_json()).simulation == pytest.approx([0.05, 0.2, 0.0])
