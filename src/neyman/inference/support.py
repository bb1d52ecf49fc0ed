"""Where a likelihood is not zero: a point with support, and which bin, channel or sample has none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from neyman.exceptions import FailedFit
from neyman.inference.twice_nll import TwiceNLL
from neyman.model.impossible import why_impossible

__all__ = ["NoSupport", "supported"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_ENOUGH = 0.1  # of the events of a bin, or of what its samples can give: a rate to begin with
_SHIFTS = (1.0, 10.0, 100.0)  # from a start without support, in units of the parameters' widths


class NoSupport(FailedFit):
    """The likelihood is zero wherever a fit may go."""


def supported(nll: TwiceNLL, pars: Array, bounds: Sequence[tuple[float, float]]) -> Array:
    """Return a point within the bounds at which the likelihood is not zero, shape ``(F,)``.

    Args:
        nll: -2 log L.
        pars: where to look first, shape ``(F,)``.
        bounds: the bounds.

    Raises:
        NoSupport: if there is none to be found; the message names a bin, or a channel and its samples.
    """
    low, high = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
    start = np.clip(pars, low, high)
    if math.isfinite(nll(start)):
        return start
    points = []
    if start.size:
        middle = np.isfinite(low) & np.isfinite(high)
        centre = np.where(middle, 0.5 * (np.where(middle, low, 0.0) + np.where(middle, high, 0.0)), start)
        widths, random = nll.widths(start, bounds), np.random.default_rng(0)
        points += [centre, *(start + scale * widths * random.normal(size=start.size) for scale in _SHIFTS * 3)]
    if nll.has_rates and start.size:
        suggested = np.array(nll.model.config.suggested_init(), dtype=np.float64)[nll.free]
        inside = (np.clip(point, low, high) for point in (start, suggested, *points))
        defined = next((point for point in inside if np.isfinite(nll.rates(point)[0]).all()), None)
        points = points if defined is None else [_with_rates(nll, defined, low, high), *points]
    for point in points:
        point = np.clip(point, low, high)
        if math.isfinite(nll(point)):
            return np.asarray(point)
    raise NoSupport(_reason(nll, np.clip(points[0], low, high) if points else start))


def _with_rates(nll: TwiceNLL, start: Array, low: Array, high: Array) -> Array:
    """Return where bins with events, and the samples of channels with events, have rates, as far as the bounds allow.

    The least squares of what the rates fall short, with the exact derivatives.
    """
    model = nll.model
    main = nll.main[model.counted]

    def shortages(pars: Array) -> tuple[Array, Array]:
        rates, jacobian = model.rates(nll.full(pars))
        jacobian = jacobian[:, :, nll.free]
        total, slopes = rates.sum(axis=0)[model.counted], jacobian.sum(axis=0)[model.counted]
        reach = np.abs(rates).sum(axis=0)[model.counted]
        wanted = [np.maximum(_ENOUGH * np.where(main > 0.0, np.minimum(main, reach), 1e-2 * reach), 1e-12)]
        found, by_pars = [total], [slopes]
        for term in model.terms:  # a density is positive at least where no sample's rate is negative
            own = rates[term.samples, term.bin]
            found.append(own)
            by_pars.append(jacobian[term.samples, term.bin])
            wanted.append(np.full(own.size, 1e-3 * max(float(np.abs(own).sum()), 1e-9)))
        need = np.concatenate(wanted)
        short = np.maximum(0.0, 1.0 - np.concatenate(found) / need)
        return short, -np.concatenate(by_pars) / need[:, None] * (short > 0.0)[:, None]

    inside = np.clip(start, np.nextafter(low, high), np.nextafter(high, low))
    result = scipy.optimize.least_squares(
        lambda pars: shortages(pars)[0], inside, lambda pars: shortages(pars)[1], (low, high), x_scale="jac"
    )
    return np.asarray(result.x)


def _reason(nll: TwiceNLL, pars: Array) -> str:
    """Return why the likelihood is zero at a point."""
    why = why_impossible(nll.model, nll.full(pars), nll.data, within_bounds=True) if nll.has_rates else ""
    rest = "within the bounds: check the bounds, the fixed values, and what is expected there"
    return f"the likelihood is zero{': ' if why else ''}{why} {rest}"
