"""The likelihood of main data: Poisson terms of the bins, and the log-ratios of the learned channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from neyman.model.channel import AnyChannel, ChannelSummary
from neyman.model.rates import Rates

__all__ = ["LearnedTerm", "MainLikelihood"]


def __dir__() -> list[str]:
    return __all__


class LearnedTerm:
    """Where the rates and nuisance parameters of a learned channel stand in the inner model.

    Args:
        model: the inner model.
        channel: the learned channel.

    Attributes:
        bin: its bin.
        samples: positions of its samples, shape ``(C,)``.
        parameters: positions of its own parameters, shape ``(M,)``; several may be the same.
    """

    def __init__(self, model: pyhf.Model, channel: AnyChannel) -> None:
        self.channel = channel
        self.bin = model.config.channel_slices[channel.name].start
        self.samples = np.array([model.config.samples.index(sample) for sample in channel.samples], dtype=np.intp)
        self.parameters = np.array([model.config.par_slice(name).start for name in channel.parameters], dtype=np.intp)


class MainLikelihood:
    """The log-likelihood of counts and events, without constraint terms.

    Args:
        rates: the expected rates of every sample and bin.
        terms: the learned channels.
        bins: how many bins there are.

    Attributes:
        counted: the bins that have a Poisson term: all but those of channels learned from a simulator.
    """

    def __init__(self, rates: Rates, terms: Sequence[LearnedTerm], bins: int) -> None:
        self.terms, self._rates = terms, rates
        self.counted = np.setdiff1d(np.arange(bins), [term.bin for term in terms if term.channel.owns_number])

    def __call__(
        self,
        pars: NDArray[np.float64],
        main: NDArray[np.float64],
        summaries: Mapping[str, ChannelSummary],
        continued: bool = False,
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the value, minus infinity where it is not defined, and its gradient, shape ``(P,)``.

        Args:
            pars: the parameters, shape ``(P,)``.
            main: counts and, for learned channels, sums of weights, shape ``(B,)``.
            summaries: the summary of every learned channel.
            continued: whether the term of a bin without events, which is minus its rate, goes on to negative rates.
        """
        rates, jacobian = self._rates(pars)
        expected, main = rates.sum(axis=0)[self.counted], main[self.counted]
        if np.all(expected > 0):
            pulls = main / expected - 1.0
        elif np.any((expected <= 0) & (main != 0)) or not np.all(expected >= (-np.inf if continued else 0.0)):
            return -np.inf, np.zeros(len(pars))
        else:
            pulls = np.divide(main, expected, out=np.zeros_like(main), where=expected > 0) - 1.0
        value = float((xlogy(main, expected) - expected - gammaln(main + 1.0)).sum())
        gradient = pulls @ jacobian.sum(axis=0)[self.counted]
        for term in self.terms:
            summary: Any = summaries[term.channel.name]
            ratio, by_rate, by_alpha = term.channel.log_ratio(
                summary, rates[term.samples, term.bin], pars[term.parameters]
            )
            value += ratio
            gradient += by_rate @ jacobian[term.samples, term.bin]
            np.add.at(gradient, term.parameters, by_alpha)
        return value, gradient
