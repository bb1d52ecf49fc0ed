"""Learning a mixture channel from its simulation: cross-fit, average, calibrate (arXiv:1506.02169)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from neyman.events import ChannelSimulation, Events
from neyman.exceptions import InvalidEvents
from neyman.model.calibration import sample_ratios
from neyman.model.mixture import MixtureChannel
from neyman.networks.mixture import CrossFitClassifier, fold_of, logits
from neyman.networks.options import TrainingOptions
from neyman.results import TrainingReport
from neyman.training.calibration import fit_calibration
from neyman.training.classifiers import Trainer
from neyman.training.closure import closure_failures
from neyman.training.crossfit import TrainedClassifier, train_classifier
from neyman.training.mixture_report import samples_entry, variations_entry, weights_entry
from neyman.training.pooling import normalisations, pooled
from neyman.training.separate import separate_pool, unlike
from neyman.training.signs import by_sign, of_yield, positive_weights
from neyman.training.sources import varied_sources
from neyman.training.weights import train_weights

__all__ = ["check_sizes", "train_mixture"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_BLOCK = 8192  # events with all their values in memory


def train_mixture(
    simulation: ChannelSimulation,
    options: TrainingOptions | None = None,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: bool = False,
    checkpoints: Path | None = None,
    executor: Executor | None = None,
) -> tuple[MixtureChannel, TrainingReport]:
    """Train a mixture channel.

    Args:
        simulation: the nominal and varied events of every sample.
        options: of the networks and their training.
        seed: fixes everything random.
        device: where the networks train.
        progress: whether to show a progress bar for each classifier on standard error.
        checkpoints: a folder for the state of an unfinished training.
        executor: what trains the classifiers; see :class:`neyman.training.classifiers.Trainer`.

    Returns:
        The channel and how its training went.

    Raises:
        InvalidEvents: if a sample has too few events for the folds.
    """
    options = options or TrainingOptions()
    check_sizes(simulation, options.folds)
    samples, nominal = list(simulation.samples), list(simulation.samples.values())
    sources = varied_sources(simulation)
    classes = {"samples": nominal} if len(samples) > 1 else {}
    classes |= {f"variations of {samples[c]}": [nominal[c], *own.values()] for c, own in sources.others.items()}
    signed = {name: by_sign(of_yield(events), options.folds) for name, events in simulation.samples.items()}
    classes |= {f"signs of {name}": parts for name, parts in signed.items() if parts is not None}
    work: dict[str, Callable[..., TrainedClassifier]] = {
        label: partial(train_classifier, events, options) for label, events in classes.items()
    }
    for c, own in sources.weights.items():
        varied = [events.weights for events in own.values()]
        work[f"weights of {samples[c]}"] = partial(train_weights, nominal[c], varied, options)
    trained = Trainer(simulation.channel, seed, device, progress, checkpoints, executor)(work)
    networks = _Networks(
        samples=trained["samples"].network if "samples" in trained else None,
        variations={c: trained[f"variations of {samples[c]}"].network for c in sources.others},
        weights={c: trained[f"weights of {samples[c]}"].network for c in sources.weights},
        folds=options.folds,
        seed=seed,
    )
    yields = np.array([events.weights.sum() for events in nominal])
    calibration, values = fit_calibration(networks, yields, nominal, sources)
    signs = {name: trained[f"signs of {name}"].network for name, parts in signed.items() if parts is not None}
    own_folds = partial(_folds, options.folds, seed)
    weights = [
        positive_weights(name, of_yield(events), signs.get(name), own_folds)
        for name, events in simulation.samples.items()
    ]
    channel = MixtureChannel(
        simulation.channel,
        simulation.features,
        samples,
        yields,
        sources.variations,
        networks.samples,
        networks.variations,
        calibration,
        pooled(networks, nominal, weights, calibration, yields, sources.variations, options.pool),
        options.encoding,
        networks.weights,
        normalisations=normalisations(weights, values, sources.variations),
    )
    entries, failures = [], []
    if simulation.calibration:
        channel = channel.with_pool(separate_pool(channel, simulation, signs, options.pool))
        failures += unlike(simulation)
    if "samples" in trained:
        ratios = sample_ratios(np.concatenate(values.log_ratios))
        entries.append(samples_entry(trained["samples"], simulation.features, simulation.samples, ratios))
        failures += closure_failures(entries[-1], dict(zip(samples, yields, strict=True)))
    for c, own in sources.others.items():
        columns, name = sources.of(sources.others, c), f"variations of {samples[c]}"
        at_varied = [values.varied[v] for v in range(columns.start, columns.stop)]
        at_nominal = values.of_nominal(c, columns)
        entry = variations_entry(name, trained[name], simulation.features, nominal[c], own, at_nominal, at_varied)
        entries.append(entry)
        failures += closure_failures(entry, dict.fromkeys(own, float(yields[c])))
    for c, own in sources.weights.items():
        columns, name = sources.of(sources.weights, c), f"weights of {samples[c]}"
        at_nominal = values.of_nominal(c, columns)
        entries.append(weights_entry(name, trained[name], simulation.features, nominal[c], own, at_nominal))
        failures += closure_failures(entries[-1], dict.fromkeys(own, float(yields[c])))
    for text in failures:
        log.warning("channel %s: %s", simulation.channel, text)
    return channel, TrainingReport(simulation.channel, simulation.features, tuple(entries), warnings=tuple(failures))


def _folds(folds: int, seed: int, events: Events) -> NDArray[np.int64]:
    return fold_of(len(events), folds, seed)


@dataclass(frozen=True, eq=False)
class _Networks:
    """The trained networks: of the samples, of each varied sample's sources, and of its weights."""

    samples: CrossFitClassifier | None
    variations: dict[int, CrossFitClassifier]
    weights: dict[int, CrossFitClassifier]
    folds: int
    seed: int

    def blocks(
        self, events: Events, which: NDArray[np.intp] | None = None, of: int | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float32]]]:
        """Yield the values of blocks of simulated events, each from the networks that were not trained on its fold.

        They are computed each time they are needed: those of all events at once would not fit into memory.

        Args:
            events: all of a class, on whose number the folds depend.
            which: positions of some of them; default is all.
            of: the sample whose variations are evaluated; default is all of them.
        """
        folds, features = fold_of(len(events), self.folds, self.seed), events.features
        if which is not None:
            folds, features = folds[which], features[which]
        variations, weights = (
            [network for c, network in group.items() if of in (None, c)] for group in (self.variations, self.weights)
        )
        for begin in range(0, len(features), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            x, fold = features[rows], folds[rows]
            sides = [np.empty((len(x), 0), dtype=np.float32)]
            for network in variations:
                values = logits(network, x, fold)
                sides.append(values[:, 1:] - values[:, :1])
            sides += [logits(network, x, fold) for network in weights]
            log_ratios = np.zeros((len(x), 1)) if self.samples is None else logits(self.samples, x, fold)
            yield rows, log_ratios.astype(np.float64), np.concatenate(sides, axis=1)


def check_sizes(simulation: ChannelSimulation, folds: int) -> None:
    """Check that every sample and variation has events enough for the folds.

    Raises:
        InvalidEvents: naming the sample that has not.
    """
    for sample, events in simulation.samples.items():
        varied = [e for pair in simulation.variations.get(sample, {}).values() for e in pair if e is not None]
        separate = [simulation.calibration[sample]] if sample in simulation.calibration else []
        for source in [events, *varied, *separate]:
            if len(source) < 10 * folds:
                raise InvalidEvents(
                    f"channel {simulation.channel}: sample {sample} has {len(source)} simulated events, too few for"
                    f" {folds} networks: at least {10 * folds} are needed"
                )
