"""Networks of a user's own that turn single events into numbers, as encoders of datasets."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neyman.exceptions import InvalidParameter
from neyman.networks.encoder import Encoder
from neyman.networks.scaling import FeatureScaler

__all__ = ["OwnEncoder", "load_own"]


def __dir__() -> list[str]:
    return __all__


_ALIKE = 1e-3  # of the numbers' size: what rounding may do to those of an event beside other events


class OwnEncoder(Encoder):
    r"""Encodes a dataset as :math:`\sum_i w_i \phi(x_i)`, with a module :math:`\phi` of the user's own.

    Args:
        name: what the user calls it, for messages.
        scaler: the feature scaling, of the features that are summed beside; the module gets events as they are.
        network: the module, which is copied, or what makes one from the number of features or, where an event has
            a shape, from that.
        options: keywords for what makes it.

    Raises:
        InvalidParameter: if there is no module, or it does not return ``(E, K)`` finite numbers.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> scaler = FeatureScaler(torch.zeros(3), torch.ones(3))
        >>> network = OwnEncoder("linear", scaler, nn.Linear(3, 5), {})
        >>> network(torch.randn(7, 3), torch.ones(7), torch.zeros(7, dtype=torch.int64), 1).shape
        torch.Size([1, 9])
    """

    def __init__(self, name: str, scaler: FeatureScaler, network: Any, options: Mapping[str, Any]) -> None:
        self._name, self._options = name, dict(options)
        phi = _module(name, network, scaler.event_shape or scaler.features, options)
        # at the centre, for the width; what it makes of events is seen once there are some
        width = _numbers(name, phi, _shaped(scaler, scaler.centre.expand(2, -1))).shape[1]
        super().__init__(scaler, width)
        self.phi = phi

    @property
    def shape(self) -> dict[str, Any]:
        """What it takes beside the scaling to build it again, as JSON."""
        return {"class": _class(self.phi), "width": self.width, "options": self._options}

    def numbers(self, x: Tensor, z: Tensor, weights: Tensor, dataset: Tensor, n: int) -> Tensor:
        """Return the numbers of each event, shape ``(E, width)``; the arguments are those of any encoder."""
        return self.phi(_shaped(self.scaler, x))  # type: ignore[no-any-return]

    def check(self, x: Tensor) -> None:
        """Check what the module makes of events: finite numbers, of each event by itself.

        Args:
            x: some events, shape ``(E, d)``.

        Raises:
            InvalidParameter: if it does anything else.
        """
        x = _shaped(self.scaler, x)
        found = _numbers(self._name, self.phi, x)
        if len(x) and (wrong := int((~torch.isfinite(found)).any(1).sum())):
            raise InvalidParameter(
                f"network {self._name}: its numbers are not finite for {wrong} of {len(x)} simulated events"
            )
        one = len(x) // 2
        alone = _numbers(self._name, self.phi, x[one : one + 1])
        if not torch.allclose(alone, found[one : one + 1], rtol=_ALIKE, atol=_ALIKE * float(found.abs().mean())):
            raise InvalidParameter(
                f"network {self._name}: its numbers of an event change with the events beside it; each must be "
                "that event's alone"
            )


def load_own(
    kind: str, scaler: FeatureScaler, shape: Mapping[str, Any], state: Mapping[str, Tensor], network: Any
) -> OwnEncoder:
    """Return an encoder of a model file whose module is the user's own, without its weights.

    Args:
        kind: the name of its kind.
        scaler: the feature scaling.
        shape: what :attr:`OwnEncoder.shape` says of it.
        state: the weights that it is to take.
        network: the module or what makes one, or ``None`` where nobody has given it.

    Raises:
        InvalidParameter: if it is missing, or not the one that was trained.
    """
    name = shape["class"]
    if network is None:
        raise InvalidParameter(
            f"the network of the kind {kind!r} is a class of your own, {name}, and a model file holds no code: give it,"
            f" as in Model.load(path, network={name}), or register {kind!r} first"
        )
    if not callable(network):
        raise InvalidParameter(f"network is {network!r}: give the class or module of your own, {name}")
    encoder = OwnEncoder(kind, scaler, network, shape["options"])
    if _class(encoder.phi) != name:
        raise InvalidParameter(
            f"network is a {_class(encoder.phi)}, but the model was trained with a {name}: give that"
        )
    own = encoder.state_dict()
    shapes = {key: (tuple(state[key].shape) if key in state else None) for key in {**own, **state}}
    for key, wanted in shapes.items():
        found = tuple(own[key].shape) if key in own else None
        if found != wanted:
            raise InvalidParameter(
                f"network {name}: {key.removeprefix('phi.')} has shape {found}, but {wanted} in the model file: "
                "give the network that the model was trained with"
            )
    if encoder.width != shape["width"]:
        raise InvalidParameter(
            f"network {name}: it makes {encoder.width} numbers of an event, but {shape['width']} in the model file: "
            "give the network that the model was trained with"
        )
    return encoder


def _class(module: nn.Module) -> str:
    """Return the name of a class; not its Python module, which is another one where it was defined in a script."""
    return type(module).__qualname__.rpartition(".")[2]


def _shaped(scaler: FeatureScaler, x: Tensor) -> Tensor:
    """Return events as the module gets them: of their shape, where they have one."""
    return x.reshape(len(x), *scaler.event_shape) if scaler.event_shape else x


def _module(name: str, network: Any, features: int | tuple[int, ...], options: Mapping[str, Any]) -> nn.Module:
    """Return a module that is ours to train."""
    if isinstance(network, nn.Module):
        made: object = copy.deepcopy(network)
    else:
        try:
            made = network(*([features] if _takes_features(network) else []), **options)
        except Exception as error:
            what = f"{features} features" if isinstance(features, int) else f"the shape {features} of an event"
            raise _raised(name, error, f"called with {what}") from error
    if not isinstance(made, nn.Module):
        raise InvalidParameter(f"network {name}: it made a {type(made).__name__}; it must make a torch module")
    return made.to("cpu", torch.float32)


def _takes_features(network: Any) -> bool:
    """Whether what makes the module has an argument at all."""
    if isinstance(network, type) and network.__init__ is nn.Module.__init__:  # type: ignore[misc]
        return False
    try:
        return bool(inspect.signature(network).parameters)
    except ValueError:  # written in C
        return True


def _numbers(name: str, phi: nn.Module, x: Tensor) -> Tensor:
    """Return the numbers of events, shape ``(E, K)``, as they are after a training."""
    training = phi.training
    try:
        with torch.no_grad():
            found = phi.eval()(x)
    except Exception as error:
        raise _raised(name, error, f"given events of shape {tuple(x.shape)}") from error
    finally:
        phi.train(training)
    if not isinstance(found, Tensor):
        raise InvalidParameter(f"network {name}: it returned a {type(found).__name__}; it must return a tensor (E, K)")
    if found.ndim != 2 or len(found) != len(x) or not found.shape[1] or not found.is_floating_point():
        raise InvalidParameter(
            f"network {name}: it returned {str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)} for "
            f"events of shape {tuple(x.shape)}; it must return real numbers of shape ({len(x)}, K)"
        )
    return found


def _raised(name: str, error: Exception, when: str) -> InvalidParameter:
    return InvalidParameter(" ".join(f"network {name}: it raised {type(error).__name__} {when}: {error}".split()))
