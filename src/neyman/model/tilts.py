r"""Tilts: what the finite simulation leaves open of the shapes of a channel's samples, as constrained parameters.

The shape of a sample is known from its simulated events, so that the mean of a score :math:`s(x)` over it has the
statistical error of a mean. A shape :math:`p(x) e^{\beta s(x)} / Z(\beta)` with a normal constraint on :math:`\beta`,
of the width that gives the mean just this error, has it in the likelihood: what a ``staterror`` is for the content of a
bin (Barlow and Beeston, Comput. Phys. Commun. 77 (1993) 219). The scores are linear in those of the samples' rates and
shape parameters at the nominal point, which any event has from its learned ratios, without a network of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neyman.model.calibration import LEAST_DENSITY
from neyman.model.pool import MixtureSummary, Pool
from neyman.model.variations import Variation

__all__ = ["Tilts", "bounded", "nominal_scores"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_BLOCK = 65_536  # events


@dataclass(frozen=True, eq=False)
class Tilts:
    """The tilts of a channel.

    Args:
        samples: index of the sample that each bends, ``T`` of them.
        parameters: the parameter of each, with a normal constraint of width one.
        rates: the rates of the samples at the nominal point, shape ``(C,)``.
        coefficients: what makes them of the scores by rates and shape parameters, shape ``(T, C + M)``.
    """

    samples: tuple[int, ...]
    parameters: tuple[str, ...]
    rates: Array
    coefficients: Array

    @property
    def variations(self) -> tuple[Variation, ...]:
        """The same as shape systematics, which have neither ``hi`` nor ``lo`` and no curvature."""
        pairs = zip(self.samples, self.parameters, strict=True)
        return tuple(Variation(sample, parameter, None, None, mirrored=True) for sample, parameter in pairs)

    def slopes(self, ratios: Array, slopes: Array, variations: Sequence[Variation]) -> Array:
        """Return by how much each changes the logarithm of its sample's density for a pull of one, shape ``(T, N)``.

        Args:
            ratios: of the samples to the reference, shape ``(C, N)``.
            slopes: of the learned variations, shape ``(M, N)``.
            variations: the learned variations.
        """
        found = np.empty((len(self.samples), ratios.shape[1]))
        for begin in range(0, ratios.shape[1], _BLOCK):  # scores of a whole pool would take as much memory as that
            part = slice(begin, begin + _BLOCK)
            found[:, part] = self.coefficients @ nominal_scores(
                ratios[:, part], slopes[:, part], self.rates, variations
            )
        return found

    def extended(self, summary: MixtureSummary, variations: Sequence[Variation]) -> MixtureSummary:
        """Return a summary of the learned variations with the tilts behind them."""
        own = self.slopes(summary.ratios, summary.slopes, variations).astype(summary.slopes.dtype, copy=False)
        return dataclasses.replace(
            summary,
            slopes=np.concatenate([summary.slopes, own]),
            curvatures=np.concatenate([summary.curvatures, np.zeros_like(own)]),
        )

    def pool(self, pool: Pool, variations: Sequence[Variation]) -> Pool:
        """Return a pool with the same."""
        return dataclasses.replace(pool, summary=self.extended(pool.summary, variations))


def nominal_scores(ratios: Array, slopes: Array, rates: Array, variations: Sequence[Variation]) -> Array:
    """Return the derivatives of the logarithm of the density ``sum_c nu_c p_c``, shape ``(C + M, N)``.

    They are by the rates and then by the parameter of each variation, whose effect here is not normalised.

    Args:
        ratios: of the samples to the reference, shape ``(C, N)``.
        slopes: of the variations, shape ``(M, N)``.
        rates: of the samples, shape ``(C,)``.
        variations: shape systematics, whose parameters are zero.

    Example:
        >>> import numpy as np
        >>> nominal_scores(np.array([[0.5], [1.5]]), np.empty((0, 1)), np.array([10.0, 30.0]), ()).ravel()
        array([0.01, 0.03])
    """
    by_rate = ratios / np.maximum(rates @ ratios, LEAST_DENSITY * (np.abs(rates) @ ratios))
    owners = np.array([v.sample for v in variations], dtype=np.intp)
    return np.concatenate([by_rate, by_rate[owners] * rates[owners, None] * slopes])


def bounded(by_rate: Array, rates: Array) -> Array:
    """Return the factors that take scores to where their moments exist, one where no rate is negative, shape ``(N,)``.

    Args:
        by_rate: the scores by the rates, shape ``(C, N)``.
        rates: of the samples, shape ``(C,)``.
    """
    return np.asarray(np.minimum(1.0, 1.0 / (LEAST_DENSITY * np.abs(np.abs(rates) @ by_rate))))
