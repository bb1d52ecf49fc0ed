"""Likelihoods with two minima, of rates that are quadratic in a coupling: fits find the lower one from anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import poisson

import neyman
from neyman.inference.batch import fit_batch
from neyman.inference.starts import starts
from neyman.inference.twice_nll import TwiceNLL
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


COUPLINGS = {"sm": (0, 0), "plus_1": (1, 0), "minus_1": (-1, 0), "plus_2": (0, 1), "minus_2": (0, -1), "both": (1, 1)}
OPERATORS = np.array([[0.35, 0.40, 0.50, 0.70], [-0.20, 0.15, 0.30, 0.45]])  # over the Standard Model's amplitude
STANDARD = np.array([120.0, 90.0, 60.0, 30.0])


def counts(c1: float | np.ndarray, c2: float | np.ndarray) -> np.ndarray:
    """Return the expected events of two couplings, whose amplitudes interfere, and of another background."""
    amplitude = 1 + np.multiply.outer(c1, OPERATORS[0]) + np.multiply.outer(c2, OPERATORS[1])
    return STANDARD * (amplitude**2 + 0.3)


@pytest.fixture(scope="module")
def couplings() -> neyman.Model:
    samples = [
        {
            "name": name,
            "data": counts(*map(float, point)).tolist(),
            "modifiers": [{"name": f"w_{name}", "type": "purefunc", "data": None}],
        }
        for name, point in COUPLINGS.items()
    ]
    factors = (
        "(1 - c1**2 - c2**2 + c1*c2, (c1**2 + c1)/2 - c1*c2, (c1**2 - c1)/2,"
        " (c2**2 + c2)/2 - c1*c2, (c2**2 - c2)/2, c1*c2)"
    )
    bindings = [{"names": [f"w_{name}" for name in COUPLINGS], "expressions": factors, "language": "sympy"}]
    parameters = [{"name": name, "inits": [0.1], "bounds": [[-6.0, 6.0]]} for name in ("c1", "c2")]
    spec = {"channels": [{"name": "SR", "samples": samples}], "bindings": bindings, "parameters": parameters}
    return neyman.Model(spec, {}, poi_name="c1")


def lowest_of_couplings(main: np.ndarray) -> float:
    """Return the lowest -2 log L on a grid of 0.06, which is no lower than the minimum itself."""
    grid = np.linspace(-6.0, 6.0, 201)
    rates = counts(*np.meshgrid(grid, grid)).reshape(-1, 4)
    return float(-2 * (np.log(rates) @ main - rates.sum(axis=1) - gammaln(main + 1).sum()).max())


@pytest.mark.parametrize("truth", [(0.0, 0.0), (-1.5, 1.0), (1.2, 1.0)])
def test_fits_find_the_lowest_minimum_of_two_couplings_which_may_be_on_no_axis_through_their_start(
    couplings: neyman.Model, truth: tuple[float, float]
) -> None:
    """Each dataset's; those of toys but for a few, for they look at fewer places."""
    toys = draw(list(truth), couplings, 20, seed=1)
    lowest = np.array([lowest_of_couplings(main) for main in toys.main])
    assert np.all(np.array([neyman.fit(main, couplings).twice_nll for main in toys.main]) < lowest + 1e-4)
    fits = fit_batch(couplings, toys)
    assert fits.valid.all()
    assert np.mean(fits.twice_nll > lowest + 1e-4) <= 0.1


def test_a_start_costs_a_bounded_number_of_evaluations(couplings: neyman.Model) -> None:
    points = []

    class Counted(TwiceNLL):
        def __call__(self, pars: np.ndarray) -> float:
            points.append(pars)
            return super().__call__(pars)

    nll = Counted(couplings, counts(1.2, 1.0).round(), np.array([0.1, 0.1]), np.array([True, True]))
    found = starts(nll, np.array([0.1, 0.1]), [(-6.0, 6.0), (-6.0, 6.0)])
    assert len(found) <= 5
    assert len(points) <= 200
