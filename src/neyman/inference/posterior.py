"""Draws from prior times likelihood of any model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyhf
from numpy.typing import NDArray

from neyman.exceptions import FailedFit, InvalidParameter
from neyman.inference.log_posterior import LogPosterior
from neyman.inference.nuts import sampled
from neyman.inference.outside import warn_of_outside
from neyman.inference.parameters import Bounds, Fixed, Start, parameter_index
from neyman.inputs.priors import checked_distribution
from neyman.model.constraints import constraints
from neyman.model.model import Model
from neyman.model.plain import as_model
from neyman.model.summary import Data
from neyman.results import PosteriorResult
from neyman.support.checks import checked_number, checked_seed
from neyman.support.extras import from_extra

__all__ = ["posterior"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_SHORTEST = 1000  # draws of a chain, from which those that are asked for are taken: R-hat needs that many
_AGREE = 1.01  # R-hat of chains that agree,
_ENOUGH = 100  # effective draws of each, so that R-hat and quantiles are known,
_ASTRAY = 0.01  # and the fraction of trajectories that may lose their energy

_ENDLESS = 1e100  # where chains are that nothing holds


def posterior(
    data: Data,
    model: Model | pyhf.Model,
    n: int = 4000,
    prior: Mapping[str, Any] | None = None,
    seed: int = 0,
    chains: int = 4,
    init: Start | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
) -> PosteriorResult:
    r"""Draw from the posterior of the parameters, :math:`p(\theta|D) \propto L(D|\theta) \, \pi(\theta)`.

    The likelihood is the one that :func:`neyman.fit` maximises, with its constraint terms: these are what is known of
    the nuisance parameters beforehand. Beside them :math:`\pi` is uniform within the bounds of every free parameter,
    or what is given for it, cut off at its bounds. What is given takes the place of the uniform, not of a constraint
    term, which it multiplies.

    The sampler is the No-U-Turn sampler (arXiv:1111.4246) of nutpie, with the exact gradient, in coordinates without
    bounds in which the density has unit widths and no correlations about its maximum.

    Args:
        data: the flat data vector, shape ``(N,)``, or the summary of a dataset.
        model: the model, or a plain :class:`pyhf.Model`.
        n: the number of draws.
        prior: frozen distributions of scipy by the names of parameters, as ``{"mu": scipy.stats.norm(1.0, 0.5)}``.
        seed: fixes the draws.
        chains: the number of Markov chains. Each is at least 1000 draws long, of which those that are asked for are
            kept, at equal distances.
        init: starting values, as for :func:`neyman.fit`.
        bounds: bounds, as for :func:`neyman.fit`; they may be infinite.
        fixed: parameters held at a value, as for :func:`neyman.fit`.

    Returns:
        The draws. They are valid if R-hat is at most 1.01 for every parameter, there are a hundred effective draws for
        each chain, and no more than one trajectory in a hundred went astray (arXiv:1903.08008).

    Raises:
        InvalidParameter: for a parameter, prior or value that the model does not have or allow, or if none is free.
        FailedFit: if the likelihood is zero wherever the parameters may be, or nothing bounds one of them.
        Unsupported: if the sampler is not installed.

    Example:
        >>> import neyman, pyhf, scipy.stats
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> data = [80.0, 70.0, *model.config.auxdata]
        >>> draws = neyman.posterior(data, model, n=2000, prior={"mu": scipy.stats.norm(1.0, 0.5)}, chains=2)
        >>> [round(end, 1) for end in draws.interval("mu", 0.68)]
        [1.1, 1.9]
    """
    n, chains, seed = checked_number(n, "n"), checked_number(chains, "chains"), checked_seed(seed)
    model = as_model(model)
    prior = _checked(prior, model)
    density = LogPosterior(data, model, prior, init, bounds, fixed)
    messages = list(warn_of_outside(data, model))
    density.check_proper()
    length = max(-(-n // chains), _SHORTEST)
    found = sampled(density, *density.start(), density.elsewhere, length, chains, seed)
    log.info("%d evaluations of likelihood and gradient for %d draws", found.evaluations, length * chains)
    pars = np.stack([[density.parameters(u) for u in chain] for chain in found.draws])  # (C, length, P)
    for name, reach in zip(density.names, np.abs(pars).max(axis=(0, 1)), strict=True):
        if reach > _ENDLESS:
            raise FailedFit(f"the posterior of {name} never ends: give {name} finite bounds or a prior")
    r_hat, effective, effective_tail = _diagnosed(pars, density.free)
    problems = _problems(density, r_hat, np.minimum(effective, effective_tail), chains)
    if found.divergences > _ASTRAY * length * chains:
        problems.append(f"{found.divergences} of {length * chains} trajectories went astray: the density is too rough")
    parts = np.array_split(np.arange(n), chains)
    kept = [
        chain[np.linspace(0, length - 1, len(part)).round().astype(np.intp)]
        for chain, part in zip(pars, parts, strict=True)
    ]
    for text in problems:
        log.warning("the posterior is not valid: %s", text)
    terms = constraints(model)
    return PosteriorResult(
        names=density.names,
        draws=np.concatenate(kept),
        labels=tuple(
            "fixed" if not free else "constrained" if name in terms else "free"
            for name, free in zip(density.names, density.free, strict=True)
        ),
        prior=density.in_words(terms),
        chains=chains,
        r_hat=r_hat,
        effective=effective,
        effective_tail=effective_tail,
        divergences=found.divergences,
        seed=seed,
        valid=not problems,
        message="; ".join(problems) + "." if problems else "converged.",
        warnings=tuple(messages),
    )


def _diagnosed(pars: Array, free: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Return R-hat and the effective draws of bulk and tails, shape ``(P,)`` each, nan where a parameter is held."""
    arviz = from_extra("arviz", "sampling", "posteriors")
    chains, length = pars.shape[:2]
    if chains == 1:  # R-hat is that of its halves
        pars = pars[:, : 2 * (length // 2)].reshape(2, length // 2, -1)
    found = np.full((3, free.size), np.nan)
    for k in np.flatnonzero(free):
        own = np.ascontiguousarray(pars[..., k])
        found[:, k] = arviz.rhat(own), arviz.ess(own, method="bulk"), arviz.ess(own, method="tail")
    return found[0], found[1], found[2]


def _problems(density: LogPosterior, r_hat: Array, effective: Array, chains: int) -> list[str]:
    """Return what the diagnostics of the free parameters say against the draws."""
    problems = []
    free = np.flatnonzero(density.free)
    r_hat, effective = np.nan_to_num(r_hat[free], nan=np.inf), np.nan_to_num(effective[free])
    worst, least = int(np.argmax(r_hat)), int(np.argmin(effective))
    if r_hat[worst] > _AGREE:
        problems.append(f"the chains disagree about {density.names[free[worst]]} (R-hat {r_hat[worst]:.3f})")
    if effective[least] < _ENOUGH * chains:
        problems.append(
            f"{density.names[free[least]]} has {effective[least]:.0f} effective draws of {_ENOUGH * chains} that are "
            "needed: increase n"
        )
    return problems


def _checked(prior: Mapping[str, Any] | None, model: Model) -> dict[str, Any]:
    """Return the priors that are given, by the names of parameters."""
    if prior is not None and not isinstance(prior, Mapping):
        raise InvalidParameter(f"prior is {prior!r}: give distributions by the names of parameters, as a dictionary")
    for name, distribution in (prior or {}).items():
        parameter_index(model, name)
        checked_distribution(distribution, name)
    return dict(prior or {})
