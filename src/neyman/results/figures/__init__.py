"""Figures of results, known as ``neyman.plot``; each takes a result as it is, and nothing here fits or throws toys.

====================  ==================================================================
``draw``              whichever of these a result asks for, as ``result.plot()`` does
``features``          data over the stacked prediction, of every feature, learned ratio and bin
``pulls``             the parameters of a fit against their constraints
``correlations``      the correlation matrix of a fit
``impacts``           how far each parameter moves the best fit of one of interest
``scan``              a profile likelihood scan over one parameter or two
``scans``             the same in several analyses of one dataset
``cls``               CLs of one value of the parameter of interest, with its band
``limit``             CLs against the parameter of interest, with its band and the limits
``significance``      the significance of a discovery, with its band
``belt``              a Neyman construction: critical and observed values
``coverage``          coverage at the truths, with the binomial band
``toys``              best fits, or counts, of toys
``teststatistic``     a test statistic in toys, and its asymptotic form
``corner``            posteriors of every parameter and every pair
``local_parameters``  the posterior of what is local to each event
``training``          loss, calibration and closure of one learned channel
``posterior_checks``  ranks, coverage, TARP and pulls of a learned posterior
====================  ==================================================================

Every function returns a :class:`matplotlib.figure.Figure` made without pyplot: there is no global state to close,
and nothing changes the user's own style.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from neyman.exceptions import Unsupported
from neyman.results import (
    ClsResult,
    CoverageResult,
    FitResult,
    ImpactsResult,
    IntervalResult,
    LimitResult,
    LocalsResult,
    PosteriorReport,
    PosteriorResult,
    PredictionResult,
    Result,
    ScanResult,
    SetReport,
    SignificanceResult,
    StatisticResult,
    StreamResult,
    ToysResult,
    TrainingReport,
)
from neyman.results.figures.constructions import belt, coverage
from neyman.results.figures.distributions import teststatistic, toys
from neyman.results.figures.fits import correlations, pulls
from neyman.results.figures.impacts import impacts
from neyman.results.figures.likelihoods import scan, scans
from neyman.results.figures.limits import cls, limit, significance
from neyman.results.figures.posterior_checks import posterior_checks
from neyman.results.figures.posteriors import corner, local_parameters, stream
from neyman.results.figures.predictions import features
from neyman.results.figures.trainings import training

__all__ = [
    "belt",
    "cls",
    "corner",
    "correlations",
    "coverage",
    "draw",
    "features",
    "impacts",
    "limit",
    "local_parameters",
    "posterior_checks",
    "pulls",
    "scan",
    "scans",
    "significance",
    "stream",
    "teststatistic",
    "toys",
    "training",
]


def __dir__() -> list[str]:
    return __all__


def draw(result: Result) -> Figure:
    """Draw any result.

    Args:
        result: what :mod:`neyman.results` has.

    Returns:
        The figure; ``figure.savefig("figure.pdf")`` writes it.

    Raises:
        Unsupported: if there is no figure for this kind of result, or nothing in it to draw.

    Example:
        >>> import numpy as np
        >>> from neyman.results import ScanResult
        >>> mu = np.linspace(0, 2, 5)
        >>> draw(ScanResult("mu", mu, ((mu - 1) / 0.3) ** 2, 1.0, 0.3)).axes[0].get_xlabel()
        'mu'
    """
    match result:
        case FitResult():
            return pulls(result)
        case ScanResult():
            return scan(result)
        case ImpactsResult():
            return impacts(result)
        case ClsResult():
            return cls(result)
        case LimitResult():
            return limit(result)
        case SignificanceResult():
            return significance(result)
        case IntervalResult():
            return belt(result)
        case CoverageResult():
            return coverage(result)
        case StatisticResult():
            return teststatistic(result)
        case ToysResult():
            return toys(result)
        case PosteriorResult():
            return corner(result)
        case LocalsResult():
            return local_parameters(result)
        case StreamResult():
            return stream(result)
        case PredictionResult():
            return features(result)
        case TrainingReport() | SetReport():
            return training(result)
        case PosteriorReport():
            return posterior_checks(result)
    raise Unsupported(f"there is no figure for {type(result).__name__}: draw one of the results of neyman.results")
