"""How the likelihood of a model is put together, as a JSON document that needs no neyman to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import neyman
from neyman.events import Ensemble, Events
from neyman.model.factors import purefunc_of
from neyman.model.mixture import MixtureChannel
from neyman.model.model import Model

__all__ = ["FORMAT", "VERSION", "likelihood_document"]


def __dir__() -> list[str]:
    return __all__


FORMAT, VERSION = "neyman likelihood", 1

_EVENTS = 20  # of a channel in the dataset whose likelihood is told
_SHIFT = 0.3  # of the parameters there from where they start, in the widths of their constraints
_FORMULA = (
    "log L = sum over the bins b of (n_b log nu_b - nu_b - log n_b!)"
    " + sum over the learned channels of sum_i w_i log( sum_c (nu_c / nu) g_c(x_i) m_c(x_i) )"
    " + sum of the log of the constraint terms;"
    " m_c(x) = exp( sum_k alpha_k slope_k(x) + v(alpha_k) curvature_k(x) ) / Z_c over the variations k of the sample c;"
    " Z_c = sum_g weight_g exp( t . point_g + t . covariance_g t / 2 ), t = (alpha_k.., v(alpha_k)..)"
)


def likelihood_document(model: Model, files: Mapping[str, str]) -> dict[str, Any]:
    """Describe the likelihood of a model whose learned channels are all mixtures.

    Args:
        model: the model.
        files: by learned channel, the name of the file with its graph.

    Returns:
        The document, made of lists, dictionaries, numbers and strings. Its keys are explained in the documentation.
    """
    config, purefunc = model.config, purefunc_of(model)
    known = model.observed_ensemble
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"neyman {neyman.__version__}",
        "formula": _FORMULA,
        "parameter_of_interest": config.poi_name,
        "parameters": [
            {"name": name, "start": start, "bounds": [_finite(end) for end in bounds], "fixed": fixed}
            for name, start, bounds, fixed in zip(
                config.par_names, config.suggested_init(), config.suggested_bounds(), config.suggested_fixed(),
                strict=True,
            )
        ],
        "constraints": _constraints(model),
        "histfactory": _without_infinities(model.spec),
        "modifier_settings": config.modifier_settings,
        "expressions": {} if purefunc is None else {name: str(purefunc.bindings[name]) for name in purefunc.bindings},
        "learned_channels": [_channel(channel, files[channel.name]) for channel in _mixtures(model)],
        "observed": None if known is None else _dataset(known),
        "check": _check(model),
    }  # fmt: skip


def _mixtures(model: Model) -> list[MixtureChannel]:
    return [channel for channel in model.learned.values() if isinstance(channel, MixtureChannel)]


def _constraints(model: Model) -> list[dict[str, Any]]:
    """Describe the constraint terms in the order of the auxiliary data."""
    config, found = model.config, []
    for name in config.auxdata_order:
        terms, names = config.param_set(name), config.par_names[config.par_slice(name)]
        poisson = terms.pdf_type == "poisson"
        scales = terms.factors if poisson else terms.width()
        for parameter, datum, scale in zip(names, terms.auxdata, scales, strict=True):
            kind = {"type": "poisson", "factor": float(scale)} if poisson else {"type": "normal", "sigma": float(scale)}
            found.append({"parameter": parameter, "auxiliary_datum": float(datum), **kind})
    return found


def _channel(channel: MixtureChannel, file: str) -> dict[str, Any]:
    return {
        "name": channel.name,
        "file": file,
        "features": list(channel.features),
        "samples": list(channel.samples),
        "yields": channel.yields.tolist(),
        "encoding": channel.encoding,
        "variations": [
            {
                "sample": channel.samples[v.sample],
                "parameter": v.parameter,
                "interpolation": "one-sided" if v.one_sided else "two-sided",
            }
            for v in channel.variations
        ],
        "normalisations": [
            {
                "sample": channel.samples[c],
                "variations": [k for k, v in enumerate(channel.variations) if v.sample == c],
                **_groups(one.pack()),
            }
            for c, one in sorted(channel.normalisations.items())
        ],
    }


def _groups(packed: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the groups of a normalisation in all of its dimensions."""
    varying = packed["varying"] if packed["varying"].any() else np.ones_like(packed["varying"])
    index = np.flatnonzero(varying)
    points = np.zeros((len(packed["points"]), len(varying)))
    points[:, index] = packed["points"]
    found = {"weights": packed["weights"].tolist(), "points": points.tolist()}
    if "covariances" in packed:
        covariances = np.zeros((len(points), len(varying), len(varying)))
        covariances[:, index[:, None], index] = packed["covariances"]
        found["covariances"] = covariances.tolist()
    return found


def _check(model: Model) -> dict[str, Any]:
    """Return a dataset of some simulated events, and its log-likelihood, by which a program can check itself."""
    start, widths = np.array(model.config.suggested_init()), np.zeros(model.config.npars)
    widths[model.constraints.parameters] = model.constraints.widths(start)
    fixed = np.array(model.config.suggested_fixed(), dtype=bool)
    bounds = np.array(model.config.suggested_bounds())
    pars = np.clip(start + np.where(fixed, 0.0, _SHIFT * widths), *bounds.T)
    events = {}
    for channel in _mixtures(model):
        pool = channel.pool.features
        events[channel.name] = Events(pool[np.linspace(0, len(pool) - 1, min(_EVENTS, len(pool))).astype(int)])
    expected = np.rint(model.rates(pars)[0].sum(axis=0).clip(min=0.0))
    binned = [name for name in model.config.channels if name not in model.learned]
    counts = {name: expected[model.config.channel_slices[name]] for name in binned}
    ensemble = Ensemble(events, counts)
    value, _ = model.evaluate(pars, model.data(ensemble))
    return {
        "parameters": dict(zip(model.config.par_names, pars.tolist(), strict=True)),
        **_dataset(ensemble),
        "log_likelihood": _finite(value),
    }


def _dataset(ensemble: Ensemble) -> dict[str, Any]:
    return {
        "counts": {name: counts.tolist() for name, counts in ensemble.counts.items()},
        "events": {
            name: {"features": events.features.tolist(), "weights": events.weights.tolist()}
            for name, events in ensemble.events.items()
        },
        "auxiliary_data": None if ensemble.auxdata is None else ensemble.auxdata.tolist(),
    }


def _finite(number: float) -> float | None:
    """Return a number, or ``None`` for what JSON has no number for."""
    return float(number) if math.isfinite(number) else None


def _without_infinities(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a specification without bounds that are infinite; those of all parameters stand elsewhere."""
    parameters = [
        {key: value for key, value in one.items() if key != "bounds" or np.isfinite(value).all()}
        for one in spec.get("parameters", ())
    ]
    return {**spec, "parameters": parameters} if parameters else dict(spec)
