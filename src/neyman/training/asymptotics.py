"""Are asymptotic intervals of a trained model right? Its test statistic and its best fits at known truths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from neyman.inference.batch import fit_batch
from neyman.model.constraints import constraints
from neyman.model.toys import Toys, draw
from neyman.training.fresh import STREAM
from neyman.training.verdicts import SLICES

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["at_truth"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_TOYS = 5  # at each truth
_SLICES_OF_NUMBER = 3
_QUANTILES = (0.6827, 0.95)


def at_truth(model: Model, n: int, seed: int = 0) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    r"""Fit datasets thrown over the parameters' bounds and compare the parameter of interest with the truth.

    :math:`t = -2 \log (L(\mu, \hat{\hat\theta}) / L(\hat\mu, \hat\theta))` (arXiv:1007.1727, eq. 8) at the true
    :math:`\mu`, all other parameters profiled. A parameter with a constraint has truths as its constraint tells.

    Args:
        model: the model.
        n: how many datasets.
        seed: that of the training.

    Returns:
        The values of each dataset, and what they say in slices of the parameter of interest and of the number of
        events.
    """
    rng = np.random.default_rng([seed, STREAM, 1])
    poi, name = model.config.poi_index, model.config.poi_name
    truths = _truths(model, max(n // _TOYS, 1), rng)
    toys = Toys.joined([draw(truth, model, _TOYS, int(rng.integers(2**63))) for truth in truths])
    truths = np.repeat(truths, _TOYS, axis=0)
    held = fit_batch(model, toys, truths, fixed={name: truths[:, poi]})
    free = fit_batch(model, toys, held.pars)
    good = held.valid & free.valid
    t = np.maximum(held.twice_nll - free.twice_nll, 0.0)[good]
    number = toys.main.sum(axis=1)[good]
    truth, bestfit = truths[good, poi], free.pars[good, poi]
    low, high = model.config.suggested_bounds()[poi]
    slices = [(name, truth, np.linspace(low, high, SLICES + 1))]
    slices += [("number of events", number, np.unique(np.quantile(number, np.linspace(0, 1, _SLICES_OF_NUMBER + 1))))]
    regions = [
        _region(what, edges[k : k + 2], t[own], np.sign(bestfit - truth)[own])
        for what, values, edges in slices
        for k in range(len(edges) - 1)
        if (own := (np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2) == k)).sum() > 1
    ]
    columns = {"truth": truth, "bestfit": bestfit, "statistic": t, "number": number}
    # six digits are more than a figure shows
    found = {key: tuple(float(f"{value:.6g}") for value in values) for key, values in columns.items()}
    return found, tuple(regions)


def _truths(model: Model, n: int, rng: np.random.Generator) -> Array:
    """Return parameters over the bounds, evenly of the parameter of interest, where all rates are positive."""
    bounds = np.array(model.config.suggested_bounds(), dtype=np.float64)
    held = np.array(model.config.suggested_fixed(), dtype=bool)
    truths = rng.uniform(bounds[:, 0], bounds[:, 1], size=(n, len(bounds)))
    truths[:, held] = np.array(model.config.suggested_init(), dtype=np.float64)[held]
    terms = constraints(model)
    for k, name in enumerate(model.config.par_names):
        if name in terms and not held[k]:
            truths[:, k] = np.clip(rng.normal(*terms[name], n), *bounds[k])
    low, high = bounds[model.config.poi_index]
    truths[:, model.config.poi_index] = low + (high - low) * (np.arange(n) + rng.random(n)) / n
    positive: Array = truths[model.rates(truths)[0].min(axis=(1, 2)) >= 0.0]
    return positive


def _region(name: str, ends: Array, t: Array, sign: Array) -> dict[str, Any]:
    n, pull = len(t), sign * np.sqrt(t)
    entry: dict[str, Any] = {"name": name, "low": float(ends[0]), "high": float(ends[1]), "toys": n}
    for level, key in zip(_QUANTILES, ("below_68", "below_95"), strict=True):
        entry[key] = float(np.mean(t <= scipy.stats.chi2.ppf(level, 1)))
        # as expected at this level: the observed fraction may be one
        entry[f"{key}_error"] = float(np.sqrt(level * (1 - level) / n))
    entry |= {"mean": float(t.mean()), "mean_error": float(t.std(ddof=1) / np.sqrt(n))}
    entry |= {"pull": float(pull.mean()), "pull_error": float(pull.std(ddof=1) / np.sqrt(n))}
    entry |= {"pull_width": float(pull.std(ddof=1)), "pull_width_error": float(pull.std(ddof=1) / np.sqrt(2 * n))}
    return entry
