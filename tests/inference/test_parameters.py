"""Starting values, bounds and held parameters: whole or by name, completed by the model, one line for what is wrong."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest

import neyman
from neyman.exceptions import InvalidParameter
from neyman.inference.parameters import checked_parameters, checked_point

SPEC = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec
NAMES = ["mu", "uncorr_bkguncrt[0]", "uncorr_bkguncrt[1]"]


@pytest.fixture(scope="module")
def model():
    return neyman.Model(SPEC, {}, poi_name="mu")


@pytest.fixture(scope="module")
def fixing():
    """A model that holds its parameter of interest at 0.5 itself."""
    parameters = [{"name": "mu", "fixed": True, "inits": [0.5]}]
    return neyman.Model({**SPEC, "parameters": parameters}, {}, poi_name="mu")


def test_what_is_not_given_is_what_the_model_suggests(model):
    given = checked_parameters(model)
    assert given.names == NAMES
    assert given.start.tolist() == model.config.suggested_init()
    assert given.bounds == model.config.suggested_bounds()
    assert not given.fixed.any()
    assert given.held == {}


def test_values_may_be_given_whole_or_by_name(model):
    whole = checked_parameters(model, [2.0, 1.0, 1.1], [(0, 5), (1e-10, 10), (0.5, 2)])
    named = checked_parameters(model, {"mu": 2.0, NAMES[2]: 1.1}, {"mu": (0, 5), NAMES[2]: (0.5, 2)})
    assert whole.start.tolist() == named.start.tolist()
    assert whole.bounds == named.bounds


@pytest.mark.parametrize(
    "fixed", [{"mu": 1.0}, ["mu"], ("mu",), "mu", [True, False, False], np.array([True, False, False])]
)
def test_held_parameters_may_be_given_with_values_by_name_or_as_pyhf_does(model, fixed):
    given = checked_parameters(model, fixed=fixed)
    assert given.fixed.tolist() == [True, False, False]
    assert given.held == {"mu": 1.0}
    assert given.start[0] == 1.0


def test_names_alone_are_held_where_the_parameters_start(model):
    assert checked_parameters(model, {"mu": 3.0}, fixed=["mu"]).held == {"mu": 3.0}
    assert checked_parameters(model, {"mu": 3.0}, fixed={"mu": 4.0}).held == {"mu": 4.0}


@pytest.mark.parametrize("nothing", [None, {}, [], ()])
def test_nothing_may_be_held(model, nothing):
    assert not checked_parameters(model, fixed=nothing).fixed.any()


def test_what_the_model_holds_fixed_stays_fixed(fixing):
    given = checked_parameters(fixing, fixed=[NAMES[1]])
    assert given.fixed.tolist() == [True, True, False]
    assert given.start[0] == 0.5
    assert given.held == {NAMES[1]: 1.0}
    with pytest.raises(InvalidParameter, match="mu is fixed by the model"):
        checked_parameters(fixing, fixed=[False, True, False])


def test_suggested_values_are_moved_into_given_bounds_but_not_held_ones(model):
    given = checked_parameters(model, bounds={"mu": (2.0, 5.0), NAMES[1]: (1.5, 3.0)}, fixed=["mu"])
    assert given.start.tolist() == [1.0, 1.5, 1.0]


def test_many_toys_may_have_values_of_their_own(model):
    given = checked_parameters(model, {"mu": [0.5, 20.0]}, {"mu": (0, 5)}, {NAMES[1]: [0.9, 1.1]}, n=2)
    assert given.start.tolist() == [[0.5, 0.9, 1.0], [5.0, 1.1, 1.0]]
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert checked_parameters(model, rows, n=2).start.tolist() == rows
    assert checked_parameters(model, rows[0], n=2).start.tolist() == [rows[0], rows[0]]


def test_bounds_may_be_infinite(model):
    assert checked_parameters(model, bounds={"mu": (-np.inf, np.inf)}).bounds[0] == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fixed": {"mue": 1.0}}, "the model has no parameter mue: did you mean 'mu'"),
        ({"fixed": ["mue"]}, "the model has no parameter mue: did you mean 'mu'"),
        ({"fixed": "nu"}, "the model has no parameter nu"),
        ({"fixed": [1.0, 2.0, 3.0]}, r'give \{"mu": 1.0\}, \["mu"\], or 3 booleans'),
        ({"fixed": [True, False]}, "or 3 booleans"),
        ({"fixed": {"mu": "one"}}, "the value that mu is fixed at is one"),
        ({"init": {"nu": 1.0}}, "the model has no parameter nu"),
        ({"init": 3.0}, "init is 3.0: give it by name, or for all parameters"),
        ({"init": [1.0, 1.0]}, "init has 2 entries for 3 parameters: mu, uncorr"),
        ({"init": {"mu": 11.0}}, r"mu starts at 11, outside its bounds \(0, 10\)"),
        ({"bounds": {"nu": (0, 1)}}, "the model has no parameter nu"),
        ({"bounds": {"mu": (0, np.nan)}}, "bounds of mu are .*: they must be a pair of numbers"),
        ({"bounds": {"mu": (1, 2, 3)}}, "bounds of mu are .*: they must be a pair of numbers"),
        ({"bounds": {"mu": (2, 2)}}, r"bounds of mu are \(2, 2\): the lower one must come first"),
        ({"bounds": 1.0}, "bounds is 1.0: give it by name, or for all parameters"),
        ({"fixed": {"mu": [1.0, 2.0]}, "n": 3}, "a number, or one for each of 3 toys"),
        ({"init": {"mu": [1.0, np.inf]}, "n": 2}, "the starting value of mu is not finite in every toy"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(model, arguments, message):
    with pytest.raises(InvalidParameter, match=message) as error:
        checked_parameters(model, **arguments)
    assert "\n" not in str(error.value)


def test_a_point_is_completed_by_what_the_model_suggests(model):
    assert checked_point({"mu": 2.0}, model, "a truth").tolist() == [2.0, 1.0, 1.0]
    assert checked_point({"mu": 2.0}, model, "a truth", [0.0, 3.0, 4.0]).tolist() == [2.0, 3.0, 4.0]
    assert checked_point([2.0, 0.9, 1.0], model, "a truth").tolist() == [2.0, 0.9, 1.0]


@pytest.mark.parametrize(
    ("pars", "message"),
    [
        ({"mue": 1.0}, "no parameter mue: did you mean 'mu'"),
        ({"mu": np.nan}, "mu in a truth is nan"),
        ([1.0], "a truth must be 3 finite numbers: mu"),
        (None, "a truth must be 3 finite numbers: mu"),
    ],
)
def test_a_point_that_cannot_be_is_refused(model, pars, message):
    with pytest.raises(InvalidParameter, match=message):
        checked_point(pars, model, "a truth")
