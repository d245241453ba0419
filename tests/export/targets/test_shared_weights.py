"""The file of weights: what lies in it, under what names, and where."""

import json

import numpy as np
import pytest

from tests.support import import_or_skip

import_or_skip("torch")

from export.targets.shared_weights import ALIGNMENT, SharedWeights  # noqa: E402
from tapsdk.artifact.content import read_content  # noqa: E402
from tapsdk.artifact.weights import WEIGHTS, Weights  # noqa: E402

MATRIX = np.random.default_rng(0).normal(size=(32, 16)).astype(np.float32)
VECTOR = MATRIX[:, 0].copy()


def written(shared, folder):
    places = shared.write(folder)
    return Weights(read_content(folder / WEIGHTS, 1 << 20)), places


def test_equal_tensors_are_stored_once(tmp_path):
    shared = SharedWeights()
    names = [shared.add(MATRIX, "one"), shared.add(MATRIX.copy(), "two"), shared.add(VECTOR, "one")]
    assert names == ["one", "one", "one_1"]
    weights, places = written(shared, tmp_path)
    assert weights.places.keys() == places.keys() == {"one", "one_1"}
    for name, array in (("one", MATRIX), ("one_1", VECTOR)):
        np.testing.assert_array_equal(weights.tensor(name), array)
        assert bytes(weights.cut(*places[name])) == array.tobytes()


def test_the_same_bytes_as_other_numbers_are_another_tensor():
    shared = SharedWeights()
    assert shared.add(MATRIX, "a") != shared.add(MATRIX.view(np.int32), "a")


def test_the_models_own_tensors_go_by_their_names(tmp_path):
    shared = SharedWeights({"layer.weight": MATRIX, "layer.bias": VECTOR})
    assert shared.add(VECTOR, "val_7") == "layer.bias"
    assert shared.add(MATRIX.T, "val_8") == "layer.weight.transposed"
    assert shared.add(MATRIX, "val_9") == "layer.weight"
    assert shared.add(MATRIX * 2, "val_10") == "val_10"
    weights, _ = written(shared, tmp_path)
    np.testing.assert_array_equal(weights.tensor("layer.weight.transposed"), MATRIX.T)


def test_a_symmetric_matrix_is_not_called_transposed():
    symmetric = MATRIX @ MATRIX.T
    assert SharedWeights({"w": symmetric}).add(symmetric, "val") == "w"


def test_what_is_needed_is_there_in_any_case_and_found_by_its_name(tmp_path):
    shared = SharedWeights({"w": MATRIX, "v": MATRIX + 1, "b": VECTOR, "unused": VECTOR + 1}, needed=["w", "v", "b"])
    shared.add(MATRIX.T, "val_8")
    weights, _ = written(shared, tmp_path)
    assert weights.places.keys() == {"w.transposed", "v", "b"}
    assert [shared.found(name) for name in ("w", "v", "b")] == [("w.transposed", True), ("v", False), ("b", False)]


@pytest.mark.parametrize("used", [True, False])
def test_what_is_needed_has_its_own_shape_and_is_stored_once(tmp_path, used):
    shared = SharedWeights({"a": VECTOR, "b": VECTOR.copy(), "c": VECTOR.reshape(4, 8)}, needed=["a", "b", "c"])
    if used:
        shared.add(VECTOR.reshape(1, 1, 32), "val_3")
    weights, _ = written(shared, tmp_path)
    for name in ("a", "b", "c"):
        stored, turned = shared.found(name)
        np.testing.assert_array_equal(weights.tensor(stored), shared.known[name])
        assert not turned
    assert weights.places.keys() == {"a", "c"}


def test_tensors_are_aligned_and_without_gaps(tmp_path):
    shared = SharedWeights()
    sizes = (3, 256, 5, 16, 1000, 1)
    for size in sizes:
        shared.add(np.full(size, size, np.float32), f"of_{size}")
    shared.add(np.ones(3, np.float16), "halves")
    weights, places = written(shared, tmp_path)
    assert weights.start % ALIGNMENT == 0
    assert all(places[f"of_{size}"][0] % ALIGNMENT == 0 for size in (256, 16))
    assert all(weights.places[name].begin % np.dtype(weights.places[name].dtype).itemsize == 0 for name in places)
    spans = sorted((offset, offset + length) for offset, length in places.values())
    ends = [weights.start, *(end for _, end in spans)]
    assert [begin for begin, _ in spans] == ends[:-1]
    assert ends[-1] == (tmp_path / WEIGHTS).stat().st_size


def test_the_safetensors_package_reads_it(tmp_path):
    load = pytest.importorskip("safetensors.numpy").load_file
    shared = SharedWeights()
    arrays = {"a": MATRIX, "b": VECTOR[:5], "c": np.arange(3), "d": np.zeros((2, 0), np.float32), "e": VECTOR[:3] > 0}
    for name, array in arrays.items():
        shared.add(array, name)
    shared.write(tmp_path)
    found = load(tmp_path / WEIGHTS)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_equal_tensors_give_equal_bytes(tmp_path):
    files = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        shared = SharedWeights()
        for i in range(5):
            shared.add(MATRIX + i, f"m{i}")
        shared.write(folder)
        files.append((folder / WEIGHTS).read_bytes())
    assert files[0] == files[1]
    assert json.loads(files[0][8 : 8 + int.from_bytes(files[0][:8], "little")])


def test_without_tensors_there_is_no_file(tmp_path):
    assert SharedWeights({"known": MATRIX}).write(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
