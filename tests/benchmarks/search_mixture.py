"""A search with three samples and two shapes against its exact density: ``python search_mixture.py``.

Mass (GeV), pt (GeV) and an angle of a signal and two backgrounds. The mass scale moves the signal's peak: its events
come from trees of the same events in the same order. A shape of the first background comes from weights. Exact toys
are fitted with the learned likelihood and with the exact one, by iminuit. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import iminuit
import numpy as np
import uproot
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import gammaln

import neyman

SAMPLES = ("signal", "prompt", "fakes")
YIELDS = np.array([100.0, 1000.0, 500.0])
PARAMETERS = ("mu", "scale", "shape", "norm_prompt", "norm_fakes")
NORMS = {"prompt": 0.05, "fakes": 0.10}  # relative uncertainties of the backgrounds' rates

PEAK, SCALE = 125.0, 0.8
LOW, HIGH = 100.0, 160.0
PT = {"signal": (3.0, 25.0), "prompt": (2.0, 20.0), "fakes": (1.5, 20.0)}  # of a gamma distribution
TILT = 0.15


def generate(sample: str, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw nominal events of a sample, shape ``(n, 3)``."""
    pt = rng.gamma(PT[sample][0], PT[sample][1], n)
    if sample == "signal":
        mass = np.empty(n)
    else:
        fall = _fall(sample, pt)
        mass = LOW - fall * np.log1p(rng.uniform(size=n) * np.expm1(-(HIGH - LOW) / fall))
    angle = np.empty(n)
    todo = np.arange(n)
    while len(todo):
        angle[todo] = rng.uniform(-1, 1, len(todo))
        todo = todo[rng.uniform(size=len(todo)) * 2 > _angular(sample, angle[todo], pt[todo])]
    if sample == "signal":
        mass = rng.normal(PEAK, resolution(angle))
    return np.stack([mass, pt, angle], axis=1)


def resolution(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the width of the peak: 2 GeV on average, less in the middle."""
    return 1.6 + 1.5 * angle**2


def _fall(sample: str, pt: NDArray[np.float64]) -> Any:
    """Return the constant of a background's exponential spectrum of the mass."""
    return 20 + 20 * pt / (pt + 40) if sample == "prompt" else 60.0


def _angular(sample: str, angle: NDArray[np.float64], pt: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a polynomial of the angle that is at most two."""
    if sample == "signal":
        return 1 - 0.6 * angle**2
    return 1 + pt / (pt + 40) * angle**2 if sample == "prompt" else 1 + 0.5 * angle


def density(sample: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nominal density of a sample, shape ``(N,)``."""
    mass, pt, angle = x.T
    if sample == "signal":
        of_mass = np.exp(-0.5 * ((mass - PEAK) / resolution(angle)) ** 2) / (np.sqrt(2 * np.pi) * resolution(angle))
    else:
        fall = _fall(sample, pt)
        of_mass = np.exp(-(mass - LOW) / fall) / (-fall * np.expm1(-(HIGH - LOW) / fall))
    density: NDArray[np.float64] = of_mass * _of_pt(sample, pt) * _of_angle(sample, angle, pt)
    return density


def _of_pt(sample: str, pt: NDArray[np.float64]) -> NDArray[np.float64]:
    shape, size = PT[sample]
    return np.asarray(np.exp((shape - 1) * np.log(pt) - pt / size - gammaln(shape) - shape * np.log(size)))


def _of_angle(sample: str, angle: NDArray[np.float64], pt: NDArray[np.float64]) -> NDArray[np.float64]:
    area = {"signal": 2 - 0.4, "prompt": 2 + 2 / 3 * pt / (pt + 40), "fakes": 2.0}[sample]
    return np.asarray(_angular(sample, angle, pt) / area)


def tilt(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log of the weight that the shape has at one standard deviation, shape ``(N,)``."""
    _, pt, angle = np.asarray(x, dtype=np.float64).T
    return TILT * (np.tanh((pt - 40) / 20) + angle**2)


def _log_integral() -> CubicSpline:
    """Return the log of the prompt density's integral with its tilt, as a function of the shape's parameter."""
    (nodes, rule), (angles, angular) = (np.polynomial.legendre.leggauss(n) for n in (200, 40))
    pt = 300 * (nodes + 1)
    x = np.stack([a.ravel() for a in np.meshgrid([PEAK], pt, angles, indexing="ij")], axis=1)
    volume = _of_pt("prompt", x[:, 1]) * _of_angle("prompt", x[:, 2], x[:, 1]) * np.outer(rule, angular).ravel()
    values = np.linspace(-8, 8, 161)
    return CubicSpline(values, [np.log(volume @ np.exp(value * tilt(x)) / volume.sum()) for value in values])


LOG_INTEGRAL = _log_integral()


class Exact:
    """The exact extended likelihood of one dataset, in the parameters ``PARAMETERS``.

    Args:
        x: the events, shape ``(N, 3)``.
        auxiliary: the auxiliary data of all parameters but ``mu``, shape ``(4,)``.
    """

    def __init__(self, x: NDArray[np.float64], auxiliary: NDArray[np.float64]) -> None:
        self.x, self.auxiliary, self.tilt = x, auxiliary, tilt(x)
        self.mass, self.width = x[:, 0] - PEAK, resolution(x[:, 2])
        self.nominal = np.stack([density(sample, x) for sample in SAMPLES])

    def __call__(self, pars: NDArray[np.float64]) -> float:
        """Return -2 log L."""
        f = rates(pars) @ self.densities(pars[1], pars[2])
        value = rates(pars).sum() - np.log(f).sum() if f.min() > 0 else np.inf
        return float(2 * value + np.sum((pars[1:] - self.auxiliary) ** 2))

    def densities(self, scale: float, shape: float) -> NDArray[np.float64]:
        """Return the samples' densities, shape ``(3, N)``."""
        shift = SCALE * scale
        log_ratio = shift * (self.mass - shift / 2) / self.width**2
        bent = np.exp(shape * self.tilt - LOG_INTEGRAL(shape))
        return self.nominal * np.stack([np.exp(log_ratio), bent, np.ones_like(bent)])

    def fit(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the estimates and their uncertainties from the second derivatives, both of shape ``(5,)``."""
        minuit = iminuit.Minuit(self, np.array([1.0, 0.0, 0.0, 0.0, 0.0]), name=PARAMETERS)
        minuit.limits["mu"] = (0, 10)
        minuit.errors = [0.2, 0.5, 1.0, 1.0, 1.0]
        minuit.tol = 1e-3
        minuit.migrad()
        minuit.hesse()
        return np.array(minuit.values), np.array(minuit.errors)


def rates(pars: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected events of the samples, shape ``(3,)``."""
    return YIELDS * [pars[0], (1 + NORMS["prompt"]) ** pars[3], (1 + NORMS["fakes"]) ** pars[4]]


def toy(rng: np.random.Generator) -> Exact:
    """Draw a dataset at ``mu = 1`` and the nominal nuisance parameters."""
    x = np.concatenate([generate(sample, rng.poisson(n), rng) for sample, n in zip(SAMPLES, YIELDS, strict=True)])
    return Exact(x.astype(np.float32).astype(np.float64), rng.normal(size=len(PARAMETERS) - 1))


def write(folder: Path, events: int, seed: int, network: Mapping[str, Any]) -> neyman.Workspace:
    """Write the simulation as ROOT files and return the document of the search."""
    samples: list[dict[str, Any]] = []
    for number, (sample, expected) in enumerate(zip(SAMPLES, YIELDS, strict=True)):
        x = generate(sample, events, np.random.default_rng([seed, number]))
        with uproot.recreate(folder / f"{sample}.root") as file:
            for tree, shift in (("nominal", 0.0), ("scale_up", SCALE), ("scale_down", -SCALE)):
                if tree == "nominal" or sample == "signal":
                    w = np.full(events, expected / events)
                    columns = {"mass": x[:, 0] + shift, "pt": x[:, 1], "angle": x[:, 2], "w": w}
                    if sample == "prompt":
                        for side, sign in (("up", 1), ("down", -1)):
                            columns[f"w_{side}"] = w * np.exp(sign * tilt(x) - LOG_INTEGRAL(sign))
                    file[tree] = columns
        modifiers: list[dict[str, Any]] = []
        if sample in NORMS:
            size = 1 + NORMS[sample]
            modifiers = [{"name": f"norm_{sample}", "type": "normsys", "data": {"hi": size, "lo": 1 / size}}]
        if sample == "signal":
            sides = {"hi": {"tree": "scale_up"}, "lo": {"tree": "scale_down"}}
            modifiers = [
                {"name": "mu", "type": "normfactor", "data": None},
                {"name": "scale", "type": "histosys", "data": sides},
            ]
        if sample == "prompt":
            sides = {"hi": {"weight": "w_up"}, "lo": {"weight": "w_down"}}
            modifiers.append({"name": "shape", "type": "histosys", "data": sides})
        source = {"files": str(folder / f"{sample}.root"), "tree": "nominal", "weight": "w"}
        samples.append({"name": sample, "events": source, "modifiers": modifiers})
    channel: dict[str, Any] = {"name": "SR", "features": ["mass", "pt", "angle"], "samples": samples}
    if network:
        channel["network"] = dict(network)
    mu = {"name": "mu", "inits": [1.0], "bounds": [[0.0, 10.0]]}
    measurement = {"name": "search", "config": {"poi": "mu", "parameters": [mu]}}
    document = {"version": "1.0.0", "channels": [channel], "observations": [], "measurements": [measurement]}
    path = folder / "search.json"
    path.write_text(json.dumps(document))
    return neyman.Workspace.load(path)


def measure(seed: int, events: int, toys: int, network: dict[str, Any]) -> dict[str, Any]:
    """Train on one simulation and fit the same toys twice: estimates and uncertainties of shape ``(toys, 5)``."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = write(Path(folder), events, seed, network)
        begin = time.process_time()
        model = neyman.train(workspace, seed=seed)
        seconds = time.process_time() - begin
    constrained = [PARAMETERS.index(name) for name in model.config.auxdata_order]
    found: dict[str, Any] = {name: [] for name in ("learned", "exact", "seconds of a learned fit")}
    rng = np.random.default_rng([seed, len(SAMPLES)])
    for _ in range(toys):
        exact = toy(rng)
        data = neyman.Ensemble({"SR": neyman.Events(exact.x)}, auxdata=exact.auxiliary[np.array(constrained) - 1])
        found["exact"].append(exact.fit())
        begin = time.process_time()
        result = neyman.fit(model.data(data), model)
        found["seconds of a learned fit"].append(time.process_time() - begin)
        order = [result.names.index(name) for name in PARAMETERS]
        found["learned"].append((np.asarray(result.bestfit)[order], np.asarray(result.uncertainty)[order]))
    return {"seed": seed, "training": seconds} | {name: np.array(values) for name, values in found.items()}


def figures(run: dict[str, Any]) -> dict[str, Any]:
    """Return what a training is judged by, for ``mu`` and both shapes."""
    (values, widths), (exact, sigma) = (run[name].transpose(1, 0, 2)[..., :3] for name in ("learned", "exact"))
    pulls, ratios = (values - exact) / sigma, widths / sigma
    return {
        "CPU seconds of training": run["training"],
        "CPU seconds of a fit with encoding": float(np.mean(run["seconds of a learned fit"])),
        "scatter about the exact estimate, in sigma": dict(zip(PARAMETERS, pulls.std(axis=0), strict=False)),
        "mean difference, in sigma": dict(zip(PARAMETERS, pulls.mean(axis=0), strict=False)),
        "ratio of the widths, mean": dict(zip(PARAMETERS, ratios.mean(axis=0), strict=False)),
        "its error from the toys": dict(zip(PARAMETERS, ratios.std(axis=0) / len(ratios) ** 0.5, strict=False)),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of simulations, each with a training")
    parser.add_argument("--toys", type=int, default=60, help="exact toys for each seed")
    parser.add_argument("--events", type=int, default=54_000, help="simulated events of each sample")
    parser.add_argument("--network", type=json.loads, default={}, help="options of the network, as JSON")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        run = measure(seed, arguments.events, arguments.toys, arguments.network)
        print(json.dumps({"seed": seed} | figures(run), indent=2), flush=True)
