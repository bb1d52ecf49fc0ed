"""Posteriors of any model agree with the exact ones, and say when they are not to be trusted."""

from __future__ import annotations

import sys

import numpy as np
import pyhf
import pytest
import scipy.stats
from numpy.typing import NDArray

import neyman
from neyman.exceptions import FailedFit, InvalidParameter, Unsupported
from neyman.results import PosteriorResult


def counting(signal: float = 5.0, background: float = 10.0, **settings: object) -> pyhf.Model:
    """A Poisson count of mu * signal + background, without constraint terms."""
    mu = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": [signal], "modifiers": [mu]},
        *([{"name": "background", "data": [background], "modifiers": []}] if background else []),
    ]
    parameter = {"name": "mu", "bounds": [[0.0, 100.0]], "inits": [1.0], **settings}
    return pyhf.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": [parameter]}, poi_name="mu")


def assert_drawn_from(draws: NDArray[np.float64], effective: float, exact: scipy.stats.rv_continuous) -> None:
    """Check mean, spread and two quantiles within four of their standard errors."""
    error = 4.0 / np.sqrt(effective)
    assert draws.mean() == pytest.approx(exact.mean(), abs=error * exact.std())
    assert draws.std() == pytest.approx(exact.std(), rel=1.5 * error)
    for q in (0.16, 0.84):  # the probability below the exact quantile
        assert (draws <= exact.ppf(q)).mean() == pytest.approx(q, abs=error * np.sqrt(q * (1 - q)))


@pytest.fixture(scope="module")
def of_counts() -> PosteriorResult:
    return neyman.posterior([12.0], counting(signal=1.0, background=0.0), 2000, seed=1, chains=2)


def test_a_count_with_a_uniform_prior_has_a_gamma_posterior(of_counts: PosteriorResult) -> None:
    assert of_counts.valid
    assert of_counts.divergences == 0
    assert_drawn_from(of_counts["mu"], of_counts.effective[0], scipy.stats.gamma(13.0))


def test_the_same_seed_gives_the_same_draws_and_another_one_others() -> None:
    first, same, other = (neyman.posterior([12.0], counting(), 50, seed=seed, chains=1).draws for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_prior_multiplies_the_likelihood() -> None:
    draws = neyman.posterior(
        [12.0], counting(signal=1.0, background=0.0), prior={"mu": scipy.stats.gamma(3.0)}, chains=1
    )
    assert draws.prior == {"mu": "gamma(3) within (0, 100)"}
    assert_drawn_from(draws["mu"], draws.effective[0], scipy.stats.gamma(15.0, scale=0.5))


def test_a_constraint_term_is_part_of_the_likelihood_and_multiplied_by_a_prior() -> None:
    # hi and lo are so close that the count says nothing of alpha: N(0, 1) from its auxiliary datum, N(1, 2) as prior
    mu = {"name": "mu", "type": "normfactor", "data": None}
    alpha = {"name": "alpha", "type": "normsys", "data": {"hi": 1.0 + 1e-9, "lo": 1.0 - 1e-9}}
    sample = {"name": "signal", "data": [1.0], "modifiers": [mu, alpha]}
    model = pyhf.Model({"channels": [{"name": "SR", "samples": [sample]}]}, poi_name="mu")
    prior = {"alpha": scipy.stats.norm(1.0, 2.0)}
    draws = neyman.posterior([3.0, 0.0], model, 1500, prior, bounds={"mu": (0.0, 60.0)}, chains=1)
    assert draws.labels == ("free", "constrained")
    assert draws.prior["alpha"] == "norm(1, 2) times constraint term 0 +/- 1 within (-5, 5)"
    assert_drawn_from(draws["alpha"], draws.effective[1], scipy.stats.norm(0.2, np.sqrt(0.8)))
    assert_drawn_from(draws["mu"], draws.effective[0], scipy.stats.gamma(4.0))


@pytest.mark.parametrize("bounds", [(0.0, np.inf), (2.0, 5.0), (-np.inf, 3.0), (-np.inf, np.inf)])
def test_bounds_of_every_kind_cut_the_posterior_off(bounds: tuple[float, float]) -> None:
    draws = neyman.posterior([3.0], counting(signal=1.0, background=0.0), 1500, bounds={"mu": bounds}, seed=3, chains=1)
    grid = np.linspace(max(bounds[0], 0.0), min(bounds[1], 40.0), 40_001)
    density = scipy.stats.gamma(4.0).pdf(grid)
    mean = np.sum(grid * density) / density.sum()
    std = np.sqrt(np.sum((grid - mean) ** 2 * density) / density.sum())
    error = 4.0 / np.sqrt(draws.effective[0])
    assert draws["mu"].min() >= bounds[0]
    assert draws["mu"].max() <= bounds[1]
    assert draws["mu"].mean() == pytest.approx(mean, abs=error * std)
    assert draws["mu"].std() == pytest.approx(std, rel=1.5 * error)


def test_points_where_the_likelihood_is_zero_are_never_drawn() -> None:
    # below mu = -2 the rate is negative, and the density at that edge is not zero: there are no events
    model = counting(bounds=[[-10.0, 10.0]])
    draws = neyman.posterior([0.0], model, n=2000, chains=1)
    assert draws["mu"].min() > -2.0
    # exp(-5 (mu + 2)) above it
    assert_drawn_from(draws["mu"], draws.effective[0], scipy.stats.expon(-2.0, 0.2))


def test_parameters_are_held_where_asked_for() -> None:
    model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
    draws = neyman.posterior(
        [80.0, 70.0, *model.config.auxdata], model, 1000, chains=1, fixed={"uncorr_bkguncrt[0]": 1.1}
    )
    assert draws.labels == ("free", "fixed", "constrained")
    assert set(draws["uncorr_bkguncrt[0]"]) == {1.1}
    assert np.isnan(draws.r_hat[1])
    assert draws.valid
    assert "uncorr_bkguncrt[0]" not in draws.prior


@pytest.mark.parametrize(("n", "chains"), [(1, 1), (1001, 2)])
def test_there_are_as_many_draws_as_asked_for(n: int, chains: int) -> None:
    draws = neyman.posterior([12.0], counting(), n=n, chains=chains)
    assert draws.draws.shape == (n, 1)
    assert draws.valid  # of chains that are longer


def test_chains_that_disagree_are_not_valid(caplog: pytest.LogCaptureFixture) -> None:
    # the count is that of alpha = 2 and of alpha = -2, and no chain goes from one to the other
    alpha = {"name": "alpha", "type": "normsys", "data": {"hi": 1.2, "lo": 1.2}}
    mu = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": [10.0], "modifiers": [mu]},
        {"name": "background", "data": [10_000.0], "modifiers": [alpha]},
    ]
    model = pyhf.Model({"channels": [{"name": "SR", "samples": samples}]}, poi_name="mu")
    draws = neyman.posterior([14_400.0, 0.0], model, n=1000, fixed={"mu": 1.0}, chains=2)
    assert not draws.valid
    assert "the posterior is not valid: the chains disagree about alpha (R-hat" in caplog.text
    assert "NOT VALID" in repr(draws)


@pytest.mark.parametrize("low", [0.0, -np.inf])
def test_a_posterior_that_never_ends_is_refused(low: float) -> None:
    # the likelihood does not depend on the parameter, which has no upper bound
    with pytest.raises(FailedFit, match="the posterior of mu never ends: give mu finite bounds or a prior"):
        neyman.posterior([10.0], counting(signal=0.0), bounds={"mu": (low, np.inf)}, chains=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": {"nu": scipy.stats.norm()}}, "no parameter nu"),
        ({"prior": {"mu": scipy.stats.norm}}, "not frozen: give a frozen one"),
        ({"prior": {"mu": scipy.stats.poisson(3.0)}}, "which is not continuous"),
        ({"prior": {"mu": 1.0}}, "which is no frozen distribution"),
        ({"prior": {"mu": scipy.stats.uniform(-3.0, 1.0)}}, r"on \(-3, -2\), and its bounds are \(0, 100\)"),
        ({"prior": {"mu": scipy.stats.norm(1.0)}, "fixed": ["mu"]}, "all parameters are fixed"),
        ({"fixed": ["mu"]}, "all parameters are fixed: nothing is left to draw"),
        ({"n": 0}, "n is 0"),
        ({"chains": 0}, "chains is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        neyman.posterior([12.0], counting(), **options)  # type: ignore[arg-type]


def test_data_that_are_impossible_everywhere_are_refused_with_the_bin() -> None:
    with pytest.raises(FailedFit, match=r"channel SR, bin 1 has 3 observed events but an expected rate of 0"):
        neyman.posterior([3.0], counting(signal=0.0, background=0.0))


@pytest.mark.parametrize("package", ["nutpie", "arviz"])
def test_a_sampler_that_is_not_installed_is_named_with_what_installs_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what cannot be imported
    with pytest.raises(Unsupported, match=r'pip install "neyman\[sampling\]"'):
        neyman.posterior([12.0], counting())
    if package == "arviz":
        with pytest.raises(Unsupported, match=r'pip install "neyman\[sampling\]"'):
            PosteriorResult(("mu",), np.ones((3, 1))).to_arviz()
