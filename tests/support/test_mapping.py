"""Large arrays are mapped from their file: the same numbers, read-only, and named in pickles rather than copied."""

from __future__ import annotations

import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neyman.exceptions import InvalidParameter
from neyman.support.archives import Archive
from neyman.support.mapping import NotMapped, dumps, loads
from neyman.support.tasks import run

TABLE = Archive("table", InvalidParameter, "make one with table()", mapped=True)

LARGE = np.arange(400_000, dtype=np.float32).reshape(4, -1)


def write(path: Path, **arrays: Any) -> Path:
    TABLE.write(path, {}, arrays)
    return path


def read(path: Path) -> dict[str, Any]:
    with TABLE.read(path) as content:
        return dict(content.arrays)


@pytest.mark.parametrize(
    "array", [LARGE, np.asfortranarray(LARGE), LARGE.astype(">i8"), LARGE[:, :3]], ids=["C", "Fortran", ">i8", "small"]
)
def test_an_array_comes_back_as_it_was(tmp_path: Path, array: Any) -> None:
    found = read(write(tmp_path / "table", ä=array, other=LARGE))["ä"]
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, found.flags.f_contiguous) == (array.dtype, array.flags.f_contiguous)


def test_a_large_array_is_aligned_and_cannot_be_written_to(tmp_path: Path) -> None:
    found = read(write(tmp_path / "table", first=LARGE[:, :7], large=LARGE))["large"]
    assert found.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        found[:] = 0.0


def test_a_file_that_is_replaced_leaves_the_array_as_it_was(tmp_path: Path) -> None:
    found = read(write(tmp_path / "table", large=LARGE))["large"]
    write(tmp_path / "table", large=LARGE + 1)
    np.testing.assert_array_equal(found, LARGE)
    np.testing.assert_array_equal(read(tmp_path / "table")["large"], LARGE + 1)


def test_files_of_other_writers_are_read(tmp_path: Path) -> None:
    write(tmp_path / "table", large=LARGE)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with (
            zipfile.ZipFile(tmp_path / "table") as source,
            zipfile.ZipFile(tmp_path / "again", "w", method) as target,
        ):
            for name in source.namelist():
                target.writestr(name, source.read(name))
        np.testing.assert_array_equal(read(tmp_path / "again")["large"], LARGE)


@pytest.mark.parametrize("keep", [0.2, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    content = write(tmp_path / "table", large=LARGE).read_bytes()
    (tmp_path / "table").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InvalidParameter, match="truncated or corrupt"):
        read(tmp_path / "table")


def test_an_array_that_claims_more_than_its_member_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "table", large=LARGE)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(4, 100000)", b"(9, 100000)"))
    with pytest.raises(InvalidParameter, match=r"large\.npy is no array of numbers of the size of the member"):
        read(path)


def test_python_objects_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "table", large=LARGE)
    path.write_bytes(path.read_bytes().replace(b"'<f4'", b"'|O' "))
    with pytest.raises(InvalidParameter, match=r"large\.npy is no array of numbers"):
        read(path)


# -- pickles


def test_a_pickle_names_the_array_where_the_file_is(tmp_path: Path) -> None:
    found = read(write(tmp_path / "table", large=LARGE))["large"]
    pickled = dumps({"large": found, "part": found[1], "copy": found.copy()})
    assert len(dumps(found)) < 1000 < len(pickle.dumps(found))
    again = loads(pickled)
    for key, expected in (("large", LARGE), ("part", LARGE[1]), ("copy", LARGE)):
        np.testing.assert_array_equal(again[key], expected)


def test_without_that_very_file_it_is_not_mapped(tmp_path: Path) -> None:
    path = write(tmp_path / "table", large=LARGE)
    pickled = dumps(read(path)["large"])
    write(path, large=LARGE + 1)
    with pytest.raises(NotMapped, match="table: another file"):
        loads(pickled)
    path.unlink()
    with pytest.raises(NotMapped, match="No such file"):
        loads(pickled)


def row(array: Any, number: int) -> float:
    return float(array[number].sum())


@pytest.mark.parametrize("here", [True, False])
def test_workers_have_the_array_whether_they_see_the_file_or_not(tmp_path: Path, here: bool) -> None:
    path = write(tmp_path / "table", large=LARGE)
    found = read(path)["large"]
    if not here:
        path.unlink()
    with ThreadPoolExecutor(2) as executor:
        assert sorted(run(row, found, [0, 1, 2, 3], executor)) == [(k, float(LARGE[k].sum())) for k in range(4)]
