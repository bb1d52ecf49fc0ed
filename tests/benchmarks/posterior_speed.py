"""Posteriors of 60 parameters by ``neyman.posterior`` against random-walk Metropolis: ``python posterior_speed.py``.

Both sample the same likelihood with the same flat prior. Metropolis proposes steps from the covariance of the fit times
2.38^2 / 60, the best there is for a Gaussian (Roberts, Gelman, Gilks 1997), and starts at the best fit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
from fit_speed import EXAMPLE, observed
from make_ntuples import make_ntuples
from numpy.typing import NDArray

import neyman
from neyman.model.plain import as_model

__all__ = ["binned", "learned"]

Array = NDArray[np.float64]

BINS, PARAMETERS = 20, 60


def systematics(content: Array, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return as many constrained parameters of a sample, by turns of its rate and of its shape."""
    modifiers: list[dict[str, Any]] = []
    for k in range(count):
        if k % 2:
            up, down = 0.02 + 0.03 * rng.random(2)
            modifiers.append({"name": f"rate_{k}", "type": "normsys", "data": {"hi": 1.0 + up, "lo": 1.0 - down}})
        else:
            tilt = 0.04 * rng.normal() * np.linspace(-1.0, 1.0, content.size)
            data = {"hi_data": (content * (1.0 + tilt)).tolist(), "lo_data": (content * (1.0 - tilt)).tolist()}
            modifiers.append({"name": f"shape_{k}", "type": "histosys", "data": data})
    return modifiers


def binned() -> tuple[neyman.Model, Array]:
    """Return a plain model of twenty bins: 37 systematics of three samples, 20 of finite simulation, two free norms."""
    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 1.0, BINS)
    free = [{"name": name, "type": "normfactor", "data": None} for name in ("mu", "norm")]
    lumi = {"name": "lumi", "type": "lumi", "data": None}
    samples = []
    for name, content, own in (
        ("signal", 20.0 * np.exp(-0.5 * ((x - 0.5) / 0.1) ** 2), free[:1]),
        ("sloping", 100.0 * np.exp(-2.0 * x) + 20.0, []),
        ("flat", np.full(BINS, 40.0), free[1:]),
    ):
        statistical = {"name": "mcstat", "type": "staterror", "data": (0.03 * content).tolist()}
        modifiers = [*own, lumi, *systematics(content, PARAMETERS - BINS - 3, rng)]
        modifiers += [statistical] if name != "signal" else []
        samples.append({"name": name, "data": content.tolist(), "modifiers": modifiers})
    block = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.0], "bounds": [[0.9, 1.1]]}
    model = pyhf.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": [block]}, poi_name="mu")
    main = rng.poisson(model.expected_actualdata(model.config.suggested_init()))
    return as_model(model), np.concatenate([main, model.config.auxdata])


def learned(events: int = 20_000) -> tuple[neyman.Model, Array]:
    """Return INFERNO's learned channel of 600 events beside a binned one, with as many parameters."""
    rng = np.random.default_rng(1)
    document = neyman.Workspace.load(EXAMPLE / "analysis.yaml").document
    (channel,) = document["channels"]
    channel["network"] = {"epochs": 4, "minimum_steps": 100}
    content = np.full(BINS, 50.0)
    modifiers = systematics(content, PARAMETERS - 4, rng)
    channel["samples"][1]["modifiers"] += [one for one in modifiers if one["type"] == "normsys"]
    control = {"name": "CR", "samples": [{"name": "background", "data": content.tolist(), "modifiers": modifiers}]}
    document["channels"].append(control)
    with tempfile.TemporaryDirectory() as folder:
        make_ntuples(Path(folder), events=events)
        model = neyman.train(neyman.Workspace(document, folder))
    events_of_channel = observed(600).events["SR"]
    counts = {"CR": rng.poisson(content).astype(float)}
    return model, model.data(neyman.Ensemble({"SR": events_of_channel}, counts))


def metropolis(data: Array, model: neyman.Model, fit: neyman.FitResult, n: int, seed: int) -> tuple[Array, float]:
    """Return a chain of a random walk, shape ``(n, P)``, and the fraction of its steps that were taken."""
    rng = np.random.default_rng(seed)
    low, high = np.array(model.config.suggested_bounds()).T
    steps = rng.normal(size=(n, len(fit))) @ np.linalg.cholesky(fit.covariance).T * 2.38 / np.sqrt(len(fit))
    thresholds = np.log(rng.random(n))
    chain, here = np.empty((n, len(fit))), fit.bestfit.copy()
    value, taken = model.evaluate(here, data)[0], 0
    for k in range(n):
        there = here + steps[k]
        if np.all((there >= low) & (there <= high)):
            proposed = model.evaluate(there, data)[0]
            if proposed - value > thresholds[k]:
                here, value, taken = there, proposed, taken + 1
        chain[k] = here
    return chain, taken / n


def main() -> None:
    """Print effective draws of the worst and the median parameter, and how many of them a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="of Metropolis")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz

    for name, make in (("binned", binned), ("learned", learned)):
        model, data = make()
        start = time.process_time()
        draws = neyman.posterior(data, model)
        seconds = time.process_time() - start
        print(f"{name}, {len(draws.names)} parameters, valid: {draws.valid}, {draws.divergences} divergences")
        print(
            f"  neyman.posterior  {seconds:6.1f} s  {row(np.minimum(draws.effective, draws.effective_tail), seconds)}"
        )

        start = time.process_time()
        fit = neyman.fit(data, model)
        chain, taken = metropolis(data, model, fit, arguments.steps, seed=0)
        seconds = time.process_time() - start
        bulk = np.array([arviz.ess(chain[None, :, k], method="bulk") for k in range(len(fit))])
        tail = np.array([arviz.ess(chain[None, :, k], method="tail") for k in range(len(fit))])
        print(
            f"  Metropolis        {seconds:6.1f} s  {row(np.minimum(bulk, tail), seconds)}, {100 * taken:.0f} % taken"
        )
        shift = (chain.mean(axis=0) - draws.mean) / draws.std
        print(f"  means differ by {np.sqrt(np.mean(shift**2)):.2f} standard deviations (r.m.s.)")


def row(effective: Array, seconds: float) -> str:
    """Return the effective draws of bulk and tails, whichever is less."""
    worst, median = effective.min(), np.median(effective)
    return f"effective: worst {worst:.0f}, {worst / seconds:.1f} a second; median {median:.0f}, {median / seconds:.1f}"


if __name__ == "__main__":
    main()
