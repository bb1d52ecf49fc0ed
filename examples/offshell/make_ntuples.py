"""Write simulated samples and data as ROOT files: ``python make_ntuples.py [FOLDER] [--events N] [--seed S]``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import uproot
from exact import densities, draw, toy, yields
from numpy.typing import NDArray

DATA_SEED, MU = 2412, 1.0  # the data are the same whatever the seed of the simulation


def make_ntuples(folder: Path, events: int = 100_000, seed: int = 0) -> None:
    """Write ``simulation.root``, with a tree for each sample, and ``data.root``.

    Args:
        folder: where to; made if it is not there.
        events: simulated events of each tree.
        seed: of the simulation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with uproot.recreate(folder / "simulation.root") as file:
        for sample in ("S", "SBI", "B", "Q"):
            write(file, sample, draw(sample, events, rng), np.full(events, yields()[sample] / events))
        x = draw("envelope", events, rng)  # of the interference, with weights of either sign
        p = densities(x)
        write(file, "I", x, p["I"] / p["envelope"] * yields()["envelope"] / events)
    with uproot.recreate(folder / "data.root") as file:
        write(file, "data", toy(MU, np.random.default_rng(DATA_SEED)))


def write(
    file: uproot.WritableDirectory, tree: str, x: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> None:
    """Write one tree with the branches m and c and, for simulation, the weight w."""
    branches = {name: column.astype(np.float32) for name, column in zip("mc", x.T, strict=True)}
    if weights is not None:
        branches["w"] = weights
    file.mktree(tree, {name: column.dtype for name, column in branches.items()}).extend(branches)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--events", type=int, default=100_000, help="simulated events of each tree")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    arguments = parser.parse_args()
    make_ntuples(arguments.folder, arguments.events, arguments.seed)
