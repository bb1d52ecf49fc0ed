"""The learned test statistic: the order it puts datasets in, its intervals, and what is said of bad input."""

from __future__ import annotations

import functools
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from click.testing import CliRunner

import neyman
from neyman.cli.main import main
from neyman.exceptions import InvalidParameter, NeymanError, Unsupported
from neyman.inference.fixed_features import dataset_features, toy_features
from neyman.inference.statistics import statistic_named
from neyman.inference.throws import Settings, fitted
from neyman.model.toys import draw

EVENTS = 15


def on_off(norm: tuple[float, float] = (0.4, 2.0)) -> neyman.Model:
    """A signal region and a control region that share the normalisation of the background."""
    mu = {"name": "mu", "type": "normfactor", "data": None}
    free = {"name": "norm", "type": "normfactor", "data": None}
    channels = [
        {"name": "SR", "samples": [
            {"name": "signal", "data": [10.0], "modifiers": [mu]},
            {"name": "background", "data": [40.0], "modifiers": [free]},
        ]},
        {"name": "CR", "samples": [{"name": "background", "data": [80.0], "modifiers": [free]}]},
    ]  # fmt: skip
    parameters = [
        {"name": "mu", "bounds": [[0.0, 8.0]], "inits": [1.0]},
        {"name": "norm", "bounds": [list(norm)], "inits": [1.0]},
    ]
    return neyman.Model({"channels": channels, "parameters": parameters}, {}, poi_name="mu")


def at(model: neyman.Model, **values: float) -> np.ndarray:
    """Return parameters by name, in the model's order."""
    return np.array([values[name] for name in model.config.par_order])


def counts(signal: float, control: float = 80.0) -> np.ndarray:
    """Return the data of as many events in each region."""
    return on_off().data(neyman.Ensemble(counts={"SR": [signal], "CR": [control]}))


def constrained() -> neyman.Model:
    """A counting experiment whose background is known to 20 %."""
    samples = [
        {"name": "signal", "data": [10.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [50.0], "modifiers": [
            {"name": "norm", "type": "normsys", "data": {"hi": 1.2, "lo": 0.8}}]},
    ]  # fmt: skip
    parameters = [{"name": "mu", "bounds": [[0.0, 10.0]], "inits": [1.0]}]
    return neyman.Model({"channels": [{"name": "SR", "samples": samples}], "parameters": parameters}, {}, poi_name="mu")


def normal(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(pars[0], pars[1], size=(EVENTS, 1))


@functools.cache
def normal_model() -> neyman.Model:
    """The mean of a normal distribution whose width is unknown, from fifteen events."""
    torch.set_num_threads(1)
    parameters = [
        {"name": "mean", "inits": [0.0], "bounds": [[-3.0, 3.0]]},
        {"name": "width", "inits": [1.0], "bounds": [[0.5, 2.0]]},
    ]
    simulator = neyman.Simulator(normal, parameters, "mean", ["x"])
    options = {
        "kind": "deepset",
        "datasets": 3200,
        "steps": 150,
        "head_steps": 60,
        "hidden": [16, 16],
        "width": 8,
        "networks": 1,
    }
    return neyman.train(simulator, options, workers=1)


@functools.cache
def learned(side: str = "both") -> neyman.LearnedStatistic:
    torch.set_num_threads(1)
    return neyman.train_statistic(on_off(), (0.0, 8.0), side=side, n_datasets=6000)


def profile_ratio(model: neyman.Model, toys: Any, pars: Any, value: float) -> np.ndarray:
    """Return t_mu of toys."""
    bounds = tuple(tuple(b) for b in model.config.suggested_bounds())
    settings = Settings(model.config.poi_index, statistic_named("tmu"), "simulation", bounds, {}, model.config.poi_name)
    return fitted(model, toys, np.array(pars), value, settings)[0]


@pytest.mark.parametrize("value", [1.0, 3.0, 5.0])
def test_datasets_are_ordered_as_by_the_profile_likelihood_ratio(value):
    model = on_off()
    toys = draw(at(model, mu=3.0, norm=1.0), model, 1000, seed=1)
    t = learned().with_model(model).evaluate(toys, value)
    # 1 but for what an average over the nuisance parameter is from its best fit, and for the network
    assert scipy.stats.spearmanr(t, profile_ratio(model, toys, at(model, mu=3.0, norm=1.0), value))[0] > 0.95


def test_a_constrained_parameter_is_thrown_about_its_constraint_and_its_auxiliary_data_are_seen():
    model = constrained()
    statistic = neyman.train_statistic(model, (0.0, 10.0), n_datasets=6000)
    np.testing.assert_allclose(statistic.box[model.config.par_order.index("norm")], [-3.0, 3.0])
    pars = at(model, mu=4.0, norm=0.0)
    toys = draw(pars, model, 1000, seed=2)
    t = statistic.evaluate(toys, 4.0)
    assert scipy.stats.spearmanr(t, profile_ratio(model, toys, pars, 4.0))[0] > 0.9
    # the same count says more signal where the auxiliary data say less background
    low, high = ([90.0, aux] for aux in (-1.5, 1.5))
    assert statistic.evaluate(low, 2.0) > statistic.evaluate(high, 2.0)


def test_of_a_simulator_it_finds_the_order_of_student_s_t():
    model = normal_model()
    statistic = neyman.train_statistic(model, (-2.0, 2.0), n_datasets=6000)
    toys = draw([0.5, 1.2], model, 1000, seed=3)
    x = toys.events["events"].features[:, 0].reshape(-1, EVENTS).astype(np.float64)
    # the profile likelihood ratio is n log(1 + t^2/(n - 1))
    for value in (0.5, 1.2):
        student = np.abs(x.mean(axis=1) - value) / x.std(axis=1)
        # the width is thrown from 0.5 to 2, so that a sample of small width is shrunk towards more
        assert scipy.stats.spearmanr(statistic.evaluate(toys, value), student)[0] > 0.9


def test_against_smaller_values_alone_it_rises_with_the_tested_value_and_falls_with_the_count():
    statistic = learned("upper").with_model(on_off())
    t = statistic.evaluate(counts(60.0), [2.0, 4.0, 6.0])
    assert np.all(np.diff(t) > 0)
    t = np.concatenate([statistic.evaluate(counts(n), 3.0) for n in (40.0, 60.0, 80.0, 100.0)])
    assert np.all(np.diff(t) < 0)


def test_the_learned_probabilities_are_those_of_held_out_datasets():
    statistic = learned()
    mean, fraction, error = statistic.reliability
    seen = error > 0
    assert 0.65 < statistic.auc < 0.95
    # ten bins: a chi-square of 30 or more has a probability of 1e-3, and a network is allowed to be a bit off
    assert (((fraction - mean)[seen] / error[seen]) ** 2).sum() < 40


def test_the_interval_is_about_as_long_as_that_of_the_profile_likelihood_ratio():
    model = on_off()
    [[low, high]] = neyman.interval(counts(70.0), model, test_stat="learned", statistic=learned(), seed=1).intervals
    [[below, above]] = neyman.interval(counts(70.0), model, test_stat="tmu", seed=1).intervals
    # ends of 4000 toys are known to some 0.03
    assert low == pytest.approx(below, abs=0.15)
    assert high == pytest.approx(above, abs=0.15)


def test_the_interval_covers():
    model = on_off()
    result = neyman.coverage(
        model, [{"mu": 3.0}, {"mu": 0.5, "norm": 0.8}], test_stat="learned", statistic=learned(), n_toys=300, seed=4
    )
    # a toy is calibrated at its own best fit of the nuisance parameter: exact but for the counts being discrete
    assert np.all(np.abs(result.coverage - 0.68) < 3.0 * np.sqrt(0.68 * 0.32 / 300) + 0.01)


def test_with_everything_else_fixed_one_calibration_serves_all_toys():
    model = on_off()
    result = neyman.coverage(
        model, [{"mu": 3.0}], test_stat="learned", statistic=learned(), n_toys=1000, fixed={"norm": 1.0}, seed=5
    )
    assert result.coverage[0] == pytest.approx(0.68, abs=3.0 * np.sqrt(0.68 * 0.32 / 1000) + 0.01)


def test_an_upper_limit_is_about_that_of_the_profile_likelihood_ratio():
    model, data = on_off(), counts(45.0)
    mine = neyman.limit(
        data, model, calibration="toys", test_stat="learned", statistic=learned("upper"), n_toys=2000, seed=6
    )
    other = neyman.limit(data, model, calibration="toys", n_toys=2000, seed=6)
    # CLs of 0.05 on 2000 toys of either hypothesis is known to a tenth, a limit then to some 0.07
    assert mine.observed == pytest.approx(other.observed, abs=0.25)
    np.testing.assert_allclose(mine.expected[1:4], other.expected[1:4], atol=0.25)


def test_the_features_of_a_toy_are_those_of_its_summary(model):
    references = np.array([model.config.suggested_init(), model.config.suggested_init()])
    references[1, model.config.poi_index] = 3.0
    toys = draw(model.config.suggested_init(), model, 4, seed=7)
    features = toy_features(toys, references)
    for i, row in enumerate(features):
        one = dataset_features(model, toys.main[i], toys.auxdata[i], toys.summaries(i), references)
        np.testing.assert_allclose(row, one, rtol=1e-9)


def test_toys_at_many_points_are_distributed_as_those_at_one(model):
    pars = np.array(model.config.suggested_init())
    pars[list(model.config.par_names).index("scale")] = 0.7
    points = np.tile(pars, (1001, 1))
    points[-1, list(model.config.par_names).index("scale")] = 0.0  # so that they are not all the same
    many, one = draw(points, model, seed=8)[:-1], draw(pars, model, 1000, seed=9)
    for mine, other in ((many.main, one.main), (many.auxdata, one.auxdata)):
        error = np.sqrt((mine.var(axis=0) + other.var(axis=0)) / 1000)
        assert np.all(np.abs(mine.mean(axis=0) - other.mean(axis=0)) < 4.5 * error)
    [events] = list(many.events)
    mine, other = (toys.events[events].features[:, 0] for toys in (many, one))
    # of 340,000 events each; simulated ones are drawn again and again, which the test does not know
    assert scipy.stats.ks_2samp(mine, other).statistic < 0.01


def test_a_mixture_s_statistic_is_about_the_profile_likelihood_ratio(model):
    statistic = neyman.train_statistic(model, (0.0, 3.0), bounds={"norm": (0.8, 1.2)}, n_datasets=3000)
    pars = list(model.config.suggested_init())
    toys = draw(pars, model, 200, seed=10)
    t = statistic.evaluate(toys, 1.5)
    assert scipy.stats.spearmanr(t, profile_ratio(model, toys, pars, 1.5))[0] > 0.85


def test_the_same_seed_gives_the_same_statistic():
    model = on_off()
    one, other, third = (neyman.train_statistic(model, (0.0, 8.0), n_datasets=1000, seed=seed) for seed in (1, 1, 2))
    values = np.linspace(0.0, 8.0, 5)
    np.testing.assert_array_equal(one.evaluate(counts(70.0), values), other.evaluate(counts(70.0), values))
    assert np.any(one.evaluate(counts(70.0), values) != third.evaluate(counts(70.0), values))


def test_a_file_gives_the_same_statistic_and_runs_no_code(tmp_path: Path):
    path, model = tmp_path / "statistic.neyman", on_off()
    learned().save(path)
    loaded = neyman.LearnedStatistic.load(path, model)
    toys = draw(at(model, mu=3.0, norm=1.0), model, 50, seed=11)
    np.testing.assert_array_equal(loaded.evaluate(toys, 2.0), learned().evaluate(toys, 2.0))
    assert repr(loaded) == repr(learned())
    assert loaded.digest() == learned().digest()
    with zipfile.ZipFile(path) as archive:
        assert {Path(name).suffix for name in archive.namelist()} == {".json", ".npy", ".safetensors"}
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InvalidParameter, match="not a file of a learned statistic"):
        neyman.LearnedStatistic.load(path)


def test_it_travels_without_its_model():
    copy = pickle.loads(pickle.dumps(learned()))
    toys = draw(at(on_off(), mu=3.0, norm=1.0), on_off(), 20, seed=12)
    np.testing.assert_array_equal(copy.evaluate(toys, 2.0), learned().evaluate(toys, 2.0))
    with pytest.raises(InvalidParameter, match="needs its model"):
        copy.evaluate(counts(70.0), 2.0)


def test_a_summary_is_as_good_as_data(model):
    summary = model.encode(model.observed_ensemble)
    statistic = neyman.train_statistic(model, (0.0, 3.0), bounds={"norm": (0.8, 1.2)}, n_datasets=1000)
    np.testing.assert_allclose(statistic.evaluate(summary, 1.0), statistic.evaluate(model.observed, 1.0))


def test_asymptotic_formulas_are_refused():
    model, data, use = on_off(), counts(70.0), {"test_stat": "learned", "statistic": learned()}
    for calibration in ("asymptotics", "quantile"):
        with pytest.raises(InvalidParameter, match="only toys can calibrate"):
            neyman.interval(data, model, calibration=calibration, **use)
        with pytest.raises(InvalidParameter, match="only toys can calibrate"):
            neyman.coverage(model, [{"mu": 1.0}], calibration=calibration, **use)
    with pytest.raises(InvalidParameter, match="calibration='toys'"):
        neyman.limit(data, model, test_stat="learned", statistic=learned("upper"))
    with pytest.raises(InvalidParameter, match="calibration='toys'"):
        neyman.cls(1.0, data, model, test_stat="learned", statistic=learned("upper"))


def test_a_statistic_and_its_name_go_together():
    model, data = on_off(), counts(70.0)
    for call in (
        lambda: neyman.interval(data, model, test_stat="learned"),
        lambda: neyman.coverage(model, [{"mu": 1.0}], test_stat="learned"),
        lambda: neyman.limit(data, model, test_stat="learned", calibration="toys"),
    ):
        with pytest.raises(InvalidParameter, match=r"give statistic=neyman\.train_statistic"):
            call()
    with pytest.raises(InvalidParameter, match="leave one of them out"):
        neyman.interval(data, model, statistic=learned())
    with pytest.raises(InvalidParameter, match="leave one of them out"):
        neyman.limit(data, model, calibration="toys", statistic=learned("upper"))


def test_an_upper_limit_takes_a_one_sided_statistic():
    with pytest.raises(InvalidParameter, match="side='upper'"):
        neyman.limit(counts(70.0), on_off(), calibration="toys", test_stat="learned", statistic=learned())


def test_another_model_is_refused():
    other = on_off(norm=(0.4, 2.5))
    with pytest.raises(InvalidParameter, match="trained for another model"):
        neyman.interval(counts(70.0), other, test_stat="learned", statistic=learned())
    with pytest.raises(InvalidParameter, match="trained for another model"):
        learned().evaluate(draw([1.0, 1.0], other, 5), 1.0)


def test_values_outside_the_range_are_refused():
    model = on_off()
    statistic = neyman.train_statistic(model, (1.0, 4.0), n_datasets=1000)
    use = {"test_stat": "learned", "statistic": statistic}
    with pytest.raises(InvalidParameter, match=r"mu = 5 is outside \(1, 4\)"):
        statistic.evaluate(counts(70.0), 5.0)
    with pytest.raises(InvalidParameter, match=r"mu = 0.5 is outside \(1, 4\)"):
        neyman.coverage(model, [{"mu": 0.5}], **use)
    with pytest.raises(InvalidParameter, match=r"mu = 6 is outside \(1, 4\)"):
        neyman.interval(counts(70.0), model, poi_values=[2.0, 6.0], **use)
    with pytest.raises(InvalidParameter, match=r"best fit is mu = 6\S*, outside \(1, 4\)"):
        neyman.interval(counts(100.0), model, **use)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": (0.0, 9.0)}, "values is"),
        ({"values": 3.0}, "values is"),
        ({"values": "all"}, "values is"),
        ({"delta": 0.0}, "delta is"),
        ({"delta": (2.0, 1.0)}, "delta is"),
        ({"side": "lower"}, "side is"),
        ({"n_datasets": 10}, "too few"),
        ({"seed": -1}, "seed"),
        ({"device": "abacus"}, "device 'abacus'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, message):
    with pytest.raises(NeymanError, match=message) as error:
        neyman.train_statistic(on_off(), **{"values": (0.0, 8.0), "n_datasets": 1000, **options})
    assert "\n" not in str(error.value)


def test_a_given_distance_is_that_of_the_alternatives():
    model = on_off()
    near, far = (neyman.train_statistic(model, [0.0, 4.0, 8.0], delta=d, n_datasets=3000) for d in (0.3, (2.0, 4.0)))
    assert near.values == (0.0, 8.0)
    assert far.delta == (2.0, 4.0)
    # values that are close to each other, of which one dataset tells little, are harder to tell apart
    assert near.auc < far.auc - 0.1


def test_a_model_without_its_simulator_cannot_train_one(tmp_path: Path):
    normal_model().save(tmp_path / "model.neyman")
    model = neyman.Model.load(tmp_path / "model.neyman")
    with pytest.raises(Unsupported, match="holds no simulator"):
        neyman.train_statistic(model, (-2.0, 2.0), n_datasets=1000)


def test_the_commands_train_a_statistic_and_use_it(tmp_path: Path):
    model, path = tmp_path / "model.neyman", tmp_path / "statistic.neyman"
    on_off().save(model)
    observed, command = on_off().expected_data(at(on_off(), mu=2.0, norm=1.0)), CliRunner()

    trained = command.invoke(
        main, ["train-statistic", str(model), "--values", "0:8", "--datasets", "2000", "-o", str(path)]
    )
    assert trained.exit_code == 0, trained.output
    assert "LearnedStatistic of mu from 0 to 8" in trained.stderr
    result = command.invoke(main, ["interval", str(model), "--asimov", "2", "--statistic", str(path), "--toys", "500"])
    assert result.exit_code == 0, result.output
    [[low, high]] = json.loads(result.stdout)["intervals"]
    assert json.loads(result.stdout)["test_stat"] == "learned"
    statistic = neyman.LearnedStatistic.load(path, on_off())
    [[below, above]] = neyman.interval(
        observed, on_off(), test_stat="learned", statistic=statistic, n_toys=500
    ).intervals
    np.testing.assert_allclose([low, high], [below, above])
    covers = command.invoke(main, ["coverage", str(model), "--values", "2", "--statistic", str(path), "--toys", "50"])
    assert "coverage of the 68 % interval on mu (learned, toys)" in covers.stderr
    refused = command.invoke(main, ["interval", str(model), "--asimov", "2", "--statistic", str(path),
                                    "--calibration", "asymptotics"])  # fmt: skip
    assert refused.exit_code == 1
    assert refused.stderr.startswith("neyman: only toys can calibrate")
    wrong = command.invoke(main, ["train-statistic", str(model), "--values", "ten", "-o", str(path)])
    assert wrong.exit_code == 2
    assert "LOW:HIGH" in wrong.stderr


@pytest.mark.parametrize(("at", "lost"), [(30, 30), (250, 50)])
def test_an_interrupted_training_goes_on_to_the_same_statistic(tmp_path, monkeypatch, at, lost):
    """Interrupted in either stage, of 200 and 300 steps: a stage that was done is not done again."""
    step, steps = torch.optim.AdamW.step, []

    def interrupted(*args, **options):
        steps.append(1)
        if len(steps) == at:
            raise KeyboardInterrupt
        return step(*args, **options)

    def trained(**options):
        return neyman.train_statistic(on_off(), (0.0, 8.0), n_datasets=1000, **options)

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(checkpoint=tmp_path)
        resumed = trained(checkpoint=tmp_path)
    whole, tested = trained(), np.linspace(0.0, 8.0, 5)
    assert np.array_equal(resumed.evaluate(counts(55.0), tested), whole.evaluate(counts(55.0), tested))
    assert len(steps) <= 200 + 300 + lost
    other = trained(checkpoint=tmp_path, seed=1)
    assert not np.array_equal(other.evaluate(counts(55.0), tested), whole.evaluate(counts(55.0), tested))
