"""The parameters of a prediction with their uncertainties, and how the rates change where they are moved by these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidResult
from neyman.model.constraints import constraints
from neyman.results import FitResult

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["Point", "Shifts"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Point:
    """Parameters with their uncertainties and correlations.

    Args:
        label: ``"pre-fit"`` or ``"post-fit"``.
        pars: the parameters, shape ``(P,)``.
        sigma: their uncertainties, shape ``(P,)``.
        correlation: shape ``(P, P)``.
    """

    label: str
    pars: Array
    sigma: Array
    correlation: Array

    @classmethod
    def of(cls, model: Model, fit: FitResult | None) -> Point:
        """Return the best fit or, without a fit, where a model starts, with the widths of the constraints.

        Raises:
            InvalidResult: if the fit is one of another model.
        """
        names = list(model.config.par_names)
        if fit is not None:
            if list(fit.names) != names:
                raise InvalidResult(
                    f"the fit has the parameters {', '.join(fit.names)}, but the model {', '.join(names)}: fit this one"
                )
            return cls("post-fit", fit.bestfit, np.sqrt(np.diag(fit.covariance)), fit.correlations)
        terms = constraints(model)
        fixed = model.config.suggested_fixed()
        widths = [0.0 if held else terms.get(name, (0.0, 0.0))[1] for name, held in zip(names, fixed, strict=True)]
        pars = np.array(model.config.suggested_init(), dtype=np.float64)
        return cls("pre-fit", pars, np.array(widths), np.eye(len(names)))


@dataclass(frozen=True, eq=False)
class Shifts:
    """The rates where each uncertain parameter is moved by its uncertainty up or down, the others staying.

    Args:
        point: the parameters.
        moved: the uncertain ones, shape ``(K,)``.
        rates: at the point, shape ``(S, B)``.
        up: shape ``(K, S, B)``.
        down: the same.
    """

    point: Point
    moved: NDArray[np.intp]
    rates: Array
    up: Array
    down: Array

    @classmethod
    def of(cls, model: Model, point: Point) -> Shifts:
        """Return the rates of a model about a point."""
        moved = np.flatnonzero(point.sigma > 0)
        rates = model.rates(point.pars)[0]
        sides = np.empty((2, len(moved), *rates.shape))
        for k, p in enumerate(moved):
            for side, sign in zip(sides, (1, -1), strict=True):
                side[k] = model.rates(_with(point.pars, p, sign * point.sigma[p]))[0]
        return cls(point, moved, rates, *sides)

    def covariance(self, change: Array) -> Array:
        """Return the covariance of bins ``(B, B)`` that have these changes with the moved parameters, ``(K, B)``."""
        correlation = self.point.correlation[np.ix_(self.moved, self.moved)]
        return np.asarray(change.T @ correlation @ change)


def _with(pars: Array, index: int, shift: float) -> Array:
    moved = pars.copy()
    moved[index] += shift
    return moved
