"""Where asymptotic CLs falls below a threshold for good, and why it may never do so."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from neyman.exceptions import FailedFit
from neyman.inference.cls import AsymptoticCls, asymptotic_cls
from neyman.inference.crossing import crossing
from neyman.inference.observed import Observed
from neyman.model.constraints import constraints

__all__ = ["asymptotic_limits", "last_crossings", "why_flat"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_DOUBLINGS = 30  # of a guess, in search of a limit: beyond it other parameters have made up for the signal
_BEYOND = 4.0  # times the highest limit: there CLs is looked at once more
_MARGIN = 0.01  # of the threshold, by which CLs beyond a limit has to be above it to count
_SMALLEST = 1e-300


def asymptotic_limits(curve: AsymptoticCls, threshold: float) -> Array:
    """Return the observed limit and the expected ones, shape ``(6,)``, as roots.

    Raises:
        FailedFit: if CLs does not fall below the threshold, or does not stay there; the message says what keeps it.
    """
    sigma = curve.asimov.profile.scale(curve.asimov.poi)  # without signal: a first guess of how limits scale
    # the expected CLs depend on the tested value through q_A alone, and its root is nearly linear
    expected = [
        _root(f"expected CLs ({n:+d} sigma)", curve, curve.asimov, curve.root_q_asimov, target, sigma * target)
        for n, target in zip(range(-2, 3), _roots_of_expected(threshold), strict=True)
    ]
    observed = _root(
        "observed CLs",
        curve,
        curve.data,
        lambda value: -math.log(max(curve.observed(value), _SMALLEST)),
        -math.log(threshold),
        max(expected[2] + curve.data.best, 0.1 * expected[2]),
    )
    limits = np.array([observed, *expected])
    far = _BEYOND * float(limits.max())
    if (curve.end is None or far < curve.end) and (found := curve.curves([far]).max()) > (1.0 + _MARGIN) * threshold:
        raise FailedFit(
            f"CLs does not stay below {threshold:.3g}: it falls to it at {curve.name} = {limits.max():.4g}, but is "
            f"{found:.3g} at {far:.4g}: {why_flat(curve.data, far)}"
        )
    return limits


def last_crossings(curve: AsymptoticCls, threshold: float, limits: Array, scan: Array, curves: Array) -> Array:
    """Return the limits, each moved to where CLs last falls below the threshold if the scan shows that it does again.

    Args:
        curve: CLs.
        threshold: one minus the level.
        limits: where CLs falls below it, shape ``(6,)``.
        scan: tested values, shape ``(n,)``.
        curves: CLs there, shape ``(n, 6)``.
    """
    moved = limits.copy()
    for i, limit in enumerate(limits):
        above = scan[(scan > limit) & (curves[:, i] > (1.0 + _MARGIN) * threshold)]
        if above.size:
            last = float(above[-1])
            below = [value for value in (*scan.tolist(), _BEYOND * float(limits.max())) if value > last]

            def excess(value: float, i: int = i) -> float:
                return math.log(max(float(curve.curves([value])[0, i]), _SMALLEST) / threshold)

            moved[i] = scipy.optimize.brentq(excess, last, below[0], rtol=1e-5)
    return moved


def why_flat(data: Observed, value: float) -> str:
    """Return what keeps a large signal compatible with data: the parameter that the signal's rate depends on most.

    Args:
        data: the data.
        value: a large value of the parameter of interest.
    """
    model, name = data.model, data.name
    if not hasattr(model, "rates"):
        return f"does the signal's rate grow with {name}?"
    # where the model suggests: the data may have made the signal vanish
    usual = np.where(data.profile.fixed, data.profile.start, model.config.suggested_init())
    signal = model.rates(usual)[1][:, :, data.poi] != 0.0
    if not signal.any():
        return f"no expected rate depends on {name}"
    pars = data.at(value)
    reach = np.where(signal[:, :, None], np.abs(model.rates(pars)[1]), 0.0).sum(axis=(0, 1))
    reach[data.profile.fixed] = reach[data.poi] = 0.0
    if not reach.any():
        return f"does the signal's rate grow with {name}?"
    worst = int(np.argmax(reach))
    other = data.profile.names[worst]
    what = "too weakly constrained" if other in constraints(model) else "not constrained"
    return (
        f"{other}, {pars[worst]:.3g} there and {what}, takes back what {name} adds: fix {other}, narrow its bounds, or "
        "constrain it more"
    )


def _root(
    what: str,
    curve: AsymptoticCls,
    data: Observed,
    function: Callable[[float], float],
    target: float,
    guess: float,
) -> float:
    """Return the value of the POI at which a function of it, which these data alone decide, crosses the target."""
    name = curve.name
    root = crossing(function, target, start=0.0, guess=guess, bound=curve.end, steps=_DOUBLINGS)
    if not math.isfinite(root):
        far = guess * 2.0 ** (_DOUBLINGS - 1)
        raise FailedFit(f"the {what} never falls below the level, not up to {name} = {far:.3g}: {why_flat(data, far)}")
    if root == curve.end and function(root) < target:
        raise FailedFit(
            f"the {what} does not fall below the level up to {name} = {root:g}, where the training of the networks "
            f"ended: train with wider bounds of {name}"
        )
    return root


@functools.lru_cache
def _roots_of_expected(threshold: float) -> tuple[float, ...]:
    """Return the values of sqrt(q_A) at which the expected CLs are at a threshold, -2 .. +2 sigma."""
    return tuple(
        float(scipy.optimize.brentq(lambda root, n=n: math.log(asymptotic_cls(-n, root) / threshold), 0.0, 30.0))
        for n in (-2.0, -1.0, 0.0, 1.0, 2.0)
    )
