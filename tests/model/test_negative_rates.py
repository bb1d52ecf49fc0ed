"""Rates below zero where the density of events stays positive: toys, Asimov data, fits and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neyman
from neyman.exceptions import InvalidParameter
from neyman.inference.batch import fit_batch
from neyman.model.toys import Toys, draw

N = 600


def at(model: neyman.Model, **values: float) -> np.ndarray:
    pars = np.array(model.config.suggested_init())
    for name, value in values.items():
        pars[model.config.par_names.index(name)] = value
    return pars


def mean_of(toys: Toys, keep: slice = slice(None)) -> np.ndarray:
    return toys[keep].events["SR"].features.mean(axis=0)


def expected_mean(model: neyman.Model, pars: np.ndarray) -> np.ndarray:
    """Return the mean of the features: that of the samples with their rates, of either sign."""
    channel, term = model.learned["SR"], model.terms[0]
    pool, rates = channel.pool, model.rates(pars)[0][term.samples, term.bin]
    unit = np.stack([pool.samples == c for c in range(len(rates))]) * pool.summary.weights
    shapes = channel.densities(pool.summary, pars[term.parameters]) / pool.summary.ratios
    parts = unit * shapes
    return rates @ ((parts @ pool.features) / parts.sum(axis=1, keepdims=True)) / rates.sum()


@pytest.mark.parametrize("source", ["simulation", "model"])
def test_toys_at_a_negative_rate_have_the_total_rate_and_the_difference_of_densities(
    model: neyman.Model, source: str
) -> None:
    pars = at(model, mu=-0.8)
    toys = draw(pars, model, N, seed=1, source=source)
    total = model.rates(pars)[0].sum(axis=0)
    assert toys.main.mean(axis=0) == pytest.approx(total, abs=5 * np.sqrt(total.max() / N))
    assert toys.main.var(axis=0) / total == pytest.approx(1.0, abs=5 * np.sqrt(2 / N))
    spread = 1.6 / np.sqrt(toys.main[:, model.terms[0].bin].sum())
    # five errors, and 1.5 % of a width for the small network, whose densities thin the events
    assert mean_of(toys) == pytest.approx(expected_mean(model, pars), abs=5 * spread + 0.025)


def test_toys_each_at_its_own_parameters_are_thinned_at_these(model: neyman.Model) -> None:
    rng = np.random.default_rng(3)
    points = np.tile(at(model, mu=-0.5), (400, 1))
    scale = model.config.par_names.index("scale")
    points[:, scale] = rng.normal(0.0, 0.2, size=400) + np.repeat([1.5, -1.5], 200)
    points[:, model.config.poi_index] = np.repeat([-0.8, 0.8], 200)
    toys = draw(points, model, seed=2)
    for half, expected in (
        (slice(None, 200), at(model, mu=-0.8, scale=1.5)),
        (slice(200, None), at(model, mu=0.8, scale=-1.5)),
    ):
        total = model.rates(expected)[0].sum(axis=0)[model.terms[0].bin]
        assert toys[half].main[:, model.terms[0].bin].mean() == pytest.approx(total, abs=5 * np.sqrt(total / 200))
        error = 5 * 1.6 / np.sqrt(total * 200) + 0.03
        assert mean_of(toys, half) == pytest.approx(expected_mean(model, expected), abs=error)


def test_fits_of_toys_at_a_negative_rate_find_it(model: neyman.Model) -> None:
    pars = at(model, mu=-0.5)
    toys = draw(pars, model, 200, seed=4)
    order = model.config.par_names.index("mu")
    bounds = list(model.config.suggested_bounds())
    bounds[order] = (-2.0, 5.0)
    fits = fit_batch(model, toys, init=pars, bounds=bounds, fixed={})
    found = fits.pars[fits.valid, order]
    assert fits.valid.mean() > 0.99
    assert found.mean() == pytest.approx(-0.5, abs=5 * found.std() / np.sqrt(len(found)) + 0.1 * found.std())


def test_a_fit_of_asimov_data_at_a_negative_rate_returns_it(model: neyman.Model) -> None:
    pars = at(model, mu=-0.5)
    found = neyman.fit(model.expected_data(pars), model, bounds={"mu": (-3.0, 3.0)})
    assert found.bestfit == pytest.approx(pars, abs=1e-3 * found.uncertainty.max())


@pytest.mark.parametrize(
    "ask", [lambda model, pars: draw(pars, model, 1), lambda model, pars: model.expected_data(pars)]
)
def test_where_the_density_is_negative_the_message_names_sample_and_events(model: neyman.Model, ask: Any) -> None:
    message = r"sample signal has a rate of -200, .*negative at \d+ of \d+ simulated events, by .* %"
    with pytest.raises(InvalidParameter, match=message):
        ask(model, at(model, mu=-5.0))
