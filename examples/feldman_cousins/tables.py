"""The two problems of Feldman and Cousins as models, and their intervals by adding up exact probabilities."""

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.stats

import neyman

BACKGROUND = 3.0
# arXiv:physics/9711021, table IV, b = 3.0, 90 %. Its first upper end is longer than the construction's: there the
# authors lengthen intervals so that their ends never rise with the background.
PUBLISHED = {
    0: (0.00, 1.08), 1: (0.00, 1.88), 2: (0.00, 3.04), 3: (0.00, 4.42), 4: (0.00, 5.60), 5: (0.00, 6.99),
    6: (0.15, 8.47), 7: (0.89, 9.53), 8: (1.51, 10.99), 9: (1.88, 12.30), 10: (2.63, 13.50),
}  # fmt: skip


def counting(background: float = BACKGROUND) -> neyman.Model:
    """Return a counting experiment with a signal of mu events and known background."""
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [background], "modifiers": []},
    ]
    parameters = [{"name": "mu", "bounds": [[0.0, 30.0]], "inits": [1.0]}]
    return neyman.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}, {}, poi_name="mu")


def gaussian() -> neyman.Model:
    """Return a measurement of mu >= 0 with a Gaussian error of one; its data are ``[1.0, x0]``.

    The parameter of interest is one with a constraint term, and the measurement is the auxiliary datum of this: a
    Gaussian of unit width exactly. A model needs a channel; the rate of this one does not depend on mu.
    """
    modifiers = [{"name": "mu", "type": "normsys", "data": {"hi": 1.0, "lo": 1.0}}]
    channel = {"name": "idle", "samples": [{"name": "any", "data": [1.0], "modifiers": modifiers}]}
    parameters = [{"name": "mu", "bounds": [[0.0, 12.0]], "inits": [1.0]}]
    return neyman.Model({"channels": [channel], "parameters": parameters}, {}, poi_name="mu")


def counting_p_value(n: int, mu: float, background: float = BACKGROUND) -> float:
    """Return the probability of a count whose likelihood ratio is as low as that of n, or lower."""
    counts = np.arange(120)
    probability = scipy.stats.poisson.pmf(counts, mu + background)
    best = scipy.stats.poisson.logpmf(counts, np.maximum(counts, background))
    ratio = scipy.stats.poisson.logpmf(counts, mu + background) - best
    return float(probability[ratio <= ratio[n] + 1e-9].sum())


def gaussian_p_value(x0: float, mu: float) -> float:
    """Return the probability of a measurement whose likelihood ratio is as low as that of x0, or lower."""
    t = (x0 - mu) ** 2 - min(x0, 0.0) ** 2
    root = np.sqrt(t)
    low = mu - root
    if low < 0.0:  # there the best fit is at the boundary: t = mu^2 - 2 mu x
        low = (mu**2 - t) / (2.0 * mu) if mu > 0.0 else -np.inf
    return float(scipy.stats.norm.sf(root) + scipy.stats.norm.cdf(low - mu))


def counting_interval(n: int, level: float = 0.9, background: float = BACKGROUND) -> tuple[float, float]:
    """Return the lowest and the highest accepted mu."""
    grid = np.arange(0.0, 20.0, 0.01)
    accepted = grid[[counting_p_value(n, mu, background) > 1.0 - level for mu in grid]]
    ends = []
    for inside, step in ((accepted[0], -0.01), (accepted[-1], 0.01)):
        outside = inside + step
        for _ in range(20):
            middle = 0.5 * (inside + outside)
            if middle >= 0.0 and counting_p_value(n, middle, background) > 1.0 - level:
                inside = middle
            else:
                outside = middle
        ends.append(float(inside))
    return ends[0], ends[1]


def gaussian_interval(x0: float, level: float) -> tuple[float, float]:
    """Return the lowest and the highest accepted mu."""

    def excess(mu: float) -> float:
        return gaussian_p_value(x0, mu) - (1.0 - level)

    best = max(x0, 0.0)
    low = 0.0 if excess(0.0) > 0.0 else float(scipy.optimize.brentq(excess, 0.0, best))
    return low, float(scipy.optimize.brentq(excess, best, best + 8.0))
