"""Parameters at which no dataset exists, or not the one that was observed: the bin to blame, as messages name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["bin_name", "checked_rates", "why_impossible"]


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
        InvalidParameter: if a bin would have a negative rate; the message names the bin and the parameters.
    """
    rates = model.rates(points)[0]
    totals = rates.sum(axis=1)
    wrong = ~(totals >= -_ROUNDING * np.abs(rates).sum(axis=1))
    if wrong.any():
        toy, index = np.argwhere(wrong)[0]
        free = [
            f"{name} = {value:.4g}"
            for name, value, fixed in zip(
                model.config.par_names, points[toy], model.config.suggested_fixed(), strict=True
            )
            if not fixed
        ]
        at = ", ".join([*free[:_NAMED], *(["..."] if len(free) > _NAMED else [])])
        raise InvalidParameter(
            f"{bin_name(model, int(index))}: the expected rate is {totals[toy, index]:.4g} at {at}: {what} there"
        )
    return rates


def why_impossible(model: Model, pars: NDArray[np.float64], main: NDArray[np.float64]) -> str:
    """Return why the likelihood of a dataset is zero at some parameters: the first bin or channel to blame.

    Args:
        model: the model.
        pars: the parameters, shape ``(P,)``.
        main: the counts and, of learned channels, the numbers of events, shape ``(B,)``.

    Example:
        >>> import numpy as np, pyhf
        >>> from neyman.model.plain import as_model
        >>> model = as_model(pyhf.simplemodels.uncorrelated_background([5.0, 4.0], [50.0, 60.0], [7.0, 8.0]))
        >>> why_impossible(model, np.array([0.0, 0.0, 1.0]), np.array([3.0, 61.0]))
        'channel singlechannel, bin 1 has 3 events and an expected rate of 0'
    """
    rates = model.rates(pars)[0]
    totals = rates.sum(axis=0)
    for index in model.counted:
        if totals[index] < 0.0 or (totals[index] == 0.0 and main[index] != 0.0):
            events = "1 event" if main[index] == 1.0 else f"{main[index]:g} events"
            return f"{bin_name(model, int(index))} has {events} and an expected rate of {totals[index]:.4g}"
    for term in model.terms:
        own = rates[term.samples, term.bin]
        if own.size and own.min() <= 0.0:
            worst = int(np.argmin(own))
            sample = model.config.samples[term.samples[worst]]
            return (
                f"channel {term.channel.name} has events where no density is expected; its sample {sample} has a rate "
                f"of {own[worst]:.4g}"
            )
    return "its likelihood is zero"
