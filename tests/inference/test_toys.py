"""Toys in any number: the same whoever throws them, fitted, resumable, and small in memory."""

from __future__ import annotations

import os
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import neyman
import neyman.inference.toys
from neyman.exceptions import InvalidParameter, NeymanError
from neyman.inference.toys import batches
from neyman.model.toys import Toys
from neyman.results import from_json


def at(model: neyman.Model, **values: float) -> np.ndarray:
    pars = np.array(model.config.suggested_init())
    for name, value in values.items():
        pars[model.config.par_names.index(name)] = value
    return pars


@pytest.fixture(scope="module")
def counting() -> neyman.Model:
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [3.0], "modifiers": []},
    ]
    return neyman.Model({"channels": [{"name": "CR", "samples": samples}]}, {}, poi_name="mu")


def test_fits_have_the_truth_for_their_mean(model: neyman.Model) -> None:
    result = neyman.toys(at(model, mu=2.0), model, 300, seed=1, source="model", fit=True)
    mu = result["mu"]
    assert abs(mu.mean() - 2.0) < 4.5 * mu.std() / 300**0.5
    assert result.fallbacks == 0
    assert result.valid


def test_without_fits_there_are_counts_and_auxiliary_data_alone(model: neyman.Model) -> None:
    result = neyman.toys(at(model), model, 12)
    assert result.main.shape == (12, model.config.nmaindata)
    assert result.auxdata.shape == (12, model.config.nauxdata)
    assert len(result.bestfit) == 0
    with pytest.raises(InvalidParameter, match="fit=True"):
        result["mu"]


def test_the_events_come_batch_by_batch(model: neyman.Model) -> None:
    result = neyman.toys(at(model), model, 12, seed=4, batch=5)
    parts = list(batches(at(model), model, 12, seed=4, batch=5))
    assert [len(part) for part in parts] == [5, 5, 2]
    assert np.concatenate([part.main for part in parts]).tolist() == result.main.tolist()


def test_the_model_survives_a_pickle(model: neyman.Model) -> None:
    copy = pickle.loads(pickle.dumps(model))
    first, second = (neyman.toys(at(model), m, 5, seed=2, fit=True) for m in (model, copy))
    assert first.bestfit.tolist() == second.bestfit.tolist()


def test_any_executor_and_number_of_workers_gives_the_same_toys(model: neyman.Model) -> None:
    expected = neyman.toys(at(model), model, 30, seed=3, fit=True, batch=8)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        processes = neyman.toys(at(model), model, 30, seed=3, fit=True, batch=8, executor=executor)
    with ThreadPoolExecutor(3) as executor:
        threads = neyman.toys(at(model), model, 30, seed=3, fit=True, batch=8, executor=executor)
    for result in (processes, threads):
        assert result.main.tolist() == expected.main.tolist()
        assert result.bestfit == pytest.approx(expected.bestfit, rel=1e-9, abs=1e-9)


def test_dask_gives_the_same_toys(counting: neyman.Model) -> None:
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the cluster says of its own ports
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
        with cluster, distributed.Client(cluster) as client:
            result = neyman.toys([1.0], counting, 40, seed=3, fit=True, batch=10, executor=client.get_executor())
    assert result.bestfit.tolist() == neyman.toys([1.0], counting, 40, seed=3, fit=True, batch=10).bestfit.tolist()


def _killed(model: neyman.Model, task: object) -> np.ndarray:
    if os.getpid() != _PARENT and task.seed.spawn_key == (2,):
        os._exit(1)
    return _THROWN(model, task)


_PARENT, _THROWN = os.getpid(), neyman.inference.toys._thrown


def test_a_worker_that_dies_loses_nothing(counting: neyman.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = neyman.toys([1.0], counting, 40, seed=3, batch=10)
    monkeypatch.setattr(neyman.inference.toys, "_thrown", _killed)
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as executor,
        pytest.warns(UserWarning, match="the executor failed"),
    ):
        result = neyman.toys([1.0], counting, 40, seed=3, batch=10, executor=executor)
    assert result.main.tolist() == expected.main.tolist()


def test_an_interrupted_run_goes_on_from_its_checkpoint(
    counting: neyman.Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done, draw = [], neyman.inference.toys.draw

    def interrupted(*arguments: object) -> Toys:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return draw(*arguments)

    arguments = {"pars": [1.0], "model": counting, "n": 40, "seed": 3, "fit": True, "batch": 10}
    path = tmp_path / "toys.checkpoint"
    monkeypatch.setattr(neyman.inference.toys, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        neyman.toys(**arguments, checkpoint=path)
    left = []
    monkeypatch.setattr(neyman.inference.toys, "draw", lambda *given: left.append(1) or draw(*given))
    result = neyman.toys(**arguments, checkpoint=path)
    assert len(left) == 2
    assert result.bestfit.tolist() == neyman.toys(**arguments).bestfit.tolist()


def test_a_checkpoint_of_other_toys_is_refused(counting: neyman.Model, tmp_path: Path) -> None:
    neyman.toys([1.0], counting, 10, seed=1, checkpoint=tmp_path / "toys")
    with pytest.raises(NeymanError, match="a checkpoint of other toys"):
        neyman.toys([1.0], counting, 10, seed=2, checkpoint=tmp_path / "toys")


def test_a_small_pool_is_warned_of(model: neyman.Model) -> None:
    with pytest.warns(UserWarning, match=r"a toy takes 1500 events of sample background from 8000 simulated ones"):
        neyman.toys(at(model, norm=5.0), model, 1)


def test_a_batch_holds_a_bounded_number_of_events(model: neyman.Model) -> None:
    largest = max(len(part.events["SR"].index) for part in batches(at(model), model, 3000))
    assert largest < 500_000


def test_the_result_survives_json(counting: neyman.Model) -> None:
    result = neyman.toys([1.0], counting, 10, seed=1, fit=True)
    copy = from_json(result.to_json())
    assert copy["mu"].tolist() == result["mu"].tolist()
    assert repr(copy) == repr(result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "number of toys is 0"),
        ({"n": 2.5}, "number of toys is 2.5"),
        ({"batch": 0}, "toys of a batch is 0"),
        ({"pars": [1.0, 2.0]}, "1 finite numbers: mu"),
        ({"source": "data"}, "source is 'data'"),
        ({"fixed": {"mue": 1.0}}, "did you mean 'mu'"),
        ({"executor": 2}, "executor is 2"),
    ],
)
def test_arguments_without_meaning_are_refused(counting: neyman.Model, change: dict, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        neyman.toys(**{"pars": [1.0], "model": counting, "n": 2, **change})
