"""The file of weights that an artifact's stages have in common."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapsdk.artifact import open_artifact
from tapsdk.artifact.content import Content
from tapsdk.artifact.weights import MOST_HEADER, Weights
from tapsdk.errors import ArtifactError
from tests.support import copy_artifact

MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)
BYTES = MATRIX.tobytes()
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def file_of(header, data=BYTES, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def weights_of(*arguments, **options):
    return Weights(Content(Path("weights.safetensors"), {"": file_of(*arguments, **options)}))


def test_tensors_are_found_by_name_without_a_copy():
    weights = weights_of({"__metadata__": {"any": "words"}, "a": ENTRY, "b": {**ENTRY, "shape": [6]}})
    np.testing.assert_array_equal(weights.tensor("a"), MATRIX)
    np.testing.assert_array_equal(weights.tensor("b"), MATRIX.ravel())
    assert np.shares_memory(weights.tensor("a"), weights.tensor("b"))
    assert not weights.tensor("a").flags.writeable


def test_it_is_the_format_of_the_safetensors_package():
    save = pytest.importorskip("safetensors.numpy").save
    arrays = {
        "a": MATRIX,
        "halves": MATRIX.astype(np.float16),
        "none": np.zeros((0, 3), np.int64),
        "one": np.array(5, np.int32),
    }
    weights = Weights(Content(Path("w"), {"": save(arrays, {"of": "somebody"})}))
    assert weights.places.keys() == arrays.keys()
    for name, array in arrays.items():
        found = weights.tensor(name)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)


def test_a_tensor_that_is_not_there():
    with pytest.raises(ValueError, match="has no tensor 'c', which the manifest names"):
        weights_of({"a": ENTRY}).tensor("c")


def test_bytes_by_their_place_in_the_file():
    weights = weights_of({"a": ENTRY})
    assert bytes(weights.cut(weights.start + 4, 8)) == BYTES[4:12]
    size = weights.start + 24
    outside = [(0, 8), (weights.start - 1, 4), (size - 4, 5), (size + 1, 0), (weights.start, -1), (1, 1 << 62)]
    for offset, length in outside:
        with pytest.raises(ValueError, match=r"refers to -?\d+ bytes at \d+ of weights.safetensors"):
            weights.cut(offset, length)


DAMAGED = {
    "nothing": b"",
    "too short for a length": b"\0\0\0",
    "a header of no bytes": file_of(b""),
    "longer than the file": file_of({"a": ENTRY}, length=10_000),
    "longer than allowed": file_of({"a": ENTRY}, length=MOST_HEADER + 1),
    "a length of all ones": b"\xff" * 8 + BYTES,
    "no JSON": file_of(b"{'a'"),
    "no text": file_of(b"\xff\xfe{}"),
    "a list": file_of([ENTRY]),
    "nested deeply": file_of(b'{"a":' * 2000 + b"1" + b"}" * 2000),
    "a name twice": file_of(b'{"a": {}, "a": {}}'),
    "a long name": file_of({"a" * 1000: ENTRY}),
    "no table": file_of({"a": [0, 24]}),
    "an entry too many": file_of({"a": {**ENTRY, "path": "/etc/passwd"}}),
    "no offsets": file_of({"a": {"dtype": "F32", "shape": [2, 3]}}),
    "an unknown type": file_of({"a": {**ENTRY, "dtype": "F8_E4M3"}}),
    "a type of numpy's": file_of({"a": {**ENTRY, "dtype": "O"}}),
    "a side below zero": file_of({"a": {**ENTRY, "shape": [-2, -3]}}),
    "a side that is no number": file_of({"a": {**ENTRY, "shape": [2, "N"]}}),
    "a huge shape": file_of({"a": {**ENTRY, "shape": [10**30, 3]}}),
    "too many axes": file_of({"a": {**ENTRY, "shape": [1] * 100, "data_offsets": [0, 4]}}),
    "another size than its bytes": file_of({"a": {**ENTRY, "shape": [2, 2]}}),
    "behind the end": file_of({"a": {**ENTRY, "data_offsets": [8, 32]}}),
    "backwards": file_of({"a": {**ENTRY, "data_offsets": [24, 0]}}),
    "before the beginning": file_of({"a": {**ENTRY, "data_offsets": [-24, 0]}}),
    "offsets of another kind": file_of({"a": {**ENTRY, "data_offsets": [0.0, 24.0]}}),
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in DAMAGED.items()])
def test_what_is_no_such_file_is_refused(data):
    with pytest.raises(ValueError):
        Weights(Content(Path("weights.safetensors"), {"": data}))


@pytest.fixture
def artifact(bundled):
    artifact = open_artifact(bundled)
    assert artifact.manifest.weights is not None
    return artifact


def test_stages_are_given_the_weights_and_they_are_read_once(artifact):
    one, other = artifact.file("query", "onnx"), artifact.file("encode", "onnx")
    assert one.weights is other.weights is artifact.weights()
    assert one.weights.content.path.name == artifact.manifest.weights.path


def test_an_artifact_without_such_a_file_has_none(artifact):
    plain = replace(artifact, manifest=replace(artifact.manifest, weights=None))
    assert plain.weights() is plain.file("query", "onnx").weights is None


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "change, complaint",
    [
        (damage, r"weights\.safetensors is not the file that was exported"),
        (Path.unlink, r"lacks weights\.safetensors; export or fetch the model again"),
    ],
)
def test_another_file_in_its_place_is_refused(bundled, tmp_path, change, complaint):
    copy = copy_artifact(bundled, tmp_path / "copy")
    change(copy / "weights.safetensors")
    for use in (open_artifact(copy).verify, open_artifact(copy).weights):
        with pytest.raises(ArtifactError, match=complaint):
            use()


def test_a_file_with_the_right_sum_and_the_wrong_content(bundled, tmp_path):
    def claim_the_reference(table):
        table["weights"] = {**table["reference"], "format": "safetensors"}

    copy = copy_artifact(bundled, tmp_path / "copy", claim_the_reference)
    with pytest.raises(
        ArtifactError, match=r"reference\.npz holds no weights, or is damaged: it is no safetensors file"
    ):
        open_artifact(copy).weights()
