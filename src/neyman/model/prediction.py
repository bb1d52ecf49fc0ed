"""The prediction beside the data: features, learned ratios and bins, from weighted simulation, with uncertainties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidParameter, InvalidResult, Unsupported
from neyman.inputs.signed import sample_of
from neyman.model.bins import Bins, checked_edges, equal_bins, readable_bins
from neyman.model.constraints import constraints
from neyman.model.discriminants import Region, discriminant, unknown_ratio
from neyman.model.sources import LabelledEvents
from neyman.model.summary import Summary
from neyman.model.variations import interpolation
from neyman.results import Distribution, FitResult, PredictionResult
from neyman.support.checks import checked_number
from neyman.support.messages import did_you_mean

if TYPE_CHECKING:
    from neyman.model.mixture import MixtureChannel
    from neyman.model.model import LearnedTerm, Model

__all__ = ["Binning", "prediction"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]
Binning = int | Mapping[str, int | ArrayLike]

_BINS = 25
_FEWEST = 5.0  # expected events of bins that are compared by chi-square: fewer are joined with their neighbours
_DETERMINED = 0.05  # of its variance is left of a combination of bins that the fit has all but determined


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
    point = _Point.of(model, fit)
    chosen = _channels(model, channels)
    ensemble = None if blind else _observed(model, data)
    whole = features is None and ratios is None
    cut = None if region is None else Region.read(region)
    wanted = _Wanted(features, ratios, bins, equal, cut, whole)
    terms = {term.channel.name: term for term in model.terms}
    shifts = _Shifts.of(model, point)
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


# -- the parameters and what they change


@dataclass(frozen=True, eq=False)
class _Point:
    """Parameters, shape ``(P,)``, with their uncertainties and correlations."""

    label: str
    pars: Array
    sigma: Array
    correlation: Array

    @classmethod
    def of(cls, model: Model, fit: FitResult | None) -> _Point:
        names = list(model.config.par_names)
        if fit is not None:
            if list(fit.names) != names:
                raise InvalidResult(
                    f"the fit has the parameters {', '.join(fit.names)}, but the model {', '.join(names)}: fit this one"
                )
            return cls("post-fit", fit.bestfit, np.sqrt(np.diag(fit.covariance)), fit.correlations)
        terms = constraints(model)
        fixed = model.config.suggested_fixed()
        widths = [0.0 if held else terms.get(name, (0.0, 0.0))[1] for name, held in zip(names, fixed, strict=True)]
        pars = np.array(model.config.suggested_init(), dtype=np.float64)
        return cls("pre-fit", pars, np.array(widths), np.eye(len(names)))


@dataclass(frozen=True, eq=False)
class _Shifts:
    """The rates where each uncertain parameter is moved by its uncertainty up or down, the others staying.

    Args:
        point: the parameters.
        moved: the uncertain ones, shape ``(K,)``.
        rates: at the point, shape ``(S, B)``.
        up: shape ``(K, S, B)``.
        down: the same.
    """

    point: _Point
    moved: NDArray[np.intp]
    rates: Array
    up: Array
    down: Array

    @classmethod
    def of(cls, model: Model, point: _Point) -> _Shifts:
        moved = np.flatnonzero(point.sigma > 0)
        rates = model.rates(point.pars)[0]
        sides = np.empty((2, len(moved), *rates.shape))
        for k, p in enumerate(moved):
            for side, sign in zip(sides, (1, -1), strict=True):
                side[k] = model.rates(_with(point.pars, p, sign * point.sigma[p]))[0]
        return cls(point, moved, rates, *sides)

    def covariance(self, change: Array) -> Array:
        """Return the covariance of bins ``(B, B)`` that have these changes with the moved parameters, ``(K, B)``."""
        correlation = self.point.correlation[np.ix_(self.moved, self.moved)]
        return np.asarray(change.T @ correlation @ change)


def _with(pars: Array, index: int, shift: float) -> Array:
    moved = pars.copy()
    moved[index] += shift
    return moved


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


def _binned(model: Model, name: str, shifts: _Shifts, counts: Array | None) -> Distribution:
    samples = [sample["name"] for sample in next(c for c in model.spec["channels"] if c["name"] == name)["samples"]]
    rows = [model.config.samples.index(sample) for sample in samples]
    own = model.config.channel_slices[name]
    yields = shifts.rates[rows, own]
    change = (shifts.up - shifts.down)[:, rows, own].sum(axis=1) / 2
    number = yields.shape[1]
    bins, exact = Bins(np.arange(number + 1) + 0.5, ("", "")), np.zeros((number, number))
    return _distribution(name, ("", "bins", "bin"), samples, bins, yields, shifts, change, exact, counts)


def _learned(
    model: Model, term: LearnedTerm, point: _Point, shifts: _Shifts, wanted: _Wanted, events: Events | None
) -> tuple[list[Distribution], str]:
    """Return the distributions of a learned channel, and what its region is."""
    name, source = term.channel.name, term.channel.source
    if not isinstance(source, LabelledEvents):
        raise Unsupported(
            f"channel {name}: it was learned from a simulator, so that the model has no simulated events of its own to "
            "show: name other channels, or compare with toys (neyman toys)"
        )
    mixture = source.mixture
    simulation = _Simulation(model, term, mixture, shifts)
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
            counts = _histogram(bins.index(observed[chosen]), events.weights[chosen], len(bins))
        yields, change, covariance = filled
        found.append(_distribution(name, title, mixture.samples, bins, yields, shifts, change, covariance, counts))
    return found, text


class _Simulation:
    """The labelled simulated events of a channel, weighted at the parameters and where each of them is moved."""

    def __init__(self, model: Model, term: LearnedTerm, mixture: MixtureChannel, shifts: _Shifts) -> None:
        self._pool, self._shifts = mixture.pool, shifts
        self._rates, self._up, self._down = (
            rates[..., term.samples, term.bin] for rates in (shifts.rates, shifts.up, shifts.down)
        )
        self._own = [np.flatnonzero(mixture.pool.samples == c) for c in range(len(mixture.samples))]
        self._shapes = _Shapes(mixture, shifts, term.parameters, self._own)
        self._nominal = [self._shapes.at(c) for c in range(len(self._own))]
        spec = next(c for c in model.spec["channels"] if c["name"] == term.channel.name)
        # the rate of such a sample has the error of its simulation already
        self._held = [any(m["type"] == "staterror" for m in sample["modifiers"]) for sample in spec["samples"]]
        self.expected = np.zeros(len(mixture.pool.samples))
        for own, rate, weights in zip(self._own, self._rates, self._nominal, strict=True):
            self.expected[own] = rate * weights
        if self._rates.min() < 0:  # what bins and regions are chosen by is not negative
            alphas = shifts.point.pars[term.parameters]
            self.expected = mixture.density_weights(mixture.pool.summary, self._rates, alphas, clip=True)

    def filled(
        self, quantities: Sequence[tuple[Bins, Array]], inside: NDArray[np.bool_]
    ) -> list[tuple[Array, Array, Array]]:
        """Return the expected events in the bins of quantities, how they change, and what the simulation's size adds.

        Args:
            quantities: the bins of each, and the values of all simulated events, shape ``(N,)``.
            inside: which of them are shown, shape ``(N,)``.

        Returns:
            Of each the yields ``(C, B)``, the changes of their sum with the moved parameters ``(K, B)``, and a
            covariance ``(B, B)``.
        """
        found, indices = [], []
        for bins, values in quantities:
            n, index = len(bins), np.full(len(values), len(bins), dtype=np.uint16)
            index[inside] = bins.index(values[inside])
            indices.append(index)
            found.append((np.zeros((len(self._own), n)), np.zeros((len(self._shifts.moved), n)), np.zeros((n, n))))
        for c, (own, weights, rate) in enumerate(zip(self._own, self._nominal, self._rates, strict=True)):
            places = [index[own] for index in indices]
            for place, (yields, change, covariance) in zip(places, found, strict=True):
                shape = _histogram(place, weights, len(covariance))
                squares = _histogram(place, weights**2, len(covariance) + 1)
                yields[c] = rate * shape
                covariance += rate**2 * _simulated(shape, squares, held=self._held[c])
                change += 0.5 * np.outer(self._up[:, c] - self._down[:, c], shape)
            for k in self._shapes.moving(c):
                for sign, rates in ((1, self._up), (-1, self._down)):
                    bent = self._shapes.at(c, k, sign) - weights
                    for place, (_, change, covariance) in zip(places, found, strict=True):
                        change[k] += 0.5 * sign * rates[k, c] * _histogram(place, bent, len(covariance))
        return found


class _Shapes:
    """Weights of the events of each sample, of sum one, bent by the learned shape effects."""

    def __init__(
        self, mixture: MixtureChannel, shifts: _Shifts, parameters: NDArray[np.intp], own: Sequence[NDArray[np.intp]]
    ) -> None:
        self._summary, self._variations, self._own = mixture.pool.summary, mixture.variations, own
        self._one_sided = np.array([v.one_sided for v in mixture.variations], dtype=bool)
        self._parameters, self._shifts = parameters, shifts
        self._alphas = shifts.point.pars[parameters]
        self._curves = interpolation(self._alphas, self._one_sided)[0]
        self._exponents = [self._exponent(c, self._alphas, self._curves) for c in range(len(own))]

    def moving(self, sample: int) -> list[int]:
        """Return which of the moved parameters bend a sample."""
        bending = {int(self._parameters[m]) for m, v in enumerate(self._variations) if v.sample == sample}
        return [k for k, p in enumerate(self._shifts.moved) if int(p) in bending]

    def at(self, sample: int, moved: int | None = None, sign: int = 0) -> Array:
        """Return the weights of a sample's events, with one of the moved parameters moved up or down or none."""
        exponent = self._exponents[sample]
        if moved is not None:
            p = self._shifts.moved[moved]
            alphas = self._alphas + sign * self._shifts.point.sigma[p] * (self._parameters == p)
            curves = interpolation(alphas, self._one_sided)[0]
            exponent = exponent + self._exponent(sample, alphas - self._alphas, curves - self._curves)
        weights = self._summary.weights[self._own[sample]] * np.exp(exponent - exponent.max(initial=0.0))
        return np.asarray(weights / weights.sum())

    def _exponent(self, sample: int, slopes: Array, curves: Array) -> Array:
        """Return the logarithm of the shape effect of some coefficients, each ``(M,)``, on a sample's events."""
        own = self._own[sample]
        total = np.zeros(len(own))
        for m, variation in enumerate(self._variations):
            if variation.sample == sample and (slopes[m] or curves[m]):
                total += slopes[m] * self._summary.slopes[m, own] + curves[m] * self._summary.curvatures[m, own]
        return total


def _histogram(index: NDArray[np.uint16], weights: Array, bins: int) -> Array:
    """Return the sums of weights in the bins; those of a higher index are left out."""
    return np.bincount(index, weights, bins + 1)[:bins].astype(np.float64)


def _simulated(shape: Array, squares: Array, *, held: bool) -> Array:
    """Return the covariance of the fractions of a sample in its bins, from sums of squared weights.

    Args:
        shape: the fractions, shape ``(B,)``.
        squares: the sums of squares, and that of the events in no bin, shape ``(B + 1,)``.
        held: whether the sum of all weights is taken to be known.
    """
    covariance = np.diag(squares[:-1])
    if held:
        mixed = np.outer(shape, squares[:-1])
        covariance = covariance - mixed - mixed.T + np.outer(shape, shape) * squares.sum()
    return covariance


# -- distributions


def _distribution(
    channel: str,
    title: tuple[str, str, str],
    samples: Sequence[str],
    bins: Bins,
    yields: Array,
    shifts: _Shifts,
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
        distance = _chi_squared(data - total, np.diag(total) + sign * by_parameters + simulation, total)
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


def _chi_squared(difference: Array, covariance: Array, expected: Array) -> tuple[float, int, float]:
    """Return the distance of data and prediction, its degrees of freedom and the probability of a larger one.

    Bins in which few events are expected are joined. Combinations of bins whose difference the fit has all but
    determined, as the total where a rate is free, are left out: they are no test.
    """
    joined = _joined(expected)
    if not len(joined) or not np.isfinite(covariance).all():
        return np.nan, 0, np.nan
    scale = 1.0 / np.sqrt(joined @ expected)
    variances, directions = np.linalg.eigh((joined @ covariance @ joined.T) * np.outer(scale, scale))
    kept = variances > _DETERMINED
    pulls = (directions.T @ (scale * (joined @ difference)))[kept]
    value, degrees = float(np.sum(pulls**2 / variances[kept])), int(kept.sum())
    return (value, degrees, float(scipy.stats.chi2.sf(value, degrees))) if degrees else (np.nan, 0, np.nan)


def _joined(expected: Array) -> Array:
    """Return which bins stand together so that enough events are expected, shape ``(J, B)``, of zeros and ones."""
    group, groups, collected = np.zeros(len(expected), dtype=np.intp), 0, 0.0
    for b, content in enumerate(expected):
        group[b] = groups
        collected += content
        if collected >= _FEWEST:
            groups, collected = groups + 1, 0.0
    if not groups:
        return np.empty((0, len(expected)))
    group = np.minimum(group, groups - 1)  # what is left over at the end stands with the last ones
    return np.asarray(group == np.arange(groups)[:, None], dtype=np.float64)
