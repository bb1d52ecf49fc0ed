"""Calibration: the optimality condition that makes it useful, and the pieces around it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from neyman.model.calibration import Variation, balanced_weights, fit_multinomial, sample_ratios, slopes_and_curvatures


def test_every_feature_has_the_labelled_mean_in_every_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [3000, 2000, 1000])
    x = rng.normal(size=(6000, 2)) + labels[:, None] * [0.5, -0.3]
    weights = balanced_weights(rng.uniform(-0.2, 1.0, size=6000), labels)  # of either sign
    features = np.concatenate([np.ones((6000, 1)), x, np.exp(-x[:, :1])], axis=1)
    offset = 0.8 * x @ rng.normal(size=(2, 3))
    probability = softmax(offset + features @ fit_multinomial(offset, features, labels, weights), axis=1)
    for c in range(3):
        predicted = (weights * probability[:, c]) @ features
        observed = (weights * (labels == c)) @ features
        np.testing.assert_allclose(predicted, observed, atol=1e-4)


def test_a_biased_logit_is_put_right():
    rng = np.random.default_rng(1)
    n = 20_000
    x = np.concatenate([rng.normal(1.0, 1.0, n), rng.normal(0.0, 1.0, n)])
    labels = np.repeat([0, 1], n)
    exact = x - 0.5  # log of N(1, 1) / N(0, 1)
    wrong = np.stack([0.5 * exact + 0.3, np.zeros(2 * n)], axis=1)
    features = np.stack([np.ones(2 * n), wrong[:, 0]], axis=1)
    corrected = wrong + features @ fit_multinomial(wrong, features, labels, balanced_weights(np.ones(2 * n), labels))
    # the slope of a logistic regression on 40,000 events is known to about 1 %
    slope, intercept = np.polyfit(exact, corrected[:, 0] - corrected[:, 1], 1)
    assert slope == pytest.approx(1.0, abs=0.05)
    assert intercept == pytest.approx(0.0, abs=0.05)


def test_ratios_average_to_one_over_the_equal_mixture():
    ratios = sample_ratios(np.log([[0.2, 0.8], [0.5, 0.5]]))
    np.testing.assert_allclose(ratios, [[0.4, 1.6], [1.0, 1.0]])


def test_a_side_that_is_nominal_has_no_log_ratio():
    slopes, curvatures = slopes_and_curvatures(np.array([[0.4]]), [Variation(0, "alpha", hi=0, lo=None)])
    assert slopes == curvatures == [[0.2]]
