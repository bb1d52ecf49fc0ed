"""Parquet files behind the same sources and documents as ROOT files: columns, members, steps, and bad input."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from neyman import Workspace
from neyman.events import EventSource
from neyman.exceptions import InvalidDocument, InvalidEvents
from neyman.inputs.files import files_of, opened, provenance
from neyman.inputs.sources import read

pyarrow = pytest.importorskip("pyarrow")
parquet = importlib.import_module("pyarrow.parquet")

I = np.arange(60)  # noqa: E741  the number of the event
EVENTS = ak.Array(
    {
        "m": 100.0 + I,
        "w": np.where(I % 5, 0.5, -0.25),
        "jet_pt": [[50.0 - 10 * j + i for j in range(i % 3)] for i in I],
        "Muon": [[{"pt": 20.0 + i - j, "track": {"d0": 0.1 * j}} for j in range(i % 3)] for i in I],
        "lv": [{"pt": float(i), "flag": i % 2 == 0} for i in I],
        "Type": ["GT" if i % 2 else "LT" for i in I],
        "jet.pt": I,
    }
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.parquet"
    ak.to_parquet(EVENTS, path, row_group_size=16)
    return path


def column(file: Path | str, expression: str, **options: str) -> list[float]:
    return read(EventSource((str(file),), "", **options), [expression]).features[:, 0].tolist()


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("m", 100 + I),
        ("lv.pt + lv.flag", I + (I % 2 == 0)),
        ("sum(Muon.pt)", [sum(20.0 + i - j for j in range(i % 3)) for i in I]),
        ("sum(Muon.track.d0)", [sum(0.1 * j for j in range(i % 3)) for i in I]),
        ("where(num(jet_pt) > 1, jet_pt[:, 1], 0)", np.where(I % 3 > 1, 40 + I, 0)),
        ("get('jet.pt')", I),
    ],
)
def test_columns_and_members_are_read(file, expression, values):
    assert column(file, expression) == pytest.approx(list(values), rel=1e-6)


def test_selection_weight_and_texts_are_those_of_root_files(file):
    events = read(EventSource((str(file),), "", "2 * w", "(m > 120) & (Type == 'GT')"), ["m"])
    kept = (I > 20) & (I % 2 == 1)
    assert np.array_equal(events.features[:, 0], (100 + I)[kept])
    assert np.array_equal(events.weights, 2 * np.where(I % 5, 0.5, -0.25)[kept])


def test_small_steps_and_ranges_give_the_same_events(file):
    source = EventSource((str(file),), "")
    assert np.array_equal(read(source, ["m"], step=50).features, read(source, ["m"]).features)
    for start, stop in [(0, 60), (3, 40), (15, 17), (16, 16), (50, None)]:
        with opened(str(file)) as reader:
            steps = [step["m"] for step in reader.tree("").steps(["m"], 50, start, stop)]
        assert [x for step in steps for x in step] == (100 + I[start:stop]).tolist()


def test_only_the_columns_used_are_read_from_files_by_pyarrow_and_missing_values_are_missing(tmp_path):
    table = pyarrow.table({"x": [1.0, None, 3.0], "l": [[1, 2], None, [3]], "amount": pyarrow.array([1, 2, 3])})
    table = table.append_column("money", table["amount"].cast(pyarrow.decimal128(24, 2)))
    path = tmp_path / "arrow.parquet"
    parquet.write_table(table, path)
    assert column(path, "x", selection="x > 0") == [1.0, 3.0]
    assert column(path, "sum(l)", selection="num(l) > 0") == [3.0, 3.0]
    with pytest.raises(InvalidEvents, match=r"column 'money' of the type decimal128\(24, 2\) cannot be read"):
        column(path, "money")


def test_a_structure_names_its_members(file):
    with pytest.raises(InvalidEvents, match=r"'Muon' is a structure; name one of its members: Muon.pt, Muon.track"):
        column(file, "Muon")


def test_a_folder_of_parquet_files_is_one_dataset(tmp_path):
    for part, events in (("b", EVENTS[20:]), ("a", EVENTS[:20])):
        (tmp_path / "data.parquet").mkdir(exist_ok=True)
        ak.to_parquet(events, tmp_path / "data.parquet" / f"{part}.parquet")
    assert column(tmp_path / "data.parquet", "m") == (100 + I).tolist()
    assert len(files_of(EventSource((str(tmp_path / "data.parquet"),), ""))) == 2
    assert len(provenance([EventSource((str(tmp_path / "data.parquet"),), "")])) == 2


def test_damaged_and_foreign_files_are_one_line(file, tmp_path):
    for name, content in (("text", b"hello"), ("short", file.read_bytes()[:500]), ("empty", b"")):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        with pytest.raises(InvalidEvents, match=f"{name}.parquet: cannot be read") as error:
            column(path, "m")
        assert "\n" not in str(error.value)


def test_a_missing_package_is_named_with_the_command(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InvalidEvents, match=r"parquet files need pyarrow: pip install 'neyman\[parquet\]'"):
        column(file, "m")


def document(events: object, sample: object, **data: object) -> dict[str, object]:
    variation = (
        {"name": "shape", "type": "histosys", "data": data}
        if data
        else {"name": "n", "type": "normfactor", "data": None}
    )
    return {
        "version": "1.0.0",
        "channels": [
            {
                "name": "SR",
                "features": ["m"],
                "events": events,
                "samples": [
                    {
                        "name": "signal",
                        "events": sample,
                        "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                    },
                    {"name": "background", "events": sample, "modifiers": [variation]},
                ],
            }
        ],
        "observations": [{"name": "SR", "events": sample}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }


def test_a_document_needs_no_tree_for_parquet_files_and_an_inherited_one_is_for_others(file):
    sample = {"files": file.name}
    for events in ({}, {"tree": "nominal"}):
        workspace = Workspace(document(events, sample), file.parent)
        assert len(workspace.simulation("SR").samples["signal"]) == 60


def test_a_tree_named_for_parquet_files_is_an_error_as_it_would_have_no_effect(file):
    sample = {"files": file.name}
    for changed in ({"files": file.name, "tree": "t"},):
        with pytest.raises(InvalidDocument, match="parquet files have no trees; take out 't'"):
            Workspace(document({}, changed), file.parent)
    with pytest.raises(InvalidDocument, match="parquet files have no trees; take out 'scale_up'"):
        Workspace(document({}, sample, hi={"tree": "scale_up"}, lo={"weight": "w"}), file.parent)


def test_a_root_file_beside_parquet_files_still_needs_its_tree():
    with pytest.raises(InvalidDocument, match="the key 'tree' is missing"):
        Workspace(document({}, {"files": ["a.parquet", "b.root"]}))
