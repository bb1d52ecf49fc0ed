"""Posteriors after each element of a stream: of sums, of a transformer, and of a network made for streams."""

from __future__ import annotations

import numpy as np
import pytest
import simulators
import torch

import neyman
from neyman.exceptions import InvalidEnsemble, InvalidParameter, Unsupported
from neyman.networks.causal import CausalTransformer
from neyman.networks.scaling import FeatureScaler

OPTIONS = {"kind": "causal", "width": 8, "attention_heads": 2, "blocks": 1, "head": [16], "flow": [16]}
OPTIONS |= {"datasets": 3200, "fresh": 0, "batch_size": 32, "steps": 200, "head_steps": 200, "flow_steps": 20}
TINY = {"datasets": 1600, "fresh": 0, "steps": 3, "head_steps": 3, "flow_steps": 3, "head": [8], "flow": [8]}
SCALER = FeatureScaler(torch.zeros(2), torch.ones(2))


@pytest.fixture(scope="module")
def causal() -> neyman.Posterior:
    return neyman.train_posterior(simulators.normal_mean, OPTIONS, seed=1, workers=1)


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return np.random.default_rng(4).normal(1.0, 1.0, (12, 1))


def test_a_deep_set_has_after_k_elements_what_it_has_of_k(posterior, events) -> None:
    stream = posterior.stream(events, n=3000, seed=2)
    assert stream["theta"].shape == (3000, 12)
    for k in (1, 5, 12):
        mean, covariance = posterior.moments([posterior.encode(events[:k])])
        assert stream.mean[k - 1] == pytest.approx(mean[0], abs=5 * stream.std[k - 1, 0] / np.sqrt(3000))
        assert stream.std[k - 1, 0] == pytest.approx(np.sqrt(covariance[0, 0, 0]), rel=5 / np.sqrt(6000))


def test_a_transformer_looks_at_every_beginning_anew(events) -> None:
    options = {"kind": "transformer", "width": 8, "attention_heads": 2, **TINY}
    posterior = neyman.train_posterior(simulators.normal_mean, options, workers=1)
    stream = posterior.stream(events, n=2000, seed=2)
    mean, covariance = posterior.moments([posterior.encode(events[:4])])
    assert stream.mean[3] == pytest.approx(mean[0], abs=5 * np.sqrt(covariance[0, 0, 0] / 2000))


def test_a_causal_network_narrows_with_every_element_as_the_exact_posterior(causal) -> None:
    rng = np.random.default_rng(0)
    widths, errors = np.zeros((100, 25)), np.zeros((100, 25))
    for t in range(100):
        theta = rng.normal(0.0, 2.0)
        stream = causal.stream(rng.normal(theta, 1.0, (25, 1)), n=200, seed=t)
        widths[t], errors[t] = stream.std[:, 0], stream.mean[:, 0] - theta
    exact = (np.arange(1, 26) + 0.25) ** -0.5
    for k in (1, 5, 25):
        assert np.median(widths[:, k - 1]) == pytest.approx(exact[k - 1], rel=0.12)  # a training of seconds
        assert errors[:, k - 1].std() == pytest.approx(exact[k - 1], rel=0.25)  # and 100 streams


def test_what_was_known_does_not_change_as_a_stream_goes_on(causal, events) -> None:
    stream, beginning = causal.stream(events, n=400, seed=3), causal.encode(events[:5])
    mean, covariance = causal.moments([beginning])
    assert stream.mean[4] == pytest.approx(mean[0], abs=5 * np.sqrt(covariance[0, 0, 0] / 400))


def test_a_causal_network_survives_its_file(causal, events, tmp_path) -> None:
    causal.save(tmp_path / "causal.posterior")
    again = neyman.Posterior.load(tmp_path / "causal.posterior")
    assert np.array_equal(again.stream(events, n=20).draws, causal.stream(events, n=20).draws)


def test_its_summaries_do_not_add(causal, events) -> None:
    with pytest.raises(Unsupported, match="cannot be added, since each event has seen others"):
        causal.encode(events[:5]) + causal.encode(events[5:])


def test_a_beginning_is_no_extrapolation_for_a_causal_network(causal, posterior, events) -> None:
    assert causal.stream(events, n=10).warnings == ()
    [warning] = posterior.stream(np.zeros((40, 1)), n=10).warnings
    assert "a dataset of 40 events" in warning


def test_an_empty_stream_has_no_posterior(causal) -> None:
    assert causal.stream(np.empty((0, 1)), n=10)["theta"].shape == (10, 0)


def test_a_summary_is_no_stream(posterior, events) -> None:
    with pytest.raises(InvalidEnsemble, match="a summary has no events, and a stream is of them"):
        posterior.stream(posterior.encode(events))


def test_likelihoods_take_no_causal_network() -> None:
    with pytest.raises(InvalidParameter, match="'causal', which learns posteriors of streams: use train_posterior"):
        neyman.train(simulators.onoff, "causal", workers=1)


# -- the network


@pytest.mark.parametrize("heads", [1, 4])
def test_every_beginning_has_the_summary_that_it_has_alone(heads: int) -> None:
    torch.manual_seed(0)
    network = CausalTransformer(SCALER, width=8, attention_heads=heads)
    x, weights = torch.randn(9, 2), torch.rand(9)
    stream = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2, 2])  # and one that is empty
    prefixes = network.prefixes(x, weights, stream, 3)
    for begin, end in ((0, 1), (0, 4), (4, 6), (4, 9)):
        alone = network(x[begin:end], weights[begin:end], torch.zeros(end - begin, dtype=torch.int64), 1)
        torch.testing.assert_close(prefixes[end - 1 : end], alone, rtol=1e-4, atol=1e-5)
    whole = network(x, weights, stream, 3)
    torch.testing.assert_close(whole[[0, 2]], prefixes[[3, 8]], rtol=1e-4, atol=1e-5)
    assert whole[1].abs().max() == 0


def test_an_element_without_weight_is_as_good_as_not_there() -> None:
    torch.manual_seed(0)
    network, x = CausalTransformer(SCALER, width=8, attention_heads=2), torch.randn(5, 2)
    zero = torch.zeros(5, dtype=torch.int64)
    full = network.prefixes(x, torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]), zero, 1)
    torch.testing.assert_close(full[4], full[3])


def test_the_order_counts() -> None:
    torch.manual_seed(0)
    network, x = CausalTransformer(SCALER, width=8, attention_heads=2), torch.randn(5, 2)
    one, zero = torch.ones(5), torch.zeros(5, dtype=torch.int64)
    assert (network(x, one, zero, 1) - network(x.flip(0), one, zero, 1)).abs().max() > 1e-3
