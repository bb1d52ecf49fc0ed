"""Parameters at which no dataset exists, or not the one that was observed: the bin to blame, as messages name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.model.factors import purefunc_of
from neyman.model.mixture import MixtureChannel
from neyman.model.summary import Data, Summary

if TYPE_CHECKING:
    from neyman.model.likelihood import LearnedTerm
    from neyman.model.model import Model

__all__ = ["bin_name", "checked_rates", "why_impossible", "without_value"]


def __dir__() -> list[str]:
    return __all__


_NAMED = 6  # parameters in a message
_ROUNDING = 1e-12  # of the rates of a bin's samples: a sum below zero by less is zero


def bin_name(model: Model, index: int) -> str:
    """Return a bin of the model as messages call it: a learned channel has no more than one.

    Args:
        model: the model.
        index: the bin's position in the main data.

    Example:
        >>> import pyhf
        >>> from neyman.model.plain import as_model
        >>> bin_name(as_model(pyhf.simplemodels.uncorrelated_background([5.0, 4.0], [50.0, 60.0], [7.0, 8.0])), 1)
        'channel singlechannel, bin 2'
    """
    for name, part in model.config.channel_slices.items():
        if part.start <= index < part.stop:
            return f"channel {name}" if name in model.learned else f"channel {name}, bin {index - part.start + 1}"
    raise IndexError(f"the model has {model.config.nmaindata} bins, none at {index}")


def checked_rates(model: Model, points: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """Return the expected events of every sample and bin, shape ``(n, S, B)``, of datasets that are to be thrown.

    Args:
        model: the model.
        points: the parameters, shape ``(n, P)``.
        what: what there would be none of, in the message.

    Raises:
        InvalidParameter: if a bin would have a negative rate, or an expression no value; the message names the bin or
            the expression and the parameters.
    """
    rates = model.rates(points)[0]
    totals = rates.sum(axis=1)
    wrong = ~(totals >= -_ROUNDING * np.abs(rates).sum(axis=1))
    if wrong.any():
        toy, index = np.argwhere(wrong)[0]
        if why := without_value(model, points[toy]):
            raise InvalidParameter(f"{why}: {what} there")
        raise InvalidParameter(
            f"{bin_name(model, int(index))}: the expected rate is {totals[toy, index]:.4g} at "
            f"{_values(model, points[toy])}: {what} there{_negative(model, rates[toy, :, index])}"
        )
    return rates


def without_value(model: Model, pars: NDArray[np.float64]) -> str:
    """Return which expression of the model's bindings has no value at some parameters, or nothing."""
    modifier = purefunc_of(model)
    if modifier is None or not modifier.names:
        return ""
    for name, value in zip(modifier.names, modifier.values(pars[None])[0], strict=True):
        if np.isnan(value):
            used = modifier.bindings.uses(name)
            at = ", ".join(f"{one} = {pars[model.config.par_slice(one).start]:.4g}" for one in used)
            return f"{name} is {modifier.bindings[name]}, which has no value at {at}"
    return ""


def why_impossible(model: Model, pars: NDArray[np.float64], data: Data, *, within_bounds: bool = False) -> str:
    """Return why the likelihood of a dataset is zero at some parameters: the expression, bin or channel to blame.

    Args:
        model: the model.
        pars: the parameters, shape ``(P,)``.
        data: the flat data vector, or the summary of a dataset.
        within_bounds: whether these are not parameters to be tested, but the best there are within the bounds.

    Returns:
        Words that name the sample with the lowest rate and the number of events, or nothing if no reason is found.

    Example:
        >>> import numpy as np, pyhf
        >>> from neyman.model.plain import as_model
        >>> model = as_model(pyhf.simplemodels.uncorrelated_background([5.0, 4.0], [50.0, 60.0], [7.0, 8.0]))
        >>> why_impossible(model, np.array([0.0, 0.0, 1.0]), [3.0, 61.0, *model.config.auxdata])
        'channel singlechannel, bin 1 has 3 events and an expected rate of 0'
    """
    if why := without_value(model, pars):
        return why
    rates = model.rates(pars)[0]
    totals = rates.sum(axis=0)
    main = data.main if isinstance(data, Summary) else np.asarray(data, dtype=np.float64)[: totals.size]
    for index in model.counted:
        if totals[index] < 0.0 or (totals[index] == 0.0 and main[index] != 0.0):
            number = f"{main[index]:g} {'observed ' if within_bounds else ''}event{'' if main[index] == 1.0 else 's'}"
            events = f"{number} {'but' if within_bounds else 'and'} " if main[index] or not within_bounds else ""
            own = _negative(model, rates[:, index])
            at = f" at {_values(model, pars)}{own}" if own else ""
            return f"{bin_name(model, int(index))} has {events}an expected rate of {totals[index]:.4g}{at}"
    for term in model.terms:
        own_rates = rates[term.samples, term.bin]
        if own_rates.size and own_rates.min() <= 0.0:
            worst = int(np.argmin(own_rates))
            return (
                f"channel {term.channel.name} has {_events_without_density(model, term, pars, data)} where no density "
                f"is expected; its sample {model.config.samples[term.samples[worst]]} has a rate of "
                f"{own_rates[worst]:.4g} at {_values(model, pars)}"
            )
    return ""


def _events_without_density(model: Model, term: LearnedTerm, pars: NDArray[np.float64], data: Data) -> str:
    """Return how many of the events of a channel have no positive density."""
    channel = term.channel
    if not isinstance(channel, MixtureChannel):
        return "events"
    summary: Any = data if isinstance(data, Summary) else model.encode(model.ensemble(data))
    summary = summary.channels[channel.name]
    density = model.rates(pars)[0][term.samples, term.bin] @ channel.densities(summary, pars[term.parameters])
    wrong = np.count_nonzero((density <= 0.0) & (summary.weights != 0.0))
    return f"{wrong} of {density.size} events"


def _negative(model: Model, rates: NDArray[np.float64]) -> str:
    """Return which sample has the lowest rate, if that is negative and there are others."""
    worst = int(np.argmin(rates))
    if rates.size < 2 or not rates[worst] < 0.0:
        return ""
    return f"; its sample {model.config.samples[worst]} has a rate of {rates[worst]:.4g}"


def _values(model: Model, pars: NDArray[np.float64]) -> str:
    """Return the parameters that are not fixed, as messages show them."""
    settings = zip(model.config.par_names, pars, model.config.suggested_fixed(), strict=True)
    free = [f"{name} = {value:.4g}" for name, value, fixed in settings if not fixed]
    return ", ".join([*free[:_NAMED], *(["..."] if len(free) > _NAMED else [])])
