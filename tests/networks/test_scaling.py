"""What networks see of features: sentinels, categories, tails over orders, and files of before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neyman.networks.kinds import kind_of, load_encoder, set_options
from neyman.networks.mixture import CrossFitClassifier
from neyman.networks.scaling import FeatureScaler, robust_scaler


def scaled(x: np.ndarray) -> tuple[FeatureScaler, np.ndarray]:
    features = torch.from_numpy(np.asarray(x, dtype=np.float32).reshape(len(x), -1))
    scaler = robust_scaler(features)
    return scaler, scaler(features).numpy()


@pytest.mark.parametrize("share", [0.005, 0.1, 0.3, 0.6, 0.95])
def test_a_sentinel_in_any_share_of_the_events_leaves_the_bulk_as_it_is_without(share):
    rng = np.random.default_rng(1)
    bulk = rng.exponential(50.0, 20_000)
    gone = rng.random(20_000) < share
    scaler, seen = scaled(np.where(gone, -999.0, bulk))
    _, expected = scaled(bulk[~gone])
    assert scaler.spikes.tolist() == [-999.0]
    np.testing.assert_allclose(seen[~gone, 0], expected[:, 0], atol=1e-5)
    assert np.array_equal(seen[:, 1], gone.astype(np.float32))
    assert not seen[gone, 0].any()


def test_several_spikes_of_a_feature_have_an_indicator_each_although_they_are_neighbours():
    rng = np.random.default_rng(2)
    values = np.array([-999.0, -99.0, -9.0, 0.0])
    kind = rng.integers(0, 6, 20_000)
    x = np.where(kind < 4, values[np.minimum(kind, 3)], rng.normal(30.0, 10.0, 20_000))
    scaler, seen = scaled(x)
    assert sorted(scaler.spikes.tolist()) == values.tolist()
    assert np.array_equal(seen[:, 1:].sum(axis=1), kind < 4)


def test_a_spike_is_found_again_in_double_precision_data():
    x = np.where(np.random.default_rng(3).random(5000) < 0.2, -999.9, np.random.default_rng(4).normal(size=5000))
    _, seen = scaled(x)  # -999.9 is another number in single precision
    assert seen[:, 1].sum() == np.count_nonzero(x == -999.9)


def test_charges_and_particle_numbers_are_categories():
    rng = np.random.default_rng(5)
    x = np.stack([rng.choice([-1, 1], 5000), rng.choice([-13, -11, 11, 13], 5000)], axis=1)
    scaler, seen = scaled(x)
    assert scaler.size == 2 + 2 + 4
    assert not seen[:, :2].any()
    assert np.array_equal(seen[:, 2:].sum(axis=1), np.full(5000, 2.0))


def test_rounded_and_integer_features_with_many_values_have_no_spikes():
    rng = np.random.default_rng(6)
    x = np.stack([np.round(rng.normal(91.0, 10.0, 50_000), 1), rng.poisson(300.0, 50_000)], axis=1)
    assert scaled(x)[0].size == 2


def test_a_constant_feature_is_zero():
    x = np.full(1000, 1e9)
    scaler, seen = scaled(x)
    assert scaler.size == 1
    assert not seen.any()


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_units_do_not_matter(unit):
    x = np.random.default_rng(7).normal(3.0, 0.5, 5000)
    np.testing.assert_allclose(scaled(unit * x)[1], scaled(x)[1], atol=1e-4)


def test_a_spectrum_over_six_orders_is_spread_evenly():
    x = 10 ** np.random.default_rng(8).uniform(0.0, 6.0, 20_000)
    _, seen = scaled(x)
    # the lower half was within a thousandth of a scale when all was linear
    decades = [np.ptp(seen[(x >= 10.0**k) & (x < 10.0 ** (k + 1)), 0]) for k in range(6)]
    assert min(decades) > 0.3
    assert np.abs(seen).max() < 6
    order = np.argsort(x)
    assert np.all(np.diff(seen[order, 0]) >= 0)


def test_a_cauchy_tail_is_kept_and_does_not_dominate():
    x = np.random.default_rng(9).standard_cauchy(100_000)
    scaler, seen = scaled(x)
    assert not len(scaler.bent)
    assert np.abs(seen).max() < 20
    assert len(np.unique(seen)) > 99_000  # nothing is lost


def spiked() -> FeatureScaler:
    rng = np.random.default_rng(10)
    x = np.stack(
        [np.where(rng.random(5000) < 0.3, -999.0, rng.normal(size=5000)), 10 ** rng.uniform(0, 6, 5000)], axis=1
    )
    return scaled(x)[0]


@pytest.mark.parametrize("kind", ["event", "deepset", "transformer"])
def test_an_encoder_comes_back_with_its_spikes(kind):
    options = set_options(kind_of(kind), {})
    encoder = kind_of(kind).build(spiked(), **options.shape)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    again = load_encoder(kind, encoder.shape, state)
    x = torch.tensor([[-999.0, 5.0], [0.3, 2e5]])
    arguments = (x, torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.int64), 1)
    assert torch.equal(again(*arguments), encoder(*arguments))
    assert encoder(*arguments)[0, 2] == 1.0  # the number of events in the spike is in the summary


def test_a_file_from_before_spikes_has_a_scaling_of_centre_and_scale():
    network = CrossFitClassifier(FeatureScaler(torch.zeros(2), torch.ones(2)), 2, (8,), 3)
    assert sorted(name for name in network.state_dict() if "scaler" in name) == ["scaler.centre", "scaler.scale"]
    scaler = FeatureScaler.of_state(network.state_dict())
    assert scaler.size == 2
