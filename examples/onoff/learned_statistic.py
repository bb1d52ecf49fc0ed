"""The learned test statistic of arXiv:2306.12584, trained as there, beside the exact profile likelihood ratio.

Datasets of a tested mu0 in [3, 7] are told from those at a distance of 0.5 to 2, with nu in [0.5, 2] in both. Toys at
the tested value say how well the statistic orders datasets as the exact ratio does, and toys at other values how often
both reject them: all that counts for an interval.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import exact
import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

import neyman
from neyman.results.figures import style

__all__ = ["TESTED", "measure", "picture", "trained_statistic"]

Array = NDArray[np.float64]

TESTED = 6.0
RANGE, DELTA, NU = (3.0, 7.0), (0.5, 2.0), (0.5, 2.0)  # of mu0, of the alternatives, of nu: the paper's
RATES = (0.6, 1.0, 1.7)  # true nu
OTHERS = (4.5, 7.5)  # true mu that is to be told from the tested one
LEVELS = (0.68, 0.95)
GRID = np.linspace(*RANGE, 41)  # of the scan
CHANNEL = "SR"


def trained_statistic(model: neyman.Model, datasets: int, seed: int) -> neyman.LearnedStatistic:
    """Train the statistic as the paper does."""
    return neyman.train_statistic(
        model, RANGE, delta=DELTA, bounds={"nu": NU}, n_datasets=datasets, seed=seed
    )  # fmt: skip


def learned(statistic: neyman.LearnedStatistic, model: neyman.Model, toys: Sequence[ArrayLike], mu: float) -> Array:
    """Return the learned statistic of every dataset, shape ``(n,)``."""
    data = (model.data(neyman.Ensemble({CHANNEL: neyman.Events(x)})) for x in toys)
    return np.array([statistic.evaluate(one, mu)[0] for one in data])


def measure(model: neyman.Model, statistic: neyman.LearnedStatistic, n: int, seed: int) -> dict[str, Any]:
    """Compare the statistic with the exact ratio at the tested value, and scan one dataset of it with both.

    Args:
        model: a model whose learned channel has the one feature.
        statistic: its learned statistic.
        n: toys at every point.
        seed: of the toys.
    """
    points = []
    for nu in RATES:
        toys = {mu: _toys((mu, nu), n, seed) for mu in (TESTED, *OTHERS)}
        begin = time.process_time()
        ours = {mu: learned(statistic, model, own, TESTED) for mu, own in toys.items()}
        seconds = (time.process_time() - begin) / (n * len(toys))
        theirs = {mu: exact.test_statistic(own, TESTED) for mu, own in toys.items()}
        rejected = {
            f"{mu:g}": {
                f"{level:g}": [_rejected(values[mu], values[TESTED], level) for values in (ours, theirs)]
                for level in LEVELS
            }
            for mu in OTHERS
        }
        correlation = float(scipy.stats.spearmanr(ours[TESTED], theirs[TESTED]).statistic)
        points.append(
            {"nu": nu, "rank correlation": correlation, "rejected": rejected, "milliseconds": 1e3 * seconds,
             "learned": ours[TESTED].tolist(), "exact": theirs[TESTED].tolist()}
        )  # fmt: skip
    return {"points": points, "scan": scan(model, statistic, seed)}


def scan(model: neyman.Model, statistic: neyman.LearnedStatistic, seed: int) -> dict[str, Any]:
    """Scan one dataset of mu = 6 and nu = 1 with both, and return the intervals that toys make of them."""
    x = _toys((TESTED, 1.0), 1, [seed, 7])[0]
    data = model.data(neyman.Ensemble({CHANNEL: neyman.Events(x)}))
    intervals = {}
    for name, settings in (("learned", {"test_stat": "learned", "statistic": statistic}), ("profile", {})):
        begin = time.process_time()
        found = neyman.interval(data, model, 0.68, seed=seed, **settings)
        intervals[name] = {"interval": found.intervals[0], "seconds": time.process_time() - begin}
    return {
        "mu": GRID.tolist(),
        "learned": statistic.evaluate(data, GRID).tolist(),
        "exact": exact.test_statistic([x] * len(GRID), GRID).tolist(),
        "exact t <= 1": exact.interval([x])[0].tolist(),
        "intervals": intervals,
    }


def picture(found: Mapping[str, Any], path: Path) -> None:
    """Draw the scan of one dataset, and both statistics of toys of the tested value against each other."""
    figure = style.NotebookFigure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    one = found["scan"]
    mu, ours, theirs = (np.array(one[key]) for key in ("mu", "learned", "exact"))
    left.plot(
        mu, theirs - theirs.min(), color="black", linewidth=2.5, alpha=0.5, label="exact profile likelihood ratio"
    )
    left.plot(mu, ours - ours.min(), color=style.BLUE, label="learned, less its minimum")
    for k, (name, entry) in enumerate(one["intervals"].items()):
        low, high = entry["interval"]
        colour = (style.BLUE, "black")[k]
        left.plot([low, high], [-0.25 - 0.25 * k] * 2, "|-", color=colour, label=f"68 % from toys, {name}")
    left.set(xlabel=r"tested value $\mu_0$", ylabel=r"test statistic", xlim=RANGE)
    for k, point in enumerate(found["points"]):
        label = f"nu = {point['nu']:g}, rank correlation {point['rank correlation']:.3f}"
        right.plot(point["exact"], point["learned"], ".", color=style.COLOURS[k], markersize=3, label=label)
    right.set(xlabel=rf"exact $t$ at $\mu_0$ = {TESTED:g}", ylabel="learned statistic", xlim=(0, 6))
    for ax in (left, right):
        style.add_legend(ax, width=3.6)
    figure.savefig(path, dpi=110)


def _toys(point: ArrayLike, n: int, seed: int | Sequence[int]) -> list[Array]:
    rng = np.random.default_rng([*np.atleast_1d(seed), *(round(100 * x) for x in np.asarray(point, dtype=float))])
    return [exact.sample(point, rng) for _ in range(n)]


def _rejected(values: Array, tested: Array, level: float) -> float:
    """Return how often a dataset is rejected at a level, with the critical value of toys of the tested parameters."""
    return float(np.mean(values > np.quantile(tested, level)))
