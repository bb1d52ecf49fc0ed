"""The prediction beside the data: features, learned ratios and bins, from weighted simulation, with uncertainties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inputs.signed import sample_of
from neyman.model.bins import Bins, checked_edges, equal_bins, readable_bins
from neyman.model.discriminants import Region, discriminant, unknown_ratio
from neyman.model.distances import chi_squared
from neyman.model.shifts import Point, Shifts
from neyman.model.sources import LabelledEvents
from neyman.model.summary import Summary
from neyman.model.weighted_simulation import WeightedSimulation, histogram
from neyman.results import Distribution, FitResult, PredictionResult
from neyman.support.checks import checked_number
from neyman.support.messages import did_you_mean

if TYPE_CHECKING:
    from neyman.model.likelihood import LearnedTerm
    from neyman.model.model import Model

__all__ = ["Binning", "prediction"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]
Binning = int | Mapping[str, int | ArrayLike]

_BINS = 25


def prediction(
    model: Model,
    data: ArrayLike | Summary | None = None,
    fit: FitResult | None = None,
    *,
    channels: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    ratios: Sequence[str] | None = None,
    bins: Binning = _BINS,
    equal: bool = False,
    region: str | None = None,
    blind: bool = False,
) -> PredictionResult:
    """Return the prediction beside the data; see :meth:`neyman.Model.prediction`."""
    point = Point.of(model, fit)
    chosen = _channels(model, channels)
    ensemble = None if blind else _observed(model, data)
    whole = features is None and ratios is None
    cut = None if region is None else Region.read(region)
    wanted = _Wanted(features, ratios, bins, equal, cut, whole)
    terms = {term.channel.name: term for term in model.terms}
    shifts = Shifts.of(model, point)
    distributions: list[Distribution] = []
    described = ""
    for name in chosen:
        if name not in terms:
            if (whole and cut is None) or channels is not None:
                counts = None if ensemble is None else ensemble.counts[name]
                distributions.append(_binned(model, name, shifts, counts))
            continue
        events = None if ensemble is None else ensemble.events[name]
        found, text = _learned(model, terms[name], point, shifts, wanted, events)
        distributions += found
        described = described or text
    _check_found(model, chosen, wanted, distributions)
    parameters = dict(zip(model.config.par_names, map(float, point.pars), strict=True))
    return PredictionResult(point.label, described, parameters, tuple(distributions))


# -- what was asked for


@dataclass(frozen=True, eq=False)
class _Wanted:
    features: Sequence[str] | None
    ratios: Sequence[str] | None
    bins: Binning
    equal: bool
    region: Region | None
    whole: bool

    def edges(self, name: str, values: Array, weights: Array, expected: Array) -> Array:
        """Return the edges of a quantity's bins: those given, or chosen by its simulated values."""
        given = self.bins.get(name, _BINS) if isinstance(self.bins, Mapping) else self.bins
        if not isinstance(given, int | np.integer):
            return checked_edges(given, name)
        number = checked_number(given, f"the number of bins of {name}")
        return equal_bins(values, expected, number) if self.equal else readable_bins(values, weights, number)


def _channels(model: Model, channels: Sequence[str] | None) -> list[str]:
    known = [channel["name"] for channel in model.spec["channels"]]
    for name in channels or ():
        if name not in known:
            raise InvalidParameter(f"the model has no channel {name!r}; {did_you_mean(name, known)}")
    return [name for name in known if channels is None or name in channels]


def _observed(model: Model, data: ArrayLike | Summary | None) -> Ensemble | None:
    if isinstance(data, Summary):
        raise Unsupported("a summary of a dataset has no features to show: give the data themselves")
    if data is None:
        known = model.observed
        return None if known is None else model.ensemble(known)
    return model.ensemble(data)


def _check_found(model: Model, channels: Sequence[str], wanted: _Wanted, found: Sequence[Distribution]) -> None:
    """Check that what was named is there in some channel."""
    learned = [term.channel for term in model.terms if term.channel.name in channels]
    names = [name for channel in learned for name in channel.features]
    for name in wanted.features or ():
        if name not in names:
            raise InvalidParameter(f"the chosen channels have no feature {name!r}; {did_you_mean(name, names)}")
    for name in wanted.ratios or ():
        if not any(one.kind == "ratio" and one.name == name for one in found):
            raise unknown_ratio(name, model)
    for name in wanted.bins if isinstance(wanted.bins, Mapping) else ():
        if name not in (known := [one.name for one in found]):
            raise InvalidParameter(f"bins: there is no feature or ratio {name!r}; {did_you_mean(name, known)}")
    if not found:
        raise Unsupported("there is nothing to predict: no learned channel, or none with that region, was chosen")


# -- channels


def _binned(model: Model, name: str, shifts: Shifts, counts: Array | None) -> Distribution:
    samples = [sample["name"] for sample in next(c for c in model.spec["channels"] if c["name"] == name)["samples"]]
    rows = [model.config.samples.index(sample) for sample in samples]
    own = model.config.channel_slices[name]
    yields = shifts.rates[rows, own]
    change = (shifts.up - shifts.down)[:, rows, own].sum(axis=1) / 2
    number = yields.shape[1]
    bins, exact = Bins(np.arange(number + 1) + 0.5, ("", "")), np.zeros((number, number))
    return _distribution(name, ("", "bins", "bin"), samples, bins, yields, shifts, change, exact, counts)


def _learned(
    model: Model, term: LearnedTerm, point: Point, shifts: Shifts, wanted: _Wanted, events: Events | None
) -> tuple[list[Distribution], str]:
    """Return the distributions of a learned channel, and what its region is."""
    name, source = term.channel.name, term.channel.source
    if not isinstance(source, LabelledEvents):
        raise Unsupported(
            f"channel {name}: it was learned from a simulator, so that the model has no simulated events of its own to "
            "show: name other channels, or compare with toys (neyman toys)"
        )
    mixture = source.mixture
    simulation = WeightedSimulation(model, term, mixture, shifts)
    ratio_names = wanted.ratios
    if ratio_names is None:
        ratio_names = [model.config.poi_name] if wanted.whole and model.config.poi_name else []
    ratios = [r for r in (discriminant(n, model, term, mixture, point.pars) for n in ratio_names) if r]
    cut, text = None, ""
    if wanted.region is not None:
        of = wanted.region.name or model.config.poi_name
        if of is None:
            raise InvalidParameter("region: the measurement has no parameter of interest; write 'SAMPLE: top 20%'")
        cut = discriminant(of, model, term, mixture, point.pars)
        if cut is None:
            if len(model.terms) == 1 or not any(of in t.channel.samples for t in model.terms):
                raise unknown_ratio(of, model)
            return [], ""  # a region of a sample that this channel does not have
    encoded = None if events is None or not (ratios or cut) else mixture.encode(events)
    inside, data_inside = np.ones(len(mixture.pool.features), dtype=bool), None
    if cut is not None and wanted.region is not None:
        values = cut.values(mixture.pool.summary)
        threshold = wanted.region.threshold(values, simulation.expected)
        inside, text = wanted.region.chosen(values, threshold), wanted.region.described(cut.label)
        data_inside = None if encoded is None else wanted.region.chosen(cut.values(encoded), threshold)
    features = mixture.features if wanted.features is None and wanted.ratios is None else wanted.features or ()
    quantities: list[tuple[tuple[str, str, str], Any, Any]] = []
    for k, feature in enumerate(mixture.features):
        if feature in features:
            observed = None if events is None else events.features[:, k]
            quantities.append(((feature, "feature", feature), mixture.pool.features[:, k], observed))
    quantities += [
        ((r.name, "ratio", r.label), r.values(mixture.pool.summary), None if encoded is None else r.values(encoded))
        for r in ratios
    ]
    binned = []
    for (key, _, _), values, observed in quantities:
        kept = values[inside]
        edges = wanted.edges(key, kept, mixture.pool.summary.weights[inside], simulation.expected[inside])
        beside = () if observed is None else (observed if data_inside is None else observed[data_inside],)
        binned.append((Bins.around(edges, [kept, *beside]), values))
    found = []
    for (title, _, observed), (bins, _), filled in zip(
        quantities, binned, simulation.filled(binned, inside), strict=True
    ):
        counts = None
        if observed is not None and events is not None:
            chosen = slice(None) if data_inside is None else data_inside
            counts = histogram(bins.index(observed[chosen]), events.weights[chosen], len(bins))
        yields, change, covariance = filled
        found.append(_distribution(name, title, mixture.samples, bins, yields, shifts, change, covariance, counts))
    return found, text


# -- distributions


def _distribution(
    channel: str,
    title: tuple[str, str, str],
    samples: Sequence[str],
    bins: Bins,
    yields: Array,
    shifts: Shifts,
    change: Array,
    simulation: Array,
    data: Array | None,
) -> Distribution:
    name, kind, label = title
    by_parameters = shifts.covariance(change)
    total = yields.sum(axis=0)
    distance: tuple[float, int, float] = (np.nan, 0, np.nan)
    if data is not None:
        # the fit has moved the prediction towards the data: what is left of their difference varies less
        sign = -1.0 if shifts.point.label == "post-fit" else 1.0
        distance = chi_squared(data - total, np.diag(total) + sign * by_parameters + simulation, total)
    covariance = by_parameters + simulation
    return Distribution(
        channel,
        name,
        kind,
        label,
        bins.edges,
        bins.ends,
        _by_sample(samples, yields),
        _root(np.diag(covariance)),
        _root(np.diag(simulation)),
        float(_root(covariance.sum())),
        data,
        *distance,
    )


def _by_sample(samples: Sequence[str], yields: Array) -> dict[str, Array]:
    """Return the contents of each sample of the document, those of either sign being two in the model."""
    found: dict[str, Array] = {}
    for sample, content in zip(samples, yields, strict=True):
        found[sample_of(sample)] = found.get(sample_of(sample), 0.0) + content
    return found


def _root(variance: Any) -> Array:
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))
