r"""What differs between the learned and the exact likelihood, and how much of it is the simulation's: no toys needed.

Of the exact density f and the score s of a dataset's event, the fitted parameters are off by :math:`I^{-1} \int f
(\hat s - s)` on average and scatter with :math:`I^{-1} \int f (\hat s - s)^2 I^{-1}`. The simulation is a sample of its
densities, too: whatever learns from it without bias finds the mean score of sample c that its events have, which moves
the fit by :math:`-I^{-1} \sum_c \nu_c (\langle s\rangle_{\rm simulated} - \langle s\rangle)`.

``python asimov.py --events 300000`` simulates, trains (``analysis.yaml``) and prints these, in standard deviations.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import exact
import numpy as np
import uproot
from make_ntuples import make_ntuples
from numpy.typing import NDArray
from run import TRUTHS, trained

import neyman

Array = NDArray[np.float64]


def exact_shapes(samples: list[str], x: Array) -> Array:
    """Return the density of each sample, normalised to one, shape ``(C, N)``, at events of shape ``(N, 2)``."""
    p, yields = exact.densities(x), exact.yields()
    return np.stack([p[sample] / yields[sample] for sample in samples])


def scores(shapes: Array, rates: Array, jacobian: Array) -> Array:
    """Return the derivatives of the log of the density by the parameters, shape ``(P, N)``.

    Args:
        shapes: the samples' densities, or these over anything that all have in common, shape ``(C, N)``.
        rates: their expected events, shape ``(C,)``.
        jacobian: the derivatives of these, shape ``(C, P)``.
    """
    return (jacobian.T @ shapes) / (rates @ shapes)


def differences(model: neyman.Model, ratios: Array, mu: float, simulated: Mapping[str, Array]) -> dict[str, float]:
    """Return how far the learned mu-hat is off at a truth, in exact standard deviations.

    Args:
        model: a model with the samples S, SBI, B and Q.
        ratios: the learned densities on the grid of the samples in the model's order, up to a common factor of each
            event, shape ``(C, G)``.
        mu: the truth.
        simulated: the events of each sample, shape ``(n, 2)``.
    """
    samples, poi = list(model.config.samples), model.config.poi_index
    pars = np.array(model.config.suggested_init())
    pars[poi] = mu
    rates, jacobian = (values[:, 0] for values in model.rates(pars))
    x, volume = exact.grid()
    shapes = exact_shapes(samples, x)
    weights, true = rates @ shapes * volume, scores(shapes, rates, jacobian)
    constraints = np.diag((np.arange(len(pars)) != poi).astype(float))  # of width one
    covariance = np.linalg.inv((true * weights) @ true.T + constraints)
    sigma = np.sqrt(covariance[poi, poi])
    wrong = covariance[poi] @ (scores(ratios, rates, jacobian) - true) / sigma
    bias = float(wrong @ weights)
    of_simulation = 0.0
    for sample, rate, shape in zip(samples, rates, shapes, strict=True):
        seen = scores(exact_shapes(samples, simulated[sample]), rates, jacobian).mean(axis=1)
        of_simulation -= float(rate * (covariance[poi] @ (seen - (true * shape).sum(axis=1) * volume)) / sigma)
    scatter = float(np.sqrt((wrong - bias / weights.sum()) ** 2 @ weights))
    return {"bias": bias, "bias of the simulation": of_simulation, "scatter": scatter, "sigma": float(sigma)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000, help="simulated events of each sample")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--network", type=json.loads, default={}, help="options of the network, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        make_ntuples(Path(scratch), arguments.events, arguments.seed)
        learned, _, seconds = trained(Path(scratch), "analysis.yaml", arguments.network)
        with uproot.open(Path(scratch, "simulation.root")) as file:
            events = {
                sample: np.stack(list(file[sample].arrays(["m", "c"], library="np").values()), axis=1)
                for sample in learned.config.samples
            }
    print(f"{seconds:.0f} s of CPU", file=sys.stderr)
    channel = learned.learned["SR"]
    own_order = [channel.samples.index(sample) for sample in learned.config.samples]
    on_grid = channel.encode(neyman.Events(exact.grid()[0])).ratios[own_order]
    for truth in TRUTHS:
        print(json.dumps({"mu": truth} | differences(learned, on_grid, truth, events)))
