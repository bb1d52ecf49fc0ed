"""Every result goes to JSON and comes back exactly; what is not one is refused in one line."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from neyman import results
from neyman.exceptions import InvalidResult
from neyman.results import FitResult, LimitResult, LocalsResult, Result, ScanResult, ToysResult, from_dict, from_json

KINDS = [getattr(results, name) for name in results.__all__ if name.endswith(("Result", "Report")) and name != "Result"]


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that a field with this annotation may hold."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values, args))
    if origin is np.ndarray:
        dtype = np.dtype(get_args(args[1])[0])
        return npst.arrays(dtype, npst.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=4))
    if origin is tuple and args[-1] is not Ellipsis:
        return st.tuples(*map(values, args))
    if origin in (tuple, list):
        return st.lists(values(args[0]), max_size=3).map(origin)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), values(args[1]), max_size=3)
    if hint is Any:  # what reports of trainings are made of
        leaves = st.one_of(st.booleans(), st.integers(), st.floats(), st.sampled_from(["samples", ""]))
        return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
    if dataclasses.is_dataclass(hint):
        return st.builds(hint, **{name: values(of) for name, of in get_type_hints(hint).items()})
    return {
        types.NoneType: st.none(),
        str: st.text(max_size=8),
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(),
    }[hint]


def same(a: Any, b: Any) -> bool:
    """Whether two values have the same type, shape and content, nan being nan and -0.0 not 0.0."""
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape) == (b.dtype, b.shape) and same(a.ravel().tolist(), b.ravel().tolist())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b) if isinstance(a, float) else bool(a == b)


@pytest.mark.parametrize("shape", [(5, 0, 2), (0, 3, 2), (4, 3, 0), (4, 0)])
def test_an_empty_array_keeps_its_axes(shape: tuple[int, ...]) -> None:
    result = LocalsResult(("z", "w"), np.empty(shape))
    assert from_json(result.to_json()).draws.shape == shape  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_every_result_comes_back_from_json_with_the_same_values_types_and_shapes(
    kind: type[Result], data: st.DataObject
) -> None:
    hints = get_type_hints(kind)
    fields = {f.name: data.draw(values(hints[f.name]), label=f.name) for f in dataclasses.fields(kind)}
    if kind is ScanResult and isinstance(fields["values"], np.ndarray):
        fields["values"] = fields["values"].ravel()  # a pair of axes is a tuple
    result = kind(**fields)
    assert same(from_json(result.to_json()), result)


def test_toys_without_fits_come_back_with_their_shapes() -> None:
    toys = ToysResult(
        ("mu", "norm"), np.ones(2), "simulation", 3, np.ones((4, 1)), np.empty((4, 0)), np.empty((0, 2)), np.empty(0),
        np.empty(0, dtype=bool),
    )  # fmt: skip
    back = from_json(toys.to_json())
    assert isinstance(back, ToysResult)
    assert same(back, toys)
    assert repr(back) == repr(toys)


def test_the_text_is_valid_json_where_numbers_are_not_finite() -> None:
    scan = ScanResult("mu", np.array([0.0, 1.0, 2.0]), np.array([np.inf, np.nan, 0.0]), -math.inf, math.nan)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    fields = json.loads(scan.to_json(), parse_constant=refuse)
    assert fields["delta_twice_nll"] == ["Infinity", None, 0.0]
    assert (fields["bestfit"], fields["uncertainty"]) == ("-Infinity", None)


def a_limit() -> LimitResult:
    return LimitResult("mu", 0.95, 1.2, np.ones(5), np.arange(2.0), np.ones(2), np.ones((2, 5)))


def test_a_file_of_before_the_format_had_a_number_is_read() -> None:
    fields = a_limit().to_dict()
    del fields["format"]
    old = from_dict({**fields, "level": 0.05})  # one minus the confidence level, then
    assert isinstance(old, LimitResult)
    assert old.level == pytest.approx(0.95)
    fit = {"names": ["mu"], "bestfit": [1], "uncertainty": [None], "covariance": [[0.1]], "twice_nll": 3, "minos": {}}
    read = from_json(json.dumps({"result": "fit", **fit, "valid": True, "message": "converged."}))
    assert isinstance(read, FitResult)
    assert read["mu"] == 1.0
    assert math.isnan(read.error("mu"))
    assert read.labels == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "a limit of format 2, but this version reads up to 1: upgrade neyman"),
        ({"format": "new"}, "a limit of format 'new', but this version reads up to 1: upgrade neyman"),
        ({"result": "limt"}, "not a result: expected the JSON of one of fit, scan, "),
        ({"levl": 0.9}, r"not a result: a limit has no field 'levl'; did you mean 'level'\?"),
        ({"name": 3}, "name of the limit: expected a text, found 3"),
        ({"level": "high"}, "level of the limit: expected a number, found 'high'"),
        ({"level": True}, "level of the limit: expected a number, found True"),
        ({"scan": 1.0}, r"scan of the limit: expected numbers, found 1\.0"),
        ({"scan": ["a"]}, r"scan of the limit: expected numbers, found \['a'\]"),
        ({"scan": [[1], [1, 2]]}, r"scan of the limit: expected numbers, found \[\[1\], \[1, 2\]\]"),
        ({"scan": {"shape": [2]}}, "scan of the limit: expected numbers, found {'shape'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_fields_is_said_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidResult, match=message) as caught:
        from_dict({**a_limit().to_dict(), **change})
    assert "\n" not in str(caught.value)


def test_missing_fields_are_named() -> None:
    fields = a_limit().to_dict()
    del fields["scan"], fields["observed"]
    with pytest.raises(InvalidResult, match=r"not a result: the limit has no observed, scan$"):
        from_dict(fields)


def test_whole_numbers_and_truth_values_are_not_guessed() -> None:
    toys = ToysResult((), np.ones(0), "model", 1, np.ones((1, 1)), np.ones((1, 0)), np.ones((1, 0)), np.ones(1),
                      np.ones(1, dtype=bool)).to_dict()  # fmt: skip
    for change in ({"seed": 1.5}, {"seed": True}, {"fitted": [1]}, {"fitted": [0.5]}):
        with pytest.raises(InvalidResult, match=r"expected (a whole number|truth values), found"):
            from_dict({**toys, **change})


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3", '{"result": ["fit"]}'])
def test_what_is_not_a_result_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidResult, match="not a result") as caught:
        from_json(text)
    assert "\n" not in str(caught.value)
