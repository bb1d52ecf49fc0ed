"""The on/off example: its exact likelihood, its files, and the comparison of any model with it."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyhf
import pytest
import scipy.optimize
import scipy.stats
import torch
import uproot

import neyman

ONOFF = Path(__file__).parents[2] / "examples" / "onoff"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a script of the example under its own name, for as long as a test lasts: other examples have that name."""
    spec = importlib.util.spec_from_file_location(name, ONOFF / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("exact", monkeypatch)


@pytest.fixture
def toys(exact: ModuleType) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    # no events, no background-like events: the best fit is at a bound
    odd = [np.empty((0, 1)), np.full((130, 1), -7.0), np.full((5, 1), 2.0)]
    return [exact.sample(point, rng) for point in exact.POINTS] + odd


def twice_nll(pars: np.ndarray, x: np.ndarray) -> float:
    """-2 log L as the problem states it."""
    mu, nu = pars
    f = 10 * mu * scipy.stats.norm.pdf(x, -7, 2) + 100 * nu * scipy.stats.norm.pdf(x, 0, 3)
    return float(2 * (10 * mu + 100 * nu) - 2 * np.log(f).sum())


def minimum(x: np.ndarray, mu: float | None = None) -> tuple[np.ndarray, float]:
    """The minimum by scipy within the bounds, with mu held if it is given."""
    bounds = [(0.0, 12.0) if mu is None else (mu, mu), (0.1, 2.5)]
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000}
    starts = [[1.0 if mu is None else mu, 1.0], [5.0 if mu is None else mu, 0.5]]
    fits = [scipy.optimize.minimize(twice_nll, s, (x,), "L-BFGS-B", bounds=bounds, options=options) for s in starts]
    best = min(fits, key=lambda fit: fit.fun)
    return best.x, float(best.fun)


def test_the_best_fits_of_many_datasets_are_those_of_scipy_one_by_one(exact, toys):
    found = exact.best_fit(toys)[0]
    for pars, x in zip(found, toys, strict=True):
        reference, value = minimum(x)
        # scipy differentiates numerically: its parameters are good to the root of what its function is good to
        np.testing.assert_allclose(pars, reference, atol=1e-4)
        assert twice_nll(pars, x) < value + 1e-6


def test_the_test_statistic_is_that_of_scipy(exact, toys):
    for mu in (0.0, 2.0, 9.0):
        t = exact.test_statistic(toys, mu)
        reference = [minimum(x, mu)[1] - minimum(x)[1] for x in toys]
        np.testing.assert_allclose(t, reference, atol=1e-4)


def test_the_test_statistic_takes_a_value_for_each_dataset(exact, toys):
    mu = np.linspace(0.0, 10.0, len(toys))
    alone = [exact.test_statistic([x], value)[0] for x, value in zip(toys, mu, strict=True)]
    np.testing.assert_allclose(exact.test_statistic(toys, mu), alone, atol=1e-8)


def test_the_interval_ends_where_the_test_statistic_is_at_the_threshold_or_at_a_bound(exact, toys):
    for threshold in (1.0, 3.84):
        ends = exact.interval(toys, threshold)
        for end, bound in zip(ends.T, (0.0, 12.0), strict=True):
            t = exact.test_statistic(toys, end)
            at_bound = np.abs(end - bound) < 1e-9
            assert np.all(t[at_bound] <= threshold + 1e-6)
            np.testing.assert_allclose(t[~at_bound], threshold, atol=1e-6)
        assert np.all(ends[:, 0] <= exact.best_fit(toys)[0][:, 0])
        assert np.all(ends[:, 1] >= exact.best_fit(toys)[0][:, 0])


def test_a_sample_has_the_expected_number_of_events_of_each_kind(exact):
    rng = np.random.default_rng(3)
    samples = [exact.sample((5.0, 0.8), rng) for _ in range(400)]
    # 130 events expected, the mean of 400 datasets is good to 0.57
    assert np.mean([len(x) for x in samples]) == pytest.approx(130, abs=4 * 0.57)
    # the mean of all: -7 * 50 / 130; the spread of one event is 4.3, of 52,000 0.02
    assert np.concatenate(samples).mean() == pytest.approx(-7 * 50 / 130, abs=0.08)
    assert samples[0].shape[1] == 1


def test_the_sampler_can_be_sent_to_a_worker(exact):
    assert pickle.loads(pickle.dumps(exact.sample)) is exact.sample


def test_the_files_have_the_expected_yields(exact, monkeypatch, tmp_path):
    script("make_ntuples", monkeypatch).make_ntuples(tmp_path, events=1000)
    for name, expected in (("signal", 10.0), ("background", 100.0)):
        with uproot.open({tmp_path / f"{name}.root": "nominal"}) as tree:
            assert tree["w"].array(library="np").sum() == pytest.approx(expected)
            assert tree.num_entries == 1000
    with uproot.open({tmp_path / "data.root": "nominal"}) as tree:
        assert tree.keys() == ["x"]


class Exact:
    """The exact likelihood with what the comparison needs of a model; ``shift`` moves the signal's shape."""

    def __init__(self, exact: ModuleType, shift: float = 0.0) -> None:
        channel = {
            "name": "events",
            "samples": [
                {"name": name, "data": [rate], "modifiers": [{"name": par, "type": "normfactor", "data": None}]}
                for name, rate, par in (("signal", 10.0, "mu"), ("background", 100.0, "nu"))
            ],
        }
        parameters = [
            {"name": name, "bounds": [list(bounds)], "inits": [1.0]}
            for name, bounds in zip(("mu", "nu"), exact.BOUNDS, strict=True)
        ]
        self.config = pyhf.Model({"channels": [channel], "parameters": parameters}, poi_name="mu").config
        self._exact, self._shift = exact, shift

    def data(self, ensemble: neyman.Ensemble) -> np.ndarray:
        return ensemble.events["events"].features[:, 0].astype(float)

    def evaluate(self, pars: np.ndarray, data: np.ndarray) -> tuple[float, np.ndarray]:
        mu, nu = (pars[self.config.par_names.index(name)] for name in ("mu", "nu"))
        ratio = np.exp(self._exact.log_density_ratio(data - self._shift))
        f = 10 * mu * ratio + 100 * nu
        slopes = {"mu": (10 * ratio / f).sum() - 10, "nu": (100 / f).sum() - 100}
        value = np.log(f).sum() - 10 * mu - 100 * nu
        return float(value), np.array([slopes[name] for name in self.config.par_names])


@pytest.fixture
def run(exact: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("make_ntuples", "covering"):
        script(name, monkeypatch)
    script("learned_statistic", monkeypatch)
    return script("run", monkeypatch)


@pytest.mark.parametrize("point", [(5.0, 1.0), (0.0, 1.0), (9.0, 1.7)])
def test_the_exact_likelihood_compared_with_itself_agrees(exact, run, point):
    found = run.compare(Exact(exact), run.toys_at(point, 20, seed=1), point[0], channel="events")
    assert found["width ratio"] == pytest.approx(1.0, abs=1e-3)  # events are float32 in a model, and fits end at 2e-5
    assert found["rms of t"] < 1e-3
    assert abs(found["bias"]) < 5e-3
    assert found["coverage"] == found["exact coverage"]


def test_a_wrong_likelihood_is_found_out(exact, run):
    found = run.compare(Exact(exact, shift=0.5), run.toys_at((5.0, 1.0), 50, seed=1), 5.0, channel="events")
    assert abs(found["bias"]) > 5 * found["error of bias"]
    assert found["rms of t"] > 0.1


def test_the_length_of_what_is_accepted_is_interpolated_between_the_tested_values(run):
    # accepted from 0.5 to 3.25 in one dataset, everywhere in the next, nowhere in the last
    below = np.array([[-1.0, 1.0, 1.0, -3.0], [1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]]).T
    widths = [sys.modules["covering"].width(np.array([0.0, 1.0, 3.0, 4.0]), below[:, [i]])["width"] for i in range(3)]
    assert widths == pytest.approx([2.75, 4.0, 0.0])


@pytest.fixture
def few(run: ModuleType, tmp_path: Path) -> neyman.Model:
    """The networks that have seen 60 events a sample, with a pool of 20,000."""
    torch.set_num_threads(1)
    return run.with_pool(run.trained(tmp_path, run.FEW), 20_000, seed=1)


def test_a_new_pool_is_encoded_like_data(few):
    pool = few.learned["SR"].pool
    np.testing.assert_array_equal(few.learned["SR"].encode(neyman.Events(pool.features)).ratios, pool.summary.ratios)
    assert pool.samples.tolist() == sorted(20_000 * [0, 1])
    signal = pool.features[pool.samples == few.learned["SR"].samples.index("signal")]
    assert signal.mean() == pytest.approx(-7.0, abs=0.06)  # four times 2 / sqrt(20,000)


@pytest.mark.slow
def test_toys_make_a_bad_network_cover_where_asymptotic_formulas_do_not(run, few):
    truths, values = [(0.0, 1.0), (1.0, 1.0)], np.array([0.0, 0.5, 1.0, 2.0])
    rows = run.construct(few, run.with_pool(few, 20_000, seed=2), truths, values, n_toys=1000, n_calibration=500)
    assert len(rows) == 4
    for row in rows:
        # the 2000 toys behind a critical value are known to 1.0 % as the 1000 datasets are to 1.5 %
        assert row["toys"] == pytest.approx(row["level"], abs=4 * 0.018)
        assert row["asymptotics"] < row["level"] - 0.1


@pytest.mark.slow
def test_networks_of_a_single_step_cover_on_other_events_if_these_are_encoded_as_toys_are(run):
    torch.set_num_threads(1)
    cover = {}
    for encoding in ("fold", "mean"):
        rows = run.hasty("step", encoding, seed=0, n_toys=600)
        assert rows[0]["disagreement"] > 1.0
        cover[encoding] = np.array([row["toys"] for row in rows if row["level"] == 0.68])
    # 600 datasets and 600 toys know each to 2.7 %; where the true mu is zero the best fit may be zero more often
    assert np.all(cover["fold"] > 0.68 - 4 * 0.027)
    assert np.all(cover["fold"][:-1] < 0.68 + 4 * 0.027)
    assert cover["fold"][:-1].mean() == pytest.approx(0.68, abs=4 * 0.027 / np.sqrt(8))
    assert np.median(cover["mean"]) < 0.3
