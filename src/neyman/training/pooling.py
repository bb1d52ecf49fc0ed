"""The pool of a trained mixture: all simulated events or, where these have too many variations, some of each sample."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neyman.events import Events
from neyman.model.calibration import LogitCalibration, calibrate, sample_ratios
from neyman.model.normalisation import LogNormalisation
from neyman.model.pool import MixtureSummary, Pool
from neyman.model.variations import Variation, own_variations, slopes_and_curvatures
from neyman.training.calibration import Values

__all__ = ["normalisations", "pooled"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_BYTES = 120_000_000  # of the pool's values, by default: a model file is then below 200 MB


class Networks(Protocol):
    """The trained networks of a channel."""

    def blocks(
        self, events: Events, which: NDArray[np.intp] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float32]]]:
        """Yield the values of blocks of some of the events."""


def pooled(
    networks: Networks,
    nominal: Sequence[Events],
    weights: Sequence[NDArray[np.float64]],
    calibration: LogitCalibration,
    yields: NDArray[np.float64],
    variations: Sequence[Variation],
    most: int = 0,
) -> Pool:
    """Return the pool.

    Args:
        networks: the trained networks.
        nominal: the nominal events of each sample.
        weights: positive weights that describe the same densities, of sum one, each of shape ``(N,)``.
        calibration: what the values are calibrated with.
        yields: nominal yields, shape ``(C,)``.
        variations: the shape systematics.
        most: how many events it has at most, the same share of each sample, chosen at random; 0 is as many as take
            120 MB.
    """
    classes = len(nominal)
    row = 4 * (nominal[0].features.shape[1] + classes + 2 * len(variations))
    total = sum(map(len, nominal))
    share = min(1.0, (most or _BYTES // row) / total)
    chosen = [
        np.arange(len(events))
        if share == 1.0
        else np.sort(
            np.random.default_rng([len(events), c]).permutation(len(events))[: max(int(share * len(events)), 1)]
        )
        for c, events in enumerate(nominal)
    ]
    n = sum(map(len, chosen))
    if n < total:
        log.info("the pool keeps %d of %d simulated events for toys; network: {pool: N} keeps N", n, total)
    ratios, slopes, curvatures = (np.empty((rows, n), dtype=np.float32) for rows in (classes, *[len(variations)] * 2))
    begin = 0
    for events, which in zip(nominal, chosen, strict=True):
        for rows, raw_ratios, raw_sides in networks.blocks(events, which):
            place = slice(begin + rows.start, begin + min(rows.stop, len(which)))
            log_ratios, sides = calibrate(raw_ratios, raw_sides, calibration, yields, variations)
            ratios[:, place] = sample_ratios(log_ratios).T
            for whole, part in zip((slopes, curvatures), slopes_and_curvatures(sides, variations), strict=True):
                whole[:, place] = part.T
        begin += len(which)
    kept = [w[which] / w[which].sum() for w, which in zip(weights, chosen, strict=True)]
    squares = []
    for events, which in zip(nominal, chosen, strict=True):
        every = (events.weights / events.weights.sum()) ** 2
        squares.append((every[which] * (every.sum() / every[which].sum())).astype(np.float32))
    return Pool(
        np.concatenate([events.features[which] for events, which in zip(nominal, chosen, strict=True)]),
        np.repeat(np.arange(classes), [len(which) for which in chosen]),
        MixtureSummary(np.concatenate(kept), ratios.astype(np.float64), slopes, curvatures),
        np.concatenate(squares),
    )


def normalisations(
    weights: Sequence[NDArray[np.float64]], values: Values, variations: Sequence[Variation]
) -> dict[int, LogNormalisation]:
    """Return the normalisation of each varied sample over all of its simulated events.

    Args:
        weights: positive weights of each sample's events, each of shape ``(N,)``.
        values: the calibrated values of these events.
        variations: the shape systematics.
    """
    found = {}
    for c in sorted({v.sample for v in variations}):
        own = own_variations(variations, c, values.columns[c])
        slopes, curvatures = slopes_and_curvatures(values.own[c], own)
        found[c] = LogNormalisation(np.concatenate([slopes, curvatures], axis=1), weights[c])
    return found
