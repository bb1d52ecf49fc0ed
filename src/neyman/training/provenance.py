"""Where something trained comes from: when it was made, with which seed and which versions."""

from __future__ import annotations

import datetime as dt
from importlib.metadata import version
from typing import Any

__all__ = ["provenance_of"]


def __dir__() -> list[str]:
    return __all__


_PACKAGES = ("neyman", "torch", "pyhf", "numpy", "uproot")


def provenance_of(seed: int, *more: str) -> dict[str, Any]:
    """Return when and with which seed and versions a training was made.

    Args:
        seed: of the training.
        more: packages beside those that every training uses.
    """
    return {
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "versions": {package: version(package) for package in (*_PACKAGES, *more)},
    }
