"""The multivariate normal: its exact posterior by brute force, and learned posteriors at any number of elements."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import neyman

EXAMPLE = Path(__file__).parents[2] / "examples" / "multivariate"


@pytest.fixture(scope="module")
def run() -> Iterator[ModuleType]:
    known = {name: sys.modules.pop(name, None) for name in ("exact", "run")}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        yield importlib.import_module("run")
    for name, module in known.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.fixture(scope="module")
def exact(run: ModuleType) -> ModuleType:
    return run.exact  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def posterior(run: ModuleType) -> neyman.Posterior:
    few = {"datasets": 6400, "fresh": 1, "steps": 60, "head_steps": 60, "flow_steps": 10}
    return neyman.train_posterior(run.simulator(), few, seed=1, workers=1)


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, (0.619, 0.857, 1.029)),
        (10, (0.200, 0.282, 0.344)),
        (100, (0.063, 0.089, 0.110)),
        (200, (0.0447, 0.0632, 0.0774)),
    ],
)
def test_the_exact_widths_are_those_of_the_paper(exact: ModuleType, k: int, expected: tuple[float, ...]) -> None:
    np.testing.assert_allclose(exact.width(k), expected, atol=6e-4)  # to their digits


def test_the_exact_posterior_is_prior_times_likelihood(exact: ModuleType) -> None:
    x = exact.sample_k((1.0, -2.0, 4.0), 3, np.random.default_rng(1))
    theta = np.linspace(-12, 12, 20_001)
    for i in range(3):
        draws = x.reshape(-1, 3)[:, i]
        logs = norm.logpdf(theta, 0, 3) + norm.logpdf(draws[:, None], theta, np.sqrt(2 * (i + 1))).sum(axis=0)
        density = np.exp(logs - logs.max())
        mean = np.average(theta, weights=density)
        assert exact.mean([x])[0, i] == pytest.approx(mean, abs=1e-6)
        assert exact.width(3)[i] == pytest.approx(np.sqrt(np.average((theta - mean) ** 2, weights=density)), rel=1e-6)


@pytest.mark.parametrize("k", [1, 10, 200])
def test_a_posterior_trained_for_seconds_is_right_from_one_element_to_200(
    run: ModuleType, posterior: neyman.Posterior, k: int
) -> None:
    found: dict[str, Any] = run.measured(posterior, k, 200, seed=2)
    # 12,800 datasets tell a line of some 70 coefficients to a tenth of a width, and widths to a few percent
    np.testing.assert_allclose(found["ratio"], 1.0, atol=0.08)
    assert max(found["distance"]) < 0.35


def test_a_stream_is_followed_by_adding_summaries(run: ModuleType, posterior: neyman.Posterior) -> None:
    stream = run.exact.sample_k(run.TRUTH, 5, np.random.default_rng(4)).astype(np.float32)
    means, widths = run.sequence(posterior, stream)
    at_once, covariance = posterior.moments([posterior.encode(stream)])
    np.testing.assert_allclose(means[-1], at_once[0], atol=1e-4)
    np.testing.assert_allclose(widths[-1], np.sqrt(np.diag(covariance[0])), rtol=1e-4)
