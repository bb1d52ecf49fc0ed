"""The Wald statistic of a posterior: intervals that cover whatever its prior and its network say."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import simulators
import torch

import neyman
from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inference.waldo import Waldo
from neyman.model.toys import draw
from neyman.networks.encoder import Encoder
from neyman.networks.posterior import PosteriorNetwork
from neyman.networks.scaling import FeatureScaler
from neyman.results import PosteriorResult

N, SIGMA = 25, 2.0  # events of a dataset, and their width: their mean is known to 0.4
CENTRE, WIDTH = -1.5, 0.4  # of a prior that is as sure as the data, and wrong


def events(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(pars[0], SIGMA, (N, 1))


wrong = neyman.Simulator(
    events, [{"name": "theta", "inits": [0.0], "bounds": [[-4, 4]]}], "theta", ["x"],
    prior={"theta": scipy.stats.norm(CENTRE, WIDTH)},
)  # fmt: skip


class Sums(Encoder):
    """The sum of the events and their number, all that there is to know of a normal sample."""

    size = 2

    def forward(self, x: torch.Tensor, weights: torch.Tensor, dataset: torch.Tensor, n: int) -> torch.Tensor:
        terms = weights[:, None] * torch.cat([x, torch.ones_like(x)], dim=1)
        return torch.zeros(n, 2, dtype=weights.dtype).index_add(0, dataset, terms.to(weights.dtype))


SHARE = WIDTH**2 / (WIDTH**2 + SIGMA**2 / N)  # of the data in the posterior's mean
SPREAD = WIDTH * math.sqrt(1.0 - SHARE)  # of the posterior


def conjugate(narrower: float = 1.0) -> neyman.Posterior:
    """Return the exact posterior of a normal mean with the wrong prior; or one that is as sure as nobody can be."""
    network = PosteriorNetwork(
        Sums(FeatureScaler(torch.zeros(1), torch.ones(1)), 0), 1, torch.zeros(2), torch.ones(2), head=(4,), flow=(4,)
    )
    linear = network.head.linear
    with torch.no_grad():  # of the coordinate (theta - CENTRE) / WIDTH, whose prior is the standard normal
        linear.weight[:] = torch.tensor([[SHARE / WIDTH, 0.0], [0.0, 0.0]])
        linear.bias[:] = torch.tensor([-SHARE * CENTRE / WIDTH, math.log(narrower * WIDTH / SPREAD)])
    network.eval().requires_grad_(False)
    return neyman.Posterior(
        network, names=wrong.names, bounds=wrong.bounds, prior=wrong.prior, features=wrong.features,
        channel=wrong.channel, kind="deepset", numbers=(N, N), spec=wrong.spec(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def posterior_() -> neyman.Posterior:
    return conjugate()


@pytest.fixture(scope="module")
def implied(posterior_: neyman.Posterior) -> neyman.Model:
    return posterior_.model(wrong)


def exact_interval(mean: float, level: float) -> list[float]:
    """Return the ends of the Neyman interval of t = (m - mu0)^2 / V, the posterior's mean m being normal."""
    m = CENTRE + SHARE * (mean - CENTRE)

    def excess(value: float) -> float:
        distance = abs(m - value)
        toys = scipy.stats.norm(CENTRE + SHARE * (value - CENTRE) - value, SHARE * SIGMA / math.sqrt(N))
        return float(toys.sf(distance) + toys.cdf(-distance)) - (1.0 - level)

    best = scipy.optimize.minimize_scalar(lambda value: -excess(value), bounds=(-4, 4), method="bounded").x
    return [scipy.optimize.brentq(excess, *sorted((best, end))) for end in (-4.0, 4.0)]


def test_the_statistic_is_the_squared_distance_from_the_mean_in_units_of_the_width(
    posterior_: neyman.Posterior, implied: neyman.Model
) -> None:
    toys = draw([0.5], implied, 50, seed=1)
    x = toys.events["events"].features.reshape(50, N).astype(np.float64).mean(axis=1)
    wanted = (CENTRE + SHARE * (x - CENTRE) - 0.7) ** 2 / SPREAD**2
    # moments of a normal distribution are exact, in single precision
    assert Waldo.of(posterior_, implied).evaluate(toys, 0.7) == pytest.approx(wanted, rel=1e-3, abs=1e-3)


def test_the_interval_is_the_exact_one_though_the_prior_is_wrong(
    posterior_: neyman.Posterior, implied: neyman.Model
) -> None:
    observed = wrong.draw([1.5], seed=3)
    data = implied.data(Ensemble({"events": observed}))
    result = neyman.interval(data, implied, test_stat="waldo", statistic=posterior_, n_toys=4000, seed=2)
    [(low, high)], [errors] = result.intervals, result.errors
    wanted = exact_interval(float(observed.features.mean()), 0.68)
    assert result.valid
    assert (result.test_stat, result.calibration) == ("waldo", "toys")
    for found, exact, error in zip((low, high), wanted, errors, strict=True):
        assert found == pytest.approx(exact, abs=4 * error)
    # nothing of it is in the posterior's own interval
    mean = CENTRE + SHARE * (observed.features.mean() - CENTRE)
    assert mean + 2 * SPREAD < 1.5 < high


@pytest.mark.parametrize("narrower", [1.0, 3.0], ids=["wrong prior", "wrong network"])
def test_intervals_cover_where_credible_ones_of_the_same_posterior_do_not(narrower: float) -> None:
    posterior = conjugate(narrower)
    model = posterior.model(wrong)
    truths = [-1.5, 0.0, 2.0]
    points = [{"theta": truth} for truth in truths]
    result = neyman.coverage(model, points, test_stat="waldo", statistic=posterior, n_toys=400, seed=4)
    assert result.passed
    assert result.coverage == pytest.approx(0.68, abs=4 * math.sqrt(0.68 * 0.32 / 400))
    credible = []
    for truth in truths:
        toys = draw([truth], model, 400, seed=5).events["events"]
        means, covariances = posterior.moments(posterior.encode_many(toys.features, toys.offsets))
        credible.append(np.mean(np.abs(means[:, 0] - truth) < scipy.stats.norm.isf(0.16) * covariances[:, 0, 0] ** 0.5))
    assert max(credible[1:]) < 0.05


def test_the_implied_likelihood_is_the_posterior_without_its_prior(implied: neyman.Model) -> None:
    observed = wrong.draw([1.5], seed=3)
    fit = neyman.fit(implied.data(Ensemble({"events": observed})), implied)
    assert fit["theta"] == pytest.approx(observed.features.mean(), abs=0.01)
    assert fit.error("theta") == pytest.approx(SIGMA / math.sqrt(N), rel=0.01)


def test_model_and_statistic_travel_to_other_processes(posterior_: neyman.Posterior, implied: neyman.Model) -> None:
    model, waldo = pickle.loads(pickle.dumps((implied, Waldo.of(posterior_, implied).with_model(implied))))
    toys = draw([0.5], implied, 5, seed=1)
    assert waldo.evaluate(draw([0.5], model, 5, seed=1), 0.7).tolist() == (
        Waldo.of(posterior_, implied).evaluate(toys, 0.7).tolist()
    )


def test_learned_critical_values_are_of_this_posterior(
    posterior: neyman.Posterior, posterior_: neyman.Posterior, tmp_path: Path
) -> None:
    model = posterior.model(simulators.normal_mean)
    critical = neyman.critical_values(model, "waldo", statistic=posterior, poi_range=(-4.0, 4.0), n_toys=4000)
    critical.save(tmp_path / "critical.npz")
    read = neyman.CriticalValues.load(tmp_path / "critical.npz")
    truths = [{"theta": value} for value in (-2.0, 1.0)]
    options: Any = {"test_stat": "waldo", "calibration": "quantile", "critical": read, "n_toys": 400}
    result = neyman.coverage(model, truths, statistic=posterior, **options)
    # critical values from 4000 toys have errors of their own, about 2 %
    assert result.coverage == pytest.approx(0.68, abs=4 * math.hypot(0.023, 0.02))
    other = conjugate()
    with pytest.raises(InvalidParameter, match="learned for another posterior"):
        neyman.coverage(other.model(wrong), truths, statistic=other, **options)


def test_nuisance_parameters_are_where_the_likelihood_has_them(
    constrained_posterior: neyman.Posterior, of_simulator: Callable[[str], neyman.Model]
) -> None:
    trained, implied = of_simulator("deepset"), constrained_posterior.model(simulators.onoff)
    options: Any = {"test_stat": "waldo", "statistic": constrained_posterior}
    data = trained.data(Ensemble({"events": simulators.onoff.draw([5.0, 1.0], seed=2)}))
    result = neyman.interval(data, trained, n_toys=50, poi_values=[2.0, 5.0, 8.0], **options)
    [(low, high)] = result.intervals
    assert 2.0 < low < high < 8.0
    result = neyman.coverage(implied, [{"mu": 5.0, "nu": 1.2}], n_toys=30, n_calibration=50, **options)
    assert result.coverage[0] == pytest.approx(0.68, abs=4 * math.sqrt(0.68 * 0.32 / 30))


def test_a_joint_model_is_tested_by_the_posterior_of_one_channel(posterior_: neyman.Posterior) -> None:
    free = {"name": "theta", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": [50.0], "modifiers": [free]},
        {"name": "rest", "data": [300.0], "modifiers": []},
    ]
    bounds = {"name": "theta", "bounds": [[-4, 4]]}
    counts = neyman.Model({"channels": [{"name": "CR", "samples": samples}], "parameters": [bounds]}, {})
    joint = neyman.combine(posterior_.model(wrong), counts)
    data = joint.data(Ensemble({"events": wrong.draw([1.5], seed=3)}, {"CR": [380.0]}))
    result = neyman.interval(
        data, joint, test_stat="waldo", statistic=posterior_, n_toys=100, poi_values=[0.5, 1.5, 2.5]
    )
    assert result.test_stat == "waldo"


def test_what_does_not_go_together_is_said(
    posterior_: neyman.Posterior,
    implied: neyman.Model,
    posterior: neyman.Posterior,
    of_simulator: Callable[[str], neyman.Model],
    tmp_path: Path,
) -> None:
    data = implied.data(Ensemble({"events": Events(np.zeros((N, 1)))}))
    with pytest.raises(InvalidParameter, match=r"takes a posterior: give statistic=neyman.train_posterior"):
        neyman.interval(data, implied, test_stat="waldo")
    draws = PosteriorResult(("theta",), np.zeros((2, 1)))
    with pytest.raises(InvalidParameter, match="takes a posterior, not a PosteriorResult"):
        neyman.interval(data, implied, test_stat="waldo", statistic=draws)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="for test_stat='waldo', not for 'tmu'"):
        neyman.interval(data, implied, test_stat="tmu", statistic=posterior_)
    with pytest.raises(InvalidParameter, match="only toys can calibrate the waldo statistic"):
        neyman.interval(data, implied, test_stat="waldo", statistic=posterior_, calibration="asymptotics")
    with pytest.raises(Unsupported, match=r"'waldo' sets no upper limit: .* or neyman.interval"):
        neyman.limit(data, implied, test_stat="waldo", calibration="toys", statistic=posterior_)  # type: ignore[arg-type]
    onoff = of_simulator("deepset")
    with pytest.raises(InvalidParameter, match="posterior is of theta, not of the parameter of interest mu"):
        neyman.coverage(onoff, [{"mu": 2.0}], test_stat="waldo", statistic=posterior)
    with pytest.raises(InvalidParameter, match=r"bounds .*: give the simulator that it was trained on"):
        posterior.model(wrong)
    summary = implied.encode(Ensemble({"events": Events(np.zeros((N, 1)))}))
    with pytest.raises(Unsupported, match="the posterior sees events"):
        neyman.interval(summary, implied, test_stat="waldo", statistic=posterior_)
    with pytest.raises(Unsupported, match="has no file: save the posterior"):
        implied.save(tmp_path / "implied.neyman")
