"""Write ROOT files of many structures with CERN ROOT, and what ROOT itself reads from them, as JSON.

Run it with a Python that can ``import ROOT``. ``root.json`` has for each file and tree the values of some expressions
of ``TTree::Draw`` (of an RNTuple: columns of RDataFrame), those of all entries in one list.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from itertools import count
from pathlib import Path

import ROOT

FOLDER = Path(__file__).parent
EVENTS = 12


def leaves() -> None:
    """Leaf lists, arrays, every type of number, flags, text, nested vectors, and branches of one name."""
    with ROOT.TFile.Open(str(FOLDER / "leaves.root"), "RECREATE"):
        folder = ROOT.gDirectory.mkdir("folder/deep")
        folder.cd()
        tree = ROOT.TTree("events", "")
        kinds = {
            "B": "b",
            "b": "B",
            "S": "h",
            "s": "H",
            "I": "i",
            "i": "I",
            "L": "q",
            "l": "Q",
            "F": "f",
            "D": "d",
            "O": "B",
        }
        numbers = {f"type_{kind}_{letter}": (array(kind, [0]), letter) for letter, kind in kinds.items()}
        for name, (buffer, letter) in numbers.items():
            tree.Branch(name, buffer, f"{name}/{letter}")
        ROOT.gInterpreter.Declare("struct Cell { float energy; int layer; int channel; bool good; };")
        cell = ROOT.Cell()
        tree.Branch("cell", cell, "energy/F:layer/I:channel/I:good/O")
        same, n = array("f", [0]), array("i", [0])
        tree.Branch("same", same, "same/F")
        fixed, jets = array("f", [0] * 6), array("f", [0] * 4)
        tree.Branch("fixed", fixed, "fixed[2][3]/F")
        tree.Branch("n", n, "n/I")
        tree.Branch("jets", jets, "jets[n]/F")
        nested, flags = ROOT.std.vector["vector<int>"](), ROOT.std.vector["bool"]()
        words, text = ROOT.std.vector["string"](), ROOT.std.string()
        for name, value in {"nested": nested, "flags": flags, "words": words, "text": text}.items():
            tree.Branch(name, value)
        half, short = array("f", [0]), array("d", [0])
        tree.Branch("half", half, "half/f[0,100,16]")
        tree.Branch("short", short, "short/d[0,0,20]")
        tree.Branch("a-b", same, "a-b/F")
        for i in range(EVENTS):
            for buffer, letter in numbers.values():
                buffer[0] = (
                    i % 2 if letter == "O" else i + (200 if letter == "b" else 0) if letter != "l" else 2**63 + i
                )
            cell.energy, cell.layer, cell.channel, cell.good = 1.5 * i, i % 4, 1000 + i, i % 3 == 0
            same[0], n[0], half[0], short[0] = i - 3, i % 4, 7.5 * i, i / 3
            for k in range(6):
                fixed[k] = 10 * i + k
            nested.clear(), flags.clear(), words.clear()
            for j in range(i % 4):
                jets[j] = 50.0 - 10 * j + i
                (
                    nested.push_back(ROOT.std.vector["int"]([i] * j)),
                    flags.push_back((i + j) % 2 == 0),
                    words.push_back(f"w{j}"),
                )
            text.assign("GT" if i % 2 else "LT")
            tree.Fill()
        tree.Write()


def cycles() -> None:
    """Two cycles of a tree, a tree without entries, one with a friend, and a branch of another length."""
    with ROOT.TFile.Open(str(FOLDER / "cycles.root"), "RECREATE") as file:
        x, y = array("f", [0]), array("f", [0])
        tree = ROOT.TTree("events", "")
        tree.Branch("x", x, "x/F")
        for i in range(EVENTS):
            x[0] = i
            if i == EVENTS // 2:
                tree.Write()
            tree.Fill()
        tree.Write()
        empty = ROOT.TTree("empty", "")
        empty.Branch("x", x, "x/F")
        empty.Write()
        friend = ROOT.TTree("other", "")
        friend.Branch("y", y, "y/F")
        for i in range(EVENTS):
            y[0] = 2 * i
            friend.Fill()
        friend.Write()
        befriended = tree.CloneTree()
        befriended.SetName("befriended")
        befriended.AddFriend("other")
        befriended.Write()
        ragged = ROOT.TTree("ragged", "")
        ragged.Branch("x", x, "x/F")
        late = ragged.Branch("late", y, "late/F")
        for _ in range(3):
            ragged.Fill()
        late.Fill()
        ragged.Write()
        file.Close()


def ntuple() -> None:
    """An RNTuple of structures, vectors of them and flags."""
    frame = ROOT.RDataFrame(EVENTS)
    columns = {
        "lv": "Track t; t.d0 = 0.5 * rdfentry_; t.hits = rdfentry_; return t;",
        "particles": "std::vector<Particle> v(rdfentry_ % 3); for (auto &p : v) { p.pt = 10. + (&p - &v[0]);"
        " p.track.hits = rdfentry_; p.iso = {1.f, 2.f}; p.charge = -1; } return v;",
        "nested": "std::vector<std::vector<int>> v(rdfentry_ % 4, std::vector<int>(2, (int)rdfentry_)); return v;",
        "flags": "std::vector<bool> v; for (size_t j = 0; j < rdfentry_ % 4; ++j) v.push_back(j % 2); return v;",
        "flag": "rdfentry_ % 2 == 0",
        "byte": "(std::int8_t)(rdfentry_ % 2)",
        "letter": "(char)(rdfentry_ % 2)",
        "large": "(std::uint64_t)(9223372036854775808ull + rdfentry_)",
        "pair": "std::pair<int, float>((int)rdfentry_, 0.5f * rdfentry_)",
        "fixed": "std::array<float, 3>{1.f * rdfentry_, 2.f, 3.f}",
        "text": 'std::string(rdfentry_ % 2 ? "GT" : "LT")',
    }
    for name, expression in columns.items():
        frame = frame.Define(name, expression)
    options = ROOT.RDF.RSnapshotOptions()
    options.fOutputFormat = ROOT.RDF.ESnapshotOutputFormat.kRNTuple
    options.fVector2RVec = False
    frame.Snapshot("events", str(FOLDER / "ntuple.root"), list(columns), options)


DRAWN = {
    "objects.root": {
        "events": [
            "split.fP.fX",
            "split.fE",
            "dotted.fP.fY",
            "whole.fP.fZ",
            "vectors.fP.fX",
            "vectors.fE",
            "clones.fY",
            "particles.pt",
            "particles.charge",
            "particles.iso",
            "particles.cov",
            "particles.track.d0",
            "one.track.hits",
            "one.pt",
            "one.cov",
            "event.run",
            "event.particles.pt",
            "event.best.track.hits",
        ]
    },
    "leaves.root": {
        "folder/deep/events": [
            "type_b_B",
            "type_B_b",
            "type_h_S",
            "type_H_s",
            "type_i_I",
            "type_I_i",
            "type_q_L",
            "type_f_F",
            "type_d_D",
            "type_B_O",
            "cell.energy",
            "cell.layer",
            "cell.channel",
            "cell.good",
            "same",
            "fixed",
            "n",
            "jets",
            "nested",
            "flags",
            "half",
        ]
    },
    "cycles.root": {"events": ["x"], "events;1": ["x"], "befriended": ["x"]},
}
FRAMED = [
    "lv.d0",
    "lv.hits",
    "particles.pt",
    "particles.track.hits",
    "nested",
    "flags",
    "flag",
    "byte",
    "letter",
    "pair.first",
    "fixed",
]


def drawn(tree: ROOT.TTree, expression: str) -> list[float]:
    number = tree.Draw(expression, "", "goff")
    if number < 0:
        raise SystemExit(f"{tree.GetName()}: {expression} cannot be drawn")
    return [tree.GetV1()[k] for k in range(number)]


def flat(value: object) -> list[float]:
    if isinstance(value, str):  # a char
        return [float(ord(value))]
    return [x for part in value for x in flat(part)] if hasattr(value, "__len__") else [float(value)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder, "structures.h")
        code.write_bytes((FOLDER / code.name).read_bytes())
        ROOT.gSystem.CompileMacro(str(code), "ks")
        ROOT.write_objects(str(FOLDER / "objects.root"), EVENTS)
        for make in (leaves, cycles, ntuple):
            make()
        found = {}
        for name, trees in DRAWN.items():
            with ROOT.TFile.Open(str(FOLDER / name)) as file:
                found[name] = {
                    tree: {text: drawn(file.Get(tree), text) for text in texts} for tree, texts in trees.items()
                }
        frame = ROOT.RDataFrame("events", str(FOLDER / "ntuple.root"))
        values = {name: [] for name in FRAMED}
        for number, name in zip(count(), FRAMED):
            alias = f"column{number}"
            values[name] = flat(
                list(frame.Define(alias, name).Take[frame.Define(alias, name).GetColumnType(alias)](alias))
            )
        found["ntuple.root"] = {"events": values}
        (FOLDER / "root.json").write_text(json.dumps(found, indent=0) + "\n")
