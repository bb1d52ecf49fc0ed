"""The kinds of network: what each is, its options with their defaults, and the class behind it; users add their own."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from neyman.exceptions import InvalidDocument, InvalidParameter
from neyman.networks.options import PosteriorOptions, SetOptions, TrainingOptions, checked_options

if TYPE_CHECKING:  # torch takes seconds, and a document is checked without it
    from torch import Tensor

    from neyman.networks.encoder import Encoder
    from neyman.networks.scaling import FeatureScaler

__all__ = [
    "MIXTURE",
    "Kind",
    "check_options",
    "is_loadable",
    "kind_of",
    "load_encoder",
    "names",
    "posterior_options",
    "register",
    "set_options",
    "training_options",
    "unregister",
]


def __dir__() -> list[str]:
    return __all__


_Options = TypeVar("_Options", SetOptions, PosteriorOptions)

MIXTURE = "mixture"
"""The kind of a channel with known samples: no dataset-wide network, but classifiers of single events."""


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of dataset-wide network.

    Args:
        name: what it is called, as in ``network: {kind: deepset}``.
        help: what it is, in a few words.
        build: returns an untrained encoder from the feature scaling and the options of its shape.
        options: its options with their defaults.
        single_events: whether it is trained on single events rather than on whole datasets.
        streams: whether events see those before them alone: for posteriors, since likelihoods have events in no order.
        network: of a user's own kind, the module, or what makes one.
    """

    name: str
    help: str
    build: Callable[..., Encoder]
    options: SetOptions = field(default_factory=SetOptions)
    single_events: bool = False
    streams: bool = False
    network: Any = None


def _deepset(scaler: FeatureScaler, **shape: Any) -> Encoder:
    from neyman.networks.deepset import DeepSet

    return DeepSet(scaler, **shape)


def _transformer(scaler: FeatureScaler, **shape: Any) -> Encoder:
    from neyman.networks.transformer import SetTransformer

    if "heads" in shape:  # its name in the first model files
        shape["attention_heads"] = shape.pop("heads")
    return SetTransformer(scaler, **shape)


def _causal(scaler: FeatureScaler, **shape: Any) -> Encoder:
    from neyman.networks.causal import CausalTransformer

    return CausalTransformer(scaler, **shape)


_KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "event",
            "a ratio for each event, where events are independent given the parameters",
            _deepset,
            SetOptions({"hidden": (32, 32), "width": 32, "knots": 100}, steps=4000, networks=1),
            single_events=True,
        ),
        Kind(
            "deepset",
            "sums over the events of what a network makes of each",
            _deepset,
            SetOptions({"hidden": (32, 32), "width": 32, "knots": 100}),
        ),
        Kind(
            "transformer",
            "events that see each other before they are summed",
            _transformer,
            SetOptions(
                {"width": 32, "points": 4, "attention_heads": 4, "blocks": 1, "knots": 100}, fresh=2, networks=1
            ),
        ),
        Kind(
            "causal",
            "elements of a stream that see those before them, for a posterior after each",
            _causal,
            SetOptions({"width": 32, "attention_heads": 4, "blocks": 2}),
            streams=True,
        ),
    )
}
_BUILT_IN = (MIXTURE, *_KINDS)


def names() -> list[str]:
    """Return the names of the kinds of network that likelihoods take, those that a user has registered last.

    Example:
        >>> names()[:3]
        ['event', 'deepset', 'transformer']
    """
    return [name for name, kind in _KINDS.items() if not kind.streams]


def register(name: str, network: Any, help: str = "a network of the user's own") -> None:
    """Register a network of one's own as a kind, for documents and to find it again when a model file is loaded.

    The network turns single events into numbers: a torch module that takes events, shape ``(E, d)``, as they are in
    the simulation, and returns ``(E, K)`` finite numbers, those of an event depending on that event alone. Their sums
    over the events of a dataset, with the events' weights, are what the likelihood ratio is learned from, beside those
    of the scaled features: so it does not depend on the order of the events nor on the splitting of an event into
    several that share its weight. Where events have a shape, as images do, the module gets ``(E, *event_shape)``, and
    the sums of its numbers are all there is.

    Args:
        name: of the kind, as in ``network: {kind: name}`` or ``neyman.train(simulator, name)``.
        network: a class or a function, called with ``d``, the number of features, or with the shape of an event, and
            with the options that it has as keywords; or a module, which is copied with the weights that it has. Several
            networks that are averaged each come from a call or a copy of their own.
        help: what it is, in a few words.

    Raises:
        InvalidParameter: if the name is that of a kind of ours, or the network is neither module nor callable.

    Example:
        >>> from torch import nn
        >>> def angular(features, width=8):
        ...     return nn.Sequential(nn.Linear(features, 32), nn.Tanh(), nn.Linear(32, width))
        >>> register("angular", angular, "sums of what a network makes of the angles")
        >>> set_options("angular", {"width": 4, "datasets": 20_000}).shape
        {'width': 4}
        >>> unregister("angular")
    """
    if name in _BUILT_IN:
        raise InvalidParameter(f"the name {name!r} is that of a kind of network there is: choose another one")
    _KINDS[name] = _own(name, network, help)


def unregister(name: str) -> None:
    """Forget a kind that was registered.

    Args:
        name: of the kind.

    Raises:
        InvalidParameter: if it is a kind of ours, or none.
    """
    if kind_of(name).network is None:
        raise InvalidParameter(f"the name {name!r} is that of a kind of ours, which stays")
    del _KINDS[name]


def kind_of(network: Any) -> Kind:
    """Return a kind of dataset-wide network.

    Args:
        network: its name; or a module of one's own or what makes one, as :func:`register` takes them.

    Raises:
        InvalidParameter: if there is no such kind.

    Example:
        >>> kind_of("deepset").help
        'sums over the events of what a network makes of each'
    """
    if isinstance(network, Kind):
        return network
    if not isinstance(network, str):
        return _own("", network, "")
    if network not in _KINDS:
        raise InvalidParameter(f"network is {network!r}: of a simulator it must be one of {', '.join(_KINDS)}")
    return _KINDS[network]


def set_options(kind: str | Kind, network: Mapping[str, Any]) -> SetOptions:
    """Return the options of a dataset-wide network.

    Args:
        kind: its kind.
        network: the options given; ``kind`` among them is left out.

    Raises:
        InvalidDocument: if a key is unknown or a value makes no sense.
        InvalidParameter: if it is a kind of streams, for posteriors.

    Example:
        >>> set_options("deepset", {"width": 32}).shape
        {'hidden': (32, 32), 'width': 32, 'knots': 100}
    """
    kind = kind_of(kind)
    if kind.streams:
        raise InvalidParameter(
            f"network is {kind.name!r}, which learns posteriors of streams: use train_posterior, or another network"
        )
    return _options(kind, network, kind.options)


def posterior_options(kind: str | Kind, network: Mapping[str, Any]) -> PosteriorOptions:
    """Return the options of the network of a posterior.

    Args:
        kind: the kind of what turns events into numbers.
        network: the options given; ``kind`` among them is left out.

    Raises:
        InvalidDocument: if a key is unknown or a value makes no sense.

    Example:
        >>> posterior_options("transformer", {"width": 16, "flow_steps": 500}).flow_steps
        500
    """
    kind = kind_of(kind)
    return _options(kind, network, PosteriorOptions(kind.options.shape))


def _options(kind: Kind, network: Mapping[str, Any], defaults: _Options) -> _Options:
    """Return options of a dataset-wide network, with the defaults for what is not given."""
    shape = defaults.shape
    training = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(defaults) if f.name != "shape"}
    if taken := training.keys() & shape:
        raise InvalidParameter(f"network {kind.name}: its keyword {min(taken)} is an option of the training; rename it")
    given = checked_options(kind.name, network, {**shape, **training}, frozenset(shape if kind.network else ()))
    of_shape = {**shape, **{key: given.pop(key) for key in shape if key in given}}
    if kind.name in ("transformer", "causal") and of_shape["width"] % of_shape["attention_heads"]:
        heads, width = of_shape["attention_heads"], of_shape["width"]
        raise InvalidDocument(f"attention_heads: {heads} heads do not divide a width of {width}")
    return dataclasses.replace(defaults, shape=of_shape, **given)


def training_options(network: Mapping[str, Any]) -> TrainingOptions:
    """Return the options of a mixture channel's ``network:``.

    Args:
        network: the mapping as written.

    Raises:
        InvalidDocument: if a key is unknown or a value makes no sense.

    Example:
        >>> training_options({"kind": "mixture", "hidden": [32, 32]}).hidden
        (32, 32)
    """
    return TrainingOptions(**checked_options(MIXTURE, network, dataclasses.asdict(TrainingOptions())))


def check_options(network: Mapping[str, Any]) -> None:
    """Check the ``network:`` of a channel in a document.

    Args:
        network: the mapping, with its ``kind``.

    Raises:
        InvalidParameter: if there is no such kind.
        InvalidDocument: if an option is unknown or a value makes no sense.
    """
    if network["kind"] == MIXTURE:
        training_options(network)
    else:
        set_options(network["kind"], network)


def is_loadable(kind: str, shape: Mapping[str, Any]) -> bool:
    """Whether an encoder of a model file is of a kind that this version knows, or of a user's own."""
    return "class" in shape or kind in _KINDS


def load_encoder(kind: str, shape: Mapping[str, Any], state: Mapping[str, Tensor], network: Any = None) -> Encoder:
    """Return an encoder of a model file.

    Args:
        kind: the name of its kind.
        shape: what :attr:`Encoder.shape` says of it.
        state: its weights.
        network: the module or class of a user's own kind, as :func:`register` takes it; one that is registered under
            the name need not be given.

    Raises:
        InvalidParameter: if the network is the user's own and missing, or not the one that was trained.
        LookupError, TypeError, RuntimeError: if the entries contradict each other.
    """
    from neyman.networks.layers import initialised
    from neyman.networks.scaling import FeatureScaler

    scaler = FeatureScaler.of_state(state)
    if "class" not in shape:
        with initialised(0):
            encoder = _KINDS[kind].build(scaler, **shape)
    else:
        from neyman.networks.own import load_own

        if network is None and kind in _KINDS:
            network = _KINDS[kind].network
        with initialised(0):
            encoder = load_own(kind, scaler, shape, state, network)
    encoder.load_state_dict(state)
    return encoder


def _own(name: str, network: Any, help: str) -> Kind:
    """Return the kind of a network of a user's own."""
    if not callable(network):
        raise InvalidParameter(
            f"network is {network!r}: give the name of a kind, a torch module that turns events (E, d) into numbers "
            "(E, K), or a class or function that makes one from d"
        )
    name = name or getattr(network, "__name__", type(network).__name__)
    shape = {} if _is_module(network) else _keywords(network)
    training = {f.name for f in dataclasses.fields(SetOptions)}
    if taken := training.intersection(shape):
        raise InvalidParameter(f"network {name}: its keyword {min(taken)} is an option of every training; rename it")

    def build(scaler: FeatureScaler, **options: Any) -> Encoder:
        from neyman.networks.own import OwnEncoder

        return OwnEncoder(name, scaler, network, options)

    return Kind(name, help, build, SetOptions(shape), network=network)


def _is_module(network: Any) -> bool:
    """Whether it is a torch module itself, rather than what makes one."""
    return not isinstance(network, type) and hasattr(network, "state_dict")


def _keywords(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the keywords that a function or class has beside its first argument, with their defaults."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # written in C
        return {}
    return {one.name: one.default for one in parameters[1:] if one.default is not inspect.Parameter.empty}
