"""Toys: pseudo-experiments of every channel and the auxiliary data, from the simulation or the learned density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidParameter
from neyman.model.channel import ChannelSummary, ToyEvents
from neyman.model.impossible import checked_rates
from neyman.model.summary import Summary
from neyman.support.checks import checked_number, checked_pars, checked_source
from neyman.support.text import html_table

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["Toys", "draw"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class Toys:
    """Pseudo-experiments.

    Args:
        model: the model whose toys they are.
        main: counts and, for a learned channel, the number of events, shape ``(n, B)``.
        auxdata: shape ``(n, A)``.
        events: the events of every learned channel.
    """

    model: Model
    main: NDArray[np.float64]
    auxdata: NDArray[np.float64]
    events: Mapping[str, ToyEvents]

    @classmethod
    def joined(cls, parts: Sequence[Toys]) -> Toys:
        """Return toys of several batches, of one model, as one."""
        main, auxdata = (np.concatenate([getattr(part, key) for part in parts]) for key in ("main", "auxdata"))
        events = {name: ToyEvents.joined([part.events[name] for part in parts]) for name in parts[0].events}
        return cls(parts[0].model, main, auxdata, events)

    def __len__(self) -> int:
        return len(self.main)

    def __repr__(self) -> str:
        return f"Toys({len(self)}; events of each, on average: {', '.join(map(': '.join, self._means()))})"

    def _repr_html_(self) -> str:
        return html_table(f"{len(self)} toys", ("channel", "events, on average"), self._means())

    def _means(self) -> list[tuple[str, str]]:
        slices = self.model.config.channel_slices
        return [(name, f"{self.main[:, own].sum(axis=1).mean():.5g}") for name, own in slices.items() if len(self)]

    def __getitem__(self, index: slice | NDArray[Any]) -> Toys:
        """Return some of the toys, by a slice, positions or a mask."""
        events = {name: toys[index] for name, toys in self.events.items()}
        return Toys(self.model, self.main[index], self.auxdata[index], events)

    def summaries(self, toy: int) -> dict[str, ChannelSummary]:
        """Return the summary of every learned channel for one toy."""
        return {
            name: self.model.learned[name].select(toys.table, toys.of_toy(toy)) for name, toys in self.events.items()
        }

    def summary(self, toy: int) -> Summary:
        """Return one toy as the summary of a dataset, which fits take; no network is evaluated for a mixture."""
        return Summary(self.main[toy], self.auxdata[toy], self.summaries(toy), self.model.fingerprint)

    def ensemble(self, toy: int) -> Ensemble:
        """Return one toy as an ensemble, its features being those of the pool."""
        events = {name: Events(toys.table[toys.of_toy(toy)]) for name, toys in self.events.items()}
        slices = self.model.config.channel_slices
        counts = {c: self.main[toy, slices[c]] for c in self.model.config.channels if c not in self.model.learned}
        return Ensemble(events, counts, self.auxdata[toy])


def draw(
    points: ArrayLike,
    model: Model,
    n: int | None = None,
    seed: int | np.random.SeedSequence = 0,
    source: str = "simulation",
) -> Toys:
    """Draw toys in this process, of one point or each at its own.

    Simulation toys take simulated events of each sample, a Poisson number with the sample's rate, bent away from the
    nominal point by the learned shape effect of the nuisance parameters and by nothing else; those of a simulator are
    its datasets. Model toys take events from the learned density. Bin counts are Poisson, auxiliary data follow the
    constraint terms.

    Args:
        points: the parameters, shape ``(P,)``, or of each toy, shape ``(n, P)``.
        model: the model.
        n: how many; of each toy's own parameters, as many as there are.
        seed: the source of all randomness.
        source: ``"simulation"`` or ``"model"``.

    Returns:
        The toys; the same ones for the same arguments.

    Raises:
        InvalidParameter: for parameters or a number of toys without meaning, or an unknown source.
        Unsupported: for model toys of a dataset-wide network.

    Example:
        >>> import neyman
        >>> from neyman.model.toys import draw
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> draw([2.0], model, 10_000).main.mean(axis=0).round(-1)
        array([100., 120.])
        >>> draw([[0.0], [2.0]], model).main[0]
        array([0., 0.])
    """
    pars, source = _points(points, model, n), checked_source(source)
    rng = np.random.default_rng(seed)
    rates = checked_rates(model, pars[:1] if n is not None else pars, "no toys exist")
    expected = np.maximum(rates.sum(axis=1), 0.0)
    rates = np.broadcast_to(rates, (len(pars), *rates.shape[1:]))
    main = rng.poisson(np.broadcast_to(expected, (len(pars), expected.shape[1]))).astype(np.float64)
    events = {}
    for term in model.terms:
        own = rates[:, term.samples, term.bin], pars[:, term.parameters]
        events[term.channel.name] = term.channel.draw(*own, rng, source)
        main[:, term.bin] = events[term.channel.name].numbers
    return Toys(model, main, model.constraints.draw(pars, rng), events)


def _points(points: ArrayLike, model: Model, n: int | None) -> NDArray[np.float64]:
    """Return the parameters of each toy, shape ``(n, P)``."""
    values, names = np.asarray(points, dtype=np.float64), model.config.par_names
    if n is not None:
        one = checked_pars(values, names, "the parameters of toys")
        return np.broadcast_to(one, (checked_number(n, "the number of toys"), len(names)))
    if values.ndim != 2 or values.shape[1] != len(names) or not np.isfinite(values).all():
        raise InvalidParameter(
            f"the parameters of toys have the shape {values.shape}: give {len(names)} finite numbers and n, or a row of"
            " them for each toy"
        )
    return values
