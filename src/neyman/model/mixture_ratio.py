"""The log-ratio of a mixture: what its samples' shapes and rates say of a summary, with exact derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.model.normalisation import LogNormalisation
from neyman.model.pool import MixtureSummary, PaddedSummary, Pool
from neyman.model.variations import Variation, bend, interpolation

__all__ = ["MixtureRatio"]


def __dir__() -> list[str]:
    return __all__


_BLOCK = 2048  # events of which slopes and curvatures are in double precision, and in a processor's cache


class MixtureRatio:
    r"""The log-ratio of a channel whose event density is a mixture of samples with learned shapes.

    .. math::

        \log r = \sum_i w_i \log \sum_c \frac{\nu_c(\theta)}{\nu(\theta)} g_c(x_i) m_c(x_i | \alpha)

    with :math:`g_c = p_c/p_{ref}`, :math:`p_{ref}` the equal mixture of the samples, and
    :math:`m_c = p_c(x|\alpha)/p_c(x|0) = \exp(\sum_k a_k \alpha_k + b_k v(\alpha_k)) / Z_c(\alpha)`, where :math:`a_k`
    and :math:`b_k` are half the difference and half the sum of the log-ratios of ``hi`` and ``lo`` to the nominal
    sample and :math:`Z_c` normalises over the pool.

    Args:
        variations: the shape systematics.
        pool: the simulation.
        normalisations: of each varied sample, over all of its simulation; by default that of the pool.
    """

    def __init__(
        self,
        variations: Sequence[Variation],
        pool: Pool,
        normalisations: Mapping[int, LogNormalisation] | None = None,
    ) -> None:
        self.variations = tuple(variations)
        self._one_sided = np.array([v.one_sided for v in self.variations], dtype=bool)
        self._varied = {
            c: _without_copies([m for m, v in enumerate(self.variations) if v.sample == c])
            for c in sorted({v.sample for v in self.variations})
        }
        self.normalisations = dict(normalisations or {})
        for c, index in self._varied.items():
            if c not in self.normalisations:
                own = pool.samples == c
                points = np.concatenate([pool.summary.slopes[index][:, own], pool.summary.curvatures[index][:, own]])
                self.normalisations[c] = LogNormalisation(points.T, pool.summary.weights[own])

    def log_ratio(
        self, summary: MixtureSummary, rates: NDArray[np.float64], alphas: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return ``log r`` and its exact derivatives.

        This is :meth:`log_ratio_batch` for one ensemble, without the information, which a fit of one dataset does not
        need: 0.10 ms instead of 0.22 for 600 events and three variations, 2.3 ms instead of 3.4 for 100,000.

        Args:
            summary: of the ensemble.
            rates: expected events of each sample, shape ``(C,)``.
            alphas: the nuisance parameter of each variation, shape ``(M,)``.

        Returns:
            The value, minus infinity where the density of an event is not positive; its derivative by the rates,
            shape ``(C,)``; and by the alphas, shape ``(M,)``.
        """
        total_weight = float(summary.weights.sum())
        total = rates.sum()
        if total <= 0 and len(summary.weights):
            return -np.inf, np.zeros(len(rates)), np.zeros(len(self.variations))
        value, shares, d_alphas = 0.0, np.zeros(len(rates)), np.zeros(len(self.variations))
        factors = self._factors(alphas, len(summary.weights))
        sums = {c: np.zeros((2, len(factor.d_curve))) for c, factor in factors.items()}
        for begin in range(0, len(summary.weights), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            shapes, rows = self._shapes(summary, block, factors)
            density, weights = rates @ shapes, summary.weights[block]
            if not density.min() > 0:
                density[weights == 0] = 1.0
                if not density.min() > 0:
                    return -np.inf, np.zeros(len(rates)), np.zeros(len(self.variations))
            pulls = weights / density
            value += float(weights @ np.log(density, out=density))
            shares += shapes @ pulls
            for c, (slopes, curvatures) in rows.items():
                share = pulls * shapes[c]
                sums[c] += (slopes @ share, curvatures @ share)
        if not len(summary.weights):
            return 0.0, shares, d_alphas
        for c, factor in factors.items():
            by_slope, by_curvature = sums[c]
            d_alphas[self._varied[c]] = rates[c] * (
                by_slope + by_curvature * factor.d_curve - shares[c] * factor.by_normalisation
            )
        return value - total_weight * np.log(total), shares - total_weight / total, d_alphas

    def log_ratio_batch(
        self, toys: PaddedSummary, rates: NDArray[np.float64], alphas: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        r"""Return ``log r`` of many ensembles, each at its own parameters.

        With :math:`f = \sum_c \nu_c p_c` and :math:`p_c = g_c m_c`, an event's derivatives are
        :math:`s_c = p_c / f - 1 / \nu` by the rates, and by the nuisance parameter of a variation of sample ``c``
        :math:`s_k = \nu_c (p_c / f) (a_k + b_k v'(\alpha_k) - \partial_k \log Z_c)`. With the rows
        :math:`R = \sqrt w s` the gradient is :math:`R \sqrt w` and the information one product, :math:`R R^T`.

        Args:
            toys: their summaries.
            rates: expected events of each sample, shape ``(n, C)``.
            alphas: the nuisance parameter of each variation, shape ``(n, M)``.

        Returns:
            The values, shape ``(n,)``, minus infinity where the density of an event is not positive; their derivatives
            by rates and alphas, shape ``(n, C + M)``; and the sum over the events of the outer product of these
            derivatives, shape ``(n, C + M, C + M)``, which stands for minus the second derivatives.
        """
        n, n_samples, n_events = toys.ratios.shape
        total = rates.sum(axis=1)
        rows = np.empty((n, n_samples + len(self.variations), n_events))
        shapes, by_alpha = rows[:, :n_samples], rows[:, n_samples:]
        shapes[:] = toys.ratios
        curve, d_curve = interpolation(alphas, self._one_sided)
        by_normalisation = np.empty(alphas.shape)
        for c, varied in self._varied.items():
            u, v, dv = alphas[:, varied], curve[:, varied], d_curve[:, varied]
            log_z, gradient = self.normalisations[c].batch(np.concatenate([u, v], axis=1))
            exponent = (u[:, None, :] @ toys.slopes[:, varied])[:, 0]
            exponent += (v[:, None, :] @ toys.curvatures[:, varied])[:, 0]
            exponent -= log_z[:, None]
            shapes[:, c] *= torch.from_numpy(exponent).exp_().numpy()
            by_normalisation[:, varied] = gradient[:, : u.shape[1]] + gradient[:, u.shape[1] :] * dv
        density = (rates[:, None, :] @ shapes)[:, 0]
        valid = (total > 0) & (density.min(axis=1) > 0)
        if not valid.all():
            density[~valid], total = 1.0, np.where(valid, total, 1.0)
        shapes *= (toys.roots / density)[:, None, :]
        np.multiply(toys.curvatures, d_curve[:, :, None], out=by_alpha)
        by_alpha += toys.slopes
        by_alpha -= by_normalisation[:, :, None]
        for c, varied in self._varied.items():
            by_alpha[:, varied] *= (rates[:, c, None] * shapes[:, c])[:, None, :]
        shapes -= (toys.roots / total[:, None])[:, None, :]
        log_density = torch.from_numpy(density).log_().numpy()
        log_density *= toys.roots
        value = np.einsum("ne,ne->n", log_density, toys.roots) - toys.total_weights * np.log(total)
        value[~valid] = -np.inf
        return value, (rows @ toys.roots[:, :, None])[:, :, 0], rows @ rows.transpose(0, 2, 1)

    def densities(self, summary: MixtureSummary, alphas: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``g_c m_c`` of every sample and event, shape ``(C, N)``."""
        factors, found = self._factors(alphas, len(summary.weights)), np.empty_like(summary.ratios, dtype=np.float64)
        for begin in range(0, len(summary.weights), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            found[:, block] = self._shapes(summary, block, factors)[0]
        return found

    def scores(
        self, summary: MixtureSummary, rates: NDArray[np.float64], alphas: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each event's derivative of the log of the unnormalised density ``sum_c nu_c g_c m_c``.

        Returns:
            By the rates, shape ``(C, N)``, and by the alphas, shape ``(M, N)``.
        """
        factors = self._factors(alphas, len(summary.weights))
        by_rate, by_alpha = np.empty(summary.ratios.shape), np.zeros((len(self.variations), len(summary.weights)))
        for begin in range(0, len(summary.weights), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            shapes, rows = self._shapes(summary, block, factors)
            by_rate[:, block] = shapes / (rates @ shapes)
            for c, (slopes, curvatures) in rows.items():
                slope = slopes + curvatures * factors[c].d_curve[:, None] - factors[c].by_normalisation[:, None]
                by_alpha[self._varied[c], block] = rates[c] * by_rate[c, block] * slope
        return by_rate, by_alpha

    def curvature(
        self,
        summary: MixtureSummary,
        rates: NDArray[np.float64],
        alphas: NDArray[np.float64],
        slopes: NDArray[np.float64],
        columns: NDArray[np.intp],
    ) -> NDArray[np.float64] | None:
        """Return the second derivatives of ``log r`` by a model's parameters, of which the rates are linear functions.

        Args:
            summary: of the ensemble.
            rates: expected events of each sample, shape ``(C,)``.
            alphas: the nuisance parameter of each variation, shape ``(M,)``.
            slopes: the derivatives of the rates by the parameters, shape ``(C, P)``.
            columns: which of the parameters each variation has, shape ``(M,)``; no two of a sample have the same.

        Returns:
            Shape ``(P, P)``; ``None`` where the density of an event is not positive.
        """
        by_total = slopes.sum(axis=0) / rates.sum()
        found = np.outer(by_total, by_total) * summary.weights.sum()
        factors, bends = self._factors(alphas, len(summary.weights)), bend(alphas, self._one_sided)
        own = {c: columns[index] for c, index in self._varied.items()}
        sums = {c: np.zeros(1 + 2 * len(index)) for c, index in own.items()}
        for begin in range(0, len(summary.weights), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            shapes, rows = self._shapes(summary, block, factors)
            density, weights = rates @ shapes, summary.weights[block]
            if not density.min() > 0:
                return None
            shapes /= density
            scores = slopes.T @ shapes
            for c, (by_slope, by_curvature) in rows.items():
                factor, share = factors[c], weights * shapes[c]
                slope = by_curvature * factor.d_curve[:, None]
                slope += by_slope
                slope -= factor.by_normalisation[:, None]
                sums[c] += np.concatenate([[share.sum()], slope @ share, by_curvature @ share])
                found[np.ix_(own[c], own[c])] += rates[c] * (slope * share) @ slope.T
                slope *= rates[c] * shapes[c]
                scores[own[c]] += slope
            found -= (scores * weights) @ scores.T
        for c, index in self._varied.items():
            share, by_rate, bent = sums[c][0], sums[c][1 : 1 + len(own[c])], sums[c][1 + len(own[c]) :]
            found[:, own[c]] += np.outer(slopes[c], by_rate)
            found[own[c]] += np.outer(by_rate, slopes[c])
            t = np.concatenate([factors[c].u, factors[c].v])
            m, dv = len(own[c]), factors[c].d_curve
            of_log_z, by_t = self.normalisations[c].second_derivatives(t), self.normalisations[c](t)[1]
            mixed = of_log_z[:m, m:] * dv
            of_log_z = of_log_z[:m, :m] + mixed + mixed.T + of_log_z[m:, m:] * np.outer(dv, dv)
            of_log_z += np.diag(by_t[m:] * bends[index])
            found[np.ix_(own[c], own[c])] += rates[c] * (np.diag(bent * bends[index]) - share * of_log_z)
        return np.asarray(found)

    def _factors(self, alphas: NDArray[np.float64], events: int) -> dict[int, _Factor]:
        """Return what the shapes of each varied sample depend on, beside its so many events."""
        curve, d_curve = interpolation(alphas, self._one_sided)
        factors = {}
        for c, index in self._varied.items():
            u, v, dv = alphas[index], curve[index], d_curve[index]
            log_z, gradient = self.normalisations[c](np.concatenate([u, v]))
            doubles = np.empty((2, len(u), min(events, _BLOCK)))
            factors[c] = _Factor(u, v, dv, log_z, gradient[: len(u)] + gradient[len(u) :] * dv, doubles)
        return factors

    def _shapes(
        self, summary: MixtureSummary, block: slice, factors: Mapping[int, _Factor]
    ) -> tuple[NDArray[np.float64], dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]]:
        """Return ``g_c m_c`` of a block of events and, for each varied sample, its slopes and curvatures.

        These are in arrays that the next block overwrites.
        """
        shapes, rows = summary.ratios[:, block].astype(np.float64), {}
        for c, factor in factors.items():
            index = self._varied[c]
            slopes, curvatures = factor.doubles[:, :, : shapes.shape[1]]
            slopes[:], curvatures[:] = summary.slopes[index, block], summary.curvatures[index, block]
            exponent = factor.u @ slopes
            exponent += factor.v @ curvatures
            exponent -= factor.log_z
            shapes[c] *= np.exp(exponent, out=exponent)
            rows[c] = slopes, curvatures
        return shapes, rows


@dataclass(frozen=True, eq=False)
class _Factor:
    """What a sample's shape is made of: coefficients of slopes and curvatures, and the normalisation.

    Args:
        u: of the slopes, the nuisance parameters, shape ``(m,)``.
        v: of the curvatures.
        d_curve: the derivative of ``v`` by each nuisance parameter.
        log_z: the logarithm of the normalisation.
        by_normalisation: its derivative by each nuisance parameter.
        doubles: room for slopes and curvatures of a block in double precision, shape ``(2, m, n)``.
    """

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    d_curve: NDArray[np.float64]
    log_z: float
    by_normalisation: NDArray[np.float64]
    doubles: NDArray[np.float64]


def _without_copies(index: list[int]) -> slice | NDArray[np.intp]:
    """Return rows as a slice where they are consecutive: taking them then copies no events."""
    first, last = index[0], index[-1] + 1
    return slice(first, last) if index == list(range(first, last)) else np.array(index)
