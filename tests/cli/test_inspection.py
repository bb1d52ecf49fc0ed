"""Inspection finds what is in a model, and what will limit it."""

from __future__ import annotations

from neyman.cli import inspection
from neyman.inputs.workspace import Workspace

SAMPLE = {"name": "background", "data": [50.0, 60.0], "modifiers": [
    {"name": "mu", "type": "normfactor", "data": None},
    {"name": "lumi", "type": "lumi", "data": None},
    {"name": "free_shape", "type": "shapesys", "data": [5.0, 12.0]},
]}  # fmt: skip
LUMI = {"name": "lumi", "inits": [1.0], "bounds": [[0.9, 1.1]], "auxdata": [1.01], "sigmas": [0.02]}


def a_workspace(observed: bool = True) -> Workspace:
    return Workspace({
        "version": "1.0.0",
        "channels": [{"name": "CR", "samples": [SAMPLE]}],
        "observations": [{"name": "CR", "data": [52.0, 58.0]}] if observed else [],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": [LUMI]}}],
    })  # fmt: skip


def test_a_binned_channel_is_described() -> None:
    found = inspection.of_workspace(a_workspace())
    (channel,) = found["channels"]
    assert (channel["bins"], channel["observed"], channel["samples"][0]["yield"]) == (2, 110.0, 110.0)
    assert found["warnings"] == []
    text = inspection.text(found)
    rows = [line.split() for line in text.splitlines()]
    assert ["lumi", "1", "0.9", "to", "1.1", "1.01", "+/-", "0.02"] in rows
    assert "background    110  mu (normfactor), lumi (lumi), free_shape (shapesys)" in text


def test_missing_observations_are_a_warning() -> None:
    found = inspection.of_workspace(a_workspace(observed=False))
    assert "warning: there are no observations" in inspection.text(found)
