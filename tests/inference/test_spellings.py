"""What pyhf's users write is taken, too: plain models, pyhf's names of statistics and calibrations, lists of names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyhf
import pytest

import neyman

PLAIN = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
MODEL = neyman.Model(PLAIN.spec, {}, poi_name="mu")
DATA = [70.0, 67.0, *PLAIN.config.auxdata]
NUISANCE = "uncorr_bkguncrt[0]"

CALLS: dict[str, Callable[..., Any]] = {
    "limit": lambda model, **options: neyman.limit(DATA, model, **options),
    "cls": lambda model, **options: neyman.cls(1.0, DATA, model, **options),
    "significance": lambda model, **options: neyman.significance(DATA, model, **options),
    "interval": lambda model, **options: neyman.interval(DATA, model, **{"calibration": "asymptotics", **options}),
    "coverage": lambda model, **options: neyman.coverage(
        model, [{"mu": 1.0}], **{"calibration": "asymptotics", "n_toys": 20, **options}
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_plain_pyhf_model_is_taken_as_the_same_model_of_ours(name: str) -> None:
    assert CALLS[name](PLAIN).to_json() == CALLS[name](MODEL).to_json()


@pytest.mark.parametrize("name", CALLS)
def test_a_name_holds_a_parameter_where_the_model_suggests(name: str) -> None:
    by_name, by_value = (CALLS[name](MODEL, fixed=fixed) for fixed in ([NUISANCE], {NUISANCE: 1.0}))
    assert by_name.to_json() == by_value.to_json() != CALLS[name](MODEL).to_json()


@pytest.mark.parametrize("name", CALLS)
def test_toybased_calctype_and_calibration_on_toys_are_the_same(name: str) -> None:
    options: dict[str, Any] = {"n_toys": 50, "seed": 1}
    if name == "coverage":
        options["n_calibration"] = 100
    if name in ("limit", "interval"):
        options["values" if name == "limit" else "poi_values"] = [0.5, 2.0, 6.0]
    spellings = [{"calibration": "toys"}, {"calibration": "toybased"}, {"calctype": "toybased"}]
    texts = {CALLS[name](MODEL, **options, **spelling).to_json() for spelling in spellings}
    assert len(texts) == 1


@pytest.mark.parametrize(("ours", "theirs"), [("qmu_tilde", "qtilde"), ("qmu", "q")])
@pytest.mark.parametrize("name", ["limit", "cls", "interval"])
def test_a_statistic_has_the_name_that_pyhf_gives_it(name: str, ours: str, theirs: str) -> None:
    assert CALLS[name](MODEL, test_stat=theirs).to_json() == CALLS[name](MODEL, test_stat=ours).to_json()
