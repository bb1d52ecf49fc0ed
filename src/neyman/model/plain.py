"""A plain pyhf.Model in the place of a neyman.Model: the same likelihood, with exact gradients."""

from __future__ import annotations

import weakref
from typing import Any

import pyhf

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.model.factors import purefunc_of
from neyman.model.model import Model

__all__ = ["as_model"]


def __dir__() -> list[str]:
    return __all__


_SETTINGS = ("suggested_init", "suggested_bounds", "suggested_fixed")

# what was made of each plain model, as long as that lives, and its settings then: a user may have changed them since
_made: weakref.WeakKeyDictionary[pyhf.Model, tuple[list[Any], Model]] = weakref.WeakKeyDictionary()


def as_model(model: Model | pyhf.Model) -> Model:
    """Return a model that gives exact gradients: the model itself, or a plain pyhf.Model's twin.

    The twin has the specification, the parameter of interest, the modifier settings, and the suggested values and
    bounds of the plain model. It is made once for each object.

    Args:
        model: the model; any other likelihood with ``evaluate`` and pyhf's ``config`` is returned as it is.

    Raises:
        InvalidParameter: if it is no model.
        Unsupported: if it is a pyhf.Model that clips its rates, is batched, or has modifiers that pyhf does not have.

    Example:
        >>> import pyhf
        >>> from neyman.model.plain import as_model
        >>> plain = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> as_model(plain)
        neyman.Model(learned channels: none; binned channels: singlechannel; 3 parameters, POI mu)
        >>> as_model(plain) is as_model(plain)
        True
    """
    if isinstance(model, Model) or hasattr(model, "evaluate"):
        return model
    if not isinstance(model, pyhf.Model):
        raise InvalidParameter(f"model is a {type(model).__name__}: it must be a neyman.Model or a pyhf.Model")
    state = [model.config.poi_name, *(getattr(model.config, setting)() for setting in _SETTINGS)]
    if model not in _made or _made[model][0] != state:
        _made[model] = state, _twin(model)
    return _made[model][1]


def _twin(model: pyhf.Model) -> Model:
    main = model.main_model
    if model.batch_size is not None:
        raise Unsupported("a pyhf.Model with a batch_size has one likelihood for many points: build it without")
    if main.clip_sample_data is not None or main.clip_bin_data is not None:
        raise Unsupported("a model with clip_sample_data or clip_bin_data has no exact gradient: build it without")
    purefunc = purefunc_of(model)
    known = {*pyhf.modifiers.histfactory_set, *(() if purefunc is None else ("purefunc",))}
    unknown = sorted({kind for _, kind in model.config.modifiers} - known)
    if unknown:
        hint = ": make it with modifier_set=neyman.modifier_set(bindings)" if "purefunc" in unknown else ""
        raise Unsupported(
            f"the pyhf.Model has modifiers of the type {unknown[0]}, which is not one of pyhf's own{hint}"
        )
    spec = model.spec if purefunc is None else {**model.spec, "bindings": purefunc.bindings.entries.value}
    try:
        twin = Model(spec, {}, poi_name=model.config.poi_name, modifier_settings=model.config.modifier_settings)
    except pyhf.exceptions.InvalidSpecification as error:
        reason = str(error).splitlines()[0]
        raise Unsupported(f"the specification of the pyhf.Model is not valid, mend it: {reason}") from error
    for name in model.config.par_order:
        for setting in _SETTINGS:
            setattr(twin.config.param_set(name), setting, list(getattr(model.config.param_set(name), setting)))
    return twin
