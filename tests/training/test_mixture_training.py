"""A trained mixture against the exact one: densities, scores, systematics, negative weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import background, signal
from scipy.stats import norm

from neyman.events import ChannelSimulation, Events
from neyman.exceptions import InvalidEvents
from neyman.networks.options import TrainingOptions
from neyman.training.mixture import train_mixture

QUICK = TrainingOptions(hidden=(16, 16), folds=3, epochs=6, minimum_steps=300)
YIELDS = {"signal": 40.0, "background": 300.0}


def exact_log_density(x, sample, alpha=0.0):
    if sample == "signal":
        return norm.logpdf(x, [1.0, -1.0], 1.0).sum(axis=1)
    return norm.logpdf(x, [0.3 * alpha, 0.0], 1.5).sum(axis=1)


def simulated(sampler, total, n=10_000, seed=0):
    return Events(sampler(n, np.random.default_rng(seed)), np.full(n, total / n))


@pytest.fixture(scope="module")
def simulation():
    def varied(alpha, seed):
        return simulated(lambda n, rng: background(n, rng, alpha), YIELDS["background"], seed=seed)

    return ChannelSimulation(
        "SR",
        ("x", "y"),
        {"signal": simulated(signal, 40.0, seed=1), "background": simulated(background, 300.0, seed=2)},
        {"signal": {}, "background": {"scale": (varied(1.0, 3), varied(-1.0, 4))}},
    )


@pytest.fixture(scope="module")
def channel(simulation):
    torch.set_num_threads(1)
    return train_mixture(simulation, QUICK, seed=1)[0]


def test_the_density_ratio_of_the_samples_is_the_exact_one(channel):
    x = np.concatenate([signal(300, np.random.default_rng(10)), background(300, np.random.default_rng(11))])
    summary = channel.encode(Events(x))
    learned = np.log(summary.ratios[0] / summary.ratios[1])
    exact = exact_log_density(x, "signal") - exact_log_density(x, "background")
    core = np.abs(exact) < 4
    # 10,000 events a class know the log-ratio to a few per cent where they are
    assert np.sqrt(np.mean((learned - exact)[core] ** 2)) < 0.15


@pytest.mark.parametrize("alpha", [-1.5, 0.5, 1.0])
def test_a_shape_systematic_is_the_exact_shift(channel, alpha):
    x = background(500, np.random.default_rng(12))
    summary = channel.encode(Events(x))
    shapes = channel.densities(summary, np.array([alpha]))
    learned = np.log(shapes[1] / summary.ratios[1])
    exact = exact_log_density(x, "background", alpha) - exact_log_density(x, "background")
    assert np.sqrt(np.mean((learned - exact) ** 2)) < 0.06 * max(abs(alpha), 1)


def test_the_varied_density_stays_normalised_on_the_pool(channel):
    own = channel.pool.samples == 1
    summary = channel.pool.summary
    for alpha in (-2.0, 0.7, 3.0):
        ratio = channel.densities(summary, np.array([alpha]))[1, own] / summary.ratios[1, own]
        assert np.average(ratio, weights=summary.weights[own]) == pytest.approx(1.0, abs=1e-4)


def test_every_score_averages_to_zero_on_the_labelled_simulation(channel):
    rates = np.array([40.0, 300.0])
    by_rate, by_alpha = channel.scores(channel.pool.summary, rates, np.zeros(1))
    weights = channel.pool.summary.weights * rates[channel.pool.samples]
    # the sums of scores are one and zero where the density is right; in units of the likelihood's own width
    information = (by_rate * weights) @ by_rate.T
    assert abs(weights @ by_rate[0] - 1) / np.sqrt(information[0, 0]) < 0.02
    assert abs(weights @ by_alpha[0]) / np.sqrt(weights @ by_alpha[0] ** 2) < 0.02


def test_one_sample_alone_needs_no_classifier_of_samples(simulation):
    alone = ChannelSimulation(
        "SR",
        ("x", "y"),
        {"background": simulation.samples["background"]},
        {"background": simulation.variations["background"]},
    )
    channel, report = train_mixture(alone, QUICK)
    assert channel.sample_classifier is None
    assert [c["name"] for c in report.classifiers] == ["variations of background"]
    assert channel.encode(simulation.samples["signal"]).ratios.shape == (1, 10_000)


def test_a_one_sided_variation_leaves_the_other_side_nominal(simulation):
    hi, _ = simulation.variations["background"]["scale"]
    one_sided = ChannelSimulation(
        "SR", ("x", "y"), simulation.samples, {"signal": {}, "background": {"scale": (hi, None)}}
    )
    channel, _ = train_mixture(one_sided, QUICK)
    summary = channel.encode(simulation.samples["background"])
    np.testing.assert_allclose(channel.densities(summary, np.array([-1.0])), summary.ratios, rtol=1e-6)
    assert np.std(np.log(channel.densities(summary, np.array([1.0]))[1] / summary.ratios[1])) > 0.1


@pytest.mark.parametrize("side", ["hi", "lo"])
def test_a_mirrored_side_is_the_exact_shift_the_other_way(simulation, side):
    hi, lo = simulation.variations["background"]["scale"]
    pair = (hi, None) if side == "hi" else (None, lo)
    mirrored = ChannelSimulation(
        "SR",
        ("x", "y"),
        {"background": simulation.samples["background"]},
        {"background": {"scale": pair}},
        frozenset({("background", "scale")}),
    )
    channel, _ = train_mixture(mirrored, QUICK, seed=1)
    x = background(500, np.random.default_rng(12))
    summary = channel.encode(Events(x))
    for alpha in (-1.5, -1.0, 1.0):
        learned = np.log(channel.densities(summary, np.array([alpha]))[0] / summary.ratios[0])
        exact = exact_log_density(x, "background", alpha) - exact_log_density(x, "background")
        # as for the side that was learned: a shifted Gaussian is log-linear in the shift
        assert np.sqrt(np.mean((learned - exact) ** 2)) < 0.06 * max(abs(alpha), 1)


def test_negative_weights_leave_the_density_right_and_the_pool_positive(simulation):
    rng = np.random.default_rng(20)
    extra = rng.normal(-2.0, 0.7, size=(4000, 2))  # adds as much as it takes away
    nominal = simulation.samples["background"]
    signed = Events(
        np.concatenate([nominal.features, extra]),
        np.concatenate([nominal.weights, np.tile([0.03, -0.03], 2000)]),
    )
    mixed = ChannelSimulation("SR", ("x", "y"), {"signal": simulation.samples["signal"], "background": signed}, {})
    channel, _ = train_mixture(mixed, QUICK)
    weights = channel.pool.summary.weights
    assert np.all(weights >= 0)
    own = channel.pool.samples == 1
    mean = weights[own] @ channel.pool.features[own] / weights[own].sum()
    np.testing.assert_allclose(mean, [0.0, 0.0], atol=0.12)
    x = background(300, np.random.default_rng(13))
    summary = channel.encode(Events(x))
    exact = exact_log_density(x, "signal") - exact_log_density(x, "background")
    learned = np.log(summary.ratios[0] / summary.ratios[1])
    core = np.abs(exact) < 3
    assert np.sqrt(np.mean((learned - exact)[core] ** 2)) < 0.3


def test_summaries_of_two_ensembles_add_up(channel):
    x = background(50, np.random.default_rng(14))
    both = channel.encode(Events(x[:20])) + channel.encode(Events(x[20:]))
    rates, alphas = np.array([40.0, 300.0]), np.array([0.4])
    whole = channel.log_ratio(channel.encode(Events(x)), rates, alphas)[0]
    assert channel.log_ratio(both, rates, alphas)[0] == pytest.approx(whole, abs=1e-6)


def test_too_few_events_are_an_error_that_names_the_sample(simulation):
    few = ChannelSimulation(
        "SR",
        ("x", "y"),
        {**simulation.samples, "signal": simulation.samples["signal"][:20]},
        {"signal": {}, "background": {}},
    )
    with pytest.raises(InvalidEvents, match="sample signal has 20 simulated events"):
        train_mixture(few, QUICK)


def test_each_classifier_has_a_checkpoint_of_its_own(tmp_path):
    rng = np.random.default_rng(30)
    weights = np.concatenate([np.ones(500), np.full(100, -0.5)])
    samples = {
        name: Events(rng.normal(shift, 1.0, size=(600, 1)), weights) for name, shift in (("tt/W", 0.0), ("tt/Z", 2.0))
    }
    simulation = ChannelSimulation("SR 1/2", ("x",), samples, {})
    options = TrainingOptions(hidden=(8,), folds=3, epochs=2, minimum_steps=20)
    first, _ = train_mixture(simulation, options, checkpoints=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3  # of the samples, and of the signs of either
    fresh, _ = train_mixture(simulation, options)
    assert np.array_equal(first.pool.summary.weights, fresh.pool.summary.weights)


def test_samples_that_share_their_events_get_values_from_networks_that_have_not_seen_them():
    """A sample and a heavier copy of it, with a variation that is noise: nothing can be learned, or it was by heart."""
    rng = np.random.default_rng(31)
    x = rng.normal(size=(300, 2))
    nominal, heavier = Events(x, np.ones(300)), Events(x, np.full(300, 2.0))
    varied = Events(x, rng.choice([0.2, 1.8], size=300))
    simulation = ChannelSimulation(
        "SR", ("x", "y"), {"a": nominal, "b": heavier}, {"a": {"noise": (varied, None)}, "b": {}}
    )
    options = TrainingOptions(hidden=(64,), folds=3, epochs=60, patience=60, learning_rate=0.02, minimum_steps=600)
    pool = train_mixture(simulation, options)[0].pool
    slope = pool.summary.slopes[0]
    # the two copies have the same values, although only one of them was among the variation's own events
    np.testing.assert_array_equal(slope[pool.samples == 0], slope[pool.samples == 1])
