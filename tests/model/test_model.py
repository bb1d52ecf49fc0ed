"""The model: packing of data, likelihood and gradient, Asimov ensembles, toys, pickles."""

from __future__ import annotations

import pickle

import numpy as np
import pyhf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neyman
from neyman.exceptions import InvalidEnsemble, InvalidParameter, Unsupported
from neyman.inputs.workspace import Workspace


def parameters(model, rng):
    """Random parameters well inside their bounds, in the model's order."""
    values = {"mu": rng.uniform(0, 3), "norm": rng.uniform(0.7, 1.3), "lumi": rng.uniform(0.95, 1.05)}
    values["scale"] = rng.uniform(-2.5, 2.5)
    return np.array([values[name] for name in model.config.par_names])


def test_data_and_ensemble_are_inverse(model, data):
    again = model.data(model.ensemble(data))
    assert np.array_equal(again, data)


def test_main_data_of_a_learned_channel_is_its_sum_of_weights(model, data):
    ensemble = model.ensemble(data)
    assert data[model.config.channel_slices["SR"]] == pytest.approx(ensemble.events["SR"].weights.sum())


@pytest.mark.parametrize("change", [slice(None, -1), slice(3, None), slice(0, 2)])
def test_a_vector_of_the_wrong_length_is_refused(model, data, change):
    with pytest.raises(pyhf.exceptions.InvalidPdfData, match="data has len"):
        model.logpdf(model.config.suggested_init(), data[change])


def test_main_data_that_contradict_the_events_are_refused(model, data):
    wrong = data.copy()
    wrong[model.config.channel_slices["SR"]] += 1
    with pytest.raises(pyhf.exceptions.InvalidPdfData, match="channel SR"):
        model.logpdf(model.config.suggested_init(), wrong)


def test_events_with_another_number_of_features_are_refused(model):
    ensemble = neyman.Ensemble({"SR": neyman.Events(np.zeros((3, 5)))}, {"CR": [1, 2]})
    with pytest.raises(InvalidEnsemble, match="channel SR: the events have 5 features, the model 2: x, y"):
        model.data(ensemble)


def test_a_missing_channel_is_named(model):
    with pytest.raises(InvalidEnsemble, match="channel CR"):
        model.data(neyman.Ensemble({"SR": neyman.Events(np.zeros((3, 2)))}))


def test_a_wrong_number_of_parameters_is_refused(model, data):
    with pytest.raises(pyhf.exceptions.InvalidPdfParameters):
        model.logpdf([1.0], data)


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_is_that_of_the_likelihood(model, data, seed):
    pars = parameters(model, np.random.default_rng(seed))
    step = 1e-5
    numeric = [
        (model.evaluate(pars + step * e, data)[0] - model.evaluate(pars - step * e, data)[0]) / (2 * step)
        for e in np.eye(len(pars))
    ]
    # central differences of a value near 500 with a step of 1e-5 are good to 1e-5
    np.testing.assert_allclose(model.evaluate(pars, data)[1], numeric, rtol=1e-5, atol=1e-4)


def test_the_gradient_is_exact_where_a_rate_is_zero(model, data):
    pars = np.array(model.config.suggested_init())
    mu = model.config.poi_index
    pars[mu] = 0.0
    step = 1e-6
    up = pars.copy()
    up[mu] = step
    forward = (model.evaluate(up, data)[0] - model.evaluate(pars, data)[0]) / step
    assert model.evaluate(pars, data)[1][mu] == pytest.approx(forward, rel=1e-3)


def test_the_likelihood_is_minus_infinity_where_a_density_is_negative(model, data):
    pars = np.array(model.config.suggested_init())
    pars[model.config.poi_index] = -50.0
    assert model.logpdf(pars, data) == -np.inf


@given(st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_the_likelihood_ignores_the_order_of_events_and_their_splitting(trained, seed):
    rng = np.random.default_rng(seed)
    pars = parameters(trained, rng)
    events = neyman.Events(rng.normal(size=(50, 2)), rng.uniform(0.5, 2.0, size=50))
    order = rng.permutation(50)
    halves = neyman.Events(np.repeat(events.features, 2, axis=0), np.repeat(events.weights / 2, 2))
    counts = {"CR": [200, 150]}
    values = [
        trained.logpdf(pars, trained.data(neyman.Ensemble({"SR": e}, counts)))[0]
        for e in (events, events[order], halves)
    ]
    assert values[1] == pytest.approx(values[0], abs=1e-5)
    assert values[2] == pytest.approx(values[0], abs=1e-5)


def test_no_events_at_all_are_legal_data(model):
    empty = model.data(neyman.Ensemble({"SR": neyman.Events(np.empty((0, 2)))}, {"CR": [200, 150]}))
    value, gradient = model.evaluate(model.config.suggested_init(), empty)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_data_changed_in_place_are_noticed(model, data):
    pars = model.config.suggested_init()
    before = model.logpdf(pars, data)
    data[4] += 1.0  # a feature of the first event
    assert model.logpdf(pars, data) != before


@pytest.mark.parametrize("seed", range(3))
def test_every_score_is_zero_on_an_asimov_ensemble(model, seed):
    pars = parameters(model, np.random.default_rng(seed))
    gradient = model.evaluate(pars, model.expected_data(pars))[1]
    np.testing.assert_allclose(gradient, 0.0, atol=1e-8)


def test_expected_data_are_the_expected_rates(model):
    pars = np.array(model.config.suggested_init())
    expected = model.expected_data(pars)
    np.testing.assert_allclose(expected[: model.config.nmaindata], model.main_model.expected_data(pars))
    assert expected.ndim == 1


def test_toys_follow_the_expected_counts(model):
    np.random.seed(4)
    pars = np.array(model.config.suggested_init())
    toys = model.make_pdf(pars).sample((400,))
    mean = np.mean([toy[: model.config.nmaindata] for toy in toys], axis=0)
    expected = model.expected_data(pars)[: model.config.nmaindata]
    # five standard errors of the mean of 400 Poisson counts
    np.testing.assert_allclose(mean, expected, atol=5 * np.sqrt(expected.max() / 400))


def test_toys_are_the_same_at_every_look(model):
    toys = model.make_pdf(model.config.suggested_init()).sample((3,))
    assert all(np.array_equal(a, b) for a, b in zip(list(toys), list(toys), strict=True))


def test_a_pickled_model_gives_the_same_likelihood(model, data):
    again = pickle.loads(pickle.dumps(model))
    pars = model.config.suggested_init()
    assert again.logpdf(pars, data) == model.logpdf(pars, data)
    pyhf.set_backend("numpy", precision="64b")
    assert again.logpdf(pars, data) == model.logpdf(pars, data)


def test_a_saturated_goodness_of_fit_is_refused(model):
    with pytest.raises(Unsupported, match="goodness of fit"):
        _ = model.fullpdf_tv


@pytest.mark.filterwarnings("ignore:Creating a tensor from a list")  # pyhf's own, on changing the backend
def test_another_backend_is_refused_with_a_way_out(model, data):
    pytest.importorskip("pyhf.tensor.pytorch_backend", reason="later versions of pyhf have dropped it")
    pyhf.set_backend("pytorch")
    with pytest.raises(Unsupported, match=r"pyhf\.set_backend\('numpy'"):
        model.logpdf(model.config.suggested_init(), data)


def test_a_document_without_events_is_the_pyhf_model(binned_workspace):
    theirs = pyhf.Workspace(binned_workspace)
    ours = neyman.train(Workspace(binned_workspace))
    data = theirs.data(theirs.model())
    assert np.array_equal(ours.observed, data)
    expected = pyhf.infer.hypotest(1.0, data, theirs.model(), test_stat="qtilde", return_expected_set=True)
    found = pyhf.infer.hypotest(1.0, data, ours, test_stat="qtilde", return_expected_set=True)
    np.testing.assert_allclose(np.hstack(found), np.hstack(expected), atol=1e-9)


@pytest.mark.parametrize(
    ("events", "counts", "message"),
    [
        ([[np.nan, 0.0], [1.0, 1.0]], [1, 2], "channel SR: 1 of 2 events have a feature or weight that is not finite"),
        ([[0.0, 0.0]], [1, np.inf], "channel CR: the counts are not all finite"),
        ([[0.0, 0.0]], 5, "channel CR: 1 counts given"),
        ([[0.0, 0.0]], [[1, 2]], r"channel CR: 2 counts given in the shape \(1, 2\), but it has 2 bins"),
    ],
)
def test_numbers_that_cannot_be_data_are_refused(model, events, counts, message):
    with pytest.raises(InvalidEnsemble, match=message):
        model.data(neyman.Ensemble({"SR": neyman.Events(events)}, {"CR": counts}))


def test_counts_beside_the_events_of_a_learned_channel_are_refused(model):
    ensemble = neyman.Ensemble({"SR": neyman.Events([[0.0, 0.0]])}, {"CR": [1, 2], "SR": [1]})
    with pytest.raises(InvalidEnsemble, match="channel SR: the ensemble has both events and counts"):
        model.data(ensemble)


def test_where_the_density_is_negative_no_dataset_is_expected_or_drawn(model):
    pars = np.array(model.config.suggested_init())
    pars[model.config.poi_index] = -5.0
    for ask in (model.expected_data, lambda p: model.make_pdf(p).sample()):
        with pytest.raises(InvalidParameter, match=r"sample signal has a rate of -200.*density is negative at"):
            ask(pars)
