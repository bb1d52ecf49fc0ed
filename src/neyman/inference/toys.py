"""Toys in any number: thrown and fitted in batches, here or on an executor, within a bounded memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyhf
from numpy.typing import NDArray

from neyman.inference.batch import fit_batch
from neyman.inference.parameters import Bounds, Fixed, Pars, checked_parameters, checked_point
from neyman.inference.throws import throw_all
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.toys import Toys, draw
from neyman.results import ToysResult
from neyman.support.checks import checked_number, checked_seed, checked_source
from neyman.support.store import Store

__all__ = ["batches", "toys"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_EVENTS = 400_000  # of all toys of a batch: some hundred megabytes in a fit
_LARGEST = 5_000  # toys of a batch
_OFTEN = 0.1  # a toy with more than this share of the simulated events of a sample has many of them twice


def toys(
    pars: Pars,
    model: Model | pyhf.Model,
    n: int,
    seed: int = 0,
    source: str = "simulation",
    fit: bool = False,
    executor: Executor | None = None,
    *,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    batch: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = False,
) -> ToysResult:
    """Throw toys, and fit each of them.

    The events of a toy are not kept: :func:`batches` gives them, the same ones for the same arguments.

    Args:
        pars: where to throw them, in the place of data: shape ``(P,)`` or by name, as ``{"mu": 2.0}``, the others being
            where the model suggests.
        model: the model, or a plain :class:`pyhf.Model`.
        n: how many.
        seed: the source of all randomness; the toys do not depend on the executor.
        source: ``"simulation"``, simulated events of each sample bent by nothing but the learned shape effect of the
            nuisance parameters or datasets of the simulator, or ``"model"``, events from the learned density.
        fit: whether to fit them, beginning at ``pars``.
        executor: any :class:`concurrent.futures.Executor`; ``None`` is this process.
        bounds: bounds of the fits, as for :func:`neyman.fit`.
        fixed: parameters held in the fits, as ``{"mu": 1.0}``, or where the toys are thrown, as ``["mu"]``.
        batch: toys of one task; the default follows from the number of events. It is part of the seed.
        checkpoint: a file that keeps what is done when the run is interrupted; the same call then goes on from it.
        progress: whether to show a progress bar on standard error.

    Returns:
        Counts, auxiliary data and best fits of all toys.

    Raises:
        InvalidParameter: for an argument that the model does not have or allow.

    Example:
        >>> import neyman, pyhf
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> result = neyman.toys({"mu": 2.0}, model, 1000, seed=1, fit=True)
        >>> result["mu"].mean().round(1)
        np.float64(2.0)
    """
    model = as_model(model)
    point, sizes, seeds = _plan(pars, model, n, seed, batch)
    given = checked_parameters(model, point, bounds, fixed, n=1)  # as the fits have them: moved into the bounds
    limits, held = given.bounds, {name: value for name, [value] in given.held.items()}
    _warn_of_few_events(point, model)
    tasks = {
        str(number): _Task(point, size, one, checked_source(source), fit, tuple(limits), held)
        for number, (size, one) in enumerate(zip(sizes, seeds, strict=True))
    }
    store = Store(checkpoint, model, ["toys", point, n, seed, source, fit, limits, held, sizes[0]])
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
    pars: Pars,
    model: Model | pyhf.Model,
    n: int,
    seed: int = 0,
    source: str = "simulation",
    batch: int | None = None,
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
    model = as_model(model)
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


def _thrown(model: Model, task: _Task) -> Array:
    """Return a row for each toy: counts, auxiliary data, and of its fit: parameters, -2 log L, valid, by iminuit."""
    drawn = draw(task.pars, model, task.n, task.seed, task.source)
    columns = [drawn.main, drawn.auxdata]
    if task.fit:
        fits = fit_batch(model, drawn, init=task.pars, bounds=list(task.bounds), fixed=task.fixed)
        columns += [fits.pars, np.stack([fits.twice_nll, fits.valid, fits.by_iminuit], axis=1)]
    return np.concatenate(columns, axis=1)


def _plan(
    pars: Pars, model: Model, n: int, seed: int, batch: int | None
) -> tuple[Array, list[int], list[np.random.SeedSequence]]:
    """Return the checked point, and the size and seed of every batch."""
    point = checked_point(pars, model, "the parameters of toys")
    n = checked_number(n, "the number of toys")
    if batch is None:
        rates = np.nan_to_num(model.rates(point)[0])  # without a value there are no toys, which the drawing says
        events = sum(float(rates[term.samples, term.bin].sum()) for term in model.terms)
        batch = int(np.clip(_EVENTS / max(events, 1.0), 1, _LARGEST))
    batch = min(checked_number(batch, "the number of toys of a batch"), n)
    sizes = [batch] * (n // batch) + ([n % batch] if n % batch else [])
    return point, sizes, np.random.SeedSequence(checked_seed(seed)).spawn(len(sizes))


def _warn_of_few_events(pars: Array, model: Model) -> None:
    rates = model.rates(pars)[0]
    for term in model.terms:
        simulated = term.channel.simulation().simulated.items()
        for (sample, size), expected in zip(simulated, rates[term.samples, term.bin], strict=False):
            if expected > _OFTEN * size.effective:
                warnings.warn(
                    f"channel {term.channel.name}: a toy takes {expected:.0f} events of sample {sample} from "
                    f"{size.effective:.0f} simulated ones: toys are alike, and intervals too short; simulate more",
                    stacklevel=3,
                )
