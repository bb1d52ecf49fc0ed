"""Toys thrown for a test statistic, in batches whose seeds do not depend on who throws them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import FailedFit
from neyman.inference.batch import fit_batch
from neyman.inference.statistics import TestStatistic
from neyman.model.model import Model
from neyman.model.toys import Toys, draw
from neyman.support.checks import checked_seed
from neyman.support.store import Store
from neyman.support.tasks import run

__all__ = [
    "BATCH",
    "Settings",
    "Throw",
    "can_throw",
    "fitted",
    "grouped",
    "seed_of",
    "statistics",
    "throw_all",
    "valid_ones",
]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]
Key = TypeVar("Key")
Task = TypeVar("Task")

BATCH = 500  # toys of a task: what is lost with a worker, and what a worker is busy with for about a second
_WORTH_A_WARNING = 0.01  # of the toys without a valid fit


@dataclass(frozen=True, eq=False)
class Settings:
    """How toys are thrown and fitted.

    Args:
        poi: position of the parameter of interest.
        statistic: the test statistic.
        source: ``"simulation"`` or ``"model"``, as for :func:`neyman.toys`.
        bounds: of every parameter, in the fits, shape ``(P, 2)``.
        fixed: parameters held at a value, by name; without the parameter of interest.
        name: of the parameter of interest.
    """

    poi: int
    statistic: TestStatistic
    source: str
    bounds: tuple[tuple[float, float], ...]
    fixed: Mapping[str, float]
    name: str

    def bounds_of_best(self) -> list[tuple[float, float]]:
        """Return the bounds of the fits with the parameter of interest free."""
        bounds = list(self.bounds)
        low, high = bounds[self.poi]
        bounds[self.poi] = (max(low, 0.0), high) if self.statistic.bounded else (low, high)
        return bounds


@dataclass(frozen=True, eq=False)
class Throw:
    """One batch of toys: where they are thrown, and the value of the parameter of interest that is tested on them.

    Args:
        pars: the parameters they are thrown at, shape ``(P,)``.
        value: the tested value.
        n: how many.
        seed: of this batch.
        settings: how.
    """

    pars: Array
    value: float
    n: int
    seed: int
    settings: Settings = field(repr=False)

    def toys(self, model: Model) -> Toys:
        """Return the toys."""
        return draw(self.pars, model, self.n, seed=self.seed, source=self.settings.source)


def statistics(model: Model, throw: Throw) -> Array:
    """Return the test statistic of a batch of toys, nan where a fit was not valid, shape ``(n,)``."""
    toys, settings = throw.toys(model), throw.settings
    if settings.statistic.learned is not None:  # which takes no fits
        return settings.statistic.learned.evaluate(toys, throw.value)
    return fitted(model, toys, throw.pars, throw.value, settings)[0]


def grouped(model: Model, throws: Sequence[Throw]) -> Array:
    """Return the test statistic of many small batches, each thrown and tested elsewhere, shape ``(len(throws), n)``.

    A batch thrown where the model has no toys, for a rate is negative there, gets nan.
    """
    values = np.full((len(throws), max(throw.n for throw in throws)), np.nan)
    for row, throw in zip(values, throws, strict=True):
        if can_throw(model, throw.pars, throw.settings.source):
            row[: throw.n] = statistics(model, throw)
    return values


def can_throw(model: Model, pars: Array, source: str) -> bool:
    """Whether toys exist at some parameters: no bin's rate is negative, nor the density of simulated events."""
    if not hasattr(model, "rates"):  # any other likelihood
        return True
    rates = model.rates(pars)[0]
    if rates.sum(axis=0).min(initial=0.0) < 0.0:
        return False
    terms = model.terms if source == "simulation" else []
    return not any(
        term.channel.simulation().why_none(rates[term.samples, term.bin], pars[term.parameters]) for term in terms
    )


def fitted(model: Model, toys: Toys, pars: Array, value: float, settings: Settings) -> tuple[Array, Array]:
    """Return the test statistic of toys, shape ``(n,)``, and their best fits at the tested value, shape ``(n, P)``.

    The statistic of a toy that is impossible at the tested value is infinite, that of one without a valid fit nan.
    """
    bounds, statistic = settings.bounds_of_best(), settings.statistic
    start = np.clip(pars, *np.array(bounds).T)
    for name, held in settings.fixed.items():
        start[list(model.config.par_names).index(name)] = held
    at_value = start.copy()
    at_value[settings.poi] = value
    there = fit_batch(
        model, toys, init=at_value, bounds=list(settings.bounds), fixed={**settings.fixed, settings.name: value}
    )
    if statistic.learned is not None:
        return np.where(there.valid, statistic.learned.evaluate(toys, value), np.nan), there.pars
    best = fit_batch(model, toys, init=start, bounds=bounds, fixed=dict(settings.fixed))
    t = statistic.of_fits(value, best.pars[:, settings.poi], best.twice_nll, there.twice_nll)
    return np.where(best.valid & there.valid, t, np.nan), there.pars


def seed_of(seed: int, *labels: float) -> int:
    """Return the seed of a batch from the user's own and what the batch is: the same whoever throws it, and when.

    Example:
        >>> seed_of(0, 1.5, 3) == seed_of(0, 1.5, 3) != seed_of(0, 1.5, 4)
        True
    """
    words = np.frombuffer(np.array(labels, dtype=np.float64).tobytes(), dtype=np.uint32)
    sequence = np.random.SeedSequence([checked_seed(seed), *(int(word) for word in words)])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def throw_all(
    function: Callable[[Model, Task], Array],
    model: Model,
    tasks: Mapping[Key, Task],
    store: Store,
    executor: Executor | None,
    *,
    progress: bool = False,
) -> dict[Key, Array]:
    """Return the result of every task by its key; those that the store has are not done again, the others kept there.

    What was finished before an interruption is kept, too.
    """
    names = {key: str(key) for key in tasks}
    missing = [key for key, name in names.items() if name not in store]
    try:
        for number, values in run(function, model, [tasks[key] for key in missing], executor, progress=progress):
            store[names[missing[number]]] = values
    finally:
        if missing:
            store.save()
    return {key: store[name] for key, name in names.items()}


def valid_ones(batches: Iterable[Array]) -> Array:
    """Join batches, and leave out the toys without a valid fit.

    Raises:
        FailedFit: if no toy has one.
    """
    joined = np.concatenate(list(batches))
    good = joined[~np.isnan(joined)]
    if good.size == 0:
        raise FailedFit(f"none of {joined.size} toys has a valid fit: is the likelihood defined within the bounds?")
    if good.size < (1.0 - _WORTH_A_WARNING) * joined.size:
        warnings.warn(
            f"{joined.size - good.size} of {joined.size} toys have no valid fit and are left out", stacklevel=2
        )
    return np.asarray(good)
