"""What a network sees of the features: each scaled by its bulk, and an indicator for every value that many events have.

Real features have sentinels (-999 where there is no second jet), zeros for "none", charges, categories and tails over
many orders. All networks see them through one :class:`FeatureScaler`, which :func:`robust_scaler` makes for events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor, nn

__all__ = ["FeatureScaler", "robust_scaler", "spikes_of"]


def __dir__() -> list[str]:
    return __all__


_SAMPLE = 100_000  # events that a scaling is made for
_CATEGORIES = 16  # a feature with no more values than these is made of spikes alone
_SHARE, _FEWEST = 0.0005, 10  # of the events, and how many of them, that make a spike
_STANDS_OUT = 5.0  # times as many events as at the neighbouring values
_NEIGHBOURS = 10  # values on either side
_MOST = 32  # spikes of a feature
_BULK = (0.16, 0.5, 0.84)
_UNEVEN = 30.0  # between the local widths of a bulk that is not to be scaled linearly
_CORE = 1.3  # of the bulk, in standard deviations: where this is looked at
_LEVELS = norm.cdf(np.linspace(-2.6, 2.6, 41))  # where it is then sampled


class FeatureScaler(nn.Module):
    """Turns features into what a network sees of them: ``d`` scaled values and ``S`` indicators.

    A feature is centred and scaled; beyond ``edge`` scales from the centre it grows only logarithmically. The map is
    monotonic with a continuous derivative, so that heavy tails lose no information but do not dominate a network.
    An event in a spike has the value 0 there and, in a column of its own behind the features, the indicator 1.
    A feature whose bulk spans many orders is straightened first, by a line through points of its distribution.

    Args:
        centre: shape ``(d,)``, usually the median of the bulk.
        scale: shape ``(d,)``, positive, usually a robust standard deviation.
        edge: where the logarithm takes over, in scales.
        columns: the feature that each spike is in, shape ``(S,)``.
        spikes: the values, compared exactly, shape ``(S,)``.
        bent: the features that are straightened, shape ``(m,)``.
        knots: their values in ascending order at points, shape ``(m, K)``.
        scores: what these become, in ascending order, shape ``(m, K)``.
        event_shape: the shape of an event whose numbers are no features of their own, as the pixels of an image; empty
            where they are.

    Example:
        >>> import torch
        >>> scaler = FeatureScaler(torch.tensor([10.0]), torch.tensor([2.0]), edge=4.0)
        >>> scaler(torch.tensor([[12.0], [10.0], [2000.0]])).squeeze(-1).round(decimals=2)
        tensor([ 1.0000,  0.0000, 10.9000])
        >>> spike = {"columns": torch.tensor([0]), "spikes": torch.tensor([-999.0])}
        >>> spiked = FeatureScaler(scaler.centre, scaler.scale, **spike)
        >>> spiked(torch.tensor([[12.0], [-999.0]]))
        tensor([[1., 0.],
                [0., 1.]])
    """

    centre: Tensor
    scale: Tensor
    columns: Tensor
    spikes: Tensor
    bent: Tensor
    knots: Tensor
    scores: Tensor
    slopes: Tensor
    _of_feature: Tensor
    _event_shape: Tensor

    def __init__(
        self,
        centre: Tensor,
        scale: Tensor,
        edge: float = 4.0,
        *,
        columns: Tensor | None = None,
        spikes: Tensor | None = None,
        bent: Tensor | None = None,
        knots: Tensor | None = None,
        scores: Tensor | None = None,
        event_shape: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.edge = edge
        self.register_buffer("centre", centre.to(torch.float32))
        self.register_buffer("scale", scale.to(torch.float32))
        none = torch.empty(0)
        columns, spikes, bent = (none if one is None else one for one in (columns, spikes, bent))
        knots, scores = (none[:, None] if one is None else one for one in (knots, scores))
        # a model file has them where there are any
        some, straightened = len(spikes) > 0, len(bent) > 0
        self.register_buffer("columns", columns.to(torch.int64), persistent=some)
        self.register_buffer("spikes", spikes.to(torch.float32), persistent=some)
        self.register_buffer("bent", bent.to(torch.int64), persistent=straightened)
        self.register_buffer("knots", knots.to(torch.float32), persistent=straightened)
        self.register_buffer("scores", scores.to(torch.float32), persistent=straightened)
        shape = torch.tensor(tuple(event_shape), dtype=torch.int64)
        self.register_buffer("_event_shape", shape, persistent=len(shape) > 0)
        steps = self.knots.diff(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        self.register_buffer("slopes", self.scores.diff(dim=1) / steps, persistent=False)
        of_feature = (self.columns[:, None] == torch.arange(len(centre))).to(torch.float32)
        self.register_buffer("_of_feature", of_feature, persistent=False)

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> FeatureScaler:
        """Return the scaling of a network in a model file.

        Args:
            state: the network's weights, the scaling's as ``scaler.centre`` and so on.

        Raises:
            LookupError: if there is no scaling in it.
        """
        optional = ("columns", "spikes", "bent", "knots", "scores")
        more: dict[str, Any] = {name: state.get(f"scaler.{name}") for name in optional}
        if "scaler._event_shape" in state:
            more["event_shape"] = state["scaler._event_shape"].tolist()
        return cls(state["scaler.centre"], state["scaler.scale"], **more)

    @property
    def features(self) -> int:
        """How many features events have."""
        return len(self.centre)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of an event; empty where it is a list of features."""
        return tuple(self._event_shape.tolist())

    @property
    def size(self) -> int:
        """How many numbers a network sees of an event: scaled features and indicators."""
        return len(self.centre) + len(self.spikes)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is seen of features ``(..., d)``: shape ``(..., d + S)``."""
        z = (x - self.centre) / self.scale
        if len(self.bent):
            z[..., self.bent] = self._straightened(x[..., self.bent])
        excess = (z.abs() - self.edge).clamp(min=0.0)
        z = z.clamp(-self.edge, self.edge) + z.sign() * torch.log1p(excess)
        if not len(self.spikes):
            return z
        indicators = (x[..., self.columns] == self.spikes).to(z.dtype)
        return torch.cat([z * (1.0 - indicators @ self._of_feature), indicators], dim=-1)

    def _straightened(self, x: Tensor) -> Tensor:
        """Return values of the bent features, shape ``(..., m)``, on the lines through their points."""
        rows = x.reshape(-1, len(self.bent)).T.contiguous()
        place = torch.searchsorted(self.knots, rows, right=True).clamp(1, self.knots.shape[1] - 1) - 1
        z = self.scores.gather(1, place) + (rows - self.knots.gather(1, place)) * self.slopes.gather(1, place)
        return z.T.reshape(x.shape)


def robust_scaler(features: Tensor, event_shape: Sequence[int] | None = None) -> FeatureScaler:
    """Return a scaling to events like these.

    Args:
        features: of the events, shape ``(N, d)``.
        event_shape: the shape of an event that is no list of features; then all its numbers are centred and scaled
            alike, and nothing else.

    Returns:
        The scaling: of each feature, an indicator for each spike, see :func:`spikes_of`; the rest centred on the
        median and scaled by the central 68 % or, if that is zero, the standard deviation. Where the local width of
        the rest changes by more than a factor of thirty within its central 80 %, it is straightened: as a spectrum
        over six orders, or two narrow peaks far from each other.

    Example:
        >>> import torch
        >>> x = torch.randn(10_000, 1, generator=torch.Generator().manual_seed(0))
        >>> x[::3] = -999.0
        >>> scaler = robust_scaler(x)
        >>> scaler.spikes, scaler.centre.abs().item() < 0.05, scaler.size
        (tensor([-999.]), True, 2)
    """
    if event_shape is not None:
        return _shaped_scaler(features, event_shape)
    if len(features) > _SAMPLE:  # at random: every tenth event may be of a kind
        features = features[np.random.default_rng(0).integers(len(features), size=_SAMPLE)]
    sample = features.to("cpu", torch.float32).numpy()
    columns = [_column(sample[:, k]) for k in range(sample.shape[1])]
    spikes = [(k, value) for k, column in enumerate(columns) for value in column.spikes]
    bent = [(k, column.knots) for k, column in enumerate(columns) if column.knots is not None]
    return FeatureScaler(
        torch.tensor([column.centre for column in columns], dtype=torch.float64),
        torch.tensor([column.scale for column in columns], dtype=torch.float64),
        columns=torch.tensor([k for k, _ in spikes], dtype=torch.int64),
        spikes=torch.tensor([value for _, value in spikes], dtype=torch.float32),
        bent=torch.tensor([k for k, _ in bent], dtype=torch.int64),
        knots=torch.from_numpy(np.array([knots for _, knots in bent]).reshape(len(bent), len(_LEVELS))),
        scores=torch.from_numpy(np.tile(norm.ppf(_LEVELS), (len(bent), 1))),
    )


def spikes_of(values: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Find the values of a feature that hold many events: sentinels, zeros, categories, and rarely anything else.

    All values that are not rare are, where there are few; else those that hold five times as many events as the
    values beside them, so that a rounded or integer feature has none.

    Args:
        values: in ascending order, each once, shape ``(V,)``.
        counts: how many events have each, shape ``(V,)``.

    Returns:
        Which of the values are spikes, shape ``(V,)``; none where there is but one value.

    Example:
        >>> import numpy as np
        >>> spikes_of(np.array([-1.0, 1.0], dtype=np.float32), np.array([480, 520]))
        array([ True,  True])
        >>> spikes_of(np.arange(100, dtype=np.float32), np.array([500] + 99 * [40])).nonzero()
        (array([0]),)
    """
    found = np.zeros(len(values), dtype=bool)
    candidates = np.flatnonzero(counts >= max(_SHARE * counts.sum(), _FEWEST))
    if len(values) == 1 or not len(candidates):
        return found
    if len(values) > _CATEGORIES:
        width = min(2 * _NEIGHBOURS + 1, len(values))
        first = np.clip(candidates - _NEIGHBOURS, 0, len(values) - width)
        # several spikes may stand side by side: they are compared with the emptier ones of their neighbours
        beside = np.quantile(counts[first[:, None] + np.arange(width)], 0.25, axis=1)
        candidates = candidates[counts[candidates] >= _STANDS_OUT * beside]
    found[candidates[np.argsort(-counts[candidates], kind="stable")[:_MOST]]] = True
    return found


def _shaped_scaler(features: Tensor, event_shape: Sequence[int]) -> FeatureScaler:
    d = features.shape[1]
    if len(features) * d > _SAMPLE:
        features = features[np.random.default_rng(0).integers(len(features), size=-(-_SAMPLE // d))]
    column = _column(features.to("cpu", torch.float32).numpy().ravel())
    return FeatureScaler(torch.full((d,), column.centre), torch.full((d,), column.scale), event_shape=event_shape)


class _Column(NamedTuple):
    """The scaling of one feature; its knots are ``None`` if it is linear."""

    centre: float
    scale: float
    spikes: NDArray[np.float32]
    knots: NDArray[np.float64] | None


def _column(sample: NDArray[np.float32]) -> _Column:
    """Return the scaling of a feature, of which there are some values, shape ``(N,)``."""
    values, counts = np.unique(sample, return_counts=True)
    spike = spikes_of(values, counts)
    bulk, times = (values, counts) if spike.all() else (values[~spike], counts[~spike])
    bulk = bulk.astype(np.float64)
    everything = np.repeat(bulk, times)
    low, centre, high = np.quantile(everything, _BULK) if len(everything) else (0.0, 0.0, 0.0)
    scale = (high - low) / 2 or (everything.std(ddof=1) if len(everything) > 1 else 0.0)
    # the value that a fraction of the bulk is below, with the events at one value spread out to the next ones
    below = (np.cumsum(times) - 0.5 * times) / max(times.sum(), 1)
    knots = None
    if len(bulk) > len(_LEVELS):
        steps = np.diff(np.interp(norm.cdf(np.linspace(-_CORE, _CORE, 14)), below, bulk))
        if steps.max() > _UNEVEN * steps.min():
            knots = np.interp(_LEVELS, below, bulk)
    return _Column(float(centre), float(scale) if scale > 0 else 1.0, values[spike], knots)
