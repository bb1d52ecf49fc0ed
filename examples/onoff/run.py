"""Compare learned likelihoods of the on/off problem with the exact one, and certify their intervals.

``python run.py compare`` trains on new ntuples for every seed, and fits exact toys with the learned and the exact
likelihood. ``python run.py coverage`` measures how often the intervals from toys and by the asymptotic formulas hold
the truth. ``python run.py bad`` does so for a network that was trained badly on purpose. :func:`compare` takes any
model whose learned channel has the one feature.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import exact
import numpy as np
from make_ntuples import make_ntuples
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

import neyman
from neyman import plot
from neyman.batch import fit_batch
from neyman.channels import MixtureChannel, Pool
from neyman.drawing import draw
from neyman.inference.profile import Profile
from neyman.inference.throws import Settings, Throw, seed_of, statistics

HERE = Path(__file__).parent

Array = NDArray[np.float64]

LEVELS = (0.68, 0.95)


def trained(folder: Path, events: int = 100_000, seed: int = 0) -> neyman.Model:
    """Write new ntuples and train the document's mixture on them."""
    make_ntuples(folder, events, seed)
    (folder / "analysis.yaml").write_text((HERE / "analysis.yaml").read_text())
    return neyman.train(neyman.Workspace.load(folder / "analysis.yaml"), seed=seed)


def toys_at(point: ArrayLike, n: int, seed: int | Sequence[int]) -> list[Array]:
    """Draw exact datasets at (mu, nu)."""
    rng = np.random.default_rng(seed)
    return [exact.sample(point, rng) for _ in range(n)]


def profiled(model: Any, toys: Sequence[ArrayLike], mu: float, channel: str = "SR") -> Array:
    """Return mu-hat, the ends of the interval with t below one, and t at the given mu, of every toy.

    Args:
        model: any :class:`neyman.Model` with one learned channel, of the one feature, and mu for its POI.
        toys: datasets, each of shape ``(N, 1)``.
        mu: the tested value.
        channel: the learned channel.

    Returns:
        Shape ``(4, n)``.
    """
    poi = model.config.poi_index
    rows = []
    for x in toys:
        profile = Profile(model.data(neyman.Ensemble({channel: neyman.Events(x)})), model)
        down, up = profile.minos(model.config.poi_name)
        t = profile.ratio({poi: mu})  # which may find a better maximum
        best = float(profile.best[0][poi])
        rows.append((best, best + down, best + up, t))
    return np.transpose(rows)


def exactly(toys: Sequence[ArrayLike], mu: float) -> Array:
    """Return what :func:`profiled` does, from the exact likelihood."""
    return np.stack([exact.best_fit(toys)[0][:, 0], *exact.interval(toys).T, exact.test_statistic(toys, mu)])


def compare(model: Any, toys: Sequence[ArrayLike], mu: float, channel: str = "SR") -> dict[str, float]:
    """Compare a model with the exact likelihood on the same toys.

    The arguments are those of :func:`profiled`, ``mu`` being the truth.

    Returns:
        The ratio of the median widths of {mu: t <= 1}, the r.m.s. difference of t at the truth, and bias and scatter
        of mu-hat about the exact one in sigma (half the exact median width), each with its error; how often the
        learned and the exact interval hold the truth; and the milliseconds that a toy takes.
    """
    start = time.perf_counter()
    learned = profiled(model, toys, mu, channel)
    milliseconds = 1e3 * (time.perf_counter() - start) / len(toys)
    return {**compared(learned, exactly(toys, mu)), "milliseconds": milliseconds}


def compared(learned: Array, truth: Array) -> dict[str, float]:
    """Return the figures of :func:`compare` from two results of :func:`profiled`."""

    def figures(learned: Array, truth: Array) -> Array:
        width, reference = (float(np.median(values[2] - values[1])) for values in (learned, truth))
        pull = (learned[0] - truth[0]) / (0.5 * reference)
        return np.array([width / reference, np.sqrt(np.mean((learned[3] - truth[3]) ** 2)), pull.mean(), pull.std()])

    rng = np.random.default_rng(0)
    n = learned.shape[1]
    resampled = [figures(learned[:, i], truth[:, i]) for i in rng.integers(n, size=(200, n))]
    names = ("width ratio", "rms of t", "bias", "scatter")
    values, errors = figures(learned, truth), np.std(resampled, axis=0)
    return {
        **dict(zip(names, values.tolist(), strict=True)),
        **{f"error of {name}": error for name, error in zip(names, errors.tolist(), strict=True)},
        "width": float(np.median(learned[2] - learned[1])),
        "exact width": float(np.median(truth[2] - truth[1])),
        "coverage": float(np.mean(learned[3] <= 1.0)),
        "exact coverage": float(np.mean(truth[3] <= 1.0)),
        "toys": n,
    }


def certified(
    model: Any, level: float, calibration: str, n_toys: int, points: Sequence[tuple[float, float]] = exact.POINTS
) -> neyman.CoverageResult:
    """Return the coverage at points (mu, nu), on toys of the simulation."""
    truths = [{"mu": mu, "nu": nu} for mu, nu in points]
    return neyman.coverage(model, truths, level, calibration, n_toys, n_calibration=1000, progress=True)


def measure(seed: int, events: int, toys: int) -> dict[str, Any]:
    """Train once, on a simulation of its own, and compare at every point."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        model = trained(Path(folder), events, seed)
        seconds = time.perf_counter() - start
    points = [
        {"mu": mu, "nu": nu, **compare(model, toys_at((mu, nu), toys, [seed, number]), mu)}
        for number, (mu, nu) in enumerate(exact.POINTS)
    ]
    return {"seed": seed, "training_seconds": seconds, "points": points}


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the means over the trainings as text, with the range of the width ratio and the r.m.s. of the bias."""
    lines = [" mu   nu   width ratio    smallest  largest   r.m.s. of t   bias    scatter   t <= 1 [%]  exact [%]"]
    for rows in zip(*(run["points"] for run in runs), strict=True):
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        ratios = [row["width ratio"] for row in rows]
        error = mean["error of width ratio"] / np.sqrt(len(rows))
        bias = float(np.sqrt(np.mean([row["bias"] ** 2 for row in rows])))
        lines.append(
            f"{mean['mu']:4.1f} {mean['nu']:4.1f}  {mean['width ratio']:.3f} ± {error:.3f}  {min(ratios):8.3f} "
            f"{max(ratios):8.3f}  {mean['rms of t']:8.3f}     {bias:6.3f}  {mean['scatter']:7.3f}   "
            f"{100 * mean['coverage']:8.1f}   {100 * mean['exact coverage']:8.1f}"
        )
    return "\n".join(lines)


def certificates(model: Any, n_toys: int) -> list[neyman.CoverageResult]:
    """Return the coverage of both calibrations at both levels."""
    return [certified(model, level, how, n_toys) for level in LEVELS for how in ("toys", "asymptotics")]


# -- a network that is bad on purpose

POOL = 400_000  # simulated events of each sample that its toys are drawn from, and as many again for the datasets
FEW = 60  # simulated events of each sample that it is trained on; the good one has 100,000
TRUTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0)  # of mu, with nu = 1
VALUES = np.unique(np.concatenate([np.arange(0, 10) / 10, np.arange(4, 16) / 4, np.arange(8, 25) / 2]))  # tested
TOYS: dict[str, Any] = {"fmt": "o-", "color": "#0072B2"}
FORMULAS: dict[str, Any] = {"fmt": "s--", "color": "#D55E00"}
GOOD: dict[str, Any] = {"fmt": "D-", "color": "#009E73"}
NUS = np.array([0.7, 0.85, 1.0, 1.15, 1.3])  # where the critical values are thrown


def with_pool(model: neyman.Model, events: int, seed: int) -> neyman.Model:
    """Return the same networks with a new simulation for a pool, encoded just as data are.

    A pool from the training has for each event the value of the one network that has not seen it, data have that of
    all networks' mean. Where the networks are as different as bad ones are, the toys must be encoded like the data.
    """
    learned = model.learned["SR"]
    rng = np.random.default_rng(seed)
    draw_sample = {"signal": exact.draw_signal, "background": exact.draw_background}
    x = np.concatenate([draw_sample[name](events, rng) for name in learned.samples]).astype(np.float32)
    labels = np.repeat(np.arange(len(learned.samples)), events)
    pool = Pool(x, labels, learned.encode(neyman.Events(x, np.full(len(x), 1.0 / events))))
    channel = MixtureChannel(
        learned.name,
        learned.features,
        learned.samples,
        learned.yields,
        learned.variations,
        learned.sample_classifier,
        learned.variation_classifiers,
        learned.calibration,
        pool,
    )
    return neyman.Model(model.spec, {"SR": channel}, poi_name=model.config.poi_name)


def settings(model: neyman.Model) -> Settings:
    """Return how toys are thrown and fitted: simulation toys, and the test statistic of the unified interval."""
    bounds = tuple(tuple(pair) for pair in model.config.suggested_bounds())
    return Settings(model.config.poi_index, "tmu_tilde", "simulation", bounds, {}, model.config.poi_name)


def at(model: neyman.Model, mu: float, nu: float) -> Array:
    """Return the parameters in the model's order."""
    return np.array([{"mu": mu, "nu": nu}[name] for name in model.config.par_names])


def critical_values(model: neyman.Model, n_toys: int) -> Array:
    """Return the critical values on the grid of mu and nu, shape ``(levels, values, nus)``; more toys at the truths."""
    how = settings(model)
    out = np.empty((len(LEVELS), len(VALUES), len(NUS)))
    for i, mu in enumerate(VALUES):
        n = 4 * n_toys if mu in TRUTHS else n_toys
        for j, nu in enumerate(NUS):
            t = statistics(model, Throw(at(model, mu, nu), mu, n, seed_of(1, i, j), how))
            out[:, i, j] = np.quantile(t, LEVELS, method="inverted_cdf")
    return out


def limits(nu: Array, critical: Array) -> Array:
    """Return the critical values at the conditional best fits of nu, both of shape ``(values, n)``."""
    return np.stack([np.interp(nu[i], NUS, critical[i]) for i in range(len(VALUES))])


def construct(model: neyman.Model, data: neyman.Model, n_toys: int, n_calibration: int) -> list[dict[str, Any]]:
    """Return the coverage of a model's intervals and their median widths at every truth.

    Args:
        model: whose pool the critical values are thrown from.
        data: the same networks, with a pool of other events that the datasets to be covered are thrown from.
        n_toys: such datasets at each truth.
        n_calibration: toys at each point of the grid.
    """
    critical = critical_values(model, n_calibration)
    nuisance = model.config.par_names.index("nu")
    rows = []
    for number, truth in enumerate(TRUTHS):
        toys = draw(at(data, truth, 1.0), data, n_toys, seed=number)
        best = fit_batch(data, toys, init=at(data, truth, 1.0))
        there = [fit_batch(data, toys, init=best.pars, fixed={"mu": mu}) for mu in VALUES]
        t = np.maximum([fit.twice_nll - best.twice_nll for fit in there], 0.0)
        nu = np.stack([fit.pars[:, nuisance] for fit in there])
        position = int(np.flatnonzero(truth == VALUES)[0])
        for k, level in enumerate(LEVELS):
            allowed = limits(nu, critical[k])
            asymptotic = neyman.coverage(data, [{"mu": truth, "nu": 1.0}], level, "asymptotics", n_toys, seed=number)
            inside = (t[position] <= allowed[position] + 1e-3).mean()
            rows.append(
                {
                    "mu": truth,
                    "level": level,
                    "toys": float(inside),
                    "error": float(np.sqrt(inside * (1 - inside) / n_toys)),
                    "asymptotics": float(asymptotic.coverage[0]),
                    "error of asymptotics": float(asymptotic.error[0]),
                    **width(np.sqrt(allowed) - np.sqrt(t)),  # the root of t is almost straight
                    "datasets": n_toys,
                }
            )
            print(rows[-1], file=sys.stderr)
    return rows


def width(below: Array) -> dict[str, float]:
    """Return the median length of where each column is positive, straight lines between the values, and its error."""
    first, second, step = below[:-1], below[1:], np.diff(VALUES)[:, None]
    low, high = np.minimum(first, second), np.maximum(first, second)
    share = np.divide(high, high - low, out=(low >= 0).astype(np.float64), where=(low < 0) & (high > 0))
    lengths = (share * step).sum(axis=0)
    rng = np.random.default_rng(0)
    resampled = np.median(lengths[rng.integers(lengths.size, size=(200, lengths.size))], axis=1)
    return {"width": float(np.median(lengths)), "error of width": float(resampled.std())}


def bad(n_toys: int, n_calibration: int) -> dict[str, list[dict[str, Any]]]:
    """Measure a good network and one that has seen next to nothing, each with an honest pool for its toys."""
    with tempfile.TemporaryDirectory() as folder:
        good = trained(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        few = with_pool(trained(Path(folder), FEW), POOL, seed=1)
    models = {"good": good, "bad": few}
    return {name: construct(model, with_pool(model, POOL, 2), n_toys, n_calibration) for name, model in models.items()}


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
        ax.set(xlabel=r"true $\mu$", xlim=(-0.3, max(TRUTHS) + 0.3))
        ax.legend(frameon=False, loc="lower right")
        ax.tick_params(which="both", direction="in", top=True, right=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run a subcommand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    comparing = commands.add_parser("compare", help="the mixture against the exact likelihood on exact toys")
    comparing.add_argument("--seeds", type=int, default=5, help="simulations, with a training each")
    comparing.add_argument("--toys", type=int, default=500, help="exact toys at every point and for each seed")
    comparing.add_argument("--events", type=int, default=100_000, help="simulated events of each sample")
    comparing.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    covering = commands.add_parser("coverage", help="coverage of the mixture's intervals at every point")
    covering.add_argument("--toys", type=int, default=1000, help="toys at every point")
    covering.add_argument("--output", type=Path, help="a file for the results, as JSON")
    covering.add_argument("--figure", type=Path, help="a file for the picture")
    worse = commands.add_parser("bad", help="a network that has seen 60 events a sample, with an honest pool")
    worse.add_argument("--toys", type=int, default=3000, help="exact datasets at each truth")
    worse.add_argument("--calibration", type=int, default=3000, help="toys at each tested mu and nu")
    worse.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    worse.add_argument("--figure", type=Path, help="a file for the picture")
    arguments = parser.parse_args()
    {"compare": _compare, "coverage": _coverage, "bad": _bad}[arguments.command](arguments)


def _compare(arguments: argparse.Namespace) -> None:
    runs = []
    for seed in range(arguments.seeds):
        runs.append(measure(seed, arguments.events, arguments.toys))
        print(f"seed {seed}: trained in {runs[-1]['training_seconds']:.0f} s", file=sys.stderr)
    print(table(runs))
    if arguments.output:
        arguments.output.write_text(json.dumps(runs, indent=1))


def _coverage(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = certificates(trained(Path(folder)), arguments.toys)
    for result in results:
        print(result)
    if arguments.output:
        arguments.output.write_text(json.dumps([result.to_dict() for result in results]))
    if arguments.figure:
        plot.coverage(results[:2]).savefig(arguments.figure, dpi=110)


def _bad(arguments: argparse.Namespace) -> None:
    rows = bad(arguments.toys, arguments.calibration)
    print(json.dumps(rows, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1))
    if arguments.figure:
        picture(rows, arguments.figure)


if __name__ == "__main__":
    main()
