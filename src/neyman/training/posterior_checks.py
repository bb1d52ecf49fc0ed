"""Checks of a learned posterior on datasets it has not seen, of parameters drawn from the prior; with a verdict.

========================  =====================================================================================
``posterior_report``      all that truths among draws can tell, as arrays
``examine_posterior``     the same of a posterior and its simulator
========================  =====================================================================================

What is tested is in :mod:`neyman.training.rank_checks`: expected coverage by rank, TARP, local calibration in the size
of a dataset, in where the posterior is and how wide, and in simple statistics of the data; posterior predictive checks.

No test of this kind sees information that no statistic looked at has: a posterior that is calibrated may be wider than
it need be, as that of the narrow resonance among the examples is.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import NeymanError
from neyman.inputs.priors import draw_prior
from neyman.inputs.simulation import Datasets, simulate
from neyman.inputs.simulator import Simulator
from neyman.results.posterior_checks import PosteriorReport
from neyman.support.checks import checked_seed
from neyman.training import rank_checks
from neyman.training.fresh import STREAM
from neyman.training.posterior_verdicts import posterior_verdict
from neyman.training.simple_statistics import simple_statistics

if TYPE_CHECKING:
    from neyman.posteriors.posterior import Posterior

__all__ = ["DATASETS", "DRAWS", "Quantity", "examine_posterior", "posterior_report"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

Array = NDArray[np.float64]

DATASETS = 2000
"""How many are made, but for very large ones."""
DRAWS = 255
"""Of each posterior."""
_EVENTS = 3_000_000  # in all: fewer datasets where they are large
_FEWEST = 200  # datasets that are made in any case
_PILOTS = 16  # that tell how many events a dataset has
_PREDICTIVE = 1000  # datasets with a replica
_LOCALS = 500  # datasets of which an event is looked at
_SLICES = 4
_SMALLEST = 25  # datasets of a slice that is looked at
_STATISTICS = 20  # of the data, that an error is regressed on
_WIDENING = 6.0 * 5.0**0.5 / (2.0 * np.pi * 3.0**0.5)
"""What a normal posterior that is too narrow, by a small fraction, adds to the mean of the second Legendre polynomial
of the probabilities; this is bounded, other than the square of the normal scores, so that chi-square holds."""
_LEVELS = np.linspace(0.02, 0.98, 49)


class Quantity(NamedTuple):
    """Something that there is a posterior of: a parameter, or what is local to one event.

    Args:
        name: its name.
        rows: the numbers of the datasets, shape ``(R,)``.
        truths: shape ``(R,)``.
        draws: shape ``(R, n)``.
    """

    name: str
    rows: NDArray[np.int64]
    truths: Array
    draws: Array


def posterior_report(
    names: Sequence[str],
    truths: ArrayLike,
    draws: ArrayLike,
    statistics: Sequence[str] = (),
    values: ArrayLike | None = None,
    *,
    replicated: ArrayLike | None = None,
    own: Sequence[Quantity] = (),
    seed: int = 0,
) -> PosteriorReport:
    """Check posteriors of simulated datasets against the truths, which were drawn from the prior.

    Args:
        names: of the ``P`` parameters.
        truths: shape ``(T, P)``.
        draws: of the posterior of each dataset, shape ``(T, n, P)``.
        statistics: names of statistics of the data, the first of which is its size.
        values: of the statistics, shape ``(T, S)``; nan where a dataset has none.
        replicated: of a dataset simulated at a draw of the posterior, for the first R datasets, shape ``(R, S)``.
        own: what is local to one event of each dataset.
        seed: of the points of TARP, and of ranks that are equal.

    Returns:
        The report with its verdict.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(1)
        >>> theta = rng.normal(size=(1000, 1))
        >>> x = rng.normal(theta)
        >>> draws = rng.normal(x[:, None] / 2, 0.5**0.5, size=(1000, 255, 1))  # the exact posterior
        >>> posterior_report(["theta"], theta, draws, ["x"], x).good
        True
        >>> posterior_report(["theta"], theta, draws[:, :, ::-1] * 0.8, ["x"], x).good
        False
    """
    theta, several = np.asarray(truths, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    t, n = several.shape[:2]
    rng = np.random.default_rng([checked_seed(seed), STREAM])
    data = np.empty((t, 0)) if values is None else np.asarray(values, dtype=np.float64)
    means, spreads = several.mean(axis=1), np.log(np.maximum(several.std(axis=1), 1e-300))
    labels = [*statistics, *(f"posterior mean of {x}" for x in names), *(f"posterior width of {x}" for x in names)]
    regressors = np.concatenate([data, means, spreads], axis=1)
    varying = [k for k in range(len(labels)) if len(np.unique(regressors[np.isfinite(regressors[:, k]), k])) > 1]
    labels, regressors = [labels[k] for k in varying], regressors[:, varying]

    quantities = [Quantity(x, np.arange(t), theta[:, k], several[:, :, k]) for k, x in enumerate(names)]
    quantities += own
    ranks = np.full((t, len(quantities)), -1, dtype=np.int64)
    coverage, calibration, local, joint = [], [], [], []
    for k, one in enumerate(quantities):
        u = rank_checks.pits(one.truths[:, None], one.draws[:, :, None], rng)[:, 0]
        z = rank_checks.normal_scores(u)
        ranks[one.rows, k] = np.floor(u * (one.draws.shape[1] + 1)).astype(np.int64)
        coverage.append(rank_checks.expected_coverage(u, _LEVELS))
        joint.append(_uniform(f"ranks of {one.name}", u))
        axes = {}
        if statistics:
            axes[statistics[0]] = data[one.rows, 0]
        axes[f"posterior mean of {one.name}"] = one.draws.mean(axis=1)
        axes[f"posterior width of {one.name}"] = one.draws.std(axis=1)
        pull = rank_checks.pulls(one.truths[:, None], one.draws[:, :, None])[:, 0]
        calibration += _calibration(one.name, axes, z, pull)
        local += _local(one.name, labels[:_STATISTICS], regressors[one.rows, :_STATISTICS], u)
    tarp = rank_checks.tarp_pits(theta, several, rng)
    joint.append(_uniform("random points, TARP", tarp))
    for (i, j), u in rank_checks.pair_pits(theta, several, rng).items():
        joint.append(_uniform(f"correlation of {names[i]} and {names[j]}", u))
    report = PosteriorReport(
        names=tuple(one.name for one in quantities),
        datasets=t,
        draws=n,
        ranks=ranks,
        levels=_LEVELS,
        coverage=np.array(coverage),
        tarp=rank_checks.expected_coverage(tarp, _LEVELS, central=False),
        calibration=tuple(calibration),
        local=tuple(local),
        joint=tuple(joint),
        predictive=tuple(_predictive(statistics, data, replicated)),
    )
    verdict, good = posterior_verdict(report)
    return dataclasses.replace(report, verdict=verdict, good=good)


def _uniform(name: str, u: Array) -> dict[str, Any]:
    distance = float(scipy.stats.kstest(u, "uniform").statistic)
    return {"name": name, "p": rank_checks.uniformity(u), "distance": distance}


def _calibration(name: str, axes: dict[str, Array], z: Array, pull: Array) -> list[dict[str, Any]]:
    """Return bias and width of the pulls, everywhere and in slices of each axis."""
    entries = [{"name": name, "axis": "", "number": 0, "low": -np.inf, "high": np.inf, **_moments(z, pull)}]
    for axis, values in axes.items():
        place = np.minimum(_SLICES * (scipy.stats.rankdata(values) - 0.5) // len(values), _SLICES - 1)
        own = [(k, place == k) for k in range(_SLICES)]
        own = [(k, members) for k, members in own if members.sum() >= _SMALLEST]
        if len(own) > 1:  # of values that are all the same there is nothing to slice
            entries += [
                {"name": name, "axis": axis, "number": k, "low": float(values[members].min()),
                 "high": float(values[members].max()), **_moments(z[members], pull[members])}
                for k, members in own
            ]  # fmt: skip
    return entries


def _moments(z: Array, pull: Array) -> dict[str, Any]:
    n, bias, width = len(pull), float(pull.mean()), float(pull.std(ddof=1))
    fourth = float(((pull - bias) ** 4).mean()) / max(width, 1e-300) ** 4
    return {
        "datasets": n,
        "bias": bias,
        "bias_error": width / np.sqrt(n),
        "width": width,
        "width_error": width * float(np.sqrt(max(fourth - 1.0, 0.0) / (4 * n))),
        "bias_p": rank_checks.mean_p(z),
        "width_p": rank_checks.spread_p(z),
    }


def _local(name: str, labels: Sequence[str], regressors: Array, u: Array) -> list[dict[str, Any]]:
    """Return how well statistics of the data predict bias and width."""
    if not labels or len(u) < 10 * len(labels):
        return []
    tests = (
        ("bias", rank_checks.normal_scores(u), 1.0),
        ("width", np.sqrt(5.0) * (6.0 * u**2 - 6.0 * u + 1.0), _WIDENING),
    )
    found = [(what, rank_checks.predictable(scores, regressors), scale) for what, scores, scale in tests]
    return [
        {"name": name, "what": what, "size": one.size / scale, "p": one.p, "strongest": labels[one.strongest]}
        for what, one, scale in found
    ]


def _predictive(statistics: Sequence[str], values: Array, replicated: ArrayLike | None) -> list[dict[str, Any]]:
    if replicated is None:
        return []
    replicas = np.asarray(replicated, dtype=np.float64)
    entries = []
    for k, name in enumerate(statistics):
        shift, error, p = rank_checks.exchangeable(values[: len(replicas), k], replicas[:, k])
        if error > 0.0:
            entries.append({"statistic": name, "shift": shift, "shift_error": error, "p": p})
    return entries


def examine_posterior(
    posterior: Posterior,
    simulator: Simulator,
    *,
    seed: int = 0,
    datasets: int = DATASETS,
    workers: int | None = None,
) -> PosteriorReport:
    """Check a posterior on fresh datasets of its simulator, and warn of what is bad.

    Args:
        posterior: the posterior.
        simulator: what it was trained on.
        seed: that of the training; the datasets here have other ones.
        datasets: how many to make, 200 at least; fewer where they have very many events.
        workers: processes that the simulator runs in.

    Returns:
        The report with its verdict.
    """
    try:
        report = _examined(posterior, simulator, checked_seed(seed), datasets, workers)
    except NeymanError as error:  # nobody loses a training to its checks
        text = f"the checks failed, so that nothing is known of the posterior: {error}"
        empty, names = np.empty(0), tuple(posterior.names)
        none = np.empty((0, len(names)))
        report = PosteriorReport(names, 0, 0, none.astype(np.int64), empty, none.T, empty, verdict=text, good=False)
    if report.good:
        log.info("posterior of %s: %s", ", ".join(report.names), report.verdict)
    else:
        log.warning("posterior of %s: %s", ", ".join(report.names), report.verdict)
    return report


def _examined(
    posterior: Posterior, simulator: Simulator, seed: int, datasets: int, workers: int | None
) -> PosteriorReport:
    rng = np.random.default_rng([seed, STREAM])
    seeds = rng.integers(2**31, size=4).tolist()
    truths = draw_prior(simulator, max(datasets, _FEWEST), rng)
    events = simulate(simulator, truths[:_PILOTS], seeds[0], workers=workers).numbers.mean()
    truths = truths[: max(int(_EVENTS / max(events, 1.0)), _FEWEST)]
    fresh = simulate(simulator, truths, seeds[1], workers=workers)
    draws = _draws(posterior, fresh, seeds[2])
    again = draws[:_PREDICTIVE, 0]
    names, values = simple_statistics(fresh, simulator.columns)
    replicas = simulate(simulator, again, seeds[3], workers=workers)
    return posterior_report(
        posterior.names, truths, draws, names, values, seed=seed,
        replicated=simple_statistics(replicas, simulator.columns)[1],
        own=_locals(posterior, simulator, fresh, seeds[2], rng),
    )  # fmt: skip


def _draws(posterior: Posterior, fresh: Datasets, seed: int) -> Array:
    return posterior.sample_many(posterior.encode_many(fresh.features, fresh.offsets), DRAWS, seed)


def _locals(
    posterior: Posterior, simulator: Simulator, fresh: Datasets, seed: int, rng: np.random.Generator
) -> list[Quantity]:
    """Return what is local to one event of each of some datasets: events of one dataset would not be independent."""
    if posterior.local is None or fresh.locals is None:
        return []
    rows = np.flatnonzero(fresh.numbers > 0)[:_LOCALS]
    chosen = (rng.random(len(rows)) * fresh.numbers[rows]).astype(np.int64)
    truths = fresh.locals[fresh.offsets[rows] + chosen]
    found = [posterior.sample_locals(fresh.dataset(t), DRAWS, seed + t) for t in rows.tolist()]
    return [
        Quantity(
            name, rows, truths[:, k], np.array([one[name][:, i] for one, i in zip(found, chosen, strict=True)])
        )
        for k, name in enumerate(simulator.local_names)
    ]  # fmt: skip
