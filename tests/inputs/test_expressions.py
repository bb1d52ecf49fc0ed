"""Expressions as physicists write them, held against loops over the events; what is refused, and in which words."""

# ruff: noqa: B905, E501  a line for each expression and its loop

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace as Event
from typing import Any

import awkward as ak
import numpy as np
import pytest

from neyman.exceptions import InvalidEvents
from neyman.inputs.expressions import parsed
from neyman.inputs.functions import FUNCTIONS

N = 60
INF = math.inf


def simulated() -> list[Event]:
    """Return events as NanoAOD, ntuples of ATLAS and plain trees have them, with 0 to 4 objects each."""
    rng = np.random.default_rng(7)
    events = []
    for number in range(N):
        e = Event(event=2**60 + number, run=int(rng.integers(1, 4)), MET_pt=float(rng.exponential(60)))
        e.nJet, e.nMuon = int(rng.integers(0, 5)), int(rng.integers(0, 4))
        e.Jet_pt = sorted((float(x) for x in rng.uniform(15, 120, e.nJet)), reverse=True)
        e.Jet_eta = [float(x) for x in rng.uniform(-4, 4, e.nJet)]
        e.Jet_phi = [float(x) for x in rng.uniform(-3.14, 3.14, e.nJet)]
        e.Jet_mass = [float(x) for x in rng.uniform(2, 15, e.nJet)]
        e.Jet_btag = [float(x) for x in rng.uniform(0, 1, e.nJet)]
        e.Jet_jetId = [int(x) for x in rng.integers(0, 8, e.nJet)]
        e.Jet_puId = [int(x) for x in rng.integers(0, 2, e.nJet)]
        e.Muon_pt = sorted((float(x) for x in rng.uniform(3, 80, e.nMuon)), reverse=True)
        e.Muon_eta = [float(x) for x in rng.uniform(-2.7, 2.7, e.nMuon)]
        e.Muon_phi = [float(x) for x in rng.uniform(-3.14, 3.14, e.nMuon)]
        e.Muon_charge = [int(x) for x in rng.choice([-1, 1], e.nMuon)]
        e.Muon_tightId = [bool(x) for x in rng.integers(0, 2, e.nMuon)]
        e.Muon_jetIdx = [int(rng.integers(-1, e.nJet)) for _ in range(e.nMuon)]
        e.HLT_IsoMu24, e.HLT_Ele32 = bool(rng.integers(0, 2)), bool(rng.integers(0, 2))
        e.passed, e.trigMatch = int(rng.integers(0, 2)), int(rng.integers(0, 2))
        e.flags, e.category = int(rng.integers(0, 64)), str(rng.choice(["GT", "bkg", ""]))
        e.Jet_type = [str(x) for x in rng.choice(["b", "light"], e.nJet)]
        e.zero, e.w = int(rng.integers(0, 3)), float(rng.normal())
        e.Jet_cells = [[float(x) for x in rng.uniform(0, 9, rng.integers(0, 3))] for _ in range(e.nJet)]
        events.append(e)
    return events


EVENTS = simulated()
for _number, _event in enumerate(EVENTS):
    _event.number = _number
BRANCHES = {name: ak.Array([getattr(e, name) for e in EVENTS]) for name in vars(EVENTS[0]) if name != "number"}
ALIASES = {"ht": "sum(Jet_pt)", "best": "argmax(Jet_btag)", "lead": "Jet_pt[:, 0]", "double": "2 * lead"}


def at(x: list[Any], i: int | None) -> Any:
    return x[i] if i is not None and 0 <= i < len(x) else None


def over(*terms: Any) -> bool:
    """Return whether no term is missing, for comparisons that are false otherwise."""
    return all(term is not None for term in terms)


def four(pt: float, eta: float, phi: float, m: float) -> np.ndarray:
    p = np.array([pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)])
    return np.array([math.sqrt(m * m + p @ p), *p])


def minv(e: Event, i: int, j: int) -> float:
    p = sum(four(e.Jet_pt[k], e.Jet_eta[k], e.Jet_phi[k], e.Jet_mass[k]) for k in (i, j))
    return math.sqrt(p[0] ** 2 - p[1:] @ p[1:])


def dphi(a: float, b: float) -> float:
    return math.atan2(math.sin(a - b), math.cos(a - b))


def index_of(best: Callable[..., Any], x: list[float]) -> int | None:
    return x.index(best(x)) if x else None


def mean(x: list[float]) -> float | None:
    return sum(x) / len(x) if x else None


J0, J1 = "Jet_pt[:, 0]", "Jet_pt[:, 1]"
CONDITIONS: list[tuple[str, Callable[[Event], Any]]] = [
    # a guard and what it guards
    ("(nMuon >= 2) & (Muon_charge[:, 0] != Muon_charge[:, 1])", lambda e: e.nMuon > 1 and e.Muon_charge[0] != e.Muon_charge[1]),
    ("(Muon_charge[:, 0] != Muon_charge[:, 1]) & (nMuon >= 2)", lambda e: e.nMuon > 1 and e.Muon_charge[0] != e.Muon_charge[1]),
    ("Muon_charge[:, 0] != Muon_charge[:, 1]", lambda e: e.nMuon > 1 and e.Muon_charge[0] != e.Muon_charge[1]),
    ("Muon_charge[:, 0] == Muon_charge[:, 1]", lambda e: e.nMuon > 1 and e.Muon_charge[0] == e.Muon_charge[1]),
    ("Muon_charge[:, 0] * Muon_charge[:, 1] < 0", lambda e: e.nMuon > 1 and e.Muon_charge[0] != e.Muon_charge[1]),
    ("Muon_charge[:, 0] + Muon_charge[:, 1] == 0", lambda e: e.nMuon > 1 and e.Muon_charge[0] != e.Muon_charge[1]),
    ("(nJet == 0) | (Jet_pt[:, 0] > 60)", lambda e: e.nJet == 0 or e.Jet_pt[0] > 60),
    ("(Jet_pt[:, 0] > 60) | (nJet == 0)", lambda e: e.nJet == 0 or e.Jet_pt[0] > 60),
    ("~(Jet_pt[:, 0] > 60)", lambda e: not (e.nJet and e.Jet_pt[0] > 60)),
    ("Jet_pt[:, 0] <= 60", lambda e: e.nJet > 0 and e.Jet_pt[0] <= 60),
    ("Jet_pt[:, 0] < 1e9", lambda e: e.nJet > 0),
    ("Jet_pt[:, 0] != 0", lambda e: e.nJet > 0),
    ("Jet_pt[:, -1] > 30", lambda e: e.nJet > 0 and e.Jet_pt[-1] > 30),
    ("Jet_pt[:, -2] > 30", lambda e: e.nJet > 1 and e.Jet_pt[-2] > 30),
    ("(Jet_pt[:, 0] > 50) & (Jet_pt[:, 1] > 30) & (Jet_pt[:, 2] > 20)", lambda e: e.nJet > 2 and e.Jet_pt[0] > 50 and e.Jet_pt[1] > 30 and e.Jet_pt[2] > 20),
    ("where(nJet > 0, Jet_pt[:, 0] > 60, MET_pt > 50)", lambda e: e.Jet_pt[0] > 60 if e.nJet else e.MET_pt > 50),
    ("abs(Jet_eta[:, 0] - Jet_eta[:, 1]) > 2", lambda e: e.nJet > 1 and abs(e.Jet_eta[0] - e.Jet_eta[1]) > 2),
    ("(Jet_pt[:, 0] + Jet_pt[:, 1]) / 2 > MET_pt", lambda e: e.nJet > 1 and sum(e.Jet_pt[:2]) / 2 > e.MET_pt),
    ("(nJet == 0) | (lead > 30)", lambda e: e.nJet == 0 or e.Jet_pt[0] > 30),
    # vetoes, the most of none
    ("max(Jet_pt) < 60", lambda e: max(e.Jet_pt, default=-INF) < 60),
    ("~(max(Jet_pt) >= 60)", lambda e: max(e.Jet_pt, default=-INF) < 60),
    ("max(Jet_pt) > 60", lambda e: max(e.Jet_pt, default=-INF) > 60),
    ("min(Jet_pt) > 20", lambda e: min(e.Jet_pt, default=INF) > 20),
    ("min(abs(Jet_eta)) < 2.4", lambda e: min(map(abs, e.Jet_eta), default=INF) < 2.4),
    ("max(Jet_pt[abs(Jet_eta) < 2.4]) < 50", lambda e: max((p for p, y in zip(e.Jet_pt, e.Jet_eta) if abs(y) < 2.4), default=-INF) < 50),
    ("all(Jet_pt < 60)", lambda e: all(p < 60 for p in e.Jet_pt)),
    ("~any(Jet_pt > 60)", lambda e: not any(p > 60 for p in e.Jet_pt)),
    ("sum(Jet_btag > 0.8) == 0", lambda e: sum(b > 0.8 for b in e.Jet_btag) == 0),
    ("max(Jet_jetId) >= 4", lambda e: max(e.Jet_jetId, default=-INF) >= 4),
    ("max(Jet_jetId) < 4", lambda e: max(e.Jet_jetId, default=-INF) < 4),
    ("max(Jet_btag) - min(Jet_btag) > 0.3", lambda e: e.nJet > 0 and max(e.Jet_btag) - min(e.Jet_btag) > 0.3),
    ("any(Muon_tightId)", lambda e: any(e.Muon_tightId)),
    ("all(Muon_tightId)", lambda e: all(e.Muon_tightId)),
    ("(nMuon > 0) & all(Muon_tightId)", lambda e: e.nMuon > 0 and all(e.Muon_tightId)),
    ("num(Muon_pt[Muon_pt > 20]) == 0", lambda e: not [p for p in e.Muon_pt if p > 20]),
    ("num(Muon_pt[(Muon_pt > 10) & Muon_tightId]) >= 1", lambda e: any(p > 10 and t for p, t in zip(e.Muon_pt, e.Muon_tightId))),
    ("mean(Jet_pt) > 50", lambda e: e.nJet > 0 and mean(e.Jet_pt) > 50),
    ("mean(Jet_pt) != 50", lambda e: e.nJet > 0),
    ("std(Jet_pt) < 20", lambda e: e.nJet > 0 and np.std(e.Jet_pt) < 20),
    # flags and bits
    ("HLT_IsoMu24 | HLT_Ele32", lambda e: e.HLT_IsoMu24 or e.HLT_Ele32),
    ("HLT_IsoMu24 & ~HLT_Ele32", lambda e: e.HLT_IsoMu24 and not e.HLT_Ele32),
    ("HLT_IsoMu24 ^ HLT_Ele32", lambda e: e.HLT_IsoMu24 != e.HLT_Ele32),
    ("HLT_IsoMu24 != HLT_Ele32", lambda e: e.HLT_IsoMu24 != e.HLT_Ele32),
    ("HLT_IsoMu24 == 1", lambda e: e.HLT_IsoMu24),
    ("HLT_IsoMu24 + HLT_Ele32 == 2", lambda e: e.HLT_IsoMu24 and e.HLT_Ele32),
    ("passed", lambda e: e.passed),
    ("~passed", lambda e: not e.passed),
    ("~nJet", lambda e: e.nJet == 0),
    ("nJet", lambda e: e.nJet > 0),
    ("passed & trigMatch", lambda e: e.passed and e.trigMatch),
    ("passed | trigMatch", lambda e: e.passed or e.trigMatch),
    ("passed & ~trigMatch", lambda e: e.passed and not e.trigMatch),
    ("passed & (nJet > 1)", lambda e: e.passed and e.nJet > 1),
    ("(nJet > 1) & passed", lambda e: e.passed and e.nJet > 1),
    ("(nJet > 1) & nMuon", lambda e: e.nJet > 1 and e.nMuon > 0),
    ("passed & HLT_IsoMu24", lambda e: e.passed and e.HLT_IsoMu24),
    ("(flags & 4) != 0", lambda e: e.flags & 4),
    ("(flags & 6) == 6", lambda e: e.flags & 6 == 6),
    ("(flags & 0x20) > 0", lambda e: e.flags & 0x20),
    ("flags & 2", lambda e: e.flags & 2),
    ("(flags & 2) & (nJet > 0)", lambda e: e.flags & 2 and e.nJet > 0),
    ("~(flags & 2)", lambda e: not e.flags & 2),
    ("(flags >> 3) & 1", lambda e: e.flags >> 3 & 1),
    ("((flags >> 3) & 1) == 1", lambda e: e.flags >> 3 & 1),
    ("(flags & (1 << 5)) != 0", lambda e: e.flags & 32),
    ("(flags & ~1) == 0", lambda e: e.flags & ~1 == 0),
    ("bit(flags, 3)", lambda e: e.flags >> 3 & 1),
    ("bit(flags, 3) & ~bit(flags, 0)", lambda e: e.flags >> 3 & 1 and not e.flags & 1),
    ("any((Jet_jetId & 2) != 0)", lambda e: any(i & 2 for i in e.Jet_jetId)),
    ("any(((Jet_jetId & 2) != 0) & (Jet_pt > 50))", lambda e: any(i & 2 and p > 50 for i, p in zip(e.Jet_jetId, e.Jet_pt))),
    ("any(bit(Jet_jetId, 1) & (Jet_pt > 50))", lambda e: any(i & 2 and p > 50 for i, p in zip(e.Jet_jetId, e.Jet_pt))),
    ("(Jet_jetId[:, 0] & 2) != 0", lambda e: e.nJet and e.Jet_jetId[0] & 2),
    ("(Jet_jetId[:, 0] & 2) == 0", lambda e: e.nJet and not e.Jet_jetId[0] & 2),
    ("logical_and(nJet > 1, HLT_IsoMu24)", lambda e: e.nJet > 1 and e.HLT_IsoMu24),
    ("logical_not(nJet > 1)", lambda e: e.nJet <= 1),
    ("any(Jet_puId & (Jet_pt > 40))", lambda e: any(i and p > 40 for i, p in zip(e.Jet_puId, e.Jet_pt))),
    ("any(~Jet_puId)", lambda e: any(not i for i in e.Jet_puId)),
    ("all(Jet_puId)", lambda e: all(e.Jet_puId)),
    ("Muon_tightId[:, 0]", lambda e: e.nMuon and e.Muon_tightId[0]),
    ("Muon_tightId[:, 0] & Muon_tightId[:, 1]", lambda e: e.nMuon > 1 and e.Muon_tightId[0] and e.Muon_tightId[1]),
    ("Muon_tightId[:, 0] | (nJet > 2)", lambda e: (e.nMuon and e.Muon_tightId[0]) or e.nJet > 2),
    # text
    ('category == "GT"', lambda e: e.category == "GT"),
    ("category != 'GT'", lambda e: e.category != "GT"),
    ('category == ""', lambda e: e.category == ""),
    ('(category == "GT") | (category == "bkg")', lambda e: e.category in ("GT", "bkg")),
    ('any(Jet_type == "b")', lambda e: "b" in e.Jet_type),
    ('sum(Jet_type != "b") >= 2', lambda e: sum(t != "b" for t in e.Jet_type) >= 2),
    ('Jet_type[:, 0] == "b"', lambda e: e.nJet and e.Jet_type[0] == "b"),
    ('Jet_type[:, 0] != "b"', lambda e: e.nJet and e.Jet_type[0] != "b"),
    ('max(Jet_pt[Jet_type == "b"]) > 40', lambda e: max((p for p, t in zip(e.Jet_pt, e.Jet_type) if t == "b"), default=-INF) > 40),
    # numbers of events
    ("entry % 2 == 0", lambda e: e.number % 2 == 0),
    ("entry < 10", lambda e: e.number < 10),
    ("event % 5 == 0", lambda e: e.event % 5 == 0),
    (f"event == {2**60 + 3}", lambda e: e.number == 3),
    (f"event != {2**60 + 3}", lambda e: e.number != 3),
    (f"event > {2**60 + 30}", lambda e: e.number > 30),
    ("(run == 1) | (run == 3)", lambda e: e.run in (1, 3)),
    ("where(zero != 0, nJet // zero, 0) > 1", lambda e: e.zero and e.nJet // e.zero > 1),
    ("(zero != 0) & (nJet % zero == 0)", lambda e: e.zero and e.nJet % e.zero == 0),
    ("(zero == 0) | (nJet // zero == 1)", lambda e: e.zero == 0 or e.nJet // e.zero == 1),
    # vectors and one number of each event
    ("any(Jet_pt > MET_pt)", lambda e: any(p > e.MET_pt for p in e.Jet_pt)),
    ("sum(Jet_pt > 0.5 * Jet_pt[:, 0]) < 2", lambda e: sum(p > 0.5 * e.Jet_pt[0] for p in e.Jet_pt) < 2),
    ("any(Jet_pt > Muon_pt[:, 0])", lambda e: e.nMuon and any(p > e.Muon_pt[0] for p in e.Jet_pt)),
    ("all(Jet_pt > Muon_pt[:, 0])", lambda e: all(e.nMuon and p > e.Muon_pt[0] for p in e.Jet_pt)),
    ("~any(abs(Jet_eta - Muon_eta[:, 0]) < 0.8)", lambda e: not (e.nMuon and any(abs(y - e.Muon_eta[0]) < 0.8 for y in e.Jet_eta))),
    ("num(Jet_pt[deltaR(Jet_eta, Jet_phi, Muon_eta[:, 0], Muon_phi[:, 0]) > 1]) > 1", lambda e: e.nMuon and sum(math.hypot(y - e.Muon_eta[0], dphi(f, e.Muon_phi[0])) > 1 for y, f in zip(e.Jet_eta, e.Jet_phi)) > 1),
    ("any(Jet_pt[Muon_jetIdx] > 50)", lambda e: any(i >= 0 and e.Jet_pt[i] > 50 for i in e.Muon_jetIdx)),
    ("all(Jet_pt[Muon_jetIdx] > 30)", lambda e: all(i >= 0 and e.Jet_pt[i] > 30 for i in e.Muon_jetIdx)),
    ("any(Jet_cells[:, 0] > 5)", lambda e: e.nJet and any(c > 5 for c in e.Jet_cells[0])),
    ("Jet_cells[:, 0, 1] > 2", lambda e: e.nJet and len(e.Jet_cells[0]) > 1 and e.Jet_cells[0][1] > 2),
    ("any(max(Jet_cells) > 8)", lambda e: any(max(c, default=-INF) > 8 for c in e.Jet_cells)),
    ("all(num(Jet_cells, axis=2) > 0)", lambda e: all(len(c) > 0 for c in e.Jet_cells)),
]  # fmt: skip
NUMBERS: list[tuple[str, Callable[[Event], Any]]] = [
    ("Jet_pt[:, 0]", lambda e: at(e.Jet_pt, 0)),
    ("Jet_pt[:, 1] / 1000", lambda e: at(e.Jet_pt, 1) and e.Jet_pt[1] / 1000),
    ("double", lambda e: at(e.Jet_pt, 0) and 2 * e.Jet_pt[0]),
    ("ht", lambda e: sum(e.Jet_pt)),
    ("ht + MET_pt", lambda e: sum(e.Jet_pt) + e.MET_pt),
    ("where(nJet > 1, Jet_pt[:, 1], 0)", lambda e: e.Jet_pt[1] if e.nJet > 1 else 0),
    ("where(nJet > 1, Jet_pt[:, 1], -999)", lambda e: e.Jet_pt[1] if e.nJet > 1 else -999),
    ("where(nJet > 0, where(nJet > 1, Jet_pt[:, 1], Jet_pt[:, 0]), 0)", lambda e: e.Jet_pt[min(1, e.nJet - 1)] if e.nJet else 0),
    ("where(nJet > 0, max(Jet_pt), 0)", lambda e: max(e.Jet_pt, default=0)),
    ("where(Jet_pt[:, 0] > 60, 1, 0)", lambda e: int(e.nJet > 0 and e.Jet_pt[0] > 60)),
    ("where(passed, MET_pt, -MET_pt)", lambda e: e.MET_pt if e.passed else -e.MET_pt),
    ("where(nJet > 1, Jet_pt[:, 1] > 30, 0)", lambda e: int(e.nJet > 1 and e.Jet_pt[1] > 30)),
    ("fill_none(Jet_pt[:, 0], -1)", lambda e: e.Jet_pt[0] if e.nJet else -1),
    ("fill_none(firsts(Jet_pt), 0)", lambda e: e.Jet_pt[0] if e.nJet else 0),
    ("fill_none(max(Jet_pt), 0)", lambda e: max(e.Jet_pt, default=0)),
    ("ak.fill_none(ak.max(Jet_pt, axis=1), -1)", lambda e: max(e.Jet_pt, default=-1)),
    ("fill_none(mean(Jet_pt), 0)", lambda e: mean(e.Jet_pt) or 0),
    ("mean(Jet_pt)", lambda e: mean(e.Jet_pt)),
    ("var(Jet_pt)", lambda e: float(np.var(e.Jet_pt)) if e.nJet else None),
    ("mean(Jet_pt, axis=1)", lambda e: mean(e.Jet_pt)),
    ("np.mean(Jet_pt, 1)", lambda e: mean(e.Jet_pt)),
    ("num(Jet_pt)", lambda e: e.nJet),
    ("len(Jet_pt)", lambda e: e.nJet),
    ("num(Jet_pt[Jet_pt > 30])", lambda e: sum(p > 30 for p in e.Jet_pt)),
    ("sum(Jet_pt > 30)", lambda e: sum(p > 30 for p in e.Jet_pt)),
    ("sum((Jet_pt > 30) & (abs(Jet_eta) < 2.5))", lambda e: sum(p > 30 and abs(y) < 2.5 for p, y in zip(e.Jet_pt, e.Jet_eta))),
    ("sum(Jet_pt[Jet_puId == 1])", lambda e: sum(p for p, i in zip(e.Jet_pt, e.Jet_puId) if i)),
    ("sum(Jet_pt[Jet_puId != 0])", lambda e: sum(p for p, i in zip(e.Jet_pt, e.Jet_puId) if i)),
    ("sum(Jet_pt * Jet_puId)", lambda e: sum(p for p, i in zip(e.Jet_pt, e.Jet_puId) if i)),
    ("sum(Jet_pt[:, 1:])", lambda e: sum(e.Jet_pt[1:])),
    ("sum(Jet_pt[:, :2])", lambda e: sum(e.Jet_pt[:2])),
    ("sum(Muon_pt[Muon_tightId])", lambda e: sum(p for p, t in zip(e.Muon_pt, e.Muon_tightId) if t)),
    ("sum(Muon_pt[~Muon_tightId])", lambda e: sum(p for p, t in zip(e.Muon_pt, e.Muon_tightId) if not t)),
    ("Jet_pt[argmax(Jet_btag)]", lambda e: at(e.Jet_pt, index_of(max, e.Jet_btag))),
    ("Jet_pt[:, argmax(Jet_btag)]", lambda e: at(e.Jet_pt, index_of(max, e.Jet_btag))),
    ("Jet_pt[best]", lambda e: at(e.Jet_pt, index_of(max, e.Jet_btag))),
    ("Jet_eta[argmin(abs(Jet_eta))]", lambda e: at(e.Jet_eta, index_of(min, [abs(y) for y in e.Jet_eta]))),
    ("argmax(Jet_btag)", lambda e: index_of(max, e.Jet_btag)),
    ("Jet_btag[argsort(Jet_pt)][:, 0]", lambda e: at(e.Jet_btag, e.nJet - 1)),
    ("Jet_pt[argsort(Jet_btag, ascending=False)][:, 0]", lambda e: at(e.Jet_pt, index_of(max, e.Jet_btag))),
    ("sort(Jet_btag)[:, -1]", lambda e: max(e.Jet_btag, default=None)),
    ("Jet_pt[Muon_jetIdx][:, 0]", lambda e: at(e.Jet_pt, e.Muon_jetIdx[0]) if e.nMuon else None),
    ("Jet_pt[:, Muon_jetIdx[:, 0]]", lambda e: at(e.Jet_pt, e.Muon_jetIdx[0]) if e.nMuon else None),
    ("sum(Jet_pt[Muon_jetIdx])", lambda e: sum(at(e.Jet_pt, i) or 0 for i in e.Muon_jetIdx)),
    ("sum(take(Jet_pt, Muon_jetIdx))", lambda e: sum(at(e.Jet_pt, i) or 0 for i in e.Muon_jetIdx)),
    ("(Jet_jetId[:, 0] >> 1) & 1", lambda e: e.Jet_jetId[0] >> 1 & 1 if e.nJet else None),
    ("deltaphi(Jet_phi[:, 0], Jet_phi[:, 1])", lambda e: dphi(*e.Jet_phi[:2]) if e.nJet > 1 else None),
    ("deltaR(Jet_eta[:, 0], Jet_phi[:, 0], Jet_eta[:, 1], Jet_phi[:, 1])", lambda e: math.hypot(e.Jet_eta[0] - e.Jet_eta[1], dphi(*e.Jet_phi[:2])) if e.nJet > 1 else None),
    ("mass(Jet_pt[:, 0], Jet_eta[:, 0], Jet_phi[:, 0], Jet_mass[:, 0], Jet_pt[:, 1], Jet_eta[:, 1], Jet_phi[:, 1], Jet_mass[:, 1])", lambda e: minv(e, 0, 1) if e.nJet > 1 else None),
    ("sqrt(2*Muon_pt[:,0]*Muon_pt[:,1]*(cosh(Muon_eta[:,0]-Muon_eta[:,1])-cos(Muon_phi[:,0]-Muon_phi[:,1])))", lambda e: math.sqrt(2 * e.Muon_pt[0] * e.Muon_pt[1] * (math.cosh(e.Muon_eta[0] - e.Muon_eta[1]) - math.cos(e.Muon_phi[0] - e.Muon_phi[1]))) if e.nMuon > 1 else None),
    ("sqrt(2 * Muon_pt[:, 0] * MET_pt * (1 - cos(Muon_phi[:, 0])))", lambda e: math.sqrt(2 * e.Muon_pt[0] * e.MET_pt * (1 - math.cos(e.Muon_phi[0]))) if e.nMuon else None),
    ("sum(flatten(Jet_cells))", lambda e: sum(map(sum, e.Jet_cells))),
    ("sum(sum(Jet_cells))", lambda e: sum(map(sum, e.Jet_cells))),
    ("Jet_cells[:, 0, 0]", lambda e: at(e.Jet_cells[0], 0) if e.nJet else None),
    ("Jet_cells[:, 0][:, 0]", lambda e: at(e.Jet_cells[0], 0) if e.nJet else None),
    ("sum(Jet_cells[:, 0])", lambda e: sum(e.Jet_cells[0]) if e.nJet else None),
    ("max(Jet_pt[:, 0], MET_pt)", lambda e: max(e.Jet_pt[0], e.MET_pt) if e.nJet else None),
    ("min(MET_pt, 100)", lambda e: min(e.MET_pt, 100)),
    ("max(nJet, nMuon, 2)", lambda e: max(e.nJet, e.nMuon, 2)),
    ("nJet + nMuon", lambda e: e.nJet + e.nMuon),
    ("nJet - 10", lambda e: e.nJet - 10),
    ("-nJet", lambda e: -e.nJet),
    ("nJet ** 2", lambda e: e.nJet**2),
    ("2 ** -nJet", lambda e: 2.0**-e.nJet),
    ("nJet / 2", lambda e: e.nJet / 2),
    ("nJet // 2", lambda e: e.nJet // 2),
    ("MET_pt // 10", lambda e: e.MET_pt // 10),
    ("MET_pt % 10", lambda e: e.MET_pt % 10),
    ("ln(MET_pt) + log10(MET_pt)", lambda e: math.log(e.MET_pt) + math.log10(e.MET_pt)),
    ("exp(-MET_pt / 50) * w", lambda e: math.exp(-e.MET_pt / 50) * e.w),
    ("abs(w)", lambda e: abs(e.w)),
    ("sign(w) * 2", lambda e: math.copysign(2, e.w)),
    ("atan2(w, MET_pt)", lambda e: math.atan2(e.w, e.MET_pt)),
    ("HLT_IsoMu24 + HLT_Ele32", lambda e: e.HLT_IsoMu24 + e.HLT_Ele32),
    ("-HLT_IsoMu24", lambda e: -e.HLT_IsoMu24),
    ("w * (nJet > 1)", lambda e: e.w * (e.nJet > 1)),
    ("(nJet > 1) * 2 + (nMuon > 1)", lambda e: (e.nJet > 1) * 2 + (e.nMuon > 1)),
    ("1.0 * (Jet_pt[:, 0] > 60)", lambda e: float(e.nJet > 0 and e.Jet_pt[0] > 60)),
    ("0.5", lambda e: 0.5),
    ("True", lambda e: True),
    ("entry", lambda e: e.number),
    ("event % 1000", lambda e: e.event % 1000),
    ("pi * nJet", lambda e: math.pi * e.nJet),
    ("round(MET_pt)", lambda e: round(e.MET_pt)),
    ("prod(Jet_puId)", lambda e: math.prod(e.Jet_puId)),
    ("count(Jet_pt)", lambda e: e.nJet),
]  # fmt: skip


def evaluated(expression: str) -> tuple[np.ndarray, np.ndarray]:
    branches = {**BRANCHES, "entry": ak.Array(np.arange(N))}
    return parsed(expression, BRANCHES, "f.root", aliases=ALIASES).numbers(branches, N, "f.root")


def refusal(expression: str) -> str:
    with pytest.raises(InvalidEvents) as error:
        evaluated(expression)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("expression", "loop"), CONDITIONS)
def test_condition_is_that_of_a_loop_over_the_events(expression, loop):
    chosen = parsed(expression, BRANCHES, "f.root", aliases=ALIASES).condition(
        {**BRANCHES, "entry": ak.Array(np.arange(N))}, N, "f.root"
    )
    assert chosen.tolist() == [bool(loop(e)) for e in EVENTS]


@pytest.mark.parametrize(("expression", "loop"), NUMBERS)
def test_number_is_that_of_a_loop_over_the_events(expression, loop):
    values, missing = evaluated(expression)
    right = [loop(e) for e in EVENTS]
    assert missing.tolist() == [value is None for value in right]
    assert values[~missing] == pytest.approx([value for value in right if value is not None], rel=1e-9, abs=1e-12)


# --- What is refused


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("nJet > 1 && nMuon > 0", "(nJet > 1) & (nMuon > 0)"),
        ("nJet > 3 || !passed", "(nJet > 3) | ~passed"),
        ("nJet > 1 and nMuon > 0", "(nJet > 1) & (nMuon > 0)"),
        ("not passed", "~passed"),
        ("nJet > 0 ? MET_pt : 0", "where(nJet > 0, MET_pt, 0)"),
        ("nJet == 1 & nMuon == 2", "(nJet == 1) & (nMuon == 2)"),
        ("1 < nJet < 4", "(1 < nJet) & (nJet < 4)"),
        ("Sum$(Jet_pt > 30) >= 2", "sum(Jet_pt > 30) >= 2"),
        ("Length$(Jet_pt)", "len(Jet_pt)"),
        ("TMath::Abs(Jet_eta[0]) < 2.4", "abs(Jet_eta[:, 0]) < 2.4"),
        ("Entry$ % 2", "entry % 2"),
        ("Jet_pt.max()", "max(Jet_pt)"),
        ("Jet_pt.at(0)", "Jet_pt[:, 0]"),
        ("Jet_pt[0] > 30", "Jet_pt[:, 0] > 30"),
        ("nJet^2", "nJet**2"),
        ("MET_pt^2 + 1", "write **"),
        ("nJet^nMuon", "write **"),
        ("flags & nJet", "(flags > 0) & (nJet > 0)"),
        ("w & passed", "w is no condition; compare it with a number, as in w > 0"),
        ("~w", "w is no condition"),
        ("where(w, 1, 2)", "w is no condition"),
        ("any(Jet_pt)", "Jet_pt is no condition"),
        ("Jet_pt[Jet_puId]", "Jet_pt[Jet_puId == 1] for a condition, Jet_pt[:, Jet_puId] for positions"),
        ("Jet_pt[nJet]", "Jet_pt[:, nJet]"),
        ("Jet_pt[Muon_tightId]", "have not the same number of entries in"),
        ("Jet_pt + Muon_pt", "have not as many elements in every event"),
        ("sqroot(MET_pt)", "did you mean 'sqrt'"),
        ("DeltaR(w, w, w, w)", "write deltaR(eta1, phi1, eta2, phi2); ROOT's DeltaR has the order eta1, eta2, phi1, phi2"),
        ("deltaR(w, w)", "deltaR takes 4 arguments, not 2"),
        ("sqrt(MET_pt, axis=1)", "sqrt cannot be called so"),
        ("nJet // zero", "an integer is divided by 0"),
        ("nJet % zero", "an integer is divided by 0"),
        ("nJet // 0", "an integer is divided by 0"),
        ("event * 1000", "beyond what 64-bit integers can hold"),
        ("category", "is text"),
        ("category > 3", "compared with == and !="),
        ("category + 1", "is text, not a number"),
        ("flatten(Jet_pt)", "flatten would mix the events"),
        ("bit(w, 1)", "bit needs integers"),
        ("sum(Jet_pt[:, ::0])", "the step of a slice is not 0"),
        ("!" * 3000 + "passed", "is no expression"),
        ("Jet_cells[:, 0, 0, 0]", "takes no index"),
    ],
)  # fmt: skip
def test_refusal_says_what_to_write(expression, said):
    assert said in refusal(expression)


def test_unknown_function_does_not_list_a_hundred():
    assert len(refusal("xyzzy(nJet)")) < 200


@pytest.mark.parametrize("seed", range(3))
def test_only_errors_of_ones_own_come_out_of_any_expression(seed):
    """Expressions at random; and an event is worth the same whatever other events stand beside it."""
    rng = np.random.default_rng(seed)
    names = [*BRANCHES, *ALIASES, "entry", "0", "1", "-1", "0.5", "True", str(2**63), str(10**25)]
    functions = sorted(FUNCTIONS)
    indices = [":, 0", ":, -1", ":, 1:", ":, 0, 0", ":, :, 0", "0"]
    signs = ["+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<<", ">>", "==", "!=", "<", ">="]

    def text(depth: int) -> str:
        a, b, c = (text(depth - 1) if depth and rng.random() < 0.6 else str(rng.choice(names)) for _ in range(3))
        forms = [a, f"({a}) {rng.choice(signs)} ({b})", f"~({a})", f"-({a})", f"where({a}, {b}, {c})"]
        forms += [f"({a})[{b}]", f"({a})[:, {b}]", f"({a})[{rng.choice(indices)}]", f"({a}) {rng.choice(signs)} ({b})"]
        forms += [f"{rng.choice(functions)}({a})", f"{rng.choice(functions)}({a}, {b})"]
        return str(rng.choice(forms))

    everything = {**BRANCHES, "entry": ak.Array(np.arange(N))}
    fifth = {name: array[5:6] for name, array in everything.items()}
    evaluated_ones = 0
    for _ in range(150):
        expression = text(int(rng.integers(1, 3)))
        try:
            found = parsed(expression, BRANCHES, "f.root", aliases=ALIASES)
            (values, missing), (value, none) = found.numbers(everything, N, "f"), found.numbers(fifth, 1, "f")
        except InvalidEvents:
            continue
        evaluated_ones += 1
        assert missing[5] == none[0]
        assert none[0] or float(value[0]) == pytest.approx(float(values[5]), nan_ok=True)
    assert evaluated_ones > 10


# --- Numbers of 64 bits


LARGE = {
    "event": ak.Array(np.array([2**63 + 5, 2**63 + 10, 12], np.uint64)),
    "signed": ak.Array(np.array([2**62 + 1, -(2**62), 5])),
}


@pytest.mark.parametrize(
    ("expression", "right"),
    [
        ("event > 100", [1, 1, 0]),
        (f"event == {2**63 + 5}", [1, 0, 0]),
        (f"event != {2**63 + 5}", [0, 1, 1]),
        ("event > -1", [1, 1, 1]),
        ("event == 12.0", [0, 0, 1]),
        (f"event > {2**63 + 5}", [0, 1, 0]),
        (f"event < {10**25}", [1, 1, 1]),
        ("event % 10 == 3", [1, 0, 0]),
        ("event // 2 > 5", [1, 1, 1]),
        ("(event & 1) == 1", [1, 0, 0]),
        ("event == event", [1, 1, 1]),
        (f"event - 1 == {2**63 + 4}", [1, 0, 0]),
        (f"signed == {2.0**62}", [0, 0, 0]),
        (f"signed > {2.0**62}", [1, 0, 0]),
        ("signed == 4611686018427387905", [1, 0, 0]),
        ("event > signed", [1, 1, 1]),
    ],
)
def test_large_integers_are_compared_and_divided_exactly(expression, right):
    assert parsed(expression, LARGE, "f").condition(LARGE, 3, "f").tolist() == [bool(x) for x in right]


@pytest.mark.parametrize("expression", ["event + event", "signed * 4", "signed + signed", "event * signed", "-event"])
def test_integers_do_not_wrap_around(expression):
    with pytest.raises(InvalidEvents, match="beyond what 64-bit integers can hold"):
        parsed(expression, LARGE, "f").numbers(LARGE, 3, "f")


def test_mass_of_light_and_parallel_objects_is_no_rounding_error():
    kinematics = np.random.default_rng(0).uniform([1, -3, -3], [900, 3, 3], (2000, 3)).T
    branches = dict(zip(("pt", "eta", "phi"), map(ak.Array, kinematics)))
    itself = parsed("mass(pt, eta, phi, 0, pt, eta, phi, 0)", branches, "f").numbers(branches, 2000, "f")[0]
    assert np.all(itself == 0)
    electrons = parsed("mass(pt, eta, phi, 0.000511, 2 * pt, eta, phi, 0.000511)", branches, "f").numbers(
        branches, 2000, "f"
    )[0]
    assert electrons == pytest.approx(np.full(2000, 0.000511 * math.sqrt(2 + 2.5)), rel=1e-6)  # m^2 (2 + 2 + 1/2)


# --- Aliases and what stands in the place of branches


def test_replaced_branch_changes_aliases_and_not_itself():
    branches = {"x": ak.Array([1.0, 2.0]), "up": ak.Array([5.0, 6.0])}
    known = {"aliases": {"y": "10 * x"}, "branches": {"x": "x + up"}}
    assert parsed("y + x", branches, "f", **known).numbers(branches, 2, "f")[0].tolist() == [66.0, 88.0]


def test_error_inside_an_alias_names_it():
    with pytest.raises(InvalidEvents, match=r"f: 'y > 1': alias 'y': 'log\(xx\)': no branch 'xx'; did you mean 'x'"):
        parsed("y > 1", {"x"}, "f", aliases={"y": "log(xx)"})
    with pytest.raises(InvalidEvents, match="alias 'y': 'x // 0': an integer is divided by 0"):
        parsed("y > 1", {"x"}, "f", aliases={"y": "x // 0"}).numbers({"x": ak.Array([1])}, 1, "f")
    with pytest.raises(InvalidEvents, match="in a circle: y -> z -> y"):
        parsed("y", {"x"}, "f", aliases={"y": "z + x", "z": "y"})
    with pytest.raises(InvalidEvents, match="alias 'x' would hide the branch"):
        parsed("x + 1", {"x"}, "f", aliases={"x": "2"})


@pytest.mark.parametrize("name", ["jet.pt", "a-b", "a[3]", "a/b", "a b", "max", "class"])
def test_any_name_of_a_branch_can_be_got(name):
    branches = {name: ak.Array([1.0, 2.0])}
    assert parsed(f'2 * get("{name}")', branches, "f").numbers(branches, 2, "f")[0].tolist() == [2.0, 4.0]
    assert parsed(name, branches, "f").numbers(branches, 2, "f")[0].tolist() == [1.0, 2.0]
