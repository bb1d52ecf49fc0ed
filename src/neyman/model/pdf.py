"""The density of ensembles at fixed parameters, with the methods of pyhf's own densities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import Unsupported

__all__ = ["EnsemblePdf", "Toys"]


def __dir__() -> list[str]:
    return __all__


class EnsemblePdf:
    """The density of ensembles at fixed parameters, with the methods of pyhf's own.

    Args:
        model: the model.
        pars: the parameters, shape ``(P,)``.
    """

    def __init__(self, model: Any, pars: ArrayLike) -> None:
        self._model = model
        self._pars = np.asarray(pars, dtype=np.float64)

    def __iter__(self) -> Iterator[Any]:
        yield _MainPdf(self._model, self._pars)
        if self._model.constraint_model.has_pdf():
            yield self._model.constraint_model.make_pdf(self._pars)

    def __getitem__(self, index: int) -> Any:
        return list(self)[index]

    def expected_data(self) -> Any:
        """Return the Asimov data vector."""
        return self._model.expected_data(self._pars)

    def log_prob(self, data: ArrayLike) -> NDArray[np.float64]:
        """Return the log-likelihood of a data vector."""
        return np.array(self._model.evaluate(self._pars, data)[0])

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Any:
        """Return toys: one data vector, or for ``(n,)`` a sequence of ``n`` of them, drawn as they are asked for.

        As everywhere in pyhf, ``numpy.random.seed`` makes them reproducible.
        """
        seeds = np.random.randint(2**31, size=sample_shape or (1,))
        if seeds.ndim != 1:
            raise Unsupported("toys of events are ragged: ask for a one-dimensional sample, as in sample((100,))")
        toys = Toys(self._model, self._pars, seeds)
        return toys if sample_shape else toys[0]


class Toys(Sequence[Any]):
    """Toys that are drawn when they are looked at; the same index always gives the same toy."""

    def __init__(self, model: Any, pars: NDArray[np.float64], seeds: NDArray[np.int64]) -> None:
        self._model, self._pars, self._seeds = model, pars, seeds

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Toys(self._model, self._pars, self._seeds[index])
        return self._model.data(self._model.draw(self._pars, np.random.default_rng(self._seeds[index])))


class _MainPdf:
    """The main part of an :class:`EnsemblePdf`: events and counts."""

    def __init__(self, model: Any, pars: NDArray[np.float64]) -> None:
        self._model, self._pars = model, pars

    def expected_data(self) -> Any:
        return self._model.expected_data(self._pars, include_auxdata=False)

    def log_prob(self, maindata: ArrayLike) -> Any:
        return self._model.mainlogpdf(maindata, self._pars)
