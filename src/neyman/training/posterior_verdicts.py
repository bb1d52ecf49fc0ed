"""Verdicts on posteriors: one line that says whether one is calibrated, and what not to trust where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neyman.results.posterior_checks import PosteriorReport

__all__ = ["posterior_verdict"]


def __dir__() -> list[str]:
    return __all__


_FALSE = 0.01  # probability to find anything wrong with a posterior that is right, all tests together
_WIDTH = 0.05  # tolerated
_BIAS = 0.1  # tolerated, in standard deviations
_RANKS = 0.03  # tolerated between the distribution of ranks and the uniform one
_LARGE = 0.3  # standard deviations that statistics of the data predict: information that was not used
_SHIFT = 0.1  # tolerated of replicated datasets, in standard deviations

_DIFFERENT = 5.0  # standard deviations of chi-square, from where slices are told apart
_CLEARER = 1.2  # that another axis must tell them, the first being the size of the data

_KINDS = (
    ("too narrow", "width", 1.0),
    ("too wide", "width", -1.0),
    ("too low", "bias", 1.0),
    ("too high", "bias", -1.0),
)


def posterior_verdict(report: PosteriorReport) -> tuple[str, bool]:
    """Return what the checks of a posterior say in one line, and whether nothing is wrong.

    Something is wrong where it is off by more than matters, and by more than chance allows at the level of 1 % for all
    tests together.

    Args:
        report: with its checks.

    Example:
        >>> import numpy as np
        >>> from neyman.results import PosteriorReport
        >>> one = {"name": "theta", "axis": "", "low": -np.inf, "high": np.inf, "datasets": 1000, "bias": 0.01,
        ...     "bias_error": 0.03, "width": 1.12, "width_error": 0.02, "bias_p": 0.7, "width_p": 1e-9}
        >>> ranks, levels = np.zeros((1000, 1), dtype=np.int64), np.array([0.5])
        >>> posterior_verdict(PosteriorReport(("theta",), 1000, 255, ranks, levels, levels[None], levels, (one,)))
        ('too narrow by 11 % for theta everywhere; do not trust it there: train it longer or on more datasets', False)
    """
    tests = 2 * len(report.calibration) + len(report.local) + len(report.joint) + len(report.predictive)
    level = _FALSE / max(tests, 1)
    found, shapes = [], []
    off: dict[tuple[str, str], dict[str, float]] = {}  # in what way and where: the parameters, and by how much
    for name in report.names:
        own = [one for one in report.calibration if one["name"] == name]
        parts = [(kind, *part) for kind in _KINDS if (part := _off(own, level, *kind[1:]))]
        for kind, size, where in parts:
            off.setdefault((kind[0], where), {})[name] = size
        told = _predictable(name, [one for one in report.local if one["name"] == name], level, alone=not parts)
        if not (parts or told) and any(_wrong(x, level) for x in report.joint if x["name"] == f"ranks of {name}"):
            shapes.append(name)
        found += told
    found = [f"{what} by {_amount(what, sizes)} {where}" for (what, where), sizes in off.items()] + found
    if shapes:
        found.append(f"of a wrong shape for {', '.join(shapes)}")
    found += _together(report, level, alone=not found)
    found += [
        f"datasets simulated from it have a {one['statistic']} {abs(one['shift']):.2f} sigma too "
        f"{'large' if one['shift'] > 0 else 'small'}"
        for one in report.predictive
        if one["p"] < level and abs(one["shift"]) > _SHIFT
    ]
    if found:
        return f"{'; '.join(found)}; do not trust it there: train it longer or on more datasets", False
    return _praise(report), True


def _praise(report: PosteriorReport) -> str:
    whole = [one for one in report.calibration if not one["axis"]]
    slices = [one for one in report.calibration if one["axis"]]

    def within(entries: Sequence[Mapping[str, Any]]) -> str:
        width = max((abs(one["width"] - 1.0) + one["width_error"] for one in entries), default=0.0)
        bias = max((abs(one["bias"]) + one["bias_error"] for one in entries), default=0.0)
        return f"{100 * width:.0f} % in width and {bias:.2f} sigma in mean"

    text = f"calibrated within {within(whole)}"
    return text + (f", in every slice of the data within {within(slices)}" if slices else "")


def _amount(what: str, sizes: Mapping[str, float]) -> str:
    """Say by how much the posteriors of some parameters are off, and of which."""
    scale, digits, unit = (1.0, 2, "sigma") if what in ("too low", "too high") else (100.0, 0, "%")
    ends = dict.fromkeys(f"{scale * size:.{digits}f}" for size in (min(sizes.values()), max(sizes.values())))
    return f"{' to '.join(ends)} {unit} for {', '.join(sizes)}"


def _off(entries: Sequence[Mapping[str, Any]], level: float, key: str, sign: float) -> tuple[float, str] | None:
    """Return by how much the posterior of a parameter is off in one way, and where, or nothing."""
    expected, tolerance = (1.0, _WIDTH) if key == "width" else (0.0, _BIAS)

    def excess(one: Mapping[str, Any]) -> float:
        return float(sign * (one[key] - expected))

    bad = [one for one in entries if excess(one) > tolerance and one[f"{key}_p"] < level]
    if not bad:
        return None
    whole = [one for one in entries if not one["axis"]]
    everywhere = bool(whole) and whole[0] in bad
    shown, strongest = (whole if everywhere else bad), _DIFFERENT
    for axis in dict.fromkeys(one["axis"] for one in entries if one["axis"]):
        slices = [one for one in entries if one["axis"] == axis]
        wrong = [one for one in slices if excess(one) > max(tolerance, 2.0 * one[f"{key}_error"])]
        different = _different([one[key] for one in slices], [one[f"{key}_error"] for one in slices])
        if wrong and different > strongest:
            shown, strongest = wrong, _CLEARER * different
    size = sum(one["datasets"] * excess(one) for one in shown) / sum(one["datasets"] for one in shown)
    if key == "width":  # of the width that it has
        size = abs(1.0 / (1.0 + sign * size) - 1.0)
    return size, _where(shown)


def _different(values: Sequence[float], errors: Sequence[float]) -> float:
    """Return by how many standard deviations values are not all the same: chi-square's."""
    x, weights = np.asarray(values), np.maximum(np.asarray(errors), 1e-300) ** -2.0
    square = float((weights * (x - np.average(x, weights=weights)) ** 2).sum())
    return (square - (len(x) - 1)) / float(np.sqrt(2.0 * max(len(x) - 1, 1)))


def _where(slices: Sequence[Mapping[str, Any]]) -> str:
    """Name slices of one axis, those side by side together."""
    axis = slices[0]["axis"]
    if not axis:
        return "everywhere"
    joined: list[list[float]] = []
    for one in sorted((one for one in slices if one["axis"] == axis), key=lambda one: float(one["number"])):
        if joined and one["number"] == joined[-1][0] + 1:
            joined[-1] = [one["number"], joined[-1][1], one["high"]]
        else:
            joined.append([one["number"], one["low"], one["high"]])
    return f"at {axis} " + ", ".join(f"{low:.3g} to {high:.3g}" for _, low, high in joined)


def _predictable(name: str, entries: Sequence[Mapping[str, Any]], level: float, *, alone: bool) -> list[str]:
    """Say what of the data tells where the truth lies in its posterior."""
    for one in entries:
        size, bias = one["size"], one["what"] == "bias"
        if one["p"] < level and size > (_BIAS if bias else _WIDTH) and (alone or (bias and size > _LARGE)):
            amount = f"{size:.2f} sigma" if bias else f"{100 * size:.0f} % in width"
            return [f"wrong by {amount} r.m.s. for {name}, as the {one['strongest']} tells"]
    return []


def _wrong(one: Mapping[str, Any], level: float) -> bool:
    return bool(one["p"] < level and one["distance"] > _RANKS)


def _together(report: PosteriorReport, level: float, *, alone: bool) -> list[str]:
    """Say what is wrong with all parameters together, where nothing is with each."""
    wrong = [one["name"] for one in report.joint if alone and _wrong(one, level)]
    pairs = [name for name in wrong if name.startswith("correlation of ")]
    return [f"wrong in the {pair}" for pair in pairs] or [f"wrong for all parameters together ({x})" for x in wrong]
