"""Draws of a posterior: of the parameters, of what is local to each event, and after each element of a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neyman.exceptions import InvalidParameter
from neyman.results.base import NamedResult, Table
from neyman.support.checks import checked_level
from neyman.support.extras import from_extra
from neyman.support.text import rounded

if TYPE_CHECKING:  # matplotlib is imported where a figure is drawn
    from matplotlib.figure import Figure

__all__ = ["LocalsResult", "PosteriorResult", "StreamResult"]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[np.float64]


class _Draws(NamedResult):
    """What draws of either kind have in common: their first axis is that of the draws, their last of the names."""

    if TYPE_CHECKING:  # a field of the subclasses
        draws: Array

    def __getitem__(self, name: str) -> Array:
        """Return the draws of the parameter ``name``."""
        return np.asarray(self.draws[..., self.index(name)])

    def __len__(self) -> int:
        return len(self.draws)

    @property
    def mean(self) -> Array:
        """The mean of the draws."""
        return np.asarray(self._some().mean(axis=0))

    @property
    def std(self) -> Array:
        """The standard deviation of the draws."""
        return np.asarray(self._some().std(axis=0))

    @property
    def median(self) -> Array:
        """The median of the draws."""
        return self.quantile(0.5)

    def quantile(self, q: ArrayLike) -> Array:
        """Return quantiles of every parameter.

        Args:
            q: the probability below, from 0 to 1, or several, shape ``(k,)``.

        Raises:
            InvalidParameter: if it is not such a number.
        """
        checked = np.asarray(q, dtype=np.float64)
        if not np.all((checked >= 0.0) & (checked <= 1.0)):
            raise InvalidParameter(f"the quantile {checked} does not exist: give a probability from 0 to 1")
        return np.asarray(np.quantile(self._some(), checked, axis=0))

    def _some(self) -> Array:
        if not len(self.draws):
            raise InvalidParameter(f"the {self.kind} has no draws")
        return self.draws

    def _ends(self, name: str, level: float) -> Array:
        tail = 0.5 * (1.0 - checked_level(level))
        self._some()
        return np.asarray(np.quantile(self[name], [tail, 1.0 - tail], axis=0))


@dataclass(frozen=True, eq=False, repr=False)
class PosteriorResult(_Draws):
    """Draws of the posterior of the parameters.

    ``posterior["mu"]`` are the draws of a parameter, ``dict(posterior)`` has those of all, and ``len(posterior)`` is
    their number.

    Args:
        names: the parameters, shape ``(P,)``.
        draws: shape ``(n, P)``; of several chains those of the first come first.
        labels: for each parameter ``"free"``, ``"constrained"`` or ``"fixed"``; empty where there is no such thing.
        prior: the prior of each parameter, in words.
        chains: the number of Markov chains; 0 for draws that are independent.
        r_hat: of each parameter, the rank-normalised R-hat of the chains (arXiv:1903.08008, eq. 4), which is 1 where
            they agree, shape ``(P,)``; nan where held fixed, empty without chains.
        effective: how many independent draws tell as much of the bulk as the whole chains, shape ``(P,)``.
        effective_tail: the same of their 5 % and 95 % quantiles, shape ``(P,)``.
        divergences: how often a trajectory of the sampler went astray.
        seed: that it was drawn with.
        valid: whether the chains agree and have enough effective draws.
        message: what there is to say of that.

    Example:
        >>> import numpy as np
        >>> draws = np.random.default_rng(0).normal([1.0, -2.0], [0.1, 0.5], size=(4000, 2))
        >>> posterior = PosteriorResult(("mu", "alpha"), draws)
        >>> posterior
        posterior: 4000 draws
          parameter   mean   std  median   68 % interval
          mu          1.00  0.10    1.00    0.90 to 1.10
          alpha      -2.00  0.50   -2.01  -2.50 to -1.49
        >>> posterior["mu"].shape, posterior.mean.round(1).tolist()
        ((4000,), [1.0, -2.0])
        >>> [round(end, 1) for end in posterior.interval("mu", 0.95)]
        [0.8, 1.2]
    """

    kind: ClassVar[str] = "posterior"
    names: tuple[str, ...]
    draws: NDArray[np.float64]
    labels: tuple[str, ...] = ()
    prior: dict[str, str] = field(default_factory=dict)
    chains: int = 0
    r_hat: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    effective: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    effective_tail: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    divergences: int = 0
    seed: int = 0
    valid: bool = True
    message: str = ""

    @property
    def covariance(self) -> Array:
        """The covariance of the draws, shape ``(P, P)``."""
        centred = self._some() - self.mean
        return np.asarray(centred.T @ centred / len(centred))

    def interval(self, name: str, level: float = 0.68) -> tuple[float, float]:
        """Return the central credible interval of a parameter: as much probability lies below it as above.

        Args:
            name: the parameter.
            level: the probability within.

        Raises:
            InvalidParameter: if there is no such parameter, or the level is not one.
        """
        low, high = self._ends(name, level)
        return float(low), float(high)

    def to_arviz(self) -> Any:
        """Return the draws as an ``arviz.InferenceData``, for its plots and diagnostics.

        Raises:
            Unsupported: if arviz is not installed.
        """
        arviz = from_extra("arviz", "sampling", "data for arviz")
        chains = np.array_split(self.draws, max(self.chains, 1))
        shortest = min(map(len, chains))
        stacked = np.stack([chain[:shortest] for chain in chains])  # (C, n, P)
        return arviz.from_dict({name: stacked[..., k] for k, name in enumerate(self.names)})

    def plot(self, names: Sequence[str] = (), truth: Mapping[str, float] | None = None) -> Figure:
        """Return the corner plot, as :func:`neyman.plot.corner` does; ``.savefig("figure.pdf")`` writes it.

        Args:
            names: the parameters to draw, by default all that vary, ten at most.
            truth: true values to mark, by name.
        """
        from neyman.results.figures import corner

        return corner(self, names, truth)

    def table(self) -> Table:
        """Return what is printed: mean, spread, median and 68 % interval of each parameter, and what chains say."""
        diagnosed = bool(self.chains) and len(self.r_hat) == len(self.effective) == len(self.names)
        header = ("parameter", "mean", "std", "median", "68 % interval")
        return self._caption(), (*header, "R-hat", "effective draws") if diagnosed else header, self._rows(diagnosed)

    def _caption(self) -> str:
        caption = f"posterior: {len(self)} draws"
        if self.chains:
            caption += f" of {self.chains} {'chain' if self.chains == 1 else 'chains'}"
        return caption + (f", {'' if self.valid else 'NOT VALID: '}{self.message}" if self.message else "")

    def _rows(self, diagnosed: bool) -> list[tuple[str, ...]]:
        if not len(self.draws):
            return []
        rows = []
        for k, name in enumerate(self.names):
            mean, std = float(self.draws[:, k].mean()), float(self.draws[:, k].std())
            if self.labels and self.labels[k] == "fixed":
                rows.append((name, f"{mean:.5g}", "fixed", *[""] * (4 if diagnosed else 2)))
                continue
            median, low, high = (
                rounded(float(value), std)[0] for value in np.quantile(self.draws[:, k], [0.5, 0.16, 0.84])
            )
            row = (name, *rounded(mean, std), median, f"{low} to {high}")
            rows.append((*row, f"{self.r_hat[k]:.3f}", f"{self.effective[k]:.0f}") if diagnosed else row)
        return rows


class _OfEvents(_Draws):
    """Draws for every event of a dataset, shape ``(n, N, P)``."""

    def interval(self, name: str, level: float = 0.68) -> Array:
        """Return the central credible interval of a parameter for every event, shape ``(N, 2)``.

        Args:
            name: the parameter.
            level: the probability within.

        Raises:
            InvalidParameter: if there is no such parameter, or the level is not one.
        """
        return self._ends(name, level).T

    def to_arviz(self) -> Any:
        """Return the draws as an ``arviz.InferenceData``, each parameter with a dimension ``event``.

        Raises:
            Unsupported: if arviz is not installed.
        """
        draws = {name: self[name][None] for name in self.names}
        return from_extra("arviz", "sampling", "data for arviz").from_dict(
            draws, dims={name: ["event"] for name in self.names}
        )


@dataclass(frozen=True, eq=False, repr=False)
class LocalsResult(_OfEvents):
    """Draws of the posterior of the local parameters: what each event, or group of events, has of its own.

    ``locals["z"]`` are the draws of one local parameter, shape ``(n, N)``, and ``len(locals)`` is their number.

    Args:
        names: the local parameters, shape ``(L,)``.
        draws: shape ``(n, N, L)``, one value of each for every one of ``N`` events.
        seed: that they were drawn with.

    Example:
        >>> import numpy as np
        >>> z = np.random.default_rng(0).normal([[0.0], [1.0], [4.0]], 0.5, size=(1000, 3, 1))
        >>> posterior = LocalsResult(("z",), z)
        >>> posterior
        posterior of what is local to 3 events: 1000 draws
          parameter  mean over events  mean std  smallest std  largest std
          z                      1.65      0.50          0.48         0.51
        >>> posterior["z"].shape, posterior.interval("z", 0.95).round().tolist()
        ((1000, 3), [[-1.0, 1.0], [0.0, 2.0], [3.0, 5.0]])
    """

    kind: ClassVar[str] = "posterior of local parameters"
    names: tuple[str, ...]
    draws: NDArray[np.float64]
    seed: int = 0

    def table(self) -> Table:
        """Return what is printed: of each local parameter its mean over the events, and how wide its posteriors are."""
        number = self.draws.shape[1] if self.draws.ndim == 3 else 0
        events = f"{number} {'event' if number == 1 else 'events'}"
        caption = f"posterior of what is local to {events}: {len(self)} draws"
        header = ("parameter", "mean over events", "mean std", "smallest std", "largest std")
        if not self.draws.size or not number:
            return caption, header, []
        rows = []
        for name, mean, std in zip(self.names, self.mean.T, self.std.T, strict=True):
            centre, width = rounded(float(mean.mean()), float(std.mean()))
            rows.append((name, centre, width, *(_like(float(end), width) for end in (std.min(), std.max()))))
        return caption, header, rows


@dataclass(frozen=True, eq=False, repr=False)
class StreamResult(_OfEvents):
    """Draws of the posterior of the parameters after each element of a stream.

    ``stream["mu"]`` are the draws of a parameter, shape ``(n, N)``: column k is what was known after k + 1 elements.

    Args:
        names: the parameters, shape ``(P,)``.
        draws: shape ``(n, N, P)``.
        seed: that they were drawn with.

    Example:
        >>> import numpy as np
        >>> widths = 1 / np.sqrt(np.arange(1, 31))
        >>> draws = 3 + np.random.default_rng(0).normal(size=(4000, 30, 1)) * widths[:, None]
        >>> stream = StreamResult(("mu",), draws)
        >>> stream
        posterior after each of 30 elements: 4000 draws
          elements           mu
          1         2.98 ± 0.99
          2         3.01 ± 0.71
          5         3.00 ± 0.44
          10        3.00 ± 0.32
          20        3.00 ± 0.22
          30        3.00 ± 0.18
        >>> stream["mu"].shape, stream.std[:, 0].round(1)[:4]
        ((4000, 30), array([1. , 0.7, 0.6, 0.5]))
    """

    kind: ClassVar[str] = "posterior of a stream"
    names: tuple[str, ...]
    draws: NDArray[np.float64]
    seed: int = 0

    def table(self) -> Table:
        """Return what is printed: mean and spread of each parameter after 1, 2, 5, 10, 20 ... and all elements."""
        number = self.draws.shape[1] if self.draws.ndim == 3 else 0
        elements = f"{number} {'element' if number == 1 else 'elements'}"
        caption, header = f"posterior after each of {elements}: {len(self)} draws", ("elements", *self.names)
        if not self.draws.size:
            return caption, header, []
        steps = {int(digit * 10**power) for power in range(len(str(number))) for digit in (1, 2, 5)}
        shown = sorted(k for k in steps | {number} if k <= number)
        mean, std = self.mean, self.std
        rows = [
            (str(k), *(" ± ".join(rounded(float(m), float(s))) for m, s in zip(mean[k - 1], std[k - 1], strict=True)))
            for k in shown
        ]
        return caption, header, rows


def _like(value: float, text: str) -> str:
    """Return a number with as many decimals as a text has."""
    return f"{value:.3g}" if "e" in text else f"{value:.{len(text.partition('.')[2])}f}"
