"""The document on its page, as it is printed there, on files that have its branches."""

from __future__ import annotations

import re
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

import neyman

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "document.md"
TREES = {
    "signal.root": {"nominal": 0.0, "scale_up": 1.0, "scale_down": -1.0},
    "bkg_z.root": {"nominal": 0.0},
    "bkg_w.root": {"nominal": 0.0},
    "data.root": {"nominal": 0.0},
}


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """Write the files that the document names, and the document."""
    rng = np.random.default_rng(0)
    for file, trees in TREES.items():
        with uproot.recreate(tmp_path / file) as root:
            for tree, shift in trees.items():
                columns = events(
                    400 if file == "data.root" else 1200, 125.0 if file == "signal.root" else 60.0, shift, rng
                )
                root.mktree(tree, {name: ak.type(ak.Array(values)).content for name, values in columns.items()})
                root[tree].extend(columns)
    [text] = re.findall(r":caption: analysis.yaml\n\n((?:.*\n)+?)```", PAGE.read_text(encoding="utf-8"))
    (tmp_path / "analysis.yaml").write_text(text)
    return tmp_path / "analysis.yaml"


def events(n: int, mass: float, shift: float, rng: np.random.Generator) -> dict[str, ak.Array | np.ndarray]:
    number = rng.poisson(2.0, n)
    jet = ak.unflatten(20 + rng.exponential(40, number.sum()), number)
    return {
        "mass": np.abs(rng.normal(mass + shift, 20.0, n)),
        "costheta": rng.uniform(-1, 1, n),
        "w": np.full(n, 0.1),
        "w_pdf_up": rng.normal(0.1, 0.005, n),
        "trigger": rng.integers(0, 2, n, dtype=np.int32),
        "njet": number.astype(np.int32),
        "jet_pt": jet,
        "jet_pt_up": jet * 1.02,
        "jet_eta": ak.unflatten(rng.normal(0, 1.5, number.sum()), number),
    }


def test_it_is_valid_and_is_trained_and_fitted(document: Path) -> None:
    workspace = neyman.Workspace.load(document)
    workspace.validate()
    assert workspace.features("SR") == ["mass", "log pt", "costheta"]
    spec = workspace.document
    spec["channels"][0]["network"] = {"folds": 2, "epochs": 1, "minimum_steps": 20}
    model = neyman.train(neyman.Workspace(spec, document.parent), seed=0)
    assert {"jes", "lumi", "pdf", "scale", "mu", "xsec"} == set(model.config.par_names)
    assert neyman.fit(model.observed, model).valid
