"""The demonstration's exact densities, its files and its exact likelihood agree with one another."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import awkward as ak
import numpy as np
import pyhf
import pytest
import uproot

from neyman.demo import FEATURES, SAMPLES, YIELDS, ExactLikelihood, densities, generate, make_ntuples, scores
from neyman.inputs.workspace import Workspace

SHAPES = [(0.0, 0.0), (1.0, -1.0), (-1.7, 2.0)]
FILES = {
    "signal": "signal.root",
    "irreducible": "background_irreducible.root",
    "fakes": "background_fakes.root",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ntuples(tmp_path_factory.mktemp("demo"), events_per_sample=2000).parent


@pytest.fixture(scope="module")
def exact(folder: Path) -> ExactLikelihood:
    workspace = Workspace.load(folder / "analysis.yaml")
    return ExactLikelihood(pyhf.Model(workspace.spec(), poi_name=workspace.poi_name))


def grid(points: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a product of Gauss-Legendre quadratures over the features."""
    axes, weights = [], []
    for n, (low, high) in zip(points, [(100, 160), (-1, 1), (-1, 9), (0, np.pi)], strict=True):
        nodes, w = np.polynomial.legendre.leggauss(n)
        axes.append(low + (high - low) * (nodes + 1) / 2)
        weights.append(w * (high - low) / 2)
    x = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    return x, np.einsum("i,j,k,l->ijkl", *weights).ravel()


@pytest.mark.parametrize(("scale", "theory"), SHAPES)
def test_the_densities_are_normalised_and_the_generator_follows_them(scale: float, theory: float) -> None:
    x, volume = grid((80, 10, 40, 16))
    p = densities(x, scale, theory) * volume[:, None]
    np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-5)

    rng = np.random.default_rng(5)
    n = 40_000
    center = np.array([125.0, 0.0, 4.0, 2.0])
    moments = lambda x: np.stack([(x - center)[:, i] * (x - center)[:, j] for i in range(4) for j in range(i + 1)])  # noqa: E731
    for sample, density in zip(SAMPLES, p.T, strict=True):
        events = generate(sample, n, rng, scale, theory)
        for function in (lambda x: (x - center).T, moments):
            drawn, expected = function(events), function(x) @ density
            error = drawn.std(axis=1) / np.sqrt(n)
            np.testing.assert_array_less(np.abs(drawn.mean(axis=1) - expected), 4.5 * error)


def test_the_generator_follows_each_marginal_distribution() -> None:
    x, volume = grid((120, 12, 60, 16))
    p = densities(x, 0.7, 1.3) * volume[:, None]
    rng = np.random.default_rng(6)
    edges = [np.linspace(100, 160, 7)[1:-1], np.linspace(-1, 1, 7)[1:-1], [3.2, 3.7, 4.3, 4.9], [1.0, 2.0, 2.7]]
    for sample, density in zip(SAMPLES, p.T, strict=True):
        events = generate(sample, 20_000, rng, 0.7, 1.3)
        for column in range(4):
            # smooth steps, so that the quadrature is exact where a sharp edge would not be
            width = np.ptp(edges[column]) / 5
            for edge in edges[column]:
                step = lambda values: 1 / (1 + np.exp(-(values - edge) / width))  # noqa: B023, E731
                drawn, expected = step(events[:, column]), step(x[:, column]) @ density
                assert abs(drawn.mean() - expected) < 4.5 * drawn.std() / np.sqrt(len(events)) + 1e-4


@pytest.mark.parametrize(("scale", "theory"), SHAPES)
def test_the_scores_are_the_derivatives_of_the_log_densities(scale: float, theory: float) -> None:
    x = np.concatenate([generate(sample, 20, np.random.default_rng(7)) for sample in SAMPLES])
    x = x[(np.abs(x[:, 0] - 125) < 20)]  # elsewhere the signal's density is too small to take its logarithm
    step = 1e-4
    by_scale = np.log(densities(x, scale + step, theory)) - np.log(densities(x, scale - step, theory))
    by_theory = np.log(densities(x, scale, theory + step)) - np.log(densities(x, scale, theory - step))
    numerical = np.stack([by_scale, by_theory], axis=2) / (2 * step)
    np.testing.assert_allclose(scores(x, scale, theory), numerical, atol=1e-6)


def test_interpolating_the_log_ratio_quadratically_gives_the_exact_density_at_every_shape() -> None:
    x, volume = grid((80, 10, 40, 16))
    nominal, up, down = (np.log(densities(x, scale) + 1e-300) for scale in (0.0, 1.0, -1.0))
    for scale in (-1.7, 0.4, 2.0):
        bent = np.exp(nominal + scale * (up - down) / 2 + scale**2 * (up + down - 2 * nominal) / 2)
        bent /= volume @ bent
        np.testing.assert_allclose(bent, densities(x, scale), rtol=1e-4, atol=1e-12)


def test_the_scaled_events_are_the_nominal_ones_shifted() -> None:
    nominal, up = (generate("irreducible", 50, np.random.default_rng(8), scale=s) for s in (0.0, 1.0))
    np.testing.assert_allclose(up[:, 2] - nominal[:, 2], 0.05)
    np.testing.assert_array_equal(up[:, 1], nominal[:, 1])


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_weights_of_the_selected_events_sum_to_the_yields(folder: Path, sample: str) -> None:
    with uproot.open(folder / FILES[sample]) as file:
        for name, expected in YIELDS[sample].items():
            tree, weight = ("nominal", f"w_{name}") if name.startswith("theory") else (name, "w")
            w = file[tree].arrays([weight], cut="njet >= 1", library="np")[weight]
            assert w.sum() == pytest.approx(expected)
            assert w.std() > 0


def test_the_jets_are_vectors_and_some_events_have_none(folder: Path) -> None:
    with uproot.open({folder / "signal.root": "nominal"}) as tree:
        events = tree.arrays(["jet_pt", "njet"])
    assert ak.all(ak.num(events.jet_pt) == events.njet)
    assert 0 < ak.sum(events.njet == 0) < 0.3 * len(events)


def test_the_features_in_the_files_are_the_generated_ones(folder: Path) -> None:
    with uproot.open({folder / "signal.root": "scale_up"}) as tree:
        events = tree.arrays(cut="njet >= 1")
    x = np.stack([events.mass, events.costheta, np.log(events.jet_pt[:, 0]), events.dphi], axis=1)
    likelihood = [np.log(densities(x, scale)[:, 0]).sum() for scale in (-1.0, 0.0, 1.0, 2.0)]
    assert np.argmax(likelihood) == 2


def test_the_theory_weights_are_the_ratio_of_the_exact_densities(folder: Path) -> None:
    with uproot.open({folder / "background_irreducible.root": "nominal"}) as tree:
        events = tree.arrays(cut="njet >= 1")
    x = np.stack([events.mass, events.costheta, np.log(events.jet_pt[:, 0]), events.dphi], axis=1)
    ratio = np.asarray(events.w_theory_up / events.w)
    exact = densities(x, theory=1.0)[:, 1] / densities(x)[:, 1]
    np.testing.assert_allclose(ratio / exact, np.mean(ratio / exact), rtol=1e-5)


def test_the_data_do_not_depend_on_the_seed_and_the_simulation_does(folder: Path, tmp_path: Path) -> None:
    make_ntuples(tmp_path, events_per_sample=2000, seed=1)
    masses = [
        [uproot.open({path / f"{name}.root": "nominal"})["mass"].array(library="np") for path in (folder, tmp_path)]
        for name in ("data", "signal")
    ]
    np.testing.assert_array_equal(*masses[0])
    assert not np.array_equal(*masses[1])


def test_the_example_has_the_same_document() -> None:
    example = Path(__file__).parents[2] / "examples" / "search" / "analysis.yaml"
    packaged = importlib.resources.files("neyman.demo").joinpath("analysis.yaml")
    assert example.read_text(encoding="utf-8") == packaged.read_text(encoding="utf-8")
    assert tuple(Workspace.load(example).features("SR")) == FEATURES


def test_the_gradient_of_the_exact_likelihood_is_exact(exact: ExactLikelihood) -> None:
    rng = np.random.default_rng(9)
    init = np.asarray(exact.config.suggested_init())
    data = exact.data(exact.toy(init, rng))
    pars = init + rng.normal(scale=0.05, size=init.size)
    step = 1e-5
    shifts = step * np.eye(init.size)
    numerical = [(exact.evaluate(pars + s, data)[0] - exact.evaluate(pars - s, data)[0]) / (2 * step) for s in shifts]
    np.testing.assert_allclose(exact.evaluate(pars, data)[1], numerical, rtol=1e-5, atol=1e-5)


def test_the_scores_of_exact_toys_average_to_zero(exact: ExactLikelihood) -> None:
    rng = np.random.default_rng(10)
    truth = np.asarray(exact.config.suggested_init())
    truth[[exact.config.par_map[name]["slice"].start for name in ("scale", "theory")]] = [0.8, -0.6]
    gradients = np.array([exact.evaluate(truth, exact.data(exact.toy(truth, rng)))[1] for _ in range(300)])
    error = gradients.std(axis=0) / np.sqrt(len(gradients))
    np.testing.assert_array_less(np.abs(gradients.mean(axis=0)), 4 * error)


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_every_score_of_the_exact_asimov_dataset_is_zero(exact: ExactLikelihood, mu: float) -> None:
    pars = np.asarray(exact.config.suggested_init())
    pars[exact.config.poi_index] = mu
    data = exact.expected_data(pars)
    np.testing.assert_allclose(exact.evaluate(pars, data)[1], 0, atol=1e-8)
    weights = exact.ensemble(data).events["SR"].weights
    assert weights.sum() == pytest.approx(450 + 20 * mu)
    assert weights.min() > 0


def test_the_observed_data_are_read_as_the_exact_likelihood_takes_them(folder: Path, exact: ExactLikelihood) -> None:
    observed = Workspace.load(folder / "analysis.yaml").observed()
    logpdf, gradient = exact.evaluate(exact.config.suggested_init(), exact.data(observed))
    assert np.isfinite(logpdf)
    assert exact.twice_nll(exact.config.suggested_init(), observed) == pytest.approx(-2 * logpdf)
    assert gradient.shape == (exact.config.npars,)


def test_an_ensemble_survives_packing(exact: ExactLikelihood) -> None:
    toy = exact.toy(exact.config.suggested_init(), np.random.default_rng(11))
    back = exact.ensemble(exact.data(toy))
    np.testing.assert_array_equal(back.events["SR"].features, toy.events["SR"].features)
    np.testing.assert_array_equal(back.counts["CR"], toy.counts["CR"])
    np.testing.assert_array_equal(back.auxdata, toy.auxdata)


def test_a_negative_density_has_no_likelihood(exact: ExactLikelihood) -> None:
    pars = np.asarray(exact.config.suggested_init())
    data = exact.data(exact.toy(pars, np.random.default_rng(12)))
    pars[exact.config.poi_index] = -20.0
    assert exact.evaluate(pars, data)[0] == -np.inf
