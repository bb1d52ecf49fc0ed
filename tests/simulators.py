"""Simulators that can be sent to other processes: an on/off problem, and some that are wrong."""

from __future__ import annotations

import numpy as np
import scipy.stats

from neyman import Simulator

MU = {"name": "mu", "inits": [1.0], "bounds": [[0, 12]]}
NU = {"name": "nu", "inits": [1.0], "bounds": [[0.1, 2.5]], "auxdata": [1.0], "sigmas": [0.3]}


def onoff_events(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 10 mu events about -7 and 30 nu events about 0."""
    signal, background = rng.poisson([10 * pars[0], 30 * pars[1]])
    return np.concatenate([rng.normal(-7.0, 2.0, (signal, 1)), rng.normal(0.0, 3.0, (background, 1))])


def events_of_any_size(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 1 to 100 events, as many of them about -7 as mu and nu say."""
    number = int(np.exp(rng.uniform(0.0, np.log(101.0))))
    signal = rng.binomial(number, 10 * pars[0] / (10 * pars[0] + 30 * pars[1]))
    return np.concatenate([rng.normal(-7.0, 2.0, (signal, 1)), rng.normal(0.0, 3.0, (number - signal, 1))])


def widening_events(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return events of one feature, or of two where mu is large."""
    return np.zeros((3, 2 if pars[0] > 6.0 else 1))


def broken_events(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an event that is not finite where mu is large."""
    return np.full((3, 1), np.nan if pars[0] > 6.0 else 1.0)


def no_events(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.empty((0, 1))


def normal_events(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 1 to 30 events about theta."""
    return rng.normal(pars[0], 1.0, (rng.integers(1, 31), 1))


def groups(pars: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return 1 to 30 groups, each measured about a place of its own, and these places."""
    z = rng.normal(pars[0], 1.0, (rng.integers(1, 31), 1))
    return rng.normal(z, 0.5), z


onoff = Simulator(onoff_events, [MU, NU], "mu", ["x"])
onoff_of_any_size = Simulator(events_of_any_size, [MU, NU], "mu", ["x"])
widening = Simulator(widening_events, [MU, NU], "mu", ["x"])
broken = Simulator(broken_events, [MU, NU], "mu", ["x"])
silent = Simulator(no_events, [MU, NU], "mu", ["x"])
normal_mean = Simulator(
    normal_events,
    [{"name": "theta", "inits": [0.0], "bounds": [[-20, 20]]}],
    "theta",
    ["x"],
    prior={"theta": scipy.stats.norm(0, 2)},
)
number = 3
grouped = Simulator(
    groups,
    [{"name": "theta", "inits": [0.0], "bounds": [[-20, 20]]}],
    "theta",
    ["x"],
    prior={"theta": scipy.stats.norm(0, 2)},
    locals=["z"],
)
