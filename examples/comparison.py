"""Hold learned likelihoods of whole datasets to exact ones: fits, figures of merit and pictures the examples share.

An example's ``exact`` module has ``PARAMETERS`` (pyhf's blocks), ``POI``, ``FEATURES``, ``sample(pars, rng)``, and the
exact ``evaluate``, ``best_fit``, ``ratio`` and ``interval``. :func:`fits` takes any model with neyman's interface.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import neyman
from neyman.exceptions import FailedFit
from neyman.inference.profile import Profile
from neyman.results.figures import style

__all__ = [
    "ExactModel",
    "Fits",
    "by_cardinality",
    "command_line",
    "compare",
    "draw_widths",
    "exact_fits",
    "fits",
    "fraction",
    "pack",
    "trained",
    "write",
]

Array = NDArray[np.float64]

LEVEL = 0.6827  # of the set with -2 log of the ratio below one, asymptotically
NETWORKS = ("deepset", "transformer", "event")


@dataclass(frozen=True, eq=False)
class Fits:
    """What one likelihood makes of ``B`` datasets; nan where a fit has failed.

    Args:
        best: the best fit of the parameter of interest, shape ``(B,)``.
        t: -2 log of the profile likelihood ratio at the truth, shape ``(B,)``.
        low: the lower end of the 68 % interval, where t is below one, shape ``(B,)``.
        high: the upper end, shape ``(B,)``.
    """

    best: Array
    t: Array
    low: Array
    high: Array

    @property
    def width(self) -> Array:
        """The width of the interval."""
        return self.high - self.low

    def __getitem__(self, index: NDArray[Any]) -> Fits:
        return Fits(self.best[index], self.t[index], self.low[index], self.high[index])


class ExactModel:
    """The exact likelihood with what ``neyman.fit`` needs of a model: pyhf's ``config``, ``data`` and ``evaluate``.

    Args:
        exact: an example's module; its ``evaluate(pars, x)`` gives the log-likelihood of the events and its gradient.
    """

    def __init__(self, exact: ModuleType) -> None:
        self._evaluate = exact.evaluate
        self._dimension = len(exact.FEATURES)
        self.config = _config(exact.PARAMETERS, exact.POI)
        constrained = [k for k, block in enumerate(exact.PARAMETERS) if "auxdata" in block]
        self._constrained = np.array(constrained, dtype=np.intp)
        self._sigmas = np.array([exact.PARAMETERS[k]["sigmas"][0] for k in constrained], dtype=np.float64)

    def data(self, ensemble: neyman.Ensemble) -> Array:
        """Pack an ensemble of unweighted events into one vector, ``[events | auxdata]``."""
        auxdata = self.config.auxdata if ensemble.auxdata is None else ensemble.auxdata
        return np.concatenate([ensemble.events["events"].features.astype(np.float64).ravel(), auxdata])

    def evaluate(self, pars: ArrayLike, data: ArrayLike) -> tuple[float, Array]:
        """Return the log-likelihood and its gradient."""
        pars, data = np.asarray(pars, dtype=np.float64), np.asarray(data, dtype=np.float64)
        end = data.size - self._sigmas.size
        value, gradient = self._evaluate(pars, data[:end].reshape(-1, self._dimension))
        pull = (data[end:] - pars[self._constrained]) / self._sigmas
        gradient = np.array(gradient)
        gradient[self._constrained] += pull / self._sigmas
        return value - 0.5 * float(pull @ pull), gradient


def trained(exact: ModuleType, network: str, seed: int, folder: Path) -> Any:
    """Return the model of an example: trained, or read from the folder if it has been trained before.

    Args:
        exact: the example's module.
        network: a kind of network, or "exact" for the exact likelihood in the model's place.
        seed: of the training.
        folder: where the model file is or will be.
    """
    if network == "exact":
        return ExactModel(exact)
    path = folder / f"{network}-{seed}.neyman"
    if path.exists():
        return neyman.Model.load(path)
    simulator = neyman.Simulator(exact.sample, parameters=exact.PARAMETERS, poi=exact.POI, features=exact.FEATURES)
    model = neyman.train(simulator, network=network, seed=seed)
    model.save(path)
    return model


def pack(model: Any, x: ArrayLike, auxdata: ArrayLike | None = None) -> Array:
    """Return the data vector of events of shape ``(N, d)``."""
    return model.data(neyman.Ensemble({"events": neyman.Events(x)}, auxdata=auxdata))


def fits(
    model: Any,
    datasets: Sequence[ArrayLike],
    truths: ArrayLike,
    auxdata: Sequence[ArrayLike] | None = None,
) -> Fits:
    """Fit every dataset with a model.

    Args:
        model: a model with the interface of ``neyman.Model`` whose events are in the channel "events".
        datasets: ``B`` datasets, each of shape ``(N, d)``.
        truths: the true value of the parameter of interest, one or one for each, shape ``(B,)``.
        auxdata: the auxiliary data of each dataset; default is the nominal ones.
    """
    values = np.broadcast_to(np.asarray(truths, dtype=np.float64), (len(datasets),))
    rows = np.full((len(datasets), 4), np.nan)
    for row, (x, truth) in enumerate(zip(datasets, values, strict=True)):
        data = pack(model, x, None if auxdata is None else auxdata[row])
        try:
            rows[row] = _fit(model, data, truth)
        except FailedFit:
            continue
    return Fits(*rows.T)


def exact_fits(exact: ModuleType, datasets: Sequence[ArrayLike], truths: ArrayLike, **options: Any) -> Fits:
    """Return what the exact likelihood makes of the datasets, as :func:`fits` does of a model."""
    poi = [block["name"] for block in exact.PARAMETERS].index(exact.POI)
    best, ends = exact.best_fit(datasets, **options)[:, poi], exact.interval(datasets, **options)
    return Fits(best, exact.ratio(datasets, truths, **options), ends[:, 0], ends[:, 1])


def compare(learned: Fits, reference: Fits) -> dict[str, Any]:
    """Return the figures of merit of a learned likelihood, with their statistical errors.

    "sigma" is half the width of the exact interval of the same dataset; datasets with a failed fit are counted and left
    out.
    """
    is_valid = np.isfinite(learned.t) & np.isfinite(learned.width)
    failed = int(np.count_nonzero(~is_valid))
    learned, reference = learned[is_valid], reference[is_valid]
    n = learned.t.size
    if not n:
        return {"toys": 0, "failed": failed}
    draws = np.random.default_rng(0).integers(n, size=(400, n))  # the bootstrap of ratios of medians
    medians = np.median(learned.width[draws], axis=1) / np.median(reference.width[draws], axis=1)
    pull = (learned.best - reference.best) / (0.5 * reference.width)
    difference = (learned.t - reference.t) ** 2
    rms = float(np.sqrt(difference.mean()))
    inside, inside_exact = learned.t <= 1.0, reference.t <= 1.0
    return {
        "toys": n,
        "failed": failed,
        "median width": {"learned": float(np.median(learned.width)), "exact": float(np.median(reference.width))},
        "width ratio": {
            "value": float(np.median(learned.width) / np.median(reference.width)),
            "error": float(medians.std()),
        },
        "bias in sigma": {"value": float(pull.mean()), "error": float(pull.std() / np.sqrt(n))},
        "scatter in sigma": float(pull.std()),
        "r.m.s. difference of t": {
            "value": rms,
            "error": float(difference.std() / np.sqrt(n) / (2 * rms)) if rms > 0.0 else 0.0,
        },
        "coverage": {
            "learned": fraction(inside),
            "exact": fraction(inside_exact),
            "error of the difference": float(np.std(inside.astype(float) - inside_exact) / np.sqrt(n)),
        },
    }


def by_cardinality(exact: ModuleType, model: Any, toys: int, seed: int, reach: float) -> dict[str, Any]:
    """Compare a model with the exact likelihood at each of the example's cardinalities.

    Args:
        exact: the example's module.
        model: the model.
        toys: datasets at each cardinality.
        seed: of the datasets: the same for all models.
        reach: the true parameters are uniform from minus this to this.

    Returns:
        By cardinality what :func:`compare` gives, and the median width and the coverage of intervals from the exact
        likelihood of independent events.
    """
    found = {}
    poi = [block["name"] for block in exact.PARAMETERS].index(exact.POI)
    for n in exact.CARDINALITIES:
        rng = np.random.default_rng([seed, n])
        truths = rng.uniform(-reach, reach, size=(toys, len(exact.PARAMETERS)))
        # a model holds events in single precision
        datasets = [exact.sample_n(pars, n, rng).astype(np.float32) for pars in truths]
        result = compare(fits(model, datasets, truths[:, poi]), exact_fits(exact, datasets, truths[:, poi]))
        result["blind"] = {
            "median width": float(np.median(np.diff(exact.interval(datasets, blind=True), axis=1))),
            "coverage": fraction(exact.ratio(datasets, truths[:, poi], blind=True) <= 1.0),
        }
        found[str(n)] = result
    return found


def draw_widths(runs: Sequence[Mapping[str, Any]], path: Path, xlabel: str, ylabel: str) -> None:
    """Draw the width of the interval against the cardinality and, below, its coverage.

    Args:
        runs: for each network its name as "network" and, as "points", what :func:`by_cardinality` gives.
        path: of the picture.
        xlabel: what the cardinality counts.
        ylabel: the width's label.
    """
    figure = style.NotebookFigure(figsize=(6, 5.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    points = runs[0]["points"]
    n = np.array([float(key) for key in points])
    lines: list[tuple[str, str, str, list[float], list[Mapping[str, float]]]] = [
        (
            "exact",
            "black",
            "-",
            [p["median width"]["exact"] for p in points.values()],
            [p["coverage"]["exact"] for p in points.values()],
        ),
        (
            "exact, events taken for independent",
            style.GREY,
            "--",
            [p["blind"]["median width"] for p in points.values()],
            [p["blind"]["coverage"] for p in points.values()],
        ),
    ]
    for label, colour, line, widths, coverage in lines:
        top.plot(n, widths, line, color=colour, label=label)
        bottom.plot(n, [c["value"] for c in coverage], line, color=colour)
    for k, run in enumerate(runs):
        own = [p for p in run["points"].values() if p["toys"]]
        x = np.array([float(key) for key, p in run["points"].items() if p["toys"]])
        marker = {"color": style.COLOURS[k], "marker": style.MARKERS[k], "linestyle": "none", "markersize": 6}
        top.plot(x, [p["median width"]["learned"] for p in own], label=run["network"], **marker)
        covered = [p["coverage"]["learned"] for p in own]
        apart = x * 1.04 ** (k - (len(runs) - 1) / 2)  # so that the errors can be seen
        bottom.errorbar(apart, [c["value"] for c in covered], [c["error"] for c in covered], **marker)
    top.set(xscale="log", yscale="log", ylabel=ylabel)
    bottom.axhline(LEVEL, color="black", linewidth=0.8, linestyle=":")
    bottom.set(xlabel=xlabel, ylabel="coverage", ylim=(0.0, 1.0))
    style.add_legend(top, minor="none")
    style.add_ticks(bottom, minor="y")
    figure.savefig(path, dpi=120)


def command_line(description: str | None, toys: int) -> argparse.ArgumentParser:
    """Return the options that the examples share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--network",
        choices=[*NETWORKS, "exact"],
        nargs="+",
        default=["deepset"],
        help="networks to compare; exact puts the exact likelihood in their place, a check of the comparison itself",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--toys", type=int, default=toys, help="datasets at each point")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the model files are or will be")
    parser.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    parser.add_argument("--figure", type=Path, help="a file for the picture")
    return parser


def write(runs: Sequence[Mapping[str, Any]], path: Path | None) -> None:
    """Print a line for each point on standard error, and all numbers as JSON to the file or on standard output."""
    for run in runs:
        for point, p in run["points"].items():
            if not p["toys"]:
                print(f"{run['network']} at {point}: all {p['failed']} fits failed", file=sys.stderr)
                continue
            coverage = p["coverage"]
            numbers = [
                f"width ratio {_text(p['width ratio'])}",
                f"bias {_text(p['bias in sigma'])} sigma",
                f"r.m.s. of t {_text(p['r.m.s. difference of t'])}",
                f"coverage {_text(coverage['learned'])}, exact {_text(coverage['exact'])}",
            ]
            if "coverage with toys" in p:
                numbers.append(f"coverage with toys {_text(p['coverage with toys'])}")
            print(f"{run['network']} at {point}: {'; '.join(numbers)}; {p['failed']} failed", file=sys.stderr)
    text = json.dumps(list(runs), indent=2)
    if path is None:
        print(text)
    else:
        path.write_text(text)


def _fit(model: Any, data: Array, truth: float) -> tuple[float, float, float, float]:
    """Return the numbers of :class:`Fits` for one dataset."""
    name, index = model.config.poi_name, model.config.poi_index
    likelihood = Profile(data, model)
    likelihood.ratio({index: truth})  # which finds a better maximum if there is one on the way
    down, up = likelihood.minos(name)
    best = float(likelihood.best[0][index])
    return best, likelihood.ratio({index: truth}), best + down, best + up


def _config(parameters: Sequence[Mapping[str, Any]], poi: str) -> SimpleNamespace:
    """Return the part of pyhf's ``config`` that fits need."""
    names = [str(block["name"]) for block in parameters]
    sets = {
        block["name"]: SimpleNamespace(
            pdf_type="normal", n_parameters=1, auxdata=block["auxdata"], width=_constant(block["sigmas"])
        )
        for block in parameters
        if "auxdata" in block
    }
    return SimpleNamespace(
        par_names=names,
        par_order=names,
        npars=len(names),
        poi_name=poi,
        poi_index=names.index(poi),
        auxdata=[float(value) for block in parameters for value in block.get("auxdata", [])],
        auxdata_order=list(sets),
        param_set=sets.__getitem__,
        par_slice=lambda name: slice(names.index(name), names.index(name) + 1),
        suggested_init=lambda: [float(block["inits"][0]) for block in parameters],
        suggested_bounds=lambda: [tuple(block["bounds"][0]) for block in parameters],
        suggested_fixed=lambda: [False] * len(names),
    )


def _constant(values: Sequence[float]) -> Callable[[], list[float]]:
    return lambda: list(values)


def fraction(inside: NDArray[np.bool_]) -> dict[str, float]:
    """Return how often something is true, and the binomial error."""
    value = float(inside.mean())
    return {"value": value, "error": float(np.sqrt(max(value * (1 - value), 1 / inside.size) / inside.size))}


def _text(number: Mapping[str, float]) -> str:
    return f"{number['value']:.3f} ± {number['error']:.3f}"
