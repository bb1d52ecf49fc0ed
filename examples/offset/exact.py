r"""The exact likelihood of events that share an offset: a nuisance of the whole dataset that no single event shows.

``x_i ~ N(theta + delta, 1)`` with one ``delta ~ N(0, 0.3)`` for all n events of a dataset. With delta integrated out
the events are jointly Gaussian, with the covariance ``1 + 0.09 J`` (J is all ones), and

.. math::

    \log p(x | \theta) = -\frac n2 \log 2\pi - \frac12 \log(1 + n \tau^2) - \frac12 \sum_i (x_i - \bar x)^2
        - \frac{(\bar x - \theta)^2}{2 (\tau^2 + 1/n)}, \qquad \tau = 0.3,

so that the mean of the events is sufficient and its uncertainty ``sqrt(0.09 + 1/n)`` never falls below 0.3. The number
of events is drawn independently of theta: it says nothing about theta itself, but it sets the width.

*Blind* to the offset is the likelihood of independent events. One event alone follows ``N(theta, 1 + 0.09)``, and a
product of per-event ratios, however well learned, takes the uncertainty for ``sqrt(1.09/n)``.

Everything takes many datasets at once. Run it to print the widths of the intervals and what they cover.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

__all__ = [
    "CARDINALITIES",
    "EVENTS",
    "FEATURES",
    "PARAMETERS",
    "POI",
    "TAU",
    "best_fit",
    "blind_coverage",
    "evaluate",
    "interval",
    "log_likelihood",
    "ratio",
    "sample",
    "sample_n",
    "sigma",
]

Array = NDArray[np.float64]

TAU = 0.3  # the width of the offset
EVENTS = (4, 600)  # the fewest and the most events in a dataset
LOW, HIGH = -2.0, 2.0  # the bounds of theta

PARAMETERS = [{"name": "theta", "inits": [0.0], "bounds": [[LOW, HIGH]]}]
POI = "theta"
FEATURES = ["x"]

CARDINALITIES = (4, 10, 40, 150, 600)  # events: where everything is measured

_LOG_EDGES = np.log([EVENTS[0], EVENTS[1] + 1])


def sample(pars: ArrayLike, rng: np.random.Generator) -> Array:
    """Draw one dataset, shape ``(n, 1)``, with n log-uniform: the integer part of such a number from 4 to 601."""
    return sample_n(pars, int(np.exp(rng.uniform(*_LOG_EDGES))), rng)


def sample_n(pars: ArrayLike, n: int, rng: np.random.Generator) -> Array:
    """Draw one dataset of n events, shape ``(n, 1)``."""
    (theta,) = np.asarray(pars, dtype=np.float64)
    return theta + TAU * rng.standard_normal() + rng.standard_normal((n, 1))


def sigma(n: ArrayLike, blind: bool = False) -> Array:
    """Return the uncertainty of theta from n events away from its bounds, of the shape of n."""
    n = np.asarray(n, dtype=np.float64)
    return np.sqrt((1.0 + TAU**2) / n) if blind else np.sqrt(TAU**2 + 1.0 / n)


def blind_coverage(n: ArrayLike) -> Array:
    """Return the probability that the blind 68 % interval covers theta away from its bounds, of the shape of n."""
    return 2 * norm.cdf(sigma(n, blind=True) / sigma(n)) - 1


def evaluate(pars: ArrayLike, x: ArrayLike, blind: bool = False) -> tuple[float, Array]:
    """Return the log-likelihood of one dataset, and its gradient by the parameters, shape ``(1,)``."""
    mean, n = _statistics([x])
    slope = (mean - np.asarray(pars, dtype=np.float64)) / sigma(n, blind) ** 2
    return float(log_likelihood(pars, [x], blind)[0]), slope


def log_likelihood(pars: ArrayLike, datasets: Sequence[ArrayLike], blind: bool = False) -> Array:
    """Return the log-likelihood of every dataset.

    Args:
        pars: the parameters, shape ``(1,)``, or one point for each dataset, shape ``(B, 1)``.
        datasets: ``B`` datasets, each of shape ``(n, 1)`` with its own n.
        blind: take the events for independent, each with its marginal density.

    Returns:
        Shape ``(B,)``.
    """
    mean, n = _statistics(datasets)
    squares = np.array(
        [np.sum((np.asarray(x, dtype=np.float64) - m) ** 2) for x, m in zip(datasets, mean, strict=True)]
    )
    pull = (mean - np.asarray(pars, dtype=np.float64)[..., 0]) / sigma(n, blind)
    if blind:
        return -0.5 * (n * np.log(2 * np.pi * (1 + TAU**2)) + squares / (1 + TAU**2) + pull**2)
    return -0.5 * (n * np.log(2 * np.pi) + np.log1p(n * TAU**2) + squares + pull**2)


def best_fit(datasets: Sequence[ArrayLike]) -> Array:
    """Return the best fits within the bounds, shape ``(B, 1)``; those of the blind likelihood are the same."""
    return np.clip(_statistics(datasets)[0], LOW, HIGH)[:, None]


def ratio(datasets: Sequence[ArrayLike], theta: ArrayLike, blind: bool = False) -> Array:
    """Return -2 log of the likelihood ratio at theta, one value or one for each dataset, shape ``(B,)``."""
    mean, n = _statistics(datasets)
    away = (mean - np.asarray(theta, dtype=np.float64)) ** 2 - (mean - np.clip(mean, LOW, HIGH)) ** 2
    return np.maximum(away / sigma(n, blind) ** 2, 0.0)


def interval(datasets: Sequence[ArrayLike], threshold: float = 1.0, blind: bool = False) -> Array:
    """Return the ends of the set of theta with a -2 log of the ratio up to the threshold, shape ``(B, 2)``."""
    mean, n = _statistics(datasets)
    reach = np.sqrt(threshold * sigma(n, blind) ** 2 + (mean - np.clip(mean, LOW, HIGH)) ** 2)
    return np.clip(np.stack([mean - reach, mean + reach], axis=1), LOW, HIGH)


def _statistics(datasets: Sequence[ArrayLike]) -> tuple[Array, Array]:
    """Return the mean and the number of events of every dataset, each of shape ``(B,)``."""
    arrays = [np.asarray(x, dtype=np.float64) for x in datasets]
    return np.array([x.mean() for x in arrays]), np.array([float(len(x)) for x in arrays])


if __name__ == "__main__":
    for number in CARDINALITIES:
        print(
            f"n = {number}: width {2 * sigma(number):.3f}, blind {2 * sigma(number, blind=True):.3f}, "
            f"which covers {blind_coverage(number):.3f}"
        )
