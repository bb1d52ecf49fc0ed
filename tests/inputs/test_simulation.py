"""Simulation: the same datasets from any number of workers, none lost, kept on disk within bounds."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neyman.exceptions import InvalidParameter, InvalidSimulation
from neyman.inputs.simulation import Datasets, simulate
from neyman.inputs.simulation_cache import Cache, fingerprint
from neyman.inputs.simulator import Simulator

PARAMETERS = [{"name": "mu", "inits": [1.0], "bounds": [[0, 10]]}, {"name": "nu", "inits": [1.0], "bounds": [[0, 10]]}]


def onoff(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    signal, background = rng.poisson(pars)
    return np.concatenate([rng.normal(-7.0, 2.0, (signal, 1)), rng.normal(0.0, 3.0, (background, 1))])


def changing(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.zeros((3, 2 if pars[0] == 4.0 else 1))


def dying(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Kill the worker that gets the parameter 4 first: ``FOLDER`` is in the environment."""
    marker = Path(os.environ["FOLDER"], "died")
    if pars[0] == 4.0 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return onoff(pars, rng)


def slow(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take a tenth of a second for the parameter 5, which :func:`slow_points` have in the beginning only."""
    if pars[0] == 5.0:
        time.sleep(0.1)
    return onoff(pars, rng)


class Counting:
    """A simulator that counts its calls, which are no part of its state."""

    def __init__(self) -> None:
        self.calls = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        self.calls += 1
        return onoff(pars, rng)


def grouped(pars: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    z = rng.normal(pars, 1.0, size=(rng.poisson(pars[0]), 2))
    return rng.normal(z[:, :1], 0.5), z


def simulator(sample: Any = onoff) -> Simulator:
    return Simulator(sample, PARAMETERS, "mu", ["x"])


def points(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 10, size=(n, 2))


def slow_points(n: int) -> np.ndarray:
    """Return points that :func:`slow` seems to need n tenths of a second for."""
    pars = points(n)
    pars[:4, 0] = 5.0
    return pars


def assert_same(one: Datasets, other: Datasets) -> None:
    np.testing.assert_array_equal(one.pars, other.pars)
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.offsets, other.offsets)


# -- datasets


@pytest.fixture(scope="module")
def datasets() -> Datasets:
    return simulate(simulator(), points(200), seed=5)


def test_dataset_t_is_the_draw_with_its_number_as_seed(datasets: Datasets) -> None:
    assert len(datasets) == 200
    assert datasets.features.dtype == np.float32
    for t in (0, 1, 150, -1):
        expected = simulator().draw(datasets.pars[t], [5, t % 200])
        np.testing.assert_array_equal(datasets.dataset(t).features, expected.features)
        assert datasets.numbers[t] == len(expected)
    with pytest.raises(IndexError):
        datasets.dataset(200)


def test_what_is_local_to_events_travels_with_them(tmp_path: Path) -> None:
    one = Simulator(grouped, PARAMETERS, "mu", ["x"], locals=["z", "w"])
    found = simulate(one, points(120), seed=5, cache=tmp_path, workers=1)
    for t in (0, 77):
        events, z = one.draw_with_locals(found.pars[t], [5, t])
        of_t = slice(found.offsets[t], found.offsets[t + 1])
        np.testing.assert_array_equal(found.features[of_t], events.features)
        np.testing.assert_array_equal(found.locals[of_t], z)
    for again in (simulate(one, points(120), seed=5, cache=tmp_path), simulate(one, points(120), seed=5, workers=2)):
        assert_same(again, found)
        np.testing.assert_array_equal(again.locals, found.locals)
    assert simulate(one, np.zeros((2, 2))).locals.shape == (0, 2)
    assert simulate(simulator(), points(3)).locals is None


def test_empty_datasets_are_datasets() -> None:
    empty = simulate(simulator(), np.zeros((3, 2)))
    assert empty.features.shape == (0, 1)
    assert len(empty.dataset(1)) == 0
    assert empty.numbers.tolist() == [0, 0, 0]
    none = simulate(simulator(), np.empty((0, 2)), workers=2)
    assert (len(none), none.features.shape, none.offsets.tolist()) == (0, (0, 1), [0])


# -- workers


def test_one_and_two_workers_and_any_executor_give_the_same(datasets: Datasets) -> None:
    assert_same(simulate(simulator(), points(200), seed=5, workers=1), datasets)
    assert_same(simulate(simulator(), points(200), seed=5, workers=2), datasets)
    with ThreadPoolExecutor(3) as executor:
        assert_same(simulate(simulator(), points(200), seed=5, executor=executor), datasets)


def test_a_longer_simulation_begins_like_a_shorter_one(datasets: Datasets) -> None:
    longer = simulate(simulator(), np.concatenate([points(200), points(1000, seed=2)]), seed=5)
    np.testing.assert_array_equal(longer.offsets[:201], datasets.offsets)
    np.testing.assert_array_equal(longer.features[: datasets.offsets[-1]], datasets.features)


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDER", str(tmp_path))
    pars = points(100)
    pars[40, 0] = 4.0
    with pytest.warns(UserWarning, match="the executor failed"):
        survived = simulate(simulator(dying), pars, workers=2)
    assert (tmp_path / "died").exists()
    assert_same(survived, simulate(simulator(), pars))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_with_parameters_and_seed(workers: int) -> None:
    pars = points(100)
    pars[70] = [4.0, 2.0]
    message = r"shape \(3, 2\), not \(events, 1\).* \(at mu=4.0, nu=2.0, seed=\[9, 70\]\)$"
    with pytest.raises(InvalidSimulation, match=message):
        simulate(simulator(changing), pars, seed=9, workers=workers)
    with pytest.raises(InvalidSimulation, match=message):
        simulator(changing).draw([4.0, 2.0], [9, 70])


def test_a_lambda_runs_here_and_is_not_sent_elsewhere() -> None:
    local = simulator(lambda pars, rng: onoff(pars, rng))
    assert_same(simulate(local, points(30)), simulate(simulator(), points(30)))
    with pytest.raises(InvalidParameter, match=r"workers is 2, but the simulator cannot be pickled .* give workers=1"):
        simulate(local, points(30), workers=2)
    with ThreadPoolExecutor(1) as executor, pytest.raises(InvalidParameter, match="the executor cannot have it"):
        simulate(local, points(30), executor=executor)


def test_a_script_whose_main_part_is_unguarded_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys; sys.path[:0] = {sys.path!r}
        import os; os.sched_getaffinity = lambda pid: {{0, 1}}
        from test_simulation import simulate, simulator, slow, slow_points
        print("begins", len(simulate(simulator(slow), slow_points(100))))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "begins 100\n"
    assert "put its main part under if" in done.stderr


def test_a_simulator_of_an_interactive_session_stays_there() -> None:
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
import os; os.sched_getaffinity = lambda pid: {{0, 1}}
from test_simulation import simulate, simulator, slow, slow_points
def mine(pars, rng): return slow(pars, rng)
print(len(simulate(simulator(mine), slow_points(100))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "100\n"
    assert "defined in an interactive session; write it to a module" in done.stderr


@pytest.mark.parametrize(("sample", "told"), [(slow, ["simulating on 2 cores"]), (onoff, [])])
def test_all_cores_are_used_where_that_saves_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sample: Any, told: list[str]
) -> None:
    caplog.set_level("INFO", logger="neyman")  # which a command may have changed
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert_same(simulate(simulator(sample), slow_points(200)), simulate(simulator(), slow_points(200), workers=1))
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == told


def test_the_workers_end_when_their_parent_is_killed() -> None:
    code = f"""
import multiprocessing, sys, threading, time; sys.path[:0] = {sys.path!r}
import numpy as np
from test_simulation import simulate, simulator, slow
pars = np.full((1000, 2), 5.0)
threading.Thread(target=simulate, args=(simulator(slow), pars), kwargs=dict(workers=2), daemon=True).start()
while len(multiprocessing.active_children()) < 2:
    time.sleep(0.01)
time.sleep(2.0)  # until they are at work
print(*(process.pid for process in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        workers = {int(pid) for pid in parent.stdout.readline().split()}
        assert len(workers) == 2
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 20.0
        while any(_alive(pid) for pid in workers):  # no number of a process is used again so fast
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pars": [1.0, 2.0]}, r"pars, of shape \(2,\), must be .* \(points, 2\), the parameters being mu, nu"),
        ({"pars": [[1.0, float("inf")]]}, "must be finite"),
        ({"seed": -1}, "seed is -1: give a whole number from 0"),
        ({"seed": 0.5}, r"seed is 0\.5"),
        ({"workers": 0}, "workers is 0: give a positive number"),
        ({"workers": 2, "executor": "a cluster"}, "executor and workers exclude each other"),
        ({"executor": "a cluster"}, "takes no tasks"),
    ],
)
def test_a_wrong_argument_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        simulate(simulator(), **{"pars": points(10), **options})


# -- the cache


def test_what_is_in_the_cache_is_not_simulated_again(tmp_path: Path) -> None:
    counting = Counting()
    first = simulate(simulator(counting), points(100), cache=tmp_path / "new" / "cache", workers=1)
    again = simulate(simulator(counting), points(100), cache=tmp_path / "new" / "cache", workers=1)
    assert counting.calls == 100
    assert_same(first, again)
    assert_same(first, simulate(simulator(), points(100)))


@pytest.mark.parametrize("change", [{"seed": 1}, {"pars": points(100, seed=2)}])
def test_another_seed_or_other_points_are_simulated(tmp_path: Path, change: dict[str, Any]) -> None:
    simulate(simulator(), points(100), cache=tmp_path)
    arguments = {"pars": points(100), **change}
    assert_same(simulate(simulator(), **arguments, cache=tmp_path), simulate(simulator(), **arguments))


def test_what_was_finished_before_an_error_is_kept(tmp_path: Path) -> None:
    counting, pars = Counting(), points(100)

    def failing(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if counting.calls == 60:
            raise OSError("the licence server is away")
        return counting(values, rng)

    with pytest.raises(InvalidSimulation, match="licence"):
        simulate(simulator(failing), pars, cache=tmp_path, workers=1)
    counting.calls = 0  # it is back
    simulate(simulator(failing), pars, cache=tmp_path, workers=1)
    assert counting.calls == 40


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text", "empty", "other"])
def test_a_corrupt_file_is_simulated_again_and_replaced(tmp_path: Path, damage: str) -> None:
    first = simulate(simulator(), points(100), cache=tmp_path)
    path = sorted(tmp_path.iterdir())[3]
    content = bytearray(path.read_bytes())
    middle = content.index(b"}", content.index(b"descr")) + 80  # in the data of the first array
    content[middle] ^= 1
    changed = {"truncated": content[:-30], "flipped": content, "text": b"no zip", "empty": b""}
    if damage == "other":
        np.savez(path, features=np.zeros((3, 1), dtype=np.float32), numbers=np.array([1, 1]))
    else:
        path.write_bytes(changed[damage])
    broken = path.read_bytes()
    assert_same(simulate(simulator(), points(100), cache=tmp_path), first)
    assert path.read_bytes() != broken
    assert Cache(tmp_path, 10**9).get(path.stem.removeprefix("simulation-"), 2, 1) is not None


def test_a_pickle_in_the_cache_is_not_loaded(tmp_path: Path) -> None:
    first = simulate(simulator(), points(10), cache=tmp_path)
    for path in tmp_path.iterdir():
        np.savez(path, features=np.array([_Bomb()], dtype=object), numbers=np.array([1]))
    assert_same(simulate(simulator(), points(10), cache=tmp_path), first)


class _Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was loaded",))


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def put(cache: Cache, number: int, n: int = 1000) -> str:
    key = f"{number:064x}"
    x, z = np.zeros((n, 1), dtype=np.float32), np.zeros((n, 0), dtype=np.float32)
    cache.put(key, (x, np.array([n]), z))
    return key


def test_the_cache_stays_below_its_limit_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 50_000)  # some eleven of these
    first = put(cache, 0)
    for number in range(1, 40):
        os.utime(tmp_path / f"simulation-{first}.npz", (number, number))  # not the time of this test's machine
        put(cache, number)
        for path in tmp_path.glob(f"*{number:064x}.npz"):
            os.utime(path, (number, number))
        assert cache.get(first, 1, 1) is not None  # and with this it is the youngest
        assert used(tmp_path) <= 50_000
    assert cache.get(f"{1:064x}", 1, 1) is None
    assert cache.get(f"{39:064x}", 1, 1) is not None


def test_a_smaller_limit_makes_room_at_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**6)
    for number in range(20):
        put(cache, number)
    assert used(tmp_path) > 80_000
    Cache(tmp_path, 30_000)
    assert used(tmp_path) <= 30_000


def test_other_files_are_never_deleted(tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("thesis.npz", "simulation-1.npz", f"simulation-{0:064x}.npz.bak", ".x.part")]
    for path in others:
        path.write_bytes(bytes(10_000))
        os.utime(path, (1, 1))
    cache = Cache(tmp_path, 0)
    put(cache, 0)
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_what_a_killed_writer_left_is_deleted_after_a_while(tmp_path: Path) -> None:
    fresh, old = (tmp_path / f".simulation-{0:064x}.npz.{name}.part" for name in ("fresh", "old"))
    for path in (fresh, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    Cache(tmp_path, 10**6)
    assert list(tmp_path.iterdir()) == [fresh]


def test_a_cache_that_cannot_be_written_costs_nothing_but_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "cache"

    def deleting(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shutil.rmtree(folder, ignore_errors=True)
        return onoff(pars, rng)

    with pytest.warns(UserWarning, match="No such file or directory: the simulation goes on uncached") as warned:
        result = simulate(simulator(deleting), points(100), cache=folder)
    assert len(warned) == 1
    assert_same(result, simulate(simulator(), points(100)))


def test_a_negative_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="cache_limit is -1"):
        simulate(simulator(), points(10), cache=tmp_path, cache_limit=-1)


SCRIPT = """
import sys; sys.path[:0] = {path!r}
from test_simulation import points, simulate, simulator
simulate(simulator(), points(6_000), cache={cache!r}, workers=1)
"""


def test_two_processes_share_a_cache_and_one_may_be_killed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", SCRIPT.format(path=sys.path, cache=str(cache))]
    processes = [subprocess.Popen(command) for _ in range(3)]
    while len(list(cache.glob("simulation-*.npz"))) < 3:
        time.sleep(0.001)
    processes[0].kill()
    assert [process.wait() for process in processes[1:]] == [0, 0]
    processes[0].wait()
    complete = list(cache.glob("simulation-*.npz"))
    assert len(complete) == 64
    store = Cache(cache, 10**9)
    assert all(store.get(p.stem.removeprefix("simulation-"), n, 1) for p in complete for n in [_datasets_in(p)])
    assert_same(simulate(simulator(), points(6_000), cache=cache), simulate(simulator(), points(6_000)))


def _datasets_in(path: Path) -> int:
    with np.load(path) as arrays:
        return len(arrays["numbers"])


# -- what the cache sees of a simulator

MODULE = """
import functools
from helpers import far
WIDTH = 2.0
table = {"a": 1}
lock = __import__("threading").Lock()
def helper(x):
    with lock:
        return x + table["a"]
def sample(pars, rng, shift=0.0):
    return helper(rng.normal(far(shift), WIDTH, size=(5, 1)))
def make(width):
    return lambda pars, rng: rng.normal(0.0, width, size=(5, 1))
class Object:
    unit = 1.0
    def __init__(self, width):
        self.width = width
    def __call__(self, pars, rng):
        return self.other(rng) * self.unit
    def other(self, rng):
        return rng.normal(0.0, self.width, size=(5, 1))
partial = functools.partial(sample, shift=1.0)
"""
HELPERS = """
def far(x):
    return x
"""


def prints(folder: Path, expressions: list[str], module: str = MODULE, helpers: str = HELPERS) -> list[str]:
    """Return the fingerprints in a new process."""
    folder.mkdir(exist_ok=True)
    (folder / "simulators.py").write_text(module)
    (folder / "helpers.py").write_text(helpers)
    code = f"""
import sys; sys.path[:0] = [{str(folder)!r}, *{sys.path!r}]
from test_simulation import fingerprint, simulator
import simulators as s
def changed(**values):
    vars(s).update(values)
    return s.sample
for sample in {expressions!r}:
    print(fingerprint(simulator(eval(sample))))
"""
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_cache_tells_simulators_apart_and_knows_them_again(tmp_path: Path) -> None:
    expressions = [
        "s.sample", "s.make(1.0)", "s.make(2.0)", "s.Object(1.0)", "s.Object(2.0)", "s.Object(1.0).other", "s.partial",
        "s.functools.partial(s.sample, shift=2.0)", "s.helper", "changed(WIDTH=3.0)", "changed(table={'a': 2})",
    ]  # fmt: skip
    first = prints(tmp_path, expressions)
    assert len(set(first)) == len(expressions)
    assert prints(tmp_path, expressions) == first


def test_the_cache_sees_a_change_of_the_module_or_of_a_function_it_imports(tmp_path: Path) -> None:
    first = prints(tmp_path, ["s.sample", "s.Object(1.0)"])
    changed = prints(tmp_path, ["s.sample", "s.Object(1.0)"], module=MODULE.replace("WIDTH = 2.0", "WIDTH = 2.5"))
    assert not set(first) & set(changed)
    imported = prints(tmp_path, ["s.sample"], helpers=HELPERS.replace("return x", "return 2 * x"))
    assert imported[0] != first[0]


def test_another_version_is_simulated_again(tmp_path: Path) -> None:
    counting = Counting()
    for version in ("1", "2", "1"):
        simulate(Simulator(counting, PARAMETERS, "mu", ["x"], version=version), points(50), cache=tmp_path, workers=1)
    assert counting.calls == 100


@pytest.mark.parametrize("closed_over", [True, False])
def test_arrays_of_the_simulator_count(closed_over: bool) -> None:
    class Holding:
        def __init__(self, table: np.ndarray) -> None:
            self.table = table

        def __call__(self, pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return rng.choice(self.table, size=(5, 1))

    def made(table: np.ndarray) -> str:
        inner = lambda pars, rng: rng.choice(table, size=(5, 1))  # noqa: E731
        return fingerprint(simulator(inner if closed_over else Holding(table)))

    table = np.arange(10_000.0)
    assert made(table) == made(table.copy())
    assert made(table) != made(np.where(table == 5_000, -1.0, table))


def test_functions_that_call_each_other_have_a_fingerprint() -> None:
    scope: dict[str, Any] = {"__name__": "nowhere"}
    names = [f"f{i}" for i in range(40)]  # each calls all: a description of every path would never end
    exec("\n".join(f"def {name}(pars, rng): return {', '.join(names)}" for name in names), scope)
    assert fingerprint(simulator(scope["f0"])) != fingerprint(simulator(scope["f1"]))


def test_a_function_without_a_file_is_known_by_its_code_and_what_it_uses() -> None:
    def made(code: str, **values: Any) -> str:
        scope = {"__name__": "nowhere", **values}
        exec(code, scope)
        return fingerprint(simulator(scope["sample"]))

    code = "def sample(pars, rng): return rng.normal(0.0, WIDTH, size=(5, 1))"
    assert made(code, WIDTH=1.0) == made(code, WIDTH=1.0)
    assert made(code, WIDTH=1.0) != made(code, WIDTH=2.0)
    assert made(code, WIDTH=1.0) != made(code.replace("5", "6"), WIDTH=1.0)


def test_a_state_that_cannot_be_pickled_cannot_be_cached(tmp_path: Path) -> None:
    handle = (number for number in range(3))

    def sample(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.full((1, 1), next(handle))

    with pytest.raises(InvalidParameter, match=r"a state that cannot be pickled, give cache=None: .*generator"):
        simulate(simulator(sample), points(3), cache=tmp_path)


def test_the_error_can_be_sent_between_processes() -> None:
    assert str(pickle.loads(pickle.dumps(InvalidSimulation("text")))) == "text"
