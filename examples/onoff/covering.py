"""Neyman constructions on many datasets at once, and networks with another pool than that of their training.

:func:`construct` is the profile construction of ``neyman.interval``, its critical values interpolated on a grid of mu
and nu instead of thrown anew for every dataset: coverage and width of the intervals of thousands of datasets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import exact
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import neyman
from neyman.inference.batch import fit_batch
from neyman.inference.statistics import statistic_named
from neyman.inference.throws import Settings, Throw, seed_of, statistics
from neyman.model.pool import Pool
from neyman.model.toys import draw

__all__ = ["LEVELS", "construct", "critical_values", "picture", "width", "with_pool"]

Array = NDArray[np.float64]

LEVELS = (0.68, 0.95)
SPREAD = 0.1  # of nu-hat at nu = 1: where critical values are needed
TOYS: dict[str, Any] = {"fmt": "o-", "color": "#0072B2"}
FORMULAS: dict[str, Any] = {"fmt": "s--", "color": "#D55E00"}
GOOD: dict[str, Any] = {"fmt": "D-", "color": "#009E73"}


def with_pool(model: neyman.Model, events: int, seed: int) -> neyman.Model:
    """Return the same networks with a new simulation for a pool, encoded just as data are."""
    learned = model.learned["SR"]
    rng = np.random.default_rng(seed)
    draw_sample = {"signal": exact.draw_signal, "background": exact.draw_background}
    x = np.concatenate([draw_sample[name](events, rng) for name in learned.samples]).astype(np.float32)
    labels = np.repeat(np.arange(len(learned.samples)), events)
    pool = Pool(x, labels, learned.encode(neyman.Events(x, np.full(len(x), 1.0 / events))))
    return neyman.Model(model.spec, {"SR": learned.with_pool(pool)}, poi_name=model.config.poi_name)


def construct(
    model: neyman.Model,
    data: neyman.Model,
    truths: Sequence[tuple[float, float]],
    values: Array,
    n_toys: int,
    n_calibration: int,
) -> list[dict[str, Any]]:
    """Return the coverage of a model's intervals at every truth and level, and with several values their median widths.

    Args:
        model: whose pool the critical values are thrown from.
        data: the same networks, with a pool of other events that the datasets to be covered are thrown from.
        truths: (mu, nu) of the datasets, all with the same nu.
        values: of mu that are tested, the true ones among them.
        n_toys: datasets at each truth.
        n_calibration: toys at each tested mu and nu; four times more at the true values of mu.
    """
    nus = truths[0][1] + SPREAD * np.sqrt(truths[0][1]) * np.array([-3.0, -1.5, 0.0, 1.5, 3.0])
    numbers = [n_calibration * (4 if mu in {truth[0] for truth in truths} else 1) for mu in values]
    critical = critical_values(model, values, nus, numbers)
    rows = []
    for number, (mu, nu) in enumerate(truths):
        pars = parameters(model, mu, nu)
        toys = draw(pars, data, n_toys, seed=number)
        best = fit_batch(data, toys, init=pars)
        there = [fit_batch(data, toys, init=best.pars, fixed={"mu": value}) for value in values]
        t = np.maximum([fit.twice_nll - best.twice_nll for fit in there], 0.0)
        profiled = np.stack([fit.pars[:, model.config.par_names.index("nu")] for fit in there])
        true = int(np.flatnonzero(mu == values)[0])
        for level, by_nu in zip(LEVELS, critical, strict=True):
            allowed = np.stack([np.interp(at, nus, known) for at, known in zip(profiled, by_nu, strict=True)])
            inside = float((t[true] <= allowed[true] + 1e-3).mean())
            asymptotic = neyman.coverage(data, [{"mu": mu, "nu": nu}], level, "asymptotics", n_toys, seed=number)
            rows.append(
                {
                    "mu": mu,
                    "nu": nu,
                    "level": level,
                    "toys": inside,
                    "error": float(np.sqrt(inside * (1 - inside) / n_toys)),
                    "asymptotics": float(asymptotic.coverage[0]),
                    "error of asymptotics": float(asymptotic.error[0]),
                    # the root of t is almost straight
                    **(width(values, np.sqrt(allowed) - np.sqrt(t)) if len(values) > 1 else {}),
                    "datasets": n_toys,
                }
            )
    return rows


def critical_values(model: neyman.Model, values: Array, nus: Array, numbers: Sequence[int]) -> Array:
    """Return the critical values on a grid of mu and nu, shape ``(levels, values, nus)``, from so many toys each."""
    bounds = tuple(tuple(pair) for pair in model.config.suggested_bounds())
    settings = Settings(
        model.config.poi_index, statistic_named("tmu_tilde"), "simulation", bounds, {}, model.config.poi_name
    )
    out = np.empty((len(LEVELS), len(values), len(nus)))
    for i, (mu, n) in enumerate(zip(values, numbers, strict=True)):
        for j, nu in enumerate(nus):
            t = statistics(model, Throw(parameters(model, mu, nu), float(mu), n, seed_of(1, i, j), settings))
            out[:, i, j] = np.quantile(t, LEVELS, method="inverted_cdf")
    return out


def parameters(model: neyman.Model, mu: float, nu: float) -> Array:
    """Return the parameters in the model's order."""
    return np.array([{"mu": mu, "nu": nu}[name] for name in model.config.par_names])


def width(values: Array, below: Array) -> dict[str, float]:
    """Return the median length of where a dataset's column is positive, straight between the values, and its error."""
    first, second, step = below[:-1], below[1:], np.diff(values)[:, None]
    low, high = np.minimum(first, second), np.maximum(first, second)
    share = np.divide(high, high - low, out=(low >= 0).astype(np.float64), where=(low < 0) & (high > 0))
    lengths = (share * step).sum(axis=0)
    rng = np.random.default_rng(0)
    resampled = np.median(lengths[rng.integers(lengths.size, size=(200, lengths.size))], axis=1)
    return {"width": float(np.median(lengths)), "error of width": float(resampled.std())}


def picture(rows: dict[str, list[dict[str, Any]]], path: Path, level: float = 0.68) -> None:
    """Draw coverage and median width against mu, for the bad network and the good one."""
    good, few = ([row for row in rows[name] if row["level"] == level] for name in ("good", "bad"))
    mu = np.array([row["mu"] for row in good])
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    left.axhspan(100 * level - 1, 100 * level + 1, color="#DDDDDD", linewidth=0)
    left.axhline(100 * level, color="#7F7F7F", linestyle="--", linewidth=1)
    curves: tuple[tuple[Axes, list[dict[str, Any]], str, str, float, dict[str, Any]], ...] = (
        (left, few, "toys", "error", 100, {**TOYS, "label": "bad network, calibrated on toys"}),
        (
            left,
            few,
            "asymptotics",
            "error of asymptotics",
            100,
            {**FORMULAS, "label": "bad network, asymptotic formulas"},
        ),
        (right, few, "width", "error of width", 1, {**TOYS, "label": "bad network"}),
        (right, good, "width", "error of width", 1, {**GOOD, "label": "good network"}),
    )
    for ax, points, key, error, factor, style in curves:
        y, dy = (factor * np.array([row[name] for row in points]) for name in (key, error))
        ax.errorbar(mu, y, yerr=dy, markersize=5.5, linewidth=1.6, capsize=0, **style)
    left.set(ylabel=f"coverage of the {100 * level:.0f} % interval [%]", ylim=(0, 100))
    right.set(ylabel=f"median width of the {100 * level:.0f} % interval, on toys", ylim=(0, None))
    for ax in (left, right):
        ax.set(xlabel=r"true $\mu$", xlim=(-0.3, mu.max() + 0.3))
        ax.legend(frameon=False, loc="lower right")
        ax.tick_params(which="both", direction="in", top=True, right=True)
    figure.savefig(path, dpi=110)
