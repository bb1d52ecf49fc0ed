"""Starting values, bounds and held parameters as a user gives them, whole or by name: checked and completed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyhf
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter
from neyman.support.checks import checked_finite, checked_pars
from neyman.support.messages import did_you_mean

__all__ = [
    "Bounds",
    "Fixed",
    "Parameters",
    "Pars",
    "Start",
    "checked_parameters",
    "checked_point",
    "parameter_index",
    "values_to_test",
]


def __dir__() -> list[str]:
    return __all__


_BEYOND = 1e-9  # of a range: a tested value may leave it by rounding

Array = NDArray[np.float64]
Pars = Mapping[str, float] | ArrayLike
Start = Mapping[str, Any] | ArrayLike
Bounds = Mapping[str, tuple[float, float]] | Sequence[tuple[float, float]]
Fixed = Mapping[str, Any] | Sequence[str] | Sequence[bool]


@dataclass(frozen=True, eq=False)
class Parameters:
    """What a fit of a model begins with, for all of its parameters.

    Args:
        names: the parameters, in the model's order.
        start: starting values, and the values of the parameters that are fixed, shape ``(P,)`` or ``(n, P)``.
        bounds: the bounds.
        fixed: which parameters are fixed, shape ``(P,)``.
        held: of those that are fixed by request and not by the model, the value or the value in each toy, by name.
    """

    names: list[str]
    start: Array
    bounds: list[tuple[float, float]]
    fixed: NDArray[np.bool_]
    held: dict[str, Any]


def checked_parameters(
    model: pyhf.Model,
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    n: int | None = None,
) -> Parameters:
    """Check what a user has given to a fit, and complete it by what the model suggests.

    Args:
        model: the model.
        init: starting values, by name or all of them, shape ``(P,)``.
        bounds: bounds, by name or all of them; they may be infinite.
        fixed: parameters held at a value, ``{"mu": 1.0}``, or at their starting value, ``["mu"]``, beside those that
            the model itself holds fixed. A list of ``P`` booleans is taken, too, as pyhf has it.
        n: the number of toys if many are fitted: then starting values and values that parameters are held at may be
            one for each toy, shape ``(n, P)`` or ``(n,)`` by name, and starting values are moved into the bounds.

    Raises:
        InvalidParameter: for a parameter or value that the model does not have or allow.

    Example:
        >>> import pyhf
        >>> from neyman.inference.parameters import checked_parameters
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> checked_parameters(model, init={"mu": 2.0}, fixed=["mu"]).start
        array([2., 1., 1.])
    """
    names = list(model.config.par_names)
    limits = [(float(low), float(high)) for low, high in model.config.suggested_bounds()]
    for index, pair in _given(bounds, model, "bounds"):
        limits[index] = _pair(pair, names[index])
    if hasattr(model, "rates"):  # which other likelihoods than ours need not have
        for name, pair in model.rates.own_bounds(limits).items():
            limits[names.index(name)] = pair
    lows, highs = np.array(limits, dtype=np.float64).reshape(-1, 2).T
    values = fixed if isinstance(fixed, Mapping) else dict.fromkeys(_names_of(fixed, model))
    requested = {parameter_index(model, name): value for name, value in values.items()}
    suggested_fixed = np.array(model.config.suggested_fixed(), dtype=bool)
    free = ~suggested_fixed
    free[list(requested)] = False

    suggested = np.array(model.config.suggested_init(), dtype=np.float64)
    start = np.array(np.broadcast_to(suggested, suggested.shape if n is None else (n, suggested.size)))
    for index, value in _given(init, model, "init"):
        what = f"the starting value of {names[index]}"
        start[..., index] = _numbers(value, what, n)
        if n is None and free[index] and not lows[index] <= start[index] <= highs[index]:
            raise InvalidParameter(
                f"{names[index]} starts at {start[index]:g}, outside its bounds ({lows[index]:g}, {highs[index]:g}): "
                "change either"
            )
    start = np.where(free, np.clip(start, lows, highs), start)
    for index, value in requested.items():
        if value is not None:
            start[..., index] = _numbers(value, f"the value that {names[index]} is fixed at", n)
    held = {names[index]: start[..., index].tolist() for index in requested}
    return Parameters(names, start, limits, ~free, held)


def checked_point(pars: Pars, model: pyhf.Model, what: str, others: ArrayLike | None = None) -> Array:
    """Return the values of all parameters, shape ``(P,)``.

    Args:
        pars: all of them in the model's order, or some by name.
        model: the model.
        what: what they are called in messages.
        others: the values of those that are not named; default is what the model suggests.

    Raises:
        InvalidParameter: for a parameter that the model does not have, or a value that is not a finite number.

    Example:
        >>> import pyhf
        >>> from neyman.inference.parameters import checked_point
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> checked_point({"mu": 2.0}, model, "the truth")
        array([2., 1., 1.])
    """
    if not isinstance(pars, Mapping):
        return checked_pars(pars, list(model.config.par_names), what)
    point = np.array(model.config.suggested_init() if others is None else others, dtype=np.float64)
    for name, value in pars.items():
        point[parameter_index(model, name)] = checked_finite(value, f"{name} in {what}")
    return point


def parameter_index(model: pyhf.Model, name: str) -> int:
    """Return a parameter's position in the model's ``config.par_names``.

    Raises:
        InvalidParameter: if there is none of that name.
    """
    names: list[str] = list(model.config.par_names)
    if name in names:
        return names.index(name)
    raise InvalidParameter(f"the model has no parameter {name}: {did_you_mean(name, names)}")


def _given(values: Any, model: pyhf.Model, what: str) -> Iterator[tuple[int, Any]]:
    """Yield the position and value of what is given by name, or whole with the parameters along the last axis."""
    if isinstance(values, Mapping):
        yield from ((parameter_index(model, name), value) for name, value in values.items())
    elif values is not None:
        names = list(model.config.par_names)
        try:
            rows = list(np.asarray(values).T if what == "init" else values)
        except (TypeError, ValueError) as error:
            raise InvalidParameter(f"{what} is {values}: give it by name, or for all parameters") from error
        if len(rows) != len(names):
            raise InvalidParameter(
                f"{what} has {len(rows)} entries for {len(names)} parameters: {', '.join(names[:20])}"
            )
        yield from enumerate(rows)


def _names_of(fixed: Any, model: pyhf.Model) -> list[str]:
    """Return the names of the parameters to be held, from a list of them or of pyhf's booleans."""
    given = [fixed] if isinstance(fixed, str) else [] if fixed is None else list(fixed)
    if all(isinstance(entry, str) for entry in given):
        return given
    names = list(model.config.par_names)
    if len(given) != len(names) or not all(isinstance(entry, bool | np.bool_) for entry in given):
        raise InvalidParameter(
            f'fixed is {fixed!r}: give {{"{names[0]}": 1.0}}, ["{names[0]}"], or {len(names)} booleans'
        )
    for name, hold, held in zip(names, given, model.config.suggested_fixed(), strict=True):
        if held and not hold:
            raise InvalidParameter(f"{name} is fixed by the model, and fixed=False does not free it: name what to fix")
    return [name for name, hold in zip(names, given, strict=True) if hold]


def _numbers(value: Any, what: str, n: int | None) -> Any:
    """Return a finite number, or one for each toy, shape ``(n,)``."""
    if n is None:
        return checked_finite(value, what)
    try:
        numbers = np.broadcast_to(np.asarray(value, dtype=np.float64), (n,))
    except (TypeError, ValueError) as error:
        raise InvalidParameter(f"{what} is {value}: it must be a number, or one for each of {n} toys") from error
    if not np.isfinite(numbers).all():
        raise InvalidParameter(f"{what} is not finite in every toy")
    return numbers


def _pair(pair: Any, name: str) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in pair)
    except (TypeError, ValueError) as error:
        raise InvalidParameter(f"the bounds of {name} are {pair}: they must be a pair of numbers") from error
    if math.isnan(low) or math.isnan(high):
        raise InvalidParameter(f"the bounds of {name} are {pair}: they must be a pair of numbers")
    if not low < high:
        raise InvalidParameter(f"the bounds of {name} are ({low:g}, {high:g}): the lower one must come first")
    return low, high


def values_to_test(value: ArrayLike, allowed: tuple[float, float], name: str, trained: str, advice: str) -> Array:
    """Return values to test, shape ``(m,)``, within the range that something was trained for.

    Args:
        value: one value or many.
        allowed: the ends of the range.
        name: of the parameter.
        trained: what was trained.
        advice: how to train it instead.

    Raises:
        InvalidParameter: if one is outside the range.

    Example:
        >>> values_to_test([0.0, 1.0 + 1e-12], (0.0, 1.0), "mu", "statistic", "there")
        array([0., 1.])
    """
    tested = np.atleast_1d(np.asarray(value, dtype=np.float64))
    low, high = allowed
    margin = _BEYOND * (high - low)
    wrong = tested[~((tested >= low - margin) & (tested <= high + margin))]
    if wrong.size:
        raise InvalidParameter(
            f"{name} = {wrong[0]:g} is outside ({low:g}, {high:g}), which the {trained} was trained for: "
            f"train it {advice}"
        )
    return np.asarray(np.clip(tested, low, high))
