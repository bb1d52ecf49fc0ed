"""Priors: which distributions they may be, what they are by default, and that draws and densities are theirs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import scipy.stats
from scipy.integrate import quad
from scipy.stats import gamma, norm, uniform

from neyman.exceptions import InvalidParameter
from neyman.inputs.priors import described, draw_prior, log_prior, prior_from_json, prior_to_json
from neyman.inputs.simulator import Simulator

BLOCKS = [
    {"name": "theta", "inits": [0.0], "bounds": [[-10, 10]]},
    {"name": "rate", "inits": [1.0], "bounds": [[0, 4]]},
    {"name": "scale", "inits": [1.0], "bounds": [[0, 1.5]], "auxdata": [1.0], "sigmas": [0.5]},
]


def simulator(prior: Any = None) -> Simulator:
    return Simulator(lambda pars, rng: rng.normal(size=(3, 1)), BLOCKS, None, ["x"], prior=prior)


def test_the_default_is_uniform_within_the_bounds_times_the_constraint() -> None:
    prior = simulator().prior
    assert list(prior) == ["theta", "rate", "scale"]
    assert (prior["theta"].support(), prior["rate"].support()) == ((-10, 10), (0, 4))
    x = np.linspace(0.01, 1.49, 5)
    ratio = prior["scale"].pdf(x) / norm(1.0, 0.5).pdf(x)
    np.testing.assert_allclose(ratio, 1 / (norm.cdf(1) - norm.cdf(-2)), rtol=1e-9)


def test_a_prior_that_is_given_takes_the_place_of_the_default() -> None:
    prior = simulator({"scale": uniform(0, 1.5), "theta": norm(0, 3)}).prior
    assert [described(one) for one in prior.values()] == ["norm(0, 3)", "uniform(0, 4)", "uniform(0, 1.5)"]


def test_draws_follow_the_prior_within_the_bounds() -> None:
    one = simulator({"theta": norm(0, 3.03), "rate": gamma(2.0, scale=0.4)})  # 0.1 % of theta's beyond the bounds
    drawn = draw_prior(one, 20_000, np.random.default_rng(1))
    assert drawn.shape == (20_000, 3)
    assert ((drawn >= one.bounds[:, 0]) & (drawn <= one.bounds[:, 1])).all()
    for values, distribution in zip(drawn.T, one.prior.values(), strict=True):
        assert scipy.stats.kstest(values, distribution.cdf).pvalue > 0.01
    np.testing.assert_array_equal(drawn, draw_prior(one, 20_000, np.random.default_rng(1)))


def test_the_density_is_normalised_over_the_bounds() -> None:
    prior = {"theta": norm(0.0, 1.0)}
    total, _ = quad(lambda x: float(np.exp(log_prior(prior, [[x]], [[-1.0, 2.0]])[0])), -1.0, 2.0)
    assert total == pytest.approx(1.0, rel=1e-8)
    assert log_prior(prior, [[-1.01], [2.5]], [[-1.0, 2.0]]).tolist() == [-np.inf, -np.inf]


def test_the_density_of_all_parameters_is_the_product() -> None:
    one = simulator({"theta": norm(0, 3)})
    at = log_prior(one, [[1.0, 2.0, 0.7], [1.0, 4.5, 0.7]])
    expected = norm(0, 3).logpdf(1.0) - np.log(4.0) + one.prior["scale"].logpdf(0.7)
    assert at[0] == pytest.approx(expected, abs=1e-3)  # of the normal, 0.09 % lies beyond the bounds
    assert at[1] == -np.inf


def test_a_prior_survives_a_file() -> None:
    prior = simulator({"theta": norm(0, scale=3), "rate": gamma(2.0, scale=0.4)}).prior
    again = prior_from_json(json.loads(json.dumps(prior_to_json(prior))))
    assert list(again) == list(prior)
    for name, one in prior.items():
        np.testing.assert_array_equal(again[name].ppf([0.1, 0.5, 0.9]), one.ppf([0.1, 0.5, 0.9]))


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([norm(0, 1)], "prior is .*: give distributions by the names of parameters"),
        ({"thta": norm(0, 3)}, "prior has 'thta', which is no parameter: did you mean 'theta'"),
        ({"theta": norm}, "the prior of theta is scipy.stats' norm, which is not frozen: give a frozen one"),
        ({"theta": (0, 3)}, r"the prior of theta is \(0, 3\), which is no frozen distribution"),
        ({"theta": scipy.stats.poisson(3)}, "the prior of theta is poisson, which is not continuous"),
        ({"theta": norm([0, 1], 3)}, "norm with a list for an argument"),
        ({"theta": norm(0, -1)}, "no probability that can be computed .*: check its arguments"),
        (
            {"theta": norm(0, 5)},
            r"norm\(0, 5\), with a probability of 0.046 outside of its bounds .*: widen the bounds, to \[-18.6, 18.6\]",
        ),
        (
            {"rate": uniform(1, 2)},
            r"uniform\(1, 2\), which does not cover its bounds \[0, 4\]: narrow the bounds to \[1, 3\]",
        ),
    ],
)
def test_what_is_no_prior_of_these_parameters_is_refused(prior: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        simulator(prior)
