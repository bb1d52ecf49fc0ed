"""Compare learned likelihoods of the on/off problem with the exact one, and certify their intervals.

``python run.py compare`` trains on new ntuples for every seed, and fits exact toys with the learned and the exact
likelihood. ``python run.py coverage`` measures how often the intervals from toys and by the asymptotic formulas hold
the truth. ``python run.py bad`` does so for a network that was trained badly on purpose, and ``python run.py hasty``
for networks that were trained for a second or a single step. ``python run.py statistic`` trains the learned test
statistic of the paper and compares it with the exact profile likelihood ratio. ``python run.py networks`` compares
networks of whole datasets, trained on the simulator of ``exact.py``, in the same way. :func:`compare` takes any model
whose learned channel has the one feature.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import exact
import learned_statistic
import numpy as np
from covering import LEVELS, construct, picture, with_pool
from make_ntuples import make_ntuples
from numpy.typing import ArrayLike, NDArray

import neyman
from neyman import plot
from neyman.inference.profile import Profile

HERE = Path(__file__).parent

SIMULATOR = neyman.Simulator(
    exact.sample,
    [
        {"name": name, "inits": [1.0], "bounds": [list(bounds)]}
        for name, bounds in zip(("mu", "nu"), exact.BOUNDS, strict=True)
    ],
    poi="mu",
    features=["x"],
)

Array = NDArray[np.float64]


def trained(folder: Path, events: int = 100_000, seed: int = 0, network: dict[str, Any] | None = None) -> neyman.Model:
    """Write new ntuples and train the document's mixture on them, its network's options being those given."""
    make_ntuples(folder, events, seed)
    document = neyman.Workspace.load(HERE / "analysis.yaml").document
    document["channels"][0]["network"] = network or {}
    return neyman.train(neyman.Workspace(document, folder), seed=seed)


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


def measure_network(kind: str, seed: int, toys: int, folder: Path) -> dict[str, Any]:
    """Train a network of whole datasets, or read it from the folder, and compare it at every point."""
    path, start = folder / f"{kind}-{seed}.neyman", time.perf_counter()
    if path.exists():
        model = neyman.Model.load(path)
    else:
        model = neyman.train(SIMULATOR, kind, seed=seed)
        model.save(path)
    seconds = time.perf_counter() - start
    points = [
        {"mu": mu, "nu": nu, **compare(model, toys_at((mu, nu), toys, [seed, number]), mu, "events")}
        for number, (mu, nu) in enumerate(exact.POINTS)
    ]
    return {"network": kind, "seed": seed, "training_seconds": seconds, "points": points}


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the means over the trainings as text, with the range of the width ratio and the r.m.s. of the bias."""
    lines = [" mu   nu   width ratio        smallest  largest   r.m.s. of t   bias    scatter   t <= 1 [%]  exact [%]"]
    for rows in zip(*(run["points"] for run in runs), strict=True):
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        ratios = [row["width ratio"] for row in rows]
        error = mean["error of width ratio"] / np.sqrt(len(rows))
        bias = float(np.sqrt(np.mean([row["bias"] ** 2 for row in rows])))
        lines.append(
            f"{mean['mu']:4.1f} {mean['nu']:4.1f}  {mean['width ratio']:.4f} ± {error:.4f}  {min(ratios):8.3f} "
            f"{max(ratios):8.3f}  {mean['rms of t']:8.3f}     {bias:6.3f}  {mean['scatter']:7.3f}   "
            f"{100 * mean['coverage']:8.1f}   {100 * mean['exact coverage']:8.1f}"
        )
    return "\n".join(lines)


def certificates(model: Any, n_toys: int) -> list[neyman.CoverageResult]:
    """Return the coverage of both calibrations at both levels."""
    return [certified(model, level, how, n_toys) for level in LEVELS for how in ("toys", "asymptotics")]


def on_other_events(model: neyman.Model, n_toys: int) -> list[dict[str, Any]]:
    """Return the coverage at every point on datasets of events that are neither in the training nor in the pool."""
    data = with_pool(model, POOL, seed=2)
    return [
        row
        for point in exact.POINTS
        for row in construct(model, data, [point], np.array([point[0]]), n_toys, n_toys // 4)
    ]


FEW = 60  # simulated events of each sample that the bad network is trained on; the good one has 100,000
POOL = 400_000  # simulated events of each sample that its toys are drawn from, and as many again for the datasets
TRUTHS = tuple((mu, 1.0) for mu in (0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0))
VALUES = np.unique(np.concatenate([np.arange(0, 10) / 10, np.arange(4, 16) / 4, np.arange(8, 25) / 2]))


def bad(n_toys: int, n_calibration: int) -> dict[str, list[dict[str, Any]]]:
    """Measure a good network and one that has seen next to nothing, each with an honest pool for its toys."""
    with tempfile.TemporaryDirectory() as folder:
        good = trained(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        few = with_pool(trained(Path(folder), FEW), POOL, seed=1)
    return {
        name: construct(model, with_pool(model, POOL, seed=2), TRUTHS, VALUES, n_toys, n_calibration)
        for name, model in (("good", good), ("bad", few))
    }


HASTY: dict[str, dict[str, Any]] = {
    "second": {"epochs": 1, "minimum_steps": 1},  # about a second of one core
    "step": {"hidden": [1], "folds": 2, "epochs": 1, "minimum_steps": 1, "batch_size": 200_000},
}
SECONDS_EVENTS = 40_000  # of each sample


def hasty(network: str, encoding: str, seed: int, n_toys: int) -> list[dict[str, Any]]:
    """Measure networks that were trained for a second, or for a single step, with one hidden unit and two folds."""
    with tempfile.TemporaryDirectory() as folder:
        model = trained(Path(folder), SECONDS_EVENTS, seed, {**HASTY[network], "encoding": encoding})
    about = {"network": network, "encoding": encoding, "seed": seed, "disagreement": model.report[0].disagreement}
    about["seconds"] = model.report[0].classifiers[0]["seconds"]
    return [{**about, **row} for row in on_other_events(model, n_toys)]


def main() -> None:
    """Run a subcommand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    comparing = commands.add_parser("compare", help="the mixture against the exact likelihood on exact toys")
    comparing.add_argument("--seeds", type=int, default=5, help="simulations, with a training each")
    comparing.add_argument("--toys", type=int, default=500, help="exact toys at every point and for each seed")
    comparing.add_argument("--events", type=int, default=100_000, help="simulated events of each sample")
    comparing.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    whole = commands.add_parser("networks", help="networks of whole datasets against the exact likelihood")
    whole.add_argument("--network", nargs="+", default=["deepset", "transformer", "event"], help="their kinds")
    whole.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    whole.add_argument("--toys", type=int, default=500, help="exact toys at every point and for each seed")
    whole.add_argument("--folder", type=Path, default=Path(), help="where model files are kept, and used again")
    whole.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    covering = commands.add_parser("coverage", help="coverage of the mixture's intervals at every point")
    covering.add_argument("--toys", type=int, default=1000, help="toys at every point")
    covering.add_argument("--datasets", type=int, default=20_000, help="datasets of other events at every point")
    covering.add_argument("--output", type=Path, help="a file for the results, as JSON")
    covering.add_argument("--figure", type=Path, help="a file for the picture")
    worse = commands.add_parser("bad", help="a network that has seen 60 events a sample, with an honest pool")
    worse.add_argument("--toys", type=int, default=3000, help="exact datasets at each truth")
    worse.add_argument("--calibration", type=int, default=3000, help="toys at each tested mu and nu")
    worse.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    worse.add_argument("--figure", type=Path, help="a file for the picture")
    quick = commands.add_parser("hasty", help="networks that were trained for a second, at every point")
    quick.add_argument("--network", nargs="+", choices=list(HASTY), default=list(HASTY), help="for how long")
    quick.add_argument("--encoding", nargs="+", choices=["fold", "mean"], default=["fold", "mean"], help="of events")
    quick.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of the simulations and trainings")
    quick.add_argument("--toys", type=int, default=4000, help="datasets of other events at each point")
    quick.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    told = commands.add_parser("statistic", help="the learned test statistic, trained as in the paper")
    told.add_argument("--toys", type=int, default=500, help="exact toys at every point")
    told.add_argument("--datasets", type=int, default=50_000, help="that the statistic is trained on")
    told.add_argument("--events", type=int, default=100_000, help="simulated events of each sample")
    told.add_argument("--output", type=Path, help="a file for all numbers, as JSON")
    told.add_argument("--figure", type=Path, help="a file for the picture")
    arguments = parser.parse_args()
    run = {
        "compare": _compare,
        "networks": _networks,
        "coverage": _coverage,
        "bad": _bad,
        "hasty": _hasty,
        "statistic": _statistic,
    }
    run[arguments.command](arguments)


def _compare(arguments: argparse.Namespace) -> None:
    runs = []
    for seed in range(arguments.seeds):
        runs.append(measure(seed, arguments.events, arguments.toys))
        print(f"seed {seed}: trained in {runs[-1]['training_seconds']:.0f} s", file=sys.stderr)
    print(table(runs))
    if arguments.output:
        arguments.output.write_text(json.dumps(runs, indent=1))


def _networks(arguments: argparse.Namespace) -> None:
    runs = []
    for kind in arguments.network:
        mine = [measure_network(kind, seed, arguments.toys, arguments.folder) for seed in arguments.seeds]
        print(f"{kind}\n{table(mine)}", flush=True)
        runs += mine
    if arguments.output:
        arguments.output.write_text(json.dumps(runs, indent=1))


def _coverage(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = trained(Path(folder))
    results = certificates(model, arguments.toys)
    for result in results:
        print(result)
    rows = on_other_events(model, arguments.datasets)
    print(json.dumps(rows, indent=1))
    if arguments.output:
        content = {"certificates": [result.to_dict() for result in results], "on other events": rows}
        arguments.output.write_text(json.dumps(content, indent=1))
    if arguments.figure:
        plot.coverage(results[:2]).savefig(arguments.figure, dpi=110)


def _bad(arguments: argparse.Namespace) -> None:
    rows = bad(arguments.toys, arguments.calibration)
    print(json.dumps(rows, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1))
    if arguments.figure:
        picture(rows, arguments.figure)


def _hasty(arguments: argparse.Namespace) -> None:
    rows = []
    for network, encoding, seed in itertools.product(arguments.network, arguments.encoding, arguments.seeds):
        found = hasty(network, encoding, seed, arguments.toys)
        for level in LEVELS:
            values = " ".join(f"{100 * row['toys']:.1f}" for row in found if row["level"] == level)
            print(f"{network}, {encoding}, seed {seed}, {100 * level:.0f} %: {values}", flush=True)
        print(f"    trained in {found[0]['seconds']:.1f} s, disagreement {found[0]['disagreement']:.2f}", flush=True)
        rows += found
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1))


def _statistic(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = trained(Path(folder), arguments.events)
    begin = time.process_time()
    found = learned_statistic.trained_statistic(model, arguments.datasets, seed=0)
    seconds = time.process_time() - begin
    print(found, f"in {seconds:.0f} s", file=sys.stderr, flush=True)
    numbers = {"training seconds": seconds, **learned_statistic.measure(model, found, arguments.toys, seed=1)}
    for point in numbers["points"]:
        print(f"nu = {point['nu']:g}: rank correlation {point['rank correlation']:.3f}, rejected {point['rejected']}")
    print({key: numbers["scan"][key] for key in ("exact t <= 1", "intervals")})
    if arguments.output:
        arguments.output.write_text(json.dumps(numbers, indent=1))
    if arguments.figure:
        learned_statistic.picture(numbers, arguments.figure)


if __name__ == "__main__":
    main()
