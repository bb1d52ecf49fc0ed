"""Markov chains by the No-U-Turn sampler of nutpie, in coordinates fitted to the maximum of the density."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from neyman.support.extras import from_extra

__all__ = ["Chains", "sampled"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]
Density = Callable[[Array], tuple[float, Array]]  # the log and its gradient; minus infinity where it is zero

_WARMUP = 400  # draws of each chain that adapt the sampler and are not kept
_STEP = 1e-4  # of differences of the gradient, in units of the widths
_FLATTEST = 1e-4  # curvature in those units: a direction is never longer than a hundred of them
_STARTS = 20  # that are tried for each chain, each nearer to its maximum
_SEARCHES = 8  # for maxima, from other places than the start
_CLIMB = 200  # steps of each at most
_LOWER = 20.0  # in the log of the density: so far below the largest a maximum is of no importance
_NEWTON = 5  # steps to the maximum at most, and
_RISE = 1e-3  # how much a step must gain


@dataclass(frozen=True, eq=False)
class Chains:
    """What the sampler found.

    Args:
        draws: of each chain, in order, shape ``(C, n, F)``.
        divergences: how many trajectories lost their energy; those that ended where the density is zero did not.
        evaluations: of the density, all in all.
    """

    draws: Array
    divergences: int
    evaluations: int


def sampled(
    density: Density,
    start: Array,
    widths: Array,
    elsewhere: Callable[[np.random.Generator], Array],
    n: int,
    chains: int,
    seed: int,
) -> Chains:
    """Draw from a density by several chains, which begin about its maxima: at different ones if it has several.

    Args:
        density: the log of the density, and its gradient.
        start: where it is not zero, shape ``(F,)``.
        widths: how wide it is about, by coordinate, shape ``(F,)``.
        elsewhere: draws another place to look for a maximum from, shape ``(F,)``.
        n: the length of each chain.
        chains: their number.
        seed: fixes the draws.

    Raises:
        Unsupported: if nutpie is not installed.
    """
    nutpie = from_extra("nutpie", "sampling", "posteriors")
    compiler = from_extra("nutpie.compiled_pyfunc", "sampling", "posteriors")
    failures: list[Exception] = []
    evaluations = 0

    def careful(point: Array) -> tuple[float, Array]:
        nonlocal evaluations
        evaluations += 1
        if failures:
            return -math.inf, np.zeros_like(point)
        try:
            return density(point)
        except Exception as error:  # noqa: BLE001 (the sampler's threads must end before it is raised again)
            failures.append(error)
            return -math.inf, np.zeros_like(point)

    rng = np.random.default_rng(seed)
    ends = [_risen(careful, start, widths)]
    ends += [_risen(careful, elsewhere(rng), widths) for _ in range(_SEARCHES)]
    heights = np.array([careful(end)[0] for end in ends])
    if failures:
        raise failures[0]
    centre, axes = _fitted(careful, ends[int(np.argmax(heights))], widths)
    high = [end for end, height in zip(ends, heights, strict=True) if height > heights.max() - _LOWER]
    tops = _apart((np.array(high) - centre) @ np.linalg.inv(axes).T, chains)

    def standard(z: Array) -> tuple[float, Array]:
        value, gradient = careful(centre + axes @ z)
        return value, gradient @ axes

    begins = itertools.cycle(tops)

    def begin(chain_seed: int) -> Array:
        own, top = np.random.default_rng(chain_seed), next(begins)
        for scale in 2.0 * 0.7 ** np.arange(_STARTS):
            z = top + scale * own.normal(size=start.size)
            if math.isfinite(standard(z)[0]):
                return np.asarray(z)
        return top

    compiled = compiler.from_pyfunc(
        ndim=start.size,
        make_logp_fn=lambda: standard,
        make_expand_fn=lambda *_: lambda z: {"u": centre + axes @ z},
        expanded_dtypes=[np.dtype(np.float64)],
        expanded_shapes=[(start.size,)],
        expanded_names=["u"],
        make_initial_point_fn=begin,
    )
    # one chain after the other: what they evaluate is Python, of which one thread runs at a time
    trace = nutpie.sample(
        compiled, draws=n, tune=_WARMUP, chains=chains, cores=1, seed=seed, save_warmup=False, progress_bar=False,
        store_divergences=True,
    )  # fmt: skip
    if failures:
        raise failures[0]
    draws = np.asarray(trace.posterior["u"].values, dtype=np.float64)
    if draws.shape != (chains, n, start.size):  # nutpie gives what it has
        raise KeyboardInterrupt
    # a trajectory that runs into where the density is zero is turned down there, as it has to be: it has no end
    astray = np.isfinite(trace.sample_stats["divergence_end"].values).all(axis=-1)
    return Chains(draws, int(astray.sum()), evaluations)


def _risen(density: Density, start: Array, widths: Array) -> Array:
    """Return where the density is larger than at the start: about a maximum if it has one."""

    def falls(v: Array) -> tuple[float, Array]:
        value, gradient = density(start + widths * v)
        return -value, -widths * gradient

    with warnings.catch_warnings(), np.errstate(invalid="ignore", over="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of steps to where the density is zero
        found = scipy.optimize.minimize(
            falls, np.zeros(start.size), jac=True, method="L-BFGS-B", options={"maxiter": _CLIMB}
        ).x
    end = start + widths * found
    return np.asarray(end) if density(end)[0] > density(start)[0] else start


def _apart(points: Array, n: int) -> list[Array]:
    """Return some of many points, each as far from those before as there is one: if there are two groups, of both."""
    chosen = [points[0]]
    while len(chosen) < n:
        distances = np.min([((points - one) ** 2).sum(axis=1) for one in chosen], axis=0)
        chosen.append(points[int(np.argmax(distances))])
    return chosen


def _fitted(density: Density, start: Array, widths: Array) -> tuple[Array, Array]:
    """Return a maximum, and the root of the inverse of the curvature there, shape ``(F, F)``."""
    centre = start
    for _ in range(_NEWTON):
        value, gradient = density(centre)
        curvature, directions = np.linalg.eigh(_curvature(density, centre, gradient, widths))
        lengths = 1.0 / np.sqrt(np.maximum(curvature, _FLATTEST))
        step = widths * (directions @ (lengths**2 * (directions.T @ (widths * gradient))))
        if not density(centre + step)[0] > value + _RISE:
            break
        centre = centre + step
    return centre, widths[:, None] * (directions * lengths) @ directions.T


def _curvature(density: Density, centre: Array, gradient: Array, widths: Array) -> Array:
    """Return minus the second derivatives in units of the widths, from differences of the gradient."""
    rows = np.eye(centre.size)
    for k, width in enumerate(widths):
        for step in (_STEP * width, -_STEP * width):
            shifted = centre.copy()
            shifted[k] += step
            value, other = density(shifted)
            if math.isfinite(value):
                rows[k] = (gradient - other) / step * width * widths
                break
    return 0.5 * (rows + rows.T)
