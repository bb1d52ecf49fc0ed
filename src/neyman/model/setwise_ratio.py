"""The log-ratio of a dataset-wide network: its score at a summary and parameters, with exact derivatives."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.model.shares import first_places, shares_of
from neyman.networks.averages import AverageHead

__all__ = ["SetRatio", "SetSummaries", "SetSummary", "positive"]


def __dir__() -> list[str]:
    return __all__


_BEYOND = 1e-6  # of a range: a numerical step may leave it by that


@dataclass(frozen=True, eq=False)
class SetSummary:
    """What a dataset-wide network keeps of an ensemble, free of the parameters; of a deep set, ``+`` joins two.

    Args:
        sums: sums over the events, the total weight last, shape ``(K,)``.
        additive: whether the sums of two datasets together are the sums of both.
    """

    sums: NDArray[np.float64]
    additive: bool = True

    def __add__(self, other: SetSummary) -> SetSummary:
        if not (self.additive and other.additive):
            raise Unsupported(
                "these summaries cannot be added, since they are of a whole dataset and not of each event: encode the "
                "joint dataset"
            )
        return SetSummary(self.sums + other.sums)


@dataclass(frozen=True, eq=False)
class SetSummaries:
    """The summaries of many ensembles.

    Args:
        sums: shape ``(n, K)``.
    """

    sums: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.sums)

    def __getitem__(self, rows: NDArray[np.intp]) -> SetSummaries:
        return SetSummaries(self.sums[rows])


class SetRatio:
    r"""The log-ratio :math:`s(S, \theta)` of a network that looks at whole datasets, ``S`` being a summary.

    In a workspace the network's parameters are each sample's share of the rate of itself and those after it, and the
    shape parameters: the ratio is conditional on the rates. Of a simulator, they are its parameters.

    Args:
        name: the channel.
        low: lower bounds of the network's parameters, shape ``(P,)``.
        high: upper bounds, shape ``(P,)``.
        head: from sums and parameters to the score.
        samples: names of the samples; none of a simulator.
        parameters: names of the shape parameters, or those of a simulator.
    """

    def __init__(
        self,
        name: str,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        head: AverageHead,
        samples: Sequence[str],
        parameters: Sequence[str],
    ) -> None:
        self.name, self.low, self.high, self.head = name, low, high, head
        self.samples, self.parameters = tuple(samples), tuple(parameters)
        # a parameter that varies several samples is one parameter of the network
        self._first = first_places(self.parameters)
        self._head = copy.deepcopy(head).double()

    @property
    def names(self) -> list[str]:
        """What the network's parameters are."""
        return [f"share of {sample}" for sample in self.samples[:-1]] + [self.parameters[k] for k in self._first]

    def log_ratio(
        self, summary: SetSummary, rates: NDArray[np.float64], pars: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return ``log r`` and its exact derivatives.

        Args:
            summary: of the ensemble.
            rates: expected events of each sample, shape ``(C,)``; none of a simulator.
            pars: the parameters, one for each name in ``parameters``.

        Returns:
            The value; its derivative by the rates, shape ``(C,)``; and by the parameters.

        Raises:
            InvalidParameter: outside the range that the network was trained for.
        """
        value, local, _ = self.log_ratio_batch(SetSummaries(summary.sums[None]), rates[None], pars[None], curved=False)
        return float(value[0]), local[0, : len(rates)], local[0, len(rates) :]

    def log_ratio_batch(
        self, summaries: SetSummaries, rates: NDArray[np.float64], pars: NDArray[np.float64], *, curved: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return ``log r`` of many ensembles, each at its own parameters.

        Args:
            summaries: their summaries.
            rates: expected events of each sample, shape ``(n, C)``.
            pars: the parameters, shape ``(n, M)``.
            curved: whether to return second derivatives.

        Returns:
            The values, shape ``(n,)``; their derivatives by rates and parameters, shape ``(n, C + M)``; and minus the
            second derivatives without their negative parts, shape ``(n, C + M, C + M)``.
        """
        n, n_samples = rates.shape
        nothing = (summaries.sums[:, -1] == 0) | (rates.sum(axis=1) <= 0) if n_samples else np.zeros(n, dtype=bool)
        points, slope = self._points(rates, pars)
        points[nothing], slope[nothing] = 0.5 * (self.low + self.high), 0.0
        self._check(points)
        value, gradient, hessian = self._scored(summaries.sums, points, curved)
        value[nothing] = 0.0
        local = (gradient[:, None, :] @ slope)[:, 0]
        return value, local, slope.transpose(0, 2, 1) @ hessian @ slope

    def _points(
        self, rates: NDArray[np.float64], pars: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the network's parameters, shape ``(n, P)``, and their derivatives, shape ``(n, P, C + M)``."""
        shares, by_rate = shares_of(rates)
        first, n_samples = shares.shape[1], rates.shape[1]
        slope = np.zeros((len(pars), first + len(self._first), n_samples + pars.shape[1]))
        slope[:, :first, :n_samples] = by_rate
        slope[:, first + np.arange(len(self._first)), n_samples + self._first] = 1.0
        return np.concatenate([shares, pars[:, self._first]], axis=1), slope

    def scores(self, sums: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scores of datasets, each with candidates of its own, shape ``(n, m)``.

        Args:
            sums: of the datasets, shape ``(n, K)``.
            points: the network's parameters, shape ``(n, m, P)``.
        """
        with torch.inference_mode():
            found: NDArray[np.float64] = self._head.score(torch.from_numpy(sums), torch.from_numpy(points)).numpy()
        return found

    def information(self, sums: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return minus the second derivatives of the scores without their negative parts, shape ``(n, P, P)``.

        Args:
            sums: of the datasets, shape ``(n, K)``.
            points: the network's parameters, shape ``(n, P)``.
        """
        return self._scored(sums, points, curved=True)[2]

    def _scored(
        self, sums: NDArray[np.float64], points: NDArray[np.float64], curved: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        n, p = points.shape
        hessian = np.zeros((n, p, p))
        if not p:  # a single sample without shape effects has nothing to learn
            return np.zeros(n), np.zeros((n, 0)), hessian
        theta = torch.from_numpy(points).requires_grad_()
        with torch.enable_grad():
            value: Tensor = self._head.score(torch.from_numpy(sums), theta[:, None])[:, 0]
            (gradient,) = torch.autograd.grad(value.sum(), theta, create_graph=curved)
            if curved:
                rows = [
                    torch.autograd.grad(gradient[:, k].sum(), theta, retain_graph=k < p - 1)[0].numpy()
                    for k in range(p)
                ]
                hessian = positive(-np.stack(rows, axis=1), self.high - self.low)
        return value.detach().numpy().copy(), gradient.detach().numpy(), hessian

    def _check(self, points: NDArray[np.float64]) -> None:
        beyond = _BEYOND * (self.high - self.low)
        wrong = ~((points >= self.low - beyond) & (points <= self.high + beyond))
        if wrong.any():
            i, k = np.argwhere(wrong)[0]
            raise InvalidParameter(
                f"channel {self.name}: {self.names[k]} = {points[i, k]:.5g} is outside ({self.low[k]:g}, "
                f"{self.high[k]:g}), which the network was trained for: keep within, or train with wider bounds"
            )

    def point(self, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the network's own parameters, shape ``(P,)``; the arguments are those of :meth:`log_ratio`.

        Raises:
            InvalidParameter: outside the range that the network was trained for.
        """
        points, _ = self._points(rates[None], pars[None])
        self._check(points)
        point: NDArray[np.float64] = points[0]
        return point


def positive(matrices: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return symmetric matrices without their negative parts, which are found in units of the parameters' ranges."""
    scaled = matrices * scale[:, None] * scale
    values, vectors = np.linalg.eigh(0.5 * (scaled + scaled.transpose(0, 2, 1)))
    kept = (vectors * np.maximum(values, 0.0)[:, None, :]) @ vectors.transpose(0, 2, 1)
    positive: NDArray[np.float64] = kept / (scale[:, None] * scale)
    return positive
