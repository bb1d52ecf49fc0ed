"""The log-ratios of many toys, block by block, with what they say of the parameters of the whole model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Batch", "Summaries"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


class Summaries(Protocol):
    """The summaries of several toys; an index chooses some of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.intp], /) -> Self: ...


B = TypeVar("B", bound=Summaries)


class Batch(Generic[B]):
    """The summaries of many toys, in blocks, with their log-ratios at parameters of their own.

    Args:
        n: number of toys.
        blocks: which toys each block has, and their summaries; a toy in none of them has no events.
        log_ratio: of the toys of a block; takes summaries, rates and parameters, returns what the call does.
    """

    def __init__(
        self,
        n: int,
        blocks: Sequence[tuple[NDArray[np.intp], B]],
        log_ratio: Callable[[B, Array, Array], tuple[Array, Array, Array]],
    ) -> None:
        self._blocks = [summaries for _, summaries in blocks]
        self._log_ratio = log_ratio
        self._block, self._place = np.full(n, -1), np.zeros(n, dtype=np.intp)
        for number, (members, _) in enumerate(blocks):
            self._block[members], self._place[members] = number, np.arange(len(members))

    def __call__(
        self, rows: NDArray[np.intp], rates: Array, by_pars: Array, own: Array, places: NDArray[np.intp]
    ) -> tuple[Array, Array, Array]:
        """Return ``log r`` of some toys and what stands for its derivatives by the parameters of the whole model.

        Args:
            rows: the toys, shape ``(r,)``.
            rates: expected events of each sample, shape ``(r, C)``.
            by_pars: their derivatives, shape ``(r, C, P)``.
            own: the channel's parameters, shape ``(r, M)``.
            places: which of the model's parameters these are, shape ``(M,)``.

        Returns:
            The values, shape ``(r,)``, minus infinity where they are not defined; their derivatives, shape ``(r, P)``;
            and what stands for minus the second derivatives and is positive semidefinite, shape ``(r, P, P)``. Zeros
            for toys without events.
        """
        n, size = len(rows), by_pars.shape[2]
        value, gradient, information = np.zeros(n), np.zeros((n, size)), np.zeros((n, size, size))
        block = self._block[rows]
        order = np.argsort(block, kind="stable")
        ends = np.searchsorted(block[order], np.arange(len(self._blocks) + 1))
        for summaries, begin, end in zip(self._blocks, ends[:-1], ends[1:], strict=True):
            if begin == end:
                continue
            some = order[begin:end]
            chosen = summaries if end - begin == len(summaries) else summaries[self._place[rows[some]]]
            value[some], local, local_information = self._log_ratio(chosen, rates[some], own[some])
            gradient[some] = _by_all(local[:, None], by_pars[some], places)[:, 0]
            half = _by_all(local_information, by_pars[some], places)
            information[some] = _by_all(half.transpose(0, 2, 1), by_pars[some], places)
        return value, gradient, information


def _by_all(local: Array, by_pars: Array, places: NDArray[np.intp]) -> Array:
    """Return derivatives by all parameters, shape ``(n, K, P)``, of those by rates and by a channel's own parameters.

    Args:
        local: by rates and by own parameters, shape ``(n, K, C + M)``.
        by_pars: the derivatives of the rates, shape ``(n, C, P)``.
        places: which of all parameters each own one is, shape ``(M,)``; several may be the same.
    """
    n_rates = by_pars.shape[1]
    found = local[:, :, :n_rates] @ by_pars
    own = local[:, :, n_rates:]
    torch.from_numpy(found).index_add_(2, torch.from_numpy(places), torch.from_numpy(own))
    return found
