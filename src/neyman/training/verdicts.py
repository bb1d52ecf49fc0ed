"""Verdicts on dataset-wide networks: one line that says what not to trust, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neyman.results import SetReport
from neyman.results.training import chi_squared

__all__ = ["SLICES", "verdict"]


def __dir__() -> list[str]:
    return __all__


SLICES = 4  # of a parameter's range
_SIGNIFICANT = 3.5  # standard deviations: some seventy numbers are looked at
_SLOPE = 0.15  # tolerated: the widths of intervals are wrong by half of it
_BIAS = 0.2  # tolerated, in standard deviations
_SHIFT = 0.3  # of a summary statistic after reweighting, in its standard deviations
_OFFSET = 0.2  # of the logarithm of the mean weight
_FEWEST = 15.0  # effective datasets that make a histogram worth judging
_BINNED = 3.0  # chi-squared per bin: bins share their weights, so that it scatters more than it should
_FRACTION = 0.04  # of the fractions below the points of chi-square
_LEVELS = {"below_68": 0.6827, "below_95": 0.95}
_SIGNIFICANT_FRACTION = 3.3  # standard deviations, of some fourteen numbers


def verdict(report: SetReport) -> tuple[str, bool]:
    """Return what the diagnostics of a report say in one line, and whether nothing is wrong.

    Something is wrong where it deviates by more than its error allows *and* by more than matters. What concerns the
    network is told apart from what concerns the asymptotic formulas, which an exact likelihood ratio may violate, too.

    Args:
        report: with its diagnostics.
    """
    off = _calibration(report.axis, report.calibration) + _closure(report.axis, report.closure)
    asymptotic = _asymptotic(report.regions)
    parts = []
    if off:
        parts.append(f"the network is off, {' and '.join(off)}: train it longer or on more datasets")
    if asymptotic:
        parts.append(f"asymptotic intervals are not to be trusted at {' and '.join(asymptotic)}: use toys")
    if parts:
        return "; ".join(parts), False
    return "the network agrees with fresh datasets, and asymptotic intervals with its test statistic", True


def _calibration(axis: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say where the calibration is off, and how."""
    found = []
    for what, key, expected, tolerance, sides in (
        ("too sure of itself", "slope", 1.0, _SLOPE, (-1.0,)),
        ("not sure enough", "slope", 1.0, _SLOPE, (1.0,)),
        ("biased", "bias", 0.0, _BIAS, (-1.0, 1.0)),
    ):
        for side in sides:
            excess = np.array([side * (entry[key] - expected) for entry in entries])
            errors = np.array([entry[f"{key}_error"] for entry in entries])
            bad = (excess > tolerance) & (excess > _SIGNIFICANT * errors)
            whole = np.array([not np.isfinite(entry["low"]) for entry in entries])
            if not bad.any():
                continue
            if bad[whole].any():  # then a slice need not show it all alone
                bad |= excess > np.maximum(tolerance, 2.0 * errors)
            slices = [entry for entry, wrong, total in zip(entries, bad, whole, strict=True) if wrong and not total]
            some = 0 < len(slices) < np.count_nonzero(~whole)
            found.append(f"{what} {f'at {_where(axis, slices)}' if some else 'everywhere'}")
    return list(dict.fromkeys(found))


def _closure(axis: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say where reweighted datasets do not look like those that they should, and in what.

    A network that does not see something of the events may be well calibrated for what it does see; yet datasets that
    are reweighted by it then have a wrong distribution of what it does not see.
    """
    places: dict[str, list[float]] = {}
    for entry in entries:
        if wrong := _open(entry):
            places.setdefault(wrong, []).append(entry["at"] + 0.0)
    return [
        f"{wrong} near {axis} = {', '.join(f'{value:.3g}' for value in sorted(at))}" for wrong, at in places.items()
    ]


def _open(entry: Mapping[str, Any]) -> str:
    """Say what is wrong in one closure, or nothing."""
    offset, error = entry["offset"], entry["offset_error"]
    if abs(offset) > max(_OFFSET, _SIGNIFICANT * error):
        return "wrong in weight"
    shifts, errors = (np.abs(np.asarray(entry[key], dtype=np.float64)) for key in ("shifts", "shift_errors"))
    bad = (shifts > _SHIFT) & (shifts > _SIGNIFICANT * errors)
    if bad.any():
        return f"wrong about or blind to the {entry['statistics'][int(np.argmax(np.where(bad, shifts, 0.0)))]}"
    chi2, bins = chi_squared(entry["cells"])
    return "wrong in distributions" if entry["effective"] > _FEWEST and chi2 > _BINNED * bins else ""


def _asymptotic(regions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say where the test statistic at the truth is not distributed as chi-square, and to which side."""
    found = []
    for name in dict.fromkeys(region["name"] for region in regions):
        for what, side in (("too narrow", -1.0), ("too wide", 1.0)):
            bad = [region for region in regions if region["name"] == name and _beyond(region, side)]
            if bad:
                found.append(f"{_where(name, bad)} ({what})")
    return found


def _beyond(region: Mapping[str, Any], side: float) -> bool:
    return any(
        side * (region[key] - level) > max(_FRACTION, _SIGNIFICANT_FRACTION * region[f"{key}_error"])
        for key, level in _LEVELS.items()
    )


def _where(name: str, slices: Sequence[Mapping[str, Any]]) -> str:
    """Name slices, those side by side together."""
    joined: list[list[float]] = []
    for low, high in sorted((one["low"], one["high"]) for one in slices):
        if joined and np.isclose(low, joined[-1][1]):
            joined[-1][1] = high
        else:
            joined.append([low, high])
    return f"{name} " + ", ".join(f"{low:.3g} to {high:.3g}" for low, high in joined)
