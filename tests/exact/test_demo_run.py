"""The demonstration, whole, on a small simulation."""

from __future__ import annotations

import neyman
from neyman import demo


def test_it_leaves_a_model_results_and_figures_and_compares_four_likelihoods(tmp_path):
    found = demo.run(tmp_path, seed=0, events_per_sample=4000)
    assert {"learned", "exact", "binned, mass", "binned, mass in categories"} <= set(found)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"analysis.yaml", "analysis.neyman", "limit.json", "limit.png", "comparison.png", "training.png"} <= names
    learned, exact = found["learned"], found["exact"]
    # 3500 selected events for 300 expected cost about 0.3 sigma, and sigma is 0.35
    assert abs(learned["mu"] - exact["mu"]) < 0.25
    assert abs(learned["expected_limit"] / exact["expected_limit"] - 1) < 0.15
    assert found["binned, mass"]["expected_limit"] > exact["expected_limit"]
    assert "<td>binned, mass</td>" in found._repr_html_()
    assert len(found.plot().axes[0].get_lines()) >= 4
    assert neyman.Model.load(tmp_path / "analysis.neyman").config.poi_name == "mu"
