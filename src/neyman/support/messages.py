"""What an error says about a name that does not exist: the nearest of those that do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "near"]


def __dir__() -> list[str]:
    return __all__


def near(name: object, known: Iterable[object], n: int = 3) -> list[str]:
    """Return the known names that a name may be a slip of, the nearest first; upper and lower case do not matter.

    Args:
        name: the name that does not exist.
        known: the names that do.
        n: how many to return at most.

    Example:
        >>> near("Singal", ["background", "signal"])
        ['signal']
    """
    lower = {str(other).lower(): str(other) for other in known}
    return [lower[match] for match in difflib.get_close_matches(str(name).lower(), lower, n=n)]


def did_you_mean(name: object, known: Iterable[object], show: int = 12) -> str:
    """Return the end of an error about a name that does not exist: the nearest names that do, or else the first ones.

    Args:
        name: the name that does not exist.
        known: the names that do.
        show: how many to name where none is near.

    Example:
        >>> did_you_mean("signl", ["signal", "background"])
        "did you mean 'signal'?"
        >>> did_you_mean("mass", ["signal", "background"])
        'choose from signal, background'
    """
    names = [str(other) for other in known]
    if close := near(name, names):
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"choose from {', '.join(names[:show])}{', ...' if len(names) > show else ''}" if names else "there is none"
