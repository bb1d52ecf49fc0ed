"""Constraint terms: pyhf's values, exact gradients, and draws of auxiliary data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray

__all__ = ["Constraints", "constraints"]


def __dir__() -> list[str]:
    return __all__


class Constraints:
    """The constraint terms of a model: pyhf's value and its exact gradient.

    Args:
        model: the HistFactory model, under pyhf's numpy backend.

    Example:
        >>> import pyhf
        >>> from neyman.model.constraints import Constraints
        >>> model = pyhf.simplemodels.correlated_background([5.0], [50.0], [55.0], [45.0])
        >>> logpdf, gradient = Constraints(model)([0.5, 1.0], [0.0])  # a unit Gaussian at 0.5, and mu is free
        >>> gradient.tolist()
        [-0.5, 0.0]
    """

    def __init__(self, model: pyhf.Model) -> None:
        self._model = model
        self._n_parameters = int(model.config.npars)
        names = model.config.auxdata_order
        sets = [model.config.param_set(name) for name in names]
        slices = [model.config.par_slice(name) for name in names]
        self._index = _joined([np.arange(s.start, s.stop) for s in slices]).astype(np.intp)
        poisson = _joined([np.full(s.n_parameters, s.pdf_type == "poisson") for s in sets]).astype(bool)
        scale = _joined([s.factors if s.pdf_type == "poisson" else s.width() for s in sets])
        self._normal = np.flatnonzero(~poisson)
        self._poisson = np.flatnonzero(poisson)
        self._inverse_variance = scale[self._normal] ** -2.0
        self._factor = scale[self._poisson]

    def __call__(self, pars: Any, auxdata: Any) -> tuple[float, NDArray[np.float64]]:
        """Return the log of the constraint terms and its gradient.

        Args:
            pars: the parameters, shape ``(P,)``.
            auxdata: the auxiliary data, shape ``(A,)``.

        Returns:
            The value, and the gradient by the parameters, shape ``(P,)``: zero where a parameter has no constraint.
        """
        gradient = np.zeros(self._n_parameters)
        if self._index.size == 0:
            return 0.0, gradient
        pars = np.asarray(pars, dtype=np.float64)
        auxdata = np.asarray(auxdata, dtype=np.float64)
        constrained = pars[self._index]
        if self._poisson.size and not constrained[self._poisson].min() > 0.0:
            return -np.inf, gradient
        slope = np.empty(self._index.size)
        slope[self._normal] = (auxdata[self._normal] - constrained[self._normal]) * self._inverse_variance
        slope[self._poisson] = auxdata[self._poisson] / constrained[self._poisson] - self._factor
        gradient[self._index] = slope
        return float(self._model.constraint_model.logpdf(auxdata, pars)), gradient

    @property
    def parameters(self) -> NDArray[np.intp]:
        """The position of the parameter that each of the auxiliary data constrains, shape ``(A,)``."""
        return self._index

    def widths(self, pars: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard deviations of the auxiliary data at the parameters, shape ``(A,)``."""
        widths = np.empty(self._index.size)
        widths[self._normal] = self._inverse_variance**-0.5
        widths[self._poisson] = np.sqrt(self._factor * pars[self._index[self._poisson]])
        return widths

    def batch(
        self, pars: NDArray[np.float64], auxdata: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the log of the constraint terms of many datasets, each at its own point.

        Args:
            pars: the parameters, shape ``(n, P)``.
            auxdata: the auxiliary data, shape ``(n, A)``.

        Returns:
            The values, shape ``(n,)``, their gradients, shape ``(n, P)``, and what stands for minus their second
            derivatives by each parameter, shape ``(n, P)``: there are no mixed ones.
        """
        value, gradient, curvature = np.zeros(len(pars)), np.zeros(pars.shape), np.zeros(pars.shape)
        if self._normal.size:
            index = self._index[self._normal]
            data, centre = auxdata[:, self._normal], pars[:, index]
            value += pyhf.tensorlib.normal_logpdf(data, centre, self._inverse_variance**-0.5).sum(axis=1)
            gradient[:, index] = (data - centre) * self._inverse_variance
            curvature[:, index] = self._inverse_variance
        if self._poisson.size:
            index = self._index[self._poisson]
            data, scale = auxdata[:, self._poisson], pars[:, index]
            value += pyhf.tensorlib.poisson_logpdf(data, scale * self._factor).sum(axis=1)
            gradient[:, index] = data / scale - self._factor
            # Fisher's scoring: unlike data / scale^2 it never steps too far; without data the term is linear
            curvature[:, index] = np.where(data > 0, self._factor / scale, 0.0)
        return value, gradient, curvature

    def draw(self, pars: Any, rng: np.random.Generator, n: int | None = None) -> NDArray[np.float64]:
        """Draw auxiliary data at the parameters.

        Args:
            pars: shape ``(P,)``, or ``(T, P)`` for one draw at each point.
            rng: the source of randomness.
            n: how many at one point.

        Returns:
            Shape ``(A,)``, ``(n, A)`` or ``(T, A)``.
        """
        constrained = np.asarray(pars, dtype=np.float64)[..., self._index]
        shape = constrained.shape[:-1] if n is None else (n,)
        auxdata = np.empty((*shape, self._index.size))
        centre, width = constrained[..., self._normal], self._inverse_variance**-0.5
        auxdata[..., self._normal] = rng.normal(centre, width, size=(*shape, width.size))
        rate = self._factor * constrained[..., self._poisson]
        auxdata[..., self._poisson] = rng.poisson(rate, size=(*shape, self._factor.size))
        return auxdata


def constraints(model: pyhf.Model) -> dict[str, tuple[float, float]]:
    """Return the centre and width of every constraint term, by the name of its parameter.

    Args:
        model: the model.

    Example:
        >>> import pyhf
        >>> constraints(pyhf.simplemodels.correlated_background([5.0], [50.0], [55.0], [45.0]))
        {'correlated_bkg_uncertainty': (0.0, 1.0)}
    """
    found: dict[str, tuple[float, float]] = {}
    for name in model.config.auxdata_order:
        terms = model.config.param_set(name)
        names = model.config.par_names[model.config.par_slice(name)]
        scales = terms.factors if terms.pdf_type == "poisson" else [1.0] * terms.n_parameters
        for parameter, centre, scale, width in zip(names, terms.auxdata, scales, terms.width(), strict=True):
            found[parameter] = (float(centre / scale), float(width))
    return found


def _joined(parts: list[Any]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts]) if parts else np.empty(0)
