"""The problems whose likelihood of a whole dataset is exact: held to brute force, and the comparison with them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from scipy.stats import multivariate_normal, norm

from neyman.exceptions import FailedFit

EXAMPLES = Path(__file__).parents[2] / "examples"
PROBLEMS = ("hierarchical", "offset", "narrow_resonance")


def loaded(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def problems() -> Iterator[dict[str, ModuleType]]:
    modules = {name: loaded(EXAMPLES / name / "exact.py", f"exact_{name}") for name in PROBLEMS}
    yield modules
    for name in PROBLEMS:
        del sys.modules[f"exact_{name}"]


@pytest.fixture
def hierarchical(problems: dict[str, ModuleType]) -> ModuleType:
    return problems["hierarchical"]


@pytest.fixture
def offset(problems: dict[str, ModuleType]) -> ModuleType:
    return problems["offset"]


@pytest.fixture
def narrow(problems: dict[str, ModuleType]) -> ModuleType:
    return problems["narrow_resonance"]


@pytest.fixture(scope="module")
def comparison() -> Iterator[ModuleType]:
    yield loaded(EXAMPLES / "comparison.py", "comparison_under_test")
    del sys.modules["comparison_under_test"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import an example's run.py under a name of its own, and forget the modules it has imported after the test."""
    names = ("exact", "comparison", "grid")
    known = {name: sys.modules.pop(name) for name in names if name in sys.modules}

    def run(folder: str) -> ModuleType:
        monkeypatch.syspath_prepend(EXAMPLES / folder)
        return loaded(EXAMPLES / folder / "run.py", f"{folder}_run")

    yield run
    for name in (*names, *(f"{folder}_run" for folder in PROBLEMS)):
        sys.modules.pop(name, None)
    sys.modules.update(known)


def assert_covers(inside: np.ndarray, probability: float) -> None:
    # four binomial errors
    assert inside.mean() == pytest.approx(probability, abs=4 * np.sqrt(probability * (1 - probability) / inside.size))


# -- the generators


@pytest.mark.parametrize(("name", "lowest", "highest"), [("hierarchical", 5, 1000), ("offset", 4, 600)])
def test_the_cardinality_is_log_uniform(problems: dict[str, ModuleType], name: str, lowest: int, highest: int) -> None:
    exact = problems[name]
    rng = np.random.default_rng(1)
    pars = np.zeros(len(exact.PARAMETERS))
    sizes = np.array([len(exact.sample(pars, rng)) for _ in range(4000)])
    assert (sizes.min(), sizes.max()) == (lowest, highest)
    # n is k with probability log((k + 1)/k)/log((K + 1)/k_min)
    unit = 5 if name == "hierarchical" else 1
    half = 14 * unit
    expected = np.log((14 + 1) / (lowest / unit)) / np.log((highest / unit + 1) / (lowest / unit))
    assert_covers(sizes <= half, expected)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_simulator_can_be_sent_to_other_processes(problems: dict[str, ModuleType], name: str) -> None:
    exact = problems[name]
    pars = [block["inits"][0] for block in exact.PARAMETERS]
    again = pickle.loads(pickle.dumps(exact.sample))
    x = exact.sample(pars, np.random.default_rng(3))
    np.testing.assert_array_equal(x, again(pars, np.random.default_rng(3)))
    assert x.shape[1] == len(exact.FEATURES)


def test_hierarchical_events_have_the_covariance_of_one_event_and_of_their_mean(hierarchical: ModuleType) -> None:
    rng = np.random.default_rng(4)
    toys = np.array([hierarchical.sample_n([0.5, 0.0, -1.0], 4, rng) for _ in range(8000)])
    # the scatter of an estimated covariance of order one is 1/sqrt(8000) = 0.011
    np.testing.assert_allclose(np.cov(toys[:, 0].T), hierarchical.SIGMA_Z + hierarchical.SIGMA_X, atol=0.06)
    np.testing.assert_allclose(np.cov(toys.mean(axis=1).T), hierarchical.covariance(4), atol=0.012)


def test_the_groups_of_a_dataset_are_mixed(hierarchical: ModuleType) -> None:
    rng = np.random.default_rng(5)
    toys = np.array([hierarchical.sample_n(np.zeros(3), 20, rng)[:, 0] for _ in range(4000)])
    # in order, neighbours would have the covariance 0.6 of a group's events; mixed, 4/99 of it
    assert np.mean(toys[:, 0] * toys[:, 1]) == pytest.approx(0.6 * 4 / 99, abs=4 * 1.4 / np.sqrt(4000))


# -- the hierarchical Gaussian


def dense(exact: ModuleType, theta: np.ndarray, grouped: np.ndarray) -> np.ndarray:
    """Return log p of events in the order of their groups, from the joint Gaussian of all."""
    n = grouped.shape[-2] // 5
    shared = np.kron(np.eye(n), np.ones((5, 5)))
    covariance = np.kron(shared, exact.SIGMA_Z) + np.kron(np.eye(5 * n), exact.SIGMA_X)
    return multivariate_normal(np.tile(theta, 5 * n), covariance).logpdf(grouped.reshape(*grouped.shape[:-2], -1))


THETAS = np.array([[0.3, -0.4, 1.0], [1.1, 0.2, -0.5], [-2.0, 2.5, 0.0]])


def test_the_hierarchical_likelihood_is_that_of_all_events_together(hierarchical: ModuleType) -> None:
    x = hierarchical.sample_n(THETAS[0], 3, np.random.default_rng(6))
    exact = np.concatenate([hierarchical.log_likelihood(theta, [x]) for theta in THETAS])
    brute = np.array([dense(hierarchical, theta, x) for theta in THETAS])
    np.testing.assert_allclose(np.diff(exact), np.diff(brute), rtol=1e-9)


def test_events_without_labels_lose_nothing(hierarchical: ModuleType) -> None:
    x = hierarchical.sample_n(THETAS[0], 2, np.random.default_rng(7))
    splits = [list(first) for first in itertools.combinations(range(10), 5) if 0 in first]
    assert len(splits) == 126
    grouped = np.array([np.concatenate([x[first], np.delete(x, first, axis=0)]) for first in splits])
    brute = np.array([np.logaddexp.reduce(dense(hierarchical, theta, grouped)) for theta in THETAS])
    exact = np.concatenate([hierarchical.log_likelihood(theta, [x]) for theta in THETAS])
    np.testing.assert_allclose(np.diff(exact), np.diff(brute), rtol=1e-9)


def test_the_blind_likelihood_is_that_of_independent_events(hierarchical: ModuleType) -> None:
    x = hierarchical.sample_n(THETAS[0], 4, np.random.default_rng(8))
    one = hierarchical.SIGMA_Z + hierarchical.SIGMA_X
    brute = np.array([multivariate_normal(theta, one).logpdf(x).sum() for theta in THETAS])
    exact = np.concatenate([hierarchical.log_likelihood(theta, [x], blind=True) for theta in THETAS])
    np.testing.assert_allclose(np.diff(exact), np.diff(brute), rtol=1e-9)


@pytest.mark.parametrize("truth", [(0.5, -0.5, 1.0), (2.8, 2.9, -2.9)], ids=["inside", "at the bounds"])
def test_the_hierarchical_profile_is_what_a_minimiser_finds(hierarchical: ModuleType, truth: tuple[float, ...]) -> None:
    rng = np.random.default_rng(9)
    toys = [hierarchical.sample_n(truth, n, rng) for n in (1, 1, 2, 3, 5, 8)]

    def minimised(x: np.ndarray, theta_1: float | None) -> float:
        first = (-3.0, 3.0) if theta_1 is None else (theta_1, theta_1)
        bounds = [first, (-3.0, 3.0), (-3.0, 3.0)]
        start = [0.0 if theta_1 is None else theta_1, 0.0, 0.0]
        found = scipy.optimize.minimize(
            lambda pars: -2 * hierarchical.evaluate(pars, x)[0],
            start,
            jac=lambda pars: -2 * hierarchical.evaluate(pars, x)[1],
            bounds=bounds,
            method="L-BFGS-B",
            options={"ftol": 1e-14, "gtol": 1e-9},
        )
        return float(found.fun)

    for tested in (-1.0, 2.0, 3.0):
        expected = [minimised(x, tested) - minimised(x, None) for x in toys]
        np.testing.assert_allclose(hierarchical.ratio(toys, tested), expected, rtol=1e-5, atol=1e-5)


def test_hierarchical_intervals_end_where_the_ratio_is_one_or_at_a_bound(hierarchical: ModuleType) -> None:
    rng = np.random.default_rng(10)
    toys = [hierarchical.sample_n([2.5, 2.5, -2.5], n, rng) for n in (1, 1, 1, 1, 2, 2, 4, 20)]
    low, high = hierarchical.interval(toys).T
    assert np.any(high == 3.0)
    for ends in (low, high):
        inside = np.abs(ends) < 3.0
        np.testing.assert_allclose(hierarchical.ratio(toys, ends)[inside], 1.0, rtol=1e-6)
        assert np.all(hierarchical.ratio(toys, ends)[~inside] <= 1.0)


def test_hierarchical_intervals_cover(hierarchical: ModuleType) -> None:
    rng = np.random.default_rng(11)
    for n in (5, 50):
        toys = [hierarchical.sample_n([0.5, -0.5, 1.0], n, rng) for _ in range(2500)]
        low, high = hierarchical.interval(toys).T
        assert_covers((low <= 0.5) & (high >= 0.5), 0.6827)
        assert_covers(hierarchical.ratio(toys, 0.5) <= 1.0, 0.6827)
        assert_covers(hierarchical.ratio(toys, 0.5, blind=True) <= 1.0, hierarchical.blind_coverage())
        np.testing.assert_allclose(high - low, 2 * hierarchical.sigma(n))


# -- the offset


def test_the_offset_likelihood_is_the_integral_over_the_offset(offset: ModuleType) -> None:
    x = offset.sample_n([0.7], 4, np.random.default_rng(12))

    def integrand(delta: float, theta: float) -> float:
        return float(np.prod(norm.pdf(x[:, 0], theta + delta, 1.0)) * norm.pdf(delta, 0.0, 0.3))

    for theta in (0.0, 0.7, 1.5):
        brute = scipy.integrate.quad(integrand, -4, 4, args=(theta,), epsabs=0, epsrel=1e-10, points=[0.0])[0]
        assert offset.log_likelihood([theta], [x])[0] == pytest.approx(np.log(brute), rel=1e-8)


def test_the_offset_likelihood_is_that_of_all_events_together(offset: ModuleType) -> None:
    rng = np.random.default_rng(13)
    for n in (4, 37, 300):
        x = offset.sample_n([0.2], n, rng)
        joint = multivariate_normal(np.full(n, -0.4), np.eye(n) + 0.09).logpdf(x[:, 0])
        assert offset.log_likelihood([-0.4], [x])[0] == pytest.approx(joint, rel=1e-9)
        independent = norm.logpdf(x, -0.4, np.sqrt(1.09)).sum()
        assert offset.log_likelihood([-0.4], [x], blind=True)[0] == pytest.approx(independent, rel=1e-9)


@pytest.mark.parametrize("blind", [False, True])
def test_the_offset_ratio_is_what_a_minimiser_finds(offset: ModuleType, blind: bool) -> None:
    rng = np.random.default_rng(14)
    toys = [offset.sample_n([1.9], n, rng) for n in (4, 4, 10, 40, 150)]
    for tested in (-1.0, 1.5, 2.0):
        for x, found in zip(toys, offset.ratio(toys, tested, blind), strict=True):

            def twice_nll(theta: float, x: np.ndarray = x) -> float:
                return -2 * float(offset.log_likelihood([theta], [x], blind)[0])

            best = scipy.optimize.minimize_scalar(twice_nll, bounds=(-2, 2), options={"xatol": 1e-9})
            # the minimiser stays 1e-8 away from a bound
            assert found == pytest.approx(twice_nll(tested) - best.fun, abs=1e-5)


def test_offset_intervals_cover_and_blind_ones_do_not(offset: ModuleType) -> None:
    rng = np.random.default_rng(15)
    for n in offset.CARDINALITIES:
        toys = [offset.sample_n([0.3], n, rng) for _ in range(2500)]
        low, high = offset.interval(toys).T
        assert_covers((low <= 0.3) & (high >= 0.3), 0.6827)
        np.testing.assert_array_equal((low <= 0.3) & (high >= 0.3), offset.ratio(toys, 0.3) <= 1.0)
        low, high = offset.interval(toys, blind=True).T
        assert_covers((low <= 0.3) & (high >= 0.3), offset.blind_coverage(n))
    assert offset.blind_coverage(600) < 0.12


# -- the narrow resonance


def test_the_narrow_likelihood_is_the_mixture_with_its_constraint(narrow: ModuleType) -> None:
    x = narrow.sample([0.3, 1.2], np.random.default_rng(16))
    for s, m, a in ((0.3, 1.2, 1.0), (0.0, 2.0, -1.0), (0.9, -0.4, 3.0)):
        density = s * norm.pdf(x, m, 0.1) + (1 - s) * norm.pdf(x, 0, 1)
        expected = np.log(density).sum() + norm.logpdf(a, m, 2.0)
        assert narrow.log_likelihood([s, m], [x], [a])[0] == pytest.approx(expected, rel=1e-10)


def brute_minimum(narrow: ModuleType, x: np.ndarray, a: float, s: float | None) -> float:
    """Return -2 log L at its minimum from L-BFGS-B started at every tenth of the signal's width."""

    def twice_nll(pars: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = narrow.evaluate(pars, x)
        pull = (a - pars[1]) / 2.0
        return -2 * value + pull**2, -2 * gradient - np.array([0.0, pull])

    fraction = (0.0, 0.999) if s is None else (s, s)
    grid = [
        (value, m) for value in (s,) * (s is not None) or (0.01, 0.03, 0.1, 0.3) for m in np.arange(-3.0, 5.0, 0.01)
    ]
    start = sorted(grid, key=lambda pars: twice_nll(np.array(pars))[0])[:12]
    options = {"ftol": 1e-13, "gtol": 1e-8}
    bounds = [fraction, (-3.0, 5.0)]
    found = [scipy.optimize.minimize(twice_nll, p, jac=True, bounds=bounds, options=options).fun for p in start]
    return float(min(found))


@pytest.mark.parametrize("point", [(0.02, 1.0), (0.1, 1.0), (0.3, 2.5)])
def test_the_narrow_profile_is_the_deepest_that_a_minimiser_finds(
    narrow: ModuleType, point: tuple[float, float]
) -> None:
    rng = np.random.default_rng(17)
    toys = [narrow.sample(point, rng) for _ in range(3)]
    aux = np.array([narrow.auxdata(point, rng)[0] for _ in toys])
    for tested in (0.0, point[0], 0.4):
        expected = [
            brute_minimum(narrow, x, a, tested) - brute_minimum(narrow, x, a, None)
            for x, a in zip(toys, aux, strict=True)
        ]
        np.testing.assert_allclose(narrow.ratio(toys, tested, aux), expected, atol=1e-3)


def test_narrow_intervals_end_where_the_ratio_is_one_or_at_a_bound(narrow: ModuleType) -> None:
    rng = np.random.default_rng(18)
    toys = [narrow.sample([s, 1.0], rng) for s in (0.0, 0.02, 0.05, 0.1, 0.3, 0.6, 0.95)]
    ends, best = narrow.interval(toys), narrow.best_fit(toys)
    assert np.all((ends[:, 0] <= best[:, 0]) & (best[:, 0] <= ends[:, 1]))
    for side in ends.T:
        t = narrow.ratio(toys, side)
        inside = (side > 0.0) & (side < 1.0)
        # an end is good to 1e-5, where the slope of t is up to 100
        np.testing.assert_allclose(t[inside], 1.0, atol=1e-3)
        assert np.all(t[~inside] <= 1.0)


def test_a_profile_of_one_dataset_is_the_ratio_at_each_point(narrow: ModuleType) -> None:
    x = narrow.sample([0.2, 1.0], np.random.default_rng(19))
    s = np.array([0.05, 0.2, 0.5])
    t, m = narrow.profile(x, s)
    np.testing.assert_allclose(t, narrow.ratio([x] * 3, s), atol=1e-9)
    best = narrow.log_likelihood(narrow.best_fit([x])[0], [x])
    at = narrow.log_likelihood(np.stack([s, m], axis=1), [x] * 3)
    np.testing.assert_allclose(t, 2 * (best - at), atol=1e-9)


def test_narrow_intervals_cover_where_the_signal_is_plain(narrow: ModuleType) -> None:
    rng = np.random.default_rng(20)
    toys = [narrow.sample([0.4, 1.0], rng) for _ in range(250)]
    aux = np.array([narrow.auxdata([0.4, 1.0], rng)[0] for _ in toys])
    assert_covers(narrow.ratio(toys, 0.4, aux) <= 1.0, 0.6827)


# -- gradients, and the comparison


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_gradient_of_the_exact_model_is_exact(
    problems: dict[str, ModuleType], comparison: ModuleType, name: str
) -> None:
    exact = problems[name]
    model = comparison.ExactModel(exact)
    pars = np.array(model.config.suggested_init()) + 0.05
    data = comparison.pack(model, exact.sample(pars, np.random.default_rng(21)))
    steps = 1e-5 * np.eye(len(pars))
    numerical = [(model.evaluate(pars + h, data)[0] - model.evaluate(pars - h, data)[0]) / 2e-5 for h in steps]
    np.testing.assert_allclose(model.evaluate(pars, data)[1], numerical, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["hierarchical", "offset"])
def test_fits_of_the_exact_model_are_the_closed_form(
    problems: dict[str, ModuleType], comparison: ModuleType, name: str
) -> None:
    exact = problems[name]
    found = comparison.by_cardinality(exact, comparison.ExactModel(exact), toys=4, seed=1, reach=1.0)
    assert list(found) == [str(n) for n in exact.CARDINALITIES]
    for point in found.values():
        assert point["failed"] == 0
        # crossings are good to 1e-5 and Minuit's minima to 2e-5 in t, which is 0.005 sigma of the best fit
        assert point["width ratio"]["value"] == pytest.approx(1.0, abs=1e-3)
        assert point["r.m.s. difference of t"]["value"] < 1e-3
        assert abs(point["bias in sigma"]["value"]) < 5e-3


def test_the_figures_of_merit_are_those_of_a_known_difference(comparison: ModuleType) -> None:
    rng = np.random.default_rng(23)
    best = rng.normal(size=5000)
    exact = comparison.Fits(best, best**2, best - 1.0, best + 1.0)
    learned = comparison.Fits(best + 0.1, best**2 + rng.normal(scale=0.2, size=5000), best - 1.1, best + 1.3)
    found = comparison.compare(learned, exact)
    assert found["width ratio"]["value"] == pytest.approx(1.2)
    assert found["bias in sigma"]["value"] == pytest.approx(0.1)
    t = found["r.m.s. difference of t"]
    assert t["value"] == pytest.approx(0.2, abs=4 * t["error"])
    assert t["error"] == pytest.approx(0.2 / np.sqrt(2 * 5000), rel=0.1)  # that of a standard deviation
    assert found["coverage"]["exact"]["error"] == pytest.approx(np.sqrt(0.6827 * 0.3173 / 5000), rel=0.05)


class Failing:
    """An exact model whose likelihood is not defined for datasets with negative mean."""

    def __init__(self, model: object) -> None:
        self._model = model
        self.config, self.data = model.config, model.data

    def evaluate(self, pars: np.ndarray, data: np.ndarray) -> tuple[float, np.ndarray]:
        if data.mean() < 0:
            raise FailedFit("not defined")
        return self._model.evaluate(pars, data)


def test_a_failed_fit_is_counted_and_left_out(offset: ModuleType, comparison: ModuleType) -> None:
    model = Failing(comparison.ExactModel(offset))
    toys = [np.full((10, 1), value) for value in (0.4, -0.4, 0.2)]
    found = comparison.compare(comparison.fits(model, toys, 0.0), comparison.exact_fits(offset, toys, 0.0))
    assert (found["toys"], found["failed"]) == (2, 1)
    assert found["width ratio"]["value"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_example_runs_and_draws(
    name: str, script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = script(name)
    if name == "narrow_resonance":
        monkeypatch.setattr(run, "CALIBRATED", np.array([-3.0, 5.0]))
    arguments = ["--network", "exact", "--toys", "1", "--output", f"{tmp_path}/all.json"]
    run.main([*arguments, "--figure", f"{tmp_path}/figure.png"])
    (found,) = json.loads((tmp_path / "all.json").read_text())
    assert found["network"] == "exact"
    assert all(point["failed"] == 0 for point in found["points"].values())
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_narrow_profiles_on_a_grid_are_the_polished_ones(script: Callable[[str], ModuleType]) -> None:
    run = script("narrow_resonance")
    exact, grid = sys.modules["exact"], sys.modules["grid"]
    for s, m in ((0.1, 2.0), (0.4, -0.5)):
        toys, auxdata = run.toys((s, m), 4, seed=3)
        learned = grid.profiles(grid.exact_heights, toys, auxdata)
        reference = sys.modules["comparison"].exact_fits(exact, toys, s, aux=auxdata)
        fits = learned.fits(s)
        np.testing.assert_allclose(fits.t, reference.t, atol=0.02)  # between points of the grid
        np.testing.assert_allclose([fits.low, fits.high], [reference.low, reference.high], atol=0.003)
        np.testing.assert_allclose(
            learned.mass(s), [exact.profile(x, [s], a)[1][0] for x, a in zip(toys, auxdata, strict=True)], atol=0.01
        )


def test_the_stream_of_groups_is_drawn_against_the_exact_intervals(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    run = script("hierarchical")
    groups = run.stream(seed=2)
    seen = [np.concatenate(groups[:n]) for n in run.STEPS]
    assert len(seen[-1]) == 1000
    low, high = sys.modules["exact"].interval(seen).T
    values = {"best": list(0.5 * (low + high)), "low": list(low), "high": list(high)}
    run.draw_sequence({"deepset": values}, groups, tmp_path / "sequence.png")
    assert (tmp_path / "sequence.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def narrow_posterior(narrow: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "exact", narrow)
    return loaded(EXAMPLES / "narrow_resonance" / "exact_posterior.py", "narrow_exact_posterior")


def test_the_posterior_of_a_narrow_resonance_is_that_of_brute_force(narrow_posterior: ModuleType) -> None:
    x = narrow_posterior.toys(0.5, 1, seed=3)[0]
    s, m = np.linspace(0.0, 1.0, 102)[1:-1], np.linspace(-7.0, 9.0, 801)
    points = np.stack(np.meshgrid(s, m, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = narrow_posterior.log_posterior(points, x)
    density = np.exp(log_p - log_p.max()).reshape(len(s), len(m)).sum(axis=1)
    density /= density.sum()
    mean = density @ s
    np.testing.assert_allclose(narrow_posterior.moments([x])[0], [mean, np.sqrt(density @ (s - mean) ** 2)], rtol=1e-3)


def test_widths_of_a_narrow_resonance_are_the_published_ones_and_wider_from_fixed_summaries(
    narrow_posterior: ModuleType,
) -> None:
    at_bulk, beside = (narrow_posterior.toys(m, 30, seed=1) for m in (-1.0, 2.4))
    first, second = narrow_posterior.SUMMARIES.values()

    def width(datasets: np.ndarray, centre: float | None = None) -> float:
        return float(np.median(narrow_posterior.moments(datasets, centre)[:, 1]))

    # 30 datasets determine the median of the widths to 2 %
    assert width(at_bulk) == pytest.approx(0.0502, rel=0.05)
    assert width(beside) == pytest.approx(0.0409, rel=0.05)
    # a parabola about 1 makes 2.4 and the background at -0.4 the same, one about -0.33 does so with -1 and 0.34
    assert width(beside, first) > 1.2 * width(beside)
    assert width(at_bulk, second) > 1.2 * width(at_bulk)
