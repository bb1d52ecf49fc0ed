"""Priors: what is known of each parameter before any data, as frozen distributions of ``scipy.stats``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter
from neyman.support.messages import did_you_mean

if TYPE_CHECKING:
    from neyman.inputs.simulator import Simulator

__all__ = [
    "checked_distribution",
    "checked_prior",
    "described",
    "draw_prior",
    "log_prior",
    "prior_from_json",
    "prior_to_json",
]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]

_BEYOND = 1e-3  # probability that a prior may have outside of the bounds
_ROUNDING = 1e-6  # of the width of the bounds
_SUGGESTED = 1e-4  # probability on either side of bounds that are proposed


def checked_prior(prior: Mapping[str, Any] | None, parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a prior that is complete, in the order of the parameters.

    Args:
        prior: frozen continuous distributions of ``scipy.stats`` by the names of parameters. Of a parameter that is
            not named it is uniform within the bounds or, with a constraint, the constraint's normal distribution within
            them. A prior that is given stands for all that is known, the constraint included.
        parameters: pyhf's blocks, each with its ``name`` and ``bounds``, and ``auxdata`` and ``sigmas`` if constrained.

    Raises:
        InvalidParameter: if a name is unknown, a distribution is not frozen or not continuous, its support does not
            cover the bounds, or it has a probability of 0.1 % or more outside of them.

    Example:
        >>> from scipy.stats import norm
        >>> parameters = [{"name": "mu", "bounds": [[0, 10]]}, {"name": "theta", "bounds": [[-15, 15]]}]
        >>> prior = checked_prior({"theta": norm(0, 3)}, parameters)
        >>> {name: described(one) for name, one in prior.items()}
        {'mu': 'uniform(0, 10)', 'theta': 'norm(0, 3)'}
    """
    names = [block["name"] for block in parameters]
    if prior is not None and not isinstance(prior, Mapping):
        raise InvalidParameter(f"prior is {prior!r}: give distributions by the names of parameters, as a dictionary")
    given = dict(prior or {})
    for name in given:
        if name not in names:
            raise InvalidParameter(f"prior has {name!r}, which is no parameter: {did_you_mean(str(name), names)}")
    return {
        block["name"]: _checked(given[block["name"]], block) if block["name"] in given else _default(block)
        for block in parameters
    }


def checked_distribution(distribution: Any, name: str) -> Any:
    """Return a distribution that can be the prior of a parameter: a frozen, continuous one of ``scipy.stats``.

    Args:
        distribution: the distribution.
        name: the parameter, for messages.

    Raises:
        InvalidParameter: if it is not frozen, not continuous, none of ``scipy.stats``, or one of many parameters.

    Example:
        >>> checked_distribution(scipy.stats.norm, "mu")
        Traceback (most recent call last):
        neyman.exceptions.InvalidParameter: the prior of mu is scipy.stats' norm, which is not frozen: give a frozen ...
    """
    what = f"the prior of {name} is"
    hint = "give a frozen one of scipy.stats, such as scipy.stats.norm(0, 3)"
    if isinstance(distribution, scipy.stats.rv_continuous | scipy.stats.rv_discrete):
        raise InvalidParameter(f"{what} scipy.stats' {distribution.name}, which is not frozen: {hint}")
    if not hasattr(distribution, "dist") or not hasattr(distribution, "ppf"):
        raise InvalidParameter(f"{what} {distribution!r}, which is no frozen distribution: {hint}")
    family = distribution.dist
    if isinstance(family, scipy.stats.rv_discrete):
        raise InvalidParameter(f"{what} {family.name}, which is not continuous: {hint}")
    known = type(getattr(scipy.stats, family.name or "", None)) is type(family)  # so that a file can name it
    if not known:
        raise InvalidParameter(f"{what} {family.name!r}, which scipy.stats does not know by that name: {hint}")
    if any(np.ndim(value) for value in (*distribution.args, *distribution.kwds.values())):
        raise InvalidParameter(f"{what} {family.name} with a list for an argument: give one number for each")
    return distribution


def draw_prior(
    source: Simulator | Mapping[str, Any], n: int, rng: np.random.Generator, bounds: ArrayLike | None = None
) -> Array:
    """Draw parameters from a prior, within the bounds.

    Args:
        source: a simulator, or a prior as :func:`checked_prior` returns it.
        n: number of draws.
        rng: the source of randomness.
        bounds: of the parameters, shape ``(P, 2)``; a simulator brings its own.

    Returns:
        The parameters, shape ``(n, P)``.

    Example:
        >>> import numpy as np
        >>> from scipy.stats import norm
        >>> draw_prior({"theta": norm(0, 3)}, 4, np.random.default_rng(0), bounds=[[-6, 6]]).shape
        (4, 1)
    """
    prior, edges = _parts(source, bounds)
    columns = []
    for one, (low, high) in zip(prior.values(), edges, strict=True):
        below, above = float(one.cdf(low)), float(one.cdf(high))
        drawn = one.ppf(below + (above - below) * rng.random(n))
        columns.append(np.clip(drawn, low, high))  # rounding
    return np.array(columns, dtype=np.float64).reshape(len(prior), n).T.copy()


def log_prior(
    source: Simulator | Mapping[str, Any], pars: ArrayLike, bounds: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return the logarithm of a prior's density, ``-inf`` outside of the bounds.

    Args:
        source: a simulator, or a prior as :func:`checked_prior` returns it.
        pars: points, shape ``(n, P)``.
        bounds: of the parameters, shape ``(P, 2)``; a simulator brings its own.

    Returns:
        Shape ``(n,)``, normalised over the bounds.

    Example:
        >>> from scipy.stats import norm
        >>> log_prior({"theta": norm(0, 1)}, [[0.0], [7.0]], bounds=[[-6, 6]]).round(3)
        array([-0.919,   -inf])
    """
    prior, edges = _parts(source, bounds)
    points = np.asarray(pars, dtype=np.float64)
    total = np.zeros(len(points))
    for one, (low, high), x in zip(prior.values(), edges, points.T, strict=True):
        inside = (x >= low) & (x <= high)
        density = one.logpdf(np.clip(x, low, high)) - np.log(float(one.cdf(high)) - float(one.cdf(low)))
        total += np.where(inside, density, -np.inf)
    return total


def described(distribution: Any) -> str:
    """Return a distribution in words.

    Example:
        >>> from scipy.stats import uniform
        >>> described(uniform(loc=0.5, scale=2))
        'uniform(loc=0.5, scale=2)'
    """
    if distribution.dist.name == "truncnorm" and {"loc", "scale"} <= distribution.kwds.keys():
        return "norm({loc:g}, {scale:g}), truncated".format(**distribution.kwds)
    arguments = [f"{value:g}" for value in distribution.args]
    arguments += [f"{key}={value:g}" for key, value in distribution.kwds.items()]
    return f"{distribution.dist.name}({', '.join(arguments)})"


def prior_to_json(prior: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a prior as JSON, for files.

    Example:
        >>> from scipy.stats import norm
        >>> prior_to_json({"theta": norm(0, scale=3)})
        {'theta': {'distribution': 'norm', 'arguments': [0.0], 'keywords': {'scale': 3.0}}}
    """
    return {
        name: {
            "distribution": one.dist.name,
            "arguments": [float(value) for value in one.args],
            "keywords": {key: float(value) for key, value in one.kwds.items()},
        }
        for name, one in prior.items()
    }


def prior_from_json(document: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the prior that :func:`prior_to_json` has described.

    Raises:
        InvalidParameter: if this version of SciPy has no such distribution.

    Example:
        >>> document = {"theta": {"distribution": "norm", "arguments": [0.0], "keywords": {"scale": 3.0}}}
        >>> described(prior_from_json(document)["theta"])
        'norm(0, scale=3)'
    """
    return {name: _from_json(name, one) for name, one in document.items()}


def _from_json(name: str, document: Mapping[str, Any]) -> Any:
    found = getattr(scipy.stats, str(document["distribution"]), None)
    if not isinstance(found, scipy.stats.rv_continuous):
        raise InvalidParameter(f"the prior of {name} is {document['distribution']!r}, which scipy.stats does not have")
    return found(*document["arguments"], **document["keywords"])


def _parts(source: Simulator | Mapping[str, Any], bounds: ArrayLike | None) -> tuple[Mapping[str, Any], Array]:
    """Return a prior by name and the bounds of its parameters, infinite ones where there are none."""
    prior = source if isinstance(source, Mapping) else source.prior
    if bounds is None:
        bounds = [[-np.inf, np.inf]] * len(prior) if isinstance(source, Mapping) else source.bounds
    return prior, np.asarray(bounds, dtype=np.float64)


def _default(block: Mapping[str, Any]) -> Any:
    low, high = block["bounds"][0]
    if "sigmas" not in block:
        return scipy.stats.uniform(low, high - low)
    mean, sigma = block["auxdata"][0], block["sigmas"][0]
    return scipy.stats.truncnorm((low - mean) / sigma, (high - mean) / sigma, loc=mean, scale=sigma)


def _checked(distribution: Any, block: Mapping[str, Any]) -> Any:
    """Return a distribution that can be the prior of a parameter, and lies within its bounds."""
    name, (low, high) = block["name"], block["bounds"][0]
    what = f"the prior of {name} is"
    checked_distribution(distribution, name)
    below, above = float(distribution.cdf(low)), float(distribution.sf(high))
    if not below + above < _BEYOND:
        outer = f"[{min(low, distribution.ppf(_SUGGESTED)):.4g}, {max(high, distribution.ppf(1 - _SUGGESTED)):.4g}]"
        finite = np.isfinite(below + above)
        found = f"a probability of {below + above:.2g}" if finite else "no probability that can be computed"
        raise InvalidParameter(
            f"{what} {described(distribution)}, with {found} outside of its bounds [{low:g}, {high:g}]: "
            + (f"widen the bounds, to {outer} for instance" if finite else "check its arguments")
        )
    start, end = (float(value) for value in distribution.support())
    margin = _ROUNDING * (high - low)
    if start > low + margin or end < high - margin:
        inner = f"[{max(low, start):.6g}, {min(high, end):.6g}]"
        raise InvalidParameter(
            f"{what} {described(distribution)}, which does not cover its bounds [{low:g}, {high:g}]: "
            f"narrow the bounds to {inner}, or widen the prior"
        )
    return distribution
