"""Calibration of many log-ratios at once: the optimality condition, and what it makes of a biased log-ratio."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from neyman.model.log_ratio_calibration import LabelledLogRatios, fit_log_ratios


def calibrated(part: LabelledLogRatios, coefficients: np.ndarray) -> np.ndarray:
    """Return the log-ratios with their corrections."""
    others = np.concatenate([coefficients[:1], coefficients[2:]])
    return part.values * (1 + coefficients[1]) + part.features @ others


@pytest.mark.parametrize("negative", [0.0, 0.1])
def test_every_feature_has_the_varied_mean(negative: float) -> None:
    rng = np.random.default_rng(0)
    n, columns = 20_000, 3
    features = np.concatenate([np.ones((n, 1)), rng.normal(size=(n, 2))], axis=1)
    nominal = rng.uniform(0.5, 1.5, n) * rng.choice([1, -1], n, p=[1 - negative, negative])
    exact = 0.2 * features @ rng.normal(size=(3, columns))
    varied = [nominal * np.exp(power) for power in exact.T]
    part = LabelledLogRatios(0.7 * exact + 0.1, features, nominal, varied)
    share = expit(calibrated(part, fit_log_ratios([part])))
    for k, weights in enumerate(varied):
        w, v = nominal / nominal.sum(), weights / weights.sum()
        np.testing.assert_allclose(((w + v) * share[:, k]) @ features, v @ features, atol=1e-5)  # of the ridge


def test_the_ratio_of_weights_is_found_without_noise() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 1))
    nominal = rng.uniform(0.5, 1.5, 4000)
    part = LabelledLogRatios(0.5 * x, np.ones((4000, 1)), nominal, [nominal * np.exp(0.8 * x[:, 0])])
    log_ratio = calibrated(part, fit_log_ratios([part]))[:, 0]
    total = np.log((nominal * np.exp(0.8 * x[:, 0])).sum() / nominal.sum())
    np.testing.assert_allclose(log_ratio, 0.8 * x[:, 0] - total, atol=1e-4)


def test_events_of_their_own_calibrate_as_a_classifier_does() -> None:
    rng = np.random.default_rng(2)
    n = 20_000
    here, there = rng.normal(0.0, 1.0, (n, 1)), rng.normal(1.0, 1.0, (n, 1))
    parts = [
        LabelledLogRatios(0.5 * here, np.ones((n, 1)), np.ones(n), None),
        LabelledLogRatios(0.5 * there, np.ones((n, 1)), None, [np.ones(n)]),
    ]
    constant, own = fit_log_ratios(parts)[:, 0]
    # the slope of a logistic regression on 40,000 events is known to about 1 %; exact is x - 1/2
    assert 0.5 * (1 + own) == pytest.approx(1.0, abs=0.05)
    assert constant == pytest.approx(-0.5, abs=0.05)
