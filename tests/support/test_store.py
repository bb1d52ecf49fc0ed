"""A checkpoint of toys is continued by what it was made for, and refused by everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neyman
from neyman.exceptions import NeymanError
from neyman.support.store import Store


def counting(background: float = 3.0, bound: float = 30.0) -> neyman.Model:
    """A counting experiment: signal of mu events, signal of tau events, known background."""
    samples = [
        {"name": name, "data": [1.0], "modifiers": [{"name": poi, "type": "normfactor", "data": None}]}
        for name, poi in (("signal", "mu"), ("other", "tau"))
    ]
    samples.append({"name": "background", "data": [background], "modifiers": []})
    parameters = [{"name": "mu", "bounds": [[0.0, bound]], "inits": [1.0]}]
    return neyman.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}, {}, poi_name="mu")


def test_a_checkpoint_is_continued_by_what_it_was_made_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "toys", counting(), {"seed": 1, "point": np.array([1.0])})
    store["first"] = np.array([1.0, np.nan])
    store.save()
    again = Store(tmp_path / "toys", counting(), {"seed": 1, "point": np.array([1.0])})
    assert "second" not in again
    np.testing.assert_array_equal(again["first"], [1.0, np.nan])


def with_poi(name: str) -> neyman.Model:
    model = counting()
    model.config.set_poi(name)
    return model


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (counting(background=4.0), ["seed", 1]),
        (counting(bound=20.0), ["seed", 1]),
        (with_poi("tau"), ["seed", 1]),
        (counting(), ["seed", 2]),
    ],
)
def test_a_checkpoint_of_another_model_or_of_other_settings_is_refused(
    tmp_path: Path, model: neyman.Model, settings: Any
) -> None:
    Store(tmp_path / "toys", counting(), ["seed", 1]).save()
    with pytest.raises(NeymanError, match=r"toys: a checkpoint of other toys .*: name another"):
        Store(tmp_path / "toys", model, settings)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toys").write_text("not mine")
    with pytest.raises(NeymanError, match=r"toys: not a checkpoint of toys.*: delete it, or name another"):
        Store(tmp_path / "toys", counting(), [])


def test_settings_that_cannot_be_compared_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="which cannot be compared"):
        Store(tmp_path / "toys", counting(), [object()])


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    store = Store(None, counting(), [])
    store["first"] = np.zeros(1)
    store.save()
    assert list(tmp_path.iterdir()) == []
