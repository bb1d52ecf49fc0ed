"""Arguments that many functions take are checked alike, and what is wrong with one is said in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neyman.exceptions import InvalidParameter
from neyman.support import checks
from neyman.support.messages import did_you_mean, near


@pytest.mark.parametrize(
    ("check", "arguments", "message"),
    [
        (checks.checked_seed, (-1,), "seed is -1: give a whole number from 0"),
        (checks.checked_seed, (2**63,), "seed is 9223372036854775808: give a whole number from 0"),
        (checks.checked_seed, (1.5,), "seed is 1.5"),
        (checks.checked_level, (0.05,), "did you mean 0.95?"),
        (checks.checked_level, (0.32,), "did you mean 0.68?"),
        (checks.checked_level, (68,), "level is 68: it must lie between 0.5 and 1"),
        (checks.checked_level, (1.0,), "between 0.5 and 1"),
        (checks.checked_level, (0.0,), "between 0.5 and 1"),
        (checks.checked_level, (np.nan,), "between 0.5 and 1"),
        (checks.checked_level, ("high",), "level is high"),
        (checks.checked_number, (0, "n_toys"), "n_toys is 0: it must be a whole number, at least 1"),
        (checks.checked_number, (True, "n_toys"), "n_toys is True"),
        (checks.checked_number, (10.0, "n_toys"), "n_toys is 10.0"),
        (checks.checked_finite, (np.inf, "a bound of mu"), "a bound of mu is inf: it must be a finite number"),
        (checks.checked_finite, (None, "a bound of mu"), "a bound of mu is None"),
        (checks.checked_values, ([], "the values"), "the values must be a flat list of finite numbers"),
        (checks.checked_values, ([[1.0, 2.0]], "the values"), "the values must be a flat list"),
        (checks.checked_values, ([1.0, np.nan], "the values"), "the values must be a flat list"),
        (checks.checked_values, ("abc", "the values"), "the values must be a flat list"),
        (checks.checked_pars, ([1.0], ["mu", "lumi"], "pars"), "pars must be 2 finite numbers: mu, lumi"),
        (checks.checked_pars, ([1.0, np.nan], ["mu", "lumi"], "pars"), "pars must be 2 finite numbers"),
        (checks.checked_pars, ([[1.0], [1.0, 2.0]], ["mu"], "pars"), "pars must be 1 finite numbers"),
        (checks.checked_range, ([1.0], "values", 0.0, 5.0, "mu"), "at least two values of mu within (0, 5)"),
        (checks.checked_range, ([2.0, 2.0], "values", 0.0, 5.0, "mu"), "at least two values of mu"),
        (checks.checked_range, ([1.0, 6.0], "values", 0.0, 5.0, "mu"), "at least two values of mu"),
        (checks.checked_range, ([3.0, 1.0], "values", 0.0, 5.0, "mu"), "the lowest value of mu comes first"),
        (checks.checked_range, ([1.0, np.nan], "values", 0.0, 5.0, "mu"), "at least two values of mu"),
        (checks.checked_choice, ("c", "letter", ["a", "b"]), "letter is 'c': it must be 'a' or 'b'"),
        (checks.checked_choice, (["a"], "letter", ["a", "b"]), "letter is ['a']"),
        (checks.checked_source, ("data",), "source is 'data': it must be 'simulation' or 'model'"),
    ],
)
def test_a_wrong_argument_is_refused(check: Callable[..., Any], arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_right_argument_is_returned_as_it_is_used() -> None:
    assert checks.checked_seed(np.int64(7)) == 7
    assert checks.checked_level(0.5) == 0.5
    assert checks.checked_number(np.int32(3), "n_toys") == 3
    assert checks.checked_finite("1.5", "mu") == 1.5
    assert checks.checked_values(2, "the values").tolist() == [2.0]
    assert checks.checked_range([3.0, 1.0, 2.0], "values", 1.0, 3.0, "mu") == (1.0, 3.0)
    assert checks.checked_source("model") == "model"


def test_a_checked_point_is_a_copy_that_may_be_changed() -> None:
    given = np.array([1.0, 2.0])
    checks.checked_pars(given, ["mu", "lumi"], "pars")[0] = 5.0
    assert given[0] == 1.0


def test_names_are_near_whatever_their_case() -> None:
    assert near("M4L", ["m4l", "pt4l"])[0] == "m4l"
    assert near("mass", ["signal", "background"]) == []


def test_long_lists_of_names_are_cut_short() -> None:
    names = [f"parameter{i}" for i in range(30)]
    assert did_you_mean("x", names, show=2) == "choose from parameter0, parameter1, ..."
    assert did_you_mean("x", []) == "there is none"
