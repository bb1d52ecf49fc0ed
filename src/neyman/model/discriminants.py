"""Learned ratios of single events, which tell a sample or the parameter of interest from the rest, and cuts on them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter, Unsupported
from neyman.model.bins import weighted_quantile
from neyman.model.pool import MixtureSummary
from neyman.support.messages import did_you_mean

if TYPE_CHECKING:
    from neyman.model.likelihood import LearnedTerm
    from neyman.model.mixture import MixtureChannel
    from neyman.model.model import Model

__all__ = ["Discriminant", "Region", "discriminant", "unknown_ratio"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_SAME = 1e-3  # of the distance of the parameter's initial value from zero: a best fit so near zero has no ratio to it


@dataclass(frozen=True, eq=False)
class Discriminant:
    """The logarithm of a learned ratio of two densities of an event.

    Args:
        name: the sample or parameter.
        label: the two densities.
        values: gives it for the events of a summary, shape ``(N,)``.
    """

    name: str
    label: str
    values: Callable[[MixtureSummary], Array]


def discriminant(
    name: str, model: Model, term: LearnedTerm, mixture: MixtureChannel, pars: Array
) -> Discriminant | None:
    r"""Return the learned ratio of a sample, or of the parameter of interest, in a channel.

    Of a sample it is :math:`\log p_c(x) / p_{rest}(x)`, the others at their rates; of the parameter of interest
    :math:`\log p(x | \mu) / p(x | 0)`, at its best fit or, where that is zero, at its initial value. By the lemma of
    Neyman and Pearson no other quantity tells the two apart as well.

    Args:
        name: a sample of the channel, or the parameter of interest.
        model: the model.
        term: the channel.
        mixture: the shapes of its samples.
        pars: the parameters, shape ``(P,)``.

    Returns:
        The ratio; ``None`` if the channel has none of that name: it has no such sample, or that one only, or the
        parameter of interest does not change the distribution of its events.
    """
    alphas = pars[term.parameters]
    if name == model.config.poi_name:
        return _of_poi(model, term, mixture, pars)
    if name not in mixture.samples or len(mixture.samples) == 1:
        return None
    place = mixture.samples.index(name)
    rates = model.rates(pars)[0][term.samples, term.bin]
    rest = np.abs(np.delete(rates, place))  # a density of either sign has no logarithm
    if not rest.sum() > 0:
        rest = np.abs(np.delete(mixture.yields, place))

    def values(summary: MixtureSummary) -> Array:
        shapes = mixture.densities(summary, alphas)
        return _log_ratio(shapes[place], rest @ np.delete(shapes, place, axis=0) / rest.sum())

    others = [sample for sample in mixture.samples if sample != name]
    return Discriminant(name, f"log p({name}) / p({others[0] if len(others) == 1 else 'other samples'})", values)


def _of_poi(model: Model, term: LearnedTerm, mixture: MixtureChannel, pars: Array) -> Discriminant | None:
    index = model.config.poi_index
    low, high = model.config.suggested_bounds()[index]
    init = float(model.config.suggested_init()[index])
    zero = float(np.clip(0.0, low, high))
    unit = abs(init - zero) or 1.0
    value = float(pars[index])
    if abs(value - zero) < _SAME * unit:
        value = init if init != zero else zero + unit
    points = np.stack([pars, pars])
    points[:, index] = value, zero
    rates = [model.rates(point)[0][term.samples, term.bin] for point in points]
    if not min(one.sum() for one in rates) > 0:
        return None

    def values(summary: MixtureSummary) -> Array:
        there, here = (
            one @ mixture.densities(summary, point[term.parameters]) / one.sum()
            for one, point in zip(rates, points, strict=True)
        )
        return _log_ratio(there, here)

    name = str(model.config.poi_name)
    same_shapes = np.array_equal(*points[:, term.parameters])
    if same_shapes and np.allclose(rates[0] / rates[0].sum(), rates[1] / rates[1].sum(), rtol=1e-9, atol=0.0):
        return None
    return Discriminant(name, f"log p({name} = {value:.3g}) / p({name} = {zero:.3g})", values)


def _log_ratio(above: Array, below: Array) -> Array:
    """Return the logarithm of a ratio, infinite where a density is not positive."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(above, 0.0)) - np.log(np.maximum(below, np.finfo(np.float64).tiny)))


@dataclass(frozen=True)
class Region:
    """Events chosen by a learned ratio.

    Args:
        name: the sample or parameter whose ratio it is; ``None`` for the parameter of interest.
        above: whether the events above the cut are chosen, else those below.
        fraction: of the prediction that is chosen, or ``None``.
        cut: on the logarithm of the ratio, where there is no fraction.
    """

    name: str | None
    above: bool
    fraction: float | None = None
    cut: float = np.nan

    @classmethod
    def read(cls, text: str) -> Region:
        """Return the region that a text means.

        Raises:
            InvalidParameter: if it means none.

        Example:
            >>> Region.read("signal: top 20%")
            Region(name='signal', above=True, fraction=0.2, cut=nan)
            >>> Region.read("mu < 0.5")
            Region(name='mu', above=False, fraction=None, cut=0.5)
        """
        if found := re.fullmatch(r"(?:(.+?)\s*:)?\s*(top|bottom)\s*([\d.]+)\s*%", text.strip()):
            name, side, percent = found.groups()
            if 0 < (fraction := _number(percent) / 100) < 1:
                return cls(name, side == "top", fraction)
        elif (found := re.fullmatch(r"(.+?)\s*([<>])\s*(\S+)", text.strip())) and np.isfinite(_number(found[3])):
            return cls(found[1], found[2] == ">", None, _number(found[3]))
        raise InvalidParameter(
            f"region is {text!r}: write 'top 20%' or 'bottom 80%' of the parameter of interest's learned ratio, "
            "'SAMPLE: top 20%' of a sample's, or a cut on its logarithm, as 'SAMPLE > 1.5'"
        )

    def threshold(self, values: Array, weights: Array) -> float:
        """Return where to cut so that the fraction of the weight is chosen."""
        if self.fraction is None:
            return self.cut
        level = 1.0 - self.fraction if self.above else self.fraction
        return float(weighted_quantile(values, np.maximum(weights, 0.0), level))

    def chosen(self, values: Array, threshold: float) -> NDArray[np.bool_]:
        """Return which events are in the region."""
        return np.asarray(values >= threshold if self.above else values < threshold)

    def described(self, label: str) -> str:
        """Return what the region is, with the label of the ratio."""
        if self.fraction is None:
            return f"{label} {'≥' if self.above else '<'} {self.cut:g}"
        return f"{'top' if self.above else 'bottom'} {100 * self.fraction:g} % of {label}"


def unknown_ratio(name: str, model: Model) -> InvalidParameter | Unsupported:
    """Return the error about a name whose ratio no channel has."""
    samples = dict.fromkeys(sample for term in model.terms for sample in term.channel.samples)
    known = [*samples, *([model.config.poi_name] if model.config.poi_name else [])]
    if name not in known:
        return InvalidParameter(f"there is no learned ratio of {name!r}; {did_you_mean(name, known)}")
    return Unsupported(
        f"there is no learned ratio of {name!r}: no chosen channel has it beside other samples, and changes with it"
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
