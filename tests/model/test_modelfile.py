"""The model file: a faithful copy, written in one step, refused when it is not whole."""

from __future__ import annotations

import copy
import io
import json
import os
import resource
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import neyman
from neyman.exceptions import InvalidEnsemble, InvalidModelFile
from neyman.model.mixture import MixtureChannel
from neyman.model.summary import Summary


@pytest.fixture(scope="module")
def path(trained, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "analysis.neyman"
    trained.save(path)
    return path


def rewritten(path: Path, folder: Path, **changes) -> Path:
    """Copy a model file with some members changed."""
    target = folder / "changed.neyman"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = changes.get(name.split(".")[0], source.read(name))
            if content is not None:
                archive.writestr(name, content)
    return target


def test_a_loaded_model_gives_the_same_likelihood(path, model, data):
    again = neyman.Model.load(path)
    pars = np.array(model.config.suggested_init()) + 0.05
    assert again.evaluate(pars, data)[0] == model.evaluate(pars, data)[0]
    assert np.array_equal(again.observed, data)
    assert again.config.poi_name == "mu"


def test_provenance_and_training_are_kept(path, document_path):
    again = neyman.Model.load(path)
    files = {Path(entry["file"]).name for entry in again.provenance["files"]}
    assert files == {"signal.root", "background.root", "data.root"}
    assert again.provenance["seed"] == 3
    assert [report.channel for report in again.report] == ["SR"]


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(InvalidModelFile, match="no such model file; make one with 'neyman train'"):
        neyman.Model.load(tmp_path / "none.neyman")


@pytest.mark.parametrize("size", [0, 10, 5000, -20])
def test_a_truncated_file_is_refused(path, tmp_path, size):
    part = tmp_path / "part.neyman"
    part.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InvalidModelFile, match=r"part\.neyman"):
        neyman.Model.load(part)


@pytest.mark.parametrize("position", np.linspace(0.01, 0.99, 30))
def test_a_flipped_byte_is_noticed(path, tmp_path, position):
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 0xFF
    bad = tmp_path / "bad.neyman"
    bad.write_bytes(content)
    with pytest.raises(InvalidModelFile, match=r"bad\.neyman: .*corrupt"):
        neyman.Model.load(bad)


def test_a_newer_format_asks_for_an_upgrade(path, tmp_path):
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("neyman.json"))
    newer = rewritten(path, tmp_path, neyman=json.dumps({**header, "format": 99}))
    with pytest.raises(InvalidModelFile, match=r"format 99.*upgrade neyman"):
        neyman.Model.load(newer)


def test_a_file_of_another_kind_is_named(path, tmp_path, model, data):
    model.encode(model.ensemble(data)).save(tmp_path / "summary.npz")
    with pytest.raises(InvalidModelFile, match=r"summary\.npz: a summary of a dataset, not a model file"):
        neyman.Model.load(tmp_path / "summary.npz")
    with pytest.raises(InvalidEnsemble, match=r"analysis\.neyman: a model file, not a summary of a dataset"):
        Summary.load(path)


def in_first_format(path: Path, target: Path) -> Path:
    """Write a model file as the first version did, with names of channels where there are numbers now."""
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("neyman.json"))
        weights = safetensors.torch.load(archive.read("weights.safetensors"))
    header = about["content"]
    channels, observed = ([entry["name"] for entry in header["channels"]], header["observed"]["events"])
    arrays = {}
    with np.load(path) as stored:
        for name in about["arrays"]:
            folder, number, key = name.split("/")
            of = channels if folder == "channels" else observed
            arrays[f"{of[int(number)]}/{'observed ' if folder == 'observed' else ''}{key}"] = stored[name]
    named = {f"{channels[int(key.split('/')[0])]}/{key.split('/', 1)[1]}": one for key, one in weights.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("neyman.json", json.dumps({"format": 1, **header}))
        archive.writestr("weights.safetensors", safetensors.torch.save(named))
        archive.writestr("arrays.npz", buffer.getvalue())
    return target


def test_a_file_of_the_first_format_gives_the_same_model(path, tmp_path, model, data):
    again = neyman.Model.load(in_first_format(path, tmp_path / "first.neyman"))
    pars = np.array(model.config.suggested_init()) + 0.05
    assert again.evaluate(pars, data)[0] == model.evaluate(pars, data)[0]
    assert np.array_equal(again.observed, data)


def test_names_of_channels_are_no_folders_in_the_file(model, data, tmp_path):
    # one channel named like the arrays of the other
    def renamed(name: str) -> MixtureChannel:
        channel = copy.copy(model.learned["SR"])
        channel.name = name
        return channel

    spec = copy.deepcopy(model.spec)
    [entry] = [channel for channel in spec["channels"] if channel["name"] == "SR"]
    twice = [{**entry, "name": name} for name in ("A", "A/samples")]
    spec["channels"] = [channel for channel in spec["channels"] if channel["name"] != "SR"] + twice
    learned = {name: renamed(name) for name in ("A", "A/samples")}
    events = model.ensemble(data)
    observed = neyman.Ensemble(dict.fromkeys(learned, events.events["SR"]), events.counts, events.auxdata)
    both = neyman.Model(spec, learned, poi_name="mu", observed=observed)
    both.save(tmp_path / "both.neyman")
    again = neyman.Model.load(tmp_path / "both.neyman")
    pars = np.array(both.config.suggested_init())
    assert again.evaluate(pars, both.observed)[0] == both.evaluate(pars, both.observed)[0]
    assert np.array_equal(again.observed, both.observed)


def test_the_fingerprint_is_that_of_the_model_and_survives_the_file(path, model, tmp_path):
    again = neyman.Model.load(path)
    assert again.fingerprint == model.fingerprint
    channel = again.learned["SR"]
    channel.pool.summary.slopes[0, 0] += 1.0  # other networks of the variations, the same of the samples
    assert neyman.Model(again.spec, {"SR": channel}, poi_name="mu").fingerprint != model.fingerprint


@pytest.mark.parametrize("content", ["{}", "[]", "not JSON"])
def test_a_zip_that_is_no_model_file_is_refused(path, tmp_path, content):
    with pytest.raises(InvalidModelFile, match=r"changed\.neyman: not a model file"):
        neyman.Model.load(rewritten(path, tmp_path, neyman=content))


def test_a_missing_member_is_refused(path, tmp_path):
    with pytest.raises(InvalidModelFile, match=r"changed\.neyman: not a model file.*weights\.safetensors is missing"):
        neyman.Model.load(rewritten(path, tmp_path, weights=None))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_leaves_the_old_file_as_it_was(path, tmp_path):
    target = tmp_path / "analysis.neyman"
    target.write_bytes(path.read_bytes())

    def full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    code = f"import neyman; neyman.Model.load({str(path)!r}).save({str(target)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=full_disk, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert target.read_bytes() == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["analysis.neyman"]


def test_infinite_bounds_can_be_saved(tmp_path):
    modifiers = [{"name": "mu", "type": "normfactor", "data": None}]
    spec = {
        "channels": [{"name": "CR", "samples": [{"name": "s", "data": [5.0], "modifiers": modifiers}]}],
        "parameters": [{"name": "mu", "bounds": [[0.0, float("inf")]], "inits": [1.0]}],
    }
    neyman.Model(spec, {}, poi_name="mu").save(tmp_path / "model.neyman")
    assert neyman.Model.load(tmp_path / "model.neyman").config.suggested_bounds() == [[0.0, float("inf")]]


def test_torch_draws_what_it_would_have_drawn_without_a_load(path):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    neyman.Model.load(path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"spec": {}}, "'channels' is a required property"),
        ({"poi": "nonsense"}, "nonsense"),
        ({"channels": [{}]}, "'name' is missing"),
        ({"channels": 3}, "'int' object is not iterable"),
        ({"report": None}, "'NoneType' object is not iterable"),
        ({"observed": {"events": ["SR"]}}, "'counts' is missing"),
    ],
)
def test_a_header_that_makes_no_model_is_refused(path, tmp_path, change, wrong):
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("neyman.json"))
    content = {**header["content"], **change}
    with pytest.raises(InvalidModelFile, match=rf"changed\.neyman: not a model file, or .*corrupt one .*{wrong}"):
        neyman.Model.load(rewritten(path, tmp_path, neyman=json.dumps({**header, "content": content})))


def test_a_file_of_another_version_that_this_one_does_not_understand_is_not_called_corrupt(path, tmp_path):
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("neyman.json"))
    assert header["neyman"] == neyman.__version__
    content = {key: value for key, value in header["content"].items() if key != "spec"}  # it has another place now
    newer = rewritten(path, tmp_path, neyman=json.dumps({**header, "neyman": "99.0", "content": content}))
    with pytest.raises(
        InvalidModelFile, match=r"written by neyman 99\.0, and neyman .* cannot use it \('spec' is m"
    ) as e:
        neyman.Model.load(newer)
    assert "corrupt" not in str(e.value)
    same = rewritten(path, tmp_path, neyman=json.dumps({**header, "neyman": "99.0"}))
    assert neyman.Model.load(same).config.par_names
