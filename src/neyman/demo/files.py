"""Write the demonstration's ROOT ntuples and its document."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from neyman.demo.densities import THEORY_TILT, generate

__all__ = ["YIELDS", "make_ntuples"]


def __dir__() -> list[str]:
    return __all__


# expected events in the signal region: nominal, and with each uncertainty one standard deviation up and down
YIELDS: dict[str, dict[str, float]] = {
    "signal": {"nominal": 20.0, "scale_up": 20.2, "scale_down": 19.8},
    "irreducible": {
        "nominal": 300.0,
        "scale_up": 309.0,
        "scale_down": 291.0,
        "theory_up": 312.0,
        "theory_down": 288.0,
    },
    "fakes": {"nominal": 150.0},
}

_SCALES = {"nominal": 0.0, "scale_up": 1.0, "scale_down": -1.0}
_MEAN_JETS = 2.0
_DATA_SEED = 2306


def make_ntuples(folder: str | Path, events_per_sample: int = 30_000, seed: int = 0) -> Path:
    """Write the demonstration's simulation and data as ROOT files, and its ``analysis.yaml``.

    The files are ``signal.root``, ``background_irreducible.root``, ``background_fakes.root`` and ``data.root``. Each
    simulated one has the tree ``nominal``, and ``scale_up`` and ``scale_down`` where the energy scale matters, with the
    branches ``mass``, ``costheta``, ``jet_pt`` (one number per jet), ``njet``, ``dphi`` and the weight ``w``; the
    weights of the selected events (one jet at least) sum to the expected yield. As in a real experiment, the three
    trees hold the same events, shifted. The data have no signal and are the same whatever the seed.

    Args:
        folder: where to; made if it is not there.
        events_per_sample: simulated events of each sample, selected or not.
        seed: of the simulation.

    Returns:
        The path of the document.

    Example:
        >>> import tempfile, uproot
        >>> from neyman.demo import make_ntuples
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     document = make_ntuples(folder, events_per_sample=100)
        ...     with uproot.open(document.parent / "signal.root") as file:
        ...         file.keys(cycle=False)
        ['nominal', 'scale_up', 'scale_down']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for (sample, yields), stream in zip(YIELDS.items(), np.random.SeedSequence(seed).spawn(len(YIELDS)), strict=True):
        name = sample if sample == "signal" else f"background_{sample}"
        with uproot.recreate(folder / f"{name}.root") as file:
            for tree in (key for key in yields if key in _SCALES):
                rng = np.random.default_rng(stream)  # the same for every tree
                branches = _branches(generate(sample, events_per_sample, rng, scale=_SCALES[tree]), rng)
                branches |= _weights(sample, tree, branches, rng)
                _write(file, tree, branches)
    with uproot.recreate(folder / "data.root") as file:
        _write(file, "nominal", _observed(np.random.default_rng(_DATA_SEED)))
    document = folder / "analysis.yaml"
    document.write_bytes(importlib.resources.files("neyman.demo").joinpath("analysis.yaml").read_bytes())
    return document


def _branches(x: NDArray[np.float64], rng: np.random.Generator) -> dict[str, ak.Array | NDArray[np.float32]]:
    """Turn features into branches: jets in descending pt, their number independent of everything else."""
    mass, c, y, dphi = x.T
    njet = rng.poisson(_MEAN_JETS, size=len(x))
    index = ak.local_index(ak.unflatten(np.zeros(njet.sum()), njet))
    leading = np.repeat(np.exp(y), njet)
    jet_pt = ak.unflatten((leading * 0.6 ** ak.to_numpy(ak.flatten(index))).astype(np.float32), njet)
    return {
        "mass": mass.astype(np.float32),
        "costheta": c.astype(np.float32),
        "dphi": dphi.astype(np.float32),
        "jet_pt": jet_pt,
    }


def _weights(
    sample: str, tree: str, branches: dict[str, ak.Array | NDArray[np.float32]], rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Return the weights of one tree: with some spread, as generators have it; the selected ones sum to the yields."""
    spread = rng.gamma(25.0, 1 / 25.0, size=len(branches["mass"]))
    selected = ak.to_numpy(ak.num(branches["jet_pt"])) >= 1
    columns = {"w": spread * YIELDS[sample][tree] / spread[selected].sum()}
    if tree == "nominal" and "theory_up" in YIELDS[sample]:
        for side, sign in (("up", 1), ("down", -1)):
            tilted = spread * np.exp(sign * THEORY_TILT * np.asarray(branches["costheta"], dtype=np.float64) ** 2)
            columns[f"w_theory_{side}"] = tilted * YIELDS[sample][f"theory_{side}"] / tilted[selected].sum()
    return columns


def _observed(rng: np.random.Generator) -> dict[str, ak.Array | NDArray[np.float32]]:
    """Draw the data: background alone, the events without a jet among them."""
    acceptance = 1 - np.exp(-_MEAN_JETS)
    counts = {s: rng.poisson(YIELDS[s]["nominal"] / acceptance) for s in ("irreducible", "fakes")}
    x = np.concatenate([generate(sample, n, rng) for sample, n in counts.items()])
    return _branches(rng.permutation(x), rng)


def _write(file: uproot.WritableDirectory, tree: str, branches: dict[str, ak.Array | NDArray[np.float64]]) -> None:
    types = {name: "var * float32" if name == "jet_pt" else array.dtype for name, array in branches.items()}
    file.mktree(tree, types, counter_name=lambda counted: f"n{counted.removesuffix('_pt')}").extend(branches)
