"""The p-value of a test statistic as a smooth function of the statistic and all parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.special
from numpy.typing import NDArray

from neyman.inference.critical.regression import row_products, splines, tensor_penalty
from neyman.inference.statistics import TIE, formula_of
from neyman.support.checks import checked_choice

__all__ = ["Surface"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_SPLINES = (24, 14)  # in the parameter of interest and in the root of the statistic
_COARSE = 4  # splines in the parameter of interest that a nuisance parameter's effect has


@dataclass(frozen=True, eq=False)
class Surface:
    """The functions that the logit of the p-value is made of.

    Args:
        test_stat: the test statistic.
        poi: position of the parameter of interest.
        box: shape ``(P, 2)``.
        significance: shape ``(2, n)``.
        largest: root of the statistic.
    """

    test_stat: str
    poi: int
    box: Array
    significance: Array
    largest: float

    @property
    def nuisances(self) -> list[int]:
        """The nuisance parameters that vary."""
        return [i for i in np.flatnonzero(self.box[:, 1] > self.box[:, 0]).tolist() if i != self.poi]

    def place(self, values: Array) -> tuple[Array, Array]:
        """Return the coordinate of the parameter of interest, and its distance from no signal in deviations."""
        distance = np.interp(values, *self.significance)
        # its effect is that of the boundary, within a few deviations
        return np.arcsinh(0.5 * distance), distance

    def offset(self, values: Array, roots: Array) -> Array:
        """Return the logits of the asymptotic p-values; the arguments are broadcast."""
        _, distance = self.place(values)
        t, distance = np.broadcast_arrays(np.maximum(roots, math.sqrt(TIE)) ** 2, np.abs(distance))
        statistic = formula_of(self.test_stat)
        p = statistic.p_value(t, np.maximum(distance, 1e-6) if statistic.bounded else np.inf)
        return np.asarray(scipy.special.logit(np.clip(p, 1e-14, 1.0 - 1e-6)))

    def bases(self, points: Array, roots: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Return the functions of the parameter of interest, the root, both again coarsely, and nuisance parameters."""
        w, _ = self.place(points[:, self.poi])
        ends, _ = self.place(self.box[self.poi])
        fine, coarse = (
            splines(w, ends[0], ends[1], number, degree) for number, degree in ((_SPLINES[0], 3), (_COARSE, 1))
        )
        x = np.clip(roots / self.largest, 0.0, 1.0)
        lows, highs = self.box[self.nuisances].T if self.nuisances else (np.empty(0), np.empty(0))
        scaled = 2.0 * (points[:, self.nuisances] - lows) / (highs - lows) - 1.0
        return (
            fine,
            splines(x, 0.0, 1.0, _SPLINES[1]),
            coarse,
            np.stack([np.ones_like(x), 2.0 * x - 1.0], axis=1),
            scaled,
        )

    def features(self, points: Array, roots: Array) -> tuple[Any, Array]:
        """Return the features, sparse, shape ``(n, M)``, and the offset, shape ``(n,)``."""
        fine, across, coarse, line, scaled = self.bases(points, roots)
        terms = [row_products(fine, across)]
        for column in scaled.T:
            both = np.stack([column, column**2 - 1.0 / 3.0], axis=1)
            terms.append(row_products(both, coarse, line))
        return scipy.sparse.hstack(terms, format="csr"), self.offset(points[:, self.poi], roots)

    def penalty(self) -> Array:
        """Return the matrix of the penalty of strength one, shape ``(M, M)``."""
        extra = 4 * _COARSE * len(self.nuisances)
        return np.asarray(scipy.linalg.block_diag(tensor_penalty(_SPLINES), 0.1 * np.eye(extra)))

    def logits(self, points: Array, roots: Array, coefficients: Array, nuisance: str) -> Array:
        """Return the logits of the p-values of every point at every root, shape ``(n, G)``."""
        checked_choice(nuisance, "nuisance", ("profile", "worst"))
        fine, _, coarse, _, scaled = self.bases(points, np.zeros(len(points)))
        _, across, _, line, _ = self.bases(np.repeat(points[:1], len(roots), axis=0), roots)
        size = _SPLINES[0] * _SPLINES[1]
        result = fine @ coefficients[:size].reshape(_SPLINES) @ across.T
        result += self.offset(points[:, self.poi, None], roots[None, :])
        for k, both in enumerate(self._tables(coefficients)):
            linear, quadratic = (coarse @ table @ line.T for table in both)
            value = scaled[:, k, None] if nuisance == "profile" else _highest(linear, quadratic)
            result += linear * value + quadratic * (value**2 - 1.0 / 3.0)
        return np.asarray(result)

    def worst(self, points: Array, roots: Array, coefficients: Array) -> Array:
        """Return the points with the nuisance parameters where the p-value is largest, shape ``(n, P)``."""
        _, _, coarse, line, _ = self.bases(points, roots)
        moved = points.copy()
        for k, both in enumerate(self._tables(coefficients)):
            linear, quadratic = (np.einsum("ni,ij,nj->n", coarse, table, line) for table in both)
            low, high = self.box[self.nuisances[k]]
            moved[:, self.nuisances[k]] = low + 0.5 * (high - low) * (1.0 + _highest(linear, quadratic))
        return moved

    def _tables(self, coefficients: Array) -> Array:
        """Return the coefficients of the linear and the quadratic term of each nuisance parameter."""
        return coefficients[_SPLINES[0] * _SPLINES[1] :].reshape(-1, 2, _COARSE, 2)


def _highest(linear: Array, quadratic: Array) -> Array:
    """Return where a x + b x^2 is largest, x from -1 to 1."""
    vertex = -0.5 * linear / np.where(quadratic < 0.0, quadratic, -1.0)
    inside = (quadratic < 0.0) & (np.abs(vertex) < 1.0)
    return np.where(inside, vertex, np.where(linear >= 0.0, 1.0, -1.0))
