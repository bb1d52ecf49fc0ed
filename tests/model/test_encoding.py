"""Datasets encoded in parts are those encoded at once, wherever that is done."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

import neyman
from neyman.exceptions import InvalidEnsemble, InvalidEvents
from neyman.inputs import partitions
from neyman.model.mixture import MixtureChannel

DATA = """
version: "1.0.0"
channels:
  - name: SR
    features: [x, y]
    samples: [{name: signal, events: {files: data.root, tree: nominal}, modifiers: []}]
  - {name: CR, samples: [{name: background, data: [1, 1], modifiers: []}]}
observations:
  - {name: SR, events: {files: data.root, tree: nominal}}
  - {name: CR, data: [205, 148]}
measurements: [{name: m, config: {poi: "", parameters: []}}]
"""


def arrays(summary: neyman.Summary) -> list[Any]:
    own = [value for one in summary.channels.values() for value in vars(one).values()]
    return [np.asarray(value).tolist() for value in (summary.main, summary.auxdata, *own)]


@pytest.fixture
def dataset(model: neyman.Model, data: Any) -> neyman.Ensemble:
    return model.ensemble(data)


def test_parts_are_the_same_as_all_at_once(model: neyman.Model, dataset: neyman.Ensemble, data: Any) -> None:
    summary = model.encode(dataset)
    with ThreadPoolExecutor(2) as executor:
        assert arrays(model.encode(dataset, executor=executor)) == arrays(summary)
    pars = model.config.suggested_init()
    # the sums over events that are side by side in memory have other last digits
    assert model.evaluate(pars, summary)[0] == pytest.approx(model.evaluate(pars, data)[0], rel=1e-12)


def test_processes_give_the_same_summary(
    model: neyman.Model, dataset: neyman.Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MixtureChannel, "part", 100)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert arrays(model.encode(dataset, executor=executor)) == arrays(model.encode(dataset))


def test_the_simulation_stays_where_it_is(model: neyman.Model, dataset: neyman.Ensemble) -> None:
    channel = model.learned["SR"].without_simulation()
    assert not hasattr(channel, "pool")
    assert arrays(neyman.Summary(np.zeros(1), np.zeros(1), {"SR": channel.encode(dataset.events["SR"])}, "")) == arrays(
        neyman.Summary(np.zeros(1), np.zeros(1), {"SR": model.learned["SR"].encode(dataset.events["SR"])}, "")
    )


def write(path: Path, dataset: neyman.Ensemble) -> Path:
    x = dataset.events["SR"].features.astype(np.float64)
    with uproot.recreate(path) as file:
        file["nominal"] = {"x": x[:, 0], "y": x[:, 1]}
    return path


@pytest.fixture
def observed(tmp_path: Path, dataset: neyman.Ensemble) -> Path:
    """Write observations of the model into a document and a file of events."""
    write(tmp_path / "data.root", dataset)
    (tmp_path / "data.yaml").write_text(DATA)
    return tmp_path / "data.yaml"


def test_a_file_is_read_and_encoded_where_the_workers_are(
    model: neyman.Model, dataset: neyman.Ensemble, observed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "ENTRIES", 100)
    here = model.encode(observed)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        there = model.encode(observed, executor=executor)
    assert arrays(there) == arrays(here)
    expected = model.encode(dataset)
    for mine, other in zip(arrays(here), arrays(expected), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)  # of batches of other sizes, in single precision


def test_a_worker_without_the_file_names_it_and_itself(model: neyman.Model, observed: Path) -> None:
    (observed.parent / "data.root").unlink()
    with ThreadPoolExecutor(1) as executor, pytest.raises(InvalidEvents, match=r"^worker .*data\.root: no such file"):
        model.encode(observed, executor=executor)


def test_a_channel_without_events_is_named(model: neyman.Model) -> None:
    with pytest.raises(InvalidEnsemble, match="channel SR: the ensemble has no events for it"):
        model.encode(neyman.Ensemble({}, {"CR": [1.0, 2.0]}))


class Deadly(MixtureChannel):
    """A channel whose encoding kills the worker that comes first."""

    marker: Path

    def encode_part(self, events: Any) -> Any:
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_part(events)


def test_a_worker_that_is_killed_loses_nothing(
    model: neyman.Model, dataset: neyman.Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = arrays(model.encode(dataset))
    channel = model.learned["SR"].without_simulation()
    channel.__class__, channel.marker = Deadly, tmp_path / "died"
    monkeypatch.setattr(MixtureChannel, "without_simulation", lambda _: channel)
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor,
        pytest.warns(UserWarning, match="the executor failed"),
    ):
        assert arrays(model.encode(dataset, executor=executor)) == expected
    assert channel.marker.exists()
