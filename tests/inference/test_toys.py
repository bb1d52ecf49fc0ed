"""Toys in any number: the same whoever throws them, fitted, resumable, and small in memory."""

from __future__ import annotations

import os
import pickle
import signal
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyhf
import pytest

import neyman
from neyman.exceptions import InvalidParameter, NeymanError
from neyman.inference.toys import batches
from neyman.model.rates import Rates
from neyman.results import from_json
from neyman.support.executors import open_executor


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


def test_parameters_may_be_given_by_name(counting: neyman.Model) -> None:
    assert neyman.toys({"mu": 2.0}, counting, 20).to_json() == neyman.toys([2.0], counting, 20).to_json()
    assert neyman.toys({}, counting, 2).pars.tolist() == counting.config.suggested_init()
    [first] = batches({"mu": 2.0}, counting, 20)
    assert first.main.tolist() == neyman.toys([2.0], counting, 20).main.tolist()


def test_a_plain_pyhf_model_has_the_same_toys(counting: neyman.Model) -> None:
    plain = pyhf.Model(counting.spec, poi_name="mu")
    ours = neyman.toys([2.0], counting, 50, fit=True)
    assert neyman.toys([2.0], plain, 50, fit=True).to_json() == ours.to_json()


def test_held_parameters_keep_their_value_in_the_fits() -> None:
    model = pyhf.simplemodels.uncorrelated_background([12.0], [50.0], [3.0])
    valued = neyman.toys({"mu": 2.0}, model, 10, fit=True, fixed={"mu": 1.5})
    assert set(valued["mu"].tolist()) == {1.5}
    named = neyman.toys({"mu": 2.0}, model, 10, fit=True, fixed=["mu"])  # where they are thrown
    assert set(named["mu"].tolist()) == {2.0}


def test_bounds_may_be_infinite(counting: neyman.Model) -> None:
    wide, infinite = (
        neyman.toys([2.0], counting, 100, fit=True, bounds={"mu": (-2.9, high)}) for high in (100.0, np.inf)
    )
    assert infinite["mu"] == pytest.approx(wide["mu"], abs=1e-3)


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


class MortalOnce(neyman.Model):
    """A model whose first evaluation on a worker kills it."""

    @property
    def rates(self) -> Rates:
        parent, marker = os.environ["MORTAL_ONCE"].split(":")
        if os.getpid() != int(parent) and not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().rates


@pytest.mark.filterwarnings("ignore")  # of Dask's own, about ports and files
def test_a_dask_worker_that_is_killed_loses_no_toys(
    counting: neyman.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setenv("MORTAL_ONCE", f"{os.getpid()}:{tmp_path / 'died'}")
    mortal = MortalOnce(counting.spec, {}, poi_name="mu")
    with open_executor("dask", 2) as executor:
        result = neyman.toys([1.0], mortal, 40, seed=3, fit=True, batch=10, executor=executor)
    assert (tmp_path / "died").exists()
    assert result.bestfit.tolist() == neyman.toys([1.0], counting, 40, seed=3, fit=True, batch=10).bestfit.tolist()


class Fragile(neyman.Model):
    """A model whose evaluation kills every process but the one that made the first."""

    @property
    def rates(self) -> Rates:
        if os.getpid() != _PARENT:
            os._exit(1)
        return super().rates


_PARENT = os.getpid()


def test_a_worker_that_dies_loses_nothing(counting: neyman.Model) -> None:
    expected = neyman.toys([1.0], counting, 40, seed=3, batch=10)
    fragile = Fragile(counting.spec, {}, poi_name="mu")
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as executor,
        pytest.warns(UserWarning, match="the executor failed"),
    ):
        result = neyman.toys([1.0], fragile, 40, seed=3, batch=10, executor=executor)
    assert result.main.tolist() == expected.main.tolist()


class Interrupted(neyman.Model):
    """A model that counts the evaluations of its rates, and at one of them the user interrupts the run."""

    evaluations, last = 0, 10**9

    @property
    def rates(self) -> Rates:
        self.evaluations += 1
        if self.evaluations > self.last:
            raise KeyboardInterrupt
        return super().rates


def test_an_interrupted_run_goes_on_from_its_checkpoint(counting: neyman.Model, tmp_path: Path) -> None:
    options = {"n": 40, "seed": 3, "fit": True, "batch": 10}
    whole, begun, ended = (Interrupted(counting.spec, {}, poi_name="mu") for _ in range(3))
    expected = neyman.toys([1.0], whole, **options)
    begun.last = whole.evaluations - 1
    with pytest.raises(KeyboardInterrupt):
        neyman.toys([1.0], begun, **options, checkpoint=tmp_path / "toys.checkpoint")
    result = neyman.toys([1.0], ended, **options, checkpoint=tmp_path / "toys.checkpoint")
    assert ended.evaluations < whole.evaluations
    assert result.bestfit.tolist() == expected.bestfit.tolist()


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
        ({"n": True}, "number of toys is True"),
        ({"n": "ten"}, "number of toys is 'ten'"),
        ({"seed": -1}, "seed is -1: give a whole number"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": None}, "seed is None"),
        ({"pars": {"mue": 1.0}}, "did you mean 'mu'"),
        ({"pars": {"mu": np.inf}}, "mu in the parameters of toys is inf"),
        ({"bounds": {"mu": (2.0, 1.0)}}, "lower one must come first"),
        ({"model": "model.neyman"}, "model is a str"),
        ({"batch": 0}, "toys of a batch is 0"),
        ({"pars": [1.0, 2.0]}, "1 finite numbers: mu"),
        ({"source": "data"}, "source is 'data'"),
        ({"fixed": {"mue": 1.0}}, "did you mean 'mu'"),
        ({"executor": 2}, "executor is 2"),
    ],
)
def test_arguments_without_meaning_are_refused(counting: neyman.Model, change: dict, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message) as error:
        neyman.toys(**{"pars": [1.0], "model": counting, "n": 2, **change})
    assert "\n" not in str(error.value)
