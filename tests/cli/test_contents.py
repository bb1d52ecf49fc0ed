"""neyman inspect of files of events: trees, branches, types, first values and whether each is a feature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from neyman.cli.main import main

FILES = Path(__file__).parents[1] / "inputs" / "files"


def inspected(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["inspect", *arguments])


def branches(*arguments: str) -> dict[str, tuple[str, str, str]]:
    trees = json.loads(inspected(*arguments, "--json").output)["trees"]
    return {b["name"]: (b["type"], b["values"], b["feature"]) for b in trees[0]["branches"]}


def test_it_lists_branches_with_types_and_values_and_how_each_is_a_feature():
    found = branches(str(FILES / "leaves.root"))
    assert found["type_i_I"] == ("int32", "0  1  2", "yes")
    assert found["jets"] == ("var * float32", "[]  [51]  [52, 42]", "jets[:, 0], max(jets)")
    assert found["text"] == ("string", "'LT'  'GT'  'LT'", "no: a text; compare it, as in text == 'a'")
    assert found["nested"][2] == "max(max(nested))"
    assert found["a-b"][2] == "yes; in formulas get('a-b')"
    assert found["cell.good"] == ("bool", "True  False  False", "yes")


def test_every_tree_is_shown_with_its_entries_and_what_cannot_be_read():
    shown = inspected(str(FILES / "cycles.root")).output
    assert "tree events: 12 entries, 1 branch\n" in shown
    assert "tree befriended: 12 entries, 1 branch, as in events" in shown
    assert "tree empty: 0 entries" in shown
    assert "no: has 4 entries where the tree has 3" in shown


def test_objects_that_are_read_as_a_whole_are_left_to_be_tried():
    assert branches(str(FILES / "objects.root"))["one_whole.pt"][0] == "in a whole Particle"


def test_a_tree_and_a_filter_choose_what_is_shown():
    found = branches(f"{FILES / 'leaves.root'}:folder/deep/events", "--filter", "type_?_i", "--filter", "cell.*")
    assert list(found) == ["type_I_i", "cell.energy", "cell.layer", "cell.channel", "cell.good"]
    error = inspected(str(FILES / "leaves.root"), "--filter", "jet").output
    assert "no branch matches jet; did you mean 'jets'" in error


def test_it_is_written_to_a_file(tmp_path):
    assert not inspected(str(FILES / "ntuple.root"), "-o", str(tmp_path / "found.txt")).output
    assert "particles.track.hits" in (tmp_path / "found.txt").read_text()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("none.root", None, "no such file"),
        ("text.root", b"hello", "not a ROOT file"),
        ("cut.root", b"root\x00\x00", "truncated"),
        ("cut.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_bad_files_are_one_line(tmp_path, name, content, line):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = inspected(str(tmp_path / name))
    assert result.exit_code == 1
    assert line in result.output
    assert len(result.output.splitlines()) == 1


def test_a_missing_tree_has_a_near_miss():
    assert "no tree 'event'; did you mean 'events'" in inspected(f"{FILES / 'objects.root'}:event").output


def test_a_filter_is_for_files_of_events_only(tmp_path):
    assert "only a file of events has branches to --filter" in inspected("analysis.yaml", "--filter", "x").output
