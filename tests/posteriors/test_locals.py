"""What is local to events: draws are those of the exact posterior, joint with the parameters; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import simulators

import neyman
from neyman.exceptions import InvalidEnsemble, InvalidSimulation, Unsupported
from neyman.posteriors.locals import LocalCoordinates

OPTIONS = {"hidden": [16], "width": 4, "head": [32], "flow": [16], "datasets": 6400, "fresh": 0, "steps": 300}
OPTIONS |= {"head_steps": 300, "flow_steps": 200, "local_steps": 500}


@pytest.fixture(scope="module")
def posterior() -> neyman.Posterior:
    return neyman.train_posterior(simulators.grouped, OPTIONS, seed=1, workers=1)


def exact(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Return means and width of what is local: z is N(theta, 1), x is N(z, 0.5), and theta is N(0, 2)."""
    k, total = len(x), 1.0 + 0.5**2
    width2 = 1.0 / (k / total + 0.25)
    mean = width2 * x.sum() / total
    shrunk = 0.5**2 / total  # towards the mean of all
    return (1 - shrunk) * x + shrunk * mean, float(np.sqrt(shrunk * 1.0 + shrunk**2 * width2))


@pytest.mark.parametrize("k", [1, 4, 20])
def test_means_and_widths_are_the_exact_ones_shrunk_towards_the_mean_of_all(posterior, k) -> None:
    rng = np.random.default_rng(k)
    apart, ratios, shrinkage = [], [], []
    for seed in range(40):
        z = rng.normal(rng.normal(0.0, 2.0), 1.0, k)
        x = rng.normal(z, 0.5)
        draws = posterior.sample_locals(x[:, None], n=500, seed=seed)["z"]
        mean, width = exact(x)
        apart += list((draws.mean(axis=0) - mean) / width)
        ratios += list(draws.std(axis=0) / width)
        shrinkage += list((x - draws.mean(axis=0)) * np.sign(x - x.mean()))
    # 500 draws know a mean to 0.045 and a width to 0.03; the rest is a training of seconds
    assert np.sqrt(np.mean(np.square(apart))) < 0.25
    assert np.median(ratios) == pytest.approx(1.0, abs=0.06)
    if k == 20:
        assert np.mean(shrinkage) > 0


def test_the_truth_has_ranks_as_a_draw_has(posterior) -> None:
    rng, ranks = np.random.default_rng(0), []
    for seed in range(150):
        z = rng.normal(rng.normal(0.0, 2.0), 1.0, 5)
        draws = posterior.sample_locals(rng.normal(z, 0.5)[:, None], n=200, seed=seed)["z"]
        ranks.append((draws[:, 0] < z[0]).mean())  # of one event: those of a dataset have the parameters in common
    assert scipy.stats.kstest(ranks, "uniform").pvalue > 1e-3
    for level in (0.68, 0.95):
        inside = np.abs(np.array(ranks) - 0.5) < 0.5 * level
        assert inside.mean() == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / 150) + 0.02)


def test_draws_are_joint_with_those_of_the_parameters(posterior) -> None:
    x = np.array([[0.3], [1.2], [-0.5]])
    theta = posterior.sample(x, n=4000, seed=3)["theta"]
    local = posterior.sample_locals(x, n=4000, seed=3)
    # z is normal about 0.8 x + 0.2 theta with the width sqrt(0.2) at fixed theta
    residual = local["z"] - 0.8 * x[:, 0]
    slopes = [np.polyfit(theta, one, 1)[0] for one in residual.T]
    assert slopes == pytest.approx([0.2] * 3, abs=0.06)
    correlation = np.corrcoef(local["z"][:, 0], local["z"][:, 1])[0, 1]
    width2 = 1.0 / (3 / 1.25 + 0.25)
    assert correlation == pytest.approx(0.04 * width2 / (0.2 + 0.04 * width2), abs=0.06)


def test_rows_are_those_of_the_events_and_the_same_for_the_same_seed(posterior) -> None:
    x = np.array([[-4.0], [0.0], [4.0], [1.0]])
    draws = posterior.sample_locals(neyman.Events(x), n=100, seed=2)
    assert (draws.names, draws["z"].shape, draws.seed, draws.warnings) == (("z",), (100, 4), 2, ())
    assert draws["z"].mean(axis=0).argsort().tolist() == x[:, 0].argsort().tolist()
    assert np.array_equal(draws.draws, posterior.sample_locals(x, n=100, seed=2).draws)
    assert not np.array_equal(draws.draws, posterior.sample_locals(x, n=100, seed=3).draws)


def test_weights_count_for_the_parameters_alone(posterior) -> None:
    x = np.array([[1.5], [-1.0]])
    twice = posterior.sample_locals(neyman.Events(x, [10.0, 10.0]), n=2000, seed=2)
    once = posterior.sample_locals(np.repeat(x, 10, axis=0), n=2000, seed=2)
    assert twice["z"].shape == (2000, 2)
    assert twice.mean[:, 0] == pytest.approx(once.mean[[0, 10], 0], abs=0.05)


def test_an_empty_dataset_has_nothing_local(posterior) -> None:
    draws = posterior.sample_locals(np.empty((0, 1)), n=50)
    assert draws["z"].shape == (50, 0)
    assert "empty" in draws.warnings[0]


def test_it_survives_its_file(posterior, tmp_path) -> None:
    posterior.save(tmp_path / "local.posterior")
    again = neyman.Posterior.load(tmp_path / "local.posterior")
    x = np.array([[0.3], [1.2]])
    assert np.array_equal(again.sample_locals(x, n=50).draws, posterior.sample_locals(x, n=50).draws)
    assert repr(again) == "Posterior(theta; z of each event | deepset of x)"


def test_a_summary_has_no_events(posterior) -> None:
    with pytest.raises(InvalidEnsemble, match=r"a summary has no events, .* give the events"):
        posterior.sample_locals(posterior.encode(np.zeros((2, 1))))


def test_a_simulator_without_local_parameters_teaches_none() -> None:
    options = {**OPTIONS, "datasets": 1600, "steps": 2, "head_steps": 2, "flow_steps": 2}
    plain = neyman.train_posterior(simulators.normal_mean, options, workers=1)
    with pytest.raises(Unsupported, match=r"name them in neyman.Simulator\(..., locals="):
        plain.sample_locals(np.zeros((2, 1)))


def test_a_local_parameter_that_never_varies_is_named() -> None:
    with pytest.raises(InvalidSimulation, match="local parameter w is 3 for all 10 events: leave it out"):
        LocalCoordinates.of_values(("z", "w"), np.column_stack([np.arange(10.0), np.full(10, 3.0)]))


@pytest.mark.parametrize("name", ["uniform", "norm", "expon", "integers"])
def test_coordinates_rise_come_back_and_stay_within_what_was_simulated(name: str) -> None:
    rng = np.random.default_rng(0)
    z = rng.integers(0, 3, (20_000, 1)).astype(float) if name == "integers" else None
    z = getattr(scipy.stats, name).rvs(size=(20_000, 1), random_state=rng) if z is None else z
    coordinates = LocalCoordinates.of_values(("z",), z)
    v = np.linspace(-5.0, 5.0, 201)[:, None]
    back = coordinates.back(v)
    assert np.all(np.diff(back[:, 0]) >= 0)
    assert (back.min() >= z.min(), back.max() <= z.max()) == (True, True)
    assert coordinates.back(coordinates.of(z)) == pytest.approx(z, abs=1e-4)  # beyond the last quantile it is flat
    if name != "integers":
        assert coordinates.of(z).std() == pytest.approx(1.0, abs=0.05)


def test_the_ordinary_likelihood_takes_such_a_simulator() -> None:
    tiny = {"datasets": 1280, "fresh": 0, "steps": 5, "head_steps": 5, "batch_size": 128, "networks": 1}
    model = neyman.train(simulators.grouped, {"kind": "deepset", **tiny}, workers=1)
    data = model.data(neyman.Ensemble({"events": simulators.grouped.draw([1.0], seed=0)}))
    assert np.isfinite(model.logpdf([1.0], data)).all()
