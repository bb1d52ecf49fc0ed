"""The ensembles that a model makes: what is expected at some parameters, and one toy at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.events import Ensemble, Events
from neyman.model.channel import Asimov

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["drawn_ensemble", "expected_ensemble"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


def expected_ensemble(model: Model, pars: Array, pools: dict[str, Asimov]) -> Ensemble:
    """Return the Asimov ensemble; see :meth:`neyman.Model.expected_ensemble`.

    Args:
        model: the model.
        pars: the parameters, shape ``(P,)``.
        pools: of learned channels, what weights a part of the pool: made where it is missing, and kept here.
    """
    rates, _ = model.rates(pars)
    events = {}
    for term in model.terms:
        name = term.channel.name
        if name not in pools:
            pools[name] = term.channel.asimov()
        events[name] = pools[name].weighted(rates[term.samples, term.bin], pars[term.parameters])
    auxdata = model.constraint_model.make_pdf(pars).expected_data() if model.config.nauxdata else np.empty(0)
    return Ensemble(events, _of_bins(model, rates.sum(axis=0)), np.asarray(auxdata, dtype=np.float64))


def drawn_ensemble(model: Model, pars: Array, rng: np.random.Generator) -> Ensemble:
    """Return one toy; see :meth:`neyman.Model.draw`.

    Args:
        model: the model.
        pars: the parameters, shape ``(P,)``.
        rng: the source of randomness.
    """
    rates, _ = model.rates(pars)
    events = {}
    for term in model.terms:
        own = rates[None, term.samples, term.bin], pars[None, term.parameters]
        events[term.channel.name] = Events(term.channel.draw(*own, rng, "density").features)
    counts = {name: rng.poisson(rate).astype(np.float64) for name, rate in _of_bins(model, rates.sum(axis=0)).items()}
    return Ensemble(events, counts, model.constraints.draw(pars, rng))


def _of_bins(model: Model, expected: Array) -> dict[str, Array]:
    """Return the rates of the bins of every binned channel."""
    return {c: expected[model.config.channel_slices[c]] for c in model.config.channels if c not in model.learned}
