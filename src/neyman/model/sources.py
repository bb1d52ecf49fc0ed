"""Sources of simulated datasets: labelled simulated events, drawn and bent at any parameters, or a simulator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from neyman.events import Events, effective_events
from neyman.inputs.simulation import Datasets, simulate
from neyman.inputs.simulator import Simulator
from neyman.model.asimov import AsimovPool
from neyman.model.channel import Asimov, Packed, SimulatedSample, ToyEvents
from neyman.model.shares import fractions_of
from neyman.model.thinning import thinned, why_none
from neyman.model.variations import interpolation

if TYPE_CHECKING:
    from neyman.model.mixture import MixtureChannel

__all__ = ["LabelledEvents", "SimulatorSource", "bent_events", "choice", "simulated_events"]


def __dir__() -> list[str]:
    return __all__


_ANCHORS = 1000  # toys near which others are bent
_ROUNDS = 200
_FEW = 8  # times fewer events than there are in the table: not worth a table of where to begin


class LabelledEvents:
    """The labelled simulated events of a mixture's pool, with the mixture's shape effects: a source of datasets.

    Args:
        mixture: the channel.
    """

    def __init__(self, mixture: MixtureChannel) -> None:
        self.mixture = mixture
        self.samples, self.parameters = mixture.samples, mixture.parameters

    @property
    def simulated(self) -> Mapping[str, SimulatedSample]:
        """The size of each sample's simulation."""
        pool, found = self.mixture.pool, {}
        for c, sample in enumerate(self.samples):
            weights = pool.summary.weights[pool.samples == c]
            shapes = tuple(v.parameter for v in self.mixture.variations if v.sample == c)
            found[sample] = SimulatedSample(len(weights), effective_events(weights), shapes)
        return found

    def draw(self, rates: NDArray[np.float64], pars: NDArray[np.float64], rng: np.random.Generator) -> ToyEvents:
        """Draw a Poisson number of events of each sample; the arguments are those of :meth:`Source.draw`.

        Where a rate is negative, events of the other samples are thinned; see :func:`neyman.model.thinning.thinned`.
        """
        if rates.min(initial=0.0) < 0.0:
            return ToyEvents.of(self.mixture.pool.features, *thinned(self.mixture, rates, pars, rng, self._drawn))
        numbers = rng.poisson(rates)
        return ToyEvents.of(self.mixture.pool.features, self._drawn(numbers, pars, rng), numbers.sum(axis=1))

    def why_none(self, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> str:
        """Return why no dataset exists at a point; see :meth:`Source.why_none`."""
        return why_none(self.mixture, rates, pars)

    def datasets(
        self,
        points: NDArray[np.float64],
        numbers: NDArray[np.int64] | None,
        rng: np.random.Generator,
        workers: int | None = None,
    ) -> Datasets:
        """Draw datasets of given size, the samples at their shares; see :meth:`Source.datasets`."""
        assert numbers is not None
        first = len(self.samples) - 1
        fractions = fractions_of(points[:, :first])
        order = list(dict.fromkeys(self.parameters))
        column = [first + order.index(name) for name in self.parameters]
        parts = rng.multinomial(numbers, fractions / fractions.sum(axis=1, keepdims=True))
        index = self._drawn(parts, points[:, column], rng)
        return Datasets(points, self.mixture.pool.features[index], np.concatenate([[0], np.cumsum(numbers)]))

    def _drawn(
        self, numbers: NDArray[np.int64], pars: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.int32]:
        if pars.shape[1] and (pars != pars[0]).any():
            return bent_events(self.mixture, numbers, pars, rng)
        return simulated_events(self.mixture, numbers, pars[0] if len(pars) else np.zeros(pars.shape[1]), rng)

    def asimov(self, events: int) -> Asimov:
        """Return what weights the pool's events by the mixture's density."""
        return AsimovPool(self.mixture, events)

    def digest(self) -> bytes:
        """Return the mixture's hash."""
        return self.mixture.digest()

    def pack(self) -> Packed | None:
        """Return what a model file stores of the mixture."""
        return self.mixture.pack()


class SimulatorSource:
    """A simulator as a source of datasets.

    Args:
        simulator: the simulator.
    """

    simulated: Mapping[str, SimulatedSample] = {}
    samples: tuple[str, ...] = ()

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.parameters = simulator.names

    def draw(self, rates: NDArray[np.float64], pars: NDArray[np.float64], rng: np.random.Generator) -> ToyEvents:
        """Simulate a dataset for each point; the arguments are those of :meth:`Source.draw`."""
        datasets = self.datasets(pars, None, rng, workers=1)
        return ToyEvents(datasets.features, np.arange(len(datasets.features), dtype=np.int32), datasets.offsets)

    def why_none(self, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> str:
        """Return nothing: a simulator has no rates."""
        return ""

    def datasets(
        self,
        points: NDArray[np.float64],
        numbers: NDArray[np.int64] | None,
        rng: np.random.Generator,
        workers: int | None = None,
    ) -> Datasets:
        """Simulate a dataset for each point; the arguments are those of :meth:`Source.datasets`."""
        return simulate(self.simulator, points, int(rng.integers(2**63)), workers=workers)

    def asimov(self, events: int) -> Asimov:
        """Return what simulates many datasets of the parameters, each with its share of the weight."""
        return _ManyDatasets(self.simulator, events)

    def digest(self) -> bytes:
        """Return nothing."""
        return b""

    def pack(self) -> Packed | None:
        """Return nothing: a model file holds no code."""
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class _ManyDatasets:
    simulator: Simulator
    events: int

    def weighted(self, rates: NDArray[np.float64], pars: NDArray[np.float64]) -> Events:
        few = simulate(self.simulator, np.tile(pars, (20, 1)), seed=0, workers=1)
        number = int(np.clip(self.events / max(len(few.features) / len(few), 1.0), 20, 2000))
        datasets = simulate(self.simulator, np.tile(pars, (number, 1)), seed=0, workers=1)
        return Events(datasets.features, np.full(len(datasets.features), 1.0 / number))


def simulated_events(
    channel: MixtureChannel, numbers: NDArray[np.int64], alphas: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw simulated events of each sample, bent by the learned shape effects; return their positions in the pool.

    Args:
        channel: the channel.
        numbers: how many events of each sample each toy has, shape ``(n, C)``.
        alphas: the nuisance parameter of each variation, shape ``(M,)``.
        rng: the source of randomness.

    Returns:
        The events of all toys end to end.
    """
    pool = channel.pool
    unit = dataclasses.replace(pool.summary, ratios=np.ones_like(pool.summary.ratios))
    bend = channel.densities(unit, alphas)
    label = np.repeat(np.tile(np.arange(numbers.shape[1]), len(numbers)), numbers.ravel())
    events = np.empty(len(label), dtype=np.int32)
    for c in range(numbers.shape[1]):
        own = np.flatnonzero(pool.samples == c)
        weights = pool.summary.weights[own] * bend[c, own]
        events[label == c] = own[choice(weights, int(numbers[:, c].sum()), rng)]
    return events


def bent_events(
    channel: MixtureChannel, numbers: NDArray[np.int64], alphas: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw what :func:`simulated_events` does, for toys each with shape parameters of its own.

    Events are drawn as bent at the nearest of some anchors, which are toys themselves, and accepted in proportion to
    what the shape effect at the toy's own parameters is relative to that. The bound on this is exact.

    Args:
        channel: the channel.
        numbers: how many events of each sample each toy has, shape ``(n, C)``.
        alphas: the nuisance parameters of each toy, shape ``(n, M)``.
        rng: the source of randomness.

    Returns:
        The events of all toys end to end.
    """
    pool, events = channel.pool, np.empty(int(numbers.sum()), dtype=np.int32)
    label = np.repeat(np.tile(np.arange(numbers.shape[1]), len(numbers)), numbers.ravel())
    toy = np.repeat(np.arange(len(numbers)), numbers.sum(axis=1))
    curve = interpolation(alphas, np.array([v.one_sided for v in channel.variations], dtype=bool))[0]
    scaled = alphas / np.maximum(np.ptp(alphas, axis=0), 1e-9)
    anchors = rng.permutation(len(alphas))[:_ANCHORS]
    nearest = KDTree(scaled[anchors]).query(scaled)[1]
    for c in range(numbers.shape[1]):
        own, varied = np.flatnonzero(pool.samples == c), [m for m, v in enumerate(channel.variations) if v.sample == c]
        # the logarithm of the shape effect is linear in these, shapes (n, 2 m) and (2 m, N)
        at = np.concatenate([alphas[:, varied], curve[:, varied]], axis=1)
        effects = np.concatenate([rows[varied][:, own] for rows in (pool.summary.slopes, pool.summary.curvatures)])
        lowest, highest = effects.min(axis=1), effects.max(axis=1)
        mine = np.flatnonzero(label == c)
        mine = mine[np.argsort(nearest[toy[mine]], kind="stable")]
        ends = np.searchsorted(nearest[toy[mine]], np.arange(len(anchors) + 1))
        for anchor, begin, end in zip(anchors, ends[:-1], ends[1:], strict=True):
            pending = mine[begin:end]
            exponent = at[anchor] @ effects
            cumulative = np.cumsum(pool.summary.weights[own] * np.exp(exponent - exponent.max(initial=0.0)))
            for _ in range(_ROUNDS):
                drawn = _places(cumulative, rng.random(len(pending)))
                events[pending] = own[drawn]
                apart = at[toy[pending]] - at[anchor]
                most = np.maximum(apart, 0.0) @ highest + np.minimum(apart, 0.0) @ lowest
                relative = np.einsum("em,me->e", apart, effects[:, drawn])
                pending = pending[np.log(rng.random(len(pending))) > relative - most]
                if not len(pending):
                    break
    return events


def choice(weights: NDArray[np.float64], number: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw positions with a probability proportional to the weights.

    Example:
        >>> import numpy as np
        >>> choice(np.array([0.0, 1.0, 0.0]), 4, np.random.default_rng(0))
        array([1, 1, 1, 1])
    """
    return _places(np.cumsum(weights), rng.random(number))


def _places(cumulative: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return where uniform numbers from 0 to 1 fall among cumulative weights, as ``searchsorted`` would find it.

    A million of them among 100,000 take 28 ms, and 161 ms with ``searchsorted``. scipy's ``DiscreteGuideTable`` takes
    32 ms, and among a million weights 135 ms instead of 89; besides, every toy of a known seed would be another one.
    """
    total = np.nextafter(cumulative[-1], 0.0)
    if len(uniform) < len(cumulative) // _FEW:
        found: NDArray[np.intp] = np.searchsorted(cumulative, uniform * total, side="right")
        return found
    # a table of where to begin, its size a power of two to be exact, and a step or two from there
    table = 1 << len(cumulative).bit_length()
    begin = np.searchsorted(cumulative, np.arange(table) / table * total, side="right")
    chosen: NDArray[np.intp] = begin[(uniform * table).astype(np.intp)]
    uniform = uniform * total
    behind = np.flatnonzero(cumulative[chosen] <= uniform)
    while len(behind):
        chosen[behind] += 1
        behind = behind[cumulative[chosen[behind]] <= uniform[behind]]
    return chosen
