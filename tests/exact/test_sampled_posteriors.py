"""Sampled posteriors against integrals over a grid: of pyhf's own likelihood, a learned one, and the exact one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyhf
import pytest
import scipy.stats
from numpy.typing import NDArray

import neyman
from neyman.results import PosteriorResult

Array = NDArray[np.float64]


def on_a_grid(log_density: Callable[[float, float], float], axes: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return mean and covariance of a density of two parameters by summing over a grid."""
    values = np.array([[log_density(x, y) for y in axes[1]] for x in axes[0]])
    weights = np.exp(values - values.max())
    weights /= weights.sum()
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    mean = np.tensordot(points, weights, axes=2)
    centred = points - mean[:, None, None]
    return mean, np.einsum("iab,jab,ab->ij", centred, centred, weights)


def assert_moments(
    draws: PosteriorResult, names: tuple[str, str], mean: Array, covariance: Array, bias: float, width: float
) -> None:
    """Check means to a fraction of the widths, widths to a fraction, and the correlation."""
    index = [draws.index(name) for name in names]
    std = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((draws.mean[index] - mean) / std, 0.0, atol=bias)
    np.testing.assert_allclose(draws.std[index] / std, 1.0, atol=width)
    correlation = draws.covariance[index[0], index[1]] / np.prod(draws.std[index])
    assert correlation == pytest.approx(covariance[0, 1] / np.prod(std), abs=2.0 * width)


def test_a_pyhf_model_has_the_posterior_that_pyhfs_likelihood_gives_on_a_grid() -> None:
    model = pyhf.simplemodels.correlated_background([5.0, 10.0], [50.0, 40.0], [58.0, 43.0], [43.0, 37.0])
    data = [62.0, 48.0, 0.3]
    prior = scipy.stats.expon(scale=2.0)
    draws = neyman.posterior(data, model, 2000, {"mu": prior}, seed=1, chains=2)
    assert draws.valid
    alpha, mu = draws.names
    axes = np.linspace(-5.0, 5.0, 41), np.linspace(0.0, 6.0, 41)
    mean, covariance = on_a_grid(lambda a, m: float(model.logpdf([a, m], data)[0] + prior.logpdf(m)), axes)
    # some 1,500 effective draws: four standard errors of mean and width
    assert_moments(draws, (alpha, mu), mean, covariance, bias=0.1, width=0.075)


HELD = {"lumi": 1.0, "scale": 0.0}


class TestLearned:
    """A learned channel beside a binned one; luminosity and shape are held, mu and the background's norm are free."""

    @pytest.fixture(scope="class")
    def draws(self, trained: neyman.Model) -> PosteriorResult:
        return neyman.posterior(trained.observed, trained, 2000, fixed=HELD, seed=2, chains=2)

    @staticmethod
    def axes(draws: PosteriorResult) -> tuple[Array, Array]:
        ends = [(draws[name].mean(), 5.0 * draws[name].std()) for name in ("mu", "norm")]
        return tuple(np.linspace(max(centre - reach, 0.0), centre + reach, 41) for centre, reach in ends)  # type: ignore[return-value]

    def test_it_has_the_posterior_of_its_own_likelihood(self, draws: PosteriorResult, trained: neyman.Model) -> None:
        pars = np.array(trained.config.suggested_init())
        mu, norm = (trained.config.par_names.index(name) for name in ("mu", "norm"))
        data = np.asarray(trained.observed)

        def log_density(x: float, y: float) -> float:
            pars[[mu, norm]] = x, y
            return trained.evaluate(pars, data)[0]

        mean, covariance = on_a_grid(log_density, self.axes(draws))
        assert draws.valid
        assert_moments(draws, ("mu", "norm"), mean, covariance, bias=0.1, width=0.075)

    def test_and_nearly_that_of_the_exact_one(self, draws: PosteriorResult, trained: neyman.Model) -> None:
        observed = trained.ensemble(trained.observed)
        x = observed.events["SR"].features
        signal = scipy.stats.norm.pdf(x, [1.0, -1.0], 1.0).prod(axis=1)
        background = scipy.stats.norm.pdf(x, 0.0, 1.5).prod(axis=1)
        counts = np.asarray(observed.counts["CR"])

        def log_density(mu: float, norm: float) -> float:
            nu = norm * np.array([200.0, 150.0])
            density = 40.0 * mu * signal + 300.0 * norm * background
            return float(np.log(density).sum() - 40.0 * mu - 300.0 * norm + (counts * np.log(nu) - nu).sum())

        mean, covariance = on_a_grid(log_density, self.axes(draws))
        # networks of 16 units trained for seconds on 8,000 events of each sample for 340: sqrt(N/n) is 0.2
        assert_moments(draws, ("mu", "norm"), mean, covariance, bias=0.4, width=0.08)

    def test_a_summary_has_the_posterior_of_its_dataset(self, trained: neyman.Model) -> None:
        options = {"fixed": {**HELD, "norm": 1.0}, "n": 20, "chains": 1, "seed": 3}
        of_data = neyman.posterior(trained.observed, trained, **options)  # type: ignore[arg-type]
        summary = trained.encode(trained.ensemble(trained.observed))
        of_summary = neyman.posterior(summary, trained, **options)  # type: ignore[arg-type]
        np.testing.assert_allclose(of_summary.draws, of_data.draws, rtol=1e-9)
