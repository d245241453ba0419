import io
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from tapsdk.system import npz
from tests.golden.official import WRITERS, write, write_ckpt
from tests.training.checkpoints.test_read_npy import Hostile
from training.checkpoints.errors import CheckpointError
from training.checkpoints.formats import READERS, read_parameters

ARRAYS = {
    "a/b/w": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a/b/b": np.arange(3, dtype=np.float32),
    "a/n/scale": np.ones((), np.float32),
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int64])
def test_every_format_is_read_in_float32(tmp_path, suffix, dtype):
    arrays = {name: array.astype(dtype) for name, array in ARRAYS.items()}
    found = read_parameters(write(tmp_path / f"checkpoint{suffix}", arrays))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


def bfloat16_pt(path, values):
    torch.save({"w": torch.tensor(values).bfloat16()}, path)


def bfloat16_npz(path, values):
    # As numpy saves an array of ml_dtypes: two nameless bytes.
    np.savez(path, w=(np.float32(values).view(np.uint32) >> 16).astype(np.uint16).view("V2"))


def bfloat16_safetensors(path, values):
    safetensors.torch.save_file({"w": torch.tensor(values).bfloat16()}, path)


@pytest.mark.parametrize("write", [bfloat16_pt, bfloat16_npz, bfloat16_safetensors], ids=["pt", "npz", "safetensors"])
def test_bfloat16(tmp_path, write):
    values = [1.0, -2.0, 0.15625, 0.0]
    path = tmp_path / f"checkpoint.{write.__name__.partition('_')[2]}"
    write(path, values)
    found = read_parameters(path)["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(values))


@pytest.mark.parametrize("prefix", ["tapnext.", ""])
def test_lightnings_prefix_is_taken_off(tmp_path, prefix):
    write_ckpt(tmp_path / "checkpoint.ckpt", ARRAYS, prefix)
    assert read_parameters(tmp_path / "checkpoint.ckpt").keys() == ARRAYS.keys()


def test_parameters_that_require_gradients(tmp_path):
    torch.save(torch.nn.Linear(2, 3).state_dict(keep_vars=True), tmp_path / "checkpoint.pt")
    assert read_parameters(tmp_path / "checkpoint.pt").keys() == {"weight", "bias"}


def test_the_old_format_of_torch(tmp_path):
    state = {"w": torch.arange(3.0)}
    torch.save(state, tmp_path / "checkpoint.pt", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read_parameters(tmp_path / "checkpoint.pt")["w"], [0, 1, 2])


# Broken files


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"not a checkpoint\n" * 100, b"PK\x03\x04", b"\x93NUMPY", b"\x80\x02}."]
)
def test_what_is_no_checkpoint_is_an_error(tmp_path, suffix, content):
    path = tmp_path / f"checkpoint{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_parameters(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_an_error(tmp_path, suffix, share):
    path = tmp_path / f"checkpoint{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file({"w": torch.zeros(100)}, path)
    else:
        write(path, ARRAYS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError):
        read_parameters(path)


def test_a_flipped_bit_in_a_npz_is_an_error(tmp_path):
    path = write(tmp_path / "checkpoint.npz", {"w": np.full(1000, 1.25, np.float32)})
    content = bytearray(path.read_bytes())
    content[content.index(np.full(1000, 1.25, np.float32).tobytes()) + 2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_parameters(path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("old", [True, False])
def test_a_hostile_torch_file_runs_nothing_and_is_named(tmp_path, suffix, old):
    path, victim = tmp_path / f"checkpoint{suffix}", tmp_path / "victim"
    content = {"w": torch.zeros(1), "x": Hostile(os.system, f"touch {victim}")}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(CheckpointError, match=rf"asks for {os.name}\.system"):
        read_parameters(path)
    assert not victim.exists()


def test_a_hostile_npz_runs_nothing(tmp_path):
    path, victim = tmp_path / "checkpoint.npz", tmp_path / "victim"
    np.savez(path, w=np.array([Hostile(os.system, f"touch {victim}")]))
    with pytest.raises(CheckpointError):
        read_parameters(path)
    assert not victim.exists()


@pytest.mark.parametrize("content", [[1, 2], {"w": 1.0}, {"state_dict": 3}, {"w": {"deeper": torch.zeros(1)}}])
def test_a_torch_file_without_a_state_dict_is_an_error(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="state_dict"):
        read_parameters(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("array", [np.array(["text"]), np.zeros(2, complex), np.zeros(2, "M8[s]"), np.zeros(2, "V8")])
def test_what_is_no_number_is_an_error_with_its_name(tmp_path, array):
    np.savez(tmp_path / "checkpoint.npz", **{"a/w": array})
    with pytest.raises(CheckpointError, match="a/w"):
        read_parameters(tmp_path / "checkpoint.npz")


def test_another_zip_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "checkpoint.npz", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"readme\.txt"):
        read_parameters(tmp_path / "checkpoint.npz")


def test_other_endings_are_an_error_that_lists_what_can_be_read(tmp_path):
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(pickle.dumps(ARRAYS))
    with pytest.raises(CheckpointError, match=r"\.npy, \.npz, \.pt, \.pth, \.ckpt, \.safetensors"):
        read_parameters(path)


@pytest.mark.parametrize("suffix", READERS)
def test_no_file_and_a_folder_are_errors(tmp_path, suffix):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_parameters(tmp_path / f"missing{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(CheckpointError):
        read_parameters(tmp_path / f"folder{suffix}")


def test_upper_case_endings_are_read(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, **ARRAYS)
    (tmp_path / "CHECKPOINT.NPZ").write_bytes(buffer.getvalue())
    assert read_parameters(tmp_path / "CHECKPOINT.NPZ").keys() == ARRAYS.keys()


HOLLOW = {
    "on no device": lambda: torch.ones(2, device="meta"),
    "of few numbers": lambda: torch.ones(2, 2).to_sparse(),
    "larger than what is stored": lambda: torch.zeros(1).expand(10**6, 10**6),
    "repeated": lambda: torch.zeros(4).expand(3, 4),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "complex": lambda: torch.ones(2, dtype=torch.complex64),
}


@pytest.mark.parametrize("kind", HOLLOW)
def test_a_tensor_without_its_numbers_is_an_error(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"w": HOLLOW[kind]()}, tmp_path / "checkpoint.pt")
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt is not a (PyTorch )?checkpoint"):
            read_parameters(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_a_file_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(npz, "FREE_BYTES", 100_000)
    with zipfile.ZipFile(tmp_path / f"checkpoint{suffix}", "w", zipfile.ZIP_DEFLATED) as archive:
        array = io.BytesIO()
        np.save(array, np.zeros(1 << 20, np.uint8))
        archive.writestr("archive/data.pkl" if suffix == ".pt" else "w.npy", array.getvalue())
    with pytest.raises(CheckpointError, match="it unpacks to 1048"):
        read_parameters(tmp_path / f"checkpoint{suffix}")


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize(
    "content",
    [bytes(100), b"\x80\x04" + b"]" * 10_000, b"(" * 10_000, b"PK\x03\x04" + bytes(100), b"\x93NUMPY\x01\x00v\x00{("],
    ids=["zeros", "deep lists", "marks", "a zip", "a header"],
)
def test_noise_in_every_format_is_an_error_that_names_the_file(tmp_path, suffix, content):
    path = tmp_path / f"checkpoint{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checkpoint"):
        read_parameters(path)
