"""The factors on rates that are expressions of parameters, with their exact derivatives."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray

from neyman.model.domain import drawn_in

__all__ = ["Factors", "modifiers_of", "purefunc_of"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


class Factors:
    """The products of all ``purefunc`` modifiers of every sample and bin of a model.

    Each product that occurs is one expression, so that its derivatives, which may be by several parameters, are exact.

    Args:
        model: a model with such modifiers.

    Attributes:
        curved: the positions of the parameters without constraint in which a rate is not linear.

    Example:
        >>> import neyman, numpy as np
        >>> from neyman.model.factors import Factors
        >>> sample = {"name": "signal", "data": [9.0], "modifiers": [{"name": "c", "type": "purefunc", "data": None}]}
        >>> model = neyman.Model({"channels": [{"name": "SR", "samples": [sample]}], "bindings": [
        ...     {"names": ["c"], "expressions": "mu**2 + nu", "language": "sympy"}]}, {}, poi_name="mu")
        >>> rates, jacobian = model.rates([2.0, 1.0])
        >>> rates.tolist(), jacobian.tolist()
        ([[45.0]], [[[36.0, 9.0]]])
    """

    def __init__(self, model: pyhf.Model) -> None:
        modifier = purefunc_of(model)
        names = np.array(modifier.names)
        applied = np.moveaxis(modifier.mask, 0, -1)
        kinds, which = np.unique(applied.reshape(-1, names.size), axis=0, return_inverse=True)
        self._which: NDArray[np.intp] = which.reshape(applied.shape[:2])
        self._coefficients = modifier.bindings.coefficients(tuple(tuple(names[kind].tolist()) for kind in kinds))
        self._columns, self._names = modifier.columns, modifier.bindings.parameters
        low, high = np.array(model.config.suggested_bounds(), dtype=np.float64)[self._columns].T
        start = np.array(model.config.suggested_init(), dtype=np.float64)[self._columns]
        bounded = np.isfinite(low) & np.isfinite(high)
        middle = np.where(bounded, 0.5 * (np.where(bounded, low, 0.0) + np.where(bounded, high, 0.0)), start)
        self._inside = start, middle
        shared = {name for name, kind in model.config.modifiers if kind != "purefunc"}
        names_of = [(name, name in shared) for name in modifier.bindings.parameters]
        curved = [
            column
            for (name, other), column in zip(names_of, self._columns, strict=True)
            if (other or name in self._coefficients.curved) and not model.config.param_set(name).constrained
        ]
        own = [(name,) for name in modifier.bindings if len(modifier.bindings.uses(name)) == 1]
        self._of_one = modifier.bindings.coefficients(tuple(own))
        self._which_one = np.array([modifier.bindings.parameters.index(modifier.bindings.uses(*one)[0]) for one in own])
        self._domains: dict[tuple[int, float, float], tuple[float, float]] = {}
        self.curved: NDArray[np.intp] = np.array(curved, dtype=np.intp)

    @classmethod
    def of(cls, model: pyhf.Model) -> Factors | None:
        """Return the factors of a model, or nothing if it has no such modifiers."""
        modifier = purefunc_of(model)
        return None if modifier is None or not modifier.names else cls(model)

    def own_bounds(self, bounds: Sequence[tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """Return bounds that are drawn in to where the expressions of a single parameter have values, by its name.

        Args:
            bounds: the bounds of all parameters.
        """
        found = {}
        for number in np.unique(self._which_one).tolist():
            low, high = bounds[self._columns[number]]
            if (number, low, high) not in self._domains:
                defined, start = functools.partial(self._defined, number), float(self._inside[0][number])
                self._domains[number, low, high] = drawn_in(defined, start, float(low), float(high))
            if self._domains[number, low, high] != (low, high):
                found[self._names[number]] = self._domains[number, low, high]
        return found

    def _defined(self, number: int, values: Array) -> NDArray[np.bool_]:
        """Return whether the expressions of one parameter alone are defined at its values."""
        points = np.tile(self._inside[0], (values.size, 1))
        points[:, number] = values
        found = self._of_one(points, self._inside)[0][:, self._which_one == number]
        return np.asarray(np.isfinite(found).all(axis=1))

    def multiply(self, points: Array, rates: Array, jacobian: Array) -> tuple[Array, Array]:
        """Return rates with these factors, and their derivatives.

        Args:
            points: the parameters, shape ``(n, P)``.
            rates: without them, shape ``(n, S, B)``.
            jacobian: the derivatives of these, shape ``(n, S, B, P)``.

        Returns:
            The same with them; not a number where an expression has no value.
        """
        values, slopes = self._coefficients(points[:, self._columns], self._inside)
        factors = values[:, self._which]
        jacobian = jacobian * factors[..., None]
        jacobian[..., self._columns] += rates[..., None] * slopes[:, self._which]
        return rates * factors, jacobian


def purefunc_of(model: pyhf.Model) -> Any:
    """Return the modifier ``purefunc`` of a model that was made with :func:`neyman.modifier_set`, or nothing."""
    modifier = model.main_model.modifiers_appliers.get("purefunc")
    return modifier if hasattr(modifier, "bindings") else None


def modifiers_of(model: pyhf.Model) -> dict[str, Any] | None:
    """Return the modifier set that makes a model like another one; nothing is pyhf's own."""
    modifier = purefunc_of(model)
    return None if modifier is None else dict(modifier.modifier_set)
