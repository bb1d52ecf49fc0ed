"""Toys: pseudo-experiments of every channel and the auxiliary data, from the simulation or the learned density."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.channels import MixtureChannel, MixtureSummary
from neyman.ensemble import Ensemble, Events
from neyman.exceptions import InvalidParameter

if TYPE_CHECKING:
    from neyman.model import Model

__all__ = ["Toys", "draw", "positions", "selected"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class Toys:
    """Pseudo-experiments, encoded: their events are events of the pool, whose values are known.

    Args:
        model: the model whose pool they come from.
        main: counts and, for a learned channel, the number of events, shape ``(n, B)``.
        auxdata: shape ``(n, A)``.
        events: by learned channel, the positions in its pool of the events of all toys end to end.
        offsets: by learned channel, where each toy begins in ``events``, shape ``(n + 1,)``.
    """

    model: Model
    main: NDArray[np.float64]
    auxdata: NDArray[np.float64]
    events: Mapping[str, NDArray[np.int32]]
    offsets: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.main)

    def __getitem__(self, index: slice | NDArray[Any]) -> Toys:
        """Return some of the toys, by a slice, positions or a mask."""
        rows = np.arange(len(self))[index]
        events, offsets = {}, {}
        for name, known in self.offsets.items():
            numbers = np.diff(known)[rows]
            events[name] = self.events[name][positions(known[:-1][rows], numbers)]
            offsets[name] = np.concatenate([[0], np.cumsum(numbers)])
        return Toys(self.model, self.main[rows], self.auxdata[rows], events, offsets)

    def summaries(self, toy: int) -> dict[str, MixtureSummary]:
        """Return the summary of every learned channel for one toy."""
        return {
            name: selected(self.model.learned[name].pool.summary, self.events[name][begin:end])
            for name, (begin, end) in ((name, offset[toy : toy + 2]) for name, offset in self.offsets.items())
        }

    def ensemble(self, toy: int) -> Ensemble:
        """Return one toy as an ensemble, its features being those of the pool."""
        events = {}
        for name, offset in self.offsets.items():
            pool = self.model.learned[name].pool
            events[name] = Events(pool.features[self.events[name][offset[toy] : offset[toy + 1]]])
        slices = self.model.config.channel_slices
        counts = {c: self.main[toy, slices[c]] for c in self.model.config.channels if c not in self.model.learned}
        return Ensemble(events, counts, self.auxdata[toy])


def draw(
    pars: ArrayLike,
    model: Model,
    n: int,
    seed: int | np.random.SeedSequence = 0,
    source: str = "simulation",
) -> Toys:
    """Draw toys in this process.

    Simulation toys take simulated events of each sample, a Poisson number with the sample's rate, bent away from the
    nominal point by the learned shape effect of the nuisance parameters and by nothing else. Model toys take events
    from the learned density. Bin counts are Poisson, auxiliary data follow the constraint terms.

    Args:
        pars: the parameters, shape ``(P,)``.
        model: the model.
        n: how many.
        seed: the source of all randomness.
        source: ``"simulation"`` or ``"model"``.

    Returns:
        The toys; the same ones for the same arguments.

    Raises:
        InvalidParameter: for parameters or a number of toys without meaning, or an unknown source.

    Example:
        >>> import neyman
        >>> from neyman.drawing import draw
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> draw([2.0], model, 10_000).main.mean(axis=0).round(-1)
        array([100., 120.])
    """
    pars = _checked(pars, model, n, source)
    rng = np.random.default_rng(seed)
    rates, _ = model.rates(pars)
    expected = rates.sum(axis=0)
    for name in model.config.channels:
        lowest = expected[model.config.channel_slices[name]].min()
        if not lowest >= 0:
            raise InvalidParameter(
                f"channel {name}: a rate of {lowest:g} is expected at these parameters: no toys exist"
            )
    main = rng.poisson(expected, size=(n, expected.size)).astype(np.float64)
    events, offsets = {}, {}
    throw = _simulated if source == "simulation" else _learned
    for term in model.terms:
        name = term.channel.name
        events[name], numbers = throw(term.channel, rates[term.samples, term.bin], pars[term.parameters], n, rng)
        offsets[name] = np.concatenate([[0], np.cumsum(numbers)])
        main[:, term.bin] = numbers
    return Toys(model, main, model.constraints.draw(pars, rng, n), events, offsets)


def positions(starts: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return runs of consecutive positions end to end.

    Example:
        >>> import numpy as np
        >>> positions(np.array([3, 10]), np.array([2, 3]))
        array([ 3,  4, 10, 11, 12])
    """
    runs: NDArray[np.int64] = np.repeat(starts - (np.cumsum(numbers) - numbers), numbers)
    return runs + np.arange(len(runs))


def selected(summary: MixtureSummary, index: NDArray[Any]) -> MixtureSummary:
    """Return the summary of toy events, of weight one each, by their positions in the pool's summary."""
    return MixtureSummary(
        np.ones(len(index)), summary.ratios[:, index], summary.slopes[:, index], summary.curvatures[:, index]
    )


def _simulated(
    channel: MixtureChannel,
    rates: NDArray[np.float64],
    alphas: NDArray[np.float64],
    n: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Draw events of each sample from its own simulation; return them and their numbers, shape ``(n,)``."""
    if rates.min() < 0:
        worst = int(np.argmin(rates))
        raise InvalidParameter(
            f"channel {channel.name}: sample {channel.samples[worst]} has a rate of {rates[worst]:g}, and a negative "
            "number of events cannot be simulated: use source='model'"
        )
    pool = channel.pool
    unit = dataclasses.replace(pool.summary, ratios=np.ones_like(pool.summary.ratios))
    bend = channel.densities(unit, alphas)
    numbers = rng.poisson(rates, size=(n, len(rates)))
    label = np.repeat(np.tile(np.arange(len(rates)), n), numbers.ravel())
    events = np.empty(len(label), dtype=np.int32)
    for c in range(len(rates)):
        own = np.flatnonzero(pool.samples == c)
        weights = pool.summary.weights[own] * bend[c, own]
        events[label == c] = own[_choice(weights, int(numbers[:, c].sum()), rng)]
    return events, numbers.sum(axis=1)


def _learned(
    channel: MixtureChannel,
    rates: NDArray[np.float64],
    alphas: NDArray[np.float64],
    n: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Draw events from the learned density; return them and their numbers, shape ``(n,)``."""
    summary = channel.pool.summary
    numbers = rng.poisson(rates.sum(), size=n)
    density = np.maximum(rates @ channel.densities(summary, alphas), 0.0)
    return _choice(summary.weights * density, int(numbers.sum()), rng).astype(np.int32), numbers


def _choice(weights: NDArray[np.float64], number: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw positions with a probability proportional to the weights."""
    cumulative = np.cumsum(weights)
    total = np.nextafter(cumulative[-1], 0.0)
    uniform = rng.random(number)
    # what searchsorted would find, five times faster: a table of where to begin, a power of two to be exact, and a
    # step or two from there
    table = 1 << len(weights).bit_length()
    begin = np.searchsorted(cumulative, np.arange(table) / table * total, side="right")
    chosen: NDArray[np.intp] = begin[(uniform * table).astype(np.intp)]
    uniform *= total
    behind = np.flatnonzero(cumulative[chosen] <= uniform)
    while len(behind):
        chosen[behind] += 1
        behind = behind[cumulative[chosen[behind]] <= uniform[behind]]
    return chosen


def _checked(pars: ArrayLike, model: Model, n: int, source: str) -> NDArray[np.float64]:
    values = np.asarray(pars, dtype=np.float64)
    names = model.config.par_names
    if values.shape != (len(names),) or not np.all(np.isfinite(values)):
        raise InvalidParameter(f"the parameters of toys must be {len(names)} finite numbers: {', '.join(names[:20])}")
    if n < 1:
        raise InvalidParameter(f"{n} toys: it takes at least one")
    if source not in ("simulation", "model"):
        raise InvalidParameter(f"toys come from source='simulation' or source='model', not {source!r}")
    return values
