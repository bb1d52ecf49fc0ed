"""A plain pyhf.Model is taken in the place of a neyman.Model: the same likelihood, made once for each object."""

from __future__ import annotations

import gc
import pickle
import weakref

import numpy as np
import pyhf
import pytest

import neyman
from neyman.exceptions import InvalidParameter, Unsupported
from neyman.model.plain import as_model

SPEC = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]).spec
NORMSYS = pyhf.simplemodels.correlated_background([5.0, 6.0], [50.0, 40.0], [65.0, 42.0], [45.0, 30.0]).spec


def test_a_neyman_model_passes_through():
    model = neyman.Model(SPEC, {}, poi_name="mu")
    assert as_model(model) is model


@pytest.mark.parametrize("settings", [None, {"histosys": {"interpcode": "code0"}, "normsys": {"interpcode": "code1"}}])
def test_the_likelihood_is_that_of_pyhf(settings):
    options = {} if settings is None else {"modifier_settings": settings}
    plain = pyhf.Model(NORMSYS, **options)
    data = [60.0, 45.0, *plain.config.auxdata]
    pars = [-1.7, 1.2]
    assert as_model(plain).logpdf(pars, data) == pytest.approx(plain.logpdf(pars, data), rel=1e-12)


def test_it_is_made_once_for_each_object_and_forgotten_with_it():
    plain, other = pyhf.Model(SPEC), pyhf.Model(SPEC)
    twin = weakref.ref(as_model(plain))
    assert as_model(plain) is twin()
    assert as_model(other) is not twin()
    del plain
    gc.collect()
    assert twin() is None


def test_settings_changed_by_the_user_count():
    plain = pyhf.Model(SPEC)
    as_model(plain)
    plain.config.param_set("mu").suggested_bounds = [(-5.0, 5.0)]
    plain.config.param_set("uncorr_bkguncrt").suggested_fixed = [True, False]
    twin = as_model(plain)
    assert twin.config.suggested_bounds() == plain.config.suggested_bounds()
    assert twin.config.suggested_fixed() == plain.config.suggested_fixed()
    plain.config.set_poi(None)
    assert as_model(plain).config.poi_name is None


def test_a_model_without_poi_has_none():
    assert as_model(pyhf.Model(SPEC, poi_name=None)).config.poi_name is None


def test_the_interpolation_stays_with_the_model(tmp_path):
    settings = {"histosys": {"interpcode": "code0"}, "normsys": {"interpcode": "code1"}}
    model = neyman.Model(NORMSYS, {}, poi_name="mu", modifier_settings=settings)
    model.save(tmp_path / "model.neyman")
    pars = np.array([-1.7, 1.2])
    for copy in (pickle.loads(pickle.dumps(model)), neyman.Model.load(tmp_path / "model.neyman")):
        assert copy.fingerprint == model.fingerprint
        assert copy.expected_data(pars).tolist() == model.expected_data(pars).tolist()
    assert model.fingerprint != neyman.Model(NORMSYS, {}, poi_name="mu").fingerprint


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (pyhf.Model(SPEC, clip_bin_data=0.0), Unsupported, "clip_bin_data has no exact gradient"),
        (pyhf.Model(SPEC, batch_size=2), Unsupported, "with a batch_size"),
        (pyhf.Workspace, InvalidParameter, "model is a type: it must be a neyman.Model or a pyhf.Model"),
        (None, InvalidParameter, "model is a NoneType"),
    ],
)
def test_what_is_no_likelihood_of_ours_is_refused_in_one_line(model, error, message):
    with pytest.raises(error, match=message) as refusal:
        as_model(model)
    assert "\n" not in str(refusal.value)


def test_modifiers_that_pyhf_does_not_have_are_refused():
    class MyNormsys(pyhf.modifiers.normsys.normsys_builder):
        pass

    own = {**pyhf.modifiers.histfactory_set, "mine": (MyNormsys, pyhf.modifiers.normsys.normsys_combined)}
    spec = {
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {
                        "name": "s",
                        "data": [5.0],
                        "modifiers": [{"name": "x", "type": "mine", "data": {"hi": 1.1, "lo": 0.9}}],
                    }
                ],
            }
        ]
    }
    plain = pyhf.Model(spec, modifier_set=own, validate=False, poi_name=None)
    with pytest.raises(Unsupported, match="modifiers of the type mine"):
        as_model(plain)


@pytest.mark.parametrize("settings", [{"normsys": {"interpcode": "code9"}}, {"normsys": "code1"}])
def test_modifier_settings_without_meaning_are_refused(settings):
    sample = {
        "name": "background",
        "data": [50.0],
        "modifiers": [
            {"name": "mu", "type": "normfactor", "data": None},
            {"name": "xsec", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
            {"name": "tilt", "type": "histosys", "data": {"hi_data": [51.0], "lo_data": [48.0]}},
        ],
    }
    with pytest.raises(InvalidParameter, match="modifier_settings are"):
        neyman.Model({"channels": [{"name": "CR", "samples": [sample]}]}, {}, modifier_settings=settings)
