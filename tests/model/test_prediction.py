"""The prediction of every feature, learned ratio and bin is the weighted simulation, with cabinetry's uncertainties."""

from __future__ import annotations

import copy
import dataclasses

import cabinetry
import numpy as np
import pytest
import scipy.stats

import neyman
from neyman.exceptions import InvalidParameter, InvalidResult, Unsupported
from neyman.model.discriminants import discriminant
from neyman.model.toys import draw
from neyman.results import from_json

EDGES = np.linspace(-4.0, 4.0, 9)


@pytest.fixture(scope="module")
def fit(trained):
    trained.config.set_poi("mu")
    return neyman.fit(trained.observed, trained)


@pytest.fixture(scope="module")
def binned(workspace):
    """The pyhf model of histograms of x of the same simulation, whose bins begin and end far out."""
    inner = np.concatenate([[-1e3], EDGES, [1e3]])
    spec = workspace.binned({"SR": ("x", inner)})
    return spec.model(modifier_settings={"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}})


def theirs_of(binned, fit=None):
    """Cabinetry's prediction of the binned model: yields by sample, and the uncertainty of the sum in each bin."""
    results = None
    if fit is not None:
        order = [fit.index(name) for name in binned.config.par_names]
        results = cabinetry.fit.FitResults(
            fit.bestfit[order], fit.uncertainty[order], list(binned.config.par_names),
            fit.correlations[np.ix_(order, order)], 0.0,
        )  # fmt: skip
    found = cabinetry.model_utils.prediction(binned, fit_results=results)
    place = binned.config.channels.index("SR")
    yields = dict(zip(binned.config.samples, np.array(found.model_yields[place]), strict=True))
    return yields, np.array(found.total_stdev_model_bins[place][-1]), found.total_stdev_model_channels[place][-1]


def test_the_nominal_prediction_is_the_histogram_of_the_weighted_simulation(model, workspace):
    found = model.prediction(features=["y"], bins={"y": EDGES})["SR", "y"]
    for sample, events in workspace.simulation("SR").samples.items():
        expected = np.histogram(events.features[:, 1], found.edges, weights=events.weights)[0]
        np.testing.assert_allclose(found.yields[sample], expected, rtol=1e-6, atol=1e-9)
    squares = [
        np.histogram(events.features[:, 1], found.edges, weights=events.weights**2)[0]
        for events in workspace.simulation("SR").samples.values()
    ]
    np.testing.assert_allclose(found.simulation_error, np.sqrt(np.sum(squares, axis=0)), rtol=1e-6)
    events = model.observed_ensemble.events["SR"]
    np.testing.assert_array_equal(found.data, np.histogram(events.features[:, 1], found.edges)[0])
    assert found.data.sum() == len(events)  # none is beyond the open bins


@pytest.mark.parametrize("after_fit", [False, True])
def test_yields_and_uncertainties_are_those_of_cabinetry_in_bins(model, binned, fit, after_fit):
    result = fit if after_fit else None
    found = model.prediction(fit=result, features=["x"], bins={"x": EDGES})["SR", "x"]
    yields, error, total_error = theirs_of(binned, result)
    # the shape effect is that of a small network: here it follows histograms to twice their statistical error
    for sample in yields:
        assert np.all(np.abs(found.yields[sample] - yields[sample]) < 2 * found.simulation_error)
    by_parameters = np.sqrt(found.error**2 - found.simulation_error**2)
    assert np.all(np.abs(by_parameters - error) < 2 * found.simulation_error)
    assert found.total_error == pytest.approx(
        np.hypot(total_error, np.sqrt(np.sum(found.simulation_error**2))), rel=0.01
    )


def test_the_uncertainty_is_that_of_simulation_weighted_by_the_mixture_s_own_densities(model, fit):
    """The same sums by hand: the density of each sample over that at the nominal point, each parameter up and down."""
    found = model.prediction(fit=fit, features=["x"], bins={"x": EDGES})["SR", "x"]
    channel, [term] = model.learned["SR"], model.terms
    pool, index = channel.pool, np.digitize(channel.pool.features[:, 0].astype(float), EDGES)
    nominal = channel.densities(pool.summary, np.zeros(len(term.parameters)))

    def bins(pars):
        total, rates = np.zeros(len(EDGES) + 1), model.rates(pars)[0][term.samples, term.bin]
        bend = channel.densities(pool.summary, pars[term.parameters]) / nominal
        for c, rate in enumerate(rates):
            own = pool.samples == c
            weights = pool.summary.weights[own] * bend[c, own]
            total += rate * np.bincount(index[own], weights / weights.sum(), len(total))
        return total

    steps = np.diag(fit.uncertainty)
    change = np.array([(bins(fit.bestfit + step) - bins(fit.bestfit - step)) / 2 for step in steps])
    np.testing.assert_allclose(found.total, bins(fit.bestfit), rtol=1e-9)
    np.testing.assert_allclose(
        found.error**2 - found.simulation_error**2, np.diag(change.T @ fit.correlations @ change), rtol=1e-6
    )


@pytest.mark.parametrize("after_fit", [False, True])
def test_binned_channels_are_exactly_those_of_cabinetry(model, fit, after_fit):
    result = fit if after_fit else None
    found = model.prediction(fit=result, channels=["CR"])["CR"]
    results = None
    if after_fit:
        results = cabinetry.fit.FitResults(fit.bestfit, fit.uncertainty, list(fit.names), fit.correlations, 0.0)
    theirs = cabinetry.model_utils.prediction(model, fit_results=results)
    place = model.config.channels.index("CR")
    np.testing.assert_allclose(found.total, np.sum(theirs.model_yields[place], axis=0))
    np.testing.assert_allclose(found.error, theirs.total_stdev_model_bins[place][-1])
    assert found.total_error == pytest.approx(theirs.total_stdev_model_channels[place][-1])
    np.testing.assert_array_equal(found.data, model.observed_ensemble.counts["CR"])


# -- what is shown


def test_every_feature_the_ratio_of_the_poi_and_binned_channels_are_shown_by_default(model):
    found = model.prediction()
    assert [(one.channel, one.name, one.kind) for one in found.distributions] == [
        ("SR", "x", "feature"), ("SR", "y", "feature"), ("SR", "mu", "ratio"), ("CR", "", "bins"),
    ]  # fmt: skip
    assert found.label == "pre-fit"
    assert "log p(mu = 1) / p(mu = 0)" in repr(found)


def test_the_prediction_sums_to_the_rates_in_every_distribution(model, fit):
    expected = model.rates(fit.bestfit)[0].sum(axis=0)[model.config.channel_slices["SR"]].item()
    for one in model.prediction(fit=fit, channels=["SR"], bins=7).distributions:
        assert one.total.sum() == pytest.approx(expected)
        assert one.data.sum() == len(model.observed_ensemble.events["SR"])
        assert one.total_error == pytest.approx(model.prediction(fit=fit)["SR"].total_error)


def test_the_learned_ratio_of_a_sample_is_that_of_the_exact_densities(model):
    """Signal N((1, -1), 1) over background N(0, 1.5): the learned ratio is close to it in the bulk."""
    [term], pool = model.terms, model.learned["SR"].pool
    ratio = discriminant("signal", model, term, model.learned["SR"], np.array(model.config.suggested_init()))
    x, y = pool.features[:, 0].astype(float), pool.features[:, 1].astype(float)
    exact = np.log(1.5**2) - ((x - 1) ** 2 + (y + 1) ** 2) / 2 + (x**2 + y**2) / (2 * 1.5**2)
    bulk = exact > -3
    assert np.sqrt(np.mean((ratio.values(pool.summary) - exact)[bulk] ** 2)) < 0.4
    assert ratio.label == "log p(signal) / p(background)"


def test_bins_of_equal_prediction_have_it(model, fit):
    found = model.prediction(fit=fit, ratios=["signal"], bins=10, equal=True)["SR", "signal"]
    inner = found.total[np.isfinite(found.edges[:-1]) & np.isfinite(found.edges[1:])]
    assert len(inner) == 10
    np.testing.assert_allclose(inner, found.total.sum() / 10, rtol=0.02)


def test_a_region_has_its_part_of_the_prediction_and_is_complementary_to_the_rest(model, fit):
    options = {"fit": fit, "features": ["x"], "bins": {"x": EDGES}}
    whole, top, rest = (
        model.prediction(region=region, **options)["SR", "x"] for region in (None, "top 20%", "bottom 80%")
    )
    assert top.total.sum() == pytest.approx(0.2 * whole.total.sum(), rel=1e-3)
    for part in ("total", "data"):
        both = [getattr(one, part).sum() for one in (top, rest)]
        assert sum(both) == pytest.approx(getattr(whole, part).sum())
    share = [one.yields["signal"].sum() / one.total.sum() for one in (top, rest)]
    assert share[0] > 4 * share[1]  # which is where the signal is
    cut = model.prediction(region="signal > 0.5", **options)
    assert cut.region == "log p(signal) / p(background) ≥ 0.5"
    assert 0 < cut["SR", "x"].total.sum() < whole.total.sum()


def test_blind_data_are_not_shown(model):
    found = model.prediction(blind=True)
    assert all(one.data is None and np.isnan(one.chi_squared) for one in found.distributions)


def test_other_data_take_the_place_of_the_observed_ones(model):
    found = model.prediction(model.expected_data(model.config.suggested_init()), bins=8, channels=["SR"])
    for one in found.distributions:  # the Asimov data follow the learned density
        np.testing.assert_allclose(one.data, one.total, atol=0.6 * np.sqrt(one.total.max()))
        assert one.p_value > 0.9


def test_a_channel_without_events_has_a_prediction(model):
    empty = dataclasses.replace(model.observed_ensemble)
    events = neyman.Events(np.empty((0, 2)))
    data = model.data(neyman.Ensemble({"SR": events}, {"CR": [0.0, 0.0]}, empty.auxdata))
    found = model.prediction(data, ratios=["mu"], features=["x"])
    assert all(one.data.sum() == 0 and one.p_value < 1e-6 for one in found.distributions)


def test_the_distance_after_a_fit_is_a_chi_square_in_toys():
    """Of pyhf's own kind of model, fitted to each toy: the p-values are uniform, as far as 150 of them can tell."""
    signal = {"name": "signal", "data": [5.0, 20.0, 30.0, 10.0], "modifiers": [
        {"name": "mu", "type": "normfactor", "data": None}]}  # fmt: skip
    background = {"name": "background", "data": [90.0, 70.0, 60.0, 50.0], "modifiers": [
        {"name": "slope", "type": "histosys", "data": {"hi_data": [99.0, 73.0, 57.0, 45.0],
                                                        "lo_data": [81.0, 67.0, 63.0, 55.0]}},
        {"name": "xsec", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}]}  # fmt: skip
    model = neyman.Model({"channels": [{"name": "CR", "samples": [signal, background]}]}, {}, poi_name="mu")
    toys = draw([2.0 if name == "mu" else 0.0 for name in model.config.par_names], model, 150, seed=4)
    p_values, degrees = [], set()
    for toy in range(len(toys)):
        data = model.data(toys.ensemble(toy))
        [one] = model.prediction(data, neyman.fit(data, model)).distributions
        p_values.append(one.p_value)
        degrees.add(one.degrees)
    assert degrees <= {3, 4}  # mu is free
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01


def test_the_error_of_the_simulation_is_not_counted_twice_beside_a_staterror(model):
    """A staterror on the rate has the error of the total already: in one bin nothing is left for the simulation."""
    spec = copy.deepcopy(model.spec)
    for sample in next(channel for channel in spec["channels"] if channel["name"] == "SR")["samples"]:
        sample["modifiers"].append({"name": "staterror_SR", "type": "staterror", "data": [0.5]})
    with_error = neyman.Model(spec, model.learned, poi_name="mu", observed=model.observed_ensemble)
    wide = {"features": ["x"], "bins": {"x": [-1e3, 1e3]}}
    assert model.prediction(**wide)["SR", "x"].simulation_error.item() > 1
    assert with_error.prediction(**wide)["SR", "x"].simulation_error.item() == pytest.approx(0, abs=1e-6)


def test_a_prediction_goes_to_json_and_back(model, fit):
    found = model.prediction(fit=fit, region="signal: top 30%", bins=5)
    assert from_json(found.to_json()).to_json() == found.to_json()


def test_what_does_not_exist_is_refused_with_the_nearest_name(model, fit):
    for options, message in (
        ({"features": ["z"]}, "no feature 'z'"),
        ({"channels": ["S R"]}, "no channel 'S R'; did you mean 'SR'"),
        ({"ratios": ["signl"]}, "no learned ratio of 'signl'; did you mean 'signal'"),
        ({"bins": {"z": 3}}, "bins: there is no feature or ratio 'z'"),
        ({"bins": {"x": [1.0, 0.0]}}, "the bins of x are"),
        ({"bins": 0}, "the number of bins of x is 0"),
        ({"region": "some"}, "region is 'some': write 'top 20%'"),
        ({"region": "norm: top 20%"}, "no learned ratio of 'norm'"),
    ):
        with pytest.raises(InvalidParameter, match=message):
            model.prediction(**options)
    with pytest.raises(InvalidResult, match="fit this one"):
        model.prediction(fit=dataclasses.replace(fit, names=("a", *fit.names[1:])))
    with pytest.raises(Unsupported, match="a summary of a dataset has no features"):
        model.prediction(model.encode(model.observed_ensemble))
