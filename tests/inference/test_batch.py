"""Batched fits: iminuit's minima, also at bounds, with hardly any events, and with parameters held fixed."""

from __future__ import annotations

import numpy as np
import pytest

import neyman
import neyman.inference.batch
from neyman.exceptions import InvalidParameter
from neyman.inference.batch import BatchNLL, fit_batch
from neyman.model.toys import Toys, draw

WORST = 1e-3  # in -2 log L


def at(model: neyman.Model, **values: float) -> np.ndarray:
    pars = np.array(model.config.suggested_init())
    for name, value in values.items():
        pars[model.config.par_names.index(name)] = value
    return pars


def counting(signal: list[float], background: list[float], *modifiers: dict) -> neyman.Model:
    samples = [
        {"name": "signal", "data": signal, "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": background, "modifiers": list(modifiers)},
    ]
    return neyman.Model({"channels": [{"name": "CR", "samples": samples}]}, {}, poi_name="mu")


def minima(toys: Toys, **arguments: object) -> np.ndarray:
    """Return -2 log L of every toy as iminuit fits it, from the values that the toy's events have in the pool."""
    fits = [neyman.fit(toys.summary(toy), toys.model, **arguments) for toy in range(len(toys))]
    return np.array([fit.twice_nll for fit in fits])


def agree(fits: neyman.inference.batch.BatchFit, expected: np.ndarray) -> None:
    assert fits.valid.all()
    assert np.abs(fits.twice_nll - expected).max() < WORST


@pytest.mark.parametrize("source", ["simulation", "model"])
def test_mixed_learned_and_binned_toys_get_the_minima_of_iminuit(model: neyman.Model, source: str) -> None:
    toys = draw(at(model, scale=0.5), model, 25, source=source)
    fits = fit_batch(model, toys)
    agree(fits, minima(toys))
    assert fits.fallbacks == 0


def test_value_and_gradient_are_those_of_the_model(model: neyman.Model) -> None:
    toys = draw(at(model), model, 6)
    pars = at(model) + np.random.default_rng(0).normal(0.0, [0.5, 0.02, 0.05, 0.4], size=(6, 4))
    value, gradient, _ = BatchNLL(model, toys)(pars, np.arange(6))
    for i in range(6):
        expected = model.evaluate_encoded(pars[i], toys.main[i], toys.auxdata[i], toys.summaries(i))
        assert value[i] == pytest.approx(-2.0 * expected[0])
        assert gradient[i] == pytest.approx(-2.0 * expected[1], rel=1e-6, abs=1e-5)


def test_the_stand_in_for_the_hessian_is_that_of_many_toys_on_average(model: neyman.Model) -> None:
    pars, n = at(model), 300
    nll = BatchNLL(model, draw(pars, model, n, source="model"))
    _, gradient, hessian = nll(np.tile(pars, (n, 1)), np.arange(n))
    found, expected = np.cov(gradient.T), 2.0 * hessian.mean(axis=0)
    widths = np.sqrt(np.diag(expected))
    assert np.abs((found - expected) / np.outer(widths, widths)).max() < 5 * np.sqrt(2.0 / n)


def test_a_toy_at_the_lower_bound_stays_there(model: neyman.Model) -> None:
    toys = draw(at(model, mu=0.0), model, 30)
    fits = fit_batch(model, toys)
    at_bound = fits.pars[:, model.config.poi_index] == 0.0
    assert 5 < at_bound.sum() < 25
    agree(fits, minima(toys))


def test_narrow_bounds_on_everything_are_kept(model: neyman.Model) -> None:
    bounds = {"mu": (0.9, 1.1), "norm": (0.99, 1.01), "scale": (-0.1, 0.1), "lumi": (0.999, 1.001)}
    toys = draw(at(model), model, 15)
    fits = fit_batch(model, toys, bounds=bounds)
    lows, highs = np.array([bounds[name] for name in model.config.par_names]).T
    assert np.all((fits.pars >= lows) & (fits.pars <= highs))
    agree(fits, minima(toys, bounds=bounds))


def test_parameters_may_be_held_at_one_value(model: neyman.Model) -> None:
    toys = draw(at(model), model, 15)
    fits = fit_batch(model, toys, fixed={"mu": 0.3, "scale": 1.0})
    assert set(fits.pars[:, model.config.poi_index]) == {0.3}
    agree(fits, minima(toys, fixed={"mu": 0.3, "scale": 1.0}))


def test_parameters_may_be_held_at_a_value_for_each_toy(model: neyman.Model) -> None:
    toys, values = draw(at(model), model, 4), np.array([0.0, 0.5, 1.0, 2.0])
    fits = fit_batch(model, toys, fixed={"mu": values})
    assert fits.pars[:, model.config.poi_index].tolist() == values.tolist()
    for i, value in enumerate(values):
        assert fits.twice_nll[i] == pytest.approx(minima(toys[i : i + 1], fixed={"mu": value})[0], abs=WORST)


def test_with_everything_fixed_the_likelihood_is_only_evaluated(model: neyman.Model) -> None:
    toys, pars = draw(at(model), model, 3), at(model, mu=0.7)
    fits = fit_batch(model, toys, fixed=dict(zip(model.config.par_names, pars, strict=True)))
    expected = model.evaluate_encoded(pars, toys.main[1], toys.auxdata[1], toys.summaries(1))[0]
    assert fits.twice_nll[1] == pytest.approx(-2.0 * expected)
    assert fits.valid.all()


@pytest.mark.parametrize("events", [0.3, 2.0])
def test_toys_of_hardly_any_events(model: neyman.Model, events: float) -> None:
    # a norm and a mu of a thousandth leave a toy with zero, one or two events
    bounds = {"norm": (1e-4, 10.0)}
    toys = draw(at(model, norm=0.5 * events / 300, mu=0.5 * events / 40), model, 40)
    numbers = toys.events["SR"].numbers
    assert 0 in numbers
    assert 1 in numbers
    fits = fit_batch(model, toys, init=at(model, norm=0.01), bounds=bounds)
    expected = minima(toys, bounds=bounds, init=list(at(model, norm=0.01)))
    assert fits.valid.all()
    assert (fits.twice_nll - expected).max() < WORST  # iminuit stops early in some of them


def test_toys_without_any_event_in_the_whole_batch(model: neyman.Model) -> None:
    toys = draw(at(model, norm=1e-6, mu=0.0), model, 3)
    assert len(toys.events["SR"].index) == 0
    fits = fit_batch(model, toys, bounds={"norm": (1e-4, 10.0)})
    assert fits.pars[:, model.config.par_names.index("norm")] == pytest.approx(1e-4)


def test_counts_with_known_background_have_their_fit_in_closed_form() -> None:
    model = counting([1.0], [3.0])
    toys = draw([2.0], model, 500)
    fits = fit_batch(model, toys, bounds={"mu": (0.0, 30.0)})
    assert fits.pars[:, 0] == pytest.approx(np.maximum(toys.main[:, 0] - 3.0, 0.0), abs=1e-3)
    assert fits.fallbacks == 0


@pytest.mark.parametrize(
    "modifier",
    [
        {"name": "xsec", "type": "normsys", "data": {"hi": 1.3, "lo": 0.6}},
        {"name": "tilt", "type": "histosys", "data": {"hi_data": [7.0, 1.0], "lo_data": [3.0, 2.5]}},
        {"name": "uncorrelated", "type": "shapesys", "data": [2.0, 1.0]},
        {"name": "simulation", "type": "staterror", "data": [2.0, 1.0]},
    ],
)
def test_binned_models_get_the_minima_of_iminuit(modifier: dict) -> None:
    model = counting([3.0, 5.0], [5.0, 2.0], modifier)
    toys = draw(at(model, mu=0.5), model, 60)
    fits = fit_batch(model, toys)
    expected = minima(toys)
    assert fits.valid.all()
    assert (fits.twice_nll - expected).max() < WORST
    assert np.mean(np.abs(fits.twice_nll - expected) < WORST) > 0.95


def test_equal_toys_are_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = counting([1.0], [3.0])
    sizes = []
    monkeypatch.setattr(neyman.inference.batch, "BatchNLL", lambda m, t: sizes.append(len(t)) or BatchNLL(m, t))
    toys = draw([2.0], model, 1000)
    fits = fit_batch(model, toys)
    assert sizes == [len(set(toys.main[:, 0]))]
    assert len(fits) == 1000


def test_a_toy_that_does_not_converge_is_left_to_iminuit_and_counted(
    model: neyman.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys = draw(at(model), model, 3)
    expected = fit_batch(model, toys)
    monkeypatch.setattr(neyman.inference.batch, "ITERATIONS", 1)
    fits = fit_batch(model, toys)
    assert fits.fallbacks == 3
    agree(fits, expected.twice_nll)


def test_the_result_does_not_depend_on_the_other_toys_of_the_batch(model: neyman.Model) -> None:
    toys = draw(at(model), model, 12)
    together, alone = fit_batch(model, toys), fit_batch(model, toys[7:8])
    assert together.twice_nll[7] == pytest.approx(alone.twice_nll[0], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fixed": {"mue": 1.0}}, "did you mean 'mu'"),
        ({"fixed": {"mu": np.nan}}, "mu is fixed at is not finite"),
        (
            {"fixed": {"mu": [1.0, 2.0]}},
            r"fixed at is \[1.0, 2.0\]: it must be a number, or one for each of 3 toys",
        ),
        ({"init": [1.0, 2.0]}, "init has 2 entries for"),
        ({"bounds": {"mu": (2.0, 1.0)}}, "lower one must come first"),
    ],
)
def test_arguments_without_meaning_are_refused(model: neyman.Model, arguments: dict, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        fit_batch(model, draw(at(model), model, 3), **arguments)
