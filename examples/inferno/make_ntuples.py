"""Write INFERNO's synthetic problem as ROOT ntuples: ``python make_ntuples.py [FOLDER] [--events N] [--seed S]``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import uproot
from exact import LAMBDA, SIGMA_LAMBDA, SIGMA_R, B, R, S, draw_background, draw_signal, toy
from numpy.typing import NDArray

DATA_SEED = 1806  # the data are the same whatever the seed of the simulation

# r and lambda one standard deviation up and down, so that HistFactory's unit constraint is the benchmark's own
BACKGROUND_TREES = {
    "nominal": (R, LAMBDA),
    "r_up": (R + SIGMA_R, LAMBDA),
    "r_down": (R - SIGMA_R, LAMBDA),
    "lambda_up": (R, LAMBDA + SIGMA_LAMBDA),
    "lambda_down": (R, LAMBDA - SIGMA_LAMBDA),
}


def make_ntuples(folder: Path, events: int = 100_000, seed: int = 0) -> None:
    """Write ``signal.root``, ``background.root`` and ``data.root``.

    Args:
        folder: where to; made if it is not there.
        events: simulated events of each tree.
        seed: of the simulation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with uproot.recreate(folder / "signal.root") as file:
        write(file, "nominal", draw_signal(events, rng), S / events)
    with uproot.recreate(folder / "background.root") as file:
        for tree, (r, rate) in BACKGROUND_TREES.items():
            write(file, tree, draw_background(events, rng, r, rate), B / events)
    with uproot.recreate(folder / "data.root") as file:
        write(file, "nominal", toy(np.random.default_rng(DATA_SEED)))


def write(file: uproot.WritableDirectory, tree: str, x: NDArray[np.float64], weight: float | None = None) -> None:
    """Write one tree with the branches x0, x1, x2 and, for simulation, the weight w."""
    branches = {f"x{i}": column.astype(np.float32) for i, column in enumerate(x.T)}
    if weight is not None:
        branches["w"] = np.full(len(x), weight)
    file.mktree(tree, {name: column.dtype for name, column in branches.items()}).extend(branches)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--events", type=int, default=100_000, help="simulated events of each tree")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    arguments = parser.parse_args()
    make_ntuples(arguments.folder, arguments.events, arguments.seed)
