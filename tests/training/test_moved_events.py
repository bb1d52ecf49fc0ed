"""Events that a variation moves across the selection: their number changes, and no event has a partner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import uproot
from scipy.stats import norm

import neyman

N, YIELD, MOVE = 20_000, 300.0, 0.3
KEPT = {side: norm.sf(-MOVE * side) for side in (-1, 0, 1)}  # shares of the events that a cut at zero keeps


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> neyman.Workspace:
    folder, rng = tmp_path_factory.mktemp("moved"), np.random.default_rng(3)
    with uproot.recreate(folder / "events.root") as file:
        file["background"] = {"pt": rng.normal(size=N)}
        file["signal"] = {"pt": rng.normal(2.0, 0.5, size=N)}
    events = {"files": "events.root", "selection": "pt > 0"}
    moved: dict[str, Any] = {
        "name": "scale", "type": "histosys",
        "data": {"hi": {"branches": {"pt": f"pt + {MOVE}"}}, "lo": {"branches": {"pt": f"pt - {MOVE}"}}},
    }  # fmt: skip
    mu = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "events": {"tree": "signal", "weight": f"{50.0 / N}"}, "modifiers": [mu]},
        {"name": "background", "events": {"tree": "background", "weight": f"{YIELD / N}"}, "modifiers": [moved]},
    ]
    network = {"hidden": [16], "folds": 2, "epochs": 6, "minimum_steps": 600}
    channel = {"name": "SR", "features": ["pt"], "events": events, "network": network, "samples": samples}
    measurement = {"name": "m", "config": {"poi": "mu", "parameters": []}}
    return neyman.Workspace({"version": "1.0.0", "channels": [channel], "measurements": [measurement]}, folder)


def test_the_number_that_the_selection_keeps_is_an_effect_on_the_yield(workspace: neyman.Workspace) -> None:
    simulation = workspace.simulation("SR")
    hi, lo = simulation.variations["background"]["scale"]
    assert hi is not None
    assert lo is not None
    assert len(hi) > len(simulation.samples["background"]) > len(lo)
    rows = {row.variation: row for row in workspace.cutflow().rows if row.sample == "background"}
    assert [rows[one].selected for one in ("scale hi", None, "scale lo")] == [
        len(hi), len(simulation.samples["background"]), len(lo)
    ]  # fmt: skip
    [modifier] = workspace.spec()["channels"][0]["samples"][1]["modifiers"]
    assert modifier["type"] == "normsys"
    for name, side in (("hi", 1), ("lo", -1)):
        # the same events as in the nominal sample but for those that cross: their number is Poisson's
        error = np.sqrt(N * abs(KEPT[side] - KEPT[0])) / (N * KEPT[0])
        assert modifier["data"][name] == pytest.approx(KEPT[side] / KEPT[0], abs=4 * error)


def test_their_shape_is_learned(workspace: neyman.Workspace) -> None:
    model = neyman.train(workspace, seed=2)
    channel = model.learned["SR"]
    x = np.linspace(0.1, 2.0, 39)[:, None]
    summary = channel.encode(neyman.Events(x))
    nominal, *varied = (channel.densities(summary, np.array([side]))[1] for side in (0.0, 1.0, -1.0))
    for found, side in zip(varied, (1, -1), strict=True):
        # that of a normal distribution that moves, cut at zero, where only the number of events is cut
        exact = side * MOVE * x[:, 0] - 0.5 * MOVE**2 - np.log(KEPT[side] / KEPT[0])
        # the effect is 0.2 r.m.s.; 10,000 events a class know their ratio to 0.02
        assert np.sqrt(np.mean((np.log(found / nominal) - exact) ** 2)) < 0.06
