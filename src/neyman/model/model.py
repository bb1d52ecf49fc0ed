"""The model: a pyhf.Model whose learned channels have events for data, with an exact gradient."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
from numpy.typing import ArrayLike, NDArray
from pyhf.exceptions import InvalidPdfData, InvalidPdfParameters

from neyman.events import Ensemble
from neyman.exceptions import InvalidParameter, Unsupported
from neyman.inputs.pyhf_options import pyhf_options
from neyman.inputs.simulator import Simulator
from neyman.model import file as modelfile
from neyman.model.channel import AnyChannel, Asimov, ChannelSummary
from neyman.model.constraints import Constraints
from neyman.model.data import DataVector
from neyman.model.encoding import encode
from neyman.model.ensembles import drawn_ensemble, expected_ensemble
from neyman.model.likelihood import LearnedTerm, MainLikelihood
from neyman.model.observations import read_data
from neyman.model.pdf import EnsemblePdf
from neyman.model.prediction import Binning, prediction
from neyman.model.rates import Rates
from neyman.model.summary import Summary
from neyman.results import FitResult, PredictionResult, SetReport, TrainingReport
from neyman.support.text import html_table, listed

__all__ = ["Model"]


def __dir__() -> list[str]:
    return __all__


Summaries = Mapping[str, ChannelSummary]

_DATASETS_KEPT = 4  # an asymptotic limit goes back and forth between the observed and the Asimov data


class Model(pyhf.Model):
    r"""A HistFactory model in which the data of the learned channels are events.

    .. math::

        L(D, a | \theta) = \prod_b \mathrm{Pois}(n_b | \nu_b(\theta)) \prod_k r_k(\{x\}_k | \theta)
        \prod_p c(a_p | \theta_p)

    A learned channel is one bin of the inner model, its content the sum of event weights; everything but the factors
    :math:`r_k` is pyhf's. Where :math:`r_k` is learned from a simulator, it has the number of events in it, and the bin
    has no Poisson term. The data are one flat vector ``[main | events | aux]``, an event being a row
    ``[channel, x_1 .. x_D, w]``; :meth:`data` packs it and :meth:`ensemble` unpacks it.

    Args:
        spec: the inner HistFactory specification, which may have ``bindings``.
        learned: the learned channels, by name.
        poi_name: the parameter of interest, or ``None``.
        observed: observations, if there are any: those of the document; a joint model may have some channels' only.
        document: the document the model was made from.
        provenance: where it comes from: input files, versions, seed.
        report: how the training of each learned channel went.
        modifier_settings: the interpolation of each type of modifier, as for :class:`pyhf.Model`.
        simulation_errors: of binned channels that are filled with simulated events, by sample, the root of the sum of
            squared weights in each bin.

    Example:
        >>> import neyman
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> data = model.data(neyman.Ensemble(counts={"CR": [52, 61]}))
        >>> model.logpdf([1.0], data).round(4)
        array([-5.9197])
    """

    def __init__(
        self,
        spec: dict[str, Any],
        learned: Mapping[str, AnyChannel],
        *,
        poi_name: str | None = None,
        observed: Ensemble | None = None,
        document: dict[str, Any] | None = None,
        provenance: dict[str, Any] | None = None,
        report: Sequence[TrainingReport | SetReport] = (),
        modifier_settings: dict[str, dict[str, str]] | None = None,
        simulation_errors: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    ) -> None:
        self.learned = dict(learned)
        self.simulation_errors = dict(simulation_errors or {})
        self.modifier_settings = modifier_settings
        options = {} if modifier_settings is None else {"modifier_settings": modifier_settings}
        try:
            super().__init__(spec, poi_name=poi_name, **options, **pyhf_options(spec))
        except (AssertionError, KeyError, TypeError, AttributeError) as error:  # which is what pyhf raises for those
            if modifier_settings is None:
                raise
            raise InvalidParameter(
                f"modifier_settings are {modifier_settings}: name an interpolation for normsys and histosys, as "
                "in {'normsys': {'interpcode': 'code4'}, 'histosys': {'interpcode': 'code4p'}}"
            ) from error
        for channel in self.learned.values():
            if channel.owns_number:
                for name in channel.parameters:  # one number each, and so its name has no index
                    self.config.param_set(name).is_scalar = True
        self.document = document or {}
        self.provenance = provenance or {}
        self.report = tuple(report)
        self.observed_ensemble = observed
        self._rates = Rates(self)
        for name, bounds in self._rates.own_bounds(self.config.suggested_bounds()).items():
            self.config.param_set(name).suggested_bounds = [bounds]  # at others an expression has no value
        self._constraints = Constraints(self)
        self._vector = DataVector(self.config, {name: channel.features for name, channel in self.learned.items()})
        self._likelihood = MainLikelihood(
            self._rates, [LearnedTerm(self, channel) for channel in self.learned.values()], self.config.nmaindata
        )
        self._encoded: list[tuple[NDArray[np.float64], Summaries]] = []
        self._asimov_pools: dict[str, Asimov] = {}
        self._looked_at: tuple[NDArray[np.float64], tuple[str, ...]] | None = None

    def __repr__(self) -> str:
        binned = [name for name in self.config.channels if name not in self.learned]
        parts = [
            f"learned channels: {', '.join(self.learned) or 'none'}",
            f"binned channels: {', '.join(binned) or 'none'}",
        ]
        return f"neyman.Model({'; '.join(parts)}; {self.config.npars} parameters, POI {self.config.poi_name})"

    def _repr_html_(self) -> str:
        rows = []
        for name in self.config.channels:
            channel, bins = self.learned.get(name), self.config.channel_nbins[name]
            what = (
                f"{bins} bin{'s' * (bins > 1)}" if channel is None else f"{channel.kind} of {listed(channel.features)}"
            )
            rows.append((name, what))
        caption = f"model of {self.config.npars} parameters, of interest: {self.config.poi_name}"
        return html_table(caption, ("channel", "likelihood"), rows)

    def __reduce__(self) -> tuple[Any, ...]:
        # pyhf's event subscriptions do not survive a pickle: build the model anew
        return functools.partial(type(self), **self._parts()), ()

    def _parts(self) -> dict[str, Any]:
        """Return the arguments that make this model."""
        return {
            "spec": self.spec,
            "learned": self.learned,
            "poi_name": self.config.poi_name,
            "observed": self.observed_ensemble,
            "document": self.document,
            "provenance": self.provenance,
            "report": self.report,
            "modifier_settings": self.modifier_settings,
            "simulation_errors": self.simulation_errors,
        }

    # -- parts

    @property
    def rates(self) -> Rates:
        """The expected rates of every sample and bin."""
        return self._rates

    @property
    def constraints(self) -> Constraints:
        """The constraint terms."""
        return self._constraints

    @property
    def terms(self) -> Sequence[LearnedTerm]:
        """The learned channels with the positions of their bins, samples and parameters."""
        return self._likelihood.terms

    @property
    def counted(self) -> NDArray[np.intp]:
        """The bins that have a Poisson term: all but those of channels learned from a simulator."""
        return self._likelihood.counted

    # -- data

    @property
    def observed(self) -> NDArray[np.float64] | None:
        """The observations that come with the model as a data vector, or ``None`` where a channel has none."""
        known = self.observed_ensemble
        if known is None or not {*self.config.channels} <= {*known.events, *known.counts}:
            return None
        return self.data(known)

    def data(self, ensemble: Ensemble) -> NDArray[np.float64]:
        """Pack an ensemble into the flat data vector.

        Args:
            ensemble: events for every learned channel, counts for every other one, and auxiliary data (nominal
                if left out).

        Raises:
            InvalidEnsemble: if a channel is missing or unknown, has another number of features or bins, or numbers
                that are not finite.
        """
        return self._vector.pack(ensemble)

    def ensemble(self, data: ArrayLike) -> Ensemble:
        """Unpack a flat data vector.

        Raises:
            pyhf.exceptions.InvalidPdfData: if the vector has a wrong length or contradicts itself.
        """
        return self._vector.unpack(np.asarray(data, dtype=np.float64))

    def outside(self, data: ArrayLike | Summary) -> tuple[str, ...]:
        """Say which features of a dataset have values that the simulation has not, a line for each.

        Args:
            data: the data vector; of the summary of a dataset nothing can be said.

        Raises:
            pyhf.exceptions.InvalidPdfData: if the data vector does not fit the model.
        """
        if isinstance(data, Summary) or not self.learned:
            return ()
        data = np.asarray(data, dtype=np.float64)
        if self._looked_at is None or not np.array_equal(self._looked_at[0], data):
            events = self.ensemble(data).events
            found = [
                text
                for name, channel in self.learned.items()
                if channel.ranges is not None
                for text in channel.ranges.warnings(name, channel.features, events[name], channel.event_shape)
            ]
            self._looked_at = data.copy(), tuple(found)
        return self._looked_at[1]

    def encode(
        self, data: Ensemble | str | Path, *, executor: Executor | None = None, progress: bool = False
    ) -> Summary:
        """Return the summary of a dataset: what fits need of it, to be kept, saved and added.

        Many events are encoded in parts, and the summary is the same wherever that is done, to the last digit. The
        networks travel to a worker once, without the simulation. Events of an ensemble travel to the workers; a file is
        read where they are, so that its events do not travel at all. What comes back is the summary of each part: for
        dataset-wide networks, of sums over the events, a few numbers; for a mixture, a few numbers for each event.

        Args:
            data: an ensemble, or other observations as :meth:`read_data` takes them.
            executor: any :class:`concurrent.futures.Executor`, whose workers see the files under the same paths;
                default is this process.
            progress: whether to show a progress bar on standard error.

        Raises:
            InvalidEnsemble: as :meth:`data`.
            InvalidDocument: as :meth:`read_data`.
            InvalidEvents: if a file cannot be read; the message names the worker, too.
        """
        return encode(self, data, executor, progress)

    def summary(self, data: ArrayLike | Summary) -> Summary:
        """Return the summary of a data vector, those of the last few being remembered, or the summary that it is."""
        if isinstance(data, Summary):
            return data
        data = np.asarray(data, dtype=np.float64)
        main, _, aux = self._vector.split(data)
        return Summary(main, aux, self._summaries(data), self.fingerprint)

    def main_and_aux(
        self, ensemble: Ensemble, elsewhere: Collection[str] = ()
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return main and auxiliary data of an ensemble, with zero for the channels whose events are elsewhere."""
        return self._vector.main_and_aux(ensemble, elsewhere)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the specification, the networks and the pools: other models have another one."""
        digest = hashlib.sha256(json.dumps(self.spec, sort_keys=True).encode())
        if self.modifier_settings is not None:
            digest.update(json.dumps(self.modifier_settings, sort_keys=True).encode())
        for channel in self.learned.values():
            digest.update(channel.digest())
        return digest.hexdigest()

    def _encode(self, ensemble: Ensemble) -> Summaries:
        return encode(self, ensemble, None, progress=False).channels  # in the same parts, to the last digit

    def read_data(self, path: str | Path) -> NDArray[np.float64] | Summary:
        """Return other observations: the data vector, or a saved summary.

        Args:
            path: a document whose observations are taken; a file of events, or its URL, in the place of those in this
                model's own observations or, for a channel learned from a simulator, with branches named like the
                features, as ``FILE.root:TREE`` if it has several trees; or a summary, ``FILE.npz``. Of a joint model,
                channels that are not in the file have the observations that came with the model.

        Raises:
            InvalidDocument: if the document has no observations, or this model has channels without event sources.
            InvalidEvents: if the file cannot be read or has not what is needed.
            InvalidEnsemble: if the summary was made by another model.
        """
        return read_data(self, str(path))

    # -- likelihood

    def evaluate(self, pars: ArrayLike, data: ArrayLike | Summary) -> tuple[float, NDArray[np.float64]]:
        """Return the log-likelihood and its exact gradient.

        Args:
            pars: the parameters, shape ``(P,)``.
            data: the data vector, or the summary of a dataset.

        Returns:
            ``log L``, minus infinity where it is not defined, and its derivatives, shape ``(P,)``.

        Raises:
            pyhf.exceptions.InvalidPdfParameters: if there are more or fewer parameters.
            pyhf.exceptions.InvalidPdfData: if the data vector does not fit the model.
        """
        if isinstance(data, Summary):
            if data.model != self.fingerprint:
                raise InvalidPdfData("the summary was made by another model: encode the dataset with this one")
            return self.evaluate_encoded(pars, data.main, data.auxdata, data.channels)
        pars, data = self._checked(pars, data)
        main, _, aux = self._vector.split(data)
        return self.evaluate_encoded(pars, main, aux, self._summaries(data))

    def evaluate_encoded(
        self, pars: ArrayLike, main: ArrayLike, auxdata: ArrayLike, summaries: Summaries, *, continued: bool = False
    ) -> tuple[float, NDArray[np.float64]]:
        """Return what :meth:`evaluate` does, of an ensemble whose events are encoded already.

        Args:
            pars: the parameters, shape ``(P,)``.
            main: counts and, for learned channels, sums of weights, shape ``(B,)``.
            auxdata: the auxiliary data, shape ``(A,)``.
            summaries: the summary of every learned channel.
            continued: whether the term of a bin without events, which is minus its rate, goes on to negative rates.
        """
        pars, auxdata = self._checked(pars, auxdata)
        value, gradient = self._likelihood(pars, np.asarray(main, dtype=np.float64), summaries, continued)
        constraint, slope = self._constraints(pars, auxdata)
        return value + constraint, gradient + slope

    def logpdf(self, pars: ArrayLike, data: ArrayLike) -> NDArray[np.float64]:
        """Return ``log L`` as an array of shape ``(1,)``; see :meth:`evaluate`."""
        return np.array([self.evaluate(pars, data)[0]])

    def mainlogpdf(self, maindata: ArrayLike, pars: ArrayLike) -> NDArray[np.float64]:
        """Return ``log L`` without the constraint terms; ``maindata`` is a data vector without auxiliary data."""
        data = np.concatenate([np.asarray(maindata, dtype=np.float64), self.config.auxdata])
        pars, data = self._checked(pars, data)
        return np.array(self._likelihood(pars, self._vector.split(data)[0], self._summaries(data))[0])

    def _checked(self, pars: ArrayLike, data: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if pyhf.tensorlib.name != "numpy":
            raise Unsupported(
                f"pyhf's {pyhf.tensorlib.name} backend is not supported: "
                "call pyhf.set_backend('numpy', neyman.optimizer())"
            )
        pars = np.asarray(pars, dtype=np.float64)
        if pars.shape != (self.config.npars,):
            raise InvalidPdfParameters(
                f"eval failed as pars has shape {pars.shape} but {self.config.npars} parameters were expected"
            )
        return pars, np.asarray(data, dtype=np.float64)

    def _summaries(self, data: NDArray[np.float64]) -> Summaries:
        """Return the encoded events of the data; the last few datasets are remembered by value."""
        if not self.learned:
            return {}
        for position, (known, summaries) in enumerate(self._encoded):
            if known.shape == data.shape and np.array_equal(known, data):
                if position:
                    self._encoded.insert(0, self._encoded.pop(position))
                return summaries
        summaries = self._encode(self.ensemble(data))
        self._encoded = [(data.copy(), summaries), *self._encoded[: _DATASETS_KEPT - 1]]
        return summaries

    # -- ensembles of the model

    def expected_ensemble(self, pars: ArrayLike) -> Ensemble:
        """Return the Asimov ensemble: expected counts, weighted events and expected auxiliary data.

        Every score of the likelihood is zero there, so that a fit of it returns ``pars`` exactly.

        Args:
            pars: the parameters, shape ``(P,)``.
        """
        return expected_ensemble(self, np.asarray(pars, dtype=np.float64), self._asimov_pools)

    def expected_data(self, pars: ArrayLike, include_auxdata: bool = True) -> NDArray[np.float64]:
        """Return the Asimov data vector; see :meth:`expected_ensemble`."""
        data = self.data(self.expected_ensemble(pars))
        return data if include_auxdata else data[: data.size - self.config.nauxdata]

    def expected_actualdata(self, pars: ArrayLike) -> NDArray[np.float64]:
        """Return the Asimov data vector without auxiliary data."""
        return self.expected_data(pars, include_auxdata=False)

    def make_pdf(self, pars: ArrayLike) -> Any:
        """Return the density at ``pars``: pyhf's own without learned channels, else an :class:`EnsemblePdf`."""
        return EnsemblePdf(self, pars) if self.learned else super().make_pdf(pars)

    def draw(self, pars: ArrayLike, rng: np.random.Generator) -> Ensemble:
        """Draw one toy: events of the learned density or of the simulator, counts and auxiliary data.

        Args:
            pars: the parameters, shape ``(P,)``.
            rng: the source of randomness.
        """
        return drawn_ensemble(self, np.asarray(pars, dtype=np.float64), rng)

    def prediction(
        self,
        data: ArrayLike | Summary | None = None,
        fit: FitResult | None = None,
        *,
        channels: Sequence[str] | None = None,
        features: Sequence[str] | None = None,
        ratios: Sequence[str] | None = None,
        bins: Binning = 25,
        equal: bool = False,
        region: str | None = None,
        blind: bool = False,
    ) -> PredictionResult:
        r"""Return the expected events of every feature, learned ratio and bin beside the data; ``.plot()`` draws them.

        They are made from the simulation: the events of each sample, with the sample's rate, bent by the learned shape
        effects. The uncertainty is that of the parameters, each moved up and down by its own with their correlations,
        and that of the finite simulation in quadrature. Before a fit the parameters have the widths of their
        constraints, and free ones none. Of a sample with weights of either sign the events have positive ones that
        describe the same density.

        The :math:`\chi^2` of each distribution is that of the difference of data and prediction, with the covariance of
        the data plus that of the prediction or, after a fit of these data, which has moved one towards the other,
        *minus* that of the parameters.

        Args:
            data: the data vector; the document's observations where it is left out.
            fit: a fit of this model to the data; without one, the prediction is that before a fit.
            channels: those to show; all by default.
            features: those to show; all by default.
            ratios: samples and parameters whose learned ratio is shown: of a sample to the others, of the parameter of
                interest at its best fit to that at zero. By default that of the parameter of interest, unless features
                are named.
            bins: how many there are, about, or by name their number or edges.
            equal: whether the bins have the same prediction instead of the same width.
            region: only events in a part of a learned ratio: ``"top 20%"`` of the prediction in that of the parameter
                of interest, ``"signal: top 20%"`` in a sample's, or a cut on its logarithm, ``"signal > 1.5"``.
            blind: whether to leave out the data.

        Raises:
            InvalidParameter: for a name, bins or a region without meaning.
            InvalidResult: if the fit is one of another model.
            Unsupported: if a channel was learned from a simulator, whose model has no simulated events, or if the data
                are a summary, which has no features.

        Example:
            >>> import neyman
            >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
            ...     {"name": "mu", "type": "normfactor", "data": None},
            ...     {"name": "xsec", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}]}]}
            >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
            >>> print(model.prediction(model.data(neyman.Ensemble(counts={"CR": [52, 61]}))))
            pre-fit prediction
              channel  quantity  bins    expected  observed  chi2 / dof  p-value
              CR            bin     2  110 +/- 11       113     0.1 / 2     0.97
        """
        return prediction(
            self, data, fit, channels=channels, features=features, ratios=ratios, bins=bins, equal=equal,
            region=region, blind=blind,
        )  # fmt: skip

    # -- what needs a binned likelihood

    @property
    def fullpdf_tv(self) -> Any:
        """Pyhf's view of main and auxiliary data, for models without learned channels."""
        if self.learned:
            raise Unsupported("a saturated goodness of fit does not exist for unbinned data: use diagnostics or toys")
        return self._fullpdf_tv

    @fullpdf_tv.setter
    def fullpdf_tv(self, view: Any) -> None:
        self._fullpdf_tv = view

    # -- files

    def save(self, path: str | Path) -> None:
        """Write the model file, in one step: what stood there before is replaced or, on any error, untouched.

        Args:
            path: of the file, by convention ``NAME.neyman``.
        """
        modelfile.save(Path(path), **self._parts())

    @classmethod
    def load(
        cls, path: str | Path, simulator: Simulator | Sequence[Simulator] | None = None, network: Any = None
    ) -> Model:
        """Read a model file; no code in it is ever run.

        Args:
            path: the file.
            simulator: the simulator that the model was trained on, where it was: toys and Asimov datasets need it, and
                a file cannot hold it. Of a joint model, one for each channel that was learned from one.
            network: the network of your own that the model was trained with, as :func:`neyman.train` takes it: a file
                holds its weights, but no class. One that :func:`neyman.networks.register` knows need not be given.

        Raises:
            InvalidModelFile: if it is missing, truncated, corrupt, from a newer format, or not a model file.
            InvalidParameter: if simulator or network are not those it was trained with, or the network is missing.
        """
        model = modelfile.load(Path(path), cls, network)
        for one in () if simulator is None else [simulator] if isinstance(simulator, Simulator) else simulator:
            model = model.with_simulator(one)
        return model

    def with_simulator(self, simulator: Simulator) -> Model:
        """Return the model with a simulator at hand, for toys and Asimov datasets.

        Raises:
            InvalidParameter: if the simulator is not like the one the model was trained on.
        """
        channel = self.learned.get(simulator.channel)
        if channel is None or not channel.owns_number:
            known = [name for name, channel in self.learned.items() if channel.owns_number]
            raise InvalidParameter(
                f"the simulator's channel is {simulator.channel}, but the model "
                + (f"learned {' and '.join(known)} from one" if known else "has none that was learned from one")
            )
        learned = {**self.learned, channel.name: channel.with_simulator(simulator)}
        return type(self)(**{**self._parts(), "learned": learned})
