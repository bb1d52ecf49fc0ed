"""The simulated events of a channel in bins, weighted at the parameters and where each of them is moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.model.bins import Bins
from neyman.model.shifts import Shifts
from neyman.model.variations import interpolation

if TYPE_CHECKING:
    from neyman.model.likelihood import LearnedTerm
    from neyman.model.mixture import MixtureChannel
    from neyman.model.model import Model

__all__ = ["WeightedSimulation", "histogram"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


class WeightedSimulation:
    """The labelled simulated events of a channel, weighted at the parameters and where each of them is moved.

    Args:
        model: the model.
        term: one of its learned channels.
        mixture: that channel, or the one whose simulated events it has.
        shifts: the parameters and what they change.

    Attributes:
        expected: the weight of every simulated event at the parameters, shape ``(N,)``.
    """

    def __init__(self, model: Model, term: LearnedTerm, mixture: MixtureChannel, shifts: Shifts) -> None:
        self._pool, self._shifts = mixture.pool, shifts
        self._rates, self._up, self._down = (
            rates[..., term.samples, term.bin] for rates in (shifts.rates, shifts.up, shifts.down)
        )
        self._own = [np.flatnonzero(mixture.pool.samples == c) for c in range(len(mixture.samples))]
        self._shapes = _Shapes(mixture, shifts, term.parameters, self._own)
        self._nominal = [self._shapes.at(c) for c in range(len(self._own))]
        spec = next(c for c in model.spec["channels"] if c["name"] == term.channel.name)
        # the rate of such a sample has the error of its simulation already
        self._held = [any(m["type"] == "staterror" for m in sample["modifiers"]) for sample in spec["samples"]]
        self.expected = np.zeros(len(mixture.pool.samples))
        for own, rate, weights in zip(self._own, self._rates, self._nominal, strict=True):
            self.expected[own] = rate * weights
        if self._rates.min() < 0:  # what bins and regions are chosen by is not negative
            alphas = shifts.point.pars[term.parameters]
            self.expected = mixture.density_weights(mixture.pool.summary, self._rates, alphas, clip=True)

    def filled(
        self, quantities: Sequence[tuple[Bins, Array]], inside: NDArray[np.bool_]
    ) -> list[tuple[Array, Array, Array]]:
        """Return the expected events in the bins of quantities, how they change, and what the simulation's size adds.

        Args:
            quantities: the bins of each, and the values of all simulated events, shape ``(N,)``.
            inside: which of them are shown, shape ``(N,)``.

        Returns:
            Of each the yields ``(C, B)``, the changes of their sum with the moved parameters ``(K, B)``, and a
            covariance ``(B, B)``.
        """
        found, indices = [], []
        for bins, values in quantities:
            n, index = len(bins), np.full(len(values), len(bins), dtype=np.uint16)
            index[inside] = bins.index(values[inside])
            indices.append(index)
            found.append((np.zeros((len(self._own), n)), np.zeros((len(self._shifts.moved), n)), np.zeros((n, n))))
        for c, (own, weights, rate) in enumerate(zip(self._own, self._nominal, self._rates, strict=True)):
            places = [index[own] for index in indices]
            for place, (yields, change, covariance) in zip(places, found, strict=True):
                shape = histogram(place, weights, len(covariance))
                squares = histogram(place, weights**2, len(covariance) + 1)
                yields[c] = rate * shape
                covariance += rate**2 * _simulated(shape, squares, held=self._held[c])
                change += 0.5 * np.outer(self._up[:, c] - self._down[:, c], shape)
            for k in self._shapes.moving(c):
                for sign, rates in ((1, self._up), (-1, self._down)):
                    bent = self._shapes.at(c, k, sign) - weights
                    for place, (_, change, covariance) in zip(places, found, strict=True):
                        change[k] += 0.5 * sign * rates[k, c] * histogram(place, bent, len(covariance))
        return found


class _Shapes:
    """Weights of the events of each sample, of sum one, bent by the learned shape effects."""

    def __init__(
        self, mixture: MixtureChannel, shifts: Shifts, parameters: NDArray[np.intp], own: Sequence[NDArray[np.intp]]
    ) -> None:
        self._summary, self._variations, self._own = mixture.pool.summary, mixture.variations, own
        self._one_sided = np.array([v.one_sided for v in mixture.variations], dtype=bool)
        self._parameters, self._shifts = parameters, shifts
        self._alphas = shifts.point.pars[parameters]
        self._curves = interpolation(self._alphas, self._one_sided)[0]
        self._exponents = [self._exponent(c, self._alphas, self._curves) for c in range(len(own))]

    def moving(self, sample: int) -> list[int]:
        """Return which of the moved parameters bend a sample."""
        bending = {int(self._parameters[m]) for m, v in enumerate(self._variations) if v.sample == sample}
        return [k for k, p in enumerate(self._shifts.moved) if int(p) in bending]

    def at(self, sample: int, moved: int | None = None, sign: int = 0) -> Array:
        """Return the weights of a sample's events, with one of the moved parameters moved up or down or none."""
        exponent = self._exponents[sample]
        if moved is not None:
            p = self._shifts.moved[moved]
            alphas = self._alphas + sign * self._shifts.point.sigma[p] * (self._parameters == p)
            curves = interpolation(alphas, self._one_sided)[0]
            exponent = exponent + self._exponent(sample, alphas - self._alphas, curves - self._curves)
        weights = self._summary.weights[self._own[sample]] * np.exp(exponent - exponent.max(initial=0.0))
        return np.asarray(weights / weights.sum())

    def _exponent(self, sample: int, slopes: Array, curves: Array) -> Array:
        """Return the logarithm of the shape effect of some coefficients, each ``(M,)``, on a sample's events."""
        own = self._own[sample]
        total = np.zeros(len(own))
        for m, variation in enumerate(self._variations):
            if variation.sample == sample and (slopes[m] or curves[m]):
                total += slopes[m] * self._summary.slopes[m, own] + curves[m] * self._summary.curvatures[m, own]
        return total


def histogram(index: NDArray[np.uint16], weights: Array, bins: int) -> Array:
    """Return the sums of weights in the bins; those of a higher index are left out."""
    return np.bincount(index, weights, bins + 1)[:bins].astype(np.float64)


def _simulated(shape: Array, squares: Array, *, held: bool) -> Array:
    """Return the covariance of the fractions of a sample in its bins, from sums of squared weights.

    Args:
        shape: the fractions, shape ``(B,)``.
        squares: the sums of squares, and that of the events in no bin, shape ``(B + 1,)``.
        held: whether the sum of all weights is taken to be known.
    """
    covariance = np.diag(squares[:-1])
    if held:
        mixed = np.outer(shape, squares[:-1])
        covariance = covariance - mixed - mixed.T + np.outer(shape, shape) * squares.sum()
    return covariance
