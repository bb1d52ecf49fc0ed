"""A simulator: what it takes, the pyhf model its parameters make, datasets that are checked and can be made again."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pyhf
import pytest
from scipy.stats import norm

from neyman.exceptions import InvalidParameter, InvalidSimulation
from neyman.inputs.simulator import Simulator

MU = {"name": "mu", "inits": [1.0], "bounds": [[0, 10]]}
SCALE = {"name": "scale", "inits": [0.2], "bounds": [[-2, 2]], "auxdata": [0.1], "sigmas": [0.4]}
NORM = {"name": "norm", "inits": [3.0], "bounds": [[0, 9]], "auxdata": [2.5], "sigmas": [1.0], "fixed": True}
PARAMETERS = [SCALE, MU, NORM]


def onoff(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    scale, mu, nuisance = pars
    signal = rng.normal([-7.0, 0.0], 2.0, size=(rng.poisson(10 * mu), 2))
    return np.concatenate([signal, rng.normal(scale, 3.0, size=(rng.poisson(10 * nuisance), 2))])


def simulator(sample: Any = onoff, parameters: Any = PARAMETERS, poi: str | None = "mu", **options: Any) -> Simulator:
    return Simulator(sample, parameters, poi, **{"features": ["x", "y"], **options})


def returning(value: Any) -> Simulator:
    return simulator(lambda pars, rng: value)


def test_it_says_what_it_has() -> None:
    one = simulator(channel="SR")
    assert (one.names, one.poi, one.features, one.channel) == (("scale", "mu", "norm"), "mu", ("x", "y"), "SR")
    np.testing.assert_array_equal(one.bounds, [[-2, 2], [0, 10], [0, 9]])
    np.testing.assert_array_equal(one.inits, [0.2, 1.0, 3.0])
    assert repr(one) == "Simulator(onoff; parameters: scale, mu, norm; POI mu; features: x, y)"


def test_a_notebook_shows_a_table_of_its_parameters() -> None:
    html = simulator(lambda pars, rng: None)._repr_html_()
    assert "simulator &lt;lambda&gt;, parameter of interest mu, features x, y" in html
    assert (
        "<tr><td>scale</td><td>0.2</td><td>-2 to 2</td><td>0.1 ± 0.4</td><td>norm(0.1, 0.4), truncated</td></tr>"
        in html
    )
    assert "<tr><td>mu</td><td>1</td><td>0 to 10</td><td>free</td><td>uniform(0, 10)</td></tr>" in html
    assert (
        "<tr><td>norm</td><td>3 (fixed)</td><td>0 to 9</td><td>2.5 ± 1</td><td>norm(2.5, 1), truncated</td></tr>"
        in html
    )


def test_the_parameters_are_copies() -> None:
    blocks = [{"name": "mu", "inits": [1.0], "bounds": [[0, 10]]}]
    one = simulator(parameters=blocks)
    blocks[0]["inits"] = [2.0]
    one.spec()["parameters"][0]["bounds"][0][0] = -1.0
    assert one.parameters == [{"name": "mu", "inits": [1.0], "bounds": [[0.0, 10.0]], "fixed": False}]


# -- the inner model


@pytest.fixture
def inner() -> pyhf.Model:
    one = simulator()
    return pyhf.Model(one.spec(), poi_name=one.poi)


def test_pyhf_gets_every_setting_of_every_parameter(inner: pyhf.Model) -> None:
    config = inner.config
    assert config.poi_name == "mu"
    assert config.nmaindata == 1
    for block in PARAMETERS:
        one = config.par_slice(block["name"])
        assert config.suggested_init()[one] == block["inits"]
        assert np.array_equal(config.suggested_bounds()[one], block["bounds"])
        assert config.suggested_fixed()[one] == [block.get("fixed", False)]
        assert config.param_set(block["name"]).constrained == ("auxdata" in block)
    assert dict(zip(config.auxdata_order, config.auxdata, strict=True)) == {"scale": 0.1, "norm": 2.5}


def test_the_constraint_is_normal_with_the_sigma_given(inner: pyhf.Model) -> None:
    pars = np.empty(3)
    for name, value in (("scale", -0.7), ("mu", 4.0), ("norm", 1.2)):
        pars[inner.config.par_slice(name)] = value
    expected = norm.logpdf(0.1, -0.7, 0.4) + norm.logpdf(2.5, 1.2, 1.0)
    assert inner.constraint_logpdf(np.array(inner.config.auxdata), pars) == pytest.approx(expected, rel=1e-12)


def test_no_parameter_changes_the_rate(inner: pyhf.Model) -> None:
    rng = np.random.default_rng(0)
    low, high = np.transpose(inner.config.suggested_bounds())
    for pars in rng.uniform(low, high, size=(20, 3)):
        np.testing.assert_array_equal(inner.expected_actualdata(pars), [0.0])


def test_a_single_constrained_parameter_makes_a_model() -> None:
    assert pyhf.Model(simulator(parameters=[SCALE], poi=None).spec(), poi_name=None).config.auxdata == [0.1]


# -- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "parameter 0 is .* a name"),
        ({"init": [1.0]}, "mu has the unknown key init: known are name, inits"),
        ({"inits": [1.0, 2.0]}, r"mu has inits \[1.0, 2.0\]: give one finite number"),
        ({"inits": ["one"]}, "mu has inits .*: give one finite number"),
        ({"inits": [11.0]}, "mu has the init 11.0, out of its bounds"),
        ({"bounds": [0, 10]}, "mu has bounds .*: give one pair"),
        ({"bounds": [[0, float("inf")]]}, "mu has bounds .* finite"),
        ({"bounds": [[10, 0]]}, "the first must be below the second"),
        ({"auxdata": [1.0]}, "mu has auxdata: a constraint takes auxdata and sigmas"),
        ({"auxdata": [1.0], "sigmas": [0.0]}, "mu has the sigma 0.0: it must be positive"),
        ({"fixed": [True]}, "mu has fixed"),
    ],
)
def test_a_wrong_parameter_block_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        simulator(parameters=[{**MU, **change}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 3}, "sample is 3: give a function"),
        ({"poi": "nu"}, "poi is 'nu', which is no parameter: give one of scale, mu, norm or None"),
        ({"parameters": [MU, MU]}, "parameters has the same name twice: mu, mu"),
        ({"parameters": [], "poi": None}, "give a list of names"),
        ({"parameters": [{"name": "mu", "bounds": [[0, 1]]}]}, "mu has no inits"),
        ({"features": "x"}, "features is 'x': give a list of names"),
        ({"features": []}, "features is .*: give a list of names"),
    ],
)
def test_a_wrong_argument_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        simulator(**options)


@pytest.mark.parametrize("pars", [[1.0, 2.0], [[0.2, 1.0, 3.0]], [0.2, float("nan"), 3.0]])
def test_parameters_that_are_too_few_or_not_finite_are_refused(pars: Any) -> None:
    with pytest.raises(InvalidParameter, match="pars must be 3 finite numbers: scale, mu, norm"):
        simulator().draw(pars, 1)


@pytest.mark.parametrize("seed", [-1, "one", [1, -1]])
def test_a_wrong_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InvalidParameter, match=r"seed is .*: give a non-negative integer"):
        simulator().draw([0.2, 1.0, 3.0], seed)


# -- draws


def test_the_same_seed_gives_the_same_dataset() -> None:
    one = simulator()
    first, again, other = (one.draw([0.2, 1.0, 3.0], seed) for seed in ([3, 7], [3, 7], [3, 8]))
    np.testing.assert_array_equal(first.features, again.features)
    assert first.features.dtype == np.float32
    assert (first.weights == 1.0).all()
    assert first.features.shape != other.features.shape or (first.features != other.features).any()


def test_it_is_what_the_function_gives_with_that_generator() -> None:
    pars = np.array([0.2, 20.0, 3.0])  # out of bounds, which is allowed
    expected = onoff(pars, np.random.default_rng([3, 7])).astype(np.float32)
    np.testing.assert_array_equal(simulator().draw(pars, [3, 7]).features, expected)


@pytest.mark.parametrize("empty", [[], np.empty((0, 2)), np.empty(0)])
def test_a_dataset_may_be_empty(empty: Any) -> None:
    assert returning(empty).draw([0.2, 1.0, 3.0], 1).features.shape == (0, 2)


def test_lists_and_integers_are_events() -> None:
    np.testing.assert_array_equal(returning([[1, 2], [3, 4]]).draw([0.2, 1.0, 3.0], 1).features, [[1, 2], [3, 4]])


def test_a_simulator_that_changes_its_parameters_or_reuses_its_array_harms_nobody() -> None:
    array = np.zeros((1, 2), dtype=np.float32)

    def rude(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        array[:] = pars[0]
        pars[:] = -1.0
        return array

    pars, one = np.array([0.2, 1.0, 3.0]), simulator(rude)
    first = one.draw(pars, 1)
    one.draw([0.5, 1.0, 3.0], 1)
    np.testing.assert_array_equal(pars, [0.2, 1.0, 3.0])
    np.testing.assert_array_equal(first.features, np.float32([[0.2, 0.2]]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"the simulator returned shape \(\), not \(events, 2\), the features being x, y"),
        (np.zeros((4, 3)), r"the simulator returned shape \(4, 3\), not \(events, 2\)"),
        (np.zeros((4, 2, 1)), r"the simulator returned shape \(4, 2, 1\)"),
        ([[1.0, 2.0], [3.0]], "the simulator returned a list that makes no array"),
        ([["a", "b"]], r"the simulator returned dtype\('<U1'\) instead of real numbers"),
        ([[1.0, 2.0], [1.0, float("nan")]], "y, as float32, is not finite: .* returned nan in 1 of 2 events"),
        ([[1e39, 2.0]], r"x, as float32, is not finite: .* returned 1e\+39 in 1 of 1 events"),
    ],
)
def test_events_that_cannot_be_used_are_an_error_with_parameters_and_seed(value: Any, message: str) -> None:
    with pytest.raises(InvalidSimulation, match=message + r".*\(at scale=0.2, mu=1.0, norm=3.0, seed=\[3, 7\]\)$"):
        returning(value).draw([0.2, 1.0, 3.0], [3, np.int64(7)])


def test_one_feature_still_needs_two_dimensions() -> None:
    with pytest.raises(InvalidSimulation, match=r"shape \(5,\), .*: reshape them to \(events, 1\)"):
        simulator(lambda pars, rng: np.zeros(5), features=["x"]).draw([0.2, 1.0, 3.0], 1)


def test_what_the_simulator_raises_is_the_cause() -> None:
    def failing(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise ZeroDivisionError("no\nbeam")

    message = re.escape("the simulator raised ZeroDivisionError: no beam (at scale=0.2, mu=1.0, norm=3.0, seed=5)")
    with pytest.raises(InvalidSimulation, match=message) as caught:
        simulator(failing).draw([0.2, 1.0, 3.0], 5)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_it_can_be_pickled_where_its_function_can() -> None:
    one = simulator()
    copied = pickle.loads(pickle.dumps(one))
    assert copied.spec() == one.spec()
    np.testing.assert_array_equal(copied.draw(one.inits, 1).features, one.draw(one.inits, 1).features)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(returning(None))


# -- what is local to events, and events that have a shape


def groups(pars: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    z = rng.normal(pars[1], 1.0, size=(rng.poisson(5.0), 1))
    return rng.normal(z, 0.5, size=(len(z), 2)), z


def images(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(3, 4, 5)) + pars[1]


def test_what_is_local_comes_beside_the_same_events() -> None:
    one = simulator(groups, locals=["z"])
    events, z = one.draw_with_locals([0.1, 2.0, 1.0], seed=5)
    assert (one.local_names, z.shape) == (("z",), (len(events), 1))
    np.testing.assert_array_equal(events.features, one.draw([0.1, 2.0, 1.0], seed=5).features)
    assert repr(one) == "Simulator(groups; parameters: scale, mu, norm; POI mu; features: x, y; locals: z)"


def test_without_local_parameters_there_are_none() -> None:
    events, z = simulator().draw_with_locals([0.1, 2.0, 1.0], seed=5)
    assert z.shape == (len(events), 0)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.zeros((3, 2)), r"returned a ndarray, not \(events, locals\), the locals being z"),
        ((np.zeros((3, 2)), 1, 2), r"returned a tuple of 3, not \(events, locals\)"),
        ((np.zeros((3, 2)), np.zeros((2, 1))), "returned 3 events, but locals of 2"),
        ((np.zeros((3, 2)), np.zeros(3)), r"locals of shape \(3,\), not \(events, 1\), .* z: reshape them"),
        ((np.zeros((3, 2)), np.zeros((3, 2))), r"locals of shape \(3, 2\), not \(events, 1\)"),
        ((np.zeros((3, 2)), [[0.0], [np.nan], [1.0]]), "z, as float32, is not finite: .* nan in 1 of 3 events"),
        ((np.zeros((3, 2)), [["a"], ["b"], ["c"]]), "locals of dtype.* instead of real numbers"),
        ((np.zeros((3, 2)), [[1], [1, 2], [3]]), "locals of a list that makes no array"),
    ],
)
def test_local_parameters_that_are_none_are_refused(returned: Any, message: str) -> None:
    with pytest.raises(InvalidSimulation, match=message):
        simulator(lambda pars, rng: returned, locals=["z"]).draw([0.1, 1.0, 3.0], 0)


def test_a_second_array_needs_names() -> None:
    with pytest.raises(InvalidSimulation, match=r"a tuple: return the events alone, or name .* locals="):
        simulator(groups).draw([0.1, 1.0, 3.0], 0)


def test_events_with_a_shape_travel_flattened() -> None:
    one = simulator(images, features=["image"], event_shape=(4, 5))
    drawn = one.draw([0.1, 1.0, 3.0], seed=2)
    expected = images(np.array([0.1, 1.0, 3.0]), np.random.default_rng(2)).reshape(3, 20)
    np.testing.assert_allclose(drawn.features, expected, rtol=1e-6)  # float32
    assert (one.features, one.event_shape, len(one.columns)) == (("image",), (4, 5), 20)
    assert (one.columns[0], one.columns[-1]) == ("image[0,0]", "image[3,4]")
    assert "features: image (4 x 5)" in repr(one)
    assert pickle.loads(pickle.dumps(one)).event_shape == (4, 5)


def test_events_of_another_shape_are_refused() -> None:
    one = simulator(images, features=["image"], event_shape=(5, 4))
    with pytest.raises(InvalidSimulation, match=r"shape \(3, 4, 5\), not \(events, 5, 4\), each event being one image"):
        one.draw([0.1, 1.0, 3.0], 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"locals": "z"}, "locals is 'z': give a list of names"),
        ({"locals": ["z", "z"]}, "locals has the same name twice"),
        ({"locals": ["mu"]}, "locals has mu, which is a parameter of the whole dataset"),
        ({"event_shape": (4, 5)}, r"features has 2 names, but events have the shape \(4, 5\): give one name"),
        ({"event_shape": 4, "features": ["image"]}, r"event_shape is 4: give the shape of one event"),
        ({"event_shape": (4, 0), "features": ["image"]}, r"event_shape is \(4, 0\)"),
    ],
)
def test_names_and_shapes_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        simulator(**options)
