"""Networks of a user's own: trained, saved without their code, loaded with it, and refused where they cannot work."""

from __future__ import annotations

import numpy as np
import pytest
import simulators
import torch
from torch import nn

import neyman
from neyman.events import Events
from neyman.exceptions import InvalidDocument, InvalidParameter
from neyman.networks import names, register

QUICK = {"datasets": 6400, "fresh": 0, "steps": 100, "head_steps": 200, "networks": 1}
TINY = {"datasets": 1280, "steps": 5, "head_steps": 5, "batch_size": 128, "networks": 1}


class Peaks(nn.Module):
    """Some Gaussian bumps with learned places, of the features as they are."""

    def __init__(self, features: int, bumps: int = 6) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.linspace(-10.0, 5.0, bumps).repeat(features, 1).T.contiguous())

    def forward(self, x):
        return torch.exp(-0.5 * ((x[:, None] - self.places) ** 2).sum(2) / 4.0)


class Doubled(nn.Module):
    def forward(self, x):
        return torch.cat([x, 2 * x], dim=1)


def trained(network, seed: int = 0) -> neyman.Model:
    return neyman.train(simulators.onoff, network, seed=seed, workers=1)


@pytest.fixture(scope="module")
def model() -> neyman.Model:
    return trained({"kind": Peaks, **QUICK})


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "own.neyman"
    model.save(path)
    return path


@pytest.fixture
def data(model) -> np.ndarray:
    return model.data(neyman.Ensemble({"events": simulators.onoff.draw([5.0, 1.0], seed=1)}))


def test_a_class_is_trained_and_fitted(model, data):
    fit = neyman.fit(data, model)
    assert fit.valid
    # 50 signal and 30 background events that overlap little know mu to about 0.8 with the best of networks
    assert abs(fit["mu"] - 5.0) < 3.0
    assert model.learned["events"].kind == "Peaks"


def test_the_order_and_the_splitting_of_events_change_nothing(model):
    channel = model.learned["events"]
    events = simulators.onoff.draw([5.0, 1.0], seed=1)
    split = Events(np.repeat(events.features, 2, axis=0), np.repeat(0.5 * events.weights, 2))
    sums = channel.encode(events).sums
    # single precision of some ten numbers, summed over eighty events
    for same in (events[np.arange(len(events))[::-1]], split):
        np.testing.assert_allclose(channel.encode(same).sums, sums, rtol=1e-5, atol=1e-3)


def test_a_module_sees_events_as_they_are_and_needs_nothing_to_learn():
    model = trained({"kind": Doubled(), **TINY})
    events = Events(np.array([[-7.0], [1.0]]), np.array([30.0, 10.0]))
    phi = model.learned["events"].encode(events).sums[1:3]
    np.testing.assert_allclose(phi, [-200.0, -400.0])


def test_a_module_is_copied_with_its_weights():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 3))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    first, second = (trained({"kind": module, **TINY}) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_networks_that_are_averaged_start_from_weights_of_their_own():
    def perceptron(features, width=4):
        return nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, width))

    first, second = trained({"kind": perceptron, **TINY, "networks": 2, "width": 5}).learned["events"].encoder.members
    assert first.width == 5
    assert not torch.equal(first.phi[0].weight, second.phi[0].weight)


@pytest.mark.parametrize("network", [Peaks, Peaks(1)])
def test_a_model_file_is_loaded_with_the_class_or_a_module(path, model, data, network):
    again = neyman.Model.load(path, network=network)
    pars = np.array(model.config.suggested_init())
    assert again.logpdf(pars, data) == model.logpdf(pars, data)


def test_a_model_file_without_its_network_asks_for_it(path):
    with pytest.raises(InvalidParameter, match=r"your own, Peaks.*give it, as in Model.load\(path, network="):
        neyman.Model.load(path)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(1, 6), "network is a Linear, but the model was trained with a Peaks: give that"),
        (Peaks(1, bumps=7), r"network Peaks: places has shape \(7, 1\), but \(6, 1\) in the model file"),
        (lambda features, bumps=6: None, "it made a NoneType; it must make a torch module"),
        ("deepset", "network is 'deepset': give the class or module of your own"),
    ],
)
def test_another_network_than_the_trained_one_is_refused(path, network, message):
    with pytest.raises(InvalidParameter, match=message):
        neyman.Model.load(path, network=network)


class Returns(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda x: x.sum(1),
            r"it returned float32 of shape \(\d+,\).*must return real numbers of shape",
        ),
        (lambda x: x[:-1], "network Returns: it returned float32 of shape"),
        (lambda x: (x, x), "network Returns: it returned a tuple; it must return a tensor"),
        (lambda x: x.long(), "network Returns: it returned int64"),
        (lambda x: x.log(), r"network Returns: its numbers are not finite for \d+ of \d+ simulated events"),
        (lambda x: x @ torch.ones(3, 2), "network Returns: it raised RuntimeError given events of shape"),
        (lambda x: x - x.mean(0), "network Returns: its numbers of an event change with the events beside it"),
    ],
)
def test_a_module_that_cannot_be_used_is_refused_before_the_training(function, message):
    with pytest.raises(InvalidParameter, match=message) as raised:
        trained({"kind": Returns(function), **TINY})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (3, "network is 3: give the name of a kind, a torch module"),
        ("deepest", "network is 'deepest': of a simulator it must be one of event, deepset, transformer"),
        (lambda features, steps=3: nn.Linear(features, steps), "its keyword steps is an option of every training"),
        (lambda features: features.no_such_thing, "it raised AttributeError called with 1 features"),
    ],
)
def test_what_is_no_network_is_refused(network, message):
    with pytest.raises(InvalidParameter, match=message):
        trained({"kind": network, **TINY})


def test_an_option_that_its_class_does_not_have_is_named():
    with pytest.raises(InvalidDocument, match="bump is not an option of a Peaks: did you mean 'bumps'"):
        trained({"kind": Peaks, "bump": 3, **TINY})


# -- by name


@pytest.fixture
def registered():
    """A name in the registry, which other tests do not see."""
    from neyman.networks import kinds

    register("peaks", Peaks, "bumps")
    yield "peaks"
    kinds.unregister("peaks")


def test_a_registered_name_stands_for_its_class(registered, tmp_path):
    assert registered in names()
    model = trained({"kind": registered, "bumps": 4, **TINY})
    assert model.learned["events"].kind == registered
    model.save(tmp_path / "model.neyman")
    again = neyman.Model.load(tmp_path / "model.neyman")  # found by its name
    assert again.fingerprint == model.fingerprint


def test_a_document_takes_a_registered_name(registered, sets_path):
    import yaml

    document = yaml.safe_load(sets_path.read_text())
    document["channels"][0]["network"] = {"kind": registered, **TINY}
    model = neyman.train(neyman.Workspace(document, sets_path.parent))
    assert model.learned["SR"].kind == registered
    assert neyman.fit(model.observed, model).valid


def test_names_of_ours_cannot_be_taken():
    with pytest.raises(InvalidParameter, match="'deepset' is that of a kind of network there is"):
        register("deepset", Peaks)


def test_checkpoints_of_another_network_are_not_taken_up(tmp_path):
    narrow, wide = nn.Linear(1, 2), nn.Linear(1, 3)
    neyman.train(simulators.onoff, {"kind": narrow, **TINY}, workers=1, checkpoint=tmp_path)
    resumed = neyman.train(simulators.onoff, {"kind": wide, **TINY}, workers=1, checkpoint=tmp_path)
    assert resumed.fingerprint == trained({"kind": wide, **TINY}).fingerprint


# -- events with a shape


class Convolution(nn.Module):
    """The mean of what a filter finds of an image, and that squared."""

    def __init__(self, shape: tuple[int, int], width: int = 4) -> None:
        super().__init__()
        assert shape == (8, 12)
        self.filter = nn.Conv2d(1, width, 3)

    def forward(self, x):
        assert x.shape[1:] == (8, 12)
        return torch.tanh(self.filter(x[:, None])).flatten(2).mean(2)


def _images(pars, rng):
    place = np.arange(12) - 2 * pars[0]
    return rng.normal(np.exp(-0.5 * place**2), 0.2, size=(rng.integers(1, 4), 8, 12))


images = neyman.Simulator(
    _images, [{"name": "place", "inits": [2.0], "bounds": [[0, 5]]}], "place", ["image"], event_shape=(8, 12)
)


@pytest.fixture(scope="module")
def of_images() -> neyman.Model:
    return neyman.train(images, {"kind": Convolution, **TINY}, workers=1)


def test_a_module_gets_events_of_their_shape_and_its_numbers_are_all_that_is_summed(of_images):
    summary = of_images.learned["events"].encode(images.draw([2.0], seed=0))
    assert summary.sums.shape == (4 + 1,)
    assert neyman.fit(of_images.data(neyman.Ensemble({"events": images.draw([2.0], seed=0)})), of_images).valid


def test_a_model_of_images_survives_its_file(of_images, tmp_path):
    of_images.save(tmp_path / "images.neyman")
    again = neyman.Model.load(tmp_path / "images.neyman", network=Convolution, simulator=images)
    data = of_images.data(neyman.Ensemble({"events": images.draw([2.0], seed=0)}))
    assert again.logpdf([2.0], data) == of_images.logpdf([2.0], data)


def test_other_kinds_take_images_as_lists_of_numbers():
    model = neyman.train(images, {"kind": "deepset", "hidden": [8], "width": 3, **TINY}, workers=1)
    assert model.learned["events"].encode(images.draw([2.0], seed=0)).sums.shape == (3 + 1,)


def test_images_are_compared_with_the_simulation_by_a_few_numbers(of_images):
    x = np.concatenate([images.draw([2.0], seed).features for seed in range(10)])
    found = of_images.outside(of_images.data(neyman.Ensemble({"events": Events(100.0 * x)})))
    assert {text.partition(" have ")[2].partition(" outside")[0] for text in found} <= {
        "lowest of image",
        "mean of image",
        "highest of image",
    }
    assert found


def test_thousands_of_numbers_of_an_event_are_not_all_named(of_images):
    for text in (repr(of_images.learned["events"]), str(of_images.report[0])):
        assert "image[0,0], image[0,1], ..., image[7,11] (96 in all)" in text
