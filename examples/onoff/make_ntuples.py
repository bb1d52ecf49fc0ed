"""Write the on/off problem as ROOT ntuples: ``python make_ntuples.py [FOLDER] [--events N] [--seed S]``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import uproot
from exact import BACKGROUND, SIGNAL, draw_background, draw_signal, sample
from numpy.typing import NDArray

DATA_SEED = 2306  # the data are the same whatever the seed of the simulation
DATA_POINT = (5.0, 1.0)  # mu and nu of the data


def make_ntuples(folder: Path, events: int = 100_000, seed: int = 0) -> None:
    """Write ``signal.root``, ``background.root`` and ``data.root``.

    Args:
        folder: where to; made if it is not there.
        events: simulated events of each sample.
        seed: of the simulation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    write(folder / "signal.root", draw_signal(events, rng), SIGNAL / events)
    write(folder / "background.root", draw_background(events, rng), BACKGROUND / events)
    write(folder / "data.root", sample(DATA_POINT, np.random.default_rng(DATA_SEED)))


def write(path: Path, x: NDArray[np.float64], weight: float | None = None) -> None:
    """Write the tree ``nominal`` with the branches x and, for simulation, the weight w."""
    branches = {"x": x[:, 0].astype(np.float32)}
    if weight is not None:
        branches["w"] = np.full(len(x), weight)
    with uproot.recreate(path) as file:
        file.mktree("nominal", {name: column.dtype for name, column in branches.items()}).extend(branches)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--events", type=int, default=100_000, help="simulated events of each sample")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    arguments = parser.parse_args()
    make_ntuples(arguments.folder, arguments.events, arguments.seed)
