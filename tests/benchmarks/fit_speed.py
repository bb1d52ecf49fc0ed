"""A five-parameter fit by ``neyman.fit`` against iminuit on the exact density in NumPy: ``python fit_speed.py``.

INFERNO's problem with a luminosity: the signal strength mu is free; r, lambda, the norm of the background b and the
luminosity have constraint terms. Both sides have the same parameters, bounds, constraints, starting values and data.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import iminuit
import numpy as np
import pyhf
import yaml
from numpy.typing import NDArray

import neyman

EXAMPLE = Path(__file__).parents[2] / "examples" / "inferno"
sys.path.insert(0, str(EXAMPLE))
from exact import LAMBDA, SIGMA_LAMBDA, SIGMA_R, B, S, draw_background, draw_signal, signal_density  # noqa: E402
from make_ntuples import make_ntuples  # noqa: E402

__all__ = ["inferno_document", "main"]

Array = NDArray[np.float64]

PARAMETERS = ("mu", "r", "lambda", "b", "lumi")
START = (1.0, 0.0, 0.0, 0.0, 1.0)
BOUNDS = ((0.0, 10.0), (-5.0, 5.0), (-2.5, 5.0), (-5.0, 5.0), (0.8, 1.2))
SIGMA_B, SIGMA_LUMI = 0.1, 0.02  # relative


def inferno_document(network: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the example's document with a luminosity and other options for the networks."""
    document: dict[str, Any] = yaml.safe_load((EXAMPLE / "analysis.yaml").read_text())
    (channel,) = document["channels"]
    channel["network"] = network or {}
    for sample in channel["samples"]:
        sample["modifiers"].append({"name": "lumi", "type": "lumi", "data": None})
    bounds = dict(zip(PARAMETERS, BOUNDS, strict=True))
    document["measurements"][0]["config"]["parameters"] = [
        {"name": "mu", "inits": [1.0], "bounds": [bounds["mu"]]},
        {"name": "lambda", "bounds": [bounds["lambda"]]},
        {"name": "lumi", "auxdata": [1.0], "sigmas": [SIGMA_LUMI], "inits": [1.0], "bounds": [bounds["lumi"]]},
    ]
    return document


def scaled(model: neyman.Model, factor: float) -> neyman.Model:
    """Return the model with every rate multiplied by a factor."""
    spec = {
        **model.spec,
        "channels": [
            {
                **channel,
                "samples": [{**s, "data": [factor * content for content in s["data"]]} for s in channel["samples"]],
            }
            for channel in model.spec["channels"]
        ],
    }
    return neyman.Model(spec, model.learned, poi_name="mu")


def exact_twice_nll(x: Array, scale: float) -> Callable[[Array], float]:
    """Return -2 log L of the exact density, as a function of the five parameters.

    Whatever does not depend on the parameters is computed once.
    """
    n = len(x)
    x0, x2 = np.ascontiguousarray(x[:, 0]), np.ascontiguousarray(x[:, 2])
    signal = signal_density(x)
    constant = np.exp(-0.5 * x[:, 1] ** 2 / 9) / (2 * np.pi * np.sqrt(45))

    def twice_nll(pars: Array) -> float:
        mu, r, lam, b, lumi = pars
        rate = LAMBDA + SIGMA_LAMBDA * lam
        n_signal, n_background = scale * lumi * mu * S, scale * lumi * B * (1 + SIGMA_B * b)
        background = rate * constant * np.exp(-0.1 * (x0 - (2 + SIGMA_R * r)) ** 2 - rate * x2)
        density = n_signal * signal + n_background * background
        extended = n_signal + n_background - np.sum(np.log(density))
        return float(2 * extended + r**2 + lam**2 + b**2 + ((lumi - 1) / SIGMA_LUMI) ** 2)

    assert n == len(signal)
    return twice_nll


def exact_fit(twice_nll: Callable[[Array], float]) -> iminuit.Minuit:
    """Minimise as a user of iminuit would: default strategy, numerical derivatives, MIGRAD and HESSE."""
    minuit = iminuit.Minuit(twice_nll, np.array(START), name=PARAMETERS)
    minuit.limits = BOUNDS
    minuit.errordef = iminuit.Minuit.LEAST_SQUARES
    minuit.migrad()
    minuit.hesse()
    return minuit
