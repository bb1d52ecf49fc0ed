"""Packages that only some functions need, and that an extra of ours installs."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from neyman.exceptions import Unsupported

__all__ = ["from_extra"]


def __dir__() -> list[str]:
    return __all__


def from_extra(module: str, extra: str, what: str) -> Any:
    """Import a module of a package that may not be installed.

    Args:
        module: its name.
        extra: of ours, which installs it.
        what: what needs it, for the message.

    Raises:
        Unsupported: if it is not installed.

    Example:
        >>> from_extra("no_such_package", "sampling", "posteriors")
        Traceback (most recent call last):
        neyman.exceptions.Unsupported: posteriors need no_such_package: pip install "neyman[sampling]"
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # arviz announces a future version
            return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise Unsupported(f'{what} need {package}: pip install "neyman[{extra}]"') from error
