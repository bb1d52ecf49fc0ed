"""A trained posterior against the exact one of a conjugate problem, and what it takes and refuses."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import simulators

import neyman
from neyman.exceptions import InvalidEnsemble, InvalidParameter, Unsupported

NUMBERS = (1, 3, 10, 30)


def exact(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Return mean and width of the posterior of datasets ``(T, k, 1)``: events are N(theta, 1), theta is N(0, 2)."""
    k = x.shape[1]
    return x[:, :, 0].mean(axis=1) * k / (k + 0.25), (k + 0.25) ** -0.5


def thrown(k: int, n: int = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return parameters of the prior, a dataset of ``k`` events at each, and where these begin."""
    rng = np.random.default_rng(k)
    theta = rng.normal(0.0, 2.0, n)
    return theta, theta[:, None, None] + rng.standard_normal((n, k, 1)), np.arange(n + 1) * k


@pytest.mark.parametrize("k", NUMBERS)
def test_widths_and_pulls_are_the_exact_ones_for_any_number_of_events(posterior: neyman.Posterior, k: int) -> None:
    theta, x, offsets = thrown(k)
    mean, covariance = posterior.moments(posterior.encode_many(x.reshape(-1, 1), offsets))
    width, (_, wanted) = np.sqrt(covariance[:, 0, 0]), exact(x)
    assert np.median(width) == pytest.approx(wanted, rel=0.05)  # a training of seconds
    # the width of 1000 pulls is known to 1 / sqrt(2000)
    assert ((mean[:, 0] - theta) / width).std() == pytest.approx(1.0, abs=0.03 + 3 / np.sqrt(2000))


def test_a_density_is_that_of_the_draws_and_integrates_to_one(posterior: neyman.Posterior) -> None:
    _, x, _ = thrown(3, n=1)
    grid = np.linspace(-8.0, 8.0, 4001)
    density = np.exp(posterior.log_prob(grid[:, None], x[0]))
    draws = posterior.sample(x[0], n=20_000, seed=1)["theta"]
    step = grid[1] - grid[0]
    assert density.sum() * step == pytest.approx(1.0, abs=1e-3)
    assert (grid * density).sum() * step == pytest.approx(draws.mean(), abs=4 * draws.std() / np.sqrt(20_000))
    below = np.interp(np.quantile(draws, [0.1, 0.5, 0.9]), grid, np.cumsum(density) * step)
    assert below == pytest.approx([0.1, 0.5, 0.9], abs=4 * 0.5 / np.sqrt(20_000))


def test_the_density_is_zero_where_the_prior_is(posterior: neyman.Posterior) -> None:
    found = posterior.log_prob([[-20.5], [0.0], [20.5]], np.zeros((2, 1)))
    assert np.isneginf(found).tolist() == [True, False, True]


def test_draws_come_with_names_and_are_the_same_for_the_same_seed(posterior: neyman.Posterior) -> None:
    events = neyman.Events([[0.4], [1.2]])
    draws = posterior.sample(events, n=500, seed=3)
    assert (draws.names, len(draws), draws["theta"].shape, draws.warnings) == (("theta",), 500, (500,), ())
    assert np.array_equal(draws.draws, posterior.sample(events, n=500, seed=3).draws)
    assert not np.array_equal(draws.draws, posterior.sample(events, n=500, seed=4).draws)


def test_many_datasets_are_drawn_of_at_once(posterior: neyman.Posterior) -> None:
    _, x, offsets = thrown(10, n=200)
    draws = posterior.sample_many(posterior.encode_many(x.reshape(-1, 1), offsets), 400, seed=1)
    mean, width = exact(x)
    assert draws.shape == (200, 400, 1)
    assert np.median(draws[:, :, 0].std(axis=1)) == pytest.approx(width, rel=0.05)
    assert (draws[:, :, 0].mean(axis=1) - mean).std() < 0.2 * width


def test_summaries_add_so_that_a_posterior_is_updated_event_by_event(posterior: neyman.Posterior) -> None:
    _, x, _ = thrown(10, n=1)
    summary = posterior.encode(x[0, :1])
    for event in x[0, 1:]:
        summary += posterior.encode(event[None])
    assert summary.events == 10.0
    joint, added = (posterior.sample(data, n=50).draws for data in (x[0], summary))
    assert added == pytest.approx(joint, abs=1e-5)  # sums in another order


def test_data_are_events_arrays_ensembles_or_data_vectors(posterior: neyman.Posterior) -> None:
    x = np.array([[0.4], [1.2], [-0.3]])
    events = neyman.Events(x)
    ensemble = neyman.Ensemble({"events": events})
    vector = np.array([3.0, *(number for (value,) in x for number in (0.0, value, 1.0))])  # main, then the events
    wanted = posterior.sample(events, n=20).draws
    for data in (x, x.tolist(), ensemble, vector, posterior.encode(events)):
        assert posterior.sample(data, n=20).draws == pytest.approx(wanted, abs=1e-6)


def test_of_an_empty_dataset_the_prior_is_drawn_and_said_so(posterior: neyman.Posterior) -> None:
    draws = posterior.sample(np.empty((0, 1)), n=5000, seed=1)
    assert scipy.stats.kstest(draws["theta"], scipy.stats.norm(0, 2).cdf).pvalue > 1e-3
    assert "empty" in draws.warnings[0]
    assert "prior" in draws.warnings[0]
    assert posterior.log_prob([[1.0]], np.empty((0, 1)))[0] == pytest.approx(scipy.stats.norm(0, 2).logpdf(1.0))


def test_more_events_than_in_any_training_are_warned_of(posterior: neyman.Posterior) -> None:
    [warning] = posterior.sample(np.zeros((99, 1)), n=10).warnings
    assert "99 events" in warning
    assert "1 to 30" in warning


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((3, 2)), "2 features"),
        (np.full((3, 1), np.nan), "not finite"),
        (np.zeros(5), "array \\(events, 1\\)"),
        (np.zeros((3, 1, 1)), "shape"),
        ("events.root", "str"),
        (neyman.Ensemble({"SR": neyman.Events([[1.0]])}), "events"),
    ],
)
def test_what_is_no_dataset_is_refused(posterior: neyman.Posterior, data: object, message: str) -> None:
    with pytest.raises(InvalidEnsemble, match=message):
        posterior.sample(data)


def test_a_summary_of_another_posterior_is_refused(posterior: neyman.Posterior) -> None:
    mine = posterior.encode(np.zeros((2, 1)))
    other = neyman.PosteriorSummary(mine.sums, "another")
    with pytest.raises(InvalidEnsemble, match="another posterior"):
        posterior.sample(other)
    with pytest.raises(InvalidEnsemble, match="different posteriors"):
        mine + other


def test_summaries_of_a_transformer_do_not_add() -> None:
    summary = neyman.PosteriorSummary(np.zeros(3), "one", additive=False)
    with pytest.raises(Unsupported, match="joint dataset"):
        summary + summary


@pytest.mark.parametrize(
    ("arguments", "message"), [({"n": 0}, "n is 0"), ({"n": 2.5}, "n is 2.5"), ({"seed": -1}, "seed is -1")]
)
def test_odd_numbers_of_draws_and_seeds_are_refused(
    posterior: neyman.Posterior, arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidParameter, match=message):
        posterior.sample(np.zeros((2, 1)), **arguments)


def test_densities_take_points_of_all_parameters(posterior: neyman.Posterior) -> None:
    with pytest.raises(InvalidParameter, match="theta"):
        posterior.log_prob([0.0, 1.0], np.zeros((2, 1)))


def test_auxiliary_data_other_than_nominal_are_refused(constrained_posterior: neyman.Posterior) -> None:
    events = {"events": neyman.Events([[0.4]])}
    constrained_posterior.sample(neyman.Ensemble(events, auxdata=[1.0]), n=5)
    with pytest.raises(InvalidEnsemble, match="part of the prior"):
        constrained_posterior.sample(neyman.Ensemble(events, auxdata=[1.2]), n=5)


def test_draws_stay_within_the_bounds(constrained_posterior: neyman.Posterior) -> None:
    draws = constrained_posterior.sample(np.full((200, 1), -7.0), n=2000)
    (low, high), nu = simulators.MU["bounds"][0], simulators.NU["bounds"][0]
    assert low <= draws["mu"].min() < draws["mu"].max() <= high
    assert nu[0] <= draws["nu"].min() < draws["nu"].max() <= nu[1]


def test_it_names_itself(posterior: neyman.Posterior) -> None:
    assert repr(posterior) == "Posterior(theta | deepset of x)"
    assert "<td>theta</td><td>norm(0, 2)</td><td>-20 to 20</td>" in posterior._repr_html_()
