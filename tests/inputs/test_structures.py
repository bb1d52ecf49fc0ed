"""Files of many structures from CERN ROOT: what is read by which name, held against the numbers of ROOT itself."""

from __future__ import annotations

import json
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from neyman.exceptions import InvalidEvents
from neyman.inputs.files import opened

FILES = Path(__file__).parent / "files"
ROOT: dict[str, dict[str, dict[str, list[float]]]] = json.loads((FILES / "root.json").read_text())


def array(file: str, tree: str, name: str) -> ak.Array:
    with opened(str(FILES / file)) as reader:
        return ak.concatenate([step[name] for step in reader.tree(tree).steps([name], 1_000_000)])


def message(file: str, tree: str, name: str) -> str:
    with pytest.raises(InvalidEvents) as error:
        array(file, tree, name)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("file", "tree", "name"),
    [(file, tree, name) for file, trees in ROOT.items() for tree, names in trees.items() for name in names],
)
def test_values_are_those_that_root_reads(file, tree, name):
    values = ak.to_numpy(ak.flatten(array(file, tree, name), axis=None)).astype(float)
    assert values == pytest.approx(ROOT[file][tree][name], rel=1e-6)  # some are written in single precision


@pytest.mark.parametrize(
    ("file", "tree", "names"),
    [
        ("objects.root", "events", ["event.run", "event/run", "run"]),
        ("objects.root", "events", ["particles.pt", "particles/particles.pt"]),
        ("objects.root", "events", ["event.best.track.hits", "event/best/best.track.hits"]),
        ("objects.root", "events", ["one.cov", "one/cov[3]"]),
        ("leaves.root", "folder/deep/events", ["cell.energy", "energy"]),
        ("leaves.root", "folder/deep/events", ["fixed", "fixed"]),
        ("ntuple.root", "events", ["lv.d0"]),
    ],
)
def test_a_branch_inside_another_has_the_names_of_root_and_uproot_and_its_own(file, tree, names):
    first, *others = [array(file, tree, name).to_list() for name in names]
    assert all(other == first for other in others)


def test_a_name_that_two_branches_share_stands_for_neither():
    assert "no branch 'fE'" in message("objects.root", "events", "fE")


@pytest.mark.parametrize(
    ("file", "tree", "name", "inside"),
    [
        ("objects.root", "events", "split", "split.fP.fX"),
        ("objects.root", "events", "vectors", "vectors.fE"),
        ("objects.root", "events", "event", "event.run"),
        ("leaves.root", "folder/deep/events", "cell", "cell.energy, cell.layer"),
        ("ntuple.root", "events", "particles", "particles.pt"),
        ("ntuple.root", "events", "particles.track", "particles.track.hits"),
    ],
)
def test_a_structure_names_its_members(file, tree, name, inside):
    text = message(file, tree, name)
    assert f"branch {name!r} is a structure; name one of its members" in text
    assert inside in text


def test_a_structure_that_uproot_cannot_read_is_one_line():
    assert "branch 'one_whole' of the type Particle cannot be read" in message("objects.root", "events", "one_whole.pt")


def test_texts_flags_and_large_numbers_stay_what_they_are():
    leaves = ("leaves.root", "folder/deep/events")
    assert array(*leaves, "text").to_list()[:2] == ["LT", "GT"]
    assert array(*leaves, "flags").to_list()[2] == [True, False]
    assert array(*leaves, "type_Q_l").to_list()[1] == 2**63 + 1
    assert array("ntuple.root", "events", "large").to_list()[1] == 2**63 + 1
    assert array("ntuple.root", "events", "pair.1").to_list()[:2] == [0.0, 0.5]


def test_the_highest_cycle_of_a_tree_is_read_unless_another_is_named():
    assert len(array("cycles.root", "events", "x")) == 12
    assert len(array("cycles.root", "events;1", "x")) == 6
    assert "no cycle 7 of tree 'events'; there is events;2, events;1" in message("cycles.root", "events;7", "x")


def test_a_branch_of_another_length_is_an_error():
    assert "branch 'late' has 4 entries where the tree has 3" in message("cycles.root", "ragged", "late")


def test_columns_name_every_branch_once():
    with opened(str(FILES / "leaves.root")) as reader:
        columns = list(reader.tree("folder/deep/events").columns)
    assert {"cell.energy", "cell.good", "fixed", "jets", "n", "a-b"} <= set(columns)
    assert not {"cell", "energy"} & set(columns)


def test_a_step_begins_and_ends_where_asked():
    for file, tree, name in [("leaves.root", "folder/deep/events", "n"), ("ntuple.root", "events", "lv.hits")]:
        with opened(str(FILES / file)) as reader:
            steps = [step[name] for step in reader.tree(tree).steps([name], 8, 3, 9)]
        assert np.concatenate(steps).tolist() == [i % 4 if name == "n" else i for i in range(3, 9)]
