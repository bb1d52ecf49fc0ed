"""Compare the learned likelihood with histograms of the mass: ``python run.py [--seeds 3] [--events 60000]``.

For every seed new files, a training, and the Asimov uncertainty and expected limit of both analyses. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from make_ntuples import make_ntuples

import neyman

EDGES = np.r_[200:270:10, 270:330:5, 330:500:20, 500:1001:100, 100_000.0]  # fine where the resonance is


def measure(seed: int, events: int, folder: Path) -> dict[str, Any]:
    """Return mu, its expected uncertainty and the limits, learned and from histograms."""
    make_ntuples(folder, events, seed)
    shutil.copy(Path(__file__).parent / "analysis.yaml", folder)
    workspace = neyman.Workspace.load(folder / "analysis.yaml")
    learned = neyman.train(workspace, seed=seed)
    binned = workspace.binned({"SR": ("mass", EDGES)})
    histograms = binned.model()
    found: dict[str, Any] = {"seed": seed}
    for name, model, data in (
        ("learned", learned, learned.observed),
        ("histograms", histograms, binned.data(histograms)),
    ):
        asimov = model.expected_data(model.config.suggested_init())
        fit, limit = neyman.fit(data, model), neyman.limit(data, model)
        found[name] = {
            "mu": fit["mu"],
            "expected_uncertainty": neyman.fit(asimov, model).error("mu"),
            "expected_limit": limit.expected[2],
            "observed_limit": limit.observed,
        }
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="simulations and trainings")
    parser.add_argument("--events", type=int, default=60_000, help="simulated events of each sample")
    arguments = parser.parse_args()
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(seed, arguments.events, Path(folder))), flush=True)
