"""The demonstration from ntuples to limits: learned, binned and exact likelihood side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import neyman
from neyman.demo.comparison import Comparison
from neyman.demo.exact import ExactLikelihood
from neyman.demo.files import make_ntuples

__all__ = ["BINNINGS", "binned", "run"]


def __dir__() -> list[str]:
    return __all__


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
    folder: str | Path = "neyman-demo",
    seed: int = 0,
    events_per_sample: int = 30_000,
    *,
    network: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Comparison:
    """Play a whole search: write ntuples, train, fit, set a limit, and compare with bins and with the exact likelihood.

    Args:
        folder: gets the ntuples, the document, the model file, the results and the figures.
        seed: of the simulation and the training.
        events_per_sample: simulated events of each sample, before the selection.
        network: options of the networks, in place of the defaults.
        progress: whether to show progress bars on standard error.

    Returns:
        For each of ``learned``, ``exact`` and the binned analyses the fitted ``mu`` with its uncertainties and the
        observed and expected upper limits; and the ``files`` written. A notebook shows it as a table, and ``.plot()``
        draws the scans of all likelihoods.
    """
    document = make_ntuples(folder, events_per_sample, seed)
    folder = document.parent
    written = neyman.Workspace.load(document).document
    if network is not None:
        written["channels"][0]["network"] = dict(network)
    workspace = neyman.Workspace(written, folder, progress=progress)
    learned = neyman.train(workspace, seed=seed, progress=progress)
    learned.save(folder / "analysis.neyman")
    observed = learned.observed
    assert observed is not None  # the document has observations
    likelihoods: dict[str, Any] = {"learned": learned, "exact": ExactLikelihood(learned)}
    likelihoods |= {f"binned, {name}": binned(workspace, name) for name in BINNINGS}

    comparison: dict[str, Any] = {}
    scans: dict[str, neyman.ScanResult] = {}
    for name, likelihood in likelihoods.items():
        data = likelihood.observed if name.startswith("binned") else observed
        fit = neyman.fit(data, likelihood, minos=["mu"])
        limit = neyman.limit(data, likelihood)
        scans[name] = neyman.scan(data, likelihood, "mu", np.linspace(0.0, 1.6, 33))
        comparison[name] = {
            "mu": fit["mu"],
            "uncertainty": list(fit.minos["mu"]),
            "observed_limit": limit.observed,
            "expected_limit": float(limit.expected[2]),
        }
        if name == "learned":
            for kind, result in {"fit": fit, "scan": scans[name], "limit": limit}.items():
                (folder / f"{kind}.json").write_text(result.to_json())
                result.plot().savefig(folder / f"{kind}.png", dpi=150)
    learned.report[0].plot().savefig(folder / "training.png", dpi=150)
    neyman.plot.scans(scans).savefig(folder / "comparison.png", dpi=150)
    return Comparison({**comparison, "files": sorted(str(path) for path in folder.iterdir())}, scans)


def binned(workspace: neyman.Workspace, name: str) -> neyman.Model:
    """Return one of the binned analyses of the same files, as a model without learned channels.

    Args:
        workspace: the demonstration's.
        name: a key of ``BINNINGS``.
    """
    histograms = workspace.binned({"SR": BINNINGS[name]}, staterror=True)
    return neyman.train(neyman.Workspace(dict(histograms)))
