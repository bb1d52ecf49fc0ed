"""Toys: pseudo-experiments of every channel and the auxiliary data, from the simulation or the learned density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inputs.simulation import simulate
from neyman.inputs.simulator import Simulator
from neyman.model.mixture import MixtureChannel, MixtureSummary
from neyman.model.pool import bent_events, choice, simulated_events
from neyman.model.setwise import SetChannel, SetSummary
from neyman.model.summary import Summary
from neyman.support.checks import checked_number, checked_pars, checked_source

if TYPE_CHECKING:
    from neyman.model.model import Model

__all__ = ["Toys", "draw", "draw_each", "positions"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class Toys:
    """Pseudo-experiments: their events are events of a table, that of a mixture's pool, whose values are known.

    Args:
        model: the model whose toys they are.
        main: counts and, for a learned channel, the number of events, shape ``(n, B)``.
        auxdata: shape ``(n, A)``.
        events: by learned channel, the positions in its table of the events of all toys end to end.
        offsets: by learned channel, where each toy begins in ``events``, shape ``(n + 1,)``.
        tables: by learned channel, the features of the events: of the channel's pool, or of simulated datasets.
    """

    model: Model
    main: NDArray[np.float64]
    auxdata: NDArray[np.float64]
    events: Mapping[str, NDArray[np.int32]]
    offsets: Mapping[str, NDArray[np.int64]]
    tables: Mapping[str, NDArray[np.float32]]

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
        return Toys(self.model, self.main[rows], self.auxdata[rows], events, offsets, self.tables)

    def summaries(self, toy: int) -> dict[str, MixtureSummary | SetSummary]:
        """Return the summary of every learned channel for one toy."""
        return {
            name: self.model.learned[name].select(self.tables[name], self.events[name][begin:end])
            for name, (begin, end) in ((name, offset[toy : toy + 2]) for name, offset in self.offsets.items())
        }

    def summary(self, toy: int) -> Summary:
        """Return one toy as the summary of a dataset, which fits take; no network is evaluated for a mixture."""
        return Summary(self.main[toy], self.auxdata[toy], self.summaries(toy), self.model.fingerprint)

    def ensemble(self, toy: int) -> Ensemble:
        """Return one toy as an ensemble, its features being those of the pool."""
        events = {}
        for name, offset in self.offsets.items():
            events[name] = Events(self.tables[name][self.events[name][offset[toy] : offset[toy + 1]]])
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
    nominal point by the learned shape effect of the nuisance parameters and by nothing else; those of a simulator are
    its datasets. Model toys take events from the learned density. Bin counts are Poisson, auxiliary data follow the
    constraint terms.

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
        Unsupported: for model toys of a dataset-wide network.

    Example:
        >>> import neyman
        >>> from neyman.model.toys import draw
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> draw([2.0], model, 10_000).main.mean(axis=0).round(-1)
        array([100., 120.])
    """
    pars = checked_pars(pars, model.config.par_names, "the parameters of toys")
    n, source = checked_number(n, "the number of toys"), checked_source(source)
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
    events, offsets, tables = {}, {}, {}
    for term in model.terms:
        name = term.channel.name
        events[name], numbers, tables[name] = _thrown(
            term.channel, rates[term.samples, term.bin], pars[term.parameters], n, rng, source
        )
        offsets[name] = np.concatenate([[0], np.cumsum(numbers)])
        main[:, term.bin] = numbers
    return Toys(model, main, model.constraints.draw(pars, rng, n), events, offsets, tables)


def draw_each(points: NDArray[np.float64], model: Model, seed: int | np.random.SeedSequence = 0) -> Toys:
    """Draw one simulation toy at each of many points, in this process; see :func:`draw`.

    Args:
        points: the parameters of each toy, shape ``(n, P)``.
        model: the model.
        seed: the source of all randomness.

    Raises:
        InvalidParameter: where a rate is negative.

    Example:
        >>> import numpy as np
        >>> import neyman
        >>> from neyman.model.toys import draw_each
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> toys = draw_each(np.repeat([[0.0], [2.0]], 10_000, axis=0), model)
        >>> toys.main[0], toys.main[10_000:].mean(axis=0).round(-1)
        (array([0., 0.]), array([100., 120.]))
    """
    rng = np.random.default_rng(seed)
    size = model.batch_rates.size
    rates = np.concatenate([model.batch_rates(points[i : i + size])[0] for i in range(0, len(points), size)])
    if not rates.min(initial=0.0) >= 0.0:
        raise InvalidParameter(f"a rate of {rates.min():g} is expected at some parameters: no toys exist there")
    main = rng.poisson(rates.sum(axis=1)).astype(np.float64)
    events, offsets, tables = {}, {}, {}
    for term in model.terms:
        channel, pars = term.channel, points[:, term.parameters]
        origin = channel.simulation() if isinstance(channel, SetChannel) else channel
        if isinstance(origin, Simulator):
            datasets = simulate(origin, pars, int(rng.integers(2**63)), workers=1)
            found, numbers = np.arange(len(datasets.features), dtype=np.int32), datasets.numbers
            tables[channel.name] = datasets.features
        else:
            shares = rng.poisson(rates[:, term.samples, term.bin])
            bend = bent_events(origin, shares, pars, rng) if origin.variations else None
            found = simulated_events(origin, shares, np.empty(0), rng) if bend is None else bend
            numbers, tables[channel.name] = shares.sum(axis=1), origin.pool.features
        events[channel.name] = found
        offsets[channel.name] = np.concatenate([[0], np.cumsum(numbers)])
        main[:, term.bin] = numbers
    return Toys(model, main, model.constraints.draw(points, rng), events, offsets, tables)


def positions(starts: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return runs of consecutive positions end to end.

    Example:
        >>> import numpy as np
        >>> positions(np.array([3, 10]), np.array([2, 3]))
        array([ 3,  4, 10, 11, 12])
    """
    runs: NDArray[np.int64] = np.repeat(starts - (np.cumsum(numbers) - numbers), numbers)
    return runs + np.arange(len(runs))


def _thrown(
    channel: MixtureChannel | SetChannel,
    rates: NDArray[np.float64],
    pars: NDArray[np.float64],
    n: int,
    rng: np.random.Generator,
    source: str,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
    """Draw the events of all toys; return their positions in a table, their numbers, shape ``(n,)``, and the table."""
    origin = channel.simulation() if isinstance(channel, SetChannel) else channel
    if isinstance(channel, SetChannel) and source == "model":
        raise Unsupported(
            f"channel {channel.name}: a {channel.kind} learns the ratio of datasets, not the density of their events: "
            "use source='simulation'"
        )
    if isinstance(origin, Simulator):
        datasets = simulate(origin, np.tile(pars, (n, 1)), int(rng.integers(2**63)), workers=1)
        return np.arange(len(datasets.features), dtype=np.int32), datasets.numbers, datasets.features
    if source == "model":
        return *_learned(origin, rates, pars, n, rng), origin.pool.features
    if rates.min() < 0:
        worst = int(np.argmin(rates))
        raise InvalidParameter(
            f"channel {channel.name}: sample {channel.samples[worst]} has a rate of {rates[worst]:g}, and a negative "
            "number of events cannot be simulated: use source='model'"
        )
    numbers = rng.poisson(rates, size=(n, len(rates)))
    return simulated_events(origin, numbers, pars, rng), numbers.sum(axis=1), origin.pool.features


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
    return choice(summary.weights * density, int(numbers.sum()), rng).astype(np.int32), numbers
