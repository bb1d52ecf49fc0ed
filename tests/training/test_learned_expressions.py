"""Rates that are expressions of parameters on a learned channel: gradients, fits, toys, Asimov sets, limits, files."""

from __future__ import annotations

from pathlib import Path

import cabinetry
import numpy as np
import pyhf
import pytest
import uproot

import neyman
from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.batch import fit_batch
from neyman.model.toys import draw


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> neyman.Model:
    """Signal, background and both together, whose coefficients are expressions of mu and of a coupling of the norm."""
    folder: Path = tmp_path_factory.mktemp("events")
    rng = np.random.default_rng(0)
    number, signal, background = 1000, 60.0, 200.0
    # the squares of the amplitudes' sum: with normal densities their product is a normal density halfway between
    crossed = 2.0 * 0.5 * np.sqrt(signal * background) * np.exp(-1.0 / 8.0)
    both = signal + background + crossed
    shares = np.array([signal, background, crossed]) / both
    for name, mean in (("S", 1.0), ("SBI", rng.choice([1.0, 0.0, 0.5], number, p=shares)), ("B", 0.0)):
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("t", {"x": "float64"})
            file["t"].extend({"x": rng.normal(mean, 1.0, number)})

    def sample(name: str, weight: float) -> dict[str, object]:
        own = {"name": f"c_{name}", "type": "purefunc", "data": None}
        xsec = {"name": "xsec", "type": "normsys", "data": {"hi": 1.05, "lo": 0.95}}
        events = {"files": f"{name}.root", "weight": weight}
        return {"name": name, "events": events, "modifiers": [own, xsec]}

    samples = [sample("S", signal / number), sample("SBI", both / number), sample("B", background / number)]
    learned = {"name": "SR", "features": ["x"], "events": {"tree": "t"}, "network": {"folds": 2, "epochs": 2}}
    bindings = [
        {"names": ["c_S", "c_SBI", "c_B"], "expressions": "(mu - t, t, 1 - t)", "language": "sympy"},
        {"names": ["t"], "expressions": "sqrt(mu) * exp(xsec / 50)", "language": "sympy"},
    ]
    document = {
        "version": "1.0.0",
        "bindings": bindings,
        "channels": [{**learned, "samples": samples}],
        "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
    }
    return neyman.train(neyman.Workspace(document, folder), seed=0)


@pytest.fixture(scope="module")
def data(model: neyman.Model) -> np.ndarray:
    return model.data(draw(at(model, 1.4), model, 1, seed=3).ensemble(0))


def at(model: neyman.Model, mu: float, xsec: float = 0.0) -> np.ndarray:
    pars = np.full(2, xsec)
    pars[model.config.poi_index] = mu
    return pars


def test_the_gradient_is_exact(model, data):
    for pars in (at(model, 0.4, -0.5), at(model, 2.0, 0.7)):
        shifts = 1e-5 * np.eye(2)
        expected = [(model.evaluate(pars + d, data)[0] - model.evaluate(pars - d, data)[0]) / 2e-5 for d in shifts]
        np.testing.assert_allclose(model.evaluate(pars, data)[1], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("mu", [0.0, 0.1, 1.0, 4.0])
def test_a_fit_of_the_asimov_data_returns_the_parameters(model, mu):
    fit = neyman.fit(model.expected_data(at(model, mu)), model)
    assert fit.valid
    assert fit["mu"] == pytest.approx(mu, abs=2e-3)


def test_fits_one_by_one_and_in_batches_agree_with_each_other_and_cabinetry(model, data):
    toys = draw(at(model, 0.2), model, 6, seed=1)
    batch = fit_batch(model, toys)
    for toy in range(6):
        fit = neyman.fit(toys.summary(toy), model)
        assert fit.valid
        assert batch.twice_nll[toy] == pytest.approx(fit.twice_nll, abs=2e-3)
    theirs, ours = cabinetry.fit.fit(model, data), neyman.fit(data, model)
    np.testing.assert_allclose(theirs.bestfit, ours.bestfit, atol=0.02)


def test_limits_and_hypothesis_tests_work(model, data):
    limit = neyman.limit(data, model)
    assert neyman.fit(data, model)["mu"] < limit.observed < 6.0
    assert pyhf.infer.hypotest(limit.observed, data, model, test_stat="qtilde") == pytest.approx(0.05, abs=2e-3)
    interval = neyman.interval(data, model, calibration="asymptotics")
    assert interval.intervals


def test_the_model_file_has_the_bindings(model, data, tmp_path):
    model.save(tmp_path / "model.neyman")
    loaded = neyman.Model.load(tmp_path / "model.neyman")
    assert loaded.logpdf(at(model, 0.7), data) == pytest.approx(model.logpdf(at(model, 0.7), data))


def test_outside_of_the_domain_nothing_exists(model, data):
    assert model.logpdf(at(model, -0.2), data) == [-np.inf]
    with pytest.raises(FailedFit, match=r"has no value at mu = -0.2"):
        neyman.fit(data, model, fixed={"mu": -0.2})
    with pytest.raises(InvalidParameter, match=r"has no value at mu = -0.2"):
        neyman.toys(at(model, -0.2), model, 3)
