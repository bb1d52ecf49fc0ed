"""Coverage: the exact one of a counting experiment, nuisance parameters, verdicts, bad input."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import scipy.stats

import neyman
from neyman.exceptions import InvalidParameter, NeymanError
from neyman.inference.statistics import statistic_named
from neyman.results import CoverageResult, from_json

BACKGROUND = 3.0


def counting() -> neyman.Model:
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [BACKGROUND], "modifiers": []},
    ]
    parameters = [{"name": "mu", "bounds": [[0.0, 30.0]], "inits": [1.0]}]
    return neyman.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}, {}, poi_name="mu")


def with_nuisance() -> neyman.Model:
    spec = pyhf.simplemodels.uncorrelated_background([6.0], [9.0], [3.0]).spec
    return neyman.Model(spec, {}, poi_name="mu")


def exact(mu: float, level: float, calibration: str, signal: float = 1.0, background: float = BACKGROUND) -> float:
    """Return the coverage of the counting experiment, by adding up the counts whose interval holds the truth."""
    counts = np.arange(100)
    probability = scipy.stats.poisson.pmf(counts, signal * mu + background)
    best = np.maximum(counts - background, 0.0) / signal
    logs = [scipy.stats.poisson.logpmf(counts, signal * mean + background) for mean in (best, mu)]
    t = statistic_named("tmu_tilde").of_fits(mu, best, -2 * logs[0], -2 * logs[1])
    if calibration == "toys":
        accepted = np.array([probability[t >= value - 1e-9].sum() > 1 - level for value in t])
    else:
        asimov = 2 * (scipy.stats.poisson.logpmf(3, BACKGROUND) - scipy.stats.poisson.logpmf(3, mu + BACKGROUND))
        accepted = t <= statistic_named("tmu_tilde").critical(level, float(np.sqrt(asimov)))
    return float(probability[accepted].sum())


@pytest.mark.parametrize("calibration", ["toys", "asymptotics"])
def test_the_coverage_of_a_counting_experiment_is_the_exact_one(calibration: str) -> None:
    truths = [{"mu": mu} for mu in (0.0, 0.7, 2.1, 4.0)]
    result = neyman.coverage(counting(), truths, 0.9, calibration, n_toys=2000, seed=2)
    expected = np.array([exact(truth["mu"], 0.9, calibration) for truth in truths])
    # three binomial standard deviations of 2000 toys, at most 2 %: four truths all agree with a chance of 99 %
    assert np.all(np.abs(result.coverage - expected) <= 3.0 * np.sqrt(expected * (1.0 - expected) / 2000))
    np.testing.assert_array_equal(result.coverage, result.covered / result.toys)
    assert np.all((result.intervals[:, 0] < result.coverage) & (result.coverage < result.intervals[:, 1]))


def test_toys_cover_where_the_asymptotic_formulas_do_not() -> None:
    assert exact(4.0, 0.9, "asymptotics") < 0.87
    toys, formulas = (neyman.coverage(counting(), [[4.0]], 0.9, c, n_toys=2000) for c in ("toys", "asymptotics"))
    assert toys.passed
    assert formulas.verdicts == ("undercovers",)
    assert "failed" in repr(formulas)
    assert neyman.coverage(counting(), [[4.0]], 0.9, "asymptotics", n_toys=2000, tolerance=0.08).passed


def test_with_nuisance_parameters_each_toy_is_calibrated_at_its_own_best_fit() -> None:
    truths = [{"mu": 0.0, "uncorr_bkguncrt[0]": 1.2}, {"mu": 1.0}]
    result = neyman.coverage(with_nuisance(), truths, n_toys=300, n_calibration=200)
    assert result.passed
    assert result.truths.tolist() == [[0.0, 1.2], [1.0, 1.0]]
    # three binomial standard deviations of 300 toys, a chance of 0.3 %: 60 to 76 %
    assert np.all(np.abs(result.coverage - 0.68) < 3.0 * np.sqrt(0.68 * 0.32 / 300))


def test_the_executor_the_checkpoint_and_repetition_change_nothing(tmp_path: Path) -> None:
    options: dict[str, Any] = {"n_toys": 60, "n_calibration": 200, "seed": 4}
    first = neyman.coverage(with_nuisance(), [{"mu": 1.0}], **options, checkpoint=tmp_path / "toys.npz")
    with ThreadPoolExecutor(2) as executor:
        second = neyman.coverage(with_nuisance(), [{"mu": 1.0}], **options, executor=executor)
    third = neyman.coverage(with_nuisance(), [{"mu": 1.0}], **options, checkpoint=tmp_path / "toys.npz")
    assert first.to_json() == second.to_json() == third.to_json()


@pytest.mark.parametrize("model", [counting(), with_nuisance()], ids=["shared toys", "toys of its own"])
@pytest.mark.parametrize("calibration", ["toys", "asymptotics"])
def test_a_run_continued_with_other_numbers_of_toys_is_a_fresh_one(
    model: neyman.Model, calibration: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"calibration": calibration, "n_calibration": 100, "seed": 3}
    results = {}
    for n_toys in (60, 110):  # the first batch is not full at first
        results[n_toys] = neyman.coverage(model, [{"mu": 1.0}], n_toys=n_toys, **options, checkpoint=tmp_path / "toys")
        fresh = neyman.coverage(model, [{"mu": 1.0}], n_toys=n_toys, **options)
        assert results[n_toys].to_json() == fresh.to_json()
        assert results[n_toys].toys.tolist() == [n_toys]


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    samples = [{"name": "signal", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]}]
    models = [
        neyman.Model(
            {"channels": [{"name": "SR", "samples": [*samples, {"name": "b", "data": [b], "modifiers": []}]}]},
            {},
            poi_name="mu",
        )
        for b in (3.0, 9.0)
    ]
    neyman.coverage(models[0], [{"mu": 1.0}], n_toys=50, n_calibration=100, checkpoint=tmp_path / "toys.npz")
    with pytest.raises(NeymanError, match=r"toys\.npz: a checkpoint of other toys"):
        neyman.coverage(models[1], [{"mu": 1.0}], n_toys=50, n_calibration=100, checkpoint=tmp_path / "toys.npz")


def test_a_fixed_parameter_is_held_in_all_fits() -> None:
    fixed = {"uncorr_bkguncrt[0]": 1.0}
    result = neyman.coverage(with_nuisance(), [{"mu": 1.0}], n_toys=1000, fixed=fixed)
    expected = exact(1.0, 0.68, "toys", signal=6.0, background=9.0)
    assert abs(result.coverage[0] - expected) < 3.0 * np.sqrt(expected * (1.0 - expected) / 1000)  # a chance of 0.3 %
    with pytest.raises(InvalidParameter, match="but the fits hold it at 1"):
        neyman.coverage(with_nuisance(), [{"mu": 1.0, "uncorr_bkguncrt[0]": 1.2}], fixed=fixed)


def test_a_coverage_prints_as_a_table_and_comes_back_from_json() -> None:
    result = neyman.coverage(counting(), [[0.0], [3.0]], n_toys=50)
    lines = repr(result).splitlines()
    assert lines[0] == "coverage of the 68 % interval on mu (tmu_tilde, toys): passed"
    assert len(lines) == 4
    again = from_json(result.to_json())
    assert isinstance(again, CoverageResult)
    assert repr(again) == repr(result)
    assert "<td>" in result._repr_html_()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"truths": []}, InvalidParameter, "rows of 1 parameters"),
        ({"truths": [[1.0, 2.0]]}, InvalidParameter, "rows of 1 parameters"),
        ({"truths": [{"nu": 1.0}]}, InvalidParameter, "no parameter nu"),
        ({"truths": [{"mu": -1.0}]}, InvalidParameter, "mu = -1, outside its bounds"),
        ({"truths": [[float("nan")]]}, InvalidParameter, "mu = nan"),
        ({"level": 90}, InvalidParameter, r"between 0\.5 and 1"),
        ({"n_toys": 0}, InvalidParameter, "n_toys is 0"),
        ({"n_calibration": -1}, InvalidParameter, "n_calibration is -1"),
        ({"test_stat": "t"}, InvalidParameter, "choose from tmu, tmu_tilde"),
        ({"calibration": "wilks"}, InvalidParameter, "'toys', 'quantile' or 'asymptotics'"),
        ({"nuisance": "best"}, InvalidParameter, "it must be 'profile' or 'worst'"),
        ({"nuisance": "worst", "calibration": "asymptotics"}, InvalidParameter, "throws none: give calibration='toys'"),
        ({"source": "data"}, InvalidParameter, "'simulation' or 'model'"),
        ({"fixed": {"mu": 1.0}}, InvalidParameter, "mu is fixed"),
    ],
)
def test_wrong_arguments_get_one_line(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        neyman.coverage(counting(), **{"truths": [[1.0]], **options})
    assert "\n" not in str(caught.value)
