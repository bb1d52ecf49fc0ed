"""Data that the simulation has nothing like are pointed out, and data that it has are not."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import neyman
from neyman.events import Events
from neyman.model.ranges import FeatureRanges
from neyman.results import from_json

NAMES = ["pt", "njet", "id", "eta", "m"]


def events(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pt = np.where(rng.random(n) < 0.2, -999.0, rng.exponential(50.0, n))
    mass = np.round(rng.normal(91.0, 5.0, n), 1)
    columns = [pt, rng.poisson(2.0, n), rng.choice([-13, -11, 11, 13], n), rng.normal(size=n), mass]
    return np.stack(columns, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def ranges() -> FeatureRanges:
    return FeatureRanges.of_samples([Events(events(10_000, 0), np.full(10_000, 0.02)), Events(events(10_000, 1))])


@pytest.mark.parametrize("n", [50, 1000, 50_000])
def test_data_like_the_simulation_give_no_alarm(ranges, n):
    assert not [text for seed in range(2, 22) for text in ranges.warnings("SR", NAMES, Events(events(n, seed)))]


@pytest.mark.parametrize(
    ("feature", "change", "said"),
    [
        ("pt", lambda x, some: np.where(x > 0, 1000 * x, x), "outside the range of the simulation, -999 to"),
        ("m", lambda x, some: x / 1000, "outside the range of the simulation"),
        ("njet", lambda x, some: np.where(some, -1, x), "22 of 200 events have njet outside the range"),
        ("njet", lambda x, some: np.where(some, 2.5, x), "22 of 200 events have njet = 2.5, outside all values"),
        ("id", lambda x, some: np.where(some, 12, x), "22 of 200 events have id = 12, outside all values"),
        ("pt", lambda x, some: np.where(some, -1, x), "22 of 200 events have pt = -1, outside all values"),
        ("eta", lambda x, some: np.where(some, 0.0, x), "22 of 200 events have eta = 0, outside all values"),
        ("eta", lambda x, some: x + 20, "200 of 200 events have eta outside the range"),
    ],
)
def test_other_units_categories_and_sentinels_are_pointed_out(ranges, feature, change, said):
    x = events(200, 30)
    some = np.random.default_rng(31).permutation(200) < 22
    k = NAMES.index(feature)
    x[:, k] = change(x[:, k], some)
    [text] = ranges.warnings("SR", NAMES, Events(x))
    assert text.startswith("channel SR: ")
    assert said in text


def test_data_at_the_edge_of_the_range_are_asked_for_their_units():
    rng = np.random.default_rng(32)
    ranges = FeatureRanges.of_samples([Events(rng.exponential(2.0, size=(20_000, 1)))])
    [text] = ranges.warnings("SR", ["pt"], Events(rng.exponential(0.002, size=(200, 1))))
    assert "is it in other units?" in text


def test_the_ranges_of_a_simulator_come_back_from_a_file(ranges):
    again = FeatureRanges.unpack(ranges.pack())
    assert again is not None
    x = Events(events(200, 33) + np.float32(1e4))
    assert again.warnings("SR", NAMES, x) == ranges.warnings("SR", NAMES, x)
    assert FeatureRanges.unpack({}) is None


def test_a_fit_and_a_limit_warn_and_say_so_in_their_results(model, data, caplog):
    clean = neyman.fit(data, model)
    assert clean.warnings == ()
    assert not caplog.records
    ensemble = model.ensemble(data)
    shifted = Events(ensemble.events["SR"].features * 1000, ensemble.events["SR"].weights)
    other = model.data(neyman.Ensemble({"SR": shifted}, ensemble.counts, ensemble.auxdata))
    with caplog.at_level(logging.WARNING):
        result = neyman.fit(other, model)
    assert [record.getMessage() for record in caplog.records] == list(result.warnings)
    assert any(text.startswith("channel SR: ") and "have x outside the range" in text for text in result.warnings)
    assert f"warning: {result.warnings[0]}" in repr(result)
    assert from_json(result.to_json()).warnings == result.warnings
    assert neyman.scan(other, model, "mu", points=3).warnings == result.warnings
    for calculated in (neyman.limit, neyman.cls, neyman.significance):
        arguments = (1.0, other, model) if calculated is neyman.cls else (other, model)
        assert calculated(*arguments).warnings == result.warnings
    assert neyman.interval(other, model, calibration="asymptotics").warnings == result.warnings
