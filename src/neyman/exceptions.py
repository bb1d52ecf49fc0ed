"""One exception per kind of mistake, all below :class:`NeymanError`; each message is one line that says what to do."""

from collections.abc import Iterable

__all__ = [
    "FailedFit",
    "InvalidDocument",
    "InvalidEnsemble",
    "InvalidEvents",
    "InvalidModelFile",
    "InvalidParameter",
    "InvalidResult",
    "InvalidSimulation",
    "NeymanError",
    "Unsupported",
]


def __dir__() -> list[str]:
    return __all__


class NeymanError(Exception):
    """Base of every error that :mod:`neyman` raises on purpose."""


class InvalidDocument(NeymanError):
    """The document (``analysis.yaml``) breaks its schema or contradicts itself; the message names the key.

    Args:
        message: one line.
        key: the path of the key in the document, as ``("channels", 0, "name")``; none where no key is to blame.
    """

    def __init__(self, message: str = "", key: Iterable[str | int] = ()) -> None:
        super().__init__(message)
        self.key = tuple(key)


class InvalidEvents(NeymanError):
    """An event source cannot be read or its events cannot be used; the message names file, tree and expression.

    Attributes:
        source: which of several sources that are read together is to blame; ``None`` where it is all of them.
    """

    source: object = None


class InvalidEnsemble(NeymanError):
    """An ensemble does not fit the model it is given to; the message names the channel."""


class InvalidModelFile(NeymanError):
    """A model file is missing, truncated, corrupt, from a newer format, or not a model file at all."""


class InvalidParameter(NeymanError):
    """A parameter name or value that the model does not have or allows; the message names it."""


class InvalidResult(NeymanError):
    """A text is not the JSON of a result, is from a newer format, or its fields do not fit; the message names them."""


class InvalidSimulation(NeymanError):
    """A simulator raises or returns events that cannot be used; the message names the parameters and the seed."""


class FailedFit(NeymanError):
    """A minimisation did not converge, so that no valid result exists."""


class Unsupported(NeymanError):
    """The request has no meaning for this model, backend or network; the message says what to use instead."""
