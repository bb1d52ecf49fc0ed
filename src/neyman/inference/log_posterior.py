"""The logarithm of prior times likelihood and its gradient, in coordinates without bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.parameters import Bounds, Fixed, Start, checked_parameters
from neyman.inference.support import supported
from neyman.inference.twice_nll import TwiceNLL
from neyman.inference.unbounded import Unbounded
from neyman.inputs.priors import described
from neyman.model.model import Model
from neyman.model.summary import Data

__all__ = ["LogPosterior"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_STEP = 1e-5  # of a difference of the log of a prior, in units of its 68 % interval,
_NEAR = 1e-3  # and no longer than this fraction of the way to where the prior ends
_FAR = 10.0  # widths about the start, where there is no prior to draw from


class LogPosterior:
    r"""The logarithm of the posterior density of the free parameters, up to a constant, and its gradient.

    .. math:: \log p(u | D) = \log L(D | \theta) + \sum_k \log \pi_k(\theta_k) + \log |d\theta / du|

    The coordinates :math:`u` have no bounds, see :class:`Unbounded`. A parameter without a prior of its own has
    :math:`\pi_k = 1` within its bounds; the likelihood has the constraint terms.

    Args:
        data: the flat data vector, or the summary of a dataset.
        model: the model.
        prior: frozen distributions of scipy by the names of parameters.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`.
        fixed: parameters held at a value, as for :func:`neyman.fit`.

    Attributes:
        names: all parameters, in the model's order.
        free: which of them are free, shape ``(P,)``.
        bounds: of the free ones: where both bounds and prior allow them.
        prior: what was given.

    Raises:
        InvalidParameter: for a parameter, value or prior that the model does not have or allow, or if none is free.
    """

    def __init__(
        self,
        data: Data,
        model: Model,
        prior: Mapping[str, Any] | None = None,
        init: Start | None = None,
        bounds: Bounds | None = None,
        fixed: Fixed | None = None,
    ) -> None:
        given = checked_parameters(model, init, bounds, fixed)
        self.names, self.free = tuple(given.names), ~given.fixed
        if not self.free.any():
            raise InvalidParameter("all parameters are fixed: nothing is left to draw")
        self.prior = dict(prior or {})
        for name in self.prior:
            if not self.free[given.names.index(name)]:
                raise InvalidParameter(f"{name} is held fixed and has a prior: leave out either")
        free = [given.names[place] for place in np.flatnonzero(self.free)]
        limits = dict(zip(given.names, given.bounds, strict=True))
        limits |= {name: _common(name, limits[name], one) for name, one in self.prior.items()}
        self.bounds = [limits[name] for name in free]
        self.nll = TwiceNLL(model, data, given.start, self.free)
        self.coordinates = Unbounded(self.bounds)
        self._start = given.start[self.free]
        self._densities = [(free.index(name), _LogDensity(one)) for name, one in self.prior.items()]

    def __call__(self, u: Array) -> tuple[float, Array]:
        """Return the logarithm and its gradient at the coordinates, shape ``(F,)``; minus infinity where it is zero."""
        with np.errstate(over="ignore"):
            theta, slope, value, gradient = self.coordinates(u)
        if not np.isfinite(theta).all():
            return -math.inf, np.zeros_like(u)
        twice_nll = self.nll(theta)
        if not math.isfinite(twice_nll):
            return -math.inf, np.zeros_like(u)
        by_theta = -0.5 * self.nll.gradient(theta)
        for place, log_density in self._densities:
            own, derivative = log_density(float(theta[place]))
            value += own
            by_theta[place] += derivative
        value -= 0.5 * twice_nll
        gradient = gradient + by_theta * slope
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            return -math.inf, np.zeros_like(u)
        return value, gradient

    def start(self) -> tuple[Array, Array]:
        """Return coordinates where the likelihood is not zero and about how far each moves it, shape ``(F,)`` each.

        Raises:
            NoSupport: if there are none to be found; the message says why.
        """
        theta = supported(self.nll, self._start, self.bounds)
        widths = self.nll.widths(theta, self.bounds)
        u = self.coordinates.of(theta)
        slope = self.coordinates(u)[1]
        return u, np.clip(widths / slope, 1e-9, 1.0) if np.isfinite(slope).all() else np.ones_like(u)

    def check_proper(self) -> None:
        """Check that something bounds every parameter.

        Raises:
            FailedFit: if one has no bounds, and neither likelihood nor prior depends on it.
        """
        u, widths = self.start()
        flat = self(u + 0.1 * widths)[1] == 0.0
        for index, name in enumerate(np.array(self.names)[self.free].tolist()):
            if flat[index] and not np.isfinite(self.bounds[index]).any():
                raise FailedFit(f"the posterior of {name} never ends: give {name} finite bounds or a prior")

    def elsewhere(self, rng: np.random.Generator) -> Array:
        """Draw coordinates from the prior, shape ``(F,)``; without bounds and a prior, far about the start."""
        u, widths = self.start()
        bounded = np.array([math.isfinite(low) and math.isfinite(high) for low, high in self.bounds])
        drawn = np.where(bounded, rng.normal(size=u.size), u + _FAR * widths * rng.normal(size=u.size))
        theta = self.coordinates(drawn)[0]
        for place, log_density in self._densities:
            theta[place] = log_density.draw(rng)
        return self.coordinates.of(theta)

    def in_words(self, terms: Mapping[str, tuple[float, float]]) -> dict[str, str]:
        """Return in words what is known of each free parameter beforehand.

        Args:
            terms: centre and width of the constraint terms by the names of their parameters.
        """
        texts = {}
        for name, (low, high) in zip(np.array(self.names)[self.free].tolist(), self.bounds, strict=True):
            within = f"within ({low:g}, {high:g})" if math.isfinite(low) or math.isfinite(high) else "everywhere"
            factors = [described(self.prior[name])] if name in self.prior else []
            factors += ["constraint term {:g} +/- {:g}".format(*terms[name])] if name in terms else []
            texts[name] = f"{' times '.join(factors) or 'uniform'} {within}"
        return texts

    def parameters(self, u: Array) -> Array:
        """Return all parameters, those held included, shape ``(P,)``, at the coordinates, shape ``(F,)``."""
        return self.nll.full(self.coordinates(u)[0])


class _LogDensity:
    """The log of the density of a frozen distribution of scipy, and its derivative by central differences."""

    def __init__(self, prior: Any) -> None:
        self._logpdf, self._draw = prior.logpdf, prior.rvs
        self._low, self._high = (float(end) for end in prior.support())
        self._step = _STEP * float(prior.ppf(0.84) - prior.ppf(0.16))

    def draw(self, rng: np.random.Generator) -> float:
        return float(self._draw(random_state=rng))

    def __call__(self, value: float) -> tuple[float, float]:
        step = min(self._step, _NEAR * (value - self._low), _NEAR * (self._high - value))
        points = np.array([value - step, value, value + step])
        below, here, above = (float(log_density) for log_density in self._logpdf(points))
        if not math.isfinite(here) or math.isinf(below) or math.isinf(above) or not points[2] > points[0]:
            return -math.inf, 0.0  # so far out that it is zero, or on the very end
        return here, (above - below) / float(points[2] - points[0])


def _common(name: str, bounds: tuple[float, float], prior: Any) -> tuple[float, float]:
    """Return where both the bounds of a parameter and its prior allow it."""
    low, high = (float(end) for end in prior.support())
    common = max(bounds[0], low), min(bounds[1], high)
    if not common[0] < common[1]:
        raise InvalidParameter(
            f"the prior of {name} is on ({low:g}, {high:g}), and its bounds are ({bounds[0]:g}, {bounds[1]:g}): "
            f'change either, as with bounds={{"{name}": ({low:g}, {high:g})}}'
        )
    return common
