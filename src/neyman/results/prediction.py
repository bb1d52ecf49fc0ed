"""The prediction of a model beside the data: distributions of features, of learned ratios, and binned channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from neyman.exceptions import InvalidParameter
from neyman.results.base import Result, Table
from neyman.support.messages import did_you_mean
from neyman.support.text import rounded

if TYPE_CHECKING:
    from neyman.results.fits import FitResult

__all__ = ["Distribution", "PredictionResult", "Predicts"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False, repr=False)
class Distribution:
    r"""The expected events of every sample in bins of one quantity, and the observed ones.

    Args:
        channel: the channel.
        name: the feature or, of a learned ratio, the sample or parameter it tells apart; empty for a binned channel.
        kind: ``"feature"``, ``"ratio"`` or ``"bins"``.
        label: what is along the axis.
        edges: of the bins, shape ``(B + 1,)``. A bin has its lower edge. The first is minus infinity and the last
            infinity where there are events beyond the others.
        ends: what to call the first and the last bin where they are open, as ``("-999", "> 250")``.
        yields: the expected events of each sample, of shape ``(B,)``, in the order of the document.
        error: their total uncertainty, of the parameters and of the finite simulation in quadrature, shape ``(B,)``.
        simulation_error: the part of the simulation, shape ``(B,)``.
        total_error: the uncertainty of the sum of all bins.
        data: the observed events, or sums of their weights, shape ``(B,)``; ``None`` where they are not shown.
        chi_squared: the distance of data and prediction, nan where it has no meaning; see
            :meth:`neyman.Model.prediction`.
        degrees: its degrees of freedom.
        p_value: the probability of a larger one.
    """

    channel: str
    name: str
    kind: str
    label: str
    edges: NDArray[np.float64]
    ends: tuple[str, str]
    yields: dict[str, NDArray[np.float64]]
    error: NDArray[np.float64]
    simulation_error: NDArray[np.float64]
    total_error: float
    data: NDArray[np.float64] | None = None
    chi_squared: float = np.nan
    degrees: int = 0
    p_value: float = np.nan

    def __repr__(self) -> str:
        expected, error = rounded(float(self.total.sum()), self.total_error)
        observed = "blind" if self.data is None else f"{self.data.sum():g} observed"
        return (
            f"Distribution({self.channel}: {self.label} in {len(self.error)} bins, {expected} +/- {error}, {observed})"
        )

    @property
    def total(self) -> NDArray[np.float64]:
        """The expected events of all samples, shape ``(B,)``."""
        return np.asarray(np.sum([*self.yields.values(), np.zeros(len(self.error))], axis=0))


@dataclass(frozen=True, eq=False, repr=False)
class PredictionResult(Result):
    """What a model expects, before or after a fit, beside the data.

    ``prediction["SR", "mass"]`` is the distribution of a feature, ``prediction["CR"]`` a binned channel or the first
    distribution of a learned one.

    Args:
        label: ``"pre-fit"`` or ``"post-fit"``.
        region: which events are shown, by their learned ratio; empty for all.
        parameters: the values of the parameters.
        distributions: of every quantity of every channel.
    """

    kind: ClassVar[str] = "prediction"
    label: str
    region: str
    parameters: dict[str, float]
    distributions: tuple[Distribution, ...]

    def __getitem__(self, key: str | tuple[str, str]) -> Distribution:
        """Return the distribution of ``channel, name``, or the first one of ``channel``."""
        channel, name = (key, None) if isinstance(key, str) else key
        own = [one for one in self.distributions if one.channel == channel]
        if not own:
            known = dict.fromkeys(one.channel for one in self.distributions)
            raise InvalidParameter(f"the prediction has no channel {channel!r}; {did_you_mean(channel, known)}")
        for one in own:
            if name in (None, one.name):
                return one
        names = [one.name for one in own]
        raise InvalidParameter(f"the prediction of {channel} has no {name!r}; {did_you_mean(name, names)}")

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels, in the model's order."""
        return tuple(dict.fromkeys(one.channel for one in self.distributions))

    def table(self) -> Table:
        """Return what is printed: expected and observed events of each distribution, and the distance of both."""
        rows = []
        for one in self.distributions:
            expected, error = rounded(float(one.total.sum()), one.total_error)
            observed = "" if one.data is None else f"{one.data.sum():.6g}"
            known = np.isfinite(one.chi_squared)
            distance = f"{one.chi_squared:.1f} / {one.degrees}" if known else ""
            p_value = f"{one.p_value:.2g}" if known else ""
            bins = f"{len(one.error)}"
            rows.append((one.channel, one.label, bins, f"{expected} +/- {error}", observed, distance, p_value))
        caption = f"{self.label} prediction" + (f", {self.region}" if self.region else "")
        return caption, ("channel", "quantity", "bins", "expected", "observed", "chi2 / dof", "p-value"), rows


class Predicts(Protocol):
    """A model, as far as :meth:`FitResult.plot_features` needs one."""

    def prediction(self, data: Any = None, fit: FitResult | None = None, **options: Any) -> PredictionResult:
        """Return the prediction beside the data; see :meth:`neyman.Model.prediction`."""
        ...
