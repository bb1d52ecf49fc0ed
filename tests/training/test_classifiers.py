"""Classifiers trained on executors are those of one process, to the last digit, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_analysis

import neyman
from neyman.events import Events
from neyman.networks.options import TrainingOptions
from neyman.training.checkpoints import checkpoint_folder
from neyman.training.classifiers import Trainer
from neyman.training.crossfit import TrainedClassifier, train_classifier

OPTIONS = TrainingOptions(hidden=(8,), folds=2, epochs=2, minimum_steps=20)


def trainings(number: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    classes = [Events(rng.normal(mean, 1.0, (200, 2))) for mean in range(number + 1)]
    return {f"{k}": partial(train_classifier, classes[k : k + 2], OPTIONS) for k in range(number)}


def weights(trained: TrainedClassifier) -> list[Any]:
    return [value.tolist() for value in trained.network.state_dict().values()]


def same(one: dict[str, TrainedClassifier], other: dict[str, TrainedClassifier]) -> bool:
    return list(one) == list(other) and all(weights(one[label]) == weights(other[label]) for label in one)


@pytest.fixture(scope="module")
def expected() -> dict[str, TrainedClassifier]:
    return {label: training() for label, training in trainings().items()}


def test_several_at_once_are_the_same_as_one_after_another(expected: dict[str, TrainedClassifier]) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert same(Trainer("SR")(trainings()), expected)
    finally:
        torch.set_num_threads(before)


def test_processes_give_the_same(expected: dict[str, TrainedClassifier]) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert same(Trainer("SR", executor=executor)(trainings()), expected)


class Elsewhere(Executor):
    """An executor whose workers do not see the folder of checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, 0

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        hidden = self.folder.rename(self.folder.with_name("hidden"))
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        finally:
            hidden.rename(self.folder)
        self.done += 1
        return future


def test_a_finished_training_is_kept_where_the_client_is(
    expected: dict[str, TrainedClassifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint_folder(tmp_path / "state", {})
    assert same(Trainer("SR", checkpoints=folder, executor=Elsewhere(folder))(trainings()), expected)
    assert sorted(path.name for path in folder.glob("*.pt")) == ["SR 0.pt", "SR 1.pt", "SR 2.pt"]
    monkeypatch.setattr("neyman.training.loop._State.advance", lambda _: pytest.fail("trained again"))
    assert same(Trainer("SR", checkpoints=folder, executor=Elsewhere(folder))(trainings()), expected)


def test_a_worker_that_sees_the_folder_goes_on_from_it(expected: dict[str, TrainedClassifier], tmp_path: Path) -> None:
    folder = checkpoint_folder(tmp_path / "state", {})
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        assert same(Trainer("SR", checkpoints=folder, executor=executor)(trainings()), expected)
    assert sorted(path.name for path in folder.glob("*.pt")) == ["SR 0.pt", "SR 1.pt", "SR 2.pt"]


def deadly(folder: str, **settings: Any) -> TrainedClassifier:
    """Train a classifier; the first time kill the process half-way."""
    marker = Path(folder, "died")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return trainings()["1"](**settings)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask's own, about ports and files
def test_a_dask_worker_that_is_killed_loses_nothing(expected: dict[str, TrainedClassifier], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        trained = Trainer("SR", executor=client.get_executor())({**trainings(), "1": partial(deadly, str(tmp_path))})
    assert (tmp_path / "died").exists()
    assert same(trained, expected)


def test_a_model_trained_in_processes_is_the_same(tmp_path: Path) -> None:
    document = write_analysis(tmp_path, events=600)
    document.write_text(document.read_text().replace("minimum_steps: 300", "minimum_steps: 20"))
    workspace = neyman.Workspace.load(document)
    here = neyman.train(workspace, seed=1)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        there = neyman.train(workspace, seed=1, executor=executor)
    assert here.fingerprint == there.fingerprint
