"""The demonstration from ntuples to limits: learned, binned and exact likelihood side by side."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from neyman.demo.exact import ExactLikelihood
from neyman.demo.files import make_ntuples
from neyman.inference.fit import fit, scan
from neyman.inference.limits import limit
from neyman.inputs.workspace import Workspace
from neyman.model.model import Model
from neyman.results import Result
from neyman.results import figures as plot
from neyman.training.train import train

__all__ = ["BINNINGS", "binned", "run"]


def __dir__() -> list[str]:
    return __all__


log = logging.getLogger(__name__)

_MASS = np.concatenate([np.arange(0.0, 15.0, 5.0), np.arange(15.0, 35.0, 2.5), np.arange(35.0, 61.0, 5.0)])

BINNINGS: dict[str, tuple[str, tuple[float, ...]]] = {
    "mass": ("mass", tuple(100.0 + _MASS)),
    "mass in categories": (  # back to back or not, and above or below 60 GeV of jet pt: four spectra side by side
        "mass - 100 + 60 * (dphi > 2.3) + 120 * (jet_pt[:, 0] > 60)",
        (*np.concatenate([60.0 * category + _MASS[:-1] for category in range(4)]).tolist(), 240.0),
    ),
}
"""Variables and edges of the binned analyses that the learned one is compared with."""


def run(
    folder: str | Path, seed: int = 0, events_per_sample: int = 30_000, *, progress: bool = False
) -> dict[str, Any]:
    """Play a whole search: write ntuples, train, fit, set a limit, and compare with bins and with the exact likelihood.

    Args:
        folder: gets the ntuples, the document, the model file, the results and the figures.
        seed: of the simulation and the training.
        events_per_sample: simulated events of each sample, before the selection.
        progress: whether to show progress bars on standard error.

    Returns:
        For each of ``learned``, ``exact`` and the binned analyses the fitted ``mu`` with its uncertainties and the
        observed and expected upper limits; and the ``files`` written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    document = make_ntuples(folder, events_per_sample, seed)
    workspace = Workspace.load(document, progress=progress)
    learned = train(workspace, seed=seed, progress=progress)
    learned.save(folder / "analysis.neyman")
    observed = learned.observed
    assert observed is not None  # the document has observations

    likelihoods: dict[str, Any] = {"learned": learned, "exact": ExactLikelihood(learned)}
    likelihoods |= {f"binned, {name}": binned(workspace, name) for name in BINNINGS}
    grid = np.linspace(0.0, 1.6, 33)
    comparison: dict[str, Any] = {}
    scans = {}
    for name, likelihood in likelihoods.items():
        data = likelihood.observed if name.startswith("binned") else observed
        best = fit(data, likelihood, minos=["mu"])
        limits = limit(data, likelihood)
        scans[name] = scan(data, likelihood, "mu", grid)
        comparison[name] = {
            "mu": best["mu"],
            "uncertainty": list(best.minos["mu"]),
            "observed_limit": limits.observed,
            "expected_limit": float(limits.expected[2]),
        }
        if name == "learned":
            _write(folder, {"fit": best, "scan": scans[name], "limit": limits})
    plot.training(learned.report[0]).savefig(folder / "training.png", dpi=150)
    plot.scans(scans).savefig(folder / "comparison.png", dpi=150)
    return {**comparison, "files": sorted(str(path) for path in folder.iterdir())}


def binned(workspace: Workspace, name: str) -> Model:
    """Return one of the binned analyses of the same files, as a model without learned channels.

    Args:
        workspace: the demonstration's.
        name: a key of ``BINNINGS``.
    """
    histograms = workspace.binned({"SR": BINNINGS[name]}, staterror=True)
    return train(Workspace(dict(histograms)))


def _write(folder: Path, results: dict[str, Result]) -> None:
    for name, result in results.items():
        (folder / f"{name}.json").write_text(result.to_json())
        plot.draw(result).savefig(folder / f"{name}.png", dpi=150)
