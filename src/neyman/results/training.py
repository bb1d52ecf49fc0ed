"""Reports of trainings: how the networks of a learned channel were trained, and what fresh simulation says of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from neyman.results.base import Result, Table
from neyman.support.text import listed, rounded, text_table

__all__ = ["SetReport", "TrainingReport", "chi_squared", "worst_classes"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False, repr=False)
class TrainingReport(Result):
    """How the networks of one learned channel were trained, and how well they reproduce the simulation.

    Args:
        channel: the learned channel.
        features: its features, as expressions.
        classifiers: for each classifier its ``name``, ``classes``, ``train_loss`` and ``validation_loss`` of shape
            ``(folds, epochs)`` (the folds may differ in length; of variations by weight zero where nothing is learned
            and about minus one where everything is), ``best_epoch`` of each fold, counted from 0,
            ``calibration`` ``{class: {"predicted", "observed", "error"}}``, ``seconds``, and ``reweighting``: for
            each class and feature ``feature``, ``class``, the bin ``edges``, and the contents ``reference`` (before),
            ``reweighted`` (by the learned ratio), ``target`` (the simulation to reproduce) and the ``error`` of the
            difference between the last two.
        disagreement: how far the best fit of the parameter of interest moves, as a root mean square in its standard
            deviations, where an event has the value of one network and where it has the mean of all; nan where nobody
            has looked.
    """

    kind: ClassVar[str] = "training"
    channel: str
    features: tuple[str, ...]
    classifiers: tuple[dict[str, Any], ...]
    disagreement: float = math.nan

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Return name, classes, folds, epochs, validation loss and closure of each classifier."""
        rows = []
        for c in self.classifiers:
            best = [_lowest(fold) for fold in c["validation_loss"]]
            loss = f"{np.mean(best):.4f}" if best else ""
            epochs = ", ".join(f"{int(epoch) + 1}" for epoch in c["best_epoch"])
            rows.append((c["name"], listed(c["classes"]), str(len(best)), epochs, loss, _closure(c)))
        return rows

    def __repr__(self) -> str:
        lines = [f"training of {self.channel} ({listed(self.features)})"]
        for name, classes, folds, epochs, loss, closure in self.rows():
            lines.append(f"  {name}: {classes}")
            lines.append(f"    {folds} folds, best epochs {epochs}, validation loss {loss}")
            lines.append(f"    closure, chi2/bins: {closure}")
        if not math.isnan(self.disagreement):
            lines.append(f"  networks disagree by {self.disagreement:.2f} sigma of the parameter of interest")
        return self._warned("\n".join(lines))

    def table(self) -> Table:
        """Return what is printed: classes, folds, epochs, validation loss and closure of each classifier."""
        header = ("classifier", "classes", "folds", "best epochs", "validation loss", "closure")
        return f"training of {self.channel} ({listed(self.features)})", header, self.rows()


@dataclass(frozen=True, eq=False, repr=False)
class SetReport(Result):
    r"""How a dataset-wide network was trained, and what datasets that it has not seen say of it.

    Args:
        channel: the learned channel.
        features: its features.
        network: ``"event"``, ``"deepset"`` or ``"transformer"``.
        stages: for each stage of the training its ``name``, ``train_loss``, ``validation_loss`` and ``seconds``, and of
            a head its ``held_out_loss`` and whether it was ``kept``.
        axis: the parameter of the network that ``calibration`` is sliced by.
        curve: of datasets with candidate parameters, the ``predicted`` probability of being the true ones, the
            ``observed`` fraction that are, and its ``error``.
        calibration: the same, everywhere and in slices of ``axis`` from ``low`` to ``high``, of ``datasets`` datasets:
            the ``slope`` of the true log-ratio against the learned one, one if it is right and below one if intervals
            are too narrow, and the ``bias`` of the learned parameter in its standard deviations; each with its
            ``..._error``.
        closure: for each pair of points ``here`` and ``there``: datasets from here, reweighted by the learned ratio,
            should be those from there, and the other way round. How many ``datasets``, the smaller ``effective``
            number after reweighting, the ``offset``, the logarithm of the mean weight, which should be zero, ``shifts``
            of the means of summary ``statistics`` in standard deviations, each with its ``..._error``, and ``cells``
            with the distributions of these statistics, as ``reweighting`` in :class:`TrainingReport`.
        poi: the parameter of interest, empty if there is none.
        truths: of datasets thrown over the parameters' bounds, the true parameter of interest (``truth``), its
            ``bestfit``, the ``statistic`` :math:`t` at the truth, and their ``number`` of events.
        regions: slices of ``name`` (the parameter of interest, or ``"events"``) from ``low`` to ``high``, with the
            number of ``toys``, the fractions ``below_68`` and ``below_95`` of :math:`t` below the points of a
            chi-square distribution with one degree of freedom, its ``mean``, and mean and width of the pull, the
            signed root of :math:`t`, as ``pull`` and ``pull_width``; each with its ``..._error``.
        verdict: whether and where the network, and asymptotic intervals made with it, can be trusted, in one line.
        good: whether nothing is to be warned of.
    """

    kind: ClassVar[str] = "set training"
    channel: str
    features: tuple[str, ...]
    network: str
    stages: tuple[dict[str, Any], ...]
    axis: str = ""
    curve: dict[str, list[float]] = field(default_factory=dict)
    calibration: tuple[dict[str, Any], ...] = ()
    closure: tuple[dict[str, Any], ...] = ()
    poi: str = ""
    truths: dict[str, tuple[float, ...]] = field(default_factory=dict)
    regions: tuple[dict[str, Any], ...] = ()
    verdict: str = ""
    good: bool = True

    def rows(self) -> list[tuple[str, ...]]:
        """Return what was examined, where, and what was found, line by line."""
        rows: list[tuple[str, ...]] = []
        for stage in self.stages:
            kept = {True: ", kept", False: ", not kept"}.get(stage.get("kept"), "")  # type: ignore[arg-type]
            found = f"validation loss {_lowest(stage['validation_loss']):.4f} in {stage['seconds']:.0f} s{kept}"
            rows.append(("stage", f"{stage['name']}, network {int(stage.get('network', 0)) + 1}", found))
        for one in self.calibration:
            where = _range(self.axis, one) if math.isfinite(one["low"]) else "everywhere"
            rows.append(("calibration", where, f"slope {_pair(one, 'slope')}, bias {_pair(one, 'bias')} sigma"))
        for pair in self.closure:
            chi2, bins = chi_squared(pair["cells"])
            shifts = [(abs(s), name) for s, name in zip(pair["shifts"], pair["statistics"], strict=True)]
            shift, name = max(shifts, default=(0.0, "none"))
            found = f"chi2/bins {chi2:.0f}/{bins}, largest shift {shift:.2f} sigma of {name}, "
            found += f"offset {_pair(pair, 'offset')}, "
            found += f"{pair['effective']:.0f} effective of {pair['datasets'] // 2:.0f} datasets"
            rows.append(("closure", f"{pair['here']} and {pair['there']}", found))
        for one in self.regions:
            found = f"{_percent(one, 'below_68')} % and {_percent(one, 'below_95')} % below the 68 % and 95 % points, "
            found += f"mean {_pair(one, 'mean')}; pull {_pair(one, 'pull')}, width {_pair(one, 'pull_width')}"
            rows.append(("t at the truth", _range(one["name"], one), found))
        return rows

    def __repr__(self) -> str:
        lines = [self._title(), *text_table(self.rows())]
        return "\n".join([*lines, f"  {self.verdict}"] if self.verdict else lines)

    def table(self) -> Table:
        """Return what is printed: what was examined, where, and what was found."""
        caption = f"{self._title()}: {self.verdict}" if self.verdict else self._title()
        return caption, ("", "where", "found"), self.rows()

    def _title(self) -> str:
        return f"training of {self.channel} ({self.network}; {listed(self.features)})"


def chi_squared(cells: Any) -> tuple[float, int]:
    """Return chi-squared and the number of bins of histograms, reweighted against target."""
    chi2, bins = 0.0, 0
    for cell in cells:
        reweighted, target, error = (np.asarray(cell[k], dtype=float) for k in ("reweighted", "target", "error"))
        used = error > 0
        chi2 += float(np.sum(((reweighted - target)[used] / error[used]) ** 2))
        bins += int(used.sum())
    return chi2, bins


def worst_classes(classifier: Mapping[str, Any], most: int = 8) -> dict[str, list[Mapping[str, Any]]]:
    """Return the cells of the closure by class; where there are very many, of those that close worst.

    Args:
        classifier: its entry in the report, with ``reweighting``.
        most: how many classes are not very many.

    Returns:
        The cells of at most so many classes, in the order of the report.
    """
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for cell in classifier.get("reweighting", ()):
        cells.setdefault(cell["class"], []).append(cell)
    badness = {name: chi2 / max(bins, 1) for name, (chi2, bins) in ((n, chi_squared(own)) for n, own in cells.items())}
    worst = sorted(cells, key=lambda name: -badness[name])[:most]
    return {name: own for name, own in cells.items() if name in worst}


def _closure(classifier: Mapping[str, Any]) -> str:
    """Return chi-squared per bin, over all features, of reweighted against target, of each class or the worst."""
    cells = worst_classes(classifier)
    totals = {name: chi_squared(own) for name, own in cells.items()}
    text = ", ".join(f"{name} {chi2:.0f}/{bins}" for name, (chi2, bins) in totals.items())
    others = len({cell["class"] for cell in classifier.get("reweighting", ())}) - len(cells)
    return f"{text}, better in {others} others" if others else text


def _lowest(losses: Iterable[float]) -> float:
    return min((loss for loss in losses if math.isfinite(loss)), default=math.nan)


def _range(name: str, one: Mapping[str, Any]) -> str:
    return f"{name} {one['low']:.3g} to {one['high']:.3g}"


def _pair(one: Mapping[str, Any], key: str) -> str:
    return " +/- ".join(rounded(one[key], one[f"{key}_error"]))


def _percent(one: Mapping[str, Any], key: str) -> str:
    return " +/- ".join(rounded(100 * one[key], 100 * one[f"{key}_error"]))
