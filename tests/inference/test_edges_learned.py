"""Edges of learned likelihoods: where the density of a mixture is negative at an event, there is no support."""

from __future__ import annotations

import numpy as np
import pytest

import neyman
from neyman.exceptions import FailedFit

WIDE = {"mu": (-50.0, 50.0)}


def test_a_fit_begins_and_ends_where_the_density_is_positive(model: neyman.Model) -> None:
    expected = neyman.fit(model.observed, model, bounds=WIDE, minos="mu")
    assert expected.valid
    for start in (-40.0, 40.0):
        result = neyman.fit(model.observed, model, init={"mu": start}, bounds=WIDE)
        assert result.twice_nll == pytest.approx(expected.twice_nll, abs=1e-3)


def test_a_scan_is_infinite_where_the_density_of_an_event_is_negative(model: neyman.Model) -> None:
    scan = neyman.scan(model.observed, model, "mu", [-40.0, 0.5, 1.0], bounds=WIDE)
    assert np.isfinite(scan.delta_twice_nll).tolist() == [False, True, True]


def test_minos_ends_where_the_density_does(model: neyman.Model) -> None:
    # a few events of the signal alone, held against a background that hardly has them: the norm cannot help
    events = neyman.Events(np.array([[1.0, -1.0], [1.1, -0.9]], dtype=np.float32), np.ones(2))
    data = model.data(neyman.Ensemble({"SR": events}, {"CR": [1.0, 1.0]}))
    fixed = {"norm": 0.01, "scale": 0.0, "lumi": 1.0}
    result = neyman.fit(data, model, bounds=WIDE, fixed=fixed, minos="mu")
    down, up = result.minos["mu"]
    for side in (down, up):
        rise = neyman.fit(data, model, fixed={**fixed, "mu": result["mu"] + side}).twice_nll - result.twice_nll
        assert rise == pytest.approx(1.0, abs=1e-2)


def test_without_support_channel_and_sample_are_named(model: neyman.Model) -> None:
    with pytest.raises(FailedFit, match="channel SR"):
        neyman.fit(model.observed, model, fixed={"mu": -40.0, "norm": 7.0}, bounds=WIDE)
    with pytest.raises(
        FailedFit, match=r"channel SR has .* where no density is expected; its sample signal has a rate of -79"
    ):
        neyman.fit(model.observed, model, fixed={"mu": -2.0}, bounds={"norm": (0.5, 0.6), **WIDE})
