"""Twenty-five normal events about theta, with a prior that knows nothing and one that is sure of what is wrong."""

from __future__ import annotations

import numpy as np
import scipy.stats

import neyman

__all__ = ["EVENTS", "SIGMA", "flat", "wrong"]

EVENTS, SIGMA = 25, 2.0  # their mean is known to 0.4
THETA = {"name": "theta", "inits": [0.0], "bounds": [[-4, 4]]}


def sample(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the events of one dataset."""
    return rng.normal(pars[0], SIGMA, (EVENTS, 1))


flat = neyman.Simulator(sample, [THETA], "theta", ["x"])
wrong = neyman.Simulator(sample, [THETA], "theta", ["x"], prior={"theta": scipy.stats.norm(-1.5, 0.4)})
