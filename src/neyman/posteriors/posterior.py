"""A trained posterior: draws, moments and densities of a simulator's parameters, given any dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats
import torch
from numpy.typing import ArrayLike, NDArray

from neyman.events import Ensemble, Events
from neyman.exceptions import InvalidEnsemble, InvalidParameter, Unsupported
from neyman.inputs.priors import described, log_prior
from neyman.networks.layers import digest_of
from neyman.networks.posterior import PosteriorNetwork
from neyman.posteriors.coordinates import Coordinates
from neyman.posteriors.data import events_of
from neyman.posteriors.locals import LocalPosterior
from neyman.posteriors.streams import prefix_sums
from neyman.posteriors.summary import PosteriorSummary
from neyman.results import LocalsResult, PosteriorResult, Result, StreamResult
from neyman.support.checks import checked_number, checked_seed
from neyman.support.text import html_table, listed

if TYPE_CHECKING:
    from neyman.inputs.simulator import Simulator
    from neyman.model.model import Model

__all__ = ["Posterior", "PosteriorData"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

Array = NDArray[np.float64]
PosteriorData = Events | Ensemble | ArrayLike | PosteriorSummary

_CHUNK = 65_536  # events in memory at a time, of a deep set
_DRAWS = 50_000  # draws in memory at a time
_LOCAL = 0x10C  # keeps the seed of the local parameters apart from that of the parameters


class Posterior:
    """The posterior of a simulator's parameters, learned for every dataset that the simulator can make.

    Made by :func:`neyman.train_posterior`, or :meth:`load`. Datasets may be :class:`neyman.Events`, arrays of events
    ``(N, d)``, a :class:`neyman.Ensemble`, the data vector of a :class:`neyman.Model` of the simulator, or a summary.

    Args:
        network: the trained network.
        names: the parameters.
        bounds: theirs, shape ``(P, 2)``.
        prior: of each, a frozen scipy distribution.
        features: names of the features of events; one name where they have a shape.
        channel: name of the channel that they are in.
        kind: the kind of network.
        numbers: fewest and most events of the datasets in training.
        spec: the inner HistFactory specification of the simulator.
        event_shape: of events that are images or sets.
        provenance: where it comes from.
        history: of the training, for each stage its losses.
        report: what fresh datasets say of it, as results; none if nobody has asked them.
        local: the posterior of what is local to events; ``None`` where nothing is.
    """

    def __init__(
        self,
        network: PosteriorNetwork,
        *,
        names: Sequence[str],
        bounds: ArrayLike,
        prior: Mapping[str, Any],
        features: Sequence[str],
        channel: str,
        kind: str,
        numbers: tuple[float, float],
        spec: Mapping[str, Any],
        event_shape: Sequence[int] | None = None,
        provenance: Mapping[str, Any] | None = None,
        history: Sequence[Mapping[str, Any]] = (),
        report: Sequence[Result] = (),
        local: LocalPosterior | None = None,
    ) -> None:
        self.network = network
        self.names, self.features, self.channel, self.kind = tuple(names), tuple(features), channel, kind
        self.bounds = np.array(bounds, dtype=np.float64)
        self.prior = {name: prior[name] for name in self.names}
        self.numbers, self.spec = numbers, dict(spec)
        self.event_shape = None if event_shape is None else tuple(event_shape)
        self.provenance, self.history, self.report = dict(provenance or {}), tuple(map(dict, history)), tuple(report)
        self.local = local
        self.coordinates = Coordinates(self.prior, self.bounds)
        self.fingerprint = digest_of(network)

    def __repr__(self) -> str:
        local = f"; {', '.join(self.local.names)} of each event" if self.local else ""
        return f"Posterior({', '.join(self.names)}{local} | {self.kind} of {', '.join(self.features)})"

    def _repr_html_(self) -> str:
        local = f", and of {', '.join(self.local.names)} of each event" if self.local else ""
        low, high = self.numbers
        caption = f"posterior by a {self.kind} of {listed(self.features)}, for {low:g} to {high:g} events{local}"
        rows = (
            (name, self.prior_texts()[name], f"{low:g} to {high:g}")
            for name, (low, high) in zip(self.names, self.bounds, strict=True)
        )
        reports = "".join(report._repr_html_() for report in self.report)
        return html_table(caption, ("parameter", "prior", "bounds"), rows) + reports

    # -- datasets

    def encode(self, data: PosteriorData) -> PosteriorSummary:
        """Return the summary of a dataset: the only place where its events meet the network.

        Args:
            data: the dataset.

        Raises:
            InvalidEnsemble: if it is none of this posterior's; a summary of another one, or of other features.

        Example:
            >>> summary = posterior.encode(first) + posterior.encode(second)  # doctest: +SKIP
        """
        if isinstance(data, PosteriorSummary):
            if data.posterior != self.fingerprint:
                raise InvalidEnsemble("this summary is of another posterior: encode the dataset with this one")
            return data
        events = self.events(data)
        sums = self.encode_many(events.features, np.array([0, len(events)]), events.weights)[0]
        return PosteriorSummary(sums, self.fingerprint, self.network.encoder.additive)

    def encode_many(
        self, features: NDArray[np.float32], offsets: NDArray[np.int64], weights: Array | None = None
    ) -> Array:
        """Return the sums of many datasets, shape ``(B, K)``, as :meth:`sample_many` takes them.

        Args:
            features: the events of all datasets end to end, shape ``(E, d)``.
            offsets: where each begins and the last ends, shape ``(B + 1,)``.
            weights: of the events, shape ``(E,)``; ones by default.
        """
        encoder, n = self.network.encoder, len(offsets) - 1
        out = np.zeros((n, encoder.size))
        with torch.inference_mode():
            for first, last, begin, end in _chunks(offsets, encoder.additive):
                x = torch.from_numpy(np.ascontiguousarray(features[begin:end], dtype=np.float32))
                w = torch.ones(end - begin, dtype=torch.float64)
                if weights is not None:
                    w = torch.from_numpy(np.ascontiguousarray(weights[begin:end], dtype=np.float64))
                inside = np.clip(offsets[first : last + 1], begin, end)
                dataset = torch.from_numpy(np.repeat(np.arange(last - first), np.diff(inside)))
                out[first:last] += encoder(x, w, dataset, last - first).numpy()
        return out

    # -- what is known of the parameters

    def sample(self, data: PosteriorData, n: int = 4000, seed: int = 0) -> PosteriorResult:
        """Return draws of the posterior.

        Args:
            data: the dataset. Where it is empty, and no dataset of the training was, the draws are the prior's.
            n: how many draws.
            seed: fixes them.

        Raises:
            InvalidEnsemble: if the dataset is none of this posterior's.
            InvalidParameter: if the number or the seed is not one.

        Example:
            >>> draws = posterior.sample(events, seed=1)  # doctest: +SKIP
            >>> draws["theta"].mean()  # doctest: +SKIP
        """
        n, seed, summary = checked_number(n, "n"), checked_seed(seed), self.encode(data)
        warnings = self._warnings(summary)
        draws = self.sample_many([summary], n, seed)[0]
        return PosteriorResult(self.names, draws, prior=self.prior_texts(), seed=seed, warnings=warnings)

    def sample_many(self, summaries: Array | Sequence[PosteriorSummary], n: int, seed: int = 0) -> Array:
        """Return draws of the posteriors of many datasets, shape ``(B, n, P)``.

        Args:
            summaries: of the datasets, or their sums, shape ``(B, K)``.
            n: how many draws of each.
            seed: fixes them.

        Raises:
            InvalidEnsemble: if a summary is of another posterior.
            InvalidParameter: if the number or the seed is not one.
        """
        n, seed = checked_number(n, "n"), checked_seed(seed)
        sums, rng = self._sums(summaries), np.random.default_rng(seed)
        size = max(_DRAWS // n, 1)
        parts = [sums[k : k + size] for k in range(0, len(sums), size)]
        draws = [self._drawn(part, rng.standard_normal((len(part), n, len(self.names)))) for part in parts]
        return np.concatenate(draws) if draws else np.empty((0, n, len(self.names)))

    def moments(self, summaries: Array | Sequence[PosteriorSummary], points: int = 256) -> tuple[Array, Array]:
        """Return the means ``(B, P)`` and covariances ``(B, P, P)`` of the posteriors of many datasets.

        They are taken over the same quasi-random numbers for all, so that they have no noise of their own.

        Args:
            summaries: of the datasets, or their sums, shape ``(B, K)``.
            points: how many of these numbers, a power of two. Of a normal distribution any number gives the moments.

        Raises:
            InvalidEnsemble: if a summary is of another posterior.
        """
        sums, p = self._sums(summaries), len(self.names)
        base = scipy.stats.norm.ppf(scipy.stats.qmc.Sobol(p, seed=0).random(points))
        base = (base - base.mean(0)) / base.std(0)
        size = max(_DRAWS // len(base), 1)
        means, covariances = np.empty((len(sums), p)), np.empty((len(sums), p, p))
        for k in range(0, len(sums), size):
            part = sums[k : k + size]
            draws = self._drawn(part, np.broadcast_to(base, (len(part), *base.shape)))
            means[k : k + size] = draws.mean(axis=1)
            centred = draws - draws.mean(axis=1, keepdims=True)
            covariances[k : k + size] = np.einsum("bni,bnj->bij", centred, centred) / len(base)
        return means, covariances

    def log_prob(self, theta: ArrayLike, data: PosteriorData) -> Array:
        """Return the logarithm of the posterior's density at some parameters, shape ``(m,)``.

        Args:
            theta: shape ``(m, P)``; where the prior is not, the result is minus infinity.
            data: the dataset.

        Raises:
            InvalidEnsemble: if the dataset is none of this posterior's.
            InvalidParameter: if the parameters have another shape or are not numbers.
        """
        points = self._checked_points(theta)
        sums = self.encode(data).sums[None]
        found = log_prior(self.prior, points, self.bounds)
        inside = np.isfinite(found)
        if self._is_prior(sums)[0] or not inside.any():
            return found
        u = self.coordinates.of(points[inside])
        with torch.inference_mode():
            density = self.network.log_prob(torch.from_numpy(sums), torch.from_numpy(u)[None])[0].double().numpy()
        found[inside] += density + self.coordinates.log_ratio(u)
        return found

    def sample_locals(self, data: PosteriorData, n: int = 4000, seed: int = 0) -> LocalsResult:
        """Return draws of what is local to each event of a dataset.

        They are draws of the joint posterior: each is made at one draw of the parameters, the same for all events, and
        the parameters of draw k are those of draw k of :meth:`sample` with the same number and seed.

        Args:
            data: the dataset, with its events; their weights count for the parameters alone.
            n: how many draws.
            seed: fixes them.

        Raises:
            Unsupported: if the simulator had no local parameters.
            InvalidEnsemble: if the dataset is none of this posterior's, or a summary, which has no events.
            InvalidParameter: if the number or the seed is not one.

        Example:
            >>> local = posterior.sample_locals(events, n=1000)  # doctest: +SKIP
            >>> local["z"].mean(axis=0)  # of each event  # doctest: +SKIP
        """
        if self.local is None:
            raise Unsupported(
                "this posterior has no local parameters: name them in neyman.Simulator(..., locals=[...]), and train"
            )
        if isinstance(data, PosteriorSummary):
            raise InvalidEnsemble("a summary has no events, and local parameters are theirs: give the events")
        n, seed = checked_number(n, "n"), checked_seed(seed)
        events, summary = self.events(data), self.encode(data)
        u = self.coordinates.of(self.sample_many([summary], n, seed)[0])
        features = self.network.features(torch.from_numpy(summary.sums)[None])
        draws = self.local.sample(events.features, u, features, np.random.default_rng([seed, _LOCAL]))
        return LocalsResult(self.local.names, draws, seed=seed, warnings=self._warnings(summary))

    def stream(self, data: Events | Ensemble | ArrayLike, n: int = 1000, seed: int = 0) -> StreamResult:
        """Return draws of the posterior after the first event of a dataset, the first two, and so on to all of them.

        Of a deep set the summaries are cumulative sums, and those of a ``causal`` network are too, each event having
        seen those before it: both see every event once. A transformer looks at every beginning anew.

        Args:
            data: the dataset, whose events are in the order in which they come; a summary has none.
            n: how many draws after each.
            seed: fixes them.

        Raises:
            InvalidEnsemble: if the dataset is none of this posterior's, or a summary.
            InvalidParameter: if the number or the seed is not one.

        Example:
            >>> stream = posterior.stream(events)  # doctest: +SKIP
            >>> stream["theta"].std(axis=0)  # after each event  # doctest: +SKIP
        """
        if isinstance(data, PosteriorSummary):
            raise InvalidEnsemble("a summary has no events, and a stream is of them: give the events, in their order")
        events, n = self.events(data), checked_number(n, "n")
        sums = prefix_sums(self.network.encoder, self.encode_many, events)
        draws = self.sample_many(sums, n, seed).transpose(1, 0, 2)
        ends = [PosteriorSummary(one, self.fingerprint) for one in (*sums[:1], *sums[-1:])]
        warnings = tuple(dict.fromkeys(text for one in ends for text in self._warnings(one)))
        return StreamResult(self.names, draws, seed=seed, warnings=warnings)

    def events(self, data: Events | Ensemble | ArrayLike) -> Events:
        """Return the events of a dataset.

        Args:
            data: the dataset; a summary has none.

        Raises:
            InvalidEnsemble: if it is none of this posterior's.
        """
        return events_of(data, self.channel, self.features, self.spec, self.event_shape)

    def prior_texts(self) -> dict[str, str]:
        """Return the prior of each parameter in words."""
        return {name: described(one) for name, one in self.prior.items()}

    def model(self, simulator: Simulator) -> Model:
        r"""Return the model that this posterior implies, for intervals that cover with ``test_stat="waldo"``.

        Its likelihood is the normal approximation of the posterior divided by the prior, and by no means exact; it says
        where nuisance parameters are, for the tested values of the parameter of interest. Its toys are datasets of the
        simulator, and calibrate. It has no file: save the posterior.

        Args:
            simulator: the simulator that the posterior was trained on.

        Raises:
            InvalidParameter: if it has other parameters, bounds or features.

        Example:
            >>> model = posterior.model(simulator)  # doctest: +SKIP
            >>> data = model.data(neyman.Ensemble({"events": events}))  # doctest: +SKIP
            >>> neyman.interval(data, model, test_stat="waldo", statistic=posterior)  # doctest: +SKIP
        """
        from neyman.posteriors.likelihood import implied_model

        return implied_model(self, simulator)

    # -- files

    def save(self, path: str | Path) -> None:
        """Write a file that :meth:`load` reads.

        Args:
            path: the file; an old one is replaced once the new one is complete.

        Raises:
            OSError: if it cannot be written.
        """
        from neyman.posteriors.file import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, *, network: Any = None) -> Posterior:
        """Read a posterior; no code in the file is run.

        Args:
            path: the file.
            network: a network of the user's own, as :func:`neyman.networks.register` takes it.

        Raises:
            InvalidModelFile: if the file is missing, corrupt, from a newer version, or none of ours.
            InvalidParameter: if it takes a network of the user's own, and that is missing or another one.
        """
        from neyman.posteriors.file import load

        return load(Path(path), network)

    # -- private

    def _drawn(self, sums: Array, base: Array) -> Array:
        """Return the draws that standard normal numbers make, shape ``(B, n, P)``."""
        u = base.copy()
        learned = ~self._is_prior(sums)
        if learned.any():
            with torch.inference_mode():
                u[learned] = self.network.draw(torch.from_numpy(sums[learned]), torch.from_numpy(base[learned])).numpy()
        return self.coordinates.back(u)

    def _is_prior(self, sums: Array) -> NDArray[np.bool_]:
        """Return which datasets are empty as none of the training was: they say nothing, shape ``(B,)``."""
        return np.asarray((sums[:, -1] == 0.0) & (self.numbers[0] > 0))

    def _sums(self, summaries: Array | Sequence[PosteriorSummary]) -> Array:
        if not isinstance(summaries, np.ndarray):
            summaries = np.array([self.encode(one).sums for one in summaries]).reshape(-1, self.network.encoder.size)
        if summaries.ndim != 2 or summaries.shape[1] != self.network.encoder.size:
            wanted = f"(datasets, {self.network.encoder.size})"
            raise InvalidEnsemble(f"summaries have the shape {summaries.shape}, not {wanted}: use encode_many")
        return summaries.astype(np.float64)

    def _warnings(self, summary: PosteriorSummary) -> tuple[str, ...]:
        low, high = self.numbers
        if self._is_prior(summary.sums[None])[0]:
            return ("the dataset is empty, as none of the training was: these are draws of the prior",)
        if low - 0.5 <= summary.events <= high + 0.5:
            return ()
        trained = f"the network was trained with {low:g} to {high:g}"
        return (f"a dataset of {summary.events:g} events, but {trained}: do not trust its answer",)

    def _checked_points(self, theta: ArrayLike) -> Array:
        wanted = f"(points, {len(self.names)}), the parameters being {', '.join(self.names)}"
        try:
            points = np.array(theta, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidParameter(f"theta must be numbers of shape {wanted}") from error
        if points.ndim != 2 or points.shape[1] != len(self.names) or np.isnan(points).any():
            raise InvalidParameter(f"theta, of shape {points.shape}, must be numbers of shape {wanted}")
        return points


def _chunks(offsets: NDArray[np.int64], additive: bool) -> list[tuple[int, int, int, int]]:
    """Return datasets and events of each chunk; only an additive encoder sees a dataset in parts."""
    chunks = []
    first, n = 0, len(offsets) - 1
    while first < n:
        last = max(int(np.searchsorted(offsets, offsets[first] + _CHUNK, side="right")) - 1, first + 1)
        begin, end = int(offsets[first]), int(offsets[last])
        step = _CHUNK if additive else max(end - begin, 1)
        chunks += [(first, last, b, min(b + step, end)) for b in range(begin, end, step)]
        first = last
    return chunks
