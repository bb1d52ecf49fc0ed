"""The example of NanoAOD-like files: its document selects what loops over the events select."""

from __future__ import annotations

import math
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

import neyman

EXAMPLE = Path(__file__).parents[2] / "examples" / "nanoaod"
MUON_MASS = 0.10566


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> neyman.Workspace:
    folder = tmp_path_factory.mktemp("nanoaod")
    runpy.run_path(str(EXAMPLE / "make_ntuples.py"))["make_ntuples"](folder, events=1500)
    shutil.copy(EXAMPLE / "analysis.yaml", folder)
    return neyman.Workspace.load(folder / "analysis.yaml")


def selected(event: dict[str, Any], jet_pt: str) -> list[float] | None:
    """Return the features of an event by hand, or nothing if the signal region has it not."""
    muons = [
        (pt, eta, phi, charge)
        for pt, eta, phi, charge, tight in zip(
            *(event[f"Muon_{key}"] for key in ("pt", "eta", "phi", "charge", "tightId")), strict=True
        )
        if tight and pt > 25 and abs(eta) < 2.4
    ]
    jets = [
        (pt, eta, tag)
        for pt, eta, tag in zip(event[jet_pt], event["Jet_eta"], event["Jet_btagDeepFlavB"], strict=True)
        if pt > 30 and abs(eta) < 4.7
    ]
    if not (event["HLT_IsoMu24"] or event["HLT_Mu50"]) or len(muons) != 2 or sum(muon[3] for muon in muons) != 0:
        return None
    if any(abs(eta) < 2.4 and tag > 0.4 and pt >= 50 for pt, eta, tag in jets):
        return None
    momenta = np.array([[pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)] for pt, eta, phi, _ in muons])
    energies = np.sqrt((momenta**2).sum(axis=1) + MUON_MASS**2)
    mass = math.sqrt(energies.sum() ** 2 - (momenta.sum(axis=0) ** 2).sum())
    if mass <= 200:
        return None
    dphi = abs(math.remainder(muons[0][2] - muons[1][2], 2 * math.pi))
    cos_theta = math.tanh((muons[0][1] - muons[1][1]) / 2)
    return [mass, cos_theta, dphi, event["MET_pt"], len(jets), max((pt for pt, *_ in jets), default=0.0)]


@pytest.mark.parametrize(("side", "jet_pt"), [(None, "Jet_pt"), (0, "Jet_pt_jesTotalUp"), (1, "Jet_pt_jesTotalDown")])
def test_features_and_selection_are_those_of_a_loop_over_the_events(
    workspace: neyman.Workspace, side: int | None, jet_pt: str
) -> None:
    simulation = workspace.simulation("SR")
    events = simulation.samples["ttbar"] if side is None else simulation.variations["ttbar"]["jes"][side]
    with uproot.open({workspace.folder / "ttbar.root": "Events"}) as tree:
        rows = [found for event in tree.arrays().tolist() if (found := selected(event, jet_pt)) is not None]
    assert len(rows) > 100
    np.testing.assert_allclose(events.features, rows, rtol=2e-4, atol=1e-6)  # the branches are of single precision


def test_an_energy_scale_moves_events_between_the_regions(workspace: neyman.Workspace) -> None:
    [ttbar] = [sample for sample in workspace.spec()["channels"][1]["samples"] if sample["name"] == "ttbar"]
    [jes] = [modifier["data"] for modifier in ttbar["modifiers"] if modifier["name"] == "jes"]
    assert sum(jes["hi_data"]) > sum(ttbar["data"]) > sum(jes["lo_data"])
