"""Fits of many toys at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import FailedFit
from neyman.inference.profile import Bounds, Profile, parameter_index
from neyman.toys import Toys

if TYPE_CHECKING:
    from neyman.model import Model

__all__ = ["BatchFit", "fit_batch"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BatchFit:
    """The fits of a batch of toys.

    Args:
        pars: the best fits, shape ``(n, P)``.
        twice_nll: -2 log L there, shape ``(n,)``.
        valid: whether a minimum was found, shape ``(n,)``.
        fallbacks: how many toys had to be left to iminuit.
    """

    pars: Array
    twice_nll: Array
    valid: NDArray[np.bool_]
    fallbacks: int

    def __len__(self) -> int:
        return len(self.pars)


def fit_batch(
    model: Model,
    toys: Toys,
    init: ArrayLike | Mapping[str, ArrayLike] | None = None,
    bounds: Bounds | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
) -> BatchFit:
    """Fit all toys of a batch.

    Args:
        model: the model.
        toys: the toys.
        init: starting values: shape ``(P,)``, ``(n, P)``, or by name a number or one for each toy.
        bounds: bounds, all of them or by name.
        fixed: parameters held at a value, by name: a number, or one for each toy, shape ``(n,)``.

    Returns:
        The fits, in the order of the toys.

    Raises:
        InvalidParameter: for a parameter or value that the model does not have or allow.
    """
    n = len(toys)
    profile = Profile([], model, bounds=bounds)
    start = np.tile(profile.start, (n, 1))
    if isinstance(init, Mapping):
        for name, given in init.items():
            start[:, parameter_index(model, name)] = given
    elif init is not None:
        start[:] = init
    for name, given in (fixed or {}).items():
        start[:, parameter_index(model, name)] = given
    results = [_iminuit(model, toys, i, start[i], bounds, list(fixed or {})) for i in range(n)]
    pars, values, valid = zip(*results, strict=True)
    return BatchFit(np.array(pars), np.array(values), np.array(valid), n)


class _Encoded:
    """A toy seen as a model with ``evaluate``, its events being encoded already."""

    def __init__(self, model: Model, toys: Toys, toy: int) -> None:
        self.config = model.config
        self._model = model
        self._parts = toys.main[toy], toys.auxdata[toy], toys.summaries(toy)

    def evaluate(self, pars: ArrayLike, data: Any) -> tuple[float, Array]:
        return self._model.evaluate_encoded(pars, *self._parts)


def _iminuit(
    model: Model, toys: Toys, toy: int, start: Array, bounds: Bounds | None, fixed: list[str]
) -> tuple[Array, float, bool]:
    values = dict(zip(model.config.par_names, start.tolist(), strict=True))
    held = {name: values.pop(name) for name in fixed}
    profile = Profile([], _Encoded(model, toys, toy), values, bounds, held)
    try:
        return *profile.best, True
    except FailedFit:
        return start, np.nan, False
