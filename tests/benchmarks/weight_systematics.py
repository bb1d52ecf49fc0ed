"""Sixteen shape systematics from weights, against the exact likelihood: ``python weight_systematics.py 40000``.

A background of 3,000 expected events in eight independent features, and two systematics a feature that reweight it by
some 5 %, log-linear in their parameters, so that its density is known for all of them at once; a signal of 120.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import iminuit
import numpy as np
import uproot
from numpy.typing import NDArray
from scipy.stats import norm

import neyman

__all__ = ["PARAMETERS", "compared", "document", "exact_fit", "log_weights", "toy", "write"]

Array = NDArray[np.float64]

D, SIGNAL, BACKGROUND = 8, 120.0, 3000.0
SIZES = 0.05 + 0.01 * np.arange(2 * D) / (2 * D)  # of the weights, root mean square
PARAMETERS = ("mu", *(f"alpha_{j}" for j in range(2 * D)))

_POINTS, _MASSES = np.polynomial.hermite_e.hermegauss(80)
_MASSES = _MASSES / _MASSES.sum()


def _shapes(x: Array) -> Array:
    """Return two functions of each feature, shape ``(..., 2)`` for ``(...)``."""
    return np.stack([np.tanh(x), np.cos(1.5 * x)], axis=-1)


_MEANS = _MASSES @ _shapes(_POINTS)
_SPREADS = np.sqrt(_MASSES @ (_shapes(_POINTS) - _MEANS) ** 2)


def log_weights(x: Array) -> Array:
    """Return the log-ratios of the densities at +1 to the nominal one, up to constants: ``(N, 8)`` to ``(N, 16)``."""
    return ((_shapes(x) - _MEANS) / _SPREADS).reshape(len(x), -1) * SIZES


def _normalisation(alphas: Array) -> tuple[Array, Array]:
    """Return the log of the mean of ``exp(alpha . t)`` over the background in each feature, and its derivatives."""
    t = ((_shapes(_POINTS) - _MEANS) / _SPREADS)[:, None] * SIZES.reshape(D, 2)  # (points, features, 2)
    tilted = _MASSES[:, None] * np.exp(np.einsum("pfk,fk->pf", t, alphas.reshape(D, 2)))
    total = tilted.sum(axis=0)
    return np.log(total), (np.einsum("pf,pfk->fk", tilted, t) / total[:, None]).ravel()


def _draw(sample: str, n: int, rng: np.random.Generator) -> Array:
    x = rng.normal(size=(n, D))
    return 0.5 + 0.8 * x if sample == "signal" else x


def write(folder: Path, events: int, seed: int = 0) -> None:
    """Simulate so many events of either sample, with all weights of the background as branches of its tree."""
    rng = np.random.default_rng(seed)
    for sample, total in (("signal", SIGNAL), ("background", BACKGROUND)):
        x = _draw(sample, events, rng)
        branches = {f"x{k}": x[:, k].astype(np.float32) for k in range(D)} | {"w": np.full(events, total / events)}
        if sample == "background":
            for j, t in enumerate(log_weights(x).T):
                for side, sign in (("up", 1.0), ("down", -1.0)):
                    alphas = np.zeros(2 * D)
                    alphas[j] = sign
                    branches[f"w_{j}_{side}"] = branches["w"] * np.exp(sign * t - _normalisation(alphas)[0].sum())
        with uproot.recreate(folder / f"{sample}.root") as file:
            file["events"] = branches


def document(network: dict[str, Any] | None = None, systematics: int = 2 * D) -> dict[str, Any]:
    """Return the document of the analysis."""
    varied = [
        {
            "name": f"alpha_{j}",
            "type": "histosys",
            "data": {"hi": {"weight": f"w_{j}_up"}, "lo": {"weight": f"w_{j}_down"}},
        }
        for j in range(systematics)
    ]
    return {
        "version": "1.0.0",
        "channels": [
            {
                "name": "SR",
                "features": [f"x{k}" for k in range(D)],
                "network": {"kind": "mixture", **(network or {})},
                "samples": [
                    {
                        "name": "signal",
                        "events": {"files": "signal.root", "tree": "events", "weight": "w"},
                        "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                    },
                    {
                        "name": "background",
                        "events": {"files": "background.root", "tree": "events", "weight": "w"},
                        "modifiers": varied,
                    },
                ],
            }
        ],
        "observations": [],
        "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
    }


def toy(rng: np.random.Generator, systematics: int = 2 * D) -> neyman.Ensemble:
    """Draw a dataset at the nominal parameters, auxiliary data included."""
    x = [_draw(sample, rng.poisson(n), rng) for sample, n in (("signal", SIGNAL), ("background", BACKGROUND))]
    return neyman.Ensemble({"SR": neyman.Events(np.concatenate(x))}, auxdata=rng.normal(size=systematics))


def exact_fit(ensemble: neyman.Ensemble) -> tuple[Array, Array]:
    """Return best fit and uncertainties of the exact likelihood, in the order of :data:`PARAMETERS`."""
    x = ensemble.events["SR"].features.astype(np.float64)
    auxdata = ensemble.auxdata
    assert auxdata is not None
    count = len(auxdata)
    t = log_weights(x)[:, :count]
    signal = SIGNAL * np.exp(norm.logpdf(x, 0.5, 0.8).sum(axis=1) - norm.logpdf(x).sum(axis=1))

    def evaluated(pars: Array) -> tuple[float, Array]:
        mu, alphas = pars[0], np.zeros(2 * D)
        alphas[:count] = pars[1:]
        log_total, means = _normalisation(alphas)
        background = BACKGROUND * np.exp(t @ pars[1:] - log_total.sum())
        density = mu * signal + background
        value = mu * SIGNAL - np.log(density).sum() + 0.5 * np.sum((pars[1:] - auxdata) ** 2)
        share = background / density
        by_alpha = pars[1:] - auxdata - share @ t + share.sum() * means[:count]
        return 2 * value, 2 * np.concatenate([[SIGNAL - (signal / density).sum()], by_alpha])

    start = np.concatenate([[1.0], np.zeros(count)])
    minuit = iminuit.Minuit(
        lambda pars: evaluated(pars)[0], start, grad=lambda pars: evaluated(pars)[1], name=PARAMETERS[: 1 + count]
    )
    minuit.limits = [(0.0, 10.0), *[(-5.0, 5.0)] * count]
    minuit.errordef = iminuit.Minuit.LEAST_SQUARES
    minuit.migrad()
    minuit.hesse()
    return np.array(minuit.values), np.array(minuit.errors)


def compared(model: neyman.Model, toys: int, seed: int = 1, systematics: int = 2 * D) -> tuple[Array, Array, Array]:
    """Fit toys with the learned and the exact likelihood.

    Returns:
        The difference of the best fits in exact uncertainties, the ratio of the uncertainties, shapes
        ``(toys, 1 + systematics)``, and what the finite simulation should make of the difference, of the last toy.
    """
    rng = np.random.default_rng(seed)
    differences, ratios = [], []
    names = list(PARAMETERS[: 1 + systematics])
    for _ in range(toys):
        ensemble = toy(rng, systematics)
        values, errors = exact_fit(ensemble)
        order = [model.config.auxdata_order.index(name) for name in names[1:]]
        assert ensemble.auxdata is not None
        auxdata = np.empty_like(ensemble.auxdata)
        auxdata[order] = ensemble.auxdata
        fit = neyman.fit(model.data(neyman.Ensemble(ensemble.events, auxdata=auxdata)), model)
        place = [fit.names.index(name) for name in names]
        differences.append((np.asarray(fit.bestfit)[place] - values) / errors)
        ratios.append(np.asarray(fit.uncertainty)[place] / errors)
    return np.array(differences), np.array(ratios), np.asarray(fit.simulation)[place] / errors


def _report(what: str, values: Array, summary: Callable[[Array], float]) -> None:
    print(f"  {what:52} mu {summary(values[:, :1]):.3f}   nuisance parameters {summary(values[:, 1:]):.3f}", flush=True)


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=int, nargs="*", default=[40_000, 300_000], help="simulated, of either sample")
    parser.add_argument("--toys", type=int, default=20)
    parser.add_argument("--trainings", type=int, default=1, help="of independent simulations")
    parser.add_argument("--network", type=json.loads, default={}, help="options of the network, in JSON")
    args = parser.parse_args()
    for events in args.events:
        differences, ratios, expected = [], [], []
        begin = time.process_time()
        for seed in range(args.trainings):
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), events, seed)
                model = neyman.train(neyman.Workspace(document(args.network), folder), seed=seed)
            if seed == 0:
                print(f"{events} simulated events: {time.process_time() - begin:.0f} s of CPU", flush=True)
            one = compared(model, args.toys, seed=seed)
            for whole, part in zip((differences, ratios, expected), one, strict=True):
                whole.append(part)
        found = np.concatenate(differences)
        _report("difference from the exact fit in sigma, r.m.s.", found, lambda v: float(np.sqrt(np.mean(v**2))))
        around = np.concatenate([part - part.mean(axis=0) for part in differences])
        _report("  about its mean in toys", around, lambda v: float(np.sqrt(np.mean(v**2))))
        _report("  expected of the finite simulation", np.array(expected), lambda v: float(np.sqrt(np.mean(v**2))))
        _report("ratio of uncertainties, mean", np.concatenate(ratios), lambda v: float(v.mean()))
        print(f"  sqrt(N/n) is {np.sqrt(BACKGROUND / events):.3f}")


if __name__ == "__main__":
    main()
