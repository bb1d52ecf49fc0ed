"""Toys thrown for a test statistic, in batches whose seeds do not depend on who throws them."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.batch import fit_batch
from neyman.drawing import draw
from neyman.exceptions import FailedFit, InvalidParameter, NeymanError
from neyman.executors import run
from neyman.files import replacing
from neyman.inference.learned import LEARNED, LearnedStatistic
from neyman.inference.statistics import is_bounded, statistic

__all__ = [
    "BATCH",
    "TIE",
    "Settings",
    "Store",
    "Throw",
    "certain_at_zero",
    "checked_level",
    "checked_number",
    "checked_source",
    "counts_of",
    "fitted",
    "grouped",
    "seed_of",
    "statistics",
    "throw_all",
]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

# two fits of the same data agree to this: toys that tie with the data, as equal counts do, must count as such
TIE = 1e-3
BATCH = 500  # toys of a task: what is lost with a worker, and what a worker is busy with for about a second
_WORTH_A_WARNING = 0.01  # of the toys without a valid fit


@dataclass(frozen=True, eq=False)
class Settings:
    """How toys are thrown and fitted.

    Args:
        poi: position of the parameter of interest.
        test_stat: the test statistic.
        source: ``"simulation"`` or ``"model"``, as for :func:`neyman.toys`.
        bounds: of every parameter, in the fits, shape ``(P, 2)``.
        fixed: parameters held at a value, by name; without the parameter of interest.
        name: of the parameter of interest.
        learned: the learned test statistic, which takes no fits.
    """

    poi: int
    test_stat: str
    source: str
    bounds: tuple[tuple[float, float], ...]
    fixed: Mapping[str, float]
    name: str
    learned: LearnedStatistic | None = None

    def bounds_of_best(self) -> list[tuple[float, float]]:
        """Return the bounds of the fits with the parameter of interest free."""
        bounds = list(self.bounds)
        low, high = bounds[self.poi]
        bounds[self.poi] = (max(low, 0.0), high) if is_bounded(self.test_stat) else (low, high)
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


def statistics(model: Any, throw: Throw) -> Array:
    """Return the test statistic of a batch of toys, nan where a fit was not valid, shape ``(n,)``."""
    settings = throw.settings
    toys = draw(throw.pars, model, throw.n, seed=throw.seed, source=settings.source)
    if settings.learned is not None:
        return settings.learned.evaluate(toys, throw.value)
    return fitted(model, toys, throw.pars, throw.value, settings)[0]


def grouped(model: Any, throws: Sequence[Throw]) -> Array:
    """Return the test statistic of many small batches, each thrown and tested elsewhere, shape ``(len(throws), n)``.

    A batch thrown where the model has no toys, for a rate is negative there, gets nan.
    """
    values = np.full((len(throws), max(throw.n for throw in throws)), np.nan)
    for row, throw in zip(values, throws, strict=True):
        rates = model.rates(throw.pars)[0]
        if (rates if throw.settings.source == "simulation" else rates.sum(axis=0)).min() >= 0.0:
            row[: throw.n] = statistics(model, throw)
    return values


def fitted(model: Any, toys: Any, pars: Array, value: float, settings: Settings) -> tuple[Array, Array]:
    """Return the test statistic of toys, shape ``(n,)``, and their best fits at the tested value, shape ``(n, P)``."""
    bounds = settings.bounds_of_best()
    start = np.clip(pars, *np.array(bounds).T)
    for name, held in settings.fixed.items():
        start[list(model.config.par_names).index(name)] = held
    at_value = start.copy()
    at_value[settings.poi] = value
    there = fit_batch(
        model, toys, init=at_value, bounds=list(settings.bounds), fixed={**settings.fixed, settings.name: value}
    )
    if settings.learned is not None:
        return np.where(there.valid, settings.learned.evaluate(toys, value), np.nan), there.pars
    best = fit_batch(model, toys, init=start, bounds=bounds, fixed=dict(settings.fixed))
    t = statistic(settings.test_stat, value, best.pars[:, settings.poi], best.twice_nll, there.twice_nll)
    return np.where(best.valid & there.valid & np.isfinite(t), t, np.nan), there.pars


def certain_at_zero(test_stat: str, value: float) -> bool:
    """Whether no toy can be below an observed statistic, as none is below zero if it is a likelihood ratio."""
    return test_stat != LEARNED and value <= TIE


def seed_of(seed: int, *labels: float) -> int:
    """Return the seed of a batch from the user's own and what the batch is: the same whoever throws it, and when.

    Example:
        >>> seed_of(0, 1.5, 3) == seed_of(0, 1.5, 3) != seed_of(0, 1.5, 4)
        True
    """
    words = np.frombuffer(np.array(labels, dtype=np.float64).tobytes(), dtype=np.uint32)
    sequence = np.random.SeedSequence([seed, *(int(word) for word in words)])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


class Store:
    """The batches that are done, by name; with a path, a checkpoint file that an interrupted run goes on from.

    Args:
        path: of the file, or ``None``.
        belongs_to: what the file is made for, any JSON: a file made for something else is refused.

    Raises:
        NeymanError: if the file is none of ours, or was made for something else.
    """

    def __init__(self, path: str | Path | None = None, belongs_to: Any = None) -> None:
        self._path = None if path is None else Path(path)
        self._label = hashlib.sha256(json.dumps(belongs_to, sort_keys=True, default=_plain).encode()).hexdigest()
        self._done: dict[str, Array] = {}
        if self._path is not None and self._path.exists():
            self._done = self._read(self._path)

    def __contains__(self, name: str) -> bool:
        return name in self._done

    def __getitem__(self, name: str) -> Array:
        return self._done[name]

    def __setitem__(self, name: str, values: Array) -> None:
        self._done[name] = values

    def save(self) -> None:
        """Write the file, if there is to be one."""
        if self._path is None:
            return
        buffer = io.BytesIO()
        content: dict[str, Any] = {"belongs to": np.array(self._label), **self._done}
        np.savez(buffer, **content)
        with replacing(self._path) as stream:
            stream.write(buffer.getvalue())

    def _read(self, path: Path) -> dict[str, Array]:
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                found = {name: content[name] for name in content.files}
            label = str(found.pop("belongs to"))
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise NeymanError(f"{path}: not a checkpoint of toys ({error}): delete it, or name another") from error
        if label != self._label:
            raise NeymanError(f"{path}: a checkpoint of other toys (model, data, seed or options differ): name another")
        return found


def throw_all(
    function: Any, model: Any, throws: Mapping[str, Any], store: Store, executor: Any, *, progress: bool = False
) -> None:
    """Throw what the store does not have yet, and save it there; also what was finished before an interruption."""
    missing = [name for name in throws if name not in store]
    try:
        for number, values in run(function, model, [throws[name] for name in missing], executor, progress=progress):
            store[missing[number]] = values
    finally:
        if missing:
            store.save()


def counts_of(batches: Iterable[Array]) -> Array:
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


def checked_number(n: Any, what: str) -> int:
    """Return a number of toys.

    Raises:
        InvalidParameter: if it is not a positive whole number.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InvalidParameter(f"{what} is {n!r}: it must be a whole number, at least 1")
    return int(n)


def checked_level(level: float) -> float:
    """Return a confidence level.

    Raises:
        InvalidParameter: if it does not lie between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise InvalidParameter(f"level is {level}: it must lie between 0 and 1, as 0.68 for 68 %")
    return float(level)


def checked_source(source: str) -> str:
    """Return where toys come from.

    Raises:
        InvalidParameter: if there is no such source.
    """
    if source not in ("simulation", "model"):
        raise InvalidParameter(f"source is {source!r}: it must be 'simulation' or 'model'")
    return source


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
