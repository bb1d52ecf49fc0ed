"""Write the small ROOT files of the tests with CERN ROOT itself; run it with a Python that can ``import ROOT``.

Both files hold the same 60 events, a TTree in one and an RNTuple in the other, so that each value is known by formula:
event i has ``i % 4`` jets. Trees ``nominal`` and ``scale_up`` (m4l larger by 1 %), the TTree file also ``folder/loose``
and a histogram that is no tree.
"""

from __future__ import annotations

from pathlib import Path

import ROOT

FOLDER = Path(__file__).parent
EVENTS = 60
JETS = "std::vector<{0}> v; for (int j = 0; j < njet; ++j) v.push_back({1}); return v;"
COLUMNS = {
    "number": "(unsigned long long)(1000 + rdfentry_)",
    "njet": "(int)(rdfentry_ % 4)",
    "charge": "(short)(rdfentry_ % 2 ? 1 : -1)",
    "nvtx": "(unsigned int)(rdfentry_ % 7)",
    "tiny": "(unsigned char)(200 + rdfentry_ % 50)",
    "is_tight": "rdfentry_ % 3 == 0",
    "m4l": "100. + {scale} * rdfentry_",
    "pt4l": "(float)(rdfentry_ + 0.5)",
    "eta4l": "(float)(-3 + 0.1 * rdfentry_)",
    "w": "(float)(rdfentry_ % 5 ? 0.5 : -0.25)",
    "pileup": "1. + 0.01 * rdfentry_",
    "bad": 'rdfentry_ % 20 == 7 ? std::nan("") : 1.',
    "jet_pt": JETS.format("float", "(float)(50 - 10 * j + 0.25 * rdfentry_)"),
    "jet_b": JETS.format("int", "(int)((rdfentry_ + j) % 2)"),
    "cells": JETS.format("std::vector<double>", "std::vector<double>(j + 1, 0.5 * j)"),
    "label": 'std::string("event")',
}


def frame(scale: float) -> ROOT.RDataFrame:
    """Return the events, with ``m4l`` rising by ``scale`` from one to the next."""
    events = ROOT.RDataFrame(EVENTS)
    for name, expression in COLUMNS.items():
        events = events.Define(name, expression.replace("{scale}", str(scale)))
    return events


def write(path: Path, kind: str, trees: dict[str, float]) -> None:
    """Write one file with a tree of each name, the value its scale."""
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = getattr(ROOT.RDF.ESnapshotOutputFormat, kind)
    options.fVector2RVec = False
    options.fMode = "RECREATE"
    for name, scale in trees.items():
        frame(scale).Snapshot(name, str(path), list(COLUMNS), options)
        options.fMode = "UPDATE"


if __name__ == "__main__":
    write(FOLDER / "ttree.root", "kTTree", {"nominal": 1.0, "scale_up": 1.01, "folder/loose": 1.0})
    write(FOLDER / "rntuple.root", "kRNTuple", {"nominal": 1.0, "scale_up": 1.01})
    with ROOT.TFile.Open(str(FOLDER / "ttree.root"), "UPDATE") as file:
        histogram = ROOT.TH1F("cutflow", "", 2, 0, 2)
        file.WriteObject(histogram, "cutflow")
