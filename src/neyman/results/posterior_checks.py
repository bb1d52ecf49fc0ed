"""The report on a learned posterior: what fresh datasets, whose true parameters are known, say of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from neyman.results.base import Result, Table
from neyman.support.text import rounded, text_table

__all__ = ["PosteriorReport"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False, repr=False)
class PosteriorReport(Result):
    r"""What datasets of parameters drawn from the prior say of a learned posterior.

    Args:
        names: what there is a posterior of: the parameters, then what is local to an event.
        datasets: how many were simulated, :math:`T`.
        draws: how many draws of the posterior each got, :math:`n`.
        ranks: how many of the draws lie below the truth, from 0 to :math:`n`, shape ``(T, P)``: uniform if the
            posterior is right. -1 where a dataset has no such truth.
        levels: of credible intervals, shape ``(L,)``.
        coverage: how often the central interval of each level holds the truth, shape ``(P, L)``.
        tarp: how often the region of each level about a random point holds the truth, shape ``(L,)``: the expected
            coverage of arXiv:2302.03026, of all parameters together.
        calibration: for each of ``names``, everywhere and in slices of ``axis`` from ``low`` to ``high``: the number of
            ``datasets``, the ``bias`` and the ``width`` of the pull :math:`(\theta - m)/s`, with m and s the mean and
            the standard deviation of the draws, zero and one if the posterior is right, each with its ``..._error``,
            and the probabilities ``bias_p`` and ``width_p`` that ranks are as far off if it is. The width is above one
            where the posterior is too narrow.
        local: for each parameter and ``what`` (``"bias"`` or ``"width"``): how well simple statistics of a dataset,
            and mean and width of the posterior itself, predict where the truth lies in it, which none can if the
            posterior is right: ``size`` in standard deviations, or as a fraction of the width, the probability ``p``
            to be so large by chance, and the statistic that says most, ``strongest``.
        joint: tests of all parameters together: the ``name`` of each and its ``p``.
        predictive: for each ``statistic`` of a dataset, how much larger it is in datasets simulated at a draw of the
            posterior, ``shift`` in standard deviations with its ``shift_error``, and the probability ``p`` to be so.
        verdict: whether and where the posterior can be trusted, in one line.
        good: whether nothing is to be warned of.
    """

    kind: ClassVar[str] = "posterior checks"
    names: tuple[str, ...]
    datasets: int
    draws: int
    ranks: NDArray[np.int64]
    levels: NDArray[np.float64]
    coverage: NDArray[np.float64]
    tarp: NDArray[np.float64]
    calibration: tuple[dict[str, Any], ...] = ()
    local: tuple[dict[str, Any], ...] = ()
    joint: tuple[dict[str, Any], ...] = ()
    predictive: tuple[dict[str, Any], ...] = ()
    verdict: str = ""
    good: bool = True

    @property
    def bands(self) -> NDArray[np.float64]:
        """How far from the level a curve of ``coverage`` may be, anywhere, in 95 % of all cases, shape ``(P,)``."""
        numbers = np.maximum((self.ranks >= 0).sum(axis=0), 1)
        return np.asarray(scipy.stats.kstwo.isf(0.05, numbers), dtype=np.float64)

    def rows(self) -> list[tuple[str, ...]]:
        """Return what was examined, where, and what was found, line by line."""
        rows: list[tuple[str, ...]] = []
        for name in self.names:
            own = [one for one in self.calibration if one["name"] == name]
            for axis in dict.fromkeys(one["axis"] for one in own):
                rows.append((f"calibration of {name}", *_slices(axis, [one for one in own if one["axis"] == axis])))
        for one in self.local:
            what = "off by" if one["what"] == "bias" else "width off by"
            size = f"{one['size']:.2f} sigma" if one["what"] == "bias" else f"{100 * one['size']:.0f} %"
            found = f"{what} {size} r.m.s., p-value {one['p']:.2g}; most with the {one['strongest']}"
            rows.append((f"predictable error of {one['name']}", "", found))
        rows += [("joint", one["name"], f"p-value {one['p']:.2g}") for one in self.joint]
        for one in self.predictive:
            found = f"shift {_pair(one, 'shift')} sigma, p-value {one['p']:.2g}"
            rows.append(("predictive", one["statistic"], found))
        return rows

    def __repr__(self) -> str:
        lines = [self._title(), *text_table(self.rows())] if self.rows() else [self._title()]
        return "\n".join([*lines, f"  {self.verdict}"] if self.verdict else lines)

    def table(self) -> Table:
        """Return what is printed: what was examined, where, and what was found."""
        caption = f"{self._title()}: {self.verdict}" if self.verdict else self._title()
        return caption, ("", "where", "found"), self.rows()

    def _title(self) -> str:
        return f"posterior of {', '.join(self.names)} on {self.datasets} fresh datasets"


def _slices(axis: str, entries: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return where slices of an axis are, and pulls and widths there with the largest error."""
    if not axis:
        return "everywhere", f"pull {_pair(entries[0], 'bias')}, width {_pair(entries[0], 'width')}"
    edges = [entries[0]["low"], *(one["high"] for one in entries)]
    found = []
    for what, key in (("pulls", "bias"), ("widths", "width")):
        error = max(one[f"{key}_error"] for one in entries)
        texts = [rounded(one[key], error) for one in entries]
        found.append(f"{what} {', '.join(value for value, _ in texts)} +/- {texts[0][1]}")
    return f"{axis} {' | '.join(f'{edge:.3g}' for edge in edges)}", "; ".join(found)


def _pair(one: Mapping[str, Any], key: str) -> str:
    value, error = one[key], one[f"{key}_error"]
    return " +/- ".join(rounded(value, error)) if math.isfinite(value) else "unknown"
