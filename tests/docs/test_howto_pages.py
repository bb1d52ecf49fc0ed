"""The how-to pages: every YAML block is part of a valid document, on files with its branches; tables say the truth.

The caption of a block says what part of a document it is: a whole one, or keys of a channel, a sample and so on, which
are put into one that is valid without them.
"""

from __future__ import annotations

import copy
import io
import json
import re
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from ruamel.yaml import YAML

import neyman
from neyman.exceptions import InvalidEvents

PAGES = Path(__file__).parents[2] / "docs" / "howto"
BLOCK = re.compile(r"^```\{code-block\} yaml\n:caption: (?P<part>.+)\n\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
ROW = re.compile(r"^\| `(?P<theirs>[^`]+)` \| `(?P<ours>[^`]+)` \|", re.MULTILINE)

BASE: dict[str, Any] = {
    "version": "1.0.0",
    "channels": [
        {
            "name": "SR",
            "features": ["mass", "costheta"],
            "events": {"tree": "nominal", "weight": "w"},
            "samples": [
                {
                    "name": "signal",
                    "events": {"files": "signal.root"},
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                },
                {"name": "background", "events": {"files": "bkg_*.root"}, "modifiers": []},
            ],
        }
    ],
    "observations": [{"name": "SR", "events": {"files": "data.root"}}],
    "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
}


def events(n: int, mass: float, rng: np.random.Generator) -> dict[str, ak.Array | np.ndarray]:
    number = rng.poisson(2.0, n)

    def of_jets(values: np.ndarray) -> ak.Array:
        return ak.unflatten(values, number)

    jets = number.sum()
    return {
        "mass": np.abs(rng.normal(mass, 20.0, n)),
        "costheta": rng.uniform(-1, 1, n),
        "met": rng.exponential(40, n),
        "met_phi": rng.uniform(-np.pi, np.pi, n),
        "w": np.full(n, 0.1),
        "w_pdf_up": rng.normal(0.1, 0.005, n),
        "w_pdf_down": rng.normal(0.1, 0.005, n),
        "pileup": rng.normal(1.0, 0.05, n),
        "trigger": rng.integers(0, 2, n, dtype=np.int32),
        "flags": rng.integers(0, 16, n, dtype=np.int32),
        "njet": number.astype(np.int32),
        "jet_pt": of_jets(jet_pt := 20 + rng.exponential(40, jets)),
        "jet_pt_up": of_jets(1.02 * jet_pt),
        "jet_pt_down": of_jets(0.98 * jet_pt),
        "jet_eta": of_jets(rng.normal(0, 1.5, jets)),
        "jet_phi": of_jets(rng.uniform(-np.pi, np.pi, jets)),
        "jet_m": of_jets(np.full(jets, 5.0)),
        "jet_id": of_jets(rng.integers(0, 4, jets, dtype=np.int32)),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write files with all branches that the pages name."""
    folder, rng = tmp_path_factory.mktemp("howto"), np.random.default_rng(0)
    trees = dict.fromkeys(("signal", "bkg_z", "bkg_w"), ("nominal", "scale_up", "scale_down"))
    trees |= {"signal_toys": ("nominal",), "toys_z": ("nominal",), "data": ("nominal",)}
    trees["interference"] = ("S", "I", "SBI", "B")
    for file, names in trees.items():
        with uproot.recreate(folder / f"{file}.root") as root:
            for tree in names:
                columns = events(600, 125.0 if file.startswith("signal") else 80.0, rng)
                if tree == "I":
                    columns["w"] = np.where(columns["mass"] < 90, -0.1, 0.1)
                root.mktree(tree, {name: ak.type(ak.Array(values)).content for name, values in columns.items()})
                root[tree].extend(columns)
    return folder


def blocks() -> list[Any]:
    """Return every YAML block of the pages, by page and number."""
    found = []
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        matches = list(BLOCK.finditer(text))
        assert len(matches) == len(re.findall(r"^```.*yaml", text, re.MULTILINE)), (
            f"{page.name}: a block has no caption"
        )
        found += [pytest.param(m["part"], m["text"], id=f"{page.stem}-{k}") for k, m in enumerate(matches)]
    return found


def document(part: str, text: str) -> dict[str, Any]:
    """Return a document that has the keys of a block where its caption says they belong."""
    keys = json.loads(json.dumps(YAML(typ="safe", pure=True).load(io.StringIO(text))))
    whole = copy.deepcopy(BASE)
    [channel], [measurement], [observation] = whole["channels"], whole["measurements"], whole["observations"]
    signal, background = channel["samples"]
    if part == "analysis.yaml":
        return keys
    if part == "the document":
        return whole | keys
    if part == "another channel":
        whole["channels"].append(keys)
    elif part == "modifiers of a sample":
        background["modifiers"] = keys
    elif part == "modifiers of a channel's samples":
        background["modifiers"] = keys
        signal["modifiers"] += keys
    else:
        {"a channel": channel, "a sample": background, "an observation": observation,
         "a measurement": measurement["config"]}[part].update(keys)  # fmt: skip
    return whole


@pytest.mark.parametrize(("part", "text"), blocks())
def test_every_example_is_part_of_a_valid_document(part: str, text: str, folder: Path) -> None:
    workspace = neyman.Workspace(document(part, text), folder)
    workspace.validate()


@pytest.mark.parametrize(
    ("theirs", "ours"), [match.groups() for match in ROW.finditer((PAGES / "expressions.md").read_text("utf-8"))]
)
def test_what_is_written_elsewhere_is_an_error_that_says_how_it_is_written_here(
    theirs: str, ours: str, folder: Path
) -> None:
    def validate(selection: str) -> None:
        channel = json.dumps({"events": {"tree": "nominal", "weight": "w", "selection": selection}})
        neyman.Workspace(document("a channel", channel), folder).validate()

    theirs, ours = (text.replace(r"\|", "|") for text in (theirs, ours))  # as tables have it
    validate(ours)
    with pytest.raises(InvalidEvents) as error:
        validate(theirs)
    assert ours in str(error.value)
