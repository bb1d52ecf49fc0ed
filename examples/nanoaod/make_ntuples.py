"""Write NanoAOD-like files of a dimuon search: ``python make_ntuples.py [FOLDER] [--events N] [--seed S]``.

A resonance of 300 GeV decays to two muons, over Drell-Yan pairs and top-quark pairs. As in NanoAOD a file has one tree
``Events`` with a branch for the number of objects (``nJet``) and one for each of their properties (``Jet_pt``), flags
of the triggers, generator weights of either sign, and energy scales of the jets as branches of their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

MUON_MASS = 0.10566
EXPECTED = {"signal": 30.0, "drell_yan": 3000.0, "ttbar": 4000.0}  # events before any selection, at mu = 1
NEGATIVE = 0.15  # of the Drell-Yan events have a negative weight
MU = 1.0  # of the data
DATA_SEED = 2307  # the data are the same whatever the seed of the simulation


def make_ntuples(folder: Path, events: int = 60_000, seed: int = 0) -> None:
    """Write ``signal.root``, ``drell_yan.root``, ``ttbar.root`` and ``data.root``.

    Args:
        folder: where to; made if it is not there.
        events: simulated events of each sample, before any selection.
        seed: of the simulation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name, simulate in SAMPLES.items():
        tree = simulate(events, rng)
        sign = np.where(rng.random(events) < (NEGATIVE if name == "drell_yan" else 0.0), -1.0, 1.0)
        tree["genWeight"] = (sign * EXPECTED[name] / sign.sum()).astype(np.float32)
        write(folder / f"{name}.root", tree)
    rng = np.random.default_rng(DATA_SEED)
    numbers = {name: rng.poisson(EXPECTED[name] * (MU if name == "signal" else 1.0)) for name in SAMPLES}
    parts = [simulate(numbers[name], rng) for name, simulate in SAMPLES.items()]
    order = rng.permutation(sum(numbers.values()))
    write(folder / "data.root", {key: ak.concatenate([part[key] for part in parts])[order] for key in parts[0]})


def signal(n: int, rng: np.random.Generator) -> dict[str, ak.Array]:
    """Return ``n`` events of the resonance."""
    mass = rng.normal(300.0, 4.0, n)
    return event(rng, mass, rng.exponential(70.0, n), rng.uniform(-1, 1, n), jets=0.9, bottoms=0.05)


def drell_yan(n: int, rng: np.random.Generator) -> dict[str, ak.Array]:
    """Return ``n`` Drell-Yan pairs: a falling mass, and a decay as 1 + cos^2."""
    mass = 150.0 * rng.random(n) ** (-1 / 3)
    cos_theta = rng.uniform(-1, 1, n)
    cos_theta = np.where(rng.random(n) < 0.25, np.cbrt(cos_theta), cos_theta)
    return event(rng, mass, rng.exponential(25.0, n), cos_theta, jets=0.6, bottoms=0.03)


def ttbar(n: int, rng: np.random.Generator) -> dict[str, ak.Array]:
    """Return ``n`` pairs of top quarks: a broad mass, jets with bottom quarks, missing energy."""
    mass = 120.0 + rng.gamma(2.0, 60.0, n)
    return event(rng, mass, rng.exponential(80.0, n), rng.uniform(-1, 1, n), jets=2.2, bottoms=0.6, neutrinos=60.0)


SAMPLES: dict[str, Callable[[int, np.random.Generator], dict[str, ak.Array]]] = {
    "signal": signal,
    "drell_yan": drell_yan,
    "ttbar": ttbar,
}


def event(
    rng: np.random.Generator,
    mass: Array,
    pt: Array,
    cos_theta: Array,
    *,
    jets: float,
    bottoms: float,
    neutrinos: float = 0.0,
) -> dict[str, ak.Array]:
    """Return events with a pair of muons, jets and missing energy.

    Args:
        rng: random numbers.
        mass: of the pair in GeV, shape ``(n,)``.
        pt: of the pair in GeV, shape ``(n,)``.
        cos_theta: of the decay in the pair's rest frame, shape ``(n,)``.
        jets: their mean number.
        bottoms: the fraction of jets from a bottom quark.
        neutrinos: the scale of their momentum in GeV.
    """
    n = len(mass)
    muons = decay(mass, pt, rng.normal(0, 0.9, n), cos_theta, rng)
    charge = np.where(rng.random(n) < 0.5, 1, -1)[:, None] * np.array([1, -1])
    muons |= {"charge": charge, "mass": np.full((n, 2), MUON_MASS), "tightId": rng.random((n, 2)) < 0.97}
    seen = (np.abs(muons["eta"]) < 2.4) & (muons["pt"] > 10)  # an event may have two muons, one or none
    first = np.argsort(-muons["pt"], axis=1)
    muon = {key: vectors(np.take_along_axis(value, first, 1), np.take_along_axis(seen, first, 1))
            for key, value in muons.items()}  # fmt: skip

    most = 8
    number = np.minimum(rng.poisson(jets, n), most)
    there = np.arange(most) < number[:, None]
    jet_pt = -np.sort(-(20.0 + rng.exponential(45.0, (n, most))) * there, axis=1)
    jet_eta = np.clip(rng.normal(0, 1.6, (n, most)), -4.7, 4.7)
    bottom = rng.random((n, most)) < bottoms
    uncertainty = 0.02 + 0.01 * np.abs(jet_eta)  # of the energy, larger at the sides
    jet = {
        "pt": jet_pt,
        "eta": jet_eta,
        "phi": rng.uniform(-np.pi, np.pi, (n, most)),
        "btagDeepFlavB": np.where(bottom, rng.beta(8, 2, (n, most)), rng.beta(1, 12, (n, most))),
        "pt_jesTotalUp": jet_pt * (1 + uncertainty),
        "pt_jesTotalDown": jet_pt * (1 - uncertainty),
    }
    fires = rng.random(n) < np.where(ak.num(muon["pt"]) > 0, 0.95, 0.02)
    return {
        "event": rng.integers(0, 2**63, n, dtype=np.uint64),
        "HLT_IsoMu24": fires,
        "HLT_Mu50": fires & (rng.random(n) < 0.6),
        "MET_pt": (np.hypot(*rng.normal(0, 20, (2, n))) + rng.exponential(neutrinos, n)).astype(np.float32),
        **{f"Muon_{key}": value for key, value in muon.items()},
        **{f"Jet_{key}": vectors(value, there) for key, value in jet.items()},
    }


def decay(mass: Array, pt: Array, y: Array, cos_theta: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Return pt, eta and phi of the two muons of a pair, shape ``(n, 2)`` each."""
    n, sign = len(mass), np.array([1.0, -1.0])
    phi, sin_theta = rng.uniform(-np.pi, np.pi, n), np.sqrt(1 - cos_theta**2)
    rest = np.stack([sin_theta * np.cos(phi), sin_theta * np.sin(phi), cos_theta]) * mass / 2  # momenta
    azimuth, transverse = rng.uniform(-np.pi, np.pi, n), np.hypot(mass, pt)
    energy = transverse * np.cosh(y)
    pair = np.stack([pt * np.cos(azimuth), pt * np.sin(azimuth), transverse * np.sinh(y)])
    along = (pair * rest).sum(0)
    boosted = [s * rest + pair * (s * along / (mass * (energy + mass)) + 0.5) for s in sign]
    x, y, z = np.stack(boosted, axis=-1)
    smear = rng.normal(1.0, 0.012, (n, 2))
    return {"pt": np.hypot(x, y) * smear, "eta": np.arcsinh(z / np.hypot(x, y)), "phi": np.arctan2(y, x)}


def vectors(values: NDArray[np.generic], there: NDArray[np.bool_]) -> ak.Array:
    """Return the values that are there, a vector for each event."""
    values = values.astype(np.float32) if values.dtype.kind == "f" else values
    return ak.unflatten(values[there], there.sum(axis=1))


def write(path: Path, tree: dict[str, ak.Array]) -> None:
    """Write the tree ``Events`` with the counters ``nMuon`` and ``nJet``."""
    columns = {key: value for key, value in tree.items() if not key.startswith(("Muon_", "Jet_"))}
    for name in ("Muon", "Jet"):
        fields = {key.removeprefix(f"{name}_"): tree[key] for key in tree if key.startswith(f"{name}_")}
        columns[name] = ak.zip(fields)
    with uproot.recreate(path) as file:
        file.mktree("Events", {key: ak.type(value).content if isinstance(value, ak.Array) else value.dtype
                               for key, value in columns.items()})  # fmt: skip
        file["Events"].extend(columns)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--events", type=int, default=60_000, help="simulated events of each sample")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    arguments = parser.parse_args()
    make_ntuples(arguments.folder, arguments.events, arguments.seed)
