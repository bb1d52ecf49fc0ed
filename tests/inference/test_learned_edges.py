"""Learned channels at the edges of the likelihood: no background for their events, no events at all."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

import neyman
from neyman.exceptions import InvalidParameter
from neyman.inference.observed import asimov_data
from neyman.model.pool import MixtureSummary


@pytest.fixture
def alone(trained: neyman.Model) -> tuple[neyman.Model, neyman.Model]:
    """Return a model whose background has a yield of zero in the learned channel, and the same with counts for events.

    The signal's shape has no systematics: its events say nothing more than their number does.
    """
    spec = copy.deepcopy(trained.spec)
    [channel] = [one for one in spec["channels"] if one["name"] == "SR"]
    [background] = [one for one in channel["samples"] if one["name"] == "background"]
    background["data"] = [0.0]
    return neyman.Model(spec, trained.learned, poi_name="mu"), neyman.Model(spec, {}, poi_name="mu")


@pytest.mark.parametrize("n", [0, 5])
def test_without_background_the_limit_is_that_of_the_counts(alone: tuple[neyman.Model, ...], n: int) -> None:
    model, counted = alone
    events = neyman.Events(np.random.default_rng(0).normal([1.0, -1.0], 1.0, size=(n, 2)))
    data = model.data(neyman.Ensemble({"SR": events}, {"CR": [205, 148]}))
    counts = counted.data(neyman.Ensemble(counts={"SR": [n], "CR": [205, 148]}))
    found, expected = neyman.limit(data, model), neyman.limit(counts, counted)
    assert found.observed == pytest.approx(expected.observed, rel=1e-3)
    np.testing.assert_allclose(found.expected, expected.expected, rtol=1e-3)


def test_events_without_background_are_a_discovery_and_the_channel_is_named(alone: tuple[neyman.Model, ...]) -> None:
    model, _ = alone
    data = model.data(neyman.Ensemble({"SR": neyman.Events([[1.0, -1.0]])}, {"CR": [205, 148]}))
    result = neyman.significance(data, model)
    assert result.significance == np.inf
    assert "channel SR has 1 event and an expected rate of 0" in result.message


def test_toys_without_signal_are_empty_where_there_is_no_background(alone: tuple[neyman.Model, ...]) -> None:
    model, _ = alone
    assert neyman.toys({"mu": 0.0}, model, 20).main[:, model.config.channel_slices["SR"]].max() == 0.0
    data = model.data(neyman.Ensemble({"SR": neyman.Events(np.empty((0, 2)))}, {"CR": [200, 150]}))
    found = neyman.cls(0.05, data, model, calibration="toys", n_toys=400)
    assert found.observed == pytest.approx(np.exp(-0.05 * 40.0), rel=4.0 / np.sqrt(0.135 * 400))  # four binomial errors


def test_no_asimov_data_exist_where_a_rate_is_negative(trained: neyman.Model) -> None:
    pars = np.array(trained.config.suggested_init())
    pars[trained.config.par_names.index("norm")] = -1.0
    with pytest.raises(InvalidParameter, match=r"channel CR, bin 1: the expected rate is -200 at .*norm = -1"):
        asimov_data(trained, pars)


def test_asimov_data_have_no_events_where_the_density_is_zero(trained: neyman.Model) -> None:
    """Without signal its score is not zero then but negative: the signal's events there are missing."""
    channel = copy.copy(trained.learned["SR"])
    background, encode = channel.samples.index("background"), channel.encode

    def cut(events: neyman.Events) -> MixtureSummary:
        summary = encode(events)
        ratios = summary.ratios.copy()
        ratios[background, events.features[:, 0] > 2.5] = 0.0  # as a softmax does that underflows
        return dataclasses.replace(summary, ratios=ratios)

    channel.encode = cut
    model = neyman.Model(trained.spec, {"SR": channel}, poi_name="mu")
    pars = np.array(model.config.suggested_init())
    pars[model.config.poi_index] = 0.0
    data = model.expected_data(pars)
    assert model.ensemble(data).events["SR"].features[:, 0].max() < 2.5
    gradient = model.evaluate(pars, data)[1]
    np.testing.assert_allclose(np.delete(gradient, model.config.poi_index), 0.0, atol=1e-5)
    assert -40.0 < gradient[model.config.poi_index] < -1.0
    assert neyman.limit(data, model).observed > 0.0
