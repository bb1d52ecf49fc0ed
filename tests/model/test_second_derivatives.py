"""Second derivatives of the log-likelihood: those of the exact gradient."""

from __future__ import annotations

import numpy as np
import pytest

import neyman
from neyman.model.second_derivatives import second_derivatives


@pytest.mark.parametrize("pulls", [0.0, 0.7, 2.6])  # where the interpolation of shapes is quadratic, and linear
def test_they_are_differences_of_the_gradient(model: neyman.Model, data: np.ndarray, pulls: float) -> None:
    pars = np.array(model.config.suggested_init())
    pars += [0.0 if name in ("mu", "lumi") else pulls * (-0.8) ** i for i, name in enumerate(model.config.par_names)]
    summary, steps = model.summary(data), np.full(len(pars), 1e-4)
    found = second_derivatives(model, pars, summary.main, summary.auxdata, summary.channels, steps)
    expected = np.stack(
        [(model.evaluate(pars + h, data)[1] - model.evaluate(pars - h, data)[1]) / 2e-4 for h in np.diag(steps)]
    )
    assert found is not None
    # a difference of gradients, whose rates are good to 1e-10, over 1e-4
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_there_are_none_at_the_edge_of_the_domain(model: neyman.Model, data: np.ndarray) -> None:
    pars = np.array(model.config.suggested_init())
    pars[model.config.poi_index] = -1e4
    summary = model.summary(data)
    steps = np.full(len(pars), 1e-4)
    assert second_derivatives(model, pars, summary.main, summary.auxdata, summary.channels, steps) is None
