"""Likelihoods with two minima, of rates that are quadratic in a coupling: fits find the lower one from anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

import neyman
from neyman.inference.batch import fit_batch
from neyman.model.toys import draw

SIGNAL, INTERFERENCE, BACKGROUND = np.array([30.0, 40.0]), np.array([-60.0, -70.0]), np.array([100.0, 90.0])


@pytest.fixture(scope="module")
def model() -> neyman.Model:
    samples = [
        {"name": name, "data": data.tolist(), "modifiers": [{"name": f"c_{name}", "type": "purefunc", "data": None}]}
        for name, data in (("S", SIGNAL), ("I", INTERFERENCE))
    ]
    samples.append({"name": "B", "data": BACKGROUND.tolist(), "modifiers": []})
    bindings = [{"names": ["c_S", "c_I"], "expressions": "(mu, sqrt(mu))", "language": "sympy"}]
    parameters = [{"name": "mu", "inits": [1.0], "bounds": [[0.0, 10.0]]}]
    spec = {"channels": [{"name": "SR", "samples": samples}], "bindings": bindings, "parameters": parameters}
    return neyman.Model(spec, {}, poi_name="mu")


def lowest(main: np.ndarray) -> tuple[float, float]:
    """Return the signal strength with the lowest -2 log L, and that, from a fine grid."""
    mu = np.linspace(0.0, 10.0, 40_001)[:, None]
    values = -2 * poisson.logpmf(main, mu * SIGNAL + np.sqrt(mu) * INTERFERENCE + BACKGROUND).sum(axis=1)
    return float(mu[np.argmin(values), 0]), float(values.min())


def rates(mu: float) -> np.ndarray:
    return np.round(mu * SIGNAL + np.sqrt(mu) * INTERFERENCE + BACKGROUND)


@pytest.mark.parametrize("truth", [0.1, 2.8])
@pytest.mark.parametrize("init", [0.05, 1.0, 6.0])
def test_a_fit_finds_the_lower_of_two_minima_wherever_it_starts(model: neyman.Model, truth: float, init: float) -> None:
    data = rates(truth)
    found = neyman.fit(data, model, init={"mu": init})
    mu, value = lowest(data)
    assert found["mu"] == pytest.approx(mu, abs=1e-3)
    assert found.twice_nll == pytest.approx(value, abs=1e-4)


def test_the_fits_of_toys_find_it_but_for_shallow_ones(model: neyman.Model) -> None:
    """Two valleys that are nearly one may be taken for one by the few places that are looked at in each toy."""
    toys = draw([0.5], model, 100, seed=1)
    fits = fit_batch(model, toys, init=[0.5])
    missed = fits.twice_nll - np.array([lowest(main)[1] for main in toys.main])
    assert fits.valid.all()
    assert np.mean(missed > 1e-4) < 0.1
    assert missed.max() < 0.2
