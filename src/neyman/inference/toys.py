"""Toys in any number: thrown and fitted in batches, here or on an executor, within a bounded memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.inference.batch import fit_batch
from neyman.inference.parameters import Bounds, parameter_index
from neyman.inference.profile import Profile
from neyman.inference.throws import throw_all
from neyman.inputs.simulator import Simulator
from neyman.model.setwise import SetChannel
from neyman.model.toys import Toys, draw
from neyman.results import ToysResult
from neyman.support.checks import checked_number, checked_pars, checked_seed
from neyman.support.store import Store

__all__ = ["batches", "toys"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_EVENTS = 400_000  # of all toys of a batch: some hundred megabytes in a fit
_LARGEST = 5_000  # toys of a batch
_OFTEN = 0.1  # a toy with more than this share of the simulated events of a sample has many of them twice


def toys(
    pars: ArrayLike,
    model: Any,
    n: int,
    seed: int = 0,
    source: str = "simulation",
    fit: bool = False,
    executor: Any = None,
    *,
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    batch: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> ToysResult:
    """Throw toys, and fit each of them.

    The events of a toy are not kept: :func:`batches` gives them, the same ones for the same arguments.

    Args:
        pars: where to throw them, shape ``(P,)``.
        model: the model.
        n: how many.
        seed: the source of all randomness; the toys do not depend on the executor.
        source: ``"simulation"``, simulated events of each sample bent by nothing but the learned shape effect of the
            nuisance parameters or datasets of the simulator, or ``"model"``, events from the learned density.
        fit: whether to fit them, beginning at ``pars``.
        executor: any :class:`concurrent.futures.Executor`; ``None`` is this process.
        bounds: bounds of the fits, all of them or by name.
        fixed: parameters held at a value in the fits, by name.
        batch: toys of one task; the default follows from the number of events. It is part of the seed.
        checkpoint: a file that keeps what is done when the run is interrupted; the same call then goes on from it.
        progress: whether to show a progress bar on standard error.

    Returns:
        Counts, auxiliary data and best fits of all toys.

    Raises:
        InvalidParameter: for an argument that the model does not have or allow.

    Example:
        >>> import neyman
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> result = neyman.toys([2.0], model, 1000, seed=1, fit=True)
        >>> result["mu"].mean().round(1)
        np.float64(2.0)
    """
    point, sizes, seeds = _plan(pars, model, n, seed, batch)
    profile = Profile([], model, bounds=bounds)  # which says what is wrong with the bounds before any toy is thrown
    held = {str(name): float(value) for name, value in (fixed or {}).items()}
    for name in held:
        parameter_index(model, name)
    _warn_of_few_events(point, model)
    tasks = {
        str(number): _Task(point, size, one, source, fit, tuple(profile.bounds), held)
        for number, (size, one) in enumerate(zip(sizes, seeds, strict=True))
    }
    store = Store(checkpoint, model, ["toys", point, n, seed, source, fit, profile.bounds, held, sizes[0]])
    throw_all(_thrown, model, tasks, store, executor, progress=progress)
    n_bins, n_aux, n_parameters = model.config.nmaindata, model.config.nauxdata, model.config.npars
    rows = np.concatenate([store[name] for name in tasks])
    main, auxdata, bestfit, rest = np.split(rows, np.cumsum([n_bins, n_aux, n_parameters if fit else 0]), axis=1)
    fitted = rest[:, 1].astype(bool) if fit else np.empty(0, dtype=bool)
    return ToysResult(
        names=tuple(model.config.par_names),
        pars=point,
        source=source,
        seed=seed,
        main=main,
        auxdata=auxdata,
        bestfit=bestfit if fit else np.empty((0, n_parameters)),
        twice_nll=rest[:, 0] if fit else np.empty(0),
        fitted=fitted,
        fallbacks=int(rest[:, 2].sum()) if fit else 0,
        valid=bool(fitted.all()),
    )


def batches(
    pars: ArrayLike, model: Any, n: int, seed: int = 0, source: str = "simulation", batch: int | None = None
) -> Iterator[Toys]:
    """Yield the toys of :func:`toys` with their events, batch by batch.

    The arguments are those of :func:`toys`.

    Example:
        >>> import neyman
        >>> from neyman.inference.toys import batches
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> [len(toys) for toys in batches([2.0], model, 12_000)]
        [5000, 5000, 2000]
    """
    point, sizes, seeds = _plan(pars, model, n, seed, batch)
    for size, one in zip(sizes, seeds, strict=True):
        yield draw(point, model, size, one, source)


@dataclass(frozen=True, eq=False)
class _Task:
    pars: Array
    n: int
    seed: np.random.SeedSequence
    source: str
    fit: bool
    bounds: tuple[tuple[float, float], ...]
    fixed: dict[str, float]


def _thrown(model: Any, task: _Task) -> Array:
    """Return a row for each toy: counts, auxiliary data, and of its fit: parameters, -2 log L, valid, by iminuit."""
    drawn = draw(task.pars, model, task.n, task.seed, task.source)
    columns = [drawn.main, drawn.auxdata]
    if task.fit:
        fits = fit_batch(model, drawn, init=task.pars, bounds=list(task.bounds), fixed=task.fixed)
        columns += [fits.pars, np.stack([fits.twice_nll, fits.valid, fits.by_iminuit], axis=1)]
    return np.concatenate(columns, axis=1)


def _plan(
    pars: ArrayLike, model: Any, n: int, seed: int, batch: int | None
) -> tuple[Array, list[int], list[np.random.SeedSequence]]:
    """Return the checked point, and the size and seed of every batch."""
    point = checked_pars(pars, model.config.par_names, "the parameters of toys")
    n = checked_number(n, "the number of toys")
    if batch is None:
        rates = model.rates(point)[0]
        events = sum(float(rates[term.samples, term.bin].sum()) for term in model.terms)
        batch = int(np.clip(_EVENTS / max(events, 1.0), 1, _LARGEST))
    batch = min(checked_number(batch, "the number of toys of a batch"), n)
    sizes = [batch] * (n // batch) + ([n % batch] if n % batch else [])
    return point, sizes, np.random.SeedSequence(checked_seed(seed)).spawn(len(sizes))


def _warn_of_few_events(pars: Array, model: Any) -> None:
    rates = model.rates(pars)[0]
    for term in model.terms:
        origin = term.channel.simulation() if isinstance(term.channel, SetChannel) else term.channel
        if isinstance(origin, Simulator):
            continue  # which makes new events for every toy
        pool = origin.pool
        for c, (sample, expected) in enumerate(zip(term.channel.samples, rates[term.samples, term.bin], strict=True)):
            effective = 1.0 / float((pool.summary.weights[pool.samples == c] ** 2).sum())
            if expected > _OFTEN * effective:
                warnings.warn(
                    f"channel {term.channel.name}: a toy takes {expected:.0f} events of sample {sample} from "
                    f"{effective:.0f} simulated ones: toys are alike, and intervals too short; simulate more",
                    stacklevel=3,
                )
