"""Weights that are read from and written to a store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tapsdk.system import remote
from tapsdk.system.places import Url
from tests.golden.official import write
from tests.stores import BUCKET, Front, cuts_files, new_folder_in, unavailable
from tests.training.checkpoints import toy
from training.__main__ import main
from training.checkpoints import CheckpointError, convert, load_canonical
from training.checkpoints.efficientnet import load_backbone
from training.checkpoints.loading import read_weights


@pytest.fixture
def official(tmp_path: Path) -> Path:
    return write(tmp_path / "official.npz", toy.jax_parameters())


def test_an_official_file_is_converted_from_there_to_there(
    stored: Url, official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote.upload(official, f"{stored}/official.npz")
    target = f"{stored}/w.safetensors"
    assert main(["convert", f"{stored}/official.npz", "--model", "toy/base", "-o", target]) == 0
    assert capsys.readouterr().out.startswith(f"{target}: toy/base")
    remote.download(target, tmp_path / "w.safetensors")
    weights, metadata = load_canonical(tmp_path / "w.safetensors", "toy/base")
    assert metadata["source"] == "official.npz"
    for name, array in read_weights("toy/base", Url(target))[0].items():
        assert np.array_equal(array, weights[name])


def test_no_output_replaces_the_input(in_memory: Url, capsys: pytest.CaptureFixture[str]) -> None:
    same = f"{in_memory}/official.npz"
    assert main(["convert", same, "--model", "toy/base", "-o", same]) == 1
    assert "it would replace an input" in capsys.readouterr().err


def test_a_file_that_fits_no_model_is_named_by_its_url(in_memory: Url, tmp_path: Path) -> None:
    parameters = toy.jax_parameters()
    parameters.popitem()
    remote.upload(write(tmp_path / "a.npz", parameters), f"{in_memory}/a.npz")
    with pytest.raises(CheckpointError, match=f"the parameters of {in_memory}/a.npz are not those of") as caught:
        convert(in_memory / "a.npz", "toy/base")
    assert caught.value.missing


def test_weights_of_an_encoder_may_lie_there(in_memory: Url) -> None:
    with pytest.raises(CheckpointError, match=f"^{in_memory}/lite0.pth cannot be read: there is no such file$"):
        load_backbone(f"{in_memory}/lite0.pth")


@pytest.mark.parametrize("fault", [unavailable, cuts_files])
def test_a_store_that_fails_is_one_error(front: Front, official: Path, fault: object) -> None:
    url = new_folder_in(f"gs://{BUCKET}") / "official.npz"
    remote.upload(official, url.text)
    front.fault = fault
    with pytest.raises(CheckpointError, match=f"^{url} cannot be read: "):
        read_weights("toy/base", url)


def test_a_model_is_loaded_from_there(in_memory: Url, small_model: Path, small_config: object) -> None:
    pytest.importorskip("torch")
    from tests.support import SMALL, known_model
    from training.models import load

    remote.upload(small_model, f"{in_memory}/w.safetensors")
    with known_model(SMALL, small_config):
        model = load(SMALL, f"{in_memory}/w.safetensors")
        expected = load(SMALL, small_model)
    for name, tensor in expected.state_dict().items():
        assert tensor.equal(model.state_dict()[name])
    other = dataclasses.replace(small_config, iterations=3)
    with known_model(SMALL, other), pytest.raises(CheckpointError, match=f"^{in_memory}/w.safetensors was made for"):
        load(SMALL, f"{in_memory}/w.safetensors")
