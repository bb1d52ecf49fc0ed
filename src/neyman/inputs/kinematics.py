"""What two objects make: the angles between them, and their mass; careful with the rounding of light objects."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["delta_phi", "delta_r", "mass"]


def __dir__() -> list[str]:
    return __all__


def delta_phi(phi1: Any, phi2: Any) -> Any:
    """Return the difference of two azimuths, from -pi to pi.

    Example:
        >>> delta_phi(3.0, -3.0)
        -0.28318530717958623
    """
    return (phi1 - phi2 + np.pi) % (2 * np.pi) - np.pi


def delta_r(eta1: Any, phi1: Any, eta2: Any, phi2: Any) -> Any:
    """Return the distance of two objects in pseudorapidity and azimuth.

    Example:
        >>> float(delta_r(0.0, 3.0, 0.3, 3.4))
        0.5
    """
    return np.hypot(eta1 - eta2, delta_phi(phi1, phi2))


def mass(pt1: Any, eta1: Any, phi1: Any, m1: Any, pt2: Any, eta2: Any, phi2: Any, m2: Any) -> Any:
    """Return the invariant mass of two objects, in the unit of their momenta and masses.

    With transverse masses t and rapidities y, it is the root of ``m1^2 + m2^2 + 2 (t1 t2 cosh(y1 - y2) - pt1 pt2
    cos(phi1 - phi2))``, written as a sum of terms none of which is below 0, so that no rounding makes it so.

    Example:
        >>> round(float(mass(45.0, 0.5, 0.1, 0.0, 45.0, 0.5, 0.1 + 3.141592653589793, 0.0)), 9)
        90.0
    """
    t1, y1 = _transverse(pt1, eta1, m1)
    t2, y2 = _transverse(pt2, eta2, m2)
    transverse = t1 * t2 + pt1 * pt2
    excess = (m1 * m2) ** 2.0 + (m1 * pt2) ** 2.0 + (m2 * pt1) ** 2.0  # (t1 t2)^2 - (pt1 pt2)^2
    terms = (
        excess / (transverse + (transverse == 0))
        + 2 * t1 * t2 * np.sinh((y1 - y2) / 2) ** 2.0
        + 2 * pt1 * pt2 * np.sin((phi1 - phi2) / 2) ** 2.0
    )
    return np.sqrt(m1 * m1 + m2 * m2 + 2 * terms)


def _transverse(pt: Any, eta: Any, m: Any) -> tuple[Any, Any]:
    """Return transverse mass and rapidity."""
    t = np.hypot(pt, m)
    return t, np.arcsinh(pt / (t + (t == 0)) * np.sinh(eta))
