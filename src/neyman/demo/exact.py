"""The exact likelihood of the demonstration, in the parameters of its document."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyhf
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from neyman.demo.densities import FEATURES, SAMPLES, densities, generate, quadrature, scores
from neyman.events import Ensemble, Events
from neyman.model.constraints import Constraints
from neyman.model.rates import Rates

__all__ = ["ExactLikelihood"]


def __dir__() -> list[str]:
    return __all__


class ExactLikelihood:
    r"""What a learned model of the demonstration approximates, with the same methods.

    .. math::

        L = \prod_b \mathrm{Pois}(n_b | \nu_b(\theta)) \; \prod_i
            \Bigl[\sum_c \frac{\nu_c(\theta)}{\nu(\theta)} p_c(x_i | \alpha)\Bigr]^{w_i} \; \prod_p c(a_p | \theta_p)

    Rates and constraint terms are the HistFactory model's; only the densities :math:`p_c` are the exact ones.

    Args:
        model: the model of the demonstration's document: a learned one, or the plain pyhf model of its rates.
        channel: the name of the channel of events.
    """

    def __init__(self, model: pyhf.Model, channel: str = "SR") -> None:
        self.config = model.config
        self._model = model
        self._channel = channel
        self._rates = Rates(model)
        self._constraints = Constraints(model)
        self._bin = model.config.channel_slices[channel].start
        self._order = [self._rates.samples.index(sample) for sample in SAMPLES]
        self._shape = [model.config.par_slice(name).start for name in ("scale", "theory")]

    def evaluate(self, pars: ArrayLike, data: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """Return the log of the likelihood and its gradient.

        Args:
            pars: the parameters, shape ``(P,)``, in the order of the model.
            data: what :meth:`data` makes of an ensemble.

        Returns:
            The log-likelihood, minus infinity where it is undefined, and its gradient, shape ``(P,)``.
        """
        pars = np.asarray(pars, dtype=np.float64)
        main, x, w, auxdata = self._unpacked(np.asarray(data, dtype=np.float64))
        rates, jacobian = self._rates(pars)
        nu, dnu = rates.sum(axis=0), jacobian.sum(axis=0)
        f, df = self._events_density(x, pars, rates, jacobian)
        if np.any(nu <= 0) or np.any(f <= 0):
            return -np.inf, np.zeros_like(pars)
        constraint, gradient = self._constraints(pars, auxdata)
        total = main[self._bin]
        logpdf = constraint + np.sum(main * np.log(nu) - nu - gammaln(main + 1))
        logpdf += w @ np.log(f) - total * np.log(nu[self._bin])
        gradient = gradient + (main / nu - 1) @ dnu + (w / f) @ df - total * dnu[self._bin] / nu[self._bin]
        return float(logpdf), gradient

    def twice_nll(self, pars: ArrayLike, ensemble: Ensemble) -> float:
        """Return -2 log L of an ensemble at the given parameters, shape ``(P,)``."""
        return -2 * self.evaluate(pars, self.data(ensemble))[0]

    def toy(self, pars: ArrayLike, rng: np.random.Generator) -> Ensemble:
        """Draw a dataset, auxiliary data included.

        Args:
            pars: the true parameters, shape ``(P,)``.
            rng: NumPy's random generator.
        """
        pars = np.asarray(pars, dtype=np.float64)
        rates = self._rates(pars)[0]
        scale, theory = pars[self._shape]
        nu = rates[self._order, self._bin]
        x = [generate(sample, rng.poisson(n), rng, scale, theory) for sample, n in zip(SAMPLES, nu, strict=True)]
        auxdata = [
            rng.normal(pars[self.config.par_slice(name)], self.config.param_set(name).width())
            for name in self.config.auxdata_order
        ]
        counts = rng.poisson(rates.sum(axis=0))
        return self._ensemble(Events(rng.permutation(np.concatenate(x))), counts, np.concatenate(auxdata))

    def expected_data(self, pars: ArrayLike) -> NDArray[np.float64]:
        """Return the Asimov dataset: the exact density in weighted points, at which every score is zero.

        Args:
            pars: the parameters, shape ``(P,)``.
        """
        pars = np.asarray(pars, dtype=np.float64)
        rates, jacobian = self._rates(pars)
        x, volume = quadrature()
        x = x.astype(np.float32)
        f, df = self._events_density(x, pars, rates, jacobian)
        w = f * volume
        # the quadrature is good to 1e-4: tilt the weights until the rate and all the scores are what they must be
        s = np.column_stack([np.ones_like(f), df / f[:, None]])
        wanted = np.concatenate([rates.sum(axis=0)[[self._bin]], jacobian.sum(axis=0)[self._bin]])
        tilt = np.linalg.lstsq(s.T @ (w[:, None] * s), wanted - w @ s, rcond=1e-10)[0]
        w = w * (1 + s @ tilt)
        auxdata = np.asarray(self._model.expected_auxdata(pars), dtype=np.float64)
        return self.data(self._ensemble(Events(x, w), rates.sum(axis=0), auxdata))

    def data(self, ensemble: Ensemble) -> NDArray[np.float64]:
        """Pack an ensemble into one vector, ``[main | rows of channel, features, weight | auxdata]``."""
        events = ensemble.events[self._channel]
        main = np.empty(sum(self.config.channel_nbins.values()))
        for name, place in self.config.channel_slices.items():
            main[place] = events.weights.sum() if name == self._channel else ensemble.counts[name]
        channel = np.full(len(events), self.config.channels.index(self._channel))
        rows = np.column_stack([channel, events.features, events.weights])
        auxdata = self.config.auxdata if ensemble.auxdata is None else ensemble.auxdata
        return np.concatenate([main, rows.ravel(), auxdata])

    def ensemble(self, data: ArrayLike) -> Ensemble:
        """Unpack what :meth:`data` has packed."""
        main, x, w, auxdata = self._unpacked(np.asarray(data, dtype=np.float64))
        return self._ensemble(Events(x, w), main, auxdata)

    def _unpacked(self, data: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        bins = sum(self.config.channel_nbins.values())
        end = len(data) - len(self.config.auxdata)
        rows = data[bins:end].reshape(-1, len(FEATURES) + 2)
        return data[:bins], rows[:, 1:-1], rows[:, -1], data[end:]

    def _ensemble(self, events: Events, main: NDArray[Any], auxdata: NDArray[np.float64]) -> Ensemble:
        slices = self.config.channel_slices
        counts = {name: main[place] for name, place in slices.items() if name != self._channel}
        return Ensemble({self._channel: events}, counts, auxdata)

    def _events_density(
        self, x: ArrayLike, pars: NDArray[np.float64], rates: NDArray[np.float64], jacobian: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sum_c nu_c p_c(x), shape ``(N,)``, and its derivatives by the parameters, shape ``(N, P)``."""
        scale, theory = pars[self._shape]
        p = densities(x, scale, theory)
        nu = rates[self._order, self._bin]
        df = p @ jacobian[self._order, self._bin]
        df[:, self._shape] += np.einsum("nc,ncp->np", p * nu, scores(x, scale, theory))
        return p @ nu, df
