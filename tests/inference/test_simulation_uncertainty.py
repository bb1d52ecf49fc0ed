"""What the finite simulation adds to a fit, against what independent simulations give."""

from __future__ import annotations

import numpy as np
import pytest

import neyman
from neyman.inference.simulation import score_covariance

SIGNAL, BACKGROUND = np.array([2.0, 5.0, 10.0]), np.array([80.0, 50.0, 20.0])


def filled(number: int, rng: np.random.Generator, staterror: bool = False) -> neyman.Model:
    """Return a model of two samples in three bins, filled with a random number of about as many weighted events."""
    samples, errors = [], {}
    for name, contents, share in (("signal", SIGNAL, 0.5), ("background", BACKGROUND, 2.0)):
        weight = contents.sum() / (share * number)
        filled = rng.poisson(contents / weight)
        errors[name] = (weight * np.sqrt(filled)).tolist()
        modifiers = [{"name": "mu", "type": "normfactor", "data": None}] if name == "signal" else []
        if staterror:
            modifiers.append({"name": f"mcstat_{name}", "type": "staterror", "data": errors[name]})
        samples.append({"name": name, "data": (weight * filled).tolist(), "modifiers": modifiers})
    spec = {"channels": [{"name": "SR", "samples": samples}]}
    return neyman.Model(spec, {}, poi_name="mu", simulation_errors={"SR": errors})


def test_bins_filled_with_events_have_the_spread_of_independent_simulations():
    rng = np.random.default_rng(1)
    data = SIGNAL + BACKGROUND  # as expected: only the simulations differ
    fits = [neyman.fit(data, filled(2000, rng)) for _ in range(150)]
    found = np.array([fit["mu"] for fit in fits])
    predicted = np.sqrt(np.mean([fit.simulation[0] ** 2 for fit in fits]))
    # 150 simulations know the spread to 6 per cent
    assert found.std() == pytest.approx(predicted, rel=0.17)


def test_what_a_staterror_has_in_the_likelihood_is_not_added_to_it():
    one = filled(2000, np.random.default_rng(2), staterror=True)
    fit = neyman.fit([*(SIGNAL + BACKGROUND), *one.config.auxdata], one)
    assert fit.simulation == pytest.approx(0.0)
    without = neyman.fit(SIGNAL + BACKGROUND, filled(2000, np.random.default_rng(2)))
    assert fit.error("mu") == pytest.approx(np.hypot(without.error("mu"), without.simulation[0]), rel=0.03)


def test_lists_of_numbers_are_not_known_to_be_simulated():
    spec = {"channels": [{"name": "SR", "samples": [{"name": "signal", "data": [5.0], "modifiers": [
        {"name": "mu", "type": "normfactor", "data": None}]}]}]}  # fmt: skip
    model = neyman.Model(spec, {}, poi_name="mu")
    assert score_covariance(model, [1.0]) is None
    fit = neyman.fit([5.0], model)
    assert fit.simulation is None
    assert "simulation" not in repr(fit)
