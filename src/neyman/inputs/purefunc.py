"""The modifier ``purefunc``: a sample's rate times an expression of parameters, for any pyhf.Model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray

from neyman.exceptions import InvalidDocument, Unsupported
from neyman.inputs.bindings import Bindings
from neyman.inputs.node import Node

__all__ = ["Purefunc", "check_rates", "modifier_set"]


def __dir__() -> list[str]:
    return __all__


_NEW = {  # a parameter that only bindings have is like that of a normfactor
    "paramset_type": "unconstrained",
    "n_parameters": 1,
    "is_scalar": True,
    "inits": (1.0,),
    "bounds": ((0, 10),),
    "fixed": False,
}


def modifier_set(bindings: Sequence[Mapping[str, Any]] | Bindings) -> dict[str, Any]:
    """Return pyhf's modifiers and ``purefunc``, as :class:`pyhf.Model` takes them.

    A sample with the modifier ``{"name": "c_S", "type": "purefunc", "data": None}`` has its rate multiplied by the
    expression that is bound to ``c_S``. The names in the expressions are parameters: those of other modifiers, and new
    ones, which start at 1 within (0, 10) where the specification does not say otherwise. This is the modifier of pyhf's
    pull request 2717.

    Args:
        bindings: a list of mappings with the keys ``names``, ``expressions`` (or ``expression``), a text of one
            expression or a tuple of them, and ``language``, which is ``"sympy"``.

    Raises:
        InvalidDocument: if a binding is wrong; and a :class:`pyhf.Model` raises it if a modifier has no binding or a
            binding no use.

    Example:
        >>> import neyman, pyhf
        >>> def sample(name, rate):
        ...     return {"name": name, "data": [rate], "modifiers": [{"name": name, "type": "purefunc", "data": None}]}
        >>> spec = {"channels": [{"name": "SR", "samples": [sample("c_S", 9.0), sample("c_I", 5.0)]}],
        ...         "bindings": [{"names": ["c_S", "c_I"], "expressions": "(mu, sqrt(mu))", "language": "sympy"}]}
        >>> model = pyhf.Model(spec, modifier_set=neyman.modifier_set(spec["bindings"]), validate=False)
        >>> model.expected_data([4.0])
        array([46.])
    """
    found = bindings if isinstance(bindings, Bindings) else Bindings(bindings)

    def builder(config: Any, *_: object) -> _Builder:
        return _Builder(config, found)

    return {**pyhf.modifiers.histfactory_set, "purefunc": (builder, Purefunc)}


def check_rates(model: pyhf.Model) -> None:
    """Refuse coefficients with which a channel has negative rates where the model starts, in each of its bins.

    Args:
        model: the model of a document with bindings.

    Raises:
        InvalidDocument: for the first such channel; the message names its sample with the lowest rate.
    """
    start = np.array(model.config.suggested_init(), dtype=np.float64)
    rates = np.asarray(model.main_model.expected_data(start, return_by_sample=True))
    for name, bins in model.config.channel_slices.items():
        if (rates[:, bins].sum(axis=0) < 0.0).all():
            own = rates[:, bins].sum(axis=1)
            worst = int(np.argmin(own))
            at = ", ".join(f"{one} = {x:g}" for one, x in zip(model.config.par_names[:6], start, strict=False))
            raise InvalidDocument(
                f"bindings: channel {name}: the expected rate is {own.sum():.4g} at the start, {at}; its sample "
                f"{model.config.samples[worst]} has {own[worst]:.4g}: change the expressions, or the inits"
            )


class _Builder:
    """Collects which samples have which modifiers, as pyhf wants it."""

    is_shared = True

    def __init__(self, config: Any, bindings: Bindings) -> None:
        used: dict[str, Node | None] = {name: None for name, kind in config.modifiers if kind == "purefunc"}
        others = {name for name, kind in config.modifiers if kind != "purefunc"}
        bindings.check(used, others)
        new = [name for name in bindings.parameters if name not in others]
        self.required_parsets = {name: [_NEW] for name in new}
        self._bins = config.channel_nbins
        self._bindings = bindings
        self._applied: dict[tuple[str, str], list[bool]] = {}

    def append(self, key: str, channel: str, sample: str, thismod: Any, defined_samp: Any) -> None:
        """Note whether a modifier applies to a sample in a channel."""
        name = key.partition("/")[2]
        self._applied.setdefault((name, sample), []).extend([bool(thismod)] * self._bins[channel])

    def finalize(self) -> tuple[Bindings, dict[tuple[str, str], list[bool]]]:
        """Return the bindings, and the bins of every modifier and sample."""
        return self._bindings, self._applied


class Purefunc:
    """Multiplies rates by expressions of parameters, as pyhf's own modifiers do by theirs.

    Args:
        modifiers: names and types of the modifiers.
        pdfconfig: pyhf's configuration of the model.
        builder_data: the bindings, and the bins of every modifier and sample.
        batch_size: the number of points evaluated at once.

    Raises:
        InvalidDocument: if an expression has no value at the parameters' initial values, or one is not a number.
    """

    name = "purefunc"
    op_code = "multiplication"

    def __init__(
        self,
        modifiers: Sequence[tuple[str, str]],
        pdfconfig: Any,
        builder_data: tuple[Bindings, dict[tuple[str, str], list[bool]]],
        batch_size: int | None = None,
    ) -> None:
        self.bindings, applied = builder_data
        self.names = tuple(name for name, _ in modifiers)
        columns = [_column(pdfconfig, self.bindings, name) for name in self.bindings.parameters]
        self.columns: NDArray[np.intp] = np.array(columns, dtype=np.intp)
        self.mask: NDArray[np.bool_] = np.array(
            [[applied[name, sample] for sample in pdfconfig.samples] for name in self.names], dtype=bool
        )
        if self.names:
            self._check_start(np.array(pdfconfig.suggested_init(), dtype=np.float64))

    @property
    def modifier_set(self) -> dict[str, Any]:
        """What :func:`modifier_set` returns, for a model like this one."""
        return modifier_set(self.bindings)

    def apply(self, pars: Any) -> Any:
        """Return the factors, shape ``(modifiers, samples, points, bins)``, or nothing if there are no modifiers."""
        if not self.names:
            return None
        if pyhf.tensorlib.name != "numpy":
            raise Unsupported(f"a purefunc is for pyhf's numpy backend, not {pyhf.tensorlib.name}: set that")
        values = self.values(np.asarray(pars, dtype=np.float64).reshape(-1, np.shape(pars)[-1]))
        return np.where(self.mask[:, :, None, :], values.T[:, None, :, None], 1.0)

    def values(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the expressions of all modifiers, not a number where they have no value.

        Args:
            points: the parameters of the model, shape ``(n, P)``.

        Returns:
            Shape ``(n, modifiers)``.
        """
        return self.bindings.coefficients(tuple((name,) for name in self.names))(points[:, self.columns])[0]

    def _check_start(self, start: NDArray[np.float64]) -> None:
        """Refuse expressions without a value where the model starts."""
        for name, value in zip(self.names, self.values(start[None])[0], strict=True):
            if np.isnan(value):
                names = self.bindings.parameters
                at = ", ".join(
                    f"{one} = {x:g}"
                    for one, x in zip(names, start[self.columns], strict=True)
                    if one in self.bindings.uses(name)
                )
                raise self.bindings.places[name].error(
                    f"{name!r} is {self.bindings[name]}, which has no value at the start, {at}: give other inits"
                )


def _column(config: Any, bindings: Bindings, parameter: str) -> int:
    """Return the position of a parameter, which is one number."""
    place = config.par_slice(parameter)
    if not config.param_set(parameter).is_scalar:
        raise bindings.entries.error(
            f"{parameter!r} is {place.stop - place.start} numbers, one for each bin; an expression takes one number"
        )
    return int(place.start)
