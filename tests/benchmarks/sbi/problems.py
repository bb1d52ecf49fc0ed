"""The problems that posteriors are compared on: simulators with priors, test datasets and their exact posteriors."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import scipy.stats
from numpy.typing import NDArray

import neyman

__all__ = ["PROBLEMS", "Problem", "Test", "draw_parameters"]

Array = NDArray[np.float64]

_EXAMPLES = Path(__file__).parents[3] / "examples"
_GRID = 60  # points of each parameter of an integral
_REACH = 6.0  # standard deviations, which the grid of the last one has


@dataclass(frozen=True, eq=False)
class Test:
    """Datasets with their true parameters and their exact posteriors.

    Args:
        theta: the truths, shape ``(B, P)``.
        datasets: ``B`` arrays of events, ``(N, d)`` each.
        mean: of the exact posteriors, shape ``(B, P)``.
        width: their standard deviations, shape ``(B, P)``.
        log_posterior: the logarithms of their densities at the truths, shape ``(B,)``.
    """

    __test__ = False

    theta: Array
    datasets: Sequence[Array]
    mean: Array
    width: Array
    log_posterior: Array


@dataclass(frozen=True, eq=False)
class Problem:
    """A simulator with its prior, and what makes test datasets.

    Args:
        simulator: the simulator.
        prior: of each parameter.
        tests: what each test is called, and a function from a number of datasets and a generator to it.
    """

    simulator: neyman.Simulator
    prior: Mapping[str, scipy.stats.distributions.rv_frozen]
    tests: Mapping[str, Callable[[int, np.random.Generator], Test]]


def draw_parameters(problem: Problem, n: int, rng: np.random.Generator) -> Array:
    """Draw parameters of the prior, shape ``(n, P)``."""
    return np.stack([one.rvs(n, random_state=rng) for one in problem.prior.values()], axis=1)


def multivariate() -> Problem:
    """Return the mean of a normal distribution in three dimensions, from 1 to 200 elements of 15 numbers."""
    exact = _module("multivariate")

    def test(n: int, rng: np.random.Generator, k: int | None = None) -> Test:
        theta = draw_parameters(problem, n, rng)
        datasets = [exact.sample(one, rng) if k is None else exact.sample_k(one, k, rng) for one in theta]
        mean, width = exact.mean(datasets), exact.width([len(x) for x in datasets])
        log_posterior = scipy.stats.norm.logpdf(theta, mean, width).sum(axis=1)
        return Test(theta, datasets, mean, width, log_posterior)

    simulator = neyman.Simulator(exact.sample, exact.PARAMETERS, None, exact.FEATURES, prior=exact.PRIOR)
    tests: dict[str, Callable[[int, np.random.Generator], Test]] = {"any number of elements": test}
    for k in (1, 10, 100, 200):
        tests[f"{k} elements"] = lambda n, rng, k=k: test(n, rng, k)
    problem = Problem(simulator, exact.PRIOR, tests)
    return problem


def onoff() -> Problem:
    """Return a peak on a background, their strengths uniform within their bounds."""
    exact = _module("onoff")

    def log_likelihood(x: Array, mu: Array, nu: Array) -> Array:
        signal, background = exact.SIGNAL * mu, exact.BACKGROUND * nu
        ratio = np.exp(exact.log_density_ratio(x.ravel()))
        return np.asarray(np.log(signal[..., None] * ratio + background[..., None]).sum(axis=-1) - signal - background)

    def posterior(x: Array, truth: Array) -> tuple[Array, Array, float]:
        """Integrate on a grid within the bounds, then on one where the posterior is."""
        edges = np.array(exact.BOUNDS)
        for _ in range(3):
            low, step = edges[:, 0], np.diff(edges, axis=1)[:, 0] / _GRID
            mu, nu = (low[p] + step[p] * (np.arange(_GRID) + 0.5) for p in range(2))
            grid = np.stack(np.meshgrid(mu, nu, indexing="ij"))
            logs = log_likelihood(x, *grid)
            density = np.exp(logs - logs.max())
            total = density.sum()
            mean = (grid * density).sum(axis=(1, 2)) / total
            width = np.sqrt(((grid - mean[:, None, None]) ** 2 * density).sum(axis=(1, 2)) / total)
            width = np.maximum(width, step / 2)
            reach = np.stack([mean - _REACH * width, mean + _REACH * width], axis=1)
            edges = np.clip(reach, *np.array(exact.BOUNDS).T[:, :, None])
        return mean, width, float(log_likelihood(x, *truth[:, None])[0] - logs.max() - np.log(total * step.prod()))

    def test(n: int, rng: np.random.Generator) -> Test:
        theta = draw_parameters(problem, n, rng)
        datasets = [exact.sample(one, rng) for one in theta]
        found = [posterior(x, one) for x, one in zip(datasets, theta, strict=True)]
        mean, width, log_posterior = (np.array(values) for values in zip(*found, strict=True))
        return Test(theta, datasets, mean, width, log_posterior)

    names = ("mu", "nu")
    parameters = [
        {"name": name, "inits": [1.0], "bounds": [list(bounds)]}
        for name, bounds in zip(names, exact.BOUNDS, strict=True)
    ]
    prior = {name: scipy.stats.uniform(low, high - low) for name, (low, high) in zip(names, exact.BOUNDS, strict=True)}
    problem = Problem(neyman.Simulator(exact.sample, parameters, None, ["x"], prior=prior), prior, {"any": test})
    return problem


PROBLEMS = {"multivariate": multivariate, "onoff": onoff}


def _module(example: str) -> ModuleType:
    """Return the module ``exact`` of an example: each has one."""
    spec = importlib.util.spec_from_file_location(f"exact_{example}", _EXAMPLES / example / "exact.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
