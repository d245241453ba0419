import json

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from tapsdk.errors import SaveError
from tests.training.checkpoints import toy
from training.checkpoints import Canonical, CheckpointError, load_canonical, save_canonical


def canonical(**changes):
    fields = {
        "model": "toy/base",
        "config": toy.CONFIGS["toy/base"],
        "weights": {**toy.our_parameters(), "0-d": np.array(1.5, np.float32), "none": np.zeros((0, 2), np.float32)},
        "source": "official.npy",
        "source_sha256": "00ff",
    }
    return Canonical(**{**fields, **changes})


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_canonical(canonical(), path)
    return path


def test_what_is_saved_is_loaded(saved):
    weights, metadata = load_canonical(saved)
    expected = canonical()
    assert weights.keys() == expected.weights.keys()
    for name, array in expected.weights.items():
        assert (weights[name].dtype, weights[name].shape) == (np.float32, array.shape)
        np.testing.assert_array_equal(weights[name], array)
    assert metadata == expected.metadata


def test_metadata_says_what_and_whence(saved):
    metadata = load_canonical(saved)[1]
    assert metadata["format"] == "tapsdk.weights"
    assert metadata["model"] == "toy/base"
    assert json.loads(metadata["config"]) == {"width": 3, "causal": False, "temperature": 1.0, "sizes": [4, 5]}
    assert (metadata["source"], metadata["source_sha256"]) == ("official.npy", "00ff")
    assert "tapsdk" in metadata


def test_the_safetensors_package_reads_the_same(saved):
    for name, array in safetensors.numpy.load_file(saved).items():
        np.testing.assert_array_equal(array, canonical().weights[name])
    with safe_open(saved, framework="np") as file:
        assert file.metadata() == canonical().metadata


def test_equal_weights_give_equal_bytes(saved, tmp_path):
    backwards = dict(reversed(canonical().weights.items()))
    save_canonical(canonical(weights=backwards), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_arrays_of_any_order_are_saved(tmp_path):
    weights = {"turned": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    save_canonical(canonical(weights=weights), tmp_path / "w.safetensors")
    np.testing.assert_array_equal(load_canonical(tmp_path / "w.safetensors")[0]["turned"], weights["turned"])


def test_weights_of_another_model_are_an_error_that_names_both(saved):
    load_canonical(saved, "toy/base")
    with pytest.raises(CheckpointError, match="'toy/base', not of 'toy/wide'"):
        load_canonical(saved, "toy/wide")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": "tapsdk.weights.9"}])
def test_other_safetensors_are_an_error_that_says_how_to_convert(tmp_path, metadata):
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file({"w": np.zeros(1, np.float32)}, path, metadata)
    with pytest.raises(CheckpointError, match="python -m training convert"):
        load_canonical(path)


def test_half_precision_is_loaded_in_float32(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file({"w": np.float16([1, 2])}, path, {"format": "tapsdk.weights"})
    weights = load_canonical(path)[0]
    assert weights["w"].dtype == np.float32


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(SaveError):
        save_canonical(canonical(), tmp_path)
    with pytest.raises(SaveError):
        save_canonical(canonical(), tmp_path / "missing" / "w.safetensors")
    with pytest.raises(SaveError, match="space"):
        save_canonical(canonical(), "/dev/full")
    assert list(tmp_path.iterdir()) == []


def with_header(path, header, data=bytes(4)):
    text = header.encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


TENSOR = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    "header",
    [
        "{" + TENSOR + "}",
        '{"__metadata__":null,' + TENSOR + "}",
        '{"__metadata__":{"format":"tapsdk.weights","model":3},' + TENSOR + "}",
        '{"__metadata__":{"format":["tapsdk.weights"]},' + TENSOR + "}",
        '{"__metadata__":"tapsdk.weights",' + TENSOR + "}",
        '{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4000000000]}}',
        '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}',
        '{"a":' * 10_000,
        "[]",
        "null",
    ],
    ids=range(13),
)
def test_whatever_a_header_says_is_an_error_that_names_the_file(tmp_path, header):
    with pytest.raises(CheckpointError, match=r"w\.safetensors"):
        load_canonical(with_header(tmp_path / "w.safetensors", header))


def test_a_header_longer_than_the_file_is_an_error(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match=r"w\.safetensors is not a safetensors file"):
        load_canonical(tmp_path / "w.safetensors")
