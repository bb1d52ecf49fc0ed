"""Datasets as values: what they say of themselves."""

from __future__ import annotations

from neyman import Ensemble, Events

OBSERVED = Ensemble({"SR": Events([[125.0], [91.2]], [1.0, 0.5])}, {"CR": [62.0, 48.0]}, [1.0, 0.25])


def test_an_ensemble_says_what_each_channel_has() -> None:
    assert repr(OBSERVED) == "Ensemble(SR: 2 events of total weight 1.5, CR: 2 bins of total 110)"


def test_a_notebook_shows_a_table_of_the_channels() -> None:
    html = OBSERVED._repr_html_()
    assert "dataset, auxiliary data 1, 0.25" in html
    assert "<tr><td>SR</td><td>2 events</td><td>1.5</td></tr><tr><td>CR</td><td>2 bins</td><td>110</td></tr>" in html
    assert "auxiliary data nominal" in Ensemble({"SR": Events([[1.0]])})._repr_html_()
