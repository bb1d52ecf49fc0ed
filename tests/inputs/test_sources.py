"""Reading event sources: TTree and RNTuple from CERN ROOT, selections, expressions, weights, steps and bad input."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import uproot
from readers import open_columns, record

from neyman import Events
from neyman.events import EventSource
from neyman.exceptions import InvalidEvents
from neyman.inputs.files import READERS, files_of, only_tree, provenance, tree_of
from neyman.inputs.sources import check, read

DATA = Path(__file__).parents[1] / "data"
I = np.arange(60)  # noqa: E741  the number of the event, from which tests/data/make_root_files.py makes all values
NJET = I % 4


@pytest.fixture(params=["ttree", "rntuple"])
def file(request: pytest.FixtureRequest) -> Path:
    return DATA / f"{request.param}.root"


def events(
    file: Path | str, *expressions: str, weight: str | None = None, selection: str | None = None, tree: str = "nominal"
) -> Events:
    return read(EventSource((str(file),), tree, weight, selection), expressions)


def column(file: Path, expression: str, selection: str | None = None) -> np.ndarray:
    return events(file, expression, selection=selection).features[:, 0]


def message(file: Path | str, expression: str = "m4l", **options: str) -> str:
    """Return what a wrong source is told, which must be one line."""
    with pytest.raises(InvalidEvents) as error:
        events(file, expression, **options)
    text = str(error.value)
    assert "\n" not in text
    assert str(file).partition("*")[0] in text
    return text


def write(path: Path, **branches: np.ndarray | list[float]) -> Path:
    with uproot.recreate(path) as root:
        arrays = {name: np.asarray(values) for name, values in branches.items()}
        root.mktree("nominal", {name: values.dtype for name, values in arrays.items()})
        root["nominal"].extend(arrays)
    return path


# --- What is read


def test_read_gives_float32_features_and_float64_weights(file):
    source = events(file, "m4l", "pt4l", weight="w")
    assert source.features.dtype == np.float32
    assert source.weights.dtype == np.float64
    assert np.array_equal(source.features, np.stack([100.0 + I, I + 0.5], axis=1).astype(np.float32))
    assert np.array_equal(source.weights, np.where(I % 5, 0.5, -0.25))


def test_weight_is_one_by_default_and_can_be_an_expression(file):
    assert np.array_equal(events(file, "m4l").weights, np.ones(60))
    weights = events(file, "m4l", weight="w * pileup / 2").weights
    assert np.allclose(weights, np.where(I % 5, 0.5, -0.25) * (1 + 0.01 * I) / 2, rtol=1e-15)
    assert np.array_equal(events(file, "m4l", weight="0.5").weights, np.full(60, 0.5))


@pytest.mark.parametrize(
    ("branch", "values"),
    [
        ("number", 1000 + I),
        ("njet", NJET),
        ("charge", np.where(I % 2, 1, -1)),
        ("nvtx", I % 7),
        ("tiny", 200 + I % 50),
        ("is_tight", I % 3 == 0),
        ("eta4l", -3 + 0.1 * I),
    ],
)
def test_every_numeric_type_is_read(file, branch, values):
    assert np.allclose(column(file, branch), values, rtol=1e-6, atol=1e-6)


def test_other_tree_is_a_variation(file):
    assert np.allclose(events(file, "m4l", tree="scale_up").features[:, 0], 100 + 1.01 * I)


def test_tree_in_a_folder_of_the_file():
    assert len(events(DATA / "ttree.root", "m4l", tree="folder/loose")) == 60
    assert len(events(DATA / "ttree.root", "m4l", tree="/folder/loose;1")) == 60


def test_no_expressions_give_the_weights_alone(file):
    source = events(file, weight="w")
    assert source.features.shape == (60, 0)
    assert source.weights.sum() == pytest.approx(np.where(I % 5, 0.5, -0.25).sum())


def test_selection_applies_before_the_expressions(file):
    leading = events(file, "jet_pt[:, 0] / 100", weight="jet_pt[:, 0]", selection="njet >= 1")
    kept = I[NJET >= 1]
    assert np.allclose(leading.features[:, 0], (50 + 0.25 * kept) / 100)
    assert np.allclose(leading.weights, 50 + 0.25 * kept)


def test_small_steps_give_the_same_events(file):
    source, expressions = EventSource((str(file),), "nominal", "w", "njet > 1"), ["m4l", "max(jet_pt)", "sum(jet_pt)"]
    whole, steps = read(source, expressions), read(source, expressions, step=500)
    assert np.array_equal(whole.features, steps.features)
    assert np.array_equal(whole.weights, steps.weights)


def test_only_the_branches_used_are_read(file, monkeypatch):
    recorded = record(monkeypatch)
    events(file, "log(pt4l)", weight="w", selection="(njet > 0) & is_tight")
    assert recorded == [{"pt4l", "w", "njet", "is_tight"}]


def test_progress_goes_to_standard_error(file, capsys):
    read(EventSource((str(file),), "nominal"), ["m4l"], progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "nominal: 100%" in err


# --- Expressions


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("log(pt4l)", np.log(I + 0.5)),
        ("np.log(pt4l)", np.log(I + 0.5)),
        ("abs(eta4l) + sqrt(m4l) * cos(m4l)", np.abs(-3 + 0.1 * I) + np.sqrt(100 + I) * np.cos(100 + I)),
        ("num(jet_pt)", NJET),
        ("ak.num(jet_pt)", NJET),
        ("num(jet_pt[jet_pt > 45])", [sum(50 - 10 * j + 0.25 * i > 45 for j in range(i % 4)) for i in I]),
        ("sum(jet_pt)", [sum(50 - 10 * j + 0.25 * i for j in range(i % 4)) for i in I]),
        (
            "sum(jet_pt * jet_b, axis=1)",
            [sum((50 - 10 * j + 0.25 * i) * ((i + j) % 2) for j in range(i % 4)) for i in I],
        ),
        ("ak.sum(jet_pt * m4l, 1)", [sum((50 - 10 * j + 0.25 * i) * (100 + i) for j in range(i % 4)) for i in I]),
        ("any(jet_b == 1)", [any((i + j) % 2 for j in range(i % 4)) for i in I]),
        ("max(m4l, 120)", np.maximum(100 + I, 120)),
        ("min(nvtx, njet, 2)", np.minimum(np.minimum(I % 7, NJET), 2)),
        ("where(njet > 1, m4l, -m4l)", np.where(NJET > 1, 100 + I, -100 - I)),
        ("fill_none(firsts(jet_pt), -1)", np.where(NJET > 0, 50 + 0.25 * I, -1)),
        ("fill_none(pad_none(jet_pt, 2)[:, 1], 0)", np.where(NJET > 1, 40 + 0.25 * I, 0)),
        ("fill_none(firsts(jet_b[argsort(jet_pt)]), -1)", np.where(NJET > 0, (I + NJET - 1) % 2, -1)),
        ("sum(sum(cells))", [sum(0.5 * j * (j + 1) for j in range(i % 4)) for i in I]),
        ("(njet >> 1) & 1", NJET >> 1 & 1),
        ("bit(njet, 1)", NJET >> 1 & 1),
        ("(nvtx & (1 << 2)) != 0", (I % 7) & 4 != 0),
        ("bit(nvtx, 2)", (I % 7) & 4 != 0),
        ("charge * pi", np.where(I % 2, np.pi, -np.pi)),
        ("get('m4l') % 7 // 2 ** 1", (100 + I) % 7 // 2),
        ("~is_tight", I % 3 != 0),
        ("m4l\n  - 100", I),
    ],
)
def test_expression_gives_one_number_per_event(file, expression, values):
    assert np.allclose(column(file, expression), values, rtol=1e-6)


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("max(jet_pt)", 50 + 0.25 * I),
        ("min(jet_pt, axis=1)", 60 - 10 * NJET + 0.25 * I),
        ("jet_pt[:, -1:][:, 0]", 60 - 10 * NJET + 0.25 * I),
        ("mean(jet_pt)", 55 - 5 * NJET + 0.25 * I),
    ],
)
def test_vector_is_reduced_where_it_has_entries(file, expression, values):
    assert np.allclose(column(file, expression, selection="njet > 0"), values[NJET > 0])


@pytest.mark.parametrize(
    ("expression", "values"),
    [("nvtx - 5", I % 7 - 5), ("tiny * 2", 2 * (200 + I % 50)), ("is_tight + is_tight", 2 * (I % 3 == 0))],
)
def test_arithmetic_does_not_wrap_around_in_the_type_of_the_branch(file, expression, values):
    assert np.array_equal(column(file, expression), values)


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        ("(njet > 1) & ~(is_tight | (nvtx < 3))", (NJET > 1) & ~((I % 3 == 0) | (I % 7 < 3))),
        ("is_tight", I % 3 == 0),
        ("njet", NJET != 0),
        ("max(jet_pt) > 60", (NJET > 0) & (50 + 0.25 * I > 60)),
        ("firsts(jet_pt) > 60", (NJET > 0) & (50 + 0.25 * I > 60)),
    ],
)
def test_selection(file, selection, kept):
    assert np.array_equal(column(file, "m4l", selection), (100 + I)[kept])


def test_branch_names_that_are_no_python(tmp_path):
    path = write(tmp_path / "odd.root", **{"jet.pt": [1.0, 2.0], "m-4l": [3.0, 4.0]})
    assert np.array_equal(events(path, "2 * jet.pt", "m-4l").features, [[2, 3], [4, 4]])
    assert np.array_equal(events(path, "get('m-4l') + 1").features, [[4], [5]])


# --- Files


def test_list_and_glob_are_read_in_order_and_each_file_once(tmp_path):
    for name, value in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        write(tmp_path / f"{name}.root", m=[value])
    source = EventSource((str(tmp_path / "c.root"), str(tmp_path / "*.root")), "nominal")
    assert files_of(source) == [str(tmp_path / name) for name in ("c.root", "a.root", "b.root")]
    assert read(source, ["m"]).features.tolist() == [[3.0], [1.0], [2.0]]


def test_file_without_events_adds_nothing(tmp_path):
    write(tmp_path / "a.root", m=np.empty(0))
    write(tmp_path / "b.root", m=[1.0])
    assert len(events(tmp_path / "*.root", "m")) == 1


def test_check_counts_events_and_evaluates_every_expression(file):
    assert check(EventSource((str(file),), "nominal", "w", "njet > 99"), ["log(pt4l)"]) == 60
    for wrong, said in (("pt", "no branch 'pt'"), ("jet_pt", "not one number per event"), ("m4l & w", "no condition")):
        with pytest.raises(InvalidEvents, match=said):
            check(EventSource((str(file),), "nominal", wrong), ["m4l"])


@pytest.mark.parametrize(
    ("branches", "said"),
    [({"m": [1.0]}, "no branch 'n'"), ({"m": [1.0], "n": [0.5]}, "n is no condition"), ({"n": [1]}, "no branch 'm'")],
)
def test_check_finds_the_one_file_that_is_not_as_the_others(tmp_path, branches, said):
    for i in range(5):
        write(tmp_path / f"f{i}.root", m=[1.0, 2.0], n=[0, 1])
    odd = write(tmp_path / "f3.root", **branches)
    with pytest.raises(InvalidEvents, match=said) as error:
        check(EventSource((str(tmp_path / "*.root"),), "nominal", selection="~n & (m > 0)"), ["m"])
    assert str(odd) in str(error.value)


def test_check_parses_aliases_that_nothing_uses(tmp_path):
    path = write(tmp_path / "f.root", m=[1.0])
    others = (("a", "log(branch_of_another_tree)"), ("b", "m +"))
    assert check(EventSource((str(path),), "nominal", aliases=others[:1]), ["m"]) == 1
    with pytest.raises(InvalidEvents, match="alias 'b': 'm \\+': is no expression"):
        check(EventSource((str(path),), "nominal", aliases=others), ["m"])


def test_provenance_has_size_and_hash_of_each_file_once(file):
    source = EventSource((str(file),), "nominal")
    content = file.read_bytes()
    expected = {"file": str(file), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert provenance([source, EventSource((str(file),), "scale_up")]) == [expected]


def test_another_format_is_a_reader_registered_for_its_suffix(tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, ".txt", open_columns)
    path = tmp_path / "events.txt"
    path.write_text("nominal m w\n91 0.5\n125 0.5\n126 1\n")
    source = EventSource((str(path),), "nominal", "2 * w", "m > 100")
    assert read(source, ["m / 100"]).features[:, 0] == pytest.approx([1.25, 1.26])
    assert read(source, ["m"]).weights.tolist() == [1.0, 2.0]
    assert check(source, ["m"]) == 3
    assert only_tree(path) == "nominal"
    assert tree_of(tmp_path / "other.txt:nominal") == (str(tmp_path / "other.txt"), "nominal")
    with pytest.raises(InvalidEvents, match="no branch 'mm'; did you mean 'm'"):
        read(source, ["mm"])


# --- Bad input


def test_missing_file_has_a_near_miss():
    assert "no such file; did you mean 'ttree.root'" in message(DATA / "tree.root")
    assert "no such file; check the path" in message("nowhere/tree.root")


def test_empty_glob():
    assert "no file matches" in message(DATA / "x*.root")


def test_folder_instead_of_file():
    assert "is a folder" in message(DATA)


def test_source_without_files():
    with pytest.raises(InvalidEvents, match="no files"):
        files_of(EventSource((), "nominal"))


def test_not_a_root_file(tmp_path):
    path = tmp_path / "text.root"
    path.write_text("hello, this is text")
    assert "not a ROOT file" in message(path)
    path.write_bytes(b"")
    assert "empty" in message(path)


@pytest.mark.parametrize("part", [0.0005, 0.02, 0.1, 0.5, 0.9, 0.9999])
def test_truncated_file(file, part, tmp_path):
    content = file.read_bytes()
    path = tmp_path / "short.root"
    path.write_bytes(content[: max(int(part * len(content)), 6)])
    assert "truncated" in message(path)


def test_damaged_file(file, tmp_path):
    content = bytearray(file.read_bytes())
    content[300:-300] = bytes(len(content) - 600)
    path = tmp_path / "zeros.root"
    path.write_bytes(content)
    text = message(path)
    assert "cannot be read" in text or "no trees at all" in text


def test_damaged_branch(tmp_path):
    path = write(tmp_path / "flipped.root", m=np.random.default_rng(0).integers(0, 9, 10_000))
    content = bytearray(path.read_bytes())
    start = content.index(b"ZL\x08") + 9
    content[start : start + 50] = bytes(50)
    path.write_bytes(content)
    assert "cannot be read" in message(path, "m")


def test_missing_tree_has_a_near_miss_or_the_list(file):
    assert "no tree 'nominl'; did you mean 'nominal'?" in message(file, tree="nominl")
    assert "nominal, scale_up" in message(file, tree="xyz")


def test_object_that_is_no_tree():
    assert "'cutflow' is a TH1F, no tree" in message(DATA / "ttree.root", tree="cutflow")


def test_missing_branch_has_a_near_miss_or_the_list(file):
    assert "no branch 'jetpt'; did you mean 'jet_pt'" in message(file, "jetpt[:, 0]")
    assert "no branch 'M4L'; did you mean 'm4l'" in message(file, weight="M4L")
    assert "choose from bad, cells, charge" in message(file, selection="zzz > 1")


def test_no_event_selected_says_how_many_there_were(file):
    assert "'njet > 10' keeps none of 60 events" in message(file, selection="njet > 10")


def test_tree_without_events(tmp_path):
    assert "has no events" in message(write(tmp_path / "empty.root", m=np.empty(0)), "m")


def test_not_finite_is_counted_after_the_selection(file):
    assert "feature 'bad' is not finite for 3 of 60" in message(file, "bad")
    assert "weight 'bad' is not finite for 3 of 45" in message(file, weight="bad", selection="njet > 0")
    assert len(events(file, "bad", weight="bad", selection="isfinite(bad)")) == 57


def test_feature_beyond_float32_is_not_finite(file):
    assert "not finite for 60 of 60" in message(file, "m4l * 1e300")


def test_vector_is_not_one_number_per_event(file):
    assert "'jet_pt' is not one number per event but 60 * var * float64" in message(file, "jet_pt")
    assert "selection 'jet_pt > 3' is not one number per event" in message(file, selection="jet_pt > 3")


def test_missing_entry_of_a_vector(file):
    assert "select events that have it" in message(file, "jet_pt[:, 0]")
    assert "feature 'max(jet_pt)' is not finite for 15 of 60" in message(file, "max(jet_pt)")


@pytest.mark.parametrize("expression", ["m4l[0]", "jet_pt[0]", "jet_pt[1:]", "jet_pt[njet > 2]", "jet_pt[3, 0]"])
def test_index_that_would_choose_events(file, expression):
    assert "the first index runs over the events" in message(file, expression)


@pytest.mark.parametrize("expression", ["sum(jet_pt, axis=0)", "num(jet_pt, axis=-2)", "sort(cells, axis=0)"])
def test_reduction_over_events(file, expression):
    assert "cannot run over events" in message(file, expression)


@pytest.mark.parametrize("expression", ["sum(m4l)", "max(m4l)", "sort(m4l)"])
def test_reduction_of_one_number_per_event(file, expression):
    assert "needs a vector" in message(file, expression)


def test_text_is_no_number(file):
    assert "'label' is text; compare it, as in label ==" in message(file, "label")


def test_selection_that_is_no_condition(file):
    assert "is no condition" in message(file, selection="m4l")


@pytest.mark.parametrize("expression", ["sqrt(m4l", "m4l && njet", "m4l; njet", "", "x\x00y", "-" * 9999 + "m4l"])
def test_syntax_error(file, expression):
    assert "is no expression" in message(file, expression)


@pytest.mark.parametrize(
    "selection", ["njet > 1 & is_tight", "is_tight & njet > 1", "1 < njet < 3", "njet > 1 and is_tight"]
)
def test_conditions_that_python_groups_otherwise(file, selection):
    assert "each in parentheses" in message(file, selection=selection)


def test_unknown_function_has_a_near_miss(file):
    assert "no function 'sqroot'; did you mean 'sqrt'" in message(file, "np.sqroot(m4l)")


def test_operation_that_fails(file):
    assert "is not finite for 60 of 60" in message(file, "9**9**9**9**9")
    assert "m4l is no condition; compare it" in message(file, "m4l & njet")
    assert "combines vectors that have not as many elements" in message(file, "jet_pt[:, :1] + jet_pt")


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "m4l.__class__",
        "().__class__.__bases__[0]",
        "(lambda: 1)()",
        "[m for m in m4l]",
        "eval('1')",
        "f'{m4l}'",
        "(m := m4l)",
        "max(*jet_pt)",
        "max(jet_pt, **jet_pt)",
        "sum(jet_pt, behavior=1)",
        "ak.from_parquet(m4l)",
        "np.load(m4l)",
        "jet_pt[:, njet]",
        "m4l if njet else m4l",
        "'m4l'",
    ],
)
def test_expression_runs_no_other_python(file, expression):
    assert repr(expression) in message(file, expression)
