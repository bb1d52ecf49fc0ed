"""Training: what is learned, that a seed fixes it, and that it resumes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from neyman.events import Events
from neyman.exceptions import FailedFit, InvalidModelFile, Unsupported
from neyman.networks.mixture import fold_of, logits
from neyman.networks.options import TrainingOptions
from neyman.training import loop
from neyman.training.crossfit import choose_device, train_classifier

QUICK = TrainingOptions(hidden=(16,), folds=3, epochs=4, minimum_steps=100)


@pytest.fixture(scope="module")
def classes():
    rng = np.random.default_rng(0)
    return [Events(rng.normal(1.0, 1.0, size=(6000, 1))), Events(rng.normal(0.0, 1.0, size=(3000, 1)))]


def log_ratio(network, x):
    values = logits(network, np.asarray(x, dtype=np.float32)[:, None])
    return values[:, 0] - values[:, 1]


def test_the_log_ratio_of_two_gaussians_is_learned(classes):
    network = train_classifier(classes, QUICK).network
    x = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    # exact is x - 1/2; 3000 events know it to about 0.05
    np.testing.assert_allclose(log_ratio(network, x), x - 0.5, atol=0.2)


def test_the_same_events_in_the_same_order_meet_in_batches(classes):
    """Event by event the gradients of a copy that was not moved cancel: no batch is a fluctuation to be learned."""
    x = classes[1]
    shuffled = x[np.random.default_rng(0).permutation(len(x))]
    same, other = (np.abs(log_ratio(train_classifier([copy, x], QUICK).network, [-1, 0, 1])) for copy in (x, shuffled))
    assert same.max() < 3e-4  # rounding; see the line below for what it would be otherwise
    assert other.max() > 1e-3


def test_negative_weights_subtract_a_class(classes):
    rng = np.random.default_rng(3)
    contaminated = Events(
        np.concatenate([classes[0].features, rng.normal(-3.0, 0.5, size=(2000, 1))]),
        np.concatenate([np.ones(6000), np.ones(1000), -np.ones(1000)]),
    )
    options = TrainingOptions(hidden=(16,), folds=3, epochs=15, minimum_steps=400)
    network = train_classifier([contaminated, classes[1]], options).network
    x = np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(log_ratio(network, x), x - 0.5, atol=0.4)


def test_the_same_seed_gives_the_same_network(classes):
    first, second = (train_classifier(classes, QUICK, seed=7).network for _ in range(2))
    assert np.array_equal(log_ratio(first, [0.3]), log_ratio(second, [0.3]))
    assert log_ratio(first, [0.3]) != log_ratio(train_classifier(classes, QUICK, seed=8).network, [0.3])


def test_every_fold_keeps_its_best_epoch(classes):
    trained = train_classifier(classes, TrainingOptions(hidden=(64, 64), folds=3, epochs=8, learning_rate=0.03))
    best = trained.validation_loss.min(axis=1)
    kept = trained.validation_loss[np.arange(3), trained.best_epoch]
    assert np.array_equal(best, kept)


def test_a_large_simulation_is_passed_over_as_often_as_the_steps_allow(classes):
    options = TrainingOptions(hidden=(4,), folds=3, epochs=4, minimum_steps=10, maximum_steps=16, patience=9)
    trained = train_classifier(classes, options)
    assert trained.validation_loss.shape == (3, 8)  # every second step; four times, after each epoch, otherwise


def test_an_interrupted_training_resumes_where_it_was(classes, tmp_path, monkeypatch):
    step, steps, at = torch.optim.AdamW.step, [], -1

    def interrupted(*args, **options):
        steps.append(1)
        if len(steps) == at:
            raise KeyboardInterrupt
        return step(*args, **options)

    path = tmp_path / "samples.pt"
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    whole = train_classifier(classes, QUICK, seed=5)
    total = len(steps)
    at = total + 11  # in the middle of an epoch
    with pytest.raises(KeyboardInterrupt):
        train_classifier(classes, QUICK, seed=5, checkpoint=path)
    monkeypatch.setattr(loop, "SAVE_EVERY", 20.0)
    resumed = train_classifier(classes, QUICK, seed=5, checkpoint=path)
    assert len(steps) == 2 * total + 1  # the interrupted one is counted twice
    assert np.array_equal(resumed.validation_loss, whole.validation_loss)
    assert np.array_equal(log_ratio(resumed.network, [0.3]), log_ratio(whole.network, [0.3]))


def test_simulated_events_get_the_network_that_has_not_seen_them(classes):
    network = train_classifier(classes, QUICK).network
    x = classes[0].features[:9]
    fold = np.arange(9) % 3
    own = logits(network, x, fold)
    with torch.inference_mode():
        everything = network(torch.from_numpy(x)).numpy()
    assert np.array_equal(own, everything[fold, np.arange(9)].astype(np.float64))


def test_reweighted_events_share_their_folds():
    assert np.array_equal(fold_of(100, 5, 3), fold_of(100, 5, 3))
    assert np.bincount(fold_of(100, 5, 3)).tolist() == [20] * 5


def test_an_unusable_device_is_refused():
    with pytest.raises(Unsupported, match="device 'nonsense' cannot be used"):
        choose_device("nonsense")


def test_torch_draws_what_it_would_have_drawn_without_a_training(classes):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train_classifier(classes, QUICK)
    assert torch.equal(torch.rand(3), expected)


def test_a_training_that_diverges_is_an_error(classes):
    options = dataclasses.replace(QUICK, learning_rate=1e30)
    with pytest.raises(FailedFit, match="use a learning_rate below 1e\\+30"):
        train_classifier(classes, options)


def test_a_corrupt_checkpoint_is_named(classes, tmp_path):
    path = tmp_path / "samples.pt"
    path.write_bytes(b"junk")
    with pytest.raises(InvalidModelFile, match=r"samples\.pt: not a checkpoint, or a corrupt one; delete it"):
        train_classifier(classes, QUICK, checkpoint=path)
