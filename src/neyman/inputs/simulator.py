"""A simulator: a forward model, any function of parameters and a random generator, that makes whole datasets."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.events import Events
from neyman.exceptions import InvalidParameter, InvalidSimulation
from neyman.inputs.priors import checked_prior, described
from neyman.inputs.returned import pair, rows
from neyman.support.checks import checked_pars
from neyman.support.text import html_table

__all__ = ["Simulator"]


def __dir__() -> list[str]:
    return __all__


_REQUIRED = ("inits", "bounds")
_CONSTRAINT = ("auxdata", "sigmas")
_KEYS = ("name", *_REQUIRED, *_CONSTRAINT, "fixed")


class Simulator:
    """A forward model that makes whole datasets: ``sample(pars, rng) -> events (N, d)``.

    Nothing of its density or rates needs to be known, and events may depend on each other, as in a hierarchical model.
    The number of events is part of what it makes. For posteriors it may also say what is known of the parameters
    before any data, and what each event, or group of events, has of its own.

    Args:
        sample: makes one dataset; takes the parameters, shape ``(P,)`` in the order of ``parameters``, and a
            :class:`numpy.random.Generator` from which all its randomness must come; returns the events, shape
            ``(N, d)``, where ``N`` may be 0. A function of a module can be sent to other processes, a lambda cannot.
        parameters: pyhf's parameter blocks, one value each: ``name``, ``inits``, ``bounds``, and ``fixed`` if it is to
            be held at its initial value. With ``auxdata`` and ``sigmas`` the parameter has pyhf's normal constraint.
        poi: name of the parameter of interest, or ``None``.
        features: names of the ``d`` features.
        channel: name of the channel that the events are in.
        version: to be changed with whatever ``sample`` computes that a cache of its datasets cannot see, as a file that
            it reads or a library that it calls: datasets of another version are simulated again.
        prior: of any parameters, frozen continuous distributions of ``scipy.stats`` by name, whose support is at least
            the bounds and whose probability lies within them; draws beyond, of a probability below 0.1 %, are redrawn.
            Of the others it is uniform within the bounds or, with a constraint, its normal distribution there.
        locals: names of ``L`` local parameters; then ``sample`` returns ``(events, locals)``, these of shape
            ``(N, L)``, a row for each event.
        event_shape: the shape of one event that is not a list of features, such as ``(64, 64)`` of an image; then
            ``sample`` returns shape ``(N, 64, 64)``, and ``features`` is one name.

    Attributes:
        names: the parameters, ``P`` of them.
        bounds: of the parameters, shape ``(P, 2)``.
        prior: of every parameter, by name.
        local_names: the local parameters.
        columns: names of the ``d`` numbers of an event, ``image[0,0]`` and so on where events have a shape.

    Raises:
        InvalidParameter: if a parameter, its prior, the parameter of interest, a feature, a local parameter or the
            shape of an event is not as described.

    Example:
        >>> from neyman.inputs.simulator import Simulator
        >>> def counts(pars, rng):
        ...     return rng.normal(pars[1], 1.0, size=(rng.poisson(pars[0]), 1))
        >>> parameters = [
        ...     {"name": "rate", "inits": [10.0], "bounds": [[0, 50]]},
        ...     {"name": "mean", "inits": [0.0], "bounds": [[-1, 1]], "auxdata": [0.0], "sigmas": [0.2]},
        ... ]
        >>> simulator = Simulator(counts, parameters, poi="rate", features=["x"])
        >>> simulator
        Simulator(counts; parameters: rate, mean; POI rate; features: x)
        >>> simulator.draw([10.0, 0.5], seed=1).features.shape
        (8, 1)

        With a prior and what is local to each event:

        >>> from scipy.stats import norm
        >>> def groups(pars, rng):
        ...     z = rng.normal(pars[0], 1.0, size=(9, 1))
        ...     return rng.normal(z, 0.5), z
        >>> parameters = [{"name": "mu", "inits": [0.0], "bounds": [[-5, 5]]}]
        >>> simulator = Simulator(groups, parameters, "mu", ["x"], prior={"mu": norm(0, 1)}, locals=["z"])
        >>> events, z = simulator.draw_with_locals([0.5], seed=1)
        >>> len(events), z.shape
        (9, (9, 1))
    """

    def __init__(
        self,
        sample: Callable[[NDArray[np.float64], np.random.Generator], ArrayLike],
        parameters: Sequence[Mapping[str, Any]],
        poi: str | None,
        features: Sequence[str],
        channel: str = "events",
        version: str = "",
        *,
        prior: Mapping[str, Any] | None = None,
        locals: Sequence[str] = (),
        event_shape: Sequence[int] | None = None,
    ) -> None:
        if not callable(sample):
            raise InvalidParameter(f"sample is {sample!r}: give a function of the parameters and a random generator")
        self.sample = sample
        self.parameters = [_checked_block(block, number) for number, block in enumerate(parameters)]
        self.names: tuple[str, ...] = tuple(block["name"] for block in self.parameters)
        self.poi = poi
        self.features = _checked_names(features, "features")
        self.channel = _checked_names([channel], "channel")[0]
        self.version = version
        _checked_names(self.names, "parameters")
        if poi is not None and poi not in self.names:
            raise InvalidParameter(
                f"poi is {poi!r}, which is no parameter: give one of {', '.join(self.names)} or None"
            )
        self.bounds: NDArray[np.float64] = np.array([block["bounds"][0] for block in self.parameters], dtype=np.float64)
        self.inits: NDArray[np.float64] = np.array([block["inits"][0] for block in self.parameters], dtype=np.float64)
        self.prior: dict[str, Any] = checked_prior(prior, self.parameters)
        self.local_names = _checked_names(locals, "locals") if len(locals) else ()
        if twice := set(self.local_names).intersection(self.names):
            raise InvalidParameter(f"locals has {min(twice)}, which is a parameter of the whole dataset: rename one")
        self.event_shape = _checked_event_shape(event_shape, self.features)
        self.columns = self.features if self.event_shape is None else _columns(self.features[0], self.event_shape)

    def __repr__(self) -> str:
        parts = [
            getattr(self.sample, "__name__", type(self.sample).__name__),
            f"parameters: {', '.join(self.names)}",
            f"POI {self.poi}",
            f"features: {', '.join(self.features)}{_times(self.event_shape)}",
            *([f"locals: {', '.join(self.local_names)}"] if self.local_names else []),
        ]
        return f"Simulator({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        name = getattr(self.sample, "__name__", type(self.sample).__name__)
        caption = f"simulator {name}, parameter of interest {self.poi or 'none'}, features {', '.join(self.features)}"
        caption += _times(self.event_shape)
        caption += f", locals {', '.join(self.local_names)}" if self.local_names else ""
        rows = (
            (
                block["name"],
                f"{block['inits'][0]:g}{' (fixed)' if block['fixed'] else ''}",
                "{:g} to {:g}".format(*block["bounds"][0]),
                f"{block['auxdata'][0]:g} ± {block['sigmas'][0]:g}" if "sigmas" in block else "free",
                described(self.prior[block["name"]]),
            )
            for block in self.parameters
        )
        return html_table(caption, ("parameter", "initial value", "bounds", "constraint", "prior"), rows)

    def spec(self) -> dict[str, Any]:
        """Return the inner HistFactory specification, in which the parameters exist but change no rate.

        One bin has the expected rate zero for all parameters. A free parameter is a ``normfactor`` of it; a
        constrained one is a ``normsys`` whose two factors are one or, since pyhf has no ``sigmas`` for that, a
        ``staterror`` where sigma is not one. The name of the latter in pyhf's ``config.par_names`` then ends with
        ``[0]``, unless its ``config.param_set(name).is_scalar`` is set; ``config.par_order`` and ``config.par_map``
        have the bare name. The order of the parameters is pyhf's, not ours.

        Example:
            >>> import pyhf
            >>> from neyman.inputs.simulator import Simulator
            >>> parameters = [{"name": "scale", "inits": [1.0], "bounds": [[0, 2]], "auxdata": [1.0], "sigmas": [0.1]}]
            >>> simulator = Simulator(lambda pars, rng: rng.normal(0.0, pars[0], (9, 1)), parameters, None, ["x"])
            >>> model = pyhf.Model(simulator.spec(), poi_name=None)
            >>> model.config.par_order, model.config.suggested_init(), model.config.auxdata
            (['scale'], [1.0], [1.0])
            >>> model.expected_actualdata([1.5])
            array([0.])
        """
        kinds = [_kind(block) for block in self.parameters]
        modifiers = [
            {"name": block["name"], "type": kind, "data": copy.deepcopy(_DATA[kind])}
            for block, kind in zip(self.parameters, kinds, strict=True)
        ]
        sample = {"name": "simulation", "data": [0.0], "modifiers": modifiers}
        parameters = [
            {key: copy.deepcopy(value) for key, value in block.items() if (key, kind) != ("sigmas", "normsys")}
            for block, kind in zip(self.parameters, kinds, strict=True)
        ]
        return {"channels": [{"name": self.channel, "samples": [sample]}], "parameters": parameters}

    def draw(self, pars: ArrayLike, seed: int | Sequence[int]) -> Events:
        """Make one dataset; the same arguments give the same one.

        Args:
            pars: the parameters, shape ``(P,)``; they may be out of bounds.
            seed: an integer or integers, for :func:`numpy.random.default_rng`.

        Returns:
            The events, each of weight one.

        Raises:
            InvalidParameter: if the parameters are too few, too many or not finite, or the seed is not one.
            InvalidSimulation: if the simulator raises, or returns what is not finite or not of shape ``(N, d)``.
        """
        return self.draw_with_locals(pars, seed)[0]

    def draw_with_locals(self, pars: ArrayLike, seed: int | Sequence[int]) -> tuple[Events, NDArray[np.float32]]:
        """Make one dataset with what is local to each event; the same arguments give the same one.

        Args:
            pars: the parameters, shape ``(P,)``; they may be out of bounds.
            seed: an integer or integers, for :func:`numpy.random.default_rng`.

        Returns:
            The events, those that :meth:`draw` makes, and the local parameters, shape ``(N, L)``.

        Raises:
            InvalidParameter: if the parameters are too few, too many or not finite, or the seed is not one.
            InvalidSimulation: if the simulator raises, or returns what is not finite or of another shape.
        """
        values = checked_pars(pars, self.names, "pars")
        try:
            rng = np.random.default_rng(seed)
        except (TypeError, ValueError) as error:
            raise InvalidParameter(f"seed is {seed!r}: give a non-negative integer or a sequence of them") from error
        try:
            sampled = self.sample(values.copy(), rng)
        except Exception as error:
            text = " ".join(f"the simulator raised {type(error).__name__}: {error}".split())
            raise self._invalid(text, values, seed) from error
        try:
            x, z = self._arrays(sampled)
        except InvalidSimulation as error:
            raise self._invalid(str(error), values, seed) from error
        return Events(x), z

    def _arrays(self, sampled: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what ``sample`` has returned as events and what is local to each, if it can be that."""
        local: Any = None
        if self.local_names:
            sampled, local = pair(sampled, self.local_names)
        elif isinstance(sampled, tuple) and len(sampled) == 2 and np.ndim(sampled[0]) > 1:
            raise InvalidSimulation(
                "the simulator returned a tuple: return the events alone, or name what else there is with locals=[...]"
            )
        if self.event_shape is None:
            x = rows(sampled, "", self.columns, (len(self.columns),), f"the features being {', '.join(self.features)}")
        else:
            x = rows(sampled, "", self.columns, self.event_shape, f"each event being one {self.features[0]}")
        if not self.local_names:
            return x, np.empty((len(x), 0), dtype=np.float32)
        names = self.local_names
        z = rows(local, "locals of ", names, (len(names),), f"the local parameters being {', '.join(names)}")
        if len(z) != len(x):
            raise InvalidSimulation(f"the simulator returned {len(x)} events, but locals of {len(z)}: a row for each")
        return x, z

    def _invalid(self, text: str, pars: NDArray[np.float64], seed: int | Sequence[int]) -> InvalidSimulation:
        """Return the error, with what it takes to reproduce it."""
        point = ", ".join(f"{name}={value!r}" for name, value in zip(self.names, pars.tolist(), strict=True))
        shown = [int(one) for one in seed] if isinstance(seed, Iterable) else seed
        return InvalidSimulation(f"{text} (at {point}, seed={shown})")


_DATA: dict[str, Any] = {"normfactor": None, "normsys": {"hi": 1.0, "lo": 1.0}, "staterror": [0.0]}


def _kind(block: Mapping[str, Any]) -> str:
    """Return the modifier whose parameter can have this block: a ``normsys`` has a sigma of one and no other."""
    if "sigmas" not in block:
        return "normfactor"
    return "normsys" if block["sigmas"] == [1.0] else "staterror"


def _checked_block(block: Any, number: int) -> dict[str, Any]:
    """Return a copy of a parameter block, complete and of Python's own types."""
    if not isinstance(block, Mapping) or not isinstance(block.get("name"), str) or not block["name"]:
        raise InvalidParameter(f"parameter {number} is {block!r}: give a pyhf parameter block with a name")
    name = block["name"]
    if unknown := [key for key in block if key not in _KEYS]:
        raise InvalidParameter(f"the parameter {name} has the unknown key {unknown[0]}: known are {', '.join(_KEYS)}")
    if missing := [key for key in _REQUIRED if key not in block]:
        raise InvalidParameter(f"the parameter {name} has no {missing[0]}")
    if len(given := [key for key in _CONSTRAINT if key in block]) == 1:
        raise InvalidParameter(f"the parameter {name} has {given[0]}: a constraint takes auxdata and sigmas")
    values = {key: _numbers(block, key, (1,)) for key in ("inits", *given)}
    low, high = _numbers(block, "bounds", (1, 2))[0]
    if not low < high:
        raise InvalidParameter(f"the parameter {name} has bounds {[low, high]}: the first must be below the second")
    if not low <= values["inits"][0] <= high:
        raise InvalidParameter(
            f"the parameter {name} has the init {values['inits'][0]}, out of its bounds {[low, high]}"
        )
    if given and values["sigmas"][0] <= 0:
        raise InvalidParameter(f"the parameter {name} has the sigma {values['sigmas'][0]}: it must be positive")
    fixed = block.get("fixed", False)
    if not isinstance(fixed, bool):
        raise InvalidParameter(f"the parameter {name} has fixed {fixed!r}: give true or false")
    return {"name": name, "bounds": [[low, high]], **values, "fixed": fixed}


def _numbers(block: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> list[Any]:
    """Return a list of finite numbers of that shape."""
    wrong = InvalidParameter(
        f"the parameter {block['name']} has {key} {block[key]!r}: "
        f"give {'one finite number' if len(shape) == 1 else 'one pair of finite numbers'}, in a list"
    )
    try:
        values = np.asarray(block[key], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise wrong from error
    if values.shape != shape or not np.isfinite(values).all():
        raise wrong
    numbers: list[Any] = values.tolist()
    return numbers


def _checked_names(names: Any, what: str) -> tuple[str, ...]:
    """Return names as a tuple, at least one, each once."""
    if (
        not isinstance(names, Sequence)
        or isinstance(names, str)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise InvalidParameter(f"{what} is {names!r}: give a list of names")
    if len(set(names)) < len(names):
        raise InvalidParameter(f"{what} has the same name twice: {', '.join(names)}")
    return tuple(names)


def _checked_event_shape(shape: Any, features: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the shape of an event that is no list of features."""
    if shape is None:
        return None
    whole = isinstance(shape, Sequence) and not isinstance(shape, str)
    if not whole or not shape or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise InvalidParameter(f"event_shape is {shape!r}: give the shape of one event, such as (64, 64)")
    if len(features) > 1:
        raise InvalidParameter(
            f"features has {len(features)} names, but events have the shape {tuple(shape)}: give one name for the whole"
        )
    return tuple(int(n) for n in shape)


def _columns(name: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return a name for each number of an event."""
    return tuple(f"{name}[{','.join(map(str, place))}]" for place in itertools.product(*map(range, shape)))


def _times(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else f" ({' x '.join(map(str, shape))})"
