"""A file of arrays comes back as it was, and one that is not right is refused with its name and the reason."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from neyman.exceptions import InvalidParameter
from neyman.support.archives import Archive

TABLE = Archive("table", InvalidParameter, "make one with table()", format=3, oldest=2)


def test_header_arrays_and_weights_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"a/x": np.arange(6, dtype=np.int16).reshape(2, 3), "empty": np.empty((0, 2))}
    TABLE.write(tmp_path / "table", {"low": -np.inf}, arrays, {"w": torch.arange(3.0)})
    with TABLE.read(tmp_path / "table") as content:
        assert content.header == {"low": -np.inf}
        assert content.format == 3
        assert content.arrays["a/x"].dtype == np.int16
        np.testing.assert_array_equal(content.arrays["a/x"], arrays["a/x"])
        assert content.arrays["empty"].shape == (0, 2)
        assert torch.equal(content.weights["w"], torch.arange(3.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 4}, "format 4, but this version reads up to 3: upgrade neyman"),
        ({"format": 1}, r"written by an earlier version of neyman: make one with table\(\)"),
        ({"kind": "chair"}, "a chair, not a table"),
        ({"arrays": ["a", "b"]}, "b.npy is missing"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    TABLE.write(tmp_path / "right", {}, {"a": np.zeros(1)})
    with zipfile.ZipFile(tmp_path / "right") as source, zipfile.ZipFile(tmp_path / "wrong", "w") as target:
        target.writestr("neyman.json", json.dumps({**json.loads(source.read("neyman.json")), **change}))
        target.writestr("a.npy", source.read("a.npy"))
    with pytest.raises(InvalidParameter, match=rf"wrong: .*{message}"), TABLE.read(tmp_path / "wrong"):
        pass


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="a folder, not a table"), TABLE.read(tmp_path):
        pass
    with pytest.raises(InvalidParameter, match=r"no such table; make one"), TABLE.read(tmp_path / "none"):
        pass
